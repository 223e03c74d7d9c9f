//! The course of a login as a pure machine: one server message in, our answer out. It must not
//! know sockets.

use bytes::{Bytes, BytesMut};

use super::Greeting;
use super::error::LoginError;
use crate::auth::Credential;
use crate::auth::md5::Md5Hash;
use crate::auth::scram::MECHANISM;
use crate::auth::scram_client::{Proof, ScramClient, Source};
use crate::protocol::frame::{Backend, TransactionStatus};
use crate::protocol::messages::{self, Authentication};
use crate::protocol::{ErrorFields, to_server};

/// Notices kept of one login.
const MAX_NOTICES: usize = 16;

/// What the next message from the server may be.
enum Stage<'c> {
    /// Any authentication request, or Ok from one that trusts us.
    Opening,
    /// A password went out: Ok.
    Answered,
    /// Our first SCRAM message went out.
    Greeted(ScramClient<'c>),
    /// Our SCRAM proof went out: the server's.
    Proven(Proof),
    /// The server has proven itself: Ok.
    Verified,
    /// Logged in: parameters, the key, ReadyForQuery.
    Settling,
    /// ReadyForQuery has come; only what a server says on its own may follow.
    Ready,
    /// A step failed; nothing is acceptable any more.
    Broken,
}

/// Whether the login is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Continue,
    Ready,
}

/// One login.
pub(super) struct Exchange<'c> {
    user: &'c str,
    credential: Option<&'c Credential>,
    stage: Stage<'c>,
    greeting: Greeting,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(user: &'c str, credential: Option<&'c Credential>) -> Self {
        let greeting = Greeting {
            parameters: Vec::new(),
            pid: 0,
            key: Bytes::new(),
            notices: Vec::new(),
        };
        Self {
            user,
            credential,
            stage: Stage::Opening,
            greeting,
        }
    }

    pub(super) fn into_greeting(self) -> Greeting {
        self.greeting
    }

    /// Takes one message in and appends the answer, if there is one, to `out`.
    pub(super) fn on_message(
        &mut self,
        kind: Backend,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Step, LoginError> {
        let settled = matches!(self.stage, Stage::Settling | Stage::Ready);
        match kind {
            Backend::ErrorResponse => return Err(LoginError::Refused(ErrorFields::parse(body))),
            Backend::NoticeResponse => {
                if self.greeting.notices.len() < MAX_NOTICES {
                    self.greeting.notices.push(ErrorFields::parse(body));
                }
            }
            Backend::Authentication => self.authenticate(body, out)?,
            // We ask for 3.0 and no options, so that there is nothing to negotiate; a server that
            // says so all the same does no harm.
            Backend::NegotiateProtocolVersion if matches!(self.stage, Stage::Opening) => {
                messages::negotiate_protocol_version(body)?;
            }
            Backend::ParameterStatus if settled => {
                let (name, value) = messages::parameter_status(body)?;
                self.note_parameter(name, value);
            }
            Backend::BackendKeyData if matches!(self.stage, Stage::Settling) => {
                let key = messages::backend_key(body)?;
                self.greeting.pid = key.pid;
                self.greeting.key = Bytes::copy_from_slice(key.key);
            }
            Backend::ReadyForQuery if matches!(self.stage, Stage::Settling) => {
                match messages::ready_for_query(body)? {
                    TransactionStatus::Idle => self.stage = Stage::Ready,
                    TransactionStatus::InTransaction | TransactionStatus::Failed => {
                        return Err(LoginError::NotIdle);
                    }
                }
            }
            Backend::NegotiateProtocolVersion
            | Backend::ParameterStatus
            | Backend::BackendKeyData
            | Backend::ReadyForQuery
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::CommandComplete
            | Backend::CopyInResponse
            | Backend::CopyOutResponse
            | Backend::CopyBothResponse
            | Backend::CopyData
            | Backend::CopyDone
            | Backend::DataRow
            | Backend::EmptyQueryResponse
            | Backend::FunctionCallResponse
            | Backend::NoData
            | Backend::NotificationResponse
            | Backend::ParameterDescription
            | Backend::ParseComplete
            | Backend::PortalSuspended
            | Backend::RowDescription => return Err(LoginError::OutOfTurn { kind }),
        }
        Ok(match self.stage {
            Stage::Ready => Step::Ready,
            Stage::Opening
            | Stage::Answered
            | Stage::Greeted(_)
            | Stage::Proven(_)
            | Stage::Verified
            | Stage::Settling
            | Stage::Broken => Step::Continue,
        })
    }

    fn authenticate(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), LoginError> {
        let out_of_turn = LoginError::OutOfTurn {
            kind: Backend::Authentication,
        };
        let request = messages::authentication(body)?;
        let stage = std::mem::replace(&mut self.stage, Stage::Broken);
        self.stage = match (stage, request) {
            // Not in the midst of SCRAM: a server that skips its own proof may be an impostor.
            (Stage::Opening | Stage::Answered | Stage::Verified, Authentication::Ok) => {
                Stage::Settling
            }
            (Stage::Opening, request) => self.open(request, out)?,
            (Stage::Greeted(client), Authentication::SaslContinue(data)) => {
                let proof = client.challenge(data)?;
                to_server::sasl_response(out, proof.message());
                Stage::Proven(proof)
            }
            (Stage::Proven(proof), Authentication::SaslFinal(data)) => {
                proof.verify(data)?;
                Stage::Verified
            }
            (
                Stage::Answered
                | Stage::Greeted(_)
                | Stage::Proven(_)
                | Stage::Verified
                | Stage::Settling
                | Stage::Ready
                | Stage::Broken,
                _,
            ) => return Err(out_of_turn),
        };
        Ok(())
    }

    /// Answers the server's choice of method.
    fn open(
        &self,
        request: Authentication<'_>,
        out: &mut BytesMut,
    ) -> Result<Stage<'c>, LoginError> {
        match request {
            Authentication::Cleartext => self.cleartext(out),
            Authentication::Md5 { salt } => self.md5(salt, out),
            Authentication::Sasl { mechanisms } => self.sasl(&mechanisms, out),
            Authentication::KerberosV5 => Err(LoginError::Unsupported("Kerberos V5")),
            Authentication::Gss => Err(LoginError::Unsupported("GSSAPI")),
            Authentication::Sspi => Err(LoginError::Unsupported("SSPI")),
            Authentication::Unknown(_) => Err(LoginError::Unsupported("an unknown kind of")),
            Authentication::Ok
            | Authentication::GssContinue
            | Authentication::SaslContinue(_)
            | Authentication::SaslFinal(_) => Err(LoginError::OutOfTurn {
                kind: Backend::Authentication,
            }),
        }
    }

    fn cleartext(&self, out: &mut BytesMut) -> Result<Stage<'c>, LoginError> {
        match self.credential_for("password")? {
            Credential::Plain(password) => to_server::password(out, password.expose()),
            other @ (Credential::Md5Hash(_) | Credential::ScramKeys(_)) => {
                return Err(wrong("password", other));
            }
        }
        Ok(Stage::Answered)
    }

    fn md5(&self, salt: [u8; 4], out: &mut BytesMut) -> Result<Stage<'c>, LoginError> {
        let answer = match self.credential_for("md5")? {
            Credential::Plain(password) => {
                Md5Hash::new(password.expose(), self.user).response(salt)
            }
            Credential::Md5Hash(hash) => hash.response(salt),
            other @ Credential::ScramKeys(_) => return Err(wrong("md5", other)),
        };
        to_server::password(out, &answer);
        Ok(Stage::Answered)
    }

    fn sasl(&self, mechanisms: &[&[u8]], out: &mut BytesMut) -> Result<Stage<'c>, LoginError> {
        if !mechanisms.contains(&MECHANISM.as_bytes()) {
            return Err(LoginError::Unsupported(
                "another SASL mechanism than SCRAM-SHA-256 for",
            ));
        }
        let source = match self.credential_for("scram-sha-256")? {
            Credential::Plain(password) => Source::Password(password),
            Credential::ScramKeys(keys) => Source::Keys(keys),
            other @ Credential::Md5Hash(_) => return Err(wrong("scram-sha-256", other)),
        };
        let client = ScramClient::new(source);
        to_server::sasl_initial(out, MECHANISM, client.message());
        Ok(Stage::Greeted(client))
    }

    fn credential_for(&self, method: &'static str) -> Result<&'c Credential, LoginError> {
        self.credential.ok_or(LoginError::NoCredential(method))
    }

    fn note_parameter(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(value).into_owned();
        match self
            .greeting
            .parameters
            .iter_mut()
            .find(|(known, _)| *known == name)
        {
            Some((_, known)) => *known = value,
            None => self.greeting.parameters.push((name.into_owned(), value)),
        }
    }
}

fn wrong(method: &'static str, credential: &Credential) -> LoginError {
    let credential = match credential {
        Credential::Plain(_) => "a password",
        Credential::Md5Hash(_) => "an md5 hash",
        Credential::ScramKeys(_) => "a SCRAM key",
    };
    LoginError::WrongCredential { method, credential }
}
