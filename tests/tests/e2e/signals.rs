//! Signals: SIGTERM and SIGINT drain, SIGHUP reloads what may change live.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::Wire;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Waits until new clients are turned away, by a closed port or by words.
fn wait_refusing(stage: &Stage) {
    wait::until("new clients are refused", wait::SOON, || {
        stage.convoy.connect("app", &stage.database).is_err()
    });
}

#[test]
fn sigterm_and_sigint_let_transactions_finish_and_refuse_new_clients() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::with("drain", |setup| setup.top("drain_timeout = \"20s\""));
        stage.seed("create table t (a int)");
        let (mut busy, mut idle) = (stage.client(), stage.client());
        idle.run("select 1");
        busy.run("begin; insert into t values (1)");
        stage.convoy.signal(signal);
        wait_refusing(&stage);
        let error = idle.farewell().expect("words for the idle client");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "57P01"),
            "{error}"
        );
        busy.run("insert into t values (2)");
        busy.run("commit");
        let start = Instant::now();
        let status = stage.convoy.wait_end(Duration::from_secs(15));
        assert!(status.success(), "{signal:?}: {status}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "took {:?} after the commit",
            start.elapsed()
        );
        assert_eq!(stage.direct(0).one("select count(*) from t"), "2");
    }
}

#[test]
fn drain_is_bounded() {
    let stage = Stage::with("drain_bounded", |setup| setup.top("drain_timeout = \"1s\""));
    stage.seed("create table t (a int)");
    let mut stuck = stage.client();
    stuck.run("begin; insert into t values (1)");
    let start = Instant::now();
    stage.convoy.signal(Signal::TERM);
    stage.convoy.wait_end(Duration::from_secs(15));
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "ended after {:?}",
        start.elapsed()
    );
    wait::until("the transaction is rolled back", wait::SOON, || {
        stage.server_connections(0) == 0
    });
    assert_eq!(stage.direct(0).one("select count(*) from t"), "0");
}

#[test]
fn second_sigterm_ends_it_at_once() {
    let stage = Stage::with("drain_twice", |setup| setup.top("drain_timeout = \"60s\""));
    let mut stuck = stage.client();
    stuck.run("begin");
    stage.convoy.signal(Signal::TERM);
    wait_refusing(&stage);
    stage.convoy.signal(Signal::TERM);
    stage.convoy.wait_end(Duration::from_secs(10));
}

#[test]
fn readiness_is_gone_while_it_drains() {
    let stage = Stage::with("drain_ready", |setup| setup.top("drain_timeout = \"20s\""));
    let mut busy = stage.client();
    busy.run("begin");
    stage.convoy.signal(Signal::TERM);
    wait::until("readyz says 503", wait::SOON, || {
        pgconvoy_tests::http::get(stage.convoy.http, "/readyz")
            .map_or(true, |page| page.status == 503)
    });
    busy.run("commit");
    stage.convoy.wait_end(Duration::from_secs(15));
}

const APP: &str = "[[user]]\nname = \"app\"\nauth = \"trust\"\n";

#[test]
fn sighup_takes_over_what_may_change_live() {
    let stage = Stage::with("reload", |setup| {
        setup
            .with(APP)
            .with("[limits]\nmax_client_connections = 3\n")
    });
    let mut old = stage.client();
    old.run("begin");
    assert!(stage.convoy.connect("other", &stage.database).is_err());
    let newcomer = "[[user]]\nname = \"other\"\nauth = \"trust\"\n[limits]\nmax_client_connections = 50\n[pool]\nsize = 7\n";
    stage.convoy.reload(|setup| setup.with(APP).with(newcomer));
    wait::until("the new user may log in", wait::SOON, || {
        stage.convoy.connect("other", &stage.database).is_ok()
    });
    let clients: Vec<Wire> = (0..10).map(|_| stage.client()).collect();
    assert_eq!(clients.len(), 10);
    old.run("commit");
    // A user that is gone is refused, and one who is in stays.
    stage
        .convoy
        .reload(|setup| setup.with("[[user]]\nname = \"other\"\nauth = \"trust\"\n"));
    wait::until("the old user is refused", wait::SOON, || {
        stage.convoy.connect("app", &stage.database).is_err()
    });
    assert_eq!(old.one("select 1"), "1");
}

#[test]
fn sighup_changes_the_weights_of_the_nodes() {
    let stage = Stage::new("reload_weights");
    stage.seed("create table t as select 1 as a");
    stage.convoy.reload(|setup| setup.weights(&[1, 1, 0]));
    let mut client = stage.client();
    wait::until("node 2 serves no reads", wait::SOON, || {
        let before = stage.counts()[2].select;
        (0..10).for_each(|_| drop(client.run("select a from t")));
        stage.counts()[2].select == before
    });
}

#[test]
fn sighup_with_a_bad_file_changes_nothing_and_says_why() {
    let stage = Stage::with("reload_bad", |setup| setup.with(APP));
    stage
        .convoy
        .write_config("listen = \"127.0.0.1:1\"\n[pool]\nsise = 3\n");
    stage.convoy.signal(Signal::HUP);
    stage.convoy.wait_log(&["pool.sise"]);
    assert_eq!(stage.client().one("select 1"), "1");
    assert_eq!(stage.convoy.page("/readyz").status, 200);
}

#[test]
fn sighup_names_what_needs_a_restart() {
    let stage = Stage::with("reload_restart", |setup| setup.with(APP));
    stage
        .convoy
        .reload(|setup| setup.top("workers = 3").with(APP));
    stage.convoy.wait_log(&["workers", "restart"]);
    assert_eq!(stage.client().one("select 1"), "1");
}
