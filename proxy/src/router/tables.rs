//! Which tables a statement reads or writes, as a set that never leaves one out.
//!
//! A bit stands for all names of the same hash, so a set may hold more tables than were put in, never
//! fewer. What can't be told is all of them. Must not know how a statement's tables are found.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// A set of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tables(u64);

impl Tables {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(u64::MAX);

    /// The one of that name, as PostgreSQL holds it, in whatever schema.
    pub(super) fn named(name: &[u8]) -> Self {
        Self(1 << (FixedState::default().hash_one(name) % 64))
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The numbers, below 64, of what is in it.
    pub fn numbers(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |bit| self.0 >> bit & 1 == 1)
    }
}
