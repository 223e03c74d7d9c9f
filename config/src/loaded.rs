//! Settings together with where they come from, and what a reload may change of them.
//!
//! Must not know how values are read. Rows are safe to show to anybody who may see settings.

use std::collections::{BTreeMap, BTreeSet};

use crate::check;
use crate::keys::{self, AnyKey, Reload};
use crate::problem::{Origin, Problems};
use crate::secret::Secret;
use crate::settings::Settings;

/// Settings and the source of each. Made by [`Settings::load`].
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    entries: Vec<Entry>,
}

/// One setting, as SHOW CONFIG and `pgconvoy check` print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// `pool.size`; in lists with what names the element: `user[app].password`.
    pub key: String,
    /// As the file would write it, without quotes; secrets are `********`, what is unset is empty.
    pub value: String,
    /// Empty where there is none.
    pub default: String,
    /// Displays as `default`, `pgconvoy.toml:12`, `env PGCONVOY_…` or `flag --node`.
    pub source: Origin,
    /// A SIGHUP is enough to change it.
    pub live: bool,
}

/// What differs between two loads, by the key that [`SettingRow`] has, or `user[app]` for an
/// element that came or went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over by a reload.
    pub live: Vec<String>,
    /// Has to wait for a restart.
    pub restart: Vec<String>,
}

impl Changes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// The element of a list that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) list: &'static str,
    /// Its place in the list; two loads may differ in it.
    pub(crate) index: usize,
    /// What names it: address or name.
    pub(crate) identity: String,
}

impl Owner {
    fn label(&self) -> String {
        format!("{}[{}]", self.list, self.identity)
    }

    /// When elements of this list may come and go: as what names them may change.
    fn reload(&self) -> Reload {
        match self.list {
            "node" => keys::NODE_ADDRESS.reload,
            "user" => keys::USER_NAME.reload,
            "database" => keys::DATABASE_NAME.reload,
            "peer" => keys::PEER_NUMBER.reload,
            "prefer" => keys::PREFER_NODE.reload,
            _ => Reload::Restart,
        }
    }
}

/// A row, and what it takes to compare and to sort it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) row: SettingRow,
    /// The value where the row redacts it.
    pub(crate) exact: Secret,
    owner: Option<Owner>,
    reload: Reload,
    /// Place of the key's section and of the key in the definitions.
    rank: (usize, usize),
}

impl Entry {
    pub(crate) fn new(
        key: &dyn AnyKey,
        owner: Option<Owner>,
        value: String,
        default: String,
        source: Origin,
        exact: Secret,
    ) -> Self {
        let leaf = key
            .name()
            .rsplit_once('.')
            .map_or(key.name(), |(_, leaf)| leaf);
        let label = match &owner {
            Some(owner) => format!("{}.{leaf}", owner.label()),
            None => key.name().to_owned(),
        };
        let live = key.reload() == Reload::Live;
        let row = SettingRow {
            key: label,
            value,
            default,
            source,
            live,
        };
        Self {
            row,
            exact,
            owner,
            reload: key.reload(),
            rank: rank(key.name()),
        }
    }

    fn owner_label(&self) -> Option<String> {
        self.owner.as_ref().map(Owner::label)
    }
}

fn rank(name: &str) -> (usize, usize) {
    let section = |key: &str| {
        key.split_once('.')
            .map_or(String::new(), |(s, _)| s.to_owned())
    };
    let position = |wanted: &dyn Fn(&str) -> bool| {
        keys::ALL
            .iter()
            .position(|key| wanted(key.name()))
            .unwrap_or(usize::MAX)
    };
    (
        position(&|key| section(key) == section(name)),
        position(&|key| key == name),
    )
}

impl Loaded {
    pub(crate) fn new(settings: Settings, mut entries: Vec<Entry>) -> Self {
        sort(&mut entries);
        Self { settings, entries }
    }

    /// Every setting with value, default and source, in the order of `reference.toml`.
    #[must_use]
    pub fn describe(&self) -> Vec<SettingRow> {
        self.entries.iter().map(|entry| entry.row.clone()).collect()
    }

    /// What a running pgconvoy holds after a reload: what may change live from `new`, the rest as
    /// it was. `self` is what runs now.
    ///
    /// # Errors
    /// What `new` says is safe only with an address that waits for a restart: without users, the
    /// addresses that are still listened on would be open to everybody.
    pub fn reload(&self, new: &Self) -> Result<(Self, Changes), Problems> {
        let changes = diff(self, new);
        let (old, mut settings) = (&self.settings, new.settings.clone());
        settings.listen.clone_from(&old.listen);
        settings.workers = old.workers;
        settings.io_uring = old.io_uring;
        settings.peer_id = old.peer_id;
        settings.http.clone_from(&old.http);
        settings.monitor.clone_from(&old.monitor);
        settings.log.format = old.log.format;
        settings.nodes.clone_from(&old.nodes);
        for node in &mut settings.nodes {
            let same = new
                .settings
                .nodes
                .iter()
                .find(|n| n.address() == node.address());
            node.weight = same.map_or(node.weight, |same| same.weight);
            if let Some(same) = same {
                node.max_server_connections = same.max_server_connections;
                node.zone.clone_from(&same.zone);
            }
        }
        if settings.auth.open_access && !check::listens_on_loopback_only(&settings) {
            let listen = self
                .entries
                .iter()
                .find(|entry| entry.row.key == keys::LISTEN.name);
            let origin = listen.map_or(&Origin::Default, |entry| &entry.row.source);
            return Err(Problems::new(vec![check::open_to_the_world(origin)]));
        }
        let entries = merge_entries(&self.entries, &new.entries);
        Ok((Self::new(settings, entries), changes))
    }
}

/// Compares two loads. Elements of lists are matched by what names them, not by their order.
#[must_use]
pub fn diff(old: &Loaded, new: &Loaded) -> Changes {
    let (before, after) = (by_key(&old.entries), by_key(&new.entries));
    let (owners_before, owners_after) = (owners(&old.entries), owners(&new.entries));
    let mut live = BTreeSet::new();
    let mut restart = BTreeSet::new();
    let mut add = |reload: Reload, key: String| match reload {
        Reload::Live => live.insert(key),
        Reload::Restart => restart.insert(key),
    };
    for entry in old.entries.iter().chain(&new.entries) {
        let key = entry.row.key.as_str();
        if let (Some(owner), Some(label)) = (&entry.owner, entry.owner_label())
            && owners_before.contains_key(&label) != owners_after.contains_key(&label)
        {
            add(owner.reload(), label);
            continue;
        }
        if before.get(key).map(|e| &e.exact) != after.get(key).map(|e| &e.exact) {
            add(entry.reload, key.to_owned());
        }
    }
    Changes {
        live: live.into_iter().collect(),
        restart: restart.into_iter().collect(),
    }
}

fn by_key(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries
        .iter()
        .map(|entry| (entry.row.key.as_str(), entry))
        .collect()
}

fn owners(entries: &[Entry]) -> BTreeMap<String, &Owner> {
    entries
        .iter()
        .filter_map(|e| Some((e.owner_label()?, e.owner.as_ref()?)))
        .collect()
}

/// The rows of what holds after a reload, as [`Loaded::reload`] puts the settings together.
fn merge_entries(old: &[Entry], new: &[Entry]) -> Vec<Entry> {
    let (before, after) = (by_key(old), by_key(new));
    let (owners_before, owners_after) = (owners(old), owners(new));
    let waits = |entry: &Entry, there: &BTreeMap<String, &Owner>| match &entry.owner {
        Some(owner) if !there.contains_key(&owner.label()) => owner.reload() == Reload::Restart,
        Some(_) | None => false,
    };
    let same = |a: &Entry, b: Option<&&Entry>| b.is_some_and(|b| a.exact == b.exact);
    let kept = old.iter().filter(|entry| {
        let changed = !same(entry, after.get(entry.row.key.as_str()));
        waits(entry, &owners_after) || (entry.reload == Reload::Restart && changed)
    });
    let taken = new.iter().filter(|entry| {
        let changed = !same(entry, before.get(entry.row.key.as_str()));
        let held_back = entry.reload == Reload::Restart && changed;
        !waits(entry, &owners_before) && !held_back
    });
    let mut merged: Vec<Entry> = kept.chain(taken).cloned().collect();
    // Elements that wait for a restart keep their place, so that their rows stay together.
    for owner in merged.iter_mut().filter_map(|entry| entry.owner.as_mut()) {
        if owner.reload() == Reload::Restart
            && let Some(before) = owners_before.get(&owner.label())
        {
            owner.index = before.index;
        }
    }
    merged
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| (a.rank.0, &a.owner, a.rank.1).cmp(&(b.rank.0, &b.owner, b.rank.1)));
}
