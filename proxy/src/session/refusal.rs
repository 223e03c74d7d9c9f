//! What a replica refuses or breaks off only because it is one: run on the primary instead, where the
//! client has seen nothing of it.
//!
//! A read may hide a write (behind a view, a function that lies of its volatility), or ask for what only a
//! primary has; then a standby says so before anything has happened (PostgreSQL docs, 27.4.1). Its replay
//! may also need what a query holds (27.4.2). Nothing of these is the client's doing.

use super::context::Buffers;
use super::replay::Replay;
use super::stale::is_stale;
use super::{Demand, Detour, Session};
use crate::protocol::error_fields::ErrorView;
use crate::protocol::frame::{self, Backend, Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, sqlstate};
use crate::router::Target;

/// What is held back at most while it is not known how a read begins.
const HELD_MAX: usize = 16 * 1024;

/// Where PostgreSQL refuses SERIALIZABLE on a standby (field `R` of the error).
const SERIALIZABLE: &[u8] = b"GetSerializableTransactionSnapshot";

/// Why a replica has not done what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It can't, and never will.
    Standby,
    /// Its replay was in the way.
    Conflict,
    /// It ends the connection.
    Goes,
}

impl Refusal {
    fn of(error: &ErrorView<'_>) -> Option<Self> {
        if error.is_fatal() {
            return Some(Self::Goes);
        }
        match error.sqlstate()? {
            sqlstate::READ_ONLY_SQL_TRANSACTION
            | sqlstate::FEATURE_NOT_SUPPORTED
            | sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE => Some(Self::Standby),
            sqlstate::SERIALIZATION_FAILURE | sqlstate::DEADLOCK_DETECTED => Some(Self::Conflict),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Conflict => "conflict",
            Self::Goes => "goes",
        }
    }
}

/// What comes of looking for one at the front of the server's messages.
pub(super) enum Refused {
    /// It is not there, or the client must see it.
    No,
    /// That can't be told yet.
    Wait,
    /// Everything is done to run the batch again; so many bytes of the server's are void.
    Mended(usize),
}

/// A refusal behind messages that only announce an answer.
struct Found {
    refusal: Refusal,
    /// How many answers were complete before it.
    answered: usize,
    /// It is the isolation level that this session's transactions have by default, not the statement.
    of_the_session: bool,
    /// Bytes before it.
    announced: usize,
    length: usize,
}

impl Session {
    /// Looks for such an error, also behind what comes before the first row.
    pub(super) fn look_for_refusal(&mut self, kind: Backend) -> Refused {
        let (Some(link), Some(buffers)) = (&self.link, self.buffers.as_deref()) else {
            return Refused::No;
        };
        let may_be = kind == Backend::ErrorResponse || announces(kind);
        if !may_be || link.is_primary || link.replay != Replay::Elsewhere {
            return Refused::No;
        }
        let kept = buffers.replies.front_is_own() || self.keeps_its_connection();
        let over = self.beginning.may_start_over();
        if kept || (self.transaction.status != TransactionStatus::Idle && !over) {
            return Refused::No;
        }
        let found = match find(buffers) {
            Ok(Some(found)) => found,
            Ok(None) => return Refused::No,
            Err(Incomplete) => return Refused::Wait,
        };
        if found.refusal == Refusal::Goes {
            // What was announced will not come; the error itself is the loss of the connection.
            return match found.announced {
                0 => Refused::No,
                length => Refused::Mended(length),
            };
        }
        if found.refusal == Refusal::Standby && !found.of_the_session {
            self.remember_refusal(found.answered);
            self.database.may_have_changed();
        }
        if !self.start_over(found.answered) {
            return Refused::No;
        }
        if over {
            self.end_on_replica("ROLLBACK");
        }
        self.context
            .metrics
            .routing()
            .refused(found.refusal.as_str());
        let client = self.identity.address;
        tracing::debug!(%client, reason = found.refusal.as_str(), "a read goes to the primary");
        self.detour = Detour::Primary;
        Refused::Mended(found.length)
    }

    /// What a replica has refused is for the primary from now on.
    fn remember_refusal(&self, answered: usize) {
        let Some(buffers) = self.buffers.as_deref() else {
            return;
        };
        let statement = buffers.replies.statement_behind(answered);
        if let Some(statement) = self.statements.numbered(statement) {
            statement.is_refused();
        } else if let Ok(Some((Frontend::Query, header))) = frame::peek_frontend(&buffers.replay)
            && let Some(Ok(text)) = (buffers.replay.get(HEADER..header.len)).map(messages::query)
        {
            let catalog = self.database.catalog();
            self.context.router().refused(text, catalog.as_deref());
        }
    }

    /// What the batch at the front needs, as far as a server is needed.
    pub(super) fn demand(&self) -> Option<Demand> {
        let target = Target::Primary;
        self.plan.demand.map(|demand| {
            if self.detour == Detour::Primary {
                Demand { target }
            } else {
                demand
            }
        })
    }
}

/// More is to come that decides.
struct Incomplete;

/// A refusal at the front of the server's messages; `None` if there is none.
fn find(buffers: &Buffers) -> Result<Option<Found>, Incomplete> {
    let (mut at, mut answered) = (0, 0);
    loop {
        let rest = buffers.server_in.get(at..).unwrap_or_default();
        let Ok(next) = frame::peek_backend(rest) else {
            return Ok(None);
        };
        let whole = |header: Header| rest.len() >= header.len;
        match next {
            Some((Backend::ErrorResponse, header)) if whole(header) => {
                let body = rest.get(HEADER..header.len).unwrap_or_default();
                // That one is for who goes by an earlier description (see `stale`).
                let view = ErrorView::new(body);
                let of_the_session = view.get(b'R') == Some(SERIALIZABLE);
                let refusal = Refusal::of(&view).filter(|_| !is_stale(body));
                return Ok(refusal.map(|refusal| Found {
                    refusal,
                    answered,
                    of_the_session,
                    announced: at,
                    length: at + header.len,
                }));
            }
            Some((kind, header)) if announces(kind) && whole(header) => {
                at += header.len;
                let ends = !matches!(
                    kind,
                    Backend::ParameterDescription | Backend::NoticeResponse
                );
                answered += usize::from(ends);
            }
            Some((kind, _)) if kind != Backend::ErrorResponse && !announces(kind) => {
                return Ok(None);
            }
            // Only where the server has more to say by itself, and not for ever.
            _ if buffers.server_in.len() < HELD_MAX && buffers.replies.owes_more_than(answered) => {
                return Err(Incomplete);
            }
            _ => return Ok(None),
        }
    }
}

/// Whether the message may come before anything is done.
fn announces(kind: Backend) -> bool {
    matches!(
        kind,
        Backend::ParseComplete
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::ParameterDescription
            | Backend::RowDescription
            | Backend::NoData
            | Backend::NoticeResponse
    )
}
