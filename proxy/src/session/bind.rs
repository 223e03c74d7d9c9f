//! Bind and Describe: a client's name becomes the one that the statement has on servers.
//!
//! In a failed transaction a server can't be told of a statement that it does not hold. It would not run
//! it either, but still tells by what it knows of it how it is misused: there, one of no text with as
//! many parameters stands in for it.

use std::sync::Arc;

use super::failure::malformed;
use super::replies::Reply;
use super::rows::bound_values;
use super::statements::{NAME_PREFIX, Statement, UNKNOWN_PREFIX, Undo};
use super::translate::BIND_COMPLETE;
use super::{Batch, End, Rest, Session};
use crate::pool::stats::Stat;
use crate::protocol::frame::{HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_server};
use crate::router::{self, PinReason};

/// What a server is told in the place of a client's name.
enum Sent {
    /// This name.
    Name(Vec<u8>),
    /// The statement, which it holds.
    Held(Arc<Statement>),
    /// The statement, which it has been told of just now.
    Parsed(Arc<Statement>),
    /// Another one, in a failed transaction.
    StandIn(Arc<Statement>),
}

impl Sent {
    fn name(&self) -> &[u8] {
        match self {
            Self::Name(name) => name,
            Self::Held(s) | Self::Parsed(s) | Self::StandIn(s) => &s.name,
        }
    }
}

impl Session {
    pub(super) fn apply_bind(&mut self, header: Header) -> Result<(), End> {
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
        // Said again only where it means nothing, or may not.
        let failed = self.transaction.status == TransactionStatus::Failed;
        let name = if statement.is_none() || failed {
            names.statement.to_vec()
        } else {
            Vec::new()
        };
        if let Some(statement) = &statement {
            self.guard_sequences(&statement.decision());
        }
        if !portal.is_empty() {
            // It outlives the batch.
            self.beginning.settles();
        }
        let before = std::mem::replace(&mut self.batch, Batch::Bound);
        self.identity.pools.tally.add(Stat::Binds, 1);
        if let Some(statement) = &statement {
            self.statements.bind(&portal, Arc::clone(statement));
            if statement.decision().local.is_some() {
                let Some(buffers) = self.buffers.as_deref() else {
                    return Ok(());
                };
                let values = buffers.client_in[HEADER + used..there].to_vec();
                self.note_formats(&values);
                self.answer(BIND_COMPLETE, Undo::Nothing);
                return Ok(());
            }
            if statement.decision().pins.has(PinReason::Set)
                && let Some(buffers) = self.buffers.as_deref()
            {
                let values = bound_values(&buffers.client_in[HEADER + used..there]);
                let values = values.unwrap_or_default();
                self.statements.note_values(&portal, values);
            }
        }
        let sent = match &statement {
            Some(statement) => self.sent_for(statement, messages::Target::Portal, before)?,
            None => self.sent_for_unknown(&name),
        };
        let buffers = self.buffers();
        let rest_len = header.len - HEADER - used;
        to_server::bind_header(&mut buffers.server_out, &portal, sent.name(), rest_len);
        buffers
            .server_out
            .extend_from_slice(&buffers.client_in[HEADER + used..there]);
        let id = statement.as_ref().map_or(0, |s| s.id);
        let refused = matches!(sent, Sent::StandIn(_));
        buffers.replies.push(Reply::Bind {
            id,
            unnamed,
            refused,
        });
        self.note_stand_in(&sent, name);
        if there < header.len {
            self.rest = Rest::Server(header.len - there);
        }
        Ok(())
    }

    pub(super) fn apply_describe(&mut self, header: Header) -> Result<(), End> {
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
        if let Some(command) = statement.as_ref().and_then(|s| s.decision().local) {
            self.describe_local(command, target);
            return Ok(());
        }
        let sent = match (target, &statement) {
            (messages::Target::Portal, _) => Sent::Name(name),
            (messages::Target::Statement, Some(statement)) => {
                self.sent_for(statement, target, self.batch)?
            }
            (messages::Target::Statement, None) => self.sent_for_unknown(&name),
        };
        let id = statement.as_ref().map_or(0, |s| s.id);
        let buffers = self.buffers();
        to_server::describe(&mut buffers.server_out, target, sent.name());
        buffers.replies.push(Reply::Describe { id });
        if matches!(sent, Sent::Parsed(_)) && self.batch == Batch::Open {
            self.end_definitions();
        }
        Ok(())
    }

    /// Sees to it that the server knows a statement that something is asked of.
    fn sent_for(
        &mut self,
        statement: &Arc<Statement>,
        asked: messages::Target,
        before: Batch,
    ) -> Result<Sent, End> {
        // What was bound may have left the failed transaction since.
        if before != Batch::Bound
            && let Some(stand_in) = self.stand_in(statement, asked)?
        {
            self.ensure_prepared(&stand_in);
            return Ok(Sent::StandIn(stand_in));
        }
        let parsed = self.ensure_prepared(statement);
        let statement = Arc::clone(statement);
        Ok(if parsed {
            Sent::Parsed(statement)
        } else {
            Sent::Held(statement)
        })
    }

    /// A name that the server does not know either, so that it says so. The unnamed statement may be one
    /// of ours there.
    fn sent_for_unknown(&mut self, name: &[u8]) -> Sent {
        if name.is_empty() {
            let buffers = self.buffers();
            to_server::close(&mut buffers.server_out, messages::Target::Statement, b"");
            buffers.replies.push(Reply::Close {
                visible: false,
                undo: Undo::Nothing,
            });
        }
        Sent::Name(if name.starts_with(NAME_PREFIX) {
            [UNKNOWN_PREFIX, name].concat()
        } else {
            name.to_vec()
        })
    }

    /// The statement that is bound or described in the place of one that the server can't be told of.
    fn stand_in(
        &self,
        statement: &Statement,
        asked: messages::Target,
    ) -> Result<Option<Arc<Statement>>, End> {
        let ahead = (self.buffers.as_ref()).is_some_and(|b| b.replies.has_end());
        let failed = self.transaction.status == TransactionStatus::Failed && !ahead;
        let link = self.link.as_ref().filter(|_| failed);
        let missing = link.is_some_and(|l| !l.checkout.prepared.contains(statement.id));
        if !missing || !self.is_refused(statement) {
            return Ok(None);
        }
        let count = router::parameters(statement.text()).max(statement.types());
        let shown = count == 0 && router::returns_no_rows(statement.text());
        if asked == messages::Target::Statement && !shown {
            return Ok(None);
        }
        // Text, whatever they are: nothing is ever bound to them.
        let types = [0, 0, 0, 25].repeat(usize::from(count));
        let body = [&[0, 0], &count.to_be_bytes()[..], &types].concat();
        self.intern(&body, true).map(Some)
    }

    /// An error that names the stand-in shall name what the client asked for.
    fn note_stand_in(&mut self, sent: &Sent, name: Vec<u8>) {
        if let Sent::StandIn(stand_in) = sent {
            self.answer(b"", Undo::Called(stand_in.id, name));
        }
    }
}
