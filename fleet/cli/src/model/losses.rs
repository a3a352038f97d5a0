//! `--loss`: what is minimised, of the commands that differentiate a bare ONNX file.

use clap::Args;
use shoal_runtime::gradient::{LossKind, LossSpec, Refusal};

/// Losses that are asked for.
#[derive(Args, Clone)]
pub(super) struct Losses {
    /// mse, charbonnier or cross_entropy, or gaussian_nll:MEAN,LOGVAR (natural logarithm of the variance); again for more, also
    /// on one output: their sum, each times its WEIGHT, is minimised. Without one the squared error on every float output, which
    /// `train` divides by what it is untuned
    #[arg(long = "loss", value_name = "KIND:OUTPUT[*WEIGHT]", value_parser = loss)]
    losses: Vec<LossSpec>,
}

impl Losses {
    /// What was asked for; nothing: the default.
    pub(super) fn asked(&self) -> &[LossSpec] {
        &self.losses
    }

    /// The option that is to blame where there is no training graph, as the beginning of why; nothing if none is.
    pub(super) fn to_blame(&self, why: &Refusal) -> String {
        let loss = self.losses.iter().find(|loss| is_of(why, loss));
        loss.map(|loss| format!("--loss {}: ", text(loss))).unwrap_or_default()
    }

    /// What tells this from other training; nothing where nothing was asked for.
    pub(super) fn told(&self) -> String {
        self.losses.iter().map(|loss| format!(" --loss {}", text(loss))).collect()
    }
}

/// Whether a refusal is of this loss: of a roll-out it names the output of a step.
fn is_of(why: &Refusal, loss: &LossSpec) -> bool {
    let Refusal::Loss { output, .. } = why else { return false };
    let step = output.strip_prefix(&loss.output).and_then(|rest| rest.strip_prefix('.'));
    *output == loss.output || step.is_some_and(|step| step.parse::<u32>().is_ok())
}

/// A loss as it is asked for.
fn text(loss: &LossSpec) -> String {
    let LossSpec { kind, output, factor } = loss;
    let variance = match kind {
        LossKind::GaussianNll { log_variance } => format!(",{log_variance}"),
        LossKind::Mse | LossKind::Charbonnier | LossKind::CrossEntropy => String::new(),
    };
    format!("{}:{output}{variance}*{factor}", kind.name())
}

fn loss(text: &str) -> Result<LossSpec, String> {
    let (kind, output) = text.split_once(':').ok_or("expected KIND:OUTPUT, such as mse:next")?;
    // A star that no number follows is a part of the name.
    let (output, factor) = match output.rsplit_once('*').map(|(name, n)| (name, n.parse())) {
        Some((name, Ok(factor))) => (name, factor),
        Some((_, Err(_))) | None => (output, 1.0),
    };
    let (kind, output) = match (kind, output.split_once(',')) {
        ("mse", _) => (LossKind::Mse, output),
        ("charbonnier", _) => (LossKind::Charbonnier, output),
        ("cross_entropy", _) => (LossKind::CrossEntropy, output),
        ("gaussian_nll", Some((mean, log_variance))) => {
            (LossKind::GaussianNll { log_variance: log_variance.to_owned() }, mean)
        }
        ("gaussian_nll", None) => return Err("expected gaussian_nll:MEAN,LOGVAR".to_owned()),
        (other, _) => {
            return Err(format!(
                "unknown loss `{other}`: mse, charbonnier, cross_entropy or gaussian_nll"
            ));
        }
    };
    Ok(LossSpec::new(kind, output).times(factor))
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

    #[test]
    fn a_loss_has_a_weight_behind_a_star() {
        assert_eq!(loss("charbonnier:y*0.25").unwrap().factor, 0.25);
        assert_eq!(loss("mse:y").unwrap().factor, 1.0);
        // Names of tensors may have stars of their own.
        assert_eq!(loss("mse:a*b").unwrap().output, "a*b");
    }

    #[test]
    fn a_gaussian_names_its_mean_and_the_logarithm_of_its_variance() {
        let parsed = loss("gaussian_nll:steer,doubt*2").unwrap();
        let log_variance = "doubt".to_owned();
        assert_eq!(parsed.kind, LossKind::GaussianNll { log_variance });
        assert_eq!((parsed.output.as_str(), parsed.factor), ("steer", 2.0));
        assert!(loss("gaussian_nll:steer").unwrap_err().contains("LOGVAR"));
    }

    #[test]
    fn a_loss_is_told_as_it_is_asked_for() {
        for asked in ["mse:next:frame*0.5", "gaussian_nll:steer,doubt*2", "charbonnier:a*b*1"] {
            assert_eq!(text(&loss(asked).unwrap()), asked);
        }
    }

    #[test]
    fn a_refusal_names_the_option_that_is_to_blame() {
        let losses = ["mse:next*2", "charbonnier:other"].map(|text| loss(text).unwrap()).to_vec();
        let losses = Losses { losses };
        let refused = |output: &str| {
            let why = shoal_runtime::gradient::WrongLoss::Empty;
            losses.to_blame(&Refusal::Loss { output: output.to_owned(), why })
        };
        assert_eq!(refused("other"), "--loss charbonnier:other*1: ");
        assert_eq!(refused("next.3"), "--loss mse:next*2: ");
        assert_eq!(refused("third"), "");
    }
}
