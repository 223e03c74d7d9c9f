//! A peer's process: started as the servers' user, waited for, and killed with the value.

use crate::client;
use crate::problem::{Problem, Result};
use pgconvoy_tests::temp::TempDir;
use pgconvoy_tests::watchdog;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take until it lets a client in.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy and the directory with its configuration and log. Dropping it kills the process.
pub struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    /// Starts the command; its output goes to `log` in the directory.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(mut command: Command, directory: TempDir) -> Result<Self> {
        let what = format!("start {}", command.get_program().to_string_lossy());
        let log = std::fs::File::create(directory.join("log"));
        let log = log.map_err(|error| Problem::new(&what, error))?;
        let stderr = log
            .try_clone()
            .map_err(|error| Problem::new(&what, error))?;
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        let child = command
            .spawn()
            .map_err(|error| Problem::new(&what, error))?;
        watchdog::kill_at_end(child.id());
        Ok(Self { child, directory })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a client of this port is answered by a server.
    ///
    /// # Errors
    /// When the process ends or nobody is let in for 20 s; with the end of its log.
    pub fn wait_serving(&mut self, port: u16, user: &str, database: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let mut asked = client::login(port, user, database);
            let answer = asked.as_mut().map_or_else(
                |error| Err(error.to_string()),
                |stream| client::query(stream, "select 1").map_err(|error| error.to_string()),
            );
            let Err(refusal) = answer else {
                return Ok(());
            };
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || begin.elapsed() > START_LIMIT {
                let why = format!("{refusal}\n{}", self.log_end());
                return Err(Problem::new("it lets no client in", why));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_end(&self) -> String {
        let bytes = std::fs::read(self.directory.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end_family(&mut self.child);
        watchdog::ended(self.child.id());
    }
}

/// SIGTERM first: pgpool's children and semaphores outlive a parent that is killed.
fn end_family(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Lets this process and those it starts open as many files as it may: 10,000 clients need as many sockets.
pub fn raise_descriptor_limit() {
    const WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let same = |value: u64| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    let hard = limit.maximum.unwrap_or(WANTED);
    // Only root may go past the hard limit.
    if hard >= WANTED || setrlimit(Resource::Nofile, same(WANTED)).is_err() {
        let _ = setrlimit(Resource::Nofile, same(hard));
    }
}
