//! The settings as the proxy reads them: plain typed data, valid once a load has returned it.
//!
//! Must not know where a value came from, nor how it is written in a file. Durations and sizes are
//! already in their Rust types; what can be switched off is an `Option`, `None` being "off".

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::secret::Secret;

/// Everything pgconvoy is told. Made by [`Settings::load`](crate::Settings::load).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients are accepted; at least one address. Port 0 lets the kernel choose.
    pub listen: Vec<SocketAddr>,
    /// Worker threads, at least 1: `0` or nothing in the file was resolved to half the cores, at
    /// most 4.
    pub workers: usize,
    /// Whether io_uring is used where there is one.
    pub io_uring: bool,
    /// How long a shutdown waits for transactions to finish; zero does not wait.
    pub drain_timeout: Duration,
    /// What cancel keys call this instance, 1 to 255; present when there are [`Settings::peers`].
    pub peer_id: Option<u8>,
    /// The PostgreSQL servers, at least one; which of them leads is found out, not configured.
    pub nodes: Vec<Node>,
    /// Who may log in; empty only when [`Auth::open_access`] is true.
    pub users: Vec<User>,
    /// Overrides for databases; a database that is not listed is passed on under its own name.
    pub databases: Vec<Database>,
    /// The instances behind the same address; this one may be among them.
    pub peers: Vec<Peer>,
    pub auth: Auth,
    pub pool: Pool,
    pub limits: Limits,
    pub routing: Routing,
    /// Which node reads prefer; the first that fits decides.
    pub prefer: Vec<Prefer>,
    pub replication: Replication,
    pub health: Health,
    pub monitor: Monitor,
    pub http: Http,
    pub log: Log,
}

/// One PostgreSQL server, a `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// Share of the reads against the other nodes' weights; 0 gets none.
    pub weight: u32,
    /// How logs and metrics call the node; its address when absent.
    pub name: Option<String>,
    /// Where it is; see [`Routing::zone`].
    pub zone: Option<String>,
    /// Most server connections to it.
    pub max_server_connections: Option<u32>,
}

impl Node {
    /// `host:port`, IPv6 hosts in brackets: what names a node to people and in metrics labels.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The configured name, else the address.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address())
    }
}

/// Somebody who may log in, a `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// Present unless the user's method is [`AuthMethod::Trust`].
    pub password: Option<Secret>,
    /// Overrides [`Auth::method`].
    pub auth: Option<AuthMethod>,
    /// Overrides the database's and the pool's mode.
    pub pool_mode: Option<PoolMode>,
    /// Overrides the database's and the pool's size, at least 1.
    pub pool_size: Option<u32>,
    /// Overrides the database's and the pool's reserve.
    pub reserve_size: Option<u32>,
    /// Overrides [`Limits::max_user_server_connections`]; the inner `None` is "off".
    pub max_server_connections: Option<Option<u32>>,
    /// Overrides [`Limits::max_user_client_connections`].
    pub max_client_connections: Option<Option<u32>>,
    pub times: UserTimes,
    /// May act on the admin console and use the reserved connections.
    pub admin: bool,
    /// May look at the admin console.
    pub stats: bool,
    /// Logs in to the servers under this name instead of the client's own.
    pub server_user: Option<String>,
    /// Logs in to the servers with this instead of `password`; a password or `md5…`, no verifier.
    pub server_password: Option<Secret>,
}

/// Databases that are pgconvoy's own: who asks for one gets the admin console.
pub const CONSOLE_DATABASES: [&str; 2] = ["pgconvoy", "pgbouncer"];

/// What one user's clients may take, where it differs from [`Limits`]; the inner `None` is "off".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserTimes {
    pub query_timeout: Option<Option<Duration>>,
    pub transaction_timeout: Option<Option<Duration>>,
    pub idle_in_transaction_timeout: Option<Option<Duration>>,
    pub client_idle_timeout: Option<Option<Duration>>,
}

/// Overrides for one database, a `[[database]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The name that clients ask for.
    pub name: String,
    /// The name on the servers, when it is another.
    pub target: Option<String>,
    pub pool_mode: Option<PoolMode>,
    /// At least 1.
    pub pool_size: Option<u32>,
    pub reserve_size: Option<u32>,
    pub min_idle: Option<u32>,
    /// Overrides [`Limits::max_database_server_connections`]; the inner `None` is "off".
    pub max_server_connections: Option<Option<u32>>,
    /// Overrides [`Limits::max_database_client_connections`].
    pub max_client_connections: Option<Option<u32>>,
}

/// An instance of pgconvoy, a `[[peer]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its `peer_id`, at least 1.
    pub id: u8,
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

/// How clients prove who they are, `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub method: AuthMethod,
    /// No user is listed and every `listen` address is loopback: anybody is let in under any name.
    pub open_access: bool,
}

/// The login exchange asked of a client (PostgreSQL docs, "Password Authentication").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    Trust,
    Password,
    Md5,
    ScramSha256,
}

/// When a server connection goes back to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// When the transaction ends.
    Transaction,
    /// When the statement ends; transaction blocks are refused.
    Statement,
}

/// Server connections, `[pool]`; a pool is one user on one database of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub mode: PoolMode,
    /// Most server connections of a pool, over all workers; at least 1.
    pub size: u32,
    /// Connections kept open though nobody needs them; at most `size`.
    pub min_idle: u32,
    /// Connections more than `size`, once somebody has waited for `reserve_timeout`.
    pub reserve_size: u32,
    pub reserve_timeout: Duration,
    /// After which wait a client is told what it waits for.
    pub query_wait_notify: Option<Duration>,
    /// Longest wait of a client for a server connection.
    pub query_wait_timeout: Duration,
    /// Longest time to connect and log in to a server.
    pub connect_timeout: Duration,
    /// Longest pause after a server has refused a login.
    pub server_login_retry: Duration,
    /// Unused connections are asked this often whether they still answer.
    pub server_check_delay: Option<Duration>,
    /// Unused connections are closed after this.
    pub server_idle_timeout: Option<Duration>,
    /// Connections older than this are closed when they become free.
    pub server_lifetime: Option<Duration>,
    /// Percent (0 to 100) by which each connection's lifetime is shortened at random, so that
    /// connections opened together do not end together.
    pub server_lifetime_jitter: u32,
    /// Prepared statements kept on each server connection, least recently used out; at least 1.
    pub prepared_statements: u32,
}

/// Bounds on clients, and on server connections over all pools, `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most clients at a time; the next one is refused with 53300.
    pub max_client_connections: u32,
    /// How many of those only admin users may take; less than `max_client_connections`.
    pub reserved_admin_connections: u32,
    /// Most clients of one user, and of one database; past it: 53300.
    pub max_user_client_connections: Option<u32>,
    pub max_database_client_connections: Option<u32>,
    /// Most server connections of all, of one user and of one database on the servers.
    pub max_server_connections: Option<u32>,
    pub max_user_server_connections: Option<u32>,
    pub max_database_server_connections: Option<u32>,
    pub client_login_timeout: Duration,
    pub client_idle_timeout: Option<Duration>,
    pub idle_in_transaction_timeout: Option<Duration>,
    pub transaction_timeout: Option<Duration>,
    /// Longest time for a cancel request to reach its server.
    pub cancel_wait_timeout: Duration,
    pub query_timeout: Option<Duration>,
    /// How many of the clients may be replication connections; 0 refuses them.
    pub max_replication_connections: u32,
}

/// Replication connections, `[replication]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `primary`, `replica`, or a node's label or address.
    pub node: String,
}

/// Where statements run, `[routing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Safe reads go to replicas; false sends everything to the primary.
    pub split_reads: bool,
    /// The primary takes its share of the reads, too.
    pub primary_reads: bool,
    pub read_your_writes: ReadYourWrites,
    pub transaction_reads: TransactionReads,
    /// Bytes of WAL a replica may be behind and still get reads; `None` does not look at lag.
    pub max_replica_lag: Option<u64>,
    /// How old what a replica shows may be; `None` does not look at that.
    pub max_replica_delay: Option<Duration>,
    /// One of so many reads on replicas is compared with the primary's answer; 0 is none.
    pub shadow_check: u32,
    /// How often a database's catalog is read; `None` never reads any.
    pub catalog_refresh: Option<Duration>,
    /// Functions that replicas may run, whatever they are declared to be.
    pub read_only_functions: Vec<FunctionPattern>,
    /// Functions that only the primary runs; stronger than the other list.
    pub write_functions: Vec<FunctionPattern>,
    pub balance: Balance,
    pub balance_per: BalancePer,
    /// Where pgconvoy is; a zone that some node is in.
    pub zone: Option<String>,
    /// For how long a replica that comes back gets less than its share.
    pub slow_start: Option<Duration>,
    /// For how long a replica that fails or is slow gets no reads, the first time.
    pub ejection: Option<Duration>,
}

/// How a read's node is chosen among those that may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turns by weight.
    RoundRobin,
    /// The one with the fewest connections in use for its weight.
    LeastConnections,
    /// The one that answers soonest, by its latency and what it has to do.
    LeastLatency,
}

/// For how long a choice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BalancePer {
    Statement,
    /// For as long as that replica can serve the session.
    Session,
}

/// Functions by name, as PostgreSQL holds it; `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionPattern {
    /// Of any schema when absent.
    pub schema: Option<String>,
    pub name: String,
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// Which node the reads of some clients prefer, a `[[prefer]]`. `*` stands for any text, and what
/// is absent for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefer {
    pub application: Option<String>,
    pub user: Option<String>,
    /// As clients ask for it.
    pub database: Option<String>,
    /// `primary`, `replica`, or a node's label or address.
    pub node: String,
}

/// What a read is sure to see of earlier writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadYourWrites {
    /// Every write of its own session.
    Session,
    /// Every write of a session of this instance.
    Cluster,
    /// Nothing is promised.
    Off,
}

/// Where the reads of a transaction run that may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionReads {
    /// On the primary, with everything else of it.
    Primary,
    /// On a replica, until the transaction does more than read.
    UntilWrite,
}

/// How nodes are watched, `[health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub check_period: Duration,
    /// Also the bound on connecting to a node for a check.
    pub check_timeout: Duration,
    /// Failures in a row that make a node down; at least 1.
    pub check_retries: u32,
    /// Time between samples of the WAL positions, while sessions wait for one.
    pub position_period: Duration,
}

/// The login with which nodes are watched, `[monitor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    pub user: String,
    /// A password or `md5…`, no verifier; `None` where the servers ask for none.
    pub password: Option<Secret>,
    pub database: String,
}

/// Metrics and health over HTTP, `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `None` is off.
    pub listen: Option<SocketAddr>,
}

/// Logging, `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Level, or directives as tracing-subscriber's `EnvFilter` takes them.
    pub level: String,
    pub format: LogFormat,
    /// Statement texts are logged.
    pub queries: bool,
    /// One of so many routing decisions is logged; 0 is none.
    pub routes: u32,
    /// Each client's coming and going is logged.
    pub connections: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    Text,
    Json,
}

/// An enum whose values have names in the configuration.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// What one of them is called in a sentence: `a pool mode`.
    const WHAT: &'static str;
    /// Name and value, in the order they are listed to people.
    const NAMES: &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }
}

macro_rules! named {
    ($type:ident, $what:literal, $($name:literal => $variant:ident),+) => {
        impl Named for $type {
            const WHAT: &'static str = $what;
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, $type::$variant)),+];
        }

        /// As the configuration writes it.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named!(AuthMethod, "a login method", "trust" => Trust, "password" => Password, "md5" => Md5,
    "scram-sha-256" => ScramSha256);
named!(PoolMode, "a pool mode", "session" => Session, "transaction" => Transaction,
    "statement" => Statement);
named!(ReadYourWrites, "a read-your-writes mode", "session" => Session,
    "cluster" => Cluster, "off" => Off);
named!(TransactionReads, "a place for reads", "primary" => Primary, "until_write" => UntilWrite);
named!(Balance, "a way to balance reads", "round_robin" => RoundRobin,
    "least_connections" => LeastConnections, "least_latency" => LeastLatency);
named!(BalancePer, "a span to balance by", "statement" => Statement, "session" => Session);
named!(LogFormat, "a log format", "text" => Text, "json" => Json);
