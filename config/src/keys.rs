//! One definition per key. Parser, defaults, environment names, `reference.toml` and SHOW CONFIG
//! all read this table and nothing else.
//!
//! Must not know where values come from, nor what one means for another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::kind::{
    Cap, Choice, Count, Flag, FunctionList, HostPort, Kind, ListenAddress, ListenList, LogLevel,
    Name, Percent, Period, Quoting, SecretValue, Size, Timeout, Visibility,
};
use crate::sections::SECTIONS;
use crate::settings::{
    AuthMethod, Balance, BalancePer, LogFormat, PoolMode, ReadYourWrites, TransactionReads,
};

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// On SIGHUP.
    Live,
    /// When pgconvoy is started again.
    Restart,
}

use Reload::{Live, Restart};

/// A key: where it stands, what it takes, what holds when it is not given.
pub(crate) struct Key<K, D> {
    /// Section and name, `pool.size`; the name alone at the top level.
    pub(crate) name: &'static str,
    pub(crate) kind: K,
    pub(crate) default: D,
    pub(crate) reload: Reload,
    /// One line for people, lower case, no full stop.
    pub(crate) doc: &'static str,
}

/// A key with a default.
pub(crate) type Setting<K> = Key<K, fn() -> <K as Kind>::Out>;
/// A key that may be left out.
pub(crate) type Optional<K> = Key<K, Unset>;
/// A key that each element of its list must have.
pub(crate) type Required<K> = Key<K, Must>;

/// No default; an example in TOML for the reference.
pub(crate) struct Unset(pub(crate) &'static str);
/// No default and no doing without; an example in TOML for the reference.
pub(crate) struct Must(pub(crate) &'static str);

/// How a key looks in `reference.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Default(String),
    OptionalExample(&'static str),
    RequiredExample(&'static str),
}

/// What can be said of every key, whatever it takes.
pub(crate) trait AnyKey: Sync {
    fn name(&self) -> &'static str;
    fn doc(&self) -> &'static str;
    fn reload(&self) -> Reload;
    /// The right-hand side in TOML.
    fn written(&self) -> Written;
    fn is_secret(&self) -> bool;
}

/// A default, as text in TOML.
pub(crate) trait DefaultOf<K> {
    fn written(&self, kind: &K) -> Written;
}

impl<K: Kind> DefaultOf<K> for fn() -> K::Out {
    fn written(&self, kind: &K) -> Written {
        let text = kind.show(&self());
        Written::Default(match kind.quoting() {
            Quoting::Bare => text,
            Quoting::Quoted => format!("{text:?}"),
        })
    }
}

impl<K> DefaultOf<K> for Unset {
    fn written(&self, _: &K) -> Written {
        Written::OptionalExample(self.0)
    }
}

impl<K> DefaultOf<K> for Must {
    fn written(&self, _: &K) -> Written {
        Written::RequiredExample(self.0)
    }
}

impl<K: Kind, D: DefaultOf<K> + Sync> AnyKey for Key<K, D> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn reload(&self) -> Reload {
        self.reload
    }

    fn written(&self) -> Written {
        self.default.written(&self.kind)
    }

    fn is_secret(&self) -> bool {
        self.kind.visibility() == Visibility::Secret
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const fn count(min: u32, max: u32) -> Count {
    Count { min, max }
}

/// A period of at least so many milliseconds.
const fn at_least(millis: u64) -> Period {
    Period {
        min: Duration::from_millis(millis),
    }
}

/// Defines the keys and the list of them, so that neither can lack one.
macro_rules! keys {
    ($($id:ident: $form:ident<$kind:ty> = $name:literal, $make:expr, $default:expr, $reload:ident,
       $doc:literal;)+) => {
        $(pub(crate) static $id: $form<$kind> =
            Key { name: $name, kind: $make, default: $default, reload: $reload, doc: $doc };)+

        /// Every key, as the reference orders them.
        pub(crate) static ALL: &[&dyn AnyKey] = &[$(&$id),+];
    };
}

keys! {
    LISTEN: Setting<ListenList> = "listen", ListenList, || vec![loopback(5430)], Restart,
        "where clients connect: an IP address and port, or a list of them";
    WORKERS: Setting<Count> = "workers", count(0, 1024), || 0, Restart,
        "worker threads; 0 is half the cores, 1 to 4: one carries more than 60,000 statements/s";
    IO_URING: Setting<Flag> = "io_uring", Flag, || true, Restart,
        "send with io_uring, which costs less CPU, where the kernel allows it";
    DRAIN_TIMEOUT: Setting<Period> = "drain_timeout", at_least(0),
        || Duration::from_secs(30), Live,
        "how long a shutdown waits for transactions to finish";
    PEER_ID: Optional<Count> = "peer_id", count(1, 255), Unset("1"), Restart,
        "this instance's number among its peers, 1 to 255; cancel keys hold it";

    NODE_ADDRESS: Required<HostPort> = "node.address", HostPort, Must("\"127.0.0.1:5432\""),
        Restart, "host:port";
    NODE_WEIGHT: Setting<Count> = "node.weight", count(0, 1_000_000), || 1, Live,
        "share of the reads against the other nodes' weights; 0 gets none";
    NODE_NAME: Optional<Name> = "node.name", Name, Unset("\"replica-1\""), Restart,
        "what logs and metrics call the node; its address when absent";
    NODE_ZONE: Optional<Name> = "node.zone", Name, Unset("\"eu-1a\""), Live,
        "where the node is, by any name; see routing.zone";
    NODE_MAX_SERVER_CONNECTIONS: Setting<Cap> = "node.max_server_connections", Cap, || None, Live,
        "most server connections to this node, over all pools; a number, or \"off\"";

    USER_NAME: Required<Name> = "user.name", Name, Must("\"app\""), Live, "the login name";
    USER_PASSWORD: Optional<SecretValue> = "user.password", SecretValue,
        Unset("{ env = \"APP_PASSWORD\" }"), Live,
        "a password, md5… or SCRAM-SHA-256$… verifier, as a string, { file = … } or { env = … }";
    USER_AUTH: Optional<Choice<AuthMethod>> = "user.auth", Choice::new(),
        Unset("\"scram-sha-256\""), Live, "this user's login method instead of auth.method";
    USER_POOL_MODE: Optional<Choice<PoolMode>> = "user.pool_mode", Choice::new(),
        Unset("\"session\""), Live, "this user's mode instead of the database's or pool.mode";
    USER_POOL_SIZE: Optional<Count> = "user.pool_size", count(1, 100_000), Unset("40"), Live,
        "this user's pool size instead of the database's or pool.size";
    USER_RESERVE_SIZE: Optional<Count> = "user.reserve_size", count(0, 100_000), Unset("5"), Live,
        "this user's reserve instead of the database's or pool.reserve_size";
    USER_MAX_SERVER_CONNECTIONS: Optional<Cap> = "user.max_server_connections", Cap, Unset("50"),
        Live, "this user's cap instead of limits.max_user_server_connections";
    USER_MAX_CLIENT_CONNECTIONS: Optional<Cap> = "user.max_client_connections", Cap, Unset("500"),
        Live, "this user's limit instead of limits.max_user_client_connections";
    USER_QUERY_TIMEOUT: Optional<Timeout> = "user.query_timeout", Timeout, Unset("\"1min\""), Live,
        "this user's instead of limits.query_timeout";
    USER_TRANSACTION_TIMEOUT: Optional<Timeout> = "user.transaction_timeout", Timeout,
        Unset("\"5min\""), Live, "this user's instead of limits.transaction_timeout";
    USER_IDLE_IN_TRANSACTION_TIMEOUT: Optional<Timeout> = "user.idle_in_transaction_timeout",
        Timeout, Unset("\"1min\""), Live, "this user's instead of limits.idle_in_transaction_timeout";
    USER_CLIENT_IDLE_TIMEOUT: Optional<Timeout> = "user.client_idle_timeout", Timeout,
        Unset("\"1h\""), Live, "this user's instead of limits.client_idle_timeout";
    USER_ADMIN: Setting<Flag> = "user.admin", Flag, || false, Live,
        "may use the admin console and the reserved connections";
    USER_STATS: Setting<Flag> = "user.stats", Flag, || false, Live,
        "may look at the admin console (SHOW), and change nothing there";
    USER_SERVER_USER: Optional<Name> = "user.server_user", Name, Unset("\"app_owner\""), Live,
        "the name to log in to the servers with, when it is another";
    USER_SERVER_PASSWORD: Optional<SecretValue> = "user.server_password", SecretValue,
        Unset("{ env = \"APP_SERVER_PASSWORD\" }"), Live,
        "the password to log in to the servers with, when it is another; no SCRAM verifier";

    DATABASE_NAME: Required<Name> = "database.name", Name, Must("\"app\""), Live,
        "the name that clients ask for";
    DATABASE_TARGET: Optional<Name> = "database.target", Name, Unset("\"app_production\""), Live,
        "its name on the servers, when it is another";
    DATABASE_POOL_MODE: Optional<Choice<PoolMode>> = "database.pool_mode", Choice::new(),
        Unset("\"session\""), Live, "this database's mode instead of pool.mode";
    DATABASE_POOL_SIZE: Optional<Count> = "database.pool_size", count(1, 100_000), Unset("40"),
        Live, "this database's pool size instead of pool.size";

    PEER_NUMBER: Required<Count> = "peer.id", count(1, 255), Must("2"), Live,
        "its peer_id; the entry of this instance itself is passed over, so that all can have one list";
    PEER_ADDRESS: Required<HostPort> = "peer.address", HostPort, Must("\"10.0.0.22:5430\""), Live,
        "host:port where it, and no other, listens";
    DATABASE_RESERVE_SIZE: Optional<Count> = "database.reserve_size", count(0, 100_000), Unset("5"),
        Live, "this database's reserve instead of pool.reserve_size";
    DATABASE_MIN_IDLE: Optional<Count> = "database.min_idle", count(0, 100_000), Unset("2"), Live,
        "this database's instead of pool.min_idle";
    DATABASE_MAX_SERVER_CONNECTIONS: Optional<Cap> = "database.max_server_connections", Cap,
        Unset("50"), Live, "this database's cap instead of limits.max_database_server_connections";
    DATABASE_MAX_CLIENT_CONNECTIONS: Optional<Cap> = "database.max_client_connections", Cap,
        Unset("500"), Live, "this database's limit instead of limits.max_database_client_connections";

    AUTH_METHOD: Setting<Choice<AuthMethod>> = "auth.method", Choice::new(),
        || AuthMethod::ScramSha256, Live,
        "login method: \"trust\", \"password\", \"md5\" or \"scram-sha-256\"";

    POOL_MODE: Setting<Choice<PoolMode>> = "pool.mode", Choice::new(),
        || PoolMode::Transaction, Live,
        "a server connection is lent for a \"transaction\", a \"session\" or a \"statement\"";
    POOL_SIZE: Setting<Count> = "pool.size", count(1, 100_000), || 20, Live,
        "most server connections of a pool";
    POOL_MIN_IDLE: Setting<Count> = "pool.min_idle", count(0, 100_000), || 0, Live,
        "connections kept open though nobody needs them";
    POOL_RESERVE_SIZE: Setting<Count> = "pool.reserve_size", count(0, 100_000), || 0, Live,
        "connections more than pool.size, once a client has waited for reserve_timeout";
    POOL_RESERVE_TIMEOUT: Setting<Period> = "pool.reserve_timeout", at_least(0),
        || Duration::from_secs(5), Live, "how long that is";
    POOL_QUERY_WAIT_TIMEOUT: Setting<Period> = "pool.query_wait_timeout", at_least(1),
        || Duration::from_mins(2), Live, "longest wait of a client for a server connection";
    POOL_QUERY_WAIT_NOTIFY: Setting<Timeout> = "pool.query_wait_notify", Timeout,
        || Some(Duration::from_secs(5)), Live,
        "a client that waits this long is told what for, in a NOTICE";
    POOL_CONNECT_TIMEOUT: Setting<Period> = "pool.connect_timeout", at_least(1),
        || Duration::from_secs(15), Live, "longest time to connect and log in to a server";
    POOL_SERVER_LOGIN_RETRY: Setting<Period> = "pool.server_login_retry", at_least(1),
        || Duration::from_secs(15), Live,
        "longest pause after a server has refused a login; pauses begin at 100 ms and double";
    POOL_SERVER_CHECK_DELAY: Setting<Timeout> = "pool.server_check_delay", Timeout,
        || Some(Duration::from_secs(30)), Live,
        "unused connections are asked this often whether they still answer";
    POOL_SERVER_IDLE_TIMEOUT: Setting<Timeout> = "pool.server_idle_timeout", Timeout,
        || Some(Duration::from_mins(10)), Live, "unused connections are closed after this";
    POOL_SERVER_LIFETIME: Setting<Timeout> = "pool.server_lifetime", Timeout,
        || Some(Duration::from_hours(1)), Live,
        "connections older than this are closed when they become free";
    POOL_SERVER_LIFETIME_JITTER: Setting<Percent> = "pool.server_lifetime_jitter", Percent,
        || 10, Live, "how much of its lifetime a connection may lose at random";
    POOL_PREPARED_STATEMENTS: Setting<Count> = "pool.prepared_statements", count(1, 100_000),
        || 200, Live, "prepared statements kept on a server connection, least recently used out";

    LIMITS_MAX_CLIENT_CONNECTIONS: Setting<Count> = "limits.max_client_connections",
        count(1, 1_000_000), || 100, Live, "most clients at a time";
    LIMITS_RESERVED_ADMIN_CONNECTIONS: Setting<Count> = "limits.reserved_admin_connections",
        count(0, 1000), || 1, Live, "how many of those only admin users may take";
    LIMITS_MAX_USER_CLIENT_CONNECTIONS: Setting<Cap> = "limits.max_user_client_connections", Cap,
        || None, Live, "most clients of one user; a number, or \"off\"";
    LIMITS_MAX_DATABASE_CLIENT_CONNECTIONS: Setting<Cap> =
        "limits.max_database_client_connections", Cap, || None, Live,
        "most clients of one database; a number, or \"off\"";
    LIMITS_MAX_SERVER_CONNECTIONS: Setting<Cap> = "limits.max_server_connections", Cap, || None,
        Live, "most server connections of all; a number, or \"off\"";
    LIMITS_MAX_USER_SERVER_CONNECTIONS: Setting<Cap> = "limits.max_user_server_connections", Cap,
        || None, Live, "most server connections of one user on the servers, over all nodes";
    LIMITS_MAX_DATABASE_SERVER_CONNECTIONS: Setting<Cap> =
        "limits.max_database_server_connections", Cap, || None, Live,
        "most server connections of one database on the servers, over all nodes";
    LIMITS_CLIENT_LOGIN_TIMEOUT: Setting<Period> = "limits.client_login_timeout", at_least(1),
        || Duration::from_mins(1), Live, "longest time for a client to log in";
    LIMITS_CLIENT_IDLE_TIMEOUT: Setting<Timeout> = "limits.client_idle_timeout", Timeout,
        || None, Live, "clients that ask for nothing this long are closed";
    LIMITS_IDLE_IN_TRANSACTION_TIMEOUT: Setting<Timeout> = "limits.idle_in_transaction_timeout",
        Timeout, || None, Live, "clients that leave a transaction open this long are closed";
    LIMITS_TRANSACTION_TIMEOUT: Setting<Timeout> = "limits.transaction_timeout", Timeout, || None,
        Live, "clients whose transaction lasts longer are closed, and the transaction with them";
    LIMITS_CANCEL_WAIT_TIMEOUT: Setting<Period> = "limits.cancel_wait_timeout", at_least(1),
        || Duration::from_secs(10), Live, "longest time for a cancel request to reach its server";
    LIMITS_QUERY_TIMEOUT: Setting<Timeout> = "limits.query_timeout", Timeout, || None, Live,
        "clients whose statement runs longer are closed, and the statement with them";

    LIMITS_MAX_REPLICATION_CONNECTIONS: Setting<Count> = "limits.max_replication_connections",
        count(0, 262_143), || 10, Live, "how many of the clients may be replication connections";

    ROUTING_SPLIT_READS: Setting<Flag> = "routing.split_reads", Flag, || true, Live,
        "send safe reads to replicas";
    ROUTING_PRIMARY_READS: Setting<Flag> = "routing.primary_reads", Flag, || false, Live,
        "let the primary take its share of the reads, too";
    ROUTING_READ_YOUR_WRITES: Setting<Choice<ReadYourWrites>> = "routing.read_your_writes",
        Choice::new(), || ReadYourWrites::Session, Live,
        "reads see every write of their \"session\", of all sessions here (\"cluster\"), or \"off\"";
    ROUTING_TRANSACTION_READS: Setting<Choice<TransactionReads>> = "routing.transaction_reads",
        Choice::new(), || TransactionReads::Primary, Live,
        "reads of transactions that may write: on the \"primary\", or on a replica \"until_write\"";
    ROUTING_MAX_REPLICA_LAG: Setting<Size> = "routing.max_replica_lag", Size, || None, Live,
        "replicas further behind get no reads, such as \"16MiB\"";
    ROUTING_MAX_REPLICA_DELAY: Setting<Timeout> = "routing.max_replica_delay", Timeout, || None, Live,
        "replicas that may lack what was written longer ago get no reads, such as \"10s\"";
    ROUTING_SHADOW_CHECK: Setting<Count> = "routing.shadow_check", count(0, 1_000_000_000), || 0, Live,
        "run one of so many reads of replicas on the primary, too, and compare (0: none)";
    ROUTING_CATALOG_REFRESH: Setting<Timeout> = "routing.catalog_refresh", Timeout,
        || Some(Duration::from_mins(1)), Live,
        "databases' catalogs are read this often; off: functions of users keep reads on the primary";

    ROUTING_READ_ONLY_FUNCTIONS: Optional<FunctionList> = "routing.read_only_functions",
        FunctionList, Unset("[\"lookup_*\", \"app.report\"]"), Live,
        "functions that replicas may run, whatever they are declared to be; * stands for anything";
    ROUTING_WRITE_FUNCTIONS: Optional<FunctionList> = "routing.write_functions", FunctionList,
        Unset("[\"app.audit_*\"]"), Live,
        "functions that only the primary runs; this list wins over the other";
    ROUTING_BALANCE: Setting<Choice<Balance>> = "routing.balance", Choice::new(),
        || Balance::RoundRobin, Live,
        "which replica is next: \"round_robin\", \"least_connections\" or \"least_latency\"";
    ROUTING_BALANCE_PER: Setting<Choice<BalancePer>> = "routing.balance_per", Choice::new(),
        || BalancePer::Statement, Live,
        "choose anew for each \"statement\", or once for a \"session\" while that replica can serve it";
    ROUTING_ZONE: Optional<Name> = "routing.zone", Name, Unset("\"eu-1a\""), Live,
        "where pgconvoy is: nodes of this zone are read while one of them is usable, others only then";
    ROUTING_SLOW_START: Setting<Timeout> = "routing.slow_start", Timeout, || None, Live,
        "a replica that comes back gets its whole share only after this, and more and more until then";
    ROUTING_EJECTION: Setting<Timeout> = "routing.ejection", Timeout, || None, Live,
        "a replica that fails or is far slower than the others gets no reads for this, then for longer";

    PREFER_APPLICATION: Optional<Name> = "prefer.application", Name, Unset("\"report*\""), Live,
        "of clients with this application_name; * stands for anything";
    PREFER_USER: Optional<Name> = "prefer.user", Name, Unset("\"analyst*\""), Live,
        "of clients that logged in by this name";
    PREFER_DATABASE: Optional<Name> = "prefer.database", Name, Unset("\"app\""), Live,
        "of clients that ask for this database";
    PREFER_NODE: Required<Name> = "prefer.node", Name, Must("\"replica\""), Live,
        "\"primary\", \"replica\" (any) or a node's name or address, which may be of weight 0";

    REPLICATION_NODE: Setting<Name> = "replication.node", Name, || "primary".to_owned(), Live,
        "where they go: \"primary\", \"replica\" (the first that is up) or a node's name or address";

    HEALTH_CHECK_PERIOD: Setting<Period> = "health.check_period", at_least(10),
        || Duration::from_secs(1), Live, "time between the checks of a node";
    HEALTH_CHECK_TIMEOUT: Setting<Period> = "health.check_timeout", at_least(1),
        || Duration::from_secs(5), Live, "longest time for a check, connecting included";
    HEALTH_CHECK_RETRIES: Setting<Count> = "health.check_retries", count(1, 1000), || 1, Live,
        "failures in a row that make a node down";
    HEALTH_POSITION_PERIOD: Setting<Period> = "health.position_period", at_least(1),
        || Duration::from_millis(100), Live, "time between samples of the WAL positions";

    MONITOR_USER: Setting<Name> = "monitor.user", Name, || "postgres".to_owned(), Restart,
        "the name to log in with";
    MONITOR_PASSWORD: Optional<SecretValue> = "monitor.password", SecretValue,
        Unset("{ env = \"MONITOR_PASSWORD\" }"), Restart,
        "its password, as a string, { file = … } or { env = … }; no SCRAM verifier";
    MONITOR_DATABASE: Setting<Name> = "monitor.database", Name, || "postgres".to_owned(),
        Restart, "the database to connect to";

    HTTP_LISTEN: Setting<ListenAddress> = "http.listen", ListenAddress,
        || Some(loopback(9719)), Restart, "where metrics and health are served, or \"off\"";

    LOG_LEVEL: Setting<LogLevel> = "log.level", LogLevel, || "info".to_owned(), Live,
        "off, error, warn, info, debug or trace; target=level with commas between is finer";
    LOG_FORMAT: Setting<Choice<LogFormat>> = "log.format", Choice::new(), || LogFormat::Text,
        Restart, "\"text\" or \"json\"";
    LOG_QUERIES: Setting<Flag> = "log.queries", Flag, || false, Live,
        "log the text of statements; it may hold what nobody should read";
    LOG_ROUTES: Setting<Count> = "log.routes", count(0, 1_000_000_000), || 0, Live,
        "log where one of so many statements goes, and why (0: none)";
    LOG_CONNECTIONS: Setting<Flag> = "log.connections", Flag, || true, Live,
        "log each client's coming and going";
}

/// The key of that name.
pub(crate) fn find(name: &str) -> Option<&'static dyn AnyKey> {
    ALL.iter().copied().find(|key| key.name() == name)
}

/// Names of the keys and sections, for suggestions.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter()
        .map(|key| key.name())
        .chain(SECTIONS.iter().map(|section| section.name))
        .collect()
}
