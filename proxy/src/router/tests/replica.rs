//! What a replica may run, and hints.

use super::super::{Local, LocalCommand, Reason, Target};
use super::{all_go_to, decide};

#[track_caller]
fn replica(statements: &[&str]) {
    all_go_to(Target::Replica, statements);
    assert!(
        statements
            .iter()
            .all(|sql| !decide(sql).writes && decide(sql).pins.is_empty())
    );
}

#[test]
fn plain_reads_go_to_replicas() {
    replica(&[
        "SELECT 1",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "select * from t where a = $1 and b in ($2, $3) order by c desc nulls last limit 10 offset 5",
        "SELECT DISTINCT ON (a) a, b.* FROM t b LEFT JOIN u USING (id) WHERE NOT b.x",
        "SELECT count(*), max(a) FILTER (WHERE b > 1) FROM t GROUP BY c HAVING count(*) > 1",
        "SELECT t.update, t.delete FROM t",
        "SELECT \"update\" FROM \"insert\"",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY a)",
        "SELECT * FROM a CROSS JOIN b NATURAL JOIN c FULL OUTER JOIN d ON a.x = d.x",
        "SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x) c",
        "SELECT * FROM generate_series(1, 10) AS g(x)",
        "SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS t(a, b)",
        "SELECT EXISTS (SELECT 1 FROM t), a = ANY ($1), b <> ALL (ARRAY[1, 2])",
        "SELECT a IN (SELECT b FROM t), (SELECT 1), ROW(1, 2), (1, 2) = (3, 4)",
        "SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, COALESCE(a, b), NULLIF(a, 0), GREATEST(a, 1)",
        "SELECT extract(year FROM a), date_trunc('day', now()), a AT TIME ZONE 'UTC' FROM t",
        "SELECT substring(a FROM 1 FOR 2), position('x' IN a), trim(both ' ' from a), overlay(a placing b from 1 for 2)",
        "SELECT now(), current_timestamp, current_date, current_user, localtime, random()",
        "SELECT a BETWEEN 1 AND 2, a LIKE 'x%' ESCAPE '!', a ILIKE $1, a SIMILAR TO 'x' FROM t",
        "SELECT a IS NULL, b IS NOT TRUE, c IS DISTINCT FROM d FROM t",
        "SELECT interval '1 day', date '2020-01-01', timestamp with time zone 'now', '1'::interval",
        "SELECT $1::int[], '{}'::jsonb, a::numeric(10, 2), CAST(b AS varchar(20)), c::pg_catalog.int4 FROM t",
        "SELECT pg_catalog.lower(a), \"lower\"(a) FROM t",
        "SELECT * FROM t TABLESAMPLE SYSTEM (10)",
        "SELECT * FROM t FETCH FIRST 5 ROWS ONLY",
        "SELECT a FROM t GROUP BY ROLLUP (a, b), CUBE (c), GROUPING SETS ((a), ())",
        "SELECT string_agg(a, ',' ORDER BY b), percentile_cont(0.5) WITHIN GROUP (ORDER BY c) FROM t",
        "SELECT array_agg(DISTINCT a) FROM t",
        "SELECT a[1] FROM t",
        "SELECT b[1:2] FROM t",
        "SELECT (c).d FROM t",
        "SELECT (e).* FROM t",
        "SELECT FROM t",
        "SELECT a COLLATE \"C\" FROM t ORDER BY b COLLATE pg_catalog.\"default\"",
        "SELECT concat(VARIADIC ARRAY['a', 'b'])",
        "SELECT * FROM ONLY t, ONLY u",
        "SELECT make_interval(days => 1)",
        "SELECT x FROM t WHERE d > now() - interval '7 days'",
        "SELECT 1 AS one, 2 two",
    ]);
}

#[test]
fn operators_of_all_kinds_go_to_replicas() {
    replica(&[
        "SELECT a->'b'->>'c', a#>'{x}', a @> '{}', a ? 'x', a ?| $1 FROM t",
        "SELECT a || b, a % 2, a ^ 2, a & 1, a | 1, a # 1, a << 1, ~a, @ a, |/ a, -a FROM t",
        "SELECT a ~ 'x', a !~* 'y', a ~~ 'z', a && b, a @@ b FROM t",
        "SELECT a ~~ ANY ($1), a <@ b AND c BETWEEN d -> 1 AND 2 FROM t",
        "SELECT * FROM items ORDER BY embedding <=> '[1,2,3]' LIMIT 5",
        "SELECT * FROM items ORDER BY embedding <-> $1, embedding <#> $1, embedding <+> $1",
        "SELECT a OPERATOR(pg_catalog.~) '^x$' COLLATE pg_catalog.default FROM t",
    ]);
}

#[test]
fn queries_in_other_clothes_go_to_replicas() {
    replica(&[
        "TABLE t",
        "TABLE ONLY s.t ORDER BY a",
        "VALUES (1, 'a'), (2, 'b')",
        "(SELECT 1)",
        "((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1",
        "SELECT 1 UNION SELECT 2 INTERSECT SELECT 3 EXCEPT ALL SELECT 4",
        "SELECT 1 UNION TABLE t",
        "WITH x AS (SELECT 1), y (a, b) AS (TABLE t) SELECT * FROM x, y",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t",
        "WITH x AS NOT MATERIALIZED (SELECT 1) TABLE x",
        "-- a\n/* b /* c */ */ SELECT 1",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM t",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM t",
        "EXPLAIN (ANALYZE false) TABLE t",
        "COPY t TO STDOUT",
        "COPY s.t (a, b) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY (SELECT * FROM t WHERE a = 1) TO stdout",
        "COPY (TABLE t) TO STDOUT (FORMAT binary)",
        "DECLARE c CURSOR FOR SELECT * FROM t",
        "DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT * FROM t",
        "SHOW server_version",
        "SHOW TIME ZONE",
        "SHOW transaction isolation level",
        "show search_path;",
        "",
        ";",
        "-- ping",
    ]);
}

#[test]
fn read_only_transactions_go_to_replicas() {
    replica(&[
        "BEGIN READ ONLY",
        "START TRANSACTION READ ONLY",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET TRANSACTION READ ONLY",
    ]);
}

#[test]
fn introspection_of_catalogs_goes_to_replicas() {
    replica(&[
        "SELECT n.nspname as \"Schema\", c.relname as \"Name\", CASE c.relkind WHEN 'r' THEN 'table' \
         WHEN 'v' THEN 'view' END as \"Type\", pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
         WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' \
         AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema' \
         AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2;",
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN \
         pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default \
         AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3;",
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
         WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = '16384' AND a.attnum > 0 \
         AND NOT a.attisdropped ORDER BY a.attnum;",
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'x'",
        "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn hints_decide_where_the_grammar_leaves_a_choice() {
    for (sql, target, reason) in [
        (
            "/* pgconvoy: primary */ SELECT 1",
            Target::Primary,
            Reason::Hint,
        ),
        (
            "/*NO LOAD BALANCE*/ SELECT 1",
            Target::Primary,
            Reason::Hint,
        ),
        (
            "/* pgconvoy: replica */ SELECT f()",
            Target::Replica,
            Reason::Hint,
        ),
        (
            "/* pgconvoy: replica */ SELECT a::mood FROM t",
            Target::Replica,
            Reason::Hint,
        ),
        (
            "/* pgconvoy: replica */ SELECT * FROM pg_stat_activity",
            Target::Replica,
            Reason::Hint,
        ),
        (
            "/* pgconvoy: replica */ SELECT 1",
            Target::Replica,
            Reason::ReadOnlySelect,
        ),
        (
            "/* pgconvoy: replica */ SELECT nextval('s')",
            Target::Primary,
            Reason::WriteFunction,
        ),
        (
            "/* pgconvoy: replica */ SELECT 1 FOR UPDATE",
            Target::Primary,
            Reason::Lock,
        ),
        (
            "/* pgconvoy: replica */ SELECT 1 INTO t",
            Target::Primary,
            Reason::Write,
        ),
        (
            "/* pgconvoy: replica */ INSERT INTO t VALUES (1)",
            Target::Primary,
            Reason::Write,
        ),
        (
            "/* pgconvoy: replica */ CREATE TABLE t ()",
            Target::Primary,
            Reason::Ddl,
        ),
        (
            "/* pgconvoy: replica */ SELECT dblink_connect('a')",
            Target::Primary,
            Reason::UnknownFunction,
        ),
        (
            "/* pgconvoy: replica */ SELECT 1; SELECT f()",
            Target::Primary,
            Reason::SeveralStatements,
        ),
        (
            "/* pgconvoy: replica */ CALL p()",
            Target::Primary,
            Reason::Procedure,
        ),
        (
            "/* pgconvoy: replica */ FROB 1",
            Target::Primary,
            Reason::DoesNotParse,
        ),
        (
            "SELECT f() /* pgconvoy: replica */",
            Target::Primary,
            Reason::UnknownFunction,
        ),
    ] {
        let decision = decide(sql);
        assert_eq!(
            (decision.target, decision.reason),
            (target, reason),
            "{sql}"
        );
    }
    assert!(!decide("/* pgconvoy: primary */ SELECT 1").writes);
}

#[test]
fn the_proxys_own_commands_are_answered_by_it() {
    for (sql, local) in [
        ("SHOW POOL_NODES", LocalCommand::PoolNodes),
        ("show pool_nodes;", LocalCommand::PoolNodes),
        ("/* x */ Show Pool_Version -- y", LocalCommand::PoolVersion),
        ("show pool_backend_stats", LocalCommand::PoolBackendStats),
    ] {
        assert_eq!(decide(sql).local, Some(Local::Show(local)), "{sql}");
    }
    for sql in [
        "SHOW ROUTE insert into t values (1)",
        "explain ( ROUTE ) selec",
        "show route 'select 1; select 2'",
    ] {
        assert_eq!(decide(sql).local, Some(Local::Route), "{sql}");
        assert!(decide(sql).pins.is_empty(), "{sql}");
    }
    for sql in [
        "SHOW POOL_NODES; SELECT 1",
        "SHOW ROUTE",
        "SHOW ROUTE select 1; select 2",
        "SHOW pool_nodes x",
        "SELECT pool_nodes",
        "SHOW \"POOL_NODES\"",
    ] {
        assert_eq!(decide(sql).local, None, "{sql}");
    }
}
