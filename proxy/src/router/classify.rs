//! Classifies a text by its shape: splits it into statements, reads their heads, and judges
//! queries by their tokens and by their tree.
//!
//! Both judgements must agree that a query is safe. The tokens can't be fooled by a parser that
//! sees another dialect's clause where PostgreSQL sees a call; the tree can't be fooled by words
//! in unusual places. Views, user casts and operators, and `row.function` notation are seen only
//! by a database's catalog. Must not know caches, hashes or literal values.

use std::ops::Range;

use super::finding::Finding;
use super::fingerprint::Shape;
use super::hint::Hint;
use super::knowledge::Knowledge;
use super::lexer::{Kind, Token};
use super::parse::{self, Failure};
use super::route::{Command, Decision, Discard, Reason, Target, TransactionEffect};
use super::simplify::simplify;
use super::state;
use super::statement::{self, Head};
use super::suspicion;
use super::tables::Tables;
use super::walk;

/// Classifies what begins at byte `at` of `sql`.
pub(super) fn classify(knowledge: &Knowledge<'_>, sql: &[u8], at: usize, hint: Hint) -> Decision {
    let tokens: Vec<Token<'_>> = Shape::new(sql, at).collect();
    if tokens.last().is_some_and(|token| token.kind == Kind::Bad) {
        // The server scans the whole text before it runs any of it, so nothing of it will run.
        return Decision::primary(Reason::DoesNotParse, Command::Other);
    }
    let statements: Vec<&[Token<'_>]> = split(&tokens)
        .into_iter()
        .filter_map(|range| tokens.get(range))
        .collect();
    match statements.as_slice() {
        [] => Decision::replica(Reason::Empty, Command::Other),
        [one] => obey(hint, statement(knowledge, one)),
        [first, rest @ ..] => rest
            .iter()
            .map(|tokens| statement(knowledge, tokens))
            .fold(several(statement(knowledge, first)), together),
    }
}

/// What is found in each statement of the body of a function in SQL.
pub(super) fn body(knowledge: &Knowledge<'_>, sql: &[u8]) -> Vec<Decision> {
    let tokens: Vec<Token<'_>> = Shape::new(sql, 0).collect();
    if tokens.last().is_some_and(|token| token.kind == Kind::Bad) {
        return vec![Decision::primary(Reason::DoesNotParse, Command::Other)];
    }
    let statements = split(&tokens)
        .into_iter()
        .filter_map(|range| tokens.get(range));
    statements
        .map(|tokens| statement(knowledge, tokens))
        .collect()
}

/// Splits at the semicolons that end statements: not those in brackets (CREATE RULE) nor in the
/// body of a BEGIN ATOMIC function. Empty statements are left out.
pub(super) fn split(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let (mut start, mut brackets, mut blocks) = (0, 0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        if token.is_punct(b'(') {
            brackets += 1;
        } else if token.is_punct(b')') {
            brackets = brackets.saturating_sub(1);
        } else if token.is_word("atomic") && at > start && tokens[at - 1].is_word("begin") {
            blocks += usize::from(tokens[start].is_word("create"));
        } else if token.is_word("case") && blocks > 0 {
            blocks += 1;
        } else if token.is_word("end") {
            blocks = blocks.saturating_sub(1);
        } else if token.is_punct(b';') && brackets == 0 && blocks == 0 {
            statements.push(start..at);
            start = at + 1;
        }
    }
    statements.push(start..tokens.len());
    statements.retain(|range| !range.is_empty());
    statements
}

/// The first of several statements: they go to the primary as a whole.
fn several(decision: Decision) -> Decision {
    Decision {
        target: Target::Primary,
        reason: Reason::SeveralStatements,
        local: None,
        ..decision
    }
}

/// Adds what the next of several statements does.
fn together(all: Decision, next: Decision) -> Decision {
    Decision {
        writes: all.writes || next.writes,
        command: if next.command == Command::Ddl {
            next.command
        } else {
            all.command
        },
        transaction: match next.transaction {
            TransactionEffect::None => all.transaction,
            effect => effect,
        },
        pins: all.pins.and(next.pins),
        sequence: all.sequence.max(next.sequence),
        releases: all.releases || next.releases,
        unseen: all.unseen || next.unseen,
        reads: all.reads.and(next.reads),
        discard: match next.discard {
            Discard::Nothing => all.discard,
            discard => discard,
        },
        ..all
    }
}

/// Lets a hint override what was found, where the grammar allows it.
pub(super) fn obey(hint: Hint, decision: Decision) -> Decision {
    match (hint, decision.target) {
        (Hint::Primary, target)
            if decision.local.is_none()
                && (target == Target::Replica
                    || decision.transaction == TransactionEffect::Begin) =>
        {
            Decision {
                target: Target::Primary,
                reason: Reason::Hint,
                ..decision
            }
        }
        (Hint::Replica, Target::Primary) if may_be_forced(&decision) => Decision {
            target: Target::Replica,
            reason: Reason::Hint,
            writes: false,
            ..decision
        },
        (Hint::None | Hint::Primary | Hint::Replica, _) => decision,
    }
}

/// Whether a hint may send this to a replica: what is only not known to be safe, not what is
/// known to write, lock or leave state behind.
fn may_be_forced(decision: &Decision) -> bool {
    let doubtful = matches!(
        decision.reason,
        Reason::UnknownFunction
            | Reason::UnknownOperator
            | Reason::UnknownType
            | Reason::Relation
            | Reason::ServerState
            | Reason::TooLong
            | Reason::DoesNotParse
    );
    // An unknown first word is no query, whatever the hint.
    let query = decision.command == Command::Select;
    doubtful && query && decision.pins.is_empty()
}

/// Classifies one statement.
fn statement(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Decision {
    let pins = state::pins(tokens);
    let _of_the_one_before = (knowledge.has_trusted(), knowledge.has_called());
    let decision = match statement::head(tokens) {
        Head::Decided(decision) => decision,
        Head::Query(query) => judge(knowledge, query, main_command(query)),
        Head::Wrapped(query) => judge(knowledge, query, Command::Other),
        Head::Cursor(query) => Decision {
            transaction: TransactionEffect::Cursor,
            ..judge(knowledge, query, Command::Other)
        },
        Head::CopyOut(relation) => copy_out(knowledge, relation),
        Head::Show(name) => show(knowledge, name),
    };
    // What is only asked about does nothing.
    if decision.local.is_some() {
        return decision;
    }
    let (trusted, called) = (knowledge.has_trusted(), knowledge.has_called());
    Decision {
        // State must be made where the session will stay.
        target: if pins.is_empty() {
            decision.target
        } else {
            Target::Primary
        },
        pins,
        sequence: state::sequence(tokens),
        releases: state::releases(tokens),
        reads: if trusted || called {
            Tables::ALL
        } else {
            decision.reads
        },
        unseen: is_unseen(decision.reason) || runs_another(tokens) || trusted,
        ..decision
    }
}

/// EXPLAIN of what is no query, and EXECUTE: what they run is not looked at.
fn runs_another(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [first, rest @ ..] if first.is_word("explain") => rest.iter().any(|token| {
            ["create", "execute", "refresh"]
                .iter()
                .any(|word| token.is_word(word))
        }),
        [first, ..] => first.is_word("execute"),
        [] => false,
    }
}

/// Whether what is behind this reason runs code that was not looked at. A write's triggers and
/// defaults, too, may: only a database's own catalog tells.
fn is_unseen(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UnknownFunction
            | Reason::UnknownOperator
            | Reason::UnknownType
            | Reason::Relation
            | Reason::Procedure
            | Reason::DoesNotParse
            | Reason::TooLong
            | Reason::Ddl
    )
}

/// What a query counts as: the verb behind its CTEs.
fn main_command(tokens: &[Token<'_>]) -> Command {
    let mut depth = 0_usize;
    for token in tokens {
        if token.is_punct(b'(') {
            depth += 1;
        } else if token.is_punct(b')') {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.kind == Kind::Word {
            match token.text.to_ascii_lowercase().as_slice() {
                b"select" | b"values" | b"table" => return Command::Select,
                b"insert" => return Command::Insert,
                b"update" => return Command::Update,
                b"delete" => return Command::Delete,
                b"merge" => return Command::Other,
                _ => {}
            }
        }
    }
    Command::Select
}

/// Judges a query.
fn judge(knowledge: &Knowledge<'_>, tokens: &[Token<'_>], command: Command) -> Decision {
    let simple = simplify(tokens);
    let finding = suspicion::words(tokens)
        .max(suspicion::relations(knowledge, tokens))
        .max(suspicion::unsafe_relations(knowledge, tokens))
        .max(suspicion::attributes(knowledge, tokens))
        .max(suspicion::operators(knowledge, tokens))
        .max(suspicion::typed_literals(knowledge, &simple));
    if finding >= Finding::WriteFunction {
        return Decision::primary(finding.reason(), command);
    }
    let query = match parse::query(&simple) {
        Ok(query) => query,
        // The tokens still tell an honest reason where a call is the trouble.
        Err(failure) => {
            let finding = finding.max(suspicion::calls(knowledge, tokens, |_| false));
            let reason = match (failure, finding) {
                (_, Finding::WriteFunction) => Reason::WriteFunction,
                (Failure::TooLong, _) => Reason::TooLong,
                (Failure::DoesNotParse, _) => Reason::DoesNotParse,
            };
            return Decision::primary(reason, command);
        }
    };
    let (walked, aliases, reads) = walk::walk(&query, knowledge);
    let is_alias = |name: &Token<'_>| {
        aliases.iter().any(|alias| match name.kind {
            Kind::Word => name.text.eq_ignore_ascii_case(alias.value.as_bytes()),
            _ => name.text == alias.value.as_bytes(),
        })
    };
    match finding
        .max(walked)
        .max(suspicion::calls(knowledge, tokens, is_alias))
    {
        Finding::Safe => Decision {
            reads,
            ..Decision::replica(Reason::ReadOnlySelect, command)
        },
        finding @ (Finding::ServerState | Finding::SessionState) => {
            Decision::quiet(finding.reason(), command)
        }
        finding => Decision::primary(finding.reason(), command),
    }
}

/// Whether this is nothing, or names in brackets.
fn is_columns(tokens: &[Token<'_>]) -> bool {
    let Some((open, rest)) = tokens.split_first() else {
        return true;
    };
    let pairs = rest.as_chunks::<2>();
    let name = |token: &Token<'_>| matches!(token.kind, Kind::Word | Kind::Quoted);
    let ends = |token: &Token<'_>, last| token.is_punct(if last { b')' } else { b',' });
    open.is_punct(b'(')
        && pairs.1.is_empty()
        && !pairs.0.is_empty()
        && pairs
            .0
            .iter()
            .enumerate()
            .all(|(at, [column, end])| name(column) && ends(end, at + 1 == pairs.0.len()))
}

/// COPY of a relation to the client.
fn copy_out(knowledge: &Knowledge<'_>, relation: &[Token<'_>]) -> Decision {
    let columns = relation.iter().position(|token| token.is_punct(b'('));
    let (name, columns) = relation.split_at(columns.unwrap_or(relation.len()));
    let plain = is_columns(columns)
        && matches!(name.len(), 1 | 3)
        && name
            .iter()
            .all(|token| matches!(token.kind, Kind::Word | Kind::Quoted) || token.is_punct(b'.'));
    let finding = suspicion::relations(knowledge, name);
    match finding.max(suspicion::unsafe_relations(knowledge, name)) {
        Finding::Safe if plain => Decision::replica(Reason::ReadOnlySelect, Command::Other),
        Finding::Safe => Decision::primary(Reason::DoesNotParse, Command::Other),
        finding => Decision::primary(finding.reason(), Command::Other),
    }
}

/// SHOW of a setting.
fn show(knowledge: &Knowledge<'_>, name: &[Token<'_>]) -> Decision {
    let words = |words: &[&str]| {
        name.len() == words.len()
            && name
                .iter()
                .zip(words)
                .all(|(token, word)| token.is_word(word))
    };
    let known = words(&["time", "zone"])
        || words(&["transaction", "isolation", "level"])
        || matches!(name, [name] if knowledge.knows_setting(&name.text.to_ascii_lowercase()));
    if known {
        Decision::replica(Reason::Show, Command::Other)
    } else {
        Decision::quiet(Reason::ServerState, Command::Other)
    }
}
