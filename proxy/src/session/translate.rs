//! Sending the client's messages to the server it was given: statements get their names on
//! servers and are prepared where they are missing; what the server need not be asked is answered
//! in its place.

use std::sync::Arc;

use bytes::Buf;

use super::failure::malformed;
use super::replay::Replay;
use super::replies::Reply;
use super::rows::bound_values;
use super::run::Run;
use super::statements::{NAME_PREFIX, Rename, UNKNOWN_PREFIX, Undo};
use super::{Batch, End, Phase, Rest, Session, Step};
use crate::pool::stats::Stat;
use crate::protocol::frame::{Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_server};
use crate::router::{Command, Discard, PinReason};

/// A batch's messages are kept up to this size, to be run again where that can be.
const REPLAY_MAX: usize = 16 * 1024;

/// ParseComplete, BindComplete and CloseComplete as we give them ourselves.
pub(super) const PARSE_COMPLETE: &[u8] = &[b'1', 0, 0, 0, 4];
const BIND_COMPLETE: &[u8] = &[b'2', 0, 0, 0, 4];
const CLOSE_COMPLETE: &[u8] = &[b'3', 0, 0, 0, 4];

impl Session {
    /// Sends (or answers) the message at the front. There is a server connection if the batch
    /// needs one.
    pub(super) fn apply(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        self.begin_batch(kind);
        self.keep_for_replay(header);
        match kind {
            Frontend::Query => return self.apply_query(header),
            Frontend::FunctionCall => self.apply_function_call(header),
            Frontend::Parse => self.apply_parse(header)?,
            Frontend::Bind => self.apply_bind(header)?,
            Frontend::Describe => self.apply_describe(header)?,
            Frontend::Execute => self.apply_execute(header)?,
            Frontend::Close => self.apply_close(header)?,
            Frontend::Sync => self.apply_sync(),
            Frontend::Flush => self.apply_flush(),
            Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password
            | Frontend::Terminate => {}
        }
        self.consume(header);
        Ok(Step::Again)
    }

    /// Takes what is there of a message off the client's bytes. What is not there yet follows to
    /// where the beginning went.
    fn consume(&mut self, header: Header) {
        let buffers = self.buffers();
        let n = header.len.min(buffers.client_in.len());
        buffers.client_in.advance(n);
        self.plan.sent(header.len);
    }

    fn keep_for_replay(&mut self, header: Header) {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref_mut()) else {
            return;
        };
        if link.replay == Replay::No {
            return;
        }
        match buffers.client_in.get(..header.len) {
            Some(frame) if buffers.replay.len() + frame.len() <= REPLAY_MAX => {
                buffers.replay.extend_from_slice(frame);
            }
            Some(_) | None => link.replay = Replay::No,
        }
    }

    fn apply_query(&mut self, header: Header) -> Result<Step, End> {
        let whole = self.buffers().client_in.len() >= header.len;
        self.drop_unnamed();
        let decision = match self.plan.decision.take() {
            Some(decision) => decision,
            None => {
                let Some(buffers) = self.buffers.as_deref() else {
                    return Ok(Step::Wait);
                };
                self.decide_query(&buffers.client_in, header, whole)?
            }
        };
        if let Some(command) = decision.local {
            let bytes = self.local_rows(command, true);
            self.buffers().replies.push(Reply::LocalReady {
                bytes: bytes.into(),
            });
            self.consume(header);
            return Ok(Step::Again);
        }
        if decision.discard == Discard::Statements && whole && self.deallocate(header) {
            self.consume(header);
            return Ok(Step::Again);
        }
        self.guard_sequences(&decision);
        let effects = self.buffers.as_deref().and_then(|buffers| {
            let there = header.len.min(buffers.client_in.len());
            let text = &buffers.client_in[HEADER..there];
            decision.effects(text.strip_suffix(b"\0").unwrap_or(text), self.quoting, &[])
        });
        self.about_to_run(&decision, effects.as_deref());
        if let (true, Some(buffers)) = (self.context.tuning.load().log_queries, &self.buffers) {
            let there = header.len.min(buffers.client_in.len());
            let text = &buffers.client_in[HEADER..there];
            self.log_statement(text.strip_suffix(b"\0").unwrap_or(text), &decision);
        }
        let run = self.run_of(&decision, effects.unwrap_or_default());
        let buffers = self.buffers();
        let there = header.len.min(buffers.client_in.len());
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[..there]);
        buffers.replies.push(Reply::Query(run));
        self.consume(header);
        if !whole {
            self.rest = Rest::Server(header.len - there);
        }
        Ok(Step::Again)
    }

    /// A Query takes the unnamed statement with it (PostgreSQL docs, 55.2.3), unless it is skipped.
    fn drop_unnamed(&mut self) {
        let Some(before) = self.statements.set(b"", None) else {
            return;
        };
        let outstanding = (self.buffers.as_ref()).is_some_and(|b| !b.replies.is_empty());
        if self.batch.is_open() || outstanding {
            let undo = Undo::Rename(Rename {
                name: Vec::new(),
                id: before.id,
                before: Some(before),
                set: false,
                sent: false,
            });
            self.answer(b"", undo);
        }
    }

    fn apply_function_call(&mut self, header: Header) {
        self.note_function_call();
        self.started();
        self.count_statement();
        let buffers = self.buffers();
        let there = header.len.min(buffers.client_in.len());
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[..there]);
        buffers.replies.push(Reply::Function);
        if there < header.len {
            self.rest = Rest::Server(header.len - there);
        }
    }

    fn apply_bind(&mut self, header: Header) -> Result<(), End> {
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let there = header.len.min(buffers.client_in.len());
        let body = &buffers.client_in[HEADER..there];
        let names = messages::bind_names(body).map_err(|e| malformed(&e))?;
        let names = names.ok_or_else(|| malformed(&messages::unterminated("Bind")))?;
        let (portal, used) = (names.portal.to_vec(), names.used);
        let unnamed = names.statement.is_empty();
        let statement = self.statements.get(names.statement).cloned();
        let unknown = if statement.is_none() {
            unknown_name(names.statement)
        } else {
            Vec::new()
        };
        if let Some(statement) = &statement {
            self.guard_sequences(&statement.decision);
        }
        self.batch = Batch::Bound;
        self.identity.pools.tally.add(Stat::Binds, 1);
        if let Some(statement) = &statement {
            self.statements.bind(&portal, Arc::clone(statement));
            if statement.decision.local.is_some() {
                let Some(buffers) = self.buffers.as_deref() else {
                    return Ok(());
                };
                let values = buffers.client_in[HEADER + used..there].to_vec();
                self.note_formats(&values);
                self.answer(BIND_COMPLETE, Undo::Nothing);
                return Ok(());
            }
            if statement.decision.pins.has(PinReason::Set)
                && let Some(buffers) = self.buffers.as_deref()
            {
                let values = bound_values(&buffers.client_in[HEADER + used..there]);
                let values = values.unwrap_or_default();
                self.statements.note_values(&portal, values);
            }
            self.ensure_prepared(statement);
        }
        let buffers = self.buffers();
        let name = statement
            .as_ref()
            .map_or(unknown.as_slice(), |s| s.name.as_slice());
        let rest_len = header.len - HEADER - used;
        to_server::bind_header(&mut buffers.server_out, &portal, name, rest_len);
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[HEADER + used..there]);
        let id = statement.as_ref().map_or(0, |s| s.id);
        buffers.replies.push(Reply::Bind { id, unnamed });
        if there < header.len {
            self.rest = Rest::Server(header.len - there);
        }
        Ok(())
    }

    fn apply_describe(&mut self, header: Header) -> Result<(), End> {
        self.batch.open();
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let body = &buffers.client_in[HEADER..header.len];
        if !messages::names_something(body) {
            self.forward(header, Reply::Describe { id: 0 });
            return Ok(());
        }
        let named = messages::describe(body).map_err(|e| malformed(&e))?;
        let (target, name) = (named.target, named.name.to_vec());
        let statement = match target {
            messages::Target::Statement => self.statements.get(&name).cloned(),
            messages::Target::Portal => self.statements.portal(&name).cloned(),
        };
        if let Some(command) = statement.as_ref().and_then(|s| s.decision.local) {
            self.describe_local(command, target);
            return Ok(());
        }
        if target == messages::Target::Statement
            && let Some(statement) = &statement
        {
            self.ensure_prepared(statement);
        }
        let id = statement.as_ref().map_or(0, |s| s.id);
        let buffers = self.buffers();
        match (target, statement) {
            (messages::Target::Statement, Some(s)) => {
                to_server::describe(&mut buffers.server_out, target, &s.name);
            }
            (messages::Target::Statement, None) => {
                to_server::describe(&mut buffers.server_out, target, &unknown_name(&name));
            }
            (messages::Target::Portal, _) => {
                to_server::describe(&mut buffers.server_out, target, &name);
            }
        }
        buffers.replies.push(Reply::Describe { id });
        Ok(())
    }

    fn apply_execute(&mut self, header: Header) -> Result<(), End> {
        self.batch.open();
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let body = &buffers.client_in[HEADER..header.len];
        let execute = messages::execute(body).map_err(|e| malformed(&e))?;
        let portal = execute.portal.to_vec();
        let statement = self.statements.portal(&portal).cloned();
        let run = match &statement {
            Some(statement) => {
                let decision = statement.decision;
                if let Some(command) = decision.local {
                    let bytes = self.local_rows(command, false);
                    self.buffers().replies.push(Reply::Local {
                        bytes: bytes.into(),
                        undo: Undo::Nothing,
                    });
                    return Ok(());
                }
                if decision.discard == Discard::Statements
                    && self.deallocate_text(statement.text(), false)
                {
                    return Ok(());
                }
                let bound = self.statements.values(&portal);
                let effects = decision.effects(statement.text(), self.quoting, bound);
                self.about_to_run(&decision, effects.as_deref());
                if self.context.tuning.load().log_queries {
                    self.log_statement(statement.text(), &decision);
                }
                self.run_of(&decision, effects.unwrap_or_default())
            }
            // A cursor of DECLARE, or an error that the server will name.
            None => Run {
                command: Command::Other,
                writes: true,
                commits: false,
                discards: false,
                effects: Vec::new(),
            },
        };
        let buffers = self.buffers();
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[..header.len]);
        buffers.replies.push(Reply::Execute(run));
        Ok(())
    }

    fn apply_close(&mut self, header: Header) -> Result<(), End> {
        self.batch.open();
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let body = &buffers.client_in[HEADER..header.len];
        let close = Reply::Close {
            visible: true,
            undo: Undo::Nothing,
        };
        if !messages::names_something(body) {
            self.forward(header, close);
            return Ok(());
        }
        let named = messages::close(body).map_err(|e| malformed(&e))?;
        let name = named.name.to_vec();
        match named.target {
            // The server's copy is shared with other clients, and goes when it is not used.
            messages::Target::Statement => {
                let before = self.statements.set(&name, None);
                let undo = match before {
                    None => Undo::Nothing,
                    Some(before) => {
                        let id = before.id;
                        let before = Some(before);
                        Undo::Rename(Rename {
                            name,
                            before,
                            id,
                            set: false,
                            sent: false,
                        })
                    }
                };
                self.answer(CLOSE_COMPLETE, undo);
            }
            messages::Target::Portal if self.link.is_some() => self.forward(header, close),
            messages::Target::Portal => self.answer(CLOSE_COMPLETE, Undo::Nothing),
        }
        Ok(())
    }

    /// Passes the message at the front on as it is.
    fn forward(&mut self, header: Header, reply: Reply<Undo>) {
        let buffers = self.buffers();
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[..header.len]);
        buffers.replies.push(reply);
    }

    fn apply_sync(&mut self) {
        self.batch = Batch::None;
        self.phase = Phase::Normal;
        let has_link = self.link.is_some();
        let buffers = self.buffers();
        if has_link {
            to_server::sync(&mut buffers.server_out);
            buffers.replies.push(Reply::Sync { visible: true });
        } else {
            buffers
                .replies
                .push(Reply::LocalReady { bytes: b"".into() });
        }
        self.started();
    }

    fn apply_flush(&mut self) {
        if self.link.is_none() {
            return;
        }
        let idle = self.transaction.status == TransactionStatus::Idle;
        let bound = self.batch == Batch::Bound;
        let buffers = self.buffers();
        if idle && !bound {
            // Nothing but definitions: a Sync of our own ends the server's implicit transaction,
            // so that the connection is not held until the client's.
            to_server::sync(&mut buffers.server_out);
            buffers.replies.push(Reply::Sync { visible: false });
            self.batch = Batch::None;
        } else {
            to_server::flush(&mut buffers.server_out);
        }
        self.started();
    }

    /// An answer of our own in its turn.
    pub(super) fn answer(&mut self, message: &'static [u8], undo: Undo) {
        self.buffers().replies.push(Reply::Local {
            bytes: message.into(),
            undo,
        });
    }
}

/// A name that the server does not know either, so that it says so.
fn unknown_name(name: &[u8]) -> Vec<u8> {
    if name.starts_with(NAME_PREFIX) {
        [UNKNOWN_PREFIX, name].concat()
    } else {
        name.to_vec()
    }
}
