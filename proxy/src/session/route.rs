//! `SHOW ROUTE <statement>`: where the statement would go if this session sent it now, and why.

use super::Session;
use crate::clock;
use crate::cluster::{Freshness, candidates};
use crate::router::{self, Target};
use crate::status::{Column, Table};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("target"),
    Column::text("node"),
    Column::text("reason"),
    Column::text("held_by"),
    Column::text("functions"),
    Column::text("relations"),
    Column::text("freshness"),
];

impl Session {
    /// The answer to the question in `sql`.
    pub(super) fn route(&self, sql: &[u8]) -> Table {
        let asked = router::question(sql).unwrap_or_default();
        let decision = self.decide(&asked);
        let names = router::names(&asked);
        let target = if decision.local.is_some() {
            "pgconvoy"
        } else {
            match self.target_of(&decision) {
                Target::Primary => "primary",
                Target::Replica => "replica",
            }
        };
        let fresh = self.freshness_for(decision.reads);
        let row = [
            target.to_owned(),
            self.destination(target, fresh),
            decision.reason.as_str().to_owned(),
            self.holder(),
            names.functions.join(", "),
            names.relations.join(", "),
            told(target, fresh),
        ];
        Table {
            columns: COLUMNS,
            rows: vec![row.into_iter().map(Some).collect()],
        }
    }

    /// The node, or those that would take turns.
    fn destination(&self, target: &str, fresh: Freshness) -> String {
        if let Some(link) = self.link.as_ref().filter(|_| self.is_held()) {
            return link.node.label.clone();
        }
        let view = self.context.cluster.view();
        let tuning = self.context.tuning.load();
        let primary = || {
            view.primary()
                .map_or_else(String::new, |p| p.node.label.clone())
        };
        let wish = self.wish(&tuning);
        let all = candidates(&view, &tuning.read_rules, fresh, &wish);
        let mut nodes: Vec<_> = all.map(|state| &state.node).collect();
        if let Some(kept) = nodes.iter().position(|n| Some(n.id) == wish.kept) {
            nodes = vec![nodes.swap_remove(kept)];
        }
        let replicas: Vec<&str> = nodes.iter().map(|node| node.label.as_str()).collect();
        match target {
            "pgconvoy" => String::new(),
            "replica" if tuning.split_reads && !replicas.is_empty() => replicas.join(", "),
            _ => primary(),
        }
    }

    /// What keeps the session where it is, whatever the statement.
    fn holder(&self) -> String {
        let mut holders: Vec<&str> = self.pins.held().iter().map(|r| r.as_str()).collect();
        if self.is_held() {
            if self.identity.mode == super::PoolMode::Session {
                holders.push("session mode");
            }
            if self.transaction.status != crate::protocol::frame::TransactionStatus::Idle {
                holders.push("transaction");
            }
        }
        holders.join(", ")
    }
}

/// What a replica must have replayed.
fn told(target: &str, fresh: Freshness) -> String {
    if target != "replica" {
        return String::new();
    }
    if fresh.is_any() {
        return "any".to_owned();
    }
    let written = (fresh.wrote_at != clock::NEVER).then(|| {
        let ago = clock::now().saturating_sub(fresh.wrote_at) / 1000;
        format!("after a write {ago} ms ago")
    });
    let position = fresh.position.map(|position| format!("up to {position}"));
    let all: Vec<String> = written.into_iter().chain(position).collect();
    all.join(", ")
}
