//! Commands that the proxy answers itself, in one table; one file per command.
//!
//! `command` reads them, `run` carries one out. Each look gives a [`crate::status::Table`]; who
//! asked turns it into messages. Knows no wire format, and no client but by the registry.

mod act;
mod command;
mod console;
mod lookup;
mod parameters;
mod pool_backend_stats;
mod pool_nodes;
mod pool_version;
mod scan;
mod show_clients;
mod show_config;
mod show_databases;
mod show_lists;
mod show_pools;
mod show_servers;
mod show_stats;
mod show_users;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use pgconvoy_config::{SettingRow, Settings};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::act::{pause_all, resume_all};
pub use self::command::{Chatter, Command, Show, ShutdownMode, parse};
pub use self::console::{answer, columns, run};
pub use self::parameters::{PARAMETERS, Parameter};
use crate::cluster::{Cluster, NodeId, ReadRules, View};
use crate::error::Report;
use crate::pool::pools::Directory;
use crate::registry::{Party, Registry};
use crate::status::{MemoryRow, Table};

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

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it shows.
    pub table: Option<Table>,
    /// What is to be said besides.
    pub notice: Option<Report>,
}

impl From<Table> for Outcome {
    fn from(table: Table) -> Self {
        Self {
            table: Some(table),
            notice: None,
        }
    }
}

/// What only the instance as a whole can do.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again; the answer says what has to wait for a restart.
    Reload(oneshot::Sender<Result<Option<Report>, Report>>),
    /// End.
    Shutdown(ShutdownMode),
}

/// How many clients a user or a database may have; `None` is no limit.
pub type ClientLimit = Box<dyn Fn(&Party) -> Option<usize> + Send + Sync>;

/// What the commands of the console look at and act on.
pub struct Inside {
    /// Nodes and their state.
    pub cluster: Arc<Cluster>,
    /// Pools, databases and server connections.
    pub directory: Arc<Directory>,
    /// Clients.
    pub registry: Arc<Registry>,
    /// The settings in force.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The settings in force as they are shown: no secret is in them.
    pub shown: Arc<ArcSwap<Vec<SettingRow>>>,
    /// The rules for reads that are in force.
    pub rules: Box<dyn Fn() -> ReadRules + Send + Sync>,
    /// How many clients a user or a database may have.
    pub client_limit: ClientLimit,
    /// What takes how much memory.
    pub memory: Box<dyn Fn() -> Vec<MemoryRow> + Send + Sync>,
    /// To the instance.
    pub requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}
