//! What a proxy's processes have used, by `/proc`: CPU time to the nanosecond, context switches, memory.
//!
//! CPU is the run time of `/proc/PID/task/*/schedstat` (kernel docs, sched-stats: first field, ns on a CPU, user and
//! system), as `stat` counts in ticks of 10 ms. A thread that has ended is no longer counted: no peer ends any
//! while it is measured.

use std::collections::HashMap;
use std::fs;

/// Sums over all threads of some processes and their descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_ns: u64,
    /// Voluntary context switches: how often it went to sleep, waiting.
    pub switches: u64,
}

impl Usage {
    /// Of these processes and all their descendants, now.
    pub fn of(roots: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in family(roots) {
            for (thread, cpu_ns) in threads(pid) {
                sum.cpu_ns += cpu_ns;
                sum.switches += voluntary_switches(pid, thread);
            }
        }
        sum
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// Each thread of a process with its CPU time in nanoseconds.
pub fn threads(pid: u32) -> HashMap<u32, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let ids = tasks.into_iter().flatten().flatten();
    ids.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(format!("/proc/{pid}/task/{id}/schedstat")).ok()?;
        Some((id, text.split(' ').next()?.parse().ok()?))
    })
    .collect()
}

/// Proportional set size in KiB of the processes and their descendants: private memory plus their share of the rest.
pub fn pss_kib(roots: &[u32]) -> u64 {
    let read = |pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    family(roots)
        .into_iter()
        .map(|pid| field(&read(pid), "Pss:"))
        .sum()
}

fn voluntary_switches(pid: u32, thread: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"));
    field(&status.unwrap_or_default(), "voluntary_ctxt_switches:")
}

/// The number after a label at the beginning of a line.
fn field(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// The processes and all their descendants.
fn family(roots: &[u32]) -> Vec<u32> {
    let parents = parents();
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// Every process's parent (proc(5), stat: the second field after the name, which may itself hold anything).
fn parents() -> HashMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_and_memory_are_seen() {
        let me = [std::process::id()];
        let before = Usage::of(&me);
        let mut sum = 0_u64;
        while Usage::of(&me).since(before).cpu_ns < 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(pss_kib(&me) > 100);
        assert!(threads(me[0]).contains_key(&me[0]));
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let family = family(&[std::process::id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()));
    }

    #[test]
    fn a_field_is_found_at_the_beginning_of_its_line_only() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nPss:  30 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 12);
        assert_eq!(field(text, "Pss:"), 30);
        assert_eq!(field(text, "Rss:"), 0);
    }
}
