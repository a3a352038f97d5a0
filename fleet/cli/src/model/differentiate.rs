use std::path::PathBuf;

use clap::{ArgGroup, Args};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::{FACTOR, Profile, graft_all_weights};
use shoal_runtime::onnx::Folded;

use super::graft::Sites;
use crate::output::{Failure, Outcome};

/// Write the training graph of a model.
///
/// Batch, targets and factors in; `loss` and a gradient of every factor out. A model without factors is
/// grafted on the way (all sites, rank 8, alpha 16); one that has them is taken as it is.
///
/// Example: shoal model differentiate model.onnx -o training.onnx --loss mse:next --batch 8
#[derive(Args)]
#[command(group(ArgGroup::new("wrt").args(["targets", "all_weights"])))]
pub(crate) struct Differentiate {
    /// The ONNX file
    model: PathBuf,
    /// Where the training graph goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// mse:OUTPUT or cross_entropy:OUTPUT; without one mse on every float output
    #[arg(long = "loss", value_name = "KIND:OUTPUT", value_parser = loss)]
    losses: Vec<LossSpec>,
    #[command(flatten)]
    sites: Sites,
    /// Gradients of the weights themselves, not of factors
    #[arg(long)]
    all_weights: bool,
    /// Refuse where a default loss cannot sit on the output itself
    #[arg(long)]
    strict: bool,
    /// The engine that lowerings are chosen for
    #[arg(long, default_value = "cpu", value_parser = profile)]
    profile: Profile,
}

impl Differentiate {
    pub(crate) fn run(self) -> Outcome {
        let (folded, wrt) = self.wanted()?;
        let options = DifferentiateOptions {
            losses: self.losses,
            wrt,
            strict: self.strict,
            profile: self.profile,
        };
        let training = differentiate(&folded, &options)?;
        for loss in training.losses.iter().filter(|loss| loss.moved()) {
            eprintln!("`{}` has no gradient: the loss sits on `{}`", loss.output, loss.tensor);
        }
        training.folded.model.write(&self.output)?;
        println!(
            "{}: {} forward nodes, {} in all, {} gradients",
            self.output.display(),
            folded.model.graph().node.len(),
            training.folded.model.graph().node.len(),
            options.wrt.len()
        );
        Ok(())
    }

    /// The graph to differentiate and the inputs to differentiate by.
    fn wanted(&self) -> Result<(Folded, Vec<String>), Failure> {
        let folded = self.sites.open(&self.model)?.1.folded;
        if self.all_weights {
            let all = graft_all_weights(&folded, &[])?;
            let wrt = all.weights.iter().map(|weight| weight.input.clone()).collect();
            return Ok((all.folded, wrt));
        }
        let inputs = folded.model.graph().input.iter().map(|input| input.name());
        let factors: Vec<String> =
            inputs.filter(|name| name.starts_with(FACTOR)).map(String::from).collect();
        if !factors.is_empty() {
            return Ok((folded, factors));
        }
        let grafted = self.sites.graft(&folded, Profile::Cpu)?;
        let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
        Ok((grafted.folded, wrt))
    }
}

fn loss(text: &str) -> Result<LossSpec, String> {
    let (kind, output) = text.split_once(':').ok_or("expected KIND:OUTPUT, such as mse:next")?;
    let kind = match kind {
        "mse" => LossKind::Mse,
        "cross_entropy" => LossKind::CrossEntropy,
        other => return Err(format!("unknown loss `{other}`: mse or cross_entropy")),
    };
    Ok(LossSpec { kind, output: output.to_owned() })
}

fn profile(text: &str) -> Result<Profile, String> {
    match text {
        "cpu" => Ok(Profile::Cpu),
        "cuda" => Ok(Profile::Cuda),
        "tensorrt" => Ok(Profile::TensorRt),
        "tract" => Ok(Profile::Tract),
        other => Err(format!("unknown profile `{other}`: cpu, cuda, tensorrt or tract")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_a_kind_and_an_output() {
        let parsed = loss("mse:next:frame").unwrap();
        assert_eq!((parsed.kind, parsed.output.as_str()), (LossKind::Mse, "next:frame"));
        assert!(loss("mse").is_err() && loss("huber:next").unwrap_err().contains("huber"));
    }
}
