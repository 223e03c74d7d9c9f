//! What a client brings with it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::key::KeyLength;

/// What is known of a client that has logged in.
#[derive(Clone, Debug)]
pub struct Newcomer<'a> {
    /// Login name.
    pub user: &'a str,
    /// Database asked for.
    pub database: &'a str,
    /// Database and role on the servers; none for a client of the console.
    pub lodging: Option<(Arc<str>, Arc<str>)>,
    /// `application_name` of its startup packet.
    pub application_name: &'a str,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it came to.
    pub local: Option<SocketAddr>,
    /// What it replicates, as pgbouncer shows it: `none`, `logical`, `physical`.
    pub replication: &'static str,
    /// How long a cancel secret its protocol has room for.
    pub key: KeyLength,
}
