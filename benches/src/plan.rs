//! Which runs are made, how often and how long: the whole in 15 minutes, the quick part in 3. PURE.

use crate::options::Options;
use crate::workload::{Load, Login, Part, WORKLOADS, Workload};

/// One row of the report: a workload at a number of clients.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub workload: &'static Workload,
    pub clients: usize,
    pub rounds: usize,
    /// Of one pgbench run.
    pub seconds: u64,
}

impl Item {
    /// As the report and the JSON name it: `select-simple@32`.
    pub fn key(&self) -> String {
        format!("{}@{}", self.workload.name, self.clients)
    }
}

/// The timed runs that the options ask for.
pub fn items(options: &Options) -> Vec<Item> {
    let wanted = WORKLOADS.iter().filter(|item| options.wants(item.name));
    wanted
        .flat_map(|workload| {
            let counts = clients(workload, options);
            counts.into_iter().map(move |clients| Item {
                workload,
                clients,
                rounds: options.rounds.unwrap_or(rounds(workload, clients, options)),
                seconds: options
                    .seconds
                    .unwrap_or(seconds(workload, clients, options)),
            })
        })
        .collect()
}

/// Where the bar is tight, the median is taken over more.
fn rounds(workload: &Workload, clients: usize, options: &Options) -> usize {
    let tight = workload.name.starts_with("select-") && (2..MANY).contains(&clients);
    match (options.quick, tight) {
        (true, _) => 1,
        (false, true) => 5,
        (false, false) => 3,
    }
}

/// Half of the rows, the ones that most of the bar hangs on, run for two seconds; many clients need a part
/// of it to connect, which pgbench counts in.
fn seconds(workload: &Workload, clients: usize, options: &Options) -> u64 {
    let weighty = workload.name.starts_with("select-") || workload.name == "connect-scram";
    if (weighty && !options.quick) || clients >= MANY {
        2
    } else {
        1
    }
}

/// So many clients would need most of one second to connect.
const MANY: usize = 100;

fn clients(workload: &Workload, options: &Options) -> Vec<usize> {
    let one_connection_each = match workload.load {
        Load::Pgbench { login, .. } => login == Login::Kept,
        Load::Copy(_) => false,
    };
    if one_connection_each && !options.clients.is_empty() {
        return options.clients.clone();
    }
    let by_name = !options.workloads.is_empty();
    let part = |part: &Part| !options.quick || by_name || *part == Part::Core;
    let counts = workload.clients.iter().filter(|(_, of)| part(of));
    counts.map(|(clients, _)| *clients).collect()
}

#[cfg(test)]
mod tests {
    use super::items;
    use crate::options::Options;
    use clap::Parser;

    fn options(arguments: &[&str]) -> Options {
        Options::parse_from([&["compare"], arguments].concat())
    }

    /// Time of all runs through six columns, with half a second around each.
    fn estimate(options: &Options) -> f64 {
        let runs = items(options);
        runs.iter()
            .map(|item| (item.seconds as f64 + 0.5) * item.rounds as f64 * 6.0)
            .sum()
    }

    #[test]
    fn the_whole_fits_in_13_minutes_and_the_quick_part_in_2() {
        assert!(estimate(&options(&[])) < 790.0);
        assert!(estimate(&options(&["--quick"])) < 120.0);
    }

    #[test]
    fn parts_can_be_chosen() {
        let options = options(&[
            "--workloads",
            "select-prepared,copy-in",
            "--clients",
            "8,16",
            "--rounds",
            "5",
        ]);
        let keys: Vec<_> = items(&options).iter().map(|item| item.key()).collect();
        assert_eq!(
            keys,
            ["select-prepared@8", "select-prepared@16", "copy-in@1"]
        );
        assert!(items(&options).iter().all(|item| item.rounds == 5));
    }

    #[test]
    fn what_the_bar_hangs_on_is_in_the_quick_part() {
        let keys: Vec<_> = items(&options(&["--quick"]))
            .iter()
            .map(|item| item.key())
            .collect();
        for key in [
            "select-simple@32",
            "select-extended@32",
            "select-prepared@1",
            "select-prepared@200",
            "connect-scram@8",
        ] {
            assert!(keys.iter().any(|known| known == key), "{key}: {keys:?}");
        }
    }
}
