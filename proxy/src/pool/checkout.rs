//! Lending a connection and taking it back.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use super::budget::{Budget, Elsewhere, Grant, Size};
use super::caps::{Account, Applicant, Ledger};
use super::control::Database;
use super::hold::{Gate, Hold};
use super::manager::{Idle, Object, Pooled};
use super::servers::{ServerState, Servers};
use crate::auth::secret::Credential;
use crate::backend::connect::{ConnectError, Target};
use crate::backend::connection::Connection;
use crate::clock;
use crate::cluster::Node;

/// The settings of pools; live.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long opening a connection may take.
    pub connect_timeout: std::time::Duration,
    /// Close a connection that was idle for so long; `None` keeps it.
    pub idle_timeout: Option<std::time::Duration>,
    /// Close a connection of that age when it comes back; `None` keeps it.
    pub lifetime: Option<std::time::Duration>,
    /// Per cent by which lifetimes differ, so that connections don't all expire at once.
    pub lifetime_jitter: u8,
    /// How long somebody waits before the reserve is opened.
    pub reserve_timeout: std::time::Duration,
    /// The longest pause after a server has refused a login.
    pub login_retry: std::time::Duration,
    /// How long a connection may be idle before it is asked whether it still answers.
    pub check_delay: Option<std::time::Duration>,
}

/// What the pools of an instance have in common.
#[derive(Debug)]
pub struct Commons {
    /// Counts connections against their caps.
    pub ledger: Arc<Ledger>,
    /// One per node.
    pub gates: Box<[Gate]>,
    /// Live settings.
    pub limits: Arc<ArcSwap<Limits>>,
}

/// What all workers share of a pool: whom it connects to, and how many may.
#[derive(Debug)]
pub struct Shared {
    /// The node.
    pub node: Arc<Node>,
    /// Database on the server.
    pub database: Arc<str>,
    /// Role on the server.
    pub user: Arc<str>,
    /// How to log in; learned from the client's own login where only a verifier is configured.
    pub credential: ArcSwapOption<Credential>,
    /// The limit and the queue.
    pub budget: Budget,
    /// Whether the database is paused.
    pub control: Arc<Database>,
    pub(super) servers: Arc<Servers>,
    /// The pause after a failed login.
    pub hold: Hold,
    pub(super) commons: Arc<Commons>,
    /// This pool on each worker.
    members: Box<[Mutex<Weak<Pool>>]>,
}

impl Shared {
    /// A pool of that size over `workers` workers.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        (database, user): (Arc<str>, Arc<str>),
        size: Size,
        account: Account,
        workers: usize,
        commons: Arc<Commons>,
        (control, servers): (Arc<Database>, Arc<Servers>),
    ) -> Self {
        let reserve_timeout = commons.limits.load().reserve_timeout;
        Self {
            node,
            database,
            user,
            credential: ArcSwapOption::empty(),
            budget: Budget::new(account, size, reserve_timeout),
            hold: Hold::default(),
            control,
            servers,
            commons,
            members: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// The workers' parts that there are.
    pub(super) fn members(&self) -> impl Iterator<Item = Arc<Pool>> {
        let part =
            |m: &Mutex<Weak<Pool>>| m.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        self.members.iter().filter_map(part)
    }

    /// Idle connections over all workers.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.members().map(|p| p.idle()).sum()
    }

    /// Closes idle connections that are not to be lent again.
    pub fn close_outdated(&self) {
        for pool in self.members() {
            pool.idle
                .close_if(|pooled| !self.control.keeps(pooled.server.mark));
        }
    }

    pub(super) fn target(&self) -> Target {
        Target {
            host: self.node.host.clone(),
            port: self.node.port,
            user: Arc::clone(&self.user),
            database: Arc::clone(&self.database),
            credential: self.credential.load_full().as_deref().cloned(),
        }
    }
}

/// One worker's part of a pool.
#[derive(Debug)]
pub struct Pool {
    /// What it shares with the other workers' parts.
    pub shared: Arc<Shared>,
    pub(super) worker: usize,
    pub(super) idle: Idle,
}

impl Pool {
    /// Makes `worker`'s part and tells the others of it.
    ///
    /// # Errors
    /// When deadpool refuses its configuration.
    pub fn join(
        shared: Arc<Shared>,
        worker: usize,
    ) -> Result<Arc<Self>, deadpool::managed::BuildError> {
        let pool = Arc::new(Self {
            shared,
            worker,
            idle: Idle::new()?,
        });
        if let Some(place) = pool.shared.members.get(worker) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&pool);
        }
        Ok(pool)
    }

    /// An idle connection, if nobody has a better right to it.
    #[must_use]
    pub fn try_checkout(self: &Arc<Self>) -> Option<Checkout> {
        if self.shared.budget.waiting() > 0 || self.shared.control.is_paused() {
            return None;
        }
        let object = self.idle.take()?;
        Some(Checkout::new(object, self))
    }

    /// The idle connection with that number ([`Connection::serial`]), if it is here and nobody
    /// waits.
    #[must_use]
    pub fn try_checkout_this(self: &Arc<Self>, serial: u64) -> Option<Checkout> {
        if self.shared.budget.waiting() > 0 || self.shared.control.is_paused() {
            return None;
        }
        let object = self.idle.take_this(serial)?;
        Some(Checkout::new(object, self))
    }

    /// A connection, waiting in line for as long as it takes; `since` ([`clock::now`]) is the
    /// place in the line. The caller bounds the wait and may drop the future at any time.
    ///
    /// # Errors
    /// When a connection had to be opened and couldn't, and waiting would not help.
    pub async fn checkout(
        self: &Arc<Self>,
        since: u64,
        elsewhere: Elsewhere,
    ) -> Result<Checkout, ConnectError> {
        loop {
            self.shared.control.resumed().await;
            if let Some(checkout) = self.try_checkout() {
                return Ok(checkout);
            }
            if let Some(error) = self.shared.refusal(elsewhere) {
                return Err(error);
            }
            let grant = self.shared.budget.enqueue(self.worker, since, elsewhere);
            let mut place = Place { grant, pool: self };
            self.supply();
            let object = match self.wait(&mut place.grant, since).await {
                Ok(Grant::Own(object)) => Some(object),
                Ok(Grant::Foreign(pooled)) => self.bring_home(pooled),
                Ok(Grant::Failed(error)) => return Err(error),
                Ok(Grant::Room(permit)) => {
                    tokio::spawn(Arc::clone(self).open(permit));
                    None
                }
                Ok(Grant::Look) | Err(_) => None,
            };
            if let Some(object) = object {
                return Ok(Checkout::new(object, self));
            }
        }
    }

    /// Waits for what the queue brings; has the reserve opened when that takes long.
    async fn wait(
        self: &Arc<Self>,
        grant: &mut oneshot::Receiver<Grant>,
        since: u64,
    ) -> Result<Grant, oneshot::error::RecvError> {
        let Some(after) = self.shared.budget.reserve_after() else {
            return grant.await;
        };
        let left = since.saturating_add(after).saturating_sub(clock::now());
        // A moment more, so that the time has come when it is looked at.
        let left = std::time::Duration::from_micros(left.saturating_add(1_000));
        match tokio::time::timeout(left, &mut *grant).await {
            Ok(granted) => granted,
            Err(_) => {
                self.open_for_waiters();
                grant.await
            }
        }
    }

    /// How many connections this worker has idle.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.close_if(|_| false).0
    }

    #[allow(
        clippy::boxed_local,
        reason = "it comes out of a pool, where all are boxed"
    )]
    pub(super) fn bring_home(&self, pooled: Box<Pooled>) -> Option<Object> {
        match pooled.rehome() {
            Ok(pooled) => self.idle.adopt(Box::new(pooled)),
            Err(e) => {
                tracing::debug!(error = %e, "server connection lost while it changed workers");
                None
            }
        }
    }

    /// Makes a connection available to whoever is next.
    pub(super) fn put_back(&self, mut object: Object) {
        if self.shared.budget.waiting() > 0 {
            if !object.is_quiet() || self.shared.must_yield() {
                drop(Object::take(object));
                return;
            }
            match self.shared.budget.hand_over(self.worker, object) {
                None => return,
                Some(nobody_waited) => object = nobody_waited,
            }
        }
        // First idle, then look again: one that joined a queue in between may have missed it.
        drop(object);
        while self.shared.budget.waiting() > 0 {
            let Some(object) = self.idle.take() else {
                return;
            };
            match self.shared.budget.hand_over(self.worker, object) {
                None => return,
                Some(nobody_waited) => drop(nobody_waited),
            }
        }
        if !self.shared.commons.ledger.is_contended() {
            return;
        }
        if self.shared.must_yield() {
            drop(self.idle.give_away());
        } else {
            let pool: Arc<dyn Applicant> = Arc::<Shared>::clone(&self.shared);
            self.shared.commons.ledger.make_room_with(&pool);
        }
    }
}

/// A place in the queue; whatever was granted to somebody who left goes to the next.
struct Place<'a> {
    grant: oneshot::Receiver<Grant>,
    pool: &'a Arc<Pool>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.grant.close();
        match self.grant.try_recv() {
            Ok(Grant::Own(object)) => self.pool.put_back(object),
            // Closing it gives its permit back, which tells the next in line.
            Ok(Grant::Foreign(pooled)) => drop(pooled),
            Ok(Grant::Room(permit)) => drop(permit),
            Ok(Grant::Look | Grant::Failed(_)) | Err(_) => {}
        }
    }
}

/// A connection on loan. It must be given back by [`Checkout::release`]; dropped otherwise, it is
/// closed, since nobody vouched for its state.
#[derive(Debug)]
pub struct Checkout {
    object: Option<Object>,
    pool: Arc<Pool>,
}

impl Checkout {
    fn new(object: Object, pool: &Arc<Pool>) -> Self {
        object.server.set_state(ServerState::Active);
        Self {
            object: Some(object),
            pool: Arc::clone(pool),
        }
    }

    /// A request is about to be sent.
    pub fn note_request(&self, now: u64) {
        if let Some(object) = &self.object {
            object.server.note_request(now);
        }
    }

    /// Gives the connection back: no transaction is open, no reply is outstanding, no state of the
    /// session is left but [`Connection::parameters`] and [`Connection::prepared`].
    pub fn release(mut self, now: u64) {
        let Some(mut object) = self.object.take() else {
            return;
        };
        object.idle_since = now;
        let cancelled = object.key.may_be_cancelled();
        if object.is_aging(now) && self.pool.renew(&mut object, now) {
            let owed = !object.was_replaced();
            drop(Object::take(object));
            if owed {
                self.pool.refill();
            }
            return;
        }
        let shared = &self.pool.shared;
        let outdated = !shared.control.keeps(object.server.mark);
        if cancelled || outdated || shared.budget.exceeded() {
            drop(Object::take(object));
            return;
        }
        object.server.set_state(ServerState::Idle);
        self.pool.put_back(object);
    }

    /// The pool it is from.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Checkout {
    type Target = Connection;
    #[allow(
        clippy::expect_used,
        reason = "the object is only taken by value, in release and drop"
    )]
    fn deref(&self) -> &Connection {
        self.object
            .as_ref()
            .expect("a checkout holds its connection until it is consumed")
    }
}

impl DerefMut for Checkout {
    #[allow(
        clippy::expect_used,
        reason = "the object is only taken by value, in release and drop"
    )]
    fn deref_mut(&mut self) -> &mut Connection {
        self.object
            .as_mut()
            .expect("a checkout holds its connection until it is consumed")
    }
}
