//! Typed rows of what the instance knows, for every face that shows them: SHOW, and what else will
//! render the same figures.
//!
//! Words and numbers are pgpool-II's where its commands are answered. Knows no wire format, and
//! holds no figures of its own: it reads the view and the nodes' counters.

pub mod activity;

use std::time::SystemTime;

use chrono::{DateTime, Local};

use crate::cluster::{Health, NodeId, NodeState, ReadRules, Role, View};
use crate::metrics::{Severity, StatementKind};

/// The types that columns of our own answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// `text`.
    Text,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
}

impl ColumnKind {
    /// `pg_type.oid`.
    #[must_use]
    pub fn type_oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
        }
    }

    /// `pg_type.typlen`; -1 is variable.
    #[must_use]
    pub fn type_size(self) -> i16 {
        match self {
            Self::Text => -1,
            Self::Int4 => 4,
            Self::Int8 => 8,
        }
    }

    /// A field's binary form (PostgreSQL docs, 55.7, "format codes"), for clients that ask for it
    /// in Bind. `None` when the text is not of this kind, which no table here holds.
    #[must_use]
    pub fn binary(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Text => Some(text.as_bytes().to_vec()),
            Self::Int4 => text.parse::<i32>().ok().map(|n| n.to_be_bytes().to_vec()),
            Self::Int8 => text.parse::<i64>().ok().map(|n| n.to_be_bytes().to_vec()),
        }
    }
}

/// A column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as scripts look for it.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Text,
        }
    }

    /// A column of small numbers.
    #[must_use]
    pub const fn int4(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Int4,
        }
    }

    /// A column of counts.
    #[must_use]
    pub const fn int8(name: &'static str) -> Self {
        Self {
            name,
            kind: ColumnKind::Int8,
        }
    }
}

/// An answer: every row has one field per column, in text form; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What the fields are.
    pub columns: &'static [Column],
    /// The fields.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Memory of one kind of thing, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRow {
    /// What.
    pub name: &'static str,
    /// Of one of them.
    pub size: usize,
    /// How many are in use.
    pub used: usize,
    /// How many are kept for later.
    pub free: usize,
    /// Of all together.
    pub total: usize,
}

/// What is said of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its number.
    pub id: NodeId,
    /// Its host, as configured.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it stands with the proxy: `waiting` (up, no client's statement was sent there yet),
    /// `up`, `down`, `quarantine` (up, and not used because its claim to lead is not believed),
    /// `unused` (not checked yet).
    pub status: &'static str,
    /// Whether PostgreSQL answers there: `up`, `down`, `unknown`.
    pub pg_status: &'static str,
    /// Its share of the reads, 0 to 1; all shares add up to 1.
    pub read_share: f64,
    /// What it is used as: `primary` or `standby`.
    pub role: &'static str,
    /// What it says it is: `primary`, `standby`, `unknown`.
    pub pg_role: &'static str,
    /// Statements sent there, by kind.
    pub statements: StatementCounts,
    /// Errors that came from there, by severity.
    pub errors: ErrorCounts,
    /// WAL that it has not replayed, in bytes; 0 for the primary and while unknown.
    pub lag_bytes: u64,
    /// `streaming`, ...; empty for the primary and while unknown.
    pub replication_state: String,
    /// `async`, ...; empty for the primary and while unknown.
    pub sync_state: String,
    /// When health or role last changed.
    pub last_change: SystemTime,
}

/// Statements sent to a node since start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementCounts {
    /// SELECT, WITH, VALUES, TABLE.
    pub selects: u64,
    /// INSERT.
    pub inserts: u64,
    /// UPDATE.
    pub updates: u64,
    /// DELETE.
    pub deletes: u64,
    /// CREATE, ALTER, DROP, TRUNCATE.
    pub ddl: u64,
    /// All others.
    pub other: u64,
}

/// Errors received from a node since start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCounts {
    /// PANIC.
    pub panics: u64,
    /// FATAL.
    pub fatals: u64,
    /// ERROR.
    pub errors: u64,
}

/// One row per node, in the order of their numbers.
#[must_use]
pub fn nodes(view: &View, rules: &ReadRules) -> Vec<NodeRow> {
    let shares = read_shares(view, rules);
    view.nodes
        .iter()
        .zip(shares)
        .map(|(state, share)| node(state, share))
        .collect()
}

fn node(state: &NodeState, read_share: f64) -> NodeRow {
    let metrics = &state.node.metrics;
    let sent = |kind| metrics.statements(kind);
    NodeRow {
        id: state.node.id,
        host: state.node.host.clone(),
        port: state.node.port,
        status: status(state),
        pg_status: match state.health {
            Health::Up => "up",
            Health::Down => "down",
            Health::Unknown => "unknown",
        },
        read_share,
        role: if state.role == Role::Primary {
            "primary"
        } else {
            "standby"
        },
        pg_role: match state.reported_role {
            Role::Primary => "primary",
            Role::Replica => "standby",
            Role::Unknown => "unknown",
        },
        statements: StatementCounts {
            selects: sent(StatementKind::Select),
            inserts: sent(StatementKind::Insert),
            updates: sent(StatementKind::Update),
            deletes: sent(StatementKind::Delete),
            ddl: sent(StatementKind::Ddl),
            other: sent(StatementKind::Other),
        },
        errors: ErrorCounts {
            panics: metrics.errors(Severity::Panic),
            fatals: metrics.errors(Severity::Fatal),
            errors: metrics.errors(Severity::Error),
        },
        lag_bytes: state.lag_bytes.unwrap_or(0),
        replication_state: state.replication_state.clone(),
        sync_state: state.sync_state.clone(),
        last_change: state.last_change,
    }
}

fn status(state: &NodeState) -> &'static str {
    match (state.health, state.role) {
        (Health::Unknown, _) => "unused",
        (Health::Down, _) => "down",
        (Health::Up, Role::Unknown) if state.last_error.is_some() => "quarantine",
        (Health::Up, _) if state.node.used() => "up",
        (Health::Up, _) => "waiting",
    }
}

/// Weights over those that reads are meant for, whether they are up or not: the primary takes its
/// share only if the rules say so, or if nobody else has one.
fn read_shares(view: &View, rules: &ReadRules) -> Vec<f64> {
    let is_primary = |state: &NodeState| state.role == Role::Primary;
    let weight = |state: &NodeState| {
        let takes_reads = rules.primary_reads || !is_primary(state);
        if takes_reads {
            f64::from(state.node.weight())
        } else {
            0.0
        }
    };
    let total: f64 = view.nodes.iter().map(weight).sum();
    let share = |state: &NodeState| {
        if total > 0.0 {
            weight(state) / total
        } else {
            f64::from(u8::from(is_primary(state)))
        }
    };
    view.nodes.iter().map(share).collect()
}

/// A time as pgpool prints it: `2021-02-27 15:10:19`, local time.
#[must_use]
pub fn local_time(time: SystemTime) -> String {
    DateTime::<Local>::from(time)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// A time as pgbouncer prints it, local time with its offset.
#[must_use]
pub fn zoned_time(time: SystemTime) -> String {
    DateTime::<Local>::from(time)
        .format("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

#[cfg(test)]
mod tests;
