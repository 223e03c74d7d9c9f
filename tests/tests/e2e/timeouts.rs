//! Every timeout does what it says, and only to the session it is about.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::Wire;
use std::time::{Duration, Instant};

fn with(name: &str, toml: &str) -> Stage {
    Stage::with(name, |setup| setup.with(toml))
}

#[test]
fn idle_client_is_closed_after_client_idle_timeout() {
    let stage = with("client_idle", "[limits]\nclient_idle_timeout = \"1s\"");
    let (mut idle, mut active) = (stage.client(), stage.client());
    idle.run("select 1");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(2500) {
                active.run("select 1");
            }
        });
        let error = idle.farewell().expect("words before the close");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "57P05"),
            "{error}"
        );
        assert!(
            start.elapsed() > Duration::from_millis(900),
            "after {:?}",
            start.elapsed()
        );
        busy.join().expect("an active client is left alone");
    });
}

#[test]
fn idle_transaction_is_ended_after_idle_in_transaction_timeout() {
    let stage = with(
        "idle_transaction",
        "[limits]\nidle_in_transaction_timeout = \"1s\"\n[pool]\nsize = 1",
    );
    stage.seed("create table t (a int)");
    let mut client = stage.client();
    client.run("begin; insert into t values (1)");
    let error = client.farewell().expect("words before the close");
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "25P03"),
        "{error}"
    );
    assert_eq!(
        stage
            .client()
            .one("/* pgconvoy: primary */ select count(*) from t"),
        "0"
    );
    stage.wait_activity("state like 'idle in transaction%'", 0);
}

#[test]
fn long_query_is_cancelled_after_query_timeout() {
    let stage = with("query_timeout", "[limits]\nquery_timeout = \"1s\"");
    let mut client = stage.client();
    let start = Instant::now();
    let error = client.fails("begin; select pg_sleep(60)");
    assert_eq!(error.code, "57014", "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "after {:?}",
        start.elapsed()
    );
    stage.wait_activity("state = 'active' and query like '%pg_sleep%'", 0);
}

#[test]
fn login_that_is_not_finished_is_closed_after_client_login_timeout() {
    let stage = with("login_timeout", "[limits]\nclient_login_timeout = \"1s\"");
    let mut silent = Wire::open(stage.convoy.port).unwrap();
    let start = Instant::now();
    let _ = silent.farewell();
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "after {:?}",
        start.elapsed()
    );
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn idle_server_connections_are_closed_after_server_idle_timeout() {
    let stage = with("server_idle", "[pool]\nserver_idle_timeout = \"1s\"");
    let mut client = stage.client();
    client.run("begin; select 1; commit");
    wait::until("no server connection is left", wait::SOON, || {
        stage.server_connections(0) == 0
    });
    assert_eq!(client.one("/* pgconvoy: primary */ select 1"), "1");
}

#[test]
fn min_idle_connections_are_kept() {
    let stage = with(
        "min_idle",
        "[pool]\nsize = 5\nmin_idle = 2\nserver_idle_timeout = \"1s\"",
    );
    let mut clients: Vec<Wire> = (0..5).map(|_| stage.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.run("begin; select 1")));
    assert_eq!(stage.server_connections(0), 5);
    clients
        .iter_mut()
        .for_each(|client| drop(client.run("commit")));
    wait::until("two server connections are left", wait::SOON, || {
        stage.server_connections(0) == 2
    });
}

#[test]
fn server_connections_are_replaced_after_server_lifetime() {
    let stage = with(
        "server_lifetime",
        "[pool]\nsize = 1\nserver_lifetime = \"1s\"",
    );
    let mut client = stage.client();
    let first = client.one("select pg_backend_pid()");
    wait::until("another server connection is used", wait::SOON, || {
        client.one("select pg_backend_pid()") != first
    });
    // One that is in use is not cut off.
    let mut holder = stage.client();
    let held = holder.run("begin; select pg_backend_pid()");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(holder.run("select pg_backend_pid()"), held);
    }
    holder.run("commit");
}

#[test]
fn server_that_accepts_and_says_nothing_is_given_up_after_connect_timeout() {
    let black_hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = black_hole.local_addr().unwrap().port();
    let nodes = [pgconvoy_tests::shared::cluster().nodes[0].port, port];
    let setup = pgconvoy_tests::convoy::Convoy::before(&nodes);
    let convoy = setup
        .with("[pool]\nconnect_timeout = \"1s\"\n[health]\ncheck_timeout = \"1s\"")
        .start();
    let mut client = convoy.connect("app", "postgres").unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.one("select 1"), "1");
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "took {:?}",
        start.elapsed()
    );
    wait::until("the silent node is down", wait::SOON, || {
        pgconvoy_tests::show::nodes(&mut client, "pg_status")[1] == "down"
    });
}
