//! The commands that act: on the pools, on clients, on the instance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::command::ShutdownMode;
use super::{Inside, Outcome, Request};
use crate::error::Report;
use crate::pool::control::Database;
use crate::pool::servers::Server;
use crate::protocol::sqlstate;
use crate::registry::Signal;

/// How often a command that waits looks again.
const LOOK: Duration = Duration::from_millis(10);

/// How long KILL waits for what it has ended.
const KILLED: Duration = Duration::from_secs(5);

type Answer = Result<Outcome, Report>;

/// Takes a PAUSE back that was not completed.
struct Unfinished<'a> {
    inside: &'a Inside,
    database: Option<&'a Database>,
    /// It was paused before: then that stands.
    stays: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        match self.database {
            Some(database) => database.resume(),
            None => self.inside.directory.databases.resume_all(),
        };
        self.inside.directory.stir(self.database.map(|d| &*d.name));
    }
}

/// Lends no more, and waits until all connections have come back and are closed.
pub(super) async fn pause(inside: &Inside, name: Option<&str>) -> Answer {
    let database = name.map(|name| inside.database(name)).transpose()?;
    let databases = &inside.directory.databases;
    let first = match &database {
        Some(database) => database.pause(),
        None => databases.pause_all(),
    };
    let mut unfinished = Unfinished {
        inside,
        database: database.as_deref(),
        stays: !first,
    };
    tracing::info!(database = name.unwrap_or("all"), "pausing");
    loop {
        let target = database.as_ref().map(|d| &*d.name);
        inside.directory.close_outdated(target);
        let paused = match &database {
            Some(database) => database.is_paused(),
            None => databases.all_paused(),
        };
        if !paused {
            unfinished.stays = true;
            return Err(Report::new(
                sqlstate::QUERY_CANCELED,
                "PAUSE was ended by RESUME before all server connections were free",
            ));
        }
        if servers(inside, target).next().is_none() {
            unfinished.stays = true;
            tracing::info!(database = name.unwrap_or("all"), "paused");
            return Ok(Outcome::default());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// As PAUSE, without waiting: for a signal.
pub(crate) fn pause_all(inside: &Inside) {
    inside.directory.databases.pause_all();
    inside.directory.close_outdated(None);
    tracing::info!("pausing all databases");
}

/// As RESUME: for a signal.
pub(crate) fn resume_all(inside: &Inside) {
    if let Err(report) = resume(inside, None) {
        tracing::warn!(%report, "not resumed");
    }
}

/// Lends again.
pub(super) fn resume(inside: &Inside, name: Option<&str>) -> Answer {
    let not_paused = |what: String| {
        Report::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, what)
            .hint("SHOW DATABASES and SHOW STATE tell what is paused.")
    };
    let target = match name {
        Some(name) => {
            let database = inside.database(name)?;
            if !database.resume() {
                return Err(not_paused(format!("database \"{name}\" is not paused")));
            }
            Some(Arc::clone(&database.name))
        }
        None if inside.directory.databases.resume_all() => None,
        None => {
            return Err(not_paused("pgconvoy as a whole is not paused".to_owned()));
        }
    };
    inside.directory.stir(target.as_deref());
    tracing::info!(database = name.unwrap_or("all"), "resumed");
    Ok(Outcome::default())
}

/// Turns new clients away, or no longer.
pub(super) fn disable(inside: &Inside, name: &str, disabled: bool) -> Answer {
    inside.database(name)?.disable(disabled);
    tracing::info!(database = name, disabled, "new clients");
    Ok(Outcome::default())
}

/// Has each connection closed when it is free.
pub(super) fn reconnect(inside: &Inside, name: Option<&str>) -> Answer {
    for database in inside.scope(name)? {
        database.renew();
        inside.directory.close_outdated(Some(&database.name));
    }
    tracing::info!(database = name.unwrap_or("all"), "reconnecting");
    Ok(Outcome::default())
}

/// Waits until the connections that RECONNECT meant are closed.
pub(super) async fn wait_close(inside: &Inside, name: Option<&str>) -> Answer {
    let scope = inside.scope(name)?;
    loop {
        let all = inside.directory.servers.all();
        let outdated = |server: &Arc<Server>| {
            let database = scope.iter().find(|d| d.name == server.database);
            database.is_some_and(|d| d.is_outdated(server.mark))
        };
        if !all.iter().any(outdated) {
            return Ok(Outcome::default());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends all clients of a database and closes its connections; it stays paused.
pub(super) async fn kill(inside: &Inside, name: &str) -> Answer {
    let database = inside.database(name)?;
    database.pause();
    let target = &database.name;
    let killed = async {
        loop {
            let mut clients = 0;
            for client in inside.registry.clients() {
                if client.lodging.as_ref().is_some_and(|(d, _)| d == target) {
                    client.signal(Signal::Killed);
                    clients += 1;
                }
            }
            inside.directory.close_outdated(Some(target));
            if clients == 0 && servers(inside, Some(target)).next().is_none() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let done = tokio::time::timeout(KILLED, killed).await.is_ok();
    tracing::info!(database = name, "killed");
    let notice = (!done).then(|| {
        let left = servers(inside, Some(target)).count();
        Report::new(
            sqlstate::WARNING,
            format!("{left} server connections are still being closed after {KILLED:?}"),
        )
    });
    Ok(Outcome {
        table: None,
        notice,
    })
}

/// Ends one client.
pub(super) fn kill_client(inside: &Inside, id: i32) -> Answer {
    let client = inside.registry.find(id).ok_or_else(|| {
        Report::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("there is no client {id}"),
        )
        .hint("SHOW CLIENTS tells them, in the column id.")
    })?;
    client.signal(Signal::Killed);
    tracing::info!(client = %client.address, user = client.user, "killed");
    Ok(Outcome::default())
}

/// Reads the configuration again.
pub(super) async fn reload(inside: &Inside) -> Answer {
    let (answer, answered) = oneshot::channel();
    request(inside, Request::Reload(answer))?;
    let notice = answered.await.map_err(|_| ending())??;
    Ok(Outcome {
        table: None,
        notice,
    })
}

/// Ends the instance.
pub(super) fn shutdown(inside: &Inside, mode: ShutdownMode) -> Answer {
    request(inside, Request::Shutdown(mode))?;
    tracing::info!(?mode, "shutdown asked for on the console");
    Ok(Outcome::default())
}

fn request(inside: &Inside, request: Request) -> Result<(), Report> {
    inside.requests.try_send(request).map_err(|_| ending())
}

fn ending() -> Report {
    Report::new(
        sqlstate::CANNOT_CONNECT_NOW,
        "pgconvoy is ending, or busy with another RELOAD",
    )
    .hint("Try again.")
}

fn servers(inside: &Inside, database: Option<&str>) -> impl Iterator<Item = Arc<Server>> {
    let database = database.map(str::to_owned);
    let all = inside.directory.servers.all().into_iter();
    all.filter(move |s| database.as_deref().is_none_or(|name| *s.database == *name))
}
