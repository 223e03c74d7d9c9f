//! pgbouncer in transaction mode: the pooler everything is compared to.
//!
//! Before 1.21 it has no prepared statements in transaction mode. Then the prepared loads go to a second instance in
//! session mode with a server connection for each client: its easiest case, said in the report.

use super::{Kind, MAX_CLIENTS, Sizes, Target, program, version};
use crate::problem::Result;
use crate::process::Process;
use crate::stage::{DATABASE, SCRAM_USER, Stage, USER};
use pgconvoy_tests::installed::as_server_user;
use pgconvoy_tests::ports;
use pgconvoy_tests::temp::TempDir;
use std::path::PathBuf;
use std::process::Command;

/// The first release with `max_prepared_statements`.
const PREPARED_SINCE: (u32, u32) = (1, 21);

/// Server connections of the session-mode instance: one for each of the most clients of a prepared load.
const SESSIONS: usize = 250;

#[derive(Clone, Copy)]
enum PoolMode {
    Transaction,
    Session,
}

pub(super) fn target(stage: &Stage, sizes: Sizes) -> Result<Target> {
    let given = std::env::var_os("PGBOUNCER_BIN").map(PathBuf::from);
    let program = given.map_or_else(|| program("pgbouncer"), Ok)?;
    let version = version(&program, "--version");
    let carries_prepared = number(&version) >= PREPARED_SINCE;
    let start = |mode, pool| start(&program, stage, mode, pool, carries_prepared);
    let (process, port) = start(PoolMode::Transaction, sizes.pool)?;
    let mut target = Target {
        kind: Kind::Pgbouncer,
        port,
        about: format!(
            "{version}, transaction mode, {} server connections, 1 thread",
            sizes.pool
        ),
        prepared: None,
        processes: vec![process],
    };
    if !carries_prepared {
        let (process, port) = start(PoolMode::Session, SESSIONS)?;
        target.prepared = Some(port);
        target.processes.push(process);
        target.about.push_str(
            "; this version has no prepared statements in transaction mode: prepared loads run in session mode \
             with a server connection for each client",
        );
    }
    Ok(target)
}

/// Major and minor of `PgBouncer 1.18.0`.
fn number(version: &str) -> (u32, u32) {
    let digits = version.rsplit(' ').next().unwrap_or_default();
    let mut parts = digits.split('.').map(|part| part.parse().unwrap_or(0));
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

fn start(
    program: &PathBuf,
    stage: &Stage,
    mode: PoolMode,
    pool: usize,
    carries_prepared: bool,
) -> Result<(Process, u16)> {
    let directory = TempDir::new("bouncer");
    let port = ports::free();
    let users = format!("\"{USER}\" \"\"\n\"{SCRAM_USER}\" \"{}\"\n", stage.verifier);
    let users = directory.write("users.txt", &users);
    let hba = format!(
        "host all {SCRAM_USER} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    );
    let hba = directory.write("hba.conf", &hba);
    let mode = match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    };
    let prepared = if carries_prepared {
        "max_prepared_statements = 200\n"
    } else {
        ""
    };
    let server = stage.primary();
    let config = format!(
        "[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = hba
auth_hba_file = {}
auth_file = {}
pool_mode = {mode}
default_pool_size = {pool}
max_client_conn = {MAX_CLIENTS}
log_connections = 0
log_disconnections = 0
log_stats = 0
ignore_startup_parameters = extra_float_digits,options
{prepared}",
        hba.display(),
        users.display()
    );
    let config = directory.write("pgbouncer.ini", &config);
    let mut command = Command::new(program);
    as_server_user(&mut command);
    command.arg(config);
    let mut process = Process::spawn(command, directory)?;
    process.wait_serving(port, USER, DATABASE)?;
    Ok((process, port))
}

#[cfg(test)]
mod tests {
    use super::{PREPARED_SINCE, number};

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("PgBouncer 1.18.0") < PREPARED_SINCE);
        assert!(number("PgBouncer 1.21.0") >= PREPARED_SINCE);
        assert!(number("PgBouncer 2.0.1") >= PREPARED_SINCE);
        assert_eq!(number(""), (0, 0));
    }
}
