//! What an administrator does to a database as a whole: pausing it, having its connections renewed,
//! closing it to new clients; and what is counted for it.
//!
//! A database is what servers call it: the names that clients use may differ. Its word is one
//! atomic, which the pools look at where they lend and take back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::stats::{Counters, Growth, Periods, Stat, Totals};
use crate::clock;

/// It was paused by its name.
const BY_NAME: u64 = 1;
/// It was paused with all others.
const WITH_ALL: u64 = 2;
/// The rest of the word counts how often its connections were to be renewed.
const RENEWAL: u64 = 4;

/// Databases remembered that nobody uses; past it they are forgotten, figures included.
const REMEMBERED: usize = 1024;

/// One database, over all nodes, users and workers.
#[derive(Debug)]
pub struct Database {
    /// Its name on the servers.
    pub name: Arc<str>,
    word: AtomicU64,
    disabled: AtomicBool,
    resumed: Notify,
    workers: Box<[Arc<Counters>]>,
    periods: Periods,
}

impl Database {
    /// A database that lends, and has counted nothing.
    #[must_use]
    pub fn new(name: Arc<str>, workers: usize) -> Self {
        Self {
            name,
            word: AtomicU64::new(0),
            disabled: AtomicBool::new(false),
            resumed: Notify::new(),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            periods: Periods::since(clock::now()),
        }
    }

    /// Whether connections are not lent for now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.word.load(Ordering::Acquire) & (BY_NAME | WITH_ALL) != 0
    }

    /// What a connection that is opened now is marked with.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.word.load(Ordering::Acquire) & !(BY_NAME | WITH_ALL)
    }

    /// Whether a connection with this mark may be lent again or kept.
    #[must_use]
    pub fn keeps(&self, mark: u64) -> bool {
        self.word.load(Ordering::Acquire) == mark
    }

    /// Whether a connection with this mark is to be closed for a RECONNECT when it is free.
    #[must_use]
    pub fn is_outdated(&self, mark: u64) -> bool {
        self.mark() != mark
    }

    /// Waits while it is paused.
    pub async fn resumed(&self) {
        while self.is_paused() {
            let resumed = self.resumed.notified();
            if self.is_paused() {
                resumed.await;
            }
        }
    }

    /// Whether new clients are turned away.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Acquire)
    }

    /// Turns new clients away, or no longer.
    pub fn disable(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::Release);
    }

    /// Lends no more; true when it did until now.
    pub fn pause(&self) -> bool {
        self.set(BY_NAME)
    }

    /// Takes [`Database::pause`] back; false when it was not paused by its name.
    pub fn resume(&self) -> bool {
        self.clear(BY_NAME)
    }

    /// Has every connection there is closed when it is free.
    pub fn renew(&self) {
        self.word.fetch_add(RENEWAL, Ordering::AcqRel);
    }

    /// One worker's counters.
    #[must_use]
    pub fn counters(&self, worker: usize) -> Option<&Arc<Counters>> {
        self.workers.get(worker)
    }

    /// What all workers counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.workers.iter().for_each(|c| c.sum_into(&mut totals));
        totals
    }

    /// What was counted in the last whole period.
    #[must_use]
    pub fn last_period(&self) -> Growth {
        self.periods.last()
    }

    fn set(&self, flag: u64) -> bool {
        self.word.fetch_or(flag, Ordering::AcqRel) & (BY_NAME | WITH_ALL) == 0
    }

    fn clear(&self, flag: u64) -> bool {
        let before = self.word.fetch_and(!flag, Ordering::AcqRel);
        self.resumed.notify_waiters();
        before & flag != 0
    }

    /// Whether a client was let in to it, or an administrator has done something to it. Others are
    /// only names that somebody tried.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_touched() || self.totals()[Stat::Logins as usize] > 0
    }

    /// Whether forgetting it would change what it does.
    fn is_touched(&self) -> bool {
        self.is_paused() || self.is_disabled()
    }
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Arc<str>, Arc<Database>>,
    all_paused: bool,
}

/// All databases that were asked for.
#[derive(Debug)]
pub struct Databases {
    workers: usize,
    known: Mutex<Known>,
}

impl Databases {
    /// None yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            known: Mutex::default(),
        }
    }

    /// The database of that name; new when it was not asked for before.
    #[must_use]
    pub fn of(&self, name: &Arc<str>) -> Arc<Database> {
        let mut known = self.lock();
        if let Some(database) = known.by_name.get(name) {
            return Arc::clone(database);
        }
        if known.by_name.len() >= REMEMBERED {
            known
                .by_name
                .retain(|_, d| Arc::strong_count(d) > 1 || d.is_touched());
        }
        let database = Arc::new(Database::new(Arc::clone(name), self.workers));
        if known.all_paused {
            database.set(WITH_ALL);
        }
        known
            .by_name
            .insert(Arc::clone(name), Arc::clone(&database));
        database
    }

    /// The database of that name, if it was asked for before.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Database>> {
        self.lock().by_name.get(name).cloned()
    }

    /// Those that are known to be databases, by name.
    #[must_use]
    pub fn known(&self) -> Vec<Arc<Database>> {
        let mut all = self.all();
        all.retain(|database| database.is_known());
        all
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Database>> {
        let mut all: Vec<_> = self.lock().by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Pauses all, also those that come later; true when they were not paused together before.
    pub fn pause_all(&self) -> bool {
        let mut known = self.lock();
        let first = !std::mem::replace(&mut known.all_paused, true);
        known.by_name.values().for_each(|d| {
            d.set(WITH_ALL);
        });
        first
    }

    /// Takes [`Databases::pause_all`] back; false when they were not paused together. Databases that
    /// were paused by name stay so.
    pub fn resume_all(&self) -> bool {
        let mut known = self.lock();
        let paused = std::mem::take(&mut known.all_paused);
        known.by_name.values().for_each(|d| {
            d.clear(WITH_ALL);
        });
        paused
    }

    /// Whether all are paused.
    #[must_use]
    pub fn all_paused(&self) -> bool {
        self.lock().all_paused
    }

    /// A period of the averages ends at `now`.
    pub fn turn_period(&self, now: u64) {
        for database in self.all() {
            database.periods.turn(now, database.totals());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts for one worker's sessions on one database.
#[derive(Clone, Debug)]
pub struct Tally {
    database: Arc<Database>,
    /// At hand, as it is counted several times for each statement.
    counters: Option<Arc<Counters>>,
}

impl Tally {
    /// For this worker's sessions.
    #[must_use]
    pub fn new(database: Arc<Database>, worker: usize) -> Self {
        let counters = database.counters(worker).cloned();
        Self { database, counters }
    }

    /// Counts; to be called on the worker's own thread.
    pub fn add(&self, stat: Stat, n: u64) {
        if let Some(counters) = &self.counters {
            counters.add(stat, n);
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_until_its_database_is_paused_or_renewed() {
        let database = Database::new("d".into(), 1);
        let mark = database.mark();
        assert!(database.keeps(mark));
        assert!(database.pause() && !database.pause());
        assert!(!database.keeps(mark) && !database.is_outdated(mark));
        assert!(database.resume() && !database.resume());
        assert!(database.keeps(mark));
        database.renew();
        assert!(!database.keeps(mark) && database.is_outdated(mark));
        assert!(database.keeps(database.mark()));
    }

    #[test]
    fn pausing_all_holds_for_databases_that_come_later_and_leaves_those_paused_by_name() {
        let all = Databases::new(1);
        let (a, b) = (all.of(&"a".into()), all.of(&"b".into()));
        a.pause();
        assert!(all.pause_all() && !all.pause_all());
        let c = all.of(&"c".into());
        assert!(a.is_paused() && b.is_paused() && c.is_paused());
        assert!(all.resume_all() && !all.resume_all());
        assert!(a.is_paused() && !b.is_paused() && !c.is_paused());
    }

    #[test]
    fn unused_databases_are_forgotten_past_a_bound_unless_an_administrator_touched_them() {
        let all = Databases::new(1);
        all.of(&"held".into()).disable(true);
        let used = all.of(&"used".into());
        for n in 0..REMEMBERED + 10 {
            let _unused = all.of(&format!("d{n}").into());
        }
        assert!(all.all().len() <= REMEMBERED);
        assert!(all.find("held").is_some_and(|d| d.is_disabled()));
        assert!(all.find("used").is_some_and(|d| Arc::ptr_eq(&d, &used)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_end_of_a_pause_is_woken_by_it() {
        let all = Arc::new(Databases::new(1));
        let database = all.of(&"d".into());
        database.resumed().await;
        database.pause();
        all.pause_all();
        let waiter = tokio::spawn({
            let database = Arc::clone(&database);
            async move { database.resumed().await }
        });
        tokio::task::yield_now().await;
        database.resume();
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished(), "it is paused with all");
        all.resume_all();
        waiter.await.unwrap();
    }
}
