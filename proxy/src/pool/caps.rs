//! Caps on server connections beyond a pool's own size: of all, of a node, a database, a user.
//!
//! One ledger counts them, under one lock that is taken when a connection is opened or closed and
//! never to lend one. A pool that may not open a connection because of a cap is written down here;
//! room that comes free goes to whoever has waited longest of all pools under the cap. While
//! somebody is written down, pools that give connections back ask [`Ledger::must_yield`]; otherwise
//! that costs them one load of [`Ledger::is_contended`].
//!
//! Knows pools only as [`Applicant`]s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::cluster::NodeId;

/// How much longer (us) somebody of another pool must have waited before this pool's own waiters
/// stand back: it costs a login each time.
const SLACK: u64 = 50_000;

/// What a cap counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every server connection.
    All,
    /// Those to one node.
    Node(NodeId),
    /// Those to a database, on all nodes.
    Database(Arc<str>),
    /// Those of a role, on all nodes.
    User(Arc<str>),
}

/// A cap, or the count of what one would hold.
#[derive(Debug)]
pub struct Cap {
    /// What it counts.
    pub scope: Scope,
    /// `usize::MAX` is no cap. Written under the ledger's lock.
    limit: AtomicUsize,
    open: AtomicUsize,
}

impl Cap {
    /// The limit, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        Some(self.limit.load(Ordering::Acquire)).filter(|limit| *limit != usize::MAX)
    }

    /// Connections there are or that are being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.open() >= self.limit.load(Ordering::Acquire)
    }

    fn is_exceeded(&self) -> bool {
        self.open() > self.limit.load(Ordering::Acquire)
    }
}

/// The connections of one pool, and the caps that it is under. Counted under the ledger's lock.
#[derive(Debug)]
pub struct Account {
    open: AtomicUsize,
    opening: AtomicUsize,
    caps: Box<[Arc<Cap>]>,
}

impl Account {
    /// Connections there are or that are being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        // Who waits looks here without the ledger's lock, after joining a queue whose length is
        // looked at after this is lowered: in one order for all, or both could miss the other.
        self.open.load(Ordering::SeqCst)
    }

    /// Of these, those that are still being opened.
    #[must_use]
    pub fn opening(&self) -> usize {
        self.opening.load(Ordering::Acquire)
    }

    /// A connection that was being opened is there.
    pub fn opened(&self) {
        self.opening.fetch_sub(1, Ordering::AcqRel);
    }

    /// The cap that leaves no room now.
    #[must_use]
    pub fn full_cap(&self) -> Option<&Arc<Cap>> {
        self.full_caps().next()
    }

    fn full_caps(&self) -> impl Iterator<Item = &Arc<Cap>> {
        self.caps.iter().filter(|cap| cap.is_full())
    }

    fn is_under(&self, cap: &Arc<Cap>) -> bool {
        self.caps.iter().any(|own| Arc::ptr_eq(own, cap))
    }

    fn count(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.opening.fetch_add(1, Ordering::AcqRel);
        for cap in &self.caps {
            cap.open.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn uncount(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        for cap in &self.caps {
            cap.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A pool, as the ledger sees it.
pub trait Applicant: Send + Sync {
    /// Its connections and caps.
    fn account(&self) -> &Account;
    /// Since when ([`crate::clock::now`]) its first waiter waits for whom no connection is being
    /// opened.
    fn unserved_since(&self) -> Option<u64>;
    /// How many connections it may have now by its own rules.
    fn ceiling(&self) -> usize;
    /// One more connection was counted for it: its first waiter may open it.
    fn grant(self: Arc<Self>);
    /// Since when its longest idle connection is idle.
    fn idle_since(&self) -> Option<u64>;
    /// Closes its longest idle connection; false when there was none.
    fn close_idle(&self) -> bool;
}

/// What came of asking for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is counted: open it.
    Yes,
    /// The pool itself may not have more.
    OwnLimit,
    /// A cap is full.
    Capped,
}

#[derive(Default)]
struct Book {
    /// Pools with somebody waiting whom a cap keeps waiting.
    blocked: Vec<Weak<dyn Applicant>>,
    pools: Vec<Weak<dyn Applicant>>,
    caps: HashMap<Scope, Weak<Cap>>,
    /// Caps with more connections than they allow, which only a reload brings about.
    exceeded: usize,
}

impl Book {
    fn look_for_exceeded(&mut self) {
        let caps = self.caps.values().filter_map(Weak::upgrade);
        self.exceeded = caps.filter(|cap| cap.is_exceeded()).count();
    }
}

/// Counts every server connection against its caps.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
    /// Pools that a cap keeps waiting, and caps that are exceeded after a reload.
    contended: AtomicUsize,
    closed: AtomicUsize,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("contended", &self.contended)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// The account of a pool under these caps; a limit is asked of `limit_of` where a cap is new.
    #[must_use]
    pub fn account(&self, scopes: &[Scope], limit_of: &dyn Fn(&Scope) -> Option<usize>) -> Account {
        let mut book = self.lock();
        book.caps.retain(|_, cap| cap.strong_count() > 0);
        let mut cap = |scope: &Scope| {
            if let Some(cap) = book.caps.get(scope).and_then(Weak::upgrade) {
                return cap;
            }
            let cap = Arc::new(Cap {
                scope: scope.clone(),
                limit: AtomicUsize::new(limit_of(scope).unwrap_or(usize::MAX)),
                open: AtomicUsize::new(0),
            });
            book.caps.insert(scope.clone(), Arc::downgrade(&cap));
            cap
        };
        Account {
            open: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            caps: scopes.iter().map(&mut cap).collect(),
        }
    }

    /// Makes a pool known, so that its idle connections can make room for others.
    pub fn enroll(&self, pool: Weak<dyn Applicant>) {
        let mut book = self.lock();
        book.pools.retain(|pool| pool.strong_count() > 0);
        book.pools.push(pool);
    }

    /// Counts one more connection of a pool, if it may have one.
    #[must_use]
    pub fn take(&self, pool: &Arc<dyn Applicant>) -> Taken {
        let _book = self.lock();
        let account = pool.account();
        if account.open() >= pool.ceiling() {
            return Taken::OwnLimit;
        }
        if account.full_cap().is_some() {
            return Taken::Capped;
        }
        account.count();
        Taken::Yes
    }

    /// As [`Ledger::take`], for somebody who waits. Where a cap is full, idle connections of other
    /// pools are closed to make room, and the pool is served when there is some.
    #[must_use]
    pub fn take_or_queue(&self, pool: &Arc<dyn Applicant>) -> Taken {
        let taken = self.take(pool);
        if taken != Taken::Capped {
            return taken;
        }
        {
            let mut book = self.lock();
            if !book.blocked.iter().any(|b| is(b, pool)) {
                book.blocked.push(Arc::downgrade(pool));
            }
            self.note(&book);
        }
        self.evict_for(pool);
        // Room may have come free before the pool was written down.
        self.serve(None);
        taken
    }

    /// One connection of a pool less. What is free then goes to who has waited longest.
    pub fn give_back(&self, pool: &Arc<dyn Applicant>, was_opening: bool) {
        {
            let mut book = self.lock();
            if was_opening {
                pool.account().opened();
            }
            pool.account().uncount();
            if book.exceeded > 0 {
                book.look_for_exceeded();
                self.note(&book);
            }
        }
        self.serve(Some(pool));
        if self.is_contended() {
            let account = pool.account();
            // It was in the way of who has room under one cap now, and not yet under another.
            let freed =
                |cap: &Arc<Cap>| cap.limit().is_some() && !cap.is_full() && account.is_under(cap);
            self.evict_where(|waiting| {
                waiting.full_cap().is_some() && waiting.caps.iter().any(freed)
            });
        }
    }

    /// Grants whatever room there is: to `pool`, if it is given, and to those kept waiting.
    pub fn serve(&self, pool: Option<&Arc<dyn Applicant>>) {
        let mut newly_blocked = false;
        loop {
            let next = {
                let mut book = self.lock();
                let mut all = candidates(&mut book.blocked);
                if let Some(pool) = pool
                    && !all.iter().any(|(_, other)| Arc::ptr_eq(other, pool))
                    && let Some(since) = pool.unserved_since()
                {
                    all.push((since, Arc::clone(pool)));
                }
                all.sort_by_key(|(since, _)| *since);
                let may = |pool: &Arc<dyn Applicant>| {
                    let account = pool.account();
                    account.open() < pool.ceiling() && account.full_cap().is_none()
                };
                let next = all.iter().find(|(_, pool)| may(pool));
                if let Some((_, pool)) = next {
                    pool.account().count();
                } else if let Some(pool) = pool {
                    // What it can't have now, it is to have later.
                    let wanted = pool.unserved_since().is_some()
                        && pool.account().open() < pool.ceiling()
                        && !book.blocked.iter().any(|b| is(b, pool));
                    if wanted {
                        book.blocked.push(Arc::downgrade(pool));
                        newly_blocked = true;
                    }
                }
                self.note(&book);
                next.map(|(_, pool)| Arc::clone(pool))
            };
            // Not under the lock: nobody may wait any more, and then it comes back here.
            if let Some(pool) = next {
                pool.grant();
                continue;
            }
            if let Some(pool) = pool.filter(|_| newly_blocked) {
                self.evict_for(pool);
            }
            return;
        }
    }

    /// Whether a pool that has a connection to give back must ask [`Ledger::must_yield`] first.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Relaxed) > 0
    }

    /// Whether a free connection of `pool` is to be closed: because a cap is exceeded, or because
    /// that lets somebody of another pool in who has waited clearly longer.
    #[must_use]
    pub fn must_yield(&self, pool: &Arc<dyn Applicant>) -> bool {
        let mut book = self.lock();
        let account = pool.account();
        let all = candidates(&mut book.blocked);
        self.note(&book);
        let own = pool.unserved_since();
        let older = |since: u64| own.is_none_or(|own| since.saturating_add(SLACK) < own);
        let lets_in = |other: &Arc<dyn Applicant>| {
            let theirs = other.account();
            theirs.open() < other.ceiling()
                && theirs
                    .caps
                    .iter()
                    .filter(|cap| cap.is_full())
                    .all(|cap| account.is_under(cap) && !cap.is_exceeded())
        };
        let yields = account.caps.iter().any(|cap| cap.is_exceeded())
            || all
                .iter()
                .any(|(since, other)| !Arc::ptr_eq(other, pool) && older(*since) && lets_in(other));
        if yields {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        yields
    }

    /// Connections closed to make room under a cap, since the start.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    /// Applies changed limits.
    pub fn set_limits(&self, limit_of: &dyn Fn(&Scope) -> Option<usize>) {
        {
            let mut book = self.lock();
            for cap in book.caps.values().filter_map(Weak::upgrade) {
                let limit = limit_of(&cap.scope).unwrap_or(usize::MAX);
                cap.limit.store(limit, Ordering::Release);
            }
            book.look_for_exceeded();
            self.note(&book);
        }
        self.serve(None);
    }

    /// The caps there are, and how many sessions of pools that wait each keeps waiting.
    #[must_use]
    pub fn caps(&self) -> Vec<Arc<Cap>> {
        let book = self.lock();
        let caps = book.caps.values().filter_map(Weak::upgrade);
        caps.filter(|cap| cap.limit().is_some()).collect()
    }

    /// Connections there are or that are being opened, whether or not there is a cap.
    #[must_use]
    pub fn counted(&self, scope: &Scope) -> usize {
        let cap = self.lock().caps.get(scope).and_then(Weak::upgrade);
        cap.map_or(0, |cap| cap.open())
    }

    /// A connection of `pool` lies idle. Alone it lets nobody in ([`Ledger::must_yield`] said so), but
    /// perhaps with one of another pool, where somebody waits under two caps that are full.
    pub fn make_room_with(&self, pool: &Arc<dyn Applicant>) {
        let account = pool.account();
        self.evict_where(|waiting| {
            waiting.full_caps().count() > 1 && waiting.full_caps().any(|cap| account.is_under(cap))
        });
    }

    /// As [`Ledger::evict_for`], for those kept waiting whose account `may_help` names.
    fn evict_where(&self, may_help: impl Fn(&Account) -> bool) {
        let mut all = candidates(&mut self.lock().blocked);
        all.retain(|(_, pool)| may_help(pool.account()));
        all.sort_by_key(|(since, _)| *since);
        for (_, pool) in all {
            self.evict_for(&pool);
        }
    }

    /// Closes idle connections of other pools, if that lets the pool in.
    fn evict_for(&self, pool: &Arc<dyn Applicant>) {
        let pools: Vec<Arc<dyn Applicant>> = {
            let book = self.lock();
            book.pools.iter().filter_map(Weak::upgrade).collect()
        };
        let longest_idle = |cap: &Arc<Cap>| {
            let under = |other: &&Arc<dyn Applicant>| {
                !Arc::ptr_eq(other, pool) && other.account().is_under(cap)
            };
            let idle = pools
                .iter()
                .filter(under)
                .filter_map(|other| Some((other.idle_since()?, other)));
            idle.min_by_key(|(since, _)| *since).map(|(_, other)| other)
        };
        if pool
            .account()
            .full_caps()
            .any(|cap| longest_idle(cap).is_none())
        {
            return;
        }
        for cap in &pool.account().caps {
            // One that was closed for another cap may have made room here, too.
            if cap.is_full() && longest_idle(cap).is_some_and(|other| other.close_idle()) {
                self.closed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Keeps what the fast path looks at up to date.
    fn note(&self, book: &Book) {
        // The lock orders this for those who look after they have taken it, too; a pool that makes
        // a connection idle has taken a lock that `evict_for` takes after this.
        self.contended
            .store(book.blocked.len() + book.exceeded, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those still kept waiting, and since when; forgets the others.
fn candidates(blocked: &mut Vec<Weak<dyn Applicant>>) -> Vec<(u64, Arc<dyn Applicant>)> {
    let mut found = Vec::new();
    blocked.retain(|pool| {
        let Some(pool) = pool.upgrade() else {
            return false;
        };
        let Some(since) = pool.unserved_since() else {
            return false;
        };
        // With its own limit reached, its own connections serve it.
        let kept = pool.account().open() < pool.ceiling();
        if kept {
            found.push((since, pool));
        }
        kept
    });
    found
}

fn is(weak: &Weak<dyn Applicant>, pool: &Arc<dyn Applicant>) -> bool {
    std::ptr::addr_eq(weak.as_ptr(), Arc::as_ptr(pool))
}

#[cfg(test)]
mod tests;
