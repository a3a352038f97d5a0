//! docs/operators.md: which operator has a gradient, in which version, on which engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::cases::{OPSET_MAX, OPSET_RECORDED, OPSETS};
use crate::{Found, refused};

const HEAD: &str = "\
# Gradients: which operators, versions and engines

Written by `cargo xtask oracle operators`, and checked by `cargo xtask test`; not by hand.

";

/// What a reader must know beside the table.
const REST: &str = include_str!("rest.md");

pub(crate) fn write(found: &BTreeMap<(&str, i64), Found>, cases: usize) -> String {
    let operators: BTreeSet<&str> = found.keys().map(|(operator, _)| *operator).collect();
    let mut page = HEAD.to_owned();
    let _ = writeln!(
        page,
        "{} operators, {cases} generated cases: the gradient of each by ONNX Runtime is within 10⁻⁴ of PyTorch's \
         autograd in float64,\nand so is that by tract where it runs. ● both engines, ◐ ONNX Runtime, and tract \
         some of the cases, ○ ONNX Runtime only,\n– no such operator in that version. *Nodes*: the most that a \
         case's loss (about 11) and gradients added.\n\nVersions {} to {OPSET_MAX} (the newest that ONNX Runtime runs) are the cases of \
         version {OPSET_RECORDED}, declared as newer: no operator here means\nanother thing in them, so PyTorch is \
         not asked again.\n",
        operators.len(),
        OPSET_RECORDED + 1
    );
    let versions: Vec<String> = OPSETS.map(|opset| opset.to_string()).collect();
    let _ = writeln!(page, "| operator | {} | nodes |", versions.join(" | "));
    let _ = writeln!(page, "|---|{}---|", "---|".repeat(versions.len()));
    let mut reasons = String::new();
    for operator in operators {
        let at = |opset| found.get(&(operator, opset));
        let marks: Vec<&str> = OPSETS
            .map(|opset| match at(opset) {
                None => "–",
                Some(one) if one.tract == one.cases => "●",
                Some(one) if one.tract > 0 => "◐",
                Some(_) => "○",
            })
            .collect();
        let added = OPSETS.filter_map(at).map(|one| one.added).max().unwrap_or(0);
        let _ = writeln!(page, "| {operator} | {} | {added} |", marks.join(" | "));
        let whys: Vec<&String> = OPSETS.filter_map(at).flat_map(|one| &one.reasons).collect();
        if let Some(why) = whys.first() {
            let runs: usize = OPSETS.filter_map(at).map(|one| one.tract).sum();
            let all: usize = OPSETS.filter_map(at).map(|one| one.cases).sum();
            let _ = writeln!(reasons, "| {operator} | {runs} of {all} | {} |", short(why));
        }
    }
    let _ = write!(
        page,
        "\n{REST}## What has no gradient, and why\n\nAll nodes that stand in the way are named at once.\n\n\
         | operator | why |\n|---|---|\n"
    );
    for (what, why, _graphs) in refused::ROWS {
        let _ = writeln!(page, "| {what} | {why} |");
    }
    let _ = write!(
        page,
        "\n## What tract does not run\n\n| operator | runs | first refusal |\n|---|---|---|\n{reasons}"
    );
    page
}

/// The first refusal in one cell: no names of one case, no line ends.
fn short(why: &str) -> String {
    let line: String = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.replace('|', "/");
    line.chars().take(160).collect()
}
