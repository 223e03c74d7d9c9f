//! What a client is told when something fails: a SQLSTATE, what happened, and what to do.
//!
//! Knows no protocol: `protocol` puts a [`Report`] on the wire.

use std::borrow::Cow;
use std::fmt;

/// An error or a notice in PostgreSQL's terms (PostgreSQL docs, 55.8 and appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Five-character SQLSTATE.
    pub code: Cow<'static, str>,
    /// What happened, and to which node.
    pub message: String,
    /// More about it, where there is more.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Report {
    /// A report with its SQLSTATE and message.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Report {}
