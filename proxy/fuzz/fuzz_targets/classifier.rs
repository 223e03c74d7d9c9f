//! No text makes the classifier panic, and none that a write was added to goes to a replica.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgconvoy::router::fuzzing::{Literal, tokens};
use pgconvoy::router::{Quoting, Router, Target};

/// In place of a literal, where they may be an expression.
const EXPRESSIONS: [&str; 4] = [
    " nextval('s') ",
    " (WITH w AS (DELETE FROM t RETURNING 1) SELECT * FROM w) ",
    " (SELECT 1 FROM t FOR NO KEY UPDATE) ",
    " user_function() ",
];

fn refuse(router: &mut Router, sql: &[u8]) {
    let decision = router.decide(sql, Quoting::Standard);
    // What is only asked about does not run.
    let safe = decision.target == Target::Primary || decision.local.is_some();
    assert!(safe, "{decision:?}: {}", String::from_utf8_lossy(sql));
}

fuzz_target!(|sql: &[u8]| {
    let mut router = Router::new([1, 2], 16);
    let unsafe_quoting = router.decide(sql, Quoting::Unsafe);
    assert!(unsafe_quoting.target == Target::Primary || unsafe_quoting.local.is_some());
    router.decide(sql, Quoting::Standard);
    refuse(&mut router, &[b"DELETE FROM t;\n", sql].concat());
    refuse(&mut router, &[sql, b"\n;DELETE FROM t"].concat());
    let Some(found) = tokens(sql).filter(|found| !found.is_empty()) else {
        return;
    };
    // Somewhere in it, by its own length.
    let token = &found[sql.len() % found.len()];
    let (before, after) = sql.split_at(token.at.end);
    refuse(
        &mut router,
        &[before, b" ; DELETE FROM t ; ", after].concat(),
    );
    if token.literal != Literal::No {
        let before = &sql[..token.at.start];
        let expression = EXPRESSIONS[sql.len() / found.len() % EXPRESSIONS.len()];
        refuse(
            &mut router,
            &[before, expression.as_bytes(), after].concat(),
        );
    }
    let close = b"\n)".as_slice();
    for (head, tail) in [
        (&b"WITH w AS (DELETE FROM t RETURNING 1) "[..], &b""[..]),
        (b"SELECT nextval('s') UNION ALL ", b""),
        (b"SELECT * FROM (DELETE FROM t RETURNING 1) w, (", close),
        (
            b"COPY (SELECT set_config('a', 'b', false) UNION ",
            b"\n) TO STDOUT",
        ),
        (b"EXPLAIN ANALYZE INSERT INTO t ", b""),
    ] {
        refuse(&mut router, &[head, sql, tail].concat());
    }
});
