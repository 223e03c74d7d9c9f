//! What a database's own catalog says decides where reads of its users' functions, operators, types and views go.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire, codes, tags};
use std::time::Duration;

const SCHEMA: &str = "
create table t (id int primary key, owner text default current_user);
insert into t select generate_series(1, 10);
create unlogged table fast as select 1 as a;
create type mood as enum ('sad', 'happy');
create domain small as int check (value < 100);
create function stays(x int) returns int language sql stable as 'select x + 1';
create function stays_not(x int) returns int language plpgsql volatile as 'begin return x; end';
create function of_two_minds(x int) returns int language sql immutable as 'select x';
create function of_two_minds(x text) returns int language plpgsql volatile as 'begin return 1; end';
create function upper(x int) returns text language plpgsql volatile as $$ begin return 'int'; end $$;
create function far(a t, b t) returns float8 language sql immutable as 'select abs(a.id - b.id)::float8';
create operator <~~> (leftarg = t, rightarg = t, function = far);
create function far_not(a t, b t) returns float8 language plpgsql volatile as 'begin return 0; end';
create operator <~!~> (leftarg = t, rightarg = t, function = far_not);
create aggregate total (int) (sfunc = int4pl, stype = int, initcond = '0');
create view plain as select id, stays(id) as more from t;
create view over_plain as select * from plain where id < 5;
create view locks as select id, pg_try_advisory_lock_shared(id) from t;
create view over_locks as select id from locks;
create view where_am_i as select pg_is_in_recovery() as replica;
create table secret (id int, owner text);
alter table secret enable row level security;
create policy own on secret using (owner = current_user and stays_not(id) = id);
create table mine (id int, owner text);
alter table mine enable row level security;
create policy own on mine using (owner = current_user);";

fn route(client: &mut Wire, sql: &str) -> (String, String) {
    let row = client.run(&format!("show route {sql}")).remove(0);
    let field = |at: usize| row[at].clone().unwrap_or_default();
    (field(0), field(2))
}

fn target(client: &mut Wire, sql: &str) -> String {
    route(client, sql).0
}

/// A client, once the catalog is known.
fn stage(name: &str) -> (Stage, Wire) {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\ncatalog_refresh = \"2s\"")
    });
    stage.seed(SCHEMA);
    let mut client = stage.client();
    becomes(&mut client, "select stays(1)", "replica");
    (stage, client)
}

fn becomes(client: &mut Wire, sql: &str, wanted: &str) {
    let known = wait::within(Duration::from_secs(15), || {
        (target(client, sql) == wanted).then_some(())
    });
    assert!(known.is_some(), "{sql}: {:?}", route(client, sql));
}

#[test]
fn names_of_users_go_by_what_their_functions_are_declared_to_be() {
    let (stage, mut client) = stage("catalog_names");
    for (sql, wanted) in [
        ("select stays(id) from t", "replica"),
        ("select public.stays(id) from t", "replica"),
        ("select * from stays(1)", "replica"),
        ("select total(id) from t", "replica"),
        ("select stays_not(id) from t", "primary"),
        ("select of_two_minds(1)", "primary"),
        // The built-in one is hidden by a user's where that fits better.
        ("select upper('x')", "primary"),
        ("select lower('x')", "replica"),
        ("select a <~~> b from t a, t b", "replica"),
        ("select a <~!~> b from t a, t b", "primary"),
        ("select 'happy'::mood", "replica"),
        ("select mood 'sad', cast('sad' as mood)", "replica"),
        ("select 7::small", "replica"),
    ] {
        let (target, reason) = route(&mut client, sql);
        assert_eq!(target, wanted, "{sql}: {reason}");
        client.run(sql);
    }
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn views_and_policies_are_followed_to_what_they_call() {
    let (stage, mut client) = stage("catalog_views");
    for (sql, wanted) in [
        ("select * from plain", "read_only"),
        ("select * from over_plain p join t using (id)", "read_only"),
        ("select * from mine", "read_only"),
        ("select * from locks", "relation"),
        ("select count(*) from over_locks", "relation"),
        ("select replica from where_am_i", "relation"),
        ("select * from secret", "relation"),
        ("table fast", "relation"),
        ("copy fast to stdout", "relation"),
        ("explain select * from fast", "relation"),
    ] {
        assert_eq!(route(&mut client, sql).1, wanted, "{sql}");
    }
    // None of it had to be found out by a replica.
    assert_eq!(client.one("select count(*) from fast"), "1");
    assert_eq!(client.one("select replica from where_am_i"), "f");
    let page = stage.convoy.page("/metrics").body;
    let refused = pgconvoy_tests::http::sum(&page, "pgconvoy_reads_refused_total");
    assert!(refused < 0.5, "{refused}");
}

#[test]
fn catalog_is_read_again_when_it_changes() {
    let (stage, mut client) = stage("catalog_changes");
    let parse = Batch::new().parse("mine", "select stays(1)").sync();
    assert_eq!(tags(&client.ask(&parse)), "1Z");
    let run = Batch::new().bind("", "mine", &[]).execute("", 0).sync();
    assert_eq!(tags(&client.ask(&run)), "2DCZ");
    // Through pgconvoy, and past it.
    client.run("alter function stays(int) volatile");
    becomes(&mut client, "select stays(1)", "primary");
    becomes(&mut client, "select * from plain", "primary");
    let before = stage.counts()[0].select;
    let answer = client.ask(&run);
    assert_eq!(tags(&answer), "2DCZ", "{:?}", codes(&answer));
    let after = stage.counts()[0].select;
    assert_eq!(after - before, 1, "what was prepared is decided again");
    stage.seed("alter function stays(int) immutable; create function late() returns int language sql stable as 'select 5'");
    becomes(&mut client, "select * from plain", "replica");
    becomes(&mut client, "select late()", "replica");
    assert_eq!(client.one("select late()"), "5");
}

#[test]
fn setting_that_a_function_leaves_behind_reaches_nobody_else() {
    let stage = Stage::with("catalog_leak", |setup| {
        setup
            .top("workers = 1")
            .weights(&[1, 1, 0])
            .with("[pool]\nsize = 1")
    });
    stage.seed(
        "create function own(t text) returns text language plpgsql stable as \
         $$ begin return set_config('app.tenant', t, false); end $$;
         create function tenant() returns text language sql stable as $$ select current_setting('app.tenant', true) $$;",
    );
    let mut client = stage.client();
    becomes(&mut client, "select tenant()", "replica");
    let mut other = stage.client();
    for _ in 0..5 {
        assert_eq!(client.one("select own('mine')"), "mine");
        assert_ne!(other.run("select tenant()")[0][0].as_deref(), Some("mine"));
    }
}

#[test]
fn databases_know_their_own_names_only() {
    let (stage, mut client) = stage("catalog_databases");
    let other = pgconvoy_tests::shared::database("catalog_other");
    let mut elsewhere = stage.convoy.connect("app", &other).unwrap();
    elsewhere.run("create function stays(x int) returns int language plpgsql volatile as 'begin return x; end'; create function only_here() returns int language sql stable as 'select 1'");
    becomes(&mut elsewhere, "select only_here()", "replica");
    assert_eq!(target(&mut elsewhere, "select stays(1)"), "primary");
    assert_eq!(target(&mut client, "select stays(1)"), "replica");
    assert_eq!(target(&mut client, "select only_here()"), "primary");
}

#[test]
fn catalog_that_is_not_to_be_read_leaves_functions_to_the_primary() {
    let stage = Stage::with("catalog_off", |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\ncatalog_refresh = \"off\"")
    });
    stage.seed(SCHEMA);
    let mut client = stage.client();
    // When another, that came later, has read its own, this one would have, too.
    let (_other, _) = self::stage("catalog_on");
    assert_eq!(route(&mut client, "select stays(1)").1, "unknown_function");
    assert_eq!(client.one("select count(*) from fast"), "1");
}

#[test]
fn what_a_definition_has_just_named_is_read_on_the_primary_until_the_catalog_has_it() {
    let (stage, mut client) = stage("catalog_touched");
    stage
        .client()
        .run("create sequence before_it; create table beside_it (id int)");
    becomes(&mut client, "select last_value from before_it", "primary");
    becomes(&mut client, "select id from beside_it", "replica");
    // A statement prepared while the name meant nothing is judged anew, too.
    let parse = pgconvoy_tests::wire::Batch::new()
        .parse("p", "select id from beside_it")
        .sync();
    client.ask(&parse);
    stage
        .client()
        .run("alter sequence before_it rename to after_it");
    assert_eq!(
        target(&mut client, "select last_value from after_it"),
        "primary"
    );
    assert_eq!(
        target(&mut client, "select last_value from before_it"),
        "primary"
    );
    assert_eq!(target(&mut client, "select id from beside_it"), "replica");
    stage.client().run("vacuum beside_it");
    assert_eq!(target(&mut client, "select id from beside_it"), "replica");
    stage
        .client()
        .run("alter table beside_it enable row level security");
    assert_eq!(target(&mut client, "select id from beside_it"), "primary");
    becomes(&mut client, "select id from beside_it", "replica");
    assert_eq!(
        target(&mut client, "select last_value from after_it"),
        "primary"
    );
}
