//! What keeps a session on its server connection, and the question whether it still does. PURE.
//!
//! That state is made is read from statements; that it is gone is believed only of the server:
//! locks are counted there, a LISTEN may have been rolled back, a cursor ends in many ways. So
//! where a statement may have given something back, the server is asked, once it is idle.

use crate::router::{PinReason, PinSet};

/// What each kind of state looks like on the server while there is some: an expression that is
/// true then. Every name and operator is qualified, since the session's `search_path` is in force.
const SIGNS: [(PinReason, &str); 5] = [
    (
        PinReason::Listen,
        "EXISTS(SELECT 1 FROM pg_catalog.pg_listening_channels())",
    ),
    (
        PinReason::TempTable,
        "EXISTS(SELECT 1 FROM pg_catalog.pg_depend d \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 2615::pg_catalog.oid \
         AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
    ),
    (
        PinReason::AdvisoryLock,
        "EXISTS(SELECT 1 FROM pg_catalog.pg_locks l \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (
        PinReason::HoldCursor,
        "EXISTS(SELECT 1 FROM pg_catalog.pg_cursors c WHERE c.is_holdable)",
    ),
    (
        PinReason::Prepare,
        "EXISTS(SELECT 1 FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql)",
    ),
];

/// The question must not wait for what the session has set its transactions to be.
const AT_ONCE: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED,NOT DEFERRABLE;";

/// What DISCARD ALL leaves: libraries, a temporary schema, the state of `random()`, and who knows.
const TRACES: [PinReason; 4] = [
    PinReason::Load,
    PinReason::TempTable,
    PinReason::Seed,
    PinReason::UnknownState,
];

/// See the module's head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pins {
    held: PinSet,
    /// Made since the last ReadyForQuery.
    fresh: bool,
    /// Some of it may be gone, or may never have come to be.
    doubt: bool,
    /// Something of it can't be undone.
    traces: bool,
}

impl Pins {
    /// Whether nothing keeps the session where it is.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What does.
    pub(super) fn held(&self) -> PinSet {
        self.held
    }

    /// Whether the connection can't be made like new, and is closed when the session ends on it.
    pub(super) fn leave_traces(&self) -> bool {
        self.traces
    }

    /// The session is on another server connection from now on.
    pub(super) fn moved(&mut self) {
        self.traces = false;
    }

    /// A statement is about to make such state; `sure` unless something may take it back.
    pub(super) fn add(&mut self, pins: PinSet, sure: bool) {
        if !pins.is_empty() {
            self.held = self.held.and(pins);
            self.fresh = true;
            self.doubt |= !sure;
            self.traces |= TRACES.iter().any(|reason| pins.has(*reason));
        }
    }

    /// A statement is about to give some back, perhaps.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// A statement has failed.
    pub(super) fn failed(&mut self) {
        self.doubt |= self.fresh;
    }

    /// DISCARD ALL has been done, which leaves what it can't know or undo.
    pub(super) fn discarded(&mut self) {
        let gone = SIGNS.iter().map(|(reason, _)| PinSet::of(*reason));
        let gone = gone.fold(PinSet::of(PinReason::Set), PinSet::and);
        self.held = self.held.without(gone);
        self.sequences_discarded();
    }

    /// DISCARD SEQUENCES has been done.
    pub(super) fn sequences_discarded(&mut self) {
        self.held = self.held.without(PinReason::Sequence.into());
    }

    /// The server is ready; `idle` when it is in no transaction. What to ask it, if anything: the
    /// answer goes to [`Pins::answered`].
    pub(super) fn ready(&mut self, idle: bool) -> Option<String> {
        self.fresh = false;
        if !idle || !std::mem::take(&mut self.doubt) || self.held.is_empty() {
            return None;
        }
        let asked = self.asked();
        if asked.len() < self.held.iter().count() {
            // What can't be asked keeps it anyway.
            return None;
        }
        let signs: Vec<&str> = asked.iter().map(|(_, sign)| *sign).collect();
        Some(format!("{AT_ONCE}SELECT {}", signs.join(",")))
    }

    fn asked(&self) -> Vec<(PinReason, &'static str)> {
        let held = |(reason, _): &&(PinReason, &str)| self.held.has(*reason);
        SIGNS.iter().filter(held).copied().collect()
    }

    /// The server's answer: a DataRow's body. What it doesn't say for certain is kept.
    pub(super) fn answered(&mut self, row: &[u8]) {
        let asked = self.asked();
        let mut fields = row.get(2..).unwrap_or_default();
        for (reason, _) in asked {
            // A boolean's text is one byte.
            let Some(([0, 0, 0, 1, value], rest)) = fields.split_first_chunk::<5>() else {
                return;
            };
            if *value == b'f' {
                self.held = self.held.without(reason.into());
            }
            fields = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[u8]) -> Vec<u8> {
        let mut row = vec![0, u8::try_from(values.len()).unwrap()];
        values.iter().for_each(|v| row.extend([0, 0, 0, 1, *v]));
        row
    }

    #[test]
    fn what_is_certain_is_not_asked() {
        let mut pins = Pins::default();
        pins.add(PinReason::Listen.into(), true);
        assert_eq!(pins.ready(true), None);
        pins.add(PinReason::Listen.into(), true);
        pins.failed();
        assert!(pins.ready(true).is_some());
        assert_eq!(pins.ready(true), None, "asked once");
    }

    #[test]
    fn doubt_is_cleared_up_outside_of_transactions_and_by_the_server() {
        let mut pins = Pins::default();
        pins.add(PinReason::AdvisoryLock.into(), true);
        pins.add(PinReason::Listen.into(), false);
        assert_eq!(pins.ready(false), None);
        let sql = pins.ready(true).unwrap();
        let (listen, lock) = (sql.find("listening").unwrap(), sql.find("locks").unwrap());
        assert!(listen < lock, "in the order of the answer");
        pins.answered(&row(b"ft"));
        assert_eq!(pins.held(), PinSet::of(PinReason::AdvisoryLock));
        pins.answered(b"\0\x01\xff\xff\xff\xff");
        pins.answered(b"");
        assert!(!pins.is_empty(), "kept unless the server says it is gone");
        pins.doubt();
        assert!(pins.ready(true).is_some());
        pins.answered(&row(b"f"));
        assert!(pins.is_empty());
    }

    #[test]
    fn what_cannot_be_asked_is_kept_and_spares_the_question() {
        let mut pins = Pins::default();
        pins.add(PinReason::Seed.into(), true);
        pins.add(PinReason::TempTable.into(), false);
        assert_eq!(pins.ready(true), None);
        pins.discarded();
        assert_eq!(pins.held(), PinSet::of(PinReason::Seed));
    }
}
