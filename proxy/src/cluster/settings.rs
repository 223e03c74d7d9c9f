//! How the nodes are watched; live.

use std::fmt;
use std::time::Duration;

use super::turnout::Terms;

/// How the nodes are watched. Replaced as a whole on reload.
#[derive(Clone)]
pub struct MonitorSettings {
    /// Login of the monitor; wants the rights of `pg_monitor`.
    pub user: String,
    /// Its password in plain text, if the servers ask for one.
    pub password: Option<String>,
    /// Database that it connects to.
    pub database: String,
    /// Between two checks of a node.
    pub check_period: Duration,
    /// A check that takes longer has failed; connecting is part of it.
    pub check_timeout: Duration,
    /// Failures in a row that a node may have before it is down.
    pub check_retries: u32,
    /// Between two position samples while a session waits for a replica to catch up.
    pub position_period: Duration,
    /// How often a database's catalog is read again; `None` never reads any.
    pub catalog_refresh: Option<Duration>,
    /// Whether it shall tell tables apart for who follows writes by table.
    pub tables_apart: bool,
    /// How much of its share a replica takes that comes back, fails or is slow.
    pub turnout: Terms,
}

impl fmt::Debug for MonitorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorSettings")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("database", &self.database)
            .field("check_period", &self.check_period)
            .field("check_timeout", &self.check_timeout)
            .field("check_retries", &self.check_retries)
            .field("position_period", &self.position_period)
            .field("catalog_refresh", &self.catalog_refresh)
            .field("tables_apart", &self.tables_apart)
            .field("turnout", &self.turnout)
            .finish()
    }
}
