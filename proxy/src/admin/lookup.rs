//! What the settings say of databases and users, whichever name they go by.

use std::sync::Arc;

use pgconvoy_config::{CONSOLE_DATABASES, PoolMode, Settings};

use super::Inside;
use crate::error::Report;
use crate::pool::control::Database;
use crate::protocol::sqlstate;

impl Inside {
    /// The database of that name, the clients' or the servers'.
    pub(super) fn database(&self, name: &str) -> Result<Arc<Database>, Report> {
        if CONSOLE_DATABASES.contains(&name) {
            let message = format!("\"{name}\" is the console itself");
            return Err(Report::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let settings = self.settings.load();
        let configured = settings
            .databases
            .iter()
            .find(|d| d.name == name || d.target.as_deref() == Some(name));
        let target = configured.map_or(name, |d| d.target.as_deref().unwrap_or(&d.name));
        let databases = &self.directory.databases;
        if configured.is_some() {
            return Ok(databases.of(&target.into()));
        }
        let known = databases.find(target).filter(|d| d.is_known());
        known.ok_or_else(|| {
            Report::new(
                sqlstate::INVALID_CATALOG_NAME,
                format!("there is no database \"{name}\""),
            )
            .detail("No [[database]] names it, and no client has been let in to it yet.")
            .hint("SHOW DATABASES lists them.")
        })
    }

    /// The databases that a command is about: the one that is named, or all.
    pub(super) fn scope(&self, name: Option<&str>) -> Result<Vec<Arc<Database>>, Report> {
        match name {
            Some(name) => Ok(vec![self.database(name)?]),
            None => Ok(self.directory.databases.all()),
        }
    }
}

/// A limit as pgbouncer writes it: 0 is none.
pub(super) fn limit(limit: Option<usize>) -> Option<String> {
    Some(limit.unwrap_or(0).to_string())
}

/// When the connections of a pool go back.
pub(super) fn pool_mode(settings: &Settings, database: &str, user: Option<&str>) -> PoolMode {
    let own = user.and_then(|name| {
        let mut all = settings.users.iter();
        all.find(|u| u.server_user.as_deref().unwrap_or(&u.name) == name)?
            .pool_mode
    });
    let mut places = settings.databases.iter();
    let place = places.find(|d| target(d) == database);
    own.or(place.and_then(|d| d.pool_mode))
        .unwrap_or(settings.pool.mode)
}

/// What servers call a configured database.
pub(super) fn target(database: &pgconvoy_config::Database) -> &str {
    database.target.as_deref().unwrap_or(&database.name)
}
