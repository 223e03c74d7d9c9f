//! What the load is sent through: the columns of the report.

mod haproxy;
mod pgbouncer;
mod pgconvoy;
mod pgpool;

pub use haproxy::start as start_haproxy;
pub use pgconvoy::{Routing, Setup, binary, start as start_pgconvoy};

use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::stage::Stage;
use crate::workload::Mode;
use std::path::PathBuf;
use std::process::Command;

/// A column of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Direct,
    Haproxy,
    Pgbouncer,
    Pgpool,
    /// One node, pooling only.
    Pgconvoy1,
    /// Three nodes, reads split off.
    Pgconvoy3,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Haproxy,
        Self::Pgbouncer,
        Self::Pgpool,
        Self::Pgconvoy1,
        Self::Pgconvoy3,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Pgbouncer => "pgbouncer",
            Self::Pgpool => "pgpool",
            Self::Pgconvoy1 => "pgconvoy1",
            Self::Pgconvoy3 => "pgconvoy3",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What every proxy is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Server connections of a pool: of pgbouncer, and of pgconvoy for each node.
    pub pool: usize,
    /// pgconvoy's worker threads; 0 is its own default.
    pub workers: usize,
}

/// The most clients any load opens, and some more.
const MAX_CLIENTS: usize = 12_000;

/// A running column.
pub struct Target {
    pub kind: Kind,
    pub port: u16,
    /// How it is set up, for the report.
    pub about: String,
    /// Another instance for what the first can't do in its mode, and why.
    pub prepared: Option<u16>,
    processes: Vec<Process>,
}

impl Target {
    /// Starts the column's proxy before the servers.
    ///
    /// # Errors
    /// When its program is missing or does not start: the column is skipped, then.
    pub fn start(kind: Kind, stage: &Stage, sizes: Sizes) -> Result<Self> {
        match kind {
            Kind::Direct => Ok(Self {
                kind,
                port: stage.primary(),
                about: "straight to the primary, one server connection for each client".to_owned(),
                prepared: None,
                processes: Vec::new(),
            }),
            Kind::Haproxy => haproxy::target(stage),
            Kind::Pgbouncer => pgbouncer::target(stage, sizes),
            Kind::Pgpool => pgpool::target(stage),
            Kind::Pgconvoy1 => pgconvoy::target(kind, stage, sizes),
            Kind::Pgconvoy3 => pgconvoy::target(kind, stage, sizes),
        }
    }

    /// The port for a load in this mode.
    pub fn port_for(&self, mode: Mode) -> u16 {
        match mode {
            Mode::Prepared => self.prepared.unwrap_or(self.port),
            Mode::Simple | Mode::Extended => self.port,
        }
    }

    /// Its processes, without their children. None for the direct column.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

/// Where a program is, by `PATH` and the places for administrators' programs.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut candidates = places.map(|place| place.join(name));
    candidates
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            Problem::new(
                format!("no {name}"),
                format!("install it (apt-get install {})", package(name)),
            )
        })
}

fn package(program: &str) -> &str {
    match program {
        "pgpool" => "pgpool2",
        other => other,
    }
}

/// The first line a program prints about its version.
fn version(program: &PathBuf, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
