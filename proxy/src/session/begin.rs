//! Transactions whose BEGIN is held until the first statement says where they run, and those that only
//! read and may still begin anew on another node.
//!
//! A held BEGIN has been answered here; the server is told of it in one go with what comes next. While a
//! transaction has only read on a replica, and each of its statements sees what is committed when it
//! begins, it leaves nothing behind there: it can be ended and begun again elsewhere, and nobody can
//! tell. It must not know which node that is.

use super::context::TransactionReads;
use super::plan::Portals;
use super::replay::Replay;
use super::replies::Reply;
use super::{Demand, End, PoolMode, Session, Step, failure};
use crate::clock;
use crate::metrics::{QueryRoute, StatementKind};
use crate::pool::stats::Stat;
use crate::protocol::frame::{Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{to_client, to_server};
use crate::registry::Activity;
use crate::router::{
    self, Control, Decision, Effect, Isolation, Modes, Reason, Scope, Target, TransactionEffect,
};

/// SET TRANSACTIONs that are kept with a BEGIN; with one more it is sent.
const MAX_TEXTS: usize = 8;

/// What tells the isolation level that a role's or database's settings make the default.
const ASK_DEFAULT: &str = "SHOW default_transaction_isolation";

/// Where the present transaction stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It is none, or it stays where it is.
    #[default]
    Fixed,
    /// No server knows of it.
    Held,
    /// It has only read on a replica, and may begin anew elsewhere.
    Movable,
    /// It is being ended there, to begin anew.
    Moving,
}

/// How the present transaction began.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    stage: Stage,
    modes: Modes,
    /// What began it, as the client said it.
    texts: Vec<Vec<u8>>,
    /// The default isolation level on servers, once it is known.
    default_isolation: Option<Isolation>,
    /// The server has been asked for it.
    asked: bool,
}

impl Beginning {
    /// Whether what has been done on the server may be forgotten.
    pub(super) fn may_start_over(&self) -> bool {
        matches!(self.stage, Stage::Movable | Stage::Moving)
    }

    /// Whether the transaction leaves the server connection.
    pub(super) fn is_moving(&self) -> bool {
        self.stage == Stage::Moving
    }

    /// The server connection is gone; the transaction begins anew on the next.
    pub(super) fn starts_over(&mut self) {
        if self.may_start_over() {
            self.stage = Stage::Held;
        }
    }

    /// The transaction stays where it is.
    pub(super) fn settles(&mut self) {
        if self.may_start_over() {
            self.stage = Stage::Fixed;
        }
    }

    /// No server is told of this yet.
    fn holds(&mut self, text: Vec<u8>, modes: Modes) {
        self.stage = Stage::Held;
        self.modes = modes.after(self.modes);
        self.texts.push(text);
    }

    /// There is no transaction any more.
    pub(super) fn is_over(&mut self) {
        self.stage = Stage::Fixed;
        self.texts.clear();
        self.asked = false;
        self.modes = Modes::default();
    }

    /// Takes the answer to a question of its own; false when it has asked none.
    pub(super) fn answered(&mut self, row: &[u8]) -> bool {
        if !std::mem::take(&mut self.asked) {
            return false;
        }
        // One column: its count and length go before the value.
        self.default_isolation = isolation(row.get(6..).unwrap_or_default());
        true
    }
}

fn isolation(value: &[u8]) -> Option<Isolation> {
    match value {
        b"read committed" | b"read uncommitted" => Some(Isolation::ReadCommitted),
        b"repeatable read" => Some(Isolation::RepeatableRead),
        b"serializable" => Some(Isolation::Serializable),
        _ => None,
    }
}

impl Session {
    /// What the transaction says of where its statements run.
    pub(super) fn scope(&self) -> Scope {
        match self.beginning.stage {
            Stage::Fixed if self.makes.read_only => Scope::AloneReadOnly,
            Stage::Fixed => Scope::Alone,
            Stage::Held | Stage::Movable | Stage::Moving => self.scope_of(self.beginning.modes),
        }
    }

    fn scope_of(&self, modes: Modes) -> Scope {
        let isolation = self.isolation(modes);
        let until_write =
            self.context.tuning.load().transaction_reads == TransactionReads::UntilWrite;
        let only_reads = modes.read_only.unwrap_or(self.makes.read_only);
        match isolation {
            Some(Isolation::Serializable) => Scope::Primary,
            Some(Isolation::ReadCommitted) | None if only_reads => Scope::ReadOnly,
            Some(Isolation::ReadCommitted) if until_write => Scope::UntilWrite,
            // It can't move any more once it has a snapshot.
            Some(Isolation::RepeatableRead) if only_reads && !self.may_meet_unlogged() => {
                Scope::ReadOnly
            }
            Some(Isolation::ReadCommitted | Isolation::RepeatableRead) | None => Scope::Primary,
        }
    }

    fn isolation(&self, modes: Modes) -> Option<Isolation> {
        let default = (self.makes.isolation).or(self.beginning.default_isolation);
        modes.isolation.or(default)
    }

    /// Whether some relation of the database can be read on the primary only, as far as is known.
    fn may_meet_unlogged(&self) -> bool {
        let catalog = self.database.catalog();
        catalog
            .as_ref()
            .is_none_or(|catalog| !catalog.is_read() || catalog.has_unlogged())
    }

    /// Answers the Query at the front if it only begins, shapes or ends a transaction that no server
    /// knows of.
    pub(super) fn answer_control(&mut self, header: Header) -> bool {
        let held = self.beginning.stage == Stage::Held;
        let Some(decision) = self.plan.decision.filter(may_be_control) else {
            return false;
        };
        if !held && self.transaction.status != TransactionStatus::Idle {
            return false;
        }
        self.answer_locals();
        let Some(buffers) = self.buffers.as_deref() else {
            return false;
        };
        let mode = self.identity.mode == PoolMode::Transaction;
        let quiet = buffers.replies.is_empty() && !self.batch.is_open();
        if !mode || !quiet || self.keeps_its_connection() {
            return false;
        }
        let text = buffers.client_in.get(HEADER..header.len);
        let Some(text) = text.and_then(|text| text.strip_suffix(b"\0")) else {
            return false;
        };
        let fits = |control: &Control| match control {
            Control::Begin(_) | Control::Start(_) => !held,
            Control::Set(_) => held && self.beginning.texts.len() < MAX_TEXTS,
            Control::Commit | Control::Rollback => held,
        };
        let Some(control) = router::control(text).filter(fits) else {
            return false;
        };
        let text = text.to_vec();
        self.release_if_done();
        if self.link.is_some() {
            return false;
        }
        self.log_control(&text, &decision);
        self.answer_as(header, control, text);
        true
    }

    fn answer_as(&mut self, header: Header, control: Control, text: Vec<u8>) {
        match control {
            Control::Begin(modes) | Control::Start(modes) => {
                self.beginning.is_over();
                self.beginning.holds(text, modes);
                self.transaction.status = TransactionStatus::InTransaction;
                let start = matches!(control, Control::Start(_));
                let tag = if start { "START TRANSACTION" } else { "BEGIN" };
                self.answer_query(header, tag, Activity::IdleInTransaction);
            }
            Control::Set(modes) => {
                self.beginning.holds(text, modes);
                self.answer_query(header, "SET", Activity::IdleInTransaction);
            }
            Control::Commit | Control::Rollback => {
                self.beginning.is_over();
                self.transaction.status = TransactionStatus::Idle;
                self.identity.pools.tally.add(Stat::Transactions, 1);
                let commit = control == Control::Commit;
                let tag = if commit { "COMMIT" } else { "ROLLBACK" };
                self.answer_query(header, tag, Activity::Idle);
            }
        }
    }

    fn log_control(&self, text: &[u8], decision: &Decision) {
        self.context.count_routed(decision.reason);
        self.identity.pools.tally.add(Stat::Queries, 1);
        if self.context.logs_decision() {
            self.log_statement(text, decision);
        }
    }

    /// Answers the Query at the front, which ends a transaction that had failed.
    pub(super) fn answer_end(&mut self, header: Header) {
        self.answer_query(header, "ROLLBACK", Activity::Idle);
    }

    /// Answers the Query at the front with nothing but its tag.
    fn answer_query(&mut self, header: Header, tag: &str, then: Activity) {
        self.drop_unnamed();
        let status = self.transaction.status;
        let out = &mut self.buffers().client_out;
        to_client::command_complete(out, tag);
        to_client::ready_for_query(out, status);
        if then == Activity::Idle {
            self.statements.transaction_ended();
            self.identity.registration.client().transaction_ended();
        }
        self.note_activity(then, clock::now());
        self.plan.reset();
        self.consume(header);
    }

    /// A server connection was found: the transaction that no server knows of begins there.
    pub(super) fn begin_held(&mut self) {
        if self.beginning.stage != Stage::Held {
            return;
        }
        let Some(link) = &self.link else { return };
        let route = if link.is_primary {
            QueryRoute::Write
        } else {
            QueryRoute::Read
        };
        self.beginning.stage = if link.is_primary {
            Stage::Fixed
        } else {
            Stage::Movable
        };
        for _ in &self.beginning.texts {
            link.node.count_statement(StatementKind::Other, route);
        }
        let unknown = self.isolation(self.beginning.modes).is_none();
        let texts = std::mem::take(&mut self.beginning.texts);
        let buffers = self.buffers();
        if unknown {
            to_server::query(&mut buffers.server_out, ASK_DEFAULT.as_bytes());
            buffers.replies.push(Reply::Probe);
        }
        for sql in &texts {
            to_server::query(&mut buffers.server_out, sql);
            buffers.replies.push(Reply::Setup);
        }
        self.beginning.asked = unknown;
        self.beginning.texts = texts;
    }

    /// Whether what comes must wait for the answers that are owed: on a replica they decide whether the
    /// transaction goes on, and so where that may run.
    pub(super) fn must_know_where(&self, kind: Frontend) -> bool {
        let on_replica = self.link.as_ref().is_some_and(|link| !link.is_primary);
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        let asks = !matches!(kind, Frontend::Sync | Frontend::Flush);
        on_replica && owed && asks && !self.batch.is_open() && self.is_held()
    }

    /// Whether what comes can't run where the transaction has only read so far, so that it begins anew on
    /// the primary. `None` when it may go on.
    pub(super) fn leave_replica(&mut self) -> Result<Option<Step>, End> {
        match self.beginning.stage {
            Stage::Moving if self.link.is_some() => {
                self.release_if_done();
                if self.link.is_some() {
                    return Ok(Some(Step::Wait));
                }
                self.beginning.starts_over();
                return Ok(None);
            }
            Stage::Moving => {
                self.beginning.starts_over();
                return Ok(None);
            }
            Stage::Fixed | Stage::Held => return Ok(None),
            Stage::Movable => {}
        }
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        if owed || self.batch.is_open() {
            return Ok(None);
        }
        if self.keeps_its_connection() {
            self.beginning.settles();
            return Ok(None);
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Some(Step::Wait));
        }
        let primary = self.demand().map(|demand| self.for_good(demand).target);
        if self.plan.portals == Portals::Earlier {
            self.beginning.settles();
        } else if primary == Some(Target::Primary) || !self.is_fresh_enough() {
            self.end_on_replica("COMMIT");
            return Ok(Some(Step::Wait));
        }
        Ok(None)
    }

    /// Ends the transaction where it is, unseen, to begin it anew.
    pub(super) fn end_on_replica(&mut self, how: &str) {
        let buffers = self.buffers();
        to_server::query(&mut buffers.server_out, how.as_bytes());
        buffers.replies.push(Reply::Setup);
        self.beginning.stage = Stage::Moving;
    }

    /// A statement is about to run in the transaction.
    pub(super) fn note_reading(&mut self, decision: &Decision, effects: Option<&[Effect]>) {
        let sets = effects.is_some_and(|all| all.iter().any(|effect| *effect != Effect::None));
        let plain = decision.transaction == TransactionEffect::None && decision.pins.is_empty();
        let reads = decision.target == Target::Replica && plain && !sets && !decision.unseen;
        if !reads {
            self.beginning.settles();
        }
    }

    /// What a ReadyForQuery says of the client's transaction.
    pub(super) fn status_of(&self, said: TransactionStatus, hidden: bool) -> TransactionStatus {
        if hidden && self.beginning.is_moving() {
            // That is of what is being left.
            self.transaction.status
        } else {
            said
        }
    }

    /// ReadyForQuery has come.
    pub(super) fn settle_beginning(&mut self) {
        if self.beginning.is_moving() {
            return;
        }
        let snapshot = self.isolation(self.beginning.modes) != Some(Isolation::ReadCommitted);
        match self.transaction.status {
            TransactionStatus::Idle => self.beginning.is_over(),
            TransactionStatus::Failed => self.beginning.settles(),
            TransactionStatus::InTransaction if snapshot => self.beginning.settles(),
            TransactionStatus::InTransaction => {}
        }
    }

    /// A batch begins in a transaction that may still begin anew: it is kept, to be run again elsewhere.
    pub(super) fn keep_for_elsewhere(&mut self) -> bool {
        let quiet =
            !self.batch.is_open() && (self.buffers.as_ref()).is_some_and(|b| b.replies.is_empty());
        if self.beginning.stage != Stage::Movable || !quiet {
            return false;
        }
        self.buffers().replay.clear();
        if let Some(link) = &mut self.link {
            link.replay = Replay::Elsewhere;
        }
        true
    }

    /// In a transaction that stays on a replica: what would take a lock there that nobody else sees.
    pub(super) fn refuse_on_replica(&mut self) -> Result<Option<Step>, End> {
        let on_replica = self.link.as_ref().is_some_and(|link| !link.is_primary);
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        let may = on_replica && !owed && !self.batch.is_open();
        if !may || self.transaction.status != TransactionStatus::InTransaction {
            return Ok(None);
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Some(Step::Wait));
        }
        if !self.plan.calls_writer {
            return Ok(None);
        }
        let node = self.link.take().map(|link| link.node.label.clone());
        self.identity.registration.client().nothing_to_cancel();
        let report = failure::needs_the_primary(&node.unwrap_or_default());
        if self.keeps_its_connection() {
            return Err(End::Told(failure::state_lost(&report)));
        }
        self.broken = Some(report);
        Ok(Some(Step::Again))
    }

    /// Where a statement may run in the present transaction, or alone.
    pub(super) fn target_of(&self, decision: &Decision) -> Target {
        let settled =
            self.transaction.status != TransactionStatus::Idle && !self.beginning.may_start_over();
        let target = match &self.link {
            Some(link) if settled && link.is_primary => Target::Primary,
            Some(_) if settled => Target::Replica,
            Some(_) | None => self.scope().target(decision),
        };
        let demand = Demand { target };
        self.for_good(demand).target
    }
}

/// Whether the statement may be one that [`router::control`] reads.
fn may_be_control(decision: &Decision) -> bool {
    matches!(
        decision.reason,
        Reason::Transaction | Reason::ReadOnlyTransaction | Reason::Serializable
    )
}
