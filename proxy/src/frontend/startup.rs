//! The first packets of a connection: encryption asked for, a cancel request, or a startup that
//! becomes a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgconvoy_config::CONSOLE_DATABASES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::access::Access;
use super::door::{Door, Refused};
use super::entry::{Arrival, Guest};
use super::login::{self, LoginError};
use super::replication::Wish;
use crate::auth::Credential;
use crate::backend::cancel;
use crate::backend::parameters::ParameterSet;
use crate::error::Report;
use crate::metrics::RejectReason;
use crate::net::Stream;
use crate::protocol::error_fields::{ErrorFields, Severity};
use crate::protocol::startup::{self, Cancel, FirstPacket, Startup};
use crate::protocol::{sqlstate, startup_options, to_client};
use crate::registry::key;
use crate::registry::{self, Place};
use crate::session::{Admitted, Context};

/// The newest protocol version we speak is 3.2: it differs from 3.0 in the length of cancel secrets.
const NEWEST_MINOR: u16 = 2;

/// A client that has proven who it is.
struct Identified {
    startup: Startup,
    /// It asks for a replication connection.
    wish: Option<Wish>,
    parameters: Arc<ParameterSet>,
    place: Place,
    /// Of the protocol's version that is spoken with it.
    minor: u16,
    credential: Option<Arc<Credential>>,
}

impl Door {
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
        guest.stay();
    }

    async fn login(
        &self,
        context: Arc<Context>,
        stream: Stream,
        address: SocketAddr,
        admitted: Admitted,
    ) -> Option<Guest> {
        let metrics = Arc::clone(&context.metrics);
        let mut stream = Some(stream);
        let refused = match self.enter(context, &mut stream, address, admitted).await {
            Ok(guest) => return Some(guest),
            Err(refused) => refused,
        };
        if let Refused::Because(report, reason) = refused {
            metrics.rejected(reason);
            tracing::info!(client = %address, error = %report, "client refused");
            if let Some(mut stream) = stream {
                farewell(&mut stream, &report).await;
            }
        }
        None
    }

    async fn enter(
        &self,
        context: Arc<Context>,
        stream: &mut Option<Stream>,
        address: SocketAddr,
        admitted: Admitted,
    ) -> Result<Guest, Refused> {
        let limit = self.admission.load().login_timeout;
        let (mut buf, mut out) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(1024));
        let client = stream.as_mut().ok_or(Refused::Silently)?;
        let identified = self.identify(client, &mut buf, &mut out, address);
        let newcomer = tokio::time::timeout(limit, identified)
            .await
            .unwrap_or_else(|_| Err(too_slow(limit)))?;
        let to_console = CONSOLE_DATABASES.contains(&newcomer.startup.database());
        let wish = newcomer.wish;
        let arrival = Arrival {
            door: self,
            context,
            stream,
            startup: newcomer.startup,
            replicates: wish.is_some(),
            access: self.access.load_full(),
            place: newcomer.place,
            minor: newcomer.minor,
            out,
            early: buf,
            address,
            admitted,
        };
        match wish {
            _ if to_console => arrival.console().await,
            Some(wish) => arrival.replication(&wish, newcomer.credential).await,
            None => {
                let parameters = newcomer.parameters;
                arrival.session(&parameters, newcomer.credential).await
            }
        }
    }

    /// The packet that asks for a session, after whatever comes before it.
    async fn startup(&self, stream: &mut Stream, buf: &mut BytesMut) -> Result<Startup, Refused> {
        loop {
            match first_packet(stream, buf).await? {
                FirstPacket::Ssl => decline(stream, buf, "SSL").await?,
                FirstPacket::GssEnc => decline(stream, buf, "GSSAPI encryption").await?,
                FirstPacket::Cancel(request) => {
                    self.cancel(&request).await;
                    return Err(Refused::Silently);
                }
                FirstPacket::Startup(startup) => return Ok(startup),
            }
        }
    }

    /// From the first packet to the proof of who the client is. Bounded in time by the caller.
    async fn identify(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        out: &mut BytesMut,
        address: SocketAddr,
    ) -> Result<Identified, Refused> {
        let startup = self.startup(stream, buf).await?;
        let access = self.access.load_full();
        let place = self.place(&access, &startup)?;
        let minor = startup.minor.min(NEWEST_MINOR);
        if startup.needs_negotiation(NEWEST_MINOR) {
            to_client::negotiate_protocol_version(out, minor, &startup.protocol_options);
        }
        let wish = Wish::of(&startup).map_err(|r| Refused::Because(r, RejectReason::Protocol))?;
        let parameters = parameters(&startup)?;
        let user = startup.user();
        let proven = login::authenticate(stream, buf, out, user, &access.rule(user))
            .await
            .map_err(|e| denied(&e, address))?;
        Ok(Identified {
            startup,
            wish,
            parameters,
            place,
            minor,
            credential: proven.credential.map(Arc::new),
        })
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
            let limit = self.admission.load().cancel_timeout;
            self.peers.pass_on(request, limit).await;
            return;
        }
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

/// Says that there is no encryption. A client waits for that before it says more; what came along
/// with its request may be somebody else's words.
async fn decline(stream: &mut Stream, buf: &BytesMut, what: &str) -> Result<(), Refused> {
    stream.write_all(b"N").await?;
    if buf.is_empty() {
        return Ok(());
    }
    let report = Report::new(
        sqlstate::PROTOCOL_VIOLATION,
        format!("received unencrypted data after {what} request"),
    )
    .detail("The client did not wait for the answer, or somebody else has added to what it sent.")
    .hint("Look for a defect in the client's software, or for an attack.");
    Err(Refused::Because(report, RejectReason::Protocol))
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

fn denied(error: &LoginError, address: SocketAddr) -> Refused {
    match error.report() {
        Some(report) => {
            tracing::info!(client = %address, cause = %error, "login failed");
            Refused::Because(report, RejectReason::Login)
        }
        None => Refused::Silently,
    }
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
