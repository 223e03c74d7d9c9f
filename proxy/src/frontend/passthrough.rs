//! A client and a server connection of its own: bytes go both ways as they came, until one side
//! closes, the node no longer is what was asked for, or the instance shuts down.
//!
//! Bounded: what one side does not take, the other is not read for. Messages are not understood;
//! only their ends are noted, since words of ours fit between two of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::replication::{Opened, Place};
use crate::backend::cancel;
use crate::backend::connection::Connection;
use crate::cluster::{Cluster, Node};
use crate::error::Report;
use crate::metrics::Direction;
use crate::net::Stream;
use crate::protocol::boundary::Boundary;
use crate::protocol::error_fields::{ErrorFields, Severity};
use crate::protocol::{sqlstate, to_client};
use crate::registry::{Client, Registration, Signal};
use crate::session::Admitted;

/// With this much unsent in a direction nothing more is read for it.
const HIGH_WATER: usize = 64 * 1024;

/// A read asks for this much room.
const ROOM: usize = 32 * 1024;

/// How long a client may take to read the last words.
const FAREWELL: Duration = Duration::from_secs(2);

/// The pair.
pub(super) struct Passthrough {
    client: Stream,
    server: Connection,
    node: Arc<Node>,
    cluster: Arc<Cluster>,
    /// It ends when another node leads.
    wants_leader: bool,
    /// The client has sent something since the server was last ready.
    asked: bool,
    to_server: Way,
    to_client: Way,
    registration: Registration,
    _admitted: Admitted,
    _place: Place,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    unsent: BytesMut,
    boundary: Boundary,
    /// Nothing more comes.
    closed: bool,
}

/// Why it is over.
enum End {
    /// The client is gone.
    ClientLeft,
    /// The server has closed, and all it said was passed on.
    ServerClosed,
    /// With these words.
    Told(Report),
}

impl Passthrough {
    /// Of a client that has been told that it is ready; `early` is what it sent since.
    pub(super) fn new(
        client: Stream,
        early: BytesMut,
        opened: Opened,
        cluster: Arc<Cluster>,
        registration: Registration,
        admitted: Admitted,
    ) -> Self {
        let mut to_server = Way::default();
        to_server.boundary.pass(&early);
        to_server.unsent = early;
        Self {
            client,
            server: opened.connection,
            node: opened.node,
            cluster,
            wants_leader: opened.wants_leader,
            asked: !to_server.unsent.is_empty(),
            to_server,
            to_client: Way::default(),
            registration,
            _admitted: admitted,
            _place: opened.place,
        }
    }

    /// Passes on until the end.
    pub(super) async fn run(mut self) {
        let address = self.registration.client().address;
        tracing::info!(client = %address, node = self.node.label, "replication connection opened");
        let end = self.pass().await;
        self.registration.client().nothing_to_cancel();
        let report = match end {
            End::ClientLeft => None,
            // Who said goodbye, or was told by the server itself, needs no words of ours.
            End::ServerClosed if self.to_server.boundary.last() == b'X' => None,
            End::ServerClosed if self.to_client.boundary.last() == b'E' => None,
            End::ServerClosed => Some(server_gone(&self.node.label)),
            End::Told(report) => Some(report),
        };
        let cause = report.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(client = %address, node = self.node.label, cause, "replication connection ended");
        self.part_with_client(report.as_ref()).await;
        self.part_with_server();
    }

    async fn pass(&mut self) -> End {
        let registered = Arc::clone(self.registration.client());
        let cluster = Arc::clone(&self.cluster);
        loop {
            let (generation, leader) = {
                let view = cluster.view();
                (view.generation, view.primary)
            };
            if self.wants_leader && leader.is_some_and(|leader| leader != self.node.id) {
                return End::Told(no_longer_leads(&self.node.label));
            }
            tokio::select! {
                end = poll_fn(|cx| self.poll(cx, &registered)) => return end,
                () = cluster.changed(generation) => {}
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, registered: &Client) -> Poll<End> {
        registered.register(cx.waker());
        loop {
            match registered.signalled() {
                Signal::Shutdown => return Poll::Ready(End::Told(shutting_down())),
                // It would never end by itself; but not in the midst of a message.
                Signal::Drain if self.to_client.boundary.is_between() => {
                    return Poll::Ready(End::Told(shutting_down()));
                }
                Signal::Killed => return Poll::Ready(End::Told(killed())),
                Signal::Drain | Signal::None => {}
                // Time limits are about statements, and there are none.
                other @ (Signal::ClientIdle
                | Signal::IdleInTransaction
                | Signal::QueryTimeout
                | Signal::TransactionTimeout) => {
                    registered.take_back(other);
                }
            }
            let down = self
                .to_client
                .step(cx, &mut self.server.stream, &mut self.client);
            let up = self
                .to_server
                .step(cx, &mut self.client, &mut self.server.stream);
            if down.read > 0 && self.to_client.boundary.last() == b'Z' {
                self.asked = false;
            }
            self.asked |= up.read > 0;
            self.node.metrics.bytes(Direction::Received, down.read);
            self.node.metrics.bytes(Direction::Sent, up.read);
            if down.target_lost || self.to_server.closed {
                return Poll::Ready(End::ClientLeft);
            }
            // What can't be sent to the server is told by what it said last.
            if up.target_lost {
                self.to_server.unsent.clear();
            }
            if self.to_client.closed && self.to_client.unsent.is_empty() {
                return Poll::Ready(End::ServerClosed);
            }
            if down.read + up.read == 0 {
                return Poll::Pending;
            }
        }
    }

    /// What was passed on for the client still reaches it, and the last words where there is room.
    async fn part_with_client(&mut self, report: Option<&Report>) {
        let out = &mut self.to_client.unsent;
        let said = report.filter(|_| self.to_client.boundary.is_between());
        if let Some(report) = said {
            to_client::error_response(out, &ErrorFields::of_report(Severity::Fatal, report));
        }
        let client = &mut self.client;
        let told = async {
            poll_fn(|cx| client.poll_drain(cx, out)).await?;
            client.flush().await?;
            if said.is_some() {
                client.linger().await?;
            }
            std::io::Result::Ok(())
        };
        if !matches!(tokio::time::timeout(FAREWELL, told).await, Ok(Ok(()))) {
            tracing::trace!("the client did not wait for the last words");
        }
    }

    /// Whether the server may be doing something for the client, who has not said goodbye.
    fn is_busy(&self) -> bool {
        let ready = matches!(self.to_client.boundary.last(), b'Z' | 0);
        !ready || (self.asked && self.to_server.boundary.last() != b'X')
    }

    /// What the client said last still reaches the server. In a task of its own: the client is gone.
    fn part_with_server(self) {
        let busy = self.is_busy();
        let Self {
            mut server,
            to_server: mut rest,
            to_client,
            _place: place,
            ..
        } = self;
        if to_client.closed {
            return;
        }
        tokio::spawn(async move {
            let flushed = async {
                poll_fn(|cx| server.stream.poll_drain(cx, &mut rest.unsent)).await?;
                server.stream.flush().await
            };
            if !matches!(tokio::time::timeout(FAREWELL, flushed).await, Ok(Ok(()))) {
                tracing::trace!("the server did not take the client's last words");
            }
            if busy {
                // Nobody waits for what still runs there: stop it, then close.
                cancel::abandon(&server.key).await;
            }
            drop(place);
        });
    }
}

/// What one step of a direction came to.
struct Moved {
    /// Bytes read.
    read: u64,
    /// The side that is written to is gone.
    target_lost: bool,
}

impl Way {
    /// Writes what there is, reads if that made room, and writes that.
    fn step(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Moved {
        let mut read = 0;
        let mut target_lost = matches!(to.poll_drain(cx, &mut self.unsent), Poll::Ready(Err(_)));
        if !self.closed && self.unsent.len() < HIGH_WATER {
            self.unsent.reserve(ROOM);
            let before = self.unsent.len();
            match from.poll_fill(cx, &mut self.unsent) {
                Poll::Pending => {}
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.boundary
                        .pass(self.unsent.get(before..).unwrap_or_default());
                    read = n as u64;
                }
                Poll::Ready(Ok(_) | Err(_)) => self.closed = true,
            }
        }
        target_lost |= matches!(to.poll_drain(cx, &mut self.unsent), Poll::Ready(Err(_)));
        Moved { read, target_lost }
    }
}

fn server_gone(node: &str) -> Report {
    Report::new(
        sqlstate::CONNECTION_FAILURE,
        format!("node {node} closed the replication connection without a word"),
    )
    .hint("Connect again; SHOW POOL_NODES tells the state of the nodes.")
}

fn no_longer_leads(node: &str) -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        format!("terminating replication connection: node {node} no longer leads"),
    )
    .hint("Connect again to reach the new primary.")
}

fn killed() -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
    .detail("An administrator of pgconvoy ended it with KILL or KILL_CLIENT.")
}

fn shutting_down() -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating replication connection: pgconvoy is shutting down",
    )
    .hint("Connect again.")
}
