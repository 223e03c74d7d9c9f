//! Sending the client's messages to the server it was given: statements get their names on
//! servers and are prepared where they are missing; what the server need not be asked is answered
//! in its place.

use bytes::Buf;

use super::failure::malformed;
use super::replay::Replay;
use super::replies::Reply;
use super::rewrite::{self, Changes, Rewritten};
use super::run::{Block, Run};
use super::statements::{Rename, Undo};
use super::{Batch, End, Phase, Rest, Session, Step};
use crate::cluster::Position;
use crate::protocol::frame::{Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_server};
use crate::router::{Command, Decision, Discard, Effect, Reason, Tables};

/// A batch's messages are kept up to this size, to be run again where that can be.
const REPLAY_MAX: usize = 16 * 1024;

/// ParseComplete, BindComplete and CloseComplete as we give them ourselves.
pub(super) const PARSE_COMPLETE: &[u8] = &[b'1', 0, 0, 0, 4];
pub(super) const BIND_COMPLETE: &[u8] = &[b'2', 0, 0, 0, 4];
const CLOSE_COMPLETE: &[u8] = &[b'3', 0, 0, 0, 4];

impl Session {
    /// Sends (or answers) the message at the front. There is a server connection if the batch
    /// needs one.
    pub(super) fn apply(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        self.begin_batch(kind);
        match kind {
            Frontend::Query => return self.apply_query(header),
            Frontend::FunctionCall => self.apply_function_call(header),
            Frontend::Parse => self.apply_parse(header)?,
            Frontend::Bind => self.apply_bind(header)?,
            Frontend::Describe => self.apply_describe(header)?,
            Frontend::Execute => return self.apply_execute(header),
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

    /// Whether a statement that takes prepared statements away has to wait, as answers are owed by
    /// which some of them may come to be or not.
    fn wants_silence(&mut self, discard: Discard) -> bool {
        if discard == Discard::Nothing {
            return false;
        }
        self.answer_locals();
        // What is only set up must not be waited for: done with that, the connection would go back.
        !self.buffers().replies.has_only_setup()
    }

    /// Takes what is there of a message off the client's bytes. What is not there yet follows to
    /// where the beginning went.
    pub(super) fn consume(&mut self, header: Header) {
        self.keep_for_replay(header);
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
        let decision = match self.plan.decision.take() {
            Some(decision) => decision,
            None => {
                let Some(buffers) = self.buffers.as_deref() else {
                    return Ok(Step::Wait);
                };
                self.decide_query(&buffers.client_in, header, whole)?
            }
        };
        if self.wants_silence(decision.discard) {
            self.plan.decision = Some(decision);
            return Ok(self.await_answers());
        }
        self.drop_unnamed();
        if let Some(command) = decision.local {
            let text = self.buffers.as_deref().and_then(|buffers| {
                let text = buffers.client_in.get(HEADER..header.len)?;
                Some(text.strip_suffix(b"\0").unwrap_or(text))
            });
            let bytes = self.local_rows(command, text.unwrap_or_default(), true);
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
        if let Some(buffers) = &self.buffers {
            let there = header.len.min(buffers.client_in.len());
            let text = &buffers.client_in[HEADER..there];
            self.note_decision(text.strip_suffix(b"\0").unwrap_or(text), &decision);
        }
        let effects = effects.unwrap_or_default();
        let rewritten = self.rewrite(header, &decision, &effects);
        let text = self.buffers.as_deref().and_then(|buffers| {
            let text = buffers.client_in.get(HEADER..header.len)?;
            Some(text.strip_suffix(b"\0").unwrap_or(text))
        });
        let mut run = self.run_of(&decision, effects, text);
        let buffers = self.buffers();
        let there = header.len.min(buffers.client_in.len());
        if let Some(text) = rewritten {
            run.parts = text.parts.into_iter().rev().collect();
            run.changes = text.changes;
            to_server::query(&mut buffers.server_out, text.sql.as_bytes());
        } else {
            buffers
                .server_out
                .extend_from_slice(&buffers.client_in[..there]);
        }
        buffers.replies.push(Reply::Query(run));
        self.consume(header);
        if !whole {
            self.rest = Rest::Server(header.len - there);
        }
        Ok(Step::Again)
    }

    /// What goes in place of a Query that means something else on a shared connection.
    fn rewrite(
        &self,
        header: Header,
        decision: &Decision,
        effects: &[Effect],
    ) -> Option<Rewritten> {
        if decision.reason == Reason::Position {
            return Some(Rewritten::of(Position::QUESTION));
        }
        let text = (self.buffers.as_deref()?.client_in).get(HEADER..header.len)?;
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let holds = |name: &str| self.statements.get(name.as_bytes()).is_some();
        rewrite::rewrite(text, effects, &self.identity.parameters, holds)
    }

    /// A Query takes the unnamed statement with it (PostgreSQL docs, 55.2.3), unless it is skipped.
    pub(super) fn drop_unnamed(&mut self) {
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

    fn apply_execute(&mut self, header: Header) -> Result<Step, End> {
        self.batch.open();
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(Step::Wait);
        };
        let body = &buffers.client_in[HEADER..header.len];
        let execute = messages::execute(body).map_err(|e| malformed(&e))?;
        let portal = execute.portal.to_vec();
        if execute.max_rows > 0 {
            // What is left of it is asked for later.
            self.beginning.settles();
        }
        let statement = self.statements.portal(&portal).cloned();
        let run = match &statement {
            Some(statement) => {
                let decision = statement.decision();
                if self.wants_silence(decision.discard) {
                    return Ok(self.await_answers());
                }
                if let Some(command) = decision.local {
                    let bytes = self.local_rows(command, statement.text(), false);
                    self.buffers().replies.push(Reply::Local {
                        bytes: bytes.into(),
                        undo: Undo::Nothing,
                    });
                    self.consume(header);
                    return Ok(Step::Again);
                }
                if decision.discard == Discard::Statements
                    && self.deallocate_text(statement.text(), false)
                {
                    self.consume(header);
                    return Ok(Step::Again);
                }
                let bound = self.statements.values(&portal);
                let effects = decision.effects(statement.text(), self.quoting, bound);
                self.about_to_run(&decision, effects.as_deref());
                self.note_decision(statement.text(), &decision);
                Run {
                    statement: statement.id,
                    ..self.run_of(
                        &decision,
                        effects.unwrap_or_default(),
                        Some(statement.text()),
                    )
                }
            }
            // A cursor of DECLARE, or an error that the server will name.
            None => Run {
                command: Command::Other,
                statement: 0,
                writes: true,
                tables: Tables::ALL,
                block: Block::Same,
                commits: false,
                discards: false,
                parts: Vec::new(),
                changes: Changes::NONE,
            },
        };
        let buffers = self.buffers();
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[..header.len]);
        buffers.replies.push(Reply::Execute(run));
        self.consume(header);
        Ok(Step::Again)
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
    pub(super) fn forward(&mut self, header: Header, reply: Reply<Undo>) {
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
        if self.batch == Batch::Bound || !self.end_definitions() {
            to_server::flush(&mut self.buffers().server_out);
        }
        self.started();
    }

    /// Behind nothing but definitions, outside of a transaction: a Sync of our own ends the server's
    /// implicit one, so that the connection is not held until the client's, and nothing that follows
    /// meets a snapshot that the client's own messages have not taken.
    pub(super) fn end_definitions(&mut self) -> bool {
        // A transaction that may begin elsewhere is looked at again behind them.
        let idle =
            self.transaction.status == TransactionStatus::Idle || self.beginning.may_start_over();
        if idle {
            let buffers = self.buffers();
            to_server::sync(&mut buffers.server_out);
            buffers.replies.push(Reply::Sync { visible: false });
            self.batch = Batch::None;
        }
        idle
    }

    /// An answer of our own in its turn.
    pub(super) fn answer(&mut self, message: &'static [u8], undo: Undo) {
        self.buffers().replies.push(Reply::Local {
            bytes: message.into(),
            undo,
        });
    }
}
