//! Clears long writes for the primary without lexing them.
//!
//! An INSERT, UPDATE, DELETE or MERGE goes to the primary whatever else it says, so all that
//! matters is whether it could hide something that changes the session: a second statement, or
//! a call of a function that leaves state behind. Both need a byte that is rare in data, a `;`
//! or a `(`. Errs towards lexing: quoting is not looked at. Must not decide anything.

use memchr::{memchr2, memmem};

use super::state;

/// Whether `sql` is one statement at most and calls nothing that leaves session state behind.
pub(super) fn is_plain(sql: &[u8]) -> bool {
    let mut at = 0;
    // Looked for once, and only where it matters.
    let mut line_comments = None;
    while let Some(found) = memchr2(b';', b'(', sql.get(at..).unwrap_or_default()) {
        at += found;
        if sql.get(at) == Some(&b';') {
            return sql
                .get(at + 1..)
                .unwrap_or_default()
                .trim_ascii()
                .is_empty();
        }
        let before = sql.get(..at).unwrap_or_default();
        let name_end = before.trim_ascii_end();
        // Behind a line break the last thing may be a line comment, and the name before that.
        let gap = before.get(name_end.len()..).unwrap_or_default();
        if memchr2(b'\n', b'\r', gap).is_some()
            && *line_comments.get_or_insert_with(|| memmem::find(sql, b"--").is_some())
        {
            return false;
        }
        if !is_clear_call(name_end) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether the name that ends here, if it is one, is certainly not one that matters.
fn is_clear_call(text: &[u8]) -> bool {
    match text {
        // A comment may be between a name and its bracket, and `\v` may be white space.
        [.., b'*', b'/'] | [.., 0x0b] => false,
        [quoted @ .., b'"'] => {
            let start = quoted.iter().rposition(|byte| *byte == b'"');
            let name = quoted
                .get(start.map_or(0, |start| start + 1)..)
                .unwrap_or_default();
            !name.contains(&b'\\') && !state::matters(name)
        }
        [.., byte] if byte.is_ascii_alphanumeric() || *byte == b'_' => {
            let start = text
                .iter()
                .rposition(|b| !b.is_ascii_alphanumeric() && *b != b'_');
            let name = text
                .get(start.map_or(0, |start| start + 1)..)
                .unwrap_or_default();
            !state::matters(name)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn plain_writes_are_cleared() {
        for sql in [
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO t (a, b) VALUES (lower('A'), now());",
            "UPDATE t SET a = (SELECT 1) WHERE b IN (1, 2) ;\n",
            "DELETE FROM t",
            "INSERT INTO t\nVALUES\n(1)",
            "INSERT INTO \"Users\" (\"a\", \"b\") VALUES ($1, $2)",
        ] {
            assert!(is_plain(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn what_could_hide_session_state_is_left_to_the_lexer() {
        for sql in [
            "INSERT INTO t VALUES (1); SET a = 1",
            "INSERT INTO t SELECT set_config('a', 'b', false)",
            "INSERT INTO t SELECT Set_Config  ('a', 'b', false)",
            "INSERT INTO t SELECT pg_catalog.pg_advisory_lock(1)",
            "INSERT INTO t SELECT pg_advisory_unlock_shared(1)",
            "INSERT INTO t SELECT \"set_config\"('a', 'b', false)",
            "INSERT INTO t SELECT U&\"set\\005fconfig\"('a', 'b', false)",
            "INSERT INTO t SELECT set_config/**/('a', 'b', false)",
            "INSERT INTO t SELECT set_config -- no (\n('a', 'b', false)",
            "INSERT INTO t VALUES ('a;b')",
        ] {
            assert!(!is_plain(sql.as_bytes()), "{sql}");
        }
    }
}
