//! The first packet of a connection, which has a length but no type byte (PostgreSQL docs,
//! "Start-up" and "Message Formats"). It comes from anybody, before any authentication: everything
//! is bounded and checked. It must not know how a request is answered, nor what a parameter means.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::cursor::Cursor;
use super::to_server::{CANCEL_CODE, GSSENC_CODE, SSL_CODE};
pub use super::to_server::{cancel_request, ssl_request, startup as startup_message};
use super::{frame::FrameError, sqlstate};

/// The longest body PostgreSQL reads; the length word comes on top.
pub const MAX_BODY: usize = 10_000;

/// Requests that are not startups have this in the place of a major version.
const REQUEST_MAJOR: u16 = 1234;

/// Parameters with this prefix are options of the protocol itself.
const PROTOCOL_OPTION: &str = "_pq_.";

/// Why a first packet is refused; the connection is closed after telling the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartupError {
    #[error("invalid length of startup packet")]
    Length,
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    UnsupportedProtocol { major: u16, minor: u16 },
    #[error("invalid startup packet layout: {0}")]
    Layout(&'static str),
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("startup parameter \"{0}\" is not valid UTF-8")]
    Encoding(String),
}

impl StartupError {
    /// What the client is told (FATAL).
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Length | Self::Layout(_) => sqlstate::PROTOCOL_VIOLATION,
            Self::UnsupportedProtocol { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::NoUser => sqlstate::INVALID_AUTHORIZATION,
            Self::Encoding(_) => sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
        }
    }
}

impl From<FrameError> for StartupError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Length { .. } | FrameError::UnknownType { .. } => Self::Length,
            FrameError::Body { reason, .. } => Self::Layout(reason),
        }
    }
}

/// How long the packet at the beginning of `buf` is, length word counted; `None` until its first
/// four bytes are there.
///
/// # Errors
/// [`StartupError::Length`] when it cannot hold a version or is over PostgreSQL's limit.
pub fn packet_len(buf: &[u8]) -> Result<Option<usize>, StartupError> {
    let Some(word) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    match usize::try_from(i32::from_be_bytes(*word)) {
        Ok(length) if (8..=MAX_BODY + 4).contains(&length) => Ok(Some(length)),
        Ok(_) | Err(_) => Err(StartupError::Length),
    }
}

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    Startup(Startup),
    Ssl,
    GssEnc,
    Cancel(Cancel),
}

/// A request to begin a session with protocol 3.`minor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    pub minor: u16,
    /// In the order sent, protocol options excepted; of equal names the last one counts.
    pub parameters: Vec<(String, String)>,
    /// Names of the `_pq_.` options, whole.
    pub protocol_options: Vec<String>,
}

impl Startup {
    /// The value that counts. Names are compared exactly, as PostgreSQL does here.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Never empty in a packet that was accepted.
    #[must_use]
    pub fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// The user's name stands in where none, or an empty one, was sent.
    #[must_use]
    pub fn database(&self) -> &str {
        self.get("database")
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| self.user())
    }

    /// Whether the client wants to be told the version we speak, 3.`newest_minor`. The message
    /// must be sent only then: clients take a needless one for an error.
    #[must_use]
    pub fn needs_negotiation(&self, newest_minor: u16) -> bool {
        self.minor > newest_minor || !self.protocol_options.is_empty()
    }
}

/// A request to cancel what some connection runs. `Debug` hides the key: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Cancel {
    pub pid: i32,
    /// 4 to 256 bytes.
    pub key: Bytes,
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Decodes one whole packet, length word included; its size is [`packet_len`]'s.
///
/// # Errors
/// Any [`StartupError`]; each is worth a FATAL to the client except for cancel requests, which are
/// never answered.
pub fn first_packet(packet: &[u8]) -> Result<FirstPacket, StartupError> {
    if packet_len(packet)? != Some(packet.len()) {
        return Err(StartupError::Length);
    }
    let mut cursor = Cursor::new("startup", packet);
    cursor.take(4)?;
    let code = cursor.int32()?;
    let [a, b, c, d] = code.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    match (major, code) {
        (3, _) => startup(minor, cursor).map(FirstPacket::Startup),
        (REQUEST_MAJOR, SSL_CODE) => cursor
            .finish()
            .map(|()| FirstPacket::Ssl)
            .map_err(Into::into),
        (REQUEST_MAJOR, GSSENC_CODE) => cursor
            .finish()
            .map(|()| FirstPacket::GssEnc)
            .map_err(Into::into),
        (REQUEST_MAJOR, CANCEL_CODE) => cancel(cursor).map(FirstPacket::Cancel),
        (_, _) => Err(StartupError::UnsupportedProtocol { major, minor }),
    }
}

fn cancel(mut cursor: Cursor<'_>) -> Result<Cancel, StartupError> {
    let pid = cursor.int32()?;
    let key = cursor.rest();
    if !(4..=256).contains(&key.len()) {
        return Err(StartupError::Layout(
            "the cancel key is not 4 to 256 bytes long",
        ));
    }
    Ok(Cancel {
        pid,
        key: Bytes::copy_from_slice(key),
    })
}

fn startup(minor: u16, mut cursor: Cursor<'_>) -> Result<Startup, StartupError> {
    let mut parameters = Vec::new();
    let mut protocol_options = Vec::new();
    loop {
        let name = cursor.text()?;
        if name.is_empty() {
            break;
        }
        let name = utf8(name, name)?;
        let value = cursor.text()?;
        if name.starts_with(PROTOCOL_OPTION) {
            protocol_options.push(name);
        } else if name == "application_name" {
            parameters.push((name, ascii(value)));
        } else {
            let value = utf8(name.as_bytes(), value)?;
            parameters.push((name, value));
        }
    }
    cursor
        .finish()
        .map_err(|_| StartupError::Layout("expected terminator as last byte"))?;
    let startup = Startup {
        minor,
        parameters,
        protocol_options,
    };
    if startup.user().is_empty() {
        Err(StartupError::NoUser)
    } else {
        Ok(startup)
    }
}

/// Names are keys of pools and of the configuration: two spellings must not fall together, so
/// what is not UTF-8 is refused rather than mended.
fn utf8(name: &[u8], bytes: &[u8]) -> Result<String, StartupError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(StartupError::Encoding(
            String::from_utf8_lossy(name).into_owned(),
        )),
    }
}

/// PostgreSQL (16 and later) writes what is not printable ASCII in an application name as `\xNN`.
/// Doing it here lets a client of any encoding log in.
fn ascii(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            32..=126 => text.push(char::from(*byte)),
            0..=31 | 127..=255 => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests;
