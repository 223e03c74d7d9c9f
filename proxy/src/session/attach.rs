//! Finding a server connection: which node, from which pool, and what to do while there is none.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::context::{Context, READ_ROOM, Tuning};
use super::io::CLIENT_IN_MAX;
use super::replay::Replay;
use super::{Demand, Detour, End, Session, failure};
use crate::backend::connect::ConnectError;
use crate::clock;
use crate::cluster::{
    Balance, BalancePer, Freshness, InUse, NodeId, Preference, View, Wish, candidates, pick_read,
};
use crate::error::Report;
use crate::pool::budget::Elsewhere;
use crate::pool::checkout::Checkout;
use crate::pool::stats::Stat;
use crate::protocol::error_fields::Severity;
use crate::protocol::frame::TransactionStatus;
use crate::registry::{Activity, Signal};
use crate::router::Target;

/// The server connection that a session uses now.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) checkout: Checkout,
    pub(super) node: InUse,
    pub(super) is_primary: bool,
    /// When the running request was sent ([`clock::now`]).
    pub(super) started: u64,
    /// The last thing heard was ReadyForQuery, and nothing has been sent since.
    pub(super) at_rest: bool,
    /// Bytes of a message already begun that are still to be passed on to the client.
    pub(super) through: usize,
    /// Whether what was asked may be run again.
    pub(super) replay: Replay,
    /// The last write that it is known to show, if it is a replica's.
    pub(super) shows: u64,
}

impl Link {
    /// Whether a batch that needs this, and what was `written` by then, may go here, too.
    pub(super) fn serves(&self, demand: Demand, written: u64) -> bool {
        self.is_primary || (demand.target == Target::Replica && written <= self.shows)
    }
}

/// Why no connection was found.
enum NoLink {
    ClientGone,
    Shutdown,
    Killed,
    Failed(Report),
}

/// How long to wait before another try when a node can't take connections.
const RETRY: Duration = Duration::from_millis(50);

impl Session {
    /// Takes an idle connection, if the right node has one. Otherwise tells which node's turn it
    /// was.
    pub(super) fn attach_at_once(&mut self, demand: &Demand) -> Result<(), Option<NodeId>> {
        let view = self.context.cluster.view();
        let tuning = self.context.tuning.load();
        let wish = self.wish(&tuning);
        let node = choose(
            &self.context,
            &view,
            &tuning,
            *demand,
            self.freshness(),
            &wish,
        );
        let Some(node) = node else { return Err(None) };
        let own = self.plan.asks_sequences.then_some(self.sequences_on);
        let found = self.identity.pools.on(node).and_then(|pool| {
            own.and_then(|serial| pool.try_checkout_this(serial))
                .or_else(|| pool.try_checkout())
        });
        let Some(checkout) = found else {
            return Err(Some(node));
        };
        let is_primary = view.primary == Some(node);
        drop((view, tuning));
        self.context.metrics.wait_seconds.observe(0.0);
        self.link_up(checkout, node, is_primary, *demand);
        Ok(())
    }

    /// Waits for a connection, bounded; the client is told if there is none.
    pub(super) async fn attach_in_line(
        &mut self,
        demand: Demand,
        first: Option<NodeId>,
    ) -> Result<(), End> {
        let since = clock::now();
        self.note_activity(Activity::Waiting, since);
        let found = self.wait_in_line(demand, first, since).await;
        let client = self.identity.registration.client();
        client.nothing_to_cancel();
        let now = clock::now();
        let tally = &self.identity.pools.tally;
        tally.add(Stat::WaitTime, now - since);
        #[allow(
            clippy::cast_precision_loss,
            reason = "microseconds of a wait fit 52 bits"
        )]
        self.context
            .metrics
            .wait_seconds
            .observe((now - since) as f64 / 1e6);
        match found {
            Ok((checkout, node, is_primary)) => {
                self.link_up(checkout, node, is_primary, demand);
                Ok(())
            }
            Err(NoLink::ClientGone) => Err(End::Left),
            Err(NoLink::Shutdown) => Err(End::Told(failure::shutting_down())),
            Err(NoLink::Killed) => Err(End::Told(failure::killed())),
            Err(NoLink::Failed(report)) => {
                self.note_activity(Activity::Idle, now);
                self.detour = Detour::None;
                // What stands behind it must not be done without it.
                self.transaction_is_over(self.transaction.status != TransactionStatus::Idle);
                self.refuse_batch(&report)
            }
        }
    }

    async fn wait_in_line(
        &mut self,
        demand: Demand,
        first: Option<NodeId>,
        since: u64,
    ) -> Result<(Checkout, NodeId, bool), NoLink> {
        let (limit, notify) = {
            let tuning = self.context.tuning.load();
            let notify = tuning.query_wait_notify;
            let limit = tuning.query_wait_timeout;
            (limit, notify.filter(|notify| *notify < limit))
        };
        let mut unsaid = notify;
        let context = Arc::clone(&self.context);
        let pools = Arc::clone(&self.identity.pools);
        let registered = Arc::clone(self.identity.registration.client());
        let (fresh, wish) = (self.freshness(), self.wish(&context.tuning.load()));
        let find = find(&context, &pools, demand, (first, wish), fresh, since);
        let mut find = pin!(find);
        registered.waiting();
        let mut deadline = pin!(tokio::time::sleep(notify.unwrap_or(limit)));
        poll_fn(|cx| {
            registered.register(cx.waker());
            if let Poll::Ready(found) = find.as_mut().poll(cx) {
                return Poll::Ready(found.map_err(NoLink::Failed));
            }
            if registered.was_cancelled() {
                return Poll::Ready(Err(NoLink::Failed(failure::cancelled())));
            }
            // The time limits are about what a client does; one that waits does nothing.
            match registered.signalled() {
                Signal::Shutdown => return Poll::Ready(Err(NoLink::Shutdown)),
                Signal::Killed => return Poll::Ready(Err(NoLink::Killed)),
                Signal::None
                | Signal::Drain
                | Signal::ClientIdle
                | Signal::IdleInTransaction
                | Signal::QueryTimeout
                | Signal::TransactionTimeout => {}
            }
            while deadline.as_mut().poll(cx).is_ready() {
                let Some(waited) = unsaid.take() else {
                    let report = if pools.tally.database().is_paused() {
                        failure::paused(&pools.tally.database().name, limit)
                    } else {
                        failure::no_connection(&context, &pools, demand, limit)
                    };
                    return Poll::Ready(Err(NoLink::Failed(report)));
                };
                let report = failure::still_waiting(&context, &pools, demand, waited);
                failure::say(self.buffers(), Severity::Notice, &report);
                let end = deadline.deadline() + (limit - waited);
                deadline.as_mut().reset(end);
            }
            if let Some(buffers) = self.buffers.as_deref_mut() {
                // What was answered before is not held back; an error shows below.
                let unsent = buffers.client_out.len();
                let _sent = self.client.poll_drain(cx, &mut buffers.client_out);
                let sent = unsent - buffers.client_out.len();
                self.identity.pools.tally.add(Stat::Sent, sent as u64);
            }
            self.poll_gone(cx).map(|()| Err(NoLink::ClientGone))
        })
        .await
    }

    /// Ready when the client is gone; what it sends meanwhile is kept for later.
    fn poll_gone(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        loop {
            let Some(buffers) = self.buffers.as_deref_mut() else {
                return Poll::Pending;
            };
            if buffers.client_in.len() >= CLIENT_IN_MAX {
                return Poll::Pending;
            }
            buffers.client_in.reserve(READ_ROOM);
            match self.client.poll_fill(cx, &mut buffers.client_in) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(n)) => {
                    self.identity.pools.tally.add(Stat::Received, n as u64);
                }
            }
        }
    }

    /// What a read of this session asks for beyond the rules.
    pub(super) fn wish(&self, tuning: &Tuning) -> Wish {
        let preferences = &tuning.preferences;
        let prefer = if preferences.is_empty() {
            Preference::None
        } else {
            let client = self.identity.registration.client();
            let application = self.told.get("application_name").unwrap_or_default();
            preferences.of(application, &client.user, &client.database)
        };
        Wish {
            exclude: self.detour.without(),
            prefer,
            kept: self
                .kept
                .filter(|_| tuning.read_rules.per == BalancePer::Session),
        }
    }

    /// Keeps to the node from now on, where reads are balanced by session, unless the one kept so far only
    /// lacks this session's last write, or has failed just once.
    fn keep(&mut self, node: NodeId) {
        let tuning = self.context.tuning.load();
        if tuning.read_rules.per == BalancePer::Statement {
            return;
        }
        let view = self.context.cluster.view();
        let wish = Wish {
            exclude: None,
            ..self.wish(&tuning)
        };
        let usable = |wanted: NodeId| {
            candidates(&view, &tuning.read_rules, Freshness::ANY, &wish)
                .any(|state| state.node.id == wanted)
        };
        if !self.kept.is_some_and(usable) && usable(node) {
            self.kept = Some(node);
        }
    }

    fn link_up(&mut self, checkout: Checkout, node: NodeId, is_primary: bool, demand: Demand) {
        let Some(identity) = self.context.cluster.node(node).cloned() else {
            return;
        };
        self.identity
            .registration
            .client()
            .running_on(&checkout.key);
        if demand.target == Target::Replica {
            self.read_node = Some(node);
            self.keep(node);
        }
        self.buffers().replay.clear();
        self.identity.pools.tally.add(Stat::Assignments, 1);
        if self.transaction.status == TransactionStatus::Idle {
            self.transaction_began = clock::NEVER;
        }
        let mut link = Link {
            checkout,
            node: InUse::new(identity),
            is_primary,
            started: clock::NEVER,
            at_rest: true,
            through: 0,
            replay: match demand.target {
                Target::Replica => Replay::Elsewhere,
                Target::Primary => Replay::No,
            },
            shows: self.written(self.plan.reads),
        };
        self.carry_parameters(&mut link);
        self.pins.moved();
        self.link = Some(link);
        self.begin_held();
    }
}

/// Which node a batch goes to; `None` while there is none.
fn choose(
    context: &Context,
    view: &View,
    tuning: &Tuning,
    demand: Demand,
    fresh: Freshness,
    wish: &Wish,
) -> Option<NodeId> {
    if demand.target == Target::Primary || !tuning.split_reads {
        return view.primary;
    }
    let node = pick_read(
        view,
        &tuning.read_rules,
        &fresh,
        wish,
        &mut context.rotation(),
        match tuning.read_rules.balance {
            Balance::LeastLatency => clock::now(),
            Balance::RoundRobin | Balance::LeastConnections => clock::NEVER,
        },
    );
    let meant = wish.prefer == Preference::Primary;
    if !fresh.is_any() && node == view.primary && !meant {
        context.cluster.want_positions();
    }
    node
}

/// Finds a node and a connection on it, for as long as it takes.
async fn find(
    context: &Context,
    pools: &crate::pool::pools::TenantPools,
    demand: Demand,
    (mut first, mut wish): (Option<NodeId>, Wish),
    fresh: Freshness,
    since: u64,
) -> Result<(Checkout, NodeId, bool), Report> {
    loop {
        let view = context.cluster.view().clone();
        let tuning = context.tuning.load_full();
        let node = first
            .take()
            .filter(|node| demand.target == Target::Replica || view.primary == Some(*node))
            .or_else(|| choose(context, &view, &tuning, demand, fresh, &wish));
        let Some(pool) = node.and_then(|node| pools.on(node)) else {
            wish.exclude = None;
            wait_for_change(context, view.generation).await;
            continue;
        };
        let id = pool.shared.node.id;
        let is_primary = view.primary == Some(id);
        let read = demand.target == Target::Replica;
        let elsewhere = if read && tuning.split_reads && wish.exclude != Some(id) {
            Elsewhere::Perhaps
        } else {
            Elsewhere::No
        };
        let _waited_for = InUse::new(Arc::clone(&pool.shared.node));
        let checkout = pool.checkout(since, elsewhere);
        // Another node may lead by now, or this one may be down.
        let Some(found) = unless(|| has_moved(context, &view, id), checkout).await else {
            continue;
        };
        match found {
            Ok(checkout) => return Ok((checkout, id, is_primary)),
            Err(ConnectError::Refused(report)) => return Err(report),
            Err(ConnectError::Unreachable(_)) => {
                pool.shared.node.failed();
                context.cluster.suspect(id);
                if read && wish.exclude != Some(id) {
                    wish.exclude = Some(id);
                } else {
                    wish.exclude = None;
                    wait_for_change(context, view.generation).await;
                }
            }
            // A full server; another may have room.
            Err(ConnectError::NotNow(_)) if wish.exclude.is_none() => wish.exclude = Some(id),
            Err(ConnectError::NotNow(_)) => {
                wish.exclude = None;
                first = view.primary;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Until the cluster looks different, or for a moment.
async fn wait_for_change(context: &Context, generation: u64) {
    tokio::select! {
        () = context.cluster.changed(generation) => {}
        () = tokio::time::sleep(RETRY) => {}
    }
}

/// Whether the node is not what it was: its role or its health have changed.
fn has_moved(context: &Context, then: &View, id: NodeId) -> bool {
    let now = context.cluster.view();
    let state = |view: &View| {
        (
            view.primary == Some(id),
            view.node(id).map(|n| (n.health, n.role)),
        )
    };
    now.generation != then.generation && state(&now) != state(then)
}

/// What comes of `future`, or `None` when `given_up` says so before. Who changes that wakes the task:
/// [`crate::registry::Registry::wake_waiting`].
async fn unless<T>(given_up: impl Fn() -> bool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if given_up() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}
