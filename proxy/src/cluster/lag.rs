//! Proof of how fresh a replica is. PURE: samples and replayed positions in, times out.
//!
//! The primary's insert position is sampled now and then. A sample is filed under the time at
//! which it was *asked for*, by our own clock: it was taken later, so it covers every transaction
//! whose commit a session had seen acknowledged before that time. A replica on the same timeline
//! that has replayed up to a sample therefore shows all of those transactions, whatever the
//! clocks and the network do. No guess and no margin is involved.

use std::collections::VecDeque;

use crate::clock;

/// A WAL position in bytes, `pg_lsn` as a number.
pub(super) type Lsn = u64;

/// The most samples that are kept.
const CAPACITY: usize = 512;

/// How many samples are kept per age: those of an hour ago stand an hour / this apart. A replica
/// that is hours behind still finds a sample that it has replayed, only a coarser one.
const SAMPLES_PER_AGE: u64 = 32;

/// Sizes of the headers that begin each page of WAL, and the first page of each segment
/// (`SizeOfXLogShortPHD`, `SizeOfXLogLongPHD`).
const PAGE_HEADERS: [u64; 2] = [24, 40];

#[derive(Clone, Copy, Debug)]
struct Sample {
    asked_at: u64,
    lsn: Lsn,
}

/// The samples of one primary on one timeline.
#[derive(Debug, Default)]
pub(super) struct Positions {
    samples: VecDeque<Sample>,
}

impl Positions {
    /// Forgets all samples: another primary, or another timeline.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Files the primary's insert position under the time at which it was asked for.
    pub(super) fn sample(&mut self, asked_at: u64, lsn: Lsn) {
        if let Some(last) = self.samples.back_mut() {
            if asked_at <= last.asked_at {
                return;
            }
            if lsn == last.lsn {
                // The same position at a later time proves more; the older one is worth nothing.
                last.asked_at = asked_at;
                return;
            }
            if lsn < last.lsn {
                // After a crash the primary goes on from what it had flushed. Positions past that
                // point now mean other records.
                self.samples.clear();
            }
        }
        if self.samples.len() >= CAPACITY {
            self.thin(asked_at);
        }
        self.samples.push_back(Sample { asked_at, lsn });
    }

    /// Drops samples that stand close together for their age.
    fn thin(&mut self, now: u64) {
        let mut kept: Option<u64> = None;
        self.samples.retain(|sample| {
            let spacing = now.saturating_sub(sample.asked_at) / SAMPLES_PER_AGE;
            let keep = kept.is_none_or(|before| sample.asked_at - before >= spacing);
            if keep {
                kept = Some(sample.asked_at);
            }
            keep
        });
        // Only after years is this not enough; then the oldest go.
        let excess = self.samples.len().saturating_sub(CAPACITY * 7 / 8);
        self.samples.drain(..excess);
    }

    /// When the newest sample was asked for; [`clock::NEVER`] while there is none.
    pub(super) fn newest(&self) -> u64 {
        self.samples
            .back()
            .map_or(clock::NEVER, |newest| newest.asked_at)
    }

    /// The time of which a replica that has replayed up to `replayed` shows everything;
    /// [`clock::NEVER`] when no sample proves anything.
    pub(super) fn proof(&self, replayed: Lsn) -> u64 {
        let covered = self
            .samples
            .partition_point(|sample| sample.lsn <= replayed);
        let newest = covered
            .checked_sub(1)
            .and_then(|index| self.samples.get(index));
        newest.map_or(clock::NEVER, |sample| sample.asked_at)
    }

    /// How many bytes of WAL a replica has yet to replay, by the newest sample.
    pub(super) fn lag(&self, replayed: Lsn) -> Option<u64> {
        self.samples
            .back()
            .map(|newest| newest.lsn.saturating_sub(replayed))
    }
}

/// An insert position as a replica will report it once it has replayed everything before it.
///
/// When a record ends at the end of a page, the primary names the place behind the *next* page's
/// header (`pg_current_wal_insert_lsn`), the replica the end of the record
/// (`pg_last_wal_replay_lsn`). Both mean the same; unless put right, an idle cluster would look as
/// if its replicas never caught up. Only these exact offsets are touched: nothing but the header
/// lies before them.
pub(super) fn normalised(insert: Lsn, wal_block_size: u64) -> Lsn {
    match insert.checked_rem(wal_block_size) {
        Some(offset) if PAGE_HEADERS.contains(&offset) => insert - offset,
        _ => insert,
    }
}

/// A position from its text, `16/B374D848` (PostgreSQL docs, 8.20).
pub(super) fn parse_lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(part(high)? << 32 | part(low)?)
}

#[cfg(test)]
mod tests;
