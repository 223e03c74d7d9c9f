//! The command line of `compare`.

use crate::targets::Kind;
use crate::workload::WORKLOADS;
use clap::Parser;
use std::path::PathBuf;

/// The same load through pgconvoy and its peers, side by side.
#[derive(Clone, Debug, Parser)]
#[command(name = "compare")]
pub struct Options {
    /// Under three minutes: the workloads the bar hangs on, shorter.
    #[arg(long)]
    pub quick: bool,

    /// Only these workloads, also "idle" and "scaling" [default: all].
    #[arg(long, value_delimiter = ',', value_parser = workload)]
    pub workloads: Vec<String>,

    /// These numbers of clients, for workloads that keep their connections [default: each workload's own].
    #[arg(long, value_delimiter = ',')]
    pub clients: Vec<usize>,

    /// Only these columns: direct, haproxy, pgbouncer, pgpool, pgconvoy1, pgconvoy3 [default: all].
    #[arg(long, value_delimiter = ',', value_parser = target)]
    pub targets: Vec<Kind>,

    /// How often each workload is run through each column [default: 3, selects with 32 clients 5; 1
    /// with --quick].
    #[arg(long)]
    pub rounds: Option<usize>,

    /// Length of one pgbench run in seconds [default: 2 for selects and connections, else 1].
    #[arg(long)]
    pub seconds: Option<u64>,

    /// Server connections of a pool, for pgbouncer and for each of pgconvoy's nodes.
    #[arg(long, default_value_t = 20)]
    pub pool_size: usize,

    /// pgconvoy's worker threads; 0 leaves it its default.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    /// How many idle clients the idle workload opens.
    #[arg(long, default_value_t = 10_000)]
    pub idle_clients: usize,

    /// Where results.md, results.json and results.svg are written.
    #[arg(long, default_value = "benches/results")]
    pub out: PathBuf,
}

impl Options {
    /// Whether a workload was asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|name| name == workload)
    }

    /// The columns that were asked for, in the order of the report.
    pub fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| self.targets.is_empty() || self.targets.contains(kind);
        Kind::ALL.into_iter().filter(wanted).collect()
    }
}

fn workload(name: &str) -> Result<String, String> {
    let mut known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    known.extend(["idle", "scaling"]);
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("known are {}", known.join(", ")))
}

fn target(name: &str) -> Result<Kind, String> {
    Kind::parse(name).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::name);
        format!("known are {}", known.join(", "))
    })
}
