//! pgpool-II in streaming replication mode with load balancing over the three nodes: the other one that splits reads.

use super::{Kind, Target, program, version};
use crate::problem::Result;
use crate::process::Process;
use crate::stage::{DATABASE, SCRAM_PASSWORD, SCRAM_USER, Stage, USER};
use pgconvoy_tests::installed::as_server_user;
use pgconvoy_tests::ports;
use pgconvoy_tests::temp::TempDir;
use std::fmt::Write as _;
use std::process::Command;

/// It serves a client by a process: 200 clients, and some more while the last ones leave.
const CHILDREN: usize = 232;

pub(super) fn target(stage: &Stage) -> Result<Target> {
    let program = program("pgpool")?;
    let version = version(&program, "--version");
    let directory = TempDir::new("pgpool");
    let port = ports::free();
    let path = directory.path().display();
    let mut config = format!(
        "backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{path}'
pcp_listen_addresses = ''
pcp_port = {}
pcp_socket_dir = '{path}'
logdir = '{path}'
pid_file_name = '{path}/pgpool.pid'
num_init_children = {CHILDREN}
max_pool = 1
child_life_time = 0
child_max_connections = 0
connection_life_time = 0
load_balance_mode = on
enable_pool_hba = on
pool_passwd = '{path}/pool_passwd'
sr_check_user = 'postgres'
sr_check_period = 10
health_check_period = 0
failover_on_backend_error = off
use_watchdog = off
log_min_messages = error
",
        ports::free()
    );
    for (index, server) in stage.cluster.ports().into_iter().enumerate() {
        let _ = writeln!(
            config,
            "backend_hostname{index} = '127.0.0.1'\nbackend_port{index} = {server}\nbackend_weight{index} = 1\n\
             backend_flag{index} = 'DISALLOW_TO_FAILOVER'"
        );
    }
    let hba = format!(
        "host all {SCRAM_USER} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    );
    let hba = directory.write("pool_hba.conf", &hba);
    directory.write(
        "pool_passwd",
        &format!("{SCRAM_USER}:TEXT{SCRAM_PASSWORD}\n"),
    );
    let pcp = directory.write("pcp.conf", "");
    let config = directory.write("pgpool.conf", &config);
    for file in [&config, &directory.join("pool_passwd"), &hba, &pcp] {
        pgconvoy_tests::installed::give_to_server_user(file);
    }
    let mut command = Command::new(program);
    as_server_user(&mut command);
    command.args(["-n", "-D", "-f"]).arg(config);
    command.arg("-a").arg(hba).arg("-F").arg(pcp);
    let mut process = Process::spawn(command, directory)?;
    process.wait_serving(port, USER, DATABASE)?;
    Ok(Target {
        kind: Kind::Pgpool,
        port,
        about: format!(
            "{version}, load balancing over three nodes, {CHILDREN} processes, up to three server connections for \
             each client"
        ),
        prepared: None,
        processes: vec![process],
    })
}
