//! `SHOW POOL_VERSION`: who answers.

use super::Context;
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[Column::text("pool_version")];

pub(super) fn answer(_: &Context<'_>) -> Table {
    let version = concat!("pgconvoy ", env!("CARGO_PKG_VERSION"));
    Table {
        columns: COLUMNS,
        rows: vec![vec![Some(version.to_owned())]],
    }
}
