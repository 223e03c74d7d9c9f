//! Rewrites what sqlparser has no grammar for, on the way to it: PostgreSQL's own notations in simpler words.
//!
//! Each rule drops words that run nothing, or puts expressions where the parser takes them. None drops an
//! expression, a call or a type that the tokens' own checks have not judged, so that what is left still shows
//! all that could write. Where a rule doesn't fit, the tokens stay, and the parser refuses them. Must not judge.

use super::lexer::{Kind, Token};

/// What a bracket belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inside {
    Other,
    Substring,
    Trim,
    Grouping,
    RowsFrom,
    JoinUsing,
    /// XMLATTRIBUTES and XMLFOREST.
    XmlNamed,
    XmlParse,
    XmlRoot,
    XmlExists,
    XmlTable,
}

/// Tokens that were read, and those that the parser gets.
struct Rewriting<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    out: Vec<Token<'a>>,
    brackets: Vec<Inside>,
    /// What the bracket that was closed last belonged to.
    closed: Inside,
}

/// Words that begin a query, and so no column.
const QUERY: [&str; 8] = [
    "select", "with", "values", "table", "insert", "update", "delete", "merge",
];

const fn word(text: &'static str) -> Token<'static> {
    Token {
        kind: Kind::Word,
        text: text.as_bytes(),
    }
}

const fn punct(mark: &'static str) -> Token<'static> {
    Token {
        kind: Kind::Punct,
        text: mark.as_bytes(),
    }
}

/// In place of something that is no more than a value.
const VALUE: Token<'static> = Token {
    kind: Kind::Number,
    text: b"1",
};

/// In place of an alias that is not there. No text has such a token: within quotes they are doubled.
const ALIAS: Token<'static> = Token {
    kind: Kind::Quoted,
    text: b"\"",
};

const STAR: Token<'static> = Token {
    kind: Kind::Operator,
    text: b"*",
};

/// Gives the tokens of one query as the parser may know them.
pub(super) fn simplify<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut rewriting = Rewriting {
        tokens,
        at: 0,
        out: Vec::with_capacity(tokens.len() + 8),
        brackets: Vec::new(),
        closed: Inside::Other,
    };
    while let Some(token) = tokens.get(rewriting.at) {
        rewriting.step(*token);
    }
    rewriting.out
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

impl<'a> Rewriting<'_, 'a> {
    fn next(&self, ahead: usize) -> Option<&Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn next_is(&self, ahead: usize, word: &str) -> bool {
        self.next(ahead).is_some_and(|token| token.is_word(word))
    }

    /// Whether these words come after this one.
    fn follow(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(at, word)| self.next_is(at + 1, word))
    }

    fn opens(&self, ahead: usize) -> bool {
        self.next(ahead).is_some_and(|token| token.is_punct(b'('))
    }

    fn last_is(&self, words: &[&str]) -> bool {
        let last = self.out.last();
        last.is_some_and(|last| words.iter().any(|word| last.is_word(word)))
    }

    fn last_is_punct(&self, mark: u8) -> bool {
        self.out.last().is_some_and(|last| last.is_punct(mark))
    }

    fn inside(&self) -> Inside {
        self.brackets.last().copied().unwrap_or(Inside::Other)
    }

    /// Passes over so many tokens and puts these in their place.
    fn replace(&mut self, count: usize, by: &[Token<'static>]) {
        self.at += count;
        self.out.extend_from_slice(by);
    }

    fn step(&mut self, token: Token<'a>) {
        let named = self.last_is_punct(b'.');
        match token.kind {
            Kind::Word if !named && self.rewrite(token) => {}
            Kind::Punct if token.is_punct(b'(') => self.open(),
            Kind::Punct if token.is_punct(b')') => {
                self.closed = self.brackets.pop().unwrap_or(Inside::Other);
                self.keep(token);
                if self.closed == Inside::RowsFrom && self.next_is(0, "with") {
                    self.replace(2 * usize::from(self.next_is(1, "ordinality")), &[]);
                }
            }
            Kind::Operator if token.text == b"*" && self.is_inheritance() => self.replace(1, &[]),
            _ => self.keep(token),
        }
    }

    fn keep(&mut self, token: Token<'a>) {
        self.at += 1;
        self.out.push(token);
    }

    fn open(&mut self) {
        // An empty grouping set.
        let empty = self.next(1).is_some_and(|next| next.is_punct(b')'));
        if empty && (self.inside() == Inside::Grouping || self.last_is(&["by"])) {
            return self.replace(2, &[VALUE]);
        }
        let grouping = self.inside() == Inside::Grouping;
        let inside = self.out.last().map_or(Inside::Other, |last| {
            match last.text.to_ascii_lowercase().as_slice() {
                _ if last.kind != Kind::Word => Inside::Other,
                b"substring" => Inside::Substring,
                b"trim" => Inside::Trim,
                b"using" => Inside::JoinUsing,
                b"xmlattributes" | b"xmlforest" => Inside::XmlNamed,
                b"xmlroot" => Inside::XmlRoot,
                b"xmlexists" => Inside::XmlExists,
                b"xmltable" => Inside::XmlTable,
                _ => Inside::Other,
            }
        });
        let bare = !self.out.last().is_some_and(is_name);
        self.brackets.push(if grouping && bare {
            Inside::Grouping
        } else {
            inside
        });
        self.keep(punct("("));
    }

    /// Rewrites what begins with this word; false where no rule fits.
    fn rewrite(&mut self, token: Token<'a>) -> bool {
        let lower = token.text.to_ascii_lowercase();
        let before = (self.at, self.out.len());
        match (lower.as_slice(), self.inside()) {
            (b"exclude", _) => self.frame_exclusion(),
            (b"isnull", _) if self.ends_expression() => {
                self.replace(1, &[word("is"), word("null")])
            }
            (b"notnull", _) if self.ends_expression() => {
                self.replace(1, &[word("is"), word("not"), word("null")]);
            }
            (b"document", _) if self.last_is(&["is", "not"]) => self.replace(1, &[word("null")]),
            (b"rows", _) if self.next_is(1, "from") && self.opens(2) => {
                self.brackets.push(Inside::RowsFrom);
                self.replace(3, &[punct("("), word("select"), STAR, word("from")]);
            }
            (b"search", _) if self.last_is_punct(b')') => self.search(),
            (b"cycle", _) if self.last_is_punct(b')') => self.cycle(),
            (b"grouping", _) if self.next_is(1, "sets") && self.opens(2) => {
                self.brackets.push(Inside::Grouping);
                self.replace(3, &[punct("(")]);
            }
            (b"rollup" | b"cube", Inside::Grouping) if self.opens(1) => {
                self.brackets.push(Inside::Grouping);
                self.replace(2, &[punct("(")]);
            }
            (b"as", _) => self.alias(),
            (b"symmetric" | b"asymmetric", _) if self.last_is(&["between"]) => self.replace(1, &[]),
            (b"distinct" | b"all", _) if self.last_is(&["by"]) => self.replace(1, &[]),
            (b"lateral", _) if self.next_is(1, "xmltable") => self.replace(1, &[]),
            (b"similar", Inside::Substring) if !self.next_is(1, "to") => {
                self.replace(1, &[word("from")]);
            }
            (b"escape", Inside::Substring) => self.replace(1, &[word("for")]),
            (b"leading" | b"trailing" | b"both", Inside::Trim) if self.next_is(1, "from") => {
                self.replace(2, &[]);
            }
            (b"from", Inside::Trim) if self.last_is_punct(b'(') => self.replace(1, &[]),
            (word, inside) => self.xml(word, inside),
        }
        (self.at, self.out.len()) != before
    }

    fn ends_expression(&self) -> bool {
        self.out.last().is_some_and(|last| match last.kind {
            Kind::Word => !last.is_word("as") && !last.is_word("select"),
            Kind::Quoted | Kind::Number | Kind::Text | Kind::Param => true,
            Kind::Punct => last.is_punct(b')') || last.is_punct(b']'),
            Kind::UnicodeQuoted | Kind::Operator | Kind::Bad => false,
        })
    }

    /// `FROM t*`: with the tables that inherit from it, as without the star.
    fn is_inheritance(&self) -> bool {
        let [.., from, name] = self.out.as_slice() else {
            return false;
        };
        let from = match self.out.as_slice() {
            [.., from, schema, point, _] if point.is_punct(b'.') && is_name(schema) => from,
            _ => from,
        };
        is_name(name) && (from.is_word("from") || from.is_word("join"))
    }

    /// `EXCLUDE CURRENT ROW` and its like at the end of a window's frame.
    fn frame_exclusion(&mut self) {
        if !self.last_is(&["row", "following", "preceding"]) {
            return;
        }
        for words in [
            &["current", "row"][..],
            &["no", "others"],
            &["group"],
            &["ties"],
        ] {
            let end = self.next(words.len() + 1);
            if self.follow(words) && end.is_some_and(|end| end.is_punct(b')')) {
                return self.replace(words.len() + 1, &[]);
            }
        }
    }

    /// An alias that is none of a table's: `USING (a) AS x`, and one that is missing: `f() AS (a int)`.
    fn alias(&mut self) {
        let after = self.next(1);
        if self.inside() == Inside::XmlNamed && after.is_some_and(is_name) {
            return self.replace(2, &[]);
        }
        if !self.last_is_punct(b')') {
            return;
        }
        if self.closed == Inside::JoinUsing && after.is_some_and(is_name) && !self.opens(2) {
            return self.replace(2, &[]);
        }
        let column = self
            .next(2)
            .is_some_and(|next| is_name(next) && !QUERY.iter().any(|word| next.is_word(word)));
        if self.opens(1) && column && self.next(3).is_some_and(is_name) {
            self.replace(1, &[word("as"), ALIAS]);
        }
    }

    /// How many tokens a list of names at `ahead` takes.
    fn names(&self, ahead: usize) -> usize {
        let mut length = 0;
        while self.next(ahead + length).is_some_and(is_name) {
            length += 1;
            if !(self.next(ahead + length)).is_some_and(|next| next.is_punct(b',')) {
                break;
            }
            length += 1;
        }
        length
    }

    /// `SEARCH DEPTH FIRST BY a, b SET c` behind a recursive query.
    fn search(&mut self) {
        let order = self.next_is(1, "depth") || self.next_is(1, "breadth");
        if !order || !self.next_is(2, "first") || !self.next_is(3, "by") {
            return;
        }
        let end = 4 + self.names(4);
        if self.next_is(end, "set") && self.next(end + 1).is_some_and(is_name) {
            self.replace(end + 2, &[]);
        }
    }

    /// `CYCLE a, b SET c [TO 'x' DEFAULT 'y'] USING d` behind a recursive query.
    fn cycle(&mut self) {
        let mut end = 1 + self.names(1);
        if !self.next_is(end, "set") || !self.next(end + 1).is_some_and(is_name) {
            return;
        }
        end += 2;
        let value = |ahead| {
            let word = self.next_is(ahead, "true") || self.next_is(ahead, "false");
            word || self.next(ahead).is_some_and(Token::is_literal)
        };
        if self.next_is(end, "to") && value(end + 1) {
            if !self.next_is(end + 2, "default") || !value(end + 3) {
                return;
            }
            end += 4;
        }
        if self.next_is(end, "using") && self.next(end + 1).is_some_and(is_name) {
            self.replace(end + 2, &[]);
        }
    }

    /// The words within XML's functions.
    fn xml(&mut self, lower: &[u8], inside: Inside) {
        match (lower, inside) {
            // XMLELEMENT (NAME a, x), XMLPI (NAME a).
            (b"xmlelement" | b"xmlpi", _)
                if self.opens(1)
                    && self.next_is(2, "name")
                    && self.next(3).is_some_and(is_name) =>
            {
                let comma = self.next(4).is_some_and(|next| next.is_punct(b','));
                self.brackets.push(Inside::Other);
                self.replace(4 + usize::from(comma), &[word("xmlconcat"), punct("(")]);
            }
            // XMLPARSE (DOCUMENT x).
            (b"xmlparse", _)
                if self.opens(1) && (self.next_is(2, "document") || self.next_is(2, "content")) =>
            {
                self.brackets.push(Inside::XmlParse);
                self.replace(3, &[word("xmlconcat"), punct("(")]);
            }
            (b"preserve" | b"strip", Inside::XmlParse) if self.next_is(1, "whitespace") => {
                self.replace(2, &[]);
            }
            // XMLSERIALIZE (CONTENT x AS type).
            (b"xmlserialize", _)
                if self.opens(1) && (self.next_is(2, "document") || self.next_is(2, "content")) =>
            {
                self.brackets.push(Inside::Other);
                self.replace(3, &[word("cast"), punct("(")]);
            }
            (b"version", Inside::XmlRoot) if self.last_is_punct(b',') => {
                if self.follow(&["no", "value"]) {
                    self.replace(3, &[VALUE]);
                } else {
                    self.replace(1, &[]);
                }
            }
            (b"standalone", Inside::XmlRoot) if self.last_is_punct(b',') => {
                if self.follow(&["no", "value"]) {
                    self.replace(3, &[VALUE]);
                } else if self.next_is(1, "yes") || self.next_is(1, "no") {
                    self.replace(2, &[VALUE]);
                }
            }
            (b"by", Inside::XmlExists | Inside::XmlTable)
                if self.next_is(1, "ref") || self.next_is(1, "value") =>
            {
                self.replace(2, &[]);
            }
            (b"passing", Inside::XmlExists) => self.replace(1, &[punct(",")]),
            _ => {}
        }
    }
}
