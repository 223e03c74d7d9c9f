//! HAProxy in TCP mode: the floor, it only moves bytes.

use super::{Kind, Target, program, version};
use crate::problem::Result;
use crate::process::Process;
use crate::stage::{DATABASE, Stage, USER};
use pgconvoy_tests::installed::as_server_user;
use pgconvoy_tests::ports;
use pgconvoy_tests::temp::TempDir;
use std::process::Command;

pub(super) fn target(stage: &Stage) -> Result<Target> {
    let (process, port) = start(stage.primary(), 1)?;
    let version = version(&program("haproxy")?, "-v");
    let short: Vec<&str> = version.split(' ').take(3).collect();
    Ok(Target {
        kind: Kind::Haproxy,
        port,
        about: format!(
            "{}, mode tcp to the primary, 1 thread, one server connection for each client",
            short.join(" ")
        ),
        prepared: None,
        processes: vec![process],
    })
}

/// Starts it with this number of threads before a server.
///
/// # Errors
/// When it is missing or does not start.
pub fn start(server: u16, threads: usize) -> Result<(Process, u16)> {
    let program = program("haproxy")?;
    let directory = TempDir::new("haproxy");
    let port = ports::free();
    let config = format!(
        "global
    nbthread {threads}
    maxconn 2000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen postgres
    bind 127.0.0.1:{port}
    server primary 127.0.0.1:{server}
"
    );
    let config = directory.write("haproxy.cfg", &config);
    let mut command = Command::new(program);
    as_server_user(&mut command);
    command.arg("-db").arg("-f").arg(config);
    let mut process = Process::spawn(command, directory)?;
    process.wait_serving(port, USER, DATABASE)?;
    Ok((process, port))
}
