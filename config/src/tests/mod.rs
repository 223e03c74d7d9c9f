//! The crate's tests, by concern, all through the public interface but for units and suggestions.

mod problems;
mod references;
mod reload;
mod secrets;
mod sources;
mod units;

use crate::{Environment, Loaded, Overrides, Problems, Settings, Sources};

/// An environment of these variables alone.
fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let sources = Sources {
        env: env(variables),
        ..Sources::default()
    };
    Settings::load_text("t.toml", text, &sources)
}

fn load(text: &str) -> Loaded {
    load_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problem lines of a text.
fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match load_with(text, variables) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// No file at all.
fn load_without_file(variables: &[(&str, &str)], flags: Overrides) -> Result<Loaded, Problems> {
    Settings::load(&Sources {
        file: None,
        env: env(variables),
        flags,
    })
}

/// Value and source of a row.
fn row(loaded: &Loaded, key: &str) -> (String, String) {
    let rows = loaded.describe();
    let row = rows.iter().find(|row| row.key == key);
    let row = row.unwrap_or_else(|| panic!("no row {key}"));
    (row.value.clone(), row.source.to_string())
}
