//! `SHOW USERS`: those that are configured, and those that are there. The columns are pgbouncer's.

use std::collections::BTreeMap;

use pgconvoy_config::User;

use super::{Inside, lookup};
use crate::pool::caps::Scope;
use crate::registry::Party;
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("name"),
    Column::int4("pool_size"),
    Column::int4("reserve_pool_size"),
    Column::text("pool_mode"),
    Column::int4("max_user_connections"),
    Column::int4("current_connections"),
    Column::int4("max_user_client_connections"),
    Column::int4("current_client_connections"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let settings = inside.settings.load();
    let clients = inside.registry.clients();
    let mut users: BTreeMap<&str, Option<&User>> =
        clients.iter().map(|c| (c.user.as_str(), None)).collect();
    for user in &settings.users {
        users.insert(&user.name, Some(user));
    }
    let rows = users
        .into_iter()
        .map(|(name, user)| {
            let role = user.and_then(|u| u.server_user.as_deref()).unwrap_or(name);
            let role = Scope::User(role.into());
            let login = Party::User(name.to_owned());
            let reserve = user.and_then(|u| u.reserve_size);
            vec![
                Some(name.to_owned()),
                user.and_then(|u| u.pool_size).map(|n| n.to_string()),
                reserve.map(|n| n.to_string()),
                user.and_then(|u| u.pool_mode).map(|m| m.to_string()),
                lookup::limit(inside.directory.cap_of(&role)),
                Some(inside.directory.counted(&role).to_string()),
                lookup::limit((inside.client_limit)(&login)),
                Some(inside.registry.seating.of(&login).to_string()),
            ]
        })
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}
