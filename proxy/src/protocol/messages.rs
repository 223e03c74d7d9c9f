//! Decoders of the messages a proxy must understand. Each takes one isolated body (no header),
//! borrows from it, requires it to be used up exactly, assumes no text encoding and never panics.
//! It must not know what is done with a message; what is merely relayed has no decoder.

use memchr::memchr;

use super::cursor::Cursor;
use super::frame::{FrameError, SMALL, TransactionStatus};

/// The longest statement or portal name, as Describe and Execute could name no longer one.
pub const MAX_NAME: usize = SMALL;

/// A statement to prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub query: &'a [u8],
    /// An int16 count and as many type OIDs, as they came.
    pub types: &'a [u8],
}

/// Decodes Parse.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one Parse.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, FrameError> {
    let mut cursor = Cursor::new("Parse", body);
    let name = cursor.text()?;
    let query = cursor.text()?;
    let types = cursor.rest();
    let mut check = Cursor::new("Parse", types);
    let count = usize::from(check.int16()?);
    check.take(count * 4)?;
    check.finish()?;
    Ok(Parse { name, query, types })
}

/// The names a Bind begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindNames<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// Bytes of the body the two names take, terminators counted; the values follow.
    pub used: usize,
}

/// Decodes a Bind's names from the beginning of its body: the values may be huge and still on
/// their way. `None` when more bytes are needed; when the whole body is there, that is an error
/// for the caller to see with [`unterminated`].
///
/// # Errors
/// [`FrameError::Body`] when a name is longer than [`MAX_NAME`].
pub fn bind_names(prefix: &[u8]) -> Result<Option<BindNames<'_>>, FrameError> {
    let Some(portal) = name_at("Bind", prefix)? else {
        return Ok(None);
    };
    let after = &prefix[portal.len() + 1..];
    let Some(statement) = name_at("Bind", after)? else {
        return Ok(None);
    };
    Ok(Some(BindNames {
        portal,
        statement,
        used: portal.len() + statement.len() + 2,
    }))
}

/// The name a Parse begins with, from the beginning of its body; `None` when more is needed.
///
/// # Errors
/// [`FrameError::Body`] when the name is longer than [`MAX_NAME`].
pub fn parse_name(prefix: &[u8]) -> Result<Option<&[u8]>, FrameError> {
    name_at("Parse", prefix)
}

/// The error for a message that is all there and yet lacks a string's end.
#[must_use]
pub fn unterminated(message: &'static str) -> FrameError {
    FrameError::Body {
        message,
        reason: "a string is not terminated",
    }
}

fn name_at<'a>(message: &'static str, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, FrameError> {
    let window = &bytes[..bytes.len().min(MAX_NAME + 1)];
    match memchr(0, window) {
        Some(end) => Ok(Some(&bytes[..end])),
        None if bytes.len() > MAX_NAME => Err(FrameError::Body {
            message,
            reason: "a name is too long",
        }),
        None => Ok(None),
    }
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Target {
    Statement = b'S',
    Portal = b'P',
}

/// A Describe's or Close's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    pub target: Target,
    pub name: &'a [u8],
}

/// Decodes Describe.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one Describe.
pub fn describe(body: &[u8]) -> Result<Named<'_>, FrameError> {
    named(Cursor::new("Describe", body))
}

/// Whether a Describe or Close is of a statement or a portal, as far as its first byte tells. One that
/// is of neither is an error, but no broken message.
#[must_use]
pub fn names_something(body: &[u8]) -> bool {
    matches!(body.first(), Some(b'S' | b'P') | None)
}

/// Decodes Close.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one Close.
pub fn close(body: &[u8]) -> Result<Named<'_>, FrameError> {
    named(Cursor::new("Close", body))
}

fn named(mut cursor: Cursor<'_>) -> Result<Named<'_>, FrameError> {
    let target = match cursor.byte()? {
        b'S' => Target::Statement,
        b'P' => Target::Portal,
        _ => return Err(cursor.error("it names neither a statement nor a portal")),
    };
    let name = cursor.text()?;
    cursor.finish()?;
    Ok(Named { target, name })
}

/// A portal to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a [u8],
    /// Rows before PortalSuspended; 0 (or negative, as PostgreSQL takes it) is all of them.
    pub max_rows: i32,
}

/// Decodes Execute.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one Execute.
pub fn execute(body: &[u8]) -> Result<Execute<'_>, FrameError> {
    let mut cursor = Cursor::new("Execute", body);
    let portal = cursor.text()?;
    let max_rows = cursor.int32()?;
    cursor.finish()?;
    Ok(Execute { portal, max_rows })
}

/// Decodes Query: the statement text without its terminator.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one string.
pub fn query(body: &[u8]) -> Result<&[u8], FrameError> {
    single("Query", body)
}

/// Decodes a cleartext or md5 PasswordMessage.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one string.
pub fn password(body: &[u8]) -> Result<&[u8], FrameError> {
    single("Password", body)
}

/// Decodes CommandComplete: the command tag, such as `INSERT 0 1`.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one string.
pub fn command_complete(body: &[u8]) -> Result<&[u8], FrameError> {
    single("CommandComplete", body)
}

fn single<'a>(message: &'static str, body: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let mut cursor = Cursor::new(message, body);
    let text = cursor.text()?;
    cursor.finish()?;
    Ok(text)
}

/// The first message of a SASL exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    pub mechanism: &'a [u8],
    /// `None` when the client sent no initial response (a length of -1).
    pub data: Option<&'a [u8]>,
}

/// Decodes SASLInitialResponse.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one such message.
pub fn sasl_initial(body: &[u8]) -> Result<SaslInitial<'_>, FrameError> {
    let mut cursor = Cursor::new("SASLInitialResponse", body);
    let mechanism = cursor.text()?;
    let length = cursor.int32()?;
    let data = match usize::try_from(length) {
        Ok(length) => Some(cursor.take(length)?),
        Err(_) if length == -1 => None,
        Err(_) => return Err(cursor.error("its length is negative")),
    };
    cursor.finish()?;
    Ok(SaslInitial { mechanism, data })
}

/// What a server asks for, or says, while a login goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    KerberosV5,
    Cleartext,
    Md5 { salt: [u8; 4] },
    Gss,
    GssContinue,
    Sspi,
    Sasl { mechanisms: Vec<&'a [u8]> },
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    Unknown(i32),
}

/// Decodes any Authentication message.
///
/// # Errors
/// [`FrameError::Body`] when its content does not fit its code.
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, FrameError> {
    let mut cursor = Cursor::new("Authentication", body);
    let decoded = match cursor.int32()? {
        0 => Authentication::Ok,
        2 => Authentication::KerberosV5,
        3 => Authentication::Cleartext,
        5 => Authentication::Md5 {
            salt: cursor.array()?,
        },
        7 => Authentication::Gss,
        8 => {
            cursor.rest();
            Authentication::GssContinue
        }
        9 => Authentication::Sspi,
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                match cursor.text()? {
                    [] => break,
                    mechanism => mechanisms.push(mechanism),
                }
            }
            Authentication::Sasl { mechanisms }
        }
        11 => Authentication::SaslContinue(cursor.rest()),
        12 => Authentication::SaslFinal(cursor.rest()),
        code => {
            cursor.rest();
            Authentication::Unknown(code)
        }
    };
    cursor.finish()?;
    Ok(decoded)
}

/// What a CancelRequest must repeat. `Debug` hides the key: it is a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKey<'a> {
    pub pid: i32,
    /// 4 to 256 bytes (4 before protocol 3.2).
    pub key: &'a [u8],
}

impl std::fmt::Debug for BackendKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKey")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Decodes BackendKeyData.
///
/// # Errors
/// [`FrameError::Body`] when the key is not 4 to 256 bytes long.
pub fn backend_key(body: &[u8]) -> Result<BackendKey<'_>, FrameError> {
    let mut cursor = Cursor::new("BackendKeyData", body);
    let pid = cursor.int32()?;
    let key = cursor.rest();
    if !(4..=256).contains(&key.len()) {
        return Err(cursor.error("the key is not 4 to 256 bytes long"));
    }
    Ok(BackendKey { pid, key })
}

/// Decodes ParameterStatus: name and value.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly two strings.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
    let mut cursor = Cursor::new("ParameterStatus", body);
    let name = cursor.text()?;
    let value = cursor.text()?;
    cursor.finish()?;
    Ok((name, value))
}

/// Decodes ReadyForQuery.
///
/// # Errors
/// [`FrameError::Body`] when it is not one known status byte.
pub fn ready_for_query(body: &[u8]) -> Result<TransactionStatus, FrameError> {
    let mut cursor = Cursor::new("ReadyForQuery", body);
    let byte = cursor.byte()?;
    cursor.finish()?;
    TransactionStatus::from_byte(byte).ok_or_else(|| cursor.error("unknown transaction status"))
}

/// What NOTIFY sends to listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<'a> {
    pub pid: i32,
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

/// Decodes NotificationResponse.
///
/// # Errors
/// [`FrameError::Body`] when it is not exactly one notification.
pub fn notification(body: &[u8]) -> Result<Notification<'_>, FrameError> {
    let mut cursor = Cursor::new("NotificationResponse", body);
    let pid = cursor.int32()?;
    let channel = cursor.text()?;
    let payload = cursor.text()?;
    cursor.finish()?;
    Ok(Notification {
        pid,
        channel,
        payload,
    })
}

/// What an older server says to a newer client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version the server speaks, as `major << 16 | minor`.
    pub newest: i32,
    pub unknown_options: Vec<&'a [u8]>,
}

/// Decodes NegotiateProtocolVersion.
///
/// # Errors
/// [`FrameError::Body`] when the options are not as many as announced.
pub fn negotiate_protocol_version(body: &[u8]) -> Result<NegotiateProtocolVersion<'_>, FrameError> {
    let mut cursor = Cursor::new("NegotiateProtocolVersion", body);
    let newest = cursor.int32()?;
    let count = cursor.int32()?;
    // Nothing is reserved by the announced count: the body itself is the bound.
    let mut unknown_options = Vec::new();
    for _ in 0..count {
        unknown_options.push(cursor.text()?);
    }
    cursor.finish()?;
    Ok(NegotiateProtocolVersion {
        newest,
        unknown_options,
    })
}

#[cfg(test)]
mod tests;
