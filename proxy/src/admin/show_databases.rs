//! `SHOW DATABASES`: those that are configured, and those that clients are or were in. The columns are
//! pgbouncer's; host and port are the primary's.

use std::sync::Arc;

use super::{Inside, lookup};
use crate::pool::caps::Scope;
use crate::pool::control::Database;
use crate::registry::Party;
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("name"),
    Column::text("host"),
    Column::int4("port"),
    Column::text("database"),
    Column::text("force_user"),
    Column::int4("pool_size"),
    Column::int4("min_pool_size"),
    Column::int4("reserve_pool_size"),
    Column::int4("server_lifetime"),
    Column::text("pool_mode"),
    Column::text("load_balance_hosts"),
    Column::int4("max_connections"),
    Column::int4("current_connections"),
    Column::int4("max_client_connections"),
    Column::int4("current_client_connections"),
    Column::int4("paused"),
    Column::int4("disabled"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let settings = inside.settings.load();
    let mut names: Vec<(String, Arc<Database>)> = settings
        .databases
        .iter()
        .map(|d| {
            let target = lookup::target(d).into();
            (d.name.clone(), inside.directory.databases.of(&target))
        })
        .collect();
    for database in inside.directory.databases.known() {
        if !names.iter().any(|(_, known)| Arc::ptr_eq(known, &database)) {
            names.push((database.name.to_string(), database));
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let view = inside.cluster.view();
    let primary = view.primary.and_then(|id| view.node(id));
    let lifetime = settings.pool.server_lifetime.map_or(0, |l| l.as_secs());
    let rows = names
        .into_iter()
        .map(|(name, database)| {
            let target = &database.name;
            let size = inside.directory.size_in(target);
            let scope = Scope::Database(Arc::clone(target));
            let party = Party::Database(name.clone());
            vec![
                Some(name),
                primary.map(|n| n.node.host.clone()),
                primary.map(|n| n.node.port.to_string()),
                Some(target.to_string()),
                None,
                Some(size.size.to_string()),
                Some(size.min_idle.to_string()),
                Some(size.reserve.to_string()),
                Some(lifetime.to_string()),
                Some(lookup::pool_mode(&settings, target, None).to_string()),
                None,
                lookup::limit(inside.directory.cap_of(&scope)),
                Some(inside.directory.counted(&scope).to_string()),
                lookup::limit((inside.client_limit)(&party)),
                Some(inside.registry.seating.of(&party).to_string()),
                Some(u8::from(database.is_paused()).to_string()),
                Some(u8::from(database.is_disabled()).to_string()),
            ]
        })
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}
