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
/// the signal was sent. Only then may the connection be lent to somebody else.
///
/// # Errors
/// When the node can't be reached in time.
pub async fn forward(cancel: CancelInFlight, limit: Duration) -> io::Result<()> {
    let result = tokio::time::timeout(limit, send(cancel.key())).await;
    drop(cancel);
    result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Cancels what runs on a connection that nobody waits for any more.
pub async fn abandon(key: &BackendKey) {
    match tokio::time::timeout(TIMEOUT, send(key)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            tracing::debug!(node = %key.host, port = key.port, error = %e, "cancel failed")
        }
        Err(_) => tracing::debug!(node = %key.host, port = key.port, "cancel timed out"),
    }
}

async fn send(key: &BackendKey) -> io::Result<()> {
    let mut tcp = TcpStream::connect((key.host.as_str(), key.port)).await?;
    let mut out = BytesMut::new();
    startup::cancel_request(&mut out, key.pid, &key.secret);
    tcp.write_all(&out).await?;
    let mut nothing = [0; 1];
    // The server answers nothing and closes.
    let _eof = tcp.read(&mut nothing).await?;
    Ok(())
}
