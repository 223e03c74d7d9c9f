//! What the sessions of one worker share, and what belongs to one session's identity.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;

use super::replies::Replies;
use super::statements::{Space, Undo};
use crate::backend::parameters::ParameterSet;
use crate::cluster::{Cluster, NodeId, Preferences, ReadRules, Rotation};
use crate::metrics::{Metrics, RoutedMetrics};
use crate::pool::pools::Pools;
use crate::router::{LocalCommand, Reason, Router};
use crate::status::Table;

/// When a session gives its server connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// When its transaction is over.
    Transaction,
    /// When its statement is over; there are no transaction blocks.
    Statement,
}

/// Where the reads of transactions run that may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionReads {
    /// On the primary.
    Primary,
    /// On a replica, until something else is asked for.
    UntilWrite,
}

/// Which writes a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadYourWrites {
    /// Those of its own session.
    Session,
    /// Those of all sessions of this instance to the tables that it reads.
    Cluster,
    /// None.
    Off,
}

/// The settings of sessions; live.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Whether reads may go to replicas at all.
    pub split_reads: bool,
    /// Where the reads of a transaction run that may write.
    pub transaction_reads: TransactionReads,
    /// Which writes reads must see.
    pub read_your_writes: ReadYourWrites,
    /// How long ago at most a replica may have shown everything, in microseconds.
    pub max_replica_delay: Option<u64>,
    /// Which replicas may answer.
    pub read_rules: ReadRules,
    /// Which node the reads of some clients prefer.
    pub preferences: Preferences,
    /// Longest wait for a server connection.
    pub query_wait_timeout: Duration,
    /// After which wait a client is told what it waits for.
    pub query_wait_notify: Option<Duration>,
    /// Statements kept prepared per server connection.
    pub prepared_statements: usize,
    /// Whether statement texts may be logged.
    pub log_queries: bool,
    /// One of so many decisions is logged.
    pub log_routes: Option<u64>,
    /// One of so many reads on replicas is compared with the primary's answer.
    pub shadow_check: Option<u64>,
}

/// Answers the commands that need no server (`SHOW POOL_NODES` and its siblings).
pub trait Console: Send + Sync {
    /// The answer; `read_node` is the node that answered this session's last read.
    fn answer(&self, command: LocalCommand, read_node: Option<NodeId>) -> Table;
}

/// What one worker has to do with shadow checks.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    /// Reads that might have been checked.
    pub(super) reads: AtomicU64,
    /// One is being checked.
    pub(super) running: AtomicBool,
}

/// A worker's own: nothing here is contended.
pub struct Context {
    /// Which worker.
    pub worker: usize,
    /// Nodes and their state.
    pub cluster: Arc<Cluster>,
    /// This worker's server connections.
    pub pools: Pools,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Settings.
    pub tuning: Arc<ArcSwap<Tuning>>,
    /// Answers SHOW POOL_….
    pub console: Arc<dyn Console>,
    /// Clients on this worker.
    pub clients: AtomicUsize,
    /// Statements by why they were routed so, in the order of [`Reason::ALL`].
    routed: RoutedMetrics,
    /// Decisions counted for the log.
    decisions: AtomicU64,
    pub(super) shadow: Shadow,
    router: Mutex<Router>,
    rotation: Mutex<Rotation>,
    #[allow(
        clippy::vec_box,
        reason = "they move between here and sessions as they are"
    )]
    buffers: Mutex<Vec<Box<Buffers>>>,
    route_cache_seen: Mutex<(u64, u64)>,
    spaces: Mutex<Spaces>,
    parameters: Mutex<HashSet<Arc<ParameterSet>>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// Known statements by the database and the parameters that change their meaning.
type Spaces = HashMap<(Arc<str>, ParameterSet), Arc<Space>>;

/// Parameters that change what a statement's text means.
/// And where it goes.
const MEANING: [&str; 5] = [
    "pgconvoy.route",
    "search_path",
    "role",
    "session_authorization",
    "standard_conforming_strings",
];

/// Spaces kept; beyond that all are forgotten, which only costs preparing again.
const MAX_SPACES: usize = 256;

/// Sets of parameters known; beyond that all are forgotten, which only costs comparing them.
const MAX_PARAMETER_SETS: usize = 1024;

/// Buffers kept for the next busy session.
const SPARE_BUFFERS: usize = 256;

impl Context {
    /// A worker's context.
    #[must_use]
    pub fn new(
        worker: usize,
        cluster: Arc<Cluster>,
        pools: Pools,
        metrics: Arc<Metrics>,
        tuning: Arc<ArcSwap<Tuning>>,
        console: Arc<dyn Console>,
        router: Router,
    ) -> Self {
        let routed = metrics
            .routing()
            .routed(Reason::ALL.iter().map(|reason| reason.as_str()));
        Self {
            worker,
            routed,
            decisions: AtomicU64::new(0),
            shadow: Shadow::default(),
            cluster,
            pools,
            metrics,
            tuning,
            console,
            clients: AtomicUsize::new(0),
            router: Mutex::new(router),
            rotation: Mutex::new(Rotation::new()),
            buffers: Mutex::default(),
            route_cache_seen: Mutex::default(),
            spaces: Mutex::default(),
            parameters: Mutex::default(),
        }
    }

    /// The router, for one decision.
    pub fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a statement that was routed for this reason.
    pub(super) fn count_routed(&self, reason: Reason) {
        self.routed.count(reason as usize);
    }

    /// Whether the present decision is one to be logged, for its text or as a sample.
    pub(super) fn logs_decision(&self) -> bool {
        let tuning = self.tuning.load();
        let count = |every| {
            self.decisions
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(every)
        };
        let sampled = tuning.log_routes.is_some_and(count);
        sampled || tuning.log_queries
    }

    /// Brings the counters of routes up to date.
    pub fn publish_routes(&self) {
        self.routed.publish();
        let stats = self.router().cache_stats();
        let mut seen = self
            .route_cache_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.metrics
            .route_cache
            .hits
            .inc_by(stats.hits.saturating_sub(seen.0));
        self.metrics
            .route_cache
            .misses
            .inc_by(stats.misses.saturating_sub(seen.1));
        *seen = (stats.hits, stats.misses);
    }

    /// The read rotation, for one choice.
    pub(super) fn rotation(&self) -> MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statements known in the database under the parameters that change their meaning.
    pub(super) fn space(&self, database: &Arc<str>, parameters: &ParameterSet) -> Arc<Space> {
        let meaning = parameters.filtered(|name| MEANING.contains(&name));
        let key = (Arc::clone(database), meaning);
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if spaces.len() >= MAX_SPACES && !spaces.contains_key(&key) {
            spaces.clear();
        }
        Arc::clone(spaces.entry(key).or_default())
    }

    /// The one object that stands for equal sets on this worker, so that a connection that has them
    /// is known by it.
    pub(super) fn common(&self, parameters: &Arc<ParameterSet>) -> Arc<ParameterSet> {
        let mut known = self
            .parameters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(parameters) {
            return Arc::clone(same);
        }
        if known.len() >= MAX_PARAMETER_SETS {
            known.clear();
        }
        known.insert(Arc::clone(parameters));
        Arc::clone(parameters)
    }

    /// Buffers for a session that has something to do.
    pub(super) fn take_buffers(&self) -> Box<Buffers> {
        let spare = self
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        spare.unwrap_or_default()
    }

    /// Takes empty buffers back.
    pub(super) fn return_buffers(&self, mut buffers: Box<Buffers>) {
        buffers.shrink();
        let mut spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffers);
        }
    }

    /// Buffers that no session uses: how many, and their bytes.
    #[must_use]
    pub fn spare_buffers(&self) -> (usize, usize) {
        let spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        (spare.len(), spare.iter().map(|b| b.bytes()).sum())
    }

    /// One client more; the returned guard counts it out again.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Admitted {
        self.clients.fetch_add(1, Ordering::AcqRel);
        self.metrics.client_connections.inc();
        Admitted(Arc::clone(self))
    }
}

/// Counts a client for as long as it lives.
#[derive(Debug)]
pub struct Admitted(Arc<Context>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.client_connections.dec();
    }
}

/// A read asks for this much room at least.
pub(super) const READ_ROOM: usize = 8 * 1024;
/// A busy stream's reads grow to this.
pub(super) const READ_ROOM_MAX: usize = 64 * 1024;
/// With this much unsent, nothing more is read for that direction.
pub(super) const HIGH_WATER: usize = 64 * 1024;
/// Buffers larger than this are not kept.
const KEEP: usize = 64 * 1024;

/// What a session needs while it is busy; an idle one holds none.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// From the client, not yet understood.
    pub(super) client_in: BytesMut,
    /// To the client, not yet written.
    pub(super) client_out: BytesMut,
    /// From the server, not yet understood.
    pub(super) server_in: BytesMut,
    /// To the server, not yet written.
    pub(super) server_out: BytesMut,
    /// The client's messages of a read that could be run again elsewhere.
    pub(super) replay: BytesMut,
    /// What the server owes.
    pub(super) replies: Replies<Undo>,
}

impl Buffers {
    /// Whether nothing is in them.
    pub(super) fn is_empty(&self) -> bool {
        self.client_in.is_empty()
            && self.client_out.is_empty()
            && self.server_in.is_empty()
            && self.server_out.is_empty()
            && self.replies.is_empty()
    }

    /// What they take, used or not.
    fn bytes(&self) -> usize {
        let buffers = [
            &self.client_in,
            &self.client_out,
            &self.server_in,
            &self.server_out,
            &self.replay,
        ];
        size_of::<Self>() + buffers.iter().map(|b| b.capacity()).sum::<usize>()
    }

    /// Forgets everything, at the end of a session.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn shrink(&mut self) {
        self.replay.clear();
        for buf in [
            &mut self.client_in,
            &mut self.client_out,
            &mut self.server_in,
            &mut self.server_out,
            &mut self.replay,
        ] {
            if buf.capacity() > KEEP {
                *buf = BytesMut::new();
            }
        }
    }
}
