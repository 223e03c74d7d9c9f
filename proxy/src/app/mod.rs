//! The instance: built, wired, running, reloaded, drained.

mod console;
mod housekeeping;
mod tuning;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pgconvoy_config::{Loaded, Problems, SettingRow, Settings};
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::console::{AdminConsole, Parts};
use self::tuning::Live;
use self::workers::{Duty, Worker};
use crate::admin::{self, Inside, Request, ShutdownMode};
use crate::cluster::{Cluster, Monitor};
use crate::error::Report;
use crate::frontend::door::Door;
use crate::frontend::listener::{self, Desk};
use crate::frontend::peers::Peers;
use crate::frontend::replication::Gate;
use crate::http::{Phase, Server};
use crate::metrics::Metrics;
use crate::pool::pools::{Directory, Pools};
use crate::protocol::sqlstate;
use crate::registry::key::PeerId;
use crate::registry::{Registry, Signal};
use crate::router::Router;
use crate::session::{Console, Context};

/// Shapes each worker's router remembers.
const ROUTES: usize = 8192;

/// Why the instance could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A secret could not be used.
    #[error(transparent)]
    Secret(#[from] crate::frontend::access::UnusableSecret),
    /// Counters could not be made.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::MetricsError),
    /// The system refused a thread, an event queue or a signal handler.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// Reads the configuration again, for a reload.
pub type Reread = Box<dyn Fn() -> Result<Loaded, Problems>>;

/// A running instance.
pub struct App {
    loaded: Loaded,
    reread: Reread,
    live: Live,
    cluster: Arc<Cluster>,
    registry: Arc<Registry>,
    directory: Arc<Directory>,
    inside: Arc<Inside>,
    requests: mpsc::Receiver<Request>,
    shown: Arc<ArcSwap<Vec<SettingRow>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop_accepting: watch::Sender<bool>,
    end_threads: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
    _monitor: Monitor,
}

impl App {
    /// Starts everything. Must be called on the control runtime.
    ///
    /// # Errors
    /// [`StartError`], which names the setting.
    pub fn start(loaded: Loaded, reread: Reread) -> Result<Self, StartError> {
        let settings = loaded.settings.clone();
        let live = Live::new(&settings)?;
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        let cluster = Cluster::new(&tuning::nodes(&settings), &metrics);
        tuning::tell_cluster(&cluster, &settings);
        let registry = Arc::new(Registry::new(PeerId(settings.peer_id.unwrap_or_default())));
        let directory = Directory::new(
            cluster.nodes().to_vec(),
            settings.workers,
            Arc::clone(&live.pools),
            Box::new(tuning::LiveRules(Arc::clone(&live.access))),
        );
        let (phase, seen_phase) = watch::channel(Phase::Starting);
        serve_http(&settings, &metrics, &cluster, seen_phase)?;
        let monitor = Monitor::start(&cluster, &live.monitor, &metrics);
        tokio::spawn(housekeeping::run(
            live.clone(),
            Arc::clone(&registry),
            Arc::clone(&directory),
            Arc::clone(&metrics),
        ));
        tokio::spawn(housekeeping::follow(
            Arc::clone(&cluster),
            Arc::clone(&registry),
        ));
        let contexts = contexts(&settings, &live, &cluster, &directory, &metrics);
        let shown = Arc::new(ArcSwap::from_pointee(loaded.describe()));
        let (inside, requests) = console::inside(&Parts {
            live: &live,
            cluster: &cluster,
            registry: &registry,
            directory: &directory,
            contexts: &contexts,
            shown: &shown,
        });
        let door = Arc::new(Door::new(
            Arc::clone(&live.access),
            Arc::clone(&live.admission),
            Arc::clone(&registry),
            Arc::clone(&inside),
            Peers::new(Arc::clone(&live.peers)),
            Gate::new(Arc::clone(&live.replication), Arc::clone(&metrics)),
        ));
        let (stop_accepting, stop) = watch::channel(false);
        let (end_threads, end) = watch::channel(false);
        let threads = start_workers(&settings, &contexts, &door, &stop, &end)?;
        phase.send_replace(Phase::Serving);
        Ok(Self {
            loaded,
            reread,
            live,
            cluster,
            registry,
            directory,
            inside,
            requests,
            shown,
            threads,
            stop_accepting,
            end_threads,
            phase,
            _monitor: monitor,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When signals can't be received.
    pub async fn run(mut self) -> Result<(), StartError> {
        let mut signals = Signals::new()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut pause = signal(SignalKind::user_defined1())?;
        let mut resume = signal(SignalKind::user_defined2())?;
        let mode = loop {
            tokio::select! {
                _ = hangup.recv() => drop(self.reload()),
                _ = pause.recv() => admin::pause_all(&self.inside),
                _ = resume.recv() => admin::resume_all(&self.inside),
                stop = signals.stop() => break stop,
                // The console holds a sender as long as this runs.
                Some(request) = self.requests.recv() => match request {
                    // Who asked may be gone; it was done all the same.
                    Request::Reload(answer) => drop(answer.send(self.reload())),
                    Request::Shutdown(mode) => break Stop::Drain(mode),
                },
            }
        };
        if let Stop::Drain(mode) = mode {
            self.drain(mode, &mut signals).await;
        }
        self.finish();
        Ok(())
    }

    /// Reads the configuration again; a bad one changes nothing. Tells what waits for a restart.
    fn reload(&mut self) -> Result<Option<Report>, Report> {
        let next = match (self.reread)() {
            Ok(next) => next,
            Err(problems) => {
                return Err(refuse_reload(&problems));
            }
        };
        let (next, changes) = match self.loaded.reload(&next) {
            Ok(result) => result,
            Err(problems) => {
                return Err(refuse_reload(&problems));
            }
        };
        if let Err(error) = self.live.replace(&next.settings) {
            tracing::error!(%error, "reload: nothing was changed");
            return Err(Report::new(
                sqlstate::CONFIG_FILE_ERROR,
                format!("the configuration was not changed: {error}"),
            ));
        }
        self.directory.resize();
        tuning::tell_cluster(&self.cluster, &next.settings);
        crate::app::log::set_level(&next.settings.log.level);
        tracing::info!(changed = ?changes.live, "configuration reloaded");
        if !changes.restart.is_empty() {
            tracing::warn!(needs_restart = ?changes.restart, "these changes wait for a restart");
        }
        self.shown.store(Arc::new(next.describe()));
        self.loaded = next;
        Ok(console::waits_for_restart(&changes.restart))
    }

    /// Lets no new clients in and waits for what `mode` says; another signal ends the wait.
    async fn drain(&mut self, mut mode: ShutdownMode, signals: &mut Signals) {
        let patience = self.live.settings.load().drain_timeout;
        tracing::info!(clients = self.registry.len(), ?mode, limit = ?patience, "draining");
        self.phase.send_replace(Phase::Draining);
        self.stop_accepting.send_replace(true);
        let mut deadline = Instant::now() + patience;
        while mode != ShutdownMode::Now {
            tokio::select! {
                () = emptied(&self.registry, mode) => {
                    tracing::info!("drained");
                    break;
                }
                () = tokio::time::sleep_until(deadline), if mode == ShutdownMode::WaitForServers => {
                    tracing::warn!(clients = self.registry.len(), "drain_timeout passed");
                    break;
                }
                _ = signals.stop() => break,
                Some(request) = self.requests.recv() => match request {
                    Request::Reload(answer) => drop(answer.send(self.reload())),
                    Request::Shutdown(next) => {
                        mode = next;
                        deadline = Instant::now() + patience;
                    }
                },
            }
        }
        for client in self.registry.clients() {
            client.signal(Signal::Shutdown);
        }
        let gone = async {
            while !self.registry.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), gone)
            .await
            .is_err()
        {
            tracing::warn!(clients = self.registry.len(), "clients left behind");
        }
    }

    /// Ends the worker threads.
    fn finish(self) {
        self.end_threads.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        tracing::info!("stopped");
    }
}

/// The signals that end the instance.
struct Signals {
    terminate: UnixSignal,
    interrupt: UnixSignal,
    quit: UnixSignal,
}

/// What a signal or a command asks for.
enum Stop {
    /// End without a word.
    Quit,
    /// End after this.
    Drain(ShutdownMode),
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for one of them.
    async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Drain(ShutdownMode::WaitForServers),
            _ = self.interrupt.recv() => Stop::Drain(ShutdownMode::WaitForServers),
            _ = self.quit.recv() => Stop::Quit,
        }
    }
}

/// Waits until no client is left, having each end as soon as `mode` says.
async fn emptied(registry: &Registry, mode: ShutdownMode) {
    while !registry.is_empty() {
        if mode == ShutdownMode::WaitForServers {
            for client in registry.clients() {
                client.signal(Signal::Drain);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn refuse_reload(problems: &Problems) -> Report {
    for problem in problems {
        tracing::error!(%problem, "reload: nothing was changed");
    }
    console::not_reloaded(problems)
}

fn contexts(
    settings: &Settings,
    live: &Live,
    cluster: &Arc<Cluster>,
    directory: &Arc<Directory>,
    metrics: &Arc<Metrics>,
) -> Vec<Arc<Context>> {
    let console: Arc<dyn Console> = Arc::new(AdminConsole {
        cluster: Arc::clone(cluster),
        live: live.clone(),
    });
    (0..settings.workers)
        .map(|worker| {
            Arc::new(Context::new(
                worker,
                Arc::clone(cluster),
                Pools::new(worker, Arc::clone(directory)),
                Arc::clone(metrics),
                Arc::clone(&live.sessions),
                Arc::clone(&console),
                Router::new(rand::random(), ROUTES),
            ))
        })
        .collect()
}

fn start_workers(
    settings: &Settings,
    contexts: &[Arc<Context>],
    door: &Arc<Door>,
    stop: &watch::Receiver<bool>,
    end: &watch::Receiver<bool>,
) -> Result<Vec<std::thread::JoinHandle<()>>, StartError> {
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let listen = |source| StartError::Listen {
            address: *address,
            key: "listen",
            source,
        };
        let socket = listener::bind(*address).map_err(listen)?;
        let bound = socket.local_addr().map_err(listen)?;
        tracing::info!(address = %bound, "listening");
        listeners.push(socket);
    }
    let mut desks = Vec::new();
    let mut inboxes = Vec::new();
    for context in contexts {
        if context.worker == 0 {
            desks.push(Desk {
                context: Arc::clone(context),
                inbox: None,
            });
        } else {
            let (sender, receiver) = listener::inbox();
            desks.push(Desk {
                context: Arc::clone(context),
                inbox: Some(sender),
            });
            inboxes.push((Arc::clone(context), receiver));
        }
    }
    let mut threads = Vec::new();
    for (context, inbox) in inboxes {
        let duty = Duty::Inbox(inbox);
        let worker = Worker {
            context,
            door: Arc::clone(door),
            duty,
            io_uring: settings.io_uring,
            end: end.clone(),
        };
        threads.push(worker.start()?);
    }
    if let Some(first) = contexts.first() {
        let duty = Duty::Accept {
            listeners,
            desks,
            stop: stop.clone(),
        };
        let context = Arc::clone(first);
        let worker = Worker {
            context,
            door: Arc::clone(door),
            duty,
            io_uring: settings.io_uring,
            end: end.clone(),
        };
        threads.push(worker.start()?);
    }
    Ok(threads)
}

fn serve_http(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    cluster: &Arc<Cluster>,
    phase: watch::Receiver<Phase>,
) -> Result<(), StartError> {
    let Some(address) = settings.http.listen else {
        return Ok(());
    };
    let listen = |source| StartError::Listen {
        address,
        key: "http.listen",
        source,
    };
    let socket = listener::bind(address).map_err(listen)?;
    let bound = socket.local_addr().map_err(listen)?;
    let socket = tokio::net::TcpListener::from_std(socket).map_err(listen)?;
    tracing::info!(address = %bound, "serving metrics and health over HTTP");
    let server = Server {
        metrics: Arc::clone(metrics),
        cluster: Arc::clone(cluster),
        phase,
    };
    tokio::spawn(server.run(socket));
    Ok(())
}

pub mod log;
pub use tuning::overrides;
