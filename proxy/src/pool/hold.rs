//! Holding back after a server has refused a login, so that it is not asked again and again, and
//! after it said that it is full, so that one asks at a time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backend::connect::ConnectError;
use crate::clock;

/// The first pause; each one after it is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause where clients wait for its end.
const WAITED_FOR: Duration = Duration::from_millis(500);

/// How long after it said so a server counts as full.
const FULL: Duration = Duration::from_secs(2);

/// One pool's pause.
#[derive(Debug, Default)]
pub struct Hold {
    until: AtomicU64,
    /// In a row.
    failures: AtomicU32,
    last: Mutex<Option<ConnectError>>,
}

impl Hold {
    /// Whether no connection is to be opened at `now`.
    #[must_use]
    pub fn is_on(&self, now: u64) -> bool {
        self.until.load(Ordering::Acquire) > now
    }

    /// Whether the last attempt failed: one is made at a time, until one succeeds.
    #[must_use]
    pub fn is_cautious(&self) -> bool {
        self.failures.load(Ordering::Acquire) > 0
    }

    /// What the server said last, while it refuses.
    #[must_use]
    pub fn last(&self) -> Option<ConnectError> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes a failure; how long to pause now, unless somebody else began a pause.
    pub fn begin(&self, error: &ConnectError, longest: Duration) -> Option<Duration> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(error.clone());
        let now = clock::now();
        if self.is_on(now) {
            return None;
        }
        let failures = self.failures.fetch_add(1, Ordering::AcqRel);
        let pause = pause(error, failures, longest);
        self.until
            .store(now.saturating_add(clock::micros(pause)), Ordering::Release);
        Some(pause)
    }

    /// A login has succeeded (or the settings have changed). Whether there had been failures.
    pub fn end(&self) -> bool {
        if !self.is_cautious() {
            return false;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = None;
        self.until.store(clock::NEVER, Ordering::Release);
        self.failures.swap(0, Ordering::AcqRel) > 0
    }
}

/// A refusal is told to clients at once, and the first one may be mended by the client itself
/// (CREATE DATABASE): the second attempt is free. What is waited for is tried again soon.
fn pause(error: &ConnectError, failures: u32, longest: Duration) -> Duration {
    let doubled = |times: u32| FIRST.saturating_mul(1 << times.min(16));
    match error {
        ConnectError::Refused(_) => match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(times) => doubled(times).min(longest),
        },
        ConnectError::NotNow(_) | ConnectError::Unreachable(_) => {
            doubled(failures).min(WAITED_FOR).min(longest)
        }
    }
}

/// One node's gate: while the server is full, logins are made one at a time.
#[derive(Debug)]
pub struct Gate {
    full_until: AtomicU64,
    turns: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            full_until: AtomicU64::new(clock::NEVER),
            turns: Semaphore::new(1),
        }
    }
}

impl Gate {
    /// Waits for its turn, if there are turns.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.full_until.load(Ordering::Acquire) <= clock::now() {
            return None;
        }
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// The server said that it is full.
    pub fn full(&self) {
        let until = clock::now().saturating_add(clock::micros(FULL));
        self.full_until.store(until, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Report;

    fn refused() -> ConnectError {
        ConnectError::Refused(Report::new("3D000", "no such database"))
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_a_first_refusal_costs_none() {
        let longest = Duration::from_secs(15);
        let of = |error: &ConnectError, n| pause(error, n, longest).as_millis();
        let series: Vec<_> = (0..12).map(|n| of(&refused(), n)).collect();
        assert_eq!(series[..4], [0, 100, 200, 400]);
        assert_eq!(series[11], 15_000);
        let full = ConnectError::NotNow(Report::new("53300", "full"));
        let series: Vec<_> = (0..5).map(|n| of(&full, n)).collect();
        assert_eq!(series, [100, 200, 400, 500, 500]);
        assert_eq!(pause(&full, 40, Duration::from_millis(50)).as_millis(), 50);
    }

    #[test]
    fn one_of_several_failures_begins_the_pause_and_a_success_ends_it() {
        let hold = Hold::default();
        let full = ConnectError::NotNow(Report::new("53300", "full"));
        assert!(hold.begin(&full, Duration::from_secs(15)).is_some());
        assert!(hold.begin(&full, Duration::from_secs(15)).is_none());
        assert!(hold.is_on(clock::now()) && hold.is_cautious());
        assert!(hold.end(), "there were failures");
        assert!(!hold.is_on(clock::now()) && !hold.is_cautious() && hold.last().is_none());
        assert!(!hold.end());
    }
}
