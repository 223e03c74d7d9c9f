//! Secrets at rest, as the configuration or `pg_authid.rolpassword` holds them, and what may be
//! shown to a server on a client's behalf. `Debug` shows the kind and nothing else. It must not
//! know where a secret comes from, nor which method it will be used with.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use super::md5::Md5Hash;
use super::scram::{DEFAULT_ITERATIONS, MECHANISM, SALT, ScramKeys, Verifier, hmac, sha256};

/// Why a text is no secret. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    #[error("the password is empty, which PostgreSQL lets nobody log in with")]
    Empty,
    #[error("the password has a NUL character, which no client can send")]
    Nul,
    #[error(
        "it begins like a SCRAM verifier and is none; expected \
         SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> as in pg_authid.rolpassword"
    )]
    Scram,
}

/// A plaintext password with what was derived from it, shared by all its clones: PBKDF2 runs once
/// for our clients and once per salt of the servers, not at each login.
#[derive(Clone)]
pub struct Password(Arc<Derived>);

struct Derived {
    plain: Vec<u8>,
    /// For our clients; its salt is [`MockKey`]'s, made at first need or at start.
    verifier: OnceLock<Verifier>,
    /// For the servers, under the salt used last.
    keys: Mutex<Option<ScramKeys>>,
}

impl Password {
    #[must_use]
    pub fn new(plain: &[u8]) -> Self {
        Self(Arc::new(Derived {
            plain: plain.to_vec(),
            verifier: OnceLock::new(),
            keys: Mutex::new(None),
        }))
    }

    /// The password itself, for a server that asks for it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0.plain
    }

    /// The keys for this salt, derived (slow) when it is not the one used last.
    pub(super) fn keys(&self, salt: &[u8], iterations: u32) -> ScramKeys {
        let cached = self
            .0
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(keys) = cached.filter(|keys| keys.fit(salt, iterations)) {
            return keys;
        }
        // Derived outside the lock: another worker must not wait for it.
        let keys = ScramKeys::derive(&self.0.plain, salt, iterations);
        *self.0.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
        keys
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.plain.ct_eq(&other.0.plain))
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A user's secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum Stored {
    Plain(Password),
    Md5(Md5Hash),
    Scram(Verifier),
}

impl Stored {
    /// Tells the kinds apart as PostgreSQL does: `md5` and 32 digits, `SCRAM-SHA-256$…`, and
    /// anything else is a password.
    ///
    /// # Errors
    /// [`SecretError`] for what nobody could log in with; a mangled verifier is an error rather
    /// than a strange password.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(hash) = Md5Hash::parse(text) {
            return Ok(Self::Md5(hash));
        }
        if text
            .strip_prefix(MECHANISM)
            .is_some_and(|rest| rest.starts_with('$'))
        {
            return Verifier::parse(text)
                .map(Self::Scram)
                .ok_or(SecretError::Scram);
        }
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.contains('\0') {
            return Err(SecretError::Nul);
        }
        Ok(Self::Plain(Password::new(text.as_bytes())))
    }

    /// What a client's SCRAM proof is checked against; `None` for an md5 hash. The first call for
    /// a plaintext password is slow (PBKDF2): make it when the configuration is loaded.
    #[must_use]
    pub fn scram_verifier(&self, user: &str, mock: &MockKey) -> Option<&Verifier> {
        match self {
            Self::Plain(password) => Some(password.0.verifier.get_or_init(|| {
                Verifier::derive(&password.0.plain, &mock.salt(user), DEFAULT_ITERATIONS)
            })),
            Self::Md5(_) => None,
            Self::Scram(verifier) => Some(verifier),
        }
    }

    /// What a client's md5 answer is checked against; `None` for a SCRAM verifier.
    #[must_use]
    pub fn md5_hash(&self, user: &str) -> Option<Md5Hash> {
        match self {
            Self::Plain(password) => Some(Md5Hash::new(password.expose(), user)),
            Self::Md5(hash) => Some(hash.clone()),
            Self::Scram(_) => None,
        }
    }

    /// Whether `password` is this user's. Slow (PBKDF2) for every kind, so that the time does not
    /// tell the kinds, or unknown users, apart.
    #[must_use]
    pub fn matches(&self, password: &[u8], user: &str, mock: &MockKey) -> Choice {
        match self {
            Self::Plain(_) | Self::Scram(_) => self
                .scram_verifier(user, mock)
                .map_or(Choice::from(0), |verifier| verifier.matches(password)),
            Self::Md5(hash) => {
                let _same_time = mock.verifier(user).matches(password);
                hash.matches(password, user)
            }
        }
    }

    /// What this alone can prove to a server; `None` for a SCRAM verifier, which proves nothing
    /// until a client has shown its key.
    #[must_use]
    pub fn credential(&self) -> Option<Credential> {
        match self {
            Self::Plain(password) => Some(Credential::Plain(password.clone())),
            Self::Md5(hash) => Some(Credential::Md5Hash(hash.clone())),
            Self::Scram(_) => None,
        }
    }

    fn identity(&self) -> (&'static [u8], &[u8]) {
        match self {
            Self::Plain(password) => (b"plain", password.expose()),
            Self::Md5(hash) => (b"md5", hash.as_bytes()),
            Self::Scram(verifier) => (b"scram", &verifier.server_key),
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Stored::Plain(..)",
            Self::Md5(_) => "Stored::Md5(..)",
            Self::Scram(_) => "Stored::Scram(..)",
        })
    }
}

/// What a login to a server may be made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Answers every method.
    Plain(Password),
    /// Answers md5 only.
    Md5Hash(Md5Hash),
    /// Answers SCRAM only, and only where the same verifier is stored.
    ScramKeys(ScramKeys),
}

/// The seed of what unknown users are shown. A secret: who knows it can tell them from known ones.
#[derive(Clone)]
pub struct MockKey([u8; 32]);

impl MockKey {
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A key that stays the same over restarts, and is the same on every proxy with the same
    /// users, because it is made of their secrets. Random when there are none.
    #[must_use]
    pub fn of_secrets<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Stored)>) -> Self {
        let mut digests: Vec<[u8; 32]> = secrets
            .into_iter()
            .map(|(user, stored)| {
                let (kind, secret) = stored.identity();
                hmac(secret, &[kind, b"\0", user.as_bytes()])
            })
            .collect();
        if digests.is_empty() {
            return Self(rand::random());
        }
        digests.sort_unstable();
        Self(sha256(digests.as_flattened()))
    }

    /// The salt a user is shown who brings none: the same at every attempt, known or not.
    fn salt(&self, user: &str) -> [u8; SALT] {
        let digest = hmac(&self.0, &[b"salt\0", user.as_bytes()]);
        let mut salt = [0; SALT];
        salt.copy_from_slice(&digest[..SALT]);
        salt
    }

    /// A verifier that no password has, made fast, for a user who must fail.
    #[must_use]
    pub fn verifier(&self, user: &str) -> Verifier {
        Verifier {
            iterations: DEFAULT_ITERATIONS,
            salt: self.salt(user).to_vec(),
            stored_key: hmac(&self.0, &[b"stored\0", user.as_bytes()]),
            server_key: hmac(&self.0, &[b"server\0", user.as_bytes()]),
        }
    }

    /// An md5 hash that no password has, for a user who must fail.
    #[must_use]
    pub fn md5_hash(&self, user: &str) -> Md5Hash {
        Md5Hash::new(&hmac(&self.0, &[b"md5\0", user.as_bytes()]), user)
    }
}

impl fmt::Debug for MockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockKey(..)")
    }
}

#[cfg(test)]
mod tests;
