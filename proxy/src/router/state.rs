//! Finds session state that a statement leaves behind in its server connection.
//!
//! Works on tokens, so that it holds for every statement, also for those that don't parse. Errs
//! towards pinning. Whether sequence state (`currval`, `lastval`) pins is the session's business:
//! most applications never ask for it. What CALL, DO or a function's body does can't be seen here.

use super::lexer::{Kind, Token};
use super::pins::{PinReason, PinSet};
use super::route::SequenceUse;

/// Functions that leave state behind. `set_config` does unless told that it is local.
const CALLS: [(&[u8], PinReason); 13] = [
    (b"set_config", PinReason::Set),
    (b"setseed", PinReason::Seed),
    (b"pg_advisory_lock", PinReason::AdvisoryLock),
    (b"pg_advisory_lock_shared", PinReason::AdvisoryLock),
    (b"pg_try_advisory_lock", PinReason::AdvisoryLock),
    (b"pg_try_advisory_lock_shared", PinReason::AdvisoryLock),
    (b"dblink_connect", PinReason::UnknownState),
    (b"dblink_connect_u", PinReason::UnknownState),
    (
        b"pg_create_logical_replication_slot",
        PinReason::UnknownState,
    ),
    (
        b"pg_create_physical_replication_slot",
        PinReason::UnknownState,
    ),
    (b"pg_copy_logical_replication_slot", PinReason::UnknownState),
    (
        b"pg_copy_physical_replication_slot",
        PinReason::UnknownState,
    ),
    (
        b"pg_replication_origin_session_setup",
        PinReason::UnknownState,
    ),
];

/// What calling the function `name` leaves behind; letter case is not looked at.
pub(super) fn call(name: &[u8]) -> Option<PinReason> {
    // Nearly all names fall here.
    if !matches!(name.first(), Some(b's' | b'S' | b'p' | b'P' | b'd' | b'D')) || name.len() < 7 {
        return None;
    }
    CALLS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, pin)| *pin)
}

/// What the one statement in `tokens` leaves behind.
pub(super) fn pins(tokens: &[Token<'_>]) -> PinSet {
    let of = |reason: Option<PinReason>| reason.map_or(PinSet::NONE, PinSet::of);
    // What EXPLAIN ANALYZE explains, it does.
    let explained = tokens.first().is_some_and(|first| first.is_word("explain"));
    let begins = |token: &Token<'_>| ["create", "declare"].iter().any(|word| token.is_word(word));
    let start = tokens.iter().position(|token| explained && begins(token));
    of(command(
        tokens.get(start.unwrap_or(0)..).unwrap_or_default(),
    ))
    .and(calls(tokens))
    .and(of(into_temp(tokens)))
}

/// What calling the function `name` does with the session's sequences; letter case is not looked
/// at.
fn sequence_call(name: &[u8]) -> SequenceUse {
    let is = |words: [&[u8]; 2]| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    match name.len() {
        6 | 7 if is([b"nextval", b"setval"]) => SequenceUse::Makes,
        7 if is([b"currval", b"lastval"]) => SequenceUse::Reads,
        _ => SequenceUse::None,
    }
}

/// What the one statement in `tokens` does with the session's sequences. What is defined in a
/// string, as a function's body is, may run later.
pub(super) fn sequence(tokens: &[Token<'_>]) -> SequenceUse {
    let defines = tokens.first().is_some_and(|first| {
        ["create", "do", "alter"]
            .iter()
            .any(|word| first.is_word(word))
    });
    let mut found = SequenceUse::None;
    for (at, token) in tokens.iter().enumerate() {
        let called = || tokens.get(at + 1).is_some_and(|next| next.is_punct(b'('));
        found = found.max(match token.kind {
            Kind::Word | Kind::Quoted if called() => sequence_call(token.text),
            Kind::Text if defines && mentions_reading(token.text) => SequenceUse::Reads,
            _ => SequenceUse::None,
        });
    }
    found
}

fn mentions_reading(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    [&b"currval"[..], b"lastval"]
        .iter()
        .any(|name| memchr::memmem::find(&text, name).is_some())
}

/// Whether calling the function `name` may matter to the session.
pub(super) fn matters(name: &[u8]) -> bool {
    call(name).is_some() || sequence_call(name) != SequenceUse::None || gives_back(name)
}

/// Whether calling the function `name` may give locks back, or take none though it says so.
fn gives_back(name: &[u8]) -> bool {
    [&b"pg_advisory_unlock"[..], b"pg_try_advisory_lock"]
        .iter()
        .any(|prefix| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
}

/// Whether the one statement in `tokens` may give state back, or may make none though it says so.
pub(super) fn releases(tokens: &[Token<'_>]) -> bool {
    const COMMANDS: [&str; 5] = ["unlisten", "drop", "close", "deallocate", "discard"];
    let Some(first) = tokens.first() else {
        return false;
    };
    COMMANDS.iter().any(|word| first.is_word(word))
        || tokens
            .windows(2)
            .any(|pair| pair[1].is_punct(b'(') && gives_back(pair[0].text))
}

/// State made by the command itself.
fn command(tokens: &[Token<'_>]) -> Option<PinReason> {
    let (first, rest) = tokens.split_first()?;
    if first.kind != Kind::Word {
        return None;
    }
    let next_is = |word: &str| rest.first().is_some_and(|token| token.is_word(word));
    let pin = match first.text.to_ascii_lowercase().as_slice() {
        // A setting's name may begin with these words, too.
        b"set"
            if ["local", "transaction", "constraints"]
                .iter()
                .any(|word| next_is(word))
                && !rest.get(1).is_some_and(|token| token.is_punct(b'.')) =>
        {
            return None;
        }
        b"set" | b"reset" => PinReason::Set,
        b"listen" => PinReason::Listen,
        b"load" => PinReason::Load,
        b"prepare" if next_is("transaction") => return None,
        b"prepare" => PinReason::Prepare,
        b"declare" if has_pair(rest, "with", "hold") => PinReason::HoldCursor,
        b"create" if creates_temp(rest) => PinReason::TempTable,
        _ => return None,
    };
    Some(pin)
}

fn has_pair(tokens: &[Token<'_>], first: &str, second: &str) -> bool {
    tokens
        .windows(2)
        .any(|pair| pair[0].is_word(first) && pair[1].is_word(second))
}

/// CREATE [OR REPLACE] [GLOBAL | LOCAL] TEMP ..., or anything named `pg_temp.x`.
fn creates_temp(tokens: &[Token<'_>]) -> bool {
    let prefixes = ["or", "replace", "global", "local"];
    let kind = tokens
        .iter()
        .find(|token| !prefixes.iter().any(|word| token.is_word(word)));
    kind.is_some_and(is_temp) || names_temp(tokens)
}

fn is_temp(token: &Token<'_>) -> bool {
    token.is_word("temp") || token.is_word("temporary")
}

/// Whether a name is qualified with the session's own schema, or with one that can't be read.
fn names_temp(tokens: &[Token<'_>]) -> bool {
    tokens.windows(2).any(|pair| {
        let name = pair[0].text.get(..7).unwrap_or_default();
        let temp = match pair[0].kind {
            Kind::Word | Kind::Quoted => name.eq_ignore_ascii_case(b"pg_temp"),
            Kind::UnicodeQuoted => true,
            Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct | Kind::Bad => {
                false
            }
        };
        temp && pair[1].is_punct(b'.')
    })
}

/// SELECT ... INTO TEMP t.
fn into_temp(tokens: &[Token<'_>]) -> Option<PinReason> {
    let into = tokens.iter().position(|token| token.is_word("into"))?;
    if tokens
        .first()
        .is_some_and(|first| first.is_word("insert") || first.is_word("merge"))
    {
        return None;
    }
    let target = tokens.get(into + 1..)?;
    let temp = target.iter().take(2).any(is_temp) || names_temp(target.get(..2)?);
    temp.then_some(PinReason::TempTable)
}

/// State made by calling functions, anywhere.
fn calls(tokens: &[Token<'_>]) -> PinSet {
    let mut pins = PinSet::NONE;
    for (at, pair) in tokens.windows(2).enumerate() {
        if !pair[1].is_punct(b'(') {
            continue;
        }
        let found = match pair[0].kind {
            Kind::Word | Kind::Quoted => call(pair[0].text),
            // Its escapes can spell any name.
            Kind::UnicodeQuoted => Some(PinReason::UnknownState),
            Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct | Kind::Bad => {
                None
            }
        };
        match found {
            Some(PinReason::Set) if is_local(tokens.get(at + 2..).unwrap_or_default()) => {}
            Some(found) => pins = pins.and(found.into()),
            None => {}
        }
    }
    pins
}

/// How far the end of a call is looked for: calls in calls would be read again and again.
const MAX_ARGUMENTS: usize = 256;

/// Whether the last argument of the call whose arguments begin `tokens` is the word `true`.
fn is_local(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().take(MAX_ARGUMENTS) {
        if token.is_punct(b'(') {
            depth += 1;
        } else if token.is_punct(b')') {
            if depth == 0 {
                let last = tokens.get(at.saturating_sub(2)..at).unwrap_or_default();
                return matches!(last, [comma, yes] if comma.is_punct(b',') && yes.is_word("true"));
            }
            depth -= 1;
        }
    }
    false
}
