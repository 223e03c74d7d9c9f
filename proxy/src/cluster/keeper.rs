//! Hears what the probes found, has it decided, and publishes: the one writer of views.
//!
//! Everything that depends on the order of findings happens here, one finding at a time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::Cluster;
use super::health::{self, Evidence, Patience, Standing, Terms};
use super::lag::{Lsn, Positions};
use super::node::NodeId;
use super::probe::{Answer, Finding, Report};
use super::settings::MonitorSettings;
use super::view::{Health, NodeState, Role, View};
use crate::clock;
use crate::metrics::Metrics;

/// The longest that the first primary waits for the other nodes' first answers.
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);

/// What a replica has replayed, and on which timeline.
#[derive(Clone, Copy, Debug)]
struct Replayed {
    timeline: u32,
    position: Lsn,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keeper {
    cluster: Arc<Cluster>,
    settings: Arc<ArcSwap<MonitorSettings>>,
    metrics: Arc<Metrics>,
    evidence: Vec<Evidence>,
    replayed: Vec<Option<Replayed>>,
    /// Since when a replica is known to receive nothing.
    silent_since: Vec<Option<u64>>,
    positions: Positions,
    /// The primary that `positions` are of, and its timeline; also the last that was believed.
    source: Option<(NodeId, u32)>,
    patience: Patience,
}

impl Keeper {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        settings: Arc<ArcSwap<MonitorSettings>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let nodes = cluster.nodes().len();
        Self {
            cluster,
            settings,
            metrics,
            evidence: vec![Evidence::default(); nodes],
            replayed: vec![None; nodes],
            silent_since: vec![None; nodes],
            positions: Positions::default(),
            source: None,
            patience: Patience::AwaitAll,
        }
    }

    /// Works until the last probe is gone.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        let patience = self.settings.load().check_timeout.min(LONGEST_PATIENCE);
        let over = Instant::now() + patience;
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => self.hear(report),
                    None => return,
                },
                () = tokio::time::sleep_until(over), if self.patience == Patience::AwaitAll => {
                    self.patience = Patience::Decide;
                    self.settle(None);
                }
            }
        }
    }

    /// Takes in one finding and publishes what follows from it.
    pub(super) fn hear(&mut self, report: Report) {
        let Report { node, finding } = report;
        let Some(evidence) = self.evidence.get_mut(node.index()) else {
            return;
        };
        match finding {
            Finding::Answered(answer) => {
                evidence.answered(answer.facts.clone());
                self.settle(Some((node, &answer)));
            }
            Finding::Failed(error) => {
                evidence.failed(error);
                self.doubt(node);
                self.settle(None);
            }
            Finding::Broken => self.doubt(node),
        }
    }

    /// After a restart a replica may show less than before: what was proven is so no more.
    fn doubt(&mut self, id: NodeId) {
        if let Some(replayed) = self.replayed.get_mut(id.index()) {
            *replayed = None;
        }
        if let Some(node) = self.cluster.node(id) {
            node.set_fresh_as_of(clock::NEVER);
        }
    }

    fn settle(&mut self, news: Option<(NodeId, &Answer)>) {
        let previous = View::clone(&self.cluster.view());
        let terms = Terms {
            retries: self.settings.load().check_retries,
            patience: self.patience,
            now: SystemTime::now(),
        };
        let mut next = health::decide(&previous, &self.evidence, terms);
        let before = self.source.map(|(id, _)| id);
        self.follow(&next);
        if let Some((id, answer)) = news {
            self.note_position(id, answer, &next);
        }
        self.prove(&mut next);
        self.count(&next, before);
        log_changes(&previous, &next);
        let lost = previous.primary.is_some() && next.primary.is_none();
        self.cluster.publish(next);
        if lost {
            // Who is promoted in its place shall be seen soon.
            self.cluster.wake_all();
        }
    }

    /// Starts afresh with another primary or timeline. Before the new view is out: nobody must
    /// take an old proof for one of the new primary's writes.
    fn follow(&mut self, next: &View) {
        let Some(primary) = next.primary() else {
            return;
        };
        let source = Some((primary.node.id, primary.timeline));
        if self.source != source {
            self.source = source;
            self.positions.clear();
            for node in self.cluster.nodes() {
                node.set_fresh_as_of(clock::NEVER);
            }
        }
    }

    fn note_position(&mut self, id: NodeId, answer: &Answer, next: &View) {
        if let Some(silent_since) = self.silent_since.get_mut(id.index()) {
            *silent_since = match answer.streams {
                Some(false) => silent_since.or(Some(answer.asked_at)),
                Some(true) | None => None,
            };
        }
        let Some(replayed) = self.replayed.get_mut(id.index()) else {
            return;
        };
        match answer.facts.standing {
            Standing::Leads(_) => {
                *replayed = None;
                if next.primary == Some(id) {
                    self.positions.sample(answer.asked_at, answer.position);
                }
            }
            Standing::Follows(_) => {
                let now = Replayed {
                    timeline: answer.facts.timeline,
                    position: answer.position,
                };
                let went_back = replayed.is_some_and(|before| {
                    now.position < before.position || now.timeline < before.timeline
                });
                *replayed = Some(now);
                if went_back && let Some(node) = self.cluster.node(id) {
                    node.set_fresh_as_of(clock::NEVER);
                }
            }
        }
    }

    /// Sets every replica's lag, and moves its proof forward where there is a newer one.
    fn prove(&self, next: &mut View) {
        let Some((_, timeline)) = self.source else {
            return;
        };
        // While the primary itself may be gone nobody receives anything.
        let led_at = self.positions.newest();
        for (state, since) in next.nodes.iter_mut().zip(&self.silent_since) {
            state.stalled = since.is_some_and(|since| led_at > since);
        }
        let mut unproven = false;
        for (state, replayed) in next.nodes.iter_mut().zip(&self.replayed) {
            let Some(replayed) = replayed.filter(|r| r.timeline == timeline) else {
                continue;
            };
            if state.role != Role::Replica || state.health != Health::Up {
                continue;
            }
            state.node.set_replayed(replayed.position);
            state.lag_bytes = self.positions.lag(replayed.position);
            let proof = self.positions.proof(replayed.position);
            if proof > state.node.fresh_as_of() {
                state.node.set_fresh_as_of(proof);
            }
            unproven |= state.node.fresh_as_of() == clock::NEVER;
        }
        self.cluster.set_unproven(unproven);
    }

    fn count(&self, next: &View, before: Option<NodeId>) {
        for state in &next.nodes {
            let metrics = &state.node.metrics;
            metrics.up.set(i64::from(state.health == Health::Up));
            metrics.primary.set(i64::from(state.role == Role::Primary));
            let replica = state.role == Role::Replica && state.health == Health::Up;
            let proven = state.node.fresh_as_of() != clock::NEVER && !state.stalled;
            metrics.caught_up.set(i64::from(replica && proven));
            let lag = state.lag_bytes.unwrap_or(0);
            metrics
                .lag_bytes
                .set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        if before.is_some() && next.primary.is_some() && next.primary != before {
            self.metrics.failovers.inc();
        }
    }
}

fn log_changes(previous: &View, next: &View) {
    for (old, new) in previous.nodes.iter().zip(&next.nodes) {
        let known = old.health == new.health && old.role == new.role;
        if !known || old.last_error.is_some() != new.last_error.is_some() {
            log_node(new, known);
        }
        if old.stalled != new.stalled {
            log_stream(new);
        }
    }
    if previous.primary == next.primary && previous.timeline == next.timeline {
        return;
    }
    match next.primary() {
        Some(state) => {
            tracing::info!(node = %state.node.label, timeline = next.timeline, "primary");
        }
        None if previous.primary.is_some() => {
            tracing::warn!(timeline = next.timeline, "no primary: writes wait");
        }
        None => {}
    }
}

fn log_stream(state: &NodeState) {
    let node = state.node.label.as_str();
    if state.stalled {
        tracing::warn!(node, "the replica receives no WAL: it gets no reads");
    } else {
        tracing::info!(node, "the replica receives WAL again");
    }
}

/// `known`: neither health nor role has changed, only whether something is wrong.
fn log_node(state: &NodeState, known: bool) {
    let node = state.node.label.as_str();
    let error = state.last_error.as_deref().unwrap_or_default();
    match (state.health, state.role) {
        (Health::Up, Role::Unknown) if !error.is_empty() => {
            tracing::error!(node, error, "node not used");
        }
        (Health::Up, role) if !known && role != Role::Unknown => {
            let role = format!("{role:?}").to_lowercase();
            tracing::info!(node, role, timeline = state.timeline, "node up");
        }
        (Health::Down, _) if !known => tracing::warn!(node, error, "node down"),
        (Health::Up | Health::Down | Health::Unknown, _) => {
            tracing::debug!(node, error, "node check");
        }
    }
}

#[cfg(test)]
mod tests;
