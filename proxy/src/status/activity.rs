//! Clients and server connections together: who uses what, and the figures of each pool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::pool::servers::{Server, ServerState};
use crate::registry::{Activity, BackendKey, Client};

/// What a client does, as SHOW CLIENTS says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It has a server connection, or runs a command of the console.
    Active,
    /// It waits for a server connection.
    Waiting,
    /// Neither.
    Idle,
}

impl ClientState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
        }
    }
}

/// One client, and the server connection that it uses.
#[derive(Clone, Debug)]
pub struct ClientRow {
    /// The client.
    pub client: Arc<Client>,
    /// What it does.
    pub state: ClientState,
    /// How long it has waited for a server connection by now.
    pub wait: Duration,
    /// Its server connection.
    pub server: Option<Arc<Server>>,
}

/// One server connection, and the client that uses it.
#[derive(Clone, Debug)]
pub struct ServerRow {
    /// The connection.
    pub server: Arc<Server>,
    /// Cancel requests on their way to it.
    pub cancels: usize,
    /// Its client.
    pub client: Option<Arc<Client>>,
}

/// One pool over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Clients that do not wait.
    pub clients_active: usize,
    /// Clients that wait.
    pub clients_waiting: usize,
    /// Cancel requests on their way to servers.
    pub cancels: usize,
    /// Server connections that are lent.
    pub servers_active: usize,
    /// Connections that are not lent, but wait for a cancel request to pass.
    pub servers_being_canceled: usize,
    /// Connections that are free.
    pub servers_idle: usize,
    /// Connections that are being opened.
    pub servers_login: usize,
    /// How long the client that waits longest has waited.
    pub longest_wait: Duration,
}

/// Clients and server connections at one moment.
#[derive(Clone, Debug)]
pub struct Activities {
    /// Oldest first.
    pub clients: Vec<ClientRow>,
    /// Oldest first.
    pub servers: Vec<ServerRow>,
}

/// A database and a role on the servers.
pub type PoolName = (Arc<str>, Arc<str>);

impl Activities {
    /// Brings them together.
    #[must_use]
    pub fn of(clients: Vec<Arc<Client>>, servers: Vec<Arc<Server>>) -> Self {
        let by_key: HashMap<*const BackendKey, &Arc<Server>> = servers
            .iter()
            .filter_map(|server| Some((Arc::as_ptr(&server.established()?.key), server)))
            .collect();
        let mut used_by = HashMap::new();
        let mut clients: Vec<ClientRow> = clients
            .into_iter()
            .map(|client| {
                let server = client
                    .server()
                    .and_then(|key| by_key.get(&Arc::as_ptr(&key)))
                    .map(|server| Arc::clone(server));
                if let Some(server) = &server {
                    used_by.insert(server.id, Arc::clone(&client));
                }
                client_row(client, server)
            })
            .collect();
        clients.sort_by_key(|row| (row.client.since, row.client.pid));
        let servers = servers
            .into_iter()
            .map(|server| ServerRow {
                cancels: server
                    .established()
                    .map_or(0, |e| e.key.cancels.load(Ordering::Relaxed)),
                client: used_by.remove(&server.id),
                server,
            })
            .collect();
        Self { clients, servers }
    }

    /// The figures of each pool that has a client or a connection.
    #[must_use]
    pub fn pools(&self) -> BTreeMap<PoolName, PoolFigures> {
        let mut pools: BTreeMap<PoolName, PoolFigures> = BTreeMap::new();
        for row in &self.clients {
            let Some(name) = row.client.lodging.clone() else {
                continue;
            };
            let pool = pools.entry(name).or_default();
            match row.state {
                ClientState::Waiting => pool.clients_waiting += 1,
                ClientState::Active | ClientState::Idle => pool.clients_active += 1,
            }
            pool.longest_wait = pool.longest_wait.max(row.wait);
        }
        for row in &self.servers {
            let server = &row.server;
            let name = (Arc::clone(&server.database), Arc::clone(&server.user));
            let pool = pools.entry(name).or_default();
            pool.cancels += row.cancels;
            match server.state() {
                ServerState::Login => pool.servers_login += 1,
                ServerState::Active => pool.servers_active += 1,
                ServerState::Idle if row.cancels > 0 => pool.servers_being_canceled += 1,
                ServerState::Idle => pool.servers_idle += 1,
            }
        }
        pools
    }
}

fn client_row(client: Arc<Client>, server: Option<Arc<Server>>) -> ClientRow {
    let (activity, since) = client.activity();
    let state = match activity {
        Activity::Waiting => ClientState::Waiting,
        Activity::Active | Activity::Streaming => ClientState::Active,
        Activity::Idle | Activity::IdleInTransaction if server.is_some() => ClientState::Active,
        Activity::Idle | Activity::IdleInTransaction => ClientState::Idle,
    };
    let wait = if state == ClientState::Waiting {
        clock::since(since)
    } else {
        Duration::ZERO
    };
    ClientRow {
        client,
        state,
        wait,
        server,
    }
}

/// A time of [`clock::now`] on the calendar; `None` for what never happened.
#[must_use]
pub fn calendar(at: u64) -> Option<SystemTime> {
    if at == clock::NEVER {
        return None;
    }
    SystemTime::now().checked_sub(clock::since(at))
}
