//! What is counted per database, for SHOW STATS: totals since the start, and averages over a period.
//!
//! Each worker has counters of its own, which only its thread writes, so that counting costs a load
//! and a store. Knows no clock: times come in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is counted. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// A session was given a server connection.
    Assignments,
    /// Transactions that ended.
    Transactions,
    /// Statements that were sent to a server.
    Queries,
    /// Bytes from clients.
    Received,
    /// Bytes to clients.
    Sent,
    /// From a transaction's first request to its end.
    TransactionTime,
    /// From a request to its ReadyForQuery.
    QueryTime,
    /// Sessions' waits for a server connection.
    WaitTime,
    /// Parse messages of clients.
    ClientParses,
    /// Parse messages to servers.
    ServerParses,
    /// Bind messages of clients.
    Binds,
    /// Logins of clients.
    Logins,
}

/// How many things are counted.
pub const STATS: usize = Stat::Logins as usize + 1;

/// One figure for each [`Stat`], in its order.
pub type Totals = [u64; STATS];

/// One worker's counters, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters([AtomicU64; STATS]);

impl Counters {
    /// Counts; only the worker whose counters they are may call this.
    pub fn add(&self, stat: Stat, n: u64) {
        let counter = &self.0[stat as usize];
        // No read-modify-write: there is one writer.
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds what was counted to `totals`.
    pub fn sum_into(&self, totals: &mut Totals) {
        for (total, counter) in totals.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(counter.load(Ordering::Relaxed));
        }
    }
}

/// The beginning and the end of the last whole period.
#[derive(Debug)]
pub struct Periods(Mutex<[(u64, Totals); 2]>);

impl Periods {
    /// The first period begins at `now` (microseconds).
    #[must_use]
    pub fn since(now: u64) -> Self {
        Self(Mutex::new([
            (0, Totals::default()),
            (now, Totals::default()),
        ]))
    }

    /// A period ends at `now` (microseconds) with these totals, and the next begins.
    pub fn turn(&self, now: u64, totals: Totals) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *ends = [ends[1], (now, totals)];
    }

    /// What was counted in the last whole period; nothing before one has passed.
    #[must_use]
    pub fn last(&self) -> Growth {
        let [(from, before), (to, after)] = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut growth = Growth::default();
        if from != 0 && to > from {
            growth.micros = to - from;
            growth.counted = after;
            for (counted, before) in growth.counted.iter_mut().zip(before) {
                *counted = counted.saturating_sub(before);
            }
        }
        growth
    }
}

/// What was counted in how many microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    micros: u64,
    counted: Totals,
}

impl Growth {
    /// Both together, in the longer of their times: databases' periods end together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.micros = self.micros.max(other.micros);
        for (sum, more) in self.counted.iter_mut().zip(other.counted) {
            *sum = sum.wrapping_add(more);
        }
        self
    }

    /// Counts and bytes per second; times per what took them.
    #[must_use]
    pub fn averages(&self) -> Totals {
        averages(self.micros, &self.counted)
    }
}

fn averages(micros: u64, counted: &Totals) -> Totals {
    let grown = |stat: Stat| counted[stat as usize];
    let per_second = |stat| {
        let rate = u128::from(grown(stat)) * 1_000_000 / u128::from(micros.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    let per_each = |time, what| grown(time).checked_div(grown(what)).unwrap_or(0);
    [
        per_second(Stat::Assignments),
        per_second(Stat::Transactions),
        per_second(Stat::Queries),
        per_second(Stat::Received),
        per_second(Stat::Sent),
        per_each(Stat::TransactionTime, Stat::Transactions),
        per_each(Stat::QueryTime, Stat::Queries),
        per_each(Stat::WaitTime, Stat::Assignments),
        per_second(Stat::ClientParses),
        per_second(Stat::ServerParses),
        per_second(Stat::Binds),
        per_second(Stat::Logins),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_of_the_last_whole_period() {
        let counters = Counters::default();
        let periods = Periods::since(5);
        let total = || {
            let mut totals = Totals::default();
            counters.sum_into(&mut totals);
            totals
        };
        assert_eq!(
            periods.last().averages(),
            Totals::default(),
            "no period yet"
        );
        counters.add(Stat::Queries, 600);
        counters.add(Stat::QueryTime, 1_800_000);
        counters.add(Stat::Assignments, 120);
        counters.add(Stat::WaitTime, 240);
        periods.turn(60_000_005, total());
        counters.add(Stat::Queries, 7_000_000);
        let averages = periods.last().averages();
        assert_eq!(averages[Stat::Queries as usize], 10, "per second");
        assert_eq!(averages[Stat::QueryTime as usize], 3000, "per query");
        assert_eq!(averages[Stat::WaitTime as usize], 2, "per assignment");
        assert_eq!(averages[Stat::TransactionTime as usize], 0, "none ended");
        let twice = periods.last().and(&periods.last()).averages();
        assert_eq!(twice[Stat::Queries as usize], 20, "of both");
        assert_eq!(twice[Stat::QueryTime as usize], 3000, "per query of both");
        periods.turn(120_000_005, total());
        assert_eq!(
            periods.last().averages()[Stat::Queries as usize],
            7_000_000 / 60,
            "the next period"
        );
    }
}
