//! The instance: built, wired, running, reloaded, drained.

mod housekeeping;
mod tuning;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgconvoy_config::{Loaded, Problems, Settings};
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::sync::watch;

use self::tuning::Live;
use self::workers::{Duty, Worker};
use crate::admin;
use crate::cluster::{Cluster, Monitor, NodeId};
use crate::frontend::listener::{self, Desk};
use crate::frontend::peers::Peers;
use crate::frontend::replication::Gate;
use crate::frontend::startup::Door;
use crate::http::{Phase, Server};
use crate::metrics::Metrics;
use crate::pool::pools::{Directory, Pools};
use crate::registry::key::PeerId;
use crate::registry::{Registry, Signal};
use crate::router::{LocalCommand, Router};
use crate::session::{Console, Context};
use crate::status::Table;

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

struct AdminConsole {
    cluster: Arc<Cluster>,
    live: Live,
}

impl Console for AdminConsole {
    fn answer(&self, command: LocalCommand, read_node: Option<NodeId>) -> Table {
        let view = self.cluster.view();
        let rules = self.live.sessions.load().read_rules;
        admin::answer(
            command,
            &admin::Context {
                view: &view,
                rules: &rules,
                read_node,
            },
        )
    }
}

/// A running instance.
pub struct App {
    loaded: Loaded,
    reread: Reread,
    live: Live,
    cluster: Arc<Cluster>,
    registry: Arc<Registry>,
    directory: Arc<Directory>,
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
        let registry = Arc::new(Registry::new(PeerId(settings.peer_id.unwrap_or_default())));
        let access = Arc::clone(&live.access);
        let directory = Directory::new(
            cluster.nodes().to_vec(),
            settings.workers,
            Arc::clone(&live.pools),
            Box::new(move |tenant| access.load().size_of(tenant)),
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
        let door = Arc::new(Door::new(
            Arc::clone(&live.access),
            Arc::clone(&live.admission),
            Arc::clone(&registry),
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
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = quit.recv() => {
                    self.finish();
                    return Ok(());
                }
            }
        }
        self.drain([&mut terminate, &mut interrupt, &mut quit])
            .await;
        self.finish();
        Ok(())
    }

    /// Reads the configuration again; a bad one changes nothing.
    fn reload(&mut self) {
        let next = match (self.reread)() {
            Ok(next) => next,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%problem, "reload: nothing was changed");
                }
                return;
            }
        };
        let (next, changes) = match self.loaded.reload(&next) {
            Ok(result) => result,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%problem, "reload: nothing was changed");
                }
                return;
            }
        };
        if let Err(error) = self.live.replace(&next.settings) {
            tracing::error!(%error, "reload: nothing was changed");
            return;
        }
        self.directory.resize();
        for (node, configured) in self.cluster.nodes().iter().zip(&next.settings.nodes) {
            node.set_weight(configured.weight);
        }
        crate::app::log::set_level(&next.settings.log.level);
        tracing::info!(changed = ?changes.live, "configuration reloaded");
        if !changes.restart.is_empty() {
            tracing::warn!(needs_restart = ?changes.restart, "these changes wait for a restart");
        }
        self.loaded = next;
    }

    /// Lets transactions finish, for a while; another signal ends the wait.
    async fn drain(&self, signals: [&mut UnixSignal; 3]) {
        let limit = self.live.settings.load().drain_timeout;
        tracing::info!(clients = self.registry.len(), ?limit, "draining");
        self.phase.send_replace(Phase::Draining);
        self.stop_accepting.send_replace(true);
        let empty = async {
            while !self.registry.is_empty() {
                for client in self.registry.clients() {
                    client.signal(Signal::Drain);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let [terminate, interrupt, quit] = signals;
        tokio::select! {
            () = empty => tracing::info!("drained"),
            () = tokio::time::sleep(limit) => {
                tracing::warn!(clients = self.registry.len(), "drain_timeout passed");
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
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
