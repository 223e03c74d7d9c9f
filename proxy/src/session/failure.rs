//! What a client is told when something fails, and how its session goes on.
//!
//! The rules: nothing that may have run is run again; a read that has shown nothing is; the client
//! gets one honest error for each request it waits for, and keeps its connection wherever its
//! session's state is still known.

use std::sync::Arc;
use std::time::Duration;

use super::context::{Buffers, Context};
use super::replay::{Ran, Replay};
use super::{Batch, Demand, Detour, End, Phase, Rest, Session, Step};
use crate::error::Report;
use crate::pool::checkout::Pool;
use crate::pool::pools::TenantPools;
use crate::protocol::error_fields::{ErrorFields, ErrorView, Severity};
use crate::protocol::frame::{self, FrameError, Frontend, Header, TransactionStatus};
use crate::protocol::{sqlstate, to_client};
use crate::router::{Decision, PinReason, Reason, Tables, Target};

/// How often a read is run again: one that takes its servers down must not go through them all.
const REPLAYS: u8 = 2;

impl Session {
    /// The server connection broke.
    pub(super) fn on_server_lost(&mut self, error: std::io::Error) -> Result<(), End> {
        let node = self.link.as_ref().map_or("?", |l| l.node.label.as_str());
        let report = Report::new(
            sqlstate::CONNECTION_FAILURE,
            format!("the connection to node {node} was lost: {error}"),
        );
        self.lose_server(report)
    }

    /// Leaves a server connection that can't be used any more.
    pub(super) fn lose_server(&mut self, report: Report) -> Result<(), End> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        self.identity.registration.client().nothing_to_cancel();
        link.node.failed();
        self.context.cluster.suspect(link.node.id);
        tracing::debug!(client = %self.identity.address, node = %link.node.label, error = %report,
            "server connection lost");
        let over = self.beginning.may_start_over();
        let in_transaction = self.transaction.status != TransactionStatus::Idle && !over;
        let ours = self.keeps_its_connection();
        if over && self.asks_nothing() {
            // Between two statements; the next finds another.
            self.forget_requests();
            self.beginning.starts_over();
            return Ok(());
        }
        if link.replay == Replay::Elsewhere && !in_transaction && !ours && self.replays < REPLAYS {
            self.replays += 1;
            self.replay(Some(link.node.id));
            return Ok(());
        }
        if link.through > 0 {
            // In the middle of a message there is no place for an error.
            return Err(End::Left);
        }
        if ours {
            return Err(End::Told(state_lost(&report)));
        }
        self.give_up_requests(report, Ran::Perhaps);
        Ok(())
    }

    /// The parameters that the client wants were refused, or the connection could not be swept. That
    /// ends the connection: nothing of what was asked behind it has run, and it may do elsewhere.
    pub(super) fn setup_failed(&mut self, report: Report, ran: Ran) -> Result<(), End> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        self.identity.registration.client().nothing_to_cancel();
        if self.keeps_its_connection() {
            return Err(End::Told(state_lost(&report)));
        }
        let over = self.beginning.may_start_over();
        let idle = self.transaction.status == TransactionStatus::Idle || over;
        let again = ran == Ran::Nothing && link.replay != Replay::No && idle && self.replays == 0;
        // A cancel request is answered, not tried again.
        if again && report.code != sqlstate::QUERY_CANCELED {
            self.replays += 1;
            self.replay(None);
        } else {
            self.give_up_requests(report, ran);
        }
        Ok(())
    }

    /// Tells the client of every request that will not be answered.
    fn give_up_requests(&mut self, report: Report, ran: Ran) {
        self.detour = Detour::None;
        let in_transaction = self.transaction.status != TransactionStatus::Idle;
        // Also what was begun and not yet told of; nothing behind it must be done by itself.
        let begun = in_transaction || self.opening;
        let open = (self.buffers.as_ref()).is_some_and(|b| b.replies.block_after(begun));
        let (owed, commits) = self.forget_requests();
        let commits = commits && ran == Ran::Perhaps;
        if commits || self.transaction.wrote {
            // Whatever was written of it must be seen by what comes next.
            self.note_write(Tables::ALL, crate::clock::now());
        }
        let report = if commits {
            outcome_unknown(report)
        } else {
            report
        };
        if owed == 0 && !self.batch.is_open() {
            if in_transaction {
                self.broken = Some(rolled_back(&report));
            }
            return;
        }
        self.transaction_is_over(open);
        let status = self.transaction.status;
        let skip = self.batch.is_open();
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return;
        };
        for _ in 0..owed {
            say(buffers, Severity::Error, &report);
            to_client::ready_for_query(&mut buffers.client_out, status);
        }
        if skip {
            say(buffers, Severity::Error, &report);
            self.phase = Phase::SkipToSync;
            self.batch = Batch::None;
        }
    }

    /// Forgets what was asked of the server; how many ReadyForQuery are owed, and whether a
    /// commit was among it.
    fn forget_requests(&mut self) -> (usize, bool) {
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return (0, false);
        };
        // Done, but not yet committed as far as is known.
        let done = self.transaction.wrote && self.transaction.status == TransactionStatus::Idle;
        let commits = buffers.replies.commits() || (done && !buffers.replies.is_empty());
        let mut undone = Vec::new();
        let owed = buffers.replies.abandon(|undo| undone.push(undo));
        buffers.server_in.clear();
        buffers.server_out.clear();
        undone.into_iter().rev().for_each(|undo| self.undo(undo));
        if let Rest::Server(left) = self.rest {
            self.rest = Rest::Nowhere(left);
        }
        if self.phase == Phase::CopyIn {
            self.phase = Phase::Normal;
        }
        (owed, commits)
    }

    /// Whether the server owes nothing that the client has asked for.
    fn asks_nothing(&self) -> bool {
        let own = self.buffers.as_ref().is_none_or(|b| b.replies.is_all_own());
        own && !self.batch.is_open()
    }

    /// Runs a batch again that has shown nothing yet, on another node or another connection.
    fn replay(&mut self, exclude: Option<crate::cluster::NodeId>) {
        let (_, _) = self.forget_requests();
        self.beginning.starts_over();
        if self.detour != Detour::Primary {
            self.detour = exclude.map_or(Detour::None, Detour::Without);
        }
        self.batch = Batch::None;
        self.phase = Phase::Normal;
        self.plan.reset();
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return;
        };
        let mut again = std::mem::take(&mut buffers.replay);
        again.extend_from_slice(&buffers.client_in);
        buffers.client_in = again;
    }

    /// Refuses the batch at the front.
    pub(super) fn refuse_batch(&mut self, report: &Report) -> Result<(), End> {
        let Some(buffers) = self.buffers.as_deref() else {
            return Ok(());
        };
        match frame::peek_frontend(&buffers.client_in) {
            Ok(Some((kind, header))) => {
                self.refuse(kind, header, report);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => Err(malformed(&e)),
        }
    }

    /// Refuses the message at the front, and in the extended protocol all up to Sync.
    pub(super) fn refuse(&mut self, kind: Frontend, header: Header, report: &Report) -> Step {
        self.plan.reset();
        let status = self.transaction.status;
        say(self.buffers(), Severity::Error, report);
        match kind {
            Frontend::Query | Frontend::FunctionCall => {
                to_client::ready_for_query(&mut self.buffers().client_out, status);
                self.discard(header);
            }
            Frontend::Parse
            | Frontend::Bind
            | Frontend::Describe
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password
            | Frontend::Terminate => self.phase = Phase::SkipToSync,
        }
        Step::Again
    }
}

/// Puts an error (or a notice) on its way to the client.
pub(super) fn say(buffers: &mut Buffers, severity: Severity, report: &Report) {
    let fields = ErrorFields::of_report(severity, report);
    if severity == Severity::Notice {
        to_client::notice_response(&mut buffers.client_out, &fields);
    } else {
        to_client::error_response(&mut buffers.client_out, &fields);
    }
}

/// A statement whose end was not seen may change anything.
pub(super) fn cannot_see_the_end(decision: &mut Decision) {
    decision.target = Target::Primary;
    decision.reason = Reason::TooLong;
    decision.writes = true;
    decision.local = None;
    decision.pins = decision.pins.and(PinReason::UnknownState.into());
}

/// The last words to a client whose messages can't be trusted any more.
pub(super) fn malformed(error: &FrameError) -> End {
    End::Told(protocol_violation(error))
}

fn protocol_violation(error: &FrameError) -> Report {
    Report::new(error.sqlstate(), error.to_string())
}

pub(super) fn server_violation(what: &str) -> Report {
    Report::new(
        sqlstate::PROTOCOL_VIOLATION,
        format!("the server broke the protocol: {what}"),
    )
}

/// The server ends the connection and says why; the client's own connection lives on.
pub(super) fn server_said(view: &ErrorView<'_>, node: &str) -> Report {
    Report::new(
        view.sqlstate()
            .unwrap_or(sqlstate::CONNECTION_FAILURE)
            .to_owned(),
        format!("{} (node {node})", view.message()),
    )
}

pub(super) fn setup(view: &ErrorView<'_>) -> Report {
    Report::new(
        view.sqlstate()
            .unwrap_or(sqlstate::INVALID_PARAMETER_VALUE)
            .to_owned(),
        format!(
            "a parameter of this session could not be set: {}",
            view.message()
        ),
    )
}

/// Certain to have been rolled back: trying again is right.
fn rolled_back(cause: &Report) -> Report {
    Report::new(
        sqlstate::SERIALIZATION_FAILURE,
        "the transaction was rolled back because its server connection was lost",
    )
    .detail(cause.message.clone())
    .hint("Run the transaction again.")
}

fn outcome_unknown(cause: Report) -> Report {
    Report::new(
        sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
        "the server connection was lost while the statement ran; whether it was committed is unknown",
    )
    .detail(cause.message)
    .hint("Look at the data before you run it again.")
}

pub(super) fn state_lost(cause: &Report) -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        "the session's state was lost with its server connection",
    )
    .detail(cause.message.clone())
    .hint("Connect again.")
}

/// Another node leads now: nothing more is written to this one.
pub(super) fn no_longer_leads(node: &str) -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        format!("node {node} no longer leads; its server connection was given up"),
    )
}

/// SET and the like in a read-only transaction on a replica, then a statement for the primary.
pub(super) fn pinned_to_a_replica() -> Report {
    Report::new(
        sqlstate::READ_ONLY_SQL_TRANSACTION,
        "the session's state was set in a read-only transaction on a replica, where this \
         statement can't run",
    )
    .hint("Set session state outside of read-only transactions.")
}

/// In a READ ONLY transaction on a replica: a lock there would keep nobody out.
pub(super) fn needs_the_primary(node: &str) -> Report {
    Report::new(
        sqlstate::READ_ONLY_SQL_TRANSACTION,
        format!(
            "the statement can run on the primary only, and its READ ONLY transaction, which has been \
             ended, ran on replica {node}"
        ),
    )
    .hint("Begin such transactions with /* pgconvoy: primary */ BEGIN.")
}

pub(super) fn no_transaction_blocks() -> Report {
    Report::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "transaction blocks are not allowed in statement mode",
    )
    .hint(
        "Let each statement commit by itself, or set pool_mode = \"transaction\" for this user or \
         database.",
    )
}

pub(super) fn cancelled() -> Report {
    Report::new(
        sqlstate::QUERY_CANCELED,
        "canceling statement due to user request while it waited for a server connection",
    )
}

/// What a client is told that has waited for a while.
pub(super) fn still_waiting(
    context: &Context,
    pools: &TenantPools,
    demand: Demand,
    waited: Duration,
) -> Report {
    let report = Report::new(
        sqlstate::SUCCESS,
        format!("no server connection within {waited:?}; still waiting"),
    );
    match holdup(context, pools, demand) {
        Some(holdup) => report.detail(holdup),
        None => report,
    }
}

/// What a statement waits for, as the pool knows it.
fn holdup(context: &Context, pools: &TenantPools, demand: Demand) -> Option<String> {
    let primary = context.cluster.view().primary;
    let Some(primary) = primary else {
        return Some("No node is known to be the primary.".to_owned());
    };
    let waited_for = |p: &&Arc<Pool>| p.shared.budget.waiting() > 0;
    let pool = match demand.target {
        Target::Primary => pools.on(primary),
        Target::Replica => pools.made().find(waited_for),
    };
    pool.map(|pool| pool.shared.holdup())
}

pub(super) fn no_connection(
    context: &Context,
    pools: &TenantPools,
    demand: Demand,
    waited: Duration,
) -> Report {
    let view = context.cluster.view();
    if view.primary.is_none() {
        let nodes: Vec<String> = view
            .nodes
            .iter()
            .map(|n| {
                let why = n
                    .last_error
                    .as_deref()
                    .unwrap_or("not in the role that is needed");
                format!("{}: {why}", n.node.label)
            })
            .collect();
        return Report::new(
            sqlstate::CANNOT_CONNECT_NOW,
            format!("no node could take the statement within {waited:?}"),
        )
        .detail(nodes.join("; "))
        .hint("SHOW POOL_NODES tells the state of the nodes.");
    }
    let kind = match demand.target {
        Target::Primary => "the primary",
        Target::Replica => "a node for reads",
    };
    let mut report = Report::new(
        sqlstate::TOO_MANY_CONNECTIONS,
        format!(
            "no server connection to {kind} became free within {waited:?} (pool.query_wait_timeout)"
        ),
    );
    report.detail = holdup(context, pools, demand);
    report.hint("Raise pool.size, shorten transactions, or raise pool.query_wait_timeout.")
}

pub(super) fn shutting_down() -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection: pgconvoy is shutting down",
    )
    .hint("Connect again.")
}

pub(super) fn paused(database: &str, limit: Duration) -> Report {
    Report::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!(
            "database \"{database}\" is paused: waited {limit:?} (pool.query_wait_timeout) for its RESUME"
        ),
    )
    .hint("An administrator said PAUSE on pgconvoy's console; RESUME there goes on.")
}

pub(super) fn killed() -> Report {
    Report::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
    .detail("An administrator of pgconvoy ended it with KILL or KILL_CLIENT.")
}

pub(super) fn client_idle() -> Report {
    Report::new(
        sqlstate::IDLE_SESSION_TIMEOUT,
        "terminating connection: idle for longer than limits.client_idle_timeout",
    )
}

pub(super) fn idle_in_transaction() -> Report {
    Report::new(
        sqlstate::IDLE_IN_TRANSACTION_TIMEOUT,
        "terminating connection: idle in a transaction for longer than \
         limits.idle_in_transaction_timeout",
    )
}

pub(super) fn transaction_timeout() -> Report {
    Report::new(
        sqlstate::TRANSACTION_TIMEOUT,
        "terminating connection: a transaction lasted for longer than limits.transaction_timeout",
    )
}

pub(super) fn query_timeout() -> Report {
    Report::new(
        sqlstate::QUERY_CANCELED,
        "terminating connection: a statement ran for longer than limits.query_timeout",
    )
}
