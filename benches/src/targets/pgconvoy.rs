//! pgconvoy itself, from outside: its binary, its config keys, its ports.

use super::{Kind, MAX_CLIENTS, Sizes, Target, version};
use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::stage::{DATABASE, SCRAM_USER, Stage, USER};
use pgconvoy_tests::ports;
use pgconvoy_tests::temp::TempDir;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether safe reads go to replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    PrimaryOnly,
    SplitReads,
}

/// How one instance is set up.
pub struct Setup<'a> {
    pub nodes: &'a [u16],
    pub routing: Routing,
    pub sizes: Sizes,
    /// The SCRAM user's stored verifier.
    pub verifier: &'a str,
}

pub(super) fn target(kind: Kind, stage: &Stage, sizes: Sizes) -> Result<Target> {
    let ports = stage.cluster.ports();
    let (nodes, routing) = match kind {
        Kind::Pgconvoy3 => (ports.as_slice(), Routing::SplitReads),
        Kind::Direct | Kind::Haproxy | Kind::Pgbouncer | Kind::Pgpool | Kind::Pgconvoy1 => {
            (&ports[..1], Routing::PrimaryOnly)
        }
    };
    let setup = Setup {
        nodes,
        routing,
        sizes,
        verifier: &stage.verifier,
    };
    let (process, port) = start(&setup)?;
    let routing = match routing {
        Routing::PrimaryOnly => "one node",
        Routing::SplitReads => "three nodes, reads split off to two replicas",
    };
    let workers = match sizes.workers {
        0 => "default worker threads".to_owned(),
        n => format!("{n} worker threads"),
    };
    Ok(Target {
        kind,
        port,
        about: format!(
            "{}, transaction mode, {routing}, {} server connections for each node, {workers}",
            version(&binary()?, "--version"),
            sizes.pool
        ),
        prepared: None,
        processes: vec![process],
    })
}

/// Starts an instance and waits until it serves.
///
/// # Errors
/// When it has not been built or does not start.
pub fn start(setup: &Setup<'_>) -> Result<(Process, u16)> {
    let binary = binary()?;
    let directory = TempDir::new("convoy");
    let (port, http) = (ports::free(), ports::free());
    let config = directory.write("pgconvoy.toml", &config(setup, port, http));
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config);
    for (name, _) in std::env::vars() {
        if name.starts_with("PGCONVOY_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory.path());
    let mut process = Process::spawn(command, directory)?;
    process.wait_serving(port, USER, DATABASE)?;
    Ok((process, port))
}

fn config(setup: &Setup<'_>, port: u16, http: u16) -> String {
    let Sizes { pool, workers } = setup.sizes;
    let mut text = format!("listen = \"127.0.0.1:{port}\"\nworkers = {workers}\n");
    for node in setup.nodes {
        let _ = writeln!(text, "[[node]]\naddress = \"127.0.0.1:{node}\"");
    }
    let split = match setup.routing {
        Routing::PrimaryOnly => "false",
        Routing::SplitReads => "true",
    };
    let _ = write!(
        text,
        "[[user]]\nname = \"{USER}\"\nauth = \"trust\"
[[user]]\nname = \"{SCRAM_USER}\"\nauth = \"scram-sha-256\"\npassword = \"{}\"
[pool]\nsize = {pool}
[limits]\nmax_client_connections = {MAX_CLIENTS}
[routing]\nsplit_reads = {split}
[http]\nlisten = \"127.0.0.1:{http}\"
[log]\nlevel = \"warn\"\nconnections = false
",
        setup.verifier
    );
    text
}

/// The binary that is measured: `$PGCONVOY_BIN`, else the release build.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    let given = std::env::var_os("PGCONVOY_BIN").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join("target")
    });
    let path = given.unwrap_or_else(|| target.join("release/pgconvoy"));
    if path.is_file() {
        return Ok(path);
    }
    let why = format!(
        "{} is missing: build it with `cargo build --release -p pgconvoy`, or set PGCONVOY_BIN",
        path.display()
    );
    Err(Problem::new("no pgconvoy", why))
}
