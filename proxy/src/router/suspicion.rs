//! Looks for trouble among a query's tokens, without a parser's opinion of them.
//!
//! Each check gives the worst it finds and errs towards trouble; the tree's walk gives a second
//! opinion. Must not know what the query as a whole is.

use super::finding::Finding;
use super::functions::Safety;
use super::knowledge::Knowledge;
use super::lexer::{Kind, Token};

/// Words that make a query more than a read, wherever they stand. sqlparser lets some of them
/// pass as names: `SELECT INTO t FROM x`, `select for update`.
pub(super) fn words(tokens: &[Token<'_>]) -> Finding {
    let mut finding = Finding::Safe;
    for (at, token) in tokens.iter().enumerate() {
        let named = at > 0 && tokens[at - 1].is_punct(b'.');
        if token.kind != Kind::Word || named {
            continue;
        }
        let next = |words: &[&str]| {
            tokens
                .get(at + 1)
                .is_some_and(|next| words.iter().any(|word| next.is_word(word)))
        };
        let is = |words: &[&str]| words.iter().any(|word| token.is_word(word));
        if is(&["into", "insert", "update", "delete", "merge"]) {
            finding = finding.max(Finding::Write);
        } else if is(&["for"]) && next(&["update", "share", "no", "key"]) {
            // Ahead of the UPDATE that follows, for an honest reason.
            return Finding::Lock;
        }
    }
    finding
}

/// Names that begin with `pg_` and are no calls must be plain catalogs, or qualified with
/// another schema's or table's name.
pub(super) fn relations(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Finding {
    let mut finding = Finding::Safe;
    for (at, token) in tokens.iter().enumerate() {
        let name = match token.kind {
            Kind::Word => token.text.to_ascii_lowercase(),
            Kind::Quoted => token.text.to_vec(),
            Kind::UnicodeQuoted => return Finding::NotUnderstood,
            Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct | Kind::Bad => {
                continue;
            }
        };
        if !name.starts_with(b"pg_") || is_member(tokens, at) {
            continue;
        }
        let next = |mark| tokens.get(at + 1).is_some_and(|next| next.is_punct(mark));
        if next(b'(') || name == b"pg_catalog" && next(b'.') || knowledge.knows_type(&name) {
            continue;
        }
        finding = finding.max(match knowledge.system_relation(&name) {
            Safety::Safe => Finding::Safe,
            Safety::ServerState => Finding::ServerState,
            Safety::SessionState | Safety::Unknown | Safety::Writes => Finding::UnknownFunction,
        });
    }
    finding
}

/// No name may be that of a relation that is not for replicas, whatever it stands for here.
pub(super) fn unsafe_relations(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Finding {
    let is_unsafe = |token: &Token<'_>| match token.kind {
        Kind::Word if token.text.len() > 63 => knowledge.has_catalog(),
        Kind::Word => knowledge.has_unsafe_relation(&token.text.to_ascii_lowercase()),
        // How the server holds such a name is not worked out here.
        Kind::Quoted if token.text.contains(&b'"') || token.text.len() > 63 => {
            knowledge.has_catalog()
        }
        Kind::Quoted => knowledge.has_unsafe_relation(token.text),
        Kind::UnicodeQuoted
        | Kind::Number
        | Kind::Text
        | Kind::Param
        | Kind::Operator
        | Kind::Punct
        | Kind::Bad => false,
    };
    if tokens.iter().any(is_unsafe) {
        Finding::Relation
    } else {
        Finding::Safe
    }
}

/// A name behind a point may be a call: `row.function` (PostgreSQL docs, 38.5.3).
pub(super) fn attributes(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Finding {
    let mut finding = Finding::Safe;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [point, name] = pair else { continue };
        let called = || tokens.get(at + 2).is_some_and(|next| next.is_punct(b'('));
        if !point.is_punct(b'.') || called() {
            continue;
        }
        let known = match name.kind {
            Kind::Word => knowledge.knows_attribute(&name.text.to_ascii_lowercase()),
            Kind::Quoted => knowledge.knows_attribute(name.text),
            Kind::UnicodeQuoted => false,
            Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct | Kind::Bad => {
                true
            }
        };
        if !known {
            finding = Finding::UnknownFunction;
        }
    }
    finding
}

/// Whether the name at `at` belongs to something other than `pg_catalog`.
fn is_member(tokens: &[Token<'_>], at: usize) -> bool {
    at >= 2 && tokens[at - 1].is_punct(b'.') && !is_pg_catalog(&tokens[at - 2])
}

fn is_pg_catalog(token: &Token<'_>) -> bool {
    token.is_word("pg_catalog") || token.kind == Kind::Quoted && token.text == b"pg_catalog"
}

/// Words of the grammar that use operators without naming them (PostgreSQL docs, 9.7 and 9.24), by the
/// types of what they are given.
const IMPLIED: &[(&[&str], &[&[u8]])] = &[
    (&["like"], &[b"~~", b"!~~"]),
    (&["ilike"], &[b"~~*", b"!~~*"]),
    (&["similar"], &[b"~", b"!~"]),
    (
        &[
            "between",
            "by",
            "case",
            "distinct",
            "except",
            "in",
            "intersect",
            "natural",
            "nullif",
            "over",
            "union",
            "using",
        ],
        &[b"=", b"<>", b"<", b"<=", b">", b">="],
    ),
];

/// Every operator must be known; one that is named by its schema, there.
pub(super) fn operators(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Finding {
    let mut finding = Finding::Safe;
    let doubtful: Vec<_> = IMPLIED
        .iter()
        .filter(|(_, operators)| operators.iter().any(|op| knowledge.doubts_operator(op)))
        .collect();
    for (at, token) in tokens.iter().enumerate() {
        let rest = tokens.get(at + 1..).unwrap_or_default();
        let known = match token.kind {
            Kind::Operator => match operator_schema(tokens.get(..at).unwrap_or_default()) {
                None => knowledge.knows_operator(token.text),
                Some(schema) if is_pg_catalog(schema) => {
                    knowledge.knows_builtin_operator(token.text)
                }
                Some(schema) => match schema.kind {
                    Kind::Word => {
                        let schema = schema.text.to_ascii_lowercase();
                        knowledge.knows_qualified_operator(&schema, token.text)
                    }
                    _ => knowledge.knows_qualified_operator(schema.text, token.text),
                },
            },
            Kind::Word if token.is_word("operator") => match rest {
                [open, _, _, op, ..] if open.is_punct(b'(') => op.kind == Kind::Operator,
                [open, ..] if open.is_punct(b'(') => false,
                _ => true,
            },
            Kind::Word => !doubtful
                .iter()
                .any(|(words, _)| words.iter().any(|word| token.is_word(word))),
            _ => true,
        };
        if !known {
            finding = Finding::UnknownOperator;
        }
    }
    finding
}

/// The schema in `OPERATOR(schema.`, if that is what stands before an operator.
fn operator_schema<'t, 's>(before: &'t [Token<'s>]) -> Option<&'t Token<'s>> {
    match before {
        [.., word, open, schema, point]
            if word.is_word("operator") && open.is_punct(b'(') && point.is_punct(b'.') =>
        {
            matches!(schema.kind, Kind::Word | Kind::Quoted).then_some(schema)
        }
        _ => None,
    }
}

/// Words of the grammar that may stand before a string.
const BEFORE_TEXT: &[&str] = &[
    "all",
    "and",
    "asymmetric",
    "between",
    "both",
    "by",
    "case",
    "default",
    "distinct",
    "else",
    "escape",
    "for",
    "from",
    "having",
    "ilike",
    "in",
    "leading",
    "like",
    "limit",
    "not",
    "offset",
    "on",
    "or",
    "placing",
    "precision",
    "select",
    "symmetric",
    "then",
    "to",
    "trailing",
    "uescape",
    "using",
    "variadic",
    "varying",
    "when",
    "where",
    "zone",
];

/// Whether the word is one of the grammar that may stand before a string, and so no type's name.
pub(super) fn may_stand_before_text(token: &Token<'_>) -> bool {
    BEFORE_TEXT.iter().any(|word| token.is_word(word))
}

/// A string behind a name is a cast to the type of that name (PostgreSQL docs, 4.1.2.7), which
/// sqlparser may take for an alias.
pub(super) fn typed_literals(knowledge: &Knowledge<'_>, tokens: &[Token<'_>]) -> Finding {
    let mut finding = Finding::Safe;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [name, literal] = pair else { continue };
        if literal.kind != Kind::Text {
            continue;
        }
        let known = match name.kind {
            _ if is_member(tokens, at) => false,
            Kind::Word => {
                may_stand_before_text(name)
                    || knowledge.knows_type_word(&name.text.to_ascii_lowercase())
            }
            Kind::Quoted => knowledge.knows_type(name.text),
            // `numeric(3) '1'`, or OPERATOR(pg_catalog.~), which is none.
            Kind::Punct => !name.is_punct(b')') || at >= 5 && tokens[at - 5].is_word("operator"),
            Kind::Operator => true,
            Kind::UnicodeQuoted | Kind::Number | Kind::Text | Kind::Param | Kind::Bad => false,
        };
        if !known {
            finding = Finding::UnknownType;
        }
    }
    finding
}

/// Words of the grammar that may stand before a bracket. A user's function of the same name is
/// still found by the walk.
const GRAMMAR: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asymmetric",
    "between",
    "by",
    "case",
    "cast",
    "cross",
    "cube",
    "current_time",
    "current_timestamp",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "filter",
    "first",
    "from",
    "having",
    "ilike",
    "in",
    "intersect",
    "is",
    "join",
    "lateral",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "materialized",
    "next",
    "not",
    "offset",
    "on",
    "only",
    "operator",
    "or",
    "over",
    "precision",
    "repeatable",
    "rollup",
    "row",
    "select",
    "sets",
    "similar",
    "some",
    "symmetric",
    "then",
    "to",
    "trim",
    "union",
    "using",
    "values",
    "varying",
    "when",
    "where",
    "with",
    "group",
    "isnull",
    "notnull",
    "variadic",
    "escape",
];

/// Whether the token is a word of the grammar that may stand before a bracket.
pub(super) fn is_grammar(token: &Token<'_>) -> bool {
    token.kind == Kind::Word && GRAMMAR.iter().any(|word| token.is_word(word))
}

/// What a function in a schema may do; one with more before it is not looked at.
fn member(knowledge: &Knowledge<'_>, tokens: &[Token<'_>], at: usize, name: &[u8]) -> Safety {
    let schema = &tokens[at - 2];
    let further = at >= 3 && tokens[at - 3].is_punct(b'.');
    match schema.kind {
        _ if further => Safety::Unknown,
        Kind::Word => knowledge.qualified_function(&schema.text.to_ascii_lowercase(), name),
        Kind::Quoted => knowledge.qualified_function(schema.text, name),
        _ => Safety::Unknown,
    }
}

/// The last field of an interval, with its precision: `interval '1 2:03' day to second(2)`.
fn is_precision(tokens: &[Token<'_>], at: usize) -> bool {
    let is = |back: usize, words: &[&str]| {
        let token = at.checked_sub(back).and_then(|at| tokens.get(at));
        token.is_some_and(|token| words.iter().any(|word| token.is_word(word)))
    };
    let literal = at > 0 && tokens[at - 1].kind == Kind::Text;
    let range = is(1, &["to"]) && is(2, &["day", "hour", "minute"]);
    is(0, &["second"]) && (literal || range)
}

/// Every name before a bracket must be a function that is safe, a type's, an alias' with its
/// columns, or a word of the grammar.
pub(super) fn calls(
    knowledge: &Knowledge<'_>,
    tokens: &[Token<'_>],
    is_alias: impl Fn(&Token<'_>) -> bool,
) -> Finding {
    let mut finding = Finding::Safe;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [name, open] = pair else { continue };
        if !open.is_punct(b'(') {
            continue;
        }
        let lower = match name.kind {
            Kind::Word => name.text.to_ascii_lowercase(),
            Kind::Quoted => name.text.to_vec(),
            Kind::UnicodeQuoted => return Finding::NotUnderstood,
            Kind::Number | Kind::Text | Kind::Param | Kind::Operator | Kind::Punct | Kind::Bad => {
                continue;
            }
        };
        let grammar = name.kind == Kind::Word
            && (is_grammar(name)
                || knowledge.knows_type_word(&lower)
                || knowledge.knows_call_word(&lower));
        let safety = match knowledge.function(&lower) {
            _ if is_precision(tokens, at) => Safety::Safe,
            _ if is_member(tokens, at) => member(knowledge, tokens, at, &lower),
            Safety::Unknown if grammar || is_alias(name) => Safety::Safe,
            safety => safety,
        };
        finding = finding.max(match safety {
            Safety::Safe => Finding::Safe,
            Safety::ServerState => Finding::ServerState,
            Safety::SessionState => Finding::SessionState,
            Safety::Unknown => Finding::UnknownFunction,
            Safety::Writes => Finding::WriteFunction,
        });
    }
    finding
}
