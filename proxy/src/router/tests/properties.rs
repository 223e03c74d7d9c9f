//! Properties that hold for every text.

use proptest::prelude::*;

use super::super::{Quoting, Target};
use super::{decide, router};

/// Statements that a replica may run, with `{}` where a literal or a comment may stand.
const READS: [&str; 8] = [
    "SELECT a FROM t WHERE b = {v}",
    "SELECT lower({v}), count(*) FROM t GROUP BY c HAVING max(d) > {v} LIMIT 5",
    "WITH x AS (SELECT {v} AS a) SELECT * FROM x JOIN u ON u.a = x.a",
    "VALUES ({v}, {v})",
    "SELECT * FROM (SELECT a, b::text FROM t WHERE c IN ({v}, {v})) y ORDER BY a",
    "TABLE t",
    "SELECT a FROM t UNION SELECT {v}",
    "COPY (SELECT {v}) TO STDOUT",
];

const WRITES: [&str; 6] = [
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "SELECT nextval('s')",
    "SELECT 1 INTO x",
    "DROP TABLE t",
];

fn comment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ \t\n]{1,3}",
        "[a-z ';\"$]{0,12}".prop_map(|text| format!("/*{text}*/")),
        "[a-z ';\"$*/]{0,12}".prop_map(|text| format!("--{text}\n")),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,12}",
        "[0-9]{1,3}\\.[0-9]{0,3}",
        any::<String>().prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        "[a-z;()' ]{0,200}".prop_map(|text| format!("$q${text}$q$")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut router = router();
        router.decide(&bytes, Quoting::Standard);
        router.decide(&bytes, Quoting::Unsafe);
    }

    #[test]
    fn nothing_that_looks_like_sql_panics(words in proptest::collection::vec(
        prop_oneof![
            Just("select"), Just("from"), Just("("), Just(")"), Just(","), Just("with"), Just("as"),
            Just("'x'"), Just("1"), Just("a"), Just("."), Just("::"), Just("copy"), Just("to"),
            Just("stdout"), Just("explain"), Just("case"), Just("end"), Just(";"), Just("*"),
            Just("set_config"), Just("true"), Just("operator"), Just("["), Just("]"), Just("-"),
            Just("$$"), Just("\""), Just("interval"), Just("any"), Just("table"), Just("collate"),
        ], 0..60)) {
        router().decide(words.join(" ").as_bytes(), Quoting::Standard);
    }

    #[test]
    fn literal_values_never_change_a_route(read in 0..READS.len(), a in value(), b in value()) {
        let with = |value: &str| decide(&READS[read].replace("{v}", value));
        prop_assert_eq!(with(&a), with(&b));
        prop_assert_eq!(with(&a).target, Target::Replica);
    }

    #[test]
    fn comments_never_change_a_route(read in 0..READS.len(), comments in proptest::collection::vec(comment(), 30)) {
        let plain = READS[read].replace("{v}", "1");
        let mut comments = comments.iter().cycle();
        let mut sql = String::new();
        for word in plain.split(' ') {
            sql.push_str(word);
            sql.push(' ');
            sql.push_str(comments.next().map_or("", String::as_str));
        }
        prop_assert_eq!(decide(&sql), decide(&plain), "{}", sql);
    }

    #[test]
    fn adding_a_write_never_leaves_a_replica(
        read in 0..READS.len(), write in 0..WRITES.len(), a in value(), space in comment()
    ) {
        let read = READS[read].replace("{v}", &a);
        let write = WRITES[write];
        for sql in [
            format!("{read};{space}{write}"),
            format!("{write};{space}{read}"),
            format!("WITH w AS ({write}{space}) {read}"),
            format!("SELECT * FROM ({read}) r, ({write}) w"),
            format!("EXPLAIN{space}ANALYZE {write}"),
            format!("{read} {space} UNION {write}"),
            format!("COPY ({write}) TO STDOUT"),
        ] {
            prop_assert_eq!(decide(&sql).target, Target::Primary, "{}", sql);
        }
    }

    #[test]
    fn a_text_cut_anywhere_is_still_answered(read in 0..READS.len(), a in value(), cut in 0..200_usize) {
        let sql = READS[read].replace("{v}", &a);
        let bytes = sql.as_bytes();
        router().decide(&bytes[..cut.min(bytes.len())], Quoting::Standard);
    }
}
