//! How many connections a pool may have over all workers, and who waits for one.
//!
//! The queue is first come, first served; a connection that becomes free on a worker goes to that
//! worker's own first waiter unless somebody elsewhere has waited clearly longer, because moving a
//! connection between workers costs two system calls and a wake-up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::caps::Account;
use super::manager::{Object, Pooled};
use super::permit::Permit;
use crate::backend::connect::ConnectError;
use crate::clock;

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
    Room(Permit),
    /// Something has changed: look again.
    Look,
    /// The attempt to open a connection failed.
    Failed(ConnectError),
}

/// Whether a waiter could be served elsewhere, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is better told when this server takes no connections now.
    Perhaps,
    /// It has to wait for this one.
    No,
}

/// How many connections a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// At any time.
    pub size: usize,
    /// More, once somebody has waited for long.
    pub reserve: usize,
    /// Kept open even when nobody uses them.
    pub min_idle: usize,
}

struct Waiter {
    worker: usize,
    since: u64,
    elsewhere: Elsewhere,
    grant: oneshot::Sender<Grant>,
}

/// Those who wait; first come, first served.
struct Queue {
    waiters: VecDeque<Waiter>,
    /// At this length those who have left are taken out: so seldom that it costs next to nothing,
    /// so often that they are never more than those who wait, and a few.
    tidy_at: usize,
}

/// A queue of this length is never tidied.
const SHORT: usize = 64;

impl Queue {
    const fn new() -> Self {
        Self {
            waiters: VecDeque::new(),
            tidy_at: SHORT,
        }
    }

    /// Takes out those who have left.
    fn tidy(&mut self) {
        self.waiters.retain(|w| !w.grant.is_closed());
        self.tidy_at = self.waiters.len().saturating_mul(2).max(SHORT);
    }

    /// Those who have not left.
    fn present(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(|w| !w.grant.is_closed())
    }
}

/// The budget and the queue of one pool, shared by all workers.
pub struct Budget {
    /// The connections there are, and the caps above this pool.
    pub account: Account,
    limit: AtomicUsize,
    reserve: AtomicUsize,
    min_idle: AtomicUsize,
    /// Microseconds.
    reserve_timeout: AtomicU64,
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("account", &self.account)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Budget {
    /// A budget of that size.
    #[must_use]
    pub fn new(account: Account, size: Size, reserve_timeout: Duration) -> Self {
        let budget = Self {
            account,
            limit: AtomicUsize::default(),
            reserve: AtomicUsize::default(),
            min_idle: AtomicUsize::default(),
            reserve_timeout: AtomicU64::default(),
            waiting: AtomicUsize::default(),
            queue: Mutex::new(Queue::new()),
        };
        budget.set_size(size, reserve_timeout);
        budget
    }

    /// Changes the size; connections over it are closed as they come back.
    pub fn set_size(&self, size: Size, reserve_timeout: Duration) {
        self.limit.store(size.size, Ordering::Release);
        self.reserve.store(size.reserve, Ordering::Release);
        self.min_idle.store(size.min_idle, Ordering::Release);
        self.reserve_timeout
            .store(clock::micros(reserve_timeout), Ordering::Release);
    }

    /// Whether there are more connections than allowed (after a reload).
    #[must_use]
    pub fn exceeded(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let open = self.open();
        open > limit && open > limit.saturating_add(self.reserve.load(Ordering::Acquire))
    }

    /// Connections there are or that are being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        self.account.open()
    }

    /// How many there may be, the reserve left out.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }

    /// How many are kept open even when nobody uses them.
    #[must_use]
    pub fn min_idle(&self) -> usize {
        self.min_idle.load(Ordering::Acquire)
    }

    /// How many of the connections are of the reserve.
    #[must_use]
    pub fn reserve_in_use(&self) -> usize {
        self.open().saturating_sub(self.limit())
    }

    /// How long somebody waits before the reserve is opened; `None` where there is no reserve.
    #[must_use]
    pub fn reserve_after(&self) -> Option<u64> {
        (self.reserve.load(Ordering::Acquire) > 0)
            .then(|| self.reserve_timeout.load(Ordering::Acquire))
    }

    /// How many connections there may be at `now`: with the reserve, while somebody has waited long
    /// enough for it.
    #[must_use]
    pub fn ceiling(&self, now: u64) -> usize {
        let limit = self.limit();
        let due = self.reserve_after().is_some_and(|after| {
            let first = self.lock().present().next().map(|w| w.since);
            first.is_some_and(|since| now.saturating_sub(since) >= after)
        });
        if due {
            limit.saturating_add(self.reserve.load(Ordering::Acquire))
        } else {
            limit
        }
    }

    /// Sessions in the queue (some may have given up by now).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Since when the first waits for whom no connection is being opened.
    #[must_use]
    pub fn unserved_since(&self) -> Option<u64> {
        if self.waiting() == 0 {
            return None;
        }
        let mut queue = self.lock();
        while queue.waiters.front().is_some_and(|w| w.grant.is_closed()) {
            queue.waiters.pop_front();
        }
        self.note(&queue);
        queue.present().nth(self.account.opening()).map(|w| w.since)
    }

    /// Forgets those who have left the queue.
    pub fn tidy(&self) {
        let mut queue = self.lock();
        queue.tidy();
        self.note(&queue);
    }

    /// Joins the queue. The receiver is dropped to leave it.
    #[must_use]
    pub fn enqueue(
        &self,
        worker: usize,
        since: u64,
        elsewhere: Elsewhere,
    ) -> oneshot::Receiver<Grant> {
        let (grant, receiver) = oneshot::channel();
        let mut queue = self.lock();
        if queue.waiters.len() >= queue.tidy_at {
            queue.tidy();
        }
        // By time of arrival, since a waiter that was told to open a connection may come back.
        let at = queue
            .waiters
            .iter()
            .rposition(|w| w.since <= since)
            .map_or(0, |i| i + 1);
        queue.waiters.insert(
            at,
            Waiter {
                worker,
                since,
                elsewhere,
                grant,
            },
        );
        self.note(&queue);
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
                    Err(Grant::Foreign(_) | Grant::Room(_) | Grant::Look | Grant::Failed(_)) => {
                        return None;
                    }
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
                let at = queue.waiters.iter().position(|w| w.worker == worker);
                let waiter = at.and_then(|at| queue.waiters.remove(at));
                self.note(&queue);
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
        let all = {
            let mut queue = self.lock();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut queue.waiters)
        };
        for waiter in all {
            // Who has left needs nothing.
            let _left = waiter.grant.send(Grant::Look);
        }
    }

    /// Tells every waiter that no connection can be opened; with `NotNow` only those who could be
    /// served elsewhere. Whether anybody was told.
    pub fn fail_all(&self, error: &ConnectError) -> bool {
        let for_now = matches!(error, ConnectError::NotNow(_));
        let told = {
            let mut queue = self.lock();
            let (stay, told): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut queue.waiters)
                .into_iter()
                .partition(|w| for_now && w.elsewhere == Elsewhere::No);
            queue.waiters = stay;
            self.note(&queue);
            told
        };
        told.into_iter()
            .filter(|w| !w.grant.is_closed())
            .map(|w| w.grant.send(Grant::Failed(error.clone())))
            .filter(Result::is_ok)
            .count()
            > 0
    }

    /// Tells the first waiter that it may open a connection. The permit is dropped when none waits.
    pub fn offer(&self, mut permit: Permit) {
        loop {
            let waiter = {
                let mut queue = self.lock();
                let waiter = queue.waiters.pop_front();
                self.note(&queue);
                waiter
            };
            let Some(waiter) = waiter else { return };
            match waiter.grant.send(Grant::Room(permit)) {
                Err(Grant::Room(back)) => permit = back,
                Ok(())
                | Err(Grant::Own(_) | Grant::Foreign(_) | Grant::Look | Grant::Failed(_)) => {
                    return;
                }
            }
        }
    }

    fn next_for(&self, worker: usize) -> Option<Waiter> {
        let mut queue = self.lock();
        let first = queue.waiters.front()?.since;
        let own = queue
            .waiters
            .iter()
            .take_while(|w| w.since.saturating_sub(first) <= FAIRNESS_SLACK)
            .position(|w| w.worker == worker);
        let waiter = queue.waiters.remove(own.unwrap_or(0));
        self.note(&queue);
        waiter
    }

    fn note(&self, queue: &Queue) {
        self.waiting.store(queue.waiters.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::caps::Ledger;

    fn budget() -> Budget {
        let size = Size {
            size: 1,
            reserve: 0,
            min_idle: 0,
        };
        let account = Ledger::default().account(&[], &|_| None);
        Budget::new(account, size, Duration::ZERO)
    }

    #[test]
    fn who_leaves_the_queue_is_forgotten_though_nobody_is_served() {
        let budget = budget();
        let stays: Vec<_> = (1..=40)
            .map(|since| budget.enqueue(0, since, Elsewhere::No))
            .collect();
        for since in 100..5_000 {
            drop(budget.enqueue(0, since, Elsewhere::No));
            assert!(budget.waiting() <= 2 * stays.len().max(SHORT));
        }
        budget.tidy();
        assert_eq!(budget.waiting(), stays.len());
    }

    #[test]
    fn who_waits_longest_is_the_first_who_has_not_left() {
        let budget = budget();
        assert_eq!(budget.unserved_since(), None);
        let mut places: Vec<_> = (1..=4)
            .map(|since| budget.enqueue(0, since, Elsewhere::No))
            .collect();
        drop(places.remove(0));
        drop(places.remove(1));
        assert_eq!(budget.unserved_since(), Some(2));
        drop(places.remove(0));
        assert_eq!(budget.unserved_since(), Some(4));
        drop(places);
        assert_eq!(budget.unserved_since(), None);
        assert_eq!(budget.waiting(), 0);
    }
}
