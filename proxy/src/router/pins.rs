//! The kinds of session state that keep a session on its server connection.
//!
//! Plain data. Must not know how such state is found, nor how it is seen to be gone.

/// Session state that lives in one server connection and can't be carried to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PinReason {
    /// A setting whose new value can't be told: `set_config` with parameters, SET in an unusual form.
    Set,
    /// LISTEN.
    Listen,
    /// A temporary table, view or sequence, or anything made in `pg_temp`.
    TempTable,
    /// An advisory lock that outlives its transaction.
    AdvisoryLock,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// SQL-level PREPARE, EXECUTE, DEALLOCATE.
    Prepare,
    /// LOAD.
    Load,
    /// `setseed`.
    Seed,
    /// What a session's `currval` and `lastval` will say, where the application asks them.
    Sequence,
    /// Something that may have changed the session and could not be looked into.
    UnknownState,
}

impl PinReason {
    /// Every reason, in the order of declaration; for registering one metric child each.
    pub const ALL: [Self; 10] = [
        Self::Set,
        Self::Listen,
        Self::TempTable,
        Self::AdvisoryLock,
        Self::HoldCursor,
        Self::Prepare,
        Self::Load,
        Self::Seed,
        Self::Sequence,
        Self::UnknownState,
    ];

    /// The reason as a metric label, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Listen => "listen",
            Self::TempTable => "temp_table",
            Self::AdvisoryLock => "advisory_lock",
            Self::HoldCursor => "hold_cursor",
            Self::Prepare => "prepare",
            Self::Load => "load",
            Self::Seed => "seed",
            Self::Sequence => "sequence",
            Self::UnknownState => "unknown_state",
        }
    }
}

/// Any number of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PinSet(u16);

impl PinSet {
    /// No reason.
    pub const NONE: Self = Self(0);

    /// Just this reason.
    #[must_use]
    pub const fn of(reason: PinReason) -> Self {
        Self(1 << reason as u8)
    }

    /// The reasons of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The reasons that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this reason is one of them.
    #[must_use]
    pub const fn has(self, reason: PinReason) -> bool {
        self.0 & Self::of(reason).0 != 0
    }

    /// The reasons, in the order of declaration.
    pub fn iter(self) -> impl Iterator<Item = PinReason> {
        PinReason::ALL.into_iter().filter(move |r| self.has(*r))
    }

    /// As a number, for who keeps it where only numbers can be.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl From<PinReason> for PinSet {
    fn from(reason: PinReason) -> Self {
        Self::of(reason)
    }
}

impl std::fmt::Debug for PinSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
