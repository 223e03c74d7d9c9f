//! The bulk loads: psql's `\copy` of the bulk table, in or out, timed by psql itself.

use crate::pgbench::within;
use crate::problem::{Problem, Result};
use crate::results::Sample;
use crate::stage::{DATABASE, Stage};
use crate::targets::Target;
use crate::usage::Usage;
use crate::workload::Direction;
use pgconvoy_tests::tool::{self, Outcome};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Copies the bulk table through a column. The rate is in MB (10^6 bytes of COPY's text form) per second.
///
/// # Errors
/// When psql complains or hangs.
pub fn run(stage: &Stage, target: &Target, direction: Direction) -> Result<Sample> {
    let mut command = tool::client("psql", target.port, DATABASE);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "\\timing on"]);
    let copy = match direction {
        Direction::In => format!("\\copy bench_in from '{}'", stage.bulk_file.display()),
        Direction::Out => "\\copy bench_bulk to '/dev/null'".to_owned(),
    };
    command.args(["-c", &copy]);
    let pids = target.pids();
    let before = Usage::of(&pids);
    let outcome = within(command, LIMIT)?;
    let used = Usage::of(&pids).since(before);
    let millis = millis(&outcome)?;
    let megabytes = stage.bulk_bytes as f64 / 1e6;
    let proxied = !pids.is_empty();
    Ok(Sample {
        rate: megabytes * 1000.0 / millis,
        mean_us: millis * 1000.0,
        p99_us: millis * 1000.0,
        cpu_us: proxied.then(|| used.cpu_ns as f64 / 1000.0 / megabytes),
        switches: proxied.then(|| used.switches as f64 / megabytes),
    })
}

/// From psql's `Time: 312.421 ms (00:00.312)`.
fn millis(outcome: &Outcome) -> Result<f64> {
    let complaint = || Problem::new("psql \\copy", outcome.stderr.trim());
    if !outcome.status.success() {
        return Err(complaint());
    }
    let line = outcome
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("Time: "));
    let number = line.and_then(|rest| rest.split(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(complaint)
}
