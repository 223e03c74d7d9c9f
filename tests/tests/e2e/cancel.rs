//! Cancel requests: the right statement, on the right server connection, and no other.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::http::sum;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, ServerError, Wire, begin_cancel, cancel};
use std::time::{Duration, Instant};

fn error_of(client: &mut Wire) -> ServerError {
    let replies = client.until_ready();
    let error = replies
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error");
    ServerError::parse(&error.body)
}

#[test]
fn running_statement_on_the_primary_is_cancelled() {
    let stage = Stage::new("cancel_primary");
    let mut client = stage.client();
    client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    cancel(stage.convoy.port, &client.key);
    assert_eq!(error_of(&mut client).code, "57014");
    assert_eq!(client.status, b'E');
    client.run("rollback");
    assert_eq!(client.one("select 1"), "1");
}

#[test]
fn running_statement_on_a_replica_is_cancelled() {
    let stage = Stage::new("cancel_replica");
    let mut client = stage.client();
    client.run("begin read only");
    client.send(Batch::new().query("select pg_sleep(100)").bytes());
    let sql = "select count(*) from pg_stat_activity where datname = current_database() \
               and query like 'select pg_sleep%' and state = 'active'";
    let mut replicas = [stage.direct(1), stage.direct(2)];
    pgconvoy_tests::wait::until("it runs on a replica", pgconvoy_tests::wait::SOON, || {
        replicas.iter_mut().any(|replica| replica.one(sql) == "1")
    });
    cancel(stage.convoy.port, &client.key);
    assert_eq!(error_of(&mut client).code, "57014");
    client.run("rollback");
}

#[test]
fn late_cancel_does_not_hit_the_next_client_of_the_server_connection() {
    let stage = Stage::with("cancel_late", |setup| {
        setup.with("[pool]\nsize = 1").top("workers = 1")
    });
    let (mut first, mut second) = (stage.client(), stage.client());
    first.run("begin; select 1; commit");
    second.send(
        Batch::new()
            .query("begin; select pg_sleep(1.5); commit")
            .bytes(),
    );
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    cancel(stage.convoy.port, &first.key);
    let replies = second.until_ready();
    assert!(
        replies.iter().all(|message| message.tag != b'E'),
        "{replies:?}"
    );
}

#[test]
fn cancel_with_a_wrong_key_does_nothing() {
    let stage = Stage::new("cancel_wrong");
    let mut client = stage.client();
    client.send(
        Batch::new()
            .query("begin; select pg_sleep(1); commit")
            .bytes(),
    );
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    let (pid, secret) = client.key.clone();
    let wrong: Vec<u8> = secret.iter().map(|byte| !byte).collect();
    cancel(stage.convoy.port, &(pid, wrong));
    cancel(stage.convoy.port, &(pid.wrapping_add(1), secret));
    assert!(
        client
            .until_ready()
            .iter()
            .all(|message| message.tag != b'E')
    );
}

#[test]
fn client_that_leaves_takes_its_running_statement_along() {
    let stage = Stage::new("cancel_leave");
    let mut client = stage.client();
    client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    drop(client);
    // PostgreSQL itself would not look at the socket before the statement ends: the proxy cancels it.
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 0);
    stage.wait_activity("state like 'idle in transaction%'", 0);
}

#[test]
fn client_that_waits_for_a_server_connection_is_answered_at_once() {
    let stage = Stage::with("cancel_queued", |setup| {
        setup.with("[pool]\nsize = 1").top("workers = 1")
    });
    let (mut holder, mut queued, mut behind) = (stage.client(), stage.client(), stage.client());
    holder.run("begin; select 1");
    queued.send(Batch::new().query("insert into nowhere values (1)").bytes());
    behind.send(Batch::new().query("create table kept ()").bytes());
    pgconvoy_tests::wait::until("both wait", pgconvoy_tests::wait::SOON, || {
        sum(&stage.convoy.page("/metrics").body, "pgconvoy_pool_waiting") == 2.0
    });
    let before = Instant::now();
    cancel(stage.convoy.port, &queued.key);
    let error = error_of(&mut queued);
    assert_eq!(error.code, "57014", "{error}");
    assert!(error.message.contains("waited"), "{error}");
    assert_eq!(queued.status, b'I');
    assert!(before.elapsed() < Duration::from_secs(5));
    holder.run("commit");
    // Who stood behind is served, and who gave up can come again.
    assert!(
        behind
            .until_ready()
            .iter()
            .all(|message| message.tag != b'E')
    );
    assert_eq!(queued.one("select 7"), "7");
}

#[test]
fn long_key_of_protocol_3_2_cancels_and_half_of_it_does_not() {
    let stage = Stage::new("cancel_long");
    let who = [("user", "app"), ("database", stage.database.as_str())];
    let mut client = Wire::login_as_of(0x0003_0002, stage.convoy.port, &who, None).unwrap();
    client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    let (pid, secret) = client.key.clone();
    assert_eq!(secret.len(), 32);
    for wrong in [
        &secret[..4],
        &secret[..31],
        &[&secret[..31], &[!secret[31]]].concat(),
    ] {
        cancel(stage.convoy.port, &(pid, wrong.to_vec()));
    }
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    cancel(stage.convoy.port, &client.key);
    assert_eq!(error_of(&mut client).code, "57014");
}

#[test]
fn cancel_between_two_statements_is_for_none_of_them() {
    let stage = Stage::new("cancel_between");
    let mut client = stage.client();
    client.run("begin");
    for _ in 0..20 {
        cancel(stage.convoy.port, &client.key);
        assert_eq!(client.one("select 1"), "1");
    }
    client.run("commit");
}

/// The server accepts no connection for a while, so that cancel requests are late.
#[test]
fn cancel_that_comes_late_hits_nothing_that_was_asked_for_after_it() {
    let cluster = Cluster::start(0);
    let convoy = Convoy::before(&cluster.ports())
        .top("workers = 1")
        .with("[pool]\nsize = 1")
        .start();
    let mut client = convoy.connect("app", "postgres").unwrap();
    let mut stranger = convoy.connect("app", "postgres").unwrap();
    client.run("begin");
    client.send(Batch::new().query("select pg_sleep(0.5)").bytes());
    wait_asleep(&cluster);
    cluster.nodes[0].freeze_postmaster(true);
    let mut late = begin_cancel(convoy.port, &client.key);
    assert!(
        client
            .until_ready()
            .iter()
            .all(|message| message.tag != b'E')
    );
    // In the same transaction, so on the same server connection.
    client.send(Batch::new().query("select pg_sleep(0.3)").bytes());
    cluster.nodes[0].freeze_postmaster(false);
    assert!(late.receive().is_none());
    let replies = client.until_ready();
    assert!(
        replies.iter().all(|message| message.tag != b'E'),
        "{replies:?}"
    );
    client.run("commit");

    client.send(
        Batch::new()
            .query("select pg_sleep(0.6); select 1 from now()")
            .bytes(),
    );
    wait_asleep(&cluster);
    cluster.nodes[0].freeze_postmaster(true);
    let mut late = begin_cancel(convoy.port, &client.key);
    // Waits for the connection that the client gives back.
    stranger.send(
        Batch::new()
            .query("begin; select pg_sleep(0.3); commit")
            .bytes(),
    );
    assert!(
        client
            .until_ready()
            .iter()
            .all(|message| message.tag != b'E')
    );
    cluster.nodes[0].freeze_postmaster(false);
    assert!(late.receive().is_none());
    let replies = stranger.until_ready();
    assert!(
        replies.iter().all(|message| message.tag != b'E'),
        "{replies:?}"
    );
}

fn wait_asleep(cluster: &Cluster) {
    let sql = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active' and usename = 'app'";
    pgconvoy_tests::wait::until("it sleeps", pgconvoy_tests::wait::SOON, || {
        cluster.nodes[0].try_one(sql).as_deref() == Some("1")
    });
}
