//! Views, tables with row security, domains and functions in SQL, followed to what they call.

use std::collections::HashSet;
use std::sync::Arc;

use super::catalog::{Catalog, Constraint, Facts, Qualified, Relation};
use super::classify;
use super::functions::Builtins;
use super::hint::Hint;
use super::knowledge::Knowledge;
use super::overrides::Overrides;
use super::route::{Decision, Reason, Target};

/// Definitions upon definitions are followed so far; all are read again for each step.
const DEPTH: usize = 16;

/// Judges what a database's catalog holds. A relation is safe once all that its definitions name is; what
/// is never found to be is not. A function in SQL that is declared to be safe is believed until its body
/// shows something else.
#[must_use]
pub fn read(facts: &Facts, overrides: &Arc<Overrides>) -> Catalog {
    let builtins = Builtins::new();
    let mut not_safe = HashSet::new();
    for _ in 0..DEPTH {
        let (catalog, domains) = settle(facts, overrides, &builtins, &not_safe);
        let knowledge = Knowledge::new(&builtins, Some(&catalog));
        let before = not_safe.len();
        // What is handed to a function, and what it gives, is held against its type's constraints.
        let domains: HashSet<i64> = domains.iter().map(|domain| domain.number).collect();
        let handed = facts.unseen_of_functions.iter();
        let checked = handed.filter(|(_, number)| domains.contains(number));
        not_safe.extend(checked.map(|(function, _)| function));
        let believed = facts.bodies.iter();
        let others = believed.filter(|(_, body)| shows_other(&knowledge, body));
        not_safe.extend(others.map(|(function, _)| function));
        if not_safe.len() == before {
            return catalog;
        }
    }
    not_safe.extend(facts.bodies.iter().map(|(function, _)| function));
    not_safe.extend(
        facts
            .unseen_of_functions
            .iter()
            .map(|(function, _)| function),
    );
    settle(facts, overrides, &builtins, &not_safe).0
}

/// Judges everything but functions' bodies: of those that are declared to be safe, these are not. Beside that,
/// the constraints that are not safe.
fn settle<'f>(
    facts: &'f Facts,
    overrides: &Arc<Overrides>,
    builtins: &Builtins,
    not_safe: &HashSet<&Qualified>,
) -> (Catalog, Vec<&'f Constraint>) {
    let mut catalog = Catalog::new(facts, Arc::clone(overrides), not_safe);
    let mut doubtful: Vec<&Relation> = facts.relations.iter().collect();
    let mut domains: Vec<&Constraint> = facts.constraints.iter().collect();
    for _ in 0..DEPTH {
        let knowledge = Knowledge::new(builtins, Some(&catalog));
        let before = (doubtful.len(), domains.len());
        doubtful.retain(|relation| {
            let query = relation.query.as_ref();
            !query.is_some_and(|query| is_safe(&knowledge, query))
        });
        domains.retain(|domain| !is_safe(&knowledge, &domain.query));
        if before == (doubtful.len(), domains.len()) {
            break;
        }
        catalog.set_unsafe(doubtful.iter().copied());
        catalog.set_unsafe_types(domains.iter().copied());
    }
    (catalog, domains)
}

fn is_safe(knowledge: &Knowledge<'_>, query: &str) -> bool {
    let decision = classify::classify(knowledge, query.as_bytes(), 0, Hint::None);
    decision.target == Target::Replica && decision.reason == Reason::ReadOnlySelect
}

/// Whether the body of a function that is declared to be safe does what is not. What is only not understood, or
/// tells of the server or the session, is its owner's to know.
fn shows_other(knowledge: &Knowledge<'_>, body: &str) -> bool {
    let all = classify::body(knowledge, body.as_bytes());
    let other = |decision: &Decision| match decision.reason {
        Reason::Write
        | Reason::Ddl
        | Reason::Lock
        | Reason::WriteFunction
        | Reason::UnknownFunction
        | Reason::UnknownOperator
        | Reason::Relation
        | Reason::SessionState
        | Reason::Transaction
        | Reason::Procedure => true,
        Reason::ReadOnlySelect
        | Reason::Show
        | Reason::Empty
        | Reason::ReadOnlyTransaction
        | Reason::Hint
        | Reason::UnknownType
        | Reason::Refused
        | Reason::ServerState
        | Reason::Serializable
        | Reason::SeveralStatements
        | Reason::DoesNotParse
        | Reason::TooLong
        | Reason::Quoting
        | Reason::Position
        | Reason::Local => false,
    };
    all.iter().any(other)
}

#[cfg(test)]
mod tests;
