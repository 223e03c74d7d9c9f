//! The startup parameter `options`: command-line switches for a server process, as in
//! `-c geqo=off --work_mem=64MB`. Split and read exactly as the server does, so that what a client
//! gets does not depend on the proxy. It must not know which settings exist.

use thiserror::Error;

use super::sqlstate;

/// Why the server would refuse such options.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    #[error("invalid command-line argument for server process: {0}")]
    Stray(String),
    #[error("-c {0} requires a value")]
    NoValue(String),
    #[error("--{0} requires a value")]
    NoLongValue(String),
    #[error("command-line switch -{0} is not allowed in startup options")]
    Switch(char),
}

impl OptionsError {
    /// What the client is told (FATAL), as the server says it.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        sqlstate::SYNTAX_ERROR
    }
}

/// Splits at whitespace; a backslash takes the next character's meaning away. Quotes mean nothing.
#[must_use]
pub fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = options.chars().peekable();
    loop {
        while rest.next_if(|c| is_space(*c)).is_some() {}
        if rest.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = rest.next_if(|c| !is_space(*c)) {
            match c {
                '\\' => word.extend(rest.next()),
                plain => word.push(plain),
            }
        }
        words.push(word);
    }
}

/// C's isspace.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The settings that `options` asks for, in order; of equal names the last one counts. Dashes in a
/// name become underscores, as the server has it.
///
/// # Errors
/// [`OptionsError`] where the server would refuse the login, and for switches that set nothing a
/// session could carry.
pub fn settings(options: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut found = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let switches = match word.strip_prefix('-') {
            Some(switches) if !switches.is_empty() => switches,
            Some(_) | None => return Err(OptionsError::Stray(word)),
        };
        if switches == "-" {
            // Ends the switches; anything after it is stray.
            return match words.next() {
                Some(stray) => Err(OptionsError::Stray(stray)),
                None => Ok(found),
            };
        }
        switch_group(switches, &mut words, &mut found)?;
    }
    Ok(found)
}

/// Adds a setting to options, so that [`settings`] and the server read it back as it is.
pub fn push_setting(options: &mut String, name: &str, value: &str) {
    if !options.is_empty() {
        options.push(' ');
    }
    options.push_str("-c ");
    for c in name.chars().chain(['=']).chain(value.chars()) {
        if c == '\\' || is_space(c) {
            options.push('\\');
        }
        options.push(c);
    }
}

/// One word of switches: flags may be joined, and one that takes an argument ends the word.
fn switch_group(
    switches: &str,
    words: &mut impl Iterator<Item = String>,
    found: &mut Vec<(String, String)>,
) -> Result<(), OptionsError> {
    let mut rest = switches.chars();
    while let Some(switch) = rest.next() {
        if let Some((name, value)) = flag(switch) {
            found.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let argument = match rest.as_str() {
            "" => words.next().ok_or(OptionsError::Switch(switch))?,
            attached => attached.to_owned(),
        };
        found.push(with_argument(switch, argument)?);
        break;
    }
    Ok(())
}

/// Switches without an argument that stand for a setting.
fn flag(switch: char) -> Option<(&'static str, &'static str)> {
    match switch {
        'e' => Some(("datestyle", "euro")),
        'F' => Some(("fsync", "false")),
        'O' => Some(("allow_system_table_mods", "true")),
        'P' => Some(("ignore_system_indexes", "true")),
        's' => Some(("log_statement_stats", "true")),
        _ => None,
    }
}

fn with_argument(switch: char, argument: String) -> Result<(String, String), OptionsError> {
    match switch {
        'c' => assignment(&argument).ok_or(OptionsError::NoValue(argument)),
        '-' => assignment(&argument).ok_or(OptionsError::NoLongValue(argument)),
        'S' => Ok(("work_mem".to_owned(), argument)),
        'f' => plan_switch(&argument)
            .map(|name| (name.to_owned(), "false".to_owned()))
            .ok_or(OptionsError::Stray(argument)),
        't' => stats_switch(&argument)
            .map(|name| (name.to_owned(), "true".to_owned()))
            .ok_or(OptionsError::Stray(argument)),
        other => Err(OptionsError::Switch(other)),
    }
}

fn assignment(argument: &str) -> Option<(String, String)> {
    let (name, value) = argument.split_once('=')?;
    Some((name.replace('-', "_"), value.to_owned()))
}

/// `-f` forbids a kind of plan.
fn plan_switch(kind: &str) -> Option<&'static str> {
    Some(match kind.chars().next()? {
        's' => "enable_seqscan",
        'i' => "enable_indexscan",
        'o' => "enable_indexonlyscan",
        'b' => "enable_bitmapscan",
        't' => "enable_tidscan",
        'n' => "enable_nestloop",
        'm' => "enable_mergejoin",
        'h' => "enable_hashjoin",
        _ => return None,
    })
}

/// `-t` asks for timings of one stage.
fn stats_switch(stage: &str) -> Option<&'static str> {
    Some(match (stage.chars().next()?, stage.chars().nth(1)) {
        ('p', Some('a')) => "log_parser_stats",
        ('p', Some('l')) => "log_planner_stats",
        ('e', _) => "log_executor_stats",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_split_at_whitespace_unless_escaped() {
        for (options, expected) in [
            ("", &[][..]),
            ("   ", &[]),
            ("-c geqo=off", &["-c", "geqo=off"]),
            ("  -c\ta=b\n", &["-c", "a=b"]),
            (r"-c a=x\ y", &["-c", "a=x y"]),
            (r"-c a=x\\y", &["-c", r"a=x\y"]),
            (r"a\", &["a"]),
            ("-c a='x y'", &["-c", "a='x", "y'"]),
        ] {
            assert_eq!(split(options), expected, "{options:?}");
        }
    }

    #[test]
    fn settings_are_read_in_order() {
        let pairs = |options: &str| -> Vec<(String, String)> { settings(options).unwrap() };
        let expect = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (options, expected) in [
            ("-c geqo=off -c a.b=x", &[("geqo", "off"), ("a.b", "x")][..]),
            ("-cgeqo=off", &[("geqo", "off")]),
            ("--search-path=a,b", &[("search_path", "a,b")]),
            (r"-c search_path=a,\ b", &[("search_path", "a, b")]),
            ("-c a=", &[("a", "")]),
            ("-c a=b=c", &[("a", "b=c")]),
            ("-e -S 64", &[("datestyle", "euro"), ("work_mem", "64")]),
            ("-ec a=b", &[("datestyle", "euro"), ("a", "b")]),
            (
                "-fs -tpl",
                &[("enable_seqscan", "false"), ("log_planner_stats", "true")],
            ),
            ("-c a=b --", &[("a", "b")]),
        ] {
            assert_eq!(pairs(options), expect(expected), "{options:?}");
        }
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        for (options, expected) in [
            ("-c", OptionsError::Switch('c')),
            ("-c geqo", OptionsError::NoValue("geqo".into())),
            ("--geqo", OptionsError::NoLongValue("geqo".into())),
            ("geqo=off", OptionsError::Stray("geqo=off".into())),
            ("-", OptionsError::Stray("-".into())),
            ("-- x", OptionsError::Stray("x".into())),
            ("-c a.b=\"x y\"", OptionsError::Stray("y\"".into())),
            ("-p 1", OptionsError::Switch('p')),
            ("-fz", OptionsError::Stray("z".into())),
        ] {
            assert_eq!(settings(options), Err(expected), "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(options in "[-cefSt=a\\\\ '\"\u{e4}]{0,40}") {
            let _ = settings(&options);
        }

        #[test]
        fn an_escaped_value_comes_back_whole(value in "[ -~]{1,30}") {
            let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert_eq!(
                settings(&format!("-c a={escaped}")),
                Ok(vec![("a".to_owned(), value)])
            );
        }

        #[test]
        fn what_is_written_reads_back(pairs in prop::collection::vec(("[a-z_.]{1,9}", "[ -~\t\n\u{e4}]{0,20}"), 0..5)) {
            let mut options = String::new();
            for (name, value) in &pairs {
                push_setting(&mut options, name, value);
            }
            prop_assert_eq!(settings(&options), Ok(pairs));
        }
    }
}
