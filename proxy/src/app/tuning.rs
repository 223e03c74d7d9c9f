//! From the settings as written to what each part of the proxy is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pgconvoy_config::{self as config, Settings};

use crate::auth::Credential;
use crate::clock;
use crate::cluster::{
    Balance, BalancePer, Cluster, MonitorSettings, NodeId, NodeSpec, Preference, Preferences,
    ReadRules, TurnoutTerms, Whose,
};
use crate::frontend::access::{Access, UnusableSecret};
use crate::frontend::door::Admission;
use crate::frontend::peers::{PeerAddress, PeerAddresses};
use crate::frontend::replication::{self, Choice};
use crate::pattern::Pattern;
use crate::pool::budget::Size;
use crate::pool::caps::Scope;
use crate::pool::checkout::Limits;
use crate::pool::pools::{Rules, Tenant};
use crate::registry::key::PeerId;
use crate::router::{FunctionRule, Overrides};
use crate::session::{ReadYourWrites, TransactionReads, Tuning};

/// Everything that may change while the instance runs.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) access: Arc<ArcSwap<Access>>,
    pub(super) admission: Arc<ArcSwap<Admission>>,
    pub(super) peers: Arc<ArcSwap<PeerAddresses>>,
    pub(super) replication: Arc<ArcSwap<replication::Rules>>,
    pub(super) pools: Arc<ArcSwap<Limits>>,
    pub(super) sessions: Arc<ArcSwap<Tuning>>,
    pub(super) monitor: Arc<ArcSwap<MonitorSettings>>,
    pub(super) settings: Arc<ArcSwap<Settings>>,
}

impl Live {
    /// Takes the settings over for the first time.
    ///
    /// # Errors
    /// When a secret can't be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, UnusableSecret> {
        Ok(Self {
            access: share(Access::new(settings)?),
            admission: share(admission(settings)),
            peers: share(peers(settings)),
            replication: share(replication(settings)),
            pools: share(pools(settings)),
            sessions: share(sessions(settings)),
            monitor: share(monitor(settings)),
            settings: share(settings.clone()),
        })
    }

    /// Takes changed settings over; nothing is changed when any part can't be.
    ///
    /// # Errors
    /// When a secret can't be used.
    pub(super) fn replace(&self, settings: &Settings) -> Result<(), UnusableSecret> {
        let access = Access::new(settings)?;
        self.access.store(Arc::new(access));
        self.admission.store(Arc::new(admission(settings)));
        self.peers.store(Arc::new(peers(settings)));
        self.replication.store(Arc::new(replication(settings)));
        self.pools.store(Arc::new(pools(settings)));
        self.sessions.store(Arc::new(sessions(settings)));
        self.monitor.store(Arc::new(monitor(settings)));
        self.settings.store(Arc::new(settings.clone()));
        Ok(())
    }
}

/// What pools may have, as the settings have it now.
pub(super) struct LiveRules(pub(super) Arc<ArcSwap<Access>>);

impl Rules for LiveRules {
    fn size_of(&self, tenant: &Tenant) -> Size {
        self.0.load().size_of(tenant)
    }

    fn size_in(&self, database: &str) -> Size {
        self.0.load().size_in(database)
    }

    fn cap_of(&self, scope: &Scope) -> Option<usize> {
        self.0.load().cap_of(scope)
    }

    fn warm(&self) -> Vec<(Tenant, Option<Arc<Credential>>)> {
        self.0.load().known_tenants()
    }
}

fn share<T>(value: T) -> Arc<ArcSwap<T>> {
    Arc::new(ArcSwap::from_pointee(value))
}

/// The nodes, as the cluster is made of them.
pub(super) fn nodes(settings: &Settings) -> Vec<NodeSpec> {
    settings
        .nodes
        .iter()
        .map(|n| NodeSpec {
            host: n.host.clone(),
            port: n.port,
            weight: n.weight,
            name: n.name.clone(),
        })
        .collect()
}

fn admission(settings: &Settings) -> Admission {
    Admission {
        max_clients: count(settings.limits.max_client_connections),
        reserved: count(settings.limits.reserved_admin_connections),
        login_timeout: settings.limits.client_login_timeout,
        server_timeout: settings.pool.connect_timeout,
        wait_timeout: settings.pool.query_wait_timeout,
        cancel_timeout: settings.limits.cancel_wait_timeout,
        log_connections: settings.log.connections,
    }
}

fn peers(settings: &Settings) -> PeerAddresses {
    let address = |peer: &pgconvoy_config::Peer| PeerAddress {
        host: peer.host.clone(),
        port: peer.port,
    };
    settings
        .peers
        .iter()
        .map(|peer| (PeerId(peer.id), address(peer)))
        .collect()
}

fn replication(settings: &Settings) -> replication::Rules {
    replication::Rules {
        node: Choice::parse(&settings.replication.node),
        most: count(settings.limits.max_replication_connections),
    }
}

fn pools(settings: &Settings) -> Limits {
    Limits {
        connect_timeout: settings.pool.connect_timeout,
        idle_timeout: settings.pool.server_idle_timeout,
        lifetime: settings.pool.server_lifetime,
        lifetime_jitter: u8::try_from(settings.pool.server_lifetime_jitter).unwrap_or(100),
        reserve_timeout: settings.pool.reserve_timeout,
        login_retry: settings.pool.server_login_retry,
        check_delay: settings.pool.server_check_delay,
    }
}

fn sessions(settings: &Settings) -> Tuning {
    Tuning {
        split_reads: settings.routing.split_reads,
        transaction_reads: match settings.routing.transaction_reads {
            pgconvoy_config::TransactionReads::Primary => TransactionReads::Primary,
            pgconvoy_config::TransactionReads::UntilWrite => TransactionReads::UntilWrite,
        },
        read_your_writes: match settings.routing.read_your_writes {
            pgconvoy_config::ReadYourWrites::Session => ReadYourWrites::Session,
            pgconvoy_config::ReadYourWrites::Cluster => ReadYourWrites::Cluster,
            pgconvoy_config::ReadYourWrites::Off => ReadYourWrites::Off,
        },
        max_replica_delay: settings.routing.max_replica_delay.map(clock::micros),
        read_rules: ReadRules {
            primary_reads: settings.routing.primary_reads,
            max_replica_lag: settings.routing.max_replica_lag,
            balance: balance(settings),
            per: match settings.routing.balance_per {
                config::BalancePer::Statement => BalancePer::Statement,
                config::BalancePer::Session => BalancePer::Session,
            },
        },
        preferences: preferences(settings),
        query_wait_timeout: settings.pool.query_wait_timeout,
        query_wait_notify: settings.pool.query_wait_notify,
        prepared_statements: count(settings.pool.prepared_statements),
        log_queries: settings.log.queries,
        log_routes: one_of(settings.log.routes),
        shadow_check: one_of(settings.routing.shadow_check),
    }
}

fn monitor(settings: &Settings) -> MonitorSettings {
    MonitorSettings {
        user: settings.monitor.user.clone(),
        password: settings
            .monitor
            .password
            .as_ref()
            .map(|p| p.expose().to_owned()),
        database: settings.monitor.database.clone(),
        check_period: settings.health.check_period,
        check_timeout: settings.health.check_timeout,
        check_retries: settings.health.check_retries,
        position_period: settings.health.position_period,
        catalog_refresh: settings.routing.catalog_refresh,
        tables_apart: settings.routing.read_your_writes == config::ReadYourWrites::Cluster,
        turnout: TurnoutTerms {
            slow_start: settings.routing.slow_start,
            ejection: settings.routing.ejection,
        },
    }
}

fn balance(settings: &Settings) -> Balance {
    match settings.routing.balance {
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::LeastConnections => Balance::LeastConnections,
        config::Balance::LeastLatency => Balance::LeastLatency,
    }
}

fn preferences(settings: &Settings) -> Preferences {
    let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
    let of = |prefer: &config::Prefer| {
        let whose = Whose {
            application: pattern(&prefer.application),
            user: pattern(&prefer.user),
            database: pattern(&prefer.database),
        };
        (whose, preference(settings, &prefer.node))
    };
    Preferences::new(settings.prefer.iter().map(of).collect())
}

fn preference(settings: &Settings, node: &str) -> Preference {
    let named = |n: &config::Node| n.label() == node || n.address() == node;
    match node {
        "primary" => Preference::Primary,
        "replica" => Preference::Replica,
        // A node that waits for a restart is none yet.
        _ => (settings.nodes.iter().position(named))
            .and_then(|place| u16::try_from(place).ok())
            .map_or(Preference::None, |place| Preference::Node(NodeId(place))),
    }
}

/// What the settings say of functions.
#[must_use]
pub fn overrides(settings: &Settings) -> Overrides {
    let rules = |patterns: &[config::FunctionPattern]| {
        let rule = |pattern: &config::FunctionPattern| FunctionRule {
            schema: pattern.schema.as_deref().map(Pattern::new),
            name: Pattern::new(&pattern.name),
        };
        patterns.iter().map(rule).collect()
    };
    Overrides {
        read_only: rules(&settings.routing.read_only_functions),
        write: rules(&settings.routing.write_functions),
    }
}

/// Tells the cluster what the settings say of nodes and functions.
pub(super) fn tell_cluster(cluster: &Cluster, settings: &Settings) {
    cluster.override_functions(overrides(settings));
    let routing = &settings.routing;
    for (node, configured) in cluster.nodes().iter().zip(&settings.nodes) {
        node.set_weight(configured.weight);
        node.set_near(routing.zone.is_none() || routing.zone == configured.zone);
        node.measure(routing.balance == config::Balance::LeastLatency);
    }
}

/// 0 is none.
fn one_of(n: u32) -> Option<u64> {
    (n > 0).then_some(u64::from(n))
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
