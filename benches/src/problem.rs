//! Why a peer could not be started or a load did not run: told in the report, not fatal to the other columns.

/// What was tried, and why it did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Problem {
    what: String,
    why: String,
}

impl Problem {
    pub fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

pub type Result<T> = std::result::Result<T, Problem>;
