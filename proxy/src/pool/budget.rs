//! How many connections a pool may have over all workers, and who waits for one.
//!
//! The queue is first come, first served; a connection that becomes free on a worker goes to that
//! worker's own first waiter unless somebody elsewhere has waited clearly longer, because moving a
//! connection between workers costs two system calls and a wake-up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::manager::{Object, Pooled};
use super::permit::{Permit, Room};
use crate::backend::connect::ConnectError;

/// How much longer (us) a waiter of another worker must have waited to be served first.
const FAIRNESS_SLACK: u64 = 5_000;

/// What a waiter gets.
#[derive(Debug)]
pub enum Grant {
    /// A connection of its own worker.
    Own(Object),
    /// A connection of another worker, to be re-registered.
    Foreign(Box<Pooled>),
    /// There is room in the budget now: open one.
    Room,
    /// The attempt to open a connection failed.
    Failed(ConnectError),
}

struct Waiter {
    worker: usize,
    since: u64,
    grant: oneshot::Sender<Grant>,
}

/// The budget and the queue of one pool, shared by all workers.
#[derive(Default)]
pub struct Budget {
    limit: AtomicUsize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Waiter>>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("open", &self.open)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Room for Budget {
    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        if self.waiting() > 0 {
            self.offer_room();
        }
    }
}

impl Budget {
    /// A budget of `limit` connections.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            ..Self::default()
        })
    }

    /// Changes the limit; connections over it are closed as they come back.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Release);
        while self.waiting() > 0 && self.open() < limit && self.offer_room() {}
    }

    /// Whether there are more connections than allowed (after a reload).
    #[must_use]
    pub fn exceeded(&self) -> bool {
        self.open() > self.limit.load(Ordering::Acquire)
    }

    /// Connections there are or that are being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Sessions in the queue (some may have given up by now).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A permit, if there is room.
    #[must_use]
    pub fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::Acquire);
        self.open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                (open < limit).then_some(open + 1)
            })
            .ok()
            .map(|_| Permit::of(Arc::<Self>::clone(self)))
    }

    /// Joins the queue. The receiver is dropped to leave it.
    #[must_use]
    pub fn enqueue(&self, worker: usize, since: u64) -> oneshot::Receiver<Grant> {
        let (grant, receiver) = oneshot::channel();
        let mut queue = self.lock();
        // By time of arrival, since a waiter that was told to open a connection may come back.
        let at = queue
            .iter()
            .rposition(|w| w.since <= since)
            .map_or(0, |i| i + 1);
        queue.insert(
            at,
            Waiter {
                worker,
                since,
                grant,
            },
        );
        self.waiting.store(queue.len(), Ordering::SeqCst);
        receiver
    }

    /// Hands a free connection of `worker` to whoever should have it next. Gives it back when
    /// nobody waits.
    #[must_use]
    pub fn hand_over(&self, worker: usize, mut free: Object) -> Option<Object> {
        loop {
            let Some(waiter) = self.next_for(worker) else {
                return Some(free);
            };
            if waiter.worker == worker {
                match waiter.grant.send(Grant::Own(free)) {
                    Ok(()) => return None,
                    // It gave up meanwhile.
                    Err(Grant::Own(back)) => free = back,
                    Err(Grant::Foreign(_) | Grant::Room | Grant::Failed(_)) => return None,
                }
            } else if !waiter.grant.is_closed() {
                // If it gives up at this very moment the connection is closed, which is safe.
                let _lost = waiter.grant.send(Grant::Foreign(Object::take(free)));
                return None;
            }
        }
    }

    /// Tells the first waiter of `worker` that its attempt failed; false when none waits.
    pub fn fail_one(&self, worker: usize, error: &ConnectError) -> bool {
        loop {
            let waiter = {
                let mut queue = self.lock();
                let at = queue.iter().position(|w| w.worker == worker);
                let waiter = at.and_then(|at| queue.remove(at));
                self.waiting.store(queue.len(), Ordering::SeqCst);
                waiter
            };
            let Some(waiter) = waiter else { return false };
            if waiter.grant.send(Grant::Failed(error.clone())).is_ok() {
                return true;
            }
        }
    }

    /// Has all who wait look again at what there is.
    pub fn stir(&self) {
        for _ in 0..self.waiting() {
            if !self.offer_room() {
                return;
            }
        }
    }

    /// Somebody was told that there is room and left: tells the next.
    pub fn pass_room_on(&self) {
        self.offer_room();
    }

    /// Tells the first waiter that it may open a connection; false when none waits.
    fn offer_room(&self) -> bool {
        loop {
            let waiter = {
                let mut queue = self.lock();
                let waiter = queue.pop_front();
                self.waiting.store(queue.len(), Ordering::SeqCst);
                waiter
            };
            let Some(waiter) = waiter else { return false };
            if waiter.grant.send(Grant::Room).is_ok() {
                return true;
            }
        }
    }

    fn next_for(&self, worker: usize) -> Option<Waiter> {
        let mut queue = self.lock();
        let first = queue.front()?.since;
        let own = queue
            .iter()
            .position(|w| w.worker == worker)
            .filter(|at| queue[*at].since.saturating_sub(first) <= FAIRNESS_SLACK);
        let waiter = queue.remove(own.unwrap_or(0));
        self.waiting.store(queue.len(), Ordering::SeqCst);
        waiter
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiter>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
