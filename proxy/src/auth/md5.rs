//! PostgreSQL's md5 passwords: the secret at rest is `md5(password || user)`, and what crosses the
//! wire is `md5(secret || salt)` (PostgreSQL docs, "Start-up", AuthenticationMD5Password).
//! It must not know whose secret it is, nor where it is kept.

use std::fmt;

use md5::{Digest, Md5};
use subtle::{Choice, ConstantTimeEq};

/// The word both forms begin with.
const PREFIX: &str = "md5";

/// `md5(password || user)` in lowercase hexadecimal. `Debug` hides it: it is as good as a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// Hashes a password as PostgreSQL stores it.
    #[must_use]
    pub fn new(password: &[u8], user: &str) -> Self {
        Self(hex_digest(password, user.as_bytes()))
    }

    /// Reads `md5` and 32 hexadecimal digits; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let mut hash: [u8; 32] = digits.as_bytes().try_into().ok()?;
        hash.make_ascii_lowercase();
        hash.iter().all(u8::is_ascii_hexdigit).then_some(Self(hash))
    }

    /// What a PasswordMessage must hold to answer `salt`: 35 characters.
    #[must_use]
    pub fn response(&self, salt: [u8; 4]) -> Vec<u8> {
        let mut answer = PREFIX.as_bytes().to_vec();
        answer.extend_from_slice(&hex_digest(&self.0, &salt));
        answer
    }

    /// Whether `answer` proves knowledge of this secret; takes the same time for any answer of the
    /// right length.
    #[must_use]
    pub fn accepts(&self, salt: [u8; 4], answer: &[u8]) -> Choice {
        self.response(salt).ct_eq(answer)
    }

    /// Whether `password` is the one this is made of.
    #[must_use]
    pub fn matches(&self, password: &[u8], user: &str) -> Choice {
        self.0.ct_eq(&Self::new(password, user).0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

fn hex_digest(first: &[u8], second: &[u8]) -> [u8; 32] {
    let digest = Md5::new()
        .chain_update(first)
        .chain_update(second)
        .finalize();
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if value < 10 {
                b'0' + value
            } else {
                b'a' + value - 10
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_postgresql_stores() {
        // Made by PostgreSQL 15: password_encryption = md5; CREATE ROLE c PASSWORD 'pencil'.
        let stored = Md5Hash::parse("md5a2286e2058e8275f4419293789626063").unwrap();
        assert_eq!(stored, Md5Hash::new(b"pencil", "c"));
        assert!(bool::from(stored.matches(b"pencil", "c")));
        assert!(!bool::from(stored.matches(b"pencil", "d")));
    }

    #[test]
    fn an_answer_is_bound_to_its_salt() {
        let stored = Md5Hash::new(b"pencil", "c");
        let answer = stored.response([1, 2, 3, 4]);
        assert_eq!(answer.len(), 35);
        assert!(bool::from(stored.accepts([1, 2, 3, 4], &answer)));
        assert!(!bool::from(stored.accepts([1, 2, 3, 5], &answer)));
        assert!(!bool::from(stored.accepts([1, 2, 3, 4], b"")));
        assert!(!bool::from(stored.accepts([1, 2, 3, 4], &answer[..34])));
    }

    #[test]
    fn only_32_digits_make_a_hash() {
        for text in [
            "",
            "md5",
            "md5isnotahash",
            "MD5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(Md5Hash::parse(text), None, "{text}");
        }
        assert_eq!(Md5Hash::parse(&format!("md5{}", "g".repeat(32))), None);
        assert_eq!(Md5Hash::parse(&format!("md5{}", "a".repeat(33))), None);
        let upper = Md5Hash::parse(&format!("md5{}", "A".repeat(32))).unwrap();
        assert_eq!(
            Md5Hash::parse(&format!("md5{}", "a".repeat(32))),
            Some(upper.clone())
        );
        assert_eq!(format!("{upper:?}"), "Md5Hash(..)");
    }
}
