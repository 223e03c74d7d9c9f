//! Every Prometheus family of the proxy, in one registry, with the children of the hot path
//! resolved once and handed out as plain counters.
//!
//! Names carry their unit (`_seconds`, `_bytes`, `_total`). Knows nothing of nodes, sessions or
//! pools beyond their labels: owners count, this module only names and renders. No secret and no
//! query text is ever a label, and every label has few values: nodes, pools, and fixed words.

mod node;
mod pool;
mod process;
mod routing;
#[cfg(test)]
mod tests;

pub use node::{
    AnswerTimes, Direction, EjectionReason, NodeMetrics, QueryRoute, Severity, StatementKind,
};
pub use pool::{CapMetrics, PoolMetrics};
pub use routing::{RoutedMetrics, RoutingFamilies};

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use process::ProcessMetrics;

/// Upper bounds, in seconds, of query times: 100 us to 30 s, close together where pooled
/// statements are.
const QUERY_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Upper bounds, in seconds, of waits for a server connection: 10 us (one was idle) to 2 min.
const WAIT_BUCKETS: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0,
];

/// A metric that could not be defined or rendered: a mistake in this crate, never of a user.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}; this is a defect of pgconvoy, please report it")]
pub struct MetricsError(#[from] prometheus::Error);

/// Why a client was turned away before its first statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// `max_client_connections` was reached (SQLSTATE 53300).
    TooManyClients,
    /// Unknown user, wrong secret, or no rule that lets the client in (28P01, 28000).
    Login,
    /// Not PostgreSQL's protocol, or a malformed startup (08P01).
    Protocol,
    /// Startup and login took longer than the login time-out.
    Timeout,
    /// The proxy is draining (57P01).
    Draining,
    /// The user or the database has all the clients it may have (53300).
    Crowded,
    /// The login was fine, but no server connection could be had for it.
    Server,
}

impl RejectReason {
    const ALL: [Self; 7] = [
        Self::TooManyClients,
        Self::Login,
        Self::Protocol,
        Self::Timeout,
        Self::Draining,
        Self::Crowded,
        Self::Server,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooManyClients => "too_many_clients",
            Self::Login => "login",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Draining => "draining",
            Self::Crowded => "too_many_of_user_or_database",
            Self::Server => "server",
        }
    }
}

/// Hits, misses and evictions of one cache, resolved.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Look-ups that found their entry.
    pub hits: IntCounter,
    /// Look-ups that did not.
    pub misses: IntCounter,
    /// Entries removed to keep the cache within its bound.
    pub evictions: IntCounter,
}

/// All families. Built once by `app`, shared as `Arc`; cheap to use from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Clients connected now, those that are still logging in included.
    pub client_connections: IntGauge,
    /// Clients accepted since start.
    pub client_connections_total: IntCounter,
    /// Of these, replication connections that were passed through to a node.
    pub replication_connections: IntGauge,
    /// Seconds from asking for a server connection until it was there.
    pub wait_seconds: Histogram,
    /// Changes from one primary to another (the first primary is not one).
    pub failovers: IntCounter,
    /// The cache of routes by statement fingerprint.
    pub route_cache: CacheMetrics,
    /// The caches of prepared statements per server connection.
    pub prepared_cache: CacheMetrics,
    /// Batches run again with statements prepared anew.
    pub prepared_again: IntCounter,
    rejected: IntCounterVec,
    errors: IntCounterVec,
    pins: IntCounterVec,
    routing: routing::RoutingFamilies,
    nodes: node::NodeFamilies,
    pools: pool::PoolFamilies,
    process: ProcessMetrics,
}

impl Metrics {
    /// Defines and registers every family; `version` becomes the label of `pgconvoy_build_info`.
    ///
    /// # Errors
    /// Only when two families share a name or a name is malformed: a defect.
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let families = Families {
            registry: Registry::new(),
        };
        let build_info = families.gauges("pgconvoy_build_info", "Constant 1.", &["version"])?;
        build_info.with_label_values(&[version]).set(1);
        let rejected = families.counters(
            "pgconvoy_client_connections_rejected_total",
            "Clients turned away before their first statement, by reason.",
            &["reason"],
        )?;
        for reason in RejectReason::ALL {
            rejected.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            client_connections: families
                .gauge("pgconvoy_client_connections", "Clients connected now.")?,
            client_connections_total: families.counter(
                "pgconvoy_client_connections_total",
                "Clients accepted since start.",
            )?,
            replication_connections: families.gauge(
                "pgconvoy_replication_connections",
                "Replication connections passed through to a node now.",
            )?,
            wait_seconds: families.histogram(
                "pgconvoy_wait_seconds",
                "Time from asking for a server connection until it was lent.",
                WAIT_BUCKETS,
            )?,
            failovers: families.counter(
                "pgconvoy_failovers_total",
                "Changes from one primary to another since start.",
            )?,
            route_cache: families.cache("pgconvoy_route_cache", "Routes by fingerprint")?,
            prepared_cache: families.cache(
                "pgconvoy_prepared_cache",
                "Statements prepared on a server connection",
            )?,
            prepared_again: families.counter(
                "pgconvoy_prepared_again_total",
                "Batches run again because a prepared statement's plan had outlived a change of its tables.",
            )?,
            rejected,
            errors: families.counters(
                "pgconvoy_errors_total",
                "ErrorResponses of servers, by SQLSTATE class (its first two characters).",
                &["class"],
            )?,
            pins: families.counters(
                "pgconvoy_pins_total",
                "Sessions pinned to their server connection, by what made it necessary.",
                &["reason"],
            )?,
            routing: routing::RoutingFamilies::new(&families)?,
            nodes: node::NodeFamilies::new(&families)?,
            pools: pool::PoolFamilies::new(&families)?,
            process: ProcessMetrics::new(&families)?,
            registry: families.registry,
        })
    }

    /// Counts a client that was turned away.
    pub fn rejected(&self, reason: RejectReason) {
        self.rejected.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts an error of a server by the class of its SQLSTATE (PostgreSQL docs, appendix A).
    /// What is no SQLSTATE counts as class `other`, so that a server cannot invent labels.
    pub fn error(&self, sqlstate: &[u8]) {
        let class = sqlstate
            .get(..2)
            .filter(|_| sqlstate.len() == 5)
            .filter(|class| {
                class
                    .iter()
                    .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
            })
            .and_then(|class| std::str::from_utf8(class).ok());
        self.errors
            .with_label_values(&[class.unwrap_or("other")])
            .inc();
    }

    /// Counts a session that was pinned; `reason` is one of the fixed words of `session::pin`.
    pub fn pinned(&self, reason: &'static str) {
        self.pins.with_label_values(&[reason]).inc();
    }

    /// How statements are routed.
    #[must_use]
    pub fn routing(&self) -> &RoutingFamilies {
        &self.routing
    }

    /// The children of one node; `label` is `host:port`. Called once for each node.
    #[must_use]
    pub fn node(&self, label: &str) -> NodeMetrics {
        self.nodes.resolve(label)
    }

    /// The gauges of one pool, shared by the workers' pools of the same name.
    #[must_use]
    pub fn pool(&self, node: &str, database: &str, user: &str) -> PoolMetrics {
        self.pools.resolve(node, database, user)
    }

    /// Drops a pool's gauges from the output, when its last worker has let go of it.
    pub fn forget_pool(&self, node: &str, database: &str, user: &str) {
        self.pools.forget(node, database, user);
    }

    /// The gauges of one cap on server connections.
    #[must_use]
    pub fn cap(&self, kind: &str, name: &str) -> CapMetrics {
        self.pools.cap(kind, name)
    }

    /// Drops a cap's gauges from the output.
    pub fn forget_cap(&self, kind: &str, name: &str) {
        self.pools.forget_cap(kind, name);
    }

    /// Brings the count of connections closed under caps up to `total`.
    pub fn cap_closed(&self, total: usize) {
        let counter = &self.pools.cap_closed;
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a family cannot be rendered: a defect.
    pub fn render(&self) -> Result<String, MetricsError> {
        self.process.refresh();
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// Makes families and registers them at once.
struct Families {
    registry: Registry,
}

impl Families {
    fn add<C: Collector + Clone + 'static>(&self, family: C) -> Result<C, MetricsError> {
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricsError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, MetricsError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }

    fn cache(&self, name: &str, what: &str) -> Result<CacheMetrics, MetricsError> {
        let counter = |end: &str, help: &str| {
            self.counter(&format!("{name}_{end}_total"), &format!("{what}: {help}."))
        };
        Ok(CacheMetrics {
            hits: counter("hits", "look-ups that found their entry")?,
            misses: counter("misses", "look-ups that did not")?,
            evictions: counter("evictions", "entries removed to keep the bound")?,
        })
    }
}
