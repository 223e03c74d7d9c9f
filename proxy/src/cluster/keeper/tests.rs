use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

use super::super::health::Facts;
use super::super::{Freshness, NodeSpec, ReadRules, Rotation, TurnoutTerms, Wish, pick_read};
use super::*;

/// A keeper that hears what a test tells it, at times that the test sets.
struct Scene {
    keeper: Keeper,
    now: AtomicU64,
    /// What replicas say of their stream.
    streams: Option<bool>,
}

impl Scene {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let spec = |port| NodeSpec {
            host: "db".into(),
            port,
            weight: 1,
            name: None,
        };
        let cluster = Cluster::new(&[spec(1), spec(2), spec(3)], &metrics);
        let settings = MonitorSettings {
            user: "m".into(),
            password: Some("secret".into()),
            database: "postgres".into(),
            check_period: Duration::from_secs(1),
            check_timeout: Duration::from_secs(5),
            check_retries: 0,
            position_period: Duration::from_millis(100),
            catalog_refresh: None,
            tables_apart: false,
            turnout: TurnoutTerms::default(),
        };
        assert!(!format!("{settings:?}").contains("secret"));
        let keeper = Keeper::new(cluster, Arc::new(ArcSwap::from_pointee(settings)), metrics);
        Self {
            keeper,
            now: AtomicU64::new(10),
            streams: Some(true),
        }
    }

    /// Node 0 leads, 1 and 2 follow and have replayed everything.
    fn running() -> Self {
        let mut scene = Self::new();
        scene.follows(1, 1, 100);
        scene.follows(2, 1, 100);
        scene.leads(0, 1, 100);
        scene
    }

    fn hear(&mut self, node: u16, finding: Finding) {
        self.keeper.hear(Report {
            node: NodeId(node),
            finding,
        });
    }

    fn answers(&mut self, node: u16, standing: Standing, timeline: u32, position: Lsn) {
        let asked_at = self.now.fetch_add(10, Ordering::Relaxed);
        let facts = Facts {
            standing,
            timeline,
            system_identifier: 7,
        };
        self.hear(
            node,
            Finding::Answered(Answer {
                asked_at,
                position,
                streams: self.streams,
                facts,
            }),
        );
    }

    fn leads(&mut self, node: u16, timeline: u32, position: Lsn) {
        self.answers(node, Standing::Leads(Vec::new()), timeline, position);
    }

    fn follows(&mut self, node: u16, timeline: u32, position: Lsn) {
        self.answers(node, Standing::Follows(None), timeline, position);
    }

    fn fails(&mut self, node: u16) {
        self.hear(node, Finding::Failed("refused".into()));
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn fresh(&self, node: u16) -> u64 {
        self.keeper
            .cluster
            .node(NodeId(node))
            .unwrap()
            .fresh_as_of()
    }

    /// Whether a session that wrote at `at` may read that replica.
    fn may_read(&self, node: u16, at: u64) -> bool {
        let view = self.keeper.cluster.view();
        let other = NodeId(3 - node);
        let mut rotation = Rotation::new();
        let rules = ReadRules::default();
        let wish = Wish {
            exclude: Some(other),
            ..Wish::default()
        };
        pick_read(
            &view,
            &rules,
            &Freshness::since(at),
            &wish,
            &mut rotation,
            0,
        ) == Some(NodeId(node))
    }

    fn lag(&self, node: usize) -> Option<u64> {
        self.keeper.cluster.view().nodes[node].lag_bytes
    }
}

#[test]
fn a_replica_is_read_after_a_write_once_it_has_replayed_a_later_sample() {
    let mut scene = Scene::running();
    let wrote_at = scene.now();
    scene.leads(0, 1, 100);
    assert!(
        !scene.may_read(1, wrote_at),
        "asked at the very time of the write"
    );
    scene.leads(0, 1, 200);
    assert!(!scene.may_read(1, wrote_at), "not replayed yet");
    scene.follows(1, 1, 199);
    assert!(!scene.may_read(1, wrote_at), "one byte short");
    scene.follows(1, 1, 200);
    assert!(scene.may_read(1, wrote_at));
    assert!(!scene.may_read(2, wrote_at), "the other has proven nothing");
}

#[test]
fn a_position_replayed_before_the_sample_was_taken_proves_as_much() {
    let mut scene = Scene::running();
    scene.follows(1, 1, 300);
    let wrote_at = scene.now();
    scene.now.fetch_add(1, Ordering::Relaxed);
    scene.leads(0, 1, 300);
    assert!(scene.may_read(1, wrote_at));
}

#[test]
fn lag_is_shown_in_bytes_and_is_not_a_change_to_wake_for() {
    let mut scene = Scene::running();
    let generation = scene.keeper.cluster.view().generation;
    scene.leads(0, 1, 150);
    assert_eq!(scene.lag(1), Some(50));
    assert_eq!(scene.lag(0), None);
    let node = Arc::clone(scene.keeper.cluster.node(NodeId(1)).unwrap());
    assert_eq!(node.metrics.lag_bytes.get(), 50);
    assert_eq!(scene.keeper.cluster.view().generation, generation);
}

#[test]
fn a_replica_that_receives_nothing_is_not_read_while_the_primary_is_there() {
    let mut scene = Scene::running();
    scene.leads(0, 1, 100);
    assert!(scene.may_read(1, clock::NEVER));
    scene.streams = Some(false);
    scene.follows(1, 1, 100);
    assert!(
        scene.may_read(1, clock::NEVER),
        "the primary may be gone, too"
    );
    scene.leads(0, 1, 100);
    assert!(!scene.may_read(1, clock::NEVER));
    assert!(scene.may_read(2, clock::NEVER));
    scene.fails(0);
    assert!(scene.may_read(1, clock::NEVER), "nobody leads: reads go on");
    scene.leads(0, 1, 100);
    scene.streams = None;
    scene.follows(1, 1, 100);
    assert!(scene.may_read(1, clock::NEVER), "it may not be seen");
}

#[test]
fn a_replica_is_not_read_before_it_was_seen_to_catch_up() {
    let mut scene = Scene::new();
    scene.leads(0, 1, 100);
    scene.follows(2, 1, 100);
    scene.follows(1, 1, 40);
    assert!(!scene.may_read(1, clock::NEVER));
    assert!(scene.keeper.cluster.positions_wanted());
    scene.leads(0, 1, 100);
    scene.follows(1, 1, 100);
    scene.follows(2, 1, 100);
    assert!(scene.may_read(1, clock::NEVER));
    assert!(!scene.keeper.cluster.positions_wanted());
}

#[test]
fn a_position_is_reached_when_it_is_replayed_on_its_timeline_or_a_later_one() {
    let mut scene = Scene::running();
    scene.leads(0, 1, 100);
    let shows = |scene: &Scene, text: &str| {
        let position = crate::cluster::Position::parse(text);
        assert!(position.is_some());
        let demanded = Freshness {
            position,
            ..Freshness::ANY
        };
        let view = scene.keeper.cluster.view();
        let rules = ReadRules::default();
        let mut rotation = Rotation::new();
        pick_read(&view, &rules, &demanded, &Wish::default(), &mut rotation, 0) != Some(NodeId(0))
    };
    assert!(shows(&scene, "00000001:0/64:8192"));
    assert!(!shows(&scene, "00000001:0/65:8192"));
    assert!(!shows(&scene, "00000002:0/64:8192"));
    scene.follows(1, 1, 8192);
    assert!(
        shows(&scene, "00000001:0/2018:8192"),
        "behind the page's header"
    );
    assert!(!shows(&scene, "00000001:0/2019:8192"));
}

#[test]
fn a_restarted_replica_proves_anew() {
    let mut scene = Scene::running();
    scene.leads(0, 1, 100);
    assert!(scene.fresh(1) > 0);
    scene.hear(1, Finding::Broken);
    assert_eq!(scene.fresh(1), clock::NEVER);
    assert!(scene.fresh(2) > 0);
    scene.leads(0, 1, 100);
    assert_eq!(
        scene.fresh(1),
        clock::NEVER,
        "what it had replayed is not counted on"
    );
    scene.follows(1, 1, 100);
    assert!(scene.fresh(1) > 0);
}

#[test]
fn a_replica_that_went_back_keeps_only_the_proof_for_where_it_is() {
    let mut scene = Scene::running();
    let first = scene.fresh(1);
    scene.leads(0, 1, 200);
    scene.follows(1, 1, 200);
    assert!(scene.fresh(1) > first);
    scene.follows(1, 1, 120);
    assert_eq!(scene.fresh(1), first);
}

#[test]
fn a_new_primary_takes_every_proof_back_before_it_is_shown() {
    let mut scene = Scene::running();
    scene.leads(0, 1, 100);
    scene.fails(0);
    assert!(
        scene.fresh(2) > 0,
        "until somebody writes elsewhere it holds"
    );
    scene.leads(1, 2, 110);
    assert_eq!(scene.fresh(2), clock::NEVER);
    let wrote_at = scene.now();
    scene.now.fetch_add(1, Ordering::Relaxed);
    scene.leads(1, 2, 200);
    scene.follows(2, 1, 500);
    assert!(
        !scene.may_read(2, wrote_at),
        "positions of another timeline prove nothing"
    );
    assert_eq!(scene.lag(2), None);
    scene.follows(2, 2, 500);
    assert!(scene.may_read(2, wrote_at));
}

#[test]
fn a_failover_is_counted_and_a_restart_is_not() {
    let mut scene = Scene::running();
    let failovers = scene.keeper.metrics.failovers.clone();
    assert_eq!(failovers.get(), 0, "the first primary is none");
    scene.fails(0);
    scene.leads(0, 1, 100);
    assert_eq!(failovers.get(), 0);
    scene.fails(0);
    scene.leads(1, 2, 100);
    assert_eq!(failovers.get(), 1);
    scene.leads(1, 2, 110);
    assert_eq!(failovers.get(), 1);
}

#[tokio::test]
async fn the_loss_of_the_primary_wakes_every_probe() {
    let mut scene = Scene::running();
    let cluster = Arc::clone(&scene.keeper.cluster);
    assert!(cluster.woken(NodeId(1)).now_or_never().is_none());
    scene.fails(0);
    assert!(cluster.woken(NodeId(1)).now_or_never().is_some());
    assert!(cluster.woken(NodeId(2)).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_delays_the_first_primary_only_for_a_while() {
    let mut scene = Scene::new();
    scene.leads(0, 1, 100);
    let cluster = Arc::clone(&scene.keeper.cluster);
    let (_reports, receiver) = mpsc::channel(1);
    let keeper = tokio::spawn(scene.keeper.run(receiver));
    let generation = cluster.view().generation;
    assert_eq!(cluster.view().primary, None);
    tokio::time::timeout(LONGEST_PATIENCE * 2, cluster.changed(generation))
        .await
        .unwrap();
    assert_eq!(cluster.view().primary, Some(NodeId(0)));
    keeper.abort();
}
