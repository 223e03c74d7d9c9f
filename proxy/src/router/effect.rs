//! What statements do to the settings that a session carries from one server connection to the
//! next, and to the savepoints that may take it back.
//!
//! The router's decision only says that there is such an effect, for decisions are remembered by
//! shape and shapes have no values. Here the values are read, from the one text that has them.
//! What is not plain is [`Effect::Unknown`]. Must not know sessions or connections.

use super::Quoting;
use super::classify;
use super::lexer::{Kind, Lexer, Token};
use super::pins::PinReason;
use super::route::{Decision, Discard, Reason, TransactionEffect};
use super::state;

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

/// The longest text that is looked at: a SET has no use for more.
const MAX_TEXT: usize = 64 * 1024;

impl Decision {
    /// The effects of the statements in `sql`, on which this was decided; `None` when there are
    /// none, as nearly always.
    #[must_use]
    pub fn effects(&self, sql: &[u8], quoting: Quoting, bound: &[Bound]) -> Option<Vec<Effect>> {
        let savepoint = matches!(
            self.transaction,
            TransactionEffect::Savepoint
                | TransactionEffect::Release
                | TransactionEffect::RollbackTo
        );
        // Of several statements the last that does anything to the transaction is known.
        let several =
            self.reason == Reason::SeveralStatements && self.transaction != TransactionEffect::None;
        let any = self.pins.has(PinReason::Set)
            || self.discard != Discard::Nothing
            || savepoint
            || several;
        if !any {
            return None;
        }
        if quoting == Quoting::Unsafe && sql.contains(&b'\\') {
            return Some(vec![Effect::Unknown]);
        }
        Some(effects(sql, bound))
    }
}

/// The effects of the statements in `sql`, in order; `bound` are the values of its parameters. `sql` is read by the standard's rules of
/// quoting.
#[must_use]
pub fn effects(sql: &[u8], bound: &[Bound]) -> Vec<Effect> {
    if sql.len() > MAX_TEXT {
        return vec![Effect::Unknown];
    }
    let mut lexer = Lexer::new(sql, 0);
    let (mut tokens, mut ends) = (Vec::new(), Vec::new());
    while let Some(token) = lexer.next() {
        tokens.push(token);
        ends.push(lexer.position());
    }
    let text = Text {
        sql,
        tokens: &tokens,
        ends: &ends,
        bound,
    };
    classify::split(&tokens)
        .into_iter()
        .map(|range| text.statement(range.start, range.end))
        .collect()
}

/// A text's tokens and where each of them ends.
struct Text<'t, 'a> {
    sql: &'a [u8],
    tokens: &'t [Token<'a>],
    ends: &'t [usize],
    bound: &'t [Bound],
}

impl<'a> Text<'_, 'a> {
    fn statement(&self, start: usize, end: usize) -> Effect {
        let tokens = self.tokens.get(start..end).unwrap_or_default();
        let Some((first, rest)) = tokens.split_first() else {
            return Effect::None;
        };
        if first.kind != Kind::Word {
            return Effect::None;
        }
        match first.text.to_ascii_lowercase().as_slice() {
            b"set" => self.set(start + 1, end),
            b"reset" => reset(rest),
            b"discard" => match rest {
                [all] if all.is_word("all") => Effect::DiscardAll,
                _ => Effect::None,
            },
            b"savepoint" => named(rest, Effect::Savepoint),
            b"release" => named(skip(rest, &["savepoint"]), Effect::Release),
            b"rollback" => {
                let rest = skip(skip(rest, &["work", "transaction"]), &["to"]);
                // Only ROLLBACK TO has a name.
                match skip(rest, &["savepoint"]) {
                    [] => Effect::None,
                    [and, ..] if and.is_word("and") => Effect::None,
                    [prepared, ..] if prepared.is_word("prepared") => Effect::None,
                    name => named(name, Effect::RollbackTo),
                }
            }
            b"select" => set_config(rest, self.bound),
            b"deallocate" => deallocate(skip(rest, &["prepare"])),
            _ => elsewhere(tokens),
        }
    }

    /// The text of the tokens from `start` to `end`.
    fn clause(&self, start: usize, end: usize) -> Option<String> {
        let from = *self.ends.get(start.checked_sub(1)?)?;
        let to = *self.ends.get(end.checked_sub(1)?)?;
        let text = self.sql.get(from..to)?.trim_ascii();
        // Another connection may read other characters in another encoding.
        text.is_ascii()
            .then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// SET, from behind that word.
    fn set(&self, mut start: usize, end: usize) -> Effect {
        let at = |index: usize, word: &str| {
            index < end && self.tokens.get(index).is_some_and(|t| t.is_word(word))
        };
        if at(start, "local") || at(start, "constraints") || at(start, "transaction") {
            return Effect::None;
        }
        if at(start, "session") && at(start + 1, "characteristics") {
            let modes = self.tokens.get(start + 2..end).unwrap_or_default();
            return characteristics(modes);
        }
        if at(start, "session") && !at(start + 1, "authorization") {
            start += 1;
        }
        let tokens = self.tokens.get(start..end).unwrap_or_default();
        let Some((name, value)) = target(tokens) else {
            return Effect::Unknown;
        };
        let plainly_default = match value {
            [] => name == "client_encoding",
            [only] => only.is_word("default") || name == "timezone" && only.is_word("local"),
            _ => false,
        };
        match kind(&name) {
            Scope::Transaction => Effect::None,
            Scope::Unfollowed => Effect::Unknown,
            Scope::Session if plainly_default => Effect::Reset(name),
            Scope::Session if value.is_empty() => Effect::Unknown,
            Scope::Session => match self.clause(start, end) {
                Some(clause) => Effect::Set(vec![Assignment {
                    name,
                    value: Value::Clause(clause),
                }]),
                None => Effect::Unknown,
            },
        }
    }
}

/// How long what is set lasts.
enum Scope {
    Session,
    /// Whatever is said.
    Transaction,
    /// It can't be had again by setting it again.
    Unfollowed,
}

fn kind(name: &str) -> Scope {
    match name {
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
            Scope::Transaction
        }
        // The latter only before the first temporary table, and a connection may have had one.
        "seed" | "temp_buffers" => Scope::Unfollowed,
        _ => Scope::Session,
    }
}

/// The setting that a SET names, and what stands behind TO or in its place.
fn target<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(String, &'t [Token<'a>])> {
    let words = |words: &[&str]| {
        tokens.len() >= words.len() && tokens.iter().zip(words).all(|(t, w)| t.is_word(w))
    };
    let special = [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["xml", "option"], "xmloption"),
        (&["names"], "client_encoding"),
        (&["schema"], "search_path"),
    ];
    for (prefix, name) in special {
        if words(prefix) {
            return Some((name.to_owned(), tokens.get(prefix.len()..)?));
        }
    }
    let (name, rest) = setting(tokens)?;
    match rest {
        [to, value @ ..] if to.is_word("to") || to.kind == Kind::Operator && to.text == b"=" => {
            Some((name, value))
        }
        // SET ROLE x.
        value if name == "role" => Some((name, value)),
        _ => None,
    }
}

/// A setting's name at the front, in lower case.
fn setting<'t, 'a>(mut tokens: &'t [Token<'a>]) -> Option<(String, &'t [Token<'a>])> {
    let mut name = String::new();
    loop {
        let (part, rest) = tokens.split_first()?;
        let text = match part.kind {
            Kind::Word | Kind::Quoted => std::str::from_utf8(part.text).ok()?,
            Kind::UnicodeQuoted
            | Kind::Number
            | Kind::Text
            | Kind::Param
            | Kind::Operator
            | Kind::Punct
            | Kind::Bad => return None,
        };
        if !text.is_ascii() || text.contains('"') {
            return None;
        }
        name.push_str(&text.to_ascii_lowercase());
        match rest {
            [point, more @ ..] if point.is_punct(b'.') => {
                name.push('.');
                tokens = more;
            }
            _ => return Some((canonical(name), rest)),
        }
    }
}

/// PostgreSQL still knows two settings by old names.
fn canonical(name: String) -> String {
    match name.as_str() {
        "sort_mem" => "work_mem".to_owned(),
        "vacuum_mem" => "maintenance_work_mem".to_owned(),
        _ => name,
    }
}

/// RESET, from behind that word.
fn reset(tokens: &[Token<'_>]) -> Effect {
    let is = |words: &[&str]| {
        tokens.len() == words.len() && tokens.iter().zip(words).all(|(t, w)| t.is_word(w))
    };
    if is(&["all"]) {
        return Effect::ResetAll;
    }
    if is(&["time", "zone"]) {
        return Effect::Reset("timezone".to_owned());
    }
    if is(&["session", "authorization"]) {
        return Effect::Reset("session_authorization".to_owned());
    }
    if is(&["transaction", "isolation", "level"]) {
        return Effect::None;
    }
    match setting(tokens) {
        Some((name, [])) => match kind(&name) {
            Scope::Transaction | Scope::Unfollowed => Effect::None,
            Scope::Session => Effect::Reset(name),
        },
        Some(_) | None => Effect::Unknown,
    }
}

/// SET SESSION CHARACTERISTICS, from behind these words.
fn characteristics(tokens: &[Token<'_>]) -> Effect {
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
fn set_config(mut tokens: &[Token<'_>], bound: &[Bound]) -> Effect {
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

/// DEALLOCATE, from behind that word and PREPARE.
fn deallocate(tokens: &[Token<'_>]) -> Effect {
    match tokens {
        [all] if all.is_word("all") => Effect::Deallocate(None),
        name => named(name, |name| Effect::Deallocate(Some(name))),
    }
}

/// A statement that sets nothing by itself may call `set_config`.
fn elsewhere(tokens: &[Token<'_>]) -> Effect {
    if state::pins(tokens).has(PinReason::Set) {
        Effect::Unknown
    } else {
        Effect::None
    }
}

/// The words of the grammar that may stand in front.
fn skip<'t, 'a>(tokens: &'t [Token<'a>], words: &[&str]) -> &'t [Token<'a>] {
    match tokens {
        [first, rest @ ..] if words.iter().any(|word| first.is_word(word)) => rest,
        _ => tokens,
    }
}

/// A savepoint's name, as PostgreSQL holds it.
fn named(tokens: &[Token<'_>], effect: impl FnOnce(String) -> Effect) -> Effect {
    match tokens {
        [name] => match (name.kind, std::str::from_utf8(name.text)) {
            (Kind::Word, Ok(text)) => effect(text.to_ascii_lowercase()),
            (Kind::Quoted, Ok(text)) => effect(text.replace("\"\"", "\"")),
            _ => Effect::Unknown,
        },
        _ => Effect::Unknown,
    }
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
