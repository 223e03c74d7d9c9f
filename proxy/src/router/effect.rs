//! What statements do to the settings that a session carries from one server connection to the
//! next, and to the savepoints that may take it back.
//!
//! The router's decision only says that there is such an effect, for decisions are remembered by
//! shape and shapes have no values. Here the values are read, from the one text that has them.
//! What is not plain is [`Effect::Unknown`]. Must not know sessions or connections.

use std::ops::Range;

use super::Quoting;
use super::assignment::{
    Assignment, Bound, Effect, Scope, Value, canonical, characteristics, kind, set_config,
};
use super::classify;
use super::lexer::{Kind, Lexer, Token};
use super::pins::PinReason;
use super::route::{Decision, Discard, Reason, TransactionEffect};
use super::state;

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
    let (tokens, ends) = lex(sql);
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

/// Where each of the statements is whose effects [`effects`] gives: from the end of what is before it
/// to its own.
#[must_use]
pub fn places(sql: &[u8]) -> Vec<Range<usize>> {
    let (tokens, ends) = lex(sql);
    let end = |at: Option<usize>| at.map_or(0, |at| ends[at]);
    let place =
        |range: Range<usize>| end(range.start.checked_sub(1))..end(range.end.checked_sub(1));
    classify::split(&tokens).into_iter().map(place).collect()
}

/// The tokens, and where each of them ends.
fn lex(sql: &[u8]) -> (Vec<Token<'_>>, Vec<usize>) {
    let mut lexer = Lexer::new(sql, 0);
    let (mut tokens, mut ends) = (Vec::new(), Vec::new());
    while let Some(token) = lexer.next() {
        tokens.push(token);
        ends.push(lexer.position());
    }
    (tokens, ends)
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
            return elsewhere(tokens);
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
        // Another connection may read other characters in another encoding, and a backslash by another
        // rule.
        let plain = text.is_ascii() && !text.contains(&b'\\');
        plain.then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// SET, from behind that word.
    fn set(&self, mut start: usize, end: usize) -> Effect {
        // A setting's name may begin with any word: `local.x`.
        let at = |index: usize, word: &str| {
            index < end
                && self.tokens.get(index).is_some_and(|t| t.is_word(word))
                && !self.tokens.get(index + 1).is_some_and(|t| t.is_punct(b'.'))
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

/// The setting that a SET names, and what stands behind TO or in its place.
fn target<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(String, &'t [Token<'a>])> {
    let words = |words: &[&str]| {
        tokens.len() >= words.len()
            && tokens.iter().zip(words).all(|(t, w)| t.is_word(w))
            && !tokens.get(words.len()).is_some_and(|t| t.is_punct(b'.'))
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

/// A name of at most 63 bytes, as which PostgreSQL knows a longer one.
fn cut(mut name: String) -> Option<String> {
    const LONGEST: usize = 63;
    if name.len() > LONGEST {
        if !name.is_ascii() {
            return None;
        }
        name.truncate(LONGEST);
    }
    Some(name)
}

/// A savepoint's name, as PostgreSQL holds it.
fn named(tokens: &[Token<'_>], effect: impl FnOnce(String) -> Effect) -> Effect {
    match tokens {
        [name] => match (name.kind, std::str::from_utf8(name.text)) {
            (Kind::Word, Ok(text)) => {
                cut(text.to_ascii_lowercase()).map_or(Effect::Unknown, effect)
            }
            (Kind::Quoted, Ok(text)) => {
                cut(text.replace("\"\"", "\"")).map_or(Effect::Unknown, effect)
            }
            _ => Effect::Unknown,
        },
        _ => Effect::Unknown,
    }
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
