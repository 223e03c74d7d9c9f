//! Every client of this instance: who it is, what it does, how to cancel its statement and how to
//! end its session from outside.
//!
//! Knows no socket of a client: a session looks at its own [`Client`] when it is woken.

mod backend_key;
pub mod key;
mod newcomer;
mod seats;
mod signal;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::SystemTime;

use atomic_waker::AtomicWaker;

pub use self::backend_key::BackendKey;
use self::key::PeerId;
pub use self::newcomer::Newcomer;
pub use self::seats::{ClientLimits, Crowded, Party, Seating, Seats};
pub use self::signal::{Activity, Signal};
use crate::clock;

#[derive(Debug, Default)]
enum CancelTarget {
    #[default]
    Nothing,
    Waiting,
    Cancelled,
    Running(Arc<BackendKey>),
}

/// One client connection. `Debug` hides its cancel secret.
pub struct Client {
    /// The process id that the client was told in BackendKeyData.
    pub pid: i32,
    secret: Box<[u8]>,
    /// Login name.
    pub user: String,
    /// Database asked for.
    pub database: String,
    /// Database and role on the servers; none for a client of the console.
    pub lodging: Option<(Arc<str>, Arc<str>)>,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it came to.
    pub local: Option<SocketAddr>,
    /// What it replicates, as pgbouncer shows it: `none`, `logical`, `physical`.
    pub replication: &'static str,
    /// When it logged in.
    pub since: SystemTime,
    activity: AtomicU8,
    activity_since: AtomicU64,
    request_at: AtomicU64,
    transaction_since: AtomicU64,
    signal: AtomicU8,
    waker: AtomicWaker,
    cancel: Mutex<CancelTarget>,
    /// Prepared statements it has, for SHOW.
    pub prepared: Arc<AtomicUsize>,
    application_name: Mutex<String>,
    pins: AtomicU16,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("pid", &self.pid)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The secret that goes with [`Client::pid`] in BackendKeyData.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Notes what the client does from now on; `now` as of [`clock::now`]. Its transaction (or its
    /// statement, alone) begins with the first thing that is no idling.
    pub fn set_activity(&self, activity: Activity, now: u64) {
        // Only the session writes it.
        match activity {
            Activity::Idle | Activity::Waiting | Activity::Streaming => self.transaction_ended(),
            Activity::Active | Activity::IdleInTransaction => {
                if self.transaction_since.load(Ordering::Relaxed) == clock::NEVER {
                    self.transaction_since.store(now, Ordering::Relaxed);
                }
            }
        }
        // In this order, so that nobody takes a new activity to have lasted as long as the old.
        self.activity_since.store(now, Ordering::Relaxed);
        self.activity.store(activity as u8, Ordering::Release);
        if matches!(activity, Activity::Waiting | Activity::Active) {
            self.request_at.store(now, Ordering::Relaxed);
        }
    }

    /// What the client does, and since when ([`clock::now`]).
    #[must_use]
    pub fn activity(&self) -> (Activity, u64) {
        let activity = Activity::from_u8(self.activity.load(Ordering::Acquire));
        (activity, self.activity_since.load(Ordering::Relaxed))
    }

    /// When its last request began ([`clock::now`]), `NEVER` when there was none.
    #[must_use]
    pub fn request_at(&self) -> u64 {
        self.request_at.load(Ordering::Relaxed)
    }

    /// Whether nothing of it runs, though it may hold a server connection.
    fn is_between_statements(&self) -> bool {
        match self.activity().0 {
            Activity::Idle | Activity::IdleInTransaction => true,
            Activity::Waiting | Activity::Active | Activity::Streaming => false,
        }
    }

    /// Since when its transaction is open; [`clock::NEVER`] outside of one.
    #[must_use]
    pub fn transaction_since(&self) -> u64 {
        self.transaction_since.load(Ordering::Relaxed)
    }

    /// Its transaction is over; what it does next begins another.
    pub fn transaction_ended(&self) {
        self.transaction_since
            .store(clock::NEVER, Ordering::Relaxed);
    }

    /// Asks the session to stop. The strongest reason asked for stands.
    pub fn signal(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// The session has gone on since it was asked: forgets that, if nothing stronger was asked.
    pub fn take_back(&self, signal: Signal) {
        let none = Signal::None as u8;
        // Something stronger stands.
        let _other =
            self.signal
                .compare_exchange(signal as u8, none, Ordering::AcqRel, Ordering::Acquire);
    }

    /// What was asked of the session so far.
    #[must_use]
    pub fn signalled(&self) -> Signal {
        Signal::from_u8(self.signal.load(Ordering::Acquire))
    }

    /// Has `waker` woken at the next [`Client::signal`].
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The session is kept on its server connection for these reasons, or is no longer (0). What
    /// the bits mean, who sets and who shows them agree on.
    pub fn set_pins(&self, reasons: u16) {
        self.pins.store(reasons, Ordering::Relaxed);
    }

    /// See [`Client::set_pins`].
    #[must_use]
    pub fn pins(&self) -> u16 {
        self.pins.load(Ordering::Relaxed)
    }

    /// The client calls itself another name from now on.
    pub fn set_application_name(&self, name: &str) {
        let mut now = self
            .application_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        name.clone_into(&mut now);
    }

    /// What the client calls itself.
    #[must_use]
    pub fn application_name(&self) -> String {
        self.application_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The server connection that it uses now.
    #[must_use]
    pub fn server(&self) -> Option<Arc<BackendKey>> {
        match &*self.lock_cancel() {
            CancelTarget::Running(key) => Some(Arc::clone(key)),
            CancelTarget::Nothing | CancelTarget::Waiting | CancelTarget::Cancelled => None,
        }
    }

    /// A statement of this client now runs on (or waits for, or has left) a server connection.
    pub fn running_on(&self, key: &Arc<BackendKey>) {
        *self.lock_cancel() = CancelTarget::Running(Arc::clone(key));
    }

    /// The client waits in a pool's queue: a cancel request ends the wait.
    pub fn waiting(&self) {
        *self.lock_cancel() = CancelTarget::Waiting;
    }

    /// Nothing of this client can be cancelled from now on. A cancel request that began before is
    /// counted in [`BackendKey::cancels`].
    pub fn nothing_to_cancel(&self) {
        *self.lock_cancel() = CancelTarget::Nothing;
    }

    /// Whether a cancel request came while the client was waiting; it wakes the session.
    #[must_use]
    pub fn was_cancelled(&self) -> bool {
        matches!(&*self.lock_cancel(), CancelTarget::Cancelled)
    }

    /// Wakes the session if it waits for a server connection. The lock orders this against
    /// [`Client::waiting`]: a session that was not waiting yet sees what was changed before.
    fn wake_if_waiting(&self) {
        if matches!(&*self.lock_cancel(), CancelTarget::Waiting) {
            self.waker.wake();
        }
    }

    fn lock_cancel(&self) -> std::sync::MutexGuard<'_, CancelTarget> {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cancel request on its way to a server; while this lives, the connection is not lent again and
/// gets nothing new to do.
#[derive(Debug)]
pub struct CancelInFlight {
    key: Arc<BackendKey>,
    client: Arc<Client>,
}

impl CancelInFlight {
    /// Which server process is meant.
    #[must_use]
    pub fn key(&self) -> &BackendKey {
        &self.key
    }

    /// It may have been sent, and may arrive whenever it likes.
    pub fn lost_sight(&self) {
        self.key.doomed.store(true, Ordering::Release);
    }
}

impl Drop for CancelInFlight {
    fn drop(&mut self) {
        self.key.cancels.fetch_sub(1, Ordering::AcqRel);
        // Its next statement may be waiting for this.
        self.client.waker.wake();
    }
}

/// What came of a cancel request.
#[derive(Debug)]
pub enum Cancel {
    /// No client has that key, or it runs nothing: PostgreSQL, too, answers nothing then.
    Nothing,
    /// The client was waiting for a server connection and has been told.
    Dequeued,
    /// To be sent on to that server.
    Forward(CancelInFlight),
}

/// All clients of this instance.
#[derive(Debug, Default)]
pub struct Registry {
    instance: PeerId,
    clients: Mutex<HashMap<i32, Arc<Client>>>,
    /// Counts clients by user and by database.
    pub seating: Arc<Seating>,
    next_pid: AtomicU32,
    entered: AtomicUsize,
}

/// A client's place among those allowed, from its startup packet to its end.
#[derive(Debug)]
pub struct Place {
    registry: Arc<Registry>,
    seats: Option<Seats>,
}

impl Place {
    /// The client has proven who it is: counts it among those of its user and its database, too.
    ///
    /// # Errors
    /// Whose limit is reached.
    pub fn sit(&mut self, user: &str, database: &str, limits: ClientLimits) -> Result<(), Crowded> {
        self.seats = Some(self.registry.seating.sit(user, database, limits)?);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.entered.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes its client out of the registry when it goes.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    client: Arc<Client>,
    _place: Place,
}

impl Registration {
    /// The client that is registered.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.client.pid);
    }
}

impl Registry {
    /// The registry of an instance that its clients' cancel keys shall name.
    #[must_use]
    pub fn new(instance: PeerId) -> Self {
        Self {
            instance,
            ..Self::default()
        }
    }

    /// Which instance this is.
    #[must_use]
    pub fn instance(&self) -> PeerId {
        self.instance
    }

    /// A place, if fewer than `limit` are taken.
    #[must_use]
    pub fn enter(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let taken = |n: usize| (n < limit).then_some(n + 1);
        self.entered
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, taken)
            .ok()?;
        Some(Place {
            registry: Arc::clone(self),
            seats: None,
        })
    }

    /// Registers a client that has logged in, with a fresh cancel key.
    pub fn register(self: &Arc<Self>, newcomer: &Newcomer<'_>, place: Place) -> Registration {
        let mut secret = vec![0; newcomer.key.bytes()];
        rand::fill(&mut secret[..]);
        let mut clients = self.lock();
        let pid = loop {
            let number = self.next_pid.fetch_add(1, Ordering::Relaxed);
            if let Some(pid) = key::pid(self.instance, number)
                && !clients.contains_key(&pid)
            {
                break pid;
            }
        };
        let client = Arc::new(Client {
            pid,
            secret: secret.into(),
            user: newcomer.user.to_owned(),
            database: newcomer.database.to_owned(),
            lodging: newcomer.lodging.clone(),
            address: newcomer.address,
            local: newcomer.local,
            replication: newcomer.replication,
            since: SystemTime::now(),
            activity: AtomicU8::new(Activity::Idle as u8),
            activity_since: AtomicU64::new(clock::now()),
            request_at: AtomicU64::new(clock::NEVER),
            transaction_since: AtomicU64::new(clock::NEVER),
            signal: AtomicU8::new(Signal::None as u8),
            waker: AtomicWaker::new(),
            cancel: Mutex::new(CancelTarget::Nothing),
            prepared: Arc::default(),
            application_name: Mutex::new(newcomer.application_name.to_owned()),
            pins: AtomicU16::new(0),
        });
        clients.insert(pid, Arc::clone(&client));
        drop(clients);
        Registration {
            registry: Arc::clone(self),
            client,
            _place: place,
        }
    }

    /// Looks up whom a cancel request means. The secret is compared as a whole: a guess learns
    /// nothing from a near miss. What comes between two statements is for none of them.
    #[must_use]
    pub fn cancel(&self, pid: i32, secret: &[u8]) -> Cancel {
        let Some(client) = self.lock().get(&key::original(pid)).cloned() else {
            return Cancel::Nothing;
        };
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&client.secret[..], secret)) {
            return Cancel::Nothing;
        }
        let mut target = client.lock_cancel();
        match &*target {
            CancelTarget::Nothing | CancelTarget::Cancelled => Cancel::Nothing,
            CancelTarget::Waiting => {
                *target = CancelTarget::Cancelled;
                client.waker.wake();
                Cancel::Dequeued
            }
            CancelTarget::Running(_) if client.is_between_statements() => Cancel::Nothing,
            // One is on its way for the same statement: another would do no more.
            CancelTarget::Running(key) if key.is_being_cancelled() => Cancel::Nothing,
            CancelTarget::Running(key) => {
                key.cancels.fetch_add(1, Ordering::AcqRel);
                Cancel::Forward(CancelInFlight {
                    key: Arc::clone(key),
                    client: Arc::clone(&client),
                })
            }
        }
    }

    /// The client of that number.
    #[must_use]
    pub fn find(&self, pid: i32) -> Option<Arc<Client>> {
        self.lock().get(&pid).cloned()
    }

    /// Places taken: clients, and those that are logging in.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.entered.load(Ordering::Acquire)
    }

    /// All clients there are, in no order.
    #[must_use]
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    /// Has every session that waits for a server connection look again at what it waits for.
    pub fn wake_waiting(&self) {
        for client in self.clients() {
            client.wake_if_waiting();
        }
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no client.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
