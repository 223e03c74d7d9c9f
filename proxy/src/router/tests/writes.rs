//! What must run on the primary.

use super::super::{Command, Quoting, Reason, Target};
use super::{all_go_to, decide, router};

#[track_caller]
fn primary(statements: &[&str]) {
    all_go_to(Target::Primary, statements);
    let quiet: Vec<_> = statements
        .iter()
        .filter(|sql| !decide(sql).writes)
        .collect();
    assert!(quiet.is_empty(), "not a write: {quiet:?}");
}

#[track_caller]
fn reasons(table: &[(&str, Reason)]) {
    for (sql, reason) in table {
        assert_eq!(decide(sql).reason, *reason, "{sql}");
    }
}

#[test]
fn data_modifying_ctes_go_to_primary() {
    primary(&[
        "WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH x AS (MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE) SELECT 1",
        "WITH a AS (SELECT 1), b AS (WITH c AS (DELETE FROM t RETURNING a) SELECT * FROM c) SELECT * FROM b",
        "SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) y",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "with x as materialized (delete from t returning *) table x",
    ]);
}

#[test]
fn functions_that_write_go_to_primary() {
    let calls = [
        "nextval('s')",
        "setval('s', 1)",
        "lo_create(0)",
        "lo_get(1)",
        "lo_unlink(1)",
        "pg_notify('a', 'b')",
        "txid_current()",
        "pg_current_xact_id()",
        "pg_advisory_lock(1)",
        "pg_advisory_lock_shared(1, 2)",
        "pg_try_advisory_lock(1)",
        "pg_advisory_xact_lock(1)",
        "pg_try_advisory_xact_lock(1)",
        "pg_advisory_unlock(1)",
        "pg_advisory_unlock_all()",
        "currval('s')",
        "lastval()",
        "setseed(0.5)",
        "pg_catalog.nextval('s')",
        "\"nextval\"('s')",
        "NextVal ('s')",
        "nextval/**/('s')",
        "dblink('a', 'b')",
        "pg_export_snapshot()",
        "query_to_xml('delete from t', true, true, '')",
        "table_to_xml('v', true, true, '')",
        "ts_stat('select f()')",
        "pg_switch_wal()",
        "pg_terminate_backend(1)",
    ];
    for call in calls {
        primary(&[
            &format!("SELECT {call}"),
            &format!("SELECT * FROM {call}"),
            &format!("SELECT * FROM t, LATERAL {call} x"),
            &format!("SELECT a FROM t WHERE a = (SELECT {call})"),
            &format!("SELECT a FROM t ORDER BY {call}"),
            &format!("SELECT CASE WHEN a THEN {call} END FROM t"),
            &format!("SELECT sum(a) FILTER (WHERE {call} IS NULL) FROM t"),
            &format!("SELECT sum(a) OVER (PARTITION BY {call}) FROM t"),
            &format!("SELECT a FROM t LIMIT {call}"),
            &format!("SELECT ARRAY[1, {call}]"),
            &format!("SELECT a[{call}] FROM t"),
            &format!("SELECT a FROM t JOIN u ON t.a = {call}"),
            &format!("SELECT a FROM t GROUP BY {call} HAVING {call} = 1"),
            &format!("VALUES (1), ({call})"),
            &format!("WITH x AS (SELECT {call}) SELECT * FROM x"),
            &format!("SELECT 1 UNION SELECT {call}"),
            &format!("COPY (SELECT {call}) TO STDOUT"),
            &format!("EXPLAIN ANALYZE SELECT {call}"),
        ]);
    }
}

#[test]
fn unknown_functions_operators_and_types_go_to_primary() {
    reasons(&[
        ("SELECT f()", Reason::UnknownFunction),
        ("SELECT s.lower('a')", Reason::UnknownFunction),
        ("SELECT \"Lower\"('a')", Reason::UnknownFunction),
        ("SELECT \"coalesce\"(a, b) FROM t", Reason::UnknownFunction),
        ("SELECT a::\"integer\" FROM t", Reason::UnknownType),
        ("SELECT \"boolean\"(a) FROM t", Reason::UnknownFunction),
        ("SELECT * FROM f(1) AS f(a)", Reason::UnknownFunction),
        ("SELECT * FROM ROWS FROM (f(1))", Reason::UnknownFunction),
        ("SELECT a <%> b, a <<<< b FROM t", Reason::UnknownOperator),
        ("SELECT a OPERATOR(s.+) b FROM t", Reason::UnknownOperator),
        ("SELECT a::mood FROM t", Reason::UnknownType),
        ("SELECT CAST(a AS s.mood) FROM t", Reason::UnknownType),
        ("SELECT a::\"Int4\" FROM t", Reason::UnknownType),
        ("SELECT a::mood[] FROM t", Reason::UnknownType),
        ("SELECT mood 'happy'", Reason::UnknownType),
        (
            "SELECT * FROM json_to_record('{}') AS x(a mood)",
            Reason::UnknownType,
        ),
    ]);
    primary(&[
        "SELECT U&\"nextval\"('s')",
        "SELECT * FROM ROWS FROM (f(1))",
        "SELECT f(x) FROM t",
    ]);
}

#[test]
fn a_function_is_not_excused_by_an_alias_of_its_name() {
    primary(&["SELECT f(1) FROM generate_series(1, 2) AS f(x)"]);
}

#[test]
fn row_locks_go_to_primary() {
    for lock in [
        "FOR UPDATE",
        "FOR NO KEY UPDATE OF t SKIP LOCKED",
        "FOR SHARE",
        "FOR KEY SHARE",
        "FOR UPDATE SKIP LOCKED LIMIT 5",
        "LIMIT 5 FOR UPDATE NOWAIT",
        "LIMIT 1FOR UPDATE",
        "for/**/update",
    ] {
        for sql in [
            format!("SELECT * FROM t {lock}"),
            format!("SELECT * FROM (SELECT * FROM t {lock}) x"),
            format!("WITH x AS (SELECT * FROM t {lock}) SELECT * FROM x"),
            format!("COPY (SELECT * FROM t {lock}) TO STDOUT"),
        ] {
            primary(&[&sql]);
            assert_eq!(decide(&sql).reason, Reason::Lock, "{sql}");
        }
    }
    primary(&["select for update", "LOCK TABLE t", "TABLE t FOR UPDATE"]);
}

#[test]
fn select_into_and_its_kin_go_to_primary() {
    primary(&[
        "SELECT a INTO t FROM x",
        "SELECT INTO t FROM x",
        "select into temp t from x",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        "EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t",
        "EXPLAIN ANALYZE WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "EXPLAIN ANALYZE EXECUTE p",
    ]);
}

#[test]
fn copies_that_write_go_to_primary() {
    primary(&[
        "COPY (DELETE FROM t RETURNING *) TO STDOUT",
        "COPY (UPDATE t SET a = 1 RETURNING a) TO STDOUT",
        "COPY t FROM STDIN",
        "COPY t FROM STDIN;",
        "copy t (a, b) from stdin with (format csv)",
        "COPY t TO '/tmp/x'",
        "COPY t TO PROGRAM 'cat'",
        "COPY pg_temp.t TO STDOUT",
    ]);
}

#[test]
fn several_statements_go_to_primary_together() {
    for (sql, writes) in [
        ("SELECT 1; INSERT INTO t VALUES (1)", true),
        ("INSERT INTO t VALUES (1); SELECT 1", true),
        ("SELECT 1; SELECT 2", false),
        ("SELECT ';'; SELECT $$;$$;", false),
    ] {
        let decision = decide(sql);
        assert_eq!(decision.target, Target::Primary, "{sql}");
        assert_eq!(decision.reason, Reason::SeveralStatements, "{sql}");
        assert_eq!(decision.writes, writes, "{sql}");
    }
    for sql in [
        "SELECT ';'",
        "SELECT 1 /* ; */;",
        "SELECT $x$;$x$ -- ;",
        "; SELECT 1;;",
        "SELECT \";\" FROM t",
    ] {
        assert_eq!(decide(sql).target, Target::Replica, "{sql}");
    }
}

#[test]
fn what_does_not_parse_goes_to_primary_and_leaves_nothing_behind() {
    let mut router = router();
    for sql in [
        "SELEC 1",
        "SELECT 'a",
        "SELECT /* a",
        "SELECT {",
        "SELECT )",
        "x",
        "\"select\" 1",
        "SELECT a FROM t WHERE",
        "$$",
        "WITH",
        "COPY",
        "EXPLAIN",
        "(",
        "()",
    ] {
        let decision = router.decide(sql.as_bytes(), Quoting::Standard);
        assert_eq!(decision.target, Target::Primary, "{sql}");
        assert!(decision.writes, "{sql}");
        assert_eq!(
            router.decide(b"SELECT 1", Quoting::Standard).target,
            Target::Replica
        );
    }
}

#[test]
fn what_describes_this_server_goes_to_primary_and_is_no_write() {
    for sql in [
        "SELECT pg_is_in_recovery()",
        "SELECT pg_current_wal_lsn()",
        "SELECT inet_server_port()",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM pg_catalog.pg_stat_replication",
        "SELECT * FROM ONLY pg_locks",
        "SELECT pg_stat_get_backend_pid(1)",
        "TABLE pg_settings",
        "SELECT current_setting('transaction_read_only')",
        "SHOW transaction_read_only",
        "SHOW in_hot_standby",
        "SHOW ALL",
        "SHOW my.setting",
    ] {
        let decision = decide(sql);
        assert_eq!(decision.target, Target::Primary, "{sql}");
        assert_eq!(decision.reason, Reason::ServerState, "{sql}");
        assert!(!decision.writes, "{sql}");
    }
}

#[test]
fn temporary_objects_and_unknown_catalogs_go_to_primary() {
    primary(&[
        "SELECT * FROM pg_temp.t",
        "SELECT * FROM \"pg_temp\".t",
        "SELECT * FROM pg_temp_3.t",
        "SELECT * FROM pg_largeobject",
        "SELECT * FROM pg_unheard_of",
        "SELECT pg_temp.f()",
        "REFRESH MATERIALIZED VIEW v",
    ]);
}

#[test]
fn commands_are_counted_for_what_they_are() {
    for (sql, command) in [
        ("SELECT 1", Command::Select),
        ("WITH x AS (SELECT 1) SELECT * FROM x", Command::Select),
        ("TABLE t", Command::Select),
        ("SELECT 1 INTO t", Command::Select),
        (
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            Command::Insert,
        ),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", Command::Update),
        (
            "WITH x AS (INSERT INTO t VALUES (1)) DELETE FROM t",
            Command::Delete,
        ),
        ("INSERT INTO t VALUES (1)", Command::Insert),
        ("-- x\nupdate t set a = 1", Command::Update),
        ("DELETE FROM t", Command::Delete),
        ("CREATE TABLE t ()", Command::Ddl),
        ("TRUNCATE t", Command::Ddl),
        ("COPY t FROM STDIN", Command::Other),
        ("EXPLAIN SELECT 1", Command::Other),
        ("SET a = 1", Command::Other),
        ("BEGIN", Command::Other),
    ] {
        assert_eq!(decide(sql).command, command, "{sql}");
    }
}

#[test]
fn unsafe_quoting_keeps_everything_on_the_primary() {
    let mut router = router();
    for sql in [
        "SELECT 1",
        "SHOW server_version",
        "BEGIN READ ONLY",
        "TABLE t",
        "SELECT '\\'' --'",
    ] {
        let decision = router.decide(sql.as_bytes(), Quoting::Unsafe);
        assert_eq!(decision.target, Target::Primary, "{sql}");
    }
    let hidden = router.decide(br"SELECT '\'; SET a = 1; --'", Quoting::Unsafe);
    assert!(hidden.writes && !hidden.pins.is_empty());
    assert!(
        router
            .decide(b"show pool_nodes", Quoting::Unsafe)
            .local
            .is_some()
    );
}
