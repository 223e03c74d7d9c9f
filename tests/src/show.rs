//! The SHOW POOL_* commands as a monitoring script reads them: columns by name.

use crate::wire::{Batch, ServerError, Wire, row};
use std::collections::BTreeMap;

/// Rows of a SHOW, each a map from column to value ("" for NULL).
pub type Table = Vec<BTreeMap<String, String>>;

/// What POOL_BACKEND_STATS counts for one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub select: u64,
    pub insert: u64,
    pub update: u64,
    pub delete: u64,
    pub ddl: u64,
    pub other: u64,
}

/// A SHOW command by the simple protocol.
pub fn table(client: &mut Wire, command: &str) -> Table {
    let replies = client.ask(&Batch::new().query(command));
    if let Some(error) = replies.iter().find(|message| message.tag == b'E') {
        panic!("{command}: {}", ServerError::parse(&error.body));
    }
    let columns = replies
        .iter()
        .find(|message| message.tag == b'T')
        .expect("a row description")
        .columns();
    let rows = replies
        .iter()
        .filter(|message| message.tag == b'D')
        .map(row);
    rows.map(|values| {
        let names = columns.iter().map(|(name, _)| name.clone());
        names
            .zip(values.into_iter().map(Option::unwrap_or_default))
            .collect()
    })
    .collect()
}

/// POOL_BACKEND_STATS: one entry for each node.
pub fn counts(client: &mut Wire) -> Vec<Counts> {
    let number =
        |row: &BTreeMap<String, String>, column: &str| row[column].parse().expect("a count");
    let rows = table(client, "show pool_backend_stats");
    rows.iter()
        .map(|row| Counts {
            select: number(row, "select_cnt"),
            insert: number(row, "insert_cnt"),
            update: number(row, "update_cnt"),
            delete: number(row, "delete_cnt"),
            ddl: number(row, "ddl_cnt"),
            other: number(row, "other_cnt"),
        })
        .collect()
}

/// One column of POOL_NODES, node by node.
pub fn nodes(client: &mut Wire, column: &str) -> Vec<String> {
    table(client, "show pool_nodes")
        .into_iter()
        .map(|mut row| row.remove(column).expect(column))
        .collect()
}
