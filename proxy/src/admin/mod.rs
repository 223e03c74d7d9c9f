//! Commands that the proxy answers itself, in one table; one file per command.
//!
//! Each gives a [`crate::status::Table`]; the session turns it into messages. Knows no wire
//! format.

mod console;
mod pool_backend_stats;
mod pool_nodes;
mod pool_version;
#[cfg(test)]
mod tests;

pub use console::{Context, answer};
