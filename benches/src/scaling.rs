//! How a proxy's own capacity grows with a second worker thread, measured against the stub server.
//!
//! The stub and its clients share the two cores with the proxy, so the wall clock alone would show the machine's
//! limit. Capacity is what the proxy could carry with cores to spare: transactions per second of CPU time of its
//! busiest thread. Contention, spinning and an uneven spread over the threads all lower it.

use crate::problem::{Problem, Result};
use crate::process::Process;
use crate::stage::Stage;
use crate::stub;
use crate::targets::{Routing, Setup, Sizes, start_haproxy, start_pgconvoy};
use crate::usage::threads;
use std::time::Duration;

/// Enough to keep two workers busy and even.
const CLIENTS: usize = 64;

/// One proxy with one and with two worker threads.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    pub one: Point,
    pub two: Point,
}

/// One proxy with some number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Transactions per second on the wall clock.
    pub rate: f64,
    /// Transactions per second of CPU time of the busiest thread.
    pub capacity: f64,
    /// CPU time of the whole process for one transaction.
    pub cpu_us: f64,
}

impl Scaling {
    /// How much the capacity grows.
    pub fn growth(&self) -> f64 {
        self.two.capacity / self.one.capacity
    }
}

/// A proxy that may be started with any number of threads, and its column's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Haproxy,
    Pgconvoy,
}

impl Proxy {
    pub const ALL: [Self; 2] = [Self::Haproxy, Self::Pgconvoy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Pgconvoy => "pgconvoy1",
        }
    }

    fn start(self, server: u16, threads: usize, stage: &Stage) -> Result<(Process, u16)> {
        match self {
            Self::Haproxy => start_haproxy(server, threads),
            Self::Pgconvoy => start_pgconvoy(&Setup {
                nodes: &[server],
                routing: Routing::PrimaryOnly,
                sizes: Sizes {
                    pool: CLIENTS,
                    workers: threads,
                },
                verifier: &stage.verifier,
            }),
        }
    }
}

/// Measures a proxy with one and two threads.
///
/// # Errors
/// When it is missing, does not start or loses a client.
pub fn run(proxy: Proxy, stage: &Stage, seconds: u64) -> Result<Scaling> {
    Ok(Scaling {
        one: point(proxy, 1, stage, seconds)?,
        two: point(proxy, 2, stage, seconds)?,
    })
}

fn point(proxy: Proxy, workers: usize, stage: &Stage, seconds: u64) -> Result<Point> {
    let stub = stub::Server::start(stage.primary())?;
    let (process, port) = proxy.start(stub.port, workers, stage)?;
    let mut before = std::collections::HashMap::new();
    let length = Duration::from_secs(seconds);
    let report = stub::load(port, CLIENTS, length, || before = threads(process.pid()))?;
    let after = threads(process.pid());
    let used = |(id, now): (&u32, &u64)| now - before.get(id).unwrap_or(&0).min(now);
    let busiest = after.iter().map(used).max().unwrap_or_default();
    let all: u64 = after.iter().map(used).sum();
    if busiest == 0 || report.transactions == 0 {
        return Err(Problem::new("scaling", "nothing went through the proxy"));
    }
    let transactions = report.transactions as f64;
    Ok(Point {
        rate: transactions / report.elapsed.as_secs_f64(),
        capacity: transactions / (busiest as f64 / 1e9),
        cpu_us: all as f64 / 1000.0 / transactions,
    })
}
