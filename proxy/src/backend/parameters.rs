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
    /// None: a custom one that has been set and is no more, which the server goes on to know.
    Known,
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

/// Whether it is who the session acts as.
#[must_use]
pub fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name)
}

/// Whether the parameter is reset when `reset` is: SET SESSION AUTHORIZATION and its RESET end SET ROLE.
#[must_use]
pub fn goes_with(name: &str, reset: &str) -> bool {
    name == reset || (reset == "session_authorization" && name == "role")
}

/// Whether the server has it only because somebody has set it (PostgreSQL docs, 20.16).
#[must_use]
pub fn is_custom(name: &str) -> bool {
    name.contains('.')
}

/// The parameter that ends what takes too long.
const TIME_LIMIT: &str = "statement_timeout";

/// The parameter that goes before all others.
const FIRST: &str = "search_path";

/// From here on an error ends the connection: what a client asks behind it must not run with what
/// another session has left.
const OR_END: &str = "SET exit_on_error TO on;";

/// From here on it does not.
const ALIVE: &str = "RESET exit_on_error;";

/// Nothing is waited for, whatever the session before has set its transactions to be.
const AT_ONCE: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED,NOT DEFERRABLE;";

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

    /// The Query texts that make a connection with the parameters `from` one with `self`: resets what
    /// is not wanted, sets what differs. `None` when nothing does. When any of it fails the server
    /// ends the connection, so that what is sent right behind them does not run.
    #[must_use]
    pub fn difference(&self, from: &Self) -> Option<Vec<String>> {
        let mut resets = String::new();
        for (name, value) in from.iter() {
            let gone = matches!(self.get(name), None | Some(Setting::Known));
            if gone && *value != Setting::Known && !is_identity(name) {
                resets.push_str("RESET ");
                quote_name(&mut resets, name);
                resets.push(';');
            }
        }
        // It would hold for all of the Query that takes it back, so that has one of its own.
        let limited = from.get(TIME_LIMIT).is_some();
        let changed = |name: &str, value: &Setting| match value {
            // What it has another value of it knows.
            Setting::Known => from.get(name).is_none(),
            Setting::Value(_) | Setting::Clause(_) => {
                from.get(name) != Some(value) || (limited && name == TIME_LIMIT)
            }
        };
        let sets = self.assignments(&changed);
        let identity = IDENTITY.iter().any(|n| self.get(n) != from.get(n));
        if resets.is_empty() && !identity && self.iter().all(|(n, v)| from.get(n) == Some(v)) {
            return None;
        }
        let as_another = IDENTITY.iter().any(|n| from.get(n).is_some());
        let oneself = if as_another { AS_ONESELF } else { "" };
        let mut queries = Vec::new();
        if limited {
            queries.push(format!("{OR_END}RESET {TIME_LIMIT};{ALIVE}"));
        }
        let identity = self.identity();
        queries.push(format!(
            "{OR_END}{AT_ONCE}{oneself}{resets}{sets}{identity}{ALIVE}"
        ));
        Some(queries)
    }

    /// The Query texts that give a connection the parameters, whatever it has had before, and in between
    /// run `sweep`. As [`ParameterSet::difference`].
    #[must_use]
    pub fn from_scratch(&self, sweep: &str) -> Vec<String> {
        let (sets, identity) = (self.assignments(&|_, _| true), self.identity());
        vec![
            format!("{OR_END}{AS_ONESELF}RESET ALL;"),
            format!("{OR_END}{AT_ONCE}{sweep}{sets}{identity}{ALIVE}"),
        ]
    }

    /// The statements that set again what a connection has lost of the parameters that is left with
    /// `actual`. None of them needs a snapshot where that can be had, so that SET TRANSACTION may
    /// still follow.
    #[must_use]
    pub fn restoration(&self, actual: &Self) -> Vec<String> {
        let lost = self.iter().filter(|(n, v)| actual.get(n) != Some(*v));
        lost.map(|(name, value)| {
            let mut sql = String::new();
            match value {
                Setting::Value(value) if !is_list(name) => {
                    sql.push_str("SET SESSION ");
                    quote_name(&mut sql, name);
                    sql.push_str(" TO ");
                    quote_literal(&mut sql, value);
                }
                Setting::Value(_) | Setting::Clause(_) | Setting::Known => {
                    assign(&mut sql, name, value);
                }
            }
            sql
        })
        .collect()
    }

    /// The SQL that sets those of the parameters that `wanted` wants, but for who the session acts
    /// as.
    fn assignments(&self, wanted: &dyn Fn(&str, &Setting) -> bool) -> String {
        let mut sql = String::new();
        // What others name may be found by it only.
        let first = self.iter().filter(|(name, _)| *name == FIRST);
        for (name, value) in first.chain(self.iter().filter(|(name, _)| *name != FIRST)) {
            if is_identity(name) || !wanted(name, value) {
                continue;
            }
            assign(&mut sql, name, value);
            sql.push(';');
        }
        sql
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
                Some(Setting::Known) | None => {}
            }
        }
        sql
    }
}

/// The Query text that runs the statements, at whose failure the server ends the connection.
#[must_use]
pub fn or_end(statements: &[String]) -> String {
    format!("{OR_END}{};{ALIVE}", statements.join(";"))
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

/// Sets one parameter for the session.
fn assign(sql: &mut String, name: &str, value: &Setting) {
    match value {
        Setting::Value(value) => {
            sql.push_str("SELECT ");
            set_config(sql, name, value);
        }
        Setting::Clause(clause) => {
            sql.push_str("SET SESSION ");
            sql.push_str(clause);
        }
        // A role's or database's default stays.
        Setting::Known => {
            let mut quoted = String::new();
            quote_literal(&mut quoted, name);
            let _infallible = write!(
                sql,
                "SELECT pg_catalog.set_config({quoted},\
                 COALESCE(pg_catalog.current_setting({quoted},true),''),false)"
            );
        }
    }
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

/// As an escape string that means the same whatever `standard_conforming_strings`, `backslash_quote` and
/// the encoding of the session before are: quotes are doubled, and a byte that is no ASCII is
/// spelled out, which makes it what it is in a startup packet, a byte in the server's encoding.
fn quote_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for byte in value.bytes() {
        match byte {
            b'\'' => sql.push_str("''"),
            b'\\' => sql.push_str("\\\\"),
            0x20..=0x7e => sql.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _infallible = write!(sql, "\\x{byte:02x}");
            }
        }
    }
    sql.push('\'');
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
