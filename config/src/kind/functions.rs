//! Lists of functions by name: `lower`, `app.report`, `lookup_*`.
//!
//! Must not know which functions there are.

use super::{Kind, LONGEST_NAME, Outside, Refusal, not, wrong};
use crate::settings::FunctionPattern;
use crate::value::Value;

const FORM: &str = "a list of names such as [\"lookup_*\", \"app.report\"]";

/// Functions by name or pattern, each with its schema or without: a string, a list of strings, or
/// words with commas.
pub(crate) struct FunctionList;

impl Kind for FunctionList {
    type Out = Vec<FunctionPattern>;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Vec<FunctionPattern>, Refusal> {
        match value {
            Value::Text(text) => Ok(vec![pattern(text)?]),
            Value::Word(text) => text.split(',').map(pattern).collect(),
            Value::List(items) => items
                .iter()
                .map(|item| pattern(item.text().ok_or_else(|| wrong(item).allowed(FORM))?))
                .collect(),
            other @ (Value::Integer(_)
            | Value::Boolean(_)
            | Value::Table(_)
            | Value::Unusable(_)) => Err(wrong(other).allowed(FORM)),
        }
    }

    fn show(&self, value: &Vec<FunctionPattern>) -> String {
        let shown: Vec<String> = value.iter().map(ToString::to_string).collect();
        shown.join(",")
    }
}

fn pattern(text: &str) -> Result<FunctionPattern, Refusal> {
    let text = text.trim();
    let (schema, name) = match text.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, text),
    };
    let sound = |part: &str| {
        !part.is_empty()
            && part.len() <= LONGEST_NAME
            && !part.contains(['.', '(', ')', '"', ','])
            && !part.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if !sound(name) || !schema.is_none_or(sound) {
        return Err(not(text, "a function's name").allowed(FORM));
    }
    Ok(FunctionPattern {
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
    })
}
