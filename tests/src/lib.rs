//! The harness of the end-to-end tests: real PostgreSQL clusters, the `pgconvoy` binary in front of them,
//! a client that speaks the protocol byte by byte, and ways to run the tools and drivers people use.
//!
//! It knows the product only from outside: its command line, config keys, ports and log. It imports nothing
//! from the `pgconvoy` crate, so that no test can lean on the code it is meant to judge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the harness is test code: a step that fails has to end the test with its cause"
)]

pub mod convoy;
pub mod http;
pub mod installed;
pub mod oracle;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod random;
pub mod shared;
pub mod show;
pub mod stage;
pub mod temp;
pub mod tool;
pub mod wait;
pub mod watchdog;
pub mod wire;
