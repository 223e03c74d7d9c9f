//! What is noted of a statement when it goes to a server: its counters, its pin, its place in a
//! transaction.

use super::Session;
use super::rewrite::{Changes, Part};
use super::run::{Block, Run};
use crate::clock;
use crate::metrics::{QueryRoute, StatementKind};
use crate::pool::stats::Stat;
use crate::protocol::frame::{HEADER, TransactionStatus};
use crate::registry::Activity;
use crate::router::{
    Command, Decision, Discard, Effect, Mentions, PinReason, PinSet, Reason, SequenceUse, Target,
    TransactionEffect,
};

impl Session {
    /// Before a statement that the server will run.
    pub(super) fn about_to_run(&mut self, decision: &Decision, effects: Option<&[Effect]>) {
        self.note_state(decision, effects);
        self.note_reading(decision, effects);
        self.opening |= decision.transaction.needs_a_block();
        if let Some(link) = &self.link {
            let route = match decision.target {
                Target::Replica => QueryRoute::Read,
                Target::Primary => QueryRoute::Write,
            };
            link.node.count_statement(kind_of(decision.command), route);
        }
        self.context.count_routed(decision.reason);
        if decision.command == Command::Ddl {
            self.database.may_have_changed();
        }
        self.started();
        self.count_statement();
    }

    /// For SHOW STATS: a statement goes to the server, in a transaction that begins with it or has
    /// begun before.
    pub(super) fn count_statement(&mut self) {
        self.identity.pools.tally.add(Stat::Queries, 1);
        if let (Some(link), clock::NEVER) = (&self.link, self.transaction_began) {
            self.transaction_began = link.started;
        }
    }

    /// For SHOW STATS: a request that was begun at `started` has ended, and its transaction with it
    /// when that is over.
    pub(super) fn count_ready(&mut self, started: u64, now: u64) {
        self.publish_pins();
        let tally = &self.identity.pools.tally;
        if started != clock::NEVER {
            tally.add(Stat::QueryTime, now.saturating_sub(started));
        }
        if self.transaction.status == TransactionStatus::Idle
            && self.transaction_began != clock::NEVER
        {
            tally.add(Stat::Transactions, 1);
            let lasted = now.saturating_sub(self.transaction_began);
            tally.add(Stat::TransactionTime, lasted);
            self.transaction_began = clock::NEVER;
        }
    }

    /// For SHOW CLIENTS: what keeps the session where it is.
    pub(super) fn publish_pins(&self) {
        let client = self.identity.registration.client();
        client.set_pins(self.pins.held().bits());
    }

    /// For who wants to look at what is decided.
    pub(super) fn note_decision(&self, text: &[u8], decision: &Decision) {
        let tuning = self.context.tuning.load();
        if decision.command == Command::Ddl
            && let Some(names) = Mentions::defined_by(text)
        {
            self.database.touches(&names);
        }
        if let Some(every) = tuning.shadow_check {
            self.shadow(decision, text, every);
        }
        if (tuning.log_queries || tuning.log_routes.is_some()) && self.context.logs_decision() {
            self.log_statement(text, decision);
        }
    }

    /// `log.queries` or `log.routes` asked for it.
    pub(super) fn log_statement(&self, text: &[u8], decision: &Decision) {
        let tuning = self.context.tuning.load();
        let shape = self.context.router().shape(text);
        let query = if tuning.log_queries {
            String::from_utf8_lossy(text)
        } else {
            "(log.queries is off)".into()
        };
        tracing::info!(
            client = %self.identity.address,
            node = self.link.as_ref().map_or("", |l| l.node.label.as_str()),
            reason = decision.reason.as_str(),
            shape = format!("{shape:032x}"),
            %query,
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
            link.checkout.note_request(now);
            link.node.asked(now);
            self.note_activity(Activity::Active, now);
        }
    }

    /// What the statement may leave behind, or take away, on its server connection.
    fn note_state(&mut self, decision: &Decision, effects: Option<&[Effect]>) {
        if decision.unseen
            && let Some(link) = &mut self.link
        {
            link.checkout.unseen_by = self.number;
        }
        let mut pins = decision.pins;
        if let Some(effects) = effects {
            self.about_to_set(effects);
            if !effects.contains(&Effect::Unknown) && !self.needs_its_role(effects) {
                pins = pins.without(PinReason::Set.into());
            }
        }
        pins = pins.and(self.note_sequences(decision));
        if self.makes.temporary && decision.command == Command::Ddl {
            pins = pins.and(PinReason::TempTable.into());
        }
        self.transaction.called |= decision.reason == Reason::Procedure;
        let alone = self.transaction.status == TransactionStatus::Idle
            && !self.makes.temporary
            && decision.transaction == TransactionEffect::None
            && !decision.releases
            && self.buffers.as_ref().is_none_or(|b| b.replies.is_empty());
        if !pins.is_empty() {
            self.pin(pins, alone);
        } else if decision.releases && !self.pins.is_empty() {
            self.pins.doubt();
        }
    }

    /// A FunctionCall names its function by number (PostgreSQL docs, 55.7). Those of locks and settings
    /// have always had the same.
    fn called(oid: Option<u32>) -> PinSet {
        match oid {
            Some(1599) => PinReason::Seed.into(),
            Some(2078) => PinReason::Set.into(),
            Some(2880..=2892) => PinReason::AdvisoryLock.into(),
            Some(_) => PinSet::NONE,
            None => PinReason::UnknownState.into(),
        }
    }

    /// Before a FunctionCall: what any function does is not looked at.
    pub(super) fn note_function_call(&mut self) {
        let oid = self.buffers.as_deref().and_then(|buffers| {
            let bytes = buffers.client_in.get(HEADER..HEADER + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        });
        if let Some(link) = &mut self.link {
            link.checkout.unseen_by = self.number;
        }
        self.pin(Self::called(oid), false);
    }

    /// Any write may take a sequence's next value. That is remembered for `currval` and `lastval`, and
    /// keeps a session where it is only if its application asks for these.
    fn note_sequences(&mut self, decision: &Decision) -> PinSet {
        if decision.sequence == SequenceUse::None && !decision.writes {
            return PinSet::NONE;
        }
        if let Some(link) = &mut self.link {
            link.checkout.sequences_of = self.number;
            self.sequences_on = link.checkout.serial;
        }
        let pools = &self.identity.pools;
        if decision.sequence == SequenceUse::Reads {
            pools.seen_asking_sequences();
        }
        if pools.asks_sequences() {
            PinReason::Sequence.into()
        } else {
            PinSet::NONE
        }
    }

    /// What is noted of the statement on its way, whose text is `sql` where all of it is there.
    pub(super) fn run_of(
        &self,
        decision: &Decision,
        effects: Vec<Effect>,
        sql: Option<&[u8]>,
    ) -> Run {
        let parts = effects.into_iter().map(Part::Clients).rev().collect();
        let (ends, block) = match decision.transaction {
            TransactionEffect::Commit | TransactionEffect::PrepareTransaction => {
                (true, Block::Ends)
            }
            TransactionEffect::CommitAndChain => (true, Block::Opens),
            TransactionEffect::Begin
            | TransactionEffect::BeginReadWrite
            | TransactionEffect::BeginReadOnly
            | TransactionEffect::BeginSerializable
            | TransactionEffect::RollbackAndChain => (false, Block::Opens),
            TransactionEffect::Rollback => (false, Block::Ends),
            TransactionEffect::None
            | TransactionEffect::SetReadOnly
            | TransactionEffect::SetReadWrite
            | TransactionEffect::SetSerializable
            | TransactionEffect::Savepoint
            | TransactionEffect::Release
            | TransactionEffect::RollbackTo
            | TransactionEffect::Cursor => (false, Block::Same),
        };
        let alone = self.transaction.status == TransactionStatus::Idle;
        let commits = ends || (alone && decision.writes);
        Run {
            command: decision.command,
            statement: 0,
            writes: decision.writes,
            tables: self.tables_of(sql, decision),
            block,
            commits,
            discards: decision.discard != Discard::Nothing,
            parts,
            changes: Changes::NONE,
        }
    }

    /// Keeps the session on its server connection; `sure` unless that may turn out to be needless.
    pub(super) fn pin(&mut self, pins: PinSet, sure: bool) {
        for reason in pins.without(self.pins.held()).iter() {
            self.context.metrics.pinned(reason.as_str());
            tracing::debug!(client = %self.identity.address, reason = reason.as_str(), "pinned");
        }
        self.pins.add(pins, sure);
        self.publish_pins();
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
