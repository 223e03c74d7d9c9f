//! How many connections everybody may have, to the servers and as clients: from the settings as
//! they are written to what pools and the door ask.

use std::collections::HashMap;
use std::sync::Arc;

use pgconvoy_config::Settings;

use crate::cluster::NodeId;
use crate::pool::budget::Size;
use crate::pool::caps::Scope;
use crate::pool::pools::Tenant;
use crate::registry::ClientLimits;

/// What one user or one database has of its own; `None` takes what is next.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    size: Option<usize>,
    reserve: Option<usize>,
    min_idle: Option<usize>,
    /// The inner `None` is no cap.
    cap: Option<Option<usize>>,
}

/// All numbers.
#[derive(Debug)]
pub(super) struct Quotas {
    default: Size,
    /// By role on the servers.
    users: HashMap<Arc<str>, Own>,
    /// By name on the servers.
    databases: HashMap<Arc<str>, Own>,
    nodes: Vec<Option<usize>>,
    all: Option<usize>,
    user_cap: Option<usize>,
    database_cap: Option<usize>,
    clients: Clients,
}

/// Limits on clients, by the names that they log in with.
#[derive(Debug)]
struct Clients {
    users: HashMap<String, Option<usize>>,
    databases: HashMap<String, Option<usize>>,
    user: Option<usize>,
    database: Option<usize>,
}

impl Quotas {
    pub(super) fn new(settings: &Settings) -> Self {
        let (pool, limits) = (&settings.pool, &settings.limits);
        let users = settings.users.iter().map(|user| {
            let own = Own {
                size: user.pool_size.map(count),
                reserve: user.reserve_size.map(count),
                min_idle: None,
                cap: user.max_server_connections.map(|cap| cap.map(count)),
            };
            (
                user.server_user.as_deref().unwrap_or(&user.name).into(),
                own,
            )
        });
        let databases = settings.databases.iter().map(|database| {
            let own = Own {
                size: database.pool_size.map(count),
                reserve: database.reserve_size.map(count),
                min_idle: database.min_idle.map(count),
                cap: database.max_server_connections.map(|cap| cap.map(count)),
            };
            let name = database.target.as_deref().unwrap_or(&database.name);
            (name.into(), own)
        });
        Self {
            default: Size {
                size: count(pool.size),
                reserve: count(pool.reserve_size),
                min_idle: count(pool.min_idle),
            },
            users: users.collect(),
            databases: databases.collect(),
            nodes: settings
                .nodes
                .iter()
                .map(|n| n.max_server_connections.map(count))
                .collect(),
            all: limits.max_server_connections.map(count),
            user_cap: limits.max_user_server_connections.map(count),
            database_cap: limits.max_database_server_connections.map(count),
            clients: Clients::new(settings),
        }
    }

    /// The size of each of a tenant's pools: the user's own before the database's.
    pub(super) fn size_of(&self, tenant: &Tenant) -> Size {
        let user = self.users.get(&tenant.user).copied();
        self.size(user.unwrap_or_default(), &tenant.database)
    }

    /// The size of a database's pools of users that have none of their own.
    pub(super) fn size_in(&self, database: &str) -> Size {
        self.size(Own::default(), database)
    }

    fn size(&self, user: Own, database: &str) -> Size {
        let database = self.databases.get(database).copied().unwrap_or_default();
        let size = user.size.or(database.size).unwrap_or(self.default.size);
        Size {
            size,
            reserve: user
                .reserve
                .or(database.reserve)
                .unwrap_or(self.default.reserve),
            min_idle: database.min_idle.unwrap_or(self.default.min_idle).min(size),
        }
    }

    /// A cap on server connections, if there is one.
    pub(super) fn cap_of(&self, scope: &Scope) -> Option<usize> {
        let own = |of: &HashMap<Arc<str>, Own>, name: &Arc<str>| of.get(name).and_then(|o| o.cap);
        match scope {
            Scope::All => self.all,
            Scope::Node(NodeId(at)) => self.nodes.get(usize::from(*at)).copied().flatten(),
            Scope::Database(name) => own(&self.databases, name).unwrap_or(self.database_cap),
            Scope::User(name) => own(&self.users, name).unwrap_or(self.user_cap),
        }
    }

    /// How many clients a user and a database may have.
    pub(super) fn clients_of(&self, user: &str, database: &str) -> ClientLimits {
        let clients = &self.clients;
        let of_user = clients.users.get(user).copied();
        let of_database = clients.databases.get(database).copied();
        ClientLimits {
            user: of_user.unwrap_or(clients.user),
            database: of_database.unwrap_or(clients.database),
        }
    }
}

impl Clients {
    fn new(settings: &Settings) -> Self {
        let users = settings.users.iter();
        let databases = settings.databases.iter();
        let number = |limit: Option<u32>| limit.map(count);
        Self {
            users: users
                .filter_map(|u| Some((u.name.clone(), number(u.max_client_connections?))))
                .collect(),
            databases: databases
                .filter_map(|d| Some((d.name.clone(), number(d.max_client_connections?))))
                .collect(),
            user: number(settings.limits.max_user_client_connections),
            database: number(settings.limits.max_database_client_connections),
        }
    }
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
