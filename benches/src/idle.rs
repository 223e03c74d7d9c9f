//! What an idle client costs: thousands of them that have each asked once, while 32 others work.

use crate::client;
use crate::pgbench::{self, Run};
use crate::problem::{Problem, Result};
use crate::results::Sample;
use crate::stage::{DATABASE, USER};
use crate::targets::{Kind, Target};
use crate::usage::pss_kib;
use crate::workload::{Load, Login, Mode, WORKLOADS};
use std::net::TcpStream;

/// The working clients beside the idle ones.
const ACTIVE: usize = 32;

/// What was seen in one column.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    pub clients: usize,
    /// Growth of the proxy's proportional set size over the idle clients.
    pub kib_for_each: f64,
    /// Of the 32 at work meanwhile.
    pub active: Sample,
}

/// Opens the idle clients, lets 32 others work, and weighs the proxy before and after.
///
/// # Errors
/// When a client is refused, or the column needs a server connection or process for each.
pub fn run(target: &Target, clients: usize, seconds: u64) -> Result<Idle> {
    match target.kind {
        Kind::Direct | Kind::Haproxy => {
            return Err(Problem::new(
                "no idle row",
                "a server connection for each client",
            ));
        }
        Kind::Pgpool => return Err(Problem::new("no idle row", "a process for each client")),
        Kind::Pgbouncer | Kind::Pgconvoy1 | Kind::Pgconvoy3 => {}
    }
    // Before weighing: so that server connections and caches count for neither.
    work(target, 1)?;
    let pids = target.pids();
    let before = pss_kib(&pids);
    let mut idle = Vec::with_capacity(clients);
    for _ in 0..clients {
        let client = open(target.port)
            .map_err(|error| Problem::new(format!("open idle client {}", idle.len() + 1), error))?;
        idle.push(client);
    }
    let active = work(target, seconds)?;
    let grown = pss_kib(&pids).saturating_sub(before);
    Ok(Idle {
        clients,
        kib_for_each: grown as f64 / clients as f64,
        active,
    })
}

fn work(target: &Target, seconds: u64) -> Result<Sample> {
    // Simple: pgbouncer's prepared loads may run in another instance.
    let Load::Pgbench { script, mode, .. } = WORKLOADS[0].load else {
        return Err(Problem::new(
            "idle",
            "the first workload is no pgbench load",
        ));
    };
    debug_assert_eq!(mode, Mode::Simple);
    let run = Run {
        script,
        mode,
        login: Login::Kept,
        clients: ACTIVE,
        seconds,
    };
    pgbench::run(target, run)
}

/// Logs in, asks once, and is left alone.
fn open(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = client::login(port, USER, DATABASE)?;
    client::query(&mut stream, "select 1")?;
    Ok(stream)
}
