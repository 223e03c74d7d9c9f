//! `SHOW SERVERS`: one row per server connection. The columns are pgbouncer's, and `node` at the end.

use std::sync::atomic::Ordering;

use super::{Inside, show_clients};
use crate::pool::servers::ServerState;
use crate::status::activity::{Activities, ServerRow, calendar};
use crate::status::{Column, Table, zoned_time};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("type"),
    Column::text("user"),
    Column::text("database"),
    Column::text("replication"),
    Column::text("state"),
    Column::text("addr"),
    Column::int4("port"),
    Column::text("local_addr"),
    Column::int4("local_port"),
    Column::text("connect_time"),
    Column::text("request_time"),
    Column::int8("wait"),
    Column::int8("wait_us"),
    Column::int4("close_needed"),
    Column::text("ptr"),
    Column::text("link"),
    Column::int4("remote_pid"),
    Column::text("tls"),
    Column::text("application_name"),
    Column::int4("prepared_statements"),
    Column::int8("id"),
    Column::text("node"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let activities = Activities::of(inside.registry.clients(), inside.directory.servers.all());
    let rows = activities
        .servers
        .iter()
        .map(|server| row(server, inside))
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}

fn row(row: &ServerRow, inside: &Inside) -> Vec<Option<String>> {
    let server = &row.server;
    let established = server.established();
    let [addr, port] = match established.and_then(|e| e.peer) {
        Some(peer) => show_clients::endpoint(Some(peer)),
        // Not connected yet: as it is configured.
        None => [
            Some(server.node.host.clone()),
            Some(server.node.port.to_string()),
        ],
    };
    let [local_addr, local_port] = show_clients::endpoint(established.and_then(|e| e.local));
    let database = inside.directory.databases.find(&server.database);
    let close_needed = database.is_some_and(|d| d.is_outdated(server.mark));
    let client = row.client.as_ref();
    let prepared = established.map_or(0, |e| e.prepared.load(Ordering::Relaxed));
    vec![
        Some("S".to_owned()),
        Some(server.user.to_string()),
        Some(server.database.to_string()),
        Some("none".to_owned()),
        Some(state(row).to_owned()),
        addr,
        port,
        local_addr,
        local_port,
        Some(zoned_time(server.since)),
        calendar(server.request_at()).map(zoned_time),
        Some("0".to_owned()),
        Some("0".to_owned()),
        Some(u8::from(close_needed).to_string()),
        Some(format!("s{}", server.id)),
        Some(client.map_or_else(String::new, |c| format!("c{}", c.pid))),
        Some(established.map_or(0, |e| e.key.pid).to_string()),
        Some(String::new()),
        Some(client.map_or_else(String::new, |c| c.application_name())),
        Some(prepared.to_string()),
        Some(server.id.to_string()),
        Some(server.node.label.clone()),
    ]
}

fn state(row: &ServerRow) -> &'static str {
    match row.server.state() {
        ServerState::Login => "login",
        ServerState::Active => "active",
        ServerState::Idle if row.cancels > 0 => "being_canceled",
        ServerState::Idle => "idle",
    }
}
