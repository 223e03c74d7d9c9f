//! Whose turn it is among those that may answer. PURE but for what nodes count of themselves.

use crate::cluster::node::{Node, NodeId};

/// How one is chosen among those that may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turns by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest connections in use for its weight, over all workers; in turns where
    /// they are equal.
    LeastConnections,
    /// The one with the least latency, times its requests that are not answered yet, for its weight.
    LeastLatency,
}

/// However slow, a node counts as at most so many times slower than the fastest: the others are not
/// overrun because of one long statement.
const SLOWEST: f64 = 16.0;

/// Smooth weighted round robin (every candidate gains its weight, the richest is chosen and pays the sum), so
/// that weights 2 and 1 give a-b-a and not a-a-b. One per worker.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    credit: Vec<i64>,
    scores: Vec<Score>,
}

#[derive(Clone, Copy, Debug)]
struct Score {
    id: NodeId,
    weight: u64,
    /// Requests that it owes an answer to.
    asked: u32,
    /// The least is best.
    cost: f64,
}

impl Rotation {
    /// A rotation in which nobody has had a turn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The candidate whose turn it is. Allocates only when it meets more nodes than ever before.
    pub(super) fn next<'n>(
        &mut self,
        balance: Balance,
        candidates: impl Iterator<Item = &'n Node>,
        now: u64,
    ) -> Option<NodeId> {
        if balance == Balance::RoundRobin {
            return self.turn(candidates.map(|node| (node.id, weight(node))));
        }
        let mut scores = std::mem::take(&mut self.scores);
        scores.clear();
        scores.extend(candidates.map(|node| Score {
            id: node.id,
            weight: weight(node),
            asked: node.load.asked(),
            cost: match balance {
                Balance::RoundRobin => 0.0,
                Balance::LeastConnections => f64::from(node.load.in_use()),
                // What was never measured is as good as it gets.
                Balance::LeastLatency => node.load.latency(now).max(1.0),
            },
        }));
        if balance == Balance::LeastLatency {
            weigh_latencies(&mut scores);
        }
        for score in &mut scores {
            score.cost /= float(score.weight);
        }
        let best = scores.iter().map(|s| s.cost).min_by(f64::total_cmp);
        let among = scores.iter().filter(|s| Some(s.cost) == best);
        let chosen = self.turn(among.map(|s| (s.id, s.weight)));
        self.scores = scores;
        chosen
    }

    fn turn(&mut self, candidates: impl Iterator<Item = (NodeId, u64)>) -> Option<NodeId> {
        let mut total = 0;
        let mut best: Option<(NodeId, i64)> = None;
        for (id, weight) in candidates {
            if self.credit.len() <= id.index() {
                self.credit.resize(id.index() + 1, 0);
            }
            let weight = i64::try_from(weight).unwrap_or(i64::MAX);
            let credit = self.credit.get_mut(id.index())?;
            *credit = credit.saturating_add(weight);
            total += weight;
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

/// From latencies to what a request more would wait for.
fn weigh_latencies(scores: &mut [Score]) {
    let fastest = scores.iter().map(|s| s.cost).min_by(f64::total_cmp);
    let most = fastest.unwrap_or(0.0) * SLOWEST;
    for score in scores {
        score.cost = score.cost.min(most) * (f64::from(score.asked) + 1.0);
    }
}

/// What counts of a node's weight. Where all are out of the rotation none of them is.
fn weight(node: &Node) -> u64 {
    u64::from(node.weight().max(1)) * u64::from(node.load.share().max(1))
}

#[allow(clippy::cast_precision_loss, reason = "a weight fits 52 bits")]
fn float(weight: u64) -> f64 {
    weight as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::load::FULL;
    use crate::cluster::{Cluster, InUse, NodeSpec};
    use crate::metrics::Metrics;

    const SECOND: u64 = 1_000_000;

    fn nodes(weights: &[u32]) -> Vec<Arc<Node>> {
        let specs: Vec<_> = (1..)
            .zip(weights)
            .map(|(port, weight)| NodeSpec {
                host: "db".into(),
                port,
                weight: *weight,
                name: None,
            })
            .collect();
        let cluster = Cluster::new(&specs, &Metrics::new("0").unwrap());
        cluster.nodes().to_vec()
    }

    fn turns(nodes: &[Arc<Node>], balance: Balance, now: u64, count: usize) -> Vec<u16> {
        let mut rotation = Rotation::new();
        let all = || nodes.iter().map(|n| &**n);
        (0..count)
            .filter_map(|_| rotation.next(balance, all(), now))
            .map(|id| id.0)
            .collect()
    }

    /// It is asked `times`, and each answer takes so long.
    fn answers(node: &Arc<Node>, times: u64, took: u64, at: u64) {
        node.measure(true);
        for _ in 0..times {
            let mut used = InUse::new(Arc::clone(node));
            used.asked(at - took);
            used.answered(at - took, at, false);
        }
    }

    #[test]
    fn fewest_connections_for_the_weight_are_next_and_equals_take_turns() {
        for (weights, used, expected) in [
            (&[1, 1][..], &[0, 0][..], &[0, 1, 0, 1][..]),
            (&[1, 1], &[1, 0], &[1, 1, 1, 1]),
            (&[2, 1], &[2, 1], &[0, 1, 0, 0]),
            (&[2, 1], &[1, 1], &[0, 0, 0, 0]),
            (&[3, 1], &[4, 1], &[1, 1, 1, 1]),
            (&[1, 1, 1], &[5, 2, 2], &[1, 2, 1, 2]),
        ] {
            let nodes = nodes(weights);
            let held: Vec<InUse> = (nodes.iter().zip(used))
                .flat_map(|(node, n)| (0..*n).map(|_| InUse::new(Arc::clone(node))))
                .collect();
            let found = turns(&nodes, Balance::LeastConnections, 0, 4);
            assert_eq!(found, expected, "{weights:?} {used:?}");
            drop(held);
            let all = turns(&nodes, Balance::LeastConnections, 0, 4);
            assert!(all.contains(&0) && all.contains(&1), "given back: {all:?}");
        }
    }

    #[test]
    fn soonest_answer_is_next() {
        let nodes = nodes(&[1, 1]);
        let next = |now| turns(&nodes, Balance::LeastLatency, now, 1)[0];
        assert_eq!(
            turns(&nodes, Balance::LeastLatency, 9, 2),
            [0, 1],
            "nothing is known"
        );
        answers(&nodes[0], 1, 4_000, SECOND);
        answers(&nodes[1], 1, 1_000, SECOND);
        assert_eq!(next(SECOND), 1);
        // Four times as fast: with four at work it is as good as the other with none.
        let mut at_work: Vec<InUse> = Vec::new();
        let mut worked = 0;
        while next(SECOND) == 1 {
            let mut used = InUse::new(Arc::clone(&nodes[1]));
            used.asked(SECOND);
            at_work.push(used);
            worked += 1;
            assert!(worked < 10);
        }
        assert!((3..=4).contains(&worked), "{worked}");
        // One that stays silent is left alone, but not for ever.
        assert_eq!(next(SECOND + 3_000), 0);
        at_work.clear();
        answers(&nodes[0], 100, 1_000, 90 * SECOND);
        answers(&nodes[1], 1, SECOND, 90 * SECOND);
        assert_eq!(next(90 * SECOND), 0);
        assert_eq!(
            next(90 * SECOND + 60 * SECOND),
            0,
            "both are forgotten alike"
        );
        answers(&nodes[0], 100, 1_000, 150 * SECOND);
        assert_eq!(next(150 * SECOND), 1, "the slow answer is forgotten");
    }

    #[test]
    fn slow_node_counts_as_sixteen_times_slower_at_most() {
        let nodes = nodes(&[1, 1]);
        answers(&nodes[0], 1, 1_000, SECOND * 100);
        answers(&nodes[1], 1, SECOND * 60, SECOND * 100);
        let mut at_work = Vec::new();
        while turns(&nodes, Balance::LeastLatency, SECOND * 100, 1) == [0] {
            let mut used = InUse::new(Arc::clone(&nodes[0]));
            used.asked(SECOND * 100);
            at_work.push(used);
            assert!(at_work.len() < 20);
        }
        assert!((15..=16).contains(&at_work.len()), "{}", at_work.len());
    }

    #[test]
    fn share_counts_as_that_part_of_the_weight() {
        let nodes = nodes(&[1, 1]);
        nodes[1].load.set_share(FULL / 4);
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let found = turns(&nodes, balance, 0, 20);
            assert_eq!(found.iter().filter(|n| **n == 1).count(), 4, "{balance:?}");
        }
    }

    proptest! {
        #[test]
        fn over_one_full_turn_every_node_gets_exactly_its_weight(
            weights in prop::collection::vec(0u64..20, 1..6),
        ) {
            let total: u64 = weights.iter().sum();
            let mut rotation = Rotation::new();
            let mut seen: HashMap<u16, u64> = HashMap::new();
            let candidates = || (0..).map(NodeId).zip(weights.iter().copied()).filter(|c| c.1 > 0);
            for _ in 0..total {
                *seen.entry(rotation.turn(candidates()).unwrap().0).or_default() += 1;
            }
            for (id, weight) in (0..).zip(&weights) {
                prop_assert_eq!(seen.get(&id).copied().unwrap_or(0), *weight);
            }
        }
    }
}
