//! Proofs of identity as pure functions: what secrets look like at rest, and both sides of the
//! md5 and SCRAM-SHA-256 exchanges. Bytes in, bytes and verdicts out. It must not know sockets,
//! the framing of messages, or where secrets are configured; no secret shows in `Debug` output.

pub mod md5;
pub mod scram;
pub mod scram_client;
pub mod scram_server;
pub mod secret;

pub use scram::{ScramError, ScramKeys, Verifier};
pub use secret::{Credential, MockKey, SecretError, Stored};
