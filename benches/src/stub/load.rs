//! The clients that ask at once: prepared selects in a closed loop, all on one thread.

use super::poll::{Connection, Poller, Used};
use super::whole_frames;
use crate::client;
use crate::problem::{Problem, Result};
use crate::stage::{DATABASE, USER};
use pgconvoy_tests::wire::Batch;
use std::time::{Duration, Instant};

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
    let mut stream = client::login(port, USER, DATABASE)?;
    client::ask(&mut stream, Batch::new().parse("s", SQL).sync().bytes())?;
    Connection::new(stream)
}
