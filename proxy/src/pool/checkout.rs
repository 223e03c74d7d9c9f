//! Lending a connection and taking it back.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use super::budget::{Budget, Grant};
use super::control::Database;
use super::manager::{Idle, Object, Pooled};
use super::permit::Permit;
use super::servers::{Established, Listed, ServerState, Servers};
use crate::auth::secret::Credential;
use crate::backend::connect::{self, ConnectError, Target};
use crate::backend::connection::Connection;
use crate::clock;
use crate::cluster::Node;

/// The pause after a server has said that it is full.
const FULL_SERVER_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

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
    /// Connections to keep open per pool even when nobody uses them.
    pub min_idle: usize,
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
    pub budget: Arc<Budget>,
    /// Whether the database is paused.
    pub control: Arc<Database>,
    servers: Arc<Servers>,
    limits: Arc<ArcSwap<Limits>>,
    /// This pool on each worker.
    members: Box<[Mutex<Weak<Pool>>]>,
}

impl Shared {
    /// A pool of at most `size` connections over `workers` workers.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        database: Arc<str>,
        user: Arc<str>,
        size: usize,
        workers: usize,
        limits: Arc<ArcSwap<Limits>>,
        (control, servers): (Arc<Database>, Arc<Servers>),
    ) -> Self {
        Self {
            node,
            database,
            user,
            credential: ArcSwapOption::empty(),
            budget: Budget::new(size),
            control,
            servers,
            limits,
            members: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// The workers' parts that there are.
    fn members(&self) -> impl Iterator<Item = Arc<Pool>> {
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

    fn target(&self) -> Target {
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
    worker: usize,
    idle: Idle,
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
    /// When a connection had to be opened and couldn't.
    pub async fn checkout(self: &Arc<Self>, since: u64) -> Result<Checkout, ConnectError> {
        loop {
            self.shared.control.resumed().await;
            if let Some(checkout) = self.try_checkout() {
                return Ok(checkout);
            }
            let grant = self.shared.budget.enqueue(self.worker, since);
            let mut place = Place { grant, pool: self };
            self.supply();
            let object = match (&mut place.grant).await {
                Ok(Grant::Own(object)) => Some(object),
                Ok(Grant::Foreign(pooled)) => self.bring_home(pooled),
                Ok(Grant::Failed(error)) => return Err(error),
                Ok(Grant::Room) | Err(_) => None,
            };
            if let Some(object) = object {
                return Ok(Checkout::new(object, self));
            }
        }
    }

    /// Opens a connection for nobody in particular, to have one ready.
    pub fn prewarm(self: &Arc<Self>) {
        if self.shared.control.is_paused() {
            return;
        }
        if let Some(permit) = self.shared.budget.try_permit() {
            tokio::spawn(Arc::clone(self).open(permit));
        }
    }

    /// Closes idle connections that are too old or were idle for too long.
    pub fn sweep(&self, now: u64) {
        let limits = self.shared.limits.load();
        let idle_limit = limits.idle_timeout.map(micros);
        let mut spare = self.shared.budget.open().saturating_sub(limits.min_idle);
        let exceeded = self.shared.budget.exceeded();
        self.idle.close_if(|pooled| {
            let idle_too_long = spare > 0
                && idle_limit.is_some_and(|limit| now.saturating_sub(pooled.idle_since) >= limit);
            let outdated = !self.shared.control.keeps(pooled.server.mark);
            let close = exceeded || outdated || pooled.expired(now) || idle_too_long;
            spare = spare.saturating_sub(usize::from(close));
            close
        });
    }

    /// How many connections this worker has idle.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.close_if(|_| false).0
    }

    /// Gets the queue something: an idle connection of this or another worker, or a new one.
    fn supply(self: &Arc<Self>) {
        if let Some(object) = self.idle.take() {
            self.put_back(object);
            return;
        }
        let others = self.shared.members();
        for other in others.filter(|o| o.worker != self.worker) {
            if let Some(object) = other.idle.give_away().and_then(|p| self.bring_home(p)) {
                self.put_back(object);
                return;
            }
        }
        self.prewarm();
    }

    #[allow(
        clippy::boxed_local,
        reason = "it comes out of a pool, where all are boxed"
    )]
    fn bring_home(&self, pooled: Box<Pooled>) -> Option<Object> {
        match pooled.rehome() {
            Ok(pooled) => self.idle.adopt(Box::new(pooled)),
            Err(e) => {
                tracing::debug!(error = %e, "server connection lost while it changed workers");
                None
            }
        }
    }

    /// Makes a connection available to whoever is next.
    fn put_back(&self, mut object: Object) {
        if self.shared.budget.waiting() > 0 {
            if !object.is_quiet() {
                drop(Object::take(object));
                return;
            }
            match self.shared.budget.hand_over(self.worker, object) {
                None => return,
                Some(nobody_waited) => object = nobody_waited,
            }
        }
        // First idle, then look again: one that joined the queue in between may have missed it.
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
    }

    /// Makes a new connection available, unless its database was paused while it was opened.
    fn shelve(&self, pooled: Pooled) {
        if !self.shared.control.keeps(pooled.server.mark) {
            return;
        }
        if let Some(object) = self.idle.adopt(Box::new(pooled)) {
            self.put_back(object);
        }
    }

    async fn open(self: Arc<Self>, permit: Permit) {
        let limits = self.shared.limits.load_full();
        let shared = &self.shared;
        let mark = shared.control.mark();
        let listed = shared
            .servers
            .list(&shared.node, &shared.database, &shared.user, mark);
        // Listed first: a PAUSE that came before this look is seen, a later one sees the entry.
        if shared.control.is_paused() {
            return;
        }
        match connect::connect(&self.shared.target(), limits.connect_timeout).await {
            Ok(connection) => {
                let expires = limits
                    .lifetime
                    .map_or(0, |l| expiry(l, limits.lifetime_jitter));
                listed.establish(established(&connection));
                self.shelve(Pooled::new(connection, expires, listed, permit));
            }
            Err(error) => {
                drop::<Listed>(listed);
                // A full server is waited for as long as some connection of ours can come back.
                let hold =
                    matches!(error, ConnectError::NotNow(_)) && self.shared.budget.open() > 1;
                if hold {
                    // The permit is kept meanwhile: nobody else tries in this time.
                    tokio::time::sleep(FULL_SERVER_PAUSE).await;
                }
                let told = !hold && self.shared.budget.fail_one(self.worker, &error);
                if !told {
                    tracing::debug!(node = %self.shared.node.label, error = %error.report(),
                        "could not open a server connection");
                }
            }
        }
    }
}

fn established(connection: &Connection) -> Established {
    Established {
        key: Arc::clone(&connection.key),
        prepared: connection.prepared.count(),
        local: connection.stream.local_addr().ok(),
        peer: connection.stream.peer_addr().ok(),
    }
}

fn micros(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// When a connection opened now is too old: earlier by up to the jitter.
fn expiry(lifetime: std::time::Duration, jitter: u8) -> u64 {
    let spread: f64 = rand::random::<f64>() * f64::from(jitter.min(100)) / 100.0;
    clock::now().saturating_add(micros(lifetime.mul_f64(1.0 - spread)))
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
            Ok(Grant::Room) => self.pool.shared.budget.pass_room_on(),
            Ok(Grant::Failed(_)) | Err(_) => {}
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
        let shared = &self.pool.shared;
        let outdated = !shared.control.keeps(object.server.mark);
        if object.expired(now) || cancelled || outdated || shared.budget.exceeded() {
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
