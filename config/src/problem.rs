//! What is wrong with a configuration, said so that it can be mended: one line per problem.
//!
//! Must not know what any key means. Messages never carry the value of a secret.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Where a value was given. Displays as SHOW CONFIG's source column: `default`,
/// `pgconvoy.toml:12`, `env PGCONVOY_POOL_SIZE`, `flag --node`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    /// `line` counts from 1; none when the whole file is meant.
    File {
        name: Arc<str>,
        line: Option<usize>,
    },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                name,
                line: Some(line),
            } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing to mend. Displays as one line:
/// `pgconvoy.toml:12: pool.sise: unknown key; did you mean "pool.size"?`
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.line())]
pub struct Problem {
    /// Where; [`Origin::Default`] when something is missing everywhere.
    pub origin: Origin,
    /// The dotted key, empty where the origin says it all.
    pub key: String,
    pub message: String,
    /// What would be right, as a phrase.
    pub allowed: Option<String>,
    /// The known name that is nearest to the one given.
    pub nearest: Option<String>,
}

impl Problem {
    pub(crate) fn new(origin: &Origin, key: &str, message: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            key: key.to_owned(),
            message: message.into(),
            allowed: None,
            nearest: None,
        }
    }

    pub(crate) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }

    fn line(&self) -> String {
        use fmt::Write as _;

        let mut line = match &self.origin {
            Origin::Default => "settings".to_owned(),
            origin @ (Origin::File { .. } | Origin::Environment(_) | Origin::Flag(_)) => {
                origin.to_string()
            }
        };
        // Writing to a String cannot fail.
        if !self.key.is_empty() {
            let _ = write!(line, ": {}", self.key.escape_debug());
        }
        let _ = write!(line, ": {}", self.message);
        if let Some(allowed) = &self.allowed {
            let _ = write!(line, "; allowed: {allowed}");
        }
        if let Some(nearest) = &self.nearest {
            let _ = write!(line, "; did you mean \"{nearest}\"?");
        }
        line
    }
}

/// Every problem of one load, the file's in line order, then the environment's, then the flags'.
/// Displays one line each.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.lines())]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts by origin; problems of one place keep the order in which they were found.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        Self(problems)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true of what a load returns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn lines(&self) -> String {
        self.0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
