//! The client's side of SCRAM-SHA-256 (RFC 5802, section 5), one step per type, for logins to
//! servers: from a password or from keys that need none. A server is not believed: its numbers are
//! bounded and its signature is checked. It must not know servers, sockets or framing.

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use super::scram::{
    Key, ScramError, ScramKeys, attribute, bounded, expect, hmac, is_nonce, iterations_in, nonce,
    sha256, xor,
};
use super::secret::Password;

/// The longest salt a server may send; PostgreSQL's are 16 bytes.
const MAX_SALT: usize = 256;

/// What a proof is made from.
#[derive(Clone, Copy)]
pub enum Source<'c> {
    Password(&'c Password),
    Keys(&'c ScramKeys),
}

/// An exchange that has sent its first message and waits for the server's.
pub struct ScramClient<'c> {
    source: Source<'c>,
    nonce: String,
    message: String,
}

impl<'c> ScramClient<'c> {
    /// Begins an exchange with a fresh nonce.
    #[must_use]
    pub fn new(source: Source<'c>) -> Self {
        Self::with_nonce(source, "", nonce())
    }

    /// PostgreSQL ignores the name, so that we send none; the RFC's vectors have one.
    pub(super) fn with_nonce(source: Source<'c>, name: &str, nonce: String) -> Self {
        let message = format!("n,,n={name},r={nonce}");
        Self {
            source,
            nonce,
            message,
        }
    }

    /// `client-first-message`.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Takes `server-first-message`. Runs PBKDF2 when the source is a password that has not been
    /// used with this salt before.
    ///
    /// # Errors
    /// [`ScramError::Malformed`] for what a server may not send, [`ScramError::OtherSecret`] when
    /// the source is keys made for another salt or iteration count.
    pub fn challenge(self, message: &[u8]) -> Result<Proof, ScramError> {
        let message = bounded(message)?;
        let mut rest = message;
        let full_nonce = expect(&mut rest, b'r')?;
        let salt = expect(&mut rest, b's')?;
        let iterations = expect(&mut rest, b'i')?;
        while !rest.is_empty() {
            attribute(&mut rest)?;
        }
        match full_nonce.strip_prefix(self.nonce.as_bytes()) {
            Some(theirs) if is_nonce(theirs) => {}
            Some(_) | None => return Err(ScramError::Malformed("the server's nonce is wrong")),
        }
        let salt = match STANDARD.decode(salt) {
            Ok(salt) if (1..=MAX_SALT).contains(&salt.len()) => salt,
            Ok(_) | Err(_) => return Err(ScramError::Malformed("the server's salt is wrong")),
        };
        let iterations = iterations_in(iterations).ok_or(ScramError::Malformed(
            "the server's iteration count is out of bounds",
        ))?;
        let keys = match self.source {
            Source::Password(password) => password.keys(&salt, iterations),
            Source::Keys(keys) if keys.fit(&salt, iterations) => keys.clone(),
            Source::Keys(_) => return Err(ScramError::OtherSecret),
        };
        Ok(Proof::new(
            &keys,
            self.message.as_bytes(),
            message,
            full_nonce,
        ))
    }
}

/// An exchange that has sent its proof and waits for the server's.
pub struct Proof {
    message: Vec<u8>,
    server_signature: Key,
}

impl Proof {
    fn new(keys: &ScramKeys, client_first: &[u8], server_first: &[u8], full_nonce: &[u8]) -> Self {
        // Without the `n,,` that says there is no channel binding.
        let bare = client_first.get(3..).unwrap_or_default();
        let mut message = b"c=biws,r=".to_vec();
        message.extend_from_slice(full_nonce);
        let transcript: [&[u8]; 5] = [bare, b",", server_first, b",", &message];
        let signature = hmac(&sha256(&keys.client_key), &transcript);
        let server_signature = hmac(&keys.server_key, &transcript);
        let proof = STANDARD.encode(xor(keys.client_key, &signature));
        message.extend_from_slice(b",p=");
        message.extend_from_slice(proof.as_bytes());
        Self {
            message,
            server_signature,
        }
    }

    /// `client-final-message`.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Takes `server-final-message` and checks that the server knows the secret, too.
    ///
    /// # Errors
    /// [`ScramError::Denied`] for a wrong signature, [`ScramError::ServerFailed`] for an `e=`,
    /// [`ScramError::Malformed`] for anything else.
    pub fn verify(self, message: &[u8]) -> Result<(), ScramError> {
        let mut rest = bounded(message)?;
        let signature = match attribute(&mut rest)? {
            (b'v', signature) => signature,
            (b'e', _) => return Err(ScramError::ServerFailed),
            (_, _) => return Err(ScramError::Malformed("another attribute was expected")),
        };
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| ScramError::Malformed("the server's signature is not base64"))?;
        if bool::from(signature.ct_eq(&self.server_signature)) {
            Ok(())
        } else {
            Err(ScramError::Denied)
        }
    }
}
