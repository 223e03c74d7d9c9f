//! Long and deep texts: no stack overflow, no stall, no surprise.

use super::super::{Command, Decision, PinReason, PinSet, Quoting, Reason, Target};
use super::{decide, router};

/// Half a thread's usual stack; unoptimised, sqlparser takes several times of what it needs
/// otherwise.
const STACK: usize = if cfg!(debug_assertions) {
    4 << 20
} else {
    1 << 20
};

/// Decides on a thread with a small stack. An overflow would end the whole test run.
fn decide_on_a_small_stack(statements: Vec<String>) -> Vec<Decision> {
    let decide_all = move || {
        let mut router = router();
        statements
            .iter()
            .map(|sql| router.decide(sql.as_bytes(), Quoting::Standard))
            .collect()
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(decide_all)
        .unwrap()
        .join()
        .unwrap()
}

/// What can be nested by being repeated.
const OPENERS: &str = "1+|a AND |a OR |1::int~~|a=|a.|a,|NOT |- |(|((|[|a[|f(|lower(|case when |\
    case a when 1 then |(select |exists(select |a between 1 and |interval |a->|array[|row(|\
    cast(|a in (|a is null and |a like |a::int[]::|(((select 1) union |@|+-|not exists |date |\
    prior |a at time zone |a collate |variadic |table |from (|*|with |all |any(|trim(|extract(|\
    substring(|position(|overlay(|ceil(|a[1:|array(select |a:|lambda |distinct |timestamp |\
    struct<|array<|map[|from (select * |(values (|t join (|grouping sets ((|(t cross join ";

#[test]
fn long_chains_and_deep_nesting_do_not_overflow_the_stack() {
    let heads = [
        "SELECT ",
        "SELECT * FROM ",
        "SELECT * FROM t WHERE ",
        "WITH x AS (SELECT 1) ",
    ];
    let mut statements = Vec::new();
    for opener in OPENERS.split('|') {
        let opener = opener.replace("~~", "||");
        for (count, head) in [24, 1000, 10_000]
            .into_iter()
            .flat_map(|n| heads.map(|h| (n, h)))
        {
            statements.push(format!("{head}{}1", opener.repeat(count)));
        }
    }
    decide_on_a_small_stack(statements);
}

#[test]
fn unions_joins_and_casts_do_not_overflow_the_stack() {
    let links = [
        " UNION SELECT 1",
        " UNION ALL VALUES (1)",
        " EXCEPT (SELECT 1)",
        ", 1",
        "::int",
        " IS NULL",
        " AND a",
        " || a",
        "[1]",
        ".a",
        " FROM t JOIN u ON true",
        " JOIN u ON true",
        " ORDER BY 1",
        " AS a",
        " COLLATE \"C\"",
    ];
    let mut statements = Vec::new();
    for link in links {
        for count in [1000, 1300, 4000] {
            statements.push(format!("SELECT 1{}", link.repeat(count)));
            statements.push(format!("SELECT * FROM t{}", link.repeat(count)));
        }
    }
    decide_on_a_small_stack(statements);
}

#[test]
fn a_chain_within_the_limits_is_still_classified() {
    let chain = format!("SELECT {}1", "1+".repeat(2000));
    let nested = format!("SELECT {}1{}", "(".repeat(20), ")".repeat(20));
    let selects = format!("SELECT {}1{}", "(SELECT ".repeat(12), ")".repeat(12));
    for decision in decide_on_a_small_stack(vec![chain, nested, selects]) {
        assert_eq!(decision.target, Target::Replica);
    }
}

#[test]
fn long_statements_go_to_primary_and_long_values_do_not_matter() {
    let long = "x".repeat(100_000);
    assert_eq!(decide(&format!("SELECT '{long}'")).target, Target::Replica);
    assert_eq!(decide(&format!("SELECT {}", long)).reason, Reason::TooLong);
    let list = "1,".repeat(50_000);
    assert_eq!(
        decide(&format!("SELECT * FROM t WHERE a IN ({list}2)")).target,
        Target::Replica
    );
}

#[test]
fn huge_texts_are_not_looked_into() {
    let mut router = router();
    let value = "x".repeat(2 << 20);
    let insert = format!("INSERT INTO t VALUES ('{value}')");
    let decision = router.decide(insert.as_bytes(), Quoting::Standard);
    assert_eq!(
        (decision.command, decision.pins),
        (Command::Insert, PinSet::NONE)
    );
    let select = router.decide(format!("SELECT '{value}'").as_bytes(), Quoting::Standard);
    assert_eq!(
        (select.reason, select.pins),
        (Reason::TooLong, PinSet::of(PinReason::UnknownState))
    );
    assert_eq!(router.cache_stats().entries, 0);
}

#[test]
fn repeats_are_hits_whatever_their_values() {
    let mut router = router();
    for aid in 0..100 {
        let sql = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {aid};");
        router.decide(sql.as_bytes(), Quoting::Standard);
    }
    let stats = router.cache_stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (99, 1, 1));
}

/// What may be repeated as often as a text may be long without a worker noticing.
const REPEATED: &[&str] = &[
    "set_config(",
    "set_config(a, ",
    "pg_advisory_lock(",
    "nextval(",
    "(",
    "[",
    "a.",
    "a(",
    "\"a\"",
    "'a' ",
    "'a'\n",
    "'a' --\n",
    "$a$ $a$ ",
    "$1",
    "/*",
    "/**/",
    "--\n",
    "- ",
    "+-",
    "@#",
    ") search depth first by a, ",
    ") search depth first by ",
    ") cycle a, ",
    "a, ",
    "(rows from (",
    "xmlexists(passing ",
    "xmlelement(name a, ",
    "grouping sets (",
    "using (a) as x ",
    ") as (a int, ",
    "substring(similar ",
    "between symmetric ",
    "text 'x' ",
    "case ",
    "; ",
    "begin atomic case end; ",
    "in (1, ",
    "array[1, ",
    "for update ",
    "into temp ",
    "pg_temp.",
    "u&\"a\" ",
    "over (rows exclude ties) ",
    "a::int ",
    "copy (",
    "force_quote (a) ",
    "to ",
];

#[test]
fn a_long_text_of_anything_is_decided_in_no_time() {
    let heads = [
        "",
        "SELECT ",
        "COPY ",
        "COPY t TO STDOUT (",
        "EXPLAIN (",
        "DECLARE c CURSOR ",
        "INSERT INTO t ",
        "CREATE ",
        "SET a = ",
        "BEGIN ",
    ];
    let (length, limit) = if cfg!(debug_assertions) {
        (50_000, 2.0)
    } else {
        (1_000_000, 0.5)
    };
    let mut router = router();
    for part in REPEATED {
        let repeated = part.repeat(length / part.len());
        for head in heads {
            let sql = format!("{head}{repeated}");
            let started = std::time::Instant::now();
            router.decide(sql.as_bytes(), Quoting::Standard);
            let took = started.elapsed().as_secs_f64();
            assert!(took < limit, "{head}{part}...: {took} s");
        }
    }
}

#[test]
fn calls_within_calls_are_not_read_again_and_again() {
    let sql = format!("SELECT {}", "set_config(".repeat(90_000));
    let started = std::time::Instant::now();
    assert!(!decide(&sql).pins.is_empty());
    assert!(started.elapsed().as_secs() < 10);
    let local = "SELECT set_config('a', lower(lower('b')), true)";
    assert!(decide(local).pins.is_empty());
}

#[test]
fn ten_megabytes_go_to_the_primary_at_once() {
    let started = std::time::Instant::now();
    for (head, part) in [
        ("SELECT ", "a, "),
        ("SELECT '", "it''s "),
        ("INSERT INTO t VALUES ", "(1, 'a'), "),
        ("", "garbage ( \" "),
    ] {
        let sql = format!("{head}{}", part.repeat(10_000_000 / part.len()));
        assert_eq!(decide(&sql).target, Target::Primary);
    }
    assert!(started.elapsed().as_secs() < 5);
}
