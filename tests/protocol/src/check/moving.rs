//! From where a vehicle tunes: from where everybody began, from what it tuned itself, or from what it has itself measured to be no
//! worse than what it stood on.

use std::collections::BTreeSet;
use std::fmt::Write;

use shoal_swarm::roster::{part, part_after};
use shoal_swarm::swarm::{On, ValuesHash};
use shoal_wire::v1::Rule;

use super::Checks;
use super::stepping::{Stepper, Walk};
use crate::documents::Fleet;
use crate::engine::{Compared, Roads, Seen, start};
use crate::must::must;
use crate::vehicle::Vehicle;

/// The way of one vehicle.
#[derive(Debug)]
pub(super) struct Way {
    /// How many of its tunings were looked at.
    looked: usize,
    /// What it moved to last: it stands on that.
    stands: ValuesHash,
    /// When the program began that said so.
    started_us: u64,
    /// How it may walk by the paper's rule: a step that leads nowhere looks as none.
    walks: Vec<Walk>,
}

impl Default for Way {
    fn default() -> Self {
        let walks = vec![Walk::default()];
        Way { looked: 0, stands: ValuesHash::of(&start()), started_us: 0, walks }
    }
}

/// By how much an adapter was better than another where neither its claim, nor who folded it, nor its votes looked, a part each, in
/// order.
pub(super) struct Looks(Vec<i32>);

impl Looks {
    /// By the first look, or by the mean of two.
    pub(super) fn no_worse(&self) -> bool {
        let (one, two) = (self.0.first(), self.0.first_chunk::<2>());
        one.is_some_and(|gain| *gain >= 0) || two.is_some_and(|[one, two]| one + two >= 0)
    }
}

impl Checks {
    pub(super) fn moved(
        &mut self,
        vehicle: &Vehicle,
        (fleet, roads): (&Fleet, &Roads),
        now_us: u64,
    ) {
        let seen = vehicle.engine.seen();
        let mut way = self.ways.remove(&vehicle.number).unwrap_or_default();
        let tunings = seen.tuned_from.iter().zip(&seen.tuned_in).enumerate();
        for (tuning, (from, window)) in tunings.skip(way.looked) {
            let (number, to) = (vehicle.number, *from);
            let last = tuning.checked_sub(1);
            // From where it tuned last, or from what came of that.
            let stays = match last {
                None => to == ValuesHash::of(&start()),
                Some(last) => to == seen.tuned_from[last] || to == seen.results[last],
            };
            // A step that leads nowhere is one all the same.
            if let (Rule::Paper(_), Some(_last)) = (fleet.rule, last) {
                self.walked(vehicle, &mut way, tuning, (fleet, roads), now_us);
                continue;
            }
            if stays {
                continue;
            }
            let places = if way.started_us == vehicle.started_us {
                BTreeSet::from([way.stands])
            } else {
                self.places(&seen, roads, way.stands)
            };
            let made = roads.merged_in(to);
            let pairs = || places.iter().flat_map(|place| made.iter().map(move |of| (*place, *of)));
            must!(
                self.looked_at,
                Moves,
                pairs().any(|(place, of)| self.looks(&seen, (to, of), place, *window).no_worse()),
                "{now_us}: vehicle {number} moved in window {window} to what was folded in {made:?}:\n{}",
                told(&seen, to)
            );
            must!(
                self.looked_at,
                Moves,
                !roads.is_by_heart(to) && !roads.is_agreed(to),
                "{now_us}: vehicle {number} moved in window {window} to what liars made"
            );
            (way.stands, way.started_us) = (to, vehicle.started_us);
        }
        way.looked = seen.tuned_from.len();
        self.ways.insert(vehicle.number, way);
    }

    /// By the paper's rule: that a step led to where a vehicle tuned from.
    fn walked(
        &mut self,
        vehicle: &Vehicle,
        way: &mut Way,
        tuning: usize,
        (fleet, roads): (&Fleet, &Roads),
        now_us: u64,
    ) {
        let seen = &*vehicle.engine.seen();
        let (number, to, window) = (vehicle.number, seen.tuned_from[tuning], seen.tuned_in[tuning]);
        let before = seen.tuned_in[..tuning].last().copied().unwrap_or(0);
        let now = self.calendar.window_of(now_us);
        let (seed, key) = (fleet.seed, vehicle.key);
        let anew = way.started_us != vehicle.started_us;
        // A step is tuned from in its own window; of those before the power went it is not known in which they were. The nonce
        // of the next window comes when this one closes.
        let windows = match anew {
            true => before.min(window).min(now)..=window.max(now + 1),
            false => window..=window,
        };
        let excited = fleet.has_told_another_utility();
        let by = Stepper { seed, key, windows, seen, tuning, anew, excited };
        let stepped = way.walks.iter().flat_map(|walk| self.stepped(roads, walk, &by, to));
        let mut walks: Vec<Walk> = stepped.collect();
        if to == way.stands {
            walks.append(&mut way.walks);
        }
        must!(
            self.looked_at,
            Steps,
            !walks.is_empty(),
            "{now_us}: vehicle {number} stepped in window {window}, and not as the paper's rule has it:\n{}",
            told(seen, to)
        );
        way.walks = Vec::new();
        for walk in walks {
            if !way.walks.contains(&walk) {
                way.walks.push(walk);
            }
        }
        (way.stands, way.started_us) = (to, vehicle.started_us);
    }

    /// Where a vehicle may stand that stood there: its power may have gone when a move was written down and nothing was tuned yet.
    fn places(&self, seen: &Seen, roads: &Roads, stood: ValuesHash) -> BTreeSet<ValuesHash> {
        let mut places = BTreeSet::from([stood]);
        // Each follows from one before it.
        for _ in &seen.compared {
            let next = seen.compared.iter().find(|look| {
                let made = roads.merged_in(look.of);
                let looks = |of: &u32| self.looks(seen, (look.of, *of), look.beside, *of);
                places.contains(&look.beside)
                    && !places.contains(&look.of)
                    && made.iter().any(|of| looks(of).no_worse())
            });
            let Some(next) = next else { break };
            places.insert(next.of);
        }
        places
    }

    /// How a merge of window `made` compares with what a vehicle stands on that decides in this window.
    pub(super) fn looks(
        &self,
        seen: &Seen,
        (to, made): (ValuesHash, u32),
        stands: ValuesHash,
        window: u32,
    ) -> Looks {
        let Some(claimed) = self.nonces.get(&made).map(part) else { return Looks(Vec::new()) };
        let voted = self.nonces.get(&(made + 1)).filter(|_nonce| made < window).map(part);
        // Its claim looked at this part, and who folded it at the next one.
        let unused = [2, 3].map(|parts| part_after(claimed, parts)).into_iter();
        let unused = unused.filter(|part| voted != Some(*part));
        let beside = |part| {
            let looked =
                |look: &&Compared| (look.of, look.beside, look.on) == (to, stands, On::Part(part));
            seen.compared.iter().find(looked).map(|look| look.gain)
        };
        Looks(unused.filter_map(beside).collect())
    }
}

/// What a vehicle measured beside what, and from where it tuned, for who looks for the reason of a move.
fn told(seen: &Seen, to: ValuesHash) -> String {
    let name = |of: ValuesHash| hex(&of.bytes()[..4]);
    let start = ValuesHash::of(&start());
    let mut text = format!("  it began at {} and moved to {}\n", name(start), name(to));
    for look in &seen.compared {
        let Compared { of, beside, on, gain } = *look;
        let _infallible =
            writeln!(text, "  {} beside {} on {on:?}: {gain}", name(of), name(beside));
    }
    for (from, window) in seen.tuned_from.iter().zip(&seen.tuned_in) {
        let own = seen.tuned.contains(from);
        let _infallible = writeln!(text, "  {window}: from {}, its own: {own}", name(*from));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
