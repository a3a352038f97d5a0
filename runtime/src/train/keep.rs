//! What a trainer writes into the terms that keep its parameters near a place ([`crate::gradient::Keep`]).

use super::{Parameter, TrainError, Trainer, run_of};
use crate::gradient::{IMPORTANCE, PLACE, STRENGTH};

impl Trainer {
    /// Pulls all parameters alike: the graph's term is then (μ/2)·|w − place|².
    ///
    /// `towards` gives each parameter, by the name of its input, the values of the place (row-major, in the graph's shape). A
    /// checkpoint does not hold them.
    ///
    /// # Errors
    /// [`TrainError::Start`] if a parameter's values are not given whole, [`TrainError::NoTerm`] if the graph has no such term;
    /// nothing is changed. [`TrainError::Engine`].
    /// # Source
    /// `FedProx`, arXiv 1812.06127, equation 2.
    pub fn pull<'a>(
        &mut self,
        mu: f64,
        towards: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<(), TrainError> {
        let towards = run_of(&self.parameters, towards)?;
        self.set_pull(mu, &towards, None)
    }

    /// As [`Trainer::pull`], each value as much as it matters: (λ/2)·Σ importance·(w − place)². Elastic weight consolidation,
    /// if the importance is the diagonal of the Fisher matrix at the place, of what is not to be forgotten.
    ///
    /// `towards` and `importance` give each parameter, by the name of its input, its values (row-major, in the graph's shape);
    /// an importance is `>= 0`, in units of a second derivative of the loss over λ. As the pull is clipped with the loss's
    /// gradient, a very large λ slows what does not matter, too.
    ///
    /// # Errors
    /// As [`Trainer::pull`], and [`TrainError::Importance`] for one that is negative or not finite.
    /// # Source
    /// Kirkpatrick et al., arXiv 1612.00796, equation 3.
    pub fn hold<'a>(
        &mut self,
        lambda: f64,
        towards: impl Fn(&str) -> Option<&'a [f32]>,
        importance: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<(), TrainError> {
        let towards = run_of(&self.parameters, towards)?;
        let importance = run_of(&self.parameters, importance)?;
        for Parameter { name, start, end, .. } in &self.parameters {
            let mut of = importance[*start..*end].iter().copied();
            if let Some(value) = of.find(|value| !value.is_finite() || *value < 0.0) {
                return Err(TrainError::Importance { name: name.clone(), value });
            }
        }
        self.set_pull(lambda, &towards, Some(&importance))
    }

    /// Sets the place alone, for a graph that holds what it gives to what it gives there.
    ///
    /// # Errors
    /// As [`Trainer::pull`].
    pub fn set_place<'a>(
        &mut self,
        place: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<(), TrainError> {
        let place = run_of(&self.parameters, place)?;
        let inputs = self.inputs_of(PLACE)?;
        self.write_run(&inputs, &place)
    }

    fn set_pull(
        &mut self,
        strength: f64,
        towards: &[f32],
        importance: Option<&[f32]>,
    ) -> Result<(), TrainError> {
        let scale = self.term_input(STRENGTH)?;
        let places = self.inputs_of(PLACE)?;
        // Where each value could matter in its own way, alike is 1.
        let weighs = match importance {
            Some(_) => Some(self.inputs_of(IMPORTANCE)?),
            None => self.inputs_of(IMPORTANCE).ok(),
        };
        self.session.write_f32(scale, &[strength as f32])?;
        self.write_run(&places, towards)?;
        match (weighs, importance) {
            (Some(inputs), Some(importance)) => self.write_run(&inputs, importance),
            (Some(inputs), None) => self.write_run(&inputs, &vec![1.0; towards.len()]),
            (None, _) => Ok(()),
        }
    }

    /// The input that stands beside each parameter under this prefix.
    fn inputs_of(&self, prefix: &str) -> Result<Vec<usize>, TrainError> {
        let names = self.parameters.iter().map(|parameter| format!("{prefix}{}", parameter.name));
        names.map(|name| self.term_input(&name)).collect()
    }

    fn term_input(&self, name: &str) -> Result<usize, TrainError> {
        let found = self.session.input_index(name);
        found.map_err(|_| TrainError::NoTerm { input: name.to_owned() })
    }

    fn write_run(&mut self, inputs: &[usize], run: &[f32]) -> Result<(), TrainError> {
        for (input, Parameter { start, end, .. }) in inputs.iter().zip(&self.parameters) {
            self.session.write_f32(*input, &run[*start..*end])?;
        }
        Ok(())
    }
}

/// Scales an importance to a mean of 1; whether there is any.
pub fn of_mean_one(importance: &mut [f32]) -> bool {
    let sum: f64 = importance.iter().map(|value| f64::from(*value)).sum();
    let mean = sum / importance.len().max(1) as f64;
    if mean <= 0.0 {
        return false;
    }
    importance.iter_mut().for_each(|value| *value = (f64::from(*value) / mean) as f32);
    true
}
