//! Decides from what was seen of the nodes what they are: who is up, who leads, who is not to be
//! believed. PURE: the last view and the evidence in, the next view out.
//!
//! Who leads is decided by evidence and, in doubt, not at all: a node leads when it is up, belongs
//! to the cluster, is not in recovery, is on the highest timeline that any node was ever seen on,
//! and is the only one of that kind, or the one that was leading already. So a leader that comes
//! back after another was promoted is never written to, also when the other is down by then.

use std::time::SystemTime;

use super::node::NodeId;
use super::standby::{self, Receiver, Sender};
use super::view::{Health, NodeState, Role, View};

/// What a node said of its part when it last answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not in recovery; its standbys, as far as the monitor may see them.
    Leads(Vec<Sender>),
    /// In recovery; its connection to the node that it follows, if there is one.
    Follows(Option<Receiver>),
}

/// What a node said of itself when it last answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) standing: Standing,
    pub(super) timeline: u32,
    /// `pg_control_system().system_identifier`: the same on all nodes of one cluster.
    pub(super) system_identifier: u64,
}

/// All that is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// From its last answer; kept while it fails, because a timeline once seen stays true.
    pub(super) facts: Option<Facts>,
    /// Checks that failed since that answer.
    pub(super) failures: u32,
    /// Why the last of them did.
    pub(super) error: Option<String>,
}

impl Evidence {
    /// The node answered.
    pub(super) fn answered(&mut self, facts: Facts) {
        self.facts = Some(facts);
        self.failures = 0;
        self.error = None;
    }

    /// The node failed a check, or a retry of it.
    pub(super) fn failed(&mut self, error: String) {
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
    }

    fn tried(&self) -> bool {
        self.facts.is_some() || self.failures > 0
    }
}

/// Whether a first primary may be named before every node has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// At start: a node that has not been looked at might be on a higher timeline.
    AwaitAll,
    /// Enough was waited.
    Decide,
}

/// What the decision depends on besides the evidence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Failures that a node may have before it is down.
    pub(super) retries: u32,
    pub(super) patience: Patience,
    pub(super) now: SystemTime,
}

/// The next view, but for lag, which is measured and not decided: `lag_bytes` is `None` on all
/// nodes. `evidence` holds one entry per node, in the view's order.
pub(super) fn decide(previous: &View, evidence: &[Evidence], terms: Terms) -> View {
    let identifier = cluster_identifier(previous, evidence);
    let ours = |evidence: &Evidence| {
        evidence
            .facts
            .as_ref()
            .is_some_and(|f| Some(f.system_identifier) == identifier)
    };
    let healths: Vec<Health> = previous
        .nodes
        .iter()
        .zip(evidence)
        .map(
            |(state, evidence)| match health(state.health, evidence, terms.retries) {
                Health::Up if !ours(evidence) => Health::Down,
                health => health,
            },
        )
        .collect();
    let timeline = evidence
        .iter()
        .filter(|evidence| ours(evidence))
        .filter_map(|evidence| evidence.facts.as_ref())
        .map(|facts| facts.timeline)
        .max()
        .unwrap_or(0);
    let all_tried = evidence.iter().all(Evidence::tried);
    let may_name = all_tried || previous.primary.is_some() || terms.patience == Patience::Decide;
    let primary = if may_name {
        leader(previous, evidence, &healths, timeline)
    } else {
        None
    };

    let cluster = Verdict {
        primary,
        timeline,
        identifier,
        may_name,
    };
    let senders = primary
        .and_then(|id| senders(evidence, id))
        .unwrap_or_default();
    let nodes: Vec<NodeState> = previous
        .nodes
        .iter()
        .zip(evidence)
        .zip(healths)
        .map(|((state, evidence), health)| {
            let next = next_state(state, evidence, health, &cluster, senders);
            let moved = next.health != state.health || next.role != state.role;
            let last_change = if moved { terms.now } else { state.last_change };
            NodeState {
                last_change,
                ..next
            }
        })
        .collect();

    let steady = previous.primary == primary
        && previous.timeline == timeline
        && previous
            .nodes
            .iter()
            .zip(&nodes)
            .all(|(old, new)| alike_to_route(old, new));
    let generation = previous.generation + u64::from(!steady);
    View {
        generation,
        nodes,
        primary,
        timeline,
    }
}

/// What holds for the cluster as a whole.
struct Verdict {
    primary: Option<NodeId>,
    timeline: u32,
    identifier: Option<u64>,
    may_name: bool,
}

fn alike_to_route(old: &NodeState, new: &NodeState) -> bool {
    old.health == new.health && old.role == new.role && old.timeline == new.timeline
}

fn health(previous: Health, evidence: &Evidence, retries: u32) -> Health {
    match (evidence.failures, &evidence.facts) {
        (0, Some(_)) => Health::Up,
        (0, None) => Health::Unknown,
        (failures, _) if failures > retries => Health::Down,
        _ => previous,
    }
}

/// The identifier that most nodes share; in a tie the leading node's, else the first node's.
fn cluster_identifier(previous: &View, evidence: &[Evidence]) -> Option<u64> {
    let identifiers = || {
        evidence
            .iter()
            .filter_map(|e| e.facts.as_ref())
            .map(|f| f.system_identifier)
    };
    let count = |wanted: u64| {
        identifiers()
            .filter(|identifier| *identifier == wanted)
            .count()
    };
    let most = identifiers().map(count).max()?;
    let leading = previous
        .primary
        .and_then(|id| evidence.get(id.index())?.facts.as_ref())
        .map(|facts| facts.system_identifier)
        .filter(|identifier| count(*identifier) == most);
    leading.or_else(|| identifiers().find(|identifier| count(*identifier) == most))
}

fn leader(
    previous: &View,
    evidence: &[Evidence],
    healths: &[Health],
    timeline: u32,
) -> Option<NodeId> {
    let claims = |(evidence, health): (&Evidence, &Health)| {
        let facts = evidence.facts.as_ref()?;
        let leads = matches!(facts.standing, Standing::Leads(_));
        (leads && facts.timeline == timeline && *health == Health::Up).then_some(())
    };
    let claimants: Vec<NodeId> = previous
        .nodes
        .iter()
        .zip(evidence.iter().zip(healths))
        .filter_map(|(state, seen)| claims(seen).map(|()| state.node.id))
        .collect();
    match (claimants.as_slice(), previous.primary) {
        ([only], _) => Some(*only),
        (several, Some(leading)) if several.contains(&leading) => Some(leading),
        _ => None,
    }
}

fn senders(evidence: &[Evidence], primary: NodeId) -> Option<&[Sender]> {
    match &evidence.get(primary.index())?.facts.as_ref()?.standing {
        Standing::Leads(senders) => Some(senders),
        Standing::Follows(_) => None,
    }
}

/// Everything but `last_change` and `lag_bytes`.
fn next_state(
    state: &NodeState,
    evidence: &Evidence,
    health: Health,
    cluster: &Verdict,
    senders: &[Sender],
) -> NodeState {
    let mut next = NodeState::unchecked(state.node.clone(), state.last_change);
    next.health = health;
    next.last_error.clone_from(&evidence.error);
    let Some(facts) = &evidence.facts else {
        return next;
    };
    next.timeline = facts.timeline;
    let foreign = Some(facts.system_identifier) != cluster.identifier;
    match &facts.standing {
        Standing::Leads(_) => {
            next.reported_role = Role::Primary;
            if cluster.primary == Some(state.node.id) {
                next.role = Role::Primary;
            } else if health == Health::Up && cluster.may_name {
                next.last_error = Some(not_believed(facts, cluster));
            }
        }
        Standing::Follows(receiver) => {
            next.reported_role = Role::Replica;
            next.role = if foreign {
                Role::Unknown
            } else {
                Role::Replica
            };
            if let Some(receiver) = receiver.as_ref().filter(|_| health == Health::Up) {
                let sender = standby::find(senders, receiver, &state.node.host);
                let (state, sync) = sender.map_or((receiver.status.as_str(), ""), |s| {
                    (&s.state, &s.sync_state)
                });
                next.replication_state = state.to_owned();
                next.sync_state = sync.to_owned();
            }
        }
    }
    if foreign && evidence.failures == 0 {
        next.last_error = Some(another_cluster(facts, cluster));
    }
    next
}

fn not_believed(facts: &Facts, cluster: &Verdict) -> String {
    let own = facts.timeline;
    let highest = cluster.timeline;
    match cluster.primary {
        _ if own < highest => format!(
            "claims to lead on timeline {own}, but a node was promoted to timeline {highest}: not \
             written to; rebuild it as a replica (pg_rewind)"
        ),
        Some(primary) => format!(
            "claims to lead on timeline {own} as node {primary} does: not written to; stop one of \
             them"
        ),
        None => format!(
            "claims to lead on timeline {own}, and so does another node: neither is written to; \
             stop one of them"
        ),
    }
}

fn another_cluster(facts: &Facts, cluster: &Verdict) -> String {
    format!(
        "belongs to another cluster: its system identifier is {}, the others' {}; not used, \
         correct the node's address",
        facts.system_identifier,
        cluster.identifier.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
