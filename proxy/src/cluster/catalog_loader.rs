//! Reads databases' catalogs, as a task of the control runtime, one after the other and on the primary.
//!
//! Over a connection of the monitor's, whose search path is `pg_catalog`: nothing that a user has made is
//! called, and what definitions name is spelled out with its schema.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog_queries::{BEGIN, QUESTIONS, Row, TABLES_APART};
use super::catalogs::Database;
use super::handle::Cluster;
use super::node::Node;
use super::probe::{self, ProbeError};
use super::settings::MonitorSettings;
use crate::clock;
use crate::metrics::Metrics;
use crate::router::{self, Catalog, Facts, Overrides};
use arc_swap::ArcSwap;

/// How often it is looked whether something is to be read.
const LOOK: Duration = Duration::from_millis(500);

/// Between two readings of one database at least; after one that has failed.
const SPACING: Duration = Duration::from_secs(1);
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// The longest that a reading may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// When a database was tried last, and how that went.
#[derive(Clone, Debug)]
struct Tried {
    at: Instant,
    failed: bool,
    /// What was read last, and by which overrides it was judged.
    facts: Option<(Arc<Facts>, Arc<Overrides>)>,
}

/// Works for as long as the process does.
pub(super) async fn run(
    cluster: Arc<Cluster>,
    settings: Arc<ArcSwap<MonitorSettings>>,
    metrics: Arc<Metrics>,
) {
    let mut tried: HashMap<Arc<str>, Tried> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cluster.catalogs.wake.notified() => {}
        }
        let databases = cluster.catalogs.in_use();
        tried.retain(|name, _| databases.iter().any(|d| d.name == *name));
        for database in databases {
            let settings = settings.load_full();
            let overrides = cluster.catalogs.overrides();
            let Some(refresh) = settings.catalog_refresh else {
                database.set(Catalog::unread(overrides));
                // Nothing is known of any name then, changed or not.
                database.settle(u64::MAX);
                tried.remove(&database.name);
                continue;
            };
            judge_again(&database, tried.get_mut(&database.name), &overrides).await;
            let before = tried.get(&database.name);
            if !is_due(before, refresh, |since| database.take_outdated(since)) {
                continue;
            }
            let Some(primary) = cluster.view().primary().map(|p| Arc::clone(&p.node)) else {
                database.may_have_changed();
                continue;
            };
            let began = clock::now();
            let outcome = read(&primary, &settings, &database).await;
            let failed = outcome.is_err();
            metrics.routing().catalog_read(!failed);
            tell(&database, &outcome, before.is_some_and(|b| b.failed));
            let at = Instant::now();
            let mut facts = before.and_then(|b| b.facts.clone());
            if let Ok(found) = outcome {
                let found = Arc::new(found);
                judge(&database, &found, &overrides).await;
                database.settle(began);
                facts = Some((found, overrides));
            }
            tried.insert(Arc::clone(&database.name), Tried { at, failed, facts });
        }
    }
}

/// The configuration says something else of functions.
async fn judge_again(database: &Database, tried: Option<&mut Tried>, overrides: &Arc<Overrides>) {
    let facts = tried.and_then(|tried| tried.facts.as_mut());
    if let Some((facts, judged_by)) = facts.filter(|(_, by)| by != overrides) {
        judge(database, facts, overrides).await;
        *judged_by = Arc::clone(overrides);
    }
}

/// Not here, where the nodes are watched.
async fn judge(database: &Database, facts: &Arc<Facts>, overrides: &Arc<Overrides>) {
    let (facts, overrides) = (Arc::clone(facts), Arc::clone(overrides));
    let judged = tokio::task::spawn_blocking(move || router::read_catalog(&facts, &overrides));
    if let Ok(catalog) = judged.await {
        database.set(catalog);
    }
}

fn is_due(
    before: Option<&Tried>,
    refresh: Duration,
    outdated: impl FnOnce(Duration) -> bool,
) -> bool {
    match before {
        None => true,
        Some(Tried {
            at, failed: true, ..
        }) => at.elapsed() >= AFTER_FAILURE,
        Some(Tried { at, .. }) => {
            let since = at.elapsed();
            since >= refresh || (since >= SPACING && outdated(since))
        }
    }
}

fn tell(database: &Database, outcome: &Result<Facts, ProbeError>, known: bool) {
    let name = &*database.name;
    match outcome {
        Ok(facts) => tracing::debug!(
            database = name,
            functions = facts.functions.len(),
            relations = facts.relations.len(),
            "catalog read"
        ),
        Err(error) if !known => tracing::warn!(
            database = name,
            %error,
            "the catalog could not be read: functions of users keep reads on the primary; the monitor's user \
             must be able to connect to the database"
        ),
        Err(error) => tracing::debug!(database = name, %error, "catalog not read"),
    }
}

async fn read(
    node: &Node,
    settings: &Arc<MonitorSettings>,
    database: &Database,
) -> Result<Facts, ProbeError> {
    let reading = async {
        let open = probe::connect(node, Arc::clone(settings), &database.name).await?;
        let ask = |sql| probe::rows(&open.client, sql);
        ask(BEGIN).await?;
        let mut facts = Facts::default();
        let apart = settings.tables_apart.then_some(&TABLES_APART);
        for (question, take) in QUESTIONS.iter().chain(apart) {
            for row in ask(question).await? {
                take(&mut facts, &Row(&row)).ok_or(ProbeError::Unreadable("catalog row"))?;
            }
        }
        ask("COMMIT").await?;
        Ok(facts)
    };
    match tokio::time::timeout(TIMEOUT, reading).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProbeError::NoAnswer(TIMEOUT)),
    }
}
