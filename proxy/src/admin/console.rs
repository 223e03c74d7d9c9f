//! Which command is answered by what.

use super::{pool_backend_stats, pool_nodes, pool_version};
use crate::cluster::{NodeId, ReadRules, View};
use crate::router::LocalCommand;
use crate::status::Table;

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

/// Answers a command that any authenticated client may give on any database. Quick, and never
/// blocks.
#[must_use]
pub fn answer(command: LocalCommand, context: &Context<'_>) -> Table {
    match command {
        LocalCommand::PoolNodes => pool_nodes::answer(context),
        LocalCommand::PoolVersion => pool_version::answer(context),
        LocalCommand::PoolBackendStats => pool_backend_stats::answer(context),
    }
}
