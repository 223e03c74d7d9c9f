//! From what was given to [`Settings`]: every key read once, its default where it was not given,
//! and a record of it for SHOW CONFIG.
//!
//! A value that is refused becomes a problem and reads as the default, so that the rest is still
//! looked at. Must not compare keys with each other: `check` does.

mod routing;

use std::path::Path;

use self::routing::{read_prefer, read_routing};
use crate::env::Environment;
use crate::keys::{self, AnyKey, DefaultOf, Key, Optional, Required, Setting, Written};
use crate::kind::{Kind, Outside};
use crate::loaded::{Entry, Owner};
use crate::problem::{Origin, Problem};
use crate::raw::{Element, Raw, Values};
use crate::secret::Secret;
use crate::settings::{
    Auth, Database, Health, Http, Limits, Log, Monitor, Node, Peer, Pool, Replication, Settings,
    User, UserTimes,
};

/// Most workers that are started without being asked for (DESIGN.md, "The hot path").
const MOST_WORKERS: usize = 4;

/// Settings that nobody has checked yet, and what it takes to say where they come from.
pub(crate) struct Draft<'a> {
    pub(crate) settings: Settings,
    pub(crate) entries: Vec<Entry>,
    /// The element of each of `settings.nodes`, `users`, `databases`, `peers` and `prefer`.
    pub(crate) nodes: Vec<&'a Element>,
    pub(crate) users: Vec<&'a Element>,
    pub(crate) databases: Vec<&'a Element>,
    pub(crate) peers: Vec<&'a Element>,
    pub(crate) prefer: Vec<&'a Element>,
    /// Keys that were given but refused: what they hold in `settings` was not asked for.
    refused: Vec<(&'static str, Origin)>,
}

impl Draft<'_> {
    /// The key outside of lists holds what was asked for.
    pub(crate) fn sound(&self, raw: &Raw, key: &str) -> bool {
        !self
            .refused
            .iter()
            .any(|(name, origin)| *name == key && origin == raw.origin(key))
    }

    /// The element's key holds what was asked for.
    pub(crate) fn sound_in(&self, element: &Element, key: &str) -> bool {
        !self
            .refused
            .iter()
            .any(|(name, origin)| *name == key && origin == element.origin(key))
    }

    /// Makes SHOW CONFIG tell what a default came to.
    pub(crate) fn amend(&mut self, key: &str, value: String) {
        for entry in self.entries.iter_mut().filter(|entry| entry.row.key == key) {
            entry.exact = Secret::new(value.as_str());
            entry.row.value.clone_from(&value);
        }
    }
}

/// Reads everything that was given. `directory` is where relative secret files are looked for.
pub(crate) fn resolve<'a>(
    raw: &'a Raw,
    env: &Environment,
    directory: &Path,
    problems: &mut Vec<Problem>,
) -> Draft<'a> {
    let outside = Outside { env, directory };
    let mut reader = Reader {
        outside,
        problems,
        entries: Vec::new(),
        refused: Vec::new(),
    };
    let top = Scope {
        values: &raw.single,
        owner: None,
    };
    let listen = reader.value(&top, &keys::LISTEN);
    let workers = reader.value(&top, &keys::WORKERS);
    let io_uring = reader.value(&top, &keys::IO_URING);
    let drain_timeout = reader.value(&top, &keys::DRAIN_TIMEOUT);
    let peer_id = reader.optional(&top, &keys::PEER_ID);
    let (nodes, node_elements) = reader.elements(raw, "node", keys::NODE_ADDRESS.name, read_node);
    let (users, user_elements) = reader.elements(raw, "user", keys::USER_NAME.name, read_user);
    let (databases, database_elements) =
        reader.elements(raw, "database", keys::DATABASE_NAME.name, read_database);
    let (peers, peer_elements) = reader.elements(raw, "peer", keys::PEER_NUMBER.name, read_peer);
    // Entries have no names of their own.
    let (prefer, prefer_elements) = reader.elements(raw, "prefer", "", read_prefer);
    let settings = Settings {
        listen,
        workers: if workers == 0 {
            default_workers()
        } else {
            workers as usize
        },
        io_uring,
        drain_timeout,
        peer_id: peer_id.map(byte),
        nodes,
        users,
        databases,
        peers,
        // Whether access is open depends on other settings: `check` decides.
        auth: Auth {
            method: reader.value(&top, &keys::AUTH_METHOD),
            open_access: false,
        },
        pool: read_pool(&mut reader, &top),
        limits: read_limits(&mut reader, &top),
        routing: read_routing(&mut reader, &top),
        prefer,
        replication: Replication {
            node: reader.value(&top, &keys::REPLICATION_NODE),
        },
        health: read_health(&mut reader, &top),
        monitor: read_monitor(&mut reader, &top),
        http: Http {
            listen: reader.value(&top, &keys::HTTP_LISTEN),
        },
        log: read_log(&mut reader, &top),
    };
    let Reader {
        entries, refused, ..
    } = reader;
    let mut draft = Draft {
        settings,
        entries,
        nodes: node_elements,
        users: user_elements,
        databases: database_elements,
        peers: peer_elements,
        prefer: prefer_elements,
        refused,
    };
    let workers = draft.settings.workers.to_string();
    draft.amend(keys::WORKERS.name, workers);
    draft
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MOST_WORKERS))
}

fn read_node(reader: &mut Reader<'_>, at: &Scope<'_>, element: &Element) -> Option<Node> {
    let address = reader.required(at, &keys::NODE_ADDRESS, element);
    let weight = reader.value(at, &keys::NODE_WEIGHT);
    let name = reader.optional(at, &keys::NODE_NAME);
    let zone = reader.optional(at, &keys::NODE_ZONE);
    let max_server_connections = reader.value(at, &keys::NODE_MAX_SERVER_CONNECTIONS);
    let address = address?;
    Some(Node {
        host: address.host,
        port: address.port,
        weight,
        name,
        zone,
        max_server_connections,
    })
}

fn read_user(reader: &mut Reader<'_>, at: &Scope<'_>, element: &Element) -> Option<User> {
    let name = reader.required(at, &keys::USER_NAME, element);
    let user = User {
        name: String::new(),
        password: reader.optional(at, &keys::USER_PASSWORD),
        auth: reader.optional(at, &keys::USER_AUTH),
        pool_mode: reader.optional(at, &keys::USER_POOL_MODE),
        pool_size: reader.optional(at, &keys::USER_POOL_SIZE),
        reserve_size: reader.optional(at, &keys::USER_RESERVE_SIZE),
        max_server_connections: reader.optional(at, &keys::USER_MAX_SERVER_CONNECTIONS),
        max_client_connections: reader.optional(at, &keys::USER_MAX_CLIENT_CONNECTIONS),
        times: UserTimes {
            query_timeout: reader.optional(at, &keys::USER_QUERY_TIMEOUT),
            transaction_timeout: reader.optional(at, &keys::USER_TRANSACTION_TIMEOUT),
            idle_in_transaction_timeout: reader
                .optional(at, &keys::USER_IDLE_IN_TRANSACTION_TIMEOUT),
            client_idle_timeout: reader.optional(at, &keys::USER_CLIENT_IDLE_TIMEOUT),
        },
        admin: reader.value(at, &keys::USER_ADMIN),
        stats: reader.value(at, &keys::USER_STATS),
        server_user: reader.optional(at, &keys::USER_SERVER_USER),
        server_password: reader.optional(at, &keys::USER_SERVER_PASSWORD),
    };
    Some(User {
        name: name?,
        ..user
    })
}

fn read_database(reader: &mut Reader<'_>, at: &Scope<'_>, element: &Element) -> Option<Database> {
    let name = reader.required(at, &keys::DATABASE_NAME, element);
    let target = reader.optional(at, &keys::DATABASE_TARGET);
    let pool_mode = reader.optional(at, &keys::DATABASE_POOL_MODE);
    let pool_size = reader.optional(at, &keys::DATABASE_POOL_SIZE);
    let database = Database {
        name: String::new(),
        target,
        pool_mode,
        pool_size,
        reserve_size: reader.optional(at, &keys::DATABASE_RESERVE_SIZE),
        min_idle: reader.optional(at, &keys::DATABASE_MIN_IDLE),
        max_server_connections: reader.optional(at, &keys::DATABASE_MAX_SERVER_CONNECTIONS),
        max_client_connections: reader.optional(at, &keys::DATABASE_MAX_CLIENT_CONNECTIONS),
    };
    Some(Database {
        name: name?,
        ..database
    })
}

fn read_peer(reader: &mut Reader<'_>, at: &Scope<'_>, element: &Element) -> Option<Peer> {
    let id = reader.required(at, &keys::PEER_NUMBER, element);
    let address = reader.required(at, &keys::PEER_ADDRESS, element)?;
    Some(Peer {
        id: byte(id?),
        host: address.host,
        port: address.port,
    })
}

/// A number that its key keeps to 255.
fn byte(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn read_pool(reader: &mut Reader<'_>, at: &Scope<'_>) -> Pool {
    Pool {
        mode: reader.value(at, &keys::POOL_MODE),
        size: reader.value(at, &keys::POOL_SIZE),
        min_idle: reader.value(at, &keys::POOL_MIN_IDLE),
        reserve_size: reader.value(at, &keys::POOL_RESERVE_SIZE),
        reserve_timeout: reader.value(at, &keys::POOL_RESERVE_TIMEOUT),
        query_wait_notify: reader.value(at, &keys::POOL_QUERY_WAIT_NOTIFY),
        query_wait_timeout: reader.value(at, &keys::POOL_QUERY_WAIT_TIMEOUT),
        connect_timeout: reader.value(at, &keys::POOL_CONNECT_TIMEOUT),
        server_login_retry: reader.value(at, &keys::POOL_SERVER_LOGIN_RETRY),
        server_check_delay: reader.value(at, &keys::POOL_SERVER_CHECK_DELAY),
        server_idle_timeout: reader.value(at, &keys::POOL_SERVER_IDLE_TIMEOUT),
        server_lifetime: reader.value(at, &keys::POOL_SERVER_LIFETIME),
        server_lifetime_jitter: reader.value(at, &keys::POOL_SERVER_LIFETIME_JITTER),
        prepared_statements: reader.value(at, &keys::POOL_PREPARED_STATEMENTS),
    }
}

fn read_limits(reader: &mut Reader<'_>, at: &Scope<'_>) -> Limits {
    Limits {
        max_client_connections: reader.value(at, &keys::LIMITS_MAX_CLIENT_CONNECTIONS),
        reserved_admin_connections: reader.value(at, &keys::LIMITS_RESERVED_ADMIN_CONNECTIONS),
        max_user_client_connections: reader.value(at, &keys::LIMITS_MAX_USER_CLIENT_CONNECTIONS),
        max_database_client_connections: reader
            .value(at, &keys::LIMITS_MAX_DATABASE_CLIENT_CONNECTIONS),
        max_server_connections: reader.value(at, &keys::LIMITS_MAX_SERVER_CONNECTIONS),
        max_user_server_connections: reader.value(at, &keys::LIMITS_MAX_USER_SERVER_CONNECTIONS),
        max_database_server_connections: reader
            .value(at, &keys::LIMITS_MAX_DATABASE_SERVER_CONNECTIONS),
        client_login_timeout: reader.value(at, &keys::LIMITS_CLIENT_LOGIN_TIMEOUT),
        client_idle_timeout: reader.value(at, &keys::LIMITS_CLIENT_IDLE_TIMEOUT),
        idle_in_transaction_timeout: reader.value(at, &keys::LIMITS_IDLE_IN_TRANSACTION_TIMEOUT),
        transaction_timeout: reader.value(at, &keys::LIMITS_TRANSACTION_TIMEOUT),
        cancel_wait_timeout: reader.value(at, &keys::LIMITS_CANCEL_WAIT_TIMEOUT),
        query_timeout: reader.value(at, &keys::LIMITS_QUERY_TIMEOUT),
        max_replication_connections: reader.value(at, &keys::LIMITS_MAX_REPLICATION_CONNECTIONS),
    }
}

fn read_health(reader: &mut Reader<'_>, at: &Scope<'_>) -> Health {
    Health {
        check_period: reader.value(at, &keys::HEALTH_CHECK_PERIOD),
        check_timeout: reader.value(at, &keys::HEALTH_CHECK_TIMEOUT),
        check_retries: reader.value(at, &keys::HEALTH_CHECK_RETRIES),
        position_period: reader.value(at, &keys::HEALTH_POSITION_PERIOD),
    }
}

fn read_monitor(reader: &mut Reader<'_>, at: &Scope<'_>) -> Monitor {
    Monitor {
        user: reader.value(at, &keys::MONITOR_USER),
        password: reader.optional(at, &keys::MONITOR_PASSWORD),
        database: reader.value(at, &keys::MONITOR_DATABASE),
    }
}

fn read_log(reader: &mut Reader<'_>, at: &Scope<'_>) -> Log {
    Log {
        level: reader.value(at, &keys::LOG_LEVEL),
        format: reader.value(at, &keys::LOG_FORMAT),
        queries: reader.value(at, &keys::LOG_QUERIES),
        routes: reader.value(at, &keys::LOG_ROUTES),
        connections: reader.value(at, &keys::LOG_CONNECTIONS),
    }
}

/// The table that keys are read from, and whose they are.
struct Scope<'a> {
    values: &'a Values,
    owner: Option<Owner>,
}

/// What reading a key came to.
enum Read<T> {
    Absent,
    Refused,
    Value(T),
}

/// Reads one element of a list; none when what names it is missing or wrong.
type ReadElement<T> = fn(&mut Reader<'_>, &Scope<'_>, &Element) -> Option<T>;

struct Reader<'a> {
    outside: Outside<'a>,
    problems: &'a mut Vec<Problem>,
    entries: Vec<Entry>,
    refused: Vec<(&'static str, Origin)>,
}

impl Reader<'_> {
    /// A list's elements, those that could be named, each beside where it was given.
    fn elements<'r, T>(
        &mut self,
        raw: &'r Raw,
        list: &'static str,
        identity: &str,
        read: ReadElement<T>,
    ) -> (Vec<T>, Vec<&'r Element>) {
        let mut found = (Vec::new(), Vec::new());
        for (index, element) in raw.list(list).iter().enumerate() {
            let name = element
                .values
                .get(identity)
                .and_then(|given| given.value.text());
            let identity = name.map_or_else(|| index.to_string(), |name| name.trim().to_owned());
            let owner = Owner {
                list,
                index,
                identity,
            };
            let scope = Scope {
                values: &element.values,
                owner: Some(owner),
            };
            if let Some(item) = read(self, &scope, element) {
                found.0.push(item);
                found.1.push(element);
            }
        }
        found
    }

    fn value<K: Kind>(&mut self, scope: &Scope<'_>, key: &Setting<K>) -> K::Out {
        match self.read(scope, key) {
            Read::Value(value) => value,
            Read::Absent | Read::Refused => {
                let value = (key.default)();
                self.record(scope, key, Some(&value));
                value
            }
        }
    }

    fn optional<K: Kind>(&mut self, scope: &Scope<'_>, key: &Optional<K>) -> Option<K::Out> {
        match self.read(scope, key) {
            Read::Value(value) => Some(value),
            Read::Absent | Read::Refused => {
                // What an element does not override is told by the section it would override.
                if scope.owner.is_none() {
                    self.record(scope, key, None);
                }
                None
            }
        }
    }

    fn required<K: Kind>(
        &mut self,
        scope: &Scope<'_>,
        key: &Required<K>,
        element: &Element,
    ) -> Option<K::Out> {
        match self.read(scope, key) {
            Read::Value(value) => Some(value),
            Read::Refused => None,
            Read::Absent => {
                let message = format!("is missing; add {} = …", leaf(key.name));
                self.problems
                    .push(Problem::new(&element.origin, key.name, message));
                None
            }
        }
    }

    fn read<K: Kind, D: DefaultOf<K> + Sync>(
        &mut self,
        scope: &Scope<'_>,
        key: &Key<K, D>,
    ) -> Read<K::Out> {
        let Some(given) = scope.values.get(key.name) else {
            return Read::Absent;
        };
        match key.kind.read(&given.value, &self.outside) {
            Ok(value) => {
                self.record(scope, key, Some(&value));
                Read::Value(value)
            }
            Err(refusal) => {
                self.refused.push((key.name, given.origin.clone()));
                self.problems.push(Problem {
                    origin: given.origin.clone(),
                    key: key.name.to_owned(),
                    message: refusal.message,
                    allowed: refusal.allowed,
                    nearest: refusal.nearest,
                });
                Read::Refused
            }
        }
    }

    fn record<K: Kind, D: DefaultOf<K> + Sync>(
        &mut self,
        scope: &Scope<'_>,
        key: &Key<K, D>,
        value: Option<&K::Out>,
    ) {
        let origin = scope
            .values
            .get(key.name)
            .map_or(Origin::Default, |g| g.origin.clone());
        let default = match key.written() {
            Written::Default(text) => text.trim_matches('"').to_owned(),
            Written::OptionalExample(_) | Written::RequiredExample(_) => String::new(),
        };
        let shown = value.map(|value| key.kind.show(value)).unwrap_or_default();
        let exact = value.map(|value| key.kind.exact(value)).unwrap_or_default();
        let exact = Secret::new(exact);
        self.entries.push(Entry::new(
            key,
            scope.owner.clone(),
            shown,
            default,
            origin,
            exact,
        ));
    }
}

fn leaf(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, leaf)| leaf)
}
