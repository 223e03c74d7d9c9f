//! The PostgreSQL frontend/backend protocol, version 3, as pure functions over bytes.
//!
//! Framing, decoding of the few messages a proxy has to understand, and building of the messages
//! it sends of its own accord. It must not know sockets, tasks, sessions or configuration: bytes
//! come in as slices and go out into a `BytesMut`. What is relayed is never decoded here.

pub mod boundary;
mod cursor;
pub mod error_fields;
pub mod frame;
pub mod messages;
pub mod sqlstate;
pub mod startup;
pub mod startup_options;
pub mod to_client;
pub mod to_server;

pub use error_fields::{ErrorFields, ErrorView, Severity};
pub use frame::{
    Backend, FrameError, Frontend, HEADER, Header, TransactionStatus, peek, peek_backend,
    peek_frontend,
};

#[cfg(test)]
mod oracle;
