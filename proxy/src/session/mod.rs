//! One client's session, from its first statement to its last.
//!
//! [`Session::run`] is the loop: wait for an event, take it in, go on with the client's messages
//! for as long as nothing more is needed. `intake` understands the client, `attach` finds a server
//! connection, `relay` understands the server, `replies` knows what is owed, `close` leaves
//! nothing behind. It must not know how a client logs in nor how a node is found healthy.

mod attach;
mod begin;
mod bind;
mod close;
mod context;
mod failed;
mod failure;
mod fresh;
mod intake;
mod io;
mod local;
mod parameters;
mod pins;
mod plan;
mod prepare;
mod refusal;
mod relay;
mod replay;
mod replies;
mod rewrite;
mod route;
pub mod rows;
mod run;
mod running;
mod settings;
mod settle;
mod shadow;
mod stale;
mod statements;
mod translate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::attach::Link;
use self::begin::Beginning;
use self::context::Buffers;
pub use self::context::{
    Admitted, Console, Context, PoolMode, ReadYourWrites, TransactionReads, Tuning,
};
use self::io::Event;
use self::parameters::Parameters;
use self::pins::Pins;
use self::statements::{ClientStatements, Space};
use crate::backend::parameters::ParameterSet;
use crate::backend::reported::Reported;
use crate::clock;
use crate::cluster::{Database, NodeId};
use crate::error::Report;
use crate::net::Stream;
use crate::pool::pools::TenantPools;
use crate::pool::stats::Stat;
use crate::protocol::frame::TransactionStatus;
use crate::registry::{Activity, Registration, Signal};
use crate::router::{Isolation, Quoting, Tables, Target};

/// A session's fixed part, from its login.
#[derive(Debug)]
pub struct Identity {
    /// The client in the registry.
    pub registration: Registration,
    /// Counts the client while it lives.
    pub admitted: Admitted,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Its pools.
    pub pools: Arc<TenantPools>,
    /// When it gives connections back.
    pub mode: PoolMode,
    /// What it asked for at startup.
    pub parameters: Arc<ParameterSet>,
    /// What it was told of the server's parameters.
    pub reported: Arc<Reported>,
}

/// What the client's next request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    MayGo,
    /// A cancel request, meant for the one before, is to arrive first.
    HeldBack,
}

/// Where in the client's messages a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At the beginning of a message that may be anything.
    Normal,
    /// The server takes COPY data.
    CopyIn,
    /// After an error in the extended protocol, until the client's Sync.
    SkipToSync,
}

/// Where the rest of a message goes that is longer than what has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// There is none.
    None,
    /// To the server.
    Server(usize),
    /// Nowhere.
    Nowhere(usize),
}

/// What has been sent since the last Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// Nothing.
    None,
    /// Definitions.
    Open,
    /// A portal was bound: something may have run.
    Bound,
}

impl Batch {
    fn open(&mut self) {
        if *self == Self::None {
            *self = Self::Open;
        }
    }

    fn is_open(self) -> bool {
        self != Self::None
    }
}

/// The transaction as the client knows it.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    /// Of the last ReadyForQuery.
    status: TransactionStatus,
    /// Whether a statement in it may have written.
    wrote: bool,
    /// Whether a statement has failed since the last ReadyForQuery.
    failed: bool,
    /// Whether a procedure has run since then, which may have committed something.
    called: bool,
    /// The tables that it may have written, where that is followed.
    tables: Tables,
}

impl Transaction {
    /// Between transactions.
    const NONE: Self = Self {
        status: TransactionStatus::Idle,
        wrote: false,
        failed: false,
        called: false,
        tables: Tables::NONE,
    };

    /// A statement may have written these tables, or none at all.
    fn note_write(&mut self, tables: Option<Tables>) {
        if let Some(tables) = tables {
            self.wrote = true;
            self.tables = self.tables.and(tables);
        }
    }
}

/// Where a read that has failed goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detour {
    /// Anywhere: none has failed.
    None,
    /// To any node but the one that has just failed it.
    Without(NodeId),
    /// To the primary, as a replica has refused it.
    Primary,
}

impl Detour {
    fn without(self) -> Option<NodeId> {
        match self {
            Self::Without(node) => Some(node),
            Self::None | Self::Primary => None,
        }
    }
}

/// What a session's parameters make of its statements.
#[derive(Clone, Copy, Debug, Default)]
struct Makes {
    /// Its transactions are such as no standby runs.
    serializable: bool,
    /// What it creates may be temporary.
    temporary: bool,
    /// They only read unless they say otherwise.
    read_only: bool,
    /// The isolation level of its transactions, where it has set one.
    isolation: Option<Isolation>,
}

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The client said goodbye or is gone.
    Left,
    /// With these last words.
    Told(Report),
}

/// What a batch needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demand {
    /// Which kind of node.
    target: Target,
}

/// What came of looking at the next message.
enum Step {
    /// Look at the next.
    Again,
    /// Nothing more can be done now.
    Wait,
    /// A server connection is needed.
    Server(Demand),
}

/// What going on with the client's messages needs.
enum Need {
    /// More events.
    Event,
    /// A server connection.
    Server(Demand),
}

/// One client's session.
pub struct Session {
    context: Arc<Context>,
    identity: Identity,
    /// Tells this session from all others of the instance; never 0.
    number: u64,
    client: Stream,
    /// What is known of its database.
    database: Arc<Database>,
    /// The catalog that its statements were last decided by.
    version: u64,
    space: Arc<Space>,
    statements: ClientStatements,
    link: Option<Link>,
    buffers: Option<Box<Buffers>>,
    transaction: Transaction,
    /// How that began, and whether it may begin anew elsewhere.
    beginning: Beginning,
    /// Whether what was sent since the last ReadyForQuery may have opened a block, which something behind
    /// it may fail in.
    opening: bool,
    phase: Phase,
    rest: Rest,
    plan: plan::Plan,
    /// What was sent of the extended protocol since the last Sync.
    batch: Batch,
    pins: Pins,
    parameters: Parameters,
    /// What the client knows of the server's parameters.
    told: Arc<Reported>,
    /// What it knew when the transaction began, if that was something else.
    told_before: Option<Arc<Reported>>,
    /// Whether it is told at its next ReadyForQuery what has come of a request of our own.
    untold: bool,
    /// Whether its text can be read by the router.
    quoting: Quoting,
    /// The connection that may remember something of its sequences ([`Connection::serial`]).
    ///
    /// [`Connection::serial`]: crate::backend::connection::Connection::serial
    sequences_on: u64,
    /// What follows from its parameters.
    makes: Makes,
    /// What its own settings ask of routing.
    asks: fresh::Asks,
    /// When this session last wrote ([`clock::now`]).
    wrote_at: u64,
    /// The node that answered the last read.
    read_node: Option<NodeId>,
    /// The node it keeps to where reads are balanced by session.
    kept: Option<NodeId>,
    /// When the first request of the present transaction began.
    transaction_began: u64,
    /// Result formats of the last Bind of a command that is answered here.
    local_formats: Vec<i16>,
    /// How many answers were owed when the server was last told to send what it has.
    collecting: usize,
    /// The client has said goodbye and closed; what it asked for before is still done.
    said_goodbye: bool,
    next: Next,
    /// How often the present read was run again.
    replays: u8,
    /// Where the read at the front goes now that it has failed.
    detour: Detour,
    /// The server connection broke in a transaction; the client is told at its next statement.
    broken: Option<Report>,
}

/// The next session's number.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("client", &self.identity.address)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose client has been told that it is ready.
    #[must_use]
    ///
    /// `early` is what the client sent right behind its login.
    pub fn new(context: Arc<Context>, identity: Identity, client: Stream, early: &[u8]) -> Self {
        let parameters = Parameters::new(Arc::clone(&identity.parameters));
        let database = context.cluster.database(identity.pools.database());
        let version = database.version();
        let space = context.space(&database.name, parameters.current());
        let told = Arc::clone(&identity.reported);
        let prepared = Arc::clone(&identity.registration.client().prepared);
        let buffers = (!early.is_empty()).then(|| {
            let mut buffers = context.take_buffers();
            buffers.client_in.extend_from_slice(early);
            let tally = &identity.pools.tally;
            tally.add(Stat::Received, early.len() as u64);
            buffers
        });
        let mut session = Self {
            context,
            identity,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            client,
            database,
            version,
            space,
            statements: ClientStatements::counted(prepared),
            link: None,
            buffers,
            transaction: Transaction::NONE,
            beginning: Beginning::default(),
            opening: false,
            phase: Phase::Normal,
            rest: Rest::None,
            plan: plan::Plan::default(),
            batch: Batch::None,
            pins: Pins::default(),
            parameters,
            quoting: Quoting::Unsafe,
            told,
            told_before: None,
            untold: false,
            sequences_on: 0,
            makes: Makes::default(),
            asks: fresh::Asks::default(),
            wrote_at: clock::NEVER,
            read_node: None,
            kept: None,
            transaction_began: clock::NEVER,
            local_formats: Vec::new(),
            collecting: 0,
            said_goodbye: false,
            next: Next::MayGo,
            replays: 0,
            detour: Detour::None,
            broken: None,
        };
        session.parameters_changed();
        session.told_anew();
        session
    }

    /// Serves the client until it leaves or must go.
    pub async fn run(mut self) {
        let (end, address) = (self.serve().await, self.identity.address);
        // Boxed, as a farewell takes much room and an idle session must stay small.
        Box::pin(self.close(end)).await;
        tracing::debug!(client = %address, "client left");
    }

    async fn serve(&mut self) -> End {
        if let Err(end) = self.go_on().await {
            return end;
        }
        loop {
            let step = match self.event().await {
                Event::Client | Event::Room => Ok(()),
                Event::Server => self.on_server_bytes(),
                Event::ServerLost(reason) => self.on_server_lost(reason),
                Event::ClientLost => return End::Left,
                Event::Signal(signal) => match self.on_signal(signal) {
                    Some(end) => return end,
                    None => Ok(()),
                },
            };
            if let Err(end) = step {
                return end;
            }
            if let Err(end) = self.go_on().await {
                return end;
            }
        }
    }

    /// Goes on with the client's messages until an event is needed.
    async fn go_on(&mut self) -> Result<(), End> {
        if self.identity.mode == PoolMode::Statement
            && self.transaction.status != TransactionStatus::Idle
        {
            return Err(End::Told(failure::no_transaction_blocks()));
        }
        self.release_if_done();
        while let Need::Server(demand) = self.advance()? {
            if let Err(first) = self.attach_at_once(&demand) {
                // Boxed: waiting is rare, and an idle session must stay small.
                Box::pin(self.attach_in_line(demand, first)).await?;
            }
        }
        // What was lent may not have been needed after all.
        self.release_if_done();
        Ok(())
    }

    fn on_signal(&mut self, signal: Signal) -> Option<End> {
        let client = self.identity.registration.client();
        let over =
            signal == Signal::TransactionTimeout && client.transaction_since() == clock::NEVER;
        let meant = match signal {
            Signal::ClientIdle => Some(Activity::Idle),
            Signal::IdleInTransaction => Some(Activity::IdleInTransaction),
            Signal::QueryTimeout => Some(Activity::Active),
            Signal::None
            | Signal::Drain
            | Signal::TransactionTimeout
            | Signal::Shutdown
            | Signal::Killed => None,
        };
        if over || meant.is_some_and(|meant| client.activity().0 != meant) {
            // It has gone on since.
            client.take_back(signal);
            return None;
        }
        let report = match signal {
            Signal::None => return None,
            Signal::Drain if self.is_busy() => return None,
            Signal::Drain | Signal::Shutdown => failure::shutting_down(),
            Signal::Killed => failure::killed(),
            Signal::ClientIdle => failure::client_idle(),
            Signal::IdleInTransaction => failure::idle_in_transaction(),
            Signal::QueryTimeout => failure::query_timeout(),
            Signal::TransactionTimeout => failure::transaction_timeout(),
        };
        Some(End::Told(report))
    }

    /// Whether the client is in the middle of something that a drain waits for.
    fn is_busy(&self) -> bool {
        self.transaction.status != TransactionStatus::Idle
            || self.batch.is_open()
            || self.buffers.as_ref().is_some_and(|b| !b.is_empty())
    }

    fn note_activity(&self, activity: Activity, now: u64) {
        self.identity
            .registration
            .client()
            .set_activity(activity, now);
    }

    /// Buffers, taken from the worker's when there were none.
    fn buffers(&mut self) -> &mut Buffers {
        self.buffers
            .get_or_insert_with(|| self.context.take_buffers())
    }
}
