//! A dictionary of experts: vehicles publish what they tuned, every vehicle searches coefficients of it on the pack, and what is
//! exchanged besides is a coefficient for each expert and group of layers.

use std::collections::BTreeSet;
use std::ops::Range;

use shoal_soup::chance::Draws;
use shoal_soup::input::InputError;
use shoal_soup::search::CmaEs;
use shoal_soup::sites::Layers;
use shoal_swarm::swarm::Flat;
use shoal_wire::v1::PARTS;

use super::carried::{Carried, connect};
use super::late::{Late, Step};
use super::link::{Link, Quantised, Sender};
use super::sites::grouped;
use super::{Fleet, Method, MethodError, Window, counted, difference, lie, mean};
use crate::config::{Coefficients, Lie};
use crate::lab::{Base, Tune};

/// Utility that a step may cost on frames it was not chosen by, before all stay: as the brake of `consensus`.
const BRAKE: f64 = 0.01;
/// What the search draws with, in units of an expert's share: the mean and twice it are two draws apart.
const DEVIATION: f64 = 0.5;
/// The same for the last step's coefficient.
const SPREAD_OF_LAST: f64 = 0.5;
/// A measured nominee in a vote: its name and what was found.
const VOTE_BYTES: usize = 16;

/// A fleet around a dictionary.
pub(super) struct Searching<'a> {
    fleet: Fleet,
    asked: Coefficients,
    link: Quantised<'a>,
    groups: Layers,
    /// Where the fleet is.
    at: Flat,
    /// How it came there; `None`: it has not moved yet.
    step: Option<Vec<f32>>,
    /// The last ones, the newest last.
    places: Vec<Flat>,
    vehicles: Vec<Vehicle>,
    /// What went round in each window: each with who sent it.
    told: Vec<Vec<(usize, Carried)>>,
}

/// One vehicle.
struct Vehicle {
    /// Where its expert began.
    anchor: Flat,
    /// Where it tunes from.
    from: Flat,
    tuned: Flat,
    late: Late<Step>,
    /// What there is of it to publish in this window.
    expert: Option<Step>,
    /// What the fleet was given when it was there last.
    given: Flat,
    /// Windows of which it has everything.
    has: usize,
}

/// What a window's positions are made of.
struct Dictionary {
    around: Flat,
    experts: Vec<Vec<f32>>,
    /// Coefficient of each expert where the search begins, and what one is drawn with.
    begin: Vec<(f64, f64)>,
    groups: Layers,
}

impl Dictionary {
    fn dim(&self) -> usize {
        self.experts.len() * self.groups.count()
    }

    /// around + Σ c·expert, each group of layers with coefficients of its own.
    fn position(&self, point: &[f64]) -> Flat {
        let mut values: Vec<f64> = self.around.iter().map(|value| f64::from(*value)).collect();
        for (ranges, of_group) in self.groups.ranges().zip(point.chunks(self.experts.len())) {
            for ((expert, z), (begin, spread)) in self.experts.iter().zip(of_group).zip(&self.begin)
            {
                let coefficient = begin + spread * z;
                for range in ranges {
                    add(&mut values, expert, range, coefficient);
                }
            }
        }
        values.into_iter().map(|value| value as f32).collect()
    }
}

/// `into += coefficient·expert` in this range.
fn add(into: &mut [f64], expert: &[f32], range: &Range<usize>, coefficient: f64) {
    let to = into.get_mut(range.clone()).unwrap_or_default();
    let from = expert.get(range.clone()).unwrap_or_default();
    to.iter_mut().zip(from).for_each(|(to, value)| *to += coefficient * f64::from(*value));
}

impl<'a> Searching<'a> {
    pub(super) fn new(
        fleet: Fleet,
        asked: Coefficients,
        base: &'a Base,
    ) -> Result<Self, MethodError> {
        let start = fleet.start.clone();
        let vehicle = |number| Vehicle {
            anchor: start.clone(),
            from: start.clone(),
            tuned: start.clone(),
            late: Late::new(fleet.is_stale(number)),
            expert: None,
            given: start.clone(),
            has: 0,
        };
        Ok(Searching {
            link: Quantised::new(base, fleet.vehicles, (asked.bits, 32), true),
            groups: grouped(&base.layout, asked.groups.into())?,
            at: start.clone(),
            step: None,
            places: Vec::new(),
            vehicles: (0..fleet.vehicles as usize).map(vehicle).collect(),
            told: Vec::new(),
            asked,
            fleet,
        })
    }

    /// Who of those that are there is asked for an expert: drawn anew for each window.
    fn asked_of(&self, window: &Window<'_, '_>) -> BTreeSet<usize> {
        let there = window.present.iter().enumerate().filter(|(_, there)| **there);
        let drawn = |(number, _)| (self.fleet.night_seed(number as u32, !window.number), number);
        let drawn: BTreeSet<(u64, usize)> = there.map(drawn).collect();
        drawn.into_iter().take(self.asked.asked.into()).map(|(_, number)| number).collect()
    }

    /// What vehicles that are asked publish, and what of it arrives.
    fn experts(
        &mut self,
        window: &Window<'_, '_>,
        told: &mut Vec<(usize, Carried)>,
    ) -> Result<Vec<Vec<f32>>, MethodError> {
        let asked = self.asked_of(window);
        let vehicles = self.vehicles.iter_mut().enumerate();
        let steps: Vec<Option<Step>> = vehicles
            .map(|(number, vehicle)| vehicle.expert.take().filter(|_| asked.contains(&number)))
            .collect();
        let honest = steps.iter().map(|step| Some(step.as_ref()?.by.clone())).collect();
        let sent = lie::meant(&self.fleet, window.number, honest, &mut self.link);
        let mut experts = Vec::new();
        for (number, (meant, step)) in sent.into_iter().zip(steps).enumerate() {
            let Some((meant, step)) = meant.zip(step) else { continue };
            let (received, carried) =
                self.link.send(Sender::Vehicle(number), meant, window.number)?;
            told.push((number, carried));
            experts.push(counted(&step.from, received, &self.at));
        }
        Ok(experts)
    }

    /// Experts, and the last step beside them, around where the fleet is.
    fn dictionary(&self, mut experts: Vec<Vec<f32>>) -> Dictionary {
        let share = 1.0 / experts.len().max(1) as f64;
        let mut begin = vec![(share, share); experts.len()];
        if let Some(step) = &self.step {
            experts.push(step.clone());
            begin.push((self.asked.inertia, SPREAD_OF_LAST));
        }
        Dictionary { around: self.at.clone(), experts, begin, groups: self.groups.clone() }
    }

    /// What the best of each vehicle's search is, by vehicle that is there; a liar nominates a place that it did not measure.
    fn nominees(
        &self,
        dictionary: &Dictionary,
        window: &mut Window<'_, '_>,
        part: u8,
    ) -> Result<Vec<Flat>, MethodError> {
        let there = window.present.iter().enumerate().filter(|(_, there)| **there);
        let there: Vec<usize> = there.map(|(number, _)| number).collect();
        let mut searches = Vec::new();
        for number in &there {
            let seed = self.fleet.night_seed(*number as u32, window.number);
            let search = CmaEs::new(vec![0.0; dictionary.dim()], DEVIATION)?;
            searches.push(Search { search, draws: Draws::new(seed, 1), best: None });
        }
        let population = searches.first().map_or(1, |first| first.search.population());
        for _generation in 0..(usize::from(self.asked.budget) / population).max(1) {
            let asked: Vec<Vec<Vec<f64>>> = searches.iter_mut().map(Search::ask).collect();
            let positions: Vec<Flat> =
                asked.iter().flatten().map(|point| dictionary.position(point)).collect();
            let found = window.lab.judged_on_part(&positions, window.number, part)?;
            for ((search, points), found) in
                searches.iter_mut().zip(&asked).zip(found.chunks(population))
            {
                search.tell(points, found)?;
            }
        }
        let nominee = |(number, search): (&usize, Search)| {
            let lie = self.fleet.lie_in(*number, window.number);
            let honest = search.best.map(|(point, _found)| point).unwrap_or_default();
            dictionary.position(&nominated(lie, honest))
        };
        Ok(there.iter().zip(searches).map(nominee).collect())
    }

    /// What crosses each vehicle's socket: its own messages up, everybody else's down, and of the windows it missed, too. Whoever
    /// is there goes on from where the fleet is.
    fn tell(&mut self, window: &mut Window<'_, '_>, told: Vec<(usize, Carried)>) {
        self.told.push(told);
        let given = mean(&self.places).unwrap_or_else(|| self.at.clone());
        for (number, vehicle) in self.vehicles.iter_mut().enumerate() {
            let present = window.present.get(number).copied().unwrap_or(false);
            let Some(traffic) = window.traffic.get_mut(number).filter(|_| present) else {
                continue;
            };
            connect(traffic);
            let now = self.told.last().into_iter().flatten();
            now.filter(|(of, _)| *of == number).for_each(|(_, own)| own.up(traffic));
            let missed = self.told.iter().skip(vehicle.has).flatten();
            missed.filter(|(of, _)| *of != number).for_each(|(_, other)| other.down(traffic));
            vehicle.has = self.told.len();
            (vehicle.anchor, vehicle.from) = (self.at.clone(), self.at.clone());
            vehicle.given = given.clone();
        }
    }
}

/// The best of what was searched, unless a gate does not hold there, or it costs more than the brake allows beside staying, which
/// stands last.
fn chosen<'c>(candidates: &'c [Flat], found: &[f64]) -> Option<&'c Flat> {
    let (stay, searched) = candidates.split_last()?;
    let (stayed, found) = found.split_last()?;
    let best = searched.iter().zip(found).max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    // Nobody goes where no gate holds, wherever all are.
    let gated = *best.1 == f64::NEG_INFINITY;
    Some(if gated || *best.1 < stayed - BRAKE { stay } else { best.0 })
}

/// One vehicle's search.
struct Search {
    search: CmaEs,
    draws: Draws,
    best: Option<(Vec<f64>, f64)>,
}

impl Search {
    fn ask(&mut self) -> Vec<Vec<f64>> {
        self.search.ask(&mut self.draws)
    }

    fn tell(&mut self, points: &[Vec<f64>], found: &[f64]) -> Result<(), InputError> {
        for (point, found) in points.iter().zip(found) {
            if self.best.as_ref().is_none_or(|(_point, best)| found > best) {
                self.best = Some((point.clone(), *found));
            }
        }
        self.search.tell(points, found)
    }
}

/// The point that is nominated in place of the one that was found.
fn nominated(lie: Option<Lie>, found: Vec<f64>) -> Vec<f64> {
    match lie {
        // Whoever copies a nominee changes nothing, of who says two things nothing else is there to nominate, and everybody fits
        // coefficients to the part that is asked for.
        None | Some(Lie::Copied | Lie::Equivocating | Lie::Overfitting) => found,
        // Where nobody measured: all shares many times over.
        Some(Lie::Random | Lie::Inflated | Lie::Colluding | Lie::Withheld) => {
            vec![10.0; found.len()]
        }
        Some(Lie::ForgedWorst) => found.into_iter().map(|z| -z).collect(),
    }
}

impl Method for Searching<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.vehicles.iter().map(|vehicle| &vehicle.from))
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        for (vehicle, tuned) in self.vehicles.iter_mut().zip(tuned) {
            let by = difference(&tuned, &vehicle.anchor);
            vehicle.expert = vehicle.late.sends(Step { from: vehicle.anchor.clone(), by });
            (vehicle.from, vehicle.tuned) = (tuned.clone(), tuned);
        }
        if !window.number.is_multiple_of(self.asked.every) {
            return Ok(());
        }
        let mut told = Vec::new();
        let experts = self.experts(window, &mut told)?;
        if !experts.is_empty() {
            let dictionary = self.dictionary(experts);
            // Chosen on one part of the pack, judged on the next.
            let part = (window.number % u32::from(PARTS)) as u8;
            let mut candidates = vec![dictionary.position(&vec![0.0; dictionary.dim()])];
            candidates.extend(self.nominees(&dictionary, window, part)?);
            let bodies = [8 + 4 * dictionary.dim(), VOTE_BYTES * candidates.len()];
            for (number, _) in window.present.iter().enumerate().filter(|(_, there)| **there) {
                told.extend(bodies.map(|body| (number, Carried::signed(body))));
            }
            candidates.push(self.at.clone());
            let next = (part + 1) % PARTS;
            let mut found = Vec::new();
            for _voter in window.present.iter().filter(|there| **there) {
                // Each of them measures, and all find the same.
                found = window.lab.judged_on_part(&candidates, window.number, next)?;
            }
            let at = chosen(&candidates, &found).unwrap_or(&self.at).clone();
            self.step = Some(difference(&at, &self.at));
            self.at = at;
        }
        self.places.push(self.at.clone());
        if self.places.len() > usize::from(self.asked.mean_last) {
            self.places.remove(0);
        }
        self.tell(window, told);
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        mean(&self.places).or_else(|| Some(self.at.clone()))
    }

    /// Who was away has what it was given before.
    fn teacher(&self, vehicle: u32) -> Option<Flat> {
        Some(self.vehicles.get(vehicle as usize)?.given.clone())
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        let vehicle = self.vehicles.get(vehicle as usize);
        vehicle.map_or_else(|| self.at.clone(), |vehicle| vehicle.tuned.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_layers_has_coefficients_of_its_own() {
        let dictionary = Dictionary {
            around: vec![1.0; 4].into(),
            experts: vec![vec![1.0, 2.0, 3.0, 4.0], vec![10.0; 4]],
            begin: vec![(0.5, 0.5), (0.0, 0.25)],
            groups: Layers::blocks(&[2, 2]),
        };
        assert_eq!(dictionary.dim(), 4);
        // Where the search begins, then: the first group without the first expert, the second with a quarter of the second.
        assert_eq!(*dictionary.position(&[0.0; 4]), [1.5, 2.0, 2.5, 3.0]);
        assert_eq!(*dictionary.position(&[-1.0, 0.0, 0.0, 1.0]), [1.0, 1.0, 5.0, 5.5]);
    }

    #[test]
    fn all_stay_only_where_every_other_place_costs_more_than_the_brake() {
        let candidates: Vec<Flat> = (0..3).map(|n| vec![n as f32].into()).collect();
        let place = |found: [f64; 3]| chosen(&candidates, &found).unwrap()[0];
        assert_eq!(place([0.3, 0.4, 0.2]), 1.0);
        assert_eq!(place([0.3, 0.2, 0.305]), 0.0, "within the brake");
        assert_eq!(place([0.3, 0.2, 0.32]), 2.0);
        let below = f64::NEG_INFINITY;
        assert_eq!(place([below, below, 0.2]), 2.0);
        assert_eq!(place([below, below, below]), 2.0, "no gate holds anywhere: all stay");
        assert_eq!(place([0.1, below, below]), 0.0);
        assert!(chosen(&[], &[]).is_none());
    }

    #[test]
    fn liars_nominate_what_they_did_not_find() {
        let found = vec![0.5, -1.0];
        for lie in [None, Some(Lie::Copied), Some(Lie::Equivocating), Some(Lie::Overfitting)] {
            assert_eq!(nominated(lie, found.clone()), found);
        }
        for lie in [Lie::Random, Lie::Inflated, Lie::Colluding, Lie::ForgedWorst] {
            assert_ne!(nominated(Some(lie), found.clone()), found);
        }
    }
}
