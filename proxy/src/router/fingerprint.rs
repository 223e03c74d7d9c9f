//! Brings statements that differ only in comments, spacing, letter case and literal values to
//! one shape, and hashes shapes to 128 bits.
//!
//! The shape is all that classification may look at: [`Shape`] feeds the hash and the classifier
//! alike, so a literal's value can't change a route. The hash is keyed per process, for a
//! collision would misroute. Must not know what any word means, but for the two that open lists.

use super::hint::Hint;
use super::lexer::{Kind, Lexer, Token};

/// The tokens of a text with every list of literals after `IN (` and `ARRAY [` cut to its first
/// element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    lexer: Lexer<'a>,
    list: List,
}

/// How far into a list of literals the shape is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    Outside,
    /// Behind IN or ARRAY.
    Opening,
    /// Behind the bracket that opens the list.
    Inside,
}

impl<'a> Shape<'a> {
    /// The shape of what begins at byte `at` of `sql`.
    pub(super) fn new(sql: &'a [u8], at: usize) -> Self {
        Self {
            lexer: Lexer::new(sql, at),
            list: List::Outside,
        }
    }

    /// Skips `, literal` for as long as they follow a literal of the same kind.
    fn skip_list(&mut self, kind: Kind) {
        let mut ahead = self.lexer;
        while ahead.next().is_some_and(|token| token.is_punct(b','))
            && ahead.next().is_some_and(|token| token.kind == kind)
        {
            self.lexer = ahead;
        }
    }
}

impl<'a> Iterator for Shape<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.lexer.next()?;
        self.list = match (self.list, token.kind) {
            (_, Kind::Word) if opens_list(token.text) => List::Opening,
            (List::Opening, Kind::Punct) if matches!(token.text, b"(" | b"[") => List::Inside,
            (List::Inside, Kind::Number | Kind::Text) => {
                self.skip_list(token.kind);
                List::Outside
            }
            _ => List::Outside,
        };
        Some(token)
    }
}

#[inline]
fn opens_list(word: &[u8]) -> bool {
    match word {
        [b'i' | b'I', b'n' | b'N'] => true,
        [b'a' | b'A', _, _, _, _] => word.eq_ignore_ascii_case(b"array"),
        _ => false,
    }
}

/// A shape's hash. Equal keys are taken for equal shapes.
pub(super) type Key = u128;

/// The secret that keys the hash.
#[derive(Clone, Copy)]
pub(super) struct Seed([u64; 4]);

impl Seed {
    /// Spreads 128 random bits over the hash's four constants.
    pub(super) fn new(seed: [u64; 2]) -> Self {
        // SplitMix64, to make four independent-looking odd numbers of two.
        let mut state = seed[0];
        let mut next = |with: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ with;
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let first = next(seed[1]);
        Self([
            first,
            next(0),
            next(seed[1].rotate_left(32)) | 1,
            next(0) | 1,
        ])
    }
}

/// Hashes the shape of what begins at byte `at` of `sql`, together with its hint.
#[inline]
pub(super) fn fingerprint(seed: &Seed, sql: &[u8], at: usize, hint: Hint) -> Key {
    let mut hash = Hash {
        a: seed.0[0],
        b: seed.0[1],
        keys: [seed.0[2], seed.0[3]],
    };
    hash.mix(hint as u64);
    for token in Shape::new(sql, at) {
        hash.token(token);
    }
    u128::from(hash.a) << 64 | u128::from(hash.b)
}

/// Two lanes of folded multiplication, each with its own keys.
struct Hash {
    a: u64,
    b: u64,
    keys: [u64; 2],
}

impl Hash {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.a = fold(self.a ^ word, self.keys[0]);
        self.b = fold(self.b.wrapping_add(word), self.keys[1]);
    }

    /// Self-delimiting, so that no two sequences of tokens feed the same words: a head with the
    /// kind and length, which also holds a text of up to seven bytes, then the rest.
    #[inline]
    fn token(&mut self, token: Token<'_>) {
        let kind = token.kind as u64;
        match token.kind {
            Kind::Number | Kind::Text | Kind::Bad => self.mix(kind << 56),
            Kind::Word => self.text(kind, token.text, lower),
            Kind::Quoted | Kind::UnicodeQuoted | Kind::Param | Kind::Operator | Kind::Punct => {
                self.text(kind, token.text, |word| word)
            }
        }
    }

    #[inline]
    fn text(&mut self, kind: u64, text: &[u8], fold_case: impl Fn(u64) -> u64) {
        // Identifiers are rarely as long as 2^40 bytes.
        if text.len() < 8 {
            let head = kind << 3 | text.len() as u64;
            return self.mix(fold_case(word(text)) | head << 56);
        }
        self.mix((kind | 0x10) << 59 | text.len() as u64);
        let (chunks, rest) = text.as_chunks::<8>();
        for chunk in chunks {
            self.mix(fold_case(u64::from_le_bytes(*chunk)));
        }
        // The last eight bytes, some of them once more, say as much as the rest alone.
        if let (false, Some(last)) = (rest.is_empty(), text.last_chunk::<8>()) {
            self.mix(fold_case(u64::from_le_bytes(*last)));
        }
    }
}

#[inline]
fn fold(x: u64, key: u64) -> u64 {
    let product = u128::from(x) * u128::from(key);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are wanted")]
    let folded = product as u64 ^ (product >> 64) as u64;
    folded
}

/// Up to seven bytes as one number; with their count it tells them all.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = 8 * (bytes.len() - 4);
        let [first, last] = [first, last].map(|part| u64::from(u32::from_le_bytes(*part)));
        return first | last << shift;
    }
    let at = |index: usize| bytes.get(index).map_or(0, |&byte| u64::from(byte));
    at(0) | at(1) << 8 | at(2) << 16
}

/// Lowers the ASCII letters among eight bytes at once, as PostgreSQL folds identifiers.
#[inline]
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let seven = word & (0x7f * ONES);
    let from_a = seven + (0x80 - 0x41) * ONES;
    let past_z = seven + (0x7f - 0x5a) * ONES;
    let upper = !word & (from_a ^ past_z) & (0x80 * ONES);
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sql: &str) -> Key {
        fingerprint(&Seed::new([7, 11]), sql.as_bytes(), 0, Hint::None)
    }

    #[test]
    fn shapes_that_differ_only_in_values_and_looks_are_one() {
        for (a, b) in [
            ("SELECT 1", "select  2 -- x"),
            (
                "select a from t where b = 'x'",
                "SELECT A FROM T WHERE B='it''s' /* ; */",
            ),
            ("select 'a'", "select $x$ b; $x$"),
            ("select E'a'", "select N'\\'"),
            (
                "select * from t where a in (1, 2, 3)",
                "select * from t where a in (4)",
            ),
            (
                "select * from t where a in ('a', 'b')",
                "select * from t where a in ('c')",
            ),
            ("select abcdefghijklmnop", "select ABCDEFGHIJKLMNOP"),
        ] {
            assert_eq!(key(a), key(b), "{a} | {b}");
        }
    }

    #[test]
    fn shapes_that_mean_different_things_are_apart() {
        let texts = [
            "select a",
            "select \"a\"",
            "select \"A\"",
            "select 'a'",
            "select 1",
            "select $1",
            "select $2",
            "select a b",
            "select ab",
            "select a, b",
            "select a.b",
            "select f(1, 2)",
            "select f(1)",
            "select true",
            "select false",
            "select abcdefgh",
            "select abcdefg h",
            "select \"abcdefgh\"",
            "select a in (1, 'x')",
            "select a in (1, $1)",
            "select a in (1)",
            "select {",
        ];
        for (i, a) in texts.iter().enumerate() {
            for b in &texts[i + 1..] {
                assert_ne!(key(a), key(b), "{a} | {b}");
            }
        }
    }

    #[test]
    fn the_hint_and_the_seed_are_part_of_the_key() {
        let sql = b"select 1";
        let seed = Seed::new([1, 2]);
        let plain = fingerprint(&seed, sql, 0, Hint::None);
        assert_ne!(plain, fingerprint(&seed, sql, 0, Hint::Replica));
        assert_ne!(plain, fingerprint(&Seed::new([1, 3]), sql, 0, Hint::None));
        assert_ne!(plain, fingerprint(&Seed::new([2, 2]), sql, 0, Hint::None));
    }
}
