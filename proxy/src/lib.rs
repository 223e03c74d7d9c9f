//! pgconvoy: one address in front of a PostgreSQL leader and its replicas.
//!
//! The modules stand on numbered floors; each imports only from lower ones. ARCHITECTURE.md shows
//! them, `tests/layers.rs` holds them to it.

pub mod admin;
pub mod app;
pub mod auth;
pub mod backend;
pub mod clock;
pub mod cluster;
pub mod error;
pub mod frontend;
pub mod http;
pub mod metrics;
pub mod net;
pub mod pattern;
pub mod pool;
pub mod protocol;
pub mod registry;
pub mod router;
pub mod session;
pub mod status;
