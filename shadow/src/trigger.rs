//! Which spans of a drive are worth keeping.
//!
//! A pure core: moments and chance come in, captures come out. A moment whose surprise or
//! disagreement is unusual opens a span that reaches some seconds back and ahead; further unusual
//! moments prolong it; after it the trigger cools down. Beside that, spans opened by chance keep a
//! share of ordinary driving: an adapter tuned on surprises alone would forget the rest.
//!
//! Each capture gets a priority u^(1/w), u a uniform draw and w its weight. A store that keeps the
//! highest priorities is then, at any time, a random sample of all that was ever captured, drawn
//! without replacement with these weights: ordinary driving is never crowded out entirely.
//!
//! # Source
//! Efraimidis and Spirakis, Weighted random sampling with a reservoir, Information Processing
//! Letters 97 (2006), algorithm A-ES.

use std::time::Duration;

use crate::replay::{Priority, Reason};

/// Largest weight of a span: that of a rank of 1 − 1/64.
pub const WEIGHT_MAX: f64 = 64.0;

/// When to keep what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriggerOptions {
    /// Kept before an unusual moment.
    pub before: Duration,
    /// Kept after it.
    pub after: Duration,
    /// Longest span: what goes on longer is cut here.
    pub span_max: Duration,
    /// After a span, how long unusual moments open no other.
    pub cool_down: Duration,
    /// Shortest span, in moments: a shorter one, cut off by a gap, is not worth keeping.
    pub moments_min: u32,
    /// Running quantile rank from which a moment is unusual, in `(0, 1]`.
    pub rank_min: f32,
    /// Share of all moments that is kept by chance, in `[0, 1]`; 1 keeps everything.
    pub ordinary_share: f32,
}

impl Default for TriggerOptions {
    fn default() -> Self {
        Self {
            before: Duration::from_secs(3),
            after: Duration::from_secs(3),
            span_max: Duration::from_secs(12),
            cool_down: Duration::from_secs(10),
            moments_min: 8,
            rank_min: 0.98,
            ordinary_share: 0.05,
        }
    }
}

/// How unusual a moment was: running quantile ranks, `None` where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ranks {
    /// Of the surprise.
    pub surprise: Option<f32>,
    /// Of the disagreement.
    pub disagreement: Option<f32>,
}

/// The chance of one moment: uniform draws in `[0, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MomentDraws {
    /// Whether an ordinary span opens here.
    pub ordinary: f32,
    /// How long a span that opens here outlives others of its weight.
    pub keep: f32,
}

/// A span to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capture {
    /// Index of its first moment.
    pub first: u64,
    /// Index of its last moment, inclusive.
    pub last: u64,
    /// What opened it.
    pub reason: Reason,
    /// The highest rank in it.
    pub rank: Option<f32>,
    /// What the store evicts by, lowest first.
    pub priority: Priority,
}

/// Decides span by span. Moments are at a fixed rate and numbered from any index, one by one.
#[derive(Clone, Debug)]
pub struct Trigger {
    before: u64,
    after: u64,
    span_max: u64,
    cool_down: u64,
    moments_min: u64,
    rank_min: f32,
    ordinary_chance: f32,
    next: Option<u64>,
    free: u64,
    quiet_until: u64,
    open: Option<Open>,
    /// One moment may end two spans: the one before a gap, and its own.
    ready: [Option<Capture>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Open {
    first: u64,
    last: u64,
    reason: Reason,
    rank: Option<f32>,
    keep: f32,
}

impl Trigger {
    /// A trigger for moments at `rate_hz`. Durations are rounded to whole moments; `span_max` is at
    /// least what one unusual moment keeps.
    ///
    /// # Panics
    /// If the rate is not a positive number.
    #[must_use]
    pub fn new(options: &TriggerOptions, rate_hz: f64) -> Self {
        assert!(rate_hz.is_finite() && rate_hz > 0.0, "rate {rate_hz} Hz");
        let moments = |time: Duration| (time.as_secs_f64() * rate_hz).round() as u64;
        let (before, after) = (moments(options.before), moments(options.after));
        let span_max = moments(options.span_max).max(before + after + 1);
        let share = options.ordinary_share.clamp(0.0, 1.0);
        // A span opened by chance keeps `before + after + 1` moments of the 1/p that pass until it
        // opens and the `after` that follow: share = (before + after + 1) ÷ (1/p + after).
        let kept = (before + after + 1) as f32;
        let everything = share >= 1.0;
        let reach = |after| if everything { span_max - 1 } else { after };
        Self {
            before,
            after: reach(after),
            span_max,
            cool_down: moments(options.cool_down),
            moments_min: u64::from(options.moments_min.max(1)),
            rank_min: options.rank_min,
            ordinary_chance: if everything { 1.0 } else { share / (kept - share * after as f32) },
            next: None,
            free: 0,
            quiet_until: 0,
            open: None,
            ready: [None; 2],
        }
    }

    /// Moments that a span has at most: how many its caller has to hold.
    #[must_use]
    pub fn span_moments_max(&self) -> u64 {
        self.span_max
    }

    /// A moment came. An index that does not follow the one before it is a gap: no span crosses it.
    ///
    /// Call [`Trigger::poll_capture`] after it until that returns `None`.
    pub fn handle_moment(&mut self, index: u64, ranks: Ranks, draws: MomentDraws) {
        if self.next != Some(index) {
            self.handle_gap();
            if index < self.free {
                // Numbered anew: a cool-down in the old numbers means nothing.
                self.quiet_until = index;
            }
            self.free = index;
        }
        self.next = Some(index.saturating_add(1));
        let reason = self.unusual(ranks);
        if let Some(open) = &mut self.open {
            open.rank = highest(open.rank, ranks);
            if let Some(reason) = reason {
                let last = index.saturating_add(self.after).min(open.first + self.span_max - 1);
                open.last = open.last.max(last);
                if open.reason == Reason::Ordinary {
                    open.reason = reason;
                }
            }
        } else if let Some(reason) = reason.filter(|_| index >= self.quiet_until) {
            self.open(index, reason, ranks, draws);
        } else if draws.ordinary < self.ordinary_chance {
            self.open(index, Reason::Ordinary, ranks, draws);
        }
        if self.open.is_some_and(|open| open.last <= index) {
            self.close(index);
        }
    }

    /// The run of moments ended: a drive is over, a camera failed.
    pub fn handle_gap(&mut self) {
        if let Some(next) = self.next.take() {
            self.close(next.saturating_sub(1));
        }
    }

    /// A span that has just ended, each once, the older first.
    pub fn poll_capture(&mut self) -> Option<Capture> {
        self.ready.iter_mut().find_map(Option::take)
    }

    fn unusual(&self, ranks: Ranks) -> Option<Reason> {
        let reached = |rank: Option<f32>| rank.is_some_and(|rank| rank >= self.rank_min);
        if reached(ranks.surprise) && ranks.surprise >= ranks.disagreement {
            Some(Reason::Surprise)
        } else if reached(ranks.disagreement) {
            Some(Reason::Disagreement)
        } else {
            None
        }
    }

    fn open(&mut self, index: u64, reason: Reason, ranks: Ranks, draws: MomentDraws) {
        let first = index.saturating_sub(self.before).max(self.free);
        let last = index.saturating_add(self.after).min(first + self.span_max - 1);
        self.open =
            Some(Open { first, last, reason, rank: highest(None, ranks), keep: draws.keep });
    }

    fn close(&mut self, last: u64) {
        let Some(open) = self.open.take() else { return };
        self.free = last.saturating_add(1);
        self.quiet_until = self.free.saturating_add(self.cool_down);
        if last + 1 - open.first >= self.moments_min {
            let Open { first, reason, rank, keep, .. } = open;
            let weight = match reason {
                Reason::Ordinary => 1.0,
                Reason::Surprise | Reason::Disagreement => weight(rank.unwrap_or(0.0)),
            };
            let priority = Priority::from_share(libm::pow(f64::from(keep), 1.0 / weight));
            let capture = Capture { first, last, reason, rank, priority };
            let slot = usize::from(self.ready[0].is_some());
            self.ready[slot] = Some(capture);
        }
    }
}

/// One over the share of moments that are at least as unusual.
fn weight(rank: f32) -> f64 {
    (1.0 / (1.0 - f64::from(rank)).max(1.0 / WEIGHT_MAX)).max(1.0)
}

fn highest(rank: Option<f32>, ranks: Ranks) -> Option<f32> {
    [rank, ranks.surprise, ranks.disagreement].into_iter().flatten().reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Draws, Purpose};
    use proptest::prelude::*;

    const NEVER: MomentDraws = MomentDraws { ordinary: 1.0, keep: 0.5 };
    const USUAL: Ranks = Ranks { surprise: Some(0.5), disagreement: None };
    const UNUSUAL: Ranks = Ranks { surprise: Some(0.99), disagreement: None };

    fn options() -> TriggerOptions {
        TriggerOptions {
            before: Duration::from_millis(300),
            after: Duration::from_millis(200),
            span_max: Duration::from_secs(1),
            cool_down: Duration::from_millis(500),
            moments_min: 1,
            rank_min: 0.98,
            ordinary_share: 0.0,
        }
    }

    /// Runs moments `0 … count − 1`, those in `unusual` being so, and gives the spans.
    fn spans(options: &TriggerOptions, count: u64, unusual: &[u64]) -> Vec<(u64, u64)> {
        let mut trigger = Trigger::new(options, 10.0);
        let mut spans = Vec::new();
        for index in 0..count {
            let ranks = if unusual.contains(&index) { UNUSUAL } else { USUAL };
            trigger.handle_moment(index, ranks, NEVER);
            spans.extend(trigger.poll_capture().map(|capture| (capture.first, capture.last)));
        }
        trigger.handle_gap();
        spans.extend(trigger.poll_capture().map(|capture| (capture.first, capture.last)));
        spans
    }

    #[test]
    fn unusual_moment_keeps_what_was_before_and_after_it() {
        assert_eq!(spans(&options(), 40, &[20]), [(17, 22)]);
        assert_eq!(spans(&options(), 40, &[1]), [(0, 3)]);
        assert_eq!(spans(&options(), 40, &[39]), [(36, 39)]);
        assert_eq!(spans(&options(), 40, &[]), []);
    }

    #[test]
    fn further_unusual_moments_prolong_the_span_up_to_its_longest() {
        assert_eq!(spans(&options(), 40, &[20, 22]), [(17, 24)]);
        let always: Vec<u64> = (20..30).collect();
        assert_eq!(spans(&options(), 40, &always), [(17, 26)]);
    }

    #[test]
    fn after_a_span_the_trigger_cools_down() {
        // The span ends with moment 22, so moments 23 to 27 open nothing.
        assert_eq!(spans(&options(), 40, &[20, 27]), [(17, 22)]);
        assert_eq!(spans(&options(), 40, &[20, 28]), [(17, 22), (25, 30)]);
    }

    #[test]
    fn no_moment_is_kept_twice() {
        let options = TriggerOptions { cool_down: Duration::ZERO, ..options() };
        assert_eq!(spans(&options, 40, &[20, 23]), [(17, 22), (23, 25)]);
    }

    #[test]
    fn no_span_crosses_a_gap() {
        let mut trigger = Trigger::new(&options(), 10.0);
        for index in 10..=20 {
            trigger.handle_moment(index, if index == 20 { UNUSUAL } else { USUAL }, NEVER);
        }
        trigger.handle_moment(30, USUAL, NEVER);
        let capture = trigger.poll_capture().unwrap();
        assert_eq!((capture.first, capture.last), (17, 20));
        for index in 31..=33 {
            trigger.handle_moment(index, if index == 31 { UNUSUAL } else { USUAL }, NEVER);
        }
        let capture = trigger.poll_capture().unwrap();
        assert_eq!((capture.first, capture.last), (30, 33));
    }

    #[test]
    fn cool_down_does_not_outlive_its_numbering() {
        let mut trigger = Trigger::new(&options(), 10.0);
        for index in (900..=920).chain(0..=9) {
            let unusual = index == 910 || index == 7;
            trigger.handle_moment(index, if unusual { UNUSUAL } else { USUAL }, NEVER);
            let first = trigger.poll_capture().map(|capture| capture.first);
            let want = match index {
                912 => Some(907),
                9 => Some(4),
                _ => None,
            };
            assert_eq!(first, want, "at moment {index}");
        }
    }

    #[test]
    fn span_before_a_gap_is_not_lost_to_one_that_ends_right_after_it() {
        let options = TriggerOptions { after: Duration::ZERO, before: Duration::ZERO, ..options() };
        let mut trigger = Trigger::new(&options, 10.0);
        trigger.open(5, Reason::Surprise, UNUSUAL, NEVER);
        trigger.next = Some(6);
        trigger.handle_moment(90, UNUSUAL, NEVER);
        let captures = std::iter::from_fn(|| trigger.poll_capture());
        assert_eq!(captures.map(|capture| capture.first).collect::<Vec<u64>>(), [5, 90]);
    }

    #[test]
    fn span_that_a_gap_cut_too_short_is_not_kept() {
        let options = TriggerOptions { moments_min: 4, ..options() };
        assert_eq!(spans(&options, 3, &[1]), []);
        assert_eq!(spans(&options, 4, &[1]), [(0, 3)]);
    }

    #[test]
    fn reason_is_the_more_unusual_of_the_two() {
        let reason = |surprise, disagreement| {
            let mut trigger = Trigger::new(&options(), 10.0);
            trigger.handle_moment(0, Ranks { surprise, disagreement }, NEVER);
            trigger.handle_gap();
            trigger.poll_capture().map(|capture| capture.reason)
        };
        assert_eq!(reason(Some(0.99), Some(0.98)), Some(Reason::Surprise));
        assert_eq!(reason(Some(0.98), Some(0.99)), Some(Reason::Disagreement));
        assert_eq!(reason(None, Some(0.99)), Some(Reason::Disagreement));
        assert_eq!(reason(Some(0.97), Some(0.97)), None);
        assert_eq!(reason(None, None), None);
    }

    #[test]
    fn ordinary_driving_is_kept_in_its_share() {
        let options = TriggerOptions { ordinary_share: 0.1, ..TriggerOptions::default() };
        let mut trigger = Trigger::new(&options, 10.0);
        let mut draws = Draws::new(Purpose::Tuning, 3, 0, 0);
        let (mut kept, count) = (0, 400_000);
        for index in 0..count {
            let draws = MomentDraws { ordinary: draws.unit(), keep: draws.unit() };
            trigger.handle_moment(index, USUAL, draws);
            kept += trigger.poll_capture().map_or(0, |capture| capture.last - capture.first + 1);
        }
        let share = kept as f64 / count as f64;
        // About 650 spans: a standard error of 4 %.
        assert!((0.085..0.115).contains(&share), "{share}");
    }

    #[test]
    fn share_of_one_keeps_every_moment_in_spans_of_the_longest_length() {
        let options = TriggerOptions { ordinary_share: 1.0, ..options() };
        let mut trigger = Trigger::new(&options, 10.0);
        let mut spans = Vec::new();
        let ends = (0..25).map(|index| {
            let ranks = if [3, 10, 22].contains(&index) { UNUSUAL } else { USUAL };
            trigger.handle_moment(index, ranks, MomentDraws { ordinary: 0.999, keep: 0.5 });
            trigger.poll_capture()
        });
        spans.extend(ends.flatten().map(|capture| (capture.first, capture.last)));
        trigger.handle_gap();
        spans.extend(trigger.poll_capture().map(|capture| (capture.first, capture.last)));
        assert_eq!(spans, [(0, 9), (10, 19), (20, 24)]);
    }

    /// Of two spans with weights 50 and 1 the first outlives the second in 50 of 51 cases.
    #[test]
    fn priority_keeps_a_span_in_proportion_to_its_weight() {
        let priority = |reason: Ranks, ordinary: f32, keep: f32| {
            let mut trigger = Trigger::new(&options(), 10.0);
            trigger.ordinary_chance = 1.0;
            trigger.handle_moment(0, reason, MomentDraws { ordinary, keep });
            trigger.handle_gap();
            trigger.poll_capture().unwrap().priority
        };
        let surprising = Ranks { surprise: Some(0.98), disagreement: None };
        let mut draws = Draws::new(Purpose::Tuning, 4, 0, 0);
        let mut wins = 0;
        for _ in 0..5100 {
            let a = priority(surprising, 1.0, draws.unit());
            let b = priority(USUAL, 0.0, draws.unit());
            wins += u32::from(a > b);
        }
        // Expected 5,000, standard deviation 9.9.
        assert!((4960..=5040).contains(&wins), "{wins}");
    }

    proptest! {
        #[test]
        fn spans_are_in_order_apart_and_never_too_long(
            unusual in prop::collection::vec(0u64..300, 0..40),
            share in 0.0f32..=1.0,
            before in 0u64..900,
            after in 0u64..900,
        ) {
            let options = TriggerOptions {
                before: Duration::from_millis(before),
                after: Duration::from_millis(after),
                ordinary_share: share,
                ..options()
            };
            let longest = Trigger::new(&options, 10.0).span_moments_max();
            let mut end = 0;
            for (first, last) in spans(&options, 300, &unusual) {
                prop_assert!(end <= first && first <= last && last < 300);
                prop_assert!(last - first < longest);
                end = last + 1;
            }
        }
    }
}
