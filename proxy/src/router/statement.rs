//! Decides by a statement's first words: everything that is not a query.
//!
//! One table from the leading keyword to the decision. Must not parse queries: where a command
//! holds one (EXPLAIN, COPY, DECLARE) it is found here and judged by `classify`.

use super::hint::leading;
use super::lexer::{Kind, Lexer, Token};
use super::route::{Command, Decision, Discard, Local, LocalCommand, Reason, TransactionEffect};

/// What the first words make of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head<'t, 'a> {
    /// Decided.
    Decided(Decision),
    /// A query to be judged.
    Query(&'t [Token<'a>]),
    /// A command that reads what the query reads, and counts as [`Command::Other`].
    Wrapped(&'t [Token<'a>]),
    /// DECLARE of a cursor for the query.
    Cursor(&'t [Token<'a>]),
    /// COPY of this relation to the client.
    CopyOut(&'t [Token<'a>]),
    /// SHOW of the setting with this name.
    Show(&'t [Token<'a>]),
}

const fn transaction(effect: TransactionEffect) -> Decision {
    Decision {
        transaction: effect,
        ..Decision::quiet(Reason::Transaction, Command::Other)
    }
}

const fn discard(discard: Discard) -> Decision {
    Decision {
        discard,
        ..Decision::quiet(Reason::SessionState, Command::Other)
    }
}

const SESSION: Decision = Decision::quiet(Reason::SessionState, Command::Other);

/// Reads the head of the one statement in `tokens`.
pub(super) fn head<'t, 'a>(tokens: &'t [Token<'a>]) -> Head<'t, 'a> {
    let Some((first, rest)) = tokens.split_first() else {
        return Head::Decided(Decision::replica(Reason::Empty, Command::Other));
    };
    if first.is_punct(b'(') {
        return Head::Query(tokens);
    }
    if first.kind != Kind::Word {
        return Head::Decided(Decision::primary(Reason::DoesNotParse, Command::Other));
    }
    let second = |word: &str| rest.first().is_some_and(|token| token.is_word(word));
    let decision = match first.text.to_ascii_lowercase().as_slice() {
        b"select" | b"values" | b"table" | b"with" => return Head::Query(tokens),
        b"explain" => return explain(rest),
        b"copy" => return copy(rest),
        b"declare" => return declare(rest),
        b"show" => return show(rest),
        b"insert" => Decision::primary(Reason::Write, Command::Insert),
        b"update" => Decision::primary(Reason::Write, Command::Update),
        b"delete" => Decision::primary(Reason::Write, Command::Delete),
        b"merge" | b"notify" => Decision::primary(Reason::Write, Command::Other),
        b"create" | b"alter" | b"drop" | b"truncate" | b"comment" | b"grant" | b"revoke"
        | b"refresh" | b"reindex" | b"security" | b"reassign" | b"import" | b"cluster"
        | b"vacuum" | b"analyze" | b"analyse" | b"checkpoint" => {
            Decision::primary(Reason::Ddl, Command::Ddl)
        }
        b"lock" => Decision::primary(Reason::Lock, Command::Other),
        b"call" | b"do" => Decision::primary(Reason::Procedure, Command::Other),
        b"execute" => Decision::primary(Reason::SessionState, Command::Other),
        b"begin" | b"start" => begin(rest),
        b"commit" | b"rollback" if second("prepared") => {
            Decision::primary(Reason::Transaction, Command::Other)
        }
        b"commit" | b"end" => end(
            rest,
            TransactionEffect::Commit,
            TransactionEffect::CommitAndChain,
        ),
        b"rollback" if names_savepoint(rest) => transaction(TransactionEffect::RollbackTo),
        b"rollback" | b"abort" => end(
            rest,
            TransactionEffect::Rollback,
            TransactionEffect::RollbackAndChain,
        ),
        b"savepoint" => transaction(TransactionEffect::Savepoint),
        b"release" => transaction(TransactionEffect::Release),
        b"prepare" if second("transaction") => Decision {
            transaction: TransactionEffect::PrepareTransaction,
            ..Decision::primary(Reason::Transaction, Command::Other)
        },
        b"set" if second("transaction") && !rest.get(1).is_some_and(|t| t.is_punct(b'.')) => {
            set_transaction(rest)
        }
        b"discard" if second("all") => discard(Discard::All),
        b"deallocate" => discard(Discard::Statements),
        b"set" | b"reset" | b"listen" | b"unlisten" | b"load" | b"prepare" | b"discard"
        | b"fetch" | b"move" | b"close" => SESSION,
        _ => Decision::primary(Reason::DoesNotParse, Command::Other),
    };
    Head::Decided(decision)
}

/// The modes that follow BEGIN, START TRANSACTION and SET TRANSACTION.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Default,
    ReadOnly,
    ReadWrite,
    Serializable,
}

/// Whether these are names, values and commas only, which can neither hide nor do anything.
fn is_list(tokens: &[Token<'_>]) -> bool {
    tokens.iter().all(|token| match token.kind {
        Kind::Word | Kind::Quoted | Kind::Number | Kind::Text => true,
        Kind::Punct => token.is_punct(b','),
        Kind::Operator => matches!(token.text, b"-" | b"+" | b"*"),
        Kind::UnicodeQuoted | Kind::Param | Kind::Bad => false,
    })
}

/// Of several modes SERIALIZABLE decides, else the last access mode.
fn mode(tokens: &[Token<'_>]) -> Mode {
    let mut mode = Mode::Default;
    if !is_list(tokens) {
        return mode;
    }
    for (at, token) in tokens.iter().enumerate() {
        let next = |word: &str| tokens.get(at + 1).is_some_and(|next| next.is_word(word));
        if token.is_word("serializable") {
            return Mode::Serializable;
        }
        if token.is_word("read") && next("only") {
            mode = Mode::ReadOnly;
        } else if token.is_word("read") && next("write") {
            mode = Mode::ReadWrite;
        }
    }
    mode
}

/// A read-only transaction, which any node may run.
const fn read_only(effect: TransactionEffect) -> Decision {
    Decision {
        transaction: effect,
        ..Decision::replica(Reason::ReadOnlyTransaction, Command::Other)
    }
}

const fn serializable(effect: TransactionEffect) -> Decision {
    Decision {
        reason: Reason::Serializable,
        ..transaction(effect)
    }
}

fn begin(tokens: &[Token<'_>]) -> Decision {
    match mode(tokens) {
        Mode::Default => transaction(TransactionEffect::Begin),
        Mode::ReadWrite => transaction(TransactionEffect::BeginReadWrite),
        Mode::ReadOnly => read_only(TransactionEffect::BeginReadOnly),
        Mode::Serializable => serializable(TransactionEffect::BeginSerializable),
    }
}

fn set_transaction(tokens: &[Token<'_>]) -> Decision {
    match mode(tokens) {
        Mode::Default => transaction(TransactionEffect::None),
        Mode::ReadWrite => transaction(TransactionEffect::SetReadWrite),
        Mode::ReadOnly => read_only(TransactionEffect::SetReadOnly),
        Mode::Serializable => serializable(TransactionEffect::SetSerializable),
    }
}

/// COMMIT or ROLLBACK, with AND CHAIN or without.
fn end(tokens: &[Token<'_>], plain: TransactionEffect, chain: TransactionEffect) -> Decision {
    let chains = matches!(tokens, [.., and, word] if and.is_word("and") && word.is_word("chain"));
    transaction(if chains { chain } else { plain })
}

/// ROLLBACK [WORK | TRANSACTION] TO.
fn names_savepoint(tokens: &[Token<'_>]) -> bool {
    tokens.iter().take(2).any(|token| token.is_word("to"))
}

/// The tokens behind EXPLAIN. Only a query inside can be read elsewhere: plans of writes are
/// left to the primary, and EXPLAIN ANALYZE of a write is one.
fn explain<'t, 'a>(mut tokens: &'t [Token<'a>]) -> Head<'t, 'a> {
    if let [open, route, close, _, ..] = tokens
        && open.is_punct(b'(')
        && route.is_word("route")
        && close.is_punct(b')')
    {
        return own(Local::Route);
    }
    if let [open, option, ..] = tokens
        && open.is_punct(b'(')
        && option.kind == Kind::Word
        && !begins_query(option)
    {
        let close = tokens.iter().position(|token| token.is_punct(b')'));
        let close = close.filter(|close| tokens.get(1..*close).is_some_and(is_list));
        tokens = close
            .and_then(|close| tokens.get(close + 1..))
            .unwrap_or_default();
    } else {
        let words = ["analyze", "analyse", "verbose"];
        while let [first, rest @ ..] = tokens
            && words.iter().any(|word| first.is_word(word))
        {
            tokens = rest;
        }
    }
    match tokens {
        [first, ..] if begins_query(first) => Head::Wrapped(tokens),
        _ => Head::Decided(Decision::primary(Reason::Write, Command::Other)),
    }
}

fn begins_query(token: &Token<'_>) -> bool {
    token.is_punct(b'(')
        || ["select", "with", "values", "table"]
            .iter()
            .any(|word| token.is_word(word))
}

/// The tokens behind COPY: of interest are `(query) TO STDOUT` and `relation [(columns)] TO
/// STDOUT`. Whatever reads from a client, or touches files or programs, is a write.
fn copy<'t, 'a>(tokens: &'t [Token<'a>]) -> Head<'t, 'a> {
    let write = Head::Decided(Decision::primary(Reason::Write, Command::Other));
    let source = source_length(tokens);
    let (Some(source), Some([to, stdout, options @ ..])) =
        (tokens.get(..source), tokens.get(source..))
    else {
        return write;
    };
    if !to.is_word("to") || !stdout.is_word("stdout") || !begins_options(options) {
        return write;
    }
    match source {
        [open, query @ .., close] if open.is_punct(b'(') && close.is_punct(b')') => match query {
            [first, ..] if begins_query(first) => Head::Wrapped(query),
            _ => write,
        },
        _ => Head::CopyOut(source),
    }
}

/// Whether these can be the options behind COPY ... TO STDOUT, in the new notation or the old.
fn begins_options(tokens: &[Token<'_>]) -> bool {
    const OLD: [&str; 11] = [
        "with",
        "binary",
        "delimiter",
        "delimiters",
        "null",
        "csv",
        "header",
        "quote",
        "escape",
        "force",
        "encoding",
    ];
    let (with, new) = match tokens {
        [with, rest @ ..] if with.is_word("with") => (true, rest),
        _ => (false, tokens),
    };
    match new {
        [open, options @ .., close] if open.is_punct(b'(') && close.is_punct(b')') => {
            is_options(options)
        }
        [first, ..] => (with || OLD.iter().any(|word| first.is_word(word))) && is_list(new),
        [] => true,
    }
}

/// Options and their values, of which only those that begin with FORCE may be lists in brackets.
fn is_options(mut tokens: &[Token<'_>]) -> bool {
    while let Some(open) = tokens.iter().position(|token| token.is_punct(b'(')) {
        let (before, list) = tokens.split_at(open);
        let forces = before.last().is_some_and(|name| {
            let start = name.text.get(..6).unwrap_or_default();
            name.kind == Kind::Word && start.eq_ignore_ascii_case(b"force_")
        });
        let Some(close) = list.iter().position(|token| token.is_punct(b')')) else {
            return false;
        };
        if !forces || !is_list(before) || !list.get(1..close).is_some_and(is_list) {
            return false;
        }
        tokens = list.get(close + 1..).unwrap_or_default();
    }
    is_list(tokens)
}

/// How many tokens come before the first TO that is outside brackets.
fn source_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_punct(b'(') {
            depth += 1;
        } else if token.is_punct(b')') {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.is_word("to") {
            return at;
        }
    }
    tokens.len()
}

/// The tokens behind DECLARE: the query stands behind CURSOR ... FOR.
fn declare<'t, 'a>(tokens: &'t [Token<'a>]) -> Head<'t, 'a> {
    let query = tokens
        .iter()
        .position(|token| token.is_word("for"))
        .filter(|at| tokens.get(..*at).is_some_and(is_list))
        .and_then(|at| tokens.get(at + 1..))
        .filter(|query| query.first().is_some_and(begins_query));
    match query {
        Some(query) => Head::Cursor(query),
        None => Head::Decided(Decision::primary(Reason::DoesNotParse, Command::Other)),
    }
}

/// Whether the text asks for a WAL position to hand on.
#[must_use]
pub fn asks_position(sql: &[u8]) -> bool {
    const LONGEST: usize = 1024;
    let at = leading(sql).0;
    let begins = |text: &[u8]| {
        text.get(..4)
            .is_some_and(|w| w.eq_ignore_ascii_case(b"show"))
    };
    if sql.len() > LONGEST || !begins(sql.get(at..).unwrap_or_default()) {
        return false;
    }
    let tokens: Vec<Token<'_>> = Lexer::new(sql, at).collect();
    let end = tokens.iter().position(|token| token.is_punct(b';'));
    let one = tokens
        .get(..end.unwrap_or(tokens.len()))
        .unwrap_or_default();
    matches!(head(one), Head::Decided(decision) if decision.reason == Reason::Position)
}

/// The tokens behind SHOW.
fn show<'t, 'a>(tokens: &'t [Token<'a>]) -> Head<'t, 'a> {
    let local = match tokens {
        [name] if name.is_word("pool_nodes") => LocalCommand::PoolNodes,
        [name] if name.is_word("pool_version") => LocalCommand::PoolVersion,
        [name] if name.is_word("pool_backend_stats") => LocalCommand::PoolBackendStats,
        [route, next, ..] if route.is_word("route") && !next.is_punct(b'.') => {
            return own(Local::Route);
        }
        [own, point, name]
            if own.is_word("pgconvoy") && point.is_punct(b'.') && name.is_word("position") =>
        {
            return Head::Decided(Decision::quiet(Reason::Position, Command::Other));
        }
        _ => return Head::Show(tokens),
    };
    own(Local::Show(local))
}

fn own<'t, 'a>(local: Local) -> Head<'t, 'a> {
    Head::Decided(Decision {
        local: Some(local),
        ..Decision::replica(Reason::Local, Command::Other)
    })
}
