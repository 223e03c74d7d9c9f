//! The drivers people use, each by a script of `tests/drivers` that prints `ok <behaviour>` lines.

use pgconvoy_tests::convoy::Setup;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::tool;

/// Runs a script in transaction mode over a pool small enough that clients must share server connections.
fn script_passes(script: &str, name: &str, least: usize) {
    let small =
        |setup: Setup| setup.with("[pool]\nsize = 4\n[limits]\nmax_client_connections = 200");
    let stage = Stage::with(name, small);
    stage.seed(
        "create table item (id int primary key, name text, price numeric, at timestamptz default now());\n\
         insert into item select i, 'item ' || i, i * 1.5 from generate_series(1, 1000) i;\n\
         create type mood as enum ('sad', 'happy'); create table person (id serial primary key, name text, m mood)",
    );
    let report = tool::run(tool::driver(script, stage.convoy.port, &stage.database), "").ok();
    let passed = report
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert!(
        passed >= least,
        "only {passed} behaviours were shown:\n{report}"
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn psycopg_3_works_in_transaction_mode() {
    script_passes("psycopg3.py", "psycopg", 12);
}

#[test]
fn asyncpg_works_in_transaction_mode() {
    script_passes("asyncpg_driver.py", "asyncpg", 10);
}

#[test]
fn sqlalchemy_django_and_pgcli_read_the_catalog() {
    script_passes("introspection.py", "introspection", 9);
}

#[test]
fn node_postgres_works_in_transaction_mode() {
    script_passes("node_postgres.mjs", "node_pg", 9);
}

#[test]
fn psycopg_3_habits_work_while_others_use_the_pool() {
    script_passes("psycopg3_habits.py", "psycopg_habits", 11);
}

#[test]
fn asyncpg_habits_work_while_others_use_the_pool() {
    script_passes("asyncpg_habits.py", "asyncpg_habits", 9);
}

#[test]
fn node_postgres_habits_work_while_others_use_the_pool() {
    script_passes("node_postgres_habits.mjs", "node_pg_habits", 10);
}
