//! Reads databases' catalogs, as a task of the control runtime, one after the other and on the primary.
//!
//! Over a connection of the monitor's, whose search path is `pg_catalog`: nothing that a user has made is
//! called, and what definitions name is spelled out with its schema.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_postgres::SimpleQueryRow;

use super::catalogs::Database;
use super::handle::Cluster;
use super::node::Node;
use super::probe::{self, ProbeError, column};
use super::settings::MonitorSettings;
use crate::metrics::Metrics;
use crate::router::{self, Facts, Relation};

/// How often it is looked whether something is to be read.
const LOOK: Duration = Duration::from_millis(500);

/// Between two readings of one database at least; after one that has failed.
const SPACING: Duration = Duration::from_secs(1);
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// The longest that a reading may take.
const TIMEOUT: Duration = Duration::from_secs(30);

const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// An aggregate is as volatile as what it is made of.
const FUNCTIONS: &str = "SELECT n.nspname AS schema, p.proname AS name, \
     bool_or(p.provolatile = 'v' OR EXISTS (SELECT FROM pg_aggregate AS a JOIN pg_proc AS f ON f.oid IN \
     (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, \
     a.aggminvtransfn, a.aggmfinalfn) WHERE a.aggfnoid = p.oid AND f.provolatile = 'v')) AS volatile \
     FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE p.oid >= 16384 \
     OR (n.nspname = 'pg_catalog' AND p.provolatile = 'v') GROUP BY 1, 2 ORDER BY 1, 2";

const OPERATORS: &str = "SELECT o.oprname AS name, bool_or(coalesce(p.provolatile, 'v') = 'v') AS volatile \
     FROM pg_operator AS o LEFT JOIN pg_proc AS p ON p.oid = o.oprcode WHERE o.oid >= 16384 GROUP BY 1 ORDER BY 1";

/// An enum's input is built in, a base type's is a function. Domains and rows run more.
const TYPES: &str = "SELECT t.typname AS name, bool_and(t.typtype IN ('b', 'e') AND t.typcategory <> 'A' \
     AND coalesce(i.provolatile, 'v') <> 'v' AND NOT EXISTS (SELECT FROM pg_cast AS c JOIN pg_proc AS f \
     ON f.oid = c.castfunc WHERE t.oid IN (c.castsource, c.casttarget) AND f.provolatile = 'v')) AS safe \
     FROM pg_type AS t LEFT JOIN pg_proc AS i ON i.oid = t.typinput \
     WHERE t.oid >= 16384 AND (t.typtype IN ('b', 'd', 'e', 'r', 'm')) GROUP BY 1 ORDER BY 1";

/// Views, what is not the same on a standby, and policies; temporary ones are their sessions' own.
const RELATIONS: &str = "SELECT c.relname AS name, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS query \
     FROM pg_class AS c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND (c.relkind IN ('v', 'f', 'S') \
     OR c.relpersistence = 'u' AND c.relkind IN ('r', 'p', 'm')) \
     UNION ALL SELECT c.relname, 'SELECT ' || pg_get_expr(p.polqual, p.polrelid) FROM pg_policy AS p \
     JOIN pg_class AS c ON c.oid = p.polrelid WHERE c.relrowsecurity AND p.polqual IS NOT NULL ORDER BY 1, 2";

/// Tables of which a statement's text tells all that it reads and writes.
const PLAIN: &str = "SELECT c.relname AS name FROM pg_class AS c \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' GROUP BY 1 HAVING bool_and( \
     c.oid >= 16384 AND c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition \
     AND NOT c.relhassubclass AND NOT c.relhasrules AND NOT c.relrowsecurity \
     AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid) \
     AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
     AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.contype = 'f' AND k.confrelid = c.oid \
     AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))) \
     AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_proc'::regclass \
     AND d.refobjid >= 16384 AND (d.classid, d.objid) IN (SELECT 'pg_attrdef'::regclass, a.oid \
     FROM pg_attrdef AS a WHERE a.adrelid = c.oid UNION ALL SELECT 'pg_constraint'::regclass, k.oid \
     FROM pg_constraint AS k WHERE k.conrelid = c.oid)) \
     AND NOT EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
     WHERE a.attrelid = c.oid AND t.typtype = 'd')) ORDER BY 1";

const UNLOGGED: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE relpersistence = 'u' \
     AND relkind IN ('r', 'p', 'm')) AS unlogged";

/// When a database was tried last, and how that went.
#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Instant,
    failed: bool,
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
            let Some(refresh) = settings.catalog_refresh else {
                database.set(None);
                continue;
            };
            let before = tried.get(&database.name).copied();
            if !is_due(before, refresh, |since| database.take_outdated(since)) {
                continue;
            }
            let Some(primary) = cluster.view().primary().map(|p| Arc::clone(&p.node)) else {
                database.may_have_changed();
                continue;
            };
            let outcome = read(&primary, &settings, &database).await;
            let failed = outcome.is_err();
            metrics.routing().catalog_read(!failed);
            tell(&database, &outcome, before.is_some_and(|b| b.failed));
            let at = Instant::now();
            tried.insert(Arc::clone(&database.name), Tried { at, failed });
            if let Ok(facts) = outcome {
                // Not here, where the nodes are watched.
                let judged = tokio::task::spawn_blocking(move || router::read_catalog(&facts));
                if let Ok(catalog) = judged.await {
                    database.set(Some(catalog));
                }
            }
        }
    }
}

fn is_due(
    before: Option<Tried>,
    refresh: Duration,
    outdated: impl FnOnce(Duration) -> bool,
) -> bool {
    match before {
        None => true,
        Some(Tried { at, failed: true }) => at.elapsed() >= AFTER_FAILURE,
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
        let facts = Facts {
            functions: all(&ask(FUNCTIONS).await?, |row| {
                Some((
                    text(row, "schema")?,
                    text(row, "name")?,
                    flag(row, "volatile")?,
                ))
            })?,
            operators: all(&ask(OPERATORS).await?, |row| {
                Some((text(row, "name")?, flag(row, "volatile")?))
            })?,
            types: all(&ask(TYPES).await?, |row| {
                Some((text(row, "name")?, flag(row, "safe")?))
            })?,
            plain: if settings.tables_apart {
                all(&ask(PLAIN).await?, |row| text(row, "name"))?
            } else {
                Vec::new()
            },
            unlogged: (ask(UNLOGGED).await?.first())
                .and_then(|row| flag(row, "unlogged"))
                .ok_or(ProbeError::Unreadable("catalog row"))?,
            relations: all(&ask(RELATIONS).await?, |row| {
                let name = text(row, "name")?;
                let query = text(row, "query");
                Some(Relation { name, query })
            })?,
        };
        ask("COMMIT").await?;
        Ok(facts)
    };
    match tokio::time::timeout(TIMEOUT, reading).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProbeError::NoAnswer(TIMEOUT)),
    }
}

fn all<T>(
    rows: &[SimpleQueryRow],
    read: impl Fn(&SimpleQueryRow) -> Option<T>,
) -> Result<Vec<T>, ProbeError> {
    let read = |row| read(row).ok_or(ProbeError::Unreadable("catalog row"));
    rows.iter().map(read).collect()
}

fn text(row: &SimpleQueryRow, name: &str) -> Option<String> {
    column(row, name).map(str::to_owned)
}

fn flag(row: &SimpleQueryRow, name: &str) -> Option<bool> {
    column(row, name).map(|value| value == "t")
}
