//! Reads the crate's sources as text: which module names which.
//!
//! Comments, literals and `#[cfg(test)]` items are blanked, then every path that starts with
//! `crate`, `self`, `super`, a child module or the crate's own name is resolved, in `use` and in
//! the middle of code. A macro could hide an import from it; there is none that does. Knows no
//! rules: those are in `layers.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// `session::attach` is `["session", "attach"]`; the root is empty.
pub(crate) type ModulePath = Vec<String>;

/// One source file as a module: its path from the crate's root, and the paths it names.
pub(crate) struct Module {
    pub(crate) path: ModulePath,
    pub(crate) imports: BTreeSet<ModulePath>,
}

/// The module at `path` if this were its source.
pub(crate) fn module(path: &str, code: &str) -> Module {
    let path: ModulePath = path.split("::").map(str::to_owned).collect();
    let (code, _) = without_tests(&blank_literals(code));
    Module {
        imports: imports(&path, &code),
        path,
    }
}

/// Every module of the crate but those that exist for tests only.
pub(crate) fn modules_of(src: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut only_tests = BTreeSet::new();
    for file in rust_files(src) {
        let path = module_path(file.strip_prefix(src).expect("under src"));
        let code = blank_literals(&fs::read_to_string(&file).expect("a readable file"));
        let (code, tests) = without_tests(&code);
        only_tests.extend(tests.into_iter().map(|test| child(&path, &test)));
        modules.push(Module {
            imports: imports(&path, &code),
            path,
        });
    }
    modules.retain(|m| !(1..=m.path.len()).any(|n| only_tests.contains(&m.path[..n])));
    resolve_reexports(&mut modules);
    modules
}

/// `super::Thing` means the child that `Thing` comes from, where the parent takes it from a child.
fn resolve_reexports(modules: &mut [Module]) {
    let mut origins: BTreeMap<ModulePath, ModulePath> = BTreeMap::new();
    for module in modules.iter() {
        for import in module
            .imports
            .iter()
            .filter(|i| i.starts_with(&module.path))
        {
            if let Some(name) = import
                .last()
                .filter(|_| import.len() > module.path.len() + 1)
            {
                origins.insert(child(&module.path, name), import.clone());
            }
        }
    }
    for module in modules {
        let resolve = |import: &ModulePath| {
            let own = (1..=import.len()).find_map(|n| origins.get(&import[..n]));
            own.filter(|_| !import.starts_with(&module.path))
                .unwrap_or(import)
                .clone()
        };
        module.imports = module.imports.iter().map(resolve).collect();
    }
}

fn child(parent: &[String], name: &str) -> ModulePath {
    parent.iter().cloned().chain([name.to_owned()]).collect()
}

/// `session/attach.rs` is `session::attach`, `session/mod.rs` is `session`, `lib.rs` the root.
fn module_path(file: &Path) -> ModulePath {
    let parts = file.with_extension("");
    let mut path: ModulePath = parts
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
        path.pop();
    }
    path
}

/// Rust files below a directory, without what was built.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Comments and the insides of literals become spaces; everything else stays where it was.
fn blank_literals(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        out[at..end]
            .iter_mut()
            .filter(|b| **b != b'\n')
            .for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the comment or literal that begins at `at`; 0 when none does.
fn literal(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => 1 + raw_string(&rest[1..]),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        // A character of any length in UTF-8; a lifetime has no closing quote there.
        [b'\'', tail @ ..] => {
            let close = tail.iter().take(5).skip(1).position(|b| *b == b'\'');
            let one = |n: usize| {
                std::str::from_utf8(&tail[..n]).is_ok_and(|text| text.chars().count() == 1)
            };
            close
                .map(|n| n + 1)
                .filter(|n| one(*n))
                .map_or(0, |n| n + 2)
        }
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// From `r`; 0 for a raw identifier.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let start = hashes + 2;
    let close = rest[start..].windows(end.len()).position(|w| w == end);
    close.map_or(rest.len(), |n| start + n + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The code without items that exist for tests only, and the modules among them that are files.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut rest, mut files) = (String::new(), code, Vec::new());
    while let Some((before, after)) = rest.split_once(MARK) {
        kept.push_str(before);
        let end = after.find(['{', ';']).unwrap_or(after.len());
        let head: Vec<String> = tokens(&after[..end]);
        if let Some(at) = head.iter().position(|t| t == "mod") {
            files.extend(head.get(at + 1).cloned());
        }
        rest = after[end..]
            .strip_prefix(';')
            .unwrap_or_else(|| after_braces(&after[end..]));
    }
    (kept + rest, files)
}

fn after_braces(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[at + 1..],
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

/// Words, `::`, and each other character by itself.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        found.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    found
}

/// The absolute paths that a module's code names within the crate.
fn imports(module: &[String], code: &str) -> BTreeSet<ModulePath> {
    let tokens = tokens(code);
    let mut found = BTreeSet::new();
    let mut children = BTreeSet::new();
    for pair in tokens.windows(3).filter(|t| t[0] == "mod" && t[2] == ";") {
        children.insert(pair[1].as_str());
    }
    for at in 0..tokens.len() {
        let inside = at > 0 && tokens[at - 1] == "::";
        let path = tokens.get(at + 1).is_some_and(|t| t == "::");
        if inside || !path {
            continue;
        }
        let mut base: ModulePath = Vec::new();
        let mut next = at + 2;
        match tokens[at].as_str() {
            "crate" | "pgconvoy" => {}
            "self" => base.extend_from_slice(module),
            "super" => {
                let mut up = 1;
                while tokens[next] == "super" {
                    (up, next) = (up + 1, next + 2);
                }
                base.extend_from_slice(&module[..module.len().saturating_sub(up)]);
            }
            name if children.contains(name) => {
                base.extend_from_slice(module);
                next = at;
            }
            _ => continue,
        }
        expand(&tokens, &mut next, &base, &mut found);
    }
    found
}

/// Follows one path from `at`, into all its branches.
fn expand(tokens: &[String], at: &mut usize, base: &[String], found: &mut BTreeSet<ModulePath>) {
    let mut path = base.to_vec();
    while let Some(token) = tokens.get(*at) {
        let word = token.chars().all(|c| c.is_alphanumeric() || c == '_');
        if token == "{" {
            *at += 1;
            while tokens.get(*at).is_some_and(|t| t != "}") {
                expand(tokens, at, &path, found);
                // Past "as name" and the comma.
                while tokens.get(*at).is_some_and(|t| t != "," && t != "}") {
                    *at += 1;
                }
                if tokens.get(*at).is_some_and(|t| t == ",") {
                    *at += 1;
                }
            }
            *at += 1;
            return;
        }
        if !word {
            break;
        }
        if token != "self" {
            path.push(token.clone());
        }
        *at += 1;
        if tokens.get(*at).is_none_or(|t| t != "::") {
            break;
        }
        *at += 1;
    }
    found.insert(path);
}
