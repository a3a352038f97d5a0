//! How long to wait before the next try.

use embassy_time::Duration;
use sha2::{Digest, Sha256};

/// Waits that double from `first` to `longest`, each spread over its second half, so that a fleet that lost
/// its broker at one moment does not come back at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest that the first wait can be.
    pub first: Duration,
    /// The longest that any wait can be.
    pub longest: Duration,
    /// Of the draws: another in each vehicle.
    pub seed: u64,
}

impl Backoff {
    /// The wait after this many tries in vain, from 0: from half of 2^attempt · `first` to all of it, at most
    /// `longest`. Depends on nothing else.
    pub fn wait(&self, attempt: u32) -> Duration {
        let doubled =
            1_u64.checked_shl(attempt).and_then(|by| self.first.as_ticks().checked_mul(by));
        let top = doubled.unwrap_or(u64::MAX).min(self.longest.as_ticks());
        let least = top.div_ceil(2);
        let spread = top - least + 1;
        Duration::from_ticks(least + self.draw(attempt) % spread)
    }

    fn draw(&self, attempt: u32) -> u64 {
        let mut hasher = Sha256::new();
        hasher.update(b"shoal/backoff/1");
        hasher.update(self.seed.to_le_bytes());
        hasher.update(attempt.to_le_bytes());
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = <[u8; 32]>::from(hasher.finalize());
        u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60), seed }
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(seed: u64, attempt: u32, first: u64, longest: u64) {
            let first = Duration::from_ticks(first);
            let longest = Duration::from_ticks(longest);
            let wait = Backoff { first, longest, seed }.wait(attempt);
            prop_assert!(wait <= longest);
            if attempt == 0 {
                prop_assert!(wait <= first);
                prop_assert!(wait.as_ticks() >= first.min(longest).as_ticks() / 2);
            }
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        for (attempt, least, most) in [(0, 500, 1000), (3, 4000, 8000), (9, 30_000, 60_000)] {
            let wait = backoff(7).wait(attempt).as_millis();
            assert!((least..=most).contains(&wait), "{attempt}: {wait} ms");
        }
    }

    #[test]
    fn two_vehicles_wait_differently_and_each_repeats() {
        assert_eq!(backoff(1).wait(4), backoff(1).wait(4));
        assert_ne!(backoff(1).wait(4), backoff(2).wait(4));
        assert_ne!(backoff(1).wait(10), backoff(1).wait(11));
    }
}
