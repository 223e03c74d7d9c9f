//! Understanding the client: which message comes next, what the batch it belongs to demands of a
//! server, and whether the server connection at hand will do.

use bytes::Buf;

use super::context::{Buffers, HIGH_WATER};
use super::failure::malformed;
use super::io::CLIENT_IN_MAX;
use super::statements::Undo;
use super::{Batch, Demand, End, Need, Next, Phase, PoolMode, Rest, Session, Step, failure};
use crate::protocol::frame::{self, FrameError, Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_client, to_server};
use crate::router::Target;

/// Answers that may be owed at a time.
const OWED_MAX: usize = 4096;

impl Session {
    /// Goes through the client's messages as far as possible.
    pub(super) fn advance(&mut self) -> Result<Need, End> {
        loop {
            match self.step()? {
                Step::Again => {}
                Step::Wait => break,
                Step::Server(demand) => {
                    self.answer_locals();
                    return Ok(Need::Server(demand));
                }
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
        if buffers.replies.len() < self.collecting {
            self.collecting = 0;
        }
        if buffers.replies.len() >= OWED_MAX {
            return Ok(self.collect_answers());
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

    /// Too many answers are owed to ask for more, or what comes depends on them: the server is told to
    /// send what it has, once.
    fn collect_answers(&mut self) -> Step {
        self.answer_locals();
        let open = self.link.is_some() && self.batch.is_open();
        let owed = self.buffers.as_deref().map_or(0, |b| b.replies.len());
        if owed < OWED_MAX && (owed == 0 || !open) {
            return Step::Again;
        }
        self.await_answers()
    }

    /// Nothing goes on before the server has answered; in an open batch it is told to, once.
    pub(super) fn await_answers(&mut self) -> Step {
        let open = self.link.is_some() && self.batch.is_open();
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return Step::Wait;
        };
        let owed = buffers.replies.len();
        if open && self.collecting != owed {
            to_server::flush(&mut buffers.server_out);
        }
        // Fewer answers are owed when it has been heeded; then it may be told again.
        self.collecting = owed;
        Step::Wait
    }

    /// Whether all that is owed belongs to a batch that the client has left open: nobody will ever ask
    /// for the answers.
    fn is_abandoned(&self) -> bool {
        let ended = |buffers: &Buffers| buffers.replies.has_end();
        self.batch.is_open() && !self.buffers.as_deref().is_some_and(ended)
    }

    fn normal(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        if kind == Frontend::Terminate {
            self.answer_locals();
        }
        let outstanding = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        match kind {
            // What was asked for before is still done, but for what no Sync has ended.
            Frontend::Terminate if outstanding && !self.is_abandoned() => Ok(Step::Wait),
            Frontend::Terminate => Err(End::Left),
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => {
                if outstanding {
                    self.collect_answers();
                }
                if self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty()) {
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
        if self.broken.is_some() {
            return self.tell_broken(kind, header);
        }
        if let Some(step) = self.in_failed(kind, header)? {
            return Ok(step);
        }
        if outstanding(self.buffers.as_deref()) && !self.may_follow(kind) {
            // Nobody else will give answers of our own.
            self.answer_locals();
            if !self.may_follow(kind) {
                return Ok(self.await_answers());
            }
        }
        if !self.batch.is_open() && self.is_being_cancelled() {
            self.next = Next::HeldBack;
            return Ok(Step::Wait);
        }
        if self.identity.mode == PoolMode::Statement
            && let Some(step) = self.refuse_block(kind, header)?
        {
            return Ok(step);
        }
        if self.must_know_where(kind) {
            return Ok(self.await_answers());
        }
        if let Some(step) = self.leave_replica()? {
            return Ok(step);
        }
        if self.is_held() {
            if let Some(end) = self.misplaced()? {
                return end;
            }
            if let Some(step) = self.refuse_on_replica()? {
                return Ok(step);
            }
            if !self.enough(kind, header) {
                return Ok(Step::Wait);
            }
            if !ends_part(kind) {
                self.restore_parameters();
            }
            return self.apply(kind, header);
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Step::Wait);
        }
        if kind == Frontend::Query && self.answer_control(header) {
            return Ok(Step::Again);
        }
        match (self.demand(), &self.link) {
            (None, _) => self.apply(kind, header),
            (Some(demand), Some(link)) if link.serves(demand, self.written(self.plan.reads)) => {
                self.apply(kind, header)
            }
            (Some(demand), Some(_)) => {
                // Once its replies are here it is given back.
                self.release_if_done();
                let free = self.link.is_none();
                Ok(if free {
                    Step::Server(self.for_good(demand))
                } else {
                    Step::Wait
                })
            }
            (Some(demand), None) => Ok(Step::Server(self.for_good(demand))),
        }
    }

    /// Whether the message at the front may be sent while answers are owed.
    fn may_follow(&self, kind: Frontend) -> bool {
        let Some(buffers) = self.buffers.as_deref() else {
            return true;
        };
        // Not behind a Sync of our own, nor may a batch trust a statement that is not confirmed, or
        // go on while it is open what it has had before.
        let trusts = if self.batch.is_open() {
            !ends_part(kind) && buffers.replies.take_away()
        } else {
            buffers.replies.in_doubt(Undo::renames)
        };
        !buffers.replies.ends_hidden() && !trusts
    }

    /// A connection that is kept whatever comes must be able to do whatever comes; and what no
    /// standby runs goes to none.
    pub(super) fn for_good(&self, demand: Demand) -> Demand {
        match self.identity.mode {
            PoolMode::Transaction | PoolMode::Statement if !self.makes.serializable => demand,
            PoolMode::Session | PoolMode::Transaction | PoolMode::Statement => Demand {
                target: Target::Primary,
            },
        }
    }

    /// Whether the held server connection is no place for what comes: it no longer leads, or it
    /// never did and a write comes. Nothing of it is lost but what is said.
    fn misplaced(&mut self) -> Result<Option<Result<Step, End>>, End> {
        let Some(link) = &self.link else {
            return Ok(None);
        };
        if outstanding(self.buffers.as_deref()) || self.batch.is_open() {
            return Ok(None);
        }
        let leader = self.context.cluster.view().primary;
        if link.is_primary && leader.is_some_and(|leader| leader != link.node.id) {
            let report = failure::no_longer_leads(&link.node.label);
            self.lose_server(report)?;
            return Ok(Some(Ok(Step::Again)));
        }
        let idle = self.transaction.status == TransactionStatus::Idle;
        if !link.is_primary && idle {
            if self.plan.ready == 0 && !self.look_ahead()? {
                return Ok(Some(Ok(Step::Wait)));
            }
            if matches!(
                self.plan.demand,
                Some(Demand {
                    target: Target::Primary
                })
            ) {
                return Err(End::Told(failure::pinned_to_a_replica()));
            }
        }
        Ok(None)
    }

    /// Whether a cancel request is on its way to the server connection: it is for what was asked
    /// before it came, and must not find something later there.
    pub(super) fn is_being_cancelled(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|l| l.checkout.key.is_being_cancelled())
    }

    /// Whether the server connection is this session's whatever comes next.
    pub(super) fn is_held(&self) -> bool {
        self.link.is_some()
            && !self.beginning.is_moving()
            && (self.transaction.status != TransactionStatus::Idle
                || self.batch.is_open()
                || self.keeps_its_connection())
    }

    /// Whether enough of a message is there to act on it.
    fn enough(&self, kind: Frontend, header: Header) -> bool {
        let Some(buffers) = self.buffers.as_deref() else {
            return false;
        };
        enough(kind, header, &buffers.client_in)
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
                if self.link.is_some() && self.batch.is_open() {
                    // The server is skipping, too, and waits for it.
                    self.plan.ready = header.len;
                    return match self.apply(kind, header) {
                        Ok(step) => step,
                        Err(_) => Step::Wait,
                    };
                }
                self.batch = Batch::None;
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

/// Whether the message asks for nothing but the answers.
fn ends_part(kind: Frontend) -> bool {
    match kind {
        Frontend::Sync | Frontend::Flush => true,
        Frontend::Query
        | Frontend::FunctionCall
        | Frontend::Parse
        | Frontend::Bind
        | Frontend::Describe
        | Frontend::Execute
        | Frontend::Close
        | Frontend::CopyData
        | Frontend::CopyDone
        | Frontend::CopyFail
        | Frontend::Password
        | Frontend::Terminate => false,
    }
}

/// Whether the server owes answers.
fn outstanding(buffers: Option<&Buffers>) -> bool {
    buffers.is_some_and(|b| !b.replies.is_empty())
}

/// Whether enough of a message is there to act on it: all of it, or, of one too long to be kept,
/// what decides.
pub(super) fn enough(kind: Frontend, header: Header, input: &[u8]) -> bool {
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
