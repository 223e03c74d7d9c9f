//! What is done from time to time for all: time limits of clients, figures of pools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgconvoy_config::{Settings, UserTimes};

use super::tuning::Live;
use crate::clock;
use crate::cluster::Cluster;
use crate::metrics::{CapMetrics, Metrics, PoolMetrics};
use crate::pool::caps::Scope;
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
        caps: HashMap::new(),
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
        enforce(&live.settings.load(), &registry);
        gauges.refresh(&directory);
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

/// What one client may take; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    idle: Option<Duration>,
    idle_in_transaction: Option<Duration>,
    query: Option<Duration>,
    transaction: Option<Duration>,
}

impl Times {
    fn are_off(self) -> bool {
        [
            self.idle,
            self.idle_in_transaction,
            self.query,
            self.transaction,
        ]
        .iter()
        .all(Option::is_none)
    }
}

/// The time limits of everybody.
struct TimeLimits<'a> {
    default: Times,
    users: HashMap<&'a str, Times>,
}

impl<'a> TimeLimits<'a> {
    fn new(settings: &'a Settings) -> Self {
        let limits = &settings.limits;
        let default = Times {
            idle: limits.client_idle_timeout,
            idle_in_transaction: limits.idle_in_transaction_timeout,
            query: limits.query_timeout,
            transaction: limits.transaction_timeout,
        };
        let of = |own: &UserTimes| Times {
            idle: own.client_idle_timeout.unwrap_or(default.idle),
            idle_in_transaction: own
                .idle_in_transaction_timeout
                .unwrap_or(default.idle_in_transaction),
            query: own.query_timeout.unwrap_or(default.query),
            transaction: own.transaction_timeout.unwrap_or(default.transaction),
        };
        let users = settings
            .users
            .iter()
            .map(|u| (u.name.as_str(), of(&u.times)));
        Self {
            default,
            users: users.filter(|(_, times)| *times != default).collect(),
        }
    }
}

/// Ends the sessions that have been doing the same for too long.
fn enforce(settings: &Settings, registry: &Registry) {
    let limits = TimeLimits::new(settings);
    if limits.default.are_off() && limits.users.is_empty() {
        return;
    }
    for client in registry.clients() {
        let own = limits.users.get(client.user.as_str());
        let times = own.copied().unwrap_or(limits.default);
        let (activity, since) = client.activity();
        let (limit, signal) = match activity {
            Activity::Idle => (times.idle, Signal::ClientIdle),
            Activity::IdleInTransaction => (times.idle_in_transaction, Signal::IdleInTransaction),
            Activity::Active => (times.query, Signal::QueryTimeout),
            Activity::Waiting | Activity::Streaming => (None, Signal::None),
        };
        if limit.is_some_and(|limit| clock::since(since) >= limit) {
            client.signal(signal);
        }
        let began = client.transaction_since();
        let too_long = |limit| began != clock::NEVER && clock::since(began) >= limit;
        if times.transaction.is_some_and(too_long) {
            client.signal(Signal::TransactionTimeout);
        }
    }
}

/// The gauges of the pools that were there last time.
struct Gauges {
    metrics: Arc<Metrics>,
    known: HashMap<(String, Tenant), PoolMetrics>,
    caps: HashMap<(&'static str, String), CapMetrics>,
}

impl Gauges {
    fn refresh(&mut self, directory: &Directory) {
        let pools = &directory.status();
        self.refresh_caps(directory, pools);
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
            gauges.reserve.set(signed(pool.reserve_in_use));
        }
    }

    fn refresh_caps(&mut self, directory: &Directory, pools: &[PoolStatus]) {
        let caps = directory.caps();
        let label = |scope: &Scope| match scope {
            Scope::All => ("all", "all".to_owned()),
            Scope::Node(id) => {
                let node = pools.iter().find(|p| p.node.id == *id);
                let label = node.map_or_else(|| id.to_string(), |p| p.node.label.clone());
                ("node", label)
            }
            Scope::Database(name) => ("database", name.to_string()),
            Scope::User(name) => ("user", name.to_string()),
        };
        let now: HashMap<_, _> = caps.iter().map(|cap| (label(&cap.scope), cap)).collect();
        let metrics = &self.metrics;
        self.caps.retain(|(kind, name), _| {
            let still = now.keys().any(|(k, n)| k == kind && n == name);
            if !still {
                metrics.forget_cap(kind, name);
            }
            still
        });
        for ((kind, name), cap) in now {
            let key = (kind, name);
            let gauges = self
                .caps
                .entry(key)
                .or_insert_with_key(|(kind, name)| metrics.cap(kind, name));
            gauges.open.set(signed(cap.open()));
            gauges.limit.set(signed(cap.limit().unwrap_or(0)));
        }
        metrics.cap_closed(directory.closed_for_caps());
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
