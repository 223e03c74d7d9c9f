//! What the fuzz targets need to see of a text's tokens, and nothing else does.

use std::ops::Range;

use super::lexer::{Kind, Lexer};

/// A token: where it is, and whether it is a literal.
#[derive(Clone, Debug)]
pub struct Token {
    pub at: Range<usize>,
    pub literal: Literal,
}

/// What may stand for a literal without changing the statement's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Literal {
    No,
    Number,
    Text,
}

/// The tokens of a text; `None` if the server would not scan it to its end.
#[must_use]
pub fn tokens(sql: &[u8]) -> Option<Vec<Token>> {
    let mut lexer = Lexer::new(sql, 0);
    let mut tokens = Vec::new();
    let mut before = 0;
    while let Some(token) = lexer.next() {
        let end = lexer.position();
        assert!(before < end && end <= sql.len(), "tokens go forward");
        assert!(
            token.text.len() <= end - before,
            "a token's text is its own"
        );
        let literal = match token.kind {
            Kind::Bad => return None,
            Kind::Number => Literal::Number,
            Kind::Text => Literal::Text,
            Kind::Word
            | Kind::Quoted
            | Kind::UnicodeQuoted
            | Kind::Param
            | Kind::Operator
            | Kind::Punct => Literal::No,
        };
        // Those that are no literals may begin later: nobody asks.
        let start = match literal {
            Literal::No => before,
            Literal::Number | Literal::Text => end - token.text.len(),
        };
        tokens.push(Token {
            at: start..end,
            literal,
        });
        before = end;
    }
    Some(tokens)
}
