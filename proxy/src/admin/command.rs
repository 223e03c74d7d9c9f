//! What may be said on the console: the parser of its commands. PURE.
//!
//! Commands are pgbouncer's by name. Drivers say more when they connect; what is harmless of that is
//! a [`Chatter`], which is answered as a server would.

use super::parameters::{self, Parameter};
use super::scan::{Token, statements};
use crate::error::Report;
use crate::protocol::sqlstate;
use crate::router::LocalCommand;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Looks, and changes nothing.
    Show(Show),
    /// Lend no connections of a database (or of any), and wait until none is lent.
    Pause(Option<String>),
    /// Take PAUSE and KILL back.
    Resume(Option<String>),
    /// Turn new clients of a database away.
    Disable(String),
    /// Take DISABLE back.
    Enable(String),
    /// Close each server connection when it is free.
    Reconnect(Option<String>),
    /// End all clients and server connections of a database, and pause it.
    Kill(String),
    /// End one client.
    KillClient(i32),
    /// Wait until RECONNECT is done.
    WaitClose(Option<String>),
    /// Read the configuration again.
    Reload,
    /// End the instance.
    Shutdown(ShutdownMode),
    /// What drivers say.
    Chatter(Chatter),
}

/// What SHOW shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// What can be said.
    Help,
    /// One row per database and user.
    Pools,
    /// One row per client.
    Clients,
    /// One row per server connection.
    Servers,
    /// Totals and averages per database.
    Stats,
    /// Totals per database.
    StatsTotals,
    /// Averages per database.
    StatsAverages,
    /// Totals and averages of all databases together.
    Totals,
    /// One row per database.
    Databases,
    /// One row per user.
    Users,
    /// How many there are of what.
    Lists,
    /// The settings.
    Config,
    /// Whether it is paused.
    State,
    /// Which program this is.
    Version,
    /// Memory.
    Mem,
    /// What any connection may ask, too.
    Local(LocalCommand),
}

/// How SHUTDOWN goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// All clients are ended now.
    Now,
    /// Each client is ended when its transaction is over, as at SIGTERM.
    WaitForServers,
    /// Clients leave when they like; new ones are not let in.
    WaitForClients,
}

/// What drivers say that is no command of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chatter {
    /// `SET application_name`.
    ApplicationName(String),
    /// SET of anything that does not matter here.
    Set,
    /// `SHOW server_version` and the like.
    Parameter(&'static Parameter),
    /// `SELECT 1`.
    SelectNumber(i32),
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// What resets a session; the tag it is answered with.
    Reset(&'static str),
}

impl Command {
    /// Whether only administrators may give it: it changes something, or stops others' work.
    #[must_use]
    pub fn acts(&self) -> bool {
        match self {
            Self::Show(_) | Self::Chatter(_) => false,
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::Reconnect(_)
            | Self::Kill(_)
            | Self::KillClient(_)
            | Self::WaitClose(_)
            | Self::Reload
            | Self::Shutdown(_) => true,
        }
    }

    /// The tag of its CommandComplete.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) | Self::Chatter(Chatter::Parameter(_)) => "SHOW",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Reconnect(_) => "RECONNECT",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Reload => "RELOAD",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Chatter(Chatter::ApplicationName(_) | Chatter::Set) => "SET",
            Self::Chatter(Chatter::SelectNumber(_)) => "SELECT 1",
            Self::Chatter(Chatter::Begin) => "BEGIN",
            Self::Chatter(Chatter::Commit) => "COMMIT",
            Self::Chatter(Chatter::Rollback) => "ROLLBACK",
            Self::Chatter(Chatter::Reset(tag)) => tag,
        }
    }
}

/// The commands of a text, parted by semicolons; empty ones are left out.
///
/// # Errors
/// The first that is none.
pub fn parse(text: &str) -> Result<Vec<Command>, Report> {
    statements(text)?
        .iter()
        .map(|tokens| command(tokens))
        .collect()
}

fn command(tokens: &[Token]) -> Result<Command, Report> {
    let (first, rest) = match tokens {
        [Token::Word(first), rest @ ..] => (first.to_ascii_uppercase(), rest),
        [other, ..] => return Err(syntax(&format!("unexpected {other}"))),
        [] => return Err(syntax("an empty command")),
    };
    let command = match first.as_str() {
        "SHOW" => return show(rest),
        "SET" => return set(rest),
        "PAUSE" => Command::Pause(optional("PAUSE", rest)?),
        "RESUME" => Command::Resume(optional("RESUME", rest)?),
        "RECONNECT" => Command::Reconnect(optional("RECONNECT", rest)?),
        "WAIT_CLOSE" => Command::WaitClose(optional("WAIT_CLOSE", rest)?),
        "DISABLE" => Command::Disable(needed("DISABLE", rest)?),
        "ENABLE" => Command::Enable(needed("ENABLE", rest)?),
        "KILL" => Command::Kill(needed("KILL", rest)?),
        "KILL_CLIENT" => Command::KillClient(client_id(rest)?),
        "RELOAD" => bare("RELOAD", rest, Command::Reload)?,
        "SHUTDOWN" => Command::Shutdown(shutdown(rest)?),
        "SUSPEND" => {
            return Err(unsupported("SUSPEND is not supported")
                .hint("PAUSE stops the work; a restart ends with SIGTERM and begins anew."));
        }
        "BEGIN" | "START" => Command::Chatter(Chatter::Begin),
        "COMMIT" | "END" => Command::Chatter(Chatter::Commit),
        "ROLLBACK" | "ABORT" => Command::Chatter(Chatter::Rollback),
        "RESET" => Command::Chatter(Chatter::Reset("RESET")),
        "DISCARD" => Command::Chatter(Chatter::Reset("DISCARD ALL")),
        "DEALLOCATE" => Command::Chatter(Chatter::Reset("DEALLOCATE ALL")),
        "SELECT" => return select(rest),
        _ => return Err(syntax(&format!("unknown command {first:?}"))),
    };
    Ok(command)
}

fn show(rest: &[Token]) -> Result<Command, Report> {
    let words: Vec<String> = rest.iter().map(|t| t.text().to_ascii_lowercase()).collect();
    let name = words.join(" ");
    let show = match name.as_str() {
        "" | "help" => Show::Help,
        "pools" => Show::Pools,
        "clients" => Show::Clients,
        "servers" => Show::Servers,
        "stats" => Show::Stats,
        "stats_totals" => Show::StatsTotals,
        "stats_averages" => Show::StatsAverages,
        "totals" => Show::Totals,
        "databases" => Show::Databases,
        "users" => Show::Users,
        "lists" => Show::Lists,
        "config" => Show::Config,
        "state" => Show::State,
        "version" => Show::Version,
        "mem" => Show::Mem,
        "pool_nodes" => Show::Local(LocalCommand::PoolNodes),
        "pool_version" => Show::Local(LocalCommand::PoolVersion),
        "pool_backend_stats" => Show::Local(LocalCommand::PoolBackendStats),
        "fds" | "sockets" | "active_sockets" | "dns_hosts" | "dns_zones" | "peers"
        | "peer_pools" => {
            let what = name.to_ascii_uppercase();
            return Err(unsupported(&format!("SHOW {what} is not supported"))
                .hint("SHOW HELP lists the commands."));
        }
        _ => {
            let parameter = parameters::find(&name).ok_or_else(|| {
                Report::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("there is nothing to SHOW called {name:?}"),
                )
                .hint("SHOW HELP lists the commands.")
            })?;
            return Ok(Command::Chatter(Chatter::Parameter(parameter)));
        }
    };
    Ok(Command::Show(show))
}

/// What clients set for themselves; it does not matter to the console.
const HARMLESS: [&str; 18] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "characteristics",
    "datestyle",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "names",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "time",
    "timezone",
];

fn set(rest: &[Token]) -> Result<Command, Report> {
    let word = |at: usize| rest.get(at).map(|t| t.text().to_ascii_lowercase());
    let scoped = matches!(word(0).as_deref(), Some("session" | "local"));
    let at = usize::from(scoped);
    let name = word(at).ok_or_else(|| syntax("SET needs a name"))?;
    if name == "application_name" {
        let value = rest.get(at + 2).map_or("", Token::text);
        return Ok(Command::Chatter(Chatter::ApplicationName(value.to_owned())));
    }
    if name == "transaction" || HARMLESS.contains(&name.as_str()) {
        return Ok(Command::Chatter(Chatter::Set));
    }
    Err(unsupported(&format!(
        "SET {name}: settings are not changed on the console"
    ))
    .hint("Change the configuration file, then RELOAD. SHOW CONFIG lists the settings."))
}

fn select(rest: &[Token]) -> Result<Command, Report> {
    match rest {
        [Token::Word(number)] => number
            .parse()
            .map(|n| Command::Chatter(Chatter::SelectNumber(n)))
            .ok(),
        _ => None,
    }
    .ok_or_else(|| {
        unsupported("this is the admin console: it runs no queries")
            .hint("SHOW HELP lists the commands. Connect to another database for SQL.")
    })
}

fn shutdown(rest: &[Token]) -> Result<ShutdownMode, Report> {
    let word = optional("SHUTDOWN", rest)?;
    match word.map(|w| w.to_ascii_uppercase()).as_deref() {
        None => Ok(ShutdownMode::Now),
        Some("WAIT_FOR_SERVERS") => Ok(ShutdownMode::WaitForServers),
        Some("WAIT_FOR_CLIENTS") => Ok(ShutdownMode::WaitForClients),
        Some(other) => Err(syntax(&format!(
            "SHUTDOWN takes WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS, not {other:?}"
        ))),
    }
}

fn client_id(rest: &[Token]) -> Result<i32, Report> {
    let id = needed("KILL_CLIENT", rest)?;
    id.parse()
        .map_err(|_| syntax("KILL_CLIENT takes a client's id").hint("SHOW CLIENTS tells them."))
}

fn optional(name: &str, rest: &[Token]) -> Result<Option<String>, Report> {
    match rest {
        [] => Ok(None),
        [Token::Word(word) | Token::Quoted(word)] => Ok(Some(word.clone())),
        [other, ..] => Err(syntax(&format!("unexpected {other} after {name}"))),
    }
}

fn needed(name: &str, rest: &[Token]) -> Result<String, Report> {
    optional(name, rest)?.ok_or_else(|| syntax(&format!("{name} needs a name")))
}

fn bare(name: &str, rest: &[Token], command: Command) -> Result<Command, Report> {
    match optional(name, rest)? {
        None => Ok(command),
        Some(more) => Err(syntax(&format!("unexpected {more:?} after {name}"))),
    }
}

fn syntax(what: &str) -> Report {
    Report::new(sqlstate::SYNTAX_ERROR, format!("syntax error: {what}"))
        .hint("SHOW HELP lists the commands.")
}

fn unsupported(what: &str) -> Report {
    Report::new(sqlstate::FEATURE_NOT_SUPPORTED, what)
}

#[cfg(test)]
mod tests;
