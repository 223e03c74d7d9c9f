//! Which writes a session's reads must see.
//!
//! It must not know how a replica proves that it shows them.

use super::context::ReadYourWrites;
use super::{Session, failure};
use crate::backend::parameters::{ParameterSet, Setting};
use crate::clock;
use crate::cluster::{Freshness, Position};
use crate::error::Report;
use crate::protocol::error_fields::Severity;
use crate::protocol::sqlstate;
use crate::router::{Decision, Hint, Tables};

/// Where the session's statements go, as a hint before each of them would say.
const ROUTE: &str = "pgconvoy.route";
/// What another session has written.
const MIN_POSITION: &str = "pgconvoy.min_position";

/// What a session's own settings ask of routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    pub(super) route: Hint,
    position: Option<Position>,
    /// Something else, which was not understood.
    wrongly: bool,
}

/// The value of a setting of ours, where the session has one.
fn given<'s>(parameters: &'s ParameterSet, name: &str) -> Option<&'s str> {
    match parameters.get(name)? {
        Setting::Value(value) => Some(value),
        Setting::Clause(clause) => {
            let behind = clause.trim_start().get(name.len()..)?.trim_start();
            let word = behind
                .get(..2)
                .is_some_and(|w| w.eq_ignore_ascii_case("to"));
            let value = if word {
                behind.get(2..)
            } else {
                behind.strip_prefix('=')
            };
            Some(value?.trim().trim_matches('\''))
        }
        Setting::Known => None,
    }
}

fn not_understood(name: &str, value: &str, allowed: &str) -> Report {
    Report::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("{name} = '{value}' is not understood and changes nothing"),
    )
    .hint(format!("Allowed: {allowed}."))
}

impl Session {
    /// By which catalog and for which route statements are decided now.
    pub(super) fn decided_by(&self) -> u64 {
        let hint = self.asks.route as u64;
        // A change of names is another catalog, as far as it goes.
        let touched = self.database.touched().wrapping_mul(4);
        self.database.version() ^ touched.wrapping_add(hint)
    }

    /// The parameters have changed: what they ask of routing is read again.
    pub(super) fn asks_anew(&mut self) {
        let current = self.parameters.current();
        let mut asks = Asks::default();
        let mut wrong = None;
        if let Some(word) = given(current, ROUTE) {
            match Hint::of(word) {
                Some(route) => asks.route = route,
                None => wrong = Some(not_understood(ROUTE, word, "primary, replica, auto")),
            }
        }
        if let Some(text) = given(current, MIN_POSITION).filter(|text| !text.is_empty()) {
            asks.position = Position::parse(text);
            if asks.position.is_none() {
                let allowed = "what SHOW pgconvoy.position gives";
                wrong = Some(not_understood(MIN_POSITION, text, allowed));
            }
        }
        asks.wrongly = wrong.is_some();
        let before = std::mem::replace(&mut self.asks, asks);
        if let Some(report) = wrong.filter(|_| !before.wrongly) {
            failure::say(self.buffers(), Severity::Notice, &report);
        }
    }

    /// A transaction of this session that may have written these tables was committed before `now`.
    pub(super) fn note_write(&mut self, tables: Tables, now: u64) {
        self.wrote_at = now;
        if self.context.tuning.load().read_your_writes == ReadYourWrites::Cluster {
            self.database.wrote(tables, now);
        }
    }

    /// The tables that a write is about to change, where that is followed.
    pub(super) fn tables_of(&self, sql: Option<&[u8]>, decision: &Decision) -> Tables {
        if !decision.writes {
            return Tables::NONE;
        }
        let by_table = self.context.tuning.load().read_your_writes == ReadYourWrites::Cluster;
        match sql {
            Some(sql) if by_table => {
                let catalog = self.database.catalog();
                let router = self.context.router();
                router.written(sql, self.quoting, catalog.as_deref())
            }
            Some(_) | None => Tables::ALL,
        }
    }

    /// What the batch at the front demands of a replica.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness_for(self.plan.reads)
    }

    /// The last write that reading these tables must see.
    pub(super) fn written(&self, reads: Tables) -> u64 {
        match self.context.tuning.load().read_your_writes {
            ReadYourWrites::Session => self.wrote_at,
            ReadYourWrites::Cluster => self.database.written(reads),
            ReadYourWrites::Off => clock::NEVER,
        }
    }

    /// Whether the replica at hand shows what the batch at the front must see.
    pub(super) fn is_fresh_enough(&self) -> bool {
        let written = self.written(self.plan.reads);
        self.link.as_ref().is_none_or(|link| written <= link.shows)
    }

    /// What reading these tables demands of a replica.
    pub(super) fn freshness_for(&self, reads: Tables) -> Freshness {
        let tuning = self.context.tuning.load();
        let written = self.written(reads);
        // However long ago something was written.
        let shown_since = (tuning.max_replica_delay)
            .map_or(clock::NEVER, |delay| clock::now().saturating_sub(delay));
        Freshness {
            position: self.asks.position,
            ..Freshness::since(written.max(shown_since))
        }
    }
}
