//! Which command is answered by what.

use super::{Context, pool_backend_stats, pool_nodes, pool_version};
use crate::router::LocalCommand;
use crate::status::Table;

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
