//! Replicas that go and come back: nobody is disturbed, and they are taken back by themselves.

use pgconvoy_tests::convoy::{Convoy, Readiness};
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::wire::Wire;
use pgconvoy_tests::{http, show, wait};
use std::time::Duration;

fn start(replicas: usize) -> (Cluster, Convoy) {
    let cluster = Cluster::start(replicas);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t as select generate_series(1, 100) as a");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports()).start();
    (cluster, convoy)
}

fn connect(convoy: &Convoy) -> Wire {
    convoy.connect("postgres", "postgres").unwrap()
}

fn wait_status(client: &mut Wire, node: usize, wanted: &str) {
    wait::until(&format!("node {node} is {wanted}"), wait::SOON, || {
        show::nodes(client, "status")[node] == wanted
    });
}

#[test]
fn replica_that_is_stopped_and_started_disturbs_nobody() {
    let (cluster, convoy) = start(2);
    let (mut client, mut watch) = (connect(&convoy), connect(&convoy));
    let mut read = |times: usize| {
        (0..times).for_each(|_| assert_eq!(client.one("select count(*) from t"), "100"))
    };
    read(20);
    cluster.nodes[1].stop();
    read(50);
    wait_status(&mut watch, 1, "down");
    assert_eq!(show::nodes(&mut watch, "pg_status")[1], "down");
    let page = convoy.page("/metrics").body;
    let label = format!("127.0.0.1:{}", cluster.nodes[1].port);
    assert_eq!(
        http::sample(&page, "pgconvoy_node_up", &[("node", &label)]),
        Some(0.0)
    );
    read(50);
    cluster.nodes[1].start();
    wait_status(&mut watch, 1, "up");
    let before = show::counts(&mut watch)[1].select;
    wait::until("it serves reads again", wait::SOON, || {
        read(10);
        show::counts(&mut watch)[1].select > before
    });
}

#[test]
fn replica_that_is_killed_in_the_middle_of_reads_costs_at_most_the_read_under_way() {
    let (cluster, convoy) = start(2);
    let mut clients: Vec<Wire> = (0..10).map(|_| connect(&convoy)).collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.run("select count(*) from t")));
    cluster.nodes[2].kill();
    for _ in 0..20 {
        for client in &mut clients {
            // Nothing had been sent to the client: a read is run again elsewhere.
            assert_eq!(client.one("select count(*) from t"), "100");
        }
    }
}

#[test]
fn primary_serves_the_reads_when_no_replica_is_up() {
    let (cluster, convoy) = start(1);
    let mut client = connect(&convoy);
    cluster.nodes[1].stop();
    for _ in 0..20 {
        assert_eq!(client.one("select count(*) from t"), "100");
    }
    assert!(show::counts(&mut client)[0].select > 0);
}

#[test]
fn node_that_is_down_at_the_start_is_taken_in_later() {
    let cluster = Cluster::start(1);
    cluster.nodes[1].stop();
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut client = connect(&convoy);
    assert_eq!(client.one("select 1"), "1");
    wait::until("the node is known to be down", wait::SOON, || {
        show::nodes(&mut client, "pg_status")[1] == "down"
    });
    cluster.nodes[1].start();
    wait::until("the node is taken in", wait::SOON, || {
        show::nodes(&mut client, "pg_status")[1] == "up"
    });
}

#[test]
fn frozen_replica_does_not_hold_up_the_health_checks_of_the_others() {
    let (cluster, convoy) = start(2);
    let mut client = connect(&convoy);
    cluster.nodes[1].freeze_replay(true);
    cluster.nodes[2].stop();
    wait_status(&mut client, 2, "down");
    client.run("insert into t values (1)");
    cluster.nodes[1].freeze_replay(false);
}

#[test]
fn process_is_alive_but_not_ready_without_a_primary() {
    let cluster = Cluster::start(0);
    cluster.nodes[0].stop();
    let convoy = Convoy::before(&cluster.ports())
        .when(Readiness::Alive)
        .start();
    assert_eq!(convoy.page("/healthz").status, 200);
    assert_eq!(convoy.page("/readyz").status, 503);
    cluster.nodes[0].start();
    wait::until(
        "ready once there is a primary",
        Duration::from_secs(10),
        || convoy.page("/readyz").status == 200,
    );
}

#[test]
fn replication_delay_is_shown_in_bytes() {
    let (cluster, convoy) = start(1);
    let mut client = connect(&convoy);
    cluster.nodes[1].freeze_replay(true);
    client.run("insert into t select generate_series(1, 20000)");
    wait::until("the delay is seen", wait::SOON, || {
        let delay: f64 = show::nodes(&mut client, "replication_delay")[1]
            .parse()
            .unwrap();
        delay > 500_000.0
    });
    assert_eq!(show::nodes(&mut client, "replication_delay")[0], "0");
    cluster.nodes[1].freeze_replay(false);
    wait::until("the delay is gone", wait::SOON, || {
        show::nodes(&mut client, "replication_delay")[1] == "0"
    });
}

#[test]
fn lagging_replica_is_not_read_from_past_max_replica_lag() {
    let cluster = Cluster::start(1);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t as select generate_series(1, 100) as a");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports())
        .with("[routing]\nmax_replica_lag = \"64kB\"")
        .start();
    let mut reader = connect(&convoy);
    cluster.nodes[1].freeze_replay(true);
    cluster.nodes[0]
        .superuser("postgres")
        .run("insert into t select generate_series(1, 20000)");
    wait::until("reads see the new rows", wait::SOON, || {
        reader.one("select count(*) from t") == "20100"
    });
    cluster.nodes[1].freeze_replay(false);
}
