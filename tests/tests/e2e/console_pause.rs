//! The admin console: PAUSE and RESUME, seen by the clients and by PostgreSQL.

use crate::console::console;
use crate::console_control::{begin, database, wait_waiting};
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Wire, cancel, codes, tags};
use pgconvoy_tests::{show, wait};
use rustix::process::Signal;
use std::time::{Duration, Instant};

fn wait_paused(console: &mut Wire, stage: &Stage) {
    wait::until("the database is paused", wait::SOON, || {
        database(console, stage, "paused") == "1"
    });
}

#[test]
fn pause_lets_transactions_finish_closes_connections_and_holds_statements_until_resume() {
    for name in ["", " by_name"] {
        let stage = Stage::new("pause");
        stage.seed("create table t (a int)");
        let (mut admin, mut other) = (console(&stage), console(&stage));
        let (mut busy, mut idle) = (stage.client(), stage.client());
        idle.run("select 1");
        busy.run("begin; insert into t values (1)");
        let what = if name.is_empty() {
            String::new()
        } else {
            format!(" {}", stage.database)
        };
        begin(&mut admin, &format!("pause{what}"));
        wait_paused(&mut other, &stage);
        begin(&mut idle, "insert into t values (2)");
        wait_waiting(&mut other, 1);
        busy.run("insert into t values (3)");
        // A server's process ends a moment after its connection.
        wait::until("only the transaction's is left", wait::SOON, || {
            stage.server_connections(0) == 1
        });
        busy.run("commit");
        assert_eq!(tags(&admin.until_ready()), "CZ");
        wait::until("none is left", wait::SOON, || {
            stage.server_connections(0) == 0
        });
        assert_eq!(stage.direct(0).one("select count(*) from t"), "2");
        begin(&mut busy, "insert into t values (4)");
        wait_waiting(&mut other, 2);
        other.run(&format!("resume{what}"));
        assert_eq!(tags(&idle.until_ready()), "CZ");
        assert_eq!(tags(&busy.until_ready()), "CZ");
        assert_eq!(busy.one("select count(*) from t"), "4");
        assert_eq!(other.fails(&format!("resume{what}")).code, "55000");
    }
}

#[test]
fn a_full_queue_goes_on_after_a_pause_though_who_was_first_has_left() {
    let stage = Stage::with("pause_queue", |setup| setup.with("[pool]\nsize = 1"));
    let mut admin = console(&stage);
    let mut holder = stage.client();
    holder.run("begin; select 1");
    let mut queue: Vec<Wire> = (0..6).map(|_| stage.client()).collect();
    for (n, client) in queue.iter_mut().enumerate() {
        begin(client, "begin; select pg_backend_pid(); commit");
        wait_waiting(&mut admin, n + 1);
    }
    let mut pauser = console(&stage);
    begin(&mut pauser, "pause");
    wait_paused(&mut admin, &stage);
    holder.run("commit");
    assert_eq!(tags(&pauser.until_ready()), "CZ");
    drop(queue.remove(0));
    drop(queue.remove(0));
    wait_waiting(&mut admin, 4);
    admin.run("resume");
    for client in &mut queue {
        assert_eq!(tags(&client.until_ready()), "CTDCCZ");
    }
}

#[test]
fn another_database_works_while_one_is_paused() {
    let stage = Stage::new("pause_one");
    let mut admin = console(&stage);
    stage.client().run("select 1");
    admin.run(&format!("pause {}", stage.database));
    assert_eq!(
        stage
            .convoy
            .connect("app", "postgres")
            .unwrap()
            .one("select 1"),
        "1"
    );
    assert_eq!(show::table(&mut admin, "show state")[1]["value"], "no");
    assert_eq!(admin.fails("pause nope").code, "3D000");
    let refused = stage.convoy.connect("app", "nope").err().expect("refused");
    assert_eq!(refused.code, "3D000");
    let names = show::table(&mut admin, "show databases");
    assert!(names.iter().all(|row| row["name"] != "nope"), "{names:?}");
    assert_eq!(admin.fails("pause pgbouncer").code, "22023");
}

#[test]
fn a_pause_that_is_cancelled_resumed_or_left_is_taken_back() {
    let stage = Stage::new("pause_undone");
    let mut other = console(&stage);
    let mut busy = stage.client();
    busy.run("begin; select 1");
    let mut admin = console(&stage);
    begin(&mut admin, "pause");
    wait_paused(&mut other, &stage);
    cancel(stage.convoy.port, &admin.key);
    assert_eq!(codes(&admin.until_ready()), ["57014"]);
    assert_eq!(database(&mut other, &stage, "paused"), "0");

    begin(&mut admin, "pause");
    wait_paused(&mut other, &stage);
    other.run("resume");
    assert_eq!(codes(&admin.until_ready()), ["57014"]);

    begin(&mut admin, "pause");
    wait_paused(&mut other, &stage);
    drop(admin);
    wait::until("the pause is taken back", wait::SOON, || {
        database(&mut other, &stage, "paused") == "0"
    });
    busy.run("commit");
    assert_eq!(busy.one("select 1"), "1");
}

#[test]
fn waiting_in_a_pause_is_bounded_and_can_be_cancelled() {
    let stage = Stage::with("pause_bounded", |setup| {
        setup.with("[pool]\nquery_wait_timeout = \"1s\"")
    });
    let mut admin = console(&stage);
    let mut client = stage.client();
    client.run("select 1");
    admin.run("pause");
    let start = Instant::now();
    let error = client.fails("select 1");
    assert_eq!(error.code, "57P03", "{error}");
    assert!(error.message.contains("is paused"), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(900));
    begin(&mut client, "select 1");
    wait_waiting(&mut admin, 1);
    cancel(stage.convoy.port, &client.key);
    assert_eq!(codes(&client.until_ready()), ["57014"]);
    admin.run("resume");
    assert_eq!(client.one("select 1"), "1");
}

#[test]
fn clients_may_log_in_during_a_pause() {
    let stage = Stage::new("pause_login");
    let mut admin = console(&stage);
    stage.client().run("select 1");
    admin.run("pause");
    // Known by its login before: it is let in at once, and its statement waits.
    let mut client = stage.client();
    begin(&mut client, "select 1");
    wait_waiting(&mut admin, 1);
    // Not known: a server must be asked first.
    let (port, name) = (stage.convoy.port, stage.database.clone());
    let newcomer = std::thread::spawn(move || {
        let who = [
            ("user", "app"),
            ("database", name.as_str()),
            ("search_path", "x"),
        ];
        Wire::login(port, &who, None)
            .expect("log in after the pause")
            .one("show search_path")
    });
    wait::until("it is logging in", wait::SOON, || {
        let lists = show::table(&mut admin, "show lists");
        lists
            .iter()
            .any(|row| row["list"] == "login_clients" && row["items"] == "1")
    });
    admin.run("resume");
    assert_eq!(tags(&client.until_ready()), "TDCZ");
    assert_eq!(newcomer.join().unwrap(), "x");
}

#[test]
fn sigusr1_pauses_and_sigusr2_resumes() {
    let stage = Stage::new("pause_signal");
    let mut admin = console(&stage);
    let mut client = stage.client();
    client.run("select 1");
    stage.convoy.signal(Signal::USR1);
    wait_paused(&mut admin, &stage);
    begin(&mut client, "select 1");
    wait_waiting(&mut admin, 1);
    stage.convoy.signal(Signal::USR2);
    assert_eq!(tags(&client.until_ready()), "TDCZ");
}

#[test]
fn login_that_has_to_ask_a_server_is_told_of_the_pause() {
    let stage = Stage::with("pause_login_bounded", |setup| {
        setup.with("[pool]\nquery_wait_timeout = \"1s\"")
    });
    let mut admin = console(&stage);
    stage.client().run("select 1");
    admin.run(&format!("pause {}", stage.database));
    let login = || {
        let who = [
            ("user", "app"),
            ("database", stage.database.as_str()),
            ("search_path", "x"),
        ];
        Wire::login(stage.convoy.port, &who, None)
    };
    let start = Instant::now();
    let refused = login().err().expect("refused");
    let waited = start.elapsed();
    assert_eq!(
        (refused.severity.as_str(), refused.code.as_str()),
        ("FATAL", "57P03"),
        "{refused}"
    );
    assert!(refused.message.contains("is paused"), "{refused}");
    assert!(waited >= Duration::from_millis(900), "after {waited:?}");
    assert!(waited < wait::SOON, "after {waited:?}");
    admin.run(&format!("resume {}", stage.database));
    assert_eq!(login().unwrap().one("show search_path"), "x");
}

#[test]
fn who_waits_for_a_paused_database_takes_no_connection_from_others() {
    let stage = Stage::with("pause_cap", |setup| {
        setup.with("[routing]\nsplit_reads = false\n[limits]\nmax_server_connections = 1")
    });
    let mut admin = console(&stage);
    let mut waiter = stage.client();
    let mut elsewhere = stage.convoy.connect("app", "postgres").unwrap();
    elsewhere.run("begin");
    let pid = elsewhere.one("select pg_backend_pid()");
    begin(&mut waiter, "select 1");
    wait_waiting(&mut admin, 1);
    admin.run(&format!("pause {}", stage.database));
    elsewhere.run("commit");
    for _ in 0..20 {
        assert_eq!(elsewhere.one("select pg_backend_pid()"), pid);
    }
    admin.run(&format!("resume {}", stage.database));
    assert_eq!(tags(&waiter.until_ready()), "TDCZ");
    assert_ne!(elsewhere.one("select pg_backend_pid()"), pid);
}

#[test]
fn replication_connections_go_on_during_a_pause() {
    let stage = Stage::new("pause_replication");
    let mut admin = console(&stage);
    let replicating = || {
        let who = [
            ("user", "postgres"),
            ("database", stage.database.as_str()),
            ("replication", "database"),
        ];
        Wire::login(stage.convoy.port, &who, None).unwrap()
    };
    let mut before = replicating();
    admin.run("pause");
    for client in [&mut before, &mut replicating()] {
        assert_eq!(client.run("IDENTIFY_SYSTEM").len(), 1);
    }
}

#[test]
fn nobody_is_lost_between_pauses_that_follow_each_other() {
    let stage = Stage::with("pause_storm", |setup| {
        setup
            .top("workers = 2")
            .with("[pool]\nsize = 2\n[routing]\nsplit_reads = false")
    });
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = stage.client();
                    for _ in 0..40 {
                        client.run("begin; select 1; commit");
                    }
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            stage.convoy.signal(Signal::USR1);
            std::thread::park_timeout(Duration::from_millis(4));
            stage.convoy.signal(Signal::USR2);
            std::thread::park_timeout(Duration::from_millis(12));
        }
    });
    assert_eq!(stage.client().one("select 1"), "1");
}
