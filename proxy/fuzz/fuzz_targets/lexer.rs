//! The lexer goes forward, stays within the text, and reads what is put together again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgconvoy::router;
use pgconvoy::router::fuzzing::tokens;

fuzz_target!(|sql: &[u8]| {
    // What else stands on the lexer.
    let asked = router::question(sql).unwrap_or_default();
    let _ = (
        router::names(&asked),
        router::names(sql),
        router::effects(sql, &[]),
        router::places(sql),
    );
    let Some(found) = tokens(sql) else { return };
    // One space between any two tokens, and nothing else.
    let mut spaced = Vec::new();
    for token in &found {
        let text = sql[token.at.clone()].to_vec();
        spaced.extend(text);
        spaced.push(b' ');
    }
    let again = tokens(&spaced).expect("what was read once is read again");
    assert_eq!(found.len(), again.len(), "{}", String::from_utf8_lossy(sql));
    for (one, other) in found.iter().zip(&again) {
        assert_eq!(one.literal, other.literal);
    }
});
