//! The process's own figures under Prometheus' standard names, read from `/proc` at each scrape.
//!
//! Where `/proc` is missing or reads oddly, a figure keeps its last value: a scrape never fails
//! for it.

use std::fs;

use prometheus::{Counter, IntGauge};

use super::{Families, MetricsError};

/// Linux reports CPU time to user space in hundredths of a second, on every architecture
/// (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Kibibytes, the unit of `/proc/self/status`.
const KIB: i64 = 1024;

/// The gauges that [`ProcessMetrics::refresh`] fills.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    open_fds: IntGauge,
    threads: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new(families: &Families) -> Result<Self, MetricsError> {
        Ok(Self {
            cpu_seconds: families.add(Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time spent since start.",
            )?)?,
            resident_bytes: families
                .gauge("process_resident_memory_bytes", "Resident memory size.")?,
            open_fds: families.gauge("process_open_fds", "Open file descriptors.")?,
            threads: families.gauge("process_threads", "Threads.")?,
        })
    }

    /// Reads the figures anew.
    pub(super) fn refresh(&self) {
        if let Ok(stat) = fs::read_to_string("/proc/self/stat")
            && let Some(ticks) = cpu_ticks(&stat)
        {
            // A counter cannot be set; two scrapes at once might both see the older figure.
            let spent = ticks / TICKS_PER_SECOND - self.cpu_seconds.get();
            self.cpu_seconds.inc_by(spent.max(0.0));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            if let Some(kib) = status_number(&status, "VmRSS:") {
                self.resident_bytes.set(kib.saturating_mul(KIB));
            }
            if let Some(threads) = status_number(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // The one that reads the directory is in the count, and not ours to report.
            let open = fds.count().saturating_sub(1);
            self.open_fds.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
    }
}

/// utime + stime of `/proc/self/stat`, fields 14 and 15. The second field is the name in
/// parentheses and may hold anything, so fields are counted after the last `)`.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number after `key` in `/proc/self/status`.
fn status_number(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_parentheses_and_spaces() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(150.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn a_number_is_found_by_its_key() {
        assert_eq!(
            status_number("Name:\tx\nVmRSS:\t   512 kB\n", "VmRSS:"),
            Some(512)
        );
        assert_eq!(status_number("Name:\tx\n", "VmRSS:"), None);
    }
}
