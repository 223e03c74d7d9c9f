//! The process's own clock: microseconds since start, monotonic, as one `u64` that fits an atomic.
//!
//! Knows nothing of calendars or of PostgreSQL's clock. Times of different nodes are never
//! compared with each other or with this one: freshness is proven by WAL positions that were
//! sampled at a time of *this* clock (see `cluster::lag`).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The value that stands for "never happened"; [`now`] never returns it.
pub const NEVER: u64 = 0;

static START: OnceLock<Instant> = OnceLock::new();

/// Microseconds since the first call in this process, starting at 1 and never going back.
#[must_use]
pub fn now() -> u64 {
    micros(START.get_or_init(Instant::now).elapsed()).saturating_add(1)
}

/// Time gone by since `earlier` (a value of [`now`]); zero when `earlier` lies ahead.
#[must_use]
pub fn since(earlier: u64) -> Duration {
    Duration::from_micros(now().saturating_sub(earlier))
}

/// A duration in this clock's unit, saturating.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_says_never_and_never_goes_back() {
        let mut last = now();
        assert_ne!(last, NEVER);
        for _ in 0..1_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn a_time_that_lies_ahead_is_zero_ago() {
        assert_eq!(since(now() + 60_000_000), Duration::ZERO);
    }

    #[test]
    fn a_duration_too_long_for_the_unit_saturates() {
        assert_eq!(micros(Duration::MAX), u64::MAX);
        assert_eq!(micros(Duration::from_millis(3)), 3_000);
    }
}
