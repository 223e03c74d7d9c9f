//! The sections of the file, as the reference orders them.
//!
//! Must not know their keys: `keys` defines those.

/// Whether a section stands once or is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `[pool]`
    Table,
    /// `[[node]]`
    List,
}

/// Whether the reference has a section in force, or as one that may be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Example {
    InForce,
    Off,
}

use Example::{InForce, Off};

/// A section of the file.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) example: Example,
    pub(crate) doc: &'static str,
}

/// Every section, as the reference orders them.
pub(crate) static SECTIONS: &[Section] = &[
    list(
        "node",
        InForce,
        "A PostgreSQL server; which one leads is found out. One is needed",
    ),
    list(
        "user",
        Off,
        "Who may log in. With none, and only loopback addresses, everybody may",
    ),
    list(
        "database",
        Off,
        "Overrides for one database; others are passed on as they are",
    ),
    list(
        "peer",
        Off,
        "Another pgconvoy behind the same address: cancel requests for its clients are passed on to it",
    ),
    // Off, because a method that is asked for needs users whom it could check.
    table("auth", Off, "How clients prove who they are"),
    table(
        "pool",
        InForce,
        "Server connections; a pool is one user on one database of one node",
    ),
    table(
        "limits",
        InForce,
        "Bounds on clients, and on server connections over all pools",
    ),
    table("routing", InForce, "Where statements run"),
    list(
        "prefer",
        Off,
        "Which node reads prefer, while it can serve them; the first entry that fits decides",
    ),
    table(
        "replication",
        InForce,
        "Replication connections (pg_basebackup, pg_receivewal, logical decoding), which are not pooled",
    ),
    table("health", InForce, "How nodes are watched"),
    table(
        "monitor",
        InForce,
        "The login with which nodes are watched; it needs pg_monitor",
    ),
    table("http", InForce, "Metrics and health over HTTP"),
    table("log", InForce, "What is logged, and how"),
];

const fn list(name: &'static str, example: Example, doc: &'static str) -> Section {
    Section {
        name,
        shape: Shape::List,
        example,
        doc,
    }
}

const fn table(name: &'static str, example: Example, doc: &'static str) -> Section {
    Section {
        name,
        shape: Shape::Table,
        example,
        doc,
    }
}

/// The section of that name.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}
