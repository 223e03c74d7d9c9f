//! Running the tools and driver scripts people use, with a deadline and their output kept.

use crate::installed::{client_command, driver_command};
use crate::{wait, watchdog};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest any tool may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How a tool ended and what it printed.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A tool on its way. Dropping it kills the process.
pub struct Running {
    child: Child,
    name: String,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

fn collect(mut from: impl Read + Send + 'static) -> Option<JoinHandle<String>> {
    Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

impl Running {
    /// Starts a command with this standard input.
    pub fn spawn(mut command: Command, input: &str) -> Self {
        let name = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        watchdog::kill_at_end(child.id());
        // It may end without reading its input: that is its own affair.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self {
            child,
            name,
            stdout,
            stderr,
        }
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Outcome {
        let ended = wait::within(LIMIT, || self.child.try_wait().unwrap());
        if ended.is_none() {
            self.child.kill().expect("kill the tool");
        }
        let status = self.child.wait().expect("wait for the tool");
        watchdog::ended(self.child.id());
        let join = |thread: Option<JoinHandle<String>>| thread.unwrap().join().unwrap();
        let outcome = Outcome {
            status,
            stdout: join(self.stdout.take()),
            stderr: join(self.stderr.take()),
        };
        assert!(
            ended.is_some(),
            "{} has not ended after {LIMIT:?}: {outcome:#?}",
            self.name
        );
        outcome
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        watchdog::ended(self.child.id());
    }
}

impl Outcome {
    /// Asserts success; gives standard output.
    pub fn ok(self) -> String {
        assert!(
            self.status.success(),
            "{}\n{}\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// Runs to the end with this standard input.
pub fn run(command: Command, input: &str) -> Outcome {
    Running::spawn(command, input).finish()
}

/// A PostgreSQL client program pointed at a port and database as `app`.
pub fn client(program: &str, port: u16, database: &str) -> Command {
    let mut command = client_command(program);
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port.to_string());
    command.env("PGUSER", "app").env("PGDATABASE", database);
    command
}

/// A driver script of `tests/drivers`, told where to connect by `PG*` variables.
pub fn driver(script: &str, port: u16, database: &str) -> Command {
    let mut command = driver_command(script);
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port.to_string());
    command.env("PGUSER", "app").env("PGDATABASE", database);
    command
}

/// Feeds a script to psql, stopping at the first error, unaligned output without headers.
pub fn psql(port: u16, database: &str, script: &str) -> Outcome {
    let mut command = client("psql", port, database);
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
    run(command, script)
}

/// pgbench with these arguments: asserts that it ended well with 0 failed transactions; gives its report.
pub fn pgbench(port: u16, database: &str, arguments: &[&str]) -> String {
    let mut command = client("pgbench", port, database);
    command.args(arguments);
    let outcome = run(command, "");
    let report = format!("{}\n{}", outcome.stdout, outcome.stderr);
    assert!(
        outcome.status.success(),
        "pgbench {arguments:?}: {}\n{report}",
        outcome.status
    );
    for word in ["ERROR", "FATAL", "aborted", "error:"] {
        assert!(!report.contains(word), "pgbench {arguments:?}: {report}");
    }
    if !arguments.contains(&"-i") {
        assert!(
            report.contains("number of failed transactions: 0 "),
            "pgbench {arguments:?}: {report}"
        );
    }
    report
}
