//! Settings from the command line: the few flags that `pgconvoy run` has for them.
//!
//! Must not know how the command line is parsed.

use crate::env::node_list;
use crate::keys;
use crate::problem::Origin;
use crate::raw::{Given, Raw};
use crate::value::Value;

/// What flags say; what is empty or `None` was not given. Flags win over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--node host:port`, repeated: replaces every other list of nodes.
    pub nodes: Vec<String>,
    /// `--listen address:port`, repeated.
    pub listen: Vec<String>,
    /// `--http address:port`, or `off`.
    pub http: Option<String>,
}

/// Lays the flags over what file and environment gave.
pub(crate) fn overlay(raw: &mut Raw, flags: &Overrides) {
    if !flags.nodes.is_empty() {
        let origin = Origin::Flag("--node");
        let nodes = flags
            .nodes
            .iter()
            .flat_map(|node| node_list(&origin, node))
            .collect();
        raw.lists.insert("node", nodes);
    }
    if !flags.listen.is_empty() {
        let given = word(Origin::Flag("--listen"), flags.listen.join(","));
        raw.single.insert(keys::LISTEN.name, given);
    }
    if let Some(http) = &flags.http {
        let given = word(Origin::Flag("--http"), http.clone());
        raw.single.insert(keys::HTTP_LISTEN.name, given);
    }
}

fn word(origin: Origin, text: String) -> Given {
    Given {
        value: Value::Word(text),
        origin,
    }
}
