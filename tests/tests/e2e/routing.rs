//! Where statements run: safe reads on the replicas, evenly; everything else on the primary.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;
use std::sync::LazyLock;

const SCHEMA: &str = "
create table t (id serial primary key, a int, b text);
insert into t (a, b) select i, 'row ' || i from generate_series(1, 100) i;
create sequence s;
create function writes() returns int language sql volatile as 'insert into t (a) values (0) returning a';
create table queue (id int primary key); insert into queue select generate_series(1, 10);
";

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let stage = Stage::new("routing");
    stage.seed(SCHEMA);
    stage
});

/// One node's share of the statements that `work` ran, by all commands together.
fn served(stage: &Stage, work: impl FnOnce()) -> Vec<u64> {
    let before = stage.counts();
    work();
    let after = stage.counts();
    let all = |node: &pgconvoy_tests::show::Counts| {
        node.select + node.insert + node.update + node.delete + node.ddl + node.other
    };
    after
        .iter()
        .zip(&before)
        .map(|(after, before)| all(after) - all(before))
        .collect()
}

#[test]
fn reads_go_round_robin_over_the_replicas() {
    let stage = Stage::new("round_robin");
    stage.seed("create table t as select 1 as a");
    let shares = served(&stage, || {
        let mut client = stage.client();
        for _ in 0..100 {
            client.run("select a from t");
            client
                .execute("select a from t where a = $1", &["1"])
                .unwrap();
        }
    });
    assert_eq!(shares[0], 0, "{shares:?}");
    assert_eq!(shares[1] + shares[2], 200, "{shares:?}");
    assert!(shares[1].abs_diff(shares[2]) <= 5, "{shares:?}");
}

#[test]
fn weights_are_honoured() {
    let stage = Stage::with("weights", |setup| {
        setup.weights(&[1, 3, 1]).top("workers = 1")
    });
    stage.seed("create table t as select 1 as a");
    let shares = served(&stage, || {
        let mut client = stage.client();
        (0..200).for_each(|_| drop(client.run("select a from t")));
    });
    assert_eq!(shares, [0, 150, 50]);
}

#[test]
fn node_of_weight_zero_serves_no_reads() {
    let stage = Stage::with("weight_zero", |setup| setup.weights(&[1, 0, 1]));
    stage.seed("create table t as select 1 as a");
    let shares = served(&stage, || {
        let mut client = stage.client();
        (0..20).for_each(|_| drop(client.run("select a from t")));
    });
    assert_eq!(shares, [0, 0, 20]);
}

#[test]
fn primary_takes_its_share_when_primary_reads_is_on() {
    let stage = Stage::with("primary_reads", |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\nprimary_reads = true")
    });
    stage.seed("create table t as select 1 as a");
    let shares = served(&stage, || {
        let mut client = stage.client();
        (0..90).for_each(|_| drop(client.run("select a from t")));
    });
    assert_eq!(shares, [30, 30, 30]);
}

#[test]
fn nothing_is_split_when_split_reads_is_off() {
    let stage = Stage::with("no_split", |setup| {
        setup.with("[routing]\nsplit_reads = false")
    });
    stage.seed("create table t as select 1 as a");
    let shares = served(&stage, || {
        let mut client = stage.client();
        (0..20).for_each(|_| drop(client.run("select a from t")));
    });
    assert_eq!(shares, [20, 0, 0]);
}

/// Statements that must run on the primary, whoever thinks they look like reads.
const WRITES: [&str; 37] = [
    "with x as (update t set a = a where id = 1 returning a) select * from x",
    "with x as (select 1), y as (delete from t where id < 0 returning *) select * from y",
    "select nextval('s')",
    "select setval('s', 5)",
    "select pg_notify('c', 'x')",
    "select txid_current()",
    "select pg_current_xact_id()",
    "select pg_advisory_xact_lock(1)",
    "select pg_try_advisory_xact_lock(2)",
    "select set_config('app.x', '1', true)",
    "select lo_create(0)",
    "select writes()",
    "select * from writes()",
    "select a, (select writes()) from t limit 1",
    "select * from t where id = 1 for update",
    "select * from t for no key update of t skip locked limit 1",
    "select * from t where id = 1 for share",
    "select * from t where id = 1 for key share",
    "select * from (select * from queue for update skip locked limit 5) q",
    "with q as (select id from queue for update) select * from q",
    "explain analyze insert into t (a) values (1)",
    "copy (delete from t where id < 0 returning *) to stdout",
    "copy (select nextval('s')) to stdout",
    "select 1; insert into t (a) values (2)",
    "insert into t (a) values (3); select 1",
    "insert into t (b) values ('; select 1 --')",
    "/* a comment */ -- and another\n insert into t (a) values (4)",
    "create table made (a int); drop table made",
    "create table made_as as select 1 as a",
    "drop table made_as",
    "vacuum t",
    "analyze t",
    "truncate queue",
    "do $$ begin perform nextval('s'); end $$",
    "select pg_is_in_recovery(), inet_server_port()",
    "lock table t in share mode; select 1",
    "merge into t using (select 1 as id) x on t.id = x.id when matched then update set a = t.a",
];

#[test]
fn whatever_writes_locks_or_is_unknown_runs_on_the_primary() {
    for sql in WRITES {
        // A lock needs a transaction around it, and nothing else does.
        let sql = if sql.starts_with("lock") {
            format!("begin; {sql}; commit")
        } else {
            sql.to_owned()
        };
        let mut client = STAGE.client();
        client.run(&sql);
        client.close();
    }
    let mut client = STAGE.client();
    for sql in WRITES
        .iter()
        .filter(|sql| !sql.contains(';') && !sql.starts_with("copy") && !sql.contains("made_as"))
    {
        client
            .execute(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(client.one("select pg_is_in_recovery()"), "f");
    STAGE.assert_no_write_reached_a_replica();
}

#[test]
fn statements_that_do_not_parse_run_on_the_primary() {
    let stage = Stage::new("unparsed");
    let shares = served(&stage, || {
        let mut client = stage.client();
        for sql in [
            "selec 1",
            "select from where",
            "select 'unterminated",
            "fetch 1 from nowhere",
            "\u{1}",
        ] {
            client.fails(sql);
        }
    });
    assert_eq!((shares[1], shares[2]), (0, 0), "{shares:?}");
}

#[test]
fn safe_reads_of_every_shape_run_on_a_replica() {
    let reads = [
        "select * from t where id = 1",
        "/* leading */ select 1 from t -- trailing",
        "(select a from t) union all (select id from queue)",
        "with x as (select * from t) select count(*) from x",
        "values (1), (2)",
        "table t",
        "explain select * from t",
        "copy t to stdout",
        "copy (select a from t) to stdout",
        "select now(), lower(b), coalesce(a, 0) from t limit 1",
        "select count(*) filter (where a > 3), sum(a) over (), array_agg(b) from t group by a limit 1",
        "select * from generate_series(1, 3) g join t on t.id = g",
        "select b::text, a::numeric, date '2024-01-01' + a from t limit 1",
    ];
    let stage = Stage::new("safe_reads");
    stage.seed(SCHEMA);
    for sql in reads {
        let shares = served(&stage, || drop(stage.client().run(sql)));
        assert_eq!((shares[0], shares[1] + shares[2]), (0, 1), "{sql}");
    }
}

#[test]
fn hints_decide_where_a_read_runs() {
    let stage = Stage::new("hints");
    stage.seed("create table t as select 1 as a");
    let mut client = stage.client();
    for (sql, on_primary) in [
        ("/* pgconvoy: primary */ select a from t", true),
        ("/*NO LOAD BALANCE*/ select a from t", true),
        ("select a from t", false),
    ] {
        let shares = served(&stage, || drop(client.run(sql)));
        assert_eq!(shares[0], u64::from(on_primary), "{sql}");
    }
    assert_eq!(
        client.one("/* pgconvoy: replica */ select pg_is_in_recovery()"),
        "t"
    );
    assert_eq!(
        client.one("/* pgconvoy: primary */ select pg_is_in_recovery()"),
        "f"
    );
    client.run("/* pgconvoy: replica */ insert into t values (2)");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn transactions_run_on_the_primary_unless_read_only() {
    let mut client = STAGE.client();
    for begin in [
        "begin",
        "start transaction",
        "begin isolation level repeatable read",
        "begin isolation level serializable read only",
    ] {
        client.run(begin);
        client.run("select a from t limit 1");
        assert_eq!(client.one("select pg_is_in_recovery()"), "f", "{begin}");
        client.run("commit");
    }
    for begin in [
        "begin read only",
        "start transaction read only",
        "begin isolation level read committed read only",
    ] {
        client.run(begin);
        client.run("select a from t limit 1");
        assert_eq!(client.one("select pg_is_in_recovery()"), "t", "{begin}");
        let port = client.one("select inet_server_port()");
        assert_eq!(
            client.one("select inet_server_port()"),
            port,
            "one replica for the whole transaction"
        );
        client.run("commit");
    }
}

#[test]
fn transaction_by_the_extended_protocol_stays_on_its_node() {
    let mut client = STAGE.client();
    client.execute("begin read only", &[]).unwrap();
    assert_eq!(
        client.execute("select pg_is_in_recovery()", &[]).unwrap()[0][0].as_deref(),
        Some("t")
    );
    client.execute("commit", &[]).unwrap();
    client.execute("begin", &[]).unwrap();
    assert_eq!(
        client.execute("select pg_is_in_recovery()", &[]).unwrap()[0][0].as_deref(),
        Some("f")
    );
    client.execute("rollback", &[]).unwrap();
}

#[test]
fn session_reads_its_own_writes() {
    let work = |number: usize| {
        let mut client = STAGE.client();
        for round in 0..150 {
            let text = format!("session {number} round {round}");
            let sql = format!("insert into t (b) values ('{text}') returning id");
            let id = if round % 2 == 0 {
                client.one(&sql)
            } else {
                client.execute(&sql, &[]).unwrap()[0][0].clone().unwrap()
            };
            let sql = "select b from t where id = $1";
            let found = client.execute(sql, &[&id]).unwrap();
            assert_eq!(
                found.first().and_then(|row| row[0].as_deref()),
                Some(text.as_str()),
                "a stale read"
            );
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|number| drop(scope.spawn(move || work(number)))));
}

#[test]
fn statement_parsed_before_a_write_reads_the_write() {
    use pgconvoy_tests::wire::{Batch, row};
    let mut client = STAGE.client();
    client.ask(
        &Batch::new()
            .parse("count", "select count(*) from t where b = 'parsed early'")
            .sync(),
    );
    for round in 1..50 {
        client.run("insert into t (b) values ('parsed early')");
        let replies = client.ask(&Batch::new().bind("", "count", &[]).execute("", 0).sync());
        let count = replies
            .iter()
            .find(|message| message.tag == b'D')
            .map(row)
            .unwrap();
        assert_eq!(count[0].as_deref(), Some(round.to_string().as_str()));
    }
}

#[test]
fn replica_that_does_not_replay_is_not_read_from_after_a_write() {
    let cluster = Cluster::start(1);
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    client.run("create table t (a int); insert into t values (1)");
    cluster.wait_replayed(&cluster.nodes[0]);
    cluster.nodes[1].freeze_replay(true);
    for value in 2..30 {
        client.run("insert into t values (0)");
        assert_eq!(client.one("select count(*) from t"), value.to_string());
    }
    // Others may read what the replica has: they have written nothing.
    let before = select_count(&convoy, 1);
    let mut reader = convoy.connect("postgres", "postgres").unwrap();
    assert_eq!(reader.one("select count(*) from t"), "1");
    assert_eq!(select_count(&convoy, 1), before + 1);
    // Once it has caught up, the writer's reads go back to it by themselves.
    cluster.nodes[1].freeze_replay(false);
    pgconvoy_tests::wait::until(
        "the replica is read from again",
        pgconvoy_tests::wait::SOON,
        || {
            let before = select_count(&convoy, 1);
            assert_eq!(client.one("select count(*) from t"), "29");
            select_count(&convoy, 1) > before
        },
    );
}

fn select_count(convoy: &Convoy, node: usize) -> u64 {
    let mut wire = Wire::connect(convoy.port, "postgres", "postgres").unwrap();
    pgconvoy_tests::show::counts(&mut wire)[node].select
}
