//! What the configuration says of functions, over what is built in and what a database's catalog says. PURE.
//!
//! That a function writes is stronger than that it only reads. Where it is not known which function a name
//! stands for, a rule for one schema's is believed when it says the worse.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;

use crate::pattern::Pattern;

/// Functions by name or pattern, of one schema or of any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionRule {
    /// Of any when none.
    pub schema: Option<Pattern>,
    /// The name.
    pub name: Pattern,
}

impl FunctionRule {
    fn fits(&self, schema: &[u8], name: &[u8]) -> bool {
        self.name.fits(name) && self.schema.as_ref().is_none_or(|s| s.fits(schema))
    }

    /// Whether it means what is built in, too: one that is named, or `pg_catalog`'s. A pattern means users'.
    fn means_builtins(&self) -> bool {
        self.name.is_name() || self.schema.is_some()
    }
}

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// These are for replicas, whatever they are declared to be.
    pub read_only: Vec<FunctionRule>,
    /// These are for the primary.
    pub write: Vec<FunctionRule>,
}

impl Overrides {
    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read_only.is_empty() && self.write.is_empty()
    }

    /// The same for the same, and together with the same `other`.
    pub(super) fn version(&self, other: &impl Hash) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        self.hash(&mut hasher);
        other.hash(&mut hasher);
        hasher.finish().max(1)
    }

    /// Of a user's function in a schema: whether it is safe; `None` if nothing is said.
    pub(super) fn of(&self, schema: &[u8], name: &[u8]) -> Option<bool> {
        let says = |rules: &[FunctionRule]| rules.iter().any(|rule| rule.fits(schema, name));
        if says(&self.write) {
            Some(false)
        } else {
            says(&self.read_only).then_some(true)
        }
    }

    /// Of what is built in by that name; and, for the worse, of whatever it stands for when it comes
    /// without a schema.
    pub(super) fn of_builtin(&self, name: &[u8]) -> Option<bool> {
        let builtin = |rule: &FunctionRule| rule.fits(b"pg_catalog", name) && rule.means_builtins();
        let anywhere = |rule: &FunctionRule| {
            rule.name.fits(name) && (rule.name.is_name() || rule.schema.is_none())
        };
        if self
            .write
            .iter()
            .any(|rule| builtin(rule) || anywhere(rule))
        {
            Some(false)
        } else {
            self.read_only.iter().any(builtin).then_some(true)
        }
    }

    /// Of a name without a schema that nothing else is known of.
    pub(super) fn of_unknown(&self, name: &[u8]) -> Option<bool> {
        let any_schema = |rule: &FunctionRule| rule.schema.is_none() && rule.name.fits(name);
        self.of_builtin(name)
            .or_else(|| self.read_only.iter().any(any_schema).then_some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<FunctionRule> {
        let rule = |text: &&str| match text.split_once('.') {
            Some((schema, name)) => FunctionRule {
                schema: Some(Pattern::new(schema)),
                name: Pattern::new(name),
            },
            None => FunctionRule {
                schema: None,
                name: Pattern::new(text),
            },
        };
        texts.iter().map(rule).collect()
    }

    #[test]
    fn rules_say_what_they_mean_and_writes_win() {
        let overrides = Overrides {
            read_only: rules(&["get_*", "app.report", "nextval", "pg_catalog.lo_*", "both"]),
            write: rules(&["get_out", "both", "audit.*", "app.lower"]),
        };
        for (name, own, builtin, unknown) in [
            ("get_it", Some(true), None, Some(true)),
            ("get_out", Some(false), Some(false), Some(false)),
            ("report", Some(true), None, None),
            ("nextval", Some(true), Some(true), Some(true)),
            ("lo_get", None, Some(true), Some(true)),
            ("both", Some(false), Some(false), Some(false)),
            ("lower", Some(false), Some(false), Some(false)),
            ("upper", None, None, None),
        ] {
            assert_eq!(overrides.of(b"app", name.as_bytes()), own, "app.{name}");
            assert_eq!(
                overrides.of_builtin(name.as_bytes()),
                builtin,
                "built in: {name}"
            );
            assert_eq!(
                overrides.of_unknown(name.as_bytes()),
                unknown,
                "unknown: {name}"
            );
        }
        assert_eq!(overrides.of(b"audit", b"anything"), Some(false));
        assert_eq!(overrides.of(b"other", b"report"), None);
    }

    #[test]
    fn version_is_that_of_the_rules_and_of_what_goes_with_them() {
        let (none, some) = (
            Overrides::default(),
            Overrides {
                read_only: rules(&["f"]),
                write: Vec::new(),
            },
        );
        assert_ne!(none.version(&1), some.version(&1));
        assert_ne!(some.version(&1), some.version(&2));
        assert_eq!(some.version(&1), some.clone().version(&1));
    }
}
