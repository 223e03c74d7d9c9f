//! `SHOW CONFIG`: every setting in force. The columns are pgbouncer's.

use super::Inside;
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("key"),
    Column::text("value"),
    Column::text("default"),
    Column::text("changeable"),
];

pub(super) fn answer(inside: &Inside) -> Table {
    let rows = inside
        .shown
        .load()
        .iter()
        .map(|row| {
            let changeable = if row.live { "yes" } else { "no" };
            vec![
                Some(row.key.clone()),
                Some(row.value.clone()),
                Some(row.default.clone()),
                Some(changeable.to_owned()),
            ]
        })
        .collect();
    Table {
        columns: COLUMNS,
        rows,
    }
}
