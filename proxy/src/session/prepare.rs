//! Prepared statements on their way to servers: known ones are not sent again, missing ones are
//! prepared where they are needed, the least recently used make room.

use std::sync::Arc;

use super::attach::Link;
use super::replies::Reply;
use super::statements::{NAME_PREFIX, Rename, Statement, Undo};
use super::translate::PARSE_COMPLETE;
use super::{End, Rest, Session};
use crate::pool::stats::Stat;
use crate::protocol::frame::{HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_server};
use crate::router::{PinReason, Reason, TransactionEffect};

/// A Parse's body with no name, no text and no types.
const NOTHING: &[u8] = &[0; 4];

impl Session {
    pub(super) fn apply_parse(&mut self, header: Header) -> Result<(), End> {
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        self.identity.pools.tally.add(Stat::ClientParses, 1);
        let there = header.len.min(buffers.client_in.len());
        let whole = there == header.len;
        let statement = match self.plan.parsed.pop_front() {
            Some(statement) => statement,
            None => self.intern(&buffers.client_in[HEADER..there], whole)?,
        };
        let body = &buffers.client_in[HEADER..there];
        let name = messages::parse_name(body)
            .ok()
            .flatten()
            .unwrap_or_default()
            .to_vec();
        if !name.is_empty() && self.statements.get(&name).is_some() {
            return self.parse_again(header, &name);
        }
        self.guard_sequences(&statement.decision());
        self.batch.open();
        if statement.decision().local.is_some() {
            let undo = self.rename(&name, &statement, None);
            self.answer(PARSE_COMPLETE, undo);
            return Ok(());
        }
        if !whole {
            self.parse_streamed(header, &name, &statement);
            return Ok(());
        }
        if self.holds(&statement) {
            let undo = self.rename(&name, &statement, None);
            if self.is_refused(&statement) {
                // Not sent as prepared: it is there, and stays.
                self.send_definition(&statement, undo);
            } else {
                self.answer(PARSE_COMPLETE, undo);
            }
        } else {
            self.make_room();
            let undo = self.rename(&name, &statement, Some(statement.id));
            self.send_parse(&statement, true, undo);
        }
        Ok(())
    }

    /// A statement too long to keep: it lives on this server connection only, which becomes the
    /// session's own.
    pub(super) fn parse_streamed(
        &mut self,
        header: Header,
        name: &[u8],
        statement: &Arc<Statement>,
    ) {
        let undo = self.rename(name, statement, Some(statement.id));
        self.pass_parse(header, name, statement, undo);
        self.identity.pools.tally.add(Stat::ServerParses, 1);
        self.pin(PinReason::UnknownState.into(), true);
        self.mark_prepared(statement);
    }

    /// A name that is taken: the server says so, unless the text itself is what is wrong.
    /// A statement of no text stands in for the one that has it, whose own may mean nothing any more.
    fn parse_again(&mut self, header: Header, name: &[u8]) -> Result<(), End> {
        self.batch.open();
        let Some(statement) = self.statements.get(name) else {
            return Ok(());
        };
        if self.link.is_none() || statement.decision().local.is_some() {
            self.answer(PARSE_COMPLETE, Undo::Nothing);
            return Ok(());
        }
        let statement = self.intern(NOTHING, true)?;
        self.ensure_prepared(&statement);
        let undo = Undo::Called(statement.id, name.to_vec());
        self.pass_parse(header, name, &statement, undo);
        self.identity.pools.tally.add(Stat::ServerParses, 1);
        Ok(())
    }

    /// Passes the client's Parse on with the statement's name on servers in the place of `name`. What is not
    /// there yet follows.
    fn pass_parse(&mut self, header: Header, name: &[u8], statement: &Statement, undo: Undo) {
        let buffers = self.buffers();
        let there = header.len.min(buffers.client_in.len());
        let after_name = HEADER + name.len() + 1;
        let length = header.len - name.len() + statement.name.len() - 1;
        let out = &mut buffers.server_out;
        out.extend_from_slice(b"P");
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&statement.name);
        out.extend_from_slice(&[0]);
        out.extend_from_slice(&buffers.client_in[after_name..there]);
        let visible = true;
        buffers.replies.push(Reply::Parse { visible, undo });
        if there < header.len {
            self.rest = Rest::Server(header.len - there);
        }
    }

    /// Sets the client's name for a statement; what to do if that did not happen.
    pub(super) fn rename(
        &mut self,
        name: &[u8],
        statement: &Arc<Statement>,
        sent: Option<u64>,
    ) -> Undo {
        let before = self.statements.set(name, Some(Arc::clone(statement)));
        Undo::Rename(Rename {
            name: name.to_vec(),
            before,
            id: statement.id,
            set: true,
            sent: sent.is_some(),
        })
    }

    /// Whether the server holds the statement, counting it as used.
    pub(super) fn holds(&mut self, statement: &Statement) -> bool {
        let Some(Link { checkout, .. }) = &mut self.link else {
            return false;
        };
        let held = checkout.prepared.touch(statement.id);
        let cache = &self.context.metrics.prepared_cache;
        if held {
            cache.hits.inc()
        } else {
            cache.misses.inc()
        }
        held
    }

    pub(super) fn mark_prepared(&mut self, statement: &Statement) {
        if let Some(link) = &mut self.link {
            link.checkout.prepared.insert(statement.id);
        }
    }

    /// Prepares the statement on this server if it is missing there; true when it was.
    pub(super) fn ensure_prepared(&mut self, statement: &Arc<Statement>) -> bool {
        let held = self.holds(statement);
        if !held {
            self.make_room();
            self.send_parse(statement, false, Undo::NotPrepared(statement.id));
        }
        !held
    }

    /// Whether the server may refuse to look at the statement, since the transaction has failed.
    pub(super) fn is_refused(&self, statement: &Statement) -> bool {
        let leaves = matches!(
            statement.decision().transaction,
            TransactionEffect::Commit
                | TransactionEffect::Rollback
                | TransactionEffect::CommitAndChain
                | TransactionEffect::RollbackAndChain
                | TransactionEffect::RollbackTo
                | TransactionEffect::PrepareTransaction
        );
        let replies = self.buffers.as_ref().map(|b| &b.replies);
        // Something on its way may fail, or have failed.
        let perhaps = replies.is_some_and(|replies| match self.transaction.status {
            TransactionStatus::Idle => replies.has_end() && self.opening,
            TransactionStatus::InTransaction => replies.has_end(),
            TransactionStatus::Failed => true,
        });
        perhaps && !leaves && statement.decision().reason != Reason::Empty
    }

    /// Has the server look at a statement that it holds already, so that it can refuse it; as the
    /// unnamed one, which nobody uses there.
    fn send_definition(&mut self, statement: &Arc<Statement>, undo: Undo) {
        let text = statement.text();
        let types = statement
            .definition
            .get(text.len() + 1..)
            .unwrap_or_default();
        let buffers = self.buffers();
        to_server::parse(&mut buffers.server_out, b"", text, types);
        let visible = true;
        buffers.replies.push(Reply::Parse { visible, undo });
    }

    pub(super) fn send_parse(&mut self, statement: &Arc<Statement>, visible: bool, undo: Undo) {
        self.identity.pools.tally.add(Stat::ServerParses, 1);
        let definition = &statement.definition;
        let text = statement.text();
        let types = definition.get(text.len() + 1..).unwrap_or_default();
        let buffers = self.buffers();
        to_server::parse(&mut buffers.server_out, &statement.name, text, types);
        buffers.replies.push(Reply::Parse { visible, undo });
        self.mark_prepared(statement);
    }

    /// Closes the least recently used statements for one more. The Close goes after all that was
    /// sent before, so no Bind of it is overtaken.
    pub(super) fn make_room(&mut self) {
        let limit = self.context.tuning.load().prepared_statements.max(1);
        loop {
            let Some(link) = &mut self.link else { return };
            let Some(victim) = link.checkout.prepared.victim(limit) else {
                return;
            };
            link.checkout.prepared.remove(victim);
            self.context.metrics.prepared_cache.evictions.inc();
            let name = [NAME_PREFIX, victim.to_string().as_bytes()].concat();
            let buffers = self.buffers();
            to_server::close(&mut buffers.server_out, messages::Target::Statement, &name);
            buffers.replies.push(Reply::Close {
                visible: false,
                undo: Undo::StillPrepared(victim),
            });
        }
    }
}
