//! `SHOW ROUTE` and `pgconvoy route`: where a statement would go, and why.

use pgconvoy_tests::convoy;
use pgconvoy_tests::http;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire, row, tags};
use std::time::Duration;

const SCHEMA: &str = "create table t (id int primary key); create sequence s; create view hidden as select nextval('s') as n";

/// target, node, reason, held_by, functions, relations, freshness.
fn ask(client: &mut Wire, sql: &str) -> Vec<String> {
    let rows = client.run(sql);
    let [row] = rows.as_slice() else {
        panic!("{sql}: {rows:?}")
    };
    row.iter().map(|f| f.clone().unwrap_or_default()).collect()
}

fn stage(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| setup.top("workers = 1"));
    stage.seed(SCHEMA);
    stage
}

#[test]
fn text_is_trusted_again_once_the_server_has_said_how_it_reads_it() {
    let stage = stage("route_quoting");
    let mut client = stage.client();
    let mut target = |sql: &str| {
        client.run(sql);
        ask(&mut client, "show route select 1")[..3].to_vec()
    };
    // What changes nothing is not reported by the server.
    for sql in [
        "set client_encoding to 'UTF8'",
        "set standard_conforming_strings = on",
        "reset client_encoding",
    ] {
        assert_eq!(target(sql)[0], "replica", "{sql}");
    }
    assert_eq!(
        target("set standard_conforming_strings = off")[2],
        "quoting"
    );
    assert_eq!(target("select 1")[2], "quoting");
    assert_eq!(target("set client_encoding to 'UTF8'")[2], "quoting");
    assert_eq!(target("set standard_conforming_strings = on")[0], "replica");
    assert_eq!(
        target("begin; set standard_conforming_strings = off")[2],
        "quoting"
    );
    assert_eq!(target("rollback")[0], "replica");
}

#[test]
fn show_route_tells_target_node_reason_and_names_and_runs_nothing() {
    let stage = stage("route");
    let mut client = stage.client();
    let labels = client.run("show pool_nodes");
    let label = |at: usize| {
        let part = |n: usize| labels[at][n].clone().unwrap();
        format!("{}:{}", part(1), part(2))
    };
    let replicas = format!("{}, {}", label(1), label(2));
    assert_eq!(
        ask(&mut client, "show route select lower('x') from t, pg_class"),
        [
            "replica",
            &replicas,
            "read_only",
            "",
            "lower",
            "t, pg_class",
            "any"
        ]
    );
    assert_eq!(
        ask(
            &mut client,
            "SHOW ROUTE insert into t values (nextval('s'))"
        ),
        ["primary", &label(0), "write", "", "nextval", "t", ""]
    );
    assert_eq!(
        ask(&mut client, "explain (route) select pg_advisory_lock(1)")[..3],
        ["primary", &label(0), "write_function"]
    );
    assert_eq!(
        ask(&mut client, "show route 'select 1; delete from t'")[2],
        "several_statements"
    );
    assert_eq!(
        ask(&mut client, "show route /* pgconvoy: primary */ select 1")[2],
        "hint"
    );
    assert_eq!(ask(&mut client, "show route selec")[2], "does_not_parse");
    assert_eq!(
        ask(&mut client, "show route show pool_nodes")[0],
        "pgconvoy"
    );
    // Nothing of it has run, and nothing keeps the session anywhere.
    assert_eq!(client.one("select count(*) from t"), "0");
    assert_eq!(ask(&mut client, "show route select 1")[3], "");
    let error = client.query("show route").unwrap_err();
    assert_eq!(error.code, "42704");
}

#[test]
fn show_route_tells_what_holds_the_session_and_how_fresh_a_replica_must_be() {
    let stage = stage("route_held");
    let mut client = stage.client();
    client.run("insert into t values (1)");
    let fresh = ask(&mut client, "show route select 1 from t");
    assert_eq!(fresh[0], "replica");
    assert!(fresh[6].starts_with("after a write "), "{fresh:?}");
    client.run("begin");
    assert_eq!(ask(&mut client, "show route select 1")[0], "primary");
    client.run("select 1");
    let held = ask(&mut client, "show route select 1");
    assert_eq!(
        (held[3].as_str(), held[2].as_str()),
        ("transaction", "read_only")
    );
    client.run("commit; listen news");
    assert_eq!(ask(&mut client, "show route select 1")[3], "listen");
    client.run("unlisten *");
    assert_eq!(ask(&mut client, "show route select 1")[3], "");
}

#[test]
fn show_route_works_by_the_extended_protocol_and_knows_what_was_refused() {
    // The catalog would tell ahead.
    let stage = Stage::with("route_extended", |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\ncatalog_refresh = \"off\"")
    });
    stage.seed(SCHEMA);
    let mut client = stage.client();
    let whole = Batch::new()
        .parse("why", "show route select n from hidden")
        .describe_statement("why")
        .bind("", "why", &[])
        .execute("", 0)
        .sync();
    let answer = client.ask(&whole);
    assert_eq!(tags(&answer), "1tT2DCZ");
    assert_eq!(row(&answer[4])[2].as_deref(), Some("read_only"));
    assert_eq!(client.one("select n from hidden"), "1");
    let again = Batch::new().bind("", "why", &[]).execute("", 0).sync();
    let answer = client.ask(&again);
    assert_eq!(row(&answer[1])[0].as_deref(), Some("primary"));
    assert_eq!(row(&answer[1])[2].as_deref(), Some("refused"));
    let counted = |reason| {
        let page = stage.convoy.page("/metrics").body;
        let labels = [("reason", reason)];
        http::sample(&page, "pgconvoy_routed_statements_total", &labels).unwrap()
    };
    // Each worker tells once a second.
    wait::until("the statements are counted", Duration::from_secs(5), || {
        counted("read_only") + counted("refused") > 1.5
    });
}

#[test]
fn route_on_the_command_line_needs_no_server() {
    let (ok, said) = convoy::command(&["route", "select f(1) from a.b"], &[]);
    assert!(ok);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "target     primary",
            "reason     unknown_function",
            "function   f",
            "relation   a.b"
        ]
    );
    let (_, said) = convoy::command(&["route", "listen news"], &[]);
    assert_eq!(said.lines().nth(2), Some("pins       listen"), "{said}");
}

#[test]
fn shadow_check_finds_reads_that_replicas_answer_otherwise() {
    let stage = Stage::with("shadow", |setup| {
        setup
            .top("workers = 1")
            .with("[routing]\nshadow_check = 1\ncatalog_refresh = \"off\"")
    });
    stage.seed(&format!(
        "{SCHEMA}; insert into t select generate_series(1, 50); \
         create view which as select pg_is_in_recovery() as replica; create view moment as select clock_timestamp()"
    ));
    let mut client = stage.client();
    let checks = |result: &str| {
        let page = stage.convoy.page("/metrics").body;
        http::sample(&page, "pgconvoy_shadow_checks_total", &[("result", result)]).unwrap_or(0.0)
    };
    // Idle connections on each node, as it takes no others.
    for sql in ["select 1", "/* pgconvoy: primary */ select 1"] {
        (0..4).for_each(|_| drop(client.run(sql)));
    }
    let mut until = |result: &str, sql: &str| {
        wait::until(&format!("{sql}: {result}"), wait::SOON, || {
            client.run(sql);
            checks(result) > 0.0
        });
    };
    until("same", "select * from t");
    assert_eq!(checks("differs"), 0.0);
    until("changed", "select * from moment");
    assert_eq!(checks("differs"), 0.0);
    until("differs", "select replica from which");
    let line = stage.convoy.wait_log(&["answers a read otherwise"]);
    assert!(!line.contains("from which"), "{line}");
    assert_eq!(checks("failed"), 0.0);
}

#[test]
fn one_of_so_many_decisions_is_logged() {
    let stage = Stage::with("sampled", |setup| {
        setup.top("workers = 1").with("[log]\nroutes = 10")
    });
    stage.seed(SCHEMA);
    let mut client = stage.client();
    for n in 0..50 {
        client.run(&format!("select id from t where id = {n}"));
    }
    let log = stage.convoy.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("reason=\"read_only\""))
        .collect();
    assert!((4..=6).contains(&lines.len()), "{lines:?}");
    assert!(!log.contains("where id"), "no texts");
}
