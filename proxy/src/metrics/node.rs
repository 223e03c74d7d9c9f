//! What is counted for one node: statements by kind and route, errors, bytes, times, state.
//!
//! These counters are also the numbers of `SHOW POOL_NODES` and `SHOW POOL_BACKEND_STATS`: one
//! count, several faces. Knows nodes by their label only.

use prometheus::core::Metric as _;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Families, MetricsError, QUERY_BUCKETS};

/// What a statement does, as `SHOW POOL_BACKEND_STATS` groups them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// SELECT, also WITH, VALUES and TABLE.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// CREATE, ALTER, DROP, TRUNCATE and their kind.
    Ddl,
    /// Everything else.
    Other,
}

impl StatementKind {
    const ALL: [Self; 6] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Ddl,
        Self::Other,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Ddl => "ddl",
            Self::Other => "other",
        }
    }
}

/// Under which permission a statement was sent to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryRoute {
    /// Any node might have answered it.
    Read,
    /// Only the primary might.
    Write,
}

/// The severity of a server's ErrorResponse (PostgreSQL docs, 55.8, field `V`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// The server's process crashed, and with it all connections.
    Panic,
}

impl Severity {
    const ALL: [Self; 3] = [Self::Error, Self::Fatal, Self::Panic];

    /// From field `V` (or `S`) of an ErrorResponse; what is neither FATAL nor PANIC is an error.
    #[must_use]
    pub fn from_field(field: &[u8]) -> Self {
        match field {
            b"FATAL" => Self::Fatal,
            b"PANIC" => Self::Panic,
            _ => Self::Error,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
        }
    }
}

/// Which way bytes went, seen from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the node to the proxy.
    Received,
    /// From the proxy to the node.
    Sent,
}

/// Why a node was taken out of the rotation for reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionReason {
    /// Its connections failed.
    Errors,
    /// It was far slower than the others.
    Slow,
}

impl EjectionReason {
    const ALL: [Self; 2] = [Self::Errors, Self::Slow];

    fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
        }
    }
}

/// How long a node's answers have taken since start: how many took at most so many seconds.
#[derive(Clone, Debug)]
pub struct AnswerTimes(Vec<(f64, u64)>);

impl AnswerTimes {
    /// How many answers there were between `before` and now, and their median in seconds, as near as
    /// the buckets tell; none when there were none.
    #[must_use]
    pub fn median_since(&self, before: &Self) -> Option<(u64, f64)> {
        let news: Vec<(f64, u64)> = (self.0.iter().zip(&before.0))
            .map(|(now, then)| (now.0, now.1.saturating_sub(then.1)))
            .collect();
        let (_, count) = *news.last()?;
        let (bound, _) = *news.iter().find(|(_, up_to)| *up_to * 2 >= count)?;
        (count > 0).then_some((count, bound))
    }
}

/// The resolved children of one node. Every call is one or two relaxed atomics.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    statements: [IntCounter; StatementKind::ALL.len()],
    errors: [IntCounter; Severity::ALL.len()],
    reads: IntCounter,
    writes: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    /// Seconds from sending a statement until its ReadyForQuery (or last reply) was read.
    pub query_seconds: Histogram,
    /// 1 while the node answers its checks, else 0.
    pub up: IntGauge,
    /// 1 while the node is the one that takes writes, else 0.
    pub primary: IntGauge,
    /// Bytes of WAL that the node has not replayed; 0 for the primary and while unknown.
    pub lag_bytes: IntGauge,
    /// 1 while the node is a replica that receives WAL and was seen to catch up, else 0.
    pub caught_up: IntGauge,
    /// Percent of its weight that counts for reads now; 0 while it is out of the rotation.
    pub share_percent: IntGauge,
    ejections: [IntCounter; EjectionReason::ALL.len()],
    /// Health checks that were answered.
    pub checks_passed: IntCounter,
    /// Health checks that failed or timed out, each try counted.
    pub checks_failed: IntCounter,
}

impl NodeMetrics {
    /// Counts one statement that was sent to the node.
    pub fn statement(&self, kind: StatementKind, route: QueryRoute) {
        self.statements[kind as usize].inc();
        match route {
            QueryRoute::Read => self.reads.inc(),
            QueryRoute::Write => self.writes.inc(),
        }
    }

    /// How many statements of that kind were sent to the node since start.
    #[must_use]
    pub fn statements(&self, kind: StatementKind) -> u64 {
        self.statements[kind as usize].get()
    }

    /// Counts one ErrorResponse of the node.
    pub fn error(&self, severity: Severity) {
        self.errors[severity as usize].inc();
    }

    /// How many errors of that severity the node has sent since start.
    #[must_use]
    pub fn errors(&self, severity: Severity) -> u64 {
        self.errors[severity as usize].get()
    }

    /// Counts one time that the node was taken out of the rotation.
    pub fn ejected(&self, reason: EjectionReason) {
        self.ejections[reason as usize].inc();
    }

    /// How long answers have taken so far. Allocates: not for the hot path.
    #[must_use]
    pub fn answer_times(&self) -> AnswerTimes {
        let metric = self.query_seconds.metric();
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket().iter();
        let mut times: Vec<_> = buckets
            .map(|b| (b.upper_bound(), b.cumulative_count()))
            .collect();
        times.push((f64::INFINITY, histogram.get_sample_count()));
        AnswerTimes(times)
    }

    /// Counts bytes moved; best called once per read or write, not per message.
    pub fn bytes(&self, direction: Direction, count: u64) {
        match direction {
            Direction::Received => self.received.inc_by(count),
            Direction::Sent => self.sent.inc_by(count),
        }
    }
}

/// The families behind [`NodeMetrics`].
#[derive(Debug)]
pub(super) struct NodeFamilies {
    statements: IntCounterVec,
    queries: IntCounterVec,
    errors: IntCounterVec,
    bytes: IntCounterVec,
    query_seconds: HistogramVec,
    up: IntGaugeVec,
    primary: IntGaugeVec,
    lag_bytes: IntGaugeVec,
    caught_up: IntGaugeVec,
    share_percent: IntGaugeVec,
    ejections: IntCounterVec,
    checks: IntCounterVec,
}

impl NodeFamilies {
    pub(super) fn new(families: &Families) -> Result<Self, MetricsError> {
        Ok(Self {
            statements: families.counters(
                "pgconvoy_statements_total",
                "Statements sent to a node, by what they do.",
                &["node", "kind"],
            )?,
            queries: families.counters(
                "pgconvoy_queries_total",
                "Statements sent to a node; route: read (any node might answer) or write.",
                &["node", "route"],
            )?,
            errors: families.counters(
                "pgconvoy_node_errors_total",
                "ErrorResponses of a node, by severity.",
                &["node", "severity"],
            )?,
            bytes: families.counters(
                "pgconvoy_bytes_total",
                "Bytes moved between the proxy and a node; direction: received or sent.",
                &["node", "direction"],
            )?,
            query_seconds: families.histograms(
                "pgconvoy_query_seconds",
                "Time from sending a statement to a node until it was ready again.",
                QUERY_BUCKETS,
                &["node"],
            )?,
            up: families.gauges("pgconvoy_node_up", "1 while the node answers.", &["node"])?,
            primary: families.gauges(
                "pgconvoy_node_primary",
                "1 while the node takes the writes.",
                &["node"],
            )?,
            lag_bytes: families.gauges(
                "pgconvoy_node_lag_bytes",
                "WAL that the node has not yet replayed; 0 while unknown.",
                &["node"],
            )?,
            caught_up: families.gauges(
                "pgconvoy_node_caught_up",
                "1 while the node is a replica that receives WAL and was seen to catch up.",
                &["node"],
            )?,
            share_percent: families.gauges(
                "pgconvoy_node_share_percent",
                "How much of its weight a node takes reads by; 0 while it is out of the rotation.",
                &["node"],
            )?,
            ejections: families.counters(
                "pgconvoy_node_ejections_total",
                "Times that a node was taken out of the rotation for reads, by reason.",
                &["node", "reason"],
            )?,
            checks: families.counters(
                "pgconvoy_node_checks_total",
                "Health checks of a node, each try counted, by result.",
                &["node", "result"],
            )?,
        })
    }

    pub(super) fn resolve(&self, node: &str) -> NodeMetrics {
        NodeMetrics {
            statements: StatementKind::ALL
                .map(|kind| self.statements.with_label_values(&[node, kind.as_str()])),
            errors: Severity::ALL
                .map(|severity| self.errors.with_label_values(&[node, severity.as_str()])),
            reads: self.queries.with_label_values(&[node, "read"]),
            writes: self.queries.with_label_values(&[node, "write"]),
            received: self.bytes.with_label_values(&[node, "received"]),
            sent: self.bytes.with_label_values(&[node, "sent"]),
            query_seconds: self.query_seconds.with_label_values(&[node]),
            up: self.up.with_label_values(&[node]),
            primary: self.primary.with_label_values(&[node]),
            lag_bytes: self.lag_bytes.with_label_values(&[node]),
            caught_up: self.caught_up.with_label_values(&[node]),
            share_percent: self.share_percent.with_label_values(&[node]),
            ejections: EjectionReason::ALL
                .map(|reason| self.ejections.with_label_values(&[node, reason.as_str()])),
            checks_passed: self.checks.with_label_values(&[node, "passed"]),
            checks_failed: self.checks.with_label_values(&[node, "failed"]),
        }
    }
}
