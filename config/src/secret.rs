//! Values that must not be seen: redacted wherever they could be printed by accident.
//!
//! Knows only the outward shape of a secret; how it is checked or used belongs to the proxy.

use std::fmt;

/// What stands for a secret wherever settings are shown.
pub(crate) const REDACTED: &str = "********";

/// A password or password verifier, as configured: plaintext, `md5` and 32 hex digits, or
/// `SCRAM-SHA-256$…` (PostgreSQL docs, `pg_authid.rolpassword`). Never empty, never holds NUL.
/// `Debug` and `Display` print `********`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What a [`Secret`] is by its look, told apart as PostgreSQL's `get_password_type` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretShape {
    Plaintext,
    Md5,
    ScramVerifier,
}

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: to be handed to authentication only, never to a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells the shape; a malformed verifier counts as plaintext, as it does for PostgreSQL.
    #[must_use]
    pub fn shape(&self) -> SecretShape {
        if is_md5(&self.0) {
            SecretShape::Md5
        } else if is_scram(&self.0) {
            SecretShape::ScramVerifier
        } else {
            SecretShape::Plaintext
        }
    }

    /// Starts as a verifier but is none: most likely cut off while it was copied.
    pub(crate) fn is_broken_verifier(&self) -> bool {
        self.0.starts_with("SCRAM-SHA-256$") && self.shape() == SecretShape::Plaintext
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

fn is_md5(text: &str) -> bool {
    text.strip_prefix("md5").is_some_and(|hash| {
        hash.len() == 32
            && hash
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the keys 44 base64 characters.
fn is_scram(text: &str) -> bool {
    let base64 = |part: &str| {
        !part.is_empty()
            && part.len().is_multiple_of(4)
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
    };
    let key = |part: &str| part.len() == 44 && base64(part);
    let parts = || {
        let (costs, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        Some((costs.split_once(':')?, keys.split_once(':')?))
    };
    parts().is_some_and(|((iterations, salt), (stored, server))| {
        iterations.parse::<u32>().is_ok_and(|n| n > 0) && base64(salt) && key(stored) && key(server)
    })
}
