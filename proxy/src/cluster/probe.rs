//! The monitor's connection to one node, and what it asks there.
//!
//! Reports what it finds and decides nothing. Knows of the other nodes only that a primary is
//! missing, because then it looks more often.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::handle::Cluster;
use super::health::{Facts, Standing};
use super::lag::{self, Lsn};
use super::node::{Node, NodeId};
use super::settings::MonitorSettings;
use super::standby::{self, Receiver, Sender};
use crate::clock;

/// Between a failed check and its retry: long enough for a server that is restarting a crashed
/// process, short against a check period.
const RETRY_SPACING: Duration = Duration::from_millis(100);

/// Between looks while nobody leads and everybody waits for it.
const LEADERLESS_PERIOD: Duration = Duration::from_millis(200);

/// Session settings of the monitor's connection. The search path is ours, so that nothing that a
/// user of the database created is ever called.
const OPTIONS: &str = "-c search_path=pg_catalog";

/// What a node says of itself, in one row. `pg_is_in_recovery()` is asked once, so that a
/// promotion in the middle cannot make the answer contradict itself. A primary's timeline is that
/// of the WAL file it writes: the control file tells the new one only after the checkpoint that
/// follows a promotion. A replica's is the highest of three that never run ahead of what it has
/// replayed or is about to.
const LOOK: &str = "SELECT r AS in_recovery, \
     CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END AS position, \
     CASE WHEN NOT r THEN pg_walfile_name(pg_current_wal_insert_lsn()) END AS wal_file, \
     greatest(w.received_tli, (pg_control_recovery()).min_recovery_end_timeline, \
         (pg_control_checkpoint()).timeline_id) AS timeline, \
     (pg_control_system()).system_identifier AS system_identifier, \
     current_setting('wal_block_size') AS wal_block_size, \
     pg_has_role('pg_read_all_stats', 'usage') AS may_read_stats, \
     w.status AS receiver_status, w.slot_name AS receiver_slot, w.conninfo AS receiver_conninfo \
     FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) AS s \
     LEFT JOIN pg_stat_wal_receiver AS w ON true";

/// The primary's standbys. Several times as costly as [`LOOK`], and only shown to people: asked
/// once per check period, not with each position sample.
const STANDBYS: &str = "SELECT r.application_name AS name, host(r.client_addr) AS address, \
     r.state AS state, r.sync_state AS sync_state, s.slot_name AS slot \
     FROM pg_stat_replication AS r LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid";

/// Characters of a WAL file's name that tell its timeline, in hexadecimal.
const TIMELINE_DIGITS: usize = 8;

/// An answered look.
#[derive(Debug)]
pub(super) struct Answer {
    /// Our time just before the question was sent.
    pub(super) asked_at: u64,
    /// A primary's insert position (normalised), or a replica's replayed one.
    pub(super) position: Lsn,
    /// Whether a replica receives WAL; `None` where the monitor may not see that, and of a primary.
    pub(super) streams: Option<bool>,
    pub(super) facts: Facts,
}

/// What came of one look.
#[derive(Debug)]
pub(super) enum Finding {
    Answered(Answer),
    Failed(String),
    /// The connection ended between looks; a look follows at once. Until then nothing that the
    /// node had replayed is certain to be there still.
    Broken,
}

/// A finding and the node that it is about.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) node: NodeId,
    pub(super) finding: Finding,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("{}", described(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error("the health check's answer has no readable {0}: is this a PostgreSQL server?")]
    Unreadable(&'static str),
    #[error("no answer to the health check within {0:?}")]
    NoAnswer(Duration),
}

/// The monitor's session on the node; ends with the value.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    /// What it was opened with: a reload opens another.
    settings: Arc<MonitorSettings>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Watches one node, as a task of the control runtime.
#[derive(Debug)]
pub(super) struct Probe {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    settings: Arc<ArcSwap<MonitorSettings>>,
    connection: Option<Connection>,
    standbys: Vec<Sender>,
    standbys_asked_at: u64,
    failures: u32,
    rights: Rights,
}

/// Whether the monitor's login may see what it needs; said once, when it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    Unchecked,
    Checked,
}

impl Probe {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        node: Arc<Node>,
        settings: Arc<ArcSwap<MonitorSettings>>,
    ) -> Self {
        Self {
            cluster,
            node,
            settings,
            connection: None,
            standbys: Vec::new(),
            standbys_asked_at: clock::NEVER,
            failures: 0,
            rights: Rights::Unchecked,
        }
    }

    /// Looks and reports until nobody listens any more.
    pub(super) async fn run(mut self, reports: mpsc::Sender<Report>) {
        loop {
            let finding = self.look().await;
            if self.report(&reports, finding).await.is_err() {
                return;
            }
            if self.pause().await.is_err() {
                self.connection = None;
                if self.report(&reports, Finding::Broken).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn report(&self, to: &mpsc::Sender<Report>, finding: Finding) -> Result<(), ()> {
        let report = Report {
            node: self.node.id,
            finding,
        };
        to.send(report).await.map_err(|_| ())
    }

    /// Waits until the next look is due or wanted; fails as soon as the connection ends.
    async fn pause(&mut self) -> Result<(), ()> {
        let pace = self.pace();
        tokio::select! {
            () = tokio::time::sleep(pace) => Ok(()),
            () = self.cluster.woken(self.node.id) => Ok(()),
            () = ended(self.connection.as_mut()) => Err(()),
        }
    }

    fn pace(&self) -> Duration {
        let settings = self.settings.load();
        let shortest = if (1..=settings.check_retries).contains(&self.failures) {
            RETRY_SPACING
        } else if self.cluster.view().primary.is_none() {
            LEADERLESS_PERIOD
        } else if self.failures == 0 && self.cluster.positions_wanted() {
            settings.position_period
        } else {
            settings.check_period
        };
        shortest.min(settings.check_period)
    }

    async fn look(&mut self) -> Finding {
        let settings = self.settings.load_full();
        let limit = settings.check_timeout;
        let outcome = match tokio::time::timeout(limit, self.try_look(&settings)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ProbeError::NoAnswer(limit)),
        };
        match outcome {
            Ok(answer) => {
                self.failures = 0;
                self.node.metrics.checks_passed.inc();
                Finding::Answered(answer)
            }
            Err(error) => {
                // What state the session is in is not known: the next look opens another.
                self.connection = None;
                self.failures = self.failures.saturating_add(1);
                self.node.metrics.checks_failed.inc();
                Finding::Failed(error.to_string())
            }
        }
    }

    /// One look, over the open connection if there is one and it still works.
    async fn try_look(&mut self, settings: &Arc<MonitorSettings>) -> Result<Answer, ProbeError> {
        let reusable = |open: &Connection| Arc::ptr_eq(&open.settings, settings);
        if let Some(open) = self.connection.take_if(|open| reusable(open)) {
            match self.ask(&open.client, settings.check_period).await {
                Err(ProbeError::Server(error)) if error.is_closed() => {}
                outcome => {
                    self.connection = Some(open);
                    return outcome;
                }
            }
        }
        let open = connect(&self.node, Arc::clone(settings), &settings.database).await?;
        let answer = self.ask(&open.client, settings.check_period).await?;
        self.connection = Some(open);
        Ok(answer)
    }

    async fn ask(&mut self, client: &Client, period: Duration) -> Result<Answer, ProbeError> {
        let asked_at = clock::now();
        let rows = rows(client, LOOK).await?;
        let row = rows.first().ok_or(ProbeError::Unreadable("row"))?;
        let number = |name| read(row, name, |text| text.parse::<u64>().ok());
        self.check_rights(read(row, "may_read_stats", Some)?);
        let position = read(row, "position", lag::parse_lsn)?;
        let system_identifier = number("system_identifier")?;
        if read(row, "in_recovery", Some)? == "t" {
            let receiver = column(row, "receiver_status").map(|status| Receiver {
                status: status.to_owned(),
                slot: column(row, "receiver_slot").map(str::to_owned),
                name: column(row, "receiver_conninfo").and_then(standby::receiver_name),
            });
            let sees = read(row, "may_read_stats", Some)? == "t";
            let streams = receiver.as_ref().is_some_and(|r| r.status == "streaming");
            let timeline = read(row, "timeline", |text| text.parse().ok())?;
            let standing = Standing::Follows(receiver);
            let facts = Facts {
                standing,
                timeline,
                system_identifier,
            };
            return Ok(Answer {
                asked_at,
                position,
                streams: sees.then_some(streams),
                facts,
            });
        }
        if self.standbys_asked_at == clock::NEVER || clock::since(self.standbys_asked_at) >= period
        {
            self.standbys = self::rows(client, STANDBYS)
                .await?
                .iter()
                .map(sender)
                .collect();
            self.standbys_asked_at = asked_at;
        }
        let position = lag::normalised(position, number("wal_block_size")?);
        let timeline = read(row, "wal_file", wal_file_timeline)?;
        let standing = Standing::Leads(self.standbys.clone());
        let facts = Facts {
            standing,
            timeline,
            system_identifier,
        };
        Ok(Answer {
            asked_at,
            position,
            streams: None,
            facts,
        })
    }

    /// Without `pg_read_all_stats` a replica's timeline shows only in its control file, which is
    /// minutes late after a promotion: until then the replica is not read from.
    fn check_rights(&mut self, may_read_stats: &str) {
        if self.rights == Rights::Unchecked && may_read_stats != "t" {
            tracing::warn!(
                node = self.node.label,
                "the monitor's user cannot see replication: GRANT pg_monitor TO that user"
            );
        }
        self.rights = Rights::Checked;
    }
}

/// Resolves when the connection has ended; never without one.
async fn ended(connection: Option<&mut Connection>) {
    match connection {
        // However the driver ended, there is no connection any more.
        Some(open) => drop((&mut open.driver).await),
        None => std::future::pending().await,
    }
}

pub(super) async fn connect(
    node: &Node,
    settings: Arc<MonitorSettings>,
    database: &str,
) -> Result<Connection, ProbeError> {
    let mut config = Config::new();
    config
        .host(&node.host)
        .port(node.port)
        .user(&settings.user)
        .dbname(database)
        .application_name("pgconvoy_monitor")
        .options(OPTIONS);
    if let Some(password) = &settings.password {
        config.password(password);
    }
    let (client, connection) = config.connect(NoTls).await?;
    // An error that ends the connection shows in the query that runs on it, or as its end.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection {
        client,
        driver,
        settings,
    })
}

pub(super) async fn rows(client: &Client, query: &str) -> Result<Vec<SimpleQueryRow>, ProbeError> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None, // the enum is not exhaustive; only rows are of interest
    };
    Ok(client
        .simple_query(query)
        .await?
        .into_iter()
        .filter_map(row)
        .collect())
}

pub(super) fn column<'a>(row: &'a SimpleQueryRow, name: &str) -> Option<&'a str> {
    row.try_get(name).ok().flatten()
}

fn read<'a, T>(
    row: &'a SimpleQueryRow,
    name: &'static str,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Result<T, ProbeError> {
    column(row, name)
        .and_then(parse)
        .ok_or(ProbeError::Unreadable(name))
}

fn sender(row: &SimpleQueryRow) -> Sender {
    let text = |name| column(row, name).unwrap_or_default().to_owned();
    Sender {
        name: text("name"),
        address: column(row, "address").map(str::to_owned),
        state: text("state"),
        sync_state: text("sync_state"),
        slot: column(row, "slot").map(str::to_owned),
    }
}

/// The timeline in a WAL file's name (PostgreSQL docs, 30.6).
fn wal_file_timeline(name: &str) -> Option<u32> {
    u32::from_str_radix(name.get(..TIMELINE_DIGITS)?, 16).ok()
}

/// An error with what caused it, in one line. It never holds the password.
fn described(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        let (severity, code) = (server.severity(), server.code().code());
        return format!("{severity} {code}: {}", server.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primarys_timeline_is_read_from_its_wal_file() {
        assert_eq!(wal_file_timeline("000000010000000000000004"), Some(1));
        assert_eq!(wal_file_timeline("0000001F0000000000000004"), Some(31));
        assert_eq!(wal_file_timeline("0000"), None);
        assert_eq!(wal_file_timeline("nonsense0000"), None);
    }
}
