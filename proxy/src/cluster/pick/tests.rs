use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::cluster::load::FULL;
use crate::cluster::{Cluster, NodeSpec};
use crate::metrics::Metrics;

/// Node 0 leads, the others follow; all up, on timeline 1, without lag.
fn view(weights: &[u32]) -> View {
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
    let mut view = View::unchecked(cluster.nodes(), SystemTime::UNIX_EPOCH);
    for state in &mut view.nodes {
        state.health = Health::Up;
        state.role = Role::Replica;
        state.timeline = 1;
        state.lag_bytes = Some(0);
        state.node.set_fresh_as_of(1);
    }
    view.nodes[0].role = Role::Primary;
    view.primary = Some(NodeId(0));
    view.timeline = 1;
    view
}

fn picks(view: &View, rules: &ReadRules, wrote_at: u64, count: usize) -> Vec<u16> {
    let mut rotation = Rotation::new();
    (0..count)
        .filter_map(|_| {
            pick_read(
                view,
                rules,
                &Freshness::since(wrote_at),
                &Wish::default(),
                &mut rotation,
                0,
            )
        })
        .map(|id| id.0)
        .collect()
}

const PLAIN: ReadRules = ReadRules {
    primary_reads: false,
    max_replica_lag: None,
    balance: Balance::RoundRobin,
    per: BalancePer::Statement,
};

fn without(node: u16) -> Wish {
    Wish {
        exclude: Some(NodeId(node)),
        ..Wish::default()
    }
}

#[test]
fn reads_go_round_robin_over_the_replicas_and_not_to_the_primary() {
    assert_eq!(picks(&view(&[1, 1, 1]), &PLAIN, 0, 6), [1, 2, 1, 2, 1, 2]);
}

#[test]
fn the_primary_takes_its_turn_when_primary_reads_is_on() {
    let rules = ReadRules {
        primary_reads: true,
        ..PLAIN
    };
    assert_eq!(picks(&view(&[1, 1, 1]), &rules, 0, 6), [0, 1, 2, 0, 1, 2]);
    assert_eq!(picks(&view(&[0, 1, 1]), &rules, 0, 4), [1, 2, 1, 2]);
}

#[test]
fn a_heavier_replica_is_read_more_often_and_smoothly() {
    assert_eq!(picks(&view(&[1, 2, 1]), &PLAIN, 0, 6), [1, 2, 1, 1, 2, 1]);
}

#[test]
fn a_replica_of_weight_zero_is_not_read_even_when_it_is_the_only_one() {
    assert_eq!(picks(&view(&[0, 0]), &PLAIN, 0, 2), [0, 0]);
}

#[test]
fn the_primary_answers_when_no_replica_may() {
    type Spoil = fn(&mut NodeState);
    let cases: [(&str, Spoil); 5] = [
        ("down", |state| state.health = Health::Down),
        ("unchecked", |state| state.health = Health::Unknown),
        ("not believed", |state| state.role = Role::Unknown),
        ("on an older timeline", |state| state.timeline = 0),
        ("without a known timeline", |state| state.timeline = 2),
    ];
    for (what, spoil) in cases {
        let mut view = view(&[1, 1]);
        spoil(&mut view.nodes[1]);
        assert_eq!(picks(&view, &PLAIN, 0, 1), [0], "{what}");
    }
}

#[test]
fn reads_go_on_while_nobody_leads() {
    let mut view = view(&[1, 1, 1]);
    view.primary = None;
    view.nodes[0].role = Role::Unknown;
    view.nodes[0].health = Health::Down;
    view.timeline = 2;
    assert_eq!(picks(&view, &PLAIN, 0, 4), [1, 2, 1, 2]);
}

#[test]
fn nobody_is_named_when_nobody_is_there() {
    let mut view = view(&[1, 1]);
    view.primary = None;
    for state in &mut view.nodes {
        state.health = Health::Down;
        state.role = Role::Unknown;
    }
    assert!(picks(&view, &PLAIN, 0, 3).is_empty());
}

#[test]
fn a_replica_that_lags_too_far_or_by_an_unknown_amount_is_not_read() {
    let rules = ReadRules {
        max_replica_lag: Some(100),
        ..PLAIN
    };
    for (lag, node) in [(Some(0), 1), (Some(100), 1), (Some(101), 0), (None, 0)] {
        let mut view = view(&[1, 1]);
        view.nodes[1].lag_bytes = lag;
        assert_eq!(picks(&view, &rules, 0, 1), [node], "lag {lag:?}");
    }
}

#[test]
fn a_session_that_wrote_reads_only_where_its_write_is_proven_to_be() {
    let view = view(&[1, 1, 1]);
    assert_eq!(picks(&view, &PLAIN, 500, 1), [0], "nothing is proven");
    view.nodes[1].node.set_fresh_as_of(500);
    assert_eq!(
        picks(&view, &PLAIN, 500, 1),
        [0],
        "sampled at the time of the write, not after"
    );
    view.nodes[2].node.set_fresh_as_of(501);
    assert_eq!(picks(&view, &PLAIN, 500, 2), [2, 2]);
    assert_eq!(
        picks(&view, &PLAIN, 0, 2),
        [1, 2],
        "others are not held back"
    );
}

#[test]
fn the_excluded_node_is_never_named_not_even_for_want_of_another() {
    let view = view(&[1, 1, 1]);
    let mut rotation = Rotation::new();
    for _ in 0..4 {
        let id = pick_read(
            &view,
            &PLAIN,
            &Freshness::ANY,
            &without(1),
            &mut rotation,
            0,
        );
        assert_eq!(id, Some(NodeId(2)));
    }
    assert_eq!(
        pick_read(
            &view,
            &PLAIN,
            &Freshness::since(9),
            &without(0),
            &mut rotation,
            0
        ),
        None
    );
}

/// What is named for one wish after the other.
fn named(view: &View, rules: &ReadRules, wishes: &[Wish]) -> Vec<u16> {
    let mut rotation = Rotation::new();
    let named = (wishes.iter())
        .filter_map(|wish| pick_read(view, rules, &Freshness::ANY, wish, &mut rotation, 0));
    named.map(|id| id.0).collect()
}

fn preferring(prefer: Preference) -> [Wish; 2] {
    [Wish {
        prefer,
        ..Wish::default()
    }; 2]
}

#[test]
fn preference_is_followed_while_it_can_be() {
    let both = ReadRules {
        primary_reads: true,
        ..PLAIN
    };
    let named = |view: &View, prefer| named(view, &both, &preferring(prefer));
    let mut view = view(&[1, 1, 1, 0]);
    for (prefer, expected) in [
        (Preference::None, [0, 1]),
        (Preference::Primary, [0, 0]),
        (Preference::Replica, [1, 2]),
        (Preference::Node(NodeId(0)), [0, 0]),
        (Preference::Node(NodeId(2)), [2, 2]),
        (Preference::Node(NodeId(3)), [3, 3]),
        (Preference::Node(NodeId(9)), [0, 1]),
    ] {
        assert_eq!(named(&view, prefer), expected, "{prefer:?}");
    }
    view.nodes[2].node.load.set_share(0);
    let two = Preference::Node(NodeId(2));
    assert_eq!(named(&view, two), [2, 2], "it was asked for by name");
    view.nodes[2].health = Health::Down;
    assert_eq!(named(&view, two), [0, 1]);
    view.primary = None;
    view.nodes[0].role = Role::Unknown;
    assert_eq!(named(&view, Preference::Primary), [1, 1], "reads go on");
}

#[test]
fn nearest_in_the_rotation_are_read_before_all_others() {
    // Of nodes 1 to 4 the last two are elsewhere; these are out of the rotation.
    for (out, expected) in [
        (&[][..], [1, 2]),
        (&[1][..], [2, 2]),
        (&[1, 2][..], [3, 4]),
        (&[1, 2, 3][..], [4, 4]),
        (&[1, 2, 3, 4][..], [1, 2]),
    ] {
        let view = view(&[1, 1, 1, 1, 1]);
        for far in [3, 4] {
            view.nodes[far].node.set_near(false);
        }
        for out in out {
            view.nodes[*out].node.load.set_share(0);
        }
        assert_eq!(
            named(&view, &PLAIN, &[Wish::default(); 2]),
            expected,
            "{out:?}"
        );
    }
}

#[test]
fn session_keeps_its_node_while_that_is_among_those_to_choose_from() {
    let mut view = view(&[1, 1, 1]);
    let keeps = [Wish {
        kept: Some(NodeId(2)),
        ..Wish::default()
    }; 3];
    assert_eq!(named(&view, &PLAIN, &keeps), [2, 2, 2]);
    let leaves = keeps.map(|wish| Wish {
        exclude: Some(NodeId(2)),
        ..wish
    });
    assert_eq!(named(&view, &PLAIN, &leaves), [1, 1, 1]);
    view.nodes[2].node.load.set_share(0);
    assert_eq!(
        named(&view, &PLAIN, &keeps),
        [1, 1, 1],
        "out of the rotation"
    );
    view.nodes[2].node.load.set_share(FULL);
    view.nodes[2].node.set_near(false);
    assert_eq!(
        named(&view, &PLAIN, &keeps),
        [1, 1, 1],
        "one that is near is there"
    );
    view.nodes[1].health = Health::Down;
    assert_eq!(named(&view, &PLAIN, &keeps), [2, 2, 2]);
}

proptest! {
    #[test]
    fn whatever_is_named_was_allowed(
        up in prop::collection::vec(any::<bool>(), 4),
        fresh in prop::collection::vec(0u64..4, 4),
        wrote_at in 0u64..4,
        exclude in prop::option::of(0u16..4),
        kept in prop::option::of(0u16..4),
        prefer in 0usize..4,
        out in prop::collection::vec(any::<bool>(), 4),
        turns in 1usize..8,
    ) {
        let mut view = view(&[1, 1, 2, 3]);
        for (((state, up), fresh), out) in view.nodes.iter_mut().zip(&up).zip(&fresh).zip(&out) {
            state.node.load.set_share(if *out { 0 } else { FULL });
            state.health = if *up { Health::Up } else { Health::Down };
            Arc::clone(&state.node).set_fresh_as_of(*fresh);
        }
        let mut rotation = Rotation::new();
        for _ in 0..turns {
            let wish = Wish {
                exclude: exclude.map(NodeId),
                prefer: [
                    Preference::None,
                    Preference::Primary,
                    Preference::Replica,
                    Preference::Node(NodeId(2)),
                ][prefer],
                kept: kept.map(NodeId),
            };
            let named = pick_read(&view, &PLAIN, &Freshness::since(wrote_at), &wish, &mut rotation, 0);
            let Some(id) = named else { continue };
            prop_assert_ne!(Some(id.0), exclude);
            if id != NodeId(0) {
                prop_assert!(up[id.index()]);
                prop_assert!(wrote_at == 0 || fresh[id.index()] > wrote_at);
            }
        }
    }
}
