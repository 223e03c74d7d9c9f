//! What an idle client costs: thousands of them that have each asked once, while 32 others work.

use crate::pgbench::{self, Run};
use crate::problem::{Problem, Result};
use crate::results::Sample;
use crate::stage::{DATABASE, USER};
use crate::targets::{Kind, Target};
use crate::usage::pss_kib;
use crate::workload::{Load, Login, Mode, WORKLOADS};
use pgconvoy_tests::wire::{frame, startup};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Protocol 3.0.
const VERSION: u32 = 196_608;

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
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(&startup(VERSION, &[("user", USER), ("database", DATABASE)]))?;
    until_ready(&mut stream)?;
    stream.write_all(&frame(b'Q', b"select 1\0"))?;
    until_ready(&mut stream)?;
    Ok(stream)
}

/// Reads up to ReadyForQuery, which ends what the server has to say: `Z`, length 5, the status.
fn until_ready(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err(std::io::Error::other("the connection was closed"));
        }
        filled += read;
        let said = &buffer[..filled];
        if said.len() >= 6 && said[..said.len() - 1].ends_with(&[b'Z', 0, 0, 0, 5]) {
            return Ok(());
        }
        if said[0] == b'E' {
            return Err(std::io::Error::other(
                String::from_utf8_lossy(said).replace('\0', " "),
            ));
        }
        if filled == buffer.len() {
            return Err(std::io::Error::other("more was said than a login needs"));
        }
    }
}
