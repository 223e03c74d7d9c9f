//! The shapes a value can have: each reads what was given, shows what it holds, and says what it
//! would have taken.
//!
//! Must not know keys; nothing but a secret's file is read from outside.

mod address;
mod functions;
mod secret;

use std::path::Path;
use std::time::Duration;

use crate::env::Environment;
use crate::settings::Named;
use crate::suggest;
use crate::units::{self, NotAQuantity};
use crate::value::Value;

pub(crate) use address::{HostPort, ListenAddress, ListenList};
pub(crate) use functions::FunctionList;
pub(crate) use secret::SecretValue;

/// No waiting time is longer: a year is meant as "never", and sums of times stay in range.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// PostgreSQL's NAMEDATALEN is 64 with the closing NUL (docs, 4.1.1 "Identifiers").
const LONGEST_NAME: usize = 63;

/// A value that cannot be taken; key and origin are added by the caller.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) allowed: Option<String>,
    pub(crate) nearest: Option<String>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            allowed: None,
            nearest: None,
        }
    }

    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }
}

/// What reading a value may need from outside of it.
pub(crate) struct Outside<'a> {
    pub(crate) env: &'a Environment,
    /// Relative secret files of the configuration file start here.
    pub(crate) directory: &'a Path,
}

/// How text is written in TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    Bare,
    Quoted,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    Open,
    Secret,
}

pub(crate) trait Kind: Sync {
    type Out;

    fn read(&self, value: &Value, outside: &Outside<'_>) -> Result<Self::Out, Refusal>;

    /// The value as people read it; secrets are redacted.
    fn show(&self, value: &Self::Out) -> String;

    /// The value itself where `show` redacts it: for telling a changed secret.
    fn exact(&self, value: &Self::Out) -> String {
        self.show(value)
    }

    fn quoting(&self) -> Quoting {
        Quoting::Quoted
    }

    fn visibility(&self) -> Visibility {
        Visibility::Open
    }
}

/// A whole number from `min` to `max`.
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Count {
    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

impl Kind for Count {
    type Out = u32;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<u32, Refusal> {
        let number = match value {
            Value::Integer(number) => *number,
            Value::Word(text) => text
                .trim()
                .parse()
                .map_err(|_| not(text, "a whole number").allowed(self.allowed()))?,
            Value::Text(text) if text.parse::<i64>().is_ok() => {
                return Err(Refusal::new("a number is written without quotes"));
            }
            Value::Text(text) => return Err(not(text, "a whole number").allowed(self.allowed())),
            other @ (Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Unusable(_)) => {
                return Err(wrong(other).allowed(self.allowed()));
            }
        };
        u32::try_from(number)
            .ok()
            .filter(|number| (self.min..=self.max).contains(number))
            .ok_or_else(|| {
                Refusal::new(format!("{number} is out of range")).allowed(self.allowed())
            })
    }

    fn show(&self, value: &u32) -> String {
        value.to_string()
    }

    fn quoting(&self) -> Quoting {
        Quoting::Bare
    }
}

/// A limit that can be switched off, with `"off"` or 0.
pub(crate) struct Cap;

/// The highest cap: past it, none is meant.
const HIGHEST_CAP: u32 = 1_000_000;

impl Kind for Cap {
    type Out = Option<u32>;

    fn read(&self, value: &Value, outside: &Outside<'_>) -> Result<Option<u32>, Refusal> {
        if value.text() == Some("off") {
            return Ok(None);
        }
        let count = Count {
            min: 0,
            max: HIGHEST_CAP,
        };
        match count.read(value, outside) {
            Ok(number) => Ok(Some(number).filter(|number| *number > 0)),
            Err(refusal) => Err(Refusal {
                allowed: refusal
                    .allowed
                    .map(|allowed| format!("{allowed}, or \"off\"")),
                ..refusal
            }),
        }
    }

    fn show(&self, value: &Option<u32>) -> String {
        value.map_or_else(|| "off".to_owned(), |number| number.to_string())
    }

    /// A default of a cap is "off"; a number is written bare by people.
    fn quoting(&self) -> Quoting {
        Quoting::Quoted
    }
}

/// A share of a whole, 0 to 100: `10%`, or the number alone.
pub(crate) struct Percent;

impl Kind for Percent {
    type Out = u32;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<u32, Refusal> {
        const ALLOWED: &str = "0% to 100%";
        let number = match value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) | Value::Word(text) => {
                text.trim().trim_end_matches('%').trim_end().parse().ok()
            }
            other @ (Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Unusable(_)) => {
                return Err(wrong(other).allowed(ALLOWED));
            }
        };
        number
            .filter(|number| *number <= 100)
            .ok_or_else(|| Refusal::new("not a percentage").allowed(ALLOWED))
    }

    fn show(&self, value: &u32) -> String {
        format!("{value}%")
    }
}

/// True or false.
pub(crate) struct Flag;

impl Kind for Flag {
    type Out = bool;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<bool, Refusal> {
        const ALLOWED: &str = "true, false";
        match value {
            Value::Boolean(flag) => Ok(*flag),
            Value::Word(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Ok(true),
                "false" | "off" | "no" | "0" => Ok(false),
                _ => Err(not(text, "true or false").allowed(ALLOWED)),
            },
            other @ (Value::Text(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Unusable(_)) => Err(wrong(other).allowed(ALLOWED)),
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    fn quoting(&self) -> Quoting {
        Quoting::Bare
    }
}

/// One name out of a few.
pub(crate) struct Choice<T>(pub(crate) std::marker::PhantomData<T>);

impl<T> Choice<T> {
    pub(crate) const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Named + Sync> Kind for Choice<T> {
    type Out = T;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<T, Refusal> {
        let names = || T::NAMES.iter().map(|(name, _)| *name);
        let allowed = || {
            names()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let Some(text) = value.text() else {
            return Err(wrong(value).allowed(allowed()));
        };
        let found = T::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| Refusal {
            nearest: suggest::nearest(text, names()).map(str::to_owned),
            ..not(text, T::WHAT).allowed(allowed())
        })
    }

    fn show(&self, value: &T) -> String {
        value.name().to_owned()
    }
}

/// A time that must be given; zero only where `min` is zero.
pub(crate) struct Period {
    pub(crate) min: Duration,
}

impl Kind for Period {
    type Out = Duration;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Duration, Refusal> {
        let duration = duration(value)?;
        if duration < self.min {
            let least = units::show_duration(self.min);
            return Err(Refusal::new("too short").allowed(format!("at least {least}")));
        }
        Ok(duration)
    }

    fn show(&self, value: &Duration) -> String {
        units::show_duration(*value)
    }
}

/// A time that can be switched off, with `"off"` or zero.
pub(crate) struct Timeout;

impl Kind for Timeout {
    type Out = Option<Duration>;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Option<Duration>, Refusal> {
        if value.text() == Some("off") {
            return Ok(None);
        }
        Ok(Some(duration(value)?).filter(|duration| !duration.is_zero()))
    }

    fn show(&self, value: &Option<Duration>) -> String {
        value.map_or_else(|| "off".to_owned(), units::show_duration)
    }
}

/// A number of bytes that can be switched off, with `"off"`.
pub(crate) struct Size;

impl Kind for Size {
    type Out = Option<u64>;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Option<u64>, Refusal> {
        match value {
            Value::Text(text) | Value::Word(text) if text == "off" => Ok(None),
            Value::Text(text) | Value::Word(text) => units::parse_size(text)
                .map(Some)
                .map_err(|reason| quantity(text, "a size", units::SIZE_UNITS, &reason)),
            Value::Integer(number) => u64::try_from(*number)
                .map(Some)
                .map_err(|_| Refusal::new(format!("{number} is out of range"))),
            other @ (Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Unusable(_)) => {
                Err(wrong(other).allowed("a size such as \"16MiB\", or \"off\""))
            }
        }
    }

    fn show(&self, value: &Option<u64>) -> String {
        value.map_or_else(|| "off".to_owned(), units::show_size)
    }
}

/// A name of PostgreSQL's, or one for people: not empty, at most 63 bytes, no control characters.
pub(crate) struct Name;

impl Kind for Name {
    type Out = String;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<String, Refusal> {
        let Some(text) = value.text() else {
            return Err(wrong(value).allowed("a string"));
        };
        if text.is_empty() {
            return Err(Refusal::new("must not be empty"));
        }
        if text.len() > LONGEST_NAME {
            return Err(
                Refusal::new(format!("{} bytes are too long for a name", text.len()))
                    .allowed(format!("at most {LONGEST_NAME} bytes")),
            );
        }
        if text.chars().any(char::is_control) {
            return Err(Refusal::new("must not hold control characters"));
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// A log level, or directives `target=level` with commas between (tracing-subscriber,
/// "EnvFilter"). Only the levels are checked here; the proxy compiles the filter.
pub(crate) struct LogLevel;

impl Kind for LogLevel {
    type Out = String;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<String, Refusal> {
        const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
        const ALLOWED: &str = "off, error, warn, info, debug, trace, or target=level,…";
        let Some(text) = value.text() else {
            return Err(wrong(value).allowed(ALLOWED));
        };
        let levels = text
            .split(',')
            .map(|part| part.rsplit_once('=').map_or(part, |(_, l)| l));
        for level in levels.map(str::trim) {
            if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
                return Err(Refusal {
                    nearest: suggest::nearest(level, LEVELS.iter().copied()).map(str::to_owned),
                    ..not(level, "a log level").allowed(ALLOWED)
                });
            }
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

fn duration(value: &Value) -> Result<Duration, Refusal> {
    const ALLOWED: &str = "a number with a unit: ms, s, min, h, d";
    let parsed = match value {
        Value::Text(text) | Value::Word(text) => units::parse_duration(text)
            .map_err(|reason| quantity(text, "a duration", units::DURATION_UNITS, &reason))?,
        Value::Integer(0) => Duration::ZERO,
        Value::Integer(number) => {
            return Err(Refusal::new(format!("{number} has no unit")).allowed(ALLOWED));
        }
        other @ (Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Unusable(_)) => {
            return Err(wrong(other).allowed(ALLOWED));
        }
    };
    if parsed > LONGEST {
        return Err(Refusal::new("too long").allowed("at most 366d"));
    }
    Ok(parsed)
}

fn quantity(text: &str, what: &str, allowed: &str, reason: &NotAQuantity) -> Refusal {
    let with_unit = || format!("a whole number with a unit: {allowed}");
    match reason {
        NotAQuantity::NoNumber => not(text, what).allowed(with_unit()),
        NotAQuantity::NoUnit => Refusal::new(format!("{text} has no unit")).allowed(with_unit()),
        NotAQuantity::UnknownUnit(unit) => Refusal {
            nearest: units::nearest_unit(unit, allowed).map(str::to_owned),
            ..Refusal::new(format!("{} is not a unit of {what}", quoted(unit))).allowed(allowed)
        },
        NotAQuantity::TooLarge => Refusal::new(format!("{} is too large", quoted(text))),
    }
}

/// `"sesion" is not a pool mode`.
pub(crate) fn not(text: &str, what: &str) -> Refusal {
    Refusal::new(format!("{} is not {what}", quoted(text)))
}

/// The value is of a type that this key does not take.
pub(crate) fn wrong(value: &Value) -> Refusal {
    Refusal::new(format!("{} does not fit here", value.what()))
}

/// Text in quotes, cut to a length that fits a line, with nothing in it that could break the line.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() > SHOWN {
        let start: String = text.chars().take(SHOWN).collect();
        format!("{start:?}…")
    } else {
        format!("{text:?}")
    }
}
