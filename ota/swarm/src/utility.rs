//! Utility: what the swarm maximises, a weighted sum of terms that changes with the windows. Values are kept a term;
//! a utility is taken where it is needed and never stored.

use alloc::vec::Vec;

use shoal_wire::PackHash;
use shoal_wire::v1::{Compared, Metric, TERM_VALUE_MAX, Term, UtilityDocument};

/// One unit of a term value on the wire.
const UNIT: f64 = 1e-4;

/// The utility document in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Utility {
    version: u32,
    terms: Vec<Term>,
}

/// Why a utility document cannot follow another. Measurements name terms by their place, so places stay.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSuccessor {
    #[error("version {got} does not follow {newest}")]
    Version { got: u32, newest: u32 },
    /// A term is retired by its weight, never removed or measured on another pack.
    #[error("term {index} is not the one it was")]
    Changed { index: usize },
    /// Its first knot has a weight: nobody has measured it yet.
    #[error("term {index} is new and begins with a weight")]
    NotSilent { index: usize },
}

impl Utility {
    /// The utility of a document.
    pub fn new(document: &UtilityDocument) -> Self {
        let fields = document.fields();
        Self { version: fields.version, terms: fields.terms.iter().cloned().collect() }
    }

    /// Of the document: measurements name it.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What each term is measured on and how, in the document's order.
    pub fn terms(&self) -> impl ExactSizeIterator<Item = (PackHash, Metric)> {
        self.terms.iter().map(|term| (term.pack, term.metric))
    }

    /// The pack that claims and votes name: that of the first term.
    pub fn pack(&self) -> Option<PackHash> {
        self.terms.first().map(|term| term.pack)
    }

    /// Whether this document can come after another: it may change weights and gates, and append terms. In the document right after
    /// it these begin with weight 0, so that everyone has measured a term when it first counts; who missed that one finds them
    /// as they are by now.
    ///
    /// # Errors
    /// [`RejectSuccessor`].
    pub fn follows(&self, before: &Self) -> Result<(), RejectSuccessor> {
        if self.version <= before.version {
            return Err(RejectSuccessor::Version { got: self.version, newest: before.version });
        }
        for (index, old) in before.terms.iter().enumerate() {
            let same =
                |new: &Term| (&new.name, new.pack, new.metric) == (&old.name, old.pack, old.metric);
            if !self.terms.get(index).is_some_and(same) {
                return Err(RejectSuccessor::Changed { index });
            }
        }
        let next = before.version.checked_add(1) == Some(self.version);
        for (index, new) in self.terms.iter().enumerate().skip(before.terms.len()) {
            if next && new.knots.first().is_none_or(|knot| knot.weight > 0.0) {
                return Err(RejectSuccessor::NotSilent { index });
            }
        }
        Ok(())
    }

    /// The weights in this window. Between two knots a weight lies on the line through them, before the first it is
    /// the first's, after the last the last's.
    pub fn weights(&self, window: u32) -> Vec<f64> {
        self.terms.iter().map(|term| weight(term, window)).collect()
    }

    /// The utility in this window; `None` when every weight is 0: then nothing is better than anything.
    pub fn at(&self, window: u32) -> Option<Weighing> {
        let weights = self.weights(window);
        let sum: f64 = weights.iter().sum();
        (sum > 0.0).then(|| Weighing {
            shares: weights.iter().map(|weight| weight / sum).collect(),
            gates: self.terms.iter().map(|term| term.gate).collect(),
        })
    }
}

fn weight(term: &Term, window: u32) -> f64 {
    let mut before: Option<(u32, f64)> = None;
    for knot in &term.knots {
        let weight = f64::from(knot.weight);
        if window <= knot.window {
            let Some((from, first)) = before.filter(|_before| window < knot.window) else {
                return weight;
            };
            let part = f64::from(window.saturating_sub(from))
                / f64::from(knot.window.saturating_sub(from));
            return first + (weight - first) * part;
        }
        before = Some((knot.window, weight));
    }
    before.map_or(0.0, |(_window, weight)| weight)
}

/// The utility of one window: how much of it each term is.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighing {
    /// Sum 1.
    shares: Vec<f64>,
    gates: Vec<Option<i16>>,
}

impl Weighing {
    /// α: how much of the utility each term is; they sum to 1.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// Utility of a measurement, in [−1, 1]: Σ share·value. `None` if a term that counts was not measured.
    pub fn utility(&self, values: &[i16]) -> Option<f64> {
        let mut sum = 0.0;
        for (index, share) in self.shares.iter().enumerate() {
            match values.get(index) {
                Some(value) => sum += share * value_of(*value),
                None if *share > 0.0 => return None,
                None => {}
            }
        }
        Some(sum)
    }

    /// Standard error of a utility whose terms have these: they are of different packs, so they are independent.
    pub fn standard_error(&self, standard_errors: &[u16]) -> f64 {
        let weighted = |(share, error): (&f64, &u16)| share * f64::from(*error) * UNIT;
        let squares =
            self.shares.iter().zip(standard_errors).map(weighted).map(|error| error * error);
        libm::sqrt(squares.sum())
    }

    /// Of a vote: how much better the nominee is than best, and the standard error of that. A term that was not
    /// measured then, because it came later, says nothing.
    pub fn difference(&self, terms: &[Compared]) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for (share, term) in self.shares.iter().zip(terms) {
            sum += share * (value_of(term.value) - value_of(term.best));
            let error = share * f64::from(term.standard_error) * UNIT;
            squares += error * error;
        }
        (sum, libm::sqrt(squares))
    }

    /// Whether a particle with these values can be best or worst: none lies below its gate. What was not measured
    /// has not failed.
    pub fn passes(&self, values: &[i16]) -> bool {
        let fails = |(gate, value): (&Option<i16>, &i16)| gate.is_some_and(|gate| *value < gate);
        !self.gates.iter().zip(values).any(fails)
    }

    /// Of each term that has a gate: the weighing that knows no other term, and its gate alone.
    pub(crate) fn gated(&self) -> impl Iterator<Item = Self> {
        let gates = self.gates.iter().enumerate().filter(|(_index, gate)| gate.is_some());
        gates.map(|(index, _gate)| {
            let only = |one: usize| one == index;
            let shares = (0..=index).map(|one| if only(one) { 1.0 } else { 0.0 });
            let gates = self.gates.iter().enumerate().map(|(one, gate)| gate.filter(|_| only(one)));
            Self { shares: shares.collect(), gates: gates.collect() }
        })
    }

    /// Total variation to another window's weighing, ½·Σ|Δshare|. No utility differs by more than twice this.
    pub fn variation(&self, other: &Self) -> f64 {
        let longer = self.shares.len().max(other.shares.len());
        let share = |of: &Self, index: usize| of.shares.get(index).copied().unwrap_or(0.0);
        let apart = (0..longer).map(|index| (share(self, index) - share(other, index)).abs());
        apart.sum::<f64>() / 2.0
    }
}

/// A term value as a number, in [−1, 1].
pub fn value_of(value: i16) -> f64 {
    f64::from(value) * UNIT
}

/// A number as a term value: clamped to [−1, 1], the nearest multiple of 1e-4. No number (NaN) is the lowest.
pub fn to_value(number: f64) -> i16 {
    let most = f64::from(TERM_VALUE_MAX);
    let scaled = libm::round(number / UNIT);
    if scaled.is_nan() { -TERM_VALUE_MAX } else { scaled.clamp(-most, most) as i16 }
}

/// A standard error as it is written: the nearest multiple of 1e-4, at most 6.5535; what is no number is the most.
pub fn to_standard_error(number: f64) -> u16 {
    let most = f64::from(u16::MAX);
    let scaled = libm::round(number / UNIT);
    if scaled.is_nan() { u16::MAX } else { scaled.clamp(0.0, most) as u16 }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use alloc::{format, vec};

    use shoal_wire::v1::{Knot, UtilityDocumentFields};

    use super::*;
    use crate::draws::{Chance, Draws, Key};

    /// Terms with these knots, each on a pack of its own.
    fn document(version: u32, terms: &[&[(u32, f32)]]) -> Utility {
        let term = |(index, knots): (usize, &&[(u32, f32)])| Term {
            name: format!("term {index}").as_str().try_into().unwrap(),
            pack: PackHash::new([index as u8; 32]),
            metric: Metric::Skill,
            knots: knots.iter().map(|&(window, weight)| Knot { window, weight }).collect(),
            gate: (index == 1).then_some(-500),
        };
        let terms = terms.iter().enumerate().map(term).collect();
        Utility::new(&UtilityDocument::new(UtilityDocumentFields { version, terms }).unwrap())
    }

    #[test]
    fn a_weight_is_on_the_line_between_its_knots_and_flat_outside_them() {
        let utility = document(1, &[&[(10, 1.0), (14, 3.0), (15, 0.0)]]);
        let weights =
            [0, 10, 11, 13, 14, 15, 16, u32::MAX].map(|window| utility.weights(window)[0]);
        assert_eq!(weights, [1.0, 1.0, 1.5, 2.5, 3.0, 0.0, 0.0, 0.0]);
        let ends = document(1, &[&[(0, 0.0), (u32::MAX, 1.0)]]);
        assert_eq!([0, u32::MAX].map(|window| ends.weights(window)[0]), [0.0, 1.0]);
    }

    #[test]
    fn utility_is_the_weighted_mean_of_the_terms() {
        let now = document(1, &[&[(0, 1.0)], &[(0, 3.0)]]).at(7).unwrap();
        assert_eq!(now.utility(&[8000, -4000]), Some(0.25 * 0.8 - 0.75 * 0.4));
        assert_eq!(now.utility(&[8000]), None, "a term that counts is missing");
        assert_eq!(document(1, &[&[(0, 0.0)]]).at(0), None, "nothing counts");
    }

    #[test]
    fn a_new_term_has_weight_0_in_its_first_window() {
        let before = document(1, &[&[(0, 1.0)]]);
        let grown = document(2, &[&[(0, 1.0)], &[(5, 0.0), (9, 1.0)]]);
        assert_eq!(grown.follows(&before), Ok(()));
        let now = grown.at(5).unwrap();
        assert_eq!(now.utility(&[3000]), Some(0.3), "who has not measured it is known");
        assert_eq!(grown.at(6).unwrap().utility(&[3000]), None);
        let loud = document(2, &[&[(0, 1.0)], &[(5, 0.5), (9, 1.0)]]);
        assert_eq!(loud.follows(&before), Err(RejectSuccessor::NotSilent { index: 1 }));
        // Of the document in between nobody can say how its terms began who has not seen it.
        let later = document(3, &[&[(0, 1.0)], &[(5, 0.5), (9, 1.0)]]);
        assert_eq!(later.follows(&before), Ok(()));
    }

    #[test]
    fn places_of_terms_stay() {
        let before = document(3, &[&[(0, 1.0)], &[(0, 1.0)]]);
        assert_eq!(document(4, &[&[(0, 0.5)], &[(9, 2.0)]]).follows(&before), Ok(()));
        let fewer = document(4, &[&[(0, 1.0)]]);
        assert_eq!(fewer.follows(&before), Err(RejectSuccessor::Changed { index: 1 }));
        let older = document(3, &[&[(0, 1.0)], &[(0, 1.0)]]);
        let rejected = RejectSuccessor::Version { got: 3, newest: 3 };
        assert_eq!(older.follows(&before), Err(rejected));
    }

    #[test]
    fn a_gate_is_not_outweighed() {
        let now = document(1, &[&[(0, 1.0)], &[(0, 1.0)]]).at(0).unwrap();
        assert!(now.passes(&[-9000, -500]));
        assert!(!now.passes(&[10_000, -501]));
        assert!(now.passes(&[10_000]), "not measured is not failed");
    }

    #[test]
    fn errors_of_terms_add_up_as_of_independent_ones() {
        let now = document(1, &[&[(0, 1.0)], &[(0, 1.0)]]).at(0).unwrap();
        assert!((now.standard_error(&[300, 400]) - 0.025).abs() < 1e-15);
        let terms = [(5000, 4000, 300), (1000, 2000, 400)]
            .map(|(value, best, standard_error)| Compared { value, best, standard_error });
        let (difference, error) = now.difference(&terms);
        assert!(difference.abs() < 1e-15 && (error - 0.025).abs() < 1e-15);
        assert!((now.difference(&terms[..1]).0 - 0.05).abs() < 1e-15);
    }

    /// Property. Source: swarm.md §7.1 step 6, with terms in [−1, 1].
    #[test]
    fn no_utility_moves_by_more_than_twice_the_total_variation() {
        let key =
            Key { seed: 2, vehicle: None, window: 0, step: 0, term: crate::draws::Term::Dropout };
        let mut draws = Draws::new(key);
        let mut largest = 0.0_f64;
        for _ in 0..2000 {
            let mut knots = || [(0, draws.unit() as f32), (1, draws.unit() as f32)];
            let terms = [knots(), knots(), knots()];
            let slices: Vec<&[(u32, f32)]> = terms.iter().map(|knots| knots.as_slice()).collect();
            let utility = document(1, &slices);
            let (before, after) = (utility.at(0).unwrap(), utility.at(1).unwrap());
            let bound = 2.0 * before.variation(&after);
            let values: Vec<i16> = (0..3).map(|_| to_value(2.0 * draws.unit() - 1.0)).collect();
            let extreme: Vec<i16> = values.iter().map(|value| 10_000 * value.signum()).collect();
            for values in [values, extreme] {
                let moved = after.utility(&values).unwrap() - before.utility(&values).unwrap();
                assert!(moved.abs() <= bound + 1e-12, "{moved} > {bound}");
                largest = largest.max(moved.abs() / bound);
            }
        }
        assert!(largest > 0.95, "the bound is not far off: {largest}");
    }

    #[test]
    fn numbers_on_the_wire_are_nearest_and_within_bounds() {
        let values = [0.12344, 0.12346, -0.00005, 7.0, f64::NEG_INFINITY, f64::NAN].map(to_value);
        assert_eq!(values, [1234, 1235, -1, 10_000, -10_000, -10_000]);
        let errors = [0.00014, -1.0, 9.0, f64::NAN].map(to_standard_error);
        assert_eq!(errors, [1, 0, u16::MAX, u16::MAX]);
        assert_eq!(vec![value_of(-10_000), value_of(2500)], [-1.0, 0.25]);
    }
}
