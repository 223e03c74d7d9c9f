//! One pgbench run through a column: its rate, its latencies from the log of every transaction, and what the proxy
//! used meanwhile.

use crate::plan::Item;
use crate::problem::{Problem, Result};
use crate::results::Sample;
use crate::stage::{DATABASE, SCALE, SCRAM_PASSWORD, SCRAM_USER};
use crate::stats::percentile;
use crate::targets::Target;
use crate::usage::Usage;
use crate::workload::{Login, Mode, expand};
use pgconvoy_tests::temp::TempDir;
use pgconvoy_tests::tool::{self, Outcome, Running};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What is run, and how.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub script: &'a str,
    pub mode: Mode,
    pub login: Login,
    pub clients: usize,
    pub seconds: u64,
}

impl<'a> Run<'a> {
    pub fn of(item: &Item, script: &'a str, mode: Mode, login: Login) -> Self {
        Self {
            script,
            mode,
            login,
            clients: item.clients,
            seconds: item.seconds,
        }
    }
}

/// Runs pgbench through a column.
///
/// # Errors
/// When a client was refused or a transaction failed; with pgbench's first complaint.
pub fn run(target: &Target, run: Run<'_>) -> Result<Sample> {
    let directory = TempDir::new("bench");
    let script = directory.write("script.sql", &expand(run.script));
    let log = directory.join("log");
    let mut command = tool::client("pgbench", target.port_for(run.mode), DATABASE);
    let threads = run.clients.min(2).to_string();
    command.args(["-n", "-s", SCALE, "-j", &threads, "-M", run.mode.name()]);
    command.args(["-c", &run.clients.to_string()]);
    command.args(["-T", &run.seconds.to_string()]);
    command.arg("-l").arg("--log-prefix").arg(&log);
    command.arg("-f").arg(script);
    if run.login == Login::ScramEachTime {
        command.arg("-C");
        command
            .env("PGUSER", SCRAM_USER)
            .env("PGPASSWORD", SCRAM_PASSWORD);
    }
    let pids = target.pids();
    let before = Usage::of(&pids);
    let outcome = within(command, Duration::from_secs(run.seconds + 30))?;
    let used = Usage::of(&pids).since(before);
    let rate = rate(&outcome)?;
    let mut latencies = latencies(directory.path())?;
    sample(rate, &mut latencies, used, !pids.is_empty())
}

fn sample(rate: f64, latencies: &mut [u64], used: Usage, proxied: bool) -> Result<Sample> {
    let none = || Problem::new("pgbench", "not a single transaction was done");
    let p99 = percentile(latencies, 0.99).ok_or_else(none)?;
    let done = latencies.len() as f64;
    Ok(Sample {
        rate,
        mean_us: latencies.iter().sum::<u64>() as f64 / done,
        p99_us: p99 as f64,
        cpu_us: proxied.then(|| used.cpu_ns as f64 / 1000.0 / done),
        switches: proxied.then(|| used.switches as f64 / done),
    })
}

/// Runs a program to its end.
///
/// # Errors
/// When it hangs: a saturated pgpool does.
pub fn within(command: Command, limit: Duration) -> Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    let begin = Instant::now();
    let mut running = Running::spawn(command, "");
    while !running.has_ended() {
        if begin.elapsed() > limit {
            return Err(Problem::new(name, format!("it hung for {limit:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(running.finish())
}

/// Transactions per second, without the initial connections where they are kept.
fn rate(outcome: &Outcome) -> Result<f64> {
    let complaint = || {
        let lines = outcome.stderr.lines();
        let mut complaints = lines.filter(|line| line.contains("error:") || line.contains("FATAL"));
        let first = complaints
            .next()
            .unwrap_or("no rate was reported: no time was left when all had connected");
        Problem::new("pgbench", first)
    };
    let failed = outcome
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("number of failed transactions: "));
    let none_failed = failed.is_none_or(|rest| rest.starts_with("0 "));
    if !outcome.status.success() || !none_failed {
        return Err(complaint());
    }
    let line = outcome
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|rest| rest.split(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(complaint)
}

/// Microseconds of every transaction: the third field of pgbench's log, one file for each of its threads.
fn latencies(directory: &Path) -> Result<Vec<u64>> {
    let unreadable = |error| Problem::new("read pgbench's log", error);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with("log.") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).map_err(unreadable)?;
        all.extend(text.lines().filter_map(latency));
    }
    Ok(all)
}

fn latency(line: &str) -> Option<u64> {
    line.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_the_third_field_and_a_failed_transaction_has_none() {
        assert_eq!(latency("0 199 2241 0 1175850568 995598"), Some(2241));
        assert_eq!(latency("0 199 failed 0 1175850568 995598"), None);
        assert_eq!(latency(""), None);
    }

    #[test]
    fn usage_is_shared_over_the_transactions() {
        let used = Usage {
            cpu_ns: 80_000,
            switches: 2,
        };
        let sample = sample(9.0, &mut [10, 20, 30, 40], used, true).unwrap();
        assert_eq!(
            (
                sample.mean_us,
                sample.p99_us,
                sample.cpu_us,
                sample.switches
            ),
            (25.0, 40.0, Some(20.0), Some(0.5))
        );
    }
}
