//! What a node has to do and how soon it answers, for who chooses among nodes.
//!
//! Atomics only: all workers write here, for each statement. What one of them overwrites of another's is one
//! sample of many. Knows no clock: times ([`crate::clock`]) are handed in.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// A node's whole share of the reads.
pub(super) const FULL: u32 = 1024;

/// What a node was slower by counts for half after so long.
const HALF_LIFE: Duration = Duration::from_secs(5);

/// Failures closer together than this are one: a server that goes breaks all its connections.
const FAILURE_SPACING: Duration = Duration::from_millis(100);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Load {
    /// Connections that are lent or waited for.
    in_use: AtomicU32,
    /// Whether latencies are wanted.
    measured: AtomicBool,
    /// Requests that are not answered yet.
    asked: AtomicU32,
    /// When it last answered, or was asked when it had nothing to do.
    heard_at: AtomicU64,
    /// Microseconds, an `f64`, as it was at `measured_at`.
    latency: AtomicU64,
    measured_at: AtomicU64,
    /// In a row, each some time after the one before.
    failures: AtomicU32,
    failed_at: AtomicU64,
    share: AtomicU32,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            in_use: AtomicU32::new(0),
            measured: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            heard_at: AtomicU64::new(clock::NEVER),
            latency: AtomicU64::new(0),
            measured_at: AtomicU64::new(clock::NEVER),
            failures: AtomicU32::new(0),
            failed_at: AtomicU64::new(clock::NEVER),
            share: AtomicU32::new(FULL),
        }
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn measure(&self, wanted: bool) {
        self.measured.store(wanted, Ordering::Relaxed);
    }

    /// How long an answer takes, in microseconds: what was measured, forgotten by halves; and at least as
    /// long as nothing has been heard of a node that owes an answer. 0 when nothing is known.
    pub(super) fn latency(&self, now: u64) -> f64 {
        let known = decayed(
            f64::from_bits(self.latency.load(Ordering::Relaxed)),
            now.saturating_sub(self.measured_at.load(Ordering::Relaxed)),
        );
        let silent = if self.asked() > 0 {
            now.saturating_sub(self.heard_at.load(Ordering::Relaxed))
        } else {
            0
        };
        known.max(float(silent))
    }

    /// One connection more is used.
    pub(super) fn lend(&self) {
        self.in_use.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(super) fn give_back(&self) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    /// It owes one answer less.
    pub(super) fn settle(&self) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
    }

    /// It owes an answer more.
    pub(super) fn asked_at(&self, now: u64) {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            self.heard_at.store(now, Ordering::Relaxed);
        }
    }

    /// A slower answer than known counts at once, a faster one bit by bit (peak EWMA).
    pub(super) fn answered_after(&self, took: u64, now: u64) {
        self.heard_at.store(now, Ordering::Relaxed);
        let known = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let age = now.saturating_sub(self.measured_at.load(Ordering::Relaxed));
        let took = float(took);
        let next = took + decayed((known - took).max(0.0), age);
        self.latency.store(next.to_bits(), Ordering::Relaxed);
        self.measured_at.store(now, Ordering::Relaxed);
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn forget_failures(&self) {
        if self.failures() != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self, now: u64) {
        let last = self.failed_at.load(Ordering::Relaxed);
        let apart = now.saturating_sub(last) >= clock::micros(FAILURE_SPACING);
        if last == clock::NEVER || apart {
            self.failed_at.store(now, Ordering::Relaxed);
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The part of its weight that counts, of [`FULL`]; 0 while it is out of the rotation.
    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    pub(super) fn set_share(&self, share: u32) {
        self.share.store(share, Ordering::Relaxed);
    }
}

fn decayed(value: f64, age: u64) -> f64 {
    value * (-float(age) / float(clock::micros(HALF_LIFE))).exp2()
}

#[allow(clippy::cast_precision_loss, reason = "microseconds fit 52 bits")]
fn float(micros: u64) -> f64 {
    micros as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1.0
    }

    #[test]
    fn slower_answer_counts_at_once_and_is_forgotten_by_halves() {
        let load = Load::new();
        assert!(near(load.latency(SECOND), 0.0));
        load.answered_after(1_000, SECOND);
        assert!(near(load.latency(SECOND), 1_000.0));
        load.answered_after(100_000, SECOND);
        assert!(near(load.latency(SECOND), 100_000.0));
        load.answered_after(1_000, SECOND);
        assert!(near(load.latency(SECOND), 100_000.0), "one fast answer");
        load.answered_after(2_000, 6 * SECOND);
        assert!(
            near(load.latency(6 * SECOND), 51_000.0),
            "half of what it was slower by"
        );
        assert!(near(load.latency(11 * SECOND), 25_500.0), "unheard of");
    }

    #[test]
    fn node_that_does_not_answer_is_as_slow_as_it_is_silent() {
        let load = Load::new();
        load.answered_after(1_000, SECOND);
        load.asked_at(100 * SECOND);
        assert!(
            load.latency(100 * SECOND) < 1.0,
            "long ago, and it was not asked since"
        );
        load.asked_at(101 * SECOND);
        assert!(near(load.latency(102 * SECOND), 2e6));
        load.answered_after(1_000, 102 * SECOND);
        assert!(near(load.latency(102 * SECOND), 1_000.0), "it answers");
    }

    #[test]
    fn failures_count_when_they_are_apart_and_until_it_answers() {
        let load = Load::new();
        for at in [
            SECOND,
            SECOND + 1,
            SECOND + 99_999,
            SECOND + 100_000,
            9 * SECOND,
        ] {
            load.failed(at);
        }
        assert_eq!(load.failures(), 3);
        load.forget_failures();
        assert_eq!(load.failures(), 0);
    }
}
