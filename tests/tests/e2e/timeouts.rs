//! Every timeout does what it says, and only to the session it is about.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, ServerError, Wire};
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

#[test]
fn who_waits_long_is_told_what_for_and_then_served() {
    let stage = with(
        "wait_notify",
        "[pool]\nsize = 1\nquery_wait_notify = \"300ms\"",
    );
    let mut holder = stage.client();
    holder.run("begin; select pg_advisory_xact_lock(1)");
    let mut waiting = stage.client();
    waiting.send(Batch::new().query("create table t ()").bytes());
    let notice = waiting.message();
    assert_eq!(notice.tag, b'N');
    let notice = ServerError::parse(&notice.body);
    assert_eq!(
        (notice.severity.as_str(), notice.code.as_str()),
        ("NOTICE", "00000"),
        "{notice}"
    );
    assert!(notice.to_string().contains("pool.size"), "{notice}");
    holder.run("commit");
    let answer = waiting.until_ready();
    assert_eq!(pgconvoy_tests::wire::tags(&answer), "CZ", "told once");
}

#[test]
fn long_transaction_is_ended_after_transaction_timeout() {
    let stage = with(
        "transaction_timeout",
        "[limits]\ntransaction_timeout = \"1s\"",
    );
    stage.seed("create table t (a int)");
    let (mut long, mut brief) = (stage.client(), stage.client());
    long.run("begin; insert into t values (1)");
    let start = Instant::now();
    let error = loop {
        brief.run("begin; select 1; commit");
        if let Err(error) = long.query("select 1") {
            break error;
        }
        assert!(start.elapsed() < wait::SOON, "never ended");
    };
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "25P04"),
        "{error}"
    );
    assert!(start.elapsed() > Duration::from_millis(900));
    brief.run("select 1");
    assert_eq!(
        brief.one("/* pgconvoy: primary */ select count(*) from t"),
        "0"
    );
}

#[test]
fn times_of_a_user_win_over_those_of_all() {
    let stage = with(
        "user_times",
        "[limits]\nquery_timeout = \"1s\"\n\
         [[user]]\nname = \"app\"\nauth = \"trust\"\nquery_timeout = \"off\"\n\
         idle_in_transaction_timeout = \"1s\"\n\
         [[user]]\nname = \"other\"\nauth = \"trust\"",
    );
    let (mut app, mut idler) = (stage.client(), stage.client());
    let mut other = stage.convoy.connect("other", &stage.database).unwrap();
    idler.run("begin");
    assert_eq!(app.one("select 'whole' from pg_sleep(2)"), "whole");
    assert_eq!(other.fails("select pg_sleep(60)").code, "57014");
    let error = idler.farewell().expect("words before the close");
    assert_eq!(error.code, "25P03", "{error}");
}

#[test]
fn idle_connection_that_does_not_answer_is_found_before_it_is_lent() {
    let stage = with(
        "check_delay",
        "[pool]\nserver_check_delay = \"1s\"\n[routing]\nsplit_reads = false",
    );
    let mut client = stage.client();
    let pid: i32 = client.one("select pg_backend_pid()").parse().unwrap();
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let told = wait::within(Duration::from_secs(40), || {
        stage.convoy.log().contains("did not answer").then_some(())
    });
    // Awake again before anything can fail, or the server could not be stopped.
    let answer = client.one("select pg_backend_pid()");
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    assert!(told.is_some(), "it was not found");
    assert_ne!(answer, pid.to_string());
}
