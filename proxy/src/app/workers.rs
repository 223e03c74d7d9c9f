//! The worker threads: one single-threaded runtime each, on which its clients and its server
//! connections live.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::frontend::door::Door;
use crate::frontend::listener::{self, Arrival, Desk};
use crate::net;
use crate::session::Context;

/// The parser of statements is recursive, within limits that are tested against half of this.
const STACK: usize = 4 << 20;

/// How often pools are swept.
const SWEEP: Duration = Duration::from_secs(1);

/// What a worker thread is started with.
pub(super) struct Worker {
    pub(super) context: Arc<Context>,
    pub(super) door: Arc<Door>,
    /// What it serves: its inbox, or, on the first worker, the listeners themselves.
    pub(super) duty: Duty,
    /// Whether to send with io_uring where there is one.
    pub(super) io_uring: bool,
    /// True when the thread shall end.
    pub(super) end: watch::Receiver<bool>,
}

/// Where a worker's clients come from.
pub(super) enum Duty {
    /// From the acceptor.
    Inbox(mpsc::Receiver<Arrival>),
    /// It is the acceptor.
    Accept {
        listeners: Vec<std::net::TcpListener>,
        desks: Vec<Desk>,
        stop: watch::Receiver<bool>,
    },
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(net::flush)
            .build()?;
        std::thread::Builder::new()
            .name(format!("worker-{}", self.context.worker))
            .stack_size(STACK)
            .spawn(move || {
                if self.io_uring {
                    use_io_uring();
                }
                runtime.block_on(self.run());
            })
    }

    async fn run(self) {
        let Self {
            context,
            door,
            duty,
            io_uring: _,
            mut end,
        } = self;
        tokio::spawn(sweep(Arc::clone(&context)));
        match duty {
            Duty::Inbox(inbox) => {
                tokio::spawn(listener::work(context, door, inbox));
            }
            Duty::Accept {
                listeners,
                desks,
                stop,
            } => {
                for socket in listeners {
                    match TcpListener::from_std(socket) {
                        Ok(socket) => {
                            let (desks, door) = (desks.clone(), Arc::clone(&door));
                            tokio::spawn(listener::accept(socket, desks, door, stop.clone()));
                        }
                        Err(e) => tracing::error!(error = %e, "cannot listen"),
                    }
                }
            }
        }
        // An error means that the app is gone, which is an end, too.
        let _gone = end.wait_for(|end| *end).await;
    }
}

/// Takes effect for the calling thread.
fn use_io_uring() {
    if let Err(e) = net::install() {
        tracing::info!(error = %e, "no io_uring here: each write is a system call of its own");
    }
}

async fn sweep(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.pools.sweep(clock::now());
        context.publish_routes();
    }
}
