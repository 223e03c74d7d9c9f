//! The lexer against PostgreSQL's rules, by tables.

use super::*;

fn lex(sql: &str) -> Vec<(Kind, String)> {
    Lexer::new(sql.as_bytes(), 0)
        .map(|token| (token.kind, String::from_utf8_lossy(token.text).into_owned()))
        .collect()
}

fn kinds(sql: &str) -> String {
    let letter = |(kind, _): (Kind, String)| match kind {
        Kind::Word => 'w',
        Kind::Quoted => 'q',
        Kind::UnicodeQuoted => 'u',
        Kind::Number => 'n',
        Kind::Text => 't',
        Kind::Param => 'p',
        Kind::Operator => 'o',
        Kind::Punct => '.',
        Kind::Bad => '!',
    };
    lex(sql).into_iter().map(letter).collect()
}

#[test]
fn strings_end_where_postgresql_ends_them() {
    for (sql, expected) in [
        ("'a;b'", "t"),
        ("'it''s' x", "tw"),
        (r"'a\' x", "tw"),
        (r"E'a\' x' y", "tw"),
        (r"e'a\\' y", "tw"),
        ("'a'\n'b' c", "tw"),
        ("'a' 'b'", "tt"),
        ("'a' -- x\n 'b'", "t"),
        ("'a' /* \n */ 'b'", "tt"),
        ("E'a'\n'b\\' c' d", "tw"),
        ("b'01' x'ff' n'a' U&'\\0061'", "tttt"),
        ("type'a'", "wt"),
        ("'a", "!"),
        ("E'a\\'", "!"),
    ] {
        assert_eq!(kinds(sql), expected, "{sql}");
    }
}

#[test]
fn dollar_quotes_are_strings_and_dollars_in_names_are_not() {
    for (sql, expected) in [
        ("$$a;'b$$ x", "tw"),
        ("$a$ $b$ $$ $a$ x", "tw"),
        ("$a$ x $b$a$ y", "tw"),
        ("a$b$c", "w"),
        ("$1 $23", "pp"),
        ("$a$ x", "!"),
        ("$", "!"),
        ("$1$", "p!"),
    ] {
        assert_eq!(kinds(sql), expected, "{sql}");
    }
}

#[test]
fn comments_nest_and_are_nothing() {
    for (sql, expected) in [
        ("/* a /* b */ c */ x", "w"),
        ("-- a ' b\nx", "w"),
        ("-- a\rx", "w"),
        ("a--b", "w"),
        ("1 /* ' */ 2", "nn"),
        ("/* a /* b */ x", "!"),
        ("/*/ x */ y", "w"),
        ("/**/x/***/y", "ww"),
        ("a+--b\n1", "won"),
        ("a-/*b*/1", "won"),
    ] {
        assert_eq!(kinds(sql), expected, "{sql}");
    }
}

#[test]
fn identifiers_keep_what_is_between_their_quotes() {
    assert_eq!(lex("\"a\"\"b\""), [(Kind::Quoted, "a\"\"b".to_owned())]);
    assert_eq!(lex("U&\"a\""), [(Kind::UnicodeQuoted, "a".to_owned())]);
    assert_eq!(kinds("u & \"a\""), "woq");
    assert_eq!(kinds("\"a"), "!");
    assert_eq!(kinds("größe_1"), "w");
}

#[test]
fn numbers_of_all_versions_and_letters_behind_them() {
    for (sql, expected) in [
        ("1 1.5 .5 1. 1e5 1.5E-3", "nnnnnn"),
        ("1_000 0xFF 0b1", "nnnw"),
        ("1FOR update", "nww"),
        ("1e", "nw"),
        ("1..2", "non"),
        ("-1", "on"),
        ("a.b", "w.w"),
        ("a[1:2]", "w.n.n."),
    ] {
        assert_eq!(kinds(sql), expected, "{sql}");
    }
}

#[test]
fn operators_are_cut_where_postgresql_cuts_them() {
    let operators = |sql: &str| {
        lex(sql)
            .into_iter()
            .filter(|(kind, _)| *kind == Kind::Operator)
            .map(|(_, text)| text)
            .collect::<Vec<_>>()
    };
    for (sql, expected) in [
        ("a=-1", vec!["=", "-"]),
        ("a @- 1", vec!["@-"]),
        ("a <-> b", vec!["<->"]),
        ("a->>'b'", vec!["->>"]),
        ("a::int", vec!["::"]),
        ("f(a => 1, b := 2)", vec!["=>", ":="]),
        ("a*/*x*/b", vec!["*"]),
        ("a<--x\nb", vec!["<"]),
        ("a +- b", vec!["+", "-"]),
    ] {
        assert_eq!(operators(sql), expected, "{sql}");
    }
}

#[test]
fn what_is_no_token_ends_the_text() {
    assert_eq!(kinds("a { b"), "w!");
    assert_eq!(kinds("a \\ b"), "w!");
    assert_eq!(kinds(""), "");
}
