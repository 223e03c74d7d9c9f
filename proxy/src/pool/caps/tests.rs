//! The ledger with pools that are only numbers.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A pool whose waiters and idle connections are counters; a grant is an open connection at once.
struct Toy {
    account: Account,
    size: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Since when each waits.
    queue: VecDeque<u64>,
    busy: usize,
    /// Since when each is idle.
    idle: VecDeque<u64>,
}

impl Toy {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn waiting(&self) -> usize {
        self.inner().queue.len()
    }
}

impl Applicant for Toy {
    fn account(&self) -> &Account {
        &self.account
    }

    fn unserved_since(&self) -> Option<u64> {
        self.inner().queue.front().copied()
    }

    fn ceiling(&self) -> usize {
        self.size
    }

    fn grant(self: Arc<Self>) {
        self.account.opened();
        let mut inner = self.inner();
        inner.queue.pop_front().expect("somebody waited");
        inner.busy += 1;
    }

    fn idle_since(&self) -> Option<u64> {
        self.inner().idle.front().copied()
    }

    fn close_idle(&self) -> bool {
        self.inner().idle.pop_front().is_some()
    }
}

/// Pools and their ledger; what a pool does around the ledger is done as `checkout` does it.
struct World {
    ledger: Ledger,
    pools: Vec<Arc<Toy>>,
    now: u64,
}

fn scope(user: usize, database: usize) -> [Scope; 3] {
    let name = |kind: &str, n: usize| -> Arc<str> { format!("{kind}{n}").into() };
    [
        Scope::User(name("u", user)),
        Scope::Database(name("d", database)),
        Scope::All,
    ]
}

impl World {
    fn new(limits: &dyn Fn(&Scope) -> Option<usize>, of: &[(usize, usize)], size: usize) -> Self {
        let ledger = Ledger::default();
        let pools: Vec<Arc<Toy>> = of
            .iter()
            .map(|(user, database)| {
                Arc::new(Toy {
                    account: ledger.account(&scope(*user, *database), limits),
                    size,
                    inner: Mutex::default(),
                })
            })
            .collect();
        for pool in &pools {
            let weak: Weak<dyn Applicant> = Arc::<Toy>::downgrade(pool);
            ledger.enroll(weak);
        }
        Self {
            ledger,
            pools,
            now: 1,
        }
    }

    fn applicant(&self, at: usize) -> Arc<dyn Applicant> {
        Arc::<Toy>::clone(&self.pools[at])
    }

    /// A client asks for a connection.
    fn ask(&mut self, at: usize) {
        self.now += SLACK * 2;
        let pool = Arc::clone(&self.pools[at]);
        {
            let mut inner = pool.inner();
            if inner.queue.is_empty() && inner.idle.pop_back().is_some() {
                inner.busy += 1;
                return;
            }
            inner.queue.push_back(self.now);
        }
        let applicant = self.applicant(at);
        if self.ledger.take_or_queue(&applicant) == Taken::Yes {
            pool.grant();
        }
        self.settle();
    }

    /// A client is done.
    fn release(&mut self, at: usize) {
        self.now += 1;
        let pool = Arc::clone(&self.pools[at]);
        if pool.inner().busy == 0 {
            return;
        }
        let applicant = self.applicant(at);
        if self.ledger.is_contended() && self.ledger.must_yield(&applicant) {
            pool.inner().busy -= 1;
            self.ledger.give_back(&applicant, false);
            self.settle();
            return;
        }
        let handed_on = pool.inner().queue.pop_front().is_some();
        if !handed_on {
            {
                let mut inner = pool.inner();
                inner.busy -= 1;
                inner.idle.push_back(self.now);
            }
            if self.ledger.is_contended() {
                if self.ledger.must_yield(&applicant) {
                    pool.close_idle();
                } else {
                    self.ledger.make_room_with(&applicant);
                }
            }
        }
        self.settle();
    }

    /// A client gives up waiting.
    fn give_up(&mut self, at: usize) {
        self.pools[at].inner().queue.pop_back();
    }

    /// A closed idle connection gives its room back, which its permit does for a real pool.
    fn settle(&self) {
        // Giving one back may close another one.
        while let Some(at) = (0..self.pools.len()).find(|at| self.owes(*at)) {
            self.ledger.give_back(&self.applicant(at), false);
        }
    }

    fn owes(&self, at: usize) -> bool {
        let pool = &self.pools[at];
        let inner = pool.inner();
        pool.account.open() > inner.busy + inner.idle.len()
    }

    fn check(&self) {
        for pool in &self.pools {
            assert!(pool.account.open() <= pool.size, "a pool's own size");
            for cap in &pool.account.caps {
                let limit = cap.limit().unwrap_or(usize::MAX);
                assert!(
                    cap.open() <= limit,
                    "{:?}: {} of {limit}",
                    cap.scope,
                    cap.open()
                );
            }
        }
        let open: usize = self.pools.iter().map(|p| p.account.open()).sum();
        let all = self.pools[0].account.caps.last().expect("a cap on all");
        assert_eq!(all.open(), open, "what is open is counted once");
        // Nobody waits while there is room, or while an idle connection stands in the way.
        for (at, pool) in self.pools.iter().enumerate() {
            if pool.waiting() == 0 || pool.account.open() >= pool.size {
                continue;
            }
            let full: Vec<_> = pool.account.caps.iter().filter(|c| c.is_full()).collect();
            assert!(!full.is_empty(), "pool {at} waits though there is room");
            if let [only] = full[..] {
                let idle = self.pools.iter().find(|other| {
                    !Arc::ptr_eq(other, pool)
                        && other.account.is_under(only)
                        && !other.inner().idle.is_empty()
                });
                assert!(idle.is_none(), "pool {at} waits for one that lies idle");
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask(usize),
    Release(usize),
    GiveUp(usize),
}

fn act() -> impl Strategy<Value = Act> {
    (0..10_usize, 0..4_usize).prop_map(|(kind, at)| match kind {
        0..=4 => Act::Ask(at),
        5..=8 => Act::Release(at),
        _ => Act::GiveUp(at),
    })
}

/// Two users on two databases.
const SQUARE: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

proptest! {
    #[test]
    fn caps_hold_and_nobody_waits_while_there_is_room(
        limits in (1..4_usize, 1..4_usize, 1..6_usize),
        acts in proptest::collection::vec(act(), 1..120),
    ) {
        let (user, database, all) = limits;
        let limit_of = |scope: &Scope| match scope {
            Scope::User(_) => Some(user),
            Scope::Database(_) => Some(database),
            Scope::Node(_) => None,
            Scope::All => Some(all),
        };
        let mut world = World::new(&limit_of, &SQUARE, 3);
        for act in acts {
            match act {
                Act::Ask(at) => world.ask(at),
                Act::Release(at) => world.release(at),
                Act::GiveUp(at) => world.give_up(at),
            }
            world.check();
        }
        // Once all are done, nobody is left waiting.
        for _ in 0..400 {
            (0..4).for_each(|at| world.release(at));
        }
        prop_assert!(world.pools.iter().all(|pool| pool.waiting() == 0));
        world.ledger.serve(None);
        prop_assert!(!world.ledger.is_contended());
    }
}

fn only_all(limit: usize) -> impl Fn(&Scope) -> Option<usize> {
    move |scope| matches!(scope, Scope::All).then_some(limit)
}

#[test]
fn an_idle_connection_of_another_pool_makes_room() {
    let mut world = World::new(&only_all(1), &SQUARE[..2], 5);
    world.ask(0);
    world.release(0);
    assert!(!world.ledger.is_contended());
    world.ask(1);
    assert_eq!(
        (world.pools[0].account.open(), world.pools[1].account.open()),
        (0, 1)
    );
    assert_eq!(world.ledger.closed(), 1);
}

#[test]
fn who_has_waited_longest_of_all_pools_is_next() {
    let mut world = World::new(&only_all(1), &SQUARE[..3], 5);
    world.ask(0);
    for at in [2, 0, 1, 2] {
        world.ask(at);
    }
    let mut served = Vec::new();
    let mut busy = 0;
    for _ in 0..4 {
        world.release(busy);
        busy = (0..3)
            .find(|at| world.pools[*at].inner().busy == 1)
            .expect("one is served");
        served.push(busy);
    }
    assert_eq!(served, [2, 0, 1, 2]);
}

#[test]
fn a_pool_keeps_its_connection_for_a_waiter_who_is_hardly_younger() {
    let mut world = World::new(&only_all(1), &SQUARE[..2], 5);
    world.ask(0);
    world.ask(1);
    // As if it had come right after the other.
    let since = world.now + SLACK / 2;
    world.pools[0].inner().queue.push_back(since);
    world.release(0);
    assert_eq!((world.pools[0].waiting(), world.pools[1].waiting()), (0, 1));
}

#[test]
fn a_lowered_cap_closes_what_is_given_back_and_a_raised_one_lets_in() {
    let mut world = World::new(&only_all(2), &SQUARE[..2], 5);
    world.ask(0);
    world.ask(1);
    world.ledger.set_limits(&only_all(1));
    assert!(world.ledger.is_contended());
    world.release(0);
    assert_eq!(world.pools[0].account.open(), 0);
    world.ask(0);
    assert_eq!(world.pools[0].waiting(), 1);
    world.ledger.set_limits(&|_| None);
    assert_eq!(world.pools[0].waiting(), 0);
    assert!(!world.ledger.is_contended());
}
