//! What a client is told of the server when it logs in: its parameters, as they are on a
//! connection of its own.
//!
//! Asked of a server once for each user, database and set of startup parameters, which also proves
//! that the database exists and that the parameters are right; then remembered for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;

use crate::backend::connect::ConnectError;
use crate::backend::parameters::ParameterSet;
use crate::backend::reported::{OF_THE_NODE, Reported};
use crate::backend::reset;
use crate::clock;
use crate::cluster::{Cluster, Health, NodeId};
use crate::error::Report;
use crate::pool::budget::Elsewhere;
use crate::pool::pools::{Tenant, TenantPools};
use crate::protocol::frame::TransactionStatus;
use crate::protocol::{sqlstate, to_client};

/// How long it is remembered: a changed role or server shows after that.
const FRESH: Duration = Duration::from_secs(60);

/// Kept at most; then all are asked for again.
const MAX_KNOWN: usize = 4096;

/// The pause before a server that can't be reached is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The number of no session.
const NOBODY: u64 = u64::MAX;

/// What a client is told.
#[derive(Debug)]
pub(super) struct Welcome {
    /// ParameterStatus messages.
    pub(super) messages: Vec<u8>,
    /// The set that was asked for, the same object for equal sets.
    pub(super) parameters: Arc<ParameterSet>,
    /// What the messages say.
    pub(super) reported: Arc<Reported>,
    learned: u64,
}

type Known = HashMap<(Tenant, Arc<ParameterSet>), Arc<Welcome>>;

/// How long a login waits for a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// While none can be reached.
    pub(super) unreachable: Duration,
    /// While there is one, but no connection to it is to be had.
    pub(super) full: Duration,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Welcomes {
    known: Mutex<Known>,
}

impl Welcomes {
    /// The welcome for a tenant with these parameters.
    ///
    /// # Errors
    /// What the server says against the login, the database or a parameter; or that none could be
    /// asked in time.
    pub(super) async fn get(
        &self,
        pools: &TenantPools,
        parameters: &Arc<ParameterSet>,
        cluster: &Cluster,
        patience: Patience,
    ) -> Result<Arc<Welcome>, Report> {
        let key = (pools.tenant().clone(), Arc::clone(parameters));
        let known = self.lock().get(&key).cloned();
        let mut parameters = Arc::clone(parameters);
        if let Some(known) = known {
            // While the database is paused there is no server to ask.
            let paused = pools.tally.database().is_paused();
            if paused || clock::since(known.learned) < FRESH {
                return Ok(known);
            }
            // Connections that have these parameters know them by this very object.
            parameters = Arc::clone(&known.parameters);
        }
        let asked = async {
            pools.tally.database().resumed().await;
            ask(pools, &parameters, cluster, patience.unreachable).await
        };
        let asked = tokio::time::timeout(patience.full, asked).await;
        let welcome = asked.unwrap_or_else(|_| Err(too_full(pools, cluster, patience.full)))?;
        let welcome = Arc::new(welcome);
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(key, Arc::clone(&welcome));
        Ok(welcome)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(
    pools: &TenantPools,
    parameters: &Arc<ParameterSet>,
    cluster: &Cluster,
    limit: Duration,
) -> Result<Welcome, Report> {
    let since = clock::now();
    loop {
        let Some(pool) = any_node(cluster).and_then(|node| pools.on(node)) else {
            if clock::since(since) >= limit {
                return Err(unreachable(cluster, limit));
            }
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let mut checkout = match pool.checkout(since, Elsewhere::No).await {
            Ok(checkout) => checkout,
            Err(ConnectError::Refused(report)) => return Err(report),
            Err(ConnectError::Unreachable(_)) => {
                cluster.suspect(pool.shared.node.id);
                if clock::since(since) >= limit {
                    return Err(unreachable(cluster, limit));
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(ConnectError::NotNow(_)) => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let queries = checkout.carry(parameters, NOBODY).unwrap_or_default();
        for sql in &queries {
            let status = reset::execute(&mut checkout, sql.as_bytes()).await?;
            if status != TransactionStatus::Idle {
                return Err(Report::new(
                    sqlstate::INTERNAL_ERROR,
                    "the server was left in a transaction by SET",
                ));
            }
            checkout.carries(parameters, NOBODY);
        }
        let welcome = compose(&checkout.reported, parameters);
        checkout.release(clock::now());
        return Ok(welcome);
    }
}

/// The primary, whose parameters are what sessions rely on; without one, any node that answers.
fn any_node(cluster: &Cluster) -> Option<NodeId> {
    let view = cluster.view();
    let up = view
        .nodes
        .iter()
        .find(|n| n.health == Health::Up)
        .map(|n| n.node.id);
    view.primary.or(up)
}

fn compose(reported: &Arc<Reported>, parameters: &Arc<ParameterSet>) -> Welcome {
    let mut messages = BytesMut::with_capacity(512);
    for (name, value) in reported.iter() {
        // Clients talk to the cluster, which takes writes, whichever node was asked.
        let value = if name == OF_THE_NODE { "off" } else { value };
        to_client::parameter_status(&mut messages, name.as_bytes(), value.as_bytes());
    }
    Welcome {
        messages: messages.to_vec(),
        parameters: Arc::clone(parameters),
        reported: Arc::clone(reported),
        learned: clock::now(),
    }
}

/// Why the login of a client, which waited for `limit`, found no server connection.
fn too_full(pools: &TenantPools, cluster: &Cluster, limit: Duration) -> Report {
    let database = pools.tally.database();
    if database.is_paused() {
        return paused(&database.name, limit);
    }
    let Some(node) = any_node(cluster) else {
        return unreachable(cluster, limit);
    };
    let report = Report::new(
        sqlstate::TOO_MANY_CONNECTIONS,
        format!("no server connection became free within {limit:?} (pool.query_wait_timeout)"),
    )
    .hint("Raise pool.size, shorten transactions, or raise pool.query_wait_timeout.");
    match pools.on(node) {
        Some(pool) => report.detail(pool.shared.holdup()),
        None => report,
    }
}

fn paused(database: &str, limit: Duration) -> Report {
    Report::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!(
            "database \"{database}\" is paused: the login waited {limit:?} (pool.query_wait_timeout) \
             for its RESUME"
        ),
    )
    .hint("An administrator said PAUSE or KILL on pgconvoy's console; RESUME there goes on.")
}

fn unreachable(cluster: &Cluster, limit: Duration) -> Report {
    let view = cluster.view();
    let nodes: Vec<String> = view
        .nodes
        .iter()
        .map(|n| {
            format!(
                "{}: {}",
                n.node.label,
                n.last_error.as_deref().unwrap_or("no free connection")
            )
        })
        .collect();
    Report::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!("no server connection could be had within {limit:?}"),
    )
    .detail(nodes.join("; "))
    .hint("SHOW POOL_NODES and the log of pgconvoy tell the state of the nodes.")
}
