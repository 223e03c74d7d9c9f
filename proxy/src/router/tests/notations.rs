//! PostgreSQL's own notations, which are rewritten for the parser: a replica's as they are, the primary's with
//! anything in them that may write.

use super::super::{Reason, Target};
use super::{all_go_to, decide};

/// `{}` stands where an expression may.
const NOTATIONS: &[&str] = &[
    "SELECT * FROM ROWS FROM (generate_series(1, {}))",
    "SELECT * FROM t, LATERAL ROWS FROM (unnest(ARRAY[{}]), json_to_record('{}') AS (a int, b text)) WITH ORDINALITY AS x(a, b, c, d)",
    "SELECT * FROM json_to_recordset({}) AS (a int, b text[])",
    "SELECT * FROM generate_series(1, {}) WITH ORDINALITY AS x (a, b)",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT {} FROM r) SEARCH DEPTH FIRST BY n SET o SELECT * FROM r",
    "WITH RECURSIVE r(n) AS (SELECT {} UNION ALL SELECT n FROM r) CYCLE n, m SET c TO true DEFAULT false USING p SELECT * FROM r",
    "WITH RECURSIVE r(n) AS (SELECT {}) SEARCH BREADTH FIRST BY n, m SET o CYCLE n SET c TO 'y' DEFAULT 'n' USING p TABLE r",
    "SELECT count(*) FROM t GROUP BY GROUPING SETS (({}, b), (), GROUPING SETS (a, ROLLUP (a, b), CUBE (c)))",
    "SELECT count(*) FROM t GROUP BY DISTINCT ROLLUP ({}, b), ()",
    "SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN {} PRECEDING AND '1'::int FOLLOWING EXCLUDE CURRENT ROW) FROM t",
    "SELECT sum(a) OVER (ORDER BY {} GROUPS 1 PRECEDING EXCLUDE TIES), max(a) OVER (ROWS CURRENT ROW EXCLUDE NO OTHERS) FROM t",
    "SELECT min(a) OVER (RANGE BETWEEN '1 day'::interval PRECEDING AND CURRENT ROW EXCLUDE GROUP), {} FROM t",
    "SELECT * FROM t* JOIN s.u* x USING (a) AS j WHERE {} ISNULL AND b NOTNULL",
    "SELECT a FROM t WHERE b BETWEEN SYMMETRIC {} AND 3 OR c BETWEEN ASYMMETRIC 1 AND 2",
    "SELECT substring(a SIMILAR {} ESCAPE '#'), trim(LEADING FROM {}), trim(FROM a), trim(BOTH FROM b) FROM t",
    "SELECT a = text 'x', xml '<a/>', name 'y', {} FROM t",
    "SELECT 1 * ANY (ARRAY[{}]), 1 - ALL ('{1}') FROM t",
    "SELECT xmlelement(NAME a, xmlattributes({} AS b, c), xmlforest(d AS \"E\"), {}) FROM t",
    "SELECT xmlelement(NAME a), xmlpi(NAME php), xmlpi(NAME php, {})",
    "SELECT xmlroot({}, VERSION '1.0', STANDALONE YES), xmlroot(a, VERSION NO VALUE, STANDALONE NO VALUE) FROM t",
    "SELECT xmlparse(DOCUMENT {}), xmlparse(CONTENT '<a/>' PRESERVE WHITESPACE) IS NOT DOCUMENT",
    "SELECT xmlserialize(CONTENT {} AS text), xmlserialize(DOCUMENT a AS character varying) FROM t",
    "SELECT xmlexists({} PASSING BY REF a BY REF), xmlexists('//a' PASSING {}) FROM t",
    "SELECT * FROM t, LATERAL XMLTABLE('/a' PASSING {} COLUMNS id int PATH '@id', n FOR ORDINALITY, b text DEFAULT 'x' NOT NULL) x",
    "SELECT * FROM XMLTABLE(XMLNAMESPACES('http://x' AS x), {} PASSING BY VALUE a COLUMNS b text PATH {})",
    "SELECT a FROM t TABLESAMPLE BERNOULLI ({}) REPEATABLE (5)",
    "SELECT concat(VARIADIC '{a}'), ARRAY(SELECT {}), a = SOME (ARRAY[1]), regclass('t'), int4pl(1, 2) FROM t",
    "SELECT {} FROM t FETCH FIRST 2 ROWS WITH TIES",
];

#[test]
fn notations_without_a_write_go_to_replicas() {
    let statements: Vec<String> = NOTATIONS.iter().map(|n| n.replace("{}", "a")).collect();
    all_go_to(
        Target::Replica,
        &statements.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn notations_with_something_unknown_in_them_go_to_primary() {
    for inside in [
        "nextval('s')",
        "f(1)",
        "(SELECT 1 FROM t FOR NO KEY UPDATE)",
        "(WITH w AS (DELETE FROM t RETURNING 1) TABLE w)",
        "CAST(a AS mood)",
        "a::mood",
        "(a <%%> b)",
        "mood 'x'",
        "pg_is_in_recovery()",
    ] {
        for notation in NOTATIONS {
            let sql = notation.replace("{}", inside);
            assert_eq!(decide(&sql).target, Target::Primary, "{sql}");
        }
    }
}

#[test]
fn types_in_notations_are_judged() {
    all_go_to(
        Target::Primary,
        &[
            "SELECT * FROM json_to_recordset('[]') AS (a mood)",
            "SELECT * FROM json_to_recordset('[]') AS (a int, b mood[])",
            "SELECT * FROM ROWS FROM (json_to_record('{}') AS (a mood)) x",
            "SELECT xmlserialize(CONTENT a AS mood) FROM t",
            "SELECT * FROM XMLTABLE('/a' PASSING b COLUMNS c mood PATH '@id')",
            "SELECT CAST(document '<a/>' AS text)",
            "SELECT CAST(content 'x' AS text)",
            "SELECT document 'x'",
            "SELECT version '1'",
            "SELECT xmlelement(NAME a, name b 'x')",
            "SELECT \"array\"((SELECT 1))",
            "SELECT \"variadic\" 'x'",
            "SELECT second(1)",
        ],
    );
}

#[test]
fn an_alias_that_is_made_up_excuses_no_call() {
    all_go_to(
        Target::Primary,
        &[
            "SELECT \"\"\"\"(1) FROM json_to_record('{}') AS (a int)",
            "SELECT \"(1) FROM json_to_record('{}') AS (a int)",
        ],
    );
}

#[test]
fn what_only_looks_like_a_notation_is_left_alone() {
    // The server refuses these, or they are something else.
    for sql in [
        "SELECT a EXCLUDE TIES FROM t",
        "SELECT * FROM ROWS FROM (SELECT 1)",
        "SELECT * FROM t SEARCH DEPTH FIRST BY nextval('s') SET o",
        "WITH x AS (SELECT 1) CYCLE n SET c TO nextval('s') DEFAULT 1 USING p SELECT * FROM x",
        "SELECT a * f(1) FROM t",
        "SELECT * FROM t * f(1)",
    ] {
        assert_eq!(decide(sql).target, Target::Primary, "{sql}");
    }
    assert_eq!(
        decide("SELECT * FROM t FOR NO KEY UPDATE").reason,
        Reason::Lock
    );
    all_go_to(
        Target::Replica,
        &[
            "SELECT a.exclude, a.isnull, a.\"similar\", a.document FROM a",
            "SELECT search, cycle, name, version, standalone, passing FROM t",
            "SELECT a NOT SIMILAR TO 'x' ESCAPE '!' FROM t",
            "SELECT * FROM t SEARCH",
            "SELECT rows FROM t",
        ],
    );
}
