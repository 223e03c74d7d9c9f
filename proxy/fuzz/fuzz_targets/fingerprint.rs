//! A shape is shared by statements that differ in literals' values and comments, and by no others that are easily
//! made: one word more is another shape.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgconvoy::router::fuzzing::{Literal, tokens};
use pgconvoy::router::{Quoting, Router};

/// The values that literals are replaced by, chosen by the length of the text.
const NUMBERS: [&str; 4] = ["7", "0.5", "123456789012345678901234567890", "1e10"];
const TEXTS: [&str; 4] = [
    "'x'",
    "$$; drop table t$$",
    "'it''s -- /*'",
    "E'\\' delete from t'",
];

fuzz_target!(|sql: &[u8]| {
    let mut router = Router::new([1, 2], 16);
    let shape = router.shape(sql);
    assert_eq!(shape, router.shape(sql));
    let Some(found) = tokens(sql) else { return };
    let pick = sql.len() % 4;
    let mut other = Vec::new();
    let mut at = 0;
    for (number, token) in found.iter().enumerate() {
        let start = token.at.start.max(at);
        other.extend(&sql[at..start]);
        match token.literal {
            Literal::No => other.extend(&sql[start..token.at.end]),
            // A letter before a quote would become part of the literal, a point one of a number.
            Literal::Number => other.extend(format!(" {} ", NUMBERS[pick]).bytes()),
            Literal::Text => other.extend(format!(" {} ", TEXTS[pick]).bytes()),
        }
        at = token.at.end;
        if number > 0 {
            other.extend(b"/* a 'comment' ; /* in a comment */ */");
        }
    }
    let told = || {
        format!(
            "{}\n{}",
            String::from_utf8_lossy(sql),
            String::from_utf8_lossy(&other)
        )
    };
    assert_eq!(shape, router.shape(&other), "{}", told());
    assert_eq!(
        router.decide(sql, Quoting::Standard),
        Router::new([3, 4], 16).decide(&other, Quoting::Standard),
        "{}",
        told()
    );
    let longer = [sql, b"\nx"].concat();
    assert_ne!(shape, router.shape(&longer));
});
