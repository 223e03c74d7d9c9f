//! Who may import whom (ARCHITECTURE.md, "The floors"), and how long a file may be.
#![allow(
    clippy::expect_used,
    reason = "a test that can't read the sources fails"
)]

#[path = "layers/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::{Module, module, modules_of, rust_files};

/// Each file and directory at the top of `proxy/src` and the floor it stands on. A module imports
/// only from lower floors: never upward, never from another one of its own floor.
///
/// Three floors differ from the plan in DESIGN.md. `main` stands on top of `app` rather than beside
/// it, since it starts it. `cluster` stands below `pool` rather than beside it: a pool belongs to a
/// node, and `cluster` needs nothing of `backend` (its monitor has a client of its own, decision
/// 0003). `registry` stands above `clock`, which it reads.
const FLOORS: &[(&str, u8)] = &[
    ("main", 8),
    ("app", 7),
    ("frontend", 6),
    ("session", 5),
    ("admin", 5),
    ("http", 5),
    ("status", 4),
    ("pool", 3),
    ("cluster", 2),
    ("backend", 2),
    ("router", 1),
    ("auth", 1),
    ("protocol", 1),
    ("net", 1),
    ("registry", 1),
    ("metrics", 0),
    ("error", 0),
    ("clock", 0),
    ("pattern", 0),
];

/// No Rust file of the workspace is longer.
const MAX_LINES: usize = 500;

// The rules.

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

/// Every import that goes up or sideways, or to or from what the table does not know.
fn against_the_floors(modules: &[Module]) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules {
        let from = module.path.first().map_or("lib", String::as_str);
        for import in &module.imports {
            let Some(to) = import.first().filter(|to| *to != from) else {
                continue;
            };
            let what = match (floor(from), floor(to)) {
                (Some(own), Some(other)) if own > other => continue,
                (Some(own), Some(other)) if own == other => format!("sideways on floor {own}"),
                (Some(own), Some(other)) => format!("uphill from {own} to {other}"),
                (None, _) => format!("but {from} is not in the table"),
                (_, None) => format!("but {to} is not in the table"),
            };
            found.push(format!(
                "{} imports {}: {what}",
                module.path.join("::"),
                import.join("::")
            ));
        }
    }
    found
}

/// The groups of files that import each other in a circle, between children of one parent.
/// A parent and its child may know each other: the child is a part of it.
fn circles(modules: &[Module]) -> Vec<String> {
    let known: BTreeSet<&[String]> = modules.iter().map(|m| m.path.as_slice()).collect();
    let mut edges: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for module in modules {
        for import in &module.imports {
            let shared = module
                .path
                .iter()
                .zip(import)
                .take_while(|(a, b)| a == b)
                .count();
            let (Some(from), Some(to)) = (module.path.get(..=shared), import.get(..=shared)) else {
                continue;
            };
            if known.contains(to) {
                edges.entry(from).or_default().insert(to);
            }
        }
    }
    let reach = |start: &[String]| {
        let mut seen: BTreeSet<&[String]> = BTreeSet::new();
        let mut open: Vec<&[String]> = edges.get(start).into_iter().flatten().copied().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(edges.get(next).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|m| (*m, reach(m))).collect();
    let mut found = BTreeSet::new();
    for (module, targets) in reached.iter().filter(|(module, to)| to.contains(*module)) {
        let back = |m: &&&[String]| reached.get(**m).is_some_and(|r| r.contains(module));
        let names: Vec<_> = targets.iter().filter(back).map(|m| m.join("::")).collect();
        found.insert(names.join(" <-> "));
    }
    found.into_iter().collect()
}

// The code as it is.

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn imports_go_downhill_only() {
    let found = against_the_floors(&modules_of(&src()));
    assert!(
        found.is_empty(),
        "{} imports against the floors:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn files_of_one_directory_do_not_import_each_other_in_a_circle() {
    let found = circles(&modules_of(&src()));
    assert!(found.is_empty(), "circles: {found:#?}");
}

#[test]
fn the_sources_are_read_as_they_are() {
    let modules = modules_of(&src());
    let attach = modules.iter().find(|m| m.path == ["session", "attach"]);
    let imports = &attach.expect("session/attach.rs").imports;
    let names = |path: &[&str]| imports.iter().any(|i| i == path);
    assert!(names(&["pool", "checkout", "Checkout"]) && names(&["session", "context", "Context"]));
    assert!(
        modules
            .iter()
            .all(|m| m.path.last().is_none_or(|name| name != "tests"))
    );
}

#[test]
fn every_module_has_a_floor_and_every_floor_a_module() {
    let there: BTreeSet<String> = modules_of(&src())
        .into_iter()
        .filter_map(|m| m.path.into_iter().next())
        .collect();
    let table: BTreeSet<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        there, table,
        "proxy/src on the left, the table of floors on the right"
    );
    assert_eq!(
        table.len(),
        FLOORS.len(),
        "a module stands in the table twice"
    );
}

#[test]
fn no_rust_file_is_longer_than_500_lines() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace");
    let mut long = Vec::new();
    for member in ["config", "proxy", "tests", "benches"] {
        for file in rust_files(&workspace.join(member)) {
            let lines = fs::read_to_string(&file)
                .expect("a readable file")
                .lines()
                .count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines}", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "split them:\n{}", long.join("\n"));
}

// The test itself catches what it is for.

fn caught(path: &str, code: &str) -> usize {
    against_the_floors(&[module(path, code)]).len()
}

#[test]
fn a_planted_uphill_import_is_caught() {
    assert_eq!(caught("router::cache", "use crate::session::Session;"), 1);
    assert_eq!(
        caught(
            "pool::budget",
            "use crate::{clock, session::{self, Context as C}, http};"
        ),
        3
    );
    assert_eq!(
        caught(
            "metrics",
            "fn f() -> crate::error::Report { crate::cluster::View::new() }"
        ),
        2
    );
    assert_eq!(caught("cluster::probe", "use super::super::pool::Pool;"), 1);
    assert_eq!(
        caught("app", "pub(in crate::app) use pgconvoy::main::Cli;"),
        1
    );
}

#[test]
fn a_planted_sideways_import_is_caught() {
    assert_eq!(caught("session::local", "use crate::admin::console;"), 1);
    assert_eq!(
        caught("auth::scram", "fn f(x: &[crate::protocol::Header]) {}"),
        1
    );
    assert_eq!(
        caught(
            "backend",
            "use crate::{cluster::{pick, view::View}, net::*};"
        ),
        2
    );
}

#[test]
fn an_import_of_a_module_without_a_floor_is_caught() {
    assert_eq!(caught("session", "use crate::toolbox::Hammer;"), 1);
    assert_eq!(caught("toolbox", "use crate::clock;"), 1);
}

#[test]
fn imports_downhill_in_tests_in_comments_and_in_strings_are_none() {
    assert_eq!(
        caught(
            "session::attach",
            "use crate::{clock, pool::{self, checkout::Checkout}};"
        ),
        0
    );
    assert_eq!(
        caught(
            "session::attach",
            "use super::io; use crate::session::context::Context;"
        ),
        0
    );
    assert_eq!(
        caught(
            "router",
            "/* crate::app::App */ // see crate::session\nfn f<'a>() {}"
        ),
        0
    );
    assert_eq!(
        caught(
            "router",
            r##"const X: &str = r#"" crate::app"#; const Q: char = '"';"##
        ),
        0
    );
    assert_eq!(
        caught(
            "router",
            "#[cfg(test)]\nmod tests { use crate::app::App; fn f() { {} } }"
        ),
        0
    );
}

#[test]
fn a_planted_circle_is_caught() {
    let one = module("pool::budget", "use super::checkout::Checkout;");
    let two = module(
        "pool::checkout",
        "use super::manager; fn f() { manager::f() }",
    );
    let three = module("pool::manager", "use crate::pool::{budget::Permit};");
    let parent = module(
        "pool",
        "mod budget; use budget::Permit; use self::checkout::Checkout;",
    );
    let round = [one, two, three, parent];
    assert_eq!(
        circles(&round),
        ["pool::budget <-> pool::checkout <-> pool::manager"]
    );
    assert!(circles(&round[1..]).is_empty());
}
