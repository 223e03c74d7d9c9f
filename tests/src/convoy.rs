//! The `pgconvoy` binary as a process: configured, started, signalled, and read from outside.

use crate::temp::TempDir;
use crate::wire::{ServerError, Wire};
use crate::{http, installed, ports, wait, watchdog};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// What a process is started with. Made by [`Convoy::before`].
#[derive(Clone, Debug)]
pub struct Setup {
    nodes: Vec<Node>,
    top: String,
    sections: String,
    environment: Vec<(String, String)>,
    readiness: Readiness,
}

#[derive(Clone, Debug)]
struct Node {
    port: u16,
    weight: u32,
    more: String,
}

/// When `start` may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// `/readyz` says 200: a primary is known.
    Serving,
    /// `/healthz` says 200: the process is up, whatever it knows.
    Alive,
}

impl Setup {
    /// Keys before the first section, as `workers = 1`.
    #[must_use]
    pub fn top(mut self, toml: &str) -> Self {
        self.top.push_str(toml);
        self.top.push('\n');
        self
    }

    /// Whole sections, as `[pool]\nsize = 2`. Without a `[[user]]` among them everybody is let in (loopback).
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self.sections.push('\n');
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The read weights of the nodes, in order.
    #[must_use]
    pub fn weights(mut self, weights: &[u32]) -> Self {
        for (node, weight) in self.nodes.iter_mut().zip(weights) {
            node.weight = *weight;
        }
        self
    }

    /// More keys of one node, as `zone = "a"`.
    #[must_use]
    pub fn node(mut self, index: usize, toml: &str) -> Self {
        self.nodes[index].more.push_str(&format!("{toml}\n"));
        self
    }

    #[must_use]
    pub fn when(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    fn toml(&self, port: u16, http: u16) -> String {
        let mut text = format!("listen = \"127.0.0.1:{port}\"\n{}\n", self.top);
        for node in &self.nodes {
            let Node { port, weight, more } = node;
            text.push_str(&format!(
                "[[node]]\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\n{more}"
            ));
        }
        text.push_str(&format!("[http]\nlisten = \"127.0.0.1:{http}\"\n"));
        text.push_str(&self.sections);
        text
    }

    /// Starts the process and waits until it is ready; panics with its log when it is not.
    pub fn start(self) -> Convoy {
        raise_descriptor_limit();
        let directory = TempDir::new("convoy");
        let (port, http) = (ports::free(), ports::free());
        let config = directory.write("pgconvoy.toml", &self.toml(port, http));
        let mut command = Command::new(installed::pgconvoy());
        command.arg("run").arg("--config").arg(config);
        command.envs(self.environment.iter().cloned());
        let convoy = Convoy::spawn(command, self.clone(), directory, port, http);
        let page = match self.readiness {
            Readiness::Serving => "/readyz",
            Readiness::Alive => "/healthz",
        };
        convoy.wait_page(page);
        if self.readiness == Readiness::Serving {
            convoy.wait_replicas();
        }
        convoy
    }
}

/// A running pgconvoy. Dropping it kills the process, and fails the test when it had panicked.
pub struct Convoy {
    pub port: u16,
    pub http: u16,
    setup: Setup,
    directory: TempDir,
    child: Mutex<Option<Child>>,
    pid: Pid,
}

impl Convoy {
    /// A setup in front of these nodes: weight 1 each, everything else default.
    pub fn before(nodes: &[u16]) -> Setup {
        Setup {
            nodes: nodes
                .iter()
                .map(|port| Node {
                    port: *port,
                    weight: 1,
                    more: String::new(),
                })
                .collect(),
            top: String::new(),
            sections: String::new(),
            environment: Vec::new(),
            readiness: Readiness::Serving,
        }
    }

    /// Starts with these command line arguments instead of a config file, on these ports.
    pub fn from_arguments(
        arguments: &[String],
        environment: &[(&str, &str)],
        port: u16,
        http: u16,
    ) -> Self {
        let mut command = Command::new(installed::pgconvoy());
        command
            .arg("run")
            .args(arguments)
            .envs(environment.iter().copied());
        let convoy = Self::spawn(
            command,
            Self::before(&[]),
            TempDir::new("convoy"),
            port,
            http,
        );
        convoy.wait_page("/readyz");
        convoy
    }

    fn spawn(mut command: Command, setup: Setup, directory: TempDir, port: u16, http: u16) -> Self {
        forget_settings(&mut command);
        command.envs(setup.environment.iter().cloned());
        let log = std::fs::File::create(directory.join("log")).expect("create the log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command
            .current_dir(directory.path())
            .spawn()
            .expect("start pgconvoy");
        watchdog::kill_at_end(child.id());
        let pid = Pid::from_child(&child);
        Self {
            port,
            http,
            setup,
            directory,
            child: Mutex::new(Some(child)),
            pid,
        }
    }

    fn wait_page(&self, page: &str) {
        wait::until(
            &format!("pgconvoy answers {page}"),
            Duration::from_secs(30),
            || {
                assert!(
                    !self.has_ended(),
                    "pgconvoy ended at its start:\n{}",
                    self.log()
                );
                http::get(self.http, page).is_ok_and(|response| response.status == 200)
            },
        );
    }

    /// Until every replica that answers may be read from; a test may have one that can't be.
    fn wait_replicas(&self) {
        let limit = Duration::from_secs(2);
        let _in_vain = wait::within(limit, || {
            let page = self.page("/metrics").body;
            let of = |family: &str, node: &str| {
                http::sample(&page, family, &[("node", node)]).unwrap_or(0.0) > 0.0
            };
            let mut labels = self
                .setup
                .nodes
                .iter()
                .map(|n| format!("127.0.0.1:{}", n.port));
            let ready = |node: String| {
                !of("pgconvoy_node_up", &node)
                    || of("pgconvoy_node_primary", &node)
                    || of("pgconvoy_node_caught_up", &node)
            };
            labels.all(ready).then_some(())
        });
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// All it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The path of a file in this process's directory: gone with it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Waits until a log line contains every one of these words.
    pub fn wait_log(&self, words: &[&str]) -> String {
        wait::value(&format!("a log line with {words:?}"), wait::SOON, || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned)
        })
    }

    /// A client of it, without a password.
    ///
    /// # Errors
    /// The refusal.
    pub fn connect(&self, user: &str, database: &str) -> Result<Wire, ServerError> {
        Wire::connect(self.port, user, database)
    }

    pub fn page(&self, path: &str) -> http::Response {
        http::get(self.http, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("signal pgconvoy");
    }

    /// Writes the config anew with other sections and says SIGHUP.
    pub fn reload(&self, change: impl FnOnce(Setup) -> Setup) {
        let mut setup = self.setup.clone();
        setup.sections.clear();
        self.write_config(&change(setup).toml(self.port, self.http));
        self.signal(Signal::HUP);
    }

    /// Puts this text in place of the config file.
    pub fn write_config(&self, toml: &str) {
        self.directory.write("pgconvoy.toml", toml);
    }

    /// Waits for the process to end by itself.
    pub fn wait_end(&self, limit: Duration) -> ExitStatus {
        let status = wait::value("pgconvoy ends", limit, || {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            child
                .as_mut()
                .expect("pgconvoy was running")
                .try_wait()
                .unwrap()
        });
        watchdog::ended(self.pid.as_raw_nonzero().get() as u32);
        status
    }

    /// A figure of `/proc/PID/status` in kB, as `VmHWM` (the peak of resident memory).
    pub fn memory_kb(&self, figure: &str) -> u64 {
        let path = PathBuf::from(format!("/proc/{}/status", self.pid.as_raw_nonzero()));
        let status = std::fs::read_to_string(path).expect("pgconvoy runs");
        let line = status
            .lines()
            .find(|line| line.starts_with(figure))
            .expect("the figure");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Whether it has something of that kind open (`/proc/PID/fd`).
    pub fn has_open(&self, kind: &str) -> bool {
        let path = PathBuf::from(format!("/proc/{}/fd", self.pid.as_raw_nonzero()));
        let open = std::fs::read_dir(path).expect("pgconvoy runs");
        let targets = open.flatten().map(|entry| std::fs::read_link(entry.path()));
        targets
            .flatten()
            .any(|to| to.to_string_lossy().contains(kind))
    }
}

impl Drop for Convoy {
    fn drop(&mut self) {
        if let Some(mut child) = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _ = child.kill();
            let _ = child.wait();
            watchdog::ended(child.id());
        }
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- the end of pgconvoy's log\n{}\n---", tail.join("\n"));
        } else {
            assert!(!log.contains("panicked at"), "pgconvoy panicked:\n{log}");
        }
    }
}

/// Thousands of clients are thousands of sockets, here and in the proxy that inherits the limit.
fn raise_descriptor_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        let wanted = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, wanted).expect("raise the limit of open files");
    });
}

/// Settings in our own environment are for us, not for the process under test. Those given to it stay.
fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars() {
        let given = command
            .get_envs()
            .any(|(key, _)| key.to_str() == Some(&name));
        if name.starts_with("PGCONVOY_") && !given {
            command.env_remove(name);
        }
    }
}

/// Runs `pgconvoy` with these arguments to its end: success, and stdout and stderr together.
pub fn command(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(installed::pgconvoy());
    command.args(arguments).envs(environment.iter().copied());
    forget_settings(&mut command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("start pgconvoy");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}
