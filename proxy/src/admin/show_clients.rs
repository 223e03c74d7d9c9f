//! `SHOW CLIENTS`: one row per client. The columns are pgbouncer's, and `pinned` at the end.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Inside;
use crate::router::{PinReason, PinSet};
use crate::status::activity::{Activities, ClientRow, calendar};
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
    Column::text("pinned"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let activities = Activities::of(inside.registry.clients(), inside.directory.servers.all());
    let rows = activities.clients.iter().map(row).collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}

fn row(row: &ClientRow) -> Vec<Option<String>> {
    let client = &row.client;
    let [addr, port] = endpoint(Some(client.address));
    let [local_addr, local_port] = endpoint(client.local);
    let server = row.server.as_ref();
    vec![
        Some("C".to_owned()),
        Some(client.user.clone()),
        Some(client.database.clone()),
        Some(client.replication.to_owned()),
        Some(row.state.as_str().to_owned()),
        addr,
        port,
        local_addr,
        local_port,
        Some(zoned_time(client.since)),
        calendar(client.request_at()).map(zoned_time),
        Some(row.wait.as_secs().to_string()),
        Some(row.wait.subsec_micros().to_string()),
        Some("0".to_owned()),
        Some(format!("c{}", client.pid)),
        Some(server.map_or_else(String::new, |s| format!("s{}", s.id))),
        // Over TCP nobody knows the client's.
        Some("0".to_owned()),
        Some(String::new()),
        Some(client.application_name()),
        Some(client.prepared.load(Ordering::Relaxed).to_string()),
        Some(client.pid.to_string()),
        Some(pinned(client.pins())),
    ]
}

/// The names of the reasons; empty when it is not pinned.
fn pinned(bits: u16) -> String {
    let held = |reason: &&PinReason| bits & PinSet::of(**reason).bits() != 0;
    let names: Vec<_> = PinReason::ALL
        .iter()
        .filter(held)
        .map(|r| r.as_str())
        .collect();
    names.join(",")
}

/// An address and a port.
pub(super) fn endpoint(address: Option<SocketAddr>) -> [Option<String>; 2] {
    [
        address.map(|a| a.ip().to_string()),
        address.map(|a| a.port().to_string()),
    ]
}
