//! All pools: found by node, database and user, made when first needed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::budget::Size;
use super::caps::{Applicant, Cap, Ledger, Scope};
use super::checkout::{Commons, Limits, Pool, Shared};
use super::control::{Databases, Tally};
use super::hold::Gate;
use super::servers::Servers;
use crate::auth::secret::Credential;
use crate::cluster::{Node, NodeId};

/// Whose connections a pool holds, whatever the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// Database on the server.
    pub database: Arc<str>,
    /// Role on the server.
    pub user: Arc<str>,
}

/// The pools of one tenant on one worker, by node.
#[derive(Debug)]
pub struct TenantPools {
    tenant: Tenant,
    worker: usize,
    directory: Arc<Directory>,
    /// Counts for the sessions of this tenant.
    pub tally: Tally,
    by_node: Box<[OnceLock<Arc<Pool>>]>,
    asks_sequences: AtomicBool,
}

impl TenantPools {
    /// The database on the servers.
    #[must_use]
    pub fn database(&self) -> &Arc<str> {
        &self.tenant.database
    }

    /// The pool for a node; made when first asked for. `None` for a node that does not exist.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<&Arc<Pool>> {
        let place = self.by_node.get(usize::from(node.0))?;
        match place.get() {
            Some(pool) => Some(pool),
            None => self.make(node, place),
        }
    }

    fn make<'a>(&self, node: NodeId, place: &'a OnceLock<Arc<Pool>>) -> Option<&'a Arc<Pool>> {
        let shared = self.directory.shared(&self.tenant, node)?;
        match Pool::join(shared, self.worker) {
            Ok(pool) => Some(place.get_or_init(|| pool)),
            Err(e) => {
                tracing::error!(error = %e, "could not make a pool");
                None
            }
        }
    }

    /// The pools made so far.
    pub fn made(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.by_node.iter().filter_map(OnceLock::get)
    }

    /// Whose they are.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Whether the tenant's applications were seen to ask for `currval` or `lastval`.
    #[must_use]
    pub fn asks_sequences(&self) -> bool {
        self.asks_sequences.load(Ordering::Relaxed)
    }

    /// They were.
    pub fn seen_asking_sequences(&self) {
        self.asks_sequences.store(true, Ordering::Relaxed);
    }

    /// Server logins of this tenant prove themselves with `credential` from now on.
    pub fn learn(&self, credential: &Arc<Credential>) {
        self.directory.learn(&self.tenant, credential);
    }
}

/// How one pool is doing, over all workers.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The node.
    pub node: Arc<Node>,
    /// Whose pool.
    pub tenant: Tenant,
    /// Connections open or being opened.
    pub open: usize,
    /// Of these, idle ones.
    pub idle: usize,
    /// Sessions waiting.
    pub waiting: usize,
    /// Connections beyond the pool's size, out of its reserve.
    pub reserve_in_use: usize,
}

/// Credentials kept of tenants that have no pools.
const MAX_CREDENTIALS: usize = 4096;

/// What pools may have; live.
pub trait Rules: Send + Sync {
    /// The size of each of a tenant's pools.
    fn size_of(&self, tenant: &Tenant) -> Size;
    /// The size of a database's pools of users that have none of their own.
    fn size_in(&self, database: &str) -> Size;
    /// A cap, if there is one.
    fn cap_of(&self, scope: &Scope) -> Option<usize>;
    /// Tenants whose pools are kept warm, clients or not, and how to log in for them.
    fn warm(&self) -> Vec<(Tenant, Option<Arc<Credential>>)>;
}

/// What the workers' pools share.
pub struct Directory {
    nodes: Vec<Arc<Node>>,
    workers: usize,
    commons: Arc<Commons>,
    rules: Box<dyn Rules>,
    warm: Mutex<Arc<[Tenant]>>,
    /// What administrators did to databases, and what was counted for them.
    pub databases: Databases,
    /// Every server connection.
    pub servers: Arc<Servers>,
    shared: Mutex<HashMap<(Tenant, NodeId), Weak<Shared>>>,
    credentials: Mutex<HashMap<Tenant, Arc<Credential>>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// No pools yet; `rules` tell how many connections there may be.
    #[must_use]
    pub fn new(
        nodes: Vec<Arc<Node>>,
        workers: usize,
        limits: Arc<ArcSwap<Limits>>,
        rules: Box<dyn Rules>,
    ) -> Arc<Self> {
        let commons = Commons {
            ledger: Arc::new(Ledger::default()),
            gates: nodes.iter().map(|_| Gate::default()).collect(),
            limits,
        };
        let directory = Arc::new(Self {
            nodes,
            workers,
            commons: Arc::new(commons),
            rules,
            warm: Mutex::new(Arc::default()),
            databases: Databases::new(workers),
            servers: Arc::default(),
            shared: Mutex::default(),
            credentials: Mutex::default(),
        });
        directory.keep_warm();
        directory
    }

    /// Takes over which pools are to be kept warm.
    fn keep_warm(&self) {
        let all = self.rules.warm();
        let kept = all
            .iter()
            .filter(|(t, _)| self.rules.size_of(t).min_idle > 0);
        let tenants = kept.map(|(tenant, credential)| {
            if let Some(credential) = credential {
                self.learn(tenant, credential);
            }
            tenant.clone()
        });
        *self.warm.lock().unwrap_or_else(PoisonError::into_inner) = tenants.collect();
    }

    fn shared(&self, tenant: &Tenant, node: NodeId) -> Option<Arc<Shared>> {
        let at = self.nodes.get(usize::from(node.0))?;
        let mut map = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = map.get(&(tenant.clone(), node)).and_then(Weak::upgrade) {
            return Some(shared);
        }
        let scopes = [
            Scope::User(Arc::clone(&tenant.user)),
            Scope::Database(Arc::clone(&tenant.database)),
            Scope::Node(node),
            Scope::All,
        ];
        let ledger = &self.commons.ledger;
        let account = ledger.account(&scopes, &|scope| self.rules.cap_of(scope));
        let shared = Arc::new(Shared::new(
            Arc::clone(at),
            (Arc::clone(&tenant.database), Arc::clone(&tenant.user)),
            self.rules.size_of(tenant),
            account,
            self.workers,
            Arc::clone(&self.commons),
            (
                self.databases.of(&tenant.database),
                Arc::clone(&self.servers),
            ),
        ));
        let applicant: Weak<dyn Applicant> = Arc::<Shared>::downgrade(&shared);
        ledger.enroll(applicant);
        shared
            .credential
            .store(self.lock_credentials().get(tenant).cloned());
        map.insert((tenant.clone(), node), Arc::downgrade(&shared));
        Some(shared)
    }

    fn learn(&self, tenant: &Tenant, credential: &Arc<Credential>) {
        let known = {
            let mut all = self.lock_credentials();
            if all.len() >= MAX_CREDENTIALS {
                let mut pools = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                pools.retain(|_, shared| shared.strong_count() > 0);
                all.retain(|tenant, _| pools.keys().any(|(t, _)| t == tenant));
            }
            all.insert(tenant.clone(), Arc::clone(credential))
        };
        if known.is_some_and(|k| Arc::ptr_eq(&k, credential)) {
            return;
        }
        self.for_each(|shared| {
            if shared.database == tenant.database && shared.user == tenant.user {
                shared.credential.store(Some(Arc::clone(credential)));
            }
        });
    }

    /// Applies changed settings: sizes, caps, what is kept warm. Failed logins are tried again.
    pub fn resize(&self) {
        let reserve_timeout = self.commons.limits.load().reserve_timeout;
        self.for_each(|shared| {
            let tenant = Tenant {
                database: Arc::clone(&shared.database),
                user: Arc::clone(&shared.user),
            };
            let size = self.rules.size_of(&tenant);
            shared.budget.set_size(size, reserve_timeout);
            shared.try_again();
            shared.serve();
        });
        let ledger = &self.commons.ledger;
        ledger.set_limits(&|scope| self.rules.cap_of(scope));
        self.keep_warm();
    }

    /// The caps that there are, with what counts against them.
    #[must_use]
    pub fn caps(&self) -> Vec<Arc<Cap>> {
        self.commons.ledger.caps()
    }

    /// How many connections that is held to; `None` is no cap.
    #[must_use]
    pub fn cap_of(&self, scope: &Scope) -> Option<usize> {
        self.rules.cap_of(scope)
    }

    /// Connections that count against such a cap, whether or not there is one.
    #[must_use]
    pub fn counted(&self, scope: &Scope) -> usize {
        self.commons.ledger.counted(scope)
    }

    /// The size of a database's pools of users that have none of their own.
    #[must_use]
    pub fn size_in(&self, database: &str) -> Size {
        self.rules.size_in(database)
    }

    /// Server connections closed to make room under a cap, since the start.
    #[must_use]
    pub fn closed_for_caps(&self) -> usize {
        self.commons.ledger.closed()
    }

    /// Closes the idle connections of `database` (of all, without one) that are not to be lent again.
    pub fn close_outdated(&self, database: Option<&str>) {
        self.for_each(|shared| {
            if database.is_none_or(|name| *shared.database == *name) {
                shared.close_outdated();
            }
        });
    }

    /// Has the sessions that wait for a connection of `database` (of any, without one) look again,
    /// after a pause: what they were promised before may be gone.
    pub fn stir(&self, database: Option<&str>) {
        self.for_each(|shared| {
            if database.is_none_or(|name| *shared.database == *name) {
                shared.budget.stir();
            }
        });
    }

    /// How every pool is doing.
    #[must_use]
    pub fn status(&self) -> Vec<PoolStatus> {
        let mut rows = Vec::new();
        self.for_each(|shared| {
            rows.push(PoolStatus {
                node: Arc::clone(&shared.node),
                tenant: Tenant {
                    database: Arc::clone(&shared.database),
                    user: Arc::clone(&shared.user),
                },
                open: shared.budget.open(),
                idle: shared.idle(),
                waiting: shared.budget.waiting(),
                reserve_in_use: shared.budget.reserve_in_use(),
            });
        });
        rows
    }

    fn for_each(&self, mut f: impl FnMut(&Arc<Shared>)) {
        let all: Vec<Arc<Shared>> = {
            let mut map = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            map.retain(|_, shared| shared.strong_count() > 0);
            map.values().filter_map(Weak::upgrade).collect()
        };
        all.iter().for_each(&mut f);
    }

    fn lock_credentials(&self) -> std::sync::MutexGuard<'_, HashMap<Tenant, Arc<Credential>>> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pools of one worker.
#[derive(Debug)]
pub struct Pools {
    worker: usize,
    directory: Arc<Directory>,
    tenants: Mutex<HashMap<Tenant, Arc<TenantPools>>>,
}

impl Pools {
    /// No pools yet.
    #[must_use]
    pub fn new(worker: usize, directory: Arc<Directory>) -> Self {
        Self {
            worker,
            directory,
            tenants: Mutex::default(),
        }
    }

    /// The pools of a tenant, which a session keeps for its lifetime.
    #[must_use]
    pub fn of(&self, tenant: &Tenant) -> Arc<TenantPools> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = tenants.entry(tenant.clone()).or_insert_with(|| {
            Arc::new(TenantPools {
                tenant: tenant.clone(),
                worker: self.worker,
                directory: Arc::clone(&self.directory),
                tally: Tally::new(self.directory.databases.of(&tenant.database), self.worker),
                by_node: self
                    .directory
                    .nodes
                    .iter()
                    .map(|_| OnceLock::new())
                    .collect(),
                asks_sequences: AtomicBool::new(false),
            })
        });
        Arc::clone(pools)
    }

    /// Closes what is too old or too long idle, keeps the minimum open, and forgets tenants that
    /// have neither sessions nor connections.
    pub fn sweep(&self, now: u64) {
        let warm = {
            let warm = &self.directory.warm;
            Arc::clone(&*warm.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let tenants: Vec<Arc<TenantPools>> = {
            let mut map = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            map.retain(|tenant, t| {
                let in_use = |p: &Arc<Pool>| p.shared.budget.open() > 0 || p.shared.hold.is_on(now);
                Arc::strong_count(t) > 1 || t.made().any(in_use) || warm.contains(tenant)
            });
            map.values().cloned().collect()
        };
        for pool in tenants.iter().flat_map(|t| t.made()) {
            pool.sweep(now);
            pool.keep_minimum();
        }
        self.warm(&warm);
    }

    /// Makes this worker's share of the pools that are kept warm.
    fn warm(&self, warm: &[Tenant]) {
        let shares = warm.iter().enumerate();
        let own = shares.filter(|(at, _)| at % self.directory.workers.max(1) == self.worker);
        for (_, tenant) in own {
            let pools = self.of(tenant);
            for node in &self.directory.nodes {
                if let Some(pool) = pools.on(node.id) {
                    pool.keep_minimum();
                }
            }
        }
    }
}
