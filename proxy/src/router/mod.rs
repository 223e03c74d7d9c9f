//! Decides where a statement may run: on the primary only, or on any node that serves reads.
//!
//! The order of work: a write by its first word needs no look-up; everything else is brought to
//! its shape, hashed and looked up; a new shape is classified once (`classify`) and remembered,
//! errors too. Default to the primary: a statement goes to a replica only when every part of it
//! is known to be safe. Pure: no socket, no clock, no runtime. Must not know nodes, sessions or
//! transactions in progress; whether a replica is fresh enough is the cluster's business.

mod answer;
mod ask;
mod assignment;
mod cache;
mod catalog;
mod classify;
mod control;
mod effect;
mod expr;
mod factor;
mod finding;
mod fingerprint;
mod functions;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hint;
mod knowledge;
mod lexer;
mod mentions;
mod overrides;
mod parse;
mod pins;
mod route;
mod scan;
mod scope;
mod simplify;
mod state;
mod statement;
mod suspicion;
mod tables;
#[cfg(test)]
mod tests;
mod views;
mod walk;
mod written;

use cache::Cache;
use fingerprint::Seed;
use functions::Builtins;
use knowledge::Knowledge;
use lexer::{Kind, Lexer};

pub use answer::{parameters, returns_no_rows};
pub use ask::{Names, names, question};
pub use assignment::{Assignment, Bound, Effect, Value};
pub use cache::CacheStats;
pub use catalog::{Catalog, Constraint, Facts, Qualified, Relation, Runs};
pub use control::{Control, Isolation, Modes, control};
pub use effect::{effects, places};
pub use hint::Hint;
pub use mentions::Mentions;
pub use overrides::{FunctionRule, Overrides};
pub use pins::{PinReason, PinSet};
pub use route::{
    Command, Decision, Discard, Local, LocalCommand, Reason, SequenceUse, Target, TransactionEffect,
};
pub use scope::Scope;
pub use statement::asks_position;
pub use tables::Tables;
pub use views::read as read_catalog;

/// Text that is not certainly a plain write is looked into up to this many bytes, about two
/// milliseconds' work. Literals count here, unlike in the parser's own limits.
const MAX_TEXT: usize = 1 << 20;

/// Whether the session's settings allow its text to be read by the standard's rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quoting {
    /// `standard_conforming_strings` is on and the client's encoding keeps ASCII bytes for
    /// ASCII characters.
    Standard,
    /// It is off, or the encoding is SJIS, BIG5, GBK, UHC, GB18030 or JOHAB, whose characters
    /// may hold the bytes of a backslash or a letter.
    Unsafe,
}

impl Quoting {
    /// What follows from the parameters that a server reports.
    #[must_use]
    pub fn of(client_encoding: Option<&str>, standard_conforming_strings: Option<&str>) -> Self {
        // Their characters may hold ASCII bytes (PostgreSQL docs, 24.3.1: the encodings that are
        // for clients only).
        const CLIENT_ONLY: [&str; 7] = [
            "SJIS",
            "BIG5",
            "GBK",
            "UHC",
            "GB18030",
            "JOHAB",
            "SHIFT_JIS_2004",
        ];
        let hides_ascii = client_encoding.is_some_and(|name| CLIENT_ONLY.contains(&name));
        if hides_ascii || standard_conforming_strings.is_some_and(|value| value != "on") {
            Self::Unsafe
        } else {
            Self::Standard
        }
    }
}

/// Classifies statements and remembers their shapes; one per worker.
pub struct Router {
    seed: Seed,
    cache: Cache,
    builtins: Builtins,
}

impl Router {
    /// `seed` must be random per process: who knows it can make two statements share a route.
    /// `capacity` bounds how many shapes are remembered (about 64 bytes each).
    #[must_use]
    pub fn new(seed: [u64; 2], capacity: usize) -> Self {
        Self {
            seed: Seed::new(seed),
            cache: Cache::new(capacity),
            builtins: Builtins::new(),
        }
    }

    /// Decides where `sql` may run. `sql` is the text of one Query or Parse message, without its
    /// terminating zero byte, in any encoding.
    pub fn decide(&mut self, sql: &[u8], quoting: Quoting) -> Decision {
        self.decide_in(sql, quoting, None)
    }

    /// The same with what the database's own catalog says.
    pub fn decide_in(
        &mut self,
        sql: &[u8],
        quoting: Quoting,
        catalog: Option<&Catalog>,
    ) -> Decision {
        match quoting {
            Quoting::Standard => self.decide_standard(sql, catalog),
            Quoting::Unsafe => distrust(sql, self.decide_standard(sql, catalog)),
        }
    }

    /// What a statement is remembered by: the same for statements that differ in literals and
    /// comments only. Another router gives other numbers.
    #[must_use]
    pub fn shape(&self, sql: &[u8]) -> u128 {
        let (at, hint) = hint::leading(sql);
        fingerprint::fingerprint(&self.seed, sql, at, hint)
    }

    /// The decision on a shape, if it is remembered.
    #[must_use]
    pub fn recall(&mut self, shape: u128) -> Option<Decision> {
        self.cache.get(shape)
    }

    /// A replica has refused `sql`: its shape is for the primary, as long as it is remembered.
    pub fn refused(&mut self, sql: &[u8], catalog: Option<&Catalog>) {
        let shape = within(self.shape(sql), catalog);
        if let Some(decision) = self.recall(shape) {
            self.cache.insert(shape, decision.refused());
        }
    }

    /// The decision on `sql` in a session that asks for this; what the statement itself says goes first.
    #[must_use]
    pub fn hinted(&self, sql: &[u8], decision: Decision, hint: Hint) -> Decision {
        let own = hint::leading(sql).1;
        if hint == Hint::None || own != Hint::None || decision.reason == Reason::SeveralStatements {
            return decision;
        }
        classify::obey(hint, decision)
    }

    /// The tables that the write `sql` may change.
    #[must_use]
    pub fn written(&self, sql: &[u8], quoting: Quoting, catalog: Option<&Catalog>) -> Tables {
        match quoting {
            Quoting::Standard => written::written(&Knowledge::new(&self.builtins, catalog), sql),
            Quoting::Unsafe => Tables::ALL,
        }
    }

    /// How well the shapes are remembered.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    fn decide_standard(&mut self, sql: &[u8], catalog: Option<&Catalog>) -> Decision {
        let (at, hint) = hint::leading(sql);
        let rest = sql.get(at..).unwrap_or_default();
        if let Some(command) = write_command(rest)
            && scan::is_plain(rest)
        {
            return Decision::primary(Reason::Write, command);
        }
        if sql.len() > MAX_TEXT {
            return Decision {
                pins: PinReason::UnknownState.into(),
                unseen: true,
                ..Decision::primary(
                    Reason::TooLong,
                    write_command(rest).unwrap_or(Command::Other),
                )
            };
        }
        let shape = fingerprint::fingerprint(&self.seed, sql, at, hint);
        let key = within(shape, catalog);
        if let Some(decision) = self.recall(key) {
            return decision;
        }
        let knowledge = Knowledge::new(&self.builtins, catalog);
        let decision = classify::classify(&knowledge, sql, at, hint);
        self.cache.insert(key, decision);
        decision
    }
}

/// A shape means something else in another database: what it is remembered by there.
fn within(shape: u128, catalog: Option<&Catalog>) -> u128 {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    shape ^ u128::from(catalog.map_or(0, Catalog::version)).wrapping_mul(SPREAD)
}

/// What a statement that begins with the name of a write counts as.
fn write_command(sql: &[u8]) -> Option<Command> {
    // Cheaper than a token, and enough for nearly every read.
    if !matches!(
        sql.first()?,
        b'i' | b'I' | b'u' | b'U' | b'd' | b'D' | b'm' | b'M'
    ) {
        return None;
    }
    let first = Lexer::new(sql, 0)
        .next()
        .filter(|token| token.kind == Kind::Word)?;
    let words = [
        ("insert", Command::Insert),
        ("update", Command::Update),
        ("delete", Command::Delete),
        ("merge", Command::Other),
    ];
    words
        .iter()
        .find(|(word, _)| first.is_word(word))
        .map(|(_, command)| *command)
}

/// What to make of a decision about a text that may mean something else to the server. A
/// backslash is where the two readings part; behind it anything may be hidden.
fn distrust(sql: &[u8], decision: Decision) -> Decision {
    if decision.local.is_some() {
        return decision;
    }
    let hidden = memchr::memchr(b'\\', sql).is_some();
    Decision {
        target: Target::Primary,
        reason: match decision.target {
            Target::Replica => Reason::Quoting,
            Target::Primary => decision.reason,
        },
        writes: decision.writes || hidden,
        pins: if hidden {
            decision.pins.and(PinReason::UnknownState.into())
        } else {
            decision.pins
        },
        ..decision
    }
}
