//! What most tests start from: the shared cluster, a database of the test's own, and a pgconvoy in front.

use crate::convoy::{Convoy, Setup};
use crate::show::{self, Counts};
use crate::wire::Wire;
use crate::{shared, wait};

/// A database and the pgconvoy that leads to it.
pub struct Stage {
    pub convoy: Convoy,
    pub database: String,
}

impl Stage {
    /// With the default settings: transaction pooling, reads split, everybody trusted.
    pub fn new(name: &str) -> Self {
        Self::with(name, |setup| setup)
    }

    /// With settings of the test's own.
    pub fn with(name: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let database = shared::database(name);
        let convoy = change(Convoy::before(&shared::cluster().ports())).start();
        Self { convoy, database }
    }

    /// One worker, these keys of `[routing]`, and what `schema` makes on all nodes.
    pub fn routed(name: &str, routing: &str, schema: &str) -> Self {
        let routing = format!("[routing]\n{routing}");
        let stage = Self::with(name, |setup| setup.top("workers = 1").with(&routing));
        stage.seed(schema);
        stage
    }

    /// A client of pgconvoy: the user `app`.
    pub fn client(&self) -> Wire {
        self.client_with(&[])
    }

    /// A client with more startup parameters.
    pub fn client_with(&self, parameters: &[(&str, &str)]) -> Wire {
        let who = [("user", "app"), ("database", self.database.as_str())];
        let all: Vec<_> = who.iter().chain(parameters).copied().collect();
        Wire::login(self.convoy.port, &all, None).unwrap_or_else(|error| panic!("log in: {error}"))
    }

    /// A superuser's connection past pgconvoy, straight to a node (0 is the primary).
    pub fn direct(&self, node: usize) -> Wire {
        shared::cluster().nodes[node].superuser(&self.database)
    }

    /// As `app`, straight to the primary: what a client would get without pgconvoy.
    pub fn direct_app(&self) -> Wire {
        Wire::connect(shared::cluster().nodes[0].port, "app", &self.database)
            .expect("log in directly")
    }

    /// Runs statements as `app` straight on the primary and waits until the replicas have them.
    pub fn seed(&self, sql: &str) {
        self.direct_app().run(sql);
        self.settle();
    }

    /// Waits until every replica has replayed all that was written by now.
    pub fn settle(&self) {
        shared::cluster().wait_replayed(&shared::cluster().nodes[0]);
    }

    /// The statements each node has served so far.
    pub fn counts(&self) -> Vec<Counts> {
        show::counts(&mut self.client())
    }

    /// Asserts that no replica was ever asked to write in this test's database, by its own log.
    pub fn assert_no_write_reached_a_replica(&self) {
        for node in &shared::cluster().nodes[1..] {
            assert_eq!(
                node.refused_writes(&self.database),
                0,
                "{} was asked to write",
                node.name
            );
        }
        for counts in &self.counts()[1..] {
            assert_eq!(
                (counts.insert, counts.update, counts.delete, counts.ddl),
                (0, 0, 0, 0),
                "{counts:?}"
            );
        }
    }

    /// How many server connections pgconvoy holds to this database on a node.
    pub fn server_connections(&self, node: usize) -> usize {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and usename = 'app'";
        self.direct(node).one(sql).parse().unwrap()
    }

    /// Waits until the primary has this many sessions of `app` for which the condition on pg_stat_activity holds.
    pub fn wait_activity(&self, condition: &str, count: usize) {
        let mut direct = self.direct(0);
        let sql = format!(
            "select count(*) from pg_stat_activity \
             where datname = current_database() and usename = 'app' and ({condition})"
        );
        wait::until(
            &format!("{count} sessions where {condition}"),
            wait::SOON,
            || direct.one(&sql) == count.to_string(),
        );
    }
}
