//! Which statements a server connection holds, and which of them to close for another.
//!
//! PURE. A statement is known by the number it was given when its text was first seen; its name on
//! the server is made of that number, so the same statement of any client has the same name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A statement's number, unique in this instance.
pub type StatementId = u64;

/// The statements a server connection holds, the least recently used one first to go.
#[derive(Debug, Default)]
pub struct Prepared {
    used: HashMap<StatementId, u64, foldhash::fast::FixedState>,
    tick: u64,
    /// How many there are, for who looks from outside.
    count: Arc<AtomicUsize>,
}

impl Prepared {
    /// Whether the server holds the statement; if so it counts as used now.
    pub fn touch(&mut self, id: StatementId) -> bool {
        self.tick += 1;
        match self.used.get_mut(&id) {
            Some(at) => {
                *at = self.tick;
                true
            }
            None => false,
        }
    }

    /// Whether the server holds the statement.
    #[must_use]
    pub fn contains(&self, id: StatementId) -> bool {
        self.used.contains_key(&id)
    }

    /// The statement to close before another can be added to `limit` of them.
    #[must_use]
    pub fn victim(&self, limit: usize) -> Option<StatementId> {
        if self.used.len() < limit {
            return None;
        }
        self.used
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(id, _)| *id)
    }

    /// The server was sent (or turns out to still have) the statement.
    pub fn insert(&mut self, id: StatementId) {
        self.tick += 1;
        self.used.insert(id, self.tick);
        self.publish();
    }

    /// The server was told to close the statement, or never got to parse it.
    pub fn remove(&mut self, id: StatementId) {
        self.used.remove(&id);
        self.publish();
    }

    /// The server closed all of them: DISCARD ALL, DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.used.clear();
        self.publish();
    }

    /// How many there are, as it changes.
    #[must_use]
    pub fn count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }

    fn publish(&self) {
        self.count.store(self.used.len(), Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_goes_first() {
        let mut p = Prepared::default();
        for id in 1..=3 {
            assert_eq!(p.victim(3), None);
            p.insert(id);
        }
        assert!(p.touch(1));
        assert_eq!(p.victim(3), Some(2));
        p.remove(2);
        assert_eq!(p.victim(3), None);
        assert!(!p.touch(2));
        assert_eq!(p.count().load(Ordering::Relaxed), p.len());
        p.clear();
        assert!(p.is_empty());
    }
}
