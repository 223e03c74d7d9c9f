//! The admin console: a client of the database `pgconvoy` (or `pgbouncer`) talks to us alone, in the
//! simple or the extended protocol, whether there is a server or not.
//!
//! Knows what messages say and how an answer is sent; what a command does, `admin` knows.

mod extended;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};

use self::extended::Extended;
use super::access::{Access, ConsoleRight};
use crate::admin::{self, Chatter, Command, Inside, Outcome};
use crate::clock;
use crate::error::Report;
use crate::net::Stream;
use crate::protocol::error_fields::{ErrorFields, Severity};
use crate::protocol::frame::{self, Frontend, HEADER, TransactionStatus};
use crate::protocol::{messages, sqlstate, to_client};
use crate::registry::{Activity, Registration, Signal};
use crate::session::{Admitted, rows};

/// The longest message of a console client.
const LONGEST: usize = 64 * 1024;
/// A read asks for this much room.
const READ_ROOM: usize = 4 * 1024;
/// How long a client may take to read the last words.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who a console client is.
#[derive(Debug)]
pub(super) struct Identity {
    /// The client in the registry.
    pub(super) registration: Registration,
    /// Counts the client while it lives.
    pub(super) admitted: Admitted,
    /// Where it comes from.
    pub(super) address: SocketAddr,
}

/// Why a console ends.
enum End {
    /// The client said goodbye or is gone.
    Left,
    /// With these last words.
    Told(Report),
}

impl From<frame::FrameError> for End {
    fn from(error: frame::FrameError) -> Self {
        Self::Told(Report::new(error.sqlstate(), error.to_string()))
    }
}

/// One client of the console.
#[derive(Debug)]
pub(super) struct Console {
    identity: Identity,
    inside: Arc<Inside>,
    access: Arc<ArcSwap<Access>>,
    stream: Stream,
    input: BytesMut,
    out: BytesMut,
    extended: Extended,
    /// BEGIN was said. What is done stays done whatever ends it.
    in_transaction: bool,
}

impl Console {
    /// A client that has been told that it is ready; `input` is what it sent right behind its login.
    pub(super) fn new(
        identity: Identity,
        inside: Arc<Inside>,
        access: Arc<ArcSwap<Access>>,
        stream: Stream,
        input: BytesMut,
    ) -> Self {
        Self {
            identity,
            inside,
            access,
            stream,
            input,
            out: BytesMut::new(),
            extended: Extended::default(),
            in_transaction: false,
        }
    }

    /// Serves the client until it leaves or must go.
    pub(super) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        let told = matches!(end, End::Told(_));
        if let End::Told(report) = end {
            let fields = ErrorFields::of_report(Severity::Fatal, &report);
            to_client::error_response(&mut self.out, &fields);
        }
        let Self { stream, out, .. } = &mut self;
        let drained = async {
            poll_fn(|cx| stream.poll_drain(cx, out)).await?;
            tokio::io::AsyncWriteExt::flush(stream).await?;
            if told { stream.linger().await } else { Ok(()) }
        };
        if !matches!(tokio::time::timeout(FAREWELL, drained).await, Ok(Ok(()))) {
            tracing::trace!(client = %self.identity.address, "last words not delivered");
        }
        let Identity {
            address, admitted, ..
        } = self.identity;
        drop(admitted);
        tracing::debug!(client = %address, "client left the console");
    }

    /// One message, and what comes of it.
    async fn turn(&mut self) -> Result<(), End> {
        self.room().await?;
        let (kind, body) = self.message().await?;
        if self.extended.skips(kind) {
            return Ok(());
        }
        match kind {
            Frontend::Query => self.query(&body).await,
            Frontend::Parse => self.extended(|e, out| e.parse(&body, out)),
            Frontend::Bind => self.extended(|e, out| e.bind(&body, out)),
            Frontend::Describe => self.extended(|e, out| e.describe(&body, out)),
            Frontend::Close => self.extended(|e, out| e.close(&body, out)),
            Frontend::Execute => self.execute(&body).await,
            Frontend::Sync => {
                self.extended.sync();
                self.ready();
                Ok(())
            }
            // What there is goes out before the next message is awaited.
            Frontend::Flush | Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => {
                Ok(())
            }
            Frontend::FunctionCall => {
                self.fail(&Report::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "this is the admin console: it has no functions",
                ));
                self.ready();
                Ok(())
            }
            Frontend::Terminate => Err(End::Left),
            Frontend::Password => Err(End::Told(Report::new(
                sqlstate::PROTOCOL_VIOLATION,
                "a password was not asked for",
            ))),
        }
    }

    /// The simple protocol: all commands of the text are read first, and given in turn until one
    /// fails.
    async fn query(&mut self, body: &[u8]) -> Result<(), End> {
        let text = messages::query(body)?;
        match read(text) {
            Err(report) => self.fail(&report),
            Ok(commands) if commands.is_empty() => to_client::empty_query_response(&mut self.out),
            Ok(commands) => {
                for command in commands {
                    self.room().await?;
                    match self.perform(&command).await? {
                        Ok(outcome) => self.answer(&command, outcome),
                        Err(report) => {
                            self.fail(&report);
                            break;
                        }
                    }
                }
            }
        }
        self.ready();
        Ok(())
    }

    /// A whole answer of the simple protocol.
    fn answer(&mut self, command: &Command, outcome: Outcome) {
        self.say(outcome.notice.as_ref());
        if let Some(table) = &outcome.table {
            rows::describe(&mut self.out, table.columns, &[]);
            rows::rows(&mut self.out, table, &[]);
        }
        to_client::command_complete(&mut self.out, command.tag());
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), End> {
        let execute = messages::execute(body)?;
        match self.extended.to_run(execute.portal) {
            Err(report) => self.refuse(&report),
            Ok(None) => {}
            Ok(Some(command)) => match self.perform(&command).await? {
                Ok(outcome) => {
                    self.say(outcome.notice.as_ref());
                    self.extended.ran(execute.portal, outcome.table);
                }
                Err(report) => {
                    self.refuse(&report);
                    return Ok(());
                }
            },
        }
        let most = usize::try_from(execute.max_rows).unwrap_or(0);
        self.extended.rows(execute.portal, most, &mut self.out);
        Ok(())
    }

    fn extended(
        &mut self,
        step: impl FnOnce(&mut Extended, &mut BytesMut) -> Result<Result<(), Report>, End>,
    ) -> Result<(), End> {
        if let Err(report) = step(&mut self.extended, &mut self.out)? {
            self.refuse(&report);
        }
        Ok(())
    }

    /// Carries a command out, unless the client may not give it, leaves, cancels it or must go.
    async fn perform(&mut self, command: &Command) -> Result<Result<Outcome, Report>, End> {
        if let Err(report) = self.permit(command) {
            return Ok(Err(report));
        }
        if let Command::Chatter(chatter) = command {
            self.note(chatter);
        }
        let client = Arc::clone(self.identity.registration.client());
        let inside = Arc::clone(&self.inside);
        client.set_activity(Activity::Active, clock::now());
        let mut work = pin!(admin::run(command, &inside));
        client.waiting();
        let done = poll_fn(|cx| {
            client.register(cx.waker());
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if client.was_cancelled() {
                return Poll::Ready(Ok(Err(cancelled())));
            }
            if let Some(end) = self.must_go() {
                return Poll::Ready(Err(end));
            }
            self.poll_input(cx).map(Err)
        })
        .await;
        client.nothing_to_cancel();
        client.set_activity(Activity::Idle, clock::now());
        done
    }

    fn permit(&self, command: &Command) -> Result<(), Report> {
        let user = &self.identity.registration.client().user;
        match self.access.load().console(user) {
            ConsoleRight::All => Ok(()),
            ConsoleRight::Look if !command.acts() => Ok(()),
            ConsoleRight::Look => Err(Report::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("user \"{user}\" may only SHOW, not {}", command.tag()),
            )
            .hint("That takes admin = true in its [[user]].")),
            // A reload has taken it away.
            ConsoleRight::None => Err(super::access::no_console(user)),
        }
    }

    fn note(&mut self, chatter: &Chatter) {
        match chatter {
            Chatter::ApplicationName(name) => {
                let client = self.identity.registration.client();
                client.set_application_name(name);
                to_client::parameter_status(&mut self.out, b"application_name", name.as_bytes());
            }
            Chatter::Begin => self.in_transaction = true,
            Chatter::Commit | Chatter::Rollback => self.in_transaction = false,
            Chatter::Reset(_) => self.extended.forget(),
            Chatter::Set | Chatter::Parameter(_) | Chatter::SelectNumber(_) => {}
        }
    }

    fn say(&mut self, notice: Option<&Report>) {
        if let Some(notice) = notice {
            let fields = ErrorFields::of_report(Severity::Notice, notice);
            to_client::notice_response(&mut self.out, &fields);
        }
    }

    fn fail(&mut self, report: &Report) {
        let fields = ErrorFields::of_report(Severity::Error, report);
        to_client::error_response(&mut self.out, &fields);
    }

    /// An error in the extended protocol: what follows is skipped until Sync.
    fn refuse(&mut self, report: &Report) {
        self.fail(report);
        self.extended.skip();
    }

    fn ready(&mut self) {
        let status = if self.in_transaction {
            TransactionStatus::InTransaction
        } else {
            self.extended.drop_portals();
            TransactionStatus::Idle
        };
        to_client::ready_for_query(&mut self.out, status);
    }

    /// Waits until the client has taken enough of what it was told.
    async fn room(&mut self) -> Result<(), End> {
        while self.out.len() >= LONGEST {
            poll_fn(|cx| {
                self.identity.registration.client().register(cx.waker());
                if let Some(end) = self.must_go() {
                    return Poll::Ready(Err(end));
                }
                let drained = self.stream.poll_drain(cx, &mut self.out);
                drained.map(|done| done.map_err(|_| End::Left))
            })
            .await?;
        }
        Ok(())
    }

    /// The next message, whole; sends what there is to send meanwhile.
    async fn message(&mut self) -> Result<(Frontend, Bytes), End> {
        loop {
            if let Some((kind, header)) = frame::peek_frontend(&self.input)? {
                if header.len > LONGEST {
                    return Err(End::Told(Report::new(
                        sqlstate::PROGRAM_LIMIT_EXCEEDED,
                        format!("a message on the console may have {LONGEST} bytes at most"),
                    )));
                }
                if self.input.len() >= header.len {
                    let frame = self.input.split_to(header.len).freeze();
                    return Ok((kind, frame.slice(HEADER..)));
                }
            }
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
    }

    /// Ready when something has come.
    fn poll_more(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), End>> {
        self.identity.registration.client().register(cx.waker());
        if let Some(end) = self.must_go() {
            return Poll::Ready(Err(end));
        }
        if let Poll::Ready(Err(_)) = self.stream.poll_drain(cx, &mut self.out) {
            return Poll::Ready(Err(End::Left));
        }
        let before = self.input.len();
        match self.poll_input(cx) {
            Poll::Ready(_) if self.input.len() > before => Poll::Ready(Ok(())),
            Poll::Ready(end) => Poll::Ready(Err(end)),
            Poll::Pending if self.input.len() > before => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Takes in what has come, up to a bound; ready when the client is gone.
    fn poll_input(&mut self, cx: &mut Cx<'_>) -> Poll<End> {
        while self.input.len() < LONGEST {
            self.input.reserve(READ_ROOM);
            match self.stream.poll_fill(cx, &mut self.input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Left),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }

    /// What was asked of this client from outside.
    fn must_go(&self) -> Option<End> {
        let client = self.identity.registration.client();
        let signal = client.signalled();
        let report = match signal {
            Signal::None => return None,
            Signal::ClientIdle if client.activity().0 == Activity::Idle => Report::new(
                sqlstate::IDLE_SESSION_TIMEOUT,
                "terminating connection: idle for longer than limits.client_idle_timeout",
            ),
            // A command takes as long as it takes.
            Signal::ClientIdle
            | Signal::IdleInTransaction
            | Signal::QueryTimeout
            | Signal::TransactionTimeout => {
                client.take_back(signal);
                return None;
            }
            Signal::Drain | Signal::Shutdown => Report::new(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection: pgconvoy is shutting down",
            ),
            Signal::Killed => Report::new(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            ),
        };
        Some(End::Told(report))
    }
}

/// The commands of a text.
fn read(text: &[u8]) -> Result<Vec<Command>, Report> {
    let text = std::str::from_utf8(text).map_err(|_| {
        Report::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            "the console understands UTF-8",
        )
    })?;
    admin::parse(text)
}

fn cancelled() -> Report {
    Report::new(
        sqlstate::QUERY_CANCELED,
        "canceling the command due to user request",
    )
    .detail("A PAUSE that was not complete is taken back.")
}
