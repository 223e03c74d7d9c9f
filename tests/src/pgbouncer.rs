//! Debian's pgbouncer in front of one node, for figures beside ours.

use crate::installed::as_server_user;
use crate::temp::TempDir;
use crate::wire::Wire;
use crate::{ports, wait, watchdog};
use std::process::{Child, Command, Stdio};

/// A running pgbouncer in transaction mode. Everybody is trusted; dropping it kills it.
pub struct PgBouncer {
    pub port: u16,
    child: Child,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts it before the node on `target`, with this pool size.
    pub fn start(target: u16, pool_size: usize) -> Self {
        let directory = TempDir::new("bouncer");
        let port = ports::free();
        let users = directory.write("users.txt", "\"postgres\" \"\"\n\"app\" \"\"\n");
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {pool_size}\nmax_client_conn = 5000\nunix_socket_dir =\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            users.display()
        );
        let config = directory.write("pgbouncer.ini", &config);
        let mut command = Command::new("pgbouncer");
        command.arg("-q").arg(config);
        as_server_user(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("start pgbouncer");
        watchdog::kill_at_end(child.id());
        wait::until("pgbouncer answers", wait::SOON, || {
            Wire::connect(port, "app", "postgres").is_ok()
        });
        Self {
            port,
            child,
            _directory: directory,
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        watchdog::ended(self.child.id());
    }
}
