//! All pools: found by node, database and user, made when first needed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::checkout::{Limits, Pool, Shared};
use super::control::{Databases, Tally};
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
}

/// Credentials kept of tenants that have no pools.
const MAX_CREDENTIALS: usize = 4096;

type SizeOf = dyn Fn(&Tenant) -> usize + Send + Sync;

/// What the workers' pools share.
pub struct Directory {
    nodes: Vec<Arc<Node>>,
    workers: usize,
    limits: Arc<ArcSwap<Limits>>,
    size_of: Box<SizeOf>,
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
    /// No pools yet; `size_of` tells how many connections a tenant may have per node.
    #[must_use]
    pub fn new(
        nodes: Vec<Arc<Node>>,
        workers: usize,
        limits: Arc<ArcSwap<Limits>>,
        size_of: Box<SizeOf>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes,
            workers,
            limits,
            size_of,
            databases: Databases::new(workers),
            servers: Arc::default(),
            shared: Mutex::default(),
            credentials: Mutex::default(),
        })
    }

    fn shared(&self, tenant: &Tenant, node: NodeId) -> Option<Arc<Shared>> {
        let at = self.nodes.get(usize::from(node.0))?;
        let mut map = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = map.get(&(tenant.clone(), node)).and_then(Weak::upgrade) {
            return Some(shared);
        }
        let shared = Arc::new(Shared::new(
            Arc::clone(at),
            Arc::clone(&tenant.database),
            Arc::clone(&tenant.user),
            (self.size_of)(tenant),
            self.workers,
            Arc::clone(&self.limits),
            (
                self.databases.of(&tenant.database),
                Arc::clone(&self.servers),
            ),
        ));
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

    /// Applies changed sizes.
    pub fn resize(&self) {
        self.for_each(|shared| {
            let tenant = Tenant {
                database: Arc::clone(&shared.database),
                user: Arc::clone(&shared.user),
            };
            shared.budget.set_limit((self.size_of)(&tenant));
        });
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
        let tenants: Vec<Arc<TenantPools>> = {
            let mut map = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            map.retain(|_, t| {
                Arc::strong_count(t) > 1 || t.made().any(|p| p.shared.budget.open() > 0)
            });
            map.values().cloned().collect()
        };
        let min_idle = self.directory.limits.load().min_idle;
        for pool in tenants.iter().flat_map(|t| t.made()) {
            pool.sweep(now);
            if pool.shared.budget.open() < min_idle {
                pool.prewarm();
            }
        }
    }
}
