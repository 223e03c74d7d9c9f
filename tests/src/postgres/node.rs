//! One PostgreSQL server: its data directory, its process, and what may befall both.

use super::template;
use crate::installed::{give_to_server_user, server_command};
use crate::wire::Wire;
use crate::{ports, wait, watchdog};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One server on a loopback port. It may be stopped, killed, started again and turned into a standby of another.
pub struct Node {
    /// `node0`, `node1` ...: also its cluster_name and the application_name it streams under.
    pub name: String,
    pub port: u16,
    data: PathBuf,
    sockets: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Node {
    /// A data directory under `parent`, not started yet.
    pub(super) fn create(parent: &Path, index: usize) -> Self {
        let name = format!("node{index}");
        let data = parent.join(&name);
        template::copy_to(&data);
        Self {
            name,
            port: ports::free(),
            data,
            sockets: parent.to_path_buf(),
            child: Mutex::new(None),
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.sockets.join(format!("{}.log", self.name))
    }

    /// All the server has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How often a statement of `database` was refused here for being a write (SQLSTATE 25006).
    pub fn refused_writes(&self, database: &str) -> usize {
        let database = format!("db={database} ");
        let log = self.log();
        let refused = |line: &&str| line.contains("state=25006 ") && line.contains(" ERROR: ");
        log.lines()
            .filter(refused)
            .filter(|line| line.contains(&database))
            .count()
    }

    /// Starts the process without waiting for it.
    pub(super) fn launch(&self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = server_command("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(&self.sockets);
        command.args([
            "-p",
            &self.port.to_string(),
            "-c",
            &format!("cluster_name={}", self.name),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().expect("start postgres");
        watchdog::kill_at_end(child.id());
        *self.child() = Some(child);
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(&self) {
        self.launch();
        self.wait_ready();
    }

    /// Waits until a query is answered. A server that could not start because the killed one's shared memory is
    /// still there is started again.
    pub(super) fn wait_ready(&self) {
        wait::until(
            &format!("{} accepts connections", self.name),
            Duration::from_secs(60),
            || {
                if self.reap() {
                    let log = self.log();
                    let last: Vec<&str> = log.lines().rev().take(8).collect();
                    assert!(
                        last.iter().any(
                            |line| line.contains("shared memory") || line.contains("lock file")
                        ),
                        "{} did not start: {last:#?}",
                        self.name
                    );
                    self.launch();
                }
                self.try_one("select 1").is_some()
            },
        );
    }

    /// True when the process has ended; it is waited for, then.
    fn reap(&self) -> bool {
        let mut child = self.child();
        let ended = child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_some());
        if ended && let Some(child) = child.take() {
            watchdog::ended(child.id());
        }
        ended
    }

    pub fn is_running(&self) -> bool {
        self.child().is_some()
    }

    /// A superuser's connection straight to this server.
    pub fn superuser(&self, database: &str) -> Wire {
        Wire::connect(self.port, "postgres", database)
            .unwrap_or_else(|error| panic!("{} on {}: {error}", self.name, self.port))
    }

    /// One value, asked for on a connection of its own; `None` when the server does not answer.
    pub fn try_one(&self, sql: &str) -> Option<String> {
        let mut wire = Wire::connect(self.port, "postgres", "postgres").ok()?;
        let rows = wire.query(sql).ok()?;
        wire.close();
        rows.into_iter().next()?.into_iter().next()?
    }

    fn pid(&self) -> Pid {
        let child = self.child();
        Pid::from_child(child.as_ref().expect("the server runs"))
    }

    /// `kill -9`: the postmaster and every server process at once, as when the machine loses power.
    pub fn kill(&self) {
        let Some(mut child) = self.child().take() else {
            return;
        };
        let children = children_of(child.id());
        child.kill().expect("kill the postmaster");
        for process in children {
            // It may have ended by itself meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        child.wait().expect("wait for the postmaster");
        watchdog::ended(child.id());
    }

    /// A fast shutdown (SIGINT): sessions are ended, data is left clean.
    pub fn stop(&self) {
        kill_process(self.pid(), Signal::INT).expect("signal the postmaster");
        wait::until(
            &format!("{} stops", self.name),
            Duration::from_secs(60),
            || self.reap(),
        );
    }

    /// Promotes a standby and waits until it takes writes.
    pub fn promote(&self) {
        self.superuser("postgres")
            .run("select pg_promote(true, 60)");
        wait::until("the promoted node is out of recovery", wait::SOON, || {
            self.try_one("select pg_is_in_recovery()")
                .is_some_and(|value| value == "f")
        });
    }

    /// Makes this node stream from `primary`: at its next start, or at once when it runs as a standby.
    pub fn follow(&self, primary: &Node) {
        let line = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name={}'\n",
            primary.port, self.name
        );
        std::fs::write(self.data.join("postgresql.auto.conf"), line).unwrap();
        std::fs::write(self.data.join("standby.signal"), "").unwrap();
        for file in ["postgresql.auto.conf", "standby.signal"] {
            give_to_server_user(&self.data.join(file));
        }
        if self.is_running() {
            kill_process(self.pid(), Signal::HUP).expect("signal the postmaster");
        }
    }

    /// Brings a killed or stopped former primary back as a standby of `primary`: pg_rewind, then a start.
    pub fn rejoin(&self, primary: &Node) {
        // pg_rewind reads the source's control file, which a promotion updates only at the next checkpoint.
        primary.superuser("postgres").run("checkpoint");
        let source = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres",
            primary.port
        );
        let mut rewind = server_command("pg_rewind");
        rewind
            .args(["--no-sync", "--source-server", &source, "--target-pgdata"])
            .arg(&self.data);
        template::run(&mut rewind);
        self.follow(primary);
        self.start();
    }

    /// Freezes or thaws the postmaster: sessions go on, but no connection is accepted.
    pub fn freeze_postmaster(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        kill_process(self.pid(), signal).expect("signal the postmaster");
    }

    /// Freezes or thaws the server whole: nothing answers, and nothing is refused.
    pub fn freeze_all(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.freeze_postmaster(frozen);
        for child in children_of(self.pid().as_raw_nonzero().get() as u32) {
            kill_process(child, signal).expect("signal a server process");
        }
    }

    /// Freezes or thaws replay: SIGSTOP or SIGCONT to the startup process.
    pub fn freeze_replay(&self, frozen: bool) {
        let startup = children_of(self.pid().as_raw_nonzero().get() as u32)
            .into_iter()
            .find(|pid| command_line(*pid).contains("startup"))
            .expect("a startup process");
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        kill_process(startup, signal).expect("signal the startup process");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command_line(pid: Pid) -> String {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The direct children of a process, by `/proc` (proc(5): the parent is the second field after the name).
fn children_of(parent: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    })
    .filter_map(Pid::from_raw)
    .collect()
}
