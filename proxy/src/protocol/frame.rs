//! The framing of everything that is relayed: five header bytes say what a message is and where it
//! ends. Pure, allocates nothing, looks at no body; a length is checked before anybody waits for
//! that many bytes. It must not know what a session does with a message.

use std::ops::RangeInclusive;

use thiserror::Error;

use super::sqlstate;

/// A type byte and a length word (PostgreSQL docs, "Message Formats").
pub const HEADER: usize = 5;

/// The longest length word PostgreSQL accepts or makes: its largest allocation less one byte.
pub const LARGE: usize = 0x3fff_fffe;

/// The longest length word of messages that have no business being long (PostgreSQL's own limit).
pub const SMALL: usize = 10_000;

/// The longest length word of a message that answers an authentication request.
pub const AUTHENTICATION: usize = 65_535;

/// ParameterStatus and ParameterDescription are unbounded in the protocol, and held whole by us.
const MEDIUM: usize = 1 << 20;

/// What is wrong with the bytes a peer sent. Nothing that follows them can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length word is negative, too small to count itself, or past the limit of its type.
    #[error("invalid length {declared} of message type {}", printable(*tag))]
    Length { tag: u8, declared: i32 },
    /// No message of this side of the protocol has this type byte.
    #[error("invalid message type {}", printable(*tag))]
    UnknownType { tag: u8 },
    /// The frame is sound but its content is not.
    #[error("invalid {message} message: {reason}")]
    Body {
        message: &'static str,
        reason: &'static str,
    },
}

impl FrameError {
    /// Always a protocol violation.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        sqlstate::PROTOCOL_VIOLATION
    }
}

fn printable(tag: u8) -> String {
    if tag.is_ascii_graphic() {
        format!("'{}'", char::from(tag))
    } else {
        format!("0x{tag:02x}")
    }
}

/// One message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// The whole frame in bytes: type byte, length word and body. At least [`HEADER`].
    pub len: usize,
}

impl Header {
    /// Bytes after the header.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.len.saturating_sub(HEADER)
    }
}

/// Reads a header whose type is anybody's guess; `None` until five bytes are there.
///
/// # Errors
/// [`FrameError::Length`] when the length word is under 4 or over [`LARGE`].
#[inline]
pub fn peek(buf: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some((tag, declared)) = split(buf) else {
        return Ok(None);
    };
    bounded(tag, declared, &(4..=LARGE)).map(Some)
}

/// Reads the header of a message from a client, within the limits of its type.
///
/// # Errors
/// [`FrameError::UnknownType`], or [`FrameError::Length`] when the length is not one this type
/// can have.
#[inline]
pub fn peek_frontend(buf: &[u8]) -> Result<Option<(Frontend, Header)>, FrameError> {
    let Some((tag, declared)) = split(buf) else {
        return Ok(None);
    };
    let kind = Frontend::from_tag(tag).ok_or(FrameError::UnknownType { tag })?;
    let header = bounded(tag, declared, &kind.lengths())?;
    Ok(Some((kind, header)))
}

/// Reads the header of a message from a server, within the limits of its type.
///
/// # Errors
/// [`FrameError::UnknownType`], or [`FrameError::Length`] when the length is not one this type
/// can have.
#[inline]
pub fn peek_backend(buf: &[u8]) -> Result<Option<(Backend, Header)>, FrameError> {
    let Some((tag, declared)) = split(buf) else {
        return Ok(None);
    };
    let kind = Backend::from_tag(tag).ok_or(FrameError::UnknownType { tag })?;
    let header = bounded(tag, declared, &kind.lengths())?;
    Ok(Some((kind, header)))
}

#[inline]
fn split(buf: &[u8]) -> Option<(u8, i32)> {
    match buf {
        [tag, a, b, c, d, ..] => Some((*tag, i32::from_be_bytes([*a, *b, *c, *d]))),
        _ => None,
    }
}

#[inline]
fn bounded(tag: u8, declared: i32, limits: &RangeInclusive<usize>) -> Result<Header, FrameError> {
    match usize::try_from(declared) {
        Ok(length) if limits.contains(&length) => Ok(Header {
            tag,
            len: length + 1,
        }),
        Ok(_) | Err(_) => Err(FrameError::Length { tag, declared }),
    }
}

/// The messages a client may send after its startup packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frontend {
    Query,
    Parse,
    Bind,
    Execute,
    Describe,
    Close,
    Sync,
    Flush,
    CopyData,
    CopyDone,
    CopyFail,
    FunctionCall,
    /// PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share a type byte.
    Password,
    Terminate,
}

impl Frontend {
    /// `None` for a byte no client message begins with.
    #[inline]
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            b'Q' => Self::Query,
            b'P' => Self::Parse,
            b'B' => Self::Bind,
            b'E' => Self::Execute,
            b'D' => Self::Describe,
            b'C' => Self::Close,
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail,
            b'F' => Self::FunctionCall,
            b'p' => Self::Password,
            b'X' => Self::Terminate,
            _ => return None,
        })
    }

    /// Which length words are possible: from the smallest body the format allows to a limit.
    #[inline]
    #[must_use]
    pub fn lengths(self) -> RangeInclusive<usize> {
        match self {
            Self::Query => 5..=LARGE,
            Self::Parse => 8..=LARGE,
            Self::Bind => 12..=LARGE,
            Self::FunctionCall => 14..=LARGE,
            Self::CopyData => 4..=LARGE,
            Self::Execute => 9..=SMALL,
            Self::Describe | Self::Close => 6..=SMALL,
            Self::CopyFail => 5..=SMALL,
            Self::Sync | Self::Flush | Self::CopyDone | Self::Terminate => 4..=4,
            Self::Password => 4..=AUTHENTICATION,
        }
    }
}

/// The messages a server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    Authentication,
    BackendKeyData,
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyInResponse,
    CopyOutResponse,
    CopyBothResponse,
    CopyData,
    CopyDone,
    DataRow,
    EmptyQueryResponse,
    ErrorResponse,
    FunctionCallResponse,
    NegotiateProtocolVersion,
    NoData,
    NoticeResponse,
    NotificationResponse,
    ParameterDescription,
    ParameterStatus,
    ParseComplete,
    PortalSuspended,
    ReadyForQuery,
    RowDescription,
}

impl Backend {
    /// `None` for a byte no server message begins with.
    #[inline]
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            b'R' => Self::Authentication,
            b'K' => Self::BackendKeyData,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'C' => Self::CommandComplete,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'W' => Self::CopyBothResponse,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'D' => Self::DataRow,
            b'I' => Self::EmptyQueryResponse,
            b'E' => Self::ErrorResponse,
            b'V' => Self::FunctionCallResponse,
            b'v' => Self::NegotiateProtocolVersion,
            b'n' => Self::NoData,
            b'N' => Self::NoticeResponse,
            b'A' => Self::NotificationResponse,
            b't' => Self::ParameterDescription,
            b'S' => Self::ParameterStatus,
            b'1' => Self::ParseComplete,
            b's' => Self::PortalSuspended,
            b'Z' => Self::ReadyForQuery,
            b'T' => Self::RowDescription,
            _ => return None,
        })
    }

    /// Which length words are possible: from the smallest body the format allows to a limit.
    #[inline]
    #[must_use]
    pub fn lengths(self) -> RangeInclusive<usize> {
        match self {
            Self::DataRow | Self::RowDescription => 6..=LARGE,
            Self::FunctionCallResponse => 8..=LARGE,
            Self::NotificationResponse => 10..=LARGE,
            // Some servers and poolers end an error without its terminator; that is survivable.
            Self::CopyData | Self::ErrorResponse | Self::NoticeResponse => 4..=LARGE,
            Self::ParameterStatus | Self::ParameterDescription => 6..=MEDIUM,
            Self::Authentication => 8..=AUTHENTICATION,
            Self::NegotiateProtocolVersion => 12..=SMALL,
            Self::BackendKeyData => 12..=264,
            Self::CommandComplete => 5..=SMALL,
            Self::CopyInResponse | Self::CopyOutResponse | Self::CopyBothResponse => 7..=SMALL,
            Self::ReadyForQuery => 5..=5,
            Self::BindComplete
            | Self::CloseComplete
            | Self::CopyDone
            | Self::EmptyQueryResponse
            | Self::NoData
            | Self::ParseComplete
            | Self::PortalSuspended => 4..=4,
        }
    }
}

/// The byte ReadyForQuery carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TransactionStatus {
    Idle = b'I',
    InTransaction = b'T',
    Failed = b'E',
}

impl TransactionStatus {
    /// `None` for a byte that is no status.
    #[inline]
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    #[inline]
    #[must_use]
    pub fn as_byte(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests;
