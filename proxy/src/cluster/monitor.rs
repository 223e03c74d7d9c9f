//! Starts what watches the nodes: a probe for each, and the keeper that hears them all.
//!
//! Runs on the control runtime, apart from the workers: a busy worker delays no check.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::handle::Cluster;
use super::keeper::Keeper;
use super::probe::Probe;
use crate::metrics::Metrics;

/// Reports on their way to the keeper. It is quick; a probe that finds the queue full waits.
const QUEUE: usize = 64;

/// How the nodes are watched. Replaced as a whole on reload.
#[derive(Clone)]
pub struct MonitorSettings {
    /// Login of the monitor; wants the rights of `pg_monitor`.
    pub user: String,
    /// Its password in plain text, if the servers ask for one.
    pub password: Option<String>,
    /// Database that it connects to.
    pub database: String,
    /// Between two checks of a node.
    pub check_period: Duration,
    /// A check that takes longer has failed; connecting is part of it.
    pub check_timeout: Duration,
    /// Failures in a row that a node may have before it is down.
    pub check_retries: u32,
    /// Between two position samples while a session waits for a replica to catch up.
    pub position_period: Duration,
}

impl fmt::Debug for MonitorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorSettings")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("database", &self.database)
            .field("check_period", &self.check_period)
            .field("check_timeout", &self.check_timeout)
            .field("check_retries", &self.check_retries)
            .field("position_period", &self.position_period)
            .finish()
    }
}

/// The running monitor; dropping it stops the watch and leaves the last view standing.
#[derive(Debug)]
pub struct Monitor {
    _tasks: JoinSet<()>,
}

impl Monitor {
    /// Starts watching all nodes of `cluster`, on the tokio runtime that this is called on.
    /// New settings hold from each node's next check.
    #[must_use]
    pub fn start(
        cluster: &Arc<Cluster>,
        settings: &Arc<ArcSwap<MonitorSettings>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for node in cluster.nodes() {
            let probe = Probe::new(Arc::clone(cluster), Arc::clone(node), Arc::clone(settings));
            tasks.spawn(probe.run(sender.clone()));
        }
        let keeper = Keeper::new(
            Arc::clone(cluster),
            Arc::clone(settings),
            Arc::clone(metrics),
        );
        tasks.spawn(keeper.run(receiver));
        Self { _tasks: tasks }
    }
}
