//! Proving who a client is: the exchange between its startup packet and AuthenticationOk, for
//! trust, cleartext, md5 and SCRAM-SHA-256 (PostgreSQL docs, "Start-up" and "SASL
//! Authentication"). A user who is unknown, or whose secret does not fit the method, takes the
//! same messages and the same time as one with a wrong password. It must not know pools, sessions
//! or where secrets are configured.

mod error;

use bytes::{Bytes, BytesMut};
use subtle::Choice;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use self::error::{Cause, LoginError};
use crate::auth::scram::MECHANISM;
use crate::auth::scram_server::{ScramServer, Standing};
use crate::auth::secret::Password;
use crate::auth::{Credential, MockKey, Stored};
use crate::protocol::frame::{Frontend, HEADER, Header, peek_frontend};
use crate::protocol::{messages, to_client};

/// How a client must prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    Trust,
    /// By its password, in clear text.
    Password,
    Md5,
    ScramSha256,
}

/// What a client's proof is held against.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub method: Method,
    /// `None` is an unknown user, who fails by every method but trust.
    pub stored: Option<&'a Stored>,
    pub mock: &'a MockKey,
}

/// A client that may come in.
#[derive(Debug)]
pub struct Authenticated {
    /// What logins to servers in its name may be made with, as far as it is known now.
    pub credential: Option<Credential>,
}

/// Runs the exchange. On success `out` holds what must go to the client just before
/// AuthenticationOk, which the caller sends, in the same write. On failure the caller sends
/// [`LoginError::report`] as FATAL and closes. Not bounded in time: the caller's login time-out is.
///
/// `buf` is the stream's read buffer; what follows the last password message stays in it.
///
/// # Errors
/// [`LoginError`], after any of which the connection must be closed.
pub async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buf: &mut BytesMut,
    out: &mut BytesMut,
    user: &str,
    rule: &Rule<'_>,
) -> Result<Authenticated, LoginError> {
    let mut client = Client {
        stream,
        buf,
        out,
        user,
    };
    let credential = match rule.method {
        Method::Trust => rule.stored.and_then(Stored::credential),
        Method::Password => Some(client.cleartext(rule).await?),
        Method::Md5 => client.md5(rule).await?,
        Method::ScramSha256 => Some(client.scram(rule).await?),
    };
    Ok(Authenticated { credential })
}

/// One client during its exchange.
struct Client<'a, S> {
    stream: &'a mut S,
    buf: &'a mut BytesMut,
    out: &'a mut BytesMut,
    user: &'a str,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<'_, S> {
    /// The password itself came, so that a server may be shown it by any method.
    async fn cleartext(&mut self, rule: &Rule<'_>) -> Result<Credential, LoginError> {
        to_client::authentication_cleartext(self.out);
        let frame = self.ask().await?;
        let password = messages::password(&frame)?;
        if password.is_empty() {
            return Err(LoginError::EmptyPassword);
        }
        let matches = match rule.stored {
            Some(stored) => stored.matches(password, self.user, rule.mock),
            None => rule.mock.verifier(self.user).matches(password) & Choice::from(0),
        };
        if !bool::from(matches) {
            return Err(self.denied(cause(rule.stored)));
        }
        // The configured one carries what was derived from it before.
        Ok(match rule.stored {
            Some(Stored::Plain(known)) => Credential::Plain(known.clone()),
            Some(Stored::Md5(_) | Stored::Scram(_)) | None => {
                Credential::Plain(Password::new(password))
            }
        })
    }

    async fn md5(&mut self, rule: &Rule<'_>) -> Result<Option<Credential>, LoginError> {
        let hash = rule.stored.map(|stored| stored.md5_hash(self.user));
        let (hash, cause, genuine) = match hash {
            Some(Some(hash)) => (hash, Cause::WrongPassword, Choice::from(1)),
            Some(None) => (
                rule.mock.md5_hash(self.user),
                Cause::UnfitSecret,
                Choice::from(0),
            ),
            None => (
                rule.mock.md5_hash(self.user),
                Cause::UnknownUser,
                Choice::from(0),
            ),
        };
        let salt = rand::random();
        to_client::authentication_md5(self.out, salt);
        let frame = self.ask().await?;
        let answer = messages::password(&frame)?;
        if answer.is_empty() {
            return Err(LoginError::EmptyPassword);
        }
        if bool::from(hash.accepts(salt, answer) & genuine) {
            Ok(rule.stored.and_then(Stored::credential))
        } else {
            Err(self.denied(cause))
        }
    }

    /// What the client proves lets us prove the same to servers with the same verifier.
    async fn scram(&mut self, rule: &Rule<'_>) -> Result<Credential, LoginError> {
        let known = rule
            .stored
            .and_then(|stored| stored.scram_verifier(self.user, rule.mock));
        // Made for everybody, so that it takes everybody the same time.
        let mock = rule.mock.verifier(self.user);
        let (verifier, standing, cause) = match (known, rule.stored) {
            (Some(verifier), _) => (verifier, Standing::Genuine, Cause::WrongPassword),
            (None, Some(_)) => (&mock, Standing::Doomed, Cause::UnfitSecret),
            (None, None) => (&mock, Standing::Doomed, Cause::UnknownUser),
        };
        let denied = |client: &Self, error| match error {
            crate::auth::ScramError::Denied => client.denied(cause),
            other => LoginError::Scram(other),
        };

        to_client::authentication_sasl(self.out, &[MECHANISM]);
        let frame = self.ask().await?;
        let initial = messages::sasl_initial(&frame)?;
        if initial.mechanism != MECHANISM.as_bytes() {
            return Err(LoginError::Mechanism);
        }
        let server = ScramServer::new(verifier, standing);
        let challenge = match initial.data {
            Some(data) => server.first(data),
            // A client may wait for an empty challenge before it says anything (RFC 4422).
            None => {
                to_client::authentication_sasl_continue(self.out, b"");
                server.first(&self.ask().await?)
            }
        };
        let challenge = challenge.map_err(LoginError::Scram)?;
        to_client::authentication_sasl_continue(self.out, challenge.message());
        let last = self.ask().await?;
        let accepted = challenge
            .finish(&last)
            .map_err(|error| denied(self, error))?;
        to_client::authentication_sasl_final(self.out, accepted.message());
        Ok(match rule.stored {
            // The password itself answers every method; keys answer only SCRAM.
            Some(Stored::Plain(password)) => Credential::Plain(password.clone()),
            Some(Stored::Md5(_) | Stored::Scram(_)) | None => {
                Credential::ScramKeys(accepted.into_keys())
            }
        })
    }

    fn denied(&self, cause: Cause) -> LoginError {
        LoginError::Denied {
            user: self.user.to_owned(),
            cause,
        }
    }

    /// Sends what is in `out` and waits for the body of the password message that answers it.
    async fn ask(&mut self) -> Result<Bytes, LoginError> {
        self.stream
            .write_all_buf(self.out)
            .await
            .map_err(LoginError::Io)?;
        loop {
            let wanted = match peek_frontend(self.buf)? {
                Some((Frontend::Password, header)) if header.len <= self.buf.len() => {
                    return Ok(self.take(header));
                }
                Some((Frontend::Password, header)) => header.len - self.buf.len(),
                Some((Frontend::Terminate, _)) => return Err(LoginError::Closed),
                Some((
                    Frontend::Query
                    | Frontend::Parse
                    | Frontend::Bind
                    | Frontend::Execute
                    | Frontend::Describe
                    | Frontend::Close
                    | Frontend::Sync
                    | Frontend::Flush
                    | Frontend::CopyData
                    | Frontend::CopyDone
                    | Frontend::CopyFail
                    | Frontend::FunctionCall,
                    header,
                )) => return Err(LoginError::NoPassword { tag: header.tag }),
                None => HEADER,
            };
            self.buf.reserve(wanted);
            if self
                .stream
                .read_buf(self.buf)
                .await
                .map_err(LoginError::Io)?
                == 0
            {
                return Err(LoginError::Closed);
            }
        }
    }

    fn take(&mut self, header: Header) -> Bytes {
        self.buf.split_to(header.len).freeze().slice(HEADER..)
    }
}

fn cause(stored: Option<&Stored>) -> Cause {
    if stored.is_some() {
        Cause::WrongPassword
    } else {
        Cause::UnknownUser
    }
}

#[cfg(test)]
mod tests;
