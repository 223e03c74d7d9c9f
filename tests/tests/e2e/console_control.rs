//! The admin console: the commands that act, seen by the clients and by PostgreSQL.

use crate::console::console;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire, tags};
use pgconvoy_tests::{show, wait};
use std::time::{Duration, Instant};

/// Sends a statement and does not wait for its answer.
pub(crate) fn begin(client: &mut Wire, sql: &str) {
    client.send(Batch::new().query(sql).bytes());
}

/// One column of the test's database in SHOW DATABASES.
pub(crate) fn database(console: &mut Wire, stage: &Stage, column: &str) -> String {
    let all = show::table(console, "show databases");
    let own = all.iter().find(|row| row["name"] == stage.database);
    own.expect("the database")[column].clone()
}

pub(crate) fn wait_waiting(console: &mut Wire, count: usize) {
    wait::until(&format!("{count} clients wait"), wait::SOON, || {
        let clients = show::table(console, "show clients");
        clients
            .iter()
            .filter(|c| c["state"] == "waiting" && c["database"] != "pgbouncer")
            .count()
            == count
    });
}

#[test]
fn disable_turns_new_clients_away_until_enable() {
    let stage = Stage::new("disable");
    let mut admin = console(&stage);
    let mut inside = stage.client();
    admin.run(&format!("disable {}", stage.database));
    assert_eq!(database(&mut admin, &stage, "disabled"), "1");
    let error = stage
        .convoy
        .connect("app", &stage.database)
        .err()
        .expect("refused");
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "55000")
    );
    assert!(error.fields[&'H'].contains("ENABLE"), "{error}");
    assert_eq!(inside.one("select 1"), "1", "who is in may stay");
    admin.run(&format!("enable {}", stage.database));
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn reconnect_renews_each_connection_when_it_is_free_and_wait_close_waits_for_the_last() {
    for name in [false, true] {
        let stage = Stage::new("reconnect");
        let (mut admin, mut other) = (console(&stage), console(&stage));
        let (mut busy, mut idle) = (stage.client(), stage.client());
        busy.run("begin");
        let held = busy.one("select pg_backend_pid()");
        let free = idle.one("begin; select pg_backend_pid(); commit");
        assert_ne!(held, free);
        let what = if name {
            format!(" {}", stage.database)
        } else {
            String::new()
        };
        admin.run(&format!("reconnect{what}"));
        wait::until("the free one is closed", wait::SOON, || {
            stage.server_connections(0) == 1
        });
        begin(&mut admin, &format!("wait_close{what}"));
        assert_eq!(
            busy.one("select pg_backend_pid()"),
            held,
            "a transaction goes on"
        );
        let servers = show::table(&mut other, "show servers");
        let marked: Vec<_> = servers
            .iter()
            .filter(|s| s["close_needed"] == "1")
            .collect();
        assert_eq!(marked.len(), 1, "{servers:?}");
        assert_eq!(marked[0]["remote_pid"], held);
        wait::until("WAIT_CLOSE waits", wait::SOON, || {
            show::table(&mut other, "show clients")
                .iter()
                .any(|c| c["id"] == admin.key.0.to_string() && c["state"] == "active")
        });
        busy.run("commit");
        assert_eq!(tags(&admin.until_ready()), "CZ");
        let next = busy.one("begin; select pg_backend_pid(); commit");
        assert!(next != held && next != free);
    }
}

#[test]
fn kill_ends_clients_and_servers_of_a_database_and_pauses_it() {
    let stage = Stage::new("kill");
    stage.seed("create table t (a int)");
    let mut admin = console(&stage);
    let (mut busy, mut idle, mut waiter) = (stage.client(), stage.client(), stage.client());
    let mut foreign = stage.convoy.connect("app", "postgres").unwrap();
    foreign.run("begin");
    idle.run("select 1");
    busy.run("begin; insert into t values (1)");
    begin(&mut waiter, "begin; select pg_sleep(60)");
    stage.wait_activity("query like '%pg_sleep%'", 1);
    let start = Instant::now();
    admin.run(&format!("kill {}", stage.database));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    for client in [&mut busy, &mut idle, &mut waiter] {
        let error = client.farewell().expect("words");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "57P01")
        );
    }
    wait::until("no server connection is left", wait::SOON, || {
        stage.server_connections(0) == 0
    });
    assert_eq!(stage.direct(0).one("select count(*) from t"), "0");
    assert_eq!(database(&mut admin, &stage, "paused"), "1");
    foreign.run("commit");
    let mut next = stage.client();
    begin(&mut next, "select 1");
    wait_waiting(&mut admin, 1);
    admin.run(&format!("resume {}", stage.database));
    assert_eq!(tags(&next.until_ready()), "TDCZ");
}

#[test]
fn kill_client_ends_one_client_whatever_it_does() {
    let stage = Stage::with("kill_client", |setup| setup.with("[pool]\nsize = 1"));
    let mut admin = console(&stage);
    let (mut holder, mut waiter, mut stays) = (stage.client(), stage.client(), stage.client());
    holder.run("begin; select 1");
    begin(&mut waiter, "select 1");
    wait_waiting(&mut admin, 1);
    for client in [&mut waiter, &mut holder] {
        admin.run(&format!("kill_client {}", client.key.0));
        assert_eq!(client.farewell().expect("words").code, "57P01");
    }
    assert_eq!(stays.one("select 1"), "1");
    assert_eq!(admin.fails("kill_client 2147483647").code, "42704");
    let own = admin.key.0;
    begin(&mut admin, &format!("kill_client {own}"));
    let error = admin.farewell().expect("words");
    assert_eq!(error.code, "57P01", "a console is a client, too");
}

#[test]
fn reload_takes_changes_over_and_tells_what_is_wrong_with_a_file() {
    let stage = Stage::new("console_reload");
    let mut admin = console(&stage);
    let value = |admin: &mut Wire, key: &str| {
        let config = show::table(admin, "show config");
        let row = config
            .iter()
            .find(|row| row["key"] == key)
            .expect("the key");
        row["value"].clone()
    };
    assert_eq!(value(&mut admin, "pool.size"), "20");
    let node = pgconvoy_tests::shared::cluster().nodes[0].port;
    let head = format!(
        "listen = \"127.0.0.1:{}\"\n[[node]]\naddress = \"127.0.0.1:{node}\"\n\
         [http]\nlisten = \"127.0.0.1:{}\"\n",
        stage.convoy.port, stage.convoy.http
    );
    stage
        .convoy
        .write_config(&format!("{head}[pool]\nsize = 5\nsise = 6\n"));
    let error = admin.fails("reload");
    assert_eq!(error.code, "F0000");
    assert!(
        error.message.contains("pgconvoy.toml:8: pool.sise"),
        "{error}"
    );
    assert_eq!(value(&mut admin, "pool.size"), "20", "nothing was changed");
    stage
        .convoy
        .write_config(&format!("{head}[pool]\nsize = 5\n"));
    admin.run("reload");
    assert_eq!(value(&mut admin, "pool.size"), "5");
    let notice = admin.notices.pop().expect("what waits for a restart");
    assert!(notice.message.contains("node["), "{notice}");
}

#[test]
fn shutdown_ends_at_once_and_says_so_to_all() {
    let stage = Stage::with("shutdown", |setup| setup.top("drain_timeout = \"60s\""));
    let mut admin = console(&stage);
    let mut busy = stage.client();
    busy.run("begin; select 1");
    begin(&mut admin, "shutdown");
    assert_eq!(busy.farewell().expect("words").code, "57P01");
    assert_eq!(tags(&admin.until_ready()), "CZ");
    assert_eq!(admin.farewell().expect("words").code, "57P01");
    assert!(stage.convoy.wait_end(Duration::from_secs(15)).success());
}

#[test]
fn shutdown_wait_for_servers_lets_transactions_finish() {
    let stage = Stage::with("shutdown_servers", |setup| {
        setup.top("drain_timeout = \"60s\"")
    });
    stage.seed("create table t (a int)");
    let mut admin = console(&stage);
    let (mut busy, mut idle) = (stage.client(), stage.client());
    busy.run("begin; insert into t values (1)");
    begin(&mut admin, "shutdown wait_for_servers");
    assert_eq!(tags(&admin.until_ready()), "CZ");
    assert_eq!(idle.farewell().expect("words").code, "57P01");
    busy.run("commit");
    assert!(stage.convoy.wait_end(Duration::from_secs(15)).success());
    assert_eq!(stage.direct(0).one("select count(*) from t"), "1");
}

#[test]
fn shutdown_wait_for_clients_waits_until_they_leave() {
    let stage = Stage::with("shutdown_clients", |setup| {
        setup.top("drain_timeout = \"1s\"")
    });
    let mut admin = console(&stage);
    let mut client = stage.client();
    admin.run("shutdown wait_for_clients");
    wait::until("new clients are refused", wait::SOON, || {
        stage.convoy.connect("app", &stage.database).is_err()
    });
    let start = Instant::now();
    wait::until("longer than drain_timeout", wait::SOON, || {
        assert_eq!(client.one("select 1"), "1", "it may go on");
        start.elapsed() > Duration::from_millis(1500)
    });
    assert_eq!(admin.one("select 1"), "1", "the console, too");
    client.close();
    admin.close();
    assert!(stage.convoy.wait_end(Duration::from_secs(15)).success());
}
