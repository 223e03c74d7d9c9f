//! pg_dump and pg_restore, with parallel jobs, through pgconvoy: what comes back is what was there.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::{shared, tool};
use std::path::Path;

const SCHEMA: &str = "
create type mood as enum ('sad', 'ok', 'happy');
create sequence ticket start 100;
create function twice(n int) returns int language sql immutable as 'select n * 2';
create table part (id int, at date not null, note text) partition by range (at);
create table part_2024 partition of part for values from ('2024-01-01') to ('2025-01-01');
create table part_2025 partition of part for values from ('2025-01-01') to ('2026-01-01');
create view seen as select id, note from part where note is not null;
create materialized view counted as select at, count(*) from part group by at;
insert into part select i, date '2024-01-01' + (i % 700), case when i % 3 = 0 then null else 'note ' || i end
  from generate_series(1, 20000) i;
refresh materialized view counted;
";

/// A schema with a bit of everything, and ten tables that reference each other.
fn fill(stage: &Stage) {
    let mut sql = SCHEMA.to_owned();
    for n in 0..10 {
        let reference = if n > 0 {
            format!("references t{}", n - 1)
        } else {
            String::new()
        };
        sql.push_str(&format!(
            "create table t{n} (id int primary key {reference}, m mood default 'ok', b bytea, j jsonb);\n\
             insert into t{n} select i, 'happy', decode(md5(i::text), 'hex'), jsonb_build_object('i', i) from generate_series(1, 2000) i;\n\
             create index on t{n} (m, id);\n"
        ));
    }
    stage.seed(&sql);
}

fn tool_ok(program: &str, port: u16, database: &str, arguments: &[&str]) -> String {
    let mut command = tool::client(program, port, database);
    command.args(arguments);
    tool::run(command, "").ok()
}

/// A plain dump straight from the primary: what a database holds, as text.
fn content(database: &str) -> String {
    let dump = tool_ok(
        "pg_dump",
        shared::cluster().nodes[0].port,
        database,
        &["--no-owner"],
    );
    // Newer releases print a random \restrict key.
    dump.lines()
        .filter(|line| !line.contains("restrict "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn restore_and_compare(stage: &Stage, dump: &Path, jobs: &str) {
    let target = shared::database("restored");
    let dump = dump.to_str().unwrap();
    tool_ok(
        "pg_restore",
        stage.convoy.port,
        &target,
        &[
            "-j",
            jobs,
            "--no-owner",
            "--exit-on-error",
            "-d",
            &target,
            dump,
        ],
    );
    assert_eq!(content(&target), content(&stage.database));
}

#[test]
fn custom_dump_is_restored_by_two_jobs() {
    let stage = Stage::new("dump_custom");
    fill(&stage);
    let file = stage.convoy.file("dump.custom");
    tool_ok(
        "pg_dump",
        stage.convoy.port,
        &stage.database,
        &["-Fc", "-f", file.to_str().unwrap()],
    );
    restore_and_compare(&stage, &file, "2");
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn directory_dump_by_two_jobs_shares_one_snapshot() {
    let stage = Stage::new("dump_directory");
    fill(&stage);
    let directory = stage.convoy.file("dump.directory");
    tool_ok(
        "pg_dump",
        stage.convoy.port,
        &stage.database,
        &["-Fd", "-j", "2", "-f", directory.to_str().unwrap()],
    );
    restore_and_compare(&stage, &directory, "2");
}

#[test]
fn plain_dump_is_fed_to_psql() {
    let stage = Stage::new("dump_plain");
    fill(&stage);
    let script = tool_ok(
        "pg_dump",
        stage.convoy.port,
        &stage.database,
        &["--no-owner"],
    );
    let target = shared::database("restored_plain");
    tool::psql(stage.convoy.port, &target, &script).ok();
    assert_eq!(content(&target), content(&stage.database));
}
