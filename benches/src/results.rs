//! What was measured: a sample for each workload, column and round; medians over the rounds, and ratios taken within
//! a round before their median. PURE.

use crate::figures::Figures;
use crate::idle::Idle;
use crate::plan::Item;
use crate::problem::{Problem, Result};
use crate::scaling::Scaling;
use crate::stats::median;
use crate::targets::Kind;
use std::collections::BTreeMap;

/// One run of one workload through one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Per second, in the workload's unit.
    pub rate: f64,
    pub mean_us: f64,
    pub p99_us: f64,
    /// The proxy's CPU time for one of the workload's unit, user and system; not for the direct column.
    pub cpu_us: Option<f64>,
    /// The proxy's voluntary context switches for one of the workload's unit.
    pub switches: Option<f64>,
}

/// A figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Rate,
    Mean,
    P99,
    Cpu,
    Switches,
}

impl Metric {
    pub const ALL: [Self; 5] = [Self::Rate, Self::Mean, Self::P99, Self::Cpu, Self::Switches];

    /// The field's name in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Mean => "mean_us",
            Self::P99 => "p99_us",
            Self::Cpu => "cpu_us",
            Self::Switches => "switches",
        }
    }

    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Rate => Some(sample.rate),
            Self::Mean => Some(sample.mean_us),
            Self::P99 => Some(sample.p99_us),
            Self::Cpu => sample.cpu_us,
            Self::Switches => sample.switches,
        }
    }
}

/// All rounds of one workload at one number of clients.
pub struct Row {
    pub item: Item,
    /// In the order of the rounds.
    pub outcomes: BTreeMap<Kind, Vec<Result<Sample>>>,
}

impl Row {
    pub fn new(item: Item) -> Self {
        Self {
            item,
            outcomes: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, kind: Kind, outcome: Result<Sample>) {
        self.outcomes.entry(kind).or_default().push(outcome);
    }

    fn round(&self, kind: Kind, round: usize, metric: Metric) -> Option<f64> {
        let outcome = self.outcomes.get(&kind)?.get(round)?;
        metric.of(outcome.as_ref().ok()?)
    }

    fn over_rounds(&self, figure: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        let figures: Vec<f64> = (0..self.item.rounds).filter_map(figure).collect();
        median(&figures)
    }

    /// The median over the rounds that ran.
    pub fn median(&self, kind: Kind, metric: Metric) -> Option<f64> {
        self.over_rounds(|round| self.round(kind, round, metric))
    }

    /// The median of the ratios to another column's figure in the same round.
    pub fn ratio(&self, kind: Kind, base: Kind, metric: Metric) -> Option<f64> {
        self.over_rounds(|round| {
            let base = self.round(base, round, metric)?;
            let figure = self.round(kind, round, metric)?;
            (base > 0.0).then_some(figure / base)
        })
    }

    /// The median of what a column adds to another's figure in the same round.
    pub fn added(&self, kind: Kind, base: Kind, metric: Metric) -> Option<f64> {
        self.over_rounds(|round| {
            Some(self.round(kind, round, metric)? - self.round(base, round, metric)?)
        })
    }

    /// The first thing that went wrong in a column.
    pub fn problem(&self, kind: Kind) -> Option<&Problem> {
        let outcomes = self.outcomes.get(&kind)?;
        outcomes.iter().find_map(|outcome| outcome.as_ref().err())
    }
}

/// Everything one invocation has measured.
pub struct Results {
    pub machine: String,
    pub columns: Vec<(Kind, String)>,
    pub skipped: Vec<(Kind, Problem)>,
    pub rows: Vec<Row>,
    pub idle: Vec<(Kind, Result<Idle>)>,
    pub scaling: Vec<(&'static str, Result<Scaling>)>,
    /// What the micro bench `figures` has left.
    pub figures: Figures,
}

impl Results {
    pub fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.item.key() == key)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    pub(crate) fn sample(rate: f64, cpu_us: f64) -> Sample {
        Sample {
            rate,
            mean_us: 100.0,
            p99_us: 300.0,
            cpu_us: Some(cpu_us),
            switches: None,
        }
    }

    pub(crate) fn row(rounds: &[(Kind, &[Sample])]) -> Row {
        let mut row = Row::new(Item {
            workload: &WORKLOADS[0],
            clients: 32,
            rounds: 3,
            seconds: 1,
        });
        for (kind, samples) in rounds {
            for sample in *samples {
                row.add(*kind, Ok(*sample));
            }
        }
        row
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let ours = [sample(10.0, 1.0), sample(40.0, 2.0), sample(90.0, 3.0)];
        let theirs = [sample(10.0, 1.0), sample(20.0, 1.0), sample(30.0, 1.0)];
        let row = row(&[(Kind::Pgconvoy1, &ours), (Kind::Pgbouncer, &theirs)]);
        assert_eq!(row.median(Kind::Pgconvoy1, Metric::Rate), Some(40.0));
        assert_eq!(
            row.ratio(Kind::Pgconvoy1, Kind::Pgbouncer, Metric::Rate),
            Some(2.0)
        );
        assert_eq!(
            row.added(Kind::Pgconvoy1, Kind::Pgbouncer, Metric::Cpu),
            Some(1.0)
        );
    }

    #[test]
    fn a_failed_round_counts_for_nothing_and_is_told() {
        let mut row = row(&[(Kind::Pgbouncer, &[sample(10.0, 1.0); 3])]);
        row.add(Kind::Pgpool, Err(Problem::new("pgbench", "aborted")));
        row.add(Kind::Pgpool, Ok(sample(5.0, 2.0)));
        assert_eq!(row.median(Kind::Pgpool, Metric::Rate), Some(5.0));
        assert_eq!(
            row.ratio(Kind::Pgpool, Kind::Pgbouncer, Metric::Rate),
            Some(0.5)
        );
        assert!(row.problem(Kind::Pgpool).is_some());
        assert_eq!(row.median(Kind::Direct, Metric::Rate), None);
    }
}
