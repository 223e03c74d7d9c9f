//! A value before its meaning is known: what a file, a variable or a flag holds.
//!
//! Deliberately without `Debug`: a value may be a secret.

use toml::de::DeValue;

/// A value as given. From variables and flags everything is a [`Value::Word`].
pub(crate) enum Value {
    /// A quoted string of the file.
    Text(String),
    /// Text that has no type of its own and may be read as any.
    Word(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Self>),
    /// Key and value; `{ file = "…" }` of a secret.
    Table(Vec<(String, Self)>),
    /// What no key takes, by the name it has in TOML.
    Unusable(&'static str),
}

impl Value {
    /// The text of a string or a word.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            Self::Integer(_)
            | Self::Boolean(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Unusable(_) => None,
        }
    }

    /// What it is, as a phrase for messages: never the value itself.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Word(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unusable(what) => what,
        }
    }
}

impl From<&DeValue<'_>> for Value {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Unusable("a number too large"), Self::Integer),
            DeValue::Float(_) => Self::Unusable("a number with a fraction"),
            DeValue::Boolean(flag) => Self::Boolean(*flag),
            DeValue::Datetime(_) => Self::Unusable("a date"),
            DeValue::Array(items) => Self::List(
                items
                    .iter()
                    .map(|item| Self::from(item.get_ref()))
                    .collect(),
            ),
            DeValue::Table(table) => Self::Table(
                table
                    .iter()
                    .map(|(key, value)| (key.get_ref().to_string(), Self::from(value.get_ref())))
                    .collect(),
            ),
        }
    }
}
