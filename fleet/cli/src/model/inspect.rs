use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use shoal_runtime::graft::RANK_MAX;
use shoal_runtime::inspect::{Gradients, Report, inspect};

use super::open::Axes;
use crate::output::{Outcome, json};

/// Operators, LoRA sites, parameters, what can be differentiated and what not.
///
/// Example: shoal model inspect model.onnx
#[derive(Args)]
pub(crate) struct Inspect {
    /// The ONNX file
    model: PathBuf,
    /// Rank that factor sizes are given for, 1 to 1024
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=RANK_MAX as u64))]
    rank: usize,
    #[command(flatten)]
    axes: Axes,
    /// Machine-readable: docs/schemas/inspect.schema.json
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> Outcome {
        let (model, opened) = self.axes.open(&self.model)?;
        let report = inspect(&model, &opened.options, self.rank)?;
        if self.json {
            return json(&report);
        }
        print(&report, self.rank);
        Ok(())
    }
}

fn print(report: &Report, rank: usize) {
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
        let stored = match &site.module {
            Some(_) => format!("  stored as `{}`", site.name),
            None => String::new(),
        };
        println!(
            "  {:40} {:8} weight {:?}  A {:?}  B {:?}{shared}{stored}",
            site.module.as_ref().unwrap_or(&site.name),
            site.operator,
            site.weight_dims,
            site.a_dims,
            site.b_dims
        );
    }
    tell(&report.gradients);
}

/// Whether the factors can be trained, and by which losses.
fn tell(gradients: &Gradients) {
    if let Some(why) = &gradients.refusal {
        println!("factors cannot be trained: {why}");
    } else if !gradients.obstacles.is_empty() {
        println!("without a gradient:");
        for obstacle in &gradients.obstacles {
            println!("  {} `{}`: {}", obstacle.operator, obstacle.node, obstacle.reason);
        }
    } else {
        println!("every node between the factors and a loss has a gradient");
    }
    for loss in gradients.losses.iter().filter(|loss| loss.output != loss.tensor) {
        println!("  the loss of `{}` sits before it, on `{}`", loss.output, loss.tensor);
    }
}
