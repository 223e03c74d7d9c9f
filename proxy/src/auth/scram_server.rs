//! The server's side of SCRAM-SHA-256 (RFC 5802, section 5), one step per type: a step used twice
//! or out of order does not compile. A user who cannot succeed walks the same steps, told apart
//! only at the very end. It must not know users, sockets or framing.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::{Choice, ConstantTimeEq};

use super::scram::{
    Key, ScramError, ScramKeys, Verifier, attribute, bounded, expect, hmac, is_nonce, nonce,
    sha256, xor,
};

/// Whether a right proof may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Genuine,
    /// A mock verifier of a user who is unknown or has no fitting secret: always denied.
    Doomed,
}

/// An exchange that waits for the client's first message.
pub struct ScramServer<'v> {
    verifier: &'v Verifier,
    standing: Standing,
    nonce: String,
}

impl<'v> ScramServer<'v> {
    /// An exchange with a fresh nonce.
    #[must_use]
    pub fn new(verifier: &'v Verifier, standing: Standing) -> Self {
        Self::with_nonce(verifier, standing, nonce())
    }

    pub(super) fn with_nonce(verifier: &'v Verifier, standing: Standing, nonce: String) -> Self {
        Self {
            verifier,
            standing,
            nonce,
        }
    }

    /// Takes `client-first-message`, gives the server's first message in the next step.
    ///
    /// # Errors
    /// [`ScramError::Malformed`] or [`ScramError::Unsupported`].
    pub fn first(self, message: &[u8]) -> Result<Challenge<'v>, ScramError> {
        let first = ClientFirst::read(bounded(message)?)?;
        let mut full_nonce = first.nonce.to_vec();
        full_nonce.extend_from_slice(self.nonce.as_bytes());

        let mut message = b"r=".to_vec();
        message.extend_from_slice(&full_nonce);
        message.extend_from_slice(b",s=");
        message.extend_from_slice(STANDARD.encode(&self.verifier.salt).as_bytes());
        message.extend_from_slice(format!(",i={}", self.verifier.iterations).as_bytes());
        Ok(Challenge {
            verifier: self.verifier,
            standing: self.standing,
            first_bare: first.bare.to_vec(),
            binding: first.binding,
            full_nonce,
            message,
        })
    }
}

/// The parts of a client's first message that matter later.
struct ClientFirst<'a> {
    /// What the final message must repeat as channel binding, in base64.
    binding: &'static [u8],
    bare: &'a [u8],
    nonce: &'a [u8],
}

impl<'a> ClientFirst<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ScramError> {
        let (binding, after_flag): (&'static [u8], _) = match message {
            [b'n', b',', rest @ ..] => (b"biws", rest),
            // The client could bind and believes that we cannot, which is true.
            [b'y', b',', rest @ ..] => (b"eSws", rest),
            [b'p', ..] => {
                return Err(ScramError::Malformed(
                    "the client selected SCRAM-SHA-256 without channel binding, \
                     but the message includes channel binding data",
                ));
            }
            _ => return Err(ScramError::Malformed("unexpected channel-binding flag")),
        };
        let bare = match after_flag {
            [b',', bare @ ..] => bare,
            [b'a', ..] => {
                return Err(ScramError::Unsupported(
                    "client uses authorization identity, but it is not supported",
                ));
            }
            _ => return Err(ScramError::Malformed("unexpected attribute")),
        };
        if bare.first() == Some(&b'm') {
            return Err(ScramError::Unsupported(
                "client requires an unsupported SCRAM extension",
            ));
        }
        let mut rest = bare;
        // The user is the one of the startup packet, whatever is said here (PostgreSQL docs).
        expect(&mut rest, b'n')?;
        let nonce = expect(&mut rest, b'r')?;
        if !is_nonce(nonce) {
            return Err(ScramError::Malformed("non-printable characters in nonce"));
        }
        while !rest.is_empty() {
            // Extensions that may be ignored.
            attribute(&mut rest)?;
        }
        Ok(Self {
            binding,
            bare,
            nonce,
        })
    }
}

/// An exchange that waits for the client's proof.
pub struct Challenge<'v> {
    verifier: &'v Verifier,
    standing: Standing,
    first_bare: Vec<u8>,
    binding: &'static [u8],
    full_nonce: Vec<u8>,
    message: Vec<u8>,
}

impl Challenge<'_> {
    /// `server-first-message`.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Takes `client-final-message` and judges the proof.
    ///
    /// # Errors
    /// [`ScramError::Malformed`], or [`ScramError::Denied`] for a wrong proof and for everybody
    /// who is [`Standing::Doomed`].
    pub fn finish(self, message: &[u8]) -> Result<Accepted, ScramError> {
        let last = ClientFinal::read(bounded(message)?)?;
        if last.binding != self.binding {
            return Err(ScramError::Malformed(
                "unexpected channel-binding attribute in client-final-message",
            ));
        }
        if last.nonce != self.full_nonce {
            return Err(ScramError::Malformed("nonce does not match"));
        }
        let transcript: [&[u8]; 5] = [
            &self.first_bare,
            b",",
            &self.message,
            b",",
            last.without_proof,
        ];
        let signature = hmac(&self.verifier.stored_key, &transcript);
        let client_key = xor(last.proof, &signature);
        let proven = sha256(&client_key).ct_eq(&self.verifier.stored_key);
        let genuine = match self.standing {
            Standing::Genuine => Choice::from(1),
            Standing::Doomed => Choice::from(0),
        };
        let server_signature = hmac(&self.verifier.server_key, &transcript);
        if !bool::from(proven & genuine) {
            return Err(ScramError::Denied);
        }
        Ok(Accepted {
            message: format!("v={}", STANDARD.encode(server_signature)).into_bytes(),
            keys: ScramKeys {
                client_key,
                server_key: self.verifier.server_key,
                salt: self.verifier.salt.clone(),
                iterations: self.verifier.iterations,
            },
        })
    }
}

/// The parts of a client's final message.
struct ClientFinal<'a> {
    binding: &'a [u8],
    nonce: &'a [u8],
    without_proof: &'a [u8],
    proof: Key,
}

impl<'a> ClientFinal<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut rest = message;
        let binding = expect(&mut rest, b'c')?;
        let nonce = expect(&mut rest, b'r')?;
        loop {
            let before = message.len() - rest.len();
            let (name, value) = attribute(&mut rest)?;
            if name != b'p' {
                // An extension that may be ignored.
                continue;
            }
            if !rest.is_empty() {
                return Err(ScramError::Malformed(
                    "garbage at the end of client-final-message",
                ));
            }
            let proof = STANDARD
                .decode(value)
                .ok()
                .and_then(|proof| proof.try_into().ok());
            let Some(proof) = proof else {
                return Err(ScramError::Malformed(
                    "malformed proof in client-final-message",
                ));
            };
            // The comma before the proof is no part of what is signed.
            let without_proof = &message[..before.saturating_sub(1)];
            return Ok(Self {
                binding,
                nonce,
                without_proof,
                proof,
            });
        }
    }
}

/// A client that has proven its password.
pub struct Accepted {
    message: Vec<u8>,
    keys: ScramKeys,
}

impl Accepted {
    /// `server-final-message`: our proof to the client.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// What lets us prove the same password to a server with the same verifier.
    #[must_use]
    pub fn into_keys(self) -> ScramKeys {
        self.keys
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").finish_non_exhaustive()
    }
}

impl fmt::Debug for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}
