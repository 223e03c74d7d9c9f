//! Transactions run where their first statement says, and those that only read on one replica.

use pgconvoy_tests::show::Counts;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, ServerError, Wire, codes, row, tags};

const SCHEMA: &str = "
create table t (id int primary key, b text); insert into t select n, 'x' from generate_series(1, 100) n;
create sequence s;
create unlogged table fast as select 1 as a;";

const ON_REPLICA: &str = "select pg_is_in_recovery()";

fn stage(name: &str, routing: &str) -> Stage {
    Stage::routed(name, routing, SCHEMA)
}

/// Where what `run` asks for is served: the primary, and all replicas together.
fn served(stage: &Stage, run: impl FnOnce()) -> (u64, u64) {
    let all = |c: &Counts| c.select + c.insert + c.update + c.delete + c.ddl + c.other;
    let before: Vec<u64> = stage.counts().iter().map(all).collect();
    run();
    let after: Vec<u64> = stage.counts().iter().map(all).collect();
    let grown: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    (grown[0], grown[1..].iter().sum())
}

#[test]
fn begin_waits_for_the_first_statement_and_takes_no_connection() {
    let stage = stage("lazy_begin", "");
    let mut client = stage.client();
    assert_eq!(served(&stage, || drop(client.run("begin"))), (0, 0));
    stage.wait_activity("xact_start is not null", 0);
    let answers = client.ask(&Batch::new().query("select id from t where id = 1"));
    assert_eq!(tags(&answers), "TDCZ");
    assert_eq!(answers[3].body, b"T");
    client.run("insert into t values (1000, 'in')");
    assert_eq!(
        stage
            .direct_app()
            .one("select count(*) from t where id = 1000"),
        "0"
    );
    client.run("rollback");
    assert_eq!(client.one("select count(*) from t where id = 1000"), "0");
}

#[test]
fn empty_transactions_need_no_server() {
    let stage = stage("lazy_empty", "");
    let mut client = stage.client();
    let shares = served(&stage, || {
        for (begin, end, tag) in [
            ("begin", "commit", "COMMIT"),
            ("begin isolation level serializable", "abort", "ROLLBACK"),
            ("begin read only;", "end;", "COMMIT"),
        ] {
            let set = "set transaction read write";
            client.send(Batch::new().query(begin).query(set).query(end).bytes());
            for (tag, status) in [("BEGIN", b"T"), ("SET", b"T"), (tag, b"I")] {
                let answers = client.until_ready();
                assert_eq!(answers[0].command(), tag);
                assert_eq!(answers[1].body, status);
            }
        }
    });
    assert_eq!(shares, (0, 0));
}

#[test]
fn what_is_no_plain_begin_is_the_servers_to_refuse() {
    let stage = stage("lazy_bad", "");
    let mut client = stage.client();
    assert_eq!(client.fails("begin foo").code, "42601");
    assert_eq!(client.fails("begin read only,").code, "42601");
    assert_eq!(client.one("select 1"), "1");
    // In a held one, too.
    client.run("begin");
    assert_eq!(
        client.fails("set transaction isolation level foo").code,
        "42601"
    );
    assert_eq!(client.fails("select 1").code, "25P02");
    client.run("rollback");
    // A second one is a warning's matter, and a transaction block goes on.
    let answers = client.ask(&Batch::new().query("begin"));
    assert_eq!(tags(&answers), "CZ");
    assert_eq!(tags(&client.ask(&Batch::new().query("begin"))), "NCZ");
    client.run("commit and chain");
    let answers = client.ask(&Batch::new().query("commit"));
    assert_eq!(answers[1].body, b"I");
}

#[test]
fn read_only_transactions_run_whole_on_one_replica() {
    let stage = stage("lazy_read_only", "");
    let mut client = stage.client();
    let mut session = |first: &[&str]| {
        for sql in first {
            client.run(sql);
        }
        let port = client.one("select inet_server_port()");
        client.run("set local work_mem = '5MB'; savepoint a");
        client.run("declare c cursor for select id from t order by id");
        assert_eq!(client.one("fetch 1 from c"), "1");
        client.run("rollback to a");
        let whole = client.one("select inet_server_port()") == port;
        let replica = client.one(ON_REPLICA) == "t";
        client.run("commit");
        assert!(whole, "{first:?}");
        replica
    };
    assert!(session(&["begin read only"]));
    assert!(session(&["begin", "set transaction read only"]));
    assert!(!session(&[
        "begin isolation level serializable",
        "set transaction isolation level read committed, read only"
    ]));
    assert!(!session(&["begin"]));
    assert!(!session(&["begin read only", "set transaction read write"]));
    assert!(!session(&[
        "begin isolation level serializable read only deferrable"
    ]));
    assert!(!session(&["/* pgconvoy: primary */ begin read only"]));
    assert!(session(&[
        "set default_transaction_read_only = on",
        "begin"
    ]));
    assert!(!session(&["begin read write"]));
    assert!(session(&[
        "reset all",
        "set session characteristics as transaction read only",
        "begin"
    ]));
}

#[test]
fn batch_that_begins_goes_by_the_default() {
    let stage = stage("lazy_batch", "");
    let mut client = stage.client();
    client.run("set default_transaction_read_only = on");
    let batch = Batch::new()
        .parse("", "begin")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", ON_REPLICA)
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let answers = client.ask(&batch);
    assert_eq!(tags(&answers), "12C12DCZ", "{:?}", codes(&answers));
    assert_eq!(row(&answers[5])[0].as_deref(), Some("t"));
    client.run("commit");
}

#[test]
fn repeatable_read_goes_to_a_replica_only_if_no_table_is_unlogged() {
    let stage = stage("lazy_snapshot", "");
    let mut client = stage.client();
    let mut on_replica = || {
        client.run("begin isolation level repeatable read read only");
        let found = client.one(ON_REPLICA);
        client.run("commit");
        found == "t"
    };
    assert!(!on_replica());
    stage.seed("drop table fast");
    stage
        .client()
        .run("create table other (); drop table other");
    wait::until("the catalog is read again", wait::SOON, &mut on_replica);
}

#[test]
fn read_only_transaction_moves_to_the_primary_when_it_must() {
    let stage = stage("lazy_move", "");
    let mut client = stage.client();
    wait::until("the catalog is read", wait::SOON, || {
        stage.client().run("show route select a from fast")[0][2].as_deref() == Some("relation")
    });
    // At first, or later, when nothing keeps it on the replica.
    for first in [
        "select 1",
        "select id from t where id = 5",
        "select a from fast",
    ] {
        client.run("begin read only");
        client.run(first);
        assert_eq!(client.one("select a from fast"), "1");
        assert_eq!(client.one("select pg_try_advisory_xact_lock(7)"), "t");
        assert_eq!(
            stage.direct_app().one("select pg_try_advisory_lock(7)"),
            "f"
        );
        assert_eq!(client.fails("insert into t values (7777)").code, "25006");
        assert_eq!(client.fails("select 1").code, "25P02");
        client.run("rollback");
    }
    // A snapshot or a cursor stays where it is.
    stage.seed("drop table fast");
    for keeps in [
        &[
            "begin isolation level repeatable read read only",
            "select 1",
        ][..],
        &["begin read only", "declare c cursor for select id from t"],
        &["begin read only", "select 1", "set local work_mem = '5MB'"],
    ] {
        stage
            .client()
            .run("create table other (); drop table other");
        wait::until("it is on a replica", wait::SOON, || {
            client.run("begin isolation level repeatable read read only");
            let there = client.one(ON_REPLICA) == "t";
            client.run("rollback");
            there
        });
        keeps.iter().for_each(|sql| drop(client.run(sql)));
        assert_eq!(client.one(ON_REPLICA), "t", "{keeps:?}");
        let error = client.fails("select pg_try_advisory_xact_lock(7)");
        assert_eq!(error.code, "25006", "{error:?}");
        // It is over only when its client has ended it.
        assert_eq!(client.fails("select 1").code, "25P02");
        client.run("rollback");
        assert_eq!(client.one("select 1"), "1");
    }
}

#[test]
fn first_read_that_a_replica_refuses_begins_anew_on_the_primary() {
    let stage = stage("lazy_refused", "catalog_refresh = \"off\"");
    stage.seed("create view hidden as select a, 1 as b from fast");
    for modes in ["read only", "isolation level repeatable read, read only"] {
        let mut client = stage.client();
        client.run(&format!("begin {modes}"));
        assert_eq!(client.one("select b from hidden"), "1");
        assert_eq!(client.one(ON_REPLICA), "f");
        client.run("commit");
        let batch = Batch::new()
            .parse("", "select a + $1::int from hidden")
            .bind("", "", &[Some("1")])
            .execute("", 0)
            .sync();
        let mut client = stage.client();
        client.run(&format!("begin {modes}"));
        let answers = client.ask(&batch);
        assert_eq!(tags(&answers), "12DCZ", "{:?}", codes(&answers));
        assert_eq!(answers[4].body, b"T");
        client.run("commit");
    }
}

#[test]
fn reads_until_a_write_run_on_a_replica_if_so_configured() {
    let stage = stage("lazy_until_write", "transaction_reads = \"until_write\"");
    let mut client = stage.client();
    // Where a role's own default isolation level is not known, the first goes to the primary.
    client.run("begin");
    client.run("select 1");
    client.run("commit");
    let where_is = |client: &mut Wire| client.run("show route select 1")[0][0].clone();
    client.run("begin");
    let shares = served(&stage, || {
        assert_eq!(client.one("select count(*) from t"), "100");
        assert_eq!(client.one("select b from t where id = 1"), "x");
    });
    assert_eq!(shares, (0, 3), "BEGIN and two reads");
    assert_eq!(where_is(&mut client).as_deref(), Some("replica"));
    client.run("insert into t values (101, 'new')");
    assert_eq!(where_is(&mut client).as_deref(), Some("primary"));
    assert_eq!(client.one("select count(*) from t"), "101");
    assert_eq!(client.one(ON_REPLICA), "f");
    client.run("rollback");
    assert_eq!(stage.direct_app().one("select count(*) from t"), "100");
    // What would stay behind begins on the primary: cursors, settings, savepoints, named portals, locks.
    for sql in [
        "declare c cursor for select 1",
        "set local work_mem = '5MB'",
        "savepoint a",
        "select 1 for update",
        "select nextval('s')",
        "lock table t",
    ] {
        let mut client = stage.client();
        for sql in ["begin", "select 1", "commit", "begin"] {
            client.run(sql);
        }
        client.run("select id from t where id = 1");
        client.run(sql);
        assert_eq!(client.one(ON_REPLICA), "f", "{sql}");
        client.run("commit");
    }
    // Other levels see one snapshot.
    client.run("begin isolation level repeatable read");
    assert_eq!(served(&stage, || drop(client.run("select 1 from t"))).1, 0);
    client.run("commit");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn transaction_that_has_only_read_survives_its_replica() {
    let stage = stage("lazy_survive", "");
    let mut client = stage.client();
    client.run("begin read only");
    assert_eq!(client.one("select count(*) from t"), "100");
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and usename = 'app'";
    for node in [1, 2] {
        stage.direct(node).run(kill);
    }
    assert_eq!(client.one("select count(*) from t"), "100");
    // In the middle of a statement, too, if nothing of it has been seen.
    client.send(Batch::new().query("select 1 from pg_sleep(1)").bytes());
    let running = |node: usize| {
        let sql = "select count(*) from pg_stat_activity where query like '%pg_sleep(1)%' and usename = 'app'";
        stage.direct(node).one(sql) != "0"
    };
    wait::until("it runs", wait::SOON, || running(1) || running(2));
    for node in [1, 2] {
        stage.direct(node).run(kill);
    }
    let answers = client.until_ready();
    assert_eq!(tags(&answers), "TDCZ", "{:?}", codes(&answers));
    client.run("commit");
}

#[test]
fn stricter_default_of_a_database_is_heeded() {
    for level in ["repeatable read", "serializable"] {
        let name = format!("lazy_default_{}", &level[..4]);
        let stage = stage(&name, "transaction_reads = \"until_write\"");
        let database = &stage.database;
        let default = format!("alter database \"{database}\" set default_transaction_isolation");
        stage.direct(0).run(&format!("{default} = '{level}'"));
        stage.settle();
        let mut client = stage.client();
        for _ in 0..3 {
            client.run("begin");
            assert_eq!(served(&stage, || drop(client.run("select 1 from t"))).1, 0);
            client.run("commit");
        }
        client.run("begin read only");
        assert_eq!(client.one("select count(*) from t"), "100");
        client.run("commit");
    }
}

#[test]
fn transaction_that_gets_no_server_fails_as_a_whole() {
    let stage = Stage::with("lazy_nobody", |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"200ms\"")
    });
    stage.seed(SCHEMA);
    let (mut holder, mut client) = (stage.client(), stage.client());
    holder.run("begin; insert into t values (500, 'held')");
    client.run("begin");
    assert_eq!(
        client.fails("insert into t values (501, 'lost')").code,
        "53300"
    );
    holder.run("commit");
    // What stands behind it is not done without it.
    assert_eq!(
        client.fails("insert into t values (502, 'alone')").code,
        "25P02"
    );
    let batch = Batch::new()
        .parse("", "insert into t values (503, 'alone')")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let answers = client.ask(&batch);
    assert_eq!(
        (tags(&answers).as_str(), codes(&answers)[0].as_str()),
        ("EZ", "25P02")
    );
    assert_eq!(answers[1].body, b"E");
    let answers = client.ask(&Batch::new().query("commit"));
    assert_eq!(answers[0].command(), "ROLLBACK");
    assert_eq!(answers[1].body, b"I");
    assert_eq!(client.one("select count(*) from t where id > 500"), "0");
    client.run("insert into t values (504, 'fine')");
}

/// What a transaction's loss is told by, known before the statement or met by it.
fn lost(error: ServerError) {
    let codes = ["40001", "57P01", "08006"];
    assert!(codes.contains(&error.code.as_str()), "{error:?}");
}

#[test]
fn statements_behind_a_lost_transaction_are_not_done_by_themselves() {
    let stage = stage("lazy_lost", "");
    let kill = || {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and usename = 'app'";
        stage.direct(0).run(sql);
    };
    for (end, tag) in [("commit", "ROLLBACK"), ("rollback", "ROLLBACK")] {
        let mut client = stage.client();
        client.run("begin");
        client.run("insert into t values (600, 'lost')");
        kill();
        lost(client.fails("insert into t values (601, 'alone')"));
        assert_eq!(
            client.fails("insert into t values (602, 'alone')").code,
            "25P02"
        );
        let answers = client.ask(&Batch::new().query(end));
        assert_eq!(answers[0].command(), tag);
        assert_eq!(client.one("select count(*) from t where id >= 600"), "0");
    }
    // By the extended protocol, as drivers roll back that use nothing else.
    let mut client = stage.client();
    client.run("begin");
    client.run("insert into t values (600, 'lost')");
    kill();
    lost(
        client
            .execute("insert into t values (601, 'x')", &[])
            .unwrap_err(),
    );
    client.execute("rollback", &[]).unwrap();
    assert_eq!(client.one("select count(*) from t where id >= 600"), "0");
    // Giving it up needs no telling; committing it does.
    for (end, code) in [("rollback", None), ("commit", Some("40001"))] {
        let mut client = stage.client();
        client.run("begin");
        client.run("insert into t values (600, 'lost')");
        kill();
        wait::until("the loss is known", wait::SOON, || {
            stage.server_connections(0) == 0
        });
        assert_eq!(
            client.query(end).err().map(|e| e.code).as_deref(),
            code,
            "{end}"
        );
        assert_eq!(client.one("select count(*) from t where id >= 600"), "0");
    }
}
