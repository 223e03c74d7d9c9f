//! The parameters a session wants on whichever server connection it uses, and the SQL that turns
//! one set into another.
//!
//! PURE. Values are passed with `set_config()`, which takes them exactly as a startup packet does
//! (PostgreSQL docs, 9.28.1); `SET search_path = 'a, b'` would name one schema. What was set by SET
//! is set again by its own words.

use std::fmt::Write as _;
use std::sync::Arc;

/// A parameter's value, as it can be given to another connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// The value itself.
    Value(String),
    /// What stood behind `SET SESSION`, from its first token to its last.
    Clause(String),
}

/// Parameters of a session, by lower-case name, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParameterSet {
    entries: Vec<(String, Setting)>,
}

/// A parameter name that PostgreSQL could not have either.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration parameter name \"{0}\"")]
pub struct InvalidName(pub String);

/// Who the session acts as. What the others need may be more than it has, so they go first; and
/// the first of the two ends the second (PostgreSQL docs, SET SESSION AUTHORIZATION).
const IDENTITY: [&str; 2] = ["session_authorization", "role"];

/// Leaves who the session acts as at what it was when it logged in.
const AS_ONESELF: &str = "RESET SESSION AUTHORIZATION;RESET ROLE;";

impl ParameterSet {
    /// Builds the set; a later value for the same name wins, as it does on the server.
    ///
    /// # Errors
    /// A name that is not letters, digits, `_` and `$`, in parts joined by dots.
    pub fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<Self>, InvalidName> {
        let mut set = Self::default();
        for (name, value) in pairs {
            if !valid_name(&name) {
                return Err(InvalidName(name));
            }
            set.set(name.to_ascii_lowercase(), Setting::Value(value));
        }
        Ok(Arc::new(set))
    }

    /// Sets one; `name` in lower case.
    pub fn set(&mut self, name: String, value: Setting) {
        match self.place(&name) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (name, value)),
        }
    }

    /// Takes one out; `name` in lower case.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.place(name) {
            self.entries.remove(at);
        }
    }

    /// Those whose names `keep` names.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self {
            entries: (self.entries.iter().filter(|(n, _)| keep(n)).cloned()).collect(),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }

    /// The names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a parameter; `name` in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        Some(&self.entries[self.place(name).ok()?].1)
    }

    /// The SQL that makes a connection with the parameters `from` one with `self`: resets what is
    /// not wanted, sets what differs. `None` when nothing does.
    #[must_use]
    pub fn difference(&self, from: &Self) -> Option<String> {
        let mut resets = String::new();
        for (name, _) in from.iter() {
            if self.get(name).is_none() && !IDENTITY.contains(&name) {
                resets.push_str("RESET ");
                quote_name(&mut resets, name);
                resets.push(';');
            }
        }
        let changed = |name: &str, value: &Setting| from.get(name) != Some(value);
        let sets = self.assignments(&changed);
        let identity = IDENTITY.iter().any(|n| self.get(n) != from.get(n));
        if resets.is_empty() && sets.is_empty() && !identity {
            return None;
        }
        let of_others = |set: &Self| IDENTITY.iter().any(|n| set.get(n).is_some());
        let mut sql = String::new();
        if of_others(from) {
            sql.push_str(AS_ONESELF);
        }
        sql.push_str(&resets);
        sql.push_str(&sets);
        sql.push_str(&self.identity());
        Some(sql)
    }

    /// The SQL that gives a connection the parameters, whatever it has had before.
    #[must_use]
    pub fn from_scratch(&self) -> String {
        let sets = self.assignments(&|_, _| true);
        format!("{AS_ONESELF}RESET ALL;{sets}{}", self.identity())
    }

    /// The SQL that sets those parameters again whose names `lost` names, and nothing else; none of
    /// it needs a snapshot where that can be had, so that SET TRANSACTION may still follow.
    #[must_use]
    pub fn again(&self, lost: impl Fn(&str) -> bool) -> Option<String> {
        let mut sql = String::new();
        for (name, value) in self.iter().filter(|(n, _)| lost(n)) {
            match value {
                Setting::Value(value) if !is_list(name) => {
                    sql.push_str("SET SESSION ");
                    quote_name(&mut sql, name);
                    sql.push_str(" TO ");
                    quote_literal(&mut sql, value);
                }
                Setting::Value(value) => {
                    sql.push_str("SELECT ");
                    set_config(&mut sql, name, value);
                }
                Setting::Clause(clause) => {
                    sql.push_str("SET SESSION ");
                    sql.push_str(clause);
                }
            }
            sql.push(';');
        }
        (!sql.is_empty()).then_some(sql)
    }

    /// The SQL that sets those of the parameters that `wanted` wants, but for who the session acts
    /// as.
    fn assignments(&self, wanted: &dyn Fn(&str, &Setting) -> bool) -> String {
        let (mut values, mut clauses) = (String::new(), String::new());
        for (name, value) in self.iter() {
            if IDENTITY.contains(&name) || !wanted(name, value) {
                continue;
            }
            match value {
                Setting::Value(value) => {
                    values.push_str(if values.is_empty() { "SELECT " } else { "," });
                    set_config(&mut values, name, value);
                }
                Setting::Clause(clause) => {
                    clauses.push_str("SET SESSION ");
                    clauses.push_str(clause);
                    clauses.push(';');
                }
            }
        }
        if !values.is_empty() {
            values.push(';');
        }
        values + &clauses
    }

    fn identity(&self) -> String {
        let mut sql = String::new();
        for name in IDENTITY {
            match self.get(name) {
                Some(Setting::Value(value)) => {
                    sql.push_str("SELECT ");
                    set_config(&mut sql, name, value);
                    sql.push(';');
                }
                Some(Setting::Clause(clause)) => {
                    let _infallible = write!(sql, "SET SESSION {clause};");
                }
                None => {}
            }
        }
        sql
    }
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('.').all(|part| {
            let mut bytes = part.bytes();
            bytes
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b >= 0x80)
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80)
        })
}

/// Parameters whose value SET would take for one name of a list (GUC_LIST_QUOTE; only PostgreSQL's own
/// can be).
fn is_list(name: &str) -> bool {
    matches!(
        name,
        "search_path"
            | "temp_tablespaces"
            | "local_preload_libraries"
            | "session_preload_libraries"
            | "shared_preload_libraries"
            | "unix_socket_directories"
    )
}

fn set_config(sql: &mut String, name: &str, value: &str) {
    sql.push_str("pg_catalog.set_config(");
    quote_literal(sql, name);
    sql.push(',');
    quote_literal(sql, value);
    sql.push_str(",false)");
}

fn quote_name(sql: &mut String, name: &str) {
    for (i, part) in name.split('.').enumerate() {
        let dot = if i > 0 { "." } else { "" };
        // `valid_name` leaves no quote inside; writing to a String cannot fail.
        let _infallible = write!(sql, "{dot}\"{part}\"");
    }
}

/// An escape string means the same whatever `standard_conforming_strings` says.
fn quote_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for c in value.chars() {
        if c == '\'' || c == '\\' {
            sql.push('\\');
        }
        sql.push(c);
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Arc<ParameterSet> {
        ParameterSet::new(
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
        )
        .unwrap()
    }

    fn with_clause(pairs: &[(&str, &str)], name: &str, clause: &str) -> ParameterSet {
        let mut set = ParameterSet::clone(&set(pairs));
        set.set(name.to_owned(), Setting::Clause(clause.to_owned()));
        set
    }

    #[test]
    fn equal_sets_need_no_sql() {
        let a = set(&[("DateStyle", "ISO"), ("search_path", "a, b")]);
        let b = set(&[("search_path", "a, b"), ("datestyle", "ISO")]);
        assert_eq!(a, b);
        assert_eq!(a.difference(&b), None);
    }

    #[test]
    fn what_is_not_wanted_is_reset_and_what_differs_is_set() {
        let from = set(&[("a.b", "1"), ("timezone", "UTC")]);
        let to = set(&[("timezone", "Europe/Paris"), ("search_path", "x, y")]);
        assert_eq!(
            to.difference(&from).unwrap(),
            "RESET \"a\".\"b\";SELECT pg_catalog.set_config(E'search_path',E'x, y',false),\
             pg_catalog.set_config(E'timezone',E'Europe/Paris',false);"
        );
    }

    #[test]
    fn what_was_set_by_its_own_words_is_set_by_them_again() {
        let to = with_clause(&[("a.b", "1")], "timezone", "TIME ZONE INTERVAL '1' HOUR");
        assert_eq!(
            to.difference(&set(&[("a.b", "1")])).unwrap(),
            "SET SESSION TIME ZONE INTERVAL '1' HOUR;"
        );
        assert_eq!(
            to.again(|name| name == "timezone").unwrap(),
            "SET SESSION TIME ZONE INTERVAL '1' HOUR;"
        );
    }

    #[test]
    fn another_role_is_left_before_and_taken_after_everything_else() {
        let from = with_clause(&[("log_statement", "all")], "role", "ROLE a");
        let to = with_clause(&[("log_statement", "none")], "role", "ROLE b");
        assert_eq!(
            to.difference(&from).unwrap(),
            "RESET SESSION AUTHORIZATION;RESET ROLE;\
             SELECT pg_catalog.set_config(E'log_statement',E'none',false);SET SESSION ROLE b;"
        );
        assert_eq!(
            set(&[]).difference(&from).unwrap(),
            "RESET SESSION AUTHORIZATION;RESET ROLE;RESET \"log_statement\";"
        );
        let roles = with_clause(
            &[("role", "a")],
            "session_authorization",
            "SESSION AUTHORIZATION b",
        );
        assert_eq!(
            roles.from_scratch(),
            "RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL;SET SESSION SESSION AUTHORIZATION b;\
             SELECT pg_catalog.set_config(E'role',E'a',false);"
        );
    }

    #[test]
    fn lost_values_are_given_again_without_a_snapshot_where_that_can_be() {
        let all = set(&[("work_mem", "7MB"), ("search_path", "a, b"), ("x.y", "z")]);
        assert_eq!(
            all.again(|name| name != "x.y").unwrap(),
            "SELECT pg_catalog.set_config(E'search_path',E'a, b',false);\
             SET SESSION \"work_mem\" TO E'7MB';"
        );
        assert_eq!(all.again(|_| false), None);
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        let to = set(&[("application_name", r"it's \' here")]);
        assert_eq!(
            to.difference(&set(&[])).unwrap(),
            r"SELECT pg_catalog.set_config(E'application_name',E'it\'s \\\' here',false);"
        );
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in ["", "a b", "x;y", "1a", "a..b", "a'"] {
            assert!(
                ParameterSet::new([(bad.to_owned(), String::new())]).is_err(),
                "{bad}"
            );
        }
    }
}
