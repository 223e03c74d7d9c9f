//! Finds the tables that a write may change. Errs towards all of them.
//!
//! Must not know who follows them, nor when a write is committed.

use super::finding::Finding;
use super::knowledge::Knowledge;
use super::lexer::{Kind, Lexer, Token};
use super::suspicion;
use super::tables::Tables;

/// Texts longer than this are not looked into for the tables that they write.
const MAX_TEXT: usize = 64 * 1024;

/// The table of that name if it is nothing else, else all.
pub(super) fn table(knowledge: &Knowledge<'_>, name: &[u8]) -> Tables {
    if knowledge.is_plain_table(name) {
        Tables::named(name)
    } else {
        Tables::ALL
    }
}

/// The tables that an INSERT, UPDATE or DELETE may change, with all that happens behind it.
pub(super) fn written(knowledge: &Knowledge<'_>, sql: &[u8]) -> Tables {
    if sql.len() > MAX_TEXT {
        return Tables::ALL;
    }
    let tokens: Vec<Token<'_>> = Lexer::new(sql, 0).collect();
    let target = match tokens.as_slice() {
        [insert, into, rest @ ..] if insert.is_word("insert") && into.is_word("into") => rest,
        [delete, from, rest @ ..] if delete.is_word("delete") && from.is_word("from") => rest,
        [update, rest @ ..] if update.is_word("update") => rest,
        _ => return Tables::ALL,
    };
    let target = match target {
        [only, rest @ ..] if only.is_word("only") => rest,
        _ => target,
    };
    let (name, rest) = match target {
        [_, point, name, rest @ ..] if point.is_punct(b'.') => (name, rest),
        [name, rest @ ..] => (name, rest),
        [] => return Tables::ALL,
    };
    let Some(known) = held(name) else {
        return Tables::ALL;
    };
    if does_more(&tokens) || calls(knowledge, rest) {
        return Tables::ALL;
    }
    table(knowledge, &known)
}

/// The name as the server holds it.
fn held(token: &Token<'_>) -> Option<Vec<u8>> {
    match token.kind {
        Kind::Word if token.text.len() < 64 => Some(token.text.to_ascii_lowercase()),
        Kind::Quoted if token.text.len() < 64 && !token.text.contains(&b'"') => {
            Some(token.text.to_vec())
        }
        Kind::Word
        | Kind::Quoted
        | Kind::UnicodeQuoted
        | Kind::Number
        | Kind::Text
        | Kind::Param
        | Kind::Operator
        | Kind::Punct
        | Kind::Bad => None,
    }
}

/// Whether there is another statement in it, or another behind it.
fn does_more(tokens: &[Token<'_>]) -> bool {
    let writes = ["insert", "update", "delete", "merge", "into"];
    let own = 2; // The first words are its own.
    let within = tokens.iter().enumerate().skip(own).any(|(at, token)| {
        let upsert = token.is_word("update") && tokens[at - 1].is_word("do");
        !upsert && writes.iter().any(|word| token.is_word(word))
    });
    let end = tokens.iter().position(|token| token.is_punct(b';'));
    let behind = end.is_some_and(|end| tokens[end..].iter().any(|t| !t.is_punct(b';')));
    within || behind || tokens.iter().any(|token| token.kind == Kind::Bad)
}

/// Whether it calls what is not built in and harmless.
fn calls(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> bool {
    let _of_the_one_before = knowledge.has_trusted();
    let is_name = |token: &Token<'_>| token.is_word("conflict") || token.is_word("set");
    let sequences = |token: &Token<'_>| {
        ["nextval", "currval", "setval"]
            .iter()
            .any(|word| token.is_word(word))
    };
    let rest: Vec<Token<'_>> = tokens.iter().filter(|t| !sequences(t)).copied().collect();
    let finding = suspicion::calls(knowledge, &rest, is_name)
        .max(suspicion::operators(knowledge, tokens))
        .max(suspicion::typed_literals(knowledge, tokens));
    finding > Finding::ServerState || knowledge.has_trusted()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::catalog::{Facts, Qualified, Runs};
    use super::super::functions::Builtins;
    use super::super::read_catalog;
    use super::*;

    #[test]
    fn plain_writes_are_of_their_table_and_everything_else_of_all() {
        let f = Qualified {
            schema: "public".into(),
            name: "f".into(),
        };
        let facts = Facts {
            functions: vec![(
                f.clone(),
                Runs {
                    function: f,
                    volatile: true,
                },
            )],
            plain: vec!["t".into(), "T x".into()],
            ..Facts::default()
        };
        let (builtins, catalog) = (Builtins::new(), read_catalog(&facts, &Arc::default()));
        let knowledge = Knowledge::new(&builtins, Some(&catalog));
        let of = |sql: &str| written(&knowledge, sql.as_bytes());
        for sql in [
            "insert into t values (1, 'a;b'), (nextval('s'), lower('x'))",
            "INSERT INTO public.T (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = 1 RETURNING a;",
            "update only t set (a, b) = (1, 2) where c = any ($1::int[])",
            "delete from t using u where u.a = t.a -- insert into v",
        ] {
            assert_eq!(of(sql), Tables::named(b"t"), "{sql}");
        }
        assert_eq!(of("delete from \"T x\""), Tables::named(b"T x"));
        for sql in [
            "insert into u values (1)",
            "insert into t values (f(1))",
            "insert into t select f from x, f(1)",
            "insert into t values (1); insert into u values (1)",
            "insert into t with x as (delete from u returning a) select * from x",
            "with x as (delete from u) insert into t values (1)",
            "update t set a = b === c",
            "update t set a = mood 'happy'",
            "merge into t using u on true when matched then delete",
            "copy t from stdin",
            "truncate t",
            "call p()",
            "insert into t values ('x",
            "insert into u&\"t\" values (1)",
            "insert",
        ] {
            assert_eq!(of(sql), Tables::ALL, "{sql}");
        }
    }
}
