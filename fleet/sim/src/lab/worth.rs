//! What adapters are worth in a window: the terms of the utility, weighted, for tables as they are and for who chooses with their gates.

use shoal_swarm::swarm::Flat;
use shoal_swarm::utility::{Weighing, to_value};
use shoal_wire::v1::TERM_VALUE_MAX;

use super::{Lab, LabError, On, term};

/// Of adapters, each: its terms. `None`: it is below a gate.
type Terms = Vec<Option<Vec<f64>>>;

impl Lab<'_> {
    /// Utility of adapters in this window: the skill on each term's whole pack, weighted, whatever gates say. A term without weight is
    /// not measured; where every weight is 0 nothing is better than anything.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn utility(&mut self, asked: &[Flat], window: u32) -> Result<Vec<f64>, LabError> {
        let Some(weighing) = self.weighing(asked, window) else {
            return Ok(vec![0.0; asked.len()]);
        };
        let terms = weighed(&weighing, false);
        let found = self.term_by_term(asked, &terms, |term| On::Pack { term })?;
        Ok(found.iter().map(|found| sum(&weighing, &terms, found)).collect())
    }

    /// The same to whoever chooses by it: −∞ of an adapter that is below the gate of a term, as none is ever best by the vehicles' own
    /// cores. A term that has a gate is measured whatever its weight.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn judged(&mut self, asked: &[Flat], window: u32) -> Result<Vec<f64>, LabError> {
        self.gated(asked, window, |term| On::Pack { term })
    }

    /// That on one part of each term's pack.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn judged_on_part(
        &mut self,
        asked: &[Flat],
        window: u32,
        part: u8,
    ) -> Result<Vec<f64>, LabError> {
        self.gated(asked, window, |term| On::Part { term, part })
    }

    /// Shares of the terms that count in this window, and each term of each of these, on the pack: skills, at least
    /// [`SKILL_MIN`](super::SKILL_MIN). `None`: below a gate.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn terms_of(&mut self, asked: &[Flat], window: u32) -> Result<(Vec<f64>, Terms), LabError> {
        let Some(weighing) = self.weighing(asked, window) else {
            return Ok((Vec::new(), vec![Some(Vec::new()); asked.len()]));
        };
        let (terms, counted) = (weighed(&weighing, true), weighed(&weighing, false));
        let found = self.term_by_term(asked, &terms, |term| On::Pack { term })?;
        let of = |found: Vec<f64>| {
            let counts = |(term, _): &(&u8, f64)| counted.contains(term);
            let of_terms = terms.iter().zip(found.iter().copied()).filter(counts);
            passes(&weighing, &terms, &found).then(|| of_terms.map(|(_, value)| value).collect())
        };
        Ok((
            counted.iter().map(|term| share(&weighing, *term)).collect(),
            found.into_iter().map(of).collect(),
        ))
    }

    /// Terms that count in this window, with their shares.
    pub(super) fn terms(&self, window: u32) -> Vec<(u8, f64)> {
        let Some(weighing) = self.utility.at(window) else { return Vec::new() };
        let terms = weighed(&weighing, false).into_iter();
        terms.map(|term| (term, share(&weighing, term))).collect()
    }

    fn gated(
        &mut self,
        asked: &[Flat],
        window: u32,
        on: impl Fn(u8) -> On,
    ) -> Result<Vec<f64>, LabError> {
        let Some(weighing) = self.weighing(asked, window) else {
            return Ok(vec![0.0; asked.len()]);
        };
        let terms = weighed(&weighing, true);
        let found = self.term_by_term(asked, &terms, on)?;
        let utility = |found: &Vec<f64>| {
            let holds = passes(&weighing, &terms, found);
            if holds { sum(&weighing, &terms, found) } else { f64::NEG_INFINITY }
        };
        Ok(found.iter().map(utility).collect())
    }

    /// How terms weigh in this window; `None`: none has a weight, and who asks has asked for nothing.
    fn weighing(&mut self, asked: &[Flat], window: u32) -> Option<Weighing> {
        let weighing = self.utility.at(window);
        if weighing.is_none() {
            self.counts.evaluations += asked.len() as u64;
        }
        weighing
    }

    /// Each of these terms of each of these.
    fn term_by_term(
        &mut self,
        asked: &[Flat],
        terms: &[u8],
        on: impl Fn(u8) -> On,
    ) -> Result<Vec<Vec<f64>>, LabError> {
        let wanted: Vec<(Flat, On)> = asked
            .iter()
            .flat_map(|values| terms.iter().map(|term| (values.clone(), on(*term))))
            .collect();
        let evaluations = self.counts.evaluations;
        let measured = self.measure(&wanted)?;
        // One evaluation of the utility each, however many terms it has.
        self.counts.evaluations = evaluations + asked.len() as u64;
        let mut skills = measured.iter().map(term::value);
        Ok(asked.iter().map(|_values| skills.by_ref().take(terms.len()).collect()).collect())
    }
}

/// Terms that have a weight, or also those that have a gate.
fn weighed(weighing: &Weighing, gates: bool) -> Vec<u8> {
    let shares = (0_u8..).zip(weighing.shares());
    let asked = shares.filter(|(term, share)| **share > 0.0 || gates && has_gate(weighing, *term));
    asked.map(|(term, _)| term).collect()
}

/// Whether anything can be below a gate of this term.
fn has_gate(weighing: &Weighing, term: u8) -> bool {
    let values = values(weighing, |of| if of == term { -TERM_VALUE_MAX } else { TERM_VALUE_MAX });
    !weighing.passes(&values)
}

/// Whether an adapter of which these terms were measured is below no gate, in the units of claims.
fn passes(weighing: &Weighing, terms: &[u8], found: &[f64]) -> bool {
    let of = |term: u8| terms.iter().zip(found).find(|(other, _)| **other == term);
    let value = |term| of(term).map_or(TERM_VALUE_MAX, |(_, value)| to_value(*value));
    weighing.passes(&values(weighing, value))
}

fn values(weighing: &Weighing, of: impl Fn(u8) -> i16) -> Vec<i16> {
    (0_u8..).zip(weighing.shares()).map(|(term, _)| of(term)).collect()
}

fn share(weighing: &Weighing, term: u8) -> f64 {
    weighing.shares().get(usize::from(term)).copied().unwrap_or(0.0)
}

fn sum(weighing: &Weighing, terms: &[u8], found: &[f64]) -> f64 {
    terms.iter().zip(found).map(|(term, value)| share(weighing, *term) * value).sum()
}
