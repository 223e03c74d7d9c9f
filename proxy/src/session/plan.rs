//! Looking ahead: what the batch at the front of the client's messages demands of a server.
//!
//! A batch is a Query, a FunctionCall, or messages of the extended protocol up to Sync or Flush.
//! It is looked at as a whole before any of it is sent, because its most demanding part decides.

use std::collections::VecDeque;
use std::sync::Arc;

use super::failure::malformed;
use super::intake::enough;
use super::io::CLIENT_IN_MAX;
use super::statements::Statement;
use super::{Demand, End, Session, Step, failure};
use crate::cluster::Position;
use crate::protocol::frame::{self, Frontend, HEADER, Header};
use crate::protocol::messages;
use crate::router::{
    self, Decision, Hint, Mentions, Reason, Scope, SequenceUse, Tables, Target, TransactionEffect,
};

/// The portals that a batch uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Portals {
    #[default]
    None,
    /// Those that it binds.
    Own,
    /// One that an earlier batch has bound, too.
    Earlier,
}

/// What is known of the batch at the front of the client's messages.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Bytes looked at.
    scanned: usize,
    /// Bytes that may be sent, once the demand is met; 0 while the batch is not complete.
    pub(super) ready: usize,
    /// What it needs; `None` when we answer all of it.
    pub(super) demand: Option<Demand>,
    /// The decision on a Query, so that it is taken once.
    pub(super) decision: Option<Decision>,
    /// The statements of its Parses, in order.
    pub(super) parsed: VecDeque<Arc<Statement>>,
    /// What its last statement that has to do with transactions does.
    last: TransactionEffect,
    /// How many statements it names, and how many times it runs one.
    named: usize,
    run: usize,
    /// Which portals it uses.
    pub(super) portals: Portals,
    /// It asks what the session's sequences gave last.
    pub(super) asks_sequences: bool,
    /// Some statement of it opens a transaction block.
    opens_block: bool,
    /// It calls what writes, or takes locks.
    pub(super) calls_writer: bool,
    /// The tables that it reads.
    pub(super) reads: Tables,
    /// The transaction that its next statement runs in.
    scope: Scope,
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
        self.asks_sequences |= decision.sequence == SequenceUse::Reads;
        self.opens_block |= decision.transaction.needs_a_block();
        self.named += 1;
        if decision.transaction != TransactionEffect::None {
            self.last = decision.transaction;
        }
        self.calls_writer |= decision.reason == Reason::WriteFunction;
        if decision.local.is_none() {
            // What a transaction reads later is not known.
            let all = matches!(self.scope, Scope::ReadOnly | Scope::UntilWrite)
                || decision.transaction != TransactionEffect::None;
            let reads = if all { Tables::ALL } else { decision.reads };
            self.reads = self.reads.and(reads);
            self.demand(self.scope.target(decision));
            self.scope = self.scope.behind(decision);
        }
    }

    /// COMMIT or ROLLBACK if that is all that a batch of the extended protocol does.
    pub(super) fn is_only_end(&self) -> Option<TransactionEffect> {
        let ends = matches!(
            self.last,
            TransactionEffect::Commit | TransactionEffect::Rollback
        );
        (ends && self.named == 1 && self.run == 1).then_some(self.last)
    }

    /// It binds a portal, which outlives it if it has a name.
    fn binds(&mut self, portal: &[u8]) {
        if !portal.is_empty() && self.scope == Scope::UntilWrite {
            self.demand(Target::Primary);
        }
        if self.portals == Portals::None {
            self.portals = Portals::Own;
        }
    }

    /// It uses a portal that it has not bound.
    fn unknown_portal(&mut self) {
        self.portals = Portals::Earlier;
        self.demand(Target::Primary);
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

impl Session {
    /// In statement mode: refuses a batch that opens a transaction block, before any of it is sent,
    /// so that the client goes on as it was. What can't be seen before, `go_on` ends.
    pub(super) fn refuse_block(
        &mut self,
        kind: Frontend,
        header: Header,
    ) -> Result<Option<Step>, End> {
        if self.batch.is_open() {
            return Ok(None);
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Some(Step::Wait));
        }
        if !self.plan.opens_block {
            return Ok(None);
        }
        self.answer_locals();
        // Its error comes after the answers that are owed.
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        Ok(Some(if owed {
            Step::Wait
        } else {
            self.refuse(kind, header, &failure::no_transaction_blocks())
        }))
    }

    /// Looks at the batch; true when it is known what it needs.
    pub(super) fn look_ahead(&mut self) -> Result<bool, End> {
        if self.plan.scanned == 0 {
            self.version = self.decided_by();
            self.plan.scope = self.scope();
        }
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
                    if self.plan.portals == Portals::Own && self.plan.demand.is_some() {
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

    pub(super) fn plan_request(
        &mut self,
        kind: Frontend,
        header: Header,
        whole: bool,
    ) -> Result<(), End> {
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
        let mut decision = self.decide(text);
        if !whole {
            failure::cannot_see_the_end(&mut decision);
        }
        Ok(decision)
    }

    /// Where a statement may run, by all that is known of its database.
    pub(super) fn decide(&self, text: &[u8]) -> Decision {
        let catalog = self.database.catalog();
        let mut router = self.context.router();
        let decision = router.decide_in(text, self.quoting, catalog.as_deref());
        let decision = match self.asks.route {
            Hint::None => decision,
            hint => router.hinted(text, decision, hint),
        };
        let renamed = self.database.touched() != 0
            && decision.target == Target::Replica
            && decision.reason == Reason::ReadOnlySelect
            && self.database.has_touched(&Mentions::of(text));
        if renamed {
            decision.doubtful()
        } else {
            decision
        }
    }

    /// The name again if its statement was decided by another catalog.
    fn decided_before(&self, name: &[u8]) -> Option<Vec<u8>> {
        let known = self.statements.get(name)?;
        let before = known.version() != self.version && !known.definition.is_empty();
        before.then(|| name.to_vec())
    }

    /// The statement of that name is decided again.
    fn decide_again(&mut self, name: &[u8]) {
        let Some(known) = self.statements.get(name) else {
            return;
        };
        let decided = self.decide(known.text());
        if !known.stays(self.version, decided) {
            let fresh = Statement::new(known.definition.clone(), self.version, decided);
            self.statements.set(name, Some(fresh));
        }
    }

    pub(super) fn plan_extended(
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
                self.plan.fold(&statement.decision());
                self.plan.parsed.push_back(statement);
            }
            Frontend::Bind => {
                let names = messages::bind_names(body).map_err(|e| malformed(&e))?;
                let names = names.ok_or_else(|| malformed(&messages::unterminated("Bind")))?;
                if let Some(name) = self.decided_before(names.statement) {
                    self.decide_again(&name);
                    return self.plan_extended(kind, at, header, whole);
                }
                let parsed_here = !self.plan.parsed.is_empty();
                match self.statements.get(names.statement).map(|s| s.decision()) {
                    // A Parse before it in this batch has been counted already.
                    _ if names.statement.is_empty() && parsed_here => {}
                    Some(decision) => self.plan.fold(&decision),
                    None if parsed_here => {}
                    None => self.plan.demand(Target::Primary),
                }
                self.plan.binds(names.portal);
            }
            // The server says that it does not know that kind.
            Frontend::Describe | Frontend::Close if !messages::names_something(body) => {
                self.plan.demand(Target::Primary);
            }
            Frontend::Describe => {
                let named = messages::describe(body).map_err(|e| malformed(&e))?;
                match named.target {
                    messages::Target::Statement => {
                        match self.statements.get(named.name).map(|s| s.decision()) {
                            _ if !self.plan.parsed.is_empty() => {}
                            Some(decision) => self.plan.fold(&decision),
                            None => self.plan.demand(Target::Primary),
                        }
                    }
                    messages::Target::Portal if self.plan.portals == Portals::Own => {}
                    messages::Target::Portal => self.plan.unknown_portal(),
                }
            }
            Frontend::Execute => {
                let execute = messages::execute(body).map_err(|e| malformed(&e))?;
                self.plan.run += 1;
                if self.plan.portals != Portals::Own {
                    self.plan.unknown_portal();
                } else if execute.max_rows > 0 && self.plan.scope == Scope::UntilWrite {
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
            let mut decision = self.decide(text);
            failure::cannot_see_the_end(&mut decision);
            return Ok(Statement::new(Vec::new(), self.version, decision));
        }
        let parse = messages::parse(body).map_err(|e| malformed(&e))?;
        let definition = &body[parse.name.len() + 1..];
        if router::asks_position(parse.query) {
            let asked = question(definition, parse.query);
            let decide = || self.decide(parse.query);
            return Ok(self.space.intern(&asked, self.version, decide));
        }
        Ok(self
            .space
            .intern(definition, self.version, || self.decide(parse.query)))
    }
}

/// The definition of a statement that asks for a WAL position, as servers understand it.
fn question(definition: &[u8], query: &[u8]) -> Vec<u8> {
    let types = definition.get(query.len()..).unwrap_or_default();
    [Position::QUESTION.as_bytes(), types].concat()
}
