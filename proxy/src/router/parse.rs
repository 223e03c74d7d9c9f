//! The only door to sqlparser: hands it a shape's tokens, never the text.
//!
//! PostgreSQL's lexical rules are thereby ours alone, and what sqlparser can't digest though it
//! has no bearing on safety is simplified on the way: `simplify` rewrites whole notations, and here operators
//! become one of their kind (the classifier has checked their names), COLLATE and VARIADIC are dropped,
//! `TABLE t` becomes `SELECT * FROM t`. The number and nesting of tokens is bounded, because sqlparser's recursion
//! and the dropping of its trees are not. Must not judge what it parses.

use sqlparser::ast::Query;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token as Parsed;

use super::lexer::{Kind, Token};
use super::suspicion;

/// Tokens given to sqlparser at most. A chain such as `1+1+1+...` makes a tree half as deep,
/// which is dropped recursively.
pub(super) const MAX_TOKENS: usize = 4096;
/// Bytes of names given to sqlparser at most.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// Brackets and CASEs within each other at most, and prefix operators in a row.
pub(super) const MAX_DEPTH: usize = 24;
/// sqlparser's own measure of recursion; a bracket costs it one, a sub-select two. Optimised it
/// takes up to 650 KiB of stack for these limits, unoptimised 80 KiB a level.
const RECURSION: usize = 30;

/// Why there is no tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Past one of the limits.
    TooLong,
    /// Not in sqlparser's grammar.
    DoesNotParse,
}

/// Parses one simplified query: SELECT, WITH, VALUES, TABLE, in brackets or not.
pub(super) fn query(tokens: &[Token<'_>]) -> Result<Box<Query>, Failure> {
    if !within_limits(tokens) {
        return Err(Failure::TooLong);
    }
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(RECURSION)
        .with_tokens(translate(tokens).ok_or(Failure::DoesNotParse)?);
    let query = parser.parse_query().map_err(|_| Failure::DoesNotParse)?;
    match parser.next_token().token {
        Parsed::EOF => Ok(query),
        _ => Err(Failure::DoesNotParse),
    }
}

fn within_limits(tokens: &[Token<'_>]) -> bool {
    let bytes: usize = tokens
        .iter()
        .filter(|t| !t.is_literal())
        .map(|t| t.text.len())
        .sum();
    if tokens.len() > MAX_TOKENS || bytes > MAX_BYTES {
        return false;
    }
    let (mut depth, mut deepest, mut prefixes) = (0_usize, 0, 0_usize);
    for token in tokens {
        if token.is_punct(b'(') || token.is_punct(b'[') || token.is_word("case") {
            depth += 1;
        } else if token.is_punct(b')') || token.is_punct(b']') || token.is_word("end") {
            depth = depth.saturating_sub(1);
        }
        deepest = deepest.max(depth);
        let prefix = token.is_word("not") || token.kind == Kind::Operator;
        prefixes = if prefix { prefixes + 1 } else { 0 };
        if prefixes > MAX_DEPTH {
            return false;
        }
    }
    deepest <= MAX_DEPTH
}

/// The tokens as sqlparser knows them; `None` where one has no counterpart.
fn translate(tokens: &[Token<'_>]) -> Option<Vec<Parsed>> {
    let mut parsed = Vec::with_capacity(tokens.len() + 8);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let rest = tokens.get(at + 1..).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        at += 1;
        match token.kind {
            Kind::Word => at += word(token, before, rest, &mut parsed),
            Kind::Quoted => parsed.push(Parsed::make_word(&name(token.text), Some('"'))),
            Kind::Number => parsed.push(Parsed::Number("1".to_owned(), false)),
            // A string in a window's frame is an interval to sqlparser, and nothing may follow it.
            Kind::Text if rest.first().is_some_and(|next| next.text == b"::") => {
                parsed.push(Parsed::Number("1".to_owned(), false));
            }
            Kind::Text => parsed.push(Parsed::SingleQuotedString(String::new())),
            Kind::Param => parsed.push(Parsed::Placeholder("$1".to_owned())),
            Kind::Operator => parsed.push(operator(token, before, rest)?),
            Kind::Punct => {
                parsed.push(punct(token)?);
                // `(row).*` needs no more than its row.
                if let [point, star, ..] = rest
                    && token.is_punct(b')')
                    && point.is_punct(b'.')
                    && star.text == b"*"
                {
                    at += 2;
                }
            }
            Kind::UnicodeQuoted | Kind::Bad => return None,
        }
    }
    Some(parsed)
}

fn name(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Adds a word; gives how many of the tokens behind it are used up too.
fn word(
    token: &Token<'_>,
    before: Option<&Token<'_>>,
    rest: &[Token<'_>],
    parsed: &mut Vec<Parsed>,
) -> usize {
    let mut lower = name(token.text);
    lower.make_ascii_lowercase();
    // A word behind a point is a name, whatever it is elsewhere.
    let is_name = before.is_some_and(|before| before.is_punct(b'.'));
    match lower.as_str() {
        _ if is_name => {}
        // A type's name before a literal, which the classifier has checked.
        _ if rest.first().is_some_and(|next| next.kind == Kind::Text)
            && is_prefix_place(before)
            && !OWN_LITERALS.contains(&lower.as_str())
            && !suspicion::may_stand_before_text(token) =>
        {
            return 0;
        }
        // A collation runs no code of anybody's.
        "collate" => return qualified_length(rest),
        "variadic" => return 0,
        // FETCH FIRST ROWS ONLY needs its ONLY; that of FROM ONLY t changes nothing here.
        "only" if !before.is_some_and(|b| b.is_word("row") || b.is_word("rows")) => return 0,
        "table" => {
            parsed.extend([
                Parsed::make_word("select", None),
                Parsed::Mul,
                Parsed::make_word("from", None),
            ]);
            return 0;
        }
        // OPERATOR(pg_catalog.~), as psql writes it; any other schema has been refused before.
        "operator" => {
            if let [open, _, _, op, close, after @ ..] = rest
                && open.is_punct(b'(')
                && close.is_punct(b')')
                && let Some(op) = operator(op, before, after)
            {
                parsed.push(op);
                return 5;
            }
        }
        _ => {}
    }
    parsed.push(Parsed::make_word(&lower, None));
    0
}

/// Types with literals that sqlparser knows, and may be followed by more: `interval '1' day`.
const OWN_LITERALS: [&str; 4] = ["interval", "date", "time", "timestamp"];

/// How many tokens a possibly qualified name at the front takes.
fn qualified_length(tokens: &[Token<'_>]) -> usize {
    match tokens {
        [schema, point, name, ..] if point.is_punct(b'.') && is_name(schema) && is_name(name) => 3,
        [name, ..] if is_name(name) => 1,
        _ => 0,
    }
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

/// Stands in for operators by place: all infix ones beside the usual few bind alike in
/// PostgreSQL (docs, 4.1.6), and the tree's shape is of no interest beyond that.
fn operator(token: &Token<'_>, before: Option<&Token<'_>>, rest: &[Token<'_>]) -> Option<Parsed> {
    let quantified = rest
        .first()
        .is_some_and(|next| ["any", "all", "some"].iter().any(|word| next.is_word(word)));
    Some(match token.text {
        b"::" => Parsed::DoubleColon,
        b":=" => Parsed::Assignment,
        b"=>" => Parsed::RArrow,
        b".." => return None,
        _ if quantified && !is_prefix_place(before) => Parsed::Eq,
        b"*" => Parsed::Mul,
        b"-" | b"+" => Parsed::Minus,
        _ if is_prefix_place(before) => Parsed::Minus,
        b"/" | b"%" | b"^" => Parsed::Div,
        b"=" | b"<" | b">" | b"<=" | b">=" | b"<>" | b"!=" => Parsed::Eq,
        _ => Parsed::StringConcat,
    })
}

/// Whether an operator behind `before` has nothing to its left. Missing a keyword here makes a
/// statement fail to parse, no more.
fn is_prefix_place(before: Option<&Token<'_>>) -> bool {
    const KEYWORDS: [&str; 24] = [
        "select",
        "all",
        "distinct",
        "where",
        "and",
        "or",
        "not",
        "when",
        "then",
        "else",
        "case",
        "on",
        "having",
        "by",
        "like",
        "ilike",
        "between",
        "from",
        "limit",
        "offset",
        "in",
        "to",
        "similar",
        "returning",
    ];
    match before {
        None => true,
        Some(token) => match token.kind {
            Kind::Operator => true,
            Kind::Punct => matches!(token.text, b"(" | b"[" | b"," | b":"),
            Kind::Word => KEYWORDS.iter().any(|word| token.is_word(word)),
            Kind::Quoted
            | Kind::UnicodeQuoted
            | Kind::Number
            | Kind::Text
            | Kind::Param
            | Kind::Bad => false,
        },
    }
}

fn punct(token: &Token<'_>) -> Option<Parsed> {
    Some(match token.text {
        b"(" => Parsed::LParen,
        b")" => Parsed::RParen,
        b"[" => Parsed::LBracket,
        b"]" => Parsed::RBracket,
        b"," => Parsed::Comma,
        b"." => Parsed::Period,
        b":" => Parsed::Colon,
        _ => return None,
    })
}
