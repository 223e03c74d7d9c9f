//! What both sides of SCRAM-SHA-256 share (RFC 5802, RFC 7677; PostgreSQL docs, "SASL
//! Authentication"): key derivation, secrets at rest, reading of attributes. It must not know how
//! an exchange proceeds, nor which side it is on.

use std::borrow::Cow;
use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// The only mechanism spoken without TLS.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// PostgreSQL's default of `scram_iterations`, and what we use for secrets of our own making.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// PBKDF2 runs on the worker's thread: a peer or a file that asks for more would stop it for
/// longer than a quarter of a second.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The longest message of an exchange, as PostgreSQL has it.
pub const MAX_MESSAGE: usize = 1024;

/// Bytes of randomness in a nonce, and of salt, as PostgreSQL has them.
const RAW_NONCE: usize = 18;
pub(super) const SALT: usize = 16;

/// A SHA-256 digest or HMAC.
pub(super) type Key = [u8; 32];

/// Why an exchange stopped. The texts are PostgreSQL's, fit for the peer, and hold no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScramError {
    /// The peer broke the rules of the exchange.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The peer asked for what is allowed and not spoken here.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The proof or signature is wrong.
    #[error("the proof does not match")]
    Denied,
    /// A server verifies with a salt or iteration count that the keys at hand were not made for.
    #[error(
        "the server's SCRAM secret has another salt or iteration count than the configured one; \
         copy rolpassword from that server's pg_authid, or configure the password itself"
    )]
    OtherSecret,
    /// A server reported a failure of its own.
    #[error("the server ended the SCRAM exchange with an error")]
    ServerFailed,
}

/// HMAC-SHA-256. HMAC takes keys of any length, so the error cannot arise; an empty key stands in
/// for a panic.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::<Sha256>::new(&hmac::digest::Key::<Hmac<Sha256>>::default()),
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

pub(super) fn xor(mut a: Key, b: &Key) -> Key {
    for (left, right) in a.iter_mut().zip(b) {
        *left ^= right;
    }
    a
}

/// SASLprep (RFC 4013) as PostgreSQL applies it: pure ASCII is left alone, and what cannot be
/// prepared (not UTF-8, prohibited or unassigned characters, nothing left) is used as it is.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    let Ok(text) = std::str::from_utf8(password) else {
        return Cow::Borrowed(password);
    };
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => Cow::Owned(prepared.into_owned().into_bytes()),
        Ok(_) | Err(_) => Cow::Borrowed(password),
    }
}

/// The slow step: about 1 ms for 4096 iterations in a release build.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&prepared(password), salt, iterations)
}

/// What proves a password to servers that store its verifier with this very salt and iteration
/// count. `Debug` hides it: it is as good as the password there.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl ScramKeys {
    /// Derives the keys; slow (PBKDF2).
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self {
            client_key: hmac(&salted, &[b"Client Key"]),
            server_key: hmac(&salted, &[b"Server Key"]),
            salt: salt.to_vec(),
            iterations,
        }
    }

    pub(super) fn fit(&self, salt: &[u8], iterations: u32) -> bool {
        self.iterations == iterations && self.salt == salt
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// A secret at rest, as `pg_authid.rolpassword` holds it. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// Makes the verifier of a password; slow (PBKDF2).
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        Self::of(&ScramKeys::derive(password, salt, iterations))
    }

    fn of(keys: &ScramKeys) -> Self {
        Self {
            iterations: keys.iterations,
            salt: keys.salt.clone(),
            stored_key: sha256(&keys.client_key),
            server_key: keys.server_key,
        }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; `None` for other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
        let (cost, keys) = rest.split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations_in(iterations.as_bytes())?,
            salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: STANDARD.decode(stored_key).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server_key).ok()?.try_into().ok()?,
        })
    }

    /// Whether this is the verifier of `password`; slow (PBKDF2), and equally so for any answer.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> Choice {
        let other = Self::derive(password, &self.salt, self.iterations);
        self.stored_key.ct_eq(&other.stored_key) & self.server_key.ct_eq(&other.server_key)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Digits only, 1 to [`MAX_ITERATIONS`].
pub(super) fn iterations_in(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=MAX_ITERATIONS).contains(&count).then_some(count)
}

/// A fresh nonce: 24 printable characters.
pub(super) fn nonce() -> String {
    STANDARD.encode(rand::random::<[u8; RAW_NONCE]>())
}

/// Characters a nonce may have (RFC 5802: printable ASCII but for the comma).
pub(super) fn is_nonce(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_graphic() && *b != b',')
}

/// The next `name=value` of a comma-separated list, cut from its front; with its comma.
pub(super) fn attribute<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), ScramError> {
    let (name, after) = match **rest {
        [name, b'=', ref after @ ..] if name.is_ascii_alphabetic() => (name, after),
        _ => return Err(ScramError::Malformed("attribute expected")),
    };
    let end = after.iter().position(|b| *b == b',').unwrap_or(after.len());
    // A comma at the very end is kept, and refused as the attribute it promises.
    *rest = match after.get(end + 1..) {
        Some([]) => b",",
        Some(more) => more,
        None => b"",
    };
    Ok((name, &after[..end]))
}

/// The next attribute, which must be `wanted`.
pub(super) fn expect<'a>(rest: &mut &'a [u8], wanted: u8) -> Result<&'a [u8], ScramError> {
    match attribute(rest)? {
        (name, value) if name == wanted => Ok(value),
        (_, _) => Err(ScramError::Malformed("another attribute was expected")),
    }
}

pub(super) fn bounded(message: &[u8]) -> Result<&[u8], ScramError> {
    match message.len() {
        0 => Err(ScramError::Malformed("it is empty")),
        1..=MAX_MESSAGE => Ok(message),
        _ => Err(ScramError::Malformed("it is too long")),
    }
}

#[cfg(test)]
mod tests;
