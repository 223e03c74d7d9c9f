//! Which command is answered by what.

use super::command::{Chatter, Command, Show};
use super::{
    Context, Inside, Outcome, act, pool_backend_stats, pool_nodes, pool_version, show_clients,
    show_config, show_databases, show_lists, show_pools, show_servers, show_stats, show_users,
};
use crate::error::Report;
use crate::router::LocalCommand;
use crate::status::{Column, Table};

/// What SHOW HELP says.
const HELP: &str = "
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW LISTS|MEM|STATE
\tSHOW POOL_NODES|POOL_BACKEND_STATS|POOL_VERSION
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tWAIT_CLOSE [<db>]
\tKILL <db>
\tKILL_CLIENT <id>
\tRELOAD
\tSHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";

/// Answers a command that any authenticated client may give on any database. Quick, and never
/// blocks.
#[must_use]
pub fn answer(command: LocalCommand, context: &Context<'_>) -> Table {
    match command {
        LocalCommand::PoolNodes => pool_nodes::answer(context),
        LocalCommand::PoolVersion => pool_version::answer(context),
        LocalCommand::PoolBackendStats => pool_backend_stats::answer(context),
    }
}

/// The column of SELECT.
const NUMBER: &[Column] = &[Column::int4("?column?")];

/// The columns of what a command shows; `None` for one that shows nothing.
#[must_use]
pub fn columns(command: &Command) -> Option<&'static [Column]> {
    match command {
        Command::Show(show) => match show {
            Show::Help => None,
            Show::Pools => Some(show_pools::COLUMNS),
            Show::Clients => Some(show_clients::COLUMNS),
            Show::Servers => Some(show_servers::COLUMNS),
            Show::Stats => Some(show_stats::COLUMNS),
            Show::StatsTotals | Show::StatsAverages => Some(show_stats::HALF),
            Show::Totals => Some(show_stats::SUMS),
            Show::Databases => Some(show_databases::COLUMNS),
            Show::Users => Some(show_users::COLUMNS),
            Show::Lists => Some(show_lists::COLUMNS),
            Show::Config => Some(show_config::COLUMNS),
            Show::State => Some(show_lists::STATE),
            Show::Version => Some(show_lists::VERSION),
            Show::Mem => Some(show_lists::MEMORY),
            Show::Local(LocalCommand::PoolNodes) => Some(pool_nodes::COLUMNS),
            Show::Local(LocalCommand::PoolVersion) => Some(pool_version::COLUMNS),
            Show::Local(LocalCommand::PoolBackendStats) => Some(pool_backend_stats::COLUMNS),
        },
        Command::Chatter(Chatter::Parameter(parameter)) => Some(parameter.columns),
        Command::Chatter(Chatter::SelectNumber(_)) => Some(NUMBER),
        Command::Chatter(
            Chatter::ApplicationName(_)
            | Chatter::Set
            | Chatter::Begin
            | Chatter::Commit
            | Chatter::Rollback
            | Chatter::Reset(_),
        )
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Disable(_)
        | Command::Enable(_)
        | Command::Reconnect(_)
        | Command::Kill(_)
        | Command::KillClient(_)
        | Command::WaitClose(_)
        | Command::Reload
        | Command::Shutdown(_) => None,
    }
}

/// Carries a command out. PAUSE and WAIT_CLOSE wait for as long as it takes: a PAUSE that is given
/// up by dropping this is taken back.
///
/// # Errors
/// Why it could not be done.
pub async fn run(command: &Command, inside: &Inside) -> Result<Outcome, Report> {
    match command {
        Command::Show(show) => Ok(look(*show, inside)),
        Command::Pause(name) => act::pause(inside, name.as_deref()).await,
        Command::Resume(name) => act::resume(inside, name.as_deref()),
        Command::Disable(name) => act::disable(inside, name, true),
        Command::Enable(name) => act::disable(inside, name, false),
        Command::Reconnect(name) => act::reconnect(inside, name.as_deref()),
        Command::Kill(name) => act::kill(inside, name).await,
        Command::KillClient(id) => act::kill_client(inside, *id),
        Command::WaitClose(name) => act::wait_close(inside, name.as_deref()).await,
        Command::Reload => act::reload(inside).await,
        Command::Shutdown(mode) => act::shutdown(inside, *mode),
        Command::Chatter(chatter) => Ok(reply(chatter)),
    }
}

fn look(show: Show, inside: &Inside) -> Outcome {
    let table = match show {
        Show::Help => {
            let notice = Report::new(crate::protocol::sqlstate::SUCCESS, "Console usage");
            return Outcome {
                table: None,
                notice: Some(notice.detail(HELP)),
            };
        }
        Show::Pools => show_pools::answer(inside),
        Show::Clients => show_clients::answer(inside),
        Show::Servers => show_servers::answer(inside),
        Show::Stats => show_stats::both(inside),
        Show::StatsTotals => show_stats::totals(inside),
        Show::StatsAverages => show_stats::averages(inside),
        Show::Totals => show_stats::sums(inside),
        Show::Databases => show_databases::answer(inside),
        Show::Users => show_users::answer(inside),
        Show::Lists => show_lists::answer(inside),
        Show::Config => show_config::answer(inside),
        Show::State => show_lists::state(inside),
        Show::Version => show_lists::version(),
        Show::Mem => show_lists::memory(inside),
        Show::Local(command) => {
            let context = Context {
                view: &inside.cluster.view(),
                rules: &(inside.rules)(),
                read_node: None,
            };
            answer(command, &context)
        }
    };
    table.into()
}

fn reply(chatter: &Chatter) -> Outcome {
    let (columns, value) = match chatter {
        Chatter::Parameter(parameter) => (parameter.columns, parameter.value.to_owned()),
        Chatter::SelectNumber(number) => (NUMBER, number.to_string()),
        Chatter::ApplicationName(_)
        | Chatter::Set
        | Chatter::Begin
        | Chatter::Commit
        | Chatter::Rollback
        | Chatter::Reset(_) => return Outcome::default(),
    };
    let rows = vec![vec![Some(value)]];
    Table { columns, rows }.into()
}
