//! The clients that ask at once: prepared selects in a closed loop, all on one thread.

use super::poll::{Connection, Poller, Used};
use super::whole_frames;
use crate::problem::{Problem, Result};
use crate::stage::{DATABASE, USER};
use pgconvoy_tests::wire::{Batch, Wire, startup};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Protocol 3.0.
const VERSION: u32 = 196_608;

const SQL: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";

/// What the clients have seen.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub transactions: u64,
    pub elapsed: Duration,
}

/// Runs `clients` through a port: `warm` is called once they are all at work, then they work for `length`.
///
/// # Errors
/// When a client is refused, or one is lost on the way.
pub fn run(port: u16, clients: usize, length: Duration, warm: impl FnOnce()) -> Result<Report> {
    let trouble = |error: std::io::Error| Problem::new("stub load", error);
    let _ =
        Wire::connect(port, USER, DATABASE).map_err(|error| Problem::new("stub load", error))?;
    let mut poller = Poller::new().map_err(trouble)?;
    for _ in 0..clients {
        poller.add(login(port).map_err(trouble)?).map_err(trouble)?;
    }
    let ask = Batch::new()
        .bind("", "s", &[Some("12345")])
        .execute("", 0)
        .sync();
    for client in poller.connections() {
        client.send(ask.bytes()).map_err(trouble)?;
    }
    let mut transactions = 0_u64;
    let mut work = |length: Duration| -> Result<Report> {
        let (begin, before) = (Instant::now(), transactions);
        while begin.elapsed() < length {
            let turned = poller.turn(|_, bytes, out| {
                let used = whole_frames(bytes, |tag, _| {
                    if tag == b'Z' {
                        transactions += 1;
                        out.extend_from_slice(ask.bytes());
                    }
                });
                Used { bytes: used }
            });
            turned.map_err(trouble)?;
        }
        Ok(Report {
            transactions: transactions - before,
            elapsed: begin.elapsed(),
        })
    };
    work(Duration::from_millis(300))?;
    warm();
    let report = work(length)?;
    let left = poller.connections().count();
    if left < clients {
        return Err(Problem::new(
            "stub load",
            format!("{} clients were lost", clients - left),
        ));
    }
    Ok(report)
}

/// Logs in and prepares the statement.
fn login(port: u16) -> std::io::Result<Connection> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&startup(VERSION, &[("user", USER), ("database", DATABASE)]))?;
    until_ready(&mut stream)?;
    stream.write_all(Batch::new().parse("s", SQL).sync().bytes())?;
    until_ready(&mut stream)?;
    Connection::new(stream)
}

fn until_ready(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = vec![0; 8192];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut bytes[filled..])?;
        filled += read;
        let (mut ready, mut refused) = (false, false);
        whole_frames(&bytes[..filled], |tag, _| {
            ready |= tag == b'Z';
            refused |= tag == b'E';
        });
        if ready {
            return Ok(());
        }
        if refused || read == 0 {
            return Err(std::io::Error::other("the login was refused"));
        }
    }
}
