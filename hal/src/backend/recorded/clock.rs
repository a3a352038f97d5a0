//! Which source frame stands for which tick of the model's rate, in whole numbers.

/// A number of seconds or of Hz as a fraction, both parts positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) num: i128,
    pub(super) den: i128,
}

/// Slowest and fastest rate of a source or a model, Hz.
pub(super) const RATE_HZ_MIN: f64 = 0.001;
pub(super) const RATE_HZ_MAX: f64 = 10_000.0;

impl Ratio {
    /// Exactly `value`, a rate in Hz; `None` outside the rates allowed.
    pub(super) fn of_rate(value: f64) -> Option<Self> {
        if !(RATE_HZ_MIN..=RATE_HZ_MAX).contains(&value) {
            return None;
        }
        // A binary float is a whole number over a power of two; within the bounds the power is
        // below 2^63.
        let (mut num, mut den) = (value, 1i128);
        while num.fract() != 0.0 {
            num *= 2.0;
            den *= 2;
        }
        Some(Self { num: num as i128, den })
    }

    /// One over it.
    pub(super) fn inverse(self) -> Self {
        Self { num: self.den, den: self.num }
    }
}

/// The ticks `k/rate` after the first frame, handed out to the frames nearest to them.
#[derive(Clone, Debug)]
pub(super) struct Ticks {
    rate: Ratio,
    /// First tick no frame has been given for.
    next: u64,
}

/// Two times are too large, or too far apart, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOverflow;

impl Ticks {
    pub(super) fn new(rate: Ratio) -> Self {
        Self { rate, next: 0 }
    }

    /// How many ticks the frame at `this` stands for, when the next frame is at `next` (`None`: it is
    /// the last). Times count from the first frame, in units of `unit` seconds, and never decrease.
    ///
    /// A tick halfway between two frames goes to the earlier one. The last frame stands for no tick
    /// after its own time.
    pub(super) fn take(
        &mut self,
        unit: Ratio,
        this: i64,
        next: Option<i64>,
    ) -> Result<u64, TimeOverflow> {
        // k/rate ≤ (this + next)/2 · unit, and k the largest such.
        let twice = i128::from(this) + i128::from(next.unwrap_or(this));
        let last = (|| {
            let above = twice.checked_mul(unit.num)?.checked_mul(self.rate.num)?;
            let below = unit.den.checked_mul(2)?.checked_mul(self.rate.den)?;
            u64::try_from(above / below).ok()?.checked_add(1)
        })();
        let end = last.ok_or(TimeOverflow)?;
        let count = end.saturating_sub(self.next);
        self.next += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Indexes of the frames chosen for each tick.
    fn chosen(times: &[i64], unit: Ratio, rate_hz: f64) -> Vec<usize> {
        let mut ticks = Ticks::new(Ratio::of_rate(rate_hz).unwrap());
        let mut chosen = Vec::new();
        for (index, &time) in times.iter().enumerate() {
            let count = ticks.take(unit, time, times.get(index + 1).copied()).unwrap();
            chosen.extend((0..count).map(|_| index));
        }
        chosen
    }

    #[test]
    fn a_tie_goes_to_the_earlier_frame() {
        // 25 frames a second at 10 Hz: ticks at frame 0, 2.5, 5, 7.5, 10.
        let unit = Ratio { num: 1, den: 25 };
        let times: Vec<i64> = (0..=10).collect();
        assert_eq!(chosen(&times, unit, 10.0), [0, 2, 5, 7, 10]);
    }

    #[test]
    fn half_the_frames_of_twenty_hertz_are_every_second_one() {
        let unit = Ratio::of_rate(20.0).unwrap().inverse();
        let times: Vec<i64> = (0..1000).collect();
        let every_second: Vec<usize> = (0..1000).step_by(2).collect();
        assert_eq!(chosen(&times, unit, 10.0), every_second);
    }

    #[test]
    fn a_gap_repeats_the_nearest_frame() {
        let unit = Ratio { num: 1, den: 1000 };
        assert_eq!(chosen(&[0, 100, 500, 600], unit, 10.0), [0, 1, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn ticks_agree_with_a_search_over_all_frames() {
        // 23.976 Hz from a container's clock, to 10 and to 7.3 Hz.
        let unit = Ratio { num: 1001, den: 24_000 };
        let times: Vec<i64> = (0..296).collect();
        for rate in [10.0, 7.3, 23.976, 50.0] {
            let last = 295.0 * 1001.0 / 24_000.0;
            let slow: Vec<usize> = (0..)
                .map(|k| f64::from(k) / rate)
                .take_while(|&t| t <= last)
                .map(|t| {
                    let far = |i: usize| (i as f64 * 1001.0 / 24_000.0 - t).abs();
                    (0..296).min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap()
                })
                .collect();
            assert_eq!(chosen(&times, unit, rate), slow, "{rate} Hz");
        }
    }

    #[test]
    fn frames_at_one_time_share_no_tick() {
        let unit = Ratio { num: 1, den: 10 };
        assert_eq!(chosen(&[0, 0, 0, 1], unit, 10.0), [0, 3]);
    }

    #[test]
    fn times_beyond_counting_are_an_error() {
        let mut ticks = Ticks::new(Ratio::of_rate(10.0).unwrap());
        let unit = Ratio { num: i128::from(i64::MAX), den: 1 };
        assert_eq!(ticks.take(unit, i64::MAX, None), Err(TimeOverflow));
        assert_eq!(ticks.take(unit, -2, Some(-1)), Err(TimeOverflow));
    }

    #[test]
    fn rates_are_exact_and_bounded() {
        assert_eq!(Ratio::of_rate(10.0), Some(Ratio { num: 10, den: 1 }));
        assert_eq!(Ratio::of_rate(7.5), Some(Ratio { num: 15, den: 2 }));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9] {
            assert_eq!(Ratio::of_rate(rate), None, "{rate}");
        }
    }
}
