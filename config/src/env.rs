//! Settings from the environment: `PGCONVOY_POOL_SIZE`, `PGCONVOY_NODE_0_ADDRESS`,
//! `PGCONVOY_NODES`, and `…_FILE` for secrets.
//!
//! Knows names, not what keys take. The environment is handed in, so that tests have their own.

use std::collections::BTreeMap;

use crate::keys::{self, AnyKey};
use crate::problem::{Origin, Problem};
use crate::raw::{Element, Given, Raw, Values};
use crate::sections::{self, Shape};
use crate::suggest;
use crate::value::Value;

const PREFIX: &str = "PGCONVOY_";

/// The list of nodes in short, `h1:5432,h2:5432`.
const NODES: &str = "PGCONVOY_NODES";

/// Read by the command line: the path of the file itself.
const NOT_SETTINGS: &[&str] = &["PGCONVOY_CONFIG"];

/// What a variable holds.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    Text(String),
    NotUnicode,
}

/// The environment's variables. Has no `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
}

impl Environment {
    /// The environment of this process, as it is now.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| {
                let value = value
                    .into_string()
                    .map_or(Variable::NotUnicode, Variable::Text);
                Some((name.into_string().ok()?, value))
            })
            .collect();
        Self { variables }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let variables = pairs
            .into_iter()
            .map(|(name, value)| (name, Variable::Text(value)))
            .collect();
        Self { variables }
    }
}

/// What a variable's name stands for.
enum Target {
    Single(&'static dyn AnyKey, Holds),
    Element {
        list: &'static str,
        index: usize,
        key: &'static dyn AnyKey,
        holds: Holds,
    },
}

/// Whether a variable holds the value, or the path of the file with it.
#[derive(Clone, Copy)]
enum Holds {
    Value,
    Path,
}

impl Holds {
    fn value(self, text: &str) -> Value {
        match self {
            Self::Value => Value::Word(text.to_owned()),
            Self::Path => {
                // Joined to the file's directory later: a variable's path starts where we run.
                let path = std::path::absolute(text).map_or_else(
                    |_| text.to_owned(),
                    |path| path.to_string_lossy().into_owned(),
                );
                Value::Table(vec![("file".to_owned(), Value::Text(path))])
            }
        }
    }
}

/// Lays the environment over what the file gave. `PGCONVOY_NODES` replaces the file's nodes; an
/// indexed name overrides one key of that element, or adds the next element.
pub(crate) fn overlay(raw: &mut Raw, env: &Environment, problems: &mut Vec<Problem>) {
    let mut elements: BTreeMap<(&'static str, usize), Values> = BTreeMap::new();
    for (name, variable) in env.variables.range(PREFIX.to_owned()..) {
        if !name.starts_with(PREFIX) {
            break;
        }
        let Variable::Text(text) = variable else {
            problems.push(Problem::new(
                &origin(name),
                "",
                "the value is not valid UTF-8",
            ));
            continue;
        };
        // Compose files pass `${NAME:-}` on as empty: that is "not given".
        if text.is_empty() || NOT_SETTINGS.contains(&name.as_str()) || is_service_link(name, text) {
            continue;
        }
        if name == NODES {
            raw.lists.insert("node", node_list(&origin(name), text));
            continue;
        }
        match target(name) {
            Some(Target::Single(key, holds)) => {
                insert(
                    &mut raw.single,
                    key.name(),
                    holds.value(text),
                    name,
                    problems,
                );
            }
            Some(Target::Element {
                list,
                index,
                key,
                holds,
            }) => {
                let values = elements.entry((list, index)).or_default();
                insert(values, key.name(), holds.value(text), name, problems);
            }
            None => {
                let nearest = suggest::nearest(name, known_like(name).iter().map(String::as_str))
                    .map(str::to_owned);
                let problem = Problem::new(&origin(name), "", "unknown setting").nearest(nearest);
                problems.push(problem);
            }
        }
    }
    merge(raw, elements, problems);
}

/// The elements of a list of nodes with commas between; also for flags.
pub(crate) fn node_list(origin: &Origin, text: &str) -> Vec<Element> {
    let addresses = text
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty());
    addresses
        .map(|address| {
            let mut element = Element::new(origin.clone());
            let value = Value::Word(address.to_owned());
            let given = Given {
                value,
                origin: origin.clone(),
            };
            element.values.insert(keys::NODE_ADDRESS.name, given);
            element
        })
        .collect()
}

fn origin(name: &str) -> Origin {
    Origin::Environment(name.to_owned())
}

fn insert(
    values: &mut Values,
    key: &'static str,
    value: Value,
    name: &str,
    problems: &mut Vec<Problem>,
) {
    let before = values.insert(
        key,
        Given {
            value,
            origin: origin(name),
        },
    );
    if let Some(Given {
        origin: Origin::Environment(other),
        ..
    }) = before
    {
        let message = format!("both {other} and {name} are set; keep one");
        problems.push(Problem::new(&origin(name), key, message));
    }
}

fn merge(
    raw: &mut Raw,
    elements: BTreeMap<(&'static str, usize), Values>,
    problems: &mut Vec<Problem>,
) {
    for ((list, index), values) in elements {
        let existing = raw.lists.entry(list).or_default();
        let Some(first) = values.values().next().map(|given| given.origin.clone()) else {
            continue;
        };
        if index > existing.len() {
            let message = format!(
                "index {index} leaves a gap; the next free one is {}",
                existing.len()
            );
            problems.push(Problem::new(&first, "", message));
            continue;
        }
        if index == existing.len() {
            existing.push(Element::new(first));
        }
        if let Some(element) = existing.get_mut(index) {
            element.values.extend(values);
        }
    }
}

fn target(name: &str) -> Option<Target> {
    let found = |name: &str, holds| {
        keys::ALL
            .iter()
            .copied()
            .find_map(|key| match list_of(key) {
                None => (variable(key, "") == name).then_some(Target::Single(key, holds)),
                Some(list) => {
                    let rest =
                        name.strip_prefix(&format!("{PREFIX}{}_", list.to_ascii_uppercase()))?;
                    let (index, _) = rest.split_once('_')?;
                    (variable(key, index) == name).then_some(())?;
                    Some(Target::Element {
                        list,
                        index: index.parse().ok()?,
                        key,
                        holds,
                    })
                }
            })
    };
    let by_path = || {
        let target = found(name.strip_suffix("_FILE")?, Holds::Path)?;
        let (Target::Single(key, _) | Target::Element { key, .. }) = &target;
        key.is_secret().then_some(target)
    };
    found(name, Holds::Value).or_else(by_path)
}

/// The name of the list that a key belongs to.
fn list_of(key: &dyn AnyKey) -> Option<&'static str> {
    let (section, _) = key.name().split_once('.')?;
    sections::section(section)
        .filter(|section| section.shape == Shape::List)
        .map(|s| s.name)
}

/// The variable of a key, with the index of its element where it belongs to a list.
pub(crate) fn variable(key: &dyn AnyKey, index: &str) -> String {
    let name = match (list_of(key), key.name().split_once('.')) {
        (Some(list), Some((_, leaf))) => format!("{list}_{index}_{leaf}"),
        (_, _) => key.name().replace('.', "_"),
    };
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

/// Every name that could have been meant, with the index that the unknown one has.
fn known_like(name: &str) -> Vec<String> {
    let index = name
        .split('_')
        .find(|part| part.parse::<usize>().is_ok())
        .unwrap_or("0");
    let known = keys::ALL.iter().map(|key| variable(*key, index));
    known.chain([NODES.to_owned()]).collect()
}

/// What Kubernetes and Docker set in every container for a service called pgconvoy…
/// (`PGCONVOY_SERVICE_HOST`, `PGCONVOY_PORT_5430_TCP_ADDR`): not settings, and not of the user's
/// making. Kubernetes docs, "Service: Environment variables".
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = |text: &str| {
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|p| text.starts_with(p))
    };
    let is_port_name = || {
        let (_, rest) = name.split_once("_PORT_")?;
        let mut parts = rest.split('_');
        let number = parts.next()?.parse::<u16>().is_ok();
        Some(number && matches!(parts.next()?, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url(value))
        || is_port_name() == Some(true)
}
