//! Caps on server connections and on clients hold, say which they are, and keep nobody else waiting.

use pgconvoy_tests::http;
use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Everybody is trusted; all statements go to the primary.
fn primary_only(name: &str, top: &str, toml: &str) -> Stage {
    Stage::with(name, |setup| {
        setup
            .top(top)
            .with("[routing]\nsplit_reads = false")
            .with(toml)
    })
}

fn other(stage: &Stage) -> Wire {
    stage.convoy.connect("other", &stage.database).unwrap()
}

/// Server connections of pools to this test's database, on all nodes.
fn open(stage: &Stage) -> usize {
    open_where(stage, "true")
}

fn open_where(stage: &Stage, condition: &str) -> usize {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = current_database() \
         and usename in ('app', 'other') and {condition}"
    );
    (0..3)
        .map(|node| stage.direct(node).one(&sql).parse::<usize>().unwrap())
        .sum()
}

fn waiting(stage: &Stage) -> f64 {
    http::sum(&stage.convoy.page("/metrics").body, "pgconvoy_pool_waiting")
}

#[test]
fn cap_on_all_server_connections_holds_over_pools_nodes_and_workers() {
    let stage = Stage::with("cap_all", |setup| {
        setup
            .top("workers = 3")
            .with("[limits]\nmax_server_connections = 3")
    });
    stage.seed("create table t (a int); grant all on t to other");
    let (most, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (stage, done) = (&stage, &done);
            scope.spawn(move || {
                let mut client = if number % 2 == 0 {
                    stage.client()
                } else {
                    other(stage)
                };
                for _ in 0..8 {
                    client.run("begin; insert into t values (1); select pg_sleep(0.002); commit");
                    client.run("select count(*) from t");
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        while done.load(Ordering::Relaxed) < 12 {
            // One that was closed while idle may still show as idle for a moment.
            let busy = open_where(&stage, "state <> 'idle'");
            most.fetch_max(busy, Ordering::Relaxed);
        }
    });
    let most = most.into_inner();
    assert!((1..=3).contains(&most), "{most} server connections at once");
    wait::until("three are left", wait::SOON, || open(&stage) <= 3);
    assert_eq!(stage.direct(0).one("select count(*) from t"), "96");
    let all = [("kind", "all"), ("name", "all")];
    wait::until("the cap is shown", wait::SOON, || {
        let page = stage.convoy.page("/metrics").body;
        http::sample(&page, "pgconvoy_cap_limit", &all) == Some(3.0)
    });
}

#[test]
fn idle_connection_of_another_pool_is_closed_to_make_room() {
    let stage = primary_only("cap_idle", "", "[limits]\nmax_server_connections = 1");
    let (mut app, mut second) = (stage.client(), other(&stage));
    for _ in 0..3 {
        assert_eq!(app.one("select current_user"), "app");
        assert_eq!(second.one("select current_user"), "other");
        // The server takes a moment to notice that the other one is closed.
        wait::until("one is left", wait::SOON, || open(&stage) == 1);
    }
    wait::until("the closed ones are counted", wait::SOON, || {
        http::sum(
            &stage.convoy.page("/metrics").body,
            "pgconvoy_cap_closed_total",
        ) >= 5.0
    });
}

/// A client of `app` holds the one connection allowed: `blocked` waits and is told why, `free` runs.
fn holds_only(name: &str, toml: &str, key: &str, free: bool) {
    let toml = format!("{toml}\n[pool]\nquery_wait_timeout = \"700ms\"");
    let stage = primary_only(name, "", &toml);
    let (mut holder, mut second, mut stranger) = (stage.client(), stage.client(), other(&stage));
    holder.run("begin; select pg_advisory_xact_lock(1)");
    let error = second.fails("create table never ()");
    assert_eq!(error.code, "53300", "{error}");
    assert!(error.to_string().contains(key), "{error}");
    if free {
        assert_eq!(stranger.one("select current_user"), "other");
    } else {
        assert_eq!(stranger.fails("select 1").code, "53300");
    }
    holder.run("commit");
    second.run("create table now ()");
    assert_eq!(stranger.one("select current_user"), "other");
}

#[test]
fn cap_of_a_user_holds_for_that_user_alone() {
    holds_only(
        "cap_user",
        "[[user]]\nname = \"app\"\nauth = \"trust\"\nmax_server_connections = 1\n\
         [[user]]\nname = \"other\"\nauth = \"trust\"",
        "max_server_connections of user \"app\" (1)",
        true,
    );
}

#[test]
fn default_cap_of_every_user_holds_for_each_alone() {
    holds_only(
        "cap_users",
        "[limits]\nmax_user_server_connections = 1",
        "max_server_connections of user \"app\" (1)",
        true,
    );
}

#[test]
fn cap_of_a_database_holds_for_all_its_users() {
    holds_only(
        "cap_database",
        "[limits]\nmax_database_server_connections = 1",
        "(1)",
        false,
    );
}

#[test]
fn cap_of_a_node_holds_for_all_its_pools() {
    let database = shared::database("cap_node");
    let port = shared::cluster().nodes[0].port;
    let convoy = pgconvoy_tests::convoy::Convoy::before(&[])
        .with(&format!(
            "[[node]]\naddress = \"127.0.0.1:{port}\"\nmax_server_connections = 1\n\
             [pool]\nquery_wait_timeout = \"700ms\""
        ))
        .start();
    let (mut app, mut other) = (
        convoy.connect("app", &database).unwrap(),
        convoy.connect("other", &database).unwrap(),
    );
    app.run("begin; select pg_advisory_xact_lock(1)");
    let error = other.fails("select 1");
    assert!(
        error.to_string().contains("max_server_connections of node"),
        "{error}"
    );
    app.run("commit");
    assert_eq!(other.one("select current_user"), "other");
}

#[test]
fn changed_caps_take_effect_at_a_reload() {
    let stage = primary_only("cap_reload", "", "[limits]\nmax_server_connections = 1");
    let (mut app, mut second) = (stage.client(), other(&stage));
    app.run("begin; select pg_advisory_xact_lock(1)");
    second.send(Batch::new().query("select current_user").bytes());
    wait::until("the other user waits", wait::SOON, || {
        waiting(&stage) >= 1.0
    });
    stage.convoy.reload(|setup| {
        setup.with("[routing]\nsplit_reads = false\n[limits]\nmax_server_connections = 2")
    });
    let answer = second.until_ready();
    assert!(answer.iter().all(|message| message.tag != b'E'));
    stage.convoy.reload(|setup| {
        setup.with("[routing]\nsplit_reads = false\n[limits]\nmax_server_connections = 1")
    });
    wait::until("the cap is lowered again", wait::SOON, || {
        let page = stage.convoy.page("/metrics").body;
        http::sum(&page, "pgconvoy_cap_limit") == 1.0
    });
    second.run("select 1");
    wait::until("one connection is left", wait::SOON, || open(&stage) == 1);
    app.run("commit");
}

#[test]
fn reserve_is_opened_for_who_waits_long_and_closed_again() {
    let stage = primary_only(
        "reserve",
        "",
        "[pool]\nsize = 1\nreserve_size = 1\nreserve_timeout = \"500ms\"",
    );
    let mut clients: Vec<Wire> = (0..3).map(|_| stage.client()).collect();
    clients[0].run("begin; select pg_advisory_xact_lock(1)");
    let start = Instant::now();
    clients[1].run("begin; select 1");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(490), "after {waited:?}");
    assert!(waited < Duration::from_secs(10), "after {waited:?}");
    clients[2].send(Batch::new().query("select 1").bytes());
    let in_use = || {
        let page = stage.convoy.page("/metrics").body;
        http::sum(&page, "pgconvoy_pool_reserve_connections")
    };
    wait::until("the reserve is in use and no more", wait::SOON, || {
        waiting(&stage) >= 1.0 && in_use() == 1.0
    });
    assert_eq!(stage.server_connections(0), 2);
    clients[0].run("commit");
    clients[2].until_ready();
    clients[1].run("commit");
    wait::until("the reserve is closed", wait::SOON, || {
        stage.server_connections(0) == 1 && in_use() == 0.0
    });
}

/// The refusal of a third client, which names the key; others come in.
fn third_is_refused(name: &str, toml: &str, words: &str, party: &str) {
    let stage = Stage::with(name, |setup| {
        setup.with(&format!(
            "{toml}\n[[user]]\nname = \"app\"\nauth = \"trust\"\n\
             [[user]]\nname = \"other\"\nauth = \"trust\"\n\
             [[user]]\nname = \"postgres\"\nauth = \"trust\"\nadmin = true"
        ))
    });
    let (first, mut second) = (stage.client(), stage.client());
    let refused = stage
        .convoy
        .connect("app", &stage.database)
        .err()
        .expect("refused");
    assert_eq!(
        (refused.severity.as_str(), refused.code.as_str()),
        ("FATAL", "53300"),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(text.contains(words) && text.contains(party), "{refused}");
    let (user, database) = match party {
        "user" => ("other", stage.database.as_str()),
        _ => ("app", "postgres"),
    };
    let mut elsewhere = stage.convoy.connect(user, database).unwrap();
    assert_eq!(elsewhere.one("select 1"), "1");
    // As in PostgreSQL, administrators are let in.
    let mut admin = stage.convoy.connect("postgres", &stage.database).unwrap();
    assert_eq!(admin.one("select 1"), "1");
    assert_eq!(second.one("select 1"), "1");
    admin.close();
    first.close();
    wait::until("there is room again", wait::SOON, || {
        stage.convoy.connect("app", &stage.database).is_ok()
    });
}

#[test]
fn user_past_its_client_limit_is_refused_with_its_name() {
    third_is_refused(
        "clients_user",
        "[limits]\nmax_user_client_connections = 2",
        "too many connections for user \"app\"",
        "user",
    );
}

#[test]
fn database_past_its_client_limit_is_refused_with_its_name() {
    third_is_refused(
        "clients_database",
        "[limits]\nmax_database_client_connections = 2",
        "too many connections for database",
        "database",
    );
}

#[test]
fn full_server_is_waited_for_at_login_and_by_statements_while_others_are_served() {
    let stage = primary_only("full_server", "workers = 2", "");
    let role = format!("one_of_{}", stage.database);
    stage
        .direct(0)
        .run(&format!("create role {role} login connection limit 1"));
    let port = shared::cluster().nodes[0].port;
    let taken = Wire::connect(port, &role, &stage.database).unwrap();
    std::thread::scope(|scope| {
        let login = scope.spawn(|| {
            let mut wire = stage.convoy.connect(&role, &stage.database).unwrap();
            wire.one("select current_user")
        });
        wait::until("the login waits", wait::SOON, || waiting(&stage) >= 1.0);
        let mut app = stage.client();
        for _ in 0..50 {
            app.run("select 1");
        }
        assert!(!login.is_finished(), "the server is still full");
        taken.close();
        assert_eq!(login.join().unwrap(), role);
    });
    // And with the login known: the pool's connection is gone, the server full again.
    let mut wire = stage.convoy.connect(&role, &stage.database).unwrap();
    let sql = format!(
        "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where usename = '{role}'"
    );
    stage.direct(0).run(&sql);
    let taken = Wire::connect(port, &role, &stage.database).unwrap();
    wire.send(Batch::new().query("select current_user").bytes());
    wait::until("the statement waits", wait::SOON, || waiting(&stage) >= 1.0);
    taken.close();
    let answer = wire.until_ready();
    assert!(answer.iter().all(|message| message.tag != b'E'));
}

#[test]
fn reads_go_elsewhere_while_the_replicas_are_full() {
    let stage = Stage::new("full_replicas");
    let role = format!("one_of_{}", stage.database);
    stage
        .direct(0)
        .run(&format!("create role {role} login connection limit 1"));
    stage.settle();
    let direct = |node: usize| {
        let port = shared::cluster().nodes[node].port;
        Wire::connect(port, &role, &stage.database).unwrap()
    };
    // A server connection to the primary is there since the login; to no replica there can be one.
    let mut wire = stage.convoy.connect(&role, &stage.database).unwrap();
    let _taken = (direct(1), direct(2));
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(wire.one("select current_user"), role);
    }
    assert!(start.elapsed() < wait::SOON, "took {:?}", start.elapsed());
    assert!(stage.counts()[0].select >= 5, "the primary answers");
}

#[test]
fn server_that_refuses_logins_is_not_asked_again_and_again() {
    let stage = primary_only("hammer", "", "");
    let missing = format!("{}_missing", stage.database);
    for _ in 0..60 {
        let error = stage
            .convoy
            .connect("app", &missing)
            .err()
            .expect("refused");
        assert_eq!(error.code, "3D000", "{error}");
    }
    let log = shared::cluster().nodes[0].log();
    let asked = log
        .lines()
        .filter(|line| line.contains(&missing) && line.contains("does not exist"))
        .count();
    assert!((1..=15).contains(&asked), "asked {asked} times");
    // It is asked again, and soon enough.
    stage.direct(0).run(&format!("create database {missing}"));
    wait::until("the new database is found", wait::SOON, || {
        stage.convoy.connect("app", &missing).is_ok()
    });
}

#[test]
fn pools_of_listed_users_and_databases_are_warm_before_any_client_comes() {
    let database = shared::database("warm");
    let convoy = pgconvoy_tests::convoy::Convoy::before(&shared::cluster().ports())
        .with(&format!(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\n\
             [[database]]\nname = \"{database}\"\nmin_idle = 2"
        ))
        .start();
    let stage = Stage { convoy, database };
    wait::until("two connections to each node", wait::SOON, || {
        (0..3).all(|node| stage.server_connections(node) == 2)
    });
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn connections_are_replaced_before_they_expire_and_no_client_waits_for_it() {
    let stage = primary_only(
        "renewed",
        "workers = 1",
        "[pool]\nserver_lifetime = \"3s\"\nserver_lifetime_jitter = \"0%\"",
    );
    let mut client = stage.client();
    let mut pids = vec![client.one("select pg_backend_pid()")];
    let waits = || {
        let page = stage.convoy.page("/metrics").body;
        let all = http::sum(&page, "pgconvoy_wait_seconds_count");
        let none = [("le", "0.00001")];
        let at_once = http::sample(&page, "pgconvoy_wait_seconds_bucket", &none);
        all - at_once.expect("the first bucket")
    };
    let before = waits();
    let start = Instant::now();
    while pids.len() < 4 {
        let pid = client.one("select pg_backend_pid()");
        if pids.last() != Some(&pid) {
            pids.push(pid);
        }
        assert!(start.elapsed() < wait::SOON, "renewed {} times", pids.len());
    }
    assert_eq!(waits(), before, "nobody waited for a login");
}
