//! What needs no server: `SHOW POOL_NODES` and its siblings in both protocols, and DEALLOCATE of
//! statements that only have a name here.

use bytes::BytesMut;

use super::replies::Reply;
use super::statements::Undo;
use super::{Session, route, rows};
use crate::protocol::frame::{HEADER, Header, TransactionStatus};
use crate::protocol::messages;
use crate::protocol::to_client;
use crate::router::{self, Effect, Local};

impl Session {
    /// The rows and the command tag, with the row description before them in the simple protocol.
    pub(super) fn local_rows(&self, command: Local, sql: &[u8], simple: bool) -> Vec<u8> {
        let table = match command {
            Local::Show(command) => self.context.console.answer(command, self.read_node),
            Local::Route => self.route(sql),
        };
        let mut out = BytesMut::with_capacity(1024);
        let formats = if simple {
            &[][..]
        } else {
            &self.local_formats[..]
        };
        if simple {
            rows::describe(&mut out, table.columns, &[]);
        }
        rows::rows(&mut out, &table, formats);
        // As a SHOW of the server's own.
        to_client::command_complete(&mut out, "SHOW");
        out.to_vec()
    }

    /// Notes in which formats the rows are wanted (PostgreSQL docs, 55.7, Bind).
    pub(super) fn note_formats(&mut self, after_names: &[u8]) {
        self.local_formats = rows::bound(after_names).unwrap_or_default().formats;
    }

    /// ParameterDescription (for a statement) and RowDescription.
    pub(super) fn describe_local(&mut self, command: Local, target: messages::Target) {
        let columns = match command {
            Local::Show(command) => self.context.console.answer(command, self.read_node).columns,
            Local::Route => route::COLUMNS,
        };
        let mut bytes = BytesMut::with_capacity(512);
        let formats = match target {
            messages::Target::Statement => {
                to_client::parameter_description(&mut bytes, &[]);
                Vec::new()
            }
            messages::Target::Portal => self.local_formats.clone(),
        };
        rows::describe(&mut bytes, columns, &formats);
        let reply = Reply::Local {
            bytes: bytes.to_vec().into(),
            undo: Undo::Nothing,
        };
        self.buffers().replies.push(reply);
    }

    /// DEALLOCATE as a Query: true when it was answered here.
    pub(super) fn deallocate(&mut self, header: Header) -> bool {
        let Some(buffers) = self.buffers.as_deref() else {
            return false;
        };
        let Ok(text) = messages::query(&buffers.client_in[HEADER..header.len]) else {
            return false;
        };
        let text = text.to_vec();
        self.deallocate_text(&text, true)
    }

    /// DEALLOCATE of a statement of the extended protocol, whose name on servers is another: its
    /// end is only noted here. True when it was answered.
    pub(super) fn deallocate_text(&mut self, text: &[u8], simple: bool) -> bool {
        if self.transaction.status == TransactionStatus::Failed {
            // The server refuses it, as all but ROLLBACK.
            return false;
        }
        let tag = match router::effects(text, &[]).as_slice() {
            [Effect::Deallocate(None)] => {
                // What SQL-level PREPARE has made is on the session's own connection.
                if !self.pins.is_empty() {
                    return false;
                }
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            [Effect::Deallocate(Some(name))] => {
                if self.statements.get(name.as_bytes()).is_none() {
                    return false;
                }
                self.statements.set(name.as_bytes(), None);
                "DEALLOCATE"
            }
            _ => return false,
        };
        if self.transaction.status != TransactionStatus::Idle || self.batch.is_open() {
            // The server's own would take a snapshot, behind which a transaction's mode is no longer set.
            self.ask(&["SELECT".to_owned()]);
        }
        let mut bytes = BytesMut::with_capacity(32);
        to_client::command_complete(&mut bytes, tag);
        let bytes = bytes.to_vec().into();
        self.buffers().replies.push(if simple {
            Reply::LocalReady { bytes }
        } else {
            Reply::Local {
                bytes,
                undo: Undo::Nothing,
            }
        });
        true
    }
}
