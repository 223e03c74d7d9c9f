use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cluster::{Cluster, NodeSpec};
use crate::metrics::Metrics;

const IDENTIFIER: u64 = 7;

/// Plays a history: each step changes the evidence and takes a decision.
struct Play {
    view: View,
    evidence: Vec<Evidence>,
    terms: Terms,
}

impl Play {
    fn new(nodes: u16) -> Self {
        let spec = |port| NodeSpec {
            host: "db".into(),
            port,
            weight: 1,
            name: None,
        };
        let specs: Vec<_> = (0..nodes).map(spec).collect();
        let cluster = Cluster::new(&specs, &Metrics::new("0").unwrap());
        let terms = Terms {
            retries: 1,
            patience: Patience::AwaitAll,
            now: SystemTime::UNIX_EPOCH,
        };
        Self {
            view: View::unchecked(cluster.nodes(), terms.now),
            evidence: vec![Evidence::default(); usize::from(nodes)],
            terms,
        }
    }

    /// One primary on timeline 1, the others follow.
    fn running(nodes: u16) -> Self {
        let mut play = Self::new(nodes);
        for node in 1..usize::from(nodes) {
            play.follows(node, 1);
        }
        play.leads(0, 1);
        assert_eq!(play.view.primary, Some(NodeId(0)));
        play
    }

    fn settle(&mut self) -> &View {
        self.terms.now += Duration::from_secs(1);
        self.view = decide(&self.view, &self.evidence, self.terms);
        &self.view
    }

    fn answers(&mut self, node: usize, standing: Standing, timeline: u32, id: u64) -> &View {
        self.evidence[node].answered(Facts {
            standing,
            timeline,
            system_identifier: id,
        });
        self.settle()
    }

    fn leads(&mut self, node: usize, timeline: u32) -> &View {
        self.answers(node, Standing::Leads(Vec::new()), timeline, IDENTIFIER)
    }

    fn follows(&mut self, node: usize, timeline: u32) -> &View {
        self.answers(node, Standing::Follows(None), timeline, IDENTIFIER)
    }

    fn fails(&mut self, node: usize) -> &View {
        self.evidence[node].failed("refused".into());
        self.settle()
    }

    fn dies(&mut self, node: usize) -> &View {
        self.fails(node);
        self.fails(node)
    }

    fn roles(&self) -> Vec<(Health, Role)> {
        self.view
            .nodes
            .iter()
            .map(|state| (state.health, state.role))
            .collect()
    }

    fn primary(&self) -> Option<u16> {
        self.view.primary.map(|id| id.0)
    }

    fn error(&self, node: usize) -> &str {
        self.view.nodes[node]
            .last_error
            .as_deref()
            .unwrap_or_default()
    }
}

#[test]
fn a_running_cluster_is_seen_as_it_is() {
    let play = Play::running(3);
    let up = |role| (Health::Up, role);
    assert_eq!(
        play.roles(),
        [up(Role::Primary), up(Role::Replica), up(Role::Replica)]
    );
    assert_eq!(play.view.timeline, 1);
}

#[test]
fn no_first_primary_is_named_before_every_node_was_looked_at() {
    let mut play = Play::new(3);
    play.leads(0, 1);
    play.follows(1, 1);
    assert_eq!(play.primary(), None);
    assert_eq!(play.error(0), "", "waiting is no fault");
    play.fails(2);
    assert_eq!(play.primary(), Some(0), "a node that refuses was looked at");
}

#[test]
fn a_first_primary_is_named_without_a_silent_node_once_patience_is_over() {
    let mut play = Play::new(2);
    play.leads(0, 1);
    play.terms.patience = Patience::Decide;
    play.settle();
    assert_eq!(play.primary(), Some(0));
}

#[test]
fn one_failure_changes_nothing_and_one_more_than_the_retries_is_down() {
    let mut play = Play::running(2);
    let generation = play.view.generation;
    play.fails(0);
    assert_eq!(play.primary(), Some(0));
    assert_eq!(play.view.generation, generation);
    play.fails(0);
    assert_eq!(play.primary(), None);
    assert_eq!(play.roles()[0], (Health::Down, Role::Unknown));
    assert_eq!(play.error(0), "refused");
    assert!(play.view.generation > generation);
}

#[test]
fn a_node_that_never_answered_is_unknown_then_down() {
    let mut play = Play::new(1);
    assert_eq!(play.fails(0).nodes[0].health, Health::Unknown);
    assert_eq!(play.fails(0).nodes[0].health, Health::Down);
}

#[test]
fn a_promoted_replica_leads_at_once() {
    let mut play = Play::running(3);
    play.dies(0);
    play.leads(1, 2);
    assert_eq!(play.primary(), Some(1));
    assert_eq!(play.view.timeline, 2);
}

#[test]
fn a_promotion_while_the_old_primary_still_answers_moves_the_writes() {
    let mut play = Play::running(3);
    play.leads(1, 2);
    assert_eq!(play.primary(), Some(1));
    assert_eq!(play.roles()[0], (Health::Up, Role::Unknown));
    assert!(play.error(0).contains("timeline 1"), "{}", play.error(0));
}

#[test]
fn the_old_primary_comes_back_and_is_not_believed_until_it_follows() {
    let mut play = Play::running(3);
    play.dies(0);
    play.leads(1, 2);
    play.leads(0, 1);
    assert_eq!(play.primary(), Some(1));
    play.follows(0, 2);
    assert_eq!(play.roles()[0], (Health::Up, Role::Replica));
    assert_eq!(play.error(0), "");
}

#[test]
fn the_old_primary_is_not_written_to_even_when_the_new_one_is_down() {
    let mut play = Play::running(3);
    play.dies(0);
    play.leads(1, 2);
    play.dies(1);
    play.leads(0, 1);
    assert_eq!(play.primary(), None);
    assert!(
        play.error(0).contains("promoted to timeline 2"),
        "{}",
        play.error(0)
    );
}

#[test]
fn a_replica_that_follows_a_later_timeline_unmasks_an_old_primary_at_start() {
    let mut play = Play::new(3);
    play.leads(0, 1);
    play.follows(1, 2);
    play.dies(2);
    assert_eq!(play.primary(), None);
}

#[test]
fn a_discarded_promotion_does_not_keep_the_rightful_primary_out() {
    let mut play = Play::running(2);
    play.leads(1, 2);
    assert_eq!(play.primary(), Some(1));
    play.follows(1, 1); // rebuilt from node 0
    assert_eq!(play.primary(), Some(0));
}

#[test]
fn of_two_that_lead_on_one_timeline_the_one_that_led_before_stays() {
    let mut play = Play::running(3);
    play.leads(2, 1);
    assert_eq!(play.primary(), Some(0));
    assert_eq!(play.roles()[2], (Health::Up, Role::Unknown));
    assert!(
        play.error(2).contains("as node 0 does"),
        "{}",
        play.error(2)
    );
    play.dies(0);
    assert_eq!(play.primary(), Some(2), "then there is only one");
    play.leads(0, 1);
    assert_eq!(play.primary(), Some(2));
}

#[test]
fn of_two_that_lead_on_one_timeline_from_the_start_neither_is_written_to() {
    let mut play = Play::new(2);
    play.leads(0, 3);
    play.leads(1, 3);
    assert_eq!(play.primary(), None);
    assert!(play.error(0).contains("neither"), "{}", play.error(0));
    play.leads(1, 4);
    assert_eq!(play.primary(), Some(1));
}

#[test]
fn a_primary_that_restarts_leads_again() {
    let mut play = Play::running(2);
    play.dies(0);
    play.leads(0, 1);
    assert_eq!(play.primary(), Some(0));
}

#[test]
fn a_demoted_primary_leaves_no_primary() {
    let mut play = Play::running(2);
    play.follows(0, 1);
    assert_eq!(play.primary(), None);
    assert_eq!(play.roles()[0], (Health::Up, Role::Replica));
}

#[test]
fn a_dead_replica_stays_a_replica_and_disturbs_nobody() {
    let mut play = Play::running(3);
    play.dies(2);
    assert_eq!(play.roles()[2], (Health::Down, Role::Replica));
    assert_eq!(play.roles()[1], (Health::Up, Role::Replica));
    assert_eq!(play.primary(), Some(0));
    play.follows(2, 1);
    assert_eq!(play.roles()[2], (Health::Up, Role::Replica));
}

#[test]
fn a_node_of_another_cluster_is_not_used() {
    let mut play = Play::running(3);
    play.answers(2, Standing::Leads(Vec::new()), 9, 8);
    assert_eq!(
        play.primary(),
        Some(0),
        "its higher timeline counts for nothing"
    );
    assert_eq!(play.roles()[2], (Health::Down, Role::Unknown));
    assert!(
        play.error(2).contains("another cluster"),
        "{}",
        play.error(2)
    );
    play.answers(2, Standing::Follows(None), 9, 8);
    assert_eq!(play.roles()[2], (Health::Down, Role::Unknown));
}

#[test]
fn a_cluster_that_was_rebuilt_as_a_whole_is_accepted() {
    let mut play = Play::running(3);
    play.leads(0, 5);
    for node in 1..3 {
        play.dies(node);
        play.answers(node, Standing::Follows(None), 1, 99);
    }
    play.answers(0, Standing::Leads(Vec::new()), 1, 99);
    assert_eq!(play.primary(), Some(0));
    assert_eq!(play.view.timeline, 1);
}

#[test]
fn the_time_of_the_last_change_is_that_of_health_and_role() {
    let mut play = Play::running(2);
    let seen = play.view.nodes[1].last_change;
    play.follows(1, 1);
    assert_eq!(play.view.nodes[1].last_change, seen);
    play.dies(1);
    assert_eq!(play.view.nodes[1].last_change, play.terms.now);
}

#[test]
fn flapping_is_followed_step_by_step_and_every_step_is_a_generation() {
    let mut play = Play::running(2);
    for _ in 0..3 {
        let generation = play.view.generation;
        play.dies(0);
        assert_eq!(play.primary(), None);
        play.leads(0, 1);
        assert_eq!(play.primary(), Some(0));
        assert_eq!(play.view.generation, generation + 2);
    }
}

#[test]
fn a_replica_shows_its_state_in_the_primarys_list() {
    let mut play = Play::running(2);
    let receiver = Receiver {
        status: "streaming".into(),
        slot: None,
        name: Some("n1".into()),
    };
    play.answers(1, Standing::Follows(Some(receiver)), 1, IDENTIFIER);
    assert_eq!(play.view.nodes[1].replication_state, "streaming");
    assert_eq!(play.view.nodes[1].sync_state, "");
    let sender = Sender {
        name: "n1".into(),
        address: None,
        state: "catchup".into(),
        sync_state: "quorum".into(),
        slot: None,
    };
    play.answers(0, Standing::Leads(vec![sender]), 1, IDENTIFIER);
    assert_eq!(play.view.nodes[1].replication_state, "catchup");
    assert_eq!(play.view.nodes[1].sync_state, "quorum");
    play.dies(1);
    assert_eq!(play.view.nodes[1].replication_state, "");
}

#[derive(Clone, Debug)]
enum Step {
    Leads(usize, u32),
    Follows(usize, u32),
    Foreign(usize, u32),
    Fails(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node_and_timeline = || (0usize..4, 1u32..4);
    prop_oneof![
        node_and_timeline().prop_map(|(node, timeline)| Step::Leads(node, timeline)),
        node_and_timeline().prop_map(|(node, timeline)| Step::Follows(node, timeline)),
        node_and_timeline().prop_map(|(node, timeline)| Step::Foreign(node, timeline)),
        (0usize..4).prop_map(Step::Fails),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_only_a_believable_node_leads(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut play = Play::new(4);
        for step in steps {
            let before = play.view.clone();
            match step {
                Step::Leads(node, timeline) => play.leads(node, timeline),
                Step::Follows(node, timeline) => play.follows(node, timeline),
                Step::Foreign(node, timeline) => {
                    play.answers(node, Standing::Leads(Vec::new()), timeline, 1)
                }
                Step::Fails(node) => play.fails(node),
            };
            let view = &play.view;
            let leading: Vec<_> =
                view.nodes.iter().filter(|state| state.role == Role::Primary).collect();
            prop_assert!(leading.len() <= 1);
            prop_assert_eq!(leading.first().map(|state| state.node.id), view.primary);
            if let Some(state) = leading.first() {
                prop_assert_eq!(state.health, Health::Up);
                prop_assert_eq!(state.reported_role, Role::Primary);
                prop_assert_eq!(state.timeline, view.timeline);
            }
            let same = before.primary == view.primary
                && before.timeline == view.timeline
                && before.nodes.iter().zip(&view.nodes).all(|(old, new)| {
                    (old.health, old.role, old.timeline) == (new.health, new.role, new.timeline)
                });
            prop_assert_eq!(view.generation, before.generation + u64::from(!same));
        }
    }
}
