//! `SHOW POOLS`: one row per database and user, over all nodes. The columns are pgbouncer's, and
//! at the end what is of the reserve.

use std::collections::HashMap;

use super::{Inside, lookup};
use crate::status::activity::{Activities, PoolName};
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("database"),
    Column::text("user"),
    Column::int4("cl_active"),
    Column::int4("cl_waiting"),
    Column::int4("cl_active_cancel_req"),
    Column::int4("cl_waiting_cancel_req"),
    Column::int4("sv_active"),
    Column::int4("sv_active_cancel"),
    Column::int4("sv_being_canceled"),
    Column::int4("sv_idle"),
    Column::int4("sv_used"),
    Column::int4("sv_tested"),
    Column::int4("sv_login"),
    Column::int4("maxwait"),
    Column::int4("maxwait_us"),
    Column::text("pool_mode"),
    Column::text("load_balance_hosts"),
    Column::int4("sv_reserve"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let settings = inside.settings.load();
    let activities = Activities::of(inside.registry.clients(), inside.directory.servers.all());
    let mut reserves: HashMap<PoolName, usize> = HashMap::new();
    for pool in inside.directory.status() {
        let name = (pool.tenant.database, pool.tenant.user);
        *reserves.entry(name).or_default() += pool.reserve_in_use;
    }
    let rows = activities
        .pools()
        .into_iter()
        .map(|(name, pool)| {
            let reserve = reserves.get(&name).copied().unwrap_or(0);
            let (database, user) = name;
            // A connection is not set apart to be checked, nor does a cancel request wait.
            let none = 0;
            let numbers = [
                pool.clients_active,
                pool.clients_waiting,
                pool.cancels,
                none,
                pool.servers_active,
                pool.cancels,
                pool.servers_being_canceled,
                pool.servers_idle,
                none,
                none,
                pool.servers_login,
            ];
            let mut row = vec![Some(database.to_string()), Some(user.to_string())];
            row.extend(numbers.map(|n| Some(n.to_string())));
            row.push(Some(pool.longest_wait.as_secs().to_string()));
            row.push(Some(pool.longest_wait.subsec_micros().to_string()));
            let mode = lookup::pool_mode(&settings, &database, Some(&user));
            row.push(Some(mode.to_string()));
            row.push(None);
            row.push(Some(reserve.to_string()));
            row
        })
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}
