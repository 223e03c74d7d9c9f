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
