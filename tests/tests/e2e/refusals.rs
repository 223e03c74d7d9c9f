//! Reads that a replica refuses only because it is one are run on the primary, and nobody notices.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, codes, row, tags};

const SCHEMA: &str = "
create table t (id int primary key); insert into t select generate_series(1, 5000);
create table log (id serial, what text);
create sequence s;
create unlogged table fast as select 1 as a;
create function notes(what text) returns int language plpgsql as
    $$ begin insert into log (what) values (what); return 1; end $$;
create function conflicts() returns int language plpgsql as
    $$ begin if pg_is_in_recovery() then raise 'conflict' using errcode = '40001'; end if; return 7; end $$;
create view counted as select nextval('s') as n;
create view noted as select notes('seen') as n;
create view broken_off as select conflicts() as n;
create view late as select case when id = 4000 then notes('late') else id end as n from t order by id;";

fn stage(name: &str) -> Stage {
    // The catalog would tell ahead.
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\ncatalog_refresh = \"off\"")
    });
    stage.seed(SCHEMA);
    stage
}

fn refused(stage: &Stage, reason: &str) -> f64 {
    let page = stage.convoy.page("/metrics").body;
    let line = format!("pgconvoy_reads_refused_total{{reason=\"{reason}\"}}");
    let found = page.lines().find(|l| l.starts_with(&line));
    found.map_or(0.0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn hidden_write_runs_on_the_primary_once_and_its_shape_is_remembered() {
    let stage = stage("refused_write");
    for expected in 1..=4 {
        // Each time one that has written nothing yet, whose reads are for the replicas.
        let fresh = |sql| stage.client().one(sql);
        assert_eq!(fresh("select n from counted"), expected.to_string());
        assert_eq!(fresh("select n from noted"), "1");
        assert_eq!(fresh("select a from fast"), "1");
    }
    let mut client = stage.client();
    assert_eq!(refused(&stage, "standby"), 3.0, "each shape once");
    assert_eq!(stage.direct_app().one("select count(*) from log"), "4");
    let mut other = stage.client();
    assert_eq!(other.one("select n from counted"), "5");
    assert_eq!(refused(&stage, "standby"), 3.0);
    // Its own writes are seen by the reads that follow.
    client.run("select n from noted");
    assert_eq!(client.one("select count(*) from log"), "5");
}

#[test]
fn prepared_hidden_write_runs_on_the_primary_once() {
    let stage = stage("refused_prepared");
    let mut client = stage.client();
    let parse = Batch::new()
        .parse("mine", "select n + $1::int from counted")
        .describe_statement("mine")
        .sync();
    assert_eq!(tags(&client.ask(&parse)), "1tTZ");
    for expected in 1..=3 {
        let batch = Batch::new()
            .bind("", "mine", &[Some("0")])
            .describe_portal("");
        let answer = client.ask(&batch.execute("", 0).sync());
        assert_eq!(tags(&answer), "2TDCZ", "{:?}", codes(&answer));
        assert_eq!(row(&answer[2])[0], Some(expected.to_string()));
    }
    let whole = |name: &str| {
        Batch::new()
            .parse(name, "select n from noted")
            .bind("", name, &[])
            .execute("", 0)
            .sync()
    };
    let mut other = stage.client();
    assert_eq!(tags(&other.ask(&whole("a"))), "12DCZ");
    assert_eq!(tags(&other.ask(&whole(""))), "12DCZ");
    assert_eq!(stage.direct_app().one("select count(*) from log"), "2");
    assert_eq!(refused(&stage, "standby"), 2.0);
}

#[test]
fn conflict_with_replay_is_no_matter_of_the_client() {
    let stage = stage("refused_conflict");
    let mut client = stage.client();
    for _ in 0..3 {
        assert_eq!(client.one("select n from broken_off"), "7");
    }
    // It may come to pass there another time.
    assert_eq!(refused(&stage, "conflict"), 3.0);
}

#[test]
fn statement_prepared_ahead_of_a_refusal_stays_known() {
    let stage = Stage::with("refused_known", |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nprepared_statements = 2\n[routing]\ncatalog_refresh = \"off\"")
    });
    stage.seed(SCHEMA);
    let mut client = stage.client();
    let whole = |sql: &str| {
        let batch = Batch::new().parse("", sql).bind("", "", &[]);
        batch.execute("", 0).sync()
    };
    // Two replicas, one server connection each: each statement comes to each of them again, and has to make
    // room for others in between.
    for _ in 0..6 {
        for sql in ["select n from broken_off", "select 1", "select 2"] {
            let answer = client.ask(&whole(sql));
            assert_eq!(tags(&answer), "12DCZ", "{sql}: {:?}", codes(&answer));
        }
    }
    assert!(refused(&stage, "conflict") > 3.0);
}

#[test]
fn what_the_client_has_seen_the_beginning_of_is_not_run_again() {
    let stage = stage("refused_late");
    let mut client = stage.client();
    let error = client.query("select n from late").unwrap_err();
    assert_eq!(error.code, "25006");
    assert_eq!(stage.direct_app().one("select count(*) from log"), "0");
    assert_eq!(refused(&stage, "standby"), 0.0);
    // In a transaction that promised to read only it is the client's doing, and the primary says so, too.
    client.run("begin read only");
    assert_eq!(client.fails("select n from noted").code, "25006");
    client.run("rollback");
    assert_eq!(refused(&stage, "standby"), 1.0);
}

#[test]
fn level_that_no_standby_runs_is_the_sessions_and_not_the_statements() {
    let stage = stage("refused_level");
    let database = &stage.database;
    let set = |what: &str| {
        stage
            .direct(0)
            .run(&format!("alter database \"{database}\" {what}"));
        stage.settle();
    };
    set("set default_transaction_isolation = 'serializable'");
    let mut client = stage.client();
    assert_eq!(client.one("select id from t where id = 9"), "9");
    assert_eq!(refused(&stage, "standby"), 1.0);
    let route = client.run("show route select id from t where id = 9");
    assert_eq!(route[0][2].as_deref(), Some("read_only"));
}
