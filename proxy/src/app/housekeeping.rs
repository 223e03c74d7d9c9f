//! What is done from time to time for all: time limits of clients, figures of pools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgconvoy_config::Limits;

use super::tuning::Live;
use crate::clock;
use crate::cluster::Cluster;
use crate::metrics::{Metrics, PoolMetrics};
use crate::pool::pools::{Directory, PoolStatus, Tenant};
use crate::registry::{Activity, Registry, Signal};

/// How often limits are looked at: a limit is kept to within this.
const PERIOD: Duration = Duration::from_millis(250);

/// What the averages of SHOW STATS are of.
const STATS_PERIOD: Duration = Duration::from_secs(60);

/// Runs until dropped.
pub(super) async fn run(
    live: Live,
    registry: Arc<Registry>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
) {
    let mut gauges = Gauges {
        metrics,
        known: HashMap::new(),
    };
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut period_began = clock::now();
    directory.databases.turn_period(period_began);
    loop {
        ticks.tick().await;
        if clock::since(period_began) >= STATS_PERIOD {
            period_began = clock::now();
            directory.databases.turn_period(period_began);
        }
        let limits = live.settings.load().limits.clone();
        enforce(&limits, &registry);
        gauges.refresh(&directory.status());
    }
}

/// Has sessions that wait for a server connection look again whenever the cluster has changed. Runs
/// until dropped.
pub(super) async fn follow(cluster: Arc<Cluster>, registry: Arc<Registry>) {
    let mut seen = cluster.view().generation;
    loop {
        cluster.changed(seen).await;
        seen = cluster.view().generation;
        registry.wake_waiting();
    }
}

/// Ends the sessions that have been doing the same for too long.
fn enforce(limits: &Limits, registry: &Registry) {
    let none = limits.client_idle_timeout.is_none()
        && limits.idle_in_transaction_timeout.is_none()
        && limits.query_timeout.is_none();
    if none {
        return;
    }
    for client in registry.clients() {
        let (activity, since) = client.activity();
        let (limit, signal) = match activity {
            Activity::Idle => (limits.client_idle_timeout, Signal::ClientIdle),
            Activity::IdleInTransaction => (
                limits.idle_in_transaction_timeout,
                Signal::IdleInTransaction,
            ),
            Activity::Active => (limits.query_timeout, Signal::QueryTimeout),
            Activity::Waiting | Activity::Streaming => (None, Signal::None),
        };
        if limit.is_some_and(|limit| clock::since(since) >= limit) {
            client.signal(signal);
        }
    }
}

/// The gauges of the pools that were there last time.
struct Gauges {
    metrics: Arc<Metrics>,
    known: HashMap<(String, Tenant), PoolMetrics>,
}

impl Gauges {
    fn refresh(&mut self, pools: &[PoolStatus]) {
        let metrics = &self.metrics;
        self.known.retain(|(node, tenant), _| {
            let still = pools
                .iter()
                .any(|p| p.node.label == *node && p.tenant == *tenant);
            if !still {
                metrics.forget_pool(node, &tenant.database, &tenant.user);
            }
            still
        });
        for pool in pools {
            let key = (pool.node.label.clone(), pool.tenant.clone());
            let gauges = self.known.entry(key).or_insert_with(|| {
                metrics.pool(&pool.node.label, &pool.tenant.database, &pool.tenant.user)
            });
            gauges.idle.set(signed(pool.idle));
            gauges
                .active
                .set(signed(pool.open.saturating_sub(pool.idle)));
            gauges.waiting.set(signed(pool.waiting));
        }
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
