//! What is shown for one pool of server connections: how many are lent, idle, and waited for.
//!
//! The pools of all workers for one (node, database, user) share these gauges, so that the output
//! tells of the instance. Owners add and subtract; nobody sets.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::{Families, MetricsError};

/// The resolved gauges of one pool.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    /// Server connections lent to a session.
    pub active: IntGauge,
    /// Server connections that nobody uses now.
    pub idle: IntGauge,
    /// Sessions that wait for a server connection.
    pub waiting: IntGauge,
    /// Server connections beyond the pool's size.
    pub reserve: IntGauge,
}

/// The resolved gauges of one cap.
#[derive(Clone, Debug)]
pub struct CapMetrics {
    /// Server connections that count against it.
    pub open: IntGauge,
    /// How many there may be.
    pub limit: IntGauge,
}

/// The families behind [`PoolMetrics`].
#[derive(Debug)]
pub(super) struct PoolFamilies {
    connections: IntGaugeVec,
    waiting: IntGaugeVec,
    reserve: IntGaugeVec,
    cap_open: IntGaugeVec,
    cap_limit: IntGaugeVec,
    /// Connections closed to make room under a cap.
    pub(super) cap_closed: IntCounter,
}

impl PoolFamilies {
    pub(super) fn new(families: &Families) -> Result<Self, MetricsError> {
        Ok(Self {
            connections: families.gauges(
                "pgconvoy_pool_connections",
                "Server connections of a pool; state: active (lent) or idle.",
                &["node", "database", "user", "state"],
            )?,
            waiting: families.gauges(
                "pgconvoy_pool_waiting",
                "Sessions that wait for a server connection of a pool.",
                &["node", "database", "user"],
            )?,
            reserve: families.gauges(
                "pgconvoy_pool_reserve_connections",
                "Server connections of a pool beyond pool.size, out of its reserve.",
                &["node", "database", "user"],
            )?,
            cap_open: families.gauges(
                "pgconvoy_cap_connections",
                "Server connections that count against a cap; kind: all, node, database or user.",
                &["kind", "name"],
            )?,
            cap_limit: families.gauges(
                "pgconvoy_cap_limit",
                "How many server connections a cap allows.",
                &["kind", "name"],
            )?,
            cap_closed: families.counter(
                "pgconvoy_cap_closed_total",
                "Server connections closed to make room for others under a cap.",
            )?,
        })
    }

    pub(super) fn cap(&self, kind: &str, name: &str) -> CapMetrics {
        CapMetrics {
            open: self.cap_open.with_label_values(&[kind, name]),
            limit: self.cap_limit.with_label_values(&[kind, name]),
        }
    }

    pub(super) fn forget_cap(&self, kind: &str, name: &str) {
        // An error here says that there was no such child: nothing is left to do.
        let _ = self.cap_open.remove_label_values(&[kind, name]);
        let _ = self.cap_limit.remove_label_values(&[kind, name]);
    }

    pub(super) fn resolve(&self, node: &str, database: &str, user: &str) -> PoolMetrics {
        PoolMetrics {
            active: self
                .connections
                .with_label_values(&[node, database, user, "active"]),
            idle: self
                .connections
                .with_label_values(&[node, database, user, "idle"]),
            waiting: self.waiting.with_label_values(&[node, database, user]),
            reserve: self.reserve.with_label_values(&[node, database, user]),
        }
    }

    pub(super) fn forget(&self, node: &str, database: &str, user: &str) {
        // An error here says that there was no such child: nothing is left to do.
        let _ = self
            .connections
            .remove_label_values(&[node, database, user, "active"]);
        let _ = self
            .connections
            .remove_label_values(&[node, database, user, "idle"]);
        let _ = self.waiting.remove_label_values(&[node, database, user]);
        let _ = self.reserve.remove_label_values(&[node, database, user]);
    }
}
