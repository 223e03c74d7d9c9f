//! `SHOW ROUTE <statement>`: where the statement would go if this session sent it now, and why.

use super::Session;
use crate::clock;
use crate::cluster::candidates;
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
            match self
                .for_good(super::Demand {
                    target: decision.target,
                })
                .target
            {
                Target::Primary => "primary",
                Target::Replica => "replica",
            }
        };
        let row = [
            target.to_owned(),
            self.destination(target),
            decision.reason.as_str().to_owned(),
            self.holder(),
            names.functions.join(", "),
            names.relations.join(", "),
            self.freshness(target),
        ];
        Table {
            columns: COLUMNS,
            rows: vec![row.into_iter().map(Some).collect()],
        }
    }

    /// The node, or those that would take turns.
    fn destination(&self, target: &str) -> String {
        if let Some(link) = self.link.as_ref().filter(|_| self.is_held()) {
            return link.node.label.clone();
        }
        let view = self.context.cluster.view();
        let tuning = self.context.tuning.load();
        let primary = || {
            view.primary()
                .map_or_else(String::new, |p| p.node.label.clone())
        };
        let (wish, wrote_at) = (self.wish(&tuning), self.wrote_by(&tuning));
        let all = candidates(&view, &tuning.read_rules, wrote_at, &wish);
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

    fn wrote_by(&self, tuning: &super::Tuning) -> u64 {
        if tuning.read_your_writes {
            self.wrote_at
        } else {
            clock::NEVER
        }
    }

    /// What a replica must have replayed.
    fn freshness(&self, target: &str) -> String {
        let wrote_at = self.wrote_by(&self.context.tuning.load());
        match (target, wrote_at) {
            ("replica", clock::NEVER) => "any".to_owned(),
            ("replica", at) => {
                let ago = clock::now().saturating_sub(at) / 1000;
                format!("after this session's write {ago} ms ago")
            }
            _ => String::new(),
        }
    }
}
