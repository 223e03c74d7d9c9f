//! Durations and sizes with their units: text to value and back.
//!
//! Units are PostgreSQL's where it has them (docs, 19.1.1 "Parameter Names and Values"): `min` is a
//! minute and `kB` is 1024 bytes. Numbers are whole, so that a value has one way to be written.

use std::time::Duration;

use crate::suggest;

pub(crate) const DURATION_UNITS: &str = "ms, s, min, h, d";
pub(crate) const SIZE_UNITS: &str = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB (steps of 1024)";

/// Name and milliseconds, the smallest first.
const DURATIONS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Name and power of two; those that are shown come last, the smallest first.
const SIZES: &[(&str, u32)] = &[
    ("kB", 10),
    ("MB", 20),
    ("GB", 30),
    ("TB", 40),
    ("B", 0),
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
];

/// What people write for a unit that is called otherwise here; `m` is no slip for `ms`.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("m", "min"),
    ("mins", "min"),
    ("minutes", "min"),
    ("sec", "s"),
    ("seconds", "s"),
    ("hours", "h"),
    ("days", "d"),
];

/// The unit that was most likely meant, out of a list as the constants above have it.
pub(crate) fn nearest_unit<'a>(given: &str, units: &'a str) -> Option<&'a str> {
    let names = || units.split([',', ' ']).filter(|name| !name.is_empty());
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == given);
    other
        .and_then(|(_, unit)| names().find(|name| name == unit))
        .or_else(|| suggest::nearest(given, names()))
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotAQuantity {
    /// It does not begin with a whole number.
    NoNumber,
    /// A number without a unit, where one is needed.
    NoUnit,
    UnknownUnit(String),
    TooLarge,
}

/// Reads `5s`, `500ms`, `2min`, `1h`, `7d`, and `0`, which needs no unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, NotAQuantity> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return if number == 0 {
            Ok(Duration::ZERO)
        } else {
            Err(NotAQuantity::NoUnit)
        };
    }
    let (_, factor) = DURATIONS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| NotAQuantity::UnknownUnit(unit.to_owned()))?;
    let millis = number.checked_mul(*factor).ok_or(NotAQuantity::TooLarge)?;
    Ok(Duration::from_millis(millis))
}

/// Reads `64MiB`, `1GiB`, `16kB`; a plain number is bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, NotAQuantity> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, power) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| NotAQuantity::UnknownUnit(unit.to_owned()))?;
    number.checked_mul(1 << power).ok_or(NotAQuantity::TooLarge)
}

/// Writes a duration in the largest unit that holds it exactly: `2min`, not `120s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = DURATIONS
        .iter()
        .rev()
        .find(|(_, factor)| millis.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) if millis > 0 => format!("{}{unit}", millis / factor),
        Some(_) | None => "0".to_owned(),
    }
}

/// Writes a size in the largest unit that holds it exactly: `64MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    let whole = SIZES
        .iter()
        .rev()
        .find(|(_, power)| bytes.is_multiple_of(1 << power));
    match whole {
        Some((unit, power)) if bytes > 0 => format!("{}{unit}", bytes >> power),
        Some(_) | None => "0".to_owned(),
    }
}

fn split(text: &str) -> Result<(u64, &str), NotAQuantity> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(NotAQuantity::NoNumber);
    }
    let number = digits.parse().map_err(|_| NotAQuantity::TooLarge)?;
    Ok((number, unit.trim_start()))
}
