//! What is fitted: the factors of an adapter, or all weights of a model.

use crate::adapter::Adapter;
use crate::graft::{AllWeights, DropoutError, Grafted, with_masks};
use crate::onnx::Folded;
use crate::train::{TrainError, Trainer, Values, factors, weights_of};

/// What is fitted, and from where.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The factors of an adapter.
    Adapter {
        /// The graph with factors as inputs.
        grafted: &'a Grafted,
        /// Where its factors start.
        start: &'a Adapter,
        /// Whether A stays where it starts and B alone is trained.
        frozen_a: bool,
    },
    /// All weights of a model.
    Weights(&'a AllWeights),
}

/// What was fitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Trained {
    /// An adapter.
    Adapter(Adapter),
    /// The weights, in the order of [`AllWeights::weights`], as [`AllWeights::write_into`] takes them.
    Weights(Vec<Vec<f32>>),
}

impl Trained {
    /// The adapter, if it is one.
    pub fn adapter(&self) -> Option<&Adapter> {
        match self {
            Trained::Adapter(adapter) => Some(adapter),
            Trained::Weights(_) => None,
        }
    }
}

impl<'a> Subject<'a> {
    /// The graph that has what is trained as inputs.
    pub(super) fn folded(self) -> &'a Folded {
        match self {
            Subject::Adapter { grafted, .. } => &grafted.folded,
            Subject::Weights(all) => &all.folded,
        }
    }

    /// The graph with masks before its factors, if there are to be any; weights have none.
    pub(super) fn masked(self, dropout: bool) -> Result<Option<Folded>, DropoutError> {
        match self {
            Subject::Adapter { grafted, .. } if dropout => {
                Ok(Some(with_masks(&grafted.folded, &grafted.layout)?))
            }
            Subject::Adapter { .. } | Subject::Weights(_) => Ok(None),
        }
    }

    /// What training begins from.
    pub(super) fn values(self) -> Values<'a> {
        match self {
            Subject::Adapter { start, .. } => factors(start),
            Subject::Weights(all) => weights_of(all),
        }
    }

    /// The inputs whose gradients are wanted.
    pub(super) fn wrt(self) -> Vec<String> {
        match self {
            Subject::Adapter { grafted, frozen_a, .. } => {
                grafted.layout.trained(frozen_a).map(|factor| factor.input.clone()).collect()
            }
            Subject::Weights(all) => all.weights.iter().map(|w| w.input.clone()).collect(),
        }
    }

    /// Whether an input is the model's own, not a factor, weight, target or weight of a loss.
    pub(super) fn has_input(self, name: &str) -> bool {
        let mut own = self.folded().model.graph().input.iter();
        !self.values().contains_key(name) && own.any(|input| input.name() == name)
    }

    /// The adapter that changes nothing, where the start is another one.
    pub(super) fn untuned(self) -> Option<Adapter> {
        let Subject::Adapter { start, .. } = self else { return None };
        let mut untuned = start.clone();
        for site in &start.layout().sites {
            untuned.values_mut()[site.b.range.clone()].fill(0.0);
        }
        (untuned != *start).then_some(untuned)
    }

    /// An adapter whose B is no longer nothing: each value is one of the A of the next seed, or of the one that stays. Weights
    /// are the model's own, which gives nothing else to fit to.
    pub(super) fn drawn(self, seed: u64) -> Option<Adapter> {
        let Subject::Adapter { start, frozen_a, .. } = self else { return None };
        let layout = start.layout();
        let mut drawn = match frozen_a {
            true => start.clone(),
            false => Adapter::start(layout.clone(), seed.wrapping_add(1)),
        };
        for site in &layout.sites {
            let a = drawn.values()[site.a.range.clone()].to_vec();
            let b = drawn.values_mut()[site.b.range.clone()].iter_mut();
            b.zip(a.iter().cycle()).for_each(|(b, a)| *b = *a);
        }
        Some(drawn)
    }

    /// What a trainer of it has by now.
    pub(super) fn trained(self, trainer: &mut Trainer) -> Result<Trained, TrainError> {
        Ok(match self {
            Subject::Adapter { start, .. } => Trained::Adapter(trainer.adapter(start)?),
            Subject::Weights(all) => {
                let weights = trainer.weights(all)?;
                Trained::Weights(weights.into_iter().map(<[f32]>::to_vec).collect())
            }
        })
    }
}
