//! From a text to words: what the console's parser reads. PURE.

use std::fmt;

use crate::error::Report;
use crate::protocol::sqlstate;

/// A piece of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, a plain name or a number.
    Word(String),
    /// `"a name"` or `'a text'`.
    Quoted(String),
    /// Anything else.
    Sign(char),
}

impl Token {
    /// As it was written, without quotes.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) => text,
            Self::Sign('=') => "=",
            Self::Sign(_) => "?",
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Sign(sign) => write!(f, "{sign:?}"),
        }
    }
}

/// The statements of a text, without the empty ones.
///
/// # Errors
/// A quote or a comment that does not end.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<Token>>, Report> {
    let mut all = vec![Vec::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ';' => {
                all.push(Vec::new());
                &rest[1..]
            }
            '-' if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, rest)| rest),
            '/' if rest.starts_with("/*") => comment(rest)?,
            '"' | '\'' => {
                let (token, after) = quoted(rest, first)?;
                push(&mut all, token);
                after
            }
            c if c.is_whitespace() => &rest[c.len_utf8()..],
            c if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                push(&mut all, Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
            c => {
                push(&mut all, Token::Sign(c));
                &rest[c.len_utf8()..]
            }
        };
    }
    all.retain(|statement| !statement.is_empty());
    Ok(all)
}

fn push(all: &mut [Vec<Token>], token: Token) {
    if let Some(last) = all.last_mut() {
        last.push(token);
    }
}

/// Database names may have dots and dashes; nothing else here begins with one.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '-' | '.')
}

/// What follows a comment, which may have others in it.
fn comment(text: &str) -> Result<&str, Report> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Ok(&text[at..]);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Err(unfinished("comment"))
}

/// A quoted text, in which the quote is written twice, and what follows it.
fn quoted(text: &str, quote: char) -> Result<(Token, &str), Report> {
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let Some((before, after)) = rest.split_once(quote) else {
            return Err(unfinished("quoted text"));
        };
        value.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Ok((Token::Quoted(value), after)),
        }
    }
}

fn unfinished(what: &str) -> Report {
    Report::new(
        sqlstate::SYNTAX_ERROR,
        format!("syntax error: a {what} does not end"),
    )
}
