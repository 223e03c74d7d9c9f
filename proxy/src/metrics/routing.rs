//! Metrics of where statements go, and why.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec};

use super::{Families, MetricsError};

/// See the module's head.
#[derive(Debug)]
pub struct RoutingFamilies {
    refusals: IntCounterVec,
    routes: IntCounterVec,
    catalogs: IntCounterVec,
    shadows: IntCounterVec,
}

impl RoutingFamilies {
    pub(super) fn new(families: &Families) -> Result<Self, MetricsError> {
        Ok(Self {
            refusals: families.counters(
                "pgconvoy_reads_refused_total",
                "Reads that a replica refused or broke off and that were run on the primary, by why: \
                 standby (it can't), conflict (with its replay).",
                &["reason"],
            )?,
            routes: families.counters(
                "pgconvoy_routed_statements_total",
                "Statements sent to servers, by why they went where they went (as in SHOW ROUTE).",
                &["reason"],
            )?,
            catalogs: families.counters(
                "pgconvoy_catalog_reads_total",
                "Readings of a database's catalog, by outcome (passed, failed).",
                &["outcome"],
            )?,
            shadows: families.counters(
                "pgconvoy_shadow_checks_total",
                "Reads of replicas that were run on the primary, too, by result: same, differs, changed (on the \
                 primary, meanwhile), skipped, failed.",
                &["result"],
            )?,
        })
    }

    /// Counts a shadow check; `result` is one of the fixed words of `session::shadow`.
    pub fn shadowed(&self, result: &'static str) {
        self.shadows.with_label_values(&[result]).inc();
    }

    /// Counts a read that a replica would not do; `reason` is one of the fixed words of `session::refusal`.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Counts a reading of a database's catalog.
    pub fn catalog_read(&self, passed: bool) {
        let outcome = if passed { "passed" } else { "failed" };
        self.catalogs.with_label_values(&[outcome]).inc();
    }

    /// The counters of statements by why they were routed so; `reasons` are the fixed words of
    /// `router::Reason`, in its order.
    #[must_use]
    pub fn routed(&self, reasons: impl Iterator<Item = &'static str>) -> RoutedMetrics {
        let child = |reason| (AtomicU64::new(0), self.routes.with_label_values(&[reason]));
        RoutedMetrics(reasons.map(child).collect())
    }
}

/// Counters of statements by why they were routed so, as one worker keeps them: its threads' own until they
/// are published.
#[derive(Debug)]
pub struct RoutedMetrics(Vec<(AtomicU64, IntCounter)>);

impl RoutedMetrics {
    /// Counts one; `reason` is its place among those that were named.
    pub fn count(&self, reason: usize) {
        if let Some((own, _)) = self.0.get(reason) {
            own.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shows what was counted since the last time.
    pub fn publish(&self) {
        for (own, all) in &self.0 {
            all.inc_by(own.swap(0, Ordering::Relaxed));
        }
    }
}
