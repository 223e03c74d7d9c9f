//! Logging in to a server: startup, any of its methods that we hold a credential for, and its
//! greeting (PostgreSQL docs, "Start-up"). The server is not believed: messages are bounded, their
//! order is checked, and a SCRAM exchange that was begun must be finished by the server, too.
//! It must not know pools, clients or which node this is.

mod error;
mod exchange;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use self::error::LoginError;
use self::exchange::{Exchange, Step};
use crate::auth::Credential;
use crate::protocol::frame::{Backend, HEADER, Header, peek_backend};
use crate::protocol::{ErrorFields, to_server};

/// The longest message a login has use for.
const MAX_MESSAGE: usize = 64 << 10;

/// The most a whole greeting may take. PostgreSQL's takes about 500 bytes.
const MAX_GREETING: usize = 1 << 20;

/// Whom to log in as, where, and with which settings.
#[derive(Debug, Clone, Copy)]
pub struct LoginTarget<'a> {
    pub user: &'a str,
    pub database: &'a str,
    /// Further startup parameters, `replication` and `options` included, sent as they are.
    pub parameters: &'a [(String, String)],
}

/// What a server says of itself at the end of a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Greeting {
    /// ParameterStatus in order of first mention, each name once. Text that is not UTF-8 is
    /// mended, which no parameter of PostgreSQL before version 18 needs.
    pub parameters: Vec<(String, String)>,
    pub pid: i32,
    /// What a CancelRequest must repeat: 4 to 256 bytes, empty when the server gave none.
    pub key: Bytes,
    /// Notices (such as a collation version mismatch) that came along; the first few.
    pub notices: Vec<ErrorFields>,
}

/// The key stays out: it is a secret.
impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeting")
            .field("parameters", &self.parameters)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Logs in with protocol 3.0. On success the server is idle and `buf`, the stream's read buffer,
/// is empty. Not bounded in time: the caller's connect time-out is. Cancel safe in the sense that
/// a stream whose login was dropped can only be closed.
///
/// # Errors
/// [`LoginError`]; the stream must be closed after any.
pub async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
    who: &LoginTarget<'_>,
    credential: Option<&Credential>,
) -> Result<Greeting, LoginError> {
    let mut out = BytesMut::with_capacity(256);
    let names = [("user", who.user), ("database", who.database)];
    let settings = who
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    to_server::startup(&mut out, 0, names.into_iter().chain(settings));

    let mut exchange = Exchange::new(who.user, credential);
    let mut received = 0;
    loop {
        if !out.is_empty() {
            stream
                .write_all_buf(&mut out)
                .await
                .map_err(LoginError::Io)?;
        }
        let (kind, header) = next_frame(stream, buf).await?;
        received += header.len;
        if received > MAX_GREETING {
            return Err(LoginError::TooMuch);
        }
        let frame = buf.split_to(header.len);
        match exchange.on_message(kind, &frame[HEADER..], &mut out)? {
            Step::Continue => {}
            // What the server said on its own after that is taken in as well, to its end: nothing
            // of it may be lost or be left behind in `buf`.
            Step::Ready if buf.is_empty() => return Ok(exchange.into_greeting()),
            Step::Ready => {}
        }
    }
}

/// Reads until a whole frame is at the front of `buf`.
async fn next_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
) -> Result<(Backend, Header), LoginError> {
    loop {
        let wanted = match peek_backend(buf)? {
            Some((kind, header)) if header.len > MAX_MESSAGE => {
                return Err(LoginError::TooLong {
                    kind,
                    length: header.len,
                });
            }
            Some((kind, header)) if header.len <= buf.len() => return Ok((kind, header)),
            Some((_, header)) => header.len - buf.len(),
            None => HEADER,
        };
        buf.reserve(wanted);
        if stream.read_buf(buf).await.map_err(LoginError::Io)? == 0 {
            return Err(LoginError::Closed);
        }
    }
}

#[cfg(test)]
mod tests;
