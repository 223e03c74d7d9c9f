//! `SHOW POOL_NODES`: one row per node. Monitoring scripts depend on names and order of the
//! columns.

use super::Context;
use crate::status::{self, Column, NodeRow, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::int4("node_id"),
    Column::text("hostname"),
    Column::int4("port"),
    Column::text("status"),
    Column::text("pg_status"),
    Column::text("lb_weight"),
    Column::text("role"),
    Column::text("pg_role"),
    Column::int8("select_cnt"),
    Column::text("load_balance_node"),
    // Words, because a delay that is measured in time is printed with its unit.
    Column::text("replication_delay"),
    Column::text("replication_state"),
    Column::text("replication_sync_state"),
    Column::text("last_status_change"),
];

pub(super) fn answer(context: &Context<'_>) -> Table {
    let row = |row: NodeRow| {
        let reads_here = context.read_node == Some(row.id);
        let fields = [
            row.id.to_string(),
            row.host,
            row.port.to_string(),
            row.status.to_owned(),
            row.pg_status.to_owned(),
            format!("{:.6}", row.read_share),
            row.role.to_owned(),
            row.pg_role.to_owned(),
            row.statements.selects.to_string(),
            reads_here.to_string(),
            row.lag_bytes.to_string(),
            row.replication_state,
            row.sync_state,
            status::local_time(row.last_change),
        ];
        fields.map(Some).to_vec()
    };
    let rows = status::nodes(context.view, context.rules)
        .into_iter()
        .map(row)
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}
