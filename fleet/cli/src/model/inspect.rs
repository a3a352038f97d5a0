use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use shoal_runtime::gradient;
use shoal_runtime::inspect::{Report, inspect};

use super::open::Axes;
use crate::output::{Outcome, json};

/// Operators, LoRA sites, parameters, what can be differentiated and what not.
///
/// Example: shoal model inspect model.onnx
#[derive(Args)]
pub(crate) struct Inspect {
    /// The ONNX file
    model: PathBuf,
    /// Rank that factor sizes are given for
    #[arg(long, default_value_t = 8)]
    rank: usize,
    #[command(flatten)]
    axes: Axes,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    report: Report,
    /// Nodes between the sites and the outputs that have no gradient.
    without_gradient: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Outcome {
        let (model, opened) = self.axes.open(&self.model)?;
        let (report, folded) = inspect(&model, &opened.options, self.rank)?;
        // One weight may serve several sites.
        let weights: BTreeSet<String> =
            report.sites.iter().map(|site| site.weight.clone()).collect();
        let weights: Vec<String> = weights.into_iter().collect();
        let without_gradient = match gradient::unsupported(&folded, &weights) {
            Ok(obstacles) => obstacles.iter().map(ToString::to_string).collect(),
            Err(refusal) => vec![refusal.to_string()],
        };
        let whole = Whole { report, without_gradient };
        if self.json {
            return json(&whole);
        }
        print(&whole, self.rank);
        Ok(())
    }
}

fn print(whole: &Whole, rank: usize) {
    let report = &whole.report;
    println!("IR {}, opset {}, written by {:?}", report.ir_version, report.opset, report.producer);
    if let Some(field) = &report.unknown_field {
        println!("has a field this program does not know ({field}): it can be read, not written");
    }
    for (side, ports) in [("input", &report.inputs), ("output", &report.outputs)] {
        for port in ports {
            println!("{side:7} {} {} [{}]", port.name, port.element, port.dims.join(", "));
        }
    }
    let operators: Vec<String> =
        report.operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("operators: {}", operators.join(", "));
    println!("{} nodes after folding, {} parameters", report.nodes_folded, report.parameters);
    if !report.random.is_empty() {
        println!("random, so a rerun differs: {}", report.random.join(", "));
    }
    let values: usize = report.sites.iter().map(|site| site.values).sum();
    println!("{} LoRA sites, {values} values at rank {rank}:", report.sites.len());
    for site in &report.sites {
        let shared = match site.nodes.len() {
            0 | 1 => String::new(),
            nodes => format!("  of {nodes} nodes"),
        };
        println!(
            "  {:40} {:8} weight {:?}  A {:?}  B {:?}{shared}",
            site.name, site.operator, site.weight_dims, site.a_dims, site.b_dims
        );
    }
    if whole.without_gradient.is_empty() {
        println!("every node between the sites and the outputs has a gradient");
    } else {
        println!("without a gradient:");
        whole.without_gradient.iter().for_each(|line| println!("  {line}"));
    }
}
