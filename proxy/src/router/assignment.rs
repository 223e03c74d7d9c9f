//! Settings and the values they are given: what SET SESSION CHARACTERISTICS and `set_config` say.
//!
//! Literals and bound values are read where they are plain. Must not know what else a text does.

use super::lexer::{Kind, Token};

/// What one statement does once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that is followed here.
    None,
    /// These settings are set for the session, in this order.
    Set(Vec<Assignment>),
    /// RESET, SET … TO DEFAULT: back to what the session began with.
    Reset(String),
    /// RESET ALL: all but the role.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// DEALLOCATE of that statement, or of all.
    Deallocate(Option<String>),
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// Something is set, and it can't be told what.
    Unknown,
}

/// A setting's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The setting, in lower case.
    pub name: String,
    /// What it is given.
    pub value: Value,
}

/// A setting's new value as it can be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value itself, as `set_config` takes it.
    Literal(String),
    /// What stood behind SET SESSION.
    Clause(String),
}

/// A value that was bound to a parameter of a statement (PostgreSQL docs, 55.7, Bind).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The value; `None` is NULL.
    pub value: Option<Vec<u8>>,
    /// Whether it is in binary form, which for a text is the same.
    pub binary: bool,
}

/// How long what is set lasts.
pub(super) enum Scope {
    Session,
    /// Whatever is said.
    Transaction,
    /// It can't be had again by setting it again.
    Unfollowed,
}

pub(super) fn kind(name: &str) -> Scope {
    match name {
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
            Scope::Transaction
        }
        // The latter only before the first temporary table, and a connection may have had one.
        // With the third we make sure that nothing runs where something could not be set.
        "seed" | "temp_buffers" | "exit_on_error" => Scope::Unfollowed,
        _ => Scope::Session,
    }
}

/// PostgreSQL still knows two settings by old names.
pub(super) fn canonical(name: String) -> String {
    match name.as_str() {
        "sort_mem" => "work_mem".to_owned(),
        "vacuum_mem" => "maintenance_work_mem".to_owned(),
        _ => name,
    }
}

/// SET SESSION CHARACTERISTICS, from behind these words.
pub(super) fn characteristics(tokens: &[Token<'_>]) -> Effect {
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| !token.is_punct(b','))
        .map(|token| String::from_utf8_lossy(token.text).to_ascii_lowercase())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["as", "transaction", modes @ ..] = words.as_slice() else {
        return Effect::Unknown;
    };
    let (mut rest, mut set) = (modes, Vec::new());
    while !rest.is_empty() {
        let (name, value, more) = match rest {
            ["isolation", "level", "serializable", more @ ..] => {
                ("isolation", "serializable", more)
            }
            ["isolation", "level", "repeatable", "read", more @ ..] => {
                ("isolation", "repeatable read", more)
            }
            ["isolation", "level", "read", "committed", more @ ..] => {
                ("isolation", "read committed", more)
            }
            ["isolation", "level", "read", "uncommitted", more @ ..] => {
                ("isolation", "read uncommitted", more)
            }
            ["read", "only", more @ ..] => ("read_only", "on", more),
            ["read", "write", more @ ..] => ("read_only", "off", more),
            ["deferrable", more @ ..] => ("deferrable", "on", more),
            ["not", "deferrable", more @ ..] => ("deferrable", "off", more),
            _ => return Effect::Unknown,
        };
        set.push(Assignment {
            name: format!("default_transaction_{name}"),
            value: Value::Literal(value.to_owned()),
        });
        rest = more;
    }
    Effect::Set(set)
}

/// `SELECT set_config('name', 'value', false)`, once or several times, and nothing else. From
/// behind SELECT.
pub(super) fn set_config(mut tokens: &[Token<'_>], bound: &[Bound]) -> Effect {
    let is_call = |token: &Token<'_>| {
        matches!(token.kind, Kind::Word | Kind::Quoted)
            && token.text.eq_ignore_ascii_case(b"set_config")
    };
    if !tokens.iter().any(is_call) {
        return Effect::None;
    }
    let mut set = Vec::new();
    loop {
        if let [schema, point, rest @ ..] = tokens
            && schema.is_word("pg_catalog")
            && point.is_punct(b'.')
        {
            tokens = rest;
        }
        let [
            call,
            open,
            name,
            comma,
            value,
            second,
            local,
            close,
            rest @ ..,
        ] = tokens
        else {
            return Effect::Unknown;
        };
        let punctuated = open.is_punct(b'(')
            && comma.is_punct(b',')
            && second.is_punct(b',')
            && close.is_punct(b')');
        let (true, true, Some(name), Some(value), Some(local)) = (
            is_call(call),
            punctuated,
            plain_text(name, bound),
            plain_text(value, bound),
            truth(local, bound),
        ) else {
            return Effect::Unknown;
        };
        let name = canonical(name.to_ascii_lowercase());
        match kind(&name) {
            Scope::Unfollowed => return Effect::Unknown,
            Scope::Session if !local => set.push(Assignment {
                name,
                value: Value::Literal(value),
            }),
            Scope::Session | Scope::Transaction => {}
        }
        tokens = match rest {
            [] => break,
            [as_word, alias, rest @ ..] if as_word.is_word("as") && is_name(alias) => rest,
            rest => rest,
        };
        tokens = match tokens {
            [] => break,
            [comma, rest @ ..] if comma.is_punct(b',') => rest,
            _ => return Effect::Unknown,
        };
    }
    if set.is_empty() {
        Effect::None
    } else {
        Effect::Set(set)
    }
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

/// What is bound to the parameter `$n`.
fn parameter<'b>(token: &Token<'_>, bound: &'b [Bound]) -> Option<&'b Bound> {
    let number = std::str::from_utf8(token.text.get(1..)?).ok()?;
    bound.get(number.parse::<usize>().ok()?.checked_sub(1)?)
}

/// The value of a string literal without escapes, or of a parameter.
fn plain_text(token: &Token<'_>, bound: &[Bound]) -> Option<String> {
    if token.kind == Kind::Param {
        let text = parameter(token, bound)?.value.as_deref()?;
        let plain = text.is_ascii() && !text.contains(&0);
        return plain.then(|| String::from_utf8_lossy(text).into_owned());
    }
    if token.kind != Kind::Text {
        return None;
    }
    let inner = token.text.strip_prefix(b"'")?.strip_suffix(b"'")?;
    // Doubled quotes only: a single one is where two literals on two lines were joined.
    let text = std::str::from_utf8(inner).ok()?.replace("''", "\0");
    let plain = text.is_ascii() && !text.contains('\'');
    plain.then(|| text.replace('\0', "'"))
}

/// A boolean literal, or a parameter.
fn truth(token: &Token<'_>, bound: &[Bound]) -> Option<bool> {
    if token.kind == Kind::Param
        && let Some(Bound {
            value,
            binary: true,
        }) = parameter(token, bound)
    {
        return match value.as_deref()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        };
    }
    let text = match token.kind {
        Kind::Word => String::from_utf8_lossy(token.text).into_owned(),
        _ => plain_text(token, bound)?,
    };
    match (token.kind, text.to_ascii_lowercase().as_str()) {
        (_, "true") => Some(true),
        (_, "false") => Some(false),
        (Kind::Word, _) => None,
        (_, "t" | "on" | "yes" | "1") => Some(true),
        (_, "f" | "off" | "no" | "0") => Some(false),
        _ => None,
    }
}
