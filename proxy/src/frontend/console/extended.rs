//! The extended protocol on the console: statements and portals by name. A command is carried out at
//! a portal's first Execute; its rows are kept for as many Executes as the client takes.

use std::collections::HashMap;

use bytes::BytesMut;

use super::{End, read};
use crate::admin::{self, Command};
use crate::error::Report;
use crate::protocol::frame::Frontend;
use crate::protocol::messages::{self, Target};
use crate::protocol::{sqlstate, to_client};
use crate::session::rows;
use crate::status::Table;

/// Statements, and portals, of one client.
const MOST: usize = 256;

/// What a portal was bound to and what is left of its rows.
#[derive(Debug)]
struct Portal {
    /// `None` is an empty text.
    command: Option<Command>,
    formats: Vec<i16>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    New,
    /// It ran; these rows are still to be sent.
    Rows(Option<Table>),
}

/// One client's statements and portals.
#[derive(Debug, Default)]
pub(super) struct Extended {
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
    /// After an error, until Sync.
    skipping: bool,
}

/// Done, or refused with words; or the message itself was wrong.
type Step = Result<Result<(), Report>, End>;

impl Extended {
    /// Whether a message is passed over after an error.
    pub(super) fn skips(&self, kind: Frontend) -> bool {
        self.skipping && !matches!(kind, Frontend::Sync | Frontend::Terminate)
    }

    /// An error has been told.
    pub(super) fn skip(&mut self) {
        self.skipping = true;
    }

    /// The batch is over.
    pub(super) fn sync(&mut self) {
        self.skipping = false;
    }

    /// No transaction is open: portals end with theirs.
    pub(super) fn drop_portals(&mut self) {
        self.portals.clear();
    }

    /// DISCARD ALL, DEALLOCATE ALL.
    pub(super) fn forget(&mut self) {
        self.statements.clear();
    }

    pub(super) fn parse(&mut self, body: &[u8], out: &mut BytesMut) -> Step {
        let parse = messages::parse(body)?;
        let mut commands = match read(parse.query) {
            Ok(commands) => commands,
            Err(report) => return Ok(Err(report)),
        };
        let report = if commands.len() > 1 {
            Report::new(
                sqlstate::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            )
        } else if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            Report::new(
                sqlstate::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )
        } else if self.statements.len() >= MOST && !self.statements.contains_key(parse.name) {
            Report::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a client of the console may have {MOST} prepared statements at most"),
            )
        } else {
            self.statements.insert(parse.name.to_vec(), commands.pop());
            to_client::parse_complete(out);
            return Ok(Ok(()));
        };
        Ok(Err(report))
    }

    pub(super) fn bind(&mut self, body: &[u8], out: &mut BytesMut) -> Step {
        let names = messages::bind_names(body)?.ok_or_else(|| messages::unterminated("Bind"))?;
        let malformed = || {
            End::Told(Report::new(
                sqlstate::PROTOCOL_VIOLATION,
                "invalid Bind message",
            ))
        };
        let bound = rows::bound(&body[names.used..]).ok_or_else(malformed)?;
        let Some(command) = self.statements.get(names.statement) else {
            return Ok(Err(unknown_statement(names.statement)));
        };
        let columns = command.as_ref().and_then(admin::columns).unwrap_or(&[]);
        if bound.values > 0 {
            return Ok(Err(Report::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but a command of the console takes none",
                    bound.values
                ),
            )));
        }
        if bound.formats.len() > 1 && bound.formats.len() != columns.len() {
            return Ok(Err(Report::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but the command has {} columns",
                    bound.formats.len(),
                    columns.len()
                ),
            )));
        }
        if self.portals.len() >= MOST && !self.portals.contains_key(names.portal) {
            return Ok(Err(Report::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a client of the console may have {MOST} portals at most"),
            )));
        }
        let portal = Portal {
            command: command.clone(),
            formats: bound.formats,
            progress: Progress::New,
        };
        self.portals.insert(names.portal.to_vec(), portal);
        to_client::bind_complete(out);
        Ok(Ok(()))
    }

    pub(super) fn describe(&mut self, body: &[u8], out: &mut BytesMut) -> Step {
        let named = messages::describe(body)?;
        let (command, formats) = match named.target {
            Target::Statement => {
                let Some(command) = self.statements.get(named.name) else {
                    return Ok(Err(unknown_statement(named.name)));
                };
                to_client::parameter_description(out, &[]);
                (command, &[][..])
            }
            Target::Portal => {
                let Some(portal) = self.portals.get(named.name) else {
                    return Ok(Err(unknown_portal(named.name)));
                };
                (&portal.command, &portal.formats[..])
            }
        };
        match command.as_ref().and_then(admin::columns) {
            Some(columns) => rows::describe(out, columns, formats),
            None => to_client::no_data(out),
        }
        Ok(Ok(()))
    }

    pub(super) fn close(&mut self, body: &[u8], out: &mut BytesMut) -> Step {
        let named = messages::close(body)?;
        match named.target {
            Target::Statement => drop(self.statements.remove(named.name)),
            Target::Portal => drop(self.portals.remove(named.name)),
        }
        to_client::close_complete(out);
        Ok(Ok(()))
    }

    /// The command of a portal that has not run yet.
    pub(super) fn to_run(&self, portal: &[u8]) -> Result<Option<Command>, Report> {
        let portal = self
            .portals
            .get(portal)
            .ok_or_else(|| unknown_portal(portal))?;
        match portal.progress {
            Progress::New => Ok(portal.command.clone()),
            Progress::Rows(_) => Ok(None),
        }
    }

    /// It has run.
    pub(super) fn ran(&mut self, portal: &[u8], table: Option<Table>) {
        if let Some(portal) = self.portals.get_mut(portal) {
            portal.progress = Progress::Rows(table);
        }
    }

    /// Sends up to `most` of the rows that are left (0 is all) and how that ended.
    pub(super) fn rows(&mut self, portal: &[u8], most: usize, out: &mut BytesMut) {
        let Some(portal) = self.portals.get_mut(portal) else {
            return;
        };
        let Some(command) = &portal.command else {
            to_client::empty_query_response(out);
            return;
        };
        if let Progress::Rows(Some(table)) = &mut portal.progress {
            let all = table.rows.len();
            let now = if most == 0 { all } else { most.min(all) };
            let part = Table {
                columns: table.columns,
                rows: table.rows.drain(..now).collect(),
            };
            rows::rows(out, &part, &portal.formats);
            if !table.rows.is_empty() {
                to_client::portal_suspended(out);
                return;
            }
        }
        to_client::command_complete(out, command.tag());
    }
}

fn unknown_statement(name: &[u8]) -> Report {
    let name = String::from_utf8_lossy(name);
    Report::new(
        sqlstate::INVALID_STATEMENT_NAME,
        format!("prepared statement \"{name}\" does not exist"),
    )
}

fn unknown_portal(name: &[u8]) -> Report {
    let name = String::from_utf8_lossy(name);
    Report::new(
        sqlstate::INVALID_CURSOR_NAME,
        format!("portal \"{name}\" does not exist"),
    )
}
