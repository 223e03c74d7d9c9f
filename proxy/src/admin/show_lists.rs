//! The small ones: `SHOW LISTS`, `SHOW STATE`, `SHOW VERSION` and `SHOW MEM`.

use std::collections::BTreeSet;

use super::Inside;
use crate::status::activity::Activities;
use crate::status::{Column, Table};

/// Of SHOW LISTS.
pub(super) const COLUMNS: &[Column] = &[Column::text("list"), Column::int4("items")];
/// Of SHOW STATE.
pub(super) const STATE: &[Column] = &[Column::text("key"), Column::text("value")];
/// Of SHOW VERSION.
pub(super) const VERSION: &[Column] = &[Column::text("version")];
/// Of SHOW MEM.
pub(super) const MEMORY: &[Column] = &[
    Column::text("name"),
    Column::int8("size"),
    Column::int8("used"),
    Column::int8("free"),
    Column::int8("memtotal"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let settings = inside.settings.load();
    let activities = Activities::of(inside.registry.clients(), inside.directory.servers.all());
    let pools = activities.pools();
    let clients = activities.clients.len();
    let in_login = inside.registry.entered().saturating_sub(clients);
    let mut users: BTreeSet<&str> = settings.users.iter().map(|u| u.name.as_str()).collect();
    users.extend(
        activities
            .clients
            .iter()
            .map(|row| row.client.user.as_str()),
    );
    let mut databases: BTreeSet<String> =
        settings.databases.iter().map(|d| d.name.clone()).collect();
    for database in inside.directory.databases.known() {
        databases.insert(database.name.to_string());
    }
    let status = inside.directory.status();
    let reserve = status.iter().map(|pool| pool.reserve_in_use).sum();
    let idle: usize = pools.values().map(|p| p.servers_idle).sum();
    let figures = [
        ("databases", databases.len()),
        ("users", users.len()),
        ("pools", pools.len()),
        // Exporters look for these: none is kept for later, and names are not remembered.
        ("free_clients", 0),
        ("used_clients", clients),
        ("login_clients", in_login),
        ("free_servers", idle),
        ("used_servers", activities.servers.len() - idle),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
        ("reserve_servers", reserve),
        ("closed_for_caps", inside.directory.closed_for_caps()),
    ];
    let row = |(name, n): (&str, usize)| vec![Some(name.to_owned()), Some(n.to_string())];
    Table {
        columns: COLUMNS,
        rows: figures.into_iter().map(row).collect(),
    }
}

pub(super) fn state(inside: &Inside) -> Table {
    let paused = inside.directory.databases.all_paused();
    let word = |yes| if yes { "yes" } else { "no" };
    let states = [
        ("active", word(!paused)),
        ("paused", word(paused)),
        ("suspended", word(false)),
    ];
    let row = |(key, value): (&str, &str)| vec![Some(key.to_owned()), Some(value.to_owned())];
    Table {
        columns: STATE,
        rows: states.into_iter().map(row).collect(),
    }
}

pub(super) fn version() -> Table {
    let version = concat!("pgconvoy ", env!("CARGO_PKG_VERSION"));
    Table {
        columns: VERSION,
        rows: vec![vec![Some(version.to_owned())]],
    }
}

pub(super) fn memory(inside: &Inside) -> Table {
    let rows = (inside.memory)()
        .into_iter()
        .map(|row| {
            let figures = [row.size, row.used, row.free, row.total];
            let mut fields = vec![Some(row.name.to_owned())];
            fields.extend(figures.map(|n| Some(n.to_string())));
            fields
        })
        .collect();
    Table {
        columns: MEMORY,
        rows,
    }
}
