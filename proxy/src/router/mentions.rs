//! The names that a text mentions, as a set that never leaves one out.
//!
//! A bit stands for all names of the same hash. Must not know what a name stands for.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::lexer::{Kind, Lexer, Token};

const WORDS: usize = 16;
const BITS: u64 = 64 * WORDS as u64;

/// Longer texts mention everything.
const MAX_TEXT: usize = 64 * 1024;

/// Words that are in most definitions or reads and name nothing there.
const COMMON: [&str; 40] = [
    "add",
    "all",
    "alter",
    "and",
    "as",
    "by",
    "check",
    "column",
    "constraint",
    "count",
    "create",
    "default",
    "drop",
    "exists",
    "foreign",
    "from",
    "function",
    "if",
    "in",
    "index",
    "insert",
    "int",
    "into",
    "is",
    "key",
    "not",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "select",
    "set",
    "table",
    "text",
    "to",
    "unique",
    "values",
    "where",
];

/// What definitions speak of that decide where names may be read.
const TELLING: [&str; 20] = [
    "aggregate",
    "cast",
    "class",
    "domain",
    "extension",
    "family",
    "function",
    "inherit",
    "operator",
    "policy",
    "procedure",
    "rename",
    "routine",
    "rule",
    "schema",
    "security",
    "sequence",
    "type",
    "unlogged",
    "view",
];

/// Commands that only speak of such.
const NOTHING_NEW: [&str; 5] = ["comment", "grant", "refresh", "reindex", "revoke"];

/// See the module's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mentions([u64; WORDS]);

impl Mentions {
    /// Every name.
    const ALL: Self = Self([u64::MAX; WORDS]);

    /// What a definition mentions; nothing if it can't make a name mean what is less safe to read: a new table
    /// or column is as safe as any.
    #[must_use]
    pub fn defined_by(sql: &[u8]) -> Option<Self> {
        let tokens: Vec<Token<'_>> = Lexer::new(sql, 0).collect();
        let tells = tokens.iter().enumerate().any(|(at, token)| {
            let next = tokens.get(at + 1);
            TELLING.iter().any(|word| token.is_word(word))
                || token.is_word("foreign") && next.is_some_and(|next| next.is_word("table"))
                || token.kind == Kind::Bad
        });
        let nothing_new = (tokens.first())
            .is_some_and(|first| NOTHING_NEW.iter().any(|word| first.is_word(word)));
        let several = tokens
            .iter()
            .rev()
            .skip(1)
            .any(|token| token.is_punct(b';'));
        (tells && (several || !nothing_new)).then(|| Self::of(sql))
    }

    /// What the text mentions.
    #[must_use]
    pub fn of(sql: &[u8]) -> Self {
        if sql.len() > MAX_TEXT {
            return Self::ALL;
        }
        let mut all = Self([0; WORDS]);
        for token in Lexer::new(sql, 0) {
            let name = match token.kind {
                Kind::Word if COMMON.iter().any(|word| token.is_word(word)) => continue,
                Kind::Word => token.text.to_ascii_lowercase(),
                Kind::Quoted if !token.text.contains(&b'"') => token.text.to_vec(),
                Kind::Quoted | Kind::UnicodeQuoted | Kind::Bad => return Self::ALL,
                Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct => continue,
            };
            // A longer name is cut by the server.
            let held = name.get(..63).unwrap_or(&name);
            let bit = FixedState::default().hash_one(held) % BITS;
            let word = usize::try_from(bit / 64).unwrap_or_default();
            if let Some(word) = all.0.get_mut(word) {
                *word |= 1 << (bit % 64);
            }
        }
        all
    }

    /// The bits, in words that have a number each.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter()
    }

    /// Whether some name may be in both; the other's bits are given by its words.
    #[must_use]
    pub fn meet(&self, other: impl Iterator<Item = u64>) -> bool {
        self.0
            .iter()
            .zip(other)
            .any(|(own, other)| own & other != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_whatever_mentions_them() {
        let defined =
            Mentions::defined_by(b"alter sequence old_one rename to \"New One\"").unwrap();
        for (sql, meets) in [
            ("select last_value from old_one", true),
            ("select * from public.OLD_ONE o", true),
            ("select last_value from \"New One\"", true),
            ("select id from other where a = 'old_one'", false),
            ("select u&\"x\"", true),
        ] {
            assert_eq!(
                Mentions::of(sql.as_bytes()).meet(defined.words()),
                meets,
                "{sql}"
            );
        }
        for sql in [
            "vacuum t;",
            "create table t (a int, foreign key (a) references u)",
            "refresh materialized view v",
        ] {
            assert_eq!(Mentions::defined_by(sql.as_bytes()), None, "{sql}");
        }
        assert!(Mentions::defined_by(b"vacuum t; create view v as select 1").is_some());
        let long = vec![b' '; MAX_TEXT + 1];
        assert_eq!(Mentions::of(&long), Mentions::ALL);
    }
}
