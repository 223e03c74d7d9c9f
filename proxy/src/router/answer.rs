//! What a statement takes and gives back, as far as its text tells.

use super::lexer::{Kind, Lexer, Token};

/// How many parameters the text has: the highest number of a `$n`, as the server counts them where it
/// infers their types (PostgreSQL docs, PREPARE).
#[must_use]
pub fn parameters(sql: &[u8]) -> u16 {
    let number = |token: Token<'_>| {
        let digits = std::str::from_utf8(token.text)
            .ok()?
            .trim_start_matches('$');
        digits.parse().ok()
    };
    let mut highest = 0;
    for token in Lexer::new(sql, 0) {
        if token.kind == Kind::Param {
            highest = highest.max(number(token).unwrap_or(u16::MAX));
        }
    }
    highest
}

/// Whether the statement certainly gives back no rows.
#[must_use]
pub fn returns_no_rows(sql: &[u8]) -> bool {
    const COMMANDS: [&str; 43] = [
        "abort",
        "alter",
        "analyze",
        "begin",
        "checkpoint",
        "close",
        "cluster",
        "comment",
        "commit",
        "copy",
        "create",
        "deallocate",
        "declare",
        "delete",
        "discard",
        "do",
        "drop",
        "end",
        "grant",
        "import",
        "insert",
        "listen",
        "load",
        "lock",
        "merge",
        "move",
        "notify",
        "prepare",
        "reassign",
        "refresh",
        "reindex",
        "release",
        "reset",
        "revoke",
        "rollback",
        "savepoint",
        "security",
        "set",
        "start",
        "truncate",
        "unlisten",
        "update",
        "vacuum",
    ];
    let mut lexer = Lexer::new(sql, 0);
    let Some(first) = lexer.next() else {
        return true;
    };
    let known = COMMANDS.iter().any(|word| first.is_word(word));
    known && !lexer.any(|token| token.is_word("returning"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_by_their_highest_number() {
        for (sql, count) in [
            ("select 1", 0),
            ("select $2, $1, $2", 2),
            ("select '$3', \"$4\", $$ $5 $$, /* $6 */ $1", 1),
            ("select $99999", u16::MAX),
        ] {
            assert_eq!(parameters(sql.as_bytes()), count, "{sql}");
        }
    }

    #[test]
    fn statements_without_rows_are_known_by_their_first_word() {
        for sql in ["", "begin", "insert into t values (1)", "/* x */ SET a = 1"] {
            assert!(returns_no_rows(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "select 1",
            "with x as (select) select",
            "insert into t values (1) returning a",
            "show a",
            "explain begin",
            "execute q",
            "(select 1)",
        ] {
            assert!(!returns_no_rows(sql.as_bytes()), "{sql}");
        }
    }
}
