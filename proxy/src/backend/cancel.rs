//! Sending a cancel request to a server (PostgreSQL docs, 55.2.9).

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::protocol::startup;
use crate::registry::{BackendKey, CancelInFlight};

/// How long a cancel request of our own may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the request and waits until the server has closed the connection, which it does after
/// the signal was sent. Only then may the connection be lent to somebody else; when that is not
/// seen, it never is again.
///
/// # Errors
/// When the node can't be reached in time.
pub async fn forward(cancel: CancelInFlight, limit: Duration) -> io::Result<()> {
    let key = cancel.key();
    let sent = tokio::time::timeout(limit, send(&key.host, key.port, key.pid, &key.secret)).await;
    let result = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if result.is_err() {
        cancel.lost_sight();
    }
    result
}

/// Sends a request on to the instance of pgconvoy that its key names.
///
/// # Errors
/// When that can't be reached within `limit`.
pub async fn pass_on(
    host: &str,
    port: u16,
    pid: i32,
    secret: &[u8],
    limit: Duration,
) -> io::Result<()> {
    tokio::time::timeout(limit, send(host, port, pid, secret))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Cancels what runs on a connection that nobody waits for any more.
pub async fn abandon(key: &BackendKey) {
    match tokio::time::timeout(TIMEOUT, send(&key.host, key.port, key.pid, &key.secret)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            tracing::debug!(node = %key.host, port = key.port, error = %e, "cancel failed")
        }
        Err(_) => tracing::debug!(node = %key.host, port = key.port, "cancel timed out"),
    }
}

async fn send(host: &str, port: u16, pid: i32, secret: &[u8]) -> io::Result<()> {
    let mut tcp = TcpStream::connect((host, port)).await?;
    let mut out = BytesMut::new();
    startup::cancel_request(&mut out, pid, secret);
    tcp.write_all(&out).await?;
    let mut nothing = [0; 1];
    // The server answers nothing and closes.
    let _eof = tcp.read(&mut nothing).await?;
    Ok(())
}
