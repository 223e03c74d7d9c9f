//! What the admin console is given of the instance, and what it asks of it.

use std::mem::size_of;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pgconvoy_config::{Problems, SettingRow};
use tokio::sync::mpsc;

use super::tuning::Live;
use crate::admin::{self, Inside, Request};
use crate::cluster::{Cluster, NodeId};
use crate::error::Report;
use crate::pool::control::Database;
use crate::pool::manager::Pooled;
use crate::pool::pools::Directory;
use crate::pool::servers::Server;
use crate::pool::stats::Counters;
use crate::protocol::sqlstate;
use crate::registry::{Client, Registry};
use crate::router::LocalCommand;
use crate::session::{Console, Context, Session};
use crate::status::{MemoryRow, Table};

/// Requests that may wait for the instance; one is at work at a time.
const REQUESTS: usize = 16;

/// Answers the commands that every session may give.
pub(super) struct AdminConsole {
    pub(super) cluster: Arc<Cluster>,
    pub(super) live: Live,
}

impl Console for AdminConsole {
    fn answer(&self, command: LocalCommand, read_node: Option<NodeId>) -> Table {
        let view = self.cluster.view();
        let rules = self.live.sessions.load().read_rules;
        admin::answer(
            command,
            &admin::Context {
                view: &view,
                rules: &rules,
                read_node,
            },
        )
    }
}

/// The parts of the instance that the console knows.
pub(super) struct Parts<'a> {
    pub(super) live: &'a Live,
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) registry: &'a Arc<Registry>,
    pub(super) directory: &'a Arc<Directory>,
    pub(super) contexts: &'a [Arc<Context>],
    pub(super) shown: &'a Arc<ArcSwap<Vec<SettingRow>>>,
}

/// What the console sees, and its requests.
pub(super) fn inside(parts: &Parts<'_>) -> (Arc<Inside>, mpsc::Receiver<Request>) {
    let (requests, receiver) = mpsc::channel(REQUESTS);
    let sessions = Arc::clone(&parts.live.sessions);
    let access = Arc::clone(&parts.live.access);
    let inside = Inside {
        cluster: Arc::clone(parts.cluster),
        directory: Arc::clone(parts.directory),
        registry: Arc::clone(parts.registry),
        settings: Arc::clone(&parts.live.settings),
        shown: Arc::clone(parts.shown),
        rules: Box::new(move || sessions.load().read_rules),
        client_limit: Box::new(move |party| access.load().client_limit(party)),
        memory: memory(parts),
        requests,
    };
    (Arc::new(inside), receiver)
}

fn memory(parts: &Parts<'_>) -> Box<dyn Fn() -> Vec<MemoryRow> + Send + Sync> {
    let registry = Arc::clone(parts.registry);
    let directory = Arc::clone(parts.directory);
    let contexts = parts.contexts.to_vec();
    Box::new(move || {
        let clients = registry.len();
        let workers = contexts.len();
        let (spare, bytes) = contexts
            .iter()
            .map(|c| c.spare_buffers())
            .fold((0, 0), |(n, bytes), more| (n + more.0, bytes + more.1));
        let of = |name, size: usize, used: usize| MemoryRow {
            name,
            size,
            used,
            free: 0,
            total: size * used,
        };
        let database = size_of::<Database>() + workers * size_of::<Counters>();
        vec![
            of("client", size_of::<Client>(), clients),
            of("session", size_of::<Session>(), clients),
            of(
                "server",
                size_of::<Server>() + size_of::<Pooled>(),
                directory.servers.all().len(),
            ),
            of("database", database, directory.databases.all().len()),
            MemoryRow {
                name: "session_buffers",
                size: bytes.checked_div(spare).unwrap_or(0),
                used: 0,
                free: spare,
                total: bytes,
            },
        ]
    })
}

/// Why a reload changed nothing, with every line.
pub(super) fn not_reloaded(problems: &Problems) -> Report {
    let mut lines = problems.iter().map(ToString::to_string);
    let first = lines.next().unwrap_or_default();
    let rest: Vec<String> = lines.collect();
    let report = Report::new(
        sqlstate::CONFIG_FILE_ERROR,
        format!("the configuration was not changed: {first}"),
    );
    if rest.is_empty() {
        report
    } else {
        report.detail(rest.join("\n"))
    }
}

/// What a reload could not change.
pub(super) fn waits_for_restart(keys: &[String]) -> Option<Report> {
    (!keys.is_empty()).then(|| {
        let message = format!("these changes wait for a restart: {}", keys.join(", "));
        Report::new(sqlstate::WARNING, message)
    })
}
