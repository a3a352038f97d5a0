use std::path::PathBuf;

use clap::Args;
use shoal_runtime::adapter::{Adapter, PeftConfig};
use shoal_runtime::bake::bake;
use shoal_runtime::graft::{graft, sites};
use shoal_runtime::onnx::Model;
use shoal_runtime::onnx::fold::fold;
use shoal_runtime::onnx::pin::{PinOptions, pin};

use crate::output::{Failure, Outcome};

/// Fold an adapter into a model: a plain ONNX of the same topology.
///
/// Example: shoal model bake model.onnx adapter -o tuned.onnx
#[derive(Args)]
pub(crate) struct Bake {
    /// The ONNX file
    model: PathBuf,
    /// A PEFT directory: adapter_config.json and adapter_model.safetensors
    adapter: PathBuf,
    /// Where the baked model goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Bake {
    pub(crate) fn run(self) -> Outcome {
        let model = Model::read(&self.model)?;
        let adapter = read_adapter(&model, &self.adapter)?;
        bake(&model, &adapter)?.write(&self.output)?;
        println!("{}", self.output.display());
        Ok(())
    }
}

/// Reads a PEFT directory for a model; sites, rank and alpha are those of its configuration.
///
/// # Errors
/// When it does not fit the model.
pub(crate) fn read_adapter(model: &Model, directory: &std::path::Path) -> Result<Adapter, Failure> {
    let config = PeftConfig::read(directory)?;
    let folded = fold(&pin(model, &PinOptions { batch: Some(1), ..PinOptions::default() })?)?;
    let names: Vec<String> = sites(&folded).into_iter().map(|site| site.name).collect();
    let grafted = graft(&folded, &config.graft_options(&names))?;
    Ok(Adapter::read_peft(directory, grafted.layout)?)
}
