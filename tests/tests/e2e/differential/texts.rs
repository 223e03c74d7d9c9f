//! The statements that pipelines are made of. `$1`, `$2` have the kinds that the letters name: `i` an int, `l` a bigint,
//! `t` a text, `n` a numeric, `b` a boolean. All that they show is the same on any server with the same content.

/// A statement and the kinds of its parameters.
pub(super) type Text = (&'static str, &'static str);

/// What a worker's schema holds at the start of each session.
pub(super) const SEED: &str = "
insert into t select g, 'row ' || g, g * 1.5, g % 3 = 0, array[g, g + 1], jsonb_build_object('g', g),
    timestamptz '2024-01-01 00:00:00+00' + g * interval '1 hour' from generate_series(1, 20) g;
insert into u (t_id, note) select g, 'note ' || g from generate_series(1, 5) g;";

/// What is made once in each worker's schema. The type of `odd.a` differs from one schema to the next.
pub(super) const SCHEMA: &str = "
create table t (id int primary key, v text not null, n numeric, ok boolean, tags int[], doc jsonb, at timestamptz);
create table u (id serial primary key, t_id int references t deferrable initially deferred, note text not null check (length(note) < 40));
create sequence seq;
create type mood as enum ('sad', 'happy');
create function noisy(what text) returns text language plpgsql as
    $$ begin raise notice 'noise: %', what; raise warning 'loud %', what using detail = 'of it', hint = 'none'; return what; end $$;
create function writes(new_id int) returns int language plpgsql as
    $$ begin insert into t values (new_id, 'by a function'); return new_id; end $$;
create function fails(code text) returns int language plpgsql as
    $$ begin raise exception 'made to fail' using errcode = code, detail = 'a detail', hint = 'a hint', table = 't', column = 'v'; end $$;";

pub(super) const READS: &[Text] = &[
    ("select 1", ""),
    ("select $1::int + 1 as next", "i"),
    ("select id, v from t order by id limit $1", "l"),
    ("select v, ok from t where id = $1", "i"),
    ("select count(*), sum(n) from t", ""),
    ("select g, 'r' || g from generate_series(1, $1::int) g", "i"),
    ("select $1::text || $2::text as both_of_them", "tt"),
    (
        "select id, n, ok, tags, doc, at from t where id between $1 and $2 order by id",
        "ii",
    ),
    ("values (1, 'a'), (2, null), (3, '')", ""),
    ("table u", ""),
    ("select a from odd", ""),
    ("select * from odd where b = $1", "i"),
    ("select t from t where id = 3", ""),
    ("select null::t, 'happy'::mood", ""),
    (
        "select repeat('x', 3000), g from generate_series(1, 20) g",
        "",
    ),
    ("select 'mine' as whose, current_schema(), current_user", ""),
    ("show transaction_isolation", ""),
    ("show search_path", ""),
    ("show timezone", ""),
    ("select at from t order by id limit 2", ""),
    ("select current_setting('application_name') <> ''", ""),
    ("select $1::numeric * 2, $2::boolean", "nb"),
    ("select from t where id < 3", ""),
    (
        "explain (costs off) select * from generate_series(1, 3)",
        "",
    ),
    ("/* a comment */ select /* another; one */ 2 -- the end", ""),
    (
        "select t.id, u.note from t left join u on u.t_id = t.id where t.id < $1 order by t.id, u.id",
        "i",
    ),
    (
        "select id from t where v = any (array[$1, $2]) order by id",
        "tt",
    ),
];

pub(super) const WRITES: &[Text] = &[
    ("insert into t (id, v) values ($1, $2)", "it"),
    (
        "insert into t (id, v, n, ok) values ($1, $2, $3, $4) returning *",
        "itnb",
    ),
    (
        "insert into t (id, v) values ($1, 'x') on conflict (id) do update set v = t.v || 'x' returning v",
        "i",
    ),
    ("update t set v = $2 where id = $1 returning id, v", "it"),
    ("update t set n = n + 1 where id <= $1", "i"),
    ("delete from t where id = $1", "i"),
    ("insert into u (t_id, note) values ($1, $2)", "it"),
    (
        "insert into u (t_id, note) values ($1, 'n') returning id, t_id",
        "i",
    ),
    ("insert into u (t_id, note) values (1, repeat($1, 20))", "t"),
    ("select nextval('seq'), $1::int", "i"),
    ("select setval('seq', $1)", "l"),
    (
        "insert into t select g, 'bulk' from generate_series(1000, 1010) g",
        "",
    ),
    ("delete from t where id >= 1000", ""),
    ("truncate u", ""),
    (
        "with x as (update t set ok = not ok where id < $1 returning id) select count(*) from x",
        "i",
    ),
    (
        "with x as (insert into t (id, v) values ($1, 'cte') returning *) select id, v from x",
        "i",
    ),
    ("select noisy($1)", "t"),
    ("select writes($1)", "i"),
    ("select id from t where id < $1 order by id for update", "i"),
    ("lock table u in share mode", ""),
    ("create table made (a int)", ""),
    ("create table if not exists made (a int)", ""),
    (
        "create table made as select g from generate_series(1, 3) g",
        "",
    ),
    ("alter table made add column b text default 'b'", ""),
    ("drop table made", ""),
    ("drop table if exists made, neither", ""),
    ("comment on table t is 'commented'", ""),
    ("do $$ begin raise notice 'from a block'; end $$", ""),
    (
        "do $$ begin insert into t values (3000, 'block'); exception when others then raise notice 'caught %', sqlerrm; end $$",
        "",
    ),
    ("vacuum u", ""),
    (
        "merge into t using (values ($1::int)) as new (id) on t.id = new.id when matched then update set v = 'merged' when not matched then insert (id, v) values (new.id, 'm')",
        "i",
    ),
];

pub(super) const WRONG: &[Text] = &[
    ("selec 1", ""),
    ("select nope from t", ""),
    ("select * from missing", ""),
    ("insert into missing values ($1)", "i"),
    ("select 10 / (5 - g) from generate_series(1, 10) g", ""),
    ("select 1 / $1::int", "i"),
    ("select 'x'::int", ""),
    ("select fails($1)", "t"),
    ("select fails('40001')", ""),
    ("select fails('57014')", ""),
    ("insert into t (id, v) values (1, 'again')", ""),
    ("insert into t (id, v) values ($1, null)", "i"),
    ("select $1", "t"),
    ("select $2::int", "ii"),
    ("select 'unterminated", ""),
    ("select $$unterminated", ""),
    ("select 1; select 2", ""),
    ("select (1", ""),
    ("do $$ begin perform 1/0; end $$", ""),
    ("insert into u (t_id, note) values (777, 'dangling')", ""),
    ("create table t ()", ""),
    ("fetch 1 from no_cursor", ""),
    ("execute no_statement", ""),
    ("set no_such_thing = 1", ""),
    ("copy missing from stdin", ""),
];

pub(super) const EMPTY: &[Text] = &[
    ("", ""),
    (" ; ", ""),
    ("-- nothing", ""),
    ("/* nothing */", ""),
    ("\n\t ", ""),
];

/// Each opens, ends or bends a transaction.
pub(super) const TRANSACTION: &[Text] = &[
    ("begin", ""),
    ("begin", ""),
    ("start transaction read only", ""),
    ("begin isolation level serializable", ""),
    (
        "begin transaction isolation level repeatable read, read only",
        "",
    ),
    ("commit", ""),
    ("commit", ""),
    ("end", ""),
    ("rollback", ""),
    ("rollback", ""),
    ("abort", ""),
    ("commit and chain", ""),
    ("rollback and chain", ""),
    ("savepoint a", ""),
    ("savepoint b", ""),
    ("rollback to a", ""),
    ("rollback to savepoint b", ""),
    ("release a", ""),
    ("release savepoint b", ""),
    ("set transaction isolation level serializable", ""),
    ("set transaction read only", ""),
    ("set local timezone = 'Asia/Tokyo'", ""),
    ("set local work_mem = '3MB'", ""),
    ("select set_config('app.local', 'x', true)", ""),
    ("set constraints all immediate", ""),
    ("declare c1 cursor for select id, v from t order by id", ""),
    (
        "declare c1 scroll cursor for select g from generate_series(1, 9) g",
        "",
    ),
    ("fetch 2 from c1", ""),
    ("fetch backward 1 from c1", ""),
    ("move 1 in c1", ""),
    ("close c1", ""),
    ("close all", ""),
    (
        "create temp table scratch on commit drop as select 1 as a",
        "",
    ),
];

/// Each leaves something in the session. A custom setting that is not set reads as NULL on a server connection that has never
/// known it, and as '' on one that has: these are told apart by no query here.
pub(super) const STATE: &[Text] = &[
    ("set application_name = 'told'", ""),
    ("set timezone = 'Europe/Riga'", ""),
    ("set datestyle = 'German'", ""),
    ("set intervalstyle = 'iso_8601'", ""),
    ("set client_min_messages = 'warning'", ""),
    ("set session extra_float_digits to 0", ""),
    ("set standard_conforming_strings = off", ""),
    ("set bytea_output = 'escape'", ""),
    ("set app.own = 'mine'", ""),
    ("set default_transaction_isolation = 'repeatable read'", ""),
    ("set default_transaction_read_only = on", ""),
    ("set session characteristics as transaction read write", ""),
    ("set search_path = pg_catalog", ""),
    ("set time zone 3", ""),
    ("set names 'latin1'", ""),
    ("select set_config('app.own', 'set', false)", ""),
    ("reset timezone", ""),
    ("reset app.own", ""),
    ("reset search_path", ""),
    ("reset all", ""),
    ("set timezone to default", ""),
    ("discard all", ""),
    ("discard plans", ""),
    (
        "select nullif(current_setting('app.own', true), ''), 1.5::float8 / 7",
        "",
    ),
    ("prepare q (int) as select $1 * 2", ""),
    ("execute q (4)", ""),
    ("deallocate q", ""),
    ("deallocate s1", ""),
    ("deallocate all", ""),
    ("create temp table own (a int)", ""),
    ("insert into own values (1)", ""),
    ("select * from own", ""),
    ("drop table own", ""),
    (
        "declare held cursor with hold for select g from generate_series(1, 5) g",
        "",
    ),
    ("fetch 2 from held", ""),
    ("listen news", ""),
    ("unlisten *", ""),
    ("select pg_listening_channels()", ""),
    ("set role none", ""),
    ("select length('a\\b')", ""),
];
