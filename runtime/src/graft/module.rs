//! What people call a site whose weight has a name that an exporter made up.
//!
//! PyTorch's exporters store a weight that they turned, or merged with what follows, as a tensor with a name of theirs:
//! `onnx::MatMul_540`, `val_12`, `1178`. The node that reads it still says which module it is of: by its name
//! (`/h.3/attn/c_attn/MatMul`), or by what the newer exporter notes beside it (`pkg.torch.onnx.name_scopes`).

use std::collections::{BTreeMap, BTreeSet};

use super::WeightSite;
use crate::onnx::proto::NodeProto;

/// Where PyTorch's newer exporter notes the modules around a node: a list as Python writes it, the outermost first and the node last.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";
/// What quantisers put behind the name of a weight.
const QUANTISED: &str = "_quantized";

/// Sets the module of every site whose weight has a made-up name, where its nodes say it. Modules are unlike each other, and
/// unlike all names of sites: where one has several weights, they are told apart by the names of their nodes.
pub(super) fn name(sites: &mut [WeightSite], nodes: &[NodeProto]) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for site in sites.iter() {
        taken.insert(site.name.clone());
        taken.extend(site.name.strip_suffix(".weight").map(str::to_owned));
    }
    let found: Vec<Option<Found>> = sites.iter().map(|site| Found::of(site, nodes)).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for one in found.iter().flatten() {
        *count.entry(&one.module).or_default() += 1;
    }
    for (site, one) in sites.iter_mut().zip(&found) {
        let Some(one) = one else { continue };
        let is_alone = count.get(one.module.as_str()) == Some(&1);
        let base = match is_alone && !taken.contains(&one.module) {
            true => one.module.clone(),
            false => format!("{}.{}", one.module, one.node),
        };
        let mut name = base.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{base}.{number}");
            number += 1;
        }
        site.module = Some(name);
    }
}

/// What a node says of its weight.
struct Found {
    module: String,
    /// What the node is called in its module.
    node: String,
}

impl Found {
    fn of(site: &WeightSite, nodes: &[NodeProto]) -> Option<Found> {
        if !is_made_up(&site.weight) {
            return None;
        }
        let (at, node) = site.nodes.iter().find_map(|at| Some((at, nodes.get(at.index)?)))?;
        let mut found =
            scoped(node).or_else(|| pathed(node.name())).or_else(|| pathed(&at.output))?;
        if site.kind == super::SiteKind::Recurrent {
            // The weights of inputs and those of states, as ONNX calls them.
            found.module.push_str(if at.input == 1 { ".W" } else { ".R" });
        }
        Some(found)
    }
}

/// Whether a weight is called as no module is.
fn is_made_up(weight: &str) -> bool {
    let name = weight.strip_suffix(QUANTISED).unwrap_or(weight);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_made = |name: &str| name.rsplit_once("_output_").is_some_and(|(_, n)| is_number(n));
    name.starts_with("onnx::")
        || is_number(name)
        || name.strip_prefix("val_").is_some_and(is_number)
        || (name.starts_with('/') && is_made(name))
}

/// The module of a node of PyTorch's newer exporter.
fn scoped(node: &NodeProto) -> Option<Found> {
    let noted = node.metadata_props.iter().find(|entry| entry.key() == SCOPES)?;
    let mut scopes = strings(noted.value());
    let last = scopes.pop()?;
    let module = scopes.into_iter().rev().find(|scope| !scope.is_empty())?;
    Some(Found { module, node: last })
}

/// The strings of a list that Python wrote, without escapes, which names of modules have none of.
fn strings(list: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut rest = list;
    while let Some(start) = rest.find(['\'', '"']) {
        let Some((quote, inner)) =
            rest.split_at_checked(start).and_then(|(_, tail)| tail.split_at_checked(1))
        else {
            break;
        };
        let Some((text, behind)) = inner.split_once(quote) else { break };
        strings.push(text.to_owned());
        rest = behind;
    }
    strings
}

/// The module in the name of a node of PyTorch's older exporter, or of what it gives: `/layer1/layer1.0/conv1/Conv` is of
/// `layer1.0.conv1`, for children of a Sequential have the name of that before theirs.
fn pathed(name: &str) -> Option<Found> {
    let (path, node) = name.strip_prefix('/')?.rsplit_once('/')?;
    let mut modules: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let is_child = |of: &&str| part.strip_prefix(*of).is_some_and(|rest| rest.starts_with('.'));
        modules.pop_if(|of| is_child(&&**of));
        modules.push(part);
    }
    let node = node.split("_output_").next().unwrap_or(node);
    (!modules.is_empty()).then(|| Found { module: modules.join("."), node: node.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_exporters_make_up_are_told_from_those_of_modules() {
        for made_up in ["onnx::MatMul_540", "1178", "1178_quantized", "val_12", "/a/Mul_output_0"] {
            assert!(is_made_up(made_up), "{made_up}");
        }
        for own in ["h.3.attn.weight", "val_x", "value_1", "", "W", "a/Mul_output_0", "0.weight"] {
            assert!(!is_made_up(own), "{own}");
        }
    }

    #[test]
    fn a_path_is_the_module_with_what_a_sequential_says_twice_said_once() {
        let module = |name| pathed(name).map(|found| found.module);
        assert_eq!(module("/h.3/attn/c_attn/MatMul").as_deref(), Some("h.3.attn.c_attn"));
        assert_eq!(module("/layer1/layer1.0/conv1/Conv").as_deref(), Some("layer1.0.conv1"));
        assert_eq!(module("/head/head.1/head.1.0/Gemm").as_deref(), Some("head.1.0"));
        assert_eq!(module("/layer1/layer10/Conv").as_deref(), Some("layer1.layer10"));
        assert_eq!(
            [module("/MatMul"), module("Conv_0"), module("a/b/MatMul"), module("//")],
            [None, None, None, None]
        );
    }

    #[test]
    fn a_list_of_scopes_gives_the_innermost_module() {
        let module = |value: &str| {
            let entry = crate::onnx::proto::StringStringEntryProto {
                key: Some(SCOPES.to_owned()),
                value: Some(value.to_owned()),
            };
            let node = NodeProto { metadata_props: vec![entry], ..NodeProto::default() };
            scoped(&node).map(|found| (found.module, found.node))
        };
        let own = |module: &str, node: &str| Some((module.to_owned(), node.to_owned()));
        assert_eq!(
            module("['', 'h.3.attn', 'h.3.attn.c_attn', 'linear_5']"),
            own("h.3.attn.c_attn", "linear_5")
        );
        assert_eq!(module("['', 'fc', '', \"it's\"]"), own("fc", "it's"));
        assert_eq!([module("['', 'linear']"), module("[]"), module("['open")], [None, None, None]);
    }
}
