//! What operators and their machines ask over HTTP: metrics, and whether the instance is alive
//! and ready.
//!
//! Runs on the control runtime and never touches a session. No TLS and no login: what is shown
//! here holds no secret, and the address is the operator's choice.

mod server;

pub use server::{Phase, Server};
