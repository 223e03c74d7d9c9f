//! The first packets of a connection: encryption asked for, a cancel request, or a startup that
//! becomes a session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Buf, BytesMut};
use pgconvoy_config::CONSOLE_DATABASES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::access::{Access, ConsoleRight, no_console};
use super::console::{self, Console};
use super::login::{self, Authenticated, LoginError};
use super::welcome::{Patience, Welcomes};
use crate::admin::{Inside, PARAMETERS};
use crate::backend::cancel;
use crate::backend::parameters::ParameterSet;
use crate::error::Report;
use crate::metrics::RejectReason;
use crate::net::Stream;
use crate::pool::stats::Stat;
use crate::protocol::error_fields::{ErrorFields, Severity};
use crate::protocol::frame::TransactionStatus;
use crate::protocol::startup::{self, Cancel, FirstPacket, Startup};
use crate::protocol::{sqlstate, startup_options, to_client};
use crate::registry::{self, Crowded, Newcomer, Party, Place, Registry};
use crate::session::{Admitted, Context, Identity, Session};

/// The newest protocol version we speak is 3.0.
const NEWEST_MINOR: u16 = 0;

/// Bounds on clients; live.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Most clients.
    pub max_clients: usize,
    /// How many of them only administrators may be.
    pub reserved: usize,
    /// Longest login.
    pub login_timeout: Duration,
    /// Longest time for a login to find a server that answers.
    pub server_timeout: Duration,
    /// Longest wait for a server that has no room.
    pub wait_timeout: Duration,
    /// Longest time for a cancel request to reach its server.
    pub cancel_timeout: Duration,
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
    /// What the admin console shows and acts on.
    pub inside: Arc<Inside>,
    welcomes: Welcomes,
}

/// What a connection has become.
enum Guest {
    Session(Box<Session>),
    Console(Box<Console>),
}

/// A client that is in, and what it sent right behind its login.
enum Entered {
    Session(Arc<Context>, Box<Identity>, BytesMut),
    Console(console::Identity, BytesMut),
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
        inside: Arc<Inside>,
    ) -> Self {
        Self {
            access,
            admission,
            registry,
            inside,
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
            Guest::Session(session) => drop(tokio::spawn(session.run())),
            Guest::Console(console) => drop(tokio::spawn(console.run())),
        }
    }

    async fn login(
        &self,
        context: Arc<Context>,
        mut stream: Stream,
        address: SocketAddr,
        admitted: Admitted,
    ) -> Option<Guest> {
        let metrics = Arc::clone(&context.metrics);
        let refused = match self.enter(context, &mut stream, address, admitted).await {
            Ok(Entered::Session(context, identity, early)) => {
                let session = Session::new(context, *identity, stream, &early);
                return Some(Guest::Session(Box::new(session)));
            }
            Ok(Entered::Console(identity, early)) => {
                let (inside, access) = (Arc::clone(&self.inside), Arc::clone(&self.access));
                let console = Console::new(identity, inside, access, stream, early);
                return Some(Guest::Console(Box::new(console)));
            }
            Err(refused) => refused,
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
        let limit = self.admission.load().login_timeout;
        let (mut buf, mut out) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(1024));
        let identified = self.identify(stream, &mut buf, &mut out, address);
        let (startup, mut place, proven) = tokio::time::timeout(limit, identified)
            .await
            .unwrap_or_else(|_| Err(too_slow(limit)))?;
        let access = self.access.load_full();
        let (user, database) = (startup.user(), startup.database());
        if CONSOLE_DATABASES.contains(&database) {
            let identity = self
                .enter_console(stream, out, (&startup, &access), (address, admitted, place))
                .await?;
            return Ok(Entered::Console(identity, buf));
        }
        place
            .sit(user, database, access.clients_of(user, database))
            .map_err(|crowded| too_many_of(&crowded))?;
        let parameters = parameters(&startup)?;
        let lodging = access.lodging(user, database);
        let pools = context.pools.of(&lodging.tenant);
        if let Some(credential) = lodging.credential.or(proven.credential.map(Arc::new)) {
            pools.learn(&credential);
        }
        if pools.tally.database().is_disabled() {
            return Err(disabled(database));
        }
        let patience = {
            let admission = self.admission.load();
            Patience {
                unreachable: admission.server_timeout,
                full: admission.wait_timeout,
            }
        };
        let welcome = tokio::select! {
            welcome = self.welcomes.get(&pools, &parameters, &context.cluster, patience) => welcome,
            () = gone(stream, &mut buf) => return Err(Refused::Silently),
        };
        let welcome = welcome.map_err(|report| Refused::Because(report, RejectReason::Server))?;
        let tenant = lodging.tenant;
        let lodging_of = Some((tenant.database, tenant.user));
        let newcomer = newcomer(&startup, lodging_of, address, stream);
        let registration = self.registry.register(&newcomer, place);
        pools.tally.add(Stat::Logins, 1);
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
        Ok(Entered::Session(context, Box::new(identity), buf))
    }

    /// Lets a client that has proven who it is in to the console, if it may be there.
    async fn enter_console(
        &self,
        stream: &mut Stream,
        out: BytesMut,
        (startup, access): (&Startup, &Access),
        (address, admitted, place): (SocketAddr, Admitted, Place),
    ) -> Result<console::Identity, Refused> {
        let user = startup.user();
        if access.console(user) == ConsoleRight::None {
            return Err(Refused::Because(no_console(user), RejectReason::Login));
        }
        let newcomer = newcomer(startup, None, address, stream);
        let registration = self.registry.register(&newcomer, place);
        let mut welcome = BytesMut::with_capacity(512);
        for parameter in PARAMETERS.iter().filter(|p| p.reported) {
            let (name, value) = (parameter.name, parameter.value);
            to_client::parameter_status(&mut welcome, name.as_bytes(), value.as_bytes());
        }
        for (name, value) in [
            ("application_name", newcomer.application_name),
            ("session_authorization", user),
        ] {
            to_client::parameter_status(&mut welcome, name.as_bytes(), value.as_bytes());
        }
        finish(stream, out, &welcome, &registration).await?;
        Ok(console::Identity {
            registration,
            admitted,
            address,
        })
    }

    /// From the first packet to the proof of who the client is. Bounded in time by the caller.
    async fn identify(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        out: &mut BytesMut,
        address: SocketAddr,
    ) -> Result<(Startup, Place, Authenticated), Refused> {
        let startup = loop {
            match first_packet(stream, buf).await? {
                FirstPacket::Ssl | FirstPacket::GssEnc => stream.write_all(b"N").await?,
                FirstPacket::Cancel(request) => {
                    self.cancel(&request).await;
                    return Err(Refused::Silently);
                }
                FirstPacket::Startup(startup) => break startup,
            }
        };
        let access = self.access.load_full();
        let place = self.place(&access, &startup)?;
        if startup.needs_negotiation(NEWEST_MINOR) {
            to_client::negotiate_protocol_version(out, NEWEST_MINOR, &startup.protocol_options);
        }
        let _acceptable = parameters(&startup)?;
        let user = startup.user();
        let proven = login::authenticate(stream, buf, out, user, &access.rule(user))
            .await
            .map_err(|e| denied(&e, address))?;
        Ok((startup, place, proven))
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
        match self.registry.cancel(request.pid, &request.key) {
            registry::Cancel::Nothing | registry::Cancel::Dequeued => {}
            registry::Cancel::Forward(cancel) => {
                let limit = self.admission.load().cancel_timeout;
                let node = format!("{}:{}", cancel.key().host, cancel.key().port);
                if let Err(e) = cancel::forward(cancel, limit).await {
                    tracing::warn!(node, error = %e, "cancel request not delivered");
                }
            }
        }
    }
}

fn too_slow(limit: Duration) -> Refused {
    let report = Report::new(
        sqlstate::PROTOCOL_VIOLATION,
        format!("login not completed within {limit:?} (limits.client_login_timeout)"),
    );
    Refused::Because(report, RejectReason::Timeout)
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

/// A client that has logged in, as the registry knows it.
fn newcomer<'a>(
    startup: &'a Startup,
    lodging: Option<(Arc<str>, Arc<str>)>,
    address: SocketAddr,
    stream: &Stream,
) -> Newcomer<'a> {
    Newcomer {
        user: startup.user(),
        database: startup.database(),
        lodging,
        application_name: startup.get("application_name").unwrap_or_default(),
        address,
        local: stream.local_addr().ok(),
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
            "user" | "database" | "options" => {}
            "replication" if is_false(value) => {}
            "replication" => {
                return Err(Refused::Because(
                    Report::new(
                        sqlstate::FEATURE_NOT_SUPPORTED,
                        "replication connections are not pooled",
                    )
                    .hint("Connect to the node itself."),
                    RejectReason::Protocol,
                ));
            }
            _ => pairs.push((name.clone(), value.clone())),
        }
    }
    ParameterSet::new(pairs).map_err(|e| refuse(sqlstate::SYNTAX_ERROR, e.to_string()))
}

fn is_false(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "false" | "off" | "no" | "0" | "f" | "n"
    )
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

/// The client is in: all it is told goes in one write.
async fn finish(
    stream: &mut Stream,
    mut out: BytesMut,
    welcome: &[u8],
    registration: &registry::Registration,
) -> Result<(), Refused> {
    to_client::authentication_ok(&mut out);
    out.extend_from_slice(welcome);
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
