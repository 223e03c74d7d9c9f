//! A data directory made once per test process and copied for each node: `initdb` is the slow part of a start.

use crate::installed::{give_to_server_user, server_command};
use crate::temp::TempDir;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Small, without fsync, quick to notice a lost leader. `%e` (SQLSTATE) and `%d` let a test find refused writes.
/// `full_page_writes` and `wal_log_hints` stay on: pg_rewind needs them. Shared memory is in files of the data directory,
/// which go with it: a killed server leaves the system's behind.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 32MB
fsync = off
dynamic_shared_memory_type = mmap
wal_level = replica
wal_log_hints = on
wal_keep_size = 512MB
max_wal_size = 2GB
max_wal_senders = 10
max_prepared_transactions = 10
max_worker_processes = 4
max_parallel_workers_per_gather = 0
jit = off
hot_standby = on
hot_standby_feedback = on
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms
log_line_prefix = '%m [%p] db=%d user=%u app=%a state=%e '
";

/// Each server-side login method has a role of its own; everybody else is trusted.
const HBA: &str = "
local all         all        trust
local replication all        trust
host  replication all        127.0.0.1/32 trust
host  all         srv_clear  127.0.0.1/32 password
host  all         srv_md5    127.0.0.1/32 md5
host  all         srv_scram  127.0.0.1/32 scram-sha-256
host  all         srv_reject 127.0.0.1/32 reject
host  all         all        127.0.0.1/32 trust
";

/// One statement a line, as single-user mode reads them. The password of each `srv_` role is `secret-of-<role>`.
const ROLES: &str = "\
create role app login createdb;
create role other login;
create role srv_trust login;
create role srv_reject login;
create role srv_clear login password 'secret-of-srv_clear';
create role srv_scram login password 'secret-of-srv_scram';
set password_encryption = 'md5';
create role srv_md5 login password 'secret-of-srv_md5';
";

static TEMPLATE: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new("template");
    let data = directory.join("data");
    let mut initdb = server_command("initdb");
    initdb.args([
        "--no-sync",
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]);
    run(initdb.arg("-D").arg(&data));
    let config = data.join("postgresql.conf");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&config)
        .expect("open postgresql.conf");
    file.write_all(SETTINGS.as_bytes()).unwrap();
    std::fs::write(data.join("pg_hba.conf"), HBA).unwrap();
    make_roles(&data);
    directory
});

fn make_roles(data: &Path) {
    let mut single = server_command("postgres");
    single
        .args(["--single", "-j", "-D"])
        .arg(data)
        .arg("postgres");
    let spawned = single
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.expect("start postgres --single");
    // With -j a statement ends at an empty line.
    let script = ROLES.replace('\n', "\n\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("ERROR"),
        "postgres --single: {said}"
    );
}

/// A fresh copy of the template at `target`, ready to be started.
pub(super) fn copy_to(target: &Path) {
    let source: PathBuf = TEMPLATE.join("data");
    run(Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(source)
        .arg(target));
    give_to_server_user(target);
}

/// Runs to the end; panics with what it printed when it fails.
pub(super) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
