//! The parameters a session wants on whichever server connection it uses, and the SQL that turns
//! one set into another.
//!
//! PURE. Values are passed with `set_config()`, which takes them exactly as a startup packet does
//! (PostgreSQL docs, 9.28.1); `SET search_path = 'a, b'` would name one schema.

use std::fmt::Write as _;
use std::sync::Arc;

/// Parameters asked for at startup, by lower-case name, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParameterSet {
    entries: Vec<(String, String)>,
}

/// A parameter name that PostgreSQL could not have either.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration parameter name \"{0}\"")]
pub struct InvalidName(pub String);

impl ParameterSet {
    /// Builds the set; a later value for the same name wins, as it does on the server.
    ///
    /// # Errors
    /// A name that is not letters, digits, `_` and `$`, in parts joined by dots.
    pub fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<Self>, InvalidName> {
        let mut entries: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            if !valid_name(&name) {
                return Err(InvalidName(name));
            }
            let name = name.to_ascii_lowercase();
            match entries.binary_search_by(|(n, _)| n.as_str().cmp(&name)) {
                Ok(at) => entries[at].1 = value,
                Err(at) => entries.insert(at, (name, value)),
            }
        }
        Ok(Arc::new(Self { entries }))
    }

    /// The names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of a parameter; `name` in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .entries
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()?;
        Some(&self.entries[at].1)
    }

    /// The SQL that makes a connection with the parameters `from` one with `self`: resets what is
    /// not wanted, sets what differs. `None` when nothing does.
    #[must_use]
    pub fn difference(&self, from: &Self) -> Option<String> {
        let mut sql = String::new();
        for (name, _) in from.iter() {
            if self.get(name).is_none() {
                sql.push_str("RESET ");
                quote_name(&mut sql, name);
                sql.push(';');
            }
        }
        let mut separator = "SELECT ";
        for (name, value) in self.iter() {
            if from.get(name) != Some(value) {
                sql.push_str(separator);
                separator = ",";
                sql.push_str("pg_catalog.set_config(");
                quote_literal(&mut sql, name);
                sql.push(',');
                quote_literal(&mut sql, value);
                sql.push_str(",false)");
            }
        }
        (!sql.is_empty()).then_some(sql)
    }

    /// The SQL that gives back those of the parameters that a RESET has taken away, and leaves alone
    /// what was set since; `None` for an empty set.
    #[must_use]
    pub fn restoration(&self) -> Option<String> {
        let mut values = String::new();
        for (name, value) in self.iter() {
            values.push_str(if values.is_empty() { "(" } else { ",(" });
            quote_literal(&mut values, name);
            values.push(',');
            quote_literal(&mut values, value);
            values.push(')');
        }
        // What was set has the source `session` (PostgreSQL docs, pg_settings); parameters with a dot in
        // their names are not listed until a library defines them.
        (!values.is_empty()).then(|| {
            format!(
                "SELECT pg_catalog.set_config(v.name,v.value,false) FROM (VALUES {values}) v(name,value) \
                 LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name)=v.name \
                 WHERE s.source<>'session' OR s.name IS NULL \
                 AND coalesce(pg_catalog.current_setting(v.name,true),'')=''"
            )
        })
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
             pg_catalog.set_config(E'timezone',E'Europe/Paris',false)"
        );
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        let to = set(&[("application_name", r"it's \' here")]);
        assert_eq!(
            to.difference(&set(&[])).unwrap(),
            r"SELECT pg_catalog.set_config(E'application_name',E'it\'s \\\' here',false)"
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
