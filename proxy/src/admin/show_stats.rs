//! `SHOW STATS` and its parts: what was counted per database. The columns are pgbouncer's.
//!
//! Times are microseconds. Averages are of the last whole minute: counts and bytes per second, times
//! per transaction, per query and per assignment of a server connection.

use super::Inside;
use crate::pool::control::Database;
use crate::pool::stats::{Growth, STATS, Totals};
use crate::status::{Column, Table};

/// Of SHOW STATS.
pub(super) const COLUMNS: &[Column] = &[
    Column::text("database"),
    Column::int8("total_server_assignment_count"),
    Column::int8("total_xact_count"),
    Column::int8("total_query_count"),
    Column::int8("total_received"),
    Column::int8("total_sent"),
    Column::int8("total_xact_time"),
    Column::int8("total_query_time"),
    Column::int8("total_wait_time"),
    Column::int8("total_client_parse_count"),
    Column::int8("total_server_parse_count"),
    Column::int8("total_bind_count"),
    Column::int8("total_client_login_count"),
    Column::int8("avg_server_assignment_count"),
    Column::int8("avg_xact_count"),
    Column::int8("avg_query_count"),
    Column::int8("avg_recv"),
    Column::int8("avg_sent"),
    Column::int8("avg_xact_time"),
    Column::int8("avg_query_time"),
    Column::int8("avg_wait_time"),
    Column::int8("avg_client_parse_count"),
    Column::int8("avg_server_parse_count"),
    Column::int8("avg_bind_count"),
    Column::int8("avg_client_login_count"),
];

/// Of SHOW STATS_TOTALS and SHOW STATS_AVERAGES.
pub(super) const HALF: &[Column] = &[
    Column::text("database"),
    Column::int8("server_assignment_count"),
    Column::int8("xact_count"),
    Column::int8("query_count"),
    Column::int8("bytes_received"),
    Column::int8("bytes_sent"),
    Column::int8("xact_time"),
    Column::int8("query_time"),
    Column::int8("wait_time"),
    Column::int8("client_parse_count"),
    Column::int8("server_parse_count"),
    Column::int8("bind_count"),
    Column::int8("client_login_count"),
];

/// Of SHOW TOTALS.
pub(super) const SUMS: &[Column] = &[Column::text("name"), Column::int8("value")];

/// The names in SHOW TOTALS, after `total_` and `avg_`.
const SUMMED: [&str; STATS] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "client_login_count",
];

pub(super) fn both(inside: &Inside) -> Table {
    table(inside, COLUMNS, |database| {
        [database.totals(), database.last_period().averages()].concat()
    })
}

pub(super) fn totals(inside: &Inside) -> Table {
    table(inside, HALF, |database| database.totals().to_vec())
}

pub(super) fn averages(inside: &Inside) -> Table {
    table(inside, HALF, |database| {
        database.last_period().averages().to_vec()
    })
}

/// All databases together.
pub(super) fn sums(inside: &Inside) -> Table {
    let mut totals = Totals::default();
    let mut period = Growth::default();
    for database in inside.directory.databases.known() {
        for (sum, figure) in totals.iter_mut().zip(database.totals()) {
            *sum = sum.wrapping_add(figure);
        }
        period = period.and(&database.last_period());
    }
    let figures = totals.into_iter().chain(period.averages());
    let row = |(prefix, (name, figure)): (&str, (&str, u64))| {
        vec![Some(format!("{prefix}_{name}")), Some(clamp(figure))]
    };
    let prefixes = std::iter::repeat_n("total", STATS).chain(std::iter::repeat_n("avg", STATS));
    let names = SUMMED.iter().copied().cycle();
    Table {
        columns: SUMS,
        rows: prefixes.zip(names.zip(figures)).map(row).collect(),
    }
}

fn table(
    inside: &Inside,
    columns: &'static [Column],
    figures: impl Fn(&Database) -> Vec<u64>,
) -> Table {
    let row = |database: &Database| {
        let mut row = vec![Some(database.name.to_string())];
        row.extend(figures(database).into_iter().map(|n| Some(clamp(n))));
        row
    };
    let rows = inside
        .directory
        .databases
        .known()
        .iter()
        .map(|d| row(d))
        .collect();
    Table { columns, rows }
}

/// As an int8 can say it.
fn clamp(n: u64) -> String {
    n.min(i64::MAX.unsigned_abs()).to_string()
}
