//! The servers and the data every column is measured against: one primary, two streaming replicas, pgbench's tables
//! and a bulk table.

use crate::problem::{Problem, Result};
use pgconvoy_tests::postgres::{Cluster, Node};
use pgconvoy_tests::tool;
use std::fmt::Write as _;
use std::path::PathBuf;

pub const DATABASE: &str = "bench";
/// Trusted by every proxy and server.
pub const USER: &str = "app";
/// Logs in with SCRAM, at the proxies and at the servers. The harness of the tests makes it.
pub const SCRAM_USER: &str = "srv_scram";
pub const SCRAM_PASSWORD: &str = "secret-of-srv_scram";

/// pgbench's scale: a million accounts.
pub const SCALE: &str = "10";

/// Enough connections for 200 clients of each peer that keeps one server connection for each, all data in memory,
/// and no background work that would fall on one column and not on another.
const SETTINGS: &[(&str, &str)] = &[
    ("max_connections", "1500"),
    ("shared_buffers", "'512MB'"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "'1h'"),
    ("max_wal_size", "'4GB'"),
    ("wal_keep_size", "'64MB'"),
    ("log_min_messages", "error"),
    ("log_min_error_statement", "panic"),
];

/// Rows of 1 KiB in the bulk table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// 200 MB.
    Full,
    /// 50 MB.
    Quick,
}

impl Bulk {
    fn rows(self) -> usize {
        match self {
            Self::Full => 195_000,
            Self::Quick => 49_000,
        }
    }
}

/// The running servers, filled. Everything ends with the value.
pub struct Stage {
    pub cluster: Cluster,
    /// The bulk table in COPY's text form, for loads that go in.
    pub bulk_file: PathBuf,
    pub bulk_bytes: u64,
    /// The SCRAM user's stored verifier: what pgbouncer and pgconvoy are given instead of a password.
    pub verifier: String,
}

impl Stage {
    /// Starts and fills the servers.
    ///
    /// # Errors
    /// When pgbench or psql can't fill them.
    ///
    /// # Panics
    /// When a server can't be started: nothing can be measured then.
    pub fn start(bulk: Bulk) -> Result<Self> {
        let cluster = Cluster::start(2);
        tune(&cluster);
        let primary = &cluster.nodes[0];
        primary
            .superuser("postgres")
            .run(&format!("create database {DATABASE} owner {USER}"));
        fill(primary, bulk)?;
        let verifier = primary.superuser(DATABASE).one(&format!(
            "select rolpassword from pg_authid where rolname = '{SCRAM_USER}'"
        ));
        let bulk_file = cluster.directory().join("bulk.txt");
        let copy = format!("\\copy bench_bulk to '{}'\n", bulk_file.display());
        psql(primary.port, &copy)?;
        let size = std::fs::metadata(&bulk_file);
        let bulk_bytes = size
            .map_err(|error| Problem::new("size of the bulk file", error))?
            .len();
        settle(&cluster);
        Ok(Self {
            cluster,
            bulk_file,
            bulk_bytes,
            verifier,
        })
    }

    pub fn primary(&self) -> u16 {
        self.cluster.nodes[0].port
    }

    /// Empties what the loads have written, between two runs.
    pub fn tidy(&self) {
        let mut primary = self.cluster.nodes[0].superuser(DATABASE);
        primary.run("truncate bench_in");
        primary.run("truncate pgbench_history");
        settle(&self.cluster);
    }
}

/// Replicas first: a standby must allow at least the connections its primary does.
fn tune(cluster: &Cluster) {
    for node in cluster.nodes.iter().rev() {
        let mut server = node.superuser("postgres");
        for (name, value) in SETTINGS {
            server.run(&format!("alter system set {name} = {value}"));
        }
        drop(server);
        node.stop();
        node.start();
    }
    cluster.wait_streaming(&cluster.nodes[0], cluster.nodes.len() - 1);
}

fn fill(primary: &Node, bulk: Bulk) -> Result<()> {
    let mut init = tool::client("pgbench", primary.port, DATABASE);
    init.args(["-i", "-I", "dtGp", "-q", "-s", SCALE]);
    let outcome = tool::run(init, "");
    if !outcome.status.success() {
        return Err(Problem::new("pgbench -i", outcome.stderr));
    }
    let mut script = String::new();
    let _ = writeln!(
        script,
        "create table bench_bulk (id int primary key, body text not null);
         insert into bench_bulk select n, repeat(md5(n::text), 32) from generate_series(1, {}) n;
         create unlogged table bench_in (id int, body text);
         grant select on all tables in schema public to {SCRAM_USER};
         vacuum (freeze, analyze);
         checkpoint;",
        bulk.rows()
    );
    // VACUUM and CHECKPOINT are a superuser's.
    let mut command = tool::client("psql", primary.port, DATABASE);
    command.env("PGUSER", "postgres");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
    let outcome = tool::run(command, &script);
    if !outcome.status.success() {
        return Err(Problem::new("fill the bulk table", outcome.stderr));
    }
    primary.superuser(DATABASE).run(&format!(
        "alter table bench_in owner to {USER}; alter table bench_bulk owner to {USER}"
    ));
    Ok(())
}

fn psql(port: u16, script: &str) -> Result<()> {
    let outcome = tool::psql(port, DATABASE, script);
    if outcome.status.success() {
        return Ok(());
    }
    Err(Problem::new("psql", outcome.stderr))
}

fn settle(cluster: &Cluster) {
    cluster.wait_replayed(&cluster.nodes[0]);
}
