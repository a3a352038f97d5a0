//! Window plan arithmetic: from UTC to a window and back. Pure functions of the plan.

use embassy_time::Duration;
use sha2::{Digest, Sha256};
use shoal_wire::v1::WindowPlan;
use shoal_wire::{KeyId, Utc};

/// One window's opening and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The window's number.
    pub window: u32,
    /// The first second in which it is open, UTC.
    pub opens_seconds: u64,
    /// The first second in which it is not open any more, UTC.
    pub closes_seconds: u64,
}

/// The number of the window in whose period this second is: ⌊(utc − epoch) ÷ period⌋.
///
/// `None` before the epoch and past the last number.
pub fn number(plan: &WindowPlan, utc_seconds: u64) -> Option<u32> {
    let fields = plan.fields();
    let since = utc_seconds.checked_sub(fields.epoch_seconds)?;
    u32::try_from(since.checked_div(u64::from(fields.period_seconds))?).ok()
}

/// The window that is surely open: all that true time can be lies within it.
///
/// `None` between windows, when time is not known, and when it is too uncertain to tell.
pub fn open_span(plan: &WindowPlan, utc: Utc) -> Option<Span> {
    let (earliest, latest) = (utc.earliest_seconds(), utc.latest_seconds()?);
    let span = span(plan, number(plan, earliest)?)?;
    (latest < span.closes_seconds).then_some(span)
}

/// How long this vehicle waits after the opening of this window: 0 to the plan's jitter.
///
/// A hash of vehicle and window (SPEC.md §4): even over vehicles, another each window, the same on each run.
pub fn jitter(plan: &WindowPlan, vehicle: KeyId, window: u32) -> Duration {
    let mut hasher = Sha256::new();
    hasher.update(b"shoal/jitter/1");
    hasher.update(vehicle.bytes());
    hasher.update(window.to_le_bytes());
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = <[u8; 32]>::from(hasher.finalize());
    let draw = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let choices = u64::from(plan.fields().jitter_ms_max).saturating_add(1);
    Duration::from_millis(draw.checked_rem(choices).unwrap_or(0))
}

/// When that window is open; `None` past the end of time.
pub(crate) fn span(plan: &WindowPlan, window: u32) -> Option<Span> {
    let fields = plan.fields();
    let since = u64::from(window).checked_mul(u64::from(fields.period_seconds))?;
    let opens_seconds = fields.epoch_seconds.checked_add(since)?;
    let closes_seconds = opens_seconds.checked_add(u64::from(fields.open_seconds))?;
    Some(Span { window, opens_seconds, closes_seconds })
}

/// The first opening after this second.
pub(crate) fn next_opening_seconds(plan: &WindowPlan, utc_seconds: u64) -> Option<u64> {
    let epoch_seconds = plan.fields().epoch_seconds;
    if utc_seconds < epoch_seconds {
        return Some(epoch_seconds);
    }
    let next = number(plan, utc_seconds)?.checked_add(1)?;
    span(plan, next).map(|span| span.opens_seconds)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use shoal_wire::v1::WindowPlanFields;

    use super::*;

    fn plan() -> WindowPlan {
        WindowPlan::new(WindowPlanFields {
            epoch_seconds: 1000,
            period_seconds: 100,
            open_seconds: 30,
            jitter_ms_max: 9_999,
            up_bytes_max: 1,
            down_bytes_max: 1,
        })
        .unwrap()
    }

    fn known(seconds: u64, uncertainty_seconds: u32) -> Utc {
        Utc::Known { seconds, uncertainty_seconds }
    }

    #[test]
    fn windows_are_numbered_from_the_epoch() {
        let numbers = [999, 1000, 1099, 1100, 1999].map(|seconds| number(&plan(), seconds));
        assert_eq!(numbers, [None, Some(0), Some(0), Some(1), Some(9)]);
    }

    #[test]
    fn numbers_end_before_they_wrap() {
        let last = 1000 + 100 * u64::from(u32::MAX);
        assert_eq!(number(&plan(), last), Some(u32::MAX));
        assert_eq!(number(&plan(), last + 100), None);
        assert_eq!(number(&plan(), u64::MAX), None);
        assert_eq!(next_opening_seconds(&plan(), last), None);
    }

    #[test]
    fn a_window_is_open_for_its_seconds_and_no_longer() {
        let open = |seconds| open_span(&plan(), known(seconds, 0)).map(|span| span.window);
        assert_eq!(
            [999, 1000, 1029, 1030, 1099, 1100].map(open),
            [None, Some(0), Some(0), None, None, Some(1)]
        );
    }

    #[test]
    fn a_window_is_open_only_when_every_possible_time_is_in_it() {
        assert_eq!(open_span(&plan(), known(1003, 5)), None, "it may not have opened");
        assert!(open_span(&plan(), known(1005, 5)).is_some());
        assert!(open_span(&plan(), known(1024, 5)).is_some());
        assert_eq!(open_span(&plan(), known(1025, 5)), None, "it may have closed");
        assert_eq!(open_span(&plan(), known(1015, 100)), None, "which window is not known");
    }

    #[test]
    fn a_lower_bound_on_time_opens_nothing() {
        assert_eq!(open_span(&plan(), Utc::AtLeast { seconds: 1010 }), None);
    }

    #[test]
    fn a_plan_of_windows_without_a_gap_is_always_in_one() {
        let mut fields = *plan().fields();
        fields.open_seconds = fields.period_seconds;
        let plan = WindowPlan::new(fields).unwrap();
        for seconds in 1000..1300 {
            let window = open_span(&plan, known(seconds, 0)).map(|span| u64::from(span.window));
            assert_eq!(window, Some((seconds - 1000) / 100));
        }
    }

    #[test]
    fn jitter_spreads_vehicles_over_all_of_its_range() {
        let vehicle = |index: u16| {
            let [low, high] = index.to_le_bytes();
            KeyId::new([low, high, 0, 0, 0, 0, 0, 0])
        };
        let mut count_by_tenth = [0; 10];
        for index in 0..1000 {
            let waits = jitter(&plan(), vehicle(index), 7);
            assert_eq!(waits, jitter(&plan(), vehicle(index), 7));
            count_by_tenth[usize::try_from(waits.as_millis() / 1000).unwrap()] += 1;
        }
        assert!(count_by_tenth.iter().all(|count| (60..140).contains(count)), "{count_by_tenth:?}");
    }

    #[test]
    fn jitter_is_another_in_another_window() {
        let vehicle = KeyId::new([1; 8]);
        assert_ne!(jitter(&plan(), vehicle, 1), jitter(&plan(), vehicle, 2));
    }

    /// Golden: SPEC.md §4. Another implementation waits as long.
    #[test]
    fn jitter_is_the_hash_the_spec_names() {
        assert_eq!(jitter(&plan(), KeyId::new([1; 8]), 7), Duration::from_millis(8182));
    }
}
