//! Replication connections (PostgreSQL docs, "Streaming Replication Protocol"): who asks for one,
//! which node it goes to, how many there may be, and the login there. What passes over one is
//! `passthrough`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;

use crate::auth::Credential;
use crate::backend::connect::{self, ConnectError, Target};
use crate::backend::connection::Connection;
use crate::cluster::{Cluster, Health, Node, Role};
use crate::error::Report;
use crate::metrics::Metrics;
use crate::pool::pools::Tenant;
use crate::protocol::startup::Startup;
use crate::protocol::{sqlstate, startup_options, to_client};

/// The setting in `options` that names the node.
const NODE: &str = "pgconvoy.node";

/// What the configuration says; live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where they go unless they say so themselves.
    pub node: Choice,
    /// Most of them at a time.
    pub most: usize,
}

/// Which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whichever leads; the connection ends when it no longer does.
    Primary,
    /// The first replica in the list of nodes that is up: always the same one, since a backup takes
    /// two connections, and slots are on one node.
    Replica,
    /// This one, whatever it is.
    Named(String),
}

impl Choice {
    /// As the configuration and clients write it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "primary" => Self::Primary,
            "replica" => Self::Replica,
            name => Self::Named(name.to_owned()),
        }
    }
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Wish {
    choice: Option<Choice>,
    /// For the server: `replication` and all else the client said.
    parameters: Vec<(String, String)>,
}

impl Wish {
    /// `None` when the client wants an ordinary session.
    ///
    /// # Errors
    /// What the server would say of the value, or of the options.
    pub(super) fn of(startup: &Startup) -> Result<Option<Self>, Report> {
        let mode = match startup.get("replication") {
            None => return Ok(None),
            Some("database") => "database",
            Some(value) => match boolean(value) {
                Some(false) => return Ok(None),
                Some(true) => "true",
                None => {
                    let message =
                        format!("invalid value for parameter \"replication\": \"{value}\"");
                    return Err(Report::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                        .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."));
                }
            },
        };
        let mut wish = Self {
            choice: None,
            parameters: vec![("replication".to_owned(), mode.to_owned())],
        };
        if let Some(options) = startup.get("options") {
            wish.take_options(options)?;
        }
        for (name, value) in &startup.parameters {
            match name.as_str() {
                "user" | "database" | "options" | "replication" => {}
                NODE => wish.choice = Some(Choice::parse(value)),
                _ => wish.parameters.push((name.clone(), value.clone())),
            }
        }
        Ok(Some(wish))
    }

    /// Passes the options on but for our own. They stay options: as parameters of the startup packet
    /// some names would mean something else there.
    fn take_options(&mut self, options: &str) -> Result<(), Report> {
        let settings = startup_options::settings(options)
            .map_err(|e| Report::new(e.sqlstate(), e.to_string()))?;
        let mut kept = String::new();
        for (name, value) in settings {
            if name == NODE {
                self.choice = Some(Choice::parse(&value));
            } else {
                startup_options::push_setting(&mut kept, &name, &value);
            }
        }
        if !kept.is_empty() {
            self.parameters.push(("options".to_owned(), kept));
        }
        Ok(())
    }
}

/// As PostgreSQL reads a boolean: a word or an unambiguous beginning of it.
fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str| !value.is_empty() && word.starts_with(&value);
    match value.as_str() {
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        _ if begins("true") || begins("yes") => Some(true),
        _ if begins("false") || begins("no") => Some(false),
        _ => None,
    }
}

/// A replication connection on a server, and its place among those allowed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) node: Arc<Node>,
    /// It was asked for because the node leads.
    pub(super) wants_leader: bool,
    pub(super) place: Place,
}

impl Opened {
    /// What the node reports of its parameters, as messages.
    pub(super) fn messages(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(512);
        for (name, value) in self.connection.reported.iter() {
            to_client::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
        }
        out
    }
}

/// One of those allowed, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.metrics.replication_connections.dec();
    }
}

/// Where replication connections come in.
#[derive(Debug)]
pub struct Gate {
    rules: Arc<ArcSwap<Rules>>,
    open: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// With these rules.
    #[must_use]
    pub fn new(rules: Arc<ArcSwap<Rules>>, metrics: Arc<Metrics>) -> Self {
        Self {
            rules,
            open: Arc::default(),
            metrics,
        }
    }

    /// Opens a connection of the client's own to the node of its choice, within `limit`.
    ///
    /// # Errors
    /// Too many, no such node, or what the node says.
    pub(super) async fn open(
        &self,
        wish: &Wish,
        tenant: &Tenant,
        credential: Option<Arc<Credential>>,
        cluster: &Cluster,
        limit: Duration,
    ) -> Result<Opened, Report> {
        let rules = self.rules.load_full();
        let place = self.enter(rules.most)?;
        let choice = wish.choice.as_ref().unwrap_or(&rules.node);
        let node = find(cluster, choice, limit).await?;
        let target = Target {
            host: node.host.clone(),
            port: node.port,
            user: Arc::clone(&tenant.user),
            database: Arc::clone(&tenant.database),
            credential: credential.as_deref().cloned(),
        };
        let opened = connect::connect_as(&target, &wish.parameters, limit).await;
        if let Err(ConnectError::Unreachable(_)) = &opened {
            cluster.suspect(node.id);
        }
        Ok(Opened {
            connection: opened.map_err(|e| e.report().clone())?,
            node,
            wants_leader: *choice == Choice::Primary,
            place,
        })
    }

    fn enter(&self, most: usize) -> Result<Place, Report> {
        let taken = |n: usize| (n < most).then_some(n + 1);
        let entered = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, taken);
        if entered.is_ok() {
            self.metrics.replication_connections.inc();
            return Ok(Place {
                open: Arc::clone(&self.open),
                metrics: Arc::clone(&self.metrics),
            });
        }
        let message = "too many replication connections";
        Err(Report::new(sqlstate::TOO_MANY_CONNECTIONS, message)
            .detail(format!("{most} are open"))
            .hint("Raise limits.max_replication_connections, and max_wal_senders of the server."))
    }
}

/// The node; waits while there is none in the role that is asked for.
async fn find(cluster: &Cluster, choice: &Choice, limit: Duration) -> Result<Arc<Node>, Report> {
    let looking = async {
        loop {
            let generation = cluster.view().generation;
            if let Some(node) = present(cluster, choice) {
                return node;
            }
            cluster.changed(generation).await;
        }
    };
    if let Choice::Named(name) = choice
        && present(cluster, choice).is_none()
    {
        return Err(no_such_node(cluster, name));
    }
    tokio::time::timeout(limit, looking).await.map_err(|_| {
        let role = match choice {
            Choice::Replica => "replica",
            Choice::Primary | Choice::Named(_) => "primary",
        };
        Report::new(
            sqlstate::CANNOT_CONNECT_NOW,
            format!("no {role} was found for the replication connection within {limit:?}"),
        )
        .hint("SHOW POOL_NODES tells the state of the nodes.")
    })
}

fn present(cluster: &Cluster, choice: &Choice) -> Option<Arc<Node>> {
    let view = cluster.view();
    match choice {
        Choice::Primary => view.primary().map(|state| Arc::clone(&state.node)),
        Choice::Replica => view
            .nodes
            .iter()
            .find(|state| state.health == Health::Up && state.role == Role::Replica)
            .map(|state| Arc::clone(&state.node)),
        Choice::Named(name) => cluster
            .nodes()
            .iter()
            .find(|node| is_called(node, name))
            .cloned(),
    }
}

fn is_called(node: &Node, name: &str) -> bool {
    node.label == *name || format!("{}:{}", node.host, node.port) == *name
}

fn no_such_node(cluster: &Cluster, name: &str) -> Report {
    let labels: Vec<&str> = cluster.nodes().iter().map(|n| n.label.as_str()).collect();
    Report::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("there is no node \"{name}\" for a replication connection ({NODE})"),
    )
    .detail(format!("The nodes are: {}.", labels.join(", ")))
    .hint("Write \"primary\", \"replica\" or the name of a node.")
}

#[cfg(test)]
mod tests;
