//! The shadow check: now and then a read that went to a replica is run on the primary, too, and its answers
//! are compared. Opt-in, beside the client, who waits for none of it.
//!
//! The primary is asked before and after the replica, which is asked once it has replayed what the primary
//! had shown at first. Where the primary gives the same both times and the replica something else, routing
//! (or the replica) was wrong. It must not keep anybody from a connection: it takes idle ones only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Session;
use super::context::Context;
use crate::backend::digest::{self, Answer};
use crate::backend::parameters::ParameterSet;
use crate::backend::reset;
use crate::clock;
use crate::cluster::{Freshness, NodeId, Position, Wish, candidates};
use crate::error::Report;
use crate::pool::checkout::Checkout;
use crate::pool::pools::TenantPools;
use crate::router::{Decision, Reason, Target};

/// How long a replica is waited for.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// Longer statements are not checked.
const MAX_TEXT: usize = 64 * 1024;

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Differs,
    /// The primary itself gave two answers.
    Changed,
    /// There was no idle connection, or the replica did not catch up.
    Skipped,
    /// Some server would not answer.
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// A read to be checked.
struct Check {
    context: Arc<Context>,
    pools: Arc<TenantPools>,
    parameters: Arc<ParameterSet>,
    session: u64,
    /// What it leaves on a connection is not known.
    unseen: bool,
    sql: Vec<u8>,
    replica: NodeId,
}

impl Session {
    /// A statement goes to a replica: one of so many is checked.
    pub(super) fn shadow(&self, decision: &Decision, sql: &[u8], every: u64) {
        let Some(link) = self.link.as_ref().filter(|link| !link.is_primary) else {
            return;
        };
        let reads = decision.target == Target::Replica && decision.reason == Reason::ReadOnlySelect;
        // Without the values of its parameters it says nothing.
        let whole = sql.len() <= MAX_TEXT && memchr::memchr(b'$', sql).is_none();
        if !reads || !whole || self.is_held() {
            return;
        }
        let shadow = &self.context.shadow;
        let count = shadow.reads.fetch_add(1, Ordering::Relaxed);
        if !count.is_multiple_of(every) || shadow.running.swap(true, Ordering::Relaxed) {
            return;
        }
        let check = Check {
            context: Arc::clone(&self.context),
            pools: Arc::clone(&self.identity.pools),
            parameters: Arc::clone(self.parameters.current()),
            session: self.number,
            unseen: decision.unseen,
            sql: sql.to_vec(),
            replica: link.node.id,
        };
        tokio::spawn(async move {
            let verdict = check.run().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "shadow check failed");
                Verdict::Failed
            });
            check.tell(verdict);
            check.context.shadow.running.store(false, Ordering::Relaxed);
        });
    }
}

impl Check {
    async fn run(&self) -> Result<Verdict, Report> {
        let Some(primary) = self.context.cluster.view().primary else {
            return Ok(Verdict::Skipped);
        };
        let Some((first, position)) = self.ask(primary, true).await? else {
            return Ok(Verdict::Skipped);
        };
        if !self.replica_has(position).await {
            return Ok(Verdict::Skipped);
        }
        let Some((shown, _)) = self.ask(self.replica, false).await? else {
            return Ok(Verdict::Skipped);
        };
        let Some((last, _)) = self.ask(primary, false).await? else {
            return Ok(Verdict::Skipped);
        };
        Ok(if first != last {
            Verdict::Changed
        } else if shown == first {
            Verdict::Same
        } else {
            Verdict::Differs
        })
    }

    /// The node's answer, and the position it shows where that is wanted; `None` without an idle connection.
    async fn ask(
        &self,
        node: NodeId,
        positioned: bool,
    ) -> Result<Option<(Answer, Option<Position>)>, Report> {
        let pool = self.pools.on(node);
        let Some(mut checkout) = pool.and_then(|pool| pool.try_checkout()) else {
            return Ok(None);
        };
        self.carry(&mut checkout).await?;
        if self.unseen {
            checkout.unseen_by = self.session;
        }
        reset::execute(&mut checkout, b"BEGIN READ ONLY").await?;
        let answer = digest::ask(&mut checkout, &self.sql).await?;
        reset::execute(&mut checkout, b"ROLLBACK").await?;
        let position = if positioned {
            let told = digest::one(&mut checkout, Position::QUESTION.as_bytes()).await?;
            told.as_deref().and_then(Position::parse)
        } else {
            None
        };
        // On an error it was dropped, and so closed.
        checkout.release(clock::now());
        Ok(Some((answer, position)))
    }

    async fn carry(&self, checkout: &mut Checkout) -> Result<(), Report> {
        for sql in checkout
            .carry(&self.parameters, self.session)
            .unwrap_or_default()
        {
            reset::execute(checkout, sql.as_bytes()).await?;
        }
        checkout.carries(&self.parameters, self.session);
        Ok(())
    }

    async fn replica_has(&self, position: Option<Position>) -> bool {
        let demanded = Freshness {
            position,
            ..Freshness::ANY
        };
        let shows = || {
            let view = self.context.cluster.view();
            let rules = self.context.tuning.load().read_rules;
            candidates(&view, &rules, demanded, &Wish::default())
                .any(|state| state.node.id == self.replica)
        };
        let looking = async {
            while !shows() {
                self.context.cluster.want_positions();
                tokio::time::sleep(LOOK).await;
            }
        };
        position.is_some() && tokio::time::timeout(CATCH_UP, looking).await.is_ok()
    }

    fn tell(&self, verdict: Verdict) {
        let tuning = self.context.tuning.load();
        self.context.metrics.routing().shadowed(verdict.as_str());
        if verdict != Verdict::Differs {
            return;
        }
        let shape = self.context.router().shape(&self.sql);
        let node = self.context.cluster.node(self.replica);
        let query = if tuning.log_queries {
            String::from_utf8_lossy(&self.sql)
        } else {
            "(log.queries is off)".into()
        };
        tracing::warn!(
            node = node.map_or("?", |node| node.label.as_str()),
            shape = format!("{shape:032x}"),
            %query,
            "a replica answers a read otherwise than the primary"
        );
    }
}
