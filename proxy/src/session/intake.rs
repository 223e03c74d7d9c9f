//! Understanding the client: which message comes next, what the batch it belongs to demands of a
//! server, and whether the server connection at hand will do.
//!
//! A batch is a Query, a FunctionCall, or messages of the extended protocol up to Sync or Flush.
//! It is looked at as a whole before any of it is sent, because its most demanding part decides.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Buf;

use super::attach::Demand;
use super::io::CLIENT_IN_MAX;
use super::statements::Statement;
use super::{End, Need, Phase, Rest, Session, failure};
use crate::protocol::frame::{self, FrameError, Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_client};
use crate::router::{Decision, Target};
use crate::session::context::HIGH_WATER;

/// What is known of the batch at the front of the client's messages.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Bytes looked at.
    scanned: usize,
    /// Bytes that may be sent, once the demand is met; 0 while the batch is not complete.
    pub(super) ready: usize,
    /// What it needs; `None` when we answer all of it.
    demand: Option<Demand>,
    /// The decision on a Query, so that it is taken once.
    pub(super) decision: Option<Decision>,
    /// The statements of its Parses, in order.
    pub(super) parsed: VecDeque<Arc<Statement>>,
    /// It has a Bind.
    bound: bool,
}

impl Plan {
    fn demand(&mut self, target: Target) {
        let target = match (&self.demand, target) {
            (
                Some(Demand {
                    target: Target::Primary,
                }),
                _,
            )
            | (_, Target::Primary) => Target::Primary,
            (
                Some(Demand {
                    target: Target::Replica,
                })
                | None,
                Target::Replica,
            ) => Target::Replica,
        };
        self.demand = Some(Demand { target });
    }

    fn fold(&mut self, decision: &Decision) {
        if decision.local.is_none() {
            self.demand(decision.target);
        }
    }

    /// A message of the batch has been sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.ready = self.ready.saturating_sub(bytes);
        if self.ready == 0 {
            self.reset();
        }
    }

    pub(super) fn reset(&mut self) {
        self.parsed.clear();
        *self = Self {
            parsed: std::mem::take(&mut self.parsed),
            ..Self::default()
        };
    }
}

/// What came of looking at the next message.
pub(super) enum Step {
    /// Look at the next.
    Again,
    /// Nothing more can be done now.
    Wait,
    /// A server connection is needed.
    Server(Demand),
}

impl Session {
    /// Goes through the client's messages as far as possible.
    pub(super) fn advance(&mut self) -> Result<Need, End> {
        loop {
            match self.step()? {
                Step::Again => {}
                Step::Wait => break,
                Step::Server(demand) => return Ok(Need::Server(demand)),
            }
        }
        self.answer_locals();
        Ok(Need::Event)
    }

    fn step(&mut self) -> Result<Step, End> {
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return Ok(Step::Wait);
        };
        if buffers.server_out.len() >= HIGH_WATER || buffers.client_out.len() >= HIGH_WATER {
            return Ok(Step::Wait);
        }
        if self.rest != Rest::None {
            return Ok(self.stream_rest());
        }
        let next = frame::peek_frontend(&buffers.client_in).map_err(|e| malformed(&e))?;
        let Some((kind, header)) = next else {
            return Ok(Step::Wait);
        };
        match self.phase {
            Phase::SkipToSync => Ok(self.skip(kind, header)),
            Phase::CopyIn => self.copy_in(kind, header),
            Phase::Normal => self.normal(kind, header),
        }
    }

    fn normal(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        let outstanding = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        match kind {
            // What was asked for before is still done.
            Frontend::Terminate if outstanding => Ok(Step::Wait),
            Frontend::Terminate => Err(End::Left),
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => {
                if outstanding {
                    return Ok(Step::Wait);
                }
                // Late data of a COPY that failed: the server, too, drops it.
                self.discard(header);
                Ok(Step::Again)
            }
            Frontend::Password => Err(malformed(&FrameError::UnknownType { tag: header.tag })),
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Parse
            | Frontend::Bind
            | Frontend::Describe
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Sync
            | Frontend::Flush => self.request(kind, header),
        }
    }

    fn request(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        if let Some(report) = self.broken.take() {
            self.transaction.status = TransactionStatus::Idle;
            self.transaction.wrote = false;
            return Ok(self.refuse(kind, header, &report));
        }
        if self.is_held() {
            return if self.enough(kind, header) {
                self.apply(kind, header)
            } else {
                Ok(Step::Wait)
            };
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Step::Wait);
        }
        match (self.plan.demand, &self.link) {
            (None, _) => self.apply(kind, header),
            (Some(demand), Some(link)) if link.serves(demand) => self.apply(kind, header),
            // Its replies are on their way; then it is given back.
            (Some(_), Some(_)) => Ok(Step::Wait),
            (Some(demand), None) => Ok(Step::Server(demand)),
        }
    }

    /// Whether the server connection is this session's whatever comes next.
    pub(super) fn is_held(&self) -> bool {
        self.link.is_some()
            && (self.transaction.status != TransactionStatus::Idle
                || self.batch_open
                || self.pinned.is_some()
                || self.identity.mode == super::PoolMode::Session)
    }

    /// Whether enough of a message is there to act on it.
    fn enough(&self, kind: Frontend, header: Header) -> bool {
        let Some(buffers) = self.buffers.as_deref() else {
            return false;
        };
        enough(kind, header, &buffers.client_in)
    }

    /// Looks at the batch; true when it is known what it needs.
    fn look_ahead(&mut self) -> Result<bool, End> {
        loop {
            let at = self.plan.scanned;
            let Some(buffers) = self.buffers.as_deref() else {
                return Ok(false);
            };
            let input = &buffers.client_in[at..];
            let full = buffers.client_in.len() >= CLIENT_IN_MAX;
            let next = frame::peek_frontend(input).map_err(|e| malformed(&e))?;
            let next = next.filter(|(kind, header)| enough(*kind, *header, input));
            let Some((kind, header)) = next else {
                if full && at > 0 {
                    // A pipeline without end: what comes may write.
                    self.plan.demand(Target::Primary);
                    self.plan.ready = at;
                    return Ok(true);
                }
                return Ok(false);
            };
            let end = at + header.len;
            let whole = input.len() >= header.len;
            match kind {
                Frontend::Query | Frontend::FunctionCall if at == 0 => {
                    self.plan_request(kind, header, whole)?;
                    self.plan.ready = end;
                    return Ok(true);
                }
                Frontend::Sync => {
                    self.plan.ready = end;
                    return Ok(true);
                }
                Frontend::Flush => {
                    if self.plan.bound && self.plan.demand.is_some() {
                        // More of the same implicit transaction may follow, and may write.
                        self.plan.demand(Target::Primary);
                    }
                    self.plan.ready = end;
                    return Ok(true);
                }
                Frontend::Parse
                | Frontend::Bind
                | Frontend::Describe
                | Frontend::Execute
                | Frontend::Close => {
                    self.plan_extended(kind, at, header, whole)?;
                    if !whole {
                        self.plan.demand(Target::Primary);
                        self.plan.ready = end;
                        return Ok(true);
                    }
                    self.plan.scanned = end;
                }
                Frontend::Query
                | Frontend::FunctionCall
                | Frontend::Terminate
                | Frontend::CopyData
                | Frontend::CopyDone
                | Frontend::CopyFail
                | Frontend::Password => {
                    // The batch was left open; so is the transaction it may have begun.
                    if self.plan.demand.is_some() {
                        self.plan.demand(Target::Primary);
                    }
                    self.plan.ready = at;
                    return Ok(true);
                }
            }
        }
    }

    fn plan_request(&mut self, kind: Frontend, header: Header, whole: bool) -> Result<(), End> {
        if kind == Frontend::FunctionCall {
            self.plan.demand(Target::Primary);
            return Ok(());
        }
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let decision = self.decide_query(&buffers.client_in, header, whole)?;
        self.plan.fold(&decision);
        self.plan.decision = Some(decision);
        Ok(())
    }

    /// Classifies a Query; one too long to be kept is judged by its beginning.
    pub(super) fn decide_query(
        &self,
        input: &[u8],
        header: Header,
        whole: bool,
    ) -> Result<Decision, End> {
        let text = if whole {
            messages::query(&input[HEADER..header.len]).map_err(|e| malformed(&e))?
        } else {
            &input[HEADER..]
        };
        let mut decision = self.context.router().decide(text, self.identity.quoting);
        if !whole {
            failure::cannot_see_the_end(&mut decision);
        }
        Ok(decision)
    }

    fn plan_extended(
        &mut self,
        kind: Frontend,
        at: usize,
        header: Header,
        whole: bool,
    ) -> Result<(), End> {
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        let input = &buffers.client_in[at..];
        let body = &input[HEADER..header.len.min(input.len())];
        match kind {
            Frontend::Parse => {
                let statement = self.intern(body, whole)?;
                self.plan.fold(&statement.decision);
                self.plan.parsed.push_back(statement);
            }
            Frontend::Bind => {
                let names = messages::bind_names(body).map_err(|e| malformed(&e))?;
                let names = names.ok_or_else(|| malformed(&messages::unterminated("Bind")))?;
                let parsed_here = !self.plan.parsed.is_empty();
                match self.statements.get(names.statement).map(|s| s.decision) {
                    // A Parse before it in this batch has been counted already.
                    _ if names.statement.is_empty() && parsed_here => {}
                    Some(decision) => self.plan.fold(&decision),
                    None if parsed_here => {}
                    None => self.plan.demand(Target::Primary),
                }
                self.plan.bound = true;
            }
            Frontend::Describe => {
                let named = messages::describe(body).map_err(|e| malformed(&e))?;
                match named.target {
                    messages::Target::Statement => {
                        match self.statements.get(named.name).map(|s| s.decision) {
                            _ if !self.plan.parsed.is_empty() => {}
                            Some(decision) => self.plan.fold(&decision),
                            None => self.plan.demand(Target::Primary),
                        }
                    }
                    messages::Target::Portal if self.plan.bound => {}
                    messages::Target::Portal => self.plan.demand(Target::Primary),
                }
            }
            Frontend::Execute => {
                messages::execute(body).map_err(|e| malformed(&e))?;
                if !self.plan.bound {
                    self.plan.demand(Target::Primary);
                }
            }
            Frontend::Close => {
                messages::close(body).map_err(|e| malformed(&e))?;
            }
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password
            | Frontend::Terminate => {}
        }
        Ok(())
    }

    /// The statement a Parse defines.
    pub(super) fn intern(&self, body: &[u8], whole: bool) -> Result<Arc<Statement>, End> {
        if !whole {
            let name = messages::parse_name(body).map_err(|e| malformed(&e))?;
            let name = name.ok_or_else(|| malformed(&messages::unterminated("Parse")))?;
            let text = &body[name.len() + 1..];
            let mut decision = self.context.router().decide(text, self.identity.quoting);
            failure::cannot_see_the_end(&mut decision);
            return Ok(Statement::new(Vec::new(), decision));
        }
        let parse = messages::parse(body).map_err(|e| malformed(&e))?;
        let definition = &body[parse.name.len() + 1..];
        let quoting = self.identity.quoting;
        Ok(self.space.intern(definition, || {
            self.context.router().decide(parse.query, quoting)
        }))
    }

    /// Moves what has come of a long message on.
    fn stream_rest(&mut self) -> Step {
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return Step::Wait;
        };
        let (Rest::Server(left) | Rest::Nowhere(left)) = self.rest else {
            return Step::Again;
        };
        let n = left.min(buffers.client_in.len());
        if n == 0 {
            return Step::Wait;
        }
        let to_server = matches!(self.rest, Rest::Server(_));
        if to_server && n == buffers.client_in.len() && buffers.server_out.is_empty() {
            std::mem::swap(&mut buffers.client_in, &mut buffers.server_out);
        } else {
            if to_server {
                buffers
                    .server_out
                    .extend_from_slice(&buffers.client_in[..n]);
            }
            buffers.client_in.advance(n);
        }
        self.rest = match (left - n, to_server) {
            (0, _) => Rest::None,
            (left, true) => Rest::Server(left),
            (left, false) => Rest::Nowhere(left),
        };
        Step::Again
    }

    /// Drops a message, also the part that is still to come.
    pub(super) fn discard(&mut self, header: Header) {
        self.rest = Rest::Nowhere(header.len);
        self.plan.sent(header.len);
    }

    fn skip(&mut self, kind: Frontend, header: Header) -> Step {
        let outstanding = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        match kind {
            Frontend::Sync if outstanding => return Step::Wait,
            Frontend::Sync => {
                self.phase = Phase::Normal;
                if self.link.is_some() && self.batch_open {
                    // The server is skipping, too, and waits for it.
                    self.plan.ready = header.len;
                    return match self.apply(kind, header) {
                        Ok(step) => step,
                        Err(_) => Step::Wait,
                    };
                }
                self.batch_open = false;
                let status = self.transaction.status;
                to_client::ready_for_query(&mut self.buffers().client_out, status);
            }
            // A client that gives up: found again in the normal phase.
            Frontend::Terminate => {
                self.phase = Phase::Normal;
                return Step::Again;
            }
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Parse
            | Frontend::Bind
            | Frontend::Describe
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password => {}
        }
        self.discard(header);
        Step::Again
    }

    fn copy_in(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        match kind {
            Frontend::CopyData => self.rest = Rest::Server(header.len),
            Frontend::CopyDone | Frontend::CopyFail => {
                self.rest = Rest::Server(header.len);
                self.phase = Phase::Normal;
            }
            // The server ignores them while it takes data (PostgreSQL docs, 55.2.6).
            Frontend::Flush | Frontend::Sync => self.discard(header),
            Frontend::Terminate => return Err(End::Left),
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Parse
            | Frontend::Bind
            | Frontend::Describe
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Password => {
                // The server ends the COPY with an error, and so the connection's trust in us.
                return Err(malformed(&FrameError::Body {
                    message: "COPY",
                    reason: "another message came before the data had ended",
                }));
            }
        }
        Ok(Step::Again)
    }
}

/// Whether enough of a message is there to act on it: all of it, or, of one too long to be kept,
/// what decides.
fn enough(kind: Frontend, header: Header, input: &[u8]) -> bool {
    if input.len() >= header.len {
        return true;
    }
    match kind {
        Frontend::Query | Frontend::Parse | Frontend::FunctionCall => {
            header.len > CLIENT_IN_MAX && input.len() >= CLIENT_IN_MAX
        }
        Frontend::Bind => {
            let body = input.get(HEADER..).unwrap_or_default();
            // An error is one whatever else comes.
            header.len > HIGH_WATER && !matches!(messages::bind_names(body), Ok(None))
        }
        Frontend::CopyData => true,
        Frontend::Describe
        | Frontend::Execute
        | Frontend::Close
        | Frontend::Sync
        | Frontend::Flush
        | Frontend::CopyDone
        | Frontend::CopyFail
        | Frontend::Password
        | Frontend::Terminate => false,
    }
}

/// The last words to a client whose messages can't be trusted any more.
pub(super) fn malformed(error: &FrameError) -> End {
    End::Told(failure::protocol_violation(error))
}
