//! Making a used server connection clean, so that the next session sees nothing of the last.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::Connection;
use crate::error::Report;
use crate::protocol::error_fields::ErrorFields;
use crate::protocol::frame::{self, Backend, TransactionStatus};
use crate::protocol::{messages, sqlstate, to_server};

/// How long cleaning may take before the connection is closed instead.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is left to clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// An open transaction, and nothing else.
    Transaction,
    /// Session state: parameters, temporary tables, locks, LISTEN, cursors, prepared statements.
    Session,
}

/// Cleans the connection. On `false` it must be closed.
pub async fn reset(connection: &mut Connection, leftover: Leftover) -> bool {
    let sql: &[u8] = match leftover {
        Leftover::Transaction => b"ROLLBACK",
        Leftover::Session => b"DISCARD ALL",
    };
    if leftover == Leftover::Session {
        // Not inside a transaction block (PostgreSQL docs, DISCARD); harmless outside of one.
        if execute(connection, b"ROLLBACK").await.is_err() {
            return false;
        }
        connection.prepared.clear();
        connection.parameters = std::sync::Arc::default();
        connection.parameters_unsure = false;
        connection.unseen_by = 0;
        connection.sequences_of = 0;
    }
    match execute(connection, sql).await {
        Ok(status) => status == TransactionStatus::Idle,
        Err(report) => {
            tracing::debug!(error = %report, "server connection could not be reset; closing it");
            false
        }
    }
}

/// Runs SQL whose rows nobody wants and waits for ReadyForQuery.
///
/// # Errors
/// The server's own error, or that the connection broke or took too long.
pub async fn execute(connection: &mut Connection, sql: &[u8]) -> Result<TransactionStatus, Report> {
    observe(connection, sql, |_row| {}).await
}

/// The same, with a look at the body of each row.
///
/// # Errors
/// As [`execute`].
pub async fn observe(
    connection: &mut Connection,
    sql: &[u8],
    row: impl FnMut(&[u8]),
) -> Result<TransactionStatus, Report> {
    tokio::time::timeout(TIMEOUT, run(connection, sql, row))
        .await
        .unwrap_or_else(|_| {
            Err(Report::new(
                sqlstate::CONNECTION_FAILURE,
                "the server did not answer in time",
            ))
        })
}

async fn run(
    connection: &mut Connection,
    sql: &[u8],
    mut row: impl FnMut(&[u8]),
) -> Result<TransactionStatus, Report> {
    let lost = |e: std::io::Error| {
        Report::new(
            sqlstate::CONNECTION_FAILURE,
            format!("server connection lost: {e}"),
        )
    };
    let mut buf = BytesMut::with_capacity(512);
    to_server::query(&mut buf, sql);
    connection.stream.write_all(&buf).await.map_err(lost)?;
    buf.clear();
    let mut failure = None;
    loop {
        while let Some(header) = frame::peek(&buf)
            .map_err(|e| Report::new(sqlstate::PROTOCOL_VIOLATION, e.to_string()))?
        {
            if buf.len() < header.len {
                break;
            }
            let body = &buf[frame::HEADER..header.len];
            match Backend::from_tag(header.tag) {
                Some(Backend::ReadyForQuery) => {
                    let status = body.first().copied().and_then(TransactionStatus::from_byte);
                    return match (failure, status) {
                        (Some(report), _) => Err(report),
                        (None, Some(status)) => Ok(status),
                        (None, None) => Err(Report::new(
                            sqlstate::PROTOCOL_VIOLATION,
                            "ReadyForQuery without a transaction status",
                        )),
                    };
                }
                Some(Backend::ErrorResponse) => {
                    failure = Some(ErrorFields::parse(body).to_report())
                }
                Some(Backend::ParameterStatus) => {
                    if let Ok((name, value)) = messages::parameter_status(body) {
                        let (name, value) = (name.to_vec(), value.to_vec());
                        connection.note_parameter(&name, &value);
                    }
                }
                Some(Backend::DataRow) => row(body),
                // Tags, and results that nobody wants.
                Some(_) => {}
                None => {
                    return Err(Report::new(
                        sqlstate::PROTOCOL_VIOLATION,
                        "unknown message from the server",
                    ));
                }
            }
            buf.advance(header.len);
        }
        if connection.stream.read_buf(&mut buf).await.map_err(lost)? == 0 {
            // It may have said why.
            return Err(failure.unwrap_or_else(|| lost(std::io::ErrorKind::UnexpectedEof.into())));
        }
    }
}
