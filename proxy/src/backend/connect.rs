//! Opening a server connection: TCP, login, and what can go wrong with either.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::login::{self, LoginError, LoginTarget};
use super::reported::Reported;
use crate::auth::secret::Credential;
use crate::error::Report;
use crate::net::Stream;
use crate::protocol::sqlstate;
use crate::registry::BackendKey;

/// Which server, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role to log in as.
    pub user: Arc<str>,
    /// Database on the server.
    pub database: Arc<str>,
    /// How to prove it; `None` works with servers that trust us.
    pub credential: Option<Credential>,
}

/// Why no connection could be opened.
#[derive(Clone, Debug)]
pub enum ConnectError {
    /// Nobody answers there (or not in time): the node is in trouble, another may do.
    Unreachable(Report),
    /// The server answered that it can't right now (57P03 starting up, 53300 too many).
    NotNow(Report),
    /// The server refused this user, database or password: another try changes nothing.
    Refused(Report),
}

impl ConnectError {
    /// What the client is told.
    #[must_use]
    pub fn report(&self) -> &Report {
        match self {
            Self::Unreachable(r) | Self::NotNow(r) | Self::Refused(r) => r,
        }
    }
}

/// Opens a connection and logs in.
///
/// # Errors
/// [`ConnectError`], which names the node and what to do.
pub async fn connect(target: &Target, timeout: Duration) -> Result<Connection, ConnectError> {
    connect_as(target, &[], timeout).await
}

/// The same with startup parameters of the connection's own: none that can be lent to others.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as(
    target: &Target,
    parameters: &[(String, String)],
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    let at = format!("{}:{}", target.host, target.port);
    match tokio::time::timeout(timeout, open(target, parameters, &at)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Unreachable(
            Report::new(
                sqlstate::CONNECTION_FAILURE,
                format!("no answer from node {at} within {timeout:?}"),
            )
            .hint("Check the node and the network, or raise pool.connect_timeout."),
        )),
    }
}

async fn open(
    target: &Target,
    parameters: &[(String, String)],
    at: &str,
) -> Result<Connection, ConnectError> {
    let unreachable = |e: std::io::Error| {
        ConnectError::Unreachable(Report::new(
            sqlstate::CONNECTION_FAILURE,
            format!("cannot connect to node {at}: {e}"),
        ))
    };
    let tcp = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(unreachable)?;
    let mut stream = Stream::connected(tcp).map_err(unreachable)?;
    let mut buf = BytesMut::with_capacity(2048);
    let who = LoginTarget {
        user: &target.user,
        database: &target.database,
        parameters,
    };
    let greeting = login::login(&mut stream, &mut buf, &who, target.credential.as_ref())
        .await
        .map_err(|e| refused(&e, at))?;
    let key = BackendKey {
        host: target.host.clone(),
        port: target.port,
        pid: greeting.pid,
        secret: greeting.key.to_vec(),
        cancels: 0.into(),
        doomed: false.into(),
    };
    Ok(Connection::new(
        stream,
        key,
        Reported::new(greeting.parameters),
    ))
}

fn refused(error: &LoginError, at: &str) -> ConnectError {
    let report = error.report(at);
    if error.is_connection_lost() {
        ConnectError::Unreachable(report)
    } else if error.retryable() {
        ConnectError::NotNow(report)
    } else {
        ConnectError::Refused(report)
    }
}
