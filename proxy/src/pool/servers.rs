//! Every server connection there is, as SHOW SERVERS tells of it: who it is for and what it does.
//!
//! The list is only locked when a connection is opened or closed; lending and taking back store to
//! atomics of the connection's own entry.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::cluster::Node;
use crate::registry::BackendKey;

/// What a server connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerState {
    /// It is being opened.
    Login = 0,
    /// Nobody uses it.
    Idle = 1,
    /// It is lent.
    Active = 2,
}

/// What is known once it has logged in.
#[derive(Debug)]
pub struct Established {
    /// The server process; the same object that clients are told to cancel.
    pub key: Arc<BackendKey>,
    /// Statements it holds.
    pub prepared: Arc<AtomicUsize>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// The server's end.
    pub peer: Option<SocketAddr>,
}

/// One server connection.
#[derive(Debug)]
pub struct Server {
    /// Its number in this instance.
    pub id: u64,
    /// Where it leads.
    pub node: Arc<Node>,
    /// Database on the server.
    pub database: Arc<str>,
    /// Role on the server.
    pub user: Arc<str>,
    /// When it was begun.
    pub since: SystemTime,
    /// See [`super::control::Database::mark`].
    pub mark: u64,
    state: AtomicU8,
    request_at: AtomicU64,
    established: OnceLock<Established>,
}

impl Server {
    /// What it does.
    #[must_use]
    pub fn state(&self) -> ServerState {
        match self.state.load(Ordering::Relaxed) {
            0 => ServerState::Login,
            1 => ServerState::Idle,
            _ => ServerState::Active,
        }
    }

    /// When the last request was sent ([`crate::clock::now`]), `NEVER` when none was.
    #[must_use]
    pub fn request_at(&self) -> u64 {
        self.request_at.load(Ordering::Relaxed)
    }

    /// What is known since its login.
    #[must_use]
    pub fn established(&self) -> Option<&Established> {
        self.established.get()
    }

    /// It is lent, or was given back.
    pub fn set_state(&self, state: ServerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// A request is sent to it.
    pub fn note_request(&self, now: u64) {
        self.request_at.store(now, Ordering::Relaxed);
    }
}

/// Takes its connection off the list when it goes.
#[derive(Debug)]
pub struct Listed {
    servers: Arc<Servers>,
    server: Arc<Server>,
}

impl Listed {
    /// It has logged in, and is free.
    pub fn establish(&self, established: Established) {
        // A connection logs in once.
        let _first = self.server.established.set(established);
        self.server.set_state(ServerState::Idle);
    }
}

impl std::ops::Deref for Listed {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.servers.lock().remove(&self.server.id);
    }
}

/// All server connections of this instance, the monitor's apart.
#[derive(Debug, Default)]
pub struct Servers {
    all: Mutex<HashMap<u64, Arc<Server>>>,
    next: AtomicU64,
}

impl Servers {
    /// Lists a connection that is about to be opened.
    #[must_use]
    pub fn list(
        self: &Arc<Self>,
        node: &Arc<Node>,
        database: &Arc<str>,
        user: &Arc<str>,
        mark: u64,
    ) -> Listed {
        let server = Arc::new(Server {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            node: Arc::clone(node),
            database: Arc::clone(database),
            user: Arc::clone(user),
            since: SystemTime::now(),
            mark,
            state: AtomicU8::new(ServerState::Login as u8),
            request_at: AtomicU64::new(crate::clock::NEVER),
            established: OnceLock::new(),
        });
        self.lock().insert(server.id, Arc::clone(&server));
        Listed {
            servers: Arc::clone(self),
            server,
        }
    }

    /// All there are, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Server>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by_key(|server| server.id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Server>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
