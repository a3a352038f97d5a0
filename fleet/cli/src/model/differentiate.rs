use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use shoal_runtime::gradient::{
    DifferentiateOptions, Keep, LossKind, LossSpec, Pull, Recomputed, differentiate_keeping, within,
};
use shoal_runtime::graft::{FACTOR, Profile, graft_all_weights};
use shoal_runtime::onnx::Folded;
use shoal_runtime::rollout::{self, Feed, RollOutOptions, roll_out};

use super::frozen::Frozen;
use super::graft::Sites;
use super::losses::Losses;
use super::open::result_path;
use crate::output::{Failure, Outcome};

/// Write the training graph of a model.
///
/// Batch, targets and factors in; `loss` and a gradient of every factor out. A model without factors is
/// grafted on the way (all sites, rank 8, alpha 16); one that has them is taken as it is.
///
/// Example: shoal model differentiate model.onnx --loss mse:next --batch 8
///
/// Example: shoal model differentiate world.onnx --roll-out 3 --feed next=frames
#[derive(Args)]
#[command(group(ArgGroup::new("wrt").args(["targets", "all_weights"])))]
pub(crate) struct Differentiate {
    /// The ONNX file
    model: PathBuf,
    /// Where the training graph goes; by default the model's name with .training.onnx, here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    losses: Losses,
    /// Predictions in a row, each fed back into the next, with targets for all of them (target.OUTPUT.STEP)
    #[arg(long, value_name = "STEPS", requires = "feeds")]
    roll_out: Option<usize>,
    /// The output that a roll-out feeds back, and the input that reads it: as a whole, or as the newest of several along AXIS
    #[arg(long = "feed", value_name = "OUTPUT=INPUT[@AXIS]", value_parser = feed, requires = "roll_out")]
    feeds: Vec<Feed>,
    /// What each step of a roll-out counts less than the one before
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = discount)]
    discount: f64,
    #[command(flatten)]
    sites: Sites,
    #[command(flatten)]
    frozen: Frozen,
    /// Gradients of the weights themselves, not of factors
    #[arg(long, conflicts_with = "freeze_a")]
    all_weights: bool,
    /// A term (k/2)·Σ (x − place)² beside the losses; keep.strength and a keep.place.FACTOR of every factor are inputs
    #[arg(long, conflicts_with = "ewc")]
    pull: bool,
    /// As --pull, each value times its importance: keep.importance.FACTOR of every factor are inputs, too
    #[arg(long)]
    ewc: bool,
    /// A squared error on every tensor that a loss sits on, against what the graph gives with the factors at keep.place.FACTOR;
    /// weight.distil.TENSOR is an input
    #[arg(long)]
    distil: bool,
    /// Bytes that a step may hold at once beyond parameters, inputs and outputs, by plan (about what is measured with
    /// ONNX Runtime, to a quarter); where it would hold more, parts of the forward pass are run again on the way back
    #[arg(long, value_name = "BYTES")]
    memory_limit: Option<u64>,
    /// Refuse where a default loss cannot sit on the output itself
    #[arg(long)]
    strict: bool,
    /// The engine that lowerings are chosen for
    #[arg(long, default_value = "cpu", value_parser = profile)]
    profile: Profile,
}

impl Differentiate {
    pub(crate) fn run(self) -> Outcome {
        let output = result_path(&self.model, self.output.as_deref(), ".training.onnx")?;
        let (folded, wrt) = self.wanted()?;
        let forward = folded.model.graph().node.len();
        let (folded, losses) = match self.roll_out {
            Some(steps) => self.rolled_out(&folded, &wrt, steps)?,
            None => (folded, self.losses.asked().to_vec()),
        };
        let options =
            DifferentiateOptions { losses, wrt, strict: self.strict, profile: self.profile };
        let pull = match (self.pull, self.ewc) {
            (_, true) => Some(Pull::ByImportance),
            (true, false) => Some(Pull::Even),
            (false, false) => None,
        };
        let keep = Keep { pull, distil: self.distil };
        let training = differentiate_keeping(&folded, &options, keep)
            .map_err(|why| (self.losses.to_blame(&why), Failure::from(why)))
            .map_err(|(to_blame, why)| self.named(format!("{to_blame}{why}")))?;
        for loss in training.losses.iter().filter(|loss| loss.moved()) {
            eprintln!("`{}` has no gradient: the loss sits on `{}`", loss.output, loss.tensor);
        }
        let limit = self.memory_limit.unwrap_or(u64::MAX);
        let Recomputed { folded: training, segments, peak_bytes } =
            within(&training.folded, limit).map_err(|why| self.named(why))?;
        if peak_bytes > limit {
            let least = format!("{peak_bytes} bytes at once with {segments} segments");
            let why = format!("no way was found below {least}: a smaller --batch takes less");
            return Err(self.named(why));
        }
        training.model.write(&output)?;
        println!(
            "{}: {} forward nodes, {} in all, {} gradients; a step holds {:.1} MiB, by plan{}",
            output.display(),
            forward,
            training.model.graph().node.len(),
            options.wrt.len(),
            peak_bytes as f64 / f64::from(1 << 20),
            if segments > 1 { format!(", in {segments} segments") } else { String::new() }
        );
        Ok(())
    }

    /// What is wrong with this model.
    fn named(&self, why: impl Into<Failure>) -> Failure {
        format!("{}: {}", self.model.display(), why.into()).into()
    }

    /// The graph of several predictions in a row, and its losses.
    fn rolled_out(
        &self,
        folded: &Folded,
        wrt: &[String],
        steps: usize,
    ) -> Result<(Folded, Vec<LossSpec>), Failure> {
        let feeds = self.feeds.clone();
        let of_feeds = feeds.iter().map(|feed| LossSpec::new(LossKind::Mse, &feed.output));
        let asked = self.losses.asked();
        let each = if asked.is_empty() { of_feeds.collect() } else { asked.to_vec() };
        let options = RollOutOptions { steps, feeds, shared: wrt.to_vec() };
        let rolled = roll_out(folded, &options).map_err(|why| self.named(why))?;
        for (Feed { output, input, .. }, fit) in options.feeds.iter().zip(&rolled.fits) {
            eprintln!("`{output}` is fed back into `{input}`: {fit}");
        }
        Ok((rolled.folded, rollout::losses(&each, steps, self.discount)))
    }

    /// The graph to differentiate and the inputs to differentiate by.
    fn wanted(&self) -> Result<(Folded, Vec<String>), Failure> {
        let folded = self.sites.open(&self.model)?.1.folded;
        if self.all_weights {
            if self.sites.has_factors() {
                return Err("--rank and --alpha are of factors: --all-weights has none".into());
            }
            let all = graft_all_weights(&folded, &[]).map_err(|why| self.named(why))?;
            let wrt = all.weights.iter().map(|weight| weight.input.clone()).collect();
            return Ok((all.folded, wrt));
        }
        let inputs = folded.model.graph().input.iter().map(|input| input.name());
        let factors: Vec<String> =
            inputs.filter(|name| name.starts_with(FACTOR)).map(String::from).collect();
        if !factors.is_empty() {
            if self.frozen.is_asked() {
                let why = "the model has factors already: --freeze-a is for `graft`, or for a model without";
                return Err(self.named(why));
            }
            if self.sites.choose() {
                let why = "the model has factors already: --targets, --rank and --alpha are for `graft`, or for a model without";
                return Err(self.named(why));
            }
            return Ok((folded, factors));
        }
        let grafted = self.sites.graft(&folded, self.profile)?;
        let layout = Arc::new(grafted.layout.clone());
        if let Some(drawn) = self.frozen.drawn(&layout, &self.model)? {
            let wrt = layout.trained(true).map(|factor| factor.input.clone()).collect();
            return Ok((grafted.with_stored_a(&drawn), wrt));
        }
        let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
        Ok((grafted.folded, wrt))
    }
}

fn feed(text: &str) -> Result<Feed, String> {
    let (output, input) =
        text.split_once('=').ok_or("expected OUTPUT=INPUT, such as next=frames")?;
    // What follows the last @ is an axis if it is a number, else a part of the name.
    let (input, axis) = match input.rsplit_once('@').map(|(name, axis)| (name, axis.parse())) {
        Some((name, Ok(axis))) => (name, Some(axis)),
        Some((_, Err(_))) | None => (input, None),
    };
    Ok(Feed { output: output.to_owned(), input: input.to_owned(), axis, clamp: None })
}

fn discount(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor <= 1.0 => Ok(factor),
        Ok(_) | Err(_) => Err("expected a number above 0, at most 1".to_owned()),
    }
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
    fn a_feed_is_an_output_an_input_and_perhaps_an_axis() {
        let parsed = feed("next=frames@1").unwrap();
        assert_eq!(
            (parsed.output.as_str(), parsed.input.as_str(), parsed.axis),
            ("next", "frames", Some(1))
        );
        assert_eq!(feed("next=past@now").unwrap().input, "past@now");
        assert!(feed("next").is_err() && discount("0").is_err() && discount("0.5").is_ok());
    }
}
