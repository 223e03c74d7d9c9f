//! The first packets of a connection: encryption asked for, a cancel request, or a startup that
//! becomes a session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::access::Access;
use super::login::{self, LoginError};
use super::passthrough::Passthrough;
use super::peers::Peers;
use super::replication::{self, Opened, Wish};
use super::welcome::Welcomes;
use crate::backend::cancel;
use crate::backend::parameters::ParameterSet;
use crate::clock;
use crate::error::Report;
use crate::metrics::RejectReason;
use crate::net::Stream;
use crate::protocol::error_fields::{ErrorFields, Severity};
use crate::protocol::frame::TransactionStatus;
use crate::protocol::startup::{self, Cancel, FirstPacket, Startup};
use crate::protocol::{sqlstate, startup_options, to_client};
use crate::registry::key::{self, KeyLength};
use crate::registry::{self, Activity, Place, Registration, Registry};
use crate::session::{Admitted, Context, Identity, Session};

/// The newest protocol version we speak is 3.2: it differs from 3.0 in the length of cancel secrets.
const NEWEST_MINOR: u16 = 2;

/// Bounds on clients; live.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Most clients.
    pub max_clients: usize,
    /// How many of them only administrators may be.
    pub reserved: usize,
    /// Longest login.
    pub login_timeout: Duration,
    /// Longest wait for a server at login.
    pub server_timeout: Duration,
    /// Whether coming and going is logged.
    pub log_connections: bool,
}

/// What the doors of all workers share.
#[derive(Debug)]
pub struct Door {
    /// Who may come in.
    pub access: Arc<ArcSwap<Access>>,
    /// How many.
    pub admission: Arc<ArcSwap<Admission>>,
    /// Everybody inside.
    pub registry: Arc<Registry>,
    peers: Peers,
    replication: replication::Gate,
    welcomes: Welcomes,
}

/// What a login came to; each holds what the client has sent since.
enum Entered {
    /// A session to be.
    Session(Arc<Context>, Identity, BytesMut),
    /// A connection with a server connection of its own.
    Replication(Arc<Context>, Opened, Registration, Admitted, BytesMut),
}

/// Whom a door lets in.
enum Guest {
    Session(Box<Session>),
    Replication(Box<Passthrough>),
}

/// Why a connection did not become a session.
enum Refused {
    /// Nobody is there to be told, or nobody must be.
    Silently,
    /// With these words, counted under this reason.
    Because(Report, RejectReason),
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        // Before a session begins, a lost client is nobody's concern.
        Self::Silently
    }
}

impl Door {
    /// A door that nobody has passed.
    #[must_use]
    pub fn new(
        access: Arc<ArcSwap<Access>>,
        admission: Arc<ArcSwap<Admission>>,
        registry: Arc<Registry>,
        peers: Peers,
        replication: replication::Gate,
    ) -> Self {
        Self {
            access,
            admission,
            registry,
            peers,
            replication,
            welcomes: Welcomes::default(),
        }
    }

    /// Serves one connection: its first packets here, and its session in a task of its own.
    pub async fn serve(
        self: Arc<Self>,
        context: Arc<Context>,
        stream: Stream,
        address: SocketAddr,
        admitted: Admitted,
    ) {
        let log = self.admission.load().log_connections;
        let guest = self.login(context, stream, address, admitted).await;
        let Some(guest) = guest else { return };
        if log {
            tracing::info!(client = %address, "client logged in");
        }
        // A task of its own: a login takes much room, and a session's life is long.
        match guest {
            Guest::Session(session) => tokio::spawn(session.run()),
            Guest::Replication(passthrough) => tokio::spawn(passthrough.run()),
        };
    }

    async fn login(
        &self,
        context: Arc<Context>,
        mut stream: Stream,
        address: SocketAddr,
        admitted: Admitted,
    ) -> Option<Guest> {
        let limit = self.admission.load().login_timeout;
        let metrics = Arc::clone(&context.metrics);
        let entering = self.enter(context, &mut stream, address, admitted);
        let refused = match tokio::time::timeout(limit, entering).await {
            Ok(Ok(Entered::Session(context, identity, early))) => {
                let session = Session::new(context, identity, stream, &early);
                return Some(Guest::Session(Box::new(session)));
            }
            Ok(Ok(Entered::Replication(context, opened, registration, admitted, early))) => {
                let cluster = Arc::clone(&context.cluster);
                let passthrough =
                    Passthrough::new(stream, early, opened, cluster, registration, admitted);
                return Some(Guest::Replication(Box::new(passthrough)));
            }
            Ok(Err(refused)) => refused,
            Err(_) => Refused::Because(
                Report::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    format!("login not completed within {limit:?} (limits.client_login_timeout)"),
                ),
                RejectReason::Timeout,
            ),
        };
        if let Refused::Because(report, reason) = refused {
            metrics.rejected(reason);
            tracing::info!(client = %address, error = %report, "client refused");
            farewell(&mut stream, &report).await;
        }
        None
    }

    async fn enter(
        &self,
        context: Arc<Context>,
        stream: &mut Stream,
        address: SocketAddr,
        admitted: Admitted,
    ) -> Result<Entered, Refused> {
        let mut buf = BytesMut::with_capacity(1024);
        let startup = self.startup(stream, &mut buf).await?;
        let access = self.access.load_full();
        let place = self.place(&access, &startup)?;
        let mut out = BytesMut::with_capacity(1024);
        let minor = startup.minor.min(NEWEST_MINOR);
        if startup.needs_negotiation(NEWEST_MINOR) {
            to_client::negotiate_protocol_version(&mut out, minor, &startup.protocol_options);
        }
        let wish = Wish::of(&startup).map_err(|r| Refused::Because(r, RejectReason::Protocol))?;
        let parameters = parameters(&startup)?;
        let (user, database) = (startup.user(), startup.database());
        let rule = access.rule(user);
        let proven = login::authenticate(stream, &mut buf, &mut out, user, &rule)
            .await
            .map_err(|e| denied(&e, address))?;
        let lodging = access.lodging(user, database);
        let credential = lodging.credential.or(proven.credential.map(Arc::new));
        let limit = self.admission.load().server_timeout;
        if let Some(wish) = wish {
            let (tenant, cluster) = (&lodging.tenant, &context.cluster);
            let opening = self
                .replication
                .open(&wish, tenant, credential, cluster, limit);
            let opened = opening.await.map_err(no_server)?;
            let length = key_length(minor);
            let registration = self
                .registry
                .register(user, database, address, place, length);
            registration.client().running_on(&opened.connection.key);
            registration
                .client()
                .set_activity(Activity::Streaming, clock::now());
            finish(stream, out, &opened.messages(), &registration).await?;
            return Ok(Entered::Replication(
                context,
                opened,
                registration,
                admitted,
                buf,
            ));
        }
        let pools = context.pools.of(&lodging.tenant);
        if let Some(credential) = credential {
            pools.learn(&credential);
        }
        let welcome = self
            .welcomes
            .get(&pools, &parameters, &context.cluster, limit)
            .await
            .map_err(no_server)?;
        let registration =
            self.registry
                .register(user, database, address, place, key_length(minor));
        finish(stream, out, &welcome.messages, &registration).await?;
        let identity = Identity {
            registration,
            admitted,
            address,
            pools,
            mode: lodging.mode,
            parameters: Arc::clone(&welcome.parameters),
            reported: Arc::clone(&welcome.reported),
        };
        Ok(Entered::Session(context, identity, buf))
    }

    /// The packet that asks for a session, after whatever comes before it.
    async fn startup(&self, stream: &mut Stream, buf: &mut BytesMut) -> Result<Startup, Refused> {
        loop {
            match first_packet(stream, buf).await? {
                FirstPacket::Ssl | FirstPacket::GssEnc => stream.write_all(b"N").await?,
                FirstPacket::Cancel(request) => {
                    self.cancel(&request).await;
                    return Err(Refused::Silently);
                }
                FirstPacket::Startup(startup) => return Ok(startup),
            }
        }
    }

    fn place(&self, access: &Access, startup: &Startup) -> Result<Place, Refused> {
        let admission = self.admission.load();
        let admin = access.is_admin(startup.user());
        let reserved = if admin { 0 } else { admission.reserved };
        let limit = admission.max_clients.saturating_sub(reserved);
        if let Some(place) = self.registry.enter(limit) {
            return Ok(place);
        }
        let report = Report::new(
            sqlstate::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        )
        .detail(format!("{limit} clients are connected"))
        .hint("Raise limits.max_client_connections.");
        Err(Refused::Because(report, RejectReason::TooManyClients))
    }

    /// Carries out a cancel request; PostgreSQL, too, answers nothing.
    async fn cancel(&self, request: &Cancel) {
        if key::instance_of(request.pid) != self.registry.instance() {
            self.peers.pass_on(request).await;
            return;
        }
        match self.registry.cancel(request.pid, &request.key) {
            registry::Cancel::Nothing | registry::Cancel::Dequeued => {}
            registry::Cancel::Forward(cancel) => {
                let node = format!("{}:{}", cancel.key().host, cancel.key().port);
                if let Err(e) = cancel::forward(cancel).await {
                    tracing::warn!(node, error = %e, "cancel request not delivered");
                }
            }
        }
    }
}

async fn first_packet(stream: &mut Stream, buf: &mut BytesMut) -> Result<FirstPacket, Refused> {
    let malformed = |e: startup::StartupError| {
        let report = Report::new(e.sqlstate(), e.to_string());
        Refused::Because(report, RejectReason::Protocol)
    };
    loop {
        if let Some(length) = startup::packet_len(buf).map_err(malformed)?
            && buf.len() >= length
        {
            let packet = startup::first_packet(&buf[..length]).map_err(malformed)?;
            buf.advance(length);
            return Ok(packet);
        }
        buf.reserve(1024);
        if stream.read_buf(buf).await? == 0 {
            return Err(Refused::Silently);
        }
    }
}

/// Everything that a client asks of its session beyond who and where.
fn parameters(startup: &Startup) -> Result<Arc<ParameterSet>, Refused> {
    let refuse = |code: &'static str, message: String| {
        Refused::Because(Report::new(code, message), RejectReason::Protocol)
    };
    let mut pairs = Vec::new();
    if let Some(options) = startup.get("options") {
        let settings =
            startup_options::settings(options).map_err(|e| refuse(e.sqlstate(), e.to_string()))?;
        pairs.extend(settings);
    }
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" | "options" | "replication" => {}
            _ => pairs.push((name.clone(), value.clone())),
        }
    }
    ParameterSet::new(pairs).map_err(|e| refuse(sqlstate::SYNTAX_ERROR, e.to_string()))
}

/// How long a cancel secret the client expects.
fn key_length(minor: u16) -> KeyLength {
    if minor < 2 {
        KeyLength::Short
    } else {
        KeyLength::Long
    }
}

fn no_server(report: Report) -> Refused {
    Refused::Because(report, RejectReason::Server)
}

fn denied(error: &LoginError, address: SocketAddr) -> Refused {
    match error.report() {
        Some(report) => {
            tracing::info!(client = %address, cause = %error, "login failed");
            Refused::Because(report, RejectReason::Login)
        }
        None => Refused::Silently,
    }
}

/// The client is in: all it is told goes in one write.
async fn finish(
    stream: &mut Stream,
    mut out: BytesMut,
    parameters: &[u8],
    registration: &Registration,
) -> Result<(), Refused> {
    to_client::authentication_ok(&mut out);
    out.extend_from_slice(parameters);
    let client = registration.client();
    to_client::backend_key_data(&mut out, client.pid, client.secret());
    to_client::ready_for_query(&mut out, TransactionStatus::Idle);
    stream.write_all(&out).await?;
    Ok(())
}

/// Tells a client why it can't come in.
async fn farewell(stream: &mut Stream, report: &Report) {
    let mut out = BytesMut::with_capacity(256);
    to_client::error_response(&mut out, &ErrorFields::of_report(Severity::Fatal, report));
    let told = async {
        stream.write_all(&out).await?;
        stream.linger().await
    };
    if !matches!(
        tokio::time::timeout(Duration::from_secs(2), told).await,
        Ok(Ok(()))
    ) {
        tracing::trace!("the refused client did not wait for the reason");
    }
}
