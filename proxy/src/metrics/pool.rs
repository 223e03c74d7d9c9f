//! What is shown for one pool of server connections: how many are lent, idle, and waited for.
//!
//! The pools of all workers for one (node, database, user) share these gauges, so that the output
//! tells of the instance. Owners add and subtract; nobody sets.

use prometheus::{IntGauge, IntGaugeVec};

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
}

/// The families behind [`PoolMetrics`].
#[derive(Debug)]
pub(super) struct PoolFamilies {
    connections: IntGaugeVec,
    waiting: IntGaugeVec,
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
        })
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
    }
}
