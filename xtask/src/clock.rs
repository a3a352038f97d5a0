//! How long things take: the one place of this program that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) struct Watch(Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "a program that reports how long a step took")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "a program that says when windows open")]
pub(crate) fn utc() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `7.3 s`, `4 min 05 s`.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_the_unit_a_reader_expects() {
        assert_eq!(shown(Duration::from_millis(7_340)), "7.3 s");
        assert_eq!(shown(Duration::from_secs(245)), "4 min 05 s");
    }
}
