//! Ways in which a session's state once reached another, or a statement ran in another's state: each is a regression.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire, codes};

/// One server connection, which everybody must share.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"3s\"")
    });
    stage.seed(
        "create schema ta; create schema tb; create table public.w (a int); create table ta.w (a int); \
         create table tb.w (a int)",
    );
    stage
}

const SHOW: &str = "select coalesce(current_setting('a.b', true), '') || '|' || current_setting('search_path') || '|' || \
                    current_setting('application_name') || '|' || current_user || '|' || \
                    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())";

/// What one session does before it leaves: its startup, and what it sends in one write each time.
type Life<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<Batch>);

fn query(sql: &str) -> Batch {
    Batch::new().query(sql)
}

fn run(sql: &str, rows: u32) -> Batch {
    Batch::new()
        .parse("", sql)
        .bind("", "", &[])
        .execute("", rows)
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn lives() -> Vec<Life<'static>> {
    let mine: &[(&str, &str)] = &[("application_name", "mine")];
    let path: &[(&str, &str)] = &[("options", "-c search_path=ta")];
    let pipeline = Batch::new()
        .parse("", "begin")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "reset search_path")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "select 1/0")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    vec![
        (
            "a SET behind a RESET ALL",
            mine,
            vec![query("reset all; set a.b = 'leak'; set search_path = tb")],
        ),
        (
            "the same, pipelined",
            mine,
            vec![query("reset all").query("set a.b = 'leak'")],
        ),
        (
            "a SET behind a RESET",
            path,
            vec![query("reset search_path; set search_path = tb")],
        ),
        (
            "a RESET that is rolled back",
            path,
            vec![query("begin; reset search_path; rollback")],
        ),
        (
            "a RESET before an error",
            path,
            vec![query("select 1"), query("reset search_path; select 1/0")],
        ),
        (
            "the same in a pipeline",
            path,
            vec![pipeline, query("rollback")],
        ),
        (
            "set_config with a row limit",
            &[],
            vec![run("select set_config('a.b', 'leak', false)", 1).sync()],
        ),
        (
            "set_config in brackets",
            &[],
            vec![query("(select set_config('a.b', 'leak', false))")],
        ),
        (
            "leaving in a transaction",
            &[],
            vec![query("set a.b = 'leak'").query("begin")],
        ),
        (
            "leaving a chained one",
            &[],
            vec![query("begin; set a.b = 'leak'"), query("commit and chain")],
        ),
        (
            "FunctionCall of a lock",
            &[],
            vec![Batch::new().function_call(2880, &["77"])],
        ),
        (
            "FunctionCall of set_config",
            &[],
            vec![Batch::new().function_call(2078, &["a.b", "leak", "f"])],
        ),
        (
            "EXPLAIN ANALYZE",
            &[],
            vec![query(
                "explain analyze create temp table leak as select pg_advisory_lock(5)",
            )],
        ),
        (
            "DO",
            &[],
            vec![query(
                "do $$ begin perform set_config('a.b', 'leak', false), pg_advisory_lock(6); end $$",
            )],
        ),
    ]
}

#[test]
fn nothing_of_a_session_is_left_for_the_next() {
    let stage = single("leaks");
    let before = stage.client().one(SHOW);
    for (what, startup, life) in lives() {
        for polite in [true, false] {
            let mut client = stage.client_with(startup);
            for batch in &life {
                client.send(batch.bytes());
                client.until_ready();
            }
            if polite {
                client.close();
            } else {
                drop(client);
            }
            let mut next = stage.client();
            assert_eq!(next.one(SHOW), before, "{what}");
            assert_eq!(
                next.one("select count(*) from pg_class where relname = 'leak'"),
                "0",
                "{what}"
            );
            next.close();
        }
    }
}

#[test]
fn setting_with_a_word_of_the_grammar_in_its_name_is_carried_and_never_leaks() {
    let stage = single("leak_names");
    for name in [
        "local.x",
        "transaction.x",
        "constraints.x",
        "schema.x",
        "names.x",
    ] {
        let (mut client, mut other) = (stage.client(), stage.client());
        let ask = format!("select coalesce(current_setting('{name}', true), '')");
        client.run(&format!("set {name} = 'mine'"));
        assert_eq!(other.one(&ask), "", "{name}");
        assert_eq!(client.one(&ask), "mine", "{name}");
    }
}

fn rows(stage: &Stage) -> String {
    let count = |schema: &str| {
        stage
            .direct(0)
            .one(&format!("select count(*) from {schema}.w"))
    };
    ["public", "ta", "tb"].map(count).join(" ")
}

#[test]
fn statement_does_not_run_when_what_its_session_wants_can_not_be_set() {
    let stage = single("setup_refused");
    stage.direct(0).run("create role guest_of_setup; grant guest_of_setup to app; grant all on schema ta to guest_of_setup");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.run("set role guest_of_setup");
    client.run("set search_path = ta");
    other.run("set search_path = tb");
    stage.direct(0).run("revoke guest_of_setup from app");
    for attempt in 0..2 {
        assert_eq!(
            client.fails("insert into w values (1)").code,
            "42501",
            "{attempt}"
        );
        let batch = run("insert into w values (2)", 0).sync();
        assert_eq!(codes(&client.ask(&batch)), ["42501"], "{attempt}");
        assert_eq!(
            codes(&client.ask(&query("begin; insert into w values (3); commit"))),
            ["42501"]
        );
    }
    assert_eq!(rows(&stage), "0 0 0");
    other.run("insert into w values (4)");
    assert_eq!(rows(&stage), "0 0 1");
}

#[test]
fn values_mean_the_same_whatever_the_session_before_has_set() {
    let stage = single("setup_literals");
    stage.seed("create table keep ()");
    let strange = "it's \\' ; drop table keep; -- é";
    for other_settings in [
        "set standard_conforming_strings = off",
        "set backslash_quote = off",
        "set client_encoding = 'SJIS'",
        "set client_encoding = 'LATIN1'",
        "set default_transaction_isolation = serializable; set default_transaction_read_only = on; \
         set default_transaction_deferrable = on",
        "set statement_timeout = '1s'",
    ] {
        let mut client = stage.client_with(&[("options", "-c a.c=x"), ("a.b", strange)]);
        let mut other = stage.client();
        other.run(other_settings);
        client.run("set a.d = 'x\\'");
        let shown = client.one("select current_setting('a.b')");
        assert_eq!(shown, strange, "{other_settings}");
        assert_eq!(
            client.one("select current_setting('a.d')"),
            "x\\",
            "{other_settings}"
        );
        client.run("discard all");
        other.run("select 1");
        assert_eq!(
            client.one("select current_setting('a.b')"),
            strange,
            "{other_settings}"
        );
        let kept = "select count(*) from pg_class where relname = 'keep'";
        assert_eq!(stage.direct(0).one(kept), "1", "{other_settings}");
        client.close();
        other.close();
    }
}

#[test]
fn client_that_leaves_its_batch_open_leaves_the_server_connection_free() {
    let stage = single("left_open");
    for _ in 0..3 {
        for flush in [true, false] {
            let mut client = stage.client();
            let batch = run("insert into w values (1)", 0);
            let batch = if flush { batch.flush() } else { batch };
            client.send(batch.bytes());
            client.send(Batch::new().message(b'X', b"").bytes());
            drop(client);
        }
    }
    let mut other: Wire = stage.client();
    other.run("insert into w values (2)");
    assert_eq!(
        rows(&stage),
        "1 0 0",
        "what no Sync has ended is rolled back"
    );
}
