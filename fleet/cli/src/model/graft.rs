use std::path::PathBuf;

use clap::Args;
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::Model;
use shoal_runtime::onnx::fold::fold;
use shoal_runtime::onnx::pin::{PinOptions, pin};

use crate::output::{Failure, Outcome};

/// Which sites carry factors, and of what rank.
#[derive(Args, Clone)]
pub(crate) struct Sites {
    /// Glob on site names, again for more; a leading ! takes sites out
    #[arg(long = "targets", value_name = "GLOB")]
    pub(crate) targets: Vec<String>,
    /// Rank of the factors
    #[arg(long, default_value_t = 8)]
    pub(crate) rank: usize,
    /// α of ΔW = (α/rank)·B·A
    #[arg(long, default_value_t = 16.0)]
    pub(crate) alpha: f32,
    /// Length of an open first axis: the batch
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
}

impl Sites {
    /// Reads a model and grafts it.
    pub(crate) fn graft(&self, path: &std::path::Path) -> Result<Grafted, Failure> {
        let model = Model::read(path)?;
        let pin_options = PinOptions { batch: Some(self.batch), ..PinOptions::default() };
        let folded = fold(&pin(&model, &pin_options)?)?;
        let options = GraftOptions {
            targets: self.targets.clone(),
            rank: self.rank,
            alpha: self.alpha,
            profile: Profile::Cpu,
        };
        Ok(graft(&folded, &options)?)
    }
}

/// Make LoRA factors inputs of a model.
///
/// Example: shoal model graft model.onnx -o grafted.onnx --targets 'decoder.*' --rank 8
#[derive(Args)]
pub(crate) struct Graft {
    /// The ONNX file
    model: PathBuf,
    /// Where the grafted model goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    sites: Sites,
}

impl Graft {
    pub(crate) fn run(self) -> Outcome {
        let grafted = self.sites.graft(&self.model)?;
        grafted.folded.model.write(&self.output)?;
        let layout = &grafted.layout;
        println!(
            "{}: {} sites, {} values",
            self.output.display(),
            layout.sites.len(),
            layout.values()
        );
        Ok(())
    }
}
