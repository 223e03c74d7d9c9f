//! Splits SQL text into tokens by the rules of PostgreSQL's own scanner (PostgreSQL docs, 4.1
//! "Lexical Structure", with `standard_conforming_strings` on).
//!
//! Works on bytes, allocates nothing, never fails: what the server would refuse becomes a
//! [`Kind::Bad`] token that ends the text. Must not know what any word means.

use memchr::{memchr, memchr2, memmem};

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An unquoted identifier or keyword, as written.
    Word,
    /// A quoted identifier; the text is what is between the quotes, doubled quotes and all.
    Quoted,
    /// `U&"..."`, whose real name is not worked out here.
    UnicodeQuoted,
    /// A number.
    Number,
    /// A string or bit string of any kind.
    Text,
    /// `$1`.
    Param,
    /// An operator, also `::`, `:=`, `=>` and `..`.
    Operator,
    /// One of `( ) [ ] , ; . :`.
    Punct,
    /// Unterminated, or no token of SQL. Nothing follows it.
    Bad,
}

/// One token and its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
}

impl Token<'_> {
    /// Whether this is the unquoted word `word` (given in lower case).
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether this is the punctuation mark `mark`.
    pub(super) fn is_punct(&self, mark: u8) -> bool {
        self.kind == Kind::Punct && self.text == [mark]
    }

    /// Whether this is a literal whose value is no part of a statement's shape.
    pub(super) fn is_literal(&self) -> bool {
        matches!(self.kind, Kind::Number | Kind::Text)
    }
}

const SPACE: u8 = 1;
const START: u8 = 2;
const PART: u8 = 4;
const OPERATOR: u8 = 8;
const DIGIT: u8 = 16;
const PUNCT: u8 = 32;
/// Signs that let an operator end in `+` or `-`.
const UNUSUAL: u8 = 64;

/// The classes each byte belongs to. Every byte over 127 may be part of an identifier.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 256")]
        let b = byte as u8;
        table[byte] = match b {
            // The vertical tab is a space since PostgreSQL 16 and an error before.
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 128..=255 => START | PART,
            b'0'..=b'9' => DIGIT | PART,
            b'$' => PART,
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' => OPERATOR,
            b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?' => {
                OPERATOR | UNUSUAL
            }
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' | b':' => PUNCT,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[inline]
fn class(sql: &[u8], at: usize) -> u8 {
    sql.get(at).map_or(0, |&byte| CLASS[byte as usize])
}

/// Where the run of bytes of class `mask` that begins at `at` ends.
#[inline]
fn run(sql: &[u8], at: usize, mask: u8) -> usize {
    let rest = sql.get(at..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|&byte| CLASS[byte as usize] & mask == 0);
    at + length.unwrap_or(rest.len())
}

/// Where the white space that begins at `at` ends.
pub(super) fn skip_spaces(sql: &[u8], at: usize) -> usize {
    run(sql, at, SPACE)
}

/// `None` where no comment begins at `at`; else where it ends, `Some(None)` when it never does.
pub(super) fn comment_end(sql: &[u8], at: usize) -> Option<Option<usize>> {
    match sql.get(at..at + 2)? {
        b"--" => {
            let rest = sql.get(at..).unwrap_or_default();
            Some(Some(
                memchr2(b'\n', b'\r', rest).map_or(sql.len(), |end| at + end),
            ))
        }
        b"/*" => Some(block_comment_end(sql, at + 2)),
        _ => None,
    }
}

/// Block comments nest.
fn block_comment_end(sql: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1_usize;
    loop {
        at += memchr2(b'*', b'/', sql.get(at..)?)?;
        match sql.get(at..at + 2)? {
            b"*/" => {
                at += 2;
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b"/*" => {
                at += 2;
                depth += 1;
            }
            _ => at += 1,
        }
    }
}

/// The tokens of a text, one at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Begins at byte `at` of `sql`.
    pub(super) fn new(sql: &'a [u8], at: usize) -> Self {
        Self { sql, at }
    }

    /// Where the token given last ends.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Makes a token of the bytes from `start` to `end` and goes on at `next`.
    #[inline]
    fn token(&mut self, kind: Kind, start: usize, end: usize, next: usize) -> Token<'a> {
        self.at = next;
        Token {
            kind,
            text: self.sql.get(start..end).unwrap_or_default(),
        }
    }

    fn bad(&mut self, start: usize) -> Token<'a> {
        self.token(Kind::Bad, start, self.sql.len(), self.sql.len())
    }

    #[inline]
    fn word(&mut self, start: usize) -> Token<'a> {
        let end = run(self.sql, start + 1, PART);
        if end == start + 1 {
            match (
                self.sql.get(start),
                self.sql.get(end),
                self.sql.get(end + 1),
            ) {
                (Some(b'e' | b'E'), Some(b'\''), _) => {
                    return self.string(start, end, Escapes::Yes);
                }
                (Some(b'n' | b'N' | b'b' | b'B' | b'x' | b'X'), Some(b'\''), _) => {
                    return self.string(start, end, Escapes::No);
                }
                (Some(b'u' | b'U'), Some(b'&'), Some(b'\'')) => {
                    return self.string(start, end + 1, Escapes::No);
                }
                (Some(b'u' | b'U'), Some(b'&'), Some(b'"')) => {
                    return self.quoted(Kind::UnicodeQuoted, end + 1);
                }
                _ => {}
            }
        }
        self.token(Kind::Word, start, end, end)
    }

    /// A string literal whose opening quote is at `quote`; adjacent literals with a line break
    /// between are one (PostgreSQL docs, 4.1.2.1).
    fn string(&mut self, start: usize, mut quote: usize, escapes: Escapes) -> Token<'a> {
        loop {
            let Some(end) = string_end(self.sql, quote + 1, escapes) else {
                return self.bad(start);
            };
            match continuation(self.sql, end) {
                Some(next) => quote = next,
                None => return self.token(Kind::Text, start, end, end),
            }
        }
    }

    fn quoted(&mut self, kind: Kind, quote: usize) -> Token<'a> {
        let mut at = quote + 1;
        loop {
            let rest = self.sql.get(at..).unwrap_or_default();
            let Some(end) = memchr(b'"', rest) else {
                return self.bad(quote);
            };
            at += end + 1;
            if self.sql.get(at) == Some(&b'"') {
                at += 1;
            } else {
                return self.token(kind, quote + 1, at - 1, at);
            }
        }
    }

    /// `$1`, `$$...$$` or `$tag$...$tag$`.
    fn dollar(&mut self, start: usize) -> Token<'a> {
        let sql = self.sql;
        if class(sql, start + 1) & DIGIT != 0 {
            let end = run(sql, start + 1, DIGIT);
            return self.token(Kind::Param, start, end, end);
        }
        // A tag is an identifier without dollar signs.
        let mut close = start + 1;
        if class(sql, close) & START != 0 {
            while class(sql, close) & PART != 0 && sql.get(close) != Some(&b'$') {
                close += 1;
            }
        }
        if sql.get(close) != Some(&b'$') {
            return self.bad(start);
        }
        let tag = sql.get(start..=close).unwrap_or_default();
        let body = sql.get(close + 1..).unwrap_or_default();
        match memmem::find(body, tag) {
            Some(length) => {
                let end = close + 1 + length + tag.len();
                self.token(Kind::Text, start, end, end)
            }
            None => self.bad(start),
        }
    }

    /// A number in the widest notation of any version. Letters right behind it are a token of
    /// their own, as versions before 15 read them: `LIMIT 1FOR UPDATE`.
    #[inline]
    fn number(&mut self, start: usize) -> Token<'a> {
        let sql = self.sql;
        let digits = |at: usize| {
            let mut end = run(sql, at, DIGIT);
            while sql.get(end) == Some(&b'_') && class(sql, end + 1) & DIGIT != 0 {
                end = run(sql, end + 1, DIGIT);
            }
            end
        };
        let mut end = run(sql, start, DIGIT);
        // Nearly all numbers are short and plain.
        if class(sql, end) & PART == 0 && sql.get(end) != Some(&b'.') {
            return self.token(Kind::Number, start, end, end);
        }
        end = digits(start);
        if let (Some(b"0x" | b"0X"), true) = (
            sql.get(start..start + 2),
            sql.get(start + 2).is_some_and(u8::is_ascii_hexdigit),
        ) {
            let rest = sql.get(start + 2..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|b| !b.is_ascii_hexdigit() && *b != b'_');
            end = start + 2 + length.unwrap_or(rest.len());
            return self.token(Kind::Number, start, end, end);
        }
        // `1..10` is a range of integers in PL/pgSQL, not a number with a point.
        if sql.get(end) == Some(&b'.') && sql.get(end + 1) != Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(sql.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(sql.get(end + 1), Some(b'+' | b'-')));
            if class(sql, end + 1 + sign) & DIGIT != 0 {
                end = digits(end + 1 + sign);
            }
        }
        self.token(Kind::Number, start, end, end)
    }

    /// PostgreSQL docs, 4.1.3: comments end an operator, and a trailing sign belongs to it only
    /// if it also has one of the less usual characters.
    fn operator(&mut self, start: usize) -> Token<'a> {
        let sql = self.sql;
        let mut end = start + 1;
        let mut classes = class(sql, start);
        while end - start < MAX_OPERATOR {
            let next = class(sql, end);
            if next & OPERATOR == 0 || is_comment(sql, end) {
                break;
            }
            classes |= next;
            end += 1;
        }
        if classes & UNUSUAL == 0 {
            while end > start + 1 && matches!(sql.get(end - 1), Some(b'+' | b'-')) {
                end -= 1;
            }
        }
        self.token(Kind::Operator, start, end, end)
    }

    #[inline]
    fn punct(&mut self, start: usize) -> Token<'a> {
        match self.sql.get(start..start + 2) {
            Some(b"::" | b":=" | b"..") => self.token(Kind::Operator, start, start + 2, start + 2),
            _ => self.token(Kind::Punct, start, start + 1, start + 1),
        }
    }
}

/// PostgreSQL refuses operators as long as this (NAMEDATALEN). A bound keeps long runs of signs,
/// which are cut one by one, from being read again and again.
const MAX_OPERATOR: usize = 64;

/// Whether a comment begins at `at`.
fn is_comment(sql: &[u8], at: usize) -> bool {
    matches!(sql.get(at..at + 2), Some(b"--" | b"/*"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Yes,
    No,
}

/// Like `memchr`, but quicker where the needle is near, as it is in names and short values.
#[inline]
fn find_near(needle: u8, text: &[u8]) -> Option<usize> {
    const NEAR: usize = 16;
    let near = text.get(..NEAR).unwrap_or(text);
    match near.iter().position(|&byte| byte == needle) {
        Some(at) => Some(at),
        None => memchr(needle, text.get(NEAR..)?).map(|at| at + NEAR),
    }
}

/// Where the string whose first byte is at `at` ends, past its closing quote.
fn string_end(sql: &[u8], mut at: usize, escapes: Escapes) -> Option<usize> {
    loop {
        let rest = sql.get(at..)?;
        at += match escapes {
            Escapes::No => find_near(b'\'', rest)?,
            Escapes::Yes => memchr2(b'\'', b'\\', rest)?,
        };
        match (sql.get(at), sql.get(at + 1)) {
            (Some(b'\\'), _) | (Some(b'\''), Some(b'\'')) => at += 2,
            _ => return Some(at + 1),
        }
    }
}

/// Where a string that ended at `at` goes on: at the next quote, if only white space, line
/// comments and at least one line break are between.
fn continuation(sql: &[u8], at: usize) -> Option<usize> {
    // The common case first: most strings are followed by something else at once.
    if class(sql, at) & SPACE == 0 && sql.get(at) != Some(&b'-') {
        return None;
    }
    let mut next = at;
    loop {
        next = skip_spaces(sql, next);
        if sql.get(next..next + 2) != Some(b"--") {
            break;
        }
        next = comment_end(sql, next)??;
    }
    let between = sql.get(at..next)?;
    let broken = memchr2(b'\n', b'\r', between).is_some();
    (broken && sql.get(next) == Some(&b'\'')).then_some(next)
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let start = self.at;
            let byte = *self.sql.get(start)?;
            let class = CLASS[byte as usize];
            if class & SPACE != 0 {
                self.at = start + 1;
                continue;
            }
            if class & START != 0 {
                return Some(self.word(start));
            }
            if class & PUNCT != 0 {
                if byte == b'.' && self.sql.get(start + 1).is_some_and(u8::is_ascii_digit) {
                    return Some(self.number(start));
                }
                return Some(self.punct(start));
            }
            if class & DIGIT != 0 {
                return Some(self.number(start));
            }
            if class & OPERATOR != 0 {
                match comment_end(self.sql, start) {
                    None => return Some(self.operator(start)),
                    Some(Some(end)) => {
                        self.at = end;
                        continue;
                    }
                    Some(None) => return Some(self.bad(start)),
                }
            }
            return Some(match byte {
                b'\'' => self.string(start, start, Escapes::No),
                b'"' => self.quoted(Kind::Quoted, start),
                b'$' => self.dollar(start),
                _ => self.bad(start),
            });
        }
    }
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
