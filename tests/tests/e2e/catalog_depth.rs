//! What a statement runs without naming it: operators' and casts' functions, constraints of domains, types' output,
//! operator classes, functions written as columns; and the configuration's word over all of that.

use pgconvoy_tests::convoy::Setup;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::Wire;

/// In the way of pgvector and PostGIS, with twins that are VOLATILE.
const TYPES: &str = "
create type vec as (x float8, y float8);
create function l2(a vec, b vec) returns float8 language sql immutable as 'select sqrt((a.x - b.x)^2 + (a.y - b.y)^2)';
create function cosine(a vec, b vec) returns float8 language plpgsql immutable as
  'begin return 1 - (a.x * b.x + a.y * b.y) / (sqrt(a.x^2 + a.y^2) * sqrt(b.x^2 + b.y^2)); end';
create function inner_not(a vec, b vec) returns float8 language plpgsql volatile as 'begin return a.x * b.x + a.y * b.y; end';
create operator <-> (leftarg = vec, rightarg = vec, function = l2, commutator = <->);
create operator <=> (leftarg = vec, rightarg = vec, function = cosine);
create operator <#> (leftarg = vec, rightarg = vec, function = inner_not);
create table items (id int primary key, embedding vec);
insert into items select n, row(n, 1)::vec from generate_series(1, 10) n;

create domain geom as vec check ((value).x is not null);
create function overlaps(a geom, b geom) returns bool language sql stable as 'select abs((a).x - (b).x) < 1';
create operator && (leftarg = geom, rightarg = geom, function = overlaps);
create function st_dwithin(a geom, b geom, distance float8) returns bool language sql immutable as 'select l2(a, b) < distance';
create function st_touches(a geom, b geom) returns bool language plpgsql volatile as 'begin return false; end';
create table places (id int primary key, at geom);
insert into places select n, row(n, 0)::vec from generate_series(1, 10) n;

create function looks(x int) returns bool language plpgsql volatile as 'begin return true; end';
create domain looked_at as int check (looks(value));
create function of_looked_at(x looked_at) returns int language sql immutable as 'select 1';
create function same_looked_at(a looked_at, b looked_at) returns bool language sql immutable as 'select true';
create type boxed as (x int);
create function looks(x boxed) returns bool language plpgsql volatile as 'begin return true; end';
create domain looked_into as boxed check (looks(value));
create function same(a looked_into, b looked_into) returns bool language plpgsql immutable as 'begin return true; end';
create operator ~=~ (leftarg = looked_into, rightarg = looked_into, function = same);
create domain small as int check (value < 100);
create domain tiny as small check (value < 10);

create schema near; create schema far;
create function near.by(a int, b int) returns int language sql immutable as 'select abs(a - b)';
create function far.by(a int, b int) returns int language plpgsql volatile as 'begin return abs(a - b); end';
create operator near.<~> (leftarg = int, rightarg = int, function = near.by);
create operator far.<~> (leftarg = int, rightarg = int, function = far.by);

create function plain_sql(n int) returns bigint language sql stable as 'select count(*) from items where id < n';
create function over_plain(n int) returns bigint language sql stable as 'select 1; select plain_sql(n)';
create function by_standard(n int) returns bigint language sql stable return plain_sql(n) + 1;
create function in_block(n int) returns bigint language sql stable begin atomic select 1; select by_standard(n); end;
create function plain_volatile(n int) returns int language sql as 'select n';
create function locks_in_block(n int) returns bool language sql stable begin atomic select 1; select pg_try_advisory_lock_shared(n); end;
create function locks_by_standard(n int) returns bool language sql stable return pg_try_advisory_lock_shared(n);
create function locks(n int) returns bool language sql stable as 'select pg_try_advisory_lock_shared(n)';
create function over_locks(n int) returns bool language sql immutable as 'select locks(n)';
create function factorial(n int) returns numeric language sql immutable as
  'select case when n < 2 then 1 else n * factorial(n - 1) end';
create view locking as select over_locks(id) from items;
create type celsius as (degrees int);
create function degrees_not(c celsius) returns int language plpgsql volatile as 'begin return c.degrees; end';
create cast (celsius as int) with function degrees_not(celsius);
create table weather (id int, c celsius);
create type kelvin as (degrees int);
create function degrees(k kelvin) returns int language plpgsql immutable as 'begin return k.degrees; end';
create cast (kelvin as int) with function degrees(kelvin);
create function colder(k kelvin) returns celsius language plpgsql volatile as 'begin return row(k.degrees - 273)::celsius; end';
create table cold (id int, k kelvin);
create function add_not(a int, b int) returns int language plpgsql volatile as 'begin return a + b; end';
create aggregate total_not(int) (sfunc = add_not, stype = int, initcond = '0');
create aggregate total(int) (sfunc = int4pl, stype = int, initcond = '0');
create function touched(i items) returns int language plpgsql volatile as 'begin return i.id; end';
create function doubled(i items) returns int language sql stable as 'select i.id * 2';";

/// What only a superuser may make: a base type whose output is VOLATILE, and operator classes.
const CLASSES: &str = "
create type odd;
create function odd_in(cstring) returns odd language internal immutable strict as 'int4in';
create function odd_out(odd) returns cstring language internal volatile strict as 'int4out';
create type odd (input = odd_in, output = odd_out, internallength = 4, passedbyvalue, alignment = int4);
create domain very_odd as odd;
create type with_odd as (id int, o very_odd);
create table odds (id int, w with_odd[]);
insert into odds values (1, null);
create function odd_one() returns odd language sql stable as $$ select '7'::odd $$;
create table even (id int);
insert into even values (2);

create function lt(int, int) returns bool language internal immutable strict as 'int4lt';
create function le(int, int) returns bool language internal immutable strict as 'int4le';
create function eq(int, int) returns bool language internal immutable strict as 'int4eq';
create function ge(int, int) returns bool language internal immutable strict as 'int4ge';
create function gt(int, int) returns bool language internal immutable strict as 'int4gt';
create operator <% (leftarg = int, rightarg = int, function = lt);
create operator <=% (leftarg = int, rightarg = int, function = le);
create operator =% (leftarg = int, rightarg = int, function = eq);
create operator >=% (leftarg = int, rightarg = int, function = ge);
create operator >% (leftarg = int, rightarg = int, function = gt);
create function compares(int, int) returns int language internal immutable strict as 'btint4cmp';
create function compares_not(int, int) returns int language internal volatile strict as 'btint4cmp';
create operator class own_ops for type int using btree as operator 1 <%, operator 2 <=%, operator 3 =%,
  operator 4 >=%, operator 5 >%, function 1 compares(int, int);
create operator class volatile_ops for type int using btree as operator 1 <%, operator 2 <=%, operator 3 =%,
  operator 4 >=%, operator 5 >%, function 1 compares_not(int, int);
create table ordered (a int); insert into ordered select generate_series(1, 10);
create index on ordered (a own_ops);
create table ordered_not (a int); insert into ordered_not select generate_series(1, 10);
create index on ordered_not (a volatile_ops);
grant select on odds, even, ordered, ordered_not to app;";

fn stage(name: &str, change: impl FnOnce(Setup) -> Setup) -> (Stage, Wire) {
    let stage = Stage::with(name, |setup| change(setup.top("workers = 1")));
    stage.seed(TYPES);
    stage.direct(0).run(CLASSES);
    stage.settle();
    stage.seed("create function last() returns int language sql stable as 'select 1'");
    let mut client = stage.client();
    becomes(&mut client, "select last()", "replica");
    (stage, client)
}

fn route(client: &mut Wire, sql: &str) -> (String, String) {
    let row = client.run(&format!("show route {sql}")).remove(0);
    let field = |at: usize| row[at].clone().unwrap_or_default();
    (field(0), field(2))
}

fn becomes(client: &mut Wire, sql: &str, wanted: &str) {
    wait::until(&format!("{sql} is for the {wanted}"), wait::SOON, || {
        route(client, sql).0 == wanted
    });
}

/// Each goes where it should, and runs there.
fn all_go(client: &mut Wire, statements: &[(&str, &str)]) {
    for (sql, wanted) in statements {
        let (target, reason) = route(client, sql);
        assert_eq!(target, *wanted, "{sql}: {reason}");
        client.run(sql);
    }
}

#[test]
fn distances_and_overlaps_of_users_types_go_by_their_functions() {
    let (stage, mut client) = stage("catalog_operators", |setup| setup);
    all_go(
        &mut client,
        &[
            (
                "select id from items order by embedding <-> row(1, 2)::vec limit 5",
                "replica",
            ),
            (
                "select id from items order by embedding <-> '(1,2)' limit 5",
                "replica",
            ),
            (
                "select id, embedding <=> '(1,2)'::vec as distance from items order by 2",
                "replica",
            ),
            (
                "select id from items where embedding <=> '(1,2)' < 0.5",
                "replica",
            ),
            (
                "select id from items order by embedding <#> '(1,2)' limit 5",
                "primary",
            ),
            (
                "select a.id from places a join places b on a.at && b.at",
                "replica",
            ),
            (
                "select id from places where st_dwithin(at, '(1,2)', 5)",
                "replica",
            ),
            (
                "select id from places where st_dwithin(at, row(1, 2)::vec::geom, 5)",
                "replica",
            ),
            (
                "select id from places where public.st_dwithin(at, '(1,2)'::public.geom, 5)",
                "replica",
            ),
            (
                "select id from places where st_touches(at, '(1,2)')",
                "primary",
            ),
            ("select 1 operator(near.<~>) 2", "replica"),
            (
                "select 1 operator(\"near\".<~>) 2, 1 operator(pg_catalog.=) 2",
                "replica",
            ),
            ("select 1 operator(far.<~>) 2", "primary"),
            ("select array[1] && array[2]", "replica"),
        ],
    );
    stage.assert_no_write_reached_a_replica();
    // One more of that name, for another type, and nobody knows which is meant.
    stage.seed(
        "create function shares(a vec, b vec) returns bool language plpgsql volatile as 'begin return true; end';
         create operator && (leftarg = vec, rightarg = vec, function = shares);
         create function later() returns int language sql stable as 'select 1'",
    );
    client.run("create table seen (a int)");
    becomes(&mut client, "select later()", "replica");
    all_go(
        &mut client,
        &[(
            "select a.id from places a join places b on a.at && b.at",
            "primary",
        )],
    );
}

#[test]
fn constraints_of_domains_and_functions_written_as_columns_are_followed() {
    let (stage, mut client) = stage("catalog_domains", |setup| setup);
    all_go(
        &mut client,
        &[
            (
                "select 7::small, cast(7 as tiny), '7'::public.tiny",
                "replica",
            ),
            ("select 7::looked_at", "primary"),
            ("select of_looked_at(7)", "primary"),
            ("select same_looked_at(1, 2)", "primary"),
            (
                "select 1 from (select null::boxed as b) x where b ~=~ b",
                "primary",
            ),
            ("select total(id) from items", "replica"),
            ("select total_not(id) from items", "primary"),
            ("select c::int from weather", "primary"),
            ("select row(1)::celsius::int", "primary"),
            ("select k::int, row(1)::kelvin from cold", "replica"),
            ("select i.doubled from items i", "replica"),
            ("select i.touched from items i", "primary"),
            ("select (i).touched from items i", "primary"),
        ],
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn bodies_of_functions_in_sql_are_followed() {
    let (stage, mut client) = stage("catalog_bodies", |setup| setup);
    all_go(
        &mut client,
        &[
            ("select plain_sql(5)", "replica"),
            ("select over_plain(5)", "replica"),
            ("select by_standard(5), in_block(5)", "replica"),
            ("select plain_volatile(1)", "primary"),
            ("select locks_in_block(1)", "primary"),
            ("select locks_by_standard(1)", "primary"),
            ("select locks(1)", "primary"),
            ("select over_locks(1)", "primary"),
            ("select * from locking", "primary"),
            ("select factorial(5)", "replica"),
        ],
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn types_output_and_operator_classes_are_followed() {
    let (stage, mut client) = stage("catalog_classes", |setup| setup);
    all_go(
        &mut client,
        &[
            ("select * from even", "replica"),
            ("select id from odds", "primary"),
            ("select odd_one()", "primary"),
            ("select '1'::odd", "primary"),
            ("select a from ordered order by a using <%", "replica"),
            ("select a from ordered where a =% 3", "replica"),
            ("select a from ordered_not where a =% 3", "primary"),
        ],
    );
    assert_eq!(route(&mut client, "select id from odds").1, "relation");
    assert_eq!(
        route(&mut client, "select * from ordered_not").1,
        "relation"
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn configuration_has_the_last_word_on_functions_and_a_reload_changes_it() {
    let lists = |read_only: &str, write: &str| {
        format!("[routing]\nread_only_functions = [{read_only}]\nwrite_functions = [{write}]")
    };
    let (stage, mut client) = stage("catalog_overrides", |setup| {
        setup.with(&lists(
            "\"inner_*\", \"far.by\", \"looks\", \"compares_not\"",
            "\"st_*\", \"lower\"",
        ))
    });
    all_go(
        &mut client,
        &[
            (
                "select id from items order by embedding <#> '(1,2)' limit 5",
                "replica",
            ),
            (
                "select inner_not(embedding, embedding) from items",
                "replica",
            ),
            ("select 1 operator(far.<~>) 2, far.by(1, 2)", "replica"),
            ("select 7::looked_at", "replica"),
            ("select a from ordered_not where a =% 3", "replica"),
            (
                "select id from places where st_dwithin(at, '(1,2)', 5)",
                "primary",
            ),
            ("select lower('X')", "primary"),
            ("select upper('x')", "replica"),
        ],
    );
    assert_eq!(route(&mut client, "select lower('X')").1, "write_function");
    stage
        .convoy
        .reload(|setup| setup.with(&lists("\"st_touches\"", "\"cosine\"")));
    becomes(&mut client, "select lower('X')", "replica");
    all_go(
        &mut client,
        &[
            (
                "select id from items order by embedding <#> '(1,2)' limit 5",
                "primary",
            ),
            (
                "select id from items where embedding <=> '(1,2)' < 0.5",
                "primary",
            ),
            (
                "select id from places where st_touches(at, '(1,2)')",
                "replica",
            ),
            ("select 7::looked_at", "primary"),
        ],
    );
}

#[test]
fn configuration_counts_without_a_catalog() {
    let stage = Stage::with("catalog_overrides_only", |setup| {
        setup.top("workers = 1").with(
            "[routing]\ncatalog_refresh = \"off\"\nread_only_functions = [\"reads\", \"own.f\"]\nwrite_functions = [\"abs\"]",
        )
    });
    stage.seed(
        "create function reads() returns int language plpgsql as 'begin return 1; end';
         create schema own; create function own.f() returns int language plpgsql as 'begin return 1; end'",
    );
    let mut client = stage.client();
    all_go(
        &mut client,
        &[
            ("select reads(), own.f()", "replica"),
            ("select public.reads()", "replica"),
            ("select abs(-1)", "primary"),
            ("select length('x')", "replica"),
        ],
    );
    assert_eq!(route(&mut client, "select f()").1, "unknown_function");
}
