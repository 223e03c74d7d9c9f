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

pub use console::answer;

use crate::cluster::{NodeId, ReadRules, View};

/// What an answer may be made of.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The present view.
    pub view: &'a View,
    /// The rules for reads that are in force.
    pub rules: &'a ReadRules,
    /// The node that the asking session last read from, or would read from next.
    pub read_node: Option<NodeId>,
}
