//! Which node answers a read. PURE: a view and the rules in, a node out.
//!
//! Correct first: a replica that is not on the primary's timeline, lags too far, or has not
//! provably replayed the session's own writes is no candidate; the primary always may answer.
//! Among the candidates turns are taken by weight.
//!
//! Knows no session, no clock and no router; whether a statement *is* a read was decided before.

use super::freshness::Freshness;
use super::node::NodeId;
use super::view::{Health, NodeState, Role, View};
use crate::clock;

/// What the configuration says of reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadRules {
    /// Whether the primary takes its turn, too, when replicas are there.
    pub primary_reads: bool,
    /// A replica that lags further than this many bytes, or whose lag is not known, is not read.
    pub max_replica_lag: Option<u64>,
}

/// Whose turn it is: smooth weighted round robin (every candidate gains its weight, the richest
/// is chosen and pays the sum), so that weights 2 and 1 give a-b-a and not a-a-b. One per worker.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    credit: Vec<i64>,
}

impl Rotation {
    /// A rotation in which nobody has had a turn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The candidate whose turn it is. Allocates only when it meets more nodes than ever before.
    fn next(&mut self, candidates: impl Iterator<Item = (NodeId, u32)>) -> Option<NodeId> {
        let mut total = 0;
        let mut best: Option<(NodeId, i64)> = None;
        for (id, weight) in candidates {
            if self.credit.len() <= id.index() {
                self.credit.resize(id.index() + 1, 0);
            }
            let credit = self.credit.get_mut(id.index())?;
            *credit = credit.saturating_add(i64::from(weight));
            total += i64::from(weight);
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((id, *credit));
            }
        }
        let (id, _) = best?;
        if let Some(credit) = self.credit.get_mut(id.index()) {
            *credit = credit.saturating_sub(total);
        }
        Some(id)
    }
}

/// Names the node that shall answer a read.
///
/// A replica is a candidate when it is up, has a weight, is on the cluster's timeline, keeps to
/// `max_replica_lag`, is not `exclude`, receives WAL, was seen to catch up, and shows what is `demanded`. With no
/// candidate the primary answers; `None` when there is no primary either, or it is `exclude`.
pub fn pick_read(
    view: &View,
    rules: &ReadRules,
    demanded: &Freshness,
    rotation: &mut Rotation,
    exclude: Option<NodeId>,
) -> Option<NodeId> {
    let allowed = |id: NodeId| Some(id) != exclude;
    let primary = view.primary.filter(|id| allowed(*id));
    let candidates = view.nodes.iter().filter_map(|state| {
        let id = state.node.id;
        let weight = state.node.weight();
        let usable = match state.role {
            Role::Primary => rules.primary_reads && primary == Some(id),
            Role::Replica => allowed(id) && replica_may_answer(view, state, rules, demanded),
            Role::Unknown => false,
        };
        (usable && weight > 0).then_some((id, weight))
    });
    rotation.next(candidates).or(primary)
}

/// The replicas among which [`pick_read`] would choose.
pub fn candidates<'v>(
    view: &'v View,
    rules: &ReadRules,
    demanded: Freshness,
) -> impl Iterator<Item = &'v NodeState> {
    view.nodes.iter().filter(move |state| {
        state.role == Role::Replica
            && state.node.weight() > 0
            && replica_may_answer(view, state, rules, &demanded)
    })
}

fn replica_may_answer(
    view: &View,
    state: &NodeState,
    rules: &ReadRules,
    demanded: &Freshness,
) -> bool {
    // With no primary known nobody can say which timeline is the right one: reads go on.
    let same_history = view.primary.is_none() || state.timeline == view.timeline;
    let near_enough = rules
        .max_replica_lag
        .is_none_or(|most| state.lag_bytes.is_some_and(|lag| lag <= most));
    // Nor does one follow a primary that is not there.
    let follows =
        view.primary.is_none() || !state.stalled && state.node.fresh_as_of() != clock::NEVER;
    let fresh = demanded.is_shown_by(&state.node, view.timeline);
    state.health == Health::Up && same_history && near_enough && follows && fresh
}

#[cfg(test)]
mod tests;
