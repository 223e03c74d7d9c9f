//! psql works through pgconvoy as it does without: the same input gives the same output.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::{shared, tool};
use std::sync::LazyLock;

const SCHEMA: &str = "
create table accounts (id int primary key, owner text not null default 'x', balance numeric(10,2));
create index accounts_by_owner on accounts (owner);
create table transfers (id serial primary key, source int references accounts, amount numeric check (amount > 0));
create view rich_accounts as select * from accounts where balance > 100;
create function twice(n int) returns int language sql immutable as 'select n * 2';
comment on table accounts is 'who has what';
insert into accounts select i, 'owner ' || i, i * 10 from generate_series(1, 100) i;
";

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let stage = Stage::new("psql");
    stage.seed(SCHEMA);
    stage
});

/// Asserts that a script prints the same through pgconvoy as on the primary.
fn same(script: &str) -> String {
    let direct = tool::psql(shared::cluster().nodes[0].port, &STAGE.database, script);
    let proxied = tool::psql(STAGE.convoy.port, &STAGE.database, script);
    assert_eq!(proxied.stderr, direct.stderr, "{script}");
    assert_eq!(proxied.stdout, direct.stdout, "{script}");
    assert_eq!(proxied.status, direct.status, "{script}");
    proxied.stdout
}

#[test]
fn describe_commands_print_what_they_print_directly() {
    let commands = [
        "\\d",
        "\\d accounts",
        "\\d+ transfers",
        "\\dt",
        "\\di",
        "\\ds",
        "\\dv",
        "\\df",
        "\\dn+",
        "\\du",
        // Of the others, other tests make more meanwhile.
        "\\l psql*",
        "\\dx",
    ];
    for command in commands {
        let output = same(&format!("\\pset tuples_only off\n{command}\n"));
        assert!(!output.is_empty(), "{command} prints nothing");
    }
    same("\\d+ rich_accounts\n\\sf twice\n\\dp\n\\dd\n\\dT\n\\do\n\\encoding\n");
}

#[test]
fn copy_meta_command_moves_rows_both_ways() {
    let file = STAGE.convoy.file("accounts.csv");
    let script = format!(
        "create temp table back (like accounts);\n\
         \\copy accounts to '{file}' with (format csv, header)\n\
         \\copy back from '{file}' with (format csv, header)\n\
         select count(*), sum(balance) from back;\n\
         \\copy (select id from accounts where id <= 3 order by id) to stdout\n",
        file = file.display()
    );
    let output = tool::psql(STAGE.convoy.port, &STAGE.database, &script).ok();
    assert_eq!(output, "100|50500.00\n1\n2\n3\n");
}

#[test]
fn cursors_and_fetch_count_bring_every_row() {
    let output = same(
        "begin;\ndeclare c cursor for select id from accounts order by id;\nfetch 2 from c;\nmove 10 in c;\nfetch c;\n\
         fetch backward 1 from c;\ncommit;\n",
    );
    assert_eq!(output, "1\n2\n13\n12\n");
    let output = same("\\set FETCH_COUNT 7\nselect id from accounts order by id;\n");
    assert_eq!(output.lines().count(), 100);
}

#[test]
fn scripts_with_errors_savepoints_and_variables_behave() {
    same("\\set ON_ERROR_STOP off\nselect 1/0;\nselect 'after';\n");
    same(
        "\\set ON_ERROR_STOP off\n\\set ON_ERROR_ROLLBACK on\nbegin;\nselect 1/0;\nselect 'still in';\ncommit;\n",
    );
    same(
        "select max(id) as top from accounts \\gset\nselect :top + 1;\nselect id from accounts where id = :top \\gx\n",
    );
    same("select format('select %s', id) from accounts where id < 4 order by id \\gexec\n");
    same("select 1 \\; select 2 \\; select 3;\n\\echo :ROW_COUNT :SQLSTATE\n");
    same("\\c\nselect current_user, current_database();\n\\c - other\nselect current_user;\n");
}

#[test]
fn errors_are_shown_with_position_and_detail() {
    let script = "\\set VERBOSITY default\nselect nope from accounts;\n";
    let outcome = tool::psql(STAGE.convoy.port, &STAGE.database, script);
    assert!(
        outcome.stderr.contains("column \"nope\" does not exist"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("LINE 1: select nope"),
        "{}",
        outcome.stderr
    );
    same("insert into transfers (source, amount) values (100000, 5);\n");
}

#[test]
fn single_transaction_option_rolls_all_back() {
    let mut command = tool::client("psql", STAGE.convoy.port, &STAGE.database);
    command.args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
    let outcome = tool::run(
        command,
        "insert into accounts values (1000);\nselect 1/0;\n",
    );
    assert!(!outcome.status.success());
    assert_eq!(
        STAGE
            .direct_app()
            .one("select count(*) from accounts where id = 1000"),
        "0"
    );
}

#[test]
fn tab_completion_and_interrupt_work_in_a_terminal() {
    let port = STAGE.convoy.port;
    let report = tool::run(tool::driver("psql_terminal.py", port, &STAGE.database), "").ok();
    for line in [
        "ok tab completes a table",
        "ok tab completes a column",
        "ok Ctrl-C cancels",
        "ok session goes on",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

#[test]
fn pg_isready_finds_it_ready() {
    let outcome = tool::run(
        tool::client("pg_isready", STAGE.convoy.port, &STAGE.database),
        "",
    );
    assert!(outcome.ok().contains("accepting connections"));
}
