//! Server connections are shared, bounded, and never handed on dirty.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire};
use std::time::{Duration, Instant};

/// One server connection on the primary for everybody.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 1").with("[pool]\nsize = 1")
    });
    stage.seed("create table t (id serial primary key, a int)");
    stage
}

#[test]
fn two_thousand_idle_clients_share_twenty_server_connections() {
    let stage = Stage::with("idle", |setup| {
        setup.with("[pool]\nsize = 20\n[limits]\nmax_client_connections = 2100")
    });
    stage.seed("create table t as select 1 as a");
    let mut clients: Vec<Wire> = (0..2000).map(|_| stage.client()).collect();
    let work = |some: &mut [Wire]| {
        for client in some {
            assert_eq!(client.one("select 1 from t limit 1"), "1");
            client.run("begin; insert into t values (2); commit");
        }
    };
    std::thread::scope(|scope| {
        clients
            .chunks_mut(50)
            .for_each(|some| drop(scope.spawn(|| work(some))))
    });
    for node in 0..3 {
        let connections = stage.server_connections(node);
        assert!(
            (1..=20).contains(&connections),
            "node {node}: {connections} server connections"
        );
    }
    let page = stage.convoy.page("/metrics").body;
    assert_eq!(
        pgconvoy_tests::http::sample(&page, "pgconvoy_client_connections", &[]),
        Some(2000.0)
    );
    work(&mut clients);
}

#[test]
fn server_connection_returns_when_the_transaction_ends() {
    let stage = single("returns");
    let (mut first, mut second) = (stage.client(), stage.client());
    for _ in 0..20 {
        first.run("begin; insert into t (a) values (1); commit");
        second
            .execute("insert into t (a) values ($1)", &["2"])
            .unwrap();
        let pids = [
            first.one("select pg_backend_pid()"),
            second.one("select pg_backend_pid()"),
        ];
        assert_eq!(pids[0], pids[1]);
    }
    assert_eq!(stage.server_connections(0), 1);
}

#[test]
fn client_killed_in_mid_transaction_leaves_nothing_behind() {
    let stage = single("killed");
    let mut victim = stage.client();
    victim.run("begin; lock table t; insert into t (a) values (666)");
    drop(victim);
    let mut next = stage.client();
    assert_eq!(next.one("select count(*) from t where a = 666"), "0");
    next.run("begin");
    assert_eq!(
        next.one("select count(*) from pg_locks where relation = 't'::regclass"),
        "0"
    );
    next.run("insert into t (a) values (1); commit");
    stage.wait_activity("state like 'idle in transaction%'", 0);
}

#[test]
fn client_killed_in_the_middle_of_a_copy_leaves_nothing_behind() {
    let stage = single("killed_copy");
    let mut victim = stage.client();
    victim.send(
        Batch::new()
            .query("copy t from stdin")
            .copy_data(b"1\t1\n2\t2\n")
            .bytes(),
    );
    assert_eq!(victim.message().tag, b'G');
    drop(victim);
    assert_eq!(
        stage
            .client()
            .one("/* pgconvoy: primary */ select count(*) from t"),
        "0"
    );
}

#[test]
fn client_killed_while_a_result_streams_leaves_the_others_unharmed() {
    let stage = single("killed_result");
    let mut victim = stage.client();
    victim.send(
        Batch::new()
            .query("begin; select repeat('x', 1000) from generate_series(1, 100000)")
            .bytes(),
    );
    victim.message();
    drop(victim);
    assert_eq!(
        stage.client().one("/* pgconvoy: primary */ select 'mine'"),
        "mine"
    );
}

#[test]
fn client_killed_before_its_sync_leaves_no_half_done_pipeline() {
    let stage = single("killed_pipeline");
    let mut victim = stage.client();
    let batch = Batch::new()
        .parse("", "insert into t (a) values (667)")
        .bind("", "", &[])
        .execute("", 0)
        .flush();
    victim.send(batch.bytes());
    assert_eq!(victim.message().tag, b'1');
    drop(victim);
    let mut next = stage.client();
    assert_eq!(
        next.one("/* pgconvoy: primary */ select count(*) from t where a = 667"),
        "0"
    );
    assert_eq!(
        next.execute("select 'mine'", &[]).unwrap()[0][0].as_deref(),
        Some("mine")
    );
}

#[test]
fn idle_server_connection_killed_by_an_administrator_is_replaced_unseen() {
    let stage = single("terminated");
    let mut client = stage.client();
    for _ in 0..3 {
        client.run("insert into t (a) values (1)");
        client.run("select a from t");
        for node in 0..3 {
            let sql = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity \
                       where datname = current_database() and usename = 'app'";
            stage.direct(node).run(sql);
        }
    }
    client.run("insert into t (a) values (2)");
    assert_eq!(client.one("select count(*) from t"), "4");
}

#[test]
fn busy_server_connection_killed_by_an_administrator_is_one_error() {
    let stage = single("terminated_busy");
    let mut client = stage.client();
    client.run("begin; insert into t (a) values (1)");
    let sql = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity \
               where datname = current_database() and usename = 'app'";
    stage.direct(0).run(sql);
    let error = client.fails("insert into t (a) values (2)");
    assert!(!error.is_lost(), "the client connection survives: {error}");
    if client.status != b'I' {
        client.run("rollback");
    }
    client.run("insert into t (a) values (3)");
    assert_eq!(client.one("select array_agg(a) from t"), "{3}");
}

#[test]
fn full_pool_gives_an_error_after_query_wait_timeout() {
    let stage = Stage::with("full", |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"500ms\"")
    });
    let mut holder = stage.client();
    holder.run("begin; select pg_advisory_xact_lock(1)");
    let mut waiting = stage.client();
    let start = Instant::now();
    let error = waiting.fails("create table t ()");
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(450)..Duration::from_secs(5)).contains(&waited),
        "after {waited:?}"
    );
    assert!(error.to_string().contains("query_wait_timeout"), "{error}");
    holder.run("commit");
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn waiting_clients_are_served_once_a_connection_is_free() {
    let stage = single("queue");
    let mut holder = stage.client();
    holder.run("begin; select pg_advisory_xact_lock(1)");
    let mut waiting: Vec<Wire> = (0..10).map(|_| stage.client()).collect();
    for client in &mut waiting {
        client.send(Batch::new().query("insert into t (a) values (1)").bytes());
    }
    wait::until("ten clients wait", wait::SOON, || {
        let page = stage.convoy.page("/metrics").body;
        pgconvoy_tests::http::sum(&page, "pgconvoy_pool_waiting") >= 10.0
    });
    holder.run("commit");
    for client in &mut waiting {
        assert!(
            client
                .until_ready()
                .iter()
                .all(|message| message.tag != b'E')
        );
    }
    assert_eq!(stage.server_connections(0), 1);
}

#[test]
fn client_past_the_limit_is_refused_at_once() {
    let stage = Stage::with("limit", |setup| {
        setup.with(
            "[limits]\nmax_client_connections = 5\nreserved_admin_connections = 1\n\
             [[user]]\nname = \"app\"\nauth = \"trust\"\n[[user]]\nname = \"postgres\"\nauth = \"trust\"\nadmin = true",
        )
    });
    let connect = |user: &str| Wire::connect(stage.convoy.port, user, &stage.database);
    let mut clients = Vec::new();
    let start = Instant::now();
    let refused = loop {
        match connect("app") {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(
        (refused.severity.as_str(), refused.code.as_str()),
        ("FATAL", "53300"),
        "{refused}"
    );
    assert!(
        (4..=5).contains(&clients.len()),
        "{} were let in",
        clients.len()
    );
    let mut admin =
        connect("postgres").unwrap_or_else(|error| panic!("the reserved slot: {error}"));
    assert_eq!(admin.one("select 1"), "1");
    for client in &mut clients {
        assert_eq!(client.one("select 1"), "1");
    }
    // The reserved slot is kept free again once the admin has left, as PostgreSQL counts.
    admin.close();
    clients.pop().unwrap().close();
    wait::until("a slot is free again", wait::SOON, || {
        connect("app").is_ok()
    });
}

#[test]
fn pools_of_different_users_do_not_wait_for_each_other() {
    let stage = single("two_users");
    let mut app = stage.client();
    app.run("begin; select pg_advisory_xact_lock(1)");
    let mut other = stage.convoy.connect("other", &stage.database).unwrap();
    assert_eq!(other.one("select current_user, pg_backend_pid()"), "other");
    assert_eq!(app.one("select current_user, pg_backend_pid()"), "app");
    app.run("commit");
}

#[test]
fn pool_size_is_a_promise_for_all_workers_together() {
    let stage = Stage::with("budget", |setup| {
        setup.top("workers = 4").with("[pool]\nsize = 3")
    });
    stage.seed("create table t (a int)");
    let most = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = stage.client();
                (0..10).for_each(|_| {
                    drop(
                        client
                            .run("begin; insert into t values (1); select pg_sleep(0.005); commit"),
                    )
                });
            });
        }
        scope.spawn(|| {
            for _ in 0..15 {
                most.fetch_max(
                    stage.server_connections(0),
                    std::sync::atomic::Ordering::Relaxed,
                );
            }
        });
    });
    let most = most.into_inner();
    assert!((1..=3).contains(&most), "{most} server connections at once");
    assert_eq!(stage.direct(0).one("select count(*) from t"), "240");
}

#[test]
fn per_user_and_per_database_settings_override_the_pool() {
    let stage = Stage::with("overrides", |setup| {
        setup.with(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\npool_size = 1\n\
             [[user]]\nname = \"other\"\nauth = \"trust\"\npool_mode = \"session\"",
        )
    });
    let mut holder = stage.client();
    holder.run("begin; select pg_advisory_xact_lock(1)");
    assert_eq!(stage.server_connections(0), 1);
    let mut session = stage.convoy.connect("other", &stage.database).unwrap();
    let pid = session.one("select pg_backend_pid()");
    let mut second = stage.convoy.connect("other", &stage.database).unwrap();
    assert_ne!(second.one("select pg_backend_pid()"), pid);
    assert_eq!(session.one("select pg_backend_pid()"), pid);
}

#[test]
fn server_that_is_full_is_reported_or_waited_for_but_never_a_hang() {
    let stage = Stage::with("server_full", |setup| {
        setup.with("[pool]\nquery_wait_timeout = \"1s\"")
    });
    stage
        .direct(0)
        .run("create role crowded login connection limit 0");
    let result = stage
        .convoy
        .connect("crowded", &stage.database)
        .and_then(|mut wire| {
            wire.patience(Duration::from_secs(15));
            wire.query("create table t ()")
        });
    assert!(!result.expect_err("the role may not connect").is_lost());
}
