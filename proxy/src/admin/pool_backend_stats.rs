//! `SHOW POOL_BACKEND_STATS`: what was sent to each node and which errors came back.

use super::Context;
use crate::status::{self, Column, NodeRow, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::int4("node_id"),
    Column::text("hostname"),
    Column::int4("port"),
    Column::text("status"),
    Column::text("role"),
    Column::int8("select_cnt"),
    Column::int8("insert_cnt"),
    Column::int8("update_cnt"),
    Column::int8("delete_cnt"),
    Column::int8("ddl_cnt"),
    Column::int8("other_cnt"),
    Column::int8("panic_cnt"),
    Column::int8("fatal_cnt"),
    Column::int8("error_cnt"),
];

pub(super) fn answer(context: &Context<'_>) -> Table {
    let row = |row: NodeRow| {
        let (sent, failed) = (row.statements, row.errors);
        let fields = [
            row.id.to_string(),
            row.host,
            row.port.to_string(),
            row.status.to_owned(),
            row.role.to_owned(),
            sent.selects.to_string(),
            sent.inserts.to_string(),
            sent.updates.to_string(),
            sent.deletes.to_string(),
            sent.ddl.to_string(),
            sent.other.to_string(),
            failed.panics.to_string(),
            failed.fatals.to_string(),
            failed.errors.to_string(),
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
