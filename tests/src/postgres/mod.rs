//! Real PostgreSQL servers: a primary and its streaming replicas, started, killed, promoted and taken back.

mod node;
mod template;

pub use node::Node;

use crate::temp::TempDir;
use crate::wait;

/// A primary (`nodes[0]` at first) and its streaming replicas. Everything ends with the value, or with the process.
pub struct Cluster {
    pub nodes: Vec<Node>,
    directory: TempDir,
}

impl Cluster {
    /// Starts a primary and `replicas` standbys that stream from it, and waits until all of them accept connections.
    pub fn start(replicas: usize) -> Self {
        let directory = TempDir::new("pg");
        let nodes: Vec<Node> = (0..=replicas)
            .map(|index| Node::create(directory.path(), index))
            .collect();
        for replica in &nodes[1..] {
            replica.follow(&nodes[0]);
        }
        for node in &nodes {
            node.launch();
        }
        for node in &nodes {
            node.wait_ready();
        }
        let cluster = Self { nodes, directory };
        cluster.wait_streaming(&cluster.nodes[0], replicas);
        cluster
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// The directory that holds every node's data: for files of a test that end with the cluster.
    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    /// Waits until `count` standbys stream from `primary`.
    pub fn wait_streaming(&self, primary: &Node, count: usize) {
        let sql = "select count(*) from pg_stat_replication where state = 'streaming'";
        wait::until("standbys stream from the primary", wait::SOON, || {
            primary
                .try_one(sql)
                .is_some_and(|seen| seen == count.to_string())
        });
    }

    /// Waits until every running standby has replayed all that `primary` has written by now.
    pub fn wait_replayed(&self, primary: &Node) {
        let position = primary
            .superuser("postgres")
            .one("select pg_current_wal_insert_lsn()");
        let sql = format!("select coalesce(pg_last_wal_replay_lsn() >= '{position}', true)");
        for node in self
            .nodes
            .iter()
            .filter(|node| node.port != primary.port && node.is_running())
        {
            wait::until(
                &format!("{} has replayed {position}", node.name),
                wait::SOON,
                || node.try_one(&sql).is_none_or(|done| done == "t"),
            );
        }
    }
}
