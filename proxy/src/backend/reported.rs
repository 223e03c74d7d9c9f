//! What a server has reported of its parameters (ParameterStatus; PostgreSQL docs, 55.2.7).
//!
//! PURE. Two connections that report the same are told apart from two that don't by one number, so
//! that a session that changes connections need not compare texts.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// Parameters by name, each once, as they were reported last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    entries: Vec<(String, String)>,
    digest: u64,
}

/// What a node is, which is no matter of a client who talks to all of them.
pub const OF_THE_NODE: &str = "in_hot_standby";

impl Reported {
    /// What came with a login.
    #[must_use]
    pub fn new(entries: Vec<(String, String)>) -> Self {
        let mut all = Self { entries, digest: 0 };
        all.digest = all.entries.iter().map(|(n, v)| digest(n, v)).fold(0, xor);
        all
    }

    /// Takes a report in.
    pub fn note(&mut self, name: &[u8], value: &[u8]) {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        self.digest ^= digest(&name, &value);
        match self.entries.iter_mut().find(|(n, _)| *n == name) {
            Some((n, v)) => {
                self.digest ^= digest(n, v);
                *v = value.into_owned();
            }
            None => self.entries.push((name.into_owned(), value.into_owned())),
        }
    }

    /// The value of a parameter, whose name is spelled as the server spells it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.entries.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Whether a client sees no difference.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// What a client that was told `told` must be told to know these.
    pub fn news<'a>(&'a self, told: &'a Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter()
            .filter(move |(name, value)| *name != OF_THE_NODE && told.get(name) != Some(*value))
    }
}

fn xor(a: u64, b: u64) -> u64 {
    a ^ b
}

/// The digest is the sum of its entries', whatever their order.
fn digest(name: &str, value: &str) -> u64 {
    if name == OF_THE_NODE {
        return 0;
    }
    FixedState::default().hash_one((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(pairs: &[(&str, &str)]) -> Reported {
        Reported::new(
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_same_reports_look_alike_in_any_order_and_on_any_node() {
        let a = reported(&[("TimeZone", "UTC"), ("a", "1"), ("in_hot_standby", "off")]);
        let mut b = reported(&[("a", "2"), ("in_hot_standby", "on")]);
        b.note(b"TimeZone", b"UTC");
        assert!(!a.looks_like(&b));
        assert_eq!(a.news(&b).collect::<Vec<_>>(), [("a", "1")]);
        b.note(b"a", b"1");
        assert!(a.looks_like(&b));
        assert_eq!(a.news(&b).count(), 0);
    }
}
