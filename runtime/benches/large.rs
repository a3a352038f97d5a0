//! What it takes to differentiate a model of many parameters.
//!
//! ```text
//! cargo bench --profile dev -p shoal-runtime --bench large -- [MILLIONS]
//! ```
//!
//! Writes a transformer of about so many million float32 parameters (100) to a temporary folder: once with its weights inline,
//! once in a file beside it. Then reads, folds, grafts (rank 8, all sites), differentiates and writes it: the way of `shoal
//! model differentiate`. Prints a line of JSON for each: seconds, and by how much the process grew at its highest, over the bytes of the
//! model. No engine runs.
#![expect(clippy::print_stdout, reason = "the result is a line on standard output")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use shoal_runtime::engine::testing::transformer;
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Model, fold};

type Failure = Box<dyn Error>;

/// Width of the transformer.
const WIDE: usize = 1024;
/// Tokens of a sample.
const TOKENS: usize = 16;

fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test` add flags of their own.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let millions: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let layers = (millions * 1_000_000).div_ceil(12 * WIDE * WIDE).max(1);
    let folder = tempfile::tempdir()?;
    let (inline, beside) = (folder.path().join("inline.onnx"), folder.path().join("beside.onnx"));
    {
        let model = transformer(layers, WIDE, TOKENS)?;
        model.write(&inline)?;
        model.write_beside(&beside)?;
    }
    for (how, path) in [("inline", &inline), ("beside", &beside)] {
        let result = measure(path, &folder.path().join("training.onnx"))?;
        let bytes = std::fs::metadata(&inline)?.len();
        let parameters = 12 * WIDE * WIDE * layers;
        println!(
            "{}",
            serde_json::json!({
                "bench": "large",
                "weights": how,
                "parameters": parameters,
                "model_bytes": bytes,
                "seconds": result.seconds,
                "grew_bytes": result.grew,
                "grew_over_model": result.grew.map(|grew| grew as f64 / bytes as f64),
                "training_nodes": result.nodes,
            })
        );
    }
    Ok(())
}

struct Measured {
    seconds: f64,
    /// By how much the process grew at its highest; none where the system does not say.
    grew: Option<u64>,
    nodes: usize,
}

fn measure(path: &Path, output: &Path) -> Result<Measured, Failure> {
    // The high water mark begins anew.
    let resets = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = resident("VmRSS:");
    let start = Instant::now();
    let folded = fold(&Model::read_with_data(path)?)?;
    let grafted = graft(&folded, &GraftOptions::default())?;
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile: Profile::Cpu };
    let training = differentiate(&grafted.folded, &options)?.folded;
    training.model.write(output)?;
    let seconds = start.elapsed().as_secs_f64();
    let grew = resident("VmHWM:").zip(before).filter(|_| resets);
    let grew = grew.map(|(highest, before)| highest.saturating_sub(before));
    Ok(Measured { seconds, grew, nodes: training.model.graph().node.len() })
}

/// A line of `/proc/self/status`, bytes.
fn resident(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|text| text.strip_prefix(line))?;
    Some(1024 * kib.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}
