//! Long and deep texts: no stack overflow, no stall, no surprise.

use super::super::{Command, PinReason, Quoting, Reason, Target};
use super::{decide, router};

/// Decides on a thread with a quarter of a worker's stack.
fn decide_on_a_small_stack(sql: String) -> super::Decision {
    std::thread::Builder::new()
        .stack_size(std::env::var("STACK").map_or(512, |s| s.parse().unwrap()) * 1024)
        .spawn(move || decide(&sql))
        .unwrap()
        .join()
        .unwrap()
}

#[test]
fn long_chains_and_deep_nesting_do_not_overflow_the_stack() {
    let chains = [
        "1+",
        "a AND ",
        "a OR ",
        "1::int||",
        "a=",
        "a.",
        "a,",
        "NOT ",
        "- ",
        "(",
        "((",
        "[",
        "a[",
        "f(",
        "lower(",
        "case when ",
        "case a when 1 then ",
        "(select ",
        "exists(select ",
        "a between 1 and ",
        "interval ",
        "a->",
        "array[",
        "row(",
        "cast(",
        "a in (",
        "a is null and ",
        "a like ",
        "a::int[]::",
        "(((select 1) union ",
        "@",
        "+-",
        "not exists ",
        "date ",
        "prior ",
        "a at time zone ",
        "a collate ",
        "variadic ",
        "table ",
        "from (",
        "*",
        "with ",
        "all ",
        "any(",
        "trim(",
        "extract(",
        "substring(",
        "position(",
        "overlay(",
        "ceil(",
        "a[1:",
        "array(select ",
        "a:",
        "lambda ",
        "distinct ",
        "timestamp ",
        "struct<",
        "array<",
        "map[",
    ];
    for chain in chains {
        for count in [30, 1000, 3900, 20_000] {
            for (head, tail) in [
                ("SELECT ", "1"),
                ("SELECT * FROM ", "t"),
                ("SELECT * FROM t WHERE ", "1 = 1"),
                ("WITH x AS (SELECT 1) ", ""),
            ] {
                let decision =
                    decide_on_a_small_stack(format!("{head}{}{tail}", chain.repeat(count)));
                assert!(
                    decision.target == Target::Primary || count < 4000,
                    "{chain} {count}"
                );
            }
        }
    }
}

#[test]
fn unions_joins_and_casts_do_not_overflow_the_stack() {
    for link in [
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
    ] {
        for count in [500, 1000, 1300, 2000, 4000] {
            decide_on_a_small_stack(format!("SELECT 1{}", link.repeat(count)));
            decide_on_a_small_stack(format!("SELECT * FROM t{}", link.repeat(count)));
        }
    }
}

#[test]
fn a_chain_within_the_limits_is_still_classified() {
    let sql = format!("SELECT {}1", "1+".repeat(2000));
    assert_eq!(decide_on_a_small_stack(sql).target, Target::Replica);
    let sql = format!("SELECT {}1{}", "(".repeat(12), ")".repeat(12));
    assert_eq!(decide_on_a_small_stack(sql).target, Target::Replica);
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
    assert_eq!((decision.command, decision.pin), (Command::Insert, None));
    let select = router.decide(format!("SELECT '{value}'").as_bytes(), Quoting::Standard);
    assert_eq!(
        (select.reason, select.pin),
        (Reason::TooLong, Some(PinReason::UnknownState))
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

#[test]
fn probe() {
    if let Ok(sql) = std::fs::read_to_string("/tmp/h/probe.sql") {
        let d = decide_on_a_small_stack(sql);
        eprintln!("{:?}", d.reason);
    }
}
