//! A bounded map from shapes to decisions that throws out what has not been used for a while.
//!
//! Two generations: what is found moves to the young one; when the young one is full it becomes
//! the old one and the old one is emptied. No list to keep, nothing allocated once both are made.
//! Must not know what a decision means.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::fingerprint::Key;
use super::route::Decision;

/// Keys are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "half of the key is hash enough"
        )]
        let low = key as u64;
        self.0 = low;
    }
}

type Generation = HashMap<Key, Decision, BuildHasherDefault<Identity>>;

/// How the cache has served so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheStats {
    /// Decisions found, since the start.
    pub hits: u64,
    /// Decisions that had to be worked out, since the start.
    pub misses: u64,
    /// Shapes held now.
    pub entries: usize,
}

/// See the module's head.
pub(super) struct Cache {
    young: Generation,
    old: Generation,
    /// How many shapes one generation holds.
    half: usize,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// Holds at most `capacity` shapes, at least two.
    pub(super) fn new(capacity: usize) -> Self {
        let half = (capacity / 2).max(1);
        let generation =
            || Generation::with_capacity_and_hasher(half, BuildHasherDefault::default());
        Self {
            young: generation(),
            old: generation(),
            half,
            hits: 0,
            misses: 0,
        }
    }

    /// Looks a shape up, and keeps it for another generation if it is there.
    #[inline]
    pub(super) fn get(&mut self, key: Key) -> Option<Decision> {
        if let Some(decision) = self.young.get(&key) {
            self.hits += 1;
            return Some(*decision);
        }
        if let Some(decision) = self.old.remove(&key) {
            self.hits += 1;
            self.insert(key, decision);
            return Some(decision);
        }
        self.misses += 1;
        None
    }

    /// Remembers what was decided for a shape.
    pub(super) fn insert(&mut self, key: Key, decision: Decision) {
        if self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, decision);
    }

    pub(super) fn stats(&self) -> CacheStats {
        let entries = self.young.len() + self.old.len();
        CacheStats {
            hits: self.hits,
            misses: self.misses,
            entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::{Command, Reason};
    use super::*;

    const DECISION: Decision = Decision::replica(Reason::ReadOnlySelect, Command::Select);

    #[test]
    fn holds_no_more_than_its_capacity() {
        let mut cache = Cache::new(10);
        for key in 0..1000 {
            assert_eq!(cache.get(key), None);
            cache.insert(key, DECISION);
            assert!(cache.stats().entries <= 10);
        }
        assert_eq!(cache.stats().misses, 1000);
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(8);
        cache.insert(0, DECISION);
        for key in 1..1000 {
            cache.insert(key, DECISION);
            assert_eq!(cache.get(0), Some(DECISION), "after {key}");
        }
        assert_eq!(cache.get(1), None);
    }
}
