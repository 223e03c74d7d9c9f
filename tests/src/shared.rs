//! One primary with two replicas for all tests that harm nobody: starting one for each would be the longest part.

use crate::postgres::Cluster;
use crate::wire::Wire;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(2));

/// The shared cluster: `nodes[0]` is its primary for ever.
pub fn cluster() -> &'static Cluster {
    &CLUSTER
}

/// A database of its own, owned by `app`, that every replica has. The name starts with `prefix`.
pub fn database(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    primary("postgres").run(&format!("create database {name} owner app"));
    cluster().wait_replayed(&cluster().nodes[0]);
    name
}

/// A superuser's connection straight to the primary.
pub fn primary(database: &str) -> Wire {
    cluster().nodes[0].superuser(database)
}
