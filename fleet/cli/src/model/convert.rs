use std::path::PathBuf;

use clap::Args;
use shoal_runtime::graft::Profile;

use super::bake::grafted_as;
use super::open::Axes;
use crate::output::Outcome;

/// Write an adapter in its other form: a PEFT directory as a file of ONNX Runtime, or that file as a directory.
///
/// What ends in .onnx_adapter is a file; its parameters are the inputs that `shoal model graft` makes of the same sites.
///
/// Example: shoal model convert model.onnx model.adapter model.onnx_adapter
#[derive(Args)]
pub(crate) struct Convert {
    /// The ONNX file that the adapter is for
    model: PathBuf,
    /// The adapter: a PEFT directory or an .onnx_adapter file
    adapter: PathBuf,
    /// Where it goes: a file of ONNX Runtime if it ends in .onnx_adapter, else a PEFT directory
    output: PathBuf,
    /// α of an .onnx_adapter file that does not say it: of one that was not made here
    #[arg(long)]
    alpha: Option<f32>,
    #[command(flatten)]
    axes: Axes,
}

impl Convert {
    pub(crate) fn run(self) -> Outcome {
        let (_, opened) = self.axes.open(&self.model)?;
        let (_, adapter) = grafted_as(&opened.folded, &self.adapter, self.alpha, Profile::Cpu)?;
        adapter.write(&self.output)?;
        println!("{}", self.output.display());
        Ok(())
    }
}
