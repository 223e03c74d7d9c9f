//! The leader is killed under load and another one is promoted: clients keep their connections.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::show;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::Wire;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the load has seen so far.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Numbers of the next row to be written: unique over all writers.
    next: AtomicU64,
    writes: AtomicU64,
    reads: AtomicU64,
    longest_read_gap: Mutex<Duration>,
    write_errors: Mutex<Vec<String>>,
}

impl Seen {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Reads without a pause; every success ends a gap. No read may fail.
fn read(mut client: Wire, seen: &Seen) {
    let mut last = Instant::now();
    while !seen.stopped() {
        client.run("select count(*) from t where id < 10");
        let gap = last.elapsed();
        last = Instant::now();
        let mut longest = seen.longest_read_gap.lock().unwrap();
        *longest = gap.max(*longest);
        seen.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes rows with numbers of their own, alone or in a transaction. A statement may fail, the connection may not.
fn write(mut client: Wire, seen: &Seen) {
    while !seen.stopped() {
        let id = seen.next.fetch_add(1, Ordering::Relaxed);
        let insert = format!("insert into t (id) values ({id})");
        let sql = if id.is_multiple_of(2) {
            insert
        } else {
            format!("begin; {insert}; commit")
        };
        match client.query(&sql) {
            Ok(_) => drop(seen.writes.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                assert!(!error.is_lost(), "a client connection was lost: {error}");
                assert_ne!(error.code, "23505", "a write was sent twice: {error}");
                assert_ne!(error.code, "25006", "a write reached a replica: {error}");
                seen.write_errors.lock().unwrap().push(error.to_string());
                if client.status != b'I' {
                    client.run("rollback");
                }
            }
        }
    }
}

fn grows(what: &str, limit: Duration, counter: &AtomicU64) -> Duration {
    let (start, before) = (Instant::now(), counter.load(Ordering::Relaxed));
    wait::until(what, limit, || {
        counter.load(Ordering::Relaxed) > before + 20
    });
    start.elapsed()
}

fn promote_under_load(cluster: &Cluster, seen: &Seen) {
    let [old, new, third] = &cluster.nodes[..] else {
        panic!("three nodes")
    };
    grows("writes before", wait::SOON, &seen.writes);
    old.kill();
    new.promote();
    let resumed = grows(
        "writes resume after the promotion",
        Duration::from_secs(10),
        &seen.writes,
    );
    eprintln!("writes resumed {resumed:?} after the promotion");
    assert!(
        resumed < Duration::from_secs(3),
        "writes resumed only after {resumed:?}"
    );
    third.follow(new);
    cluster.wait_streaming(new, 1);
    old.rejoin(new);
    cluster.wait_streaming(new, 2);
}

#[test]
fn killed_primary_is_followed_by_the_promoted_replica_under_mixed_load() {
    let cluster = Cluster::start(2);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t (id bigint primary key)");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports()).start();
    let connect = || convoy.connect("postgres", "postgres").unwrap();
    let mut idle: Vec<Wire> = (0..20).map(|_| connect()).collect();
    idle.iter_mut()
        .for_each(|client| drop(client.run("select 1")));
    let seen = Seen::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (reader, writer, seen) = (connect(), connect(), &seen);
            scope.spawn(move || read(reader, seen));
            scope.spawn(move || write(writer, seen));
        }
        // The threads end whether this succeeds or not: the scope waits for them.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            promote_under_load(&cluster, &seen);
            assert_old_primary_is_read_from(&convoy);
        }));
        seen.stop.store(true, Ordering::Relaxed);
        if let Err(cause) = result {
            std::panic::resume_unwind(cause);
        }
    });
    let gap = *seen.longest_read_gap.lock().unwrap();
    let errors = seen.write_errors.lock().unwrap();
    eprintln!(
        "longest read gap {gap:?}; {} reads, {} writes, errors: {errors:?}",
        seen.reads.load(Ordering::Relaxed),
        seen.writes.load(Ordering::Relaxed)
    );
    assert!(gap < Duration::from_secs(1), "reads stopped for {gap:?}");
    assert!(
        errors.len() <= 12,
        "each writer may lose the statements under way, not more: {errors:?}"
    );
    for client in &mut idle {
        client.run("select count(*) from t");
        client.run("insert into t values (-1) on conflict do nothing");
    }
    assert_eq!(
        cluster.nodes[0].refused_writes("postgres"),
        0,
        "a write reached the old primary"
    );
    let page = convoy.page("/metrics").body;
    assert_eq!(
        pgconvoy_tests::http::sample(&page, "pgconvoy_failovers_total", &[]),
        Some(1.0)
    );
}

/// Node 0 shows as a standby that is up, and its share of the reads grows.
fn assert_old_primary_is_read_from(convoy: &Convoy) {
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    wait::until(
        "the old primary is a standby, node 1 leads",
        wait::SOON,
        || {
            show::nodes(&mut client, "role") == ["standby", "primary", "standby"]
                && show::nodes(&mut client, "status")
                    .iter()
                    .all(|status| status == "up")
        },
    );
    let before = show::counts(&mut client)[0].select;
    wait::until("the old primary serves reads", wait::SOON, || {
        show::counts(&mut client)[0].select > before + 50
    });
}

#[test]
fn new_work_waits_for_the_new_primary_instead_of_failing() {
    let cluster = Cluster::start(1);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t (a int)");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports()).start();
    cluster.nodes[0].kill();
    let mut seen = convoy
        .connect("postgres", "postgres")
        .unwrap_or_else(|error| panic!("log in meanwhile: {error}"));
    wait::until("the primary is known to be down", wait::SOON, || {
        convoy.page("/readyz").status == 503
    });
    assert_eq!(seen.one("select count(*) from t"), "0", "reads go on");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| seen.run("insert into t values (1)"));
        let mut other = convoy.connect("postgres", "postgres").unwrap();
        let late = scope.spawn(move || other.run("insert into t values (2)"));
        assert!(!writer.is_finished() && !late.is_finished());
        cluster.nodes[1].promote();
        writer.join().unwrap();
        late.join().unwrap();
    });
    assert_eq!(
        cluster.nodes[1]
            .superuser("postgres")
            .one("select count(*) from t"),
        "2"
    );
}

/// The old primary is up and keeps its one connection busy: nothing but the change itself can serve who waits there.
#[test]
fn who_waits_in_the_old_primarys_queue_goes_on_at_the_new_one() {
    let cluster = Cluster::start(1);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t (a int)");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports())
        .with("[pool]\nsize = 1")
        .start();
    let mut holder = convoy.connect("postgres", "postgres").unwrap();
    let mut waiting = convoy.connect("postgres", "postgres").unwrap();
    holder.run("begin; select 1");
    waiting.patience(wait::SOON);
    std::thread::scope(|scope| {
        let late = scope.spawn(move || waiting.run("insert into t values (1)"));
        wait::until("the client waits in the queue", wait::SOON, || {
            let page = convoy.page("/metrics").body;
            pgconvoy_tests::http::sum(&page, "pgconvoy_pool_waiting") >= 1.0
        });
        cluster.nodes[1].promote();
        late.join().unwrap();
    });
    let mut new = cluster.nodes[1].superuser("postgres");
    assert_eq!(new.one("select count(*) from t"), "1");
    assert!(cluster.nodes[0].is_running());
    // Asked for to the end: the server connection is held until here.
    assert_eq!(holder.status, b'T');
}

#[test]
fn waiting_for_a_primary_is_bounded() {
    let cluster = Cluster::start(1);
    let convoy = Convoy::before(&cluster.ports())
        .with("[pool]\nquery_wait_timeout = \"1s\"")
        .start();
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    cluster.nodes[0].kill();
    wait::until("the primary is known to be down", wait::SOON, || {
        convoy.page("/readyz").status == 503
    });
    let start = Instant::now();
    let error = client.fails("create table t ()");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "waited {:?}",
        start.elapsed()
    );
    assert!(!error.is_lost(), "the client is told why: {error}");
}

#[test]
fn transaction_broken_by_the_failover_gets_one_error_and_the_connection_goes_on() {
    let cluster = Cluster::start(1);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t (a int)");
    cluster.wait_replayed(&cluster.nodes[0]);
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    client.run("begin; insert into t values (1)");
    cluster.nodes[0].kill();
    cluster.nodes[1].promote();
    let error = client.fails("insert into t values (2)");
    assert!(!error.is_lost(), "the client connection survives: {error}");
    if client.status != b'I' {
        client.run("rollback");
    }
    client.run("insert into t values (3)");
    assert_eq!(client.one("select array_agg(a) from t"), "{3}");
}

#[test]
fn planned_switchover_is_followed() {
    let cluster = Cluster::start(2);
    let [old, new, third] = &cluster.nodes[..] else {
        panic!("three nodes")
    };
    old.superuser("postgres").run("create table t (a int)");
    cluster.wait_replayed(old);
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    client.run("insert into t values (1)");
    old.stop();
    new.promote();
    third.follow(new);
    client.run("insert into t values (2)");
    old.rejoin(new);
    wait::until("every node is up again", wait::SOON, || {
        show::nodes(&mut client, "pg_status")
            .iter()
            .all(|status| status == "up")
    });
    assert_eq!(
        show::nodes(&mut client, "role"),
        ["standby", "primary", "standby"]
    );
}
