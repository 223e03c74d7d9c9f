//! What is noted of a statement when it goes to a server: its counters, its pin, its place in a
//! transaction.

use super::Session;
use super::replies::Run;
use crate::clock;
use crate::metrics::{QueryRoute, StatementKind};
use crate::protocol::frame::TransactionStatus;
use crate::registry::Activity;
use crate::router::{Command, Decision, Discard, PinReason, Target, TransactionEffect};

impl Session {
    /// Before a statement that the server will run.
    pub(super) fn about_to_run(&mut self, decision: &Decision) {
        if let Some(reason) = decision.pin {
            self.pin(reason);
        }
        if decision.discard == Discard::All {
            self.statements.clear();
        }
        self.identity
            .registration
            .client()
            .queries
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(link) = &self.link {
            let route = match decision.target {
                Target::Replica => QueryRoute::Read,
                Target::Primary => QueryRoute::Write,
            };
            link.node.count_statement(kind_of(decision.command), route);
        }
        self.started();
    }

    /// `log.queries` asked for it.
    pub(super) fn log_statement(&self, text: &[u8], decision: &Decision) {
        tracing::info!(
            client = %self.identity.address,
            node = self.link.as_ref().map_or("", |l| l.node.label.as_str()),
            reason = decision.reason.as_str(),
            query = %String::from_utf8_lossy(text),
            "statement"
        );
    }

    /// The client's work begins (or goes on) on the server.
    pub(super) fn started(&mut self) {
        if let Some(link) = &mut self.link
            && link.started == clock::NEVER
        {
            link.started = clock::now();
            let now = link.started;
            self.note_activity(Activity::Active, now);
        }
    }

    pub(super) fn run_of(&self, decision: &Decision) -> Run {
        let ends = match decision.transaction {
            TransactionEffect::Commit
            | TransactionEffect::CommitAndChain
            | TransactionEffect::PrepareTransaction => true,
            TransactionEffect::None
            | TransactionEffect::Begin
            | TransactionEffect::BeginReadWrite
            | TransactionEffect::BeginReadOnly
            | TransactionEffect::BeginSerializable
            | TransactionEffect::SetReadOnly
            | TransactionEffect::SetReadWrite
            | TransactionEffect::SetSerializable
            | TransactionEffect::Rollback
            | TransactionEffect::RollbackAndChain
            | TransactionEffect::Savepoint
            | TransactionEffect::Release
            | TransactionEffect::RollbackTo => false,
        };
        let alone = self.transaction.status == TransactionStatus::Idle;
        let commits = ends || (alone && decision.writes);
        Run {
            command: decision.command,
            writes: decision.writes,
            commits,
        }
    }

    pub(super) fn pin(&mut self, reason: PinReason) {
        if reason == PinReason::Reset && self.pinned.is_none() {
            if let Some(link) = &mut self.link {
                link.checkout.parameters_unsure = true;
            }
            return;
        }
        if self.pinned.is_none() {
            self.context.metrics.pinned(reason.as_str());
            tracing::debug!(client = %self.identity.address, reason = reason.as_str(), "pinned");
        }
        // What can't be undone by a reset outweighs what can.
        if self.pinned != Some(PinReason::Load) {
            self.pinned = Some(reason);
        }
    }
}

fn kind_of(command: Command) -> StatementKind {
    match command {
        Command::Select => StatementKind::Select,
        Command::Insert => StatementKind::Insert,
        Command::Update => StatementKind::Update,
        Command::Delete => StatementKind::Delete,
        Command::Ddl => StatementKind::Ddl,
        Command::Other => StatementKind::Other,
    }
}
