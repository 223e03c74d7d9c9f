//! Why a client was not let in: what it is told, which does not say why, and what the log is told,
//! which does. It must not hold any secret.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::auth::ScramError;
use crate::error::Report;
use crate::protocol::frame::FrameError;
use crate::protocol::sqlstate;

/// Why a proof was refused; for the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    WrongPassword,
    UnknownUser,
    /// What is stored for the user cannot be checked by the method asked for.
    UnfitSecret,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongPassword => "wrong password",
            Self::UnknownUser => "no such user is configured",
            Self::UnfitSecret => "the user's configured secret does not fit the method",
        })
    }
}

/// Every way a client's login fails. `Display` is for the log.
#[derive(Debug, Error)]
pub enum LoginError {
    #[error("password authentication failed for user \"{user}\": {cause}")]
    Denied { user: String, cause: Cause },
    #[error("empty password returned by client")]
    EmptyPassword,
    #[error("expected password response, got message type {tag}")]
    NoPassword { tag: u8 },
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    #[error("{0}")]
    Scram(ScramError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the connection to the client was lost during login: {0}")]
    Io(#[source] io::Error),
    /// As every client does that goes to ask its user for a password.
    #[error("the client closed the connection during login")]
    Closed,
}

impl LoginError {
    /// What the client is told as FATAL; `None` when it is not there any more.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let code = match self {
            // The cause stays here: it would tell known users from unknown ones.
            Self::Denied { user, cause: _ } => {
                return Some(Report::new(
                    sqlstate::INVALID_PASSWORD,
                    format!("password authentication failed for user \"{user}\""),
                ));
            }
            Self::EmptyPassword => sqlstate::INVALID_PASSWORD,
            Self::NoPassword { .. } | Self::Mechanism | Self::Frame(_) => {
                sqlstate::PROTOCOL_VIOLATION
            }
            Self::Scram(ScramError::Unsupported(_)) => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::Scram(
                ScramError::Malformed(_)
                | ScramError::Denied
                | ScramError::OtherSecret
                | ScramError::ServerFailed,
            ) => sqlstate::PROTOCOL_VIOLATION,
            Self::Io(_) | Self::Closed => return None,
        };
        Some(Report::new(code, self.to_string()))
    }
}
