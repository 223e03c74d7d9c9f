//! What is known of each database's catalog, for who routes its statements.
//!
//! A session holds its database's entry; the loader fills it in the background.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use tokio::sync::Notify;

use crate::clock;
use crate::router::{Catalog, Mentions, Overrides, Tables};

/// One database.
#[derive(Debug)]
pub struct Database {
    /// Its name on the servers.
    pub name: Arc<str>,
    catalog: ArcSwapOption<Catalog>,
    /// That one's; 0 for none.
    version: AtomicU64,
    /// How often it shall be read before its time.
    outdated: AtomicU8,
    /// What definitions have mentioned that its catalog may not have yet.
    touched: [AtomicU64; 16],
    /// Grows with each of them; 0 while there is none.
    touches: AtomicU64,
    /// When the last was.
    touched_at: AtomicU64,
    /// When its tables were written last, by the numbers in [`Tables`].
    written: [AtomicU64; 64],
}

/// What changes a catalog may be committed after it was read for that: it is read again so much later.
const AGAIN: Duration = Duration::from_secs(5);

/// Databases that are remembered though no session uses them.
const MOST: usize = 256;

impl Database {
    /// What its catalog says; until it was read what the configuration does, if it says anything. Cheap; not to
    /// be held over an await.
    #[must_use]
    pub fn catalog(&self) -> Guard<Option<Arc<Catalog>>> {
        self.catalog.load()
    }

    /// Which catalog that is; 0 for none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Some session's write to these tables was committed before `at` ([`clock::now`]).
    pub fn wrote(&self, tables: Tables, at: u64) {
        for written in tables.numbers().filter_map(|n| self.written.get(n)) {
            written.fetch_max(at, Ordering::AcqRel);
        }
    }

    /// When any of these tables was written last by a session of this instance; [`clock::NEVER`] for never.
    #[must_use]
    pub fn written(&self, tables: Tables) -> u64 {
        let times = tables.numbers().filter_map(|n| self.written.get(n));
        let last = times.map(|written| written.load(Ordering::Acquire)).max();
        last.unwrap_or(clock::NEVER)
    }

    /// A definition that mentions these names is about to run.
    pub fn touches(&self, names: &Mentions) {
        self.touched_at.store(clock::now(), Ordering::Release);
        for (touched, names) in self.touched.iter().zip(names.words()) {
            touched.fetch_or(names, Ordering::AcqRel);
        }
        self.touches.fetch_add(1, Ordering::AcqRel);
    }

    /// Another one when the names have changed that its catalog may not know as they are; 0 while there are none.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touches.load(Ordering::Acquire)
    }

    /// Whether some of these names may mean something else by now than the catalog says.
    #[must_use]
    pub fn has_touched(&self, names: &Mentions) -> bool {
        let touched = self.touched.iter().map(|word| word.load(Ordering::Acquire));
        names.meet(touched)
    }

    /// Its catalog was read from `began` on ([`clock::now`]): what was defined long enough before is in it.
    pub(super) fn settle(&self, began: u64) {
        let last = self.touched_at.load(Ordering::Acquire);
        if self.touched() == 0 || began.saturating_sub(last) < clock::micros(AGAIN) {
            return;
        }
        let taken: Vec<u64> = (self.touched.iter())
            .map(|word| word.swap(0, Ordering::AcqRel))
            .collect();
        self.touches.store(0, Ordering::Release);
        if self.touched_at.load(Ordering::Acquire) != last {
            // Another has come in between.
            for (word, taken) in self.touched.iter().zip(taken) {
                word.fetch_or(taken, Ordering::AcqRel);
            }
            self.touches.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn was_written(&self) -> bool {
        self.written(Tables::ALL) != clock::NEVER
    }

    /// Something may have changed in it: it is read again soon.
    pub fn may_have_changed(&self) {
        self.outdated.store(2, Ordering::Relaxed);
    }

    /// Whether it shall be read now, so long `since` it was read last.
    pub(super) fn take_outdated(&self, since: Duration) -> bool {
        let left = self.outdated.load(Ordering::Relaxed);
        let due = left > 1 || (left == 1 && since >= AGAIN);
        due && (self.outdated)
            .compare_exchange(left, left - 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    pub(super) fn set(&self, catalog: Catalog) {
        // The same as before is left in place: what was decided by it still holds.
        let version = catalog.version();
        if version != self.version() {
            self.catalog
                .store((version != 0).then(|| Arc::new(catalog)));
            self.version.store(version, Ordering::Release);
        }
    }
}

/// All databases that sessions use.
#[derive(Debug, Default)]
pub(super) struct Catalogs {
    databases: Mutex<HashMap<Arc<str>, Arc<Database>>>,
    overrides: ArcSwap<Overrides>,
    /// Wakes the loader for a new one.
    pub(super) wake: Notify,
}

impl Catalogs {
    /// The entry of the database; a new one is asked to be read.
    pub(super) fn of(&self, name: &str) -> Arc<Database> {
        let mut databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = databases.get(name) {
            if Arc::strong_count(known) == 1 {
                // Nobody has looked at it for a while.
                known.may_have_changed();
                self.wake.notify_one();
            }
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(name);
        let database = Arc::new(Database {
            name: Arc::clone(&name),
            catalog: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            outdated: AtomicU8::new(0),
            touched: [const { AtomicU64::new(0) }; 16],
            touches: AtomicU64::new(0),
            touched_at: AtomicU64::new(clock::NEVER),
            written: [const { AtomicU64::new(clock::NEVER) }; 64],
        });
        database.set(Catalog::unread(self.overrides()));
        databases.insert(name, Arc::clone(&database));
        self.wake.notify_one();
        database
    }

    /// What the configuration says of functions.
    pub(super) fn overrides(&self) -> Arc<Overrides> {
        self.overrides.load_full()
    }

    /// It says something else now: the loader judges all by that, and at once what has not been read.
    pub(super) fn set_overrides(&self, overrides: Overrides) {
        let overrides = Arc::new(overrides);
        self.overrides.store(Arc::clone(&overrides));
        for database in self.in_use() {
            let unread = database.catalog().as_ref().is_none_or(|c| !c.is_read());
            if unread {
                database.set(Catalog::unread(Arc::clone(&overrides)));
            }
        }
        self.wake.notify_one();
    }

    /// Those that a session uses. Of the others it stays known when they were written and what their catalogs
    /// said, unless there are too many.
    pub(super) fn in_use(&self) -> Vec<Arc<Database>> {
        let mut databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let used = |database: &Arc<Database>| Arc::strong_count(database) > 1;
        if databases.len() > MOST {
            databases.retain(|_, database| used(database) || database.was_written());
        }
        databases.values().filter(|d| used(d)).cloned().collect()
    }
}
