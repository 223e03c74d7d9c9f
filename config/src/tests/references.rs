//! `reference.toml`, the definitions of the keys, and what SHOW CONFIG tells: all one.

use std::path::Path;

use super::{load, load_with};
use crate::{keys, reference};

#[test]
fn the_reference_is_what_the_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference.toml");
    // `UPDATE_REFERENCE=1 cargo test -p pgconvoy-config` writes it anew.
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap();
    for (number, (found, expected)) in file.lines().zip(reference().lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "line {}; UPDATE_REFERENCE=1 writes it anew",
            number + 1
        );
    }
    assert_eq!(
        file.len(),
        reference().len(),
        "UPDATE_REFERENCE=1 writes it anew"
    );
}

#[test]
fn the_reference_holds_the_defaults() {
    let (reference, bare) = (
        load(&reference()),
        load("[[node]]\naddress = \"127.0.0.1:5432\"\n"),
    );
    assert_eq!(crate::diff(&reference, &bare).live, Vec::<String>::new());
    assert_eq!(reference.settings, bare.settings);
}

#[test]
fn every_key_is_in_the_reference_and_can_be_switched_on() {
    let text: String = reference()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            Some(_) | None => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let variables = [
        ("APP_PASSWORD", "x"),
        ("APP_SERVER_PASSWORD", "y"),
        ("MONITOR_PASSWORD", "z"),
    ];
    let loaded = load_with(&text, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    let rows = loaded.describe();
    for key in keys::ALL {
        let name = key.name();
        let (section, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        let row = rows.iter().find(|row| {
            row.key == name
                || (row.key.starts_with(&format!("{section}["))
                    && row.key.ends_with(&format!("].{leaf}")))
        });
        let row = row.unwrap_or_else(|| panic!("{name} is not described"));
        assert!(
            row.source.to_string().starts_with("t.toml:"),
            "{name} is not in the reference"
        );
    }
    assert_eq!(rows.len(), keys::ALL.len());
    // Examples have no default; 0 workers are shown as what they come to.
    let told = rows
        .iter()
        .filter(|row| !row.default.is_empty() && row.key != "workers");
    for row in told {
        assert_eq!(row.value, row.default, "{}", row.key);
    }
}

#[test]
fn lines_fit_and_documentation_is_one_line() {
    for line in reference().lines() {
        assert!(line.chars().count() <= 130, "{line}");
    }
    for key in keys::ALL {
        assert!(
            !key.doc().ends_with('.') && !key.doc().contains('\n'),
            "{}",
            key.name()
        );
    }
}

#[test]
fn every_key_tells_its_default() {
    let rows = load("[[node]]\naddress = \"h:1\"\n").describe();
    let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap();
    assert_eq!(row("pool.query_wait_timeout").default, "2min");
    assert_eq!(row("pool.server_lifetime_jitter").default, "10%");
    assert_eq!(row("limits.query_timeout").default, "off");
    assert_eq!(row("monitor.password").value, "");
    assert!(row("pool.size").live && !row("listen").live);
    assert_eq!(row("http.listen").source.to_string(), "default");
}
