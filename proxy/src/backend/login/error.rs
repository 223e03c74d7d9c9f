//! Why a login to a server failed: what a client may be told of it, and whether another try may
//! help. It must not know which node it was (the caller says) nor hold any secret.

use std::io;

use thiserror::Error;

use crate::auth::ScramError;
use crate::error::Report;
use crate::protocol::frame::{Backend, FrameError};
use crate::protocol::{ErrorFields, sqlstate};

/// Every way a login to a server fails. After any of them the connection is of no use.
#[derive(Debug, Error)]
pub enum LoginError {
    #[error("the connection was lost during login: {0}")]
    Io(#[source] io::Error),
    #[error("the server closed the connection during login")]
    Closed,
    /// The server's own ErrorResponse.
    #[error("the server refused the login: {0}")]
    Refused(ErrorFields),
    #[error("the server broke the protocol during login: {0}")]
    Frame(#[from] FrameError),
    #[error("the server sent {kind:?} out of turn during login")]
    OutOfTurn { kind: Backend },
    #[error("the server sent {kind:?} of {length} bytes during login")]
    TooLong { kind: Backend, length: usize },
    #[error("the server's greeting is over 1 MiB long")]
    TooMuch,
    #[error("the server was not idle after login")]
    NotIdle,
    /// An authentication method we do not speak.
    #[error("the server asks for {0} authentication, which is not supported")]
    Unsupported(&'static str),
    /// The server asks for a proof and nothing is configured or known to prove it with.
    #[error("the server asks for {0} authentication and no password is known for the user")]
    NoCredential(&'static str),
    /// What is known of the user's secret proves nothing by this method.
    #[error(
        "the server asks for {method} authentication, which cannot be answered with {credential}"
    )]
    WrongCredential {
        method: &'static str,
        credential: &'static str,
    },
    #[error("SCRAM with the server failed: {0}")]
    Scram(#[from] ScramError),
}

impl LoginError {
    /// Whether the node, or the way to it, is in trouble rather than unwilling.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Io(_) | Self::Closed => true,
            Self::Refused(fields) => matches!(
                fields.sqlstate(),
                sqlstate::ADMIN_SHUTDOWN | sqlstate::CRASH_SHUTDOWN
            ),
            Self::Frame(_)
            | Self::OutOfTurn { .. }
            | Self::TooLong { .. }
            | Self::TooMuch
            | Self::NotIdle
            | Self::Unsupported(_)
            | Self::NoCredential(_)
            | Self::WrongCredential { .. }
            | Self::Scram(_) => false,
        }
    }

    /// Whether the same login may succeed later: the server is starting up, shutting down or full,
    /// or the connection was lost.
    #[must_use]
    pub fn retryable(&self) -> bool {
        let refused_for_now = match self {
            Self::Refused(fields) => matches!(
                fields.sqlstate(),
                sqlstate::CANNOT_CONNECT_NOW | sqlstate::TOO_MANY_CONNECTIONS
            ),
            Self::Io(_)
            | Self::Closed
            | Self::Frame(_)
            | Self::OutOfTurn { .. }
            | Self::TooLong { .. }
            | Self::TooMuch
            | Self::NotIdle
            | Self::Unsupported(_)
            | Self::NoCredential(_)
            | Self::WrongCredential { .. }
            | Self::Scram(_) => false,
        };
        refused_for_now || self.is_connection_lost()
    }

    /// What the client is told; `at` names the node. A server's own words are passed on whole, so
    /// that a missing database reads as it does without a proxy.
    #[must_use]
    pub fn report(&self, at: &str) -> Report {
        let about = |code: &'static str| Report::new(code, format!("login to node {at}: {self}"));
        match self {
            Self::Refused(fields) => {
                let mut report = fields.to_report();
                report
                    .detail
                    .get_or_insert_with(|| format!("Node {at} refused the login."));
                if fields.sqlstate() == sqlstate::INVALID_PASSWORD {
                    report.hint.get_or_insert(
                        "Check that pgconvoy and this server hold the same password for the user."
                            .into(),
                    );
                }
                report
            }
            Self::Io(_) | Self::Closed => about(sqlstate::CONNECTION_FAILURE),
            Self::Frame(_)
            | Self::OutOfTurn { .. }
            | Self::TooLong { .. }
            | Self::TooMuch
            | Self::NotIdle => about(sqlstate::PROTOCOL_VIOLATION)
                .hint("Check that the node's address is that of a PostgreSQL server."),
            Self::Unsupported(_) => about(sqlstate::FEATURE_NOT_SUPPORTED)
                .hint("Use scram-sha-256, md5, password or trust for pgconvoy in pg_hba.conf."),
            Self::NoCredential(_) => about(sqlstate::INVALID_AUTHORIZATION)
                .hint("Give the user's password in a [[user]] section."),
            Self::WrongCredential { .. } | Self::Scram(ScramError::OtherSecret) => {
                about(sqlstate::INVALID_AUTHORIZATION).hint(
                    "Give the user's password as plain text, or as the very SCRAM verifier that \
                     the server holds.",
                )
            }
            Self::Scram(_) => about(sqlstate::INVALID_AUTHORIZATION),
        }
    }
}
