//! Which node the reads of some clients prefer, by what those are called. PURE.
//!
//! Knows no view: whether the node can serve is `pick`'s to see.

use super::node::NodeId;
use crate::pattern::Pattern;

/// Where a client's reads go while it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Wherever the rules have them.
    #[default]
    None,
    /// To the primary.
    Primary,
    /// To replicas, even where the primary takes its turn.
    Replica,
    /// To this one, whatever its weight.
    Node(NodeId),
}

/// For whom a preference holds; what is none holds for all.
#[derive(Clone, Debug)]
pub struct Whose {
    /// Their application_name.
    pub application: Option<Pattern>,
    /// Their login name.
    pub user: Option<Pattern>,
    /// The database they asked for.
    pub database: Option<Pattern>,
}

/// All that is configured.
#[derive(Clone, Debug, Default)]
pub struct Preferences(Vec<(Whose, Preference)>);

impl Preferences {
    /// In the order in which they are tried.
    #[must_use]
    pub fn new(all: Vec<(Whose, Preference)>) -> Self {
        Self(all)
    }

    /// What the first says that fits. Does not allocate.
    #[must_use]
    pub fn of(&self, application: &str, user: &str, database: &str) -> Preference {
        let fits = |pattern: &Option<Pattern>, name: &str| {
            pattern.as_ref().is_none_or(|p| p.fits(name.as_bytes()))
        };
        let found = self.0.iter().find(|(whose, _)| {
            fits(&whose.application, application)
                && fits(&whose.user, user)
                && fits(&whose.database, database)
        });
        found.map_or(Preference::None, |(_, preference)| *preference)
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_that_fits_decides() {
        let whose = |application: &str, user: &str, database: &str| {
            let pattern = |text: &str| (!text.is_empty()).then(|| Pattern::new(text));
            Whose {
                application: pattern(application),
                user: pattern(user),
                database: pattern(database),
            }
        };
        let all = Preferences::new(vec![
            (whose("report*", "", ""), Preference::Node(NodeId(2))),
            (whose("", "ann", "app"), Preference::Primary),
            (whose("", "", "app"), Preference::Replica),
        ]);
        for (application, user, database, expected) in [
            ("reports", "ann", "app", Preference::Node(NodeId(2))),
            ("psql", "ann", "app", Preference::Primary),
            ("psql", "bob", "app", Preference::Replica),
            ("", "ann", "other", Preference::None),
        ] {
            assert_eq!(
                all.of(application, user, database),
                expected,
                "{application} {user}"
            );
        }
    }
}
