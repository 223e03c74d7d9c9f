//! Starts what watches the nodes: a probe for each, and the keeper that hears them all.
//!
//! Runs on the control runtime, apart from the workers: a busy worker delays no check.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::catalog_loader;
use super::handle::Cluster;
use super::keeper::Keeper;
use super::probe::Probe;
use super::settings::MonitorSettings;
use super::steward;
use crate::metrics::Metrics;

/// Reports on their way to the keeper. It is quick; a probe that finds the queue full waits.
const QUEUE: usize = 64;

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
        tasks.spawn(steward::run(Arc::clone(cluster), Arc::clone(settings)));
        tasks.spawn(catalog_loader::run(
            Arc::clone(cluster),
            Arc::clone(settings),
            Arc::clone(metrics),
        ));
        Self { _tasks: tasks }
    }
}
