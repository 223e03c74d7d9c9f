//! What is done to a pool's idle connections from time to time: closing those that are too old, too
//! long idle or too many, replacing them before, and asking whether they still answer.

use std::sync::Arc;

use super::checkout::Pool;
use super::manager::{Object, Pooled};
use crate::backend::reset;
use crate::clock;
use crate::protocol::frame::TransactionStatus;

/// A connection used within this (us) is one that will be used again.
const IN_USE: u64 = 30_000_000;

impl Pool {
    /// Closes idle connections that are too old or were idle for too long, and what is more than
    /// the pool's size.
    pub fn sweep(self: &Arc<Self>, now: u64) {
        let limits = self.shared.commons.limits.load();
        let idle_limit = limits.idle_timeout.map(clock::micros);
        let budget = &self.shared.budget;
        let mut spare = budget.open().saturating_sub(budget.min_idle());
        let mut surplus = budget.reserve_in_use();
        let mut used = 0;
        self.idle.close_if(|pooled| {
            let idle_for = now.saturating_sub(pooled.idle_since);
            let idle_too_long = spare > 0 && idle_limit.is_some_and(|limit| idle_for >= limit);
            let outdated = !self.shared.control.keeps(pooled.server.mark);
            let close = surplus > 0 || outdated || pooled.expired(now) || idle_too_long;
            let missed = pooled.expired(now) && !pooled.was_replaced() && idle_for < IN_USE;
            used += usize::from(missed && surplus == 0);
            spare = spare.saturating_sub(usize::from(close));
            surplus = surplus.saturating_sub(usize::from(close));
            close
        });
        for _ in 0..used {
            self.refill();
        }
        // A cap was lowered.
        while self.shared.must_yield() && self.idle.give_away().is_some() {}
        self.replace_aging(now);
        if let Some(delay) = limits.check_delay {
            self.check(now, clock::micros(delay));
        }
        if budget.waiting() > 0 {
            budget.tidy();
            // Nothing should be left to do here; if something is, nobody waits for it for long.
            self.open_for_waiters();
        }
    }

    /// Opens connections up to the minimum that is kept.
    pub(super) fn keep_minimum(self: &Arc<Self>) {
        let budget = &self.shared.budget;
        while budget.open() < budget.min_idle() && self.prewarm() {}
    }

    /// Since when its longest idle connection is idle.
    pub(super) fn idle_since(&self) -> Option<u64> {
        let mut longest: Option<u64> = None;
        self.idle.close_if(|pooled| {
            let since = pooled.idle_since;
            longest = Some(longest.map_or(since, |other| other.min(since)));
            false
        });
        longest
    }

    /// A connection that comes back is old: has another one opened in its place, if there is room.
    /// True when it has expired and must not be lent again.
    pub(super) fn renew(self: &Arc<Self>, pooled: &mut Pooled, now: u64) -> bool {
        if pooled.expired(now) {
            return true;
        }
        if self.prewarm() {
            pooled.replaced();
        }
        false
    }

    /// Opens a connection in place of one that was closed because of its age.
    pub(super) fn refill(self: &Arc<Self>) {
        if self.shared.budget.waiting() == 0 {
            let _room = self.prewarm();
        }
    }

    /// Has others opened in place of idle connections that will soon expire.
    fn replace_aging(self: &Arc<Self>, now: u64) {
        let aging = |pooled: &Pooled| {
            let in_use = now.saturating_sub(pooled.idle_since) < IN_USE;
            in_use && pooled.is_aging(now) && !pooled.expired(now)
        };
        for mut pooled in self.idle.take_out(aging) {
            if self.prewarm() {
                pooled.replaced();
            }
            self.take_in(pooled);
        }
    }

    /// Asks the connection that was not heard of for longest, if that is more than `delay`, whether
    /// it still answers: whoever it is lent to next need not find out. One at a time.
    fn check(self: &Arc<Self>, now: u64, delay: u64) {
        let mut found = false;
        let silent = |pooled: &Pooled| {
            let heard = pooled.idle_since.max(pooled.checked);
            let due = !found && now.saturating_sub(heard) >= delay;
            found |= due;
            due
        };
        for mut pooled in self.idle.take_out(silent) {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(TransactionStatus::Idle) = reset::execute(&mut pooled, b"").await {
                    pooled.checked = clock::now();
                    pool.take_in(pooled);
                } else {
                    tracing::info!(node = %pool.shared.node.label,
                        "an idle server connection did not answer and was closed");
                }
            });
        }
    }

    fn take_in(&self, pooled: Box<Pooled>) {
        if !self.shared.control.keeps(pooled.server.mark) {
            // It was away while the others were closed.
            return;
        }
        let object: Option<Object> = self.idle.adopt(pooled);
        if let Some(object) = object {
            self.put_back(object);
        }
    }
}
