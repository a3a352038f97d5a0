//! A pull of the parameters towards a place, as part of what is minimised.

use std::ops::Range;

/// (scale/2)·Σ importance·(w − place)² beside the loss; without an importance, 1 stands for each.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    scale: f64,
    /// The place, `[values]`, in the order of the trainer's parameters.
    towards: Vec<f32>,
    /// How much each value matters, `[values]`; `None`: all alike.
    importance: Option<Vec<f32>>,
    /// Of the loss and the pull together, `[values]`.
    gradient: Vec<f32>,
}

impl Pull {
    /// # Panics
    /// If place and importance differ in length.
    pub(super) fn new(scale: f64, towards: Vec<f32>, importance: Option<Vec<f32>>) -> Self {
        let of = importance.as_ref().map_or(towards.len(), Vec::len);
        assert_eq!(of, towards.len(), "one importance a value");
        let gradient = vec![0.0; towards.len()];
        Self { scale, towards, importance, gradient }
    }

    /// Takes the loss's gradient of one parameter, which stands at `place` and has these values, and adds
    /// scale·importance·(w − place): in float64, rounded once.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(super) fn add(&mut self, place: Range<usize>, gradient: &[f32], values: &[f32]) {
        assert!(gradient.len() == place.len() && values.len() == place.len(), "one length");
        let (towards, sums) = (&self.towards[place.clone()], &mut self.gradient[place.clone()]);
        let each = sums.iter_mut().zip(gradient).zip(values).zip(towards);
        let away = |value: &f32, towards: &f32| f64::from(*value) - f64::from(*towards);
        match &self.importance {
            None => {
                for (((sum, gradient), value), towards) in each {
                    *sum = (f64::from(*gradient) + self.scale * away(value, towards)) as f32;
                }
            }
            Some(importance) => {
                for ((((sum, gradient), value), towards), weight) in each.zip(&importance[place]) {
                    let pull = self.scale * f64::from(*weight) * away(value, towards);
                    *sum = (f64::from(*gradient) + pull) as f32;
                }
            }
        }
    }

    /// What [`Pull::add`] made of the parameter at `place`.
    pub(super) fn gradient(&self, place: Range<usize>) -> &[f32] {
        &self.gradient[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_as_long_as_the_way_and_nothing_without_a_weight() {
        let mut pull = Pull::new(0.5, vec![9.0, 1.0, 1.0], None);
        pull.add(1..3, &[0.5, -0.25], &[1.0, 3.0]);
        assert_eq!(pull.gradient(1..3), [0.5, 0.75]);
        let mut none = Pull::new(0.0, vec![1.0], None);
        none.add(0..1, &[0.1], &[7.0]);
        assert_eq!(none.gradient(0..1), [0.1]);
    }

    #[test]
    fn a_value_is_pulled_as_much_as_it_matters() {
        let mut pull = Pull::new(0.5, vec![9.0, 1.0, 1.0], Some(vec![7.0, 0.0, 4.0]));
        pull.add(1..3, &[0.5, -0.25], &[5.0, 3.0]);
        assert_eq!(pull.gradient(1..3), [0.5, 3.75]);
    }
}
