//! A pool among others: what it may ask of the ledger, what the ledger may ask of it, and what it
//! is waiting for, in words.

use std::sync::Arc;

use super::budget::Elsewhere;
use super::caps::{Account, Applicant, Cap, Scope, Taken};
use super::checkout::Shared;
use super::permit::{Permit, Room, Stage};
use crate::backend::connect::ConnectError;
use crate::clock;

impl Room for Shared {
    fn give_back(self: Arc<Self>, was: Stage) {
        let commons = Arc::clone(&self.commons);
        let pool: Arc<dyn Applicant> = self;
        commons.ledger.give_back(&pool, was == Stage::Opening);
    }

    fn opened(&self) {
        self.budget.account.opened();
    }
}

impl Applicant for Shared {
    fn account(&self) -> &Account {
        &self.budget.account
    }

    fn unserved_since(&self) -> Option<u64> {
        self.budget.unserved_since()
    }

    fn ceiling(&self) -> usize {
        let now = clock::now();
        let careful = self.hold.is_cautious() && self.budget.account.opening() > 0;
        // Waiters of a paused database keep their places, and claim no room that others could use.
        if careful || self.hold.is_on(now) || self.control.is_paused() {
            0
        } else {
            self.budget.ceiling(now)
        }
    }

    fn grant(self: Arc<Self>) {
        let permit = Permit::of(Arc::<Self>::clone(&self));
        self.budget.offer(permit);
    }

    fn idle_since(&self) -> Option<u64> {
        self.members().filter_map(|part| part.idle_since()).min()
    }

    fn close_idle(&self) -> bool {
        let parts = self.members().filter_map(|p| Some((p.idle_since()?, p)));
        let longest = parts.min_by_key(|(since, _)| *since);
        // Dropped, it is closed.
        longest.is_some_and(|(_, part)| part.idle.give_away().is_some())
    }
}

impl Shared {
    /// A permit, if there is room for a connection that nobody waits for.
    pub(super) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let pool: Arc<dyn Applicant> = Arc::<Self>::clone(self);
        (self.commons.ledger.take(&pool) == Taken::Yes)
            .then(|| Permit::of(Arc::<Self>::clone(self)))
    }

    /// A permit for somebody who waits; where a cap leaves no room, the pool is served when there is.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Permit> {
        let pool: Arc<dyn Applicant> = Arc::<Self>::clone(self);
        (self.commons.ledger.take_or_queue(&pool) == Taken::Yes)
            .then(|| Permit::of(Arc::<Self>::clone(self)))
    }

    /// Has the waiters served, as far as there is room.
    pub(super) fn serve(self: &Arc<Self>) {
        let pool: Arc<dyn Applicant> = Arc::<Self>::clone(self);
        self.commons.ledger.serve(Some(&pool));
    }

    /// Whether a free connection is to be closed for somebody of another pool. Costs one load while
    /// no cap keeps anybody waiting.
    pub(super) fn must_yield(self: &Arc<Self>) -> bool {
        if !self.commons.ledger.is_contended() {
            return false;
        }
        let pool: Arc<dyn Applicant> = Arc::<Self>::clone(self);
        self.commons.ledger.must_yield(&pool)
    }

    /// What a server said lately against any connection of this pool: there is none to wait for, so
    /// whoever comes is told at once. A full server is waited for, unless there is another.
    pub(super) fn refusal(&self, elsewhere: Elsewhere) -> Option<ConnectError> {
        if !self.hold.is_on(clock::now()) || self.budget.open() > 0 {
            return None;
        }
        self.hold.last().filter(|error| match error {
            ConnectError::NotNow(_) => elsewhere == Elsewhere::Perhaps,
            ConnectError::Unreachable(_) | ConnectError::Refused(_) => true,
        })
    }

    /// What somebody who waits for a connection of this pool is waiting for.
    #[must_use]
    pub fn holdup(&self) -> String {
        let node = &self.node.label;
        let (user, database) = (&self.user, &self.database);
        if let Some(error) = self.hold.last() {
            return format!("node {node} takes no login now: {}", error.report());
        }
        let (open, limit) = (self.budget.open(), self.budget.limit());
        if open >= limit {
            return format!(
                "all {open} connections of user \"{user}\" to database \"{database}\" on node {node} \
                 are in use (pool.size)"
            );
        }
        match self.budget.account.full_cap() {
            Some(cap) => format!("{} is reached", words(cap)),
            None => format!("a connection to node {node} is being opened"),
        }
    }
}

/// A cap as people know it, with the key to raise it.
fn words(cap: &Cap) -> String {
    let limit = cap.limit().unwrap_or(usize::MAX);
    match &cap.scope {
        Scope::All => format!("limits.max_server_connections ({limit})"),
        Scope::Node(id) => format!("max_server_connections of node {id} ({limit})"),
        Scope::Database(name) => format!("max_server_connections of database \"{name}\" ({limit})"),
        Scope::User(name) => format!("max_server_connections of user \"{name}\" ({limit})"),
    }
}
