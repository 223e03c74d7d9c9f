//! Reads see the writes they must see, by proof: those of their session, of all sessions, or up to a position that
//! was handed on; and replicas that fall behind get none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire, row, tags};
use pgconvoy_tests::{http, show, wait};

struct Scene {
    cluster: Cluster,
    convoy: Convoy,
}

impl Scene {
    fn new(replicas: usize, routing: &str) -> Self {
        let cluster = Cluster::start(replicas);
        cluster.nodes[0].superuser("postgres").run(
            "create table a (n int); create table b (n int); insert into a values (1); insert into b values (1); \
             create table log (n int); create function logs() returns trigger language plpgsql as \
             $$ begin insert into log values (new.n); return new; end $$; \
             create table noisy (n int); create trigger t after insert on noisy for each row execute function logs(); \
             create view both_of as select a.n from a, b",
        );
        cluster.wait_replayed(&cluster.nodes[0]);
        let convoy = Convoy::before(&cluster.ports())
            .top("workers = 1")
            .with(&format!("[routing]\n{routing}"))
            .start();
        Self { cluster, convoy }
    }

    fn client(&self) -> Wire {
        self.convoy.connect("postgres", "postgres").unwrap()
    }

    /// Whether a statement of this session would be answered by a replica now.
    fn is_on_replica(&self, client: &mut Wire, sql: &str) -> bool {
        let route = client.run(&format!("show route {sql}"));
        let primary = format!("127.0.0.1:{}", self.cluster.nodes[0].port);
        route[0][1].as_deref() != Some(primary.as_str())
    }

    fn wait_for_replicas(&self, client: &mut Wire, sql: &str) {
        wait::until("a replica has it", wait::SOON, || {
            client.run(sql);
            self.is_on_replica(client, sql)
        });
    }

    fn freeze(&self, frozen: bool) {
        for node in &self.cluster.nodes[1..] {
            node.freeze_replay(frozen);
        }
    }
}

/// How long the check below lasts; `FRESHNESS_SECONDS=60` for more than a look.
fn seconds() -> u64 {
    let given = std::env::var("FRESHNESS_SECONDS").ok();
    given.map_or(4, |text| {
        text.parse().expect("FRESHNESS_SECONDS is a number")
    })
}

#[test]
fn no_read_is_stale_while_replay_stands_still_and_replicas_come_back_by_themselves() {
    const CLIENTS: u64 = 50;
    let scene = Scene::new(2, "");
    scene.freeze(true);
    let (over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (scene, over, rounds) = (&scene, &over, &rounds);
            scope.spawn(move || {
                let mut client = scene.client();
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let n = 1000 + number * 10_000_000 + round;
                    client.run(&format!("insert into a values ({n})"));
                    let found = client.one(&format!("select count(*) from a where n = {n}"));
                    assert_eq!(found, "1", "a stale read");
                    rounds.fetch_add(1, Ordering::Relaxed);
                    // Without rest it is a benchmark.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // One replica goes on meanwhile, and comes to a halt again.
        while Instant::now() < end {
            scene.cluster.nodes[1].freeze_replay(rounds.load(Ordering::Relaxed) % 2 == 0);
            std::thread::sleep(Duration::from_millis(300));
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{} reads behind writes", rounds.load(Ordering::Relaxed));
    assert!(rounds.load(Ordering::Relaxed) > CLIENTS);
    scene.freeze(false);
    let mut client = scene.client();
    client.run("insert into a values (0)");
    scene.wait_for_replicas(&mut client, "select count(*) from a");
    let before: u64 = show::counts(&mut client)[1..]
        .iter()
        .map(|c| c.select)
        .sum();
    client.run("select count(*) from a");
    let after: u64 = show::counts(&mut client)[1..]
        .iter()
        .map(|c| c.select)
        .sum();
    assert_eq!(after, before + 1);
}

#[test]
fn writes_of_all_sessions_are_seen_table_by_table() {
    let scene = Scene::new(1, "read_your_writes = \"cluster\"");
    let (mut writer, mut reader) = (scene.client(), scene.client());
    wait::until("the catalog is read", wait::SOON, || {
        writer.run("insert into a values (2)");
        scene.is_on_replica(&mut reader, "select n from b")
            && !scene.is_on_replica(&mut reader, "select n from a")
    });
    scene.freeze(true);
    writer.run("insert into a values (3)");
    assert_eq!(
        reader.one("select count(*) from a"),
        scene.cluster.nodes[0]
            .superuser("postgres")
            .one("select count(*) from a")
    );
    for (sql, on_replica) in [
        ("select n from b", true),
        ("select n from a", false),
        ("select a.n from a join b using (n)", false),
        ("select n from b where n in (select n from a)", false),
        // What is not a plain table may read any.
        ("select n from both_of", false),
        ("select n from noisy", false),
    ] {
        assert_eq!(scene.is_on_replica(&mut reader, sql), on_replica, "{sql}");
    }
    // Prepared ones, in transactions, and with what happens behind them.
    let batch = Batch::new()
        .parse("", "insert into b values ($1::int)")
        .bind("", "", &[Some("7")])
        .execute("", 0)
        .sync();
    assert_eq!(tags(&writer.ask(&batch)), "12CZ");
    assert!(!scene.is_on_replica(&mut reader, "select n from b"));
    scene.freeze(false);
    scene.wait_for_replicas(&mut reader, "select n from b");
    for hidden in [
        "insert into noisy values (1)",
        "begin; insert into log values (1); commit",
        "do $$ begin insert into log values (2); end $$",
        "with x as (insert into log values (3) returning n) select n from x",
    ] {
        scene.freeze(true);
        writer.run(hidden);
        assert!(
            !scene.is_on_replica(&mut reader, "select n from log"),
            "{hidden}"
        );
        scene.freeze(false);
        scene.wait_for_replicas(&mut reader, "select n from log");
    }
    // What is rolled back was not written.
    scene.freeze(true);
    for sql in ["begin", "insert into b values (1)", "rollback"] {
        writer.run(sql);
    }
    scene.freeze(false);
    scene.wait_for_replicas(&mut reader, "select n from b");
}

#[test]
fn position_is_handed_on_from_session_to_session() {
    let scene = Scene::new(1, "");
    let (mut writer, mut reader) = (scene.client(), scene.client());
    scene.wait_for_replicas(&mut reader, "select n from a");
    scene.freeze(true);
    writer.run("insert into a values (100)");
    let position = writer.one("show pgconvoy.position");
    assert_eq!(position.split(':').count(), 3, "{position}");
    assert!(
        scene.is_on_replica(&mut reader, "select n from a"),
        "nobody has told it"
    );
    reader.run(&format!("set pgconvoy.min_position = '{position}'"));
    assert!(!scene.is_on_replica(&mut reader, "select n from a"));
    assert_eq!(reader.one("select count(*) from a where n = 100"), "1");
    let who = [("user", "postgres"), ("database", "postgres")];
    let startup: Vec<_> = who
        .into_iter()
        .chain([("pgconvoy.min_position", position.as_str())])
        .collect();
    let mut third = Wire::login(scene.convoy.port, &startup, None).unwrap();
    assert_eq!(third.one("select count(*) from a where n = 100"), "1");
    reader.run("reset pgconvoy.min_position");
    assert!(scene.is_on_replica(&mut reader, "select n from a"));
    reader.run(&format!("set pgconvoy.min_position to '{position}'"));
    scene.freeze(false);
    scene.wait_for_replicas(&mut reader, "select n from a");
    scene.wait_for_replicas(&mut third, "select n from a");
    // In the extended protocol, too.
    let batch = Batch::new()
        .parse("p", "SHOW pgconvoy.position;")
        .describe_statement("p")
        .bind("", "p", &[])
        .execute("", 0)
        .sync();
    let answers = writer.ask(&batch);
    assert_eq!(tags(&answers), "1tT2DCZ");
    assert_eq!(answers[2].columns()[0].0, "pgconvoy.position");
    let position = row(&answers[4])[0].clone().unwrap();
    assert_eq!(position.split(':').count(), 3, "{position}");
}

#[test]
fn replicas_that_are_behind_for_too_long_get_no_reads() {
    let scene = Scene::new(1, "max_replica_delay = \"2s\"");
    let mut client = scene.client();
    scene.wait_for_replicas(&mut client, "select n from a");
    scene.freeze(true);
    scene.cluster.nodes[0]
        .superuser("postgres")
        .run("insert into a values (1)");
    assert!(
        scene.is_on_replica(&mut client, "select n from a"),
        "not yet"
    );
    wait::until("it is too far behind", wait::SOON, || {
        !scene.is_on_replica(&mut client, "select n from a")
    });
    assert_eq!(client.one("select count(*) from a"), "2");
    scene.freeze(false);
    scene.wait_for_replicas(&mut client, "select n from a");
}

#[test]
fn replica_that_receives_nothing_gets_no_reads() {
    let scene = Scene::new(1, "");
    let mut client = scene.client();
    scene.wait_for_replicas(&mut client, "select n from a");
    let mut replica = scene.cluster.nodes[1].superuser("postgres");
    let conninfo = replica.one("show primary_conninfo");
    let set = |value: &str| {
        let mut replica = scene.cluster.nodes[1].superuser("postgres");
        replica.run(&format!("alter system set primary_conninfo = '{value}'"));
        replica.run("select pg_reload_conf()");
    };
    set("host=127.0.0.1 port=1");
    scene
        .convoy
        .wait_log(&["receives no WAL", &scene.cluster.nodes[1].port.to_string()]);
    assert!(!scene.is_on_replica(&mut client, "select n from a"));
    set(&conninfo.replace('\'', "''"));
    scene.convoy.wait_log(&["receives WAL again"]);
    scene.wait_for_replicas(&mut client, "select n from a");
}

#[test]
fn session_says_where_its_statements_go() {
    let stage = Stage::with("route_by_set", |setup| setup.top("workers = 1"));
    stage.seed("create table t (id int); create function f() returns bool language sql volatile as 'select pg_is_in_recovery()'");
    let on_replica = "select pg_is_in_recovery()";
    let mut client = stage.client();
    let prepared = |client: &mut Wire| {
        let batch = Batch::new().bind("", "p", &[]).execute("", 0).sync();
        let answers = client.ask(&batch);
        assert_eq!(tags(&answers), "2DCZ");
        row(&answers[1])[0].clone().unwrap()
    };
    let parse = Batch::new()
        .parse("p", "select f() from t right join (select 1) x on true")
        .sync();
    assert_eq!(tags(&client.ask(&parse)), "1Z");
    assert_eq!(prepared(&mut client), "f");
    client.run("set pgconvoy.route = 'replica'");
    wait::until(
        "its calls, which may have written, are replayed",
        wait::SOON,
        || client.one(on_replica) == "t",
    );
    assert_eq!(prepared(&mut client), "t");
    assert_eq!(
        client.one("/* pgconvoy: primary */ select pg_is_in_recovery()"),
        "f"
    );
    client.run("insert into t values (1)");
    client.run("set pgconvoy.route to 'primary'");
    let reason = |client: &mut Wire, sql: &str| {
        client.run(&format!("show route {sql}"))[0][2]
            .clone()
            .unwrap()
    };
    assert_eq!(reason(&mut client, "select id from t"), "hint");
    assert_eq!(prepared(&mut client), "f");
    client.run("begin read only");
    assert_eq!(client.one(on_replica), "f");
    client.run("commit");
    assert_eq!(client.one("show pgconvoy.route"), "primary");
    client.run("reset pgconvoy.route");
    assert_eq!(reason(&mut client, "select id from t"), "read_only");
    let answers = client.ask(&Batch::new().query("set pgconvoy.route = 'nowhere'"));
    assert_eq!(tags(&answers), "NCZ");
    let mut other = stage.client_with(&[("pgconvoy.route", "primary")]);
    assert_eq!(reason(&mut other, "select id from t"), "hint");
    let mut other = stage.client_with(&[("options", "-c pgconvoy.route=replica")]);
    assert_eq!(other.one(on_replica), "t");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn writes_of_sessions_that_have_left_are_seen_and_by_each_statement_that_is_sent() {
    let scene = Scene::new(1, "read_your_writes = \"cluster\"");
    let mut reader = scene.client();
    wait::until("the catalog is read", wait::SOON, || {
        let mut writer = scene.client();
        writer.run("insert into a values (2)");
        scene.is_on_replica(&mut reader, "select n from b")
            && !scene.is_on_replica(&mut reader, "select n from a")
    });
    scene.wait_for_replicas(&mut reader, "select n from a");
    scene.freeze(true);
    scene.client().run("insert into a values (77)");
    // In one packet behind a read of a table that nobody has written.
    let read = "select count(*) from a where n = 77";
    reader.send(Batch::new().query("select n from b").query(read).bytes());
    reader.until_ready();
    assert_eq!(row(&reader.until_ready()[1])[0].as_deref(), Some("1"));
    // In a transaction that has begun on the replica.
    scene.freeze(false);
    scene.wait_for_replicas(&mut reader, "select n from a");
    reader.run("begin read only");
    reader.run("select n from b");
    scene.freeze(true);
    scene.client().run("insert into a values (78)");
    assert_eq!(reader.one("select count(*) from a where n = 78"), "1");
    reader.run("commit");
    // With nobody left who knows.
    reader.close();
    let sample = |family: &str, labels: &[(&str, &str)]| {
        http::sample(&scene.convoy.page("/metrics").body, family, labels).unwrap_or(0.0)
    };
    wait::until("everybody has left", wait::SOON, || {
        sample("pgconvoy_client_connections", &[]) == 0.0
    });
    // Who reads catalogs has looked at all databases once it has read that of another.
    let reads = || sample("pgconvoy_catalog_reads_total", &[("outcome", "passed")]);
    let before = reads();
    let _other = scene.convoy.connect("postgres", "template1").unwrap();
    wait::until("another catalog is read", wait::SOON, || reads() > before);
    assert_eq!(
        scene.client().one("select count(*) from a where n = 78"),
        "1"
    );
    scene.freeze(false);
}
