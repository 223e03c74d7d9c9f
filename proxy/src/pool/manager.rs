//! The idle connections of one worker, kept by deadpool.
//!
//! deadpool's `create` only adopts connections that were opened (or taken from another worker)
//! beforehand. So taking one never waits, a session that waits can be served by whichever comes
//! first, a new connection or one that is given back, and no login runs inside deadpool's future.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult};
use futures_util::FutureExt as _;

use super::permit::Permit;
use super::servers::Listed;
use crate::backend::connection::Connection;

/// A connection and its share of the budget; closing it gives the share back.
#[derive(Debug)]
pub struct Pooled {
    connection: Connection,
    /// What SHOW SERVERS tells of it.
    pub server: Listed,
    /// When it was last asked whether it still answers, and did.
    pub checked: u64,
    life: Life,
    _permit: Permit,
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it is too old to be lent again ([`crate::clock::now`]).
    expires: u64,
    /// When another one is to be opened in its place; past `expires` once that was done.
    renew: u64,
}

impl Life {
    /// It never ends.
    pub const ENDLESS: Self = Self {
        expires: u64::MAX,
        renew: u64::MAX,
    };

    /// It ends at `expires`; `lead` (us) before, another connection is opened.
    #[must_use]
    pub fn until(expires: u64, lead: u64) -> Self {
        Self {
            expires,
            renew: expires.saturating_sub(lead),
        }
    }
}

impl Pooled {
    /// Puts a new connection under its permit.
    #[must_use]
    pub fn new(connection: Connection, life: Life, server: Listed, mut permit: Permit) -> Self {
        permit.opened();
        Self {
            connection,
            checked: crate::clock::NEVER,
            life,
            server,
            _permit: permit,
        }
    }

    /// Moves it to the reactor of the calling runtime.
    ///
    /// # Errors
    /// When the socket can't be registered; the connection is closed then.
    pub fn rehome(mut self) -> std::io::Result<Self> {
        self.connection = self.connection.rehome()?;
        Ok(self)
    }

    /// Whether it should be closed rather than lent or kept at `now`.
    #[must_use]
    pub fn expired(&self, now: u64) -> bool {
        now >= self.life.expires
    }

    /// Whether another connection is to be opened in its place at `now`, or it has expired.
    #[must_use]
    pub fn is_aging(&self, now: u64) -> bool {
        now >= self.life.renew
    }

    /// Another one is being opened in its place.
    pub fn replaced(&mut self) {
        self.life.renew = self.life.expires;
    }

    /// Whether another one was opened in its place.
    #[must_use]
    pub fn was_replaced(&self) -> bool {
        self.life.renew == self.life.expires
    }
}

impl Deref for Pooled {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Adopts connections into deadpool's pool.
#[derive(Debug, Default)]
pub struct Adopter {
    #[allow(clippy::vec_box, reason = "they move on into the pool as they are")]
    arrivals: Mutex<Vec<Box<Pooled>>>,
}

impl Adopter {
    #[allow(clippy::vec_box, reason = "as above")]
    fn arrivals(&self) -> MutexGuard<'_, Vec<Box<Pooled>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is nothing to adopt: the caller opens a connection or waits.
#[derive(Debug)]
pub struct NothingIdle;

impl managed::Manager for Adopter {
    type Type = Box<Pooled>;
    type Error = NothingIdle;

    async fn create(&self) -> Result<Box<Pooled>, NothingIdle> {
        self.arrivals().pop().ok_or(NothingIdle)
    }

    async fn recycle(&self, pooled: &mut Box<Pooled>, _: &Metrics) -> RecycleResult<NothingIdle> {
        if pooled.is_quiet() {
            Ok(())
        } else {
            Err(RecycleError::message(
                "the server closed the connection or sent something unasked",
            ))
        }
    }
}

/// A connection taken from its pool; dropping it puts it back.
pub type Object = managed::Object<Adopter>;

/// The idle connections of one worker for one node, database and user.
#[derive(Debug)]
pub struct Idle {
    pool: managed::Pool<Adopter>,
}

/// deadpool's own limit is not the promise (the budget is): it only has to be out of the way.
const OUT_OF_THE_WAY: usize = 64 * 1024;

impl Idle {
    /// No connections yet.
    ///
    /// # Errors
    /// When deadpool refuses its configuration.
    pub fn new() -> Result<Self, managed::BuildError> {
        let pool = managed::Pool::builder(Adopter::default())
            .max_size(OUT_OF_THE_WAY)
            .queue_mode(QueueMode::Lifo)
            .build()?;
        Ok(Self { pool })
    }

    /// Takes the connection that was used last; `None` when there is no idle one.
    #[must_use]
    pub fn take(&self) -> Option<Object> {
        if self.pool.status().available == 0 && self.pool.manager().arrivals().is_empty() {
            // Cheaper than to be told so by `create`.
            return None;
        }
        // Neither `create` nor `recycle` waits for anything, so one poll decides; unconstrained,
        // or a task that has done much in this turn would be told to wait all the same.
        tokio::task::unconstrained(self.pool.get())
            .now_or_never()?
            .ok()
    }

    /// Takes the idle connection with that number, if it is here; the others keep their order.
    #[must_use]
    pub fn take_this(&self, serial: u64) -> Option<Object> {
        let mut passed = Vec::new();
        let found = loop {
            match self.take() {
                Some(object) if object.serial == serial => break Some(object),
                Some(object) => passed.push(object),
                None => break None,
            }
        };
        while let Some(object) = passed.pop() {
            drop(object);
        }
        found
    }

    /// Takes a connection in and out again as one of this pool's.
    #[must_use]
    pub fn adopt(&self, pooled: Box<Pooled>) -> Option<Object> {
        self.pool.manager().arrivals().push(pooled);
        // Idle ones come out first. They go back in the order in which they were.
        let mut others = Vec::new();
        let adopted = loop {
            match self.take() {
                Some(object) if !self.pool.manager().arrivals().is_empty() => others.push(object),
                last => break last,
            }
        };
        while let Some(other) = others.pop() {
            drop(other);
        }
        adopted
    }

    /// Takes one idle connection away for another worker.
    #[must_use]
    pub fn give_away(&self) -> Option<Box<Pooled>> {
        if self.pool.status().available == 0 {
            return None;
        }
        let mut given = false;
        self.pool
            .retain(|_, _| std::mem::replace(&mut given, true))
            .removed
            .pop()
    }

    /// Takes those idle connections away that `which` names.
    #[must_use]
    #[allow(clippy::vec_box, reason = "as above")]
    pub fn take_out(&self, mut which: impl FnMut(&Pooled) -> bool) -> Vec<Box<Pooled>> {
        self.pool.retain(|pooled, _| !which(pooled)).removed
    }

    /// Closes the idle connections that `stale` names; returns how many are left and were closed.
    pub fn close_if(&self, mut stale: impl FnMut(&Pooled) -> bool) -> (usize, usize) {
        let result = self.pool.retain(|pooled, _| !stale(pooled));
        (result.retained, result.removed.len())
    }
}
