//! What a server answers to a text, in brief: to be compared with another's answer.
//!
//! Must not know what the text is for.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::connection::Connection;
use super::reset;
use crate::error::Report;

/// A result, whatever the order of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    rows: u64,
    sum: u64,
}

/// Runs the text and digests the rows.
///
/// # Errors
/// The server's own error, or that the connection broke or took too long.
pub async fn ask(connection: &mut Connection, sql: &[u8]) -> Result<Answer, Report> {
    let mut answer = Answer::default();
    reset::observe(connection, sql, |row| {
        answer.rows += 1;
        let hash = FixedState::default().hash_one(row);
        answer.sum = answer.sum.wrapping_add(hash);
    })
    .await?;
    Ok(answer)
}

/// The first row's only field.
///
/// # Errors
/// As [`ask`].
pub async fn one(connection: &mut Connection, sql: &[u8]) -> Result<Option<String>, Report> {
    let mut found = None;
    reset::observe(connection, sql, |row| {
        // A count of columns, then a length and the value (PostgreSQL docs, 55.7, DataRow).
        let value = row
            .get(6..)
            .map(|v| String::from_utf8_lossy(v).into_owned());
        found = found.take().or(value);
    })
    .await?;
    Ok(found)
}
