//! Hints: what a comment before a statement asks of the router.
//!
//! `/* pgconvoy: primary */`, `/* pgconvoy: replica */` and pgpool-II's `/*NO LOAD BALANCE*/`.
//! Must not know what the statement is: whether a hint is obeyed is the classifier's business.

use super::lexer;

/// What the comments before a statement, or its session, ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// Run it on the primary.
    Primary,
    /// Run it on a replica if its grammar allows.
    Replica,
}

impl Hint {
    /// The hint by its word, in any case; `auto` and no word at all ask nothing.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let hints = [
            ("primary", Self::Primary),
            ("replica", Self::Replica),
            ("auto", Self::None),
            ("", Self::None),
        ];
        let found = hints
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
        found.map(|(_, hint)| *hint)
    }

    /// Of two hints the cautious one counts.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Primary, _) | (_, Self::Primary) => Self::Primary,
            (Self::Replica, _) | (_, Self::Replica) => Self::Replica,
            (Self::None, Self::None) => Self::None,
        }
    }
}

/// Skips what stands before a statement; gives where the statement begins and the hint found.
pub(super) fn leading(sql: &[u8]) -> (usize, Hint) {
    let mut at = 0;
    let mut hint = Hint::None;
    loop {
        at = lexer::skip_spaces(sql, at);
        let Some(end) = lexer::comment_end(sql, at) else {
            return (at, hint);
        };
        // An unterminated comment is left for the lexer, which reports it.
        let Some(end) = end else { return (at, hint) };
        hint = hint.and(read(sql.get(at..end).unwrap_or_default()));
        at = end;
    }
}

/// Reads one whole comment, with its delimiters.
fn read(comment: &[u8]) -> Hint {
    let body = comment
        .strip_prefix(b"/*")
        .and_then(|body| body.strip_suffix(b"*/"))
        .or_else(|| comment.strip_prefix(b"--"))
        .unwrap_or_default()
        .trim_ascii();
    if body.eq_ignore_ascii_case(b"no load balance") {
        return Hint::Primary;
    }
    let Some((name, value)) = body.split_at_checked(b"pgconvoy".len()) else {
        return Hint::None;
    };
    let Some(value) = value.trim_ascii_start().strip_prefix(b":") else {
        return Hint::None;
    };
    let value = value.trim_ascii();
    if !name.eq_ignore_ascii_case(b"pgconvoy") {
        Hint::None
    } else if value.eq_ignore_ascii_case(b"primary") {
        Hint::Primary
    } else if value.eq_ignore_ascii_case(b"replica") {
        Hint::Replica
    } else {
        Hint::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_from_any_comment_before_the_statement() {
        let table: &[(&[u8], Hint)] = &[
            (b"SELECT 1", Hint::None),
            (b"/* pgconvoy: primary */ SELECT 1", Hint::Primary),
            (b"/*pgconvoy:replica*/SELECT 1", Hint::Replica),
            (b"-- app\n/* PGCONVOY : Replica */ SELECT 1", Hint::Replica),
            (b"/*NO LOAD BALANCE*/ SELECT 1", Hint::Primary),
            (
                b"/* pgconvoy: replica */ /*NO LOAD BALANCE*/ SELECT 1",
                Hint::Primary,
            ),
            (b"SELECT 1 /* pgconvoy: primary */", Hint::None),
            (b"/* pgconvoy: elsewhere */ SELECT 1", Hint::None),
            (b"/* pgconvoy: primary", Hint::None),
        ];
        for (sql, hint) in table {
            assert_eq!(leading(sql).1, *hint, "{}", String::from_utf8_lossy(sql));
        }
    }
}
