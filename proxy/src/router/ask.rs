//! What people ask of the router: `SHOW ROUTE <statement>` and `EXPLAIN (ROUTE) <statement>`.
//!
//! The names that a statement mentions are read off its tokens, so that they are told of writes and of
//! what does not parse, too. They explain; nothing is decided by them.

use super::lexer::{Kind, Lexer, Token};
use super::suspicion;

/// The functions and relations that a statement names, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub functions: Vec<String>,
    pub relations: Vec<String>,
}

/// The statement asked about; `None` if `sql` is no such question. It may be given as a string, as it has to
/// where it is several.
#[must_use]
pub fn question(sql: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(sql, 0);
    let first = lexer.next()?;
    let words: &[&str] = if first.is_word("show") {
        &["route"]
    } else {
        &["(", "route", ")"]
    };
    if !first.is_word("show") && !first.is_word("explain") {
        return None;
    }
    for word in words {
        let token = lexer.next()?;
        if !(token.is_word(word) || token.kind == Kind::Punct && token.text == word.as_bytes()) {
            return None;
        }
    }
    let rest = sql.get(lexer.position()..)?.trim_ascii();
    let mut inner = Lexer::new(rest, 0);
    let only = inner.next()?;
    let end = inner.next();
    let alone = end.is_none_or(|token| token.is_punct(b';')) && inner.next().is_none();
    if only.kind != Kind::Text || !alone {
        return Some(rest.to_vec());
    }
    let text = String::from_utf8_lossy(only.text);
    let plain = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    Some(match plain {
        Some(plain) => plain.replace("''", "'").into_bytes(),
        // `$$...$$`, `$tag$...$tag$`.
        None => {
            let tag = text
                .get(1..)
                .and_then(|t| t.find('$'))
                .map_or(0, |at| at + 2);
            let inner = text.get(tag..text.len().saturating_sub(tag));
            inner.unwrap_or_default().as_bytes().to_vec()
        }
    })
}

/// Finds the names in `sql`.
#[must_use]
pub fn names(sql: &[u8]) -> Names {
    let tokens: Vec<Token<'_>> = Lexer::new(sql, 0).collect();
    let mut names = Names::default();
    let mut lists = vec![List::None];
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let list = lists.last().copied().unwrap_or(List::None);
        if token.is_punct(b'(') {
            lists.push(before.map_or(List::None, opens));
        } else if token.is_punct(b')') && lists.len() > 1 {
            lists.pop();
        } else if list != List::Never && expects_relation(token, before, list) {
            let place = at + 1 + usize::from(next_is(&tokens, at, "only"));
            if let Some((name, length)) = qualified(&tokens, place) {
                let call = tokens.get(place + length).is_some_and(|t| t.is_punct(b'('));
                let inserts = token.is_word("into") || token.is_word("table");
                if !call || inserts {
                    note(&mut names.relations, name);
                    at = place + length - 1;
                }
            }
            set_list(&mut lists, token);
        } else if token.kind == Kind::Word && ENDS.iter().any(|word| token.is_word(word)) {
            if let Some(list) = lists.last_mut() {
                *list = List::None;
            }
        } else if let Some((name, length)) = qualified(&tokens, at) {
            let call = tokens.get(at + length).is_some_and(|t| t.is_punct(b'('));
            let conflict = before.is_some_and(|b| b.is_word("on"));
            if call && !conflict && (length > 1 || !suspicion::is_grammar(token)) {
                note(&mut names.functions, name);
            }
            at += length - 1;
        }
        at += 1;
    }
    names
}

/// Words behind which no more relations are listed.
const ENDS: [&str; 14] = [
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "intersect",
    "except",
    "window",
    "for",
    "set",
    "returning",
    "values",
];

/// What a comma means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// Nothing of interest.
    None,
    /// Another relation follows.
    From,
    /// FROM is a word of a function here: `extract(day from x)`.
    Never,
}

fn opens(before: &Token<'_>) -> List {
    let functions = ["extract", "substring", "trim", "overlay", "position"];
    if functions.iter().any(|word| before.is_word(word)) {
        List::Never
    } else {
        List::None
    }
}

fn set_list(lists: &mut [List], token: &Token<'_>) {
    if let Some(list) = lists.last_mut()
        && (token.is_word("from") || token.is_word("using"))
    {
        *list = List::From;
    }
}

/// Whether a relation's name may follow the token.
fn expects_relation(token: &Token<'_>, before: Option<&Token<'_>>, list: List) -> bool {
    let behind = |words: &[&str]| before.is_some_and(|b| words.iter().any(|w| b.is_word(w)));
    if token.is_punct(b',') {
        return list == List::From;
    }
    if token.kind != Kind::Word || before.is_some_and(|b| b.is_punct(b'.')) {
        return false;
    }
    if token.is_word("from") {
        return !behind(&["distinct"]);
    }
    if token.is_word("update") {
        return !behind(&["for", "key", "do", "on"]);
    }
    ["join", "into", "table", "using"]
        .iter()
        .any(|word| token.is_word(word))
}

fn next_is(tokens: &[Token<'_>], at: usize, word: &str) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.is_word(word))
}

/// A possibly qualified name at a place, as the server holds it, and how many tokens it takes.
fn qualified(tokens: &[Token<'_>], at: usize) -> Option<(String, usize)> {
    let part = |token: &Token<'_>| match token.kind {
        Kind::Word => Some(String::from_utf8_lossy(token.text).to_lowercase()),
        Kind::Quoted => Some(String::from_utf8_lossy(token.text).into_owned()),
        _ => None,
    };
    let mut name = part(tokens.get(at)?)?;
    let mut length = 1;
    while tokens.get(at + length).is_some_and(|t| t.is_punct(b'.'))
        && let Some(more) = tokens.get(at + length + 1).and_then(part)
    {
        name.push('.');
        name.push_str(&more);
        length += 2;
    }
    Some((name, length))
}

fn note(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_from_statements() {
        for (sql, asked) in [
            ("show route select 1", Some("select 1")),
            (
                "SHOW /* x */ ROUTE\n INSERT INTO t VALUES ('a''b') ;",
                Some("INSERT INTO t VALUES ('a''b') ;"),
            ),
            ("explain (route) select 1", Some("select 1")),
            (
                "show route 'select 1; select ''x'''",
                Some("select 1; select 'x'"),
            ),
            ("show route $$ select 'x' $$;", Some(" select 'x' ")),
            ("show routes", None),
            ("show work_mem", None),
            ("explain (analyze) select 1", None),
            ("select 1", None),
        ] {
            let found = question(sql.as_bytes());
            assert_eq!(found.as_deref(), asked.map(str::as_bytes), "{sql}");
        }
    }

    #[test]
    fn names_are_read_off_the_tokens() {
        for (sql, functions, relations) in [
            (
                "select f(a), s.G(b) from t, only s.u as x join \"V\" on true where h(1) in (select 1 from w)",
                &["f", "s.g", "h"][..],
                &["t", "s.u", "V", "w"][..],
            ),
            (
                "insert into t (a, b) values (nextval('s'), 1) on conflict (a) do update set b = 2",
                &["nextval"],
                &["t"],
            ),
            (
                "update t set a = f(b) from u where t.a is distinct from u.a",
                &["f"],
                &["t", "u"],
            ),
            ("delete from t using u, v where true", &[], &["t", "u", "v"]),
            (
                "select extract(day from d), count(*) from t group by 1 for update of t",
                &["extract", "count"],
                &["t"],
            ),
            (
                "select * from generate_series(1, 2) g, t",
                &["generate_series"],
                &["t"],
            ),
            ("truncate table t", &[], &["t"]),
            ("selec 1", &[], &[]),
        ] {
            let found = names(sql.as_bytes());
            assert_eq!(
                (found.functions, found.relations),
                (
                    functions.iter().map(ToString::to_string).collect(),
                    relations.iter().map(ToString::to_string).collect()
                ),
                "{sql}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_asked_panics(sql in "(show route |explain \\(route\\) |)[a-z0-9 .,;()'\"$*\u{e9}-]{0,60}") {
            let asked = question(sql.as_bytes()).unwrap_or_default();
            let _names = names(&asked);
            let _names = names(sql.as_bytes());
        }
    }
}
