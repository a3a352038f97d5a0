//! When windows open: from what a night takes on this machine.

use std::time::Duration;

use super::lines::Line;

/// Shortest time from one window to the next.
const PERIOD_SECONDS_MIN: u64 = 5;
/// The same on an accelerator, where tuning is quick and all else is as slow as ever: loading graphs, and exchange.
const PERIOD_SECONDS_MIN_ACCELERATED: u64 = 12;

/// A plan of windows, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    /// When window 0 opens, UTC since 1970.
    pub(super) epoch: u64,
    pub(super) period: u64,
    /// How long a window is open.
    pub(super) open: u64,
}

impl Calendar {
    /// A period of three nights of the slowest vehicle, open but for its longest tuning (and for two thirds of it at
    /// least): a vehicle has tuned when a window opens. A vehicle's night is the median of those it was alone.
    pub(super) fn after(vehicles: &[Vec<Line>], epoch: u64, accelerated: bool) -> Self {
        let shortest =
            if accelerated { PERIOD_SECONDS_MIN_ACCELERATED } else { PERIOD_SECONDS_MIN };
        let slowest = |of: fn(&Line) -> f64| {
            vehicles.iter().map(|nights| median(nights.iter().map(of))).fold(0.0, f64::max)
        };
        // Seconds of nights: far below what a u64 holds.
        let period = ((3.0 * slowest(Line::work)).ceil() as u64).max(shortest);
        let open = period.saturating_sub(slowest(|night| night.tuning).ceil() as u64 + 1);
        let open = open.max((2 * period).div_ceil(3)).min(period - 1);
        Self { epoch, period, open }
    }

    /// The window that is open or was last, and the seconds until it closes; `None`: before the first.
    pub(super) fn window(&self, utc: Duration) -> Option<(u64, Option<u64>)> {
        let since = utc.as_secs().checked_sub(self.epoch)?;
        let (window, into) = (since / self.period, since % self.period);
        Some((window, self.open.checked_sub(into).filter(|left| *left > 0)))
    }

    /// When the last of so many windows has closed, UTC since 1970.
    pub(super) fn end(&self, windows: u64) -> u64 {
        self.epoch + (windows - 1) * self.period + self.open
    }
}

/// The middle one; of an even count the larger of the two, 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night(tuning: f64, measuring: f64) -> Line {
        Line { tuning, measuring, ..Line::default() }
    }

    #[test]
    fn a_window_comes_every_three_nights_of_the_slowest_vehicle() {
        // One night was disturbed.
        let slow = vec![night(3.2, 1.0), night(9.0, 9.0), night(3.1, 1.0)];
        let calendar = Calendar::after(&[vec![night(1.0, 0.5)], slow], 100, false);
        assert_eq!(calendar, Calendar { epoch: 100, period: 13, open: 9 });
        let quick = |accelerated| Calendar::after(&[vec![night(0.1, 0.1)]], 100, accelerated);
        assert_eq!((quick(false).period, quick(false).open), (5, 4));
        assert_eq!((quick(true).period, quick(true).open), (12, 10));
        assert_eq!(Calendar::after(&[], 0, false).period, 5);
    }

    #[test]
    fn a_window_is_open_and_then_is_not() {
        let calendar = Calendar { epoch: 100, period: 13, open: 9 };
        let at = |seconds| calendar.window(Duration::from_secs(seconds));
        assert_eq!((at(99), at(100)), (None, Some((0, Some(9)))));
        assert_eq!((at(108), at(109)), (Some((0, Some(1))), Some((0, None))));
        assert_eq!((at(113), calendar.end(2)), (Some((1, Some(9))), 122));
    }
}
