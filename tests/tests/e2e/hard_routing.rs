//! What misroutes statements elsewhere: each must run on the primary, or may run on a replica, and does, by both
//! protocols and without a write ever reaching a replica.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire, tags};

const SCHEMA: &str = "
create table t (id int primary key, b text, owner text default current_user); insert into t (id, b) values (1, 'x'), (2, 'y');
create table log (n int); create sequence s;
create function writes(n int) returns int language plpgsql volatile as
    $$ begin insert into log values (n); return n; end $$;
create function body(n int) returns int language sql volatile as 'select writes(n)';
create view over_write as select writes(1) as n; create view over_view as select * from over_write;
create operator === (leftarg = int, rightarg = int, function = other_of);
";
const MORE: &str = "
create type label as (text text); create function to_label(text) returns label language plpgsql volatile as
    $$ begin insert into log values (9); return row($1)::label; end $$; create cast (text as label) with function to_label(text);
create table defaulted (n int default writes(5), m int);
create table guarded (id int, owner text); insert into guarded values (1, 'app'); alter table guarded enable row level security, force row level security;
create policy p on guarded using (writes(id) > 0);
create unlogged table fast as select 1 as a; create materialized view mat as select 1 as a;
create extension if not exists postgres_fdw; ";

fn stage(name: &str) -> (Stage, Wire) {
    let stage = Stage::with(name, |setup| setup.top("workers = 1"));
    let operator = "create function other_of(int, int) returns bool language plpgsql volatile as \
                    $$ begin insert into log values ($1); return true; end $$;";
    let (before, after) = SCHEMA.split_at(SCHEMA.find("create operator").unwrap());
    stage.seed(&format!("{before}{operator}{after}"));
    stage.seed(MORE.split("create extension").next().unwrap());
    stage.direct(0).run(
        "create extension if not exists postgres_fdw; create server elsewhere foreign data wrapper postgres_fdw; \
         create foreign table far (a int) server elsewhere; grant select on far to app",
    );
    stage.settle();
    let mut client = stage.client();
    wait::until("the catalog is read", wait::SOON, || {
        target(&mut client, "select * from over_view") == "primary"
            && target(&mut client, "select * from far") == "primary"
    });
    (stage, client)
}

fn target(client: &mut Wire, sql: &str) -> String {
    client.run(&format!("show route {sql}"))[0][0]
        .clone()
        .unwrap()
}

fn primary(client: &mut Wire, all: &[&str]) {
    for sql in all {
        assert_eq!(target(client, sql), "primary", "{sql}");
    }
}

fn replica(client: &mut Wire, all: &[&str]) {
    for sql in all {
        assert_eq!(target(client, sql), "replica", "{sql}");
    }
}

#[test]
fn writes_within_queries_run_on_the_primary() {
    let (stage, mut client) = stage("hard_within");
    let all = [
        "with x as (update t set b = 'z' where id = 1 returning id) select * from x",
        "with x as (with y as (select 1) delete from log returning n) select * from x",
        "with a as (select 1), x as (insert into log values (2) returning n) select n from x, a",
        "explain analyze insert into log values (1)",
        "explain (analyze, costs off) update t set b = b",
        "explain analyze select writes(1)",
        "copy (delete from log returning *) to stdout",
        "copy (select nextval('s')) to stdout",
        "select id into taken from t",
        "create table made as select 1 as a",
    ];
    primary(&mut client, &all);
    all.iter().for_each(|sql| {
        let answers = client.ask(&Batch::new().query(sql));
        assert!(tags(&answers).ends_with("CZ"), "{sql}: {}", tags(&answers));
    });
    replica(
        &mut client,
        &[
            "explain (analyze false) select * from t",
            "explain select * from t",
        ],
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn functions_that_write_or_lock_run_on_the_primary() {
    let (stage, mut client) = stage("hard_functions");
    let all = [
        "select nextval('s')",
        "select setval('s', 5)",
        "select lo_create(0)",
        "select pg_notify('a', 'b')",
        "select txid_current()",
        "select pg_current_xact_id()",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_xact_lock_shared(1)",
        "select set_config('a.b', 'c', false)",
        "select writes(1)",
        "select body(1)",
        "select * from over_write",
        "select n from over_view where n = 1",
        "select id === 1 from t",
        "select b::label from t",
        "select * from guarded",
    ];
    primary(&mut client, &all);
    for sql in all {
        stage.client().run(sql);
        let batch = Batch::new().parse("", sql).bind("", "", &[]).execute("", 0);
        let answers = stage.client().ask(&batch.sync());
        assert!(tags(&answers).ends_with("CZ"), "{sql}: {}", tags(&answers));
    }
    client.run("insert into defaulted (m) values (1)");
    assert_eq!(client.one("select count(*) from log where n = 5"), "1");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn row_locks_run_on_the_primary() {
    let (stage, mut client) = stage("hard_locks");
    let all = [
        "select * from t for update",
        "select * from t for no key update of t skip locked",
        "select * from t for share nowait",
        "select * from t for key share",
        "select * from (select id from t for update) x",
        "with x as (select id from t order by id for update skip locked limit 5) select * from x",
        "select id from t where id in (select id from t for share)",
        "lock table t in access share mode",
    ];
    primary(&mut client, &all);
    all[..7].iter().for_each(|sql| drop(client.run(sql)));
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn relations_that_only_a_primary_has_are_read_there() {
    let (stage, mut client) = stage("hard_relations");
    primary(
        &mut client,
        &[
            "select * from fast",
            "select last_value from s",
            "select * from far",
            "refresh materialized view mat",
            "copy fast to stdout",
            "copy t from stdin",
            "copy t from stdin;",
            "select lo_get(1)",
        ],
    );
    // A temporary table of the name of a permanent one.
    client.run("create temp table t as select 7 as id");
    assert_eq!(client.one("select id from t"), "7");
    assert_eq!(client.one("select id from pg_temp.t"), "7");
    let copied = client.ask(&Batch::new().query("copy t to stdout"));
    assert_eq!(tags(&copied), "HdcCZ");
    let mut other = stage.client();
    replica(
        &mut other,
        &["select * from t", "select * from mat", "copy t to stdout"],
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn statements_of_sql_and_strings_of_several_go_where_their_worst_part_must() {
    let (stage, mut client) = stage("hard_several");
    client.run("prepare p as with x as (delete from log returning n) select count(*) from x");
    client.run("insert into log values (1)");
    assert_eq!(client.one("execute p"), "1");
    client.run("deallocate p");
    for sql in [
        "select 1; insert into log values (2)",
        "insert into log values (3); select 1",
        "select ';'; insert into log values (4)",
        "select $$;$$ /* ; */; insert into log values (5) -- ;",
    ] {
        primary(&mut client, &[&format!("'{}'", sql.replace('\'', "''"))]);
        client.run(sql);
    }
    assert_eq!(client.one("select count(*) from log"), "4");
    // What fails leaves nothing of where it went.
    for bad in [
        "selec 1",
        "select (",
        "insert into log value (1)",
        "select 'x",
    ] {
        assert!(client.query(bad).is_err(), "{bad}");
        replica(&mut stage.client(), &["select * from t"]);
        client.run("insert into log values (6)");
    }
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn reads_of_any_form_run_on_a_replica() {
    let (stage, mut client) = stage("hard_reads");
    let all = [
        "table t",
        "values (1), (2)",
        "show search_path",
        "-- a comment\n/* another */ select id from t",
        "(select id from t) union all (select 2) order by 1",
        "explain select * from t",
        "copy t to stdout",
        "copy (select id from t) to stdout with (format csv)",
        "with recursive r(n) as (values (1) union all select n + 1 from r where n < 3) select n from r",
        "select id, row_number() over (order by id) from t",
        "select * from rows from (generate_series(1, 2), generate_series(3, 4)) as x(a, b)",
        "select count(*) filter (where id > 1) from t group by grouping sets ((b), ())",
    ];
    replica(&mut client, &all);
    let before = stage.counts()[0];
    for sql in all {
        let answers = client.ask(&Batch::new().query(sql));
        assert!(tags(&answers).ends_with("CZ"), "{sql}: {}", tags(&answers));
    }
    let after = stage.counts()[0];
    assert_eq!((after.select, after.other), (before.select, before.other));
}

#[test]
fn session_that_reads_only_by_default_may_write_where_it_says_so() {
    let (stage, mut client) = stage("hard_default");
    client.run("set default_transaction_read_only = on");
    assert_eq!(client.fails("insert into log values (1)").code, "25006");
    for sql in [
        "begin",
        "set transaction read write",
        "insert into log values (1)",
        "commit",
    ] {
        client.run(sql);
    }
    client.run("begin isolation level serializable read write");
    client.run("insert into log values (2)");
    client.run("commit");
    assert_eq!(stage.direct_app().one("select count(*) from log"), "2");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn application_with_two_connections_reads_what_the_other_wrote_where_writes_are_followed() {
    let stage = Stage::with("hard_two", |setup| {
        setup
            .top("workers = 2")
            .with("[routing]\nread_your_writes = \"cluster\"")
    });
    stage.seed("create table t (id serial primary key, b text)");
    let (mut writer, mut reader) = (stage.client(), stage.client());
    for round in 0..300 {
        let id = writer.one(&format!(
            "insert into t (b) values ('{round}') returning id"
        ));
        let found = reader.one(&format!("select b from t where id = {id}"));
        assert_eq!(found, round.to_string());
    }
    stage.assert_no_write_reached_a_replica();
}
