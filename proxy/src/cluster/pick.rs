//! Which node answers a read. PURE: a view and the rules in, a node out.
//!
//! Correct first: a replica that is not on the primary's timeline, lags too far, or has not
//! provably replayed the session's own writes is no candidate; the primary always may answer.
//! Among the candidates those in the rotation come before those that were taken out of it, then those
//! of this instance's zone before others; among these `rotation` chooses.
//!
//! Knows no session, no clock and no router; whether a statement *is* a read was decided before.

mod rotation;

pub use rotation::{Balance, Rotation};

use super::freshness::Freshness;
use super::node::NodeId;
use super::preference::Preference;
use super::view::{Health, NodeState, Role, View};
use crate::clock;

/// What the configuration says of reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadRules {
    /// Whether the primary takes its turn, too, when replicas are there.
    pub primary_reads: bool,
    /// A replica that lags further than this many bytes, or whose lag is not known, is not read.
    pub max_replica_lag: Option<u64>,
    /// How one is chosen among those that may answer.
    pub balance: Balance,
    /// For how long.
    pub per: BalancePer,
}

/// For how long a choice holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalancePer {
    /// Each statement's node is chosen anew.
    #[default]
    Statement,
    /// A session keeps its node while that can serve it.
    Session,
}

/// What one read asks for beyond the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A node that has just failed: it is never named.
    pub exclude: Option<NodeId>,
    /// What the configuration says of such clients.
    pub prefer: Preference,
    /// The node that the session keeps to while it is among those to choose from.
    pub kept: Option<NodeId>,
}

/// Names the node that shall answer a read; `now` is only looked at for [`Balance::LeastLatency`].
///
/// A replica is a candidate when it is up, has a weight or is preferred by name, is on the cluster's timeline,
/// keeps to `max_replica_lag`, is not excluded, receives WAL, was seen to catch up, and shows what is `demanded`. With no
/// candidate the primary answers; `None` when there is no primary either, or it is excluded.
pub fn pick_read(
    view: &View,
    rules: &ReadRules,
    demanded: &Freshness,
    wish: &Wish,
    rotation: &mut Rotation,
    now: u64,
) -> Option<NodeId> {
    let among = || candidates(view, rules, *demanded, wish);
    let kept = wish.kept.filter(|id| among().any(|s| s.node.id == *id));
    kept.or_else(|| rotation.next(rules.balance, among().map(|s| &*s.node), now))
        .or_else(|| view.primary.filter(|id| Some(*id) != wish.exclude))
}

/// The nodes among which [`pick_read`] chooses; none when only the primary is left.
pub fn candidates<'v>(
    view: &'v View,
    rules: &ReadRules,
    demanded: Freshness,
    wish: &Wish,
) -> impl Iterator<Item = &'v NodeState> + use<'v> {
    let (rules, wish) = (*rules, *wish);
    let primary = view.primary.filter(|id| Some(*id) != wish.exclude);
    let able = move |state: &NodeState, primary_reads: bool| match state.role {
        Role::Primary => primary_reads && primary == Some(state.node.id),
        Role::Replica => {
            Some(state.node.id) != wish.exclude
                && replica_may_answer(view, state, &rules, &demanded)
        }
        Role::Unknown => false,
    };
    let named = match wish.prefer {
        Preference::Primary => primary,
        Preference::Node(id) => view.node(id).filter(|state| able(state, true)).map(|_| id),
        Preference::None | Preference::Replica => None,
    };
    let primary_reads = rules.primary_reads && wish.prefer != Preference::Replica;
    let fits = move |state: &NodeState| match named {
        Some(id) => state.node.id == id,
        None => state.node.weight() > 0 && able(state, primary_reads),
    };
    let best = view.nodes.iter().filter(|s| fits(s)).map(tier).min();
    view.nodes
        .iter()
        .filter(move |s| fits(s) && Some(tier(s)) == best)
}

/// Only those of the lowest are chosen among.
fn tier(state: &NodeState) -> u8 {
    let (out, far) = (state.node.load.share() == 0, !state.node.is_near());
    2 * u8::from(out) + u8::from(far)
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
