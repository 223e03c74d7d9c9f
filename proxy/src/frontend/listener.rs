//! Accepting clients and handing each to the worker that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::door::Door;
use crate::net::{self, Stream};
use crate::session::{Admitted, Context};

/// Connections that wait for the acceptor, and for a worker.
const BACKLOG: u32 = 4096;

/// The pause after a failed accept (no descriptors left, most likely).
const PAUSE: Duration = Duration::from_millis(50);

/// A connection on its way to its worker.
pub type Arrival = (std::net::TcpStream, SocketAddr, Admitted);

/// A worker, as the acceptor sees it.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Its context, which counts its clients.
    pub context: Arc<Context>,
    /// Its inbox; `None` for the acceptor's own worker.
    pub inbox: Option<mpsc::Sender<Arrival>>,
}

/// Opens a listening socket.
///
/// # Errors
/// When the address can't be had.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What it accepts inherits them.
    net::set_options(socket2::SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// An inbox for a worker.
#[must_use]
pub fn inbox() -> (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>) {
    mpsc::channel(BACKLOG as usize)
}

/// Accepts until `stop` says so. Runs on a worker, which serves its share itself.
pub async fn accept(
    listener: TcpListener,
    desks: Vec<Desk>,
    door: Arc<Door>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((tcp, address)) => seat(tcp, address, &desks, &door),
            Err(e) => {
                tracing::warn!(error = %e, "could not accept a client");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn seat(tcp: TcpStream, address: SocketAddr, desks: &[Desk], door: &Arc<Door>) {
    let fewest = desks
        .iter()
        .min_by_key(|d| d.context.clients.load(Ordering::Relaxed));
    let Some(desk) = fewest else { return };
    desk.context.metrics.client_connections_total.inc();
    // Counted here, so that a burst is spread.
    let admitted = desk.context.admit();
    let sent = match &desk.inbox {
        None => {
            serve(&desk.context, door, tcp, address, admitted);
            Ok(())
        }
        Some(inbox) => tcp.into_std().and_then(|tcp| {
            inbox
                .try_send((tcp, address, admitted))
                .map_err(|_| io::ErrorKind::ConnectionRefused.into())
        }),
    };
    if let Err(e) = sent {
        tracing::debug!(client = %address, error = %e, "client lost before its first byte");
    }
}

/// Serves what arrives, until the acceptor is gone.
pub async fn work(context: Arc<Context>, door: Arc<Door>, mut inbox: mpsc::Receiver<Arrival>) {
    while let Some((tcp, address, admitted)) = inbox.recv().await {
        match TcpStream::from_std(tcp) {
            Ok(tcp) => serve(&context, &door, tcp, address, admitted),
            Err(e) => {
                tracing::debug!(client = %address, error = %e, "client lost before its first byte");
            }
        }
    }
}

fn serve(
    context: &Arc<Context>,
    door: &Arc<Door>,
    tcp: TcpStream,
    address: SocketAddr,
    admitted: Admitted,
) {
    let stream = Stream::accepted(tcp);
    tokio::spawn(Arc::clone(door).serve(Arc::clone(context), stream, address, admitted));
}
