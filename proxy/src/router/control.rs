//! Reads the commands that begin and end transactions, exactly: what is known to be understood by the
//! server can be answered before it is asked (PostgreSQL docs, BEGIN, SET TRANSACTION, COMMIT, ROLLBACK).
//!
//! Must not know what a transaction does nor where it runs.

use super::lexer::{Kind, Lexer, Token};

/// The modes that a transaction was given, none where the session's defaults hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes {
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// The isolation level.
    pub isolation: Option<Isolation>,
}

impl Modes {
    /// These, and where they say nothing the earlier ones. SERIALIZABLE remains: a standby refuses it when
    /// it is said, whatever comes later.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        let strict = earlier.isolation == Some(Isolation::Serializable);
        Self {
            read_only: self.read_only.or(earlier.read_only),
            isolation: match self.isolation {
                Some(isolation) if !strict => Some(isolation),
                Some(_) | None => earlier.isolation,
            },
        }
    }
}

/// What a transaction sees of others (PostgreSQL docs, 13.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// READ COMMITTED or READ UNCOMMITTED: each statement sees what is committed when it begins.
    ReadCommitted,
    /// REPEATABLE READ: all see the same.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// A command that begins, shapes or ends a transaction and does nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// BEGIN.
    Begin(Modes),
    /// START TRANSACTION.
    Start(Modes),
    /// SET TRANSACTION, but for its snapshot.
    Set(Modes),
    /// COMMIT or END.
    Commit,
    /// ROLLBACK or ABORT.
    Rollback,
}

/// Reads the one command in `sql`; `None` for anything that the server might see otherwise.
#[must_use]
pub fn control(sql: &[u8]) -> Option<Control> {
    const LONGEST: usize = 64;
    let tokens: Vec<Token<'_>> = Lexer::new(sql, 0).take(LONGEST).collect();
    let end = tokens.iter().position(|token| token.is_punct(b';'));
    let (words, rest) = tokens.split_at(end.unwrap_or(tokens.len()));
    if tokens.len() == LONGEST || !rest.iter().all(|token| token.is_punct(b';')) {
        return None;
    }
    let (first, rest) = words.split_first()?;
    if first.kind != Kind::Word {
        return None;
    }
    match first.text.to_ascii_lowercase().as_slice() {
        b"begin" => modes(without_noise(rest)).map(Control::Begin),
        b"start" => modes(behind("transaction", rest)?).map(Control::Start),
        b"set" => {
            let given = behind("transaction", rest).filter(|given| !given.is_empty())?;
            modes(given).map(Control::Set)
        }
        b"commit" | b"end" => ends(rest).then_some(Control::Commit),
        b"rollback" | b"abort" => ends(rest).then_some(Control::Rollback),
        _ => None,
    }
}

fn behind<'t, 'a>(word: &str, tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let (first, rest) = tokens.split_first()?;
    first.is_word(word).then_some(rest)
}

/// WORK and TRANSACTION say nothing.
fn without_noise<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    behind("work", tokens)
        .or_else(|| behind("transaction", tokens))
        .unwrap_or(tokens)
}

/// Whether a transaction ends with nothing but this behind its verb.
fn ends(tokens: &[Token<'_>]) -> bool {
    is(without_noise(tokens), &[]) || is(without_noise(tokens), &["and", "no", "chain"])
}

fn is(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() == words.len() && begin_with(tokens, words)
}

fn begin_with(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() >= words.len() && words.iter().zip(tokens).all(|(word, t)| t.is_word(word))
}

/// Modes, with commas between them or not.
fn modes(mut tokens: &[Token<'_>]) -> Option<Modes> {
    const MODES: [(&[&str], Modes); 8] = [
        (&["read", "only"], access(true)),
        (&["read", "write"], access(false)),
        (&["deferrable"], NONE),
        (&["not", "deferrable"], NONE),
        (
            &["isolation", "level", "serializable"],
            level(Isolation::Serializable),
        ),
        (
            &["isolation", "level", "repeatable", "read"],
            level(Isolation::RepeatableRead),
        ),
        (
            &["isolation", "level", "read", "committed"],
            level(Isolation::ReadCommitted),
        ),
        (
            &["isolation", "level", "read", "uncommitted"],
            level(Isolation::ReadCommitted),
        ),
    ];
    let mut found = NONE;
    while !tokens.is_empty() {
        let (words, mode) = MODES.iter().find(|(words, _)| begin_with(tokens, words))?;
        found = mode.after(found);
        tokens = tokens.get(words.len()..)?;
        if let [comma, rest @ ..] = tokens
            && comma.is_punct(b',')
        {
            if rest.is_empty() {
                return None;
            }
            tokens = rest;
        }
    }
    Some(found)
}

const NONE: Modes = Modes {
    read_only: None,
    isolation: None,
};

const fn access(read_only: bool) -> Modes {
    Modes {
        read_only: Some(read_only),
        ..NONE
    }
}

const fn level(isolation: Isolation) -> Modes {
    Modes {
        isolation: Some(isolation),
        ..NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_and_ends_transactions_is_read() {
        let begin = |read_only, isolation| {
            Some(Control::Begin(Modes {
                read_only,
                isolation,
            }))
        };
        let table: &[(&str, Option<Control>)] = &[
            ("BEGIN", begin(None, None)),
            ("begin work;", begin(None, None)),
            (
                "/* a */ start transaction read only;;",
                Some(Control::Start(access(true))),
            ),
            (
                "begin isolation level repeatable read, read only, not deferrable",
                begin(Some(true), Some(Isolation::RepeatableRead)),
            ),
            (
                "begin read only isolation level serializable read write deferrable",
                begin(Some(false), Some(Isolation::Serializable)),
            ),
            (
                "set transaction isolation level read uncommitted",
                Some(Control::Set(level(Isolation::ReadCommitted))),
            ),
            ("commit work and no chain", Some(Control::Commit)),
            ("end", Some(Control::Commit)),
            ("ABORT TRANSACTION -- so", Some(Control::Rollback)),
        ];
        for (sql, control_) in table {
            assert_eq!(control(sql.as_bytes()), *control_, "{sql}");
        }
    }

    #[test]
    fn what_the_server_might_refuse_or_take_for_more_is_not() {
        for sql in [
            "",
            ";",
            "begin foo",
            "begin read",
            "begin read only,",
            "begin , read only",
            "begin read only,, read write",
            "begin atomic",
            "begin; select 1",
            "start",
            "start work",
            "set transaction",
            "set transaction snapshot '1'",
            "set session characteristics as transaction read only",
            "set local transaction read only",
            "set transaction.x = 1",
            "commit and chain",
            "commit prepared 'x'",
            "rollback to s",
            "\"begin\"",
            "begin 'x",
            "select 1",
        ] {
            assert_eq!(control(sql.as_bytes()), None, "{sql}");
        }
    }
}
