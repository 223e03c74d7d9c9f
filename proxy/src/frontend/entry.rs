//! The ways in for a client that has proven who it is: a session, the admin console, or a server
//! connection of its own for replication.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::access::{Access, ConsoleRight, Lodging, no_console};
use super::console::{self, Console};
use super::door::{Door, Refused};
use super::passthrough::Passthrough;
use super::replication::Wish;
use super::welcome::Patience;
use crate::admin::PARAMETERS;
use crate::auth::Credential;
use crate::backend::parameters::ParameterSet;
use crate::clock;
use crate::error::Report;
use crate::metrics::RejectReason;
use crate::net::Stream;
use crate::pool::stats::Stat;
use crate::protocol::frame::TransactionStatus;
use crate::protocol::startup::Startup;
use crate::protocol::{sqlstate, to_client};
use crate::registry::key::KeyLength;
use crate::registry::{Activity, Crowded, Newcomer, Party, Place, Registration};
use crate::session::{Admitted, Context, Identity, Session};

/// Whom a door lets in.
pub(super) enum Guest {
    Session(Box<Session>),
    Console(Box<Console>),
    Replication(Box<Passthrough>),
}

impl Guest {
    /// Lives on in a task of its own.
    pub(super) fn stay(self) {
        match self {
            Self::Session(session) => drop(tokio::spawn(session.run())),
            Self::Console(console) => drop(tokio::spawn(console.run())),
            Self::Replication(passthrough) => drop(tokio::spawn(passthrough.run())),
        }
    }
}

/// A client that has proven who it is.
pub(super) struct Arrival<'a> {
    pub(super) door: &'a Door,
    pub(super) context: Arc<Context>,
    /// Taken out when the client is in.
    pub(super) stream: &'a mut Option<Stream>,
    pub(super) startup: Startup,
    /// It asks for a replication connection.
    pub(super) replicates: bool,
    pub(super) access: Arc<Access>,
    pub(super) place: Place,
    /// Of the protocol's version that is spoken with it.
    pub(super) minor: u16,
    /// What it is told ahead of AuthenticationOk.
    pub(super) out: BytesMut,
    /// What it has sent right behind its login.
    pub(super) early: BytesMut,
    pub(super) address: SocketAddr,
    pub(super) admitted: Admitted,
}

impl Arrival<'_> {
    /// A pooled session.
    pub(super) async fn session(
        mut self,
        parameters: &Arc<ParameterSet>,
        proven: Option<Arc<Credential>>,
    ) -> Result<Guest, Refused> {
        self.sit()?;
        let lodging = self.lodging();
        let pools = self.context.pools.of(&lodging.tenant);
        if let Some(credential) = lodging.credential.clone().or(proven) {
            pools.learn(&credential);
        }
        if pools.tally.database().is_disabled() {
            return Err(disabled(self.startup.database()));
        }
        let patience = {
            let admission = self.door.admission.load();
            Patience {
                unreachable: admission.server_timeout,
                full: admission.wait_timeout,
            }
        };
        let welcomes = &self.door.welcomes;
        let stream = self.stream.as_mut().ok_or(Refused::Silently)?;
        let welcome = tokio::select! {
            welcome = welcomes.get(&pools, parameters, &self.context.cluster, patience) => welcome,
            () = gone(stream, &mut self.early) => return Err(Refused::Silently),
        };
        let welcome = welcome.map_err(no_server)?;
        let mode = lodging.mode;
        pools.tally.add(Stat::Logins, 1);
        let inside = self
            .let_in(Some(lodging), &welcome.messages, |_| {})
            .await?;
        let identity = Identity {
            registration: inside.registration,
            admitted: inside.admitted,
            address: inside.address,
            pools,
            mode,
            parameters: Arc::clone(&welcome.parameters),
            reported: Arc::clone(&welcome.reported),
        };
        let session = Session::new(inside.context, identity, inside.stream, &inside.early);
        Ok(Guest::Session(Box::new(session)))
    }

    /// The admin console, for who may be there.
    pub(super) async fn console(self) -> Result<Guest, Refused> {
        let user = self.startup.user();
        if self.access.console(user) == ConsoleRight::None {
            return Err(Refused::Because(no_console(user), RejectReason::Login));
        }
        let mut told = BytesMut::with_capacity(512);
        let parameters = PARAMETERS.iter().filter(|p| p.reported);
        let application_name = self.startup.get("application_name").unwrap_or_default();
        let own = [
            ("application_name", application_name),
            ("session_authorization", user),
        ];
        for (name, value) in parameters.map(|p| (p.name, p.value)).chain(own) {
            to_client::parameter_status(&mut told, name.as_bytes(), value.as_bytes());
        }
        let door = self.door;
        let inside = self.let_in(None, &told, |_| {}).await?;
        let identity = console::Identity {
            registration: inside.registration,
            admitted: inside.admitted,
            address: inside.address,
        };
        let (rows, access) = (Arc::clone(&door.inside), Arc::clone(&door.access));
        let console = Console::new(identity, rows, access, inside.stream, inside.early);
        Ok(Guest::Console(Box::new(console)))
    }

    /// A server connection of its own.
    pub(super) async fn replication(
        mut self,
        wish: &Wish,
        proven: Option<Arc<Credential>>,
    ) -> Result<Guest, Refused> {
        self.sit()?;
        let lodging = self.lodging();
        let credential = lodging.credential.clone().or(proven);
        let limit = self.door.admission.load().server_timeout;
        let cluster = Arc::clone(&self.context.cluster);
        let gate = &self.door.replication;
        let opened = gate
            .open(wish, &lodging.tenant, credential, &cluster, limit)
            .await
            .map_err(no_server)?;
        let streaming = |registration: &Registration| {
            let client = registration.client();
            client.running_on(&opened.connection.key);
            client.set_activity(Activity::Streaming, clock::now());
        };
        let inside = self
            .let_in(Some(lodging), &opened.messages(), streaming)
            .await?;
        Ok(Guest::Replication(Box::new(Passthrough::new(
            inside.stream,
            inside.early,
            opened,
            cluster,
            inside.registration,
            inside.admitted,
        ))))
    }

    /// Takes a place among the clients of its user and of its database.
    fn sit(&mut self) -> Result<(), Refused> {
        let (user, database) = (self.startup.user(), self.startup.database());
        self.place
            .sit(user, database, self.access.clients_of(user, database))
            .map_err(|crowded| too_many_of(&crowded))
    }

    fn lodging(&self) -> Lodging {
        self.access
            .lodging(self.startup.user(), self.startup.database())
    }

    /// Registers the client and tells it that it is in; all it is told goes in one write.
    async fn let_in(
        self,
        lodging: Option<Lodging>,
        parameters: &[u8],
        registered: impl FnOnce(&Registration),
    ) -> Result<Inside, Refused> {
        let mut stream = self.stream.take().ok_or(Refused::Silently)?;
        let newcomer = Newcomer {
            user: self.startup.user(),
            database: self.startup.database(),
            lodging: lodging.map(|l| (l.tenant.database, l.tenant.user)),
            application_name: self.startup.get("application_name").unwrap_or_default(),
            address: self.address,
            local: stream.local_addr().ok(),
            replication: match self.startup.get("replication") {
                Some("database") => "logical",
                Some(_) if self.replicates => "physical",
                _ => "none",
            },
            key: if self.minor < 2 {
                KeyLength::Short
            } else {
                KeyLength::Long
            },
        };
        let registration = self.door.registry.register(&newcomer, self.place);
        registered(&registration);
        let mut out = self.out;
        to_client::authentication_ok(&mut out);
        out.extend_from_slice(parameters);
        let client = registration.client();
        to_client::backend_key_data(&mut out, client.pid, client.secret());
        to_client::ready_for_query(&mut out, TransactionStatus::Idle);
        stream.write_all(&out).await?;
        Ok(Inside {
            context: self.context,
            stream,
            registration,
            early: self.early,
            address: self.address,
            admitted: self.admitted,
        })
    }
}

/// A client that was told that it is in.
struct Inside {
    context: Arc<Context>,
    stream: Stream,
    registration: Registration,
    early: BytesMut,
    address: SocketAddr,
    admitted: Admitted,
}

fn no_server(report: Report) -> Refused {
    Refused::Because(report, RejectReason::Server)
}

/// An administrator has closed the database to new clients.
fn disabled(database: &str) -> Refused {
    Refused::Because(
        Report::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("database \"{database}\" does not accept connections: it is disabled"),
        )
        .hint("An administrator said DISABLE on pgconvoy's console; ENABLE lifts it."),
        RejectReason::Login,
    )
}

fn too_many_of(crowded: &Crowded) -> Refused {
    let (kind, name) = match &crowded.party {
        Party::User(name) => ("user", name),
        Party::Database(name) => ("database", name),
    };
    let report = Report::new(
        sqlstate::TOO_MANY_CONNECTIONS,
        format!("too many connections for {kind} \"{name}\""),
    )
    .detail(format!("{} clients are connected", crowded.limit))
    .hint(format!(
        "Raise max_client_connections of this [[{kind}]], or limits.max_{kind}_client_connections."
    ));
    Refused::Because(report, RejectReason::Crowded)
}

/// A client may send its first statements before it is let in, but not more than this.
const EARLY: usize = 64 * 1024;

/// Ready when the client is gone.
async fn gone(stream: &mut Stream, buf: &mut BytesMut) {
    while buf.len() < EARLY {
        buf.reserve(1024);
        if !matches!(stream.read_buf(buf).await, Ok(n) if n > 0) {
            return;
        }
    }
    std::future::pending().await
}
