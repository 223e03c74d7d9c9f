//! The harness itself, without pgconvoy: what it claims of PostgreSQL holds.

use pgconvoy_tests::http;
use pgconvoy_tests::pgbouncer::PgBouncer;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::shared;
use pgconvoy_tests::wire::{Batch, Wire, codes, tags};

#[test]
fn shared_cluster_replicates_to_two_standbys() {
    let database = shared::database("harness");
    let cluster = shared::cluster();
    shared::primary(&database).run("create table t as select 1 as a");
    cluster.wait_replayed(&cluster.nodes[0]);
    for node in &cluster.nodes[1..] {
        let mut replica = node.superuser(&database);
        assert_eq!(replica.one("select a from t"), "1");
        assert_eq!(replica.fails("insert into t values (2)").code, "25006");
        assert_eq!(node.refused_writes(&database), 1);
    }
    assert_eq!(cluster.nodes[0].refused_writes(&database), 0);
}

#[test]
fn wire_speaks_every_login_and_the_extended_protocol() {
    let port = shared::cluster().nodes[0].port;
    for user in ["srv_trust", "srv_clear", "srv_md5", "srv_scram"] {
        let who = [("user", user), ("database", "postgres")];
        let password = format!("secret-of-{user}");
        let mut wire = Wire::login(port, &who, Some(&password)).unwrap();
        assert_eq!(wire.one("select current_user"), user);
        if user != "srv_trust" {
            assert_eq!(
                Wire::login(port, &who, Some("wrong")).err().unwrap().code,
                "28P01"
            );
        }
    }
    let mut wire = Wire::connect(port, "app", "postgres").unwrap();
    assert_eq!(
        wire.execute("select $1::int + 1", &["41"]).unwrap()[0][0].as_deref(),
        Some("42")
    );
    let broken = Batch::new()
        .parse("", "select 1/0")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "select 1")
        .sync();
    let replies = wire.ask(&broken);
    assert_eq!(tags(&replies), "1EZ"); // 1/0 is folded while Bind plans
    assert_eq!(codes(&replies), ["22012"]);
}

#[test]
fn killed_primary_is_replaced_and_comes_back_as_a_standby() {
    let cluster = Cluster::start(2);
    let [old, next, third] = &cluster.nodes[..] else {
        panic!("three nodes")
    };
    old.superuser("postgres").run("create table t (a int)");
    cluster.wait_replayed(old);
    old.kill();
    next.promote();
    third.follow(next);
    next.superuser("postgres").run("insert into t values (1)");
    old.rejoin(next);
    cluster.wait_streaming(next, 2);
    cluster.wait_replayed(next);
    assert_eq!(old.superuser("postgres").one("select count(*) from t"), "1");
    third.freeze_replay(true);
    third.freeze_replay(false);
    third.stop();
    third.start();
    cluster.wait_streaming(next, 2);
}

#[test]
fn pgbouncer_starts_for_comparison() {
    let bouncer = PgBouncer::start(shared::cluster().nodes[0].port, 5);
    assert_eq!(
        Wire::connect(bouncer.port, "app", "postgres")
            .unwrap()
            .one("select 1"),
        "1"
    );
}

#[test]
fn metrics_samples_are_found_by_name_and_label() {
    let page = "# HELP a_total x\na_total{node=\"1\",k=\"v\"} 3\na_totals 9\nb 2.5\n";
    assert_eq!(http::sample(page, "a_total", &[("k", "v")]), Some(3.0));
    assert_eq!(http::sample(page, "b", &[]), Some(2.5));
    assert_eq!(http::sample(page, "a_total", &[("k", "w")]), None);
}
