//! The bar: what pgconvoy's figures must reach against its peers in the same run. PURE.
//!
//! Unless a row says otherwise it is the column with three nodes and reads split off that is held to it.

use crate::results::{Metric, Results, Row};
use crate::targets::Kind;

/// Whether a figure reaches its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    NotMet,
    /// A stretch goal: not reaching it is no failure.
    NotReached,
    NotMeasured,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::NotReached => "not reached",
            Self::NotMeasured => "not measured",
        }
    }
}

/// One line of the bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub what: String,
    pub limit: Limit,
    pub figure: Option<f64>,
    /// In what the figure is: a ratio's base, or a unit.
    pub of: &'static str,
    pub verdict: Verdict,
}

/// Where the bar lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Reported, and good to have.
    StretchAtMost(f64),
}

impl Limit {
    fn verdict(self, figure: Option<f64>) -> Verdict {
        let Some(figure) = figure else {
            return Verdict::NotMeasured;
        };
        match self {
            Self::AtMost(limit) if figure <= limit => Verdict::Met,
            Self::AtLeast(limit) if figure >= limit => Verdict::Met,
            Self::StretchAtMost(limit) if figure <= limit => Verdict::Met,
            Self::AtMost(_) | Self::AtLeast(_) => Verdict::NotMet,
            Self::StretchAtMost(_) => Verdict::NotReached,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit:.2}"),
            Self::AtLeast(limit) => write!(f, "at least {limit:.2}"),
            Self::StretchAtMost(limit) => write!(f, "stretch: at most {limit:.2}"),
        }
    }
}

const OURS: Kind = Kind::Pgconvoy3;
const MODES: [&str; 3] = ["simple", "extended", "prepared"];

/// Every line of the bar with its figure.
pub fn rows(results: &Results) -> Vec<Line> {
    let mut lines = Lines {
        results,
        lines: Vec::new(),
    };
    lines.cpu();
    lines.throughput();
    lines.latency();
    lines.bulk();
    lines.clients();
    lines.inside();
    lines.lines
}

struct Lines<'a> {
    results: &'a Results,
    lines: Vec<Line>,
}

impl Lines<'_> {
    fn add(&mut self, what: String, limit: Limit, figure: Option<f64>, of: &'static str) {
        let verdict = limit.verdict(figure);
        self.lines.push(Line {
            what,
            limit,
            figure,
            of,
            verdict,
        });
    }

    fn figure(&self, key: &str, figure: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.results.row(key).and_then(figure)
    }

    fn ratio(&self, key: &str, base: Kind, metric: Metric) -> Option<f64> {
        self.figure(key, |row| row.ratio(OURS, base, metric))
    }

    fn cpu(&mut self) {
        for clients in [32, 200] {
            for mode in MODES {
                let key = format!("select-{mode}@{clients}");
                let what = format!("CPU for a transaction, splitting, {mode}, {clients} clients");
                let haproxy = self.ratio(&key, Kind::Haproxy, Metric::Cpu);
                self.add(what.clone(), Limit::AtMost(1.10), haproxy, "of HAProxy's");
                self.add(
                    what.clone(),
                    Limit::StretchAtMost(0.75),
                    haproxy,
                    "of HAProxy's",
                );
                let pgbouncer = self.ratio(&key, Kind::Pgbouncer, Metric::Cpu);
                self.add(what, Limit::AtMost(1.0), pgbouncer, "of pgbouncer's");
            }
        }
    }

    fn throughput(&mut self) {
        for (mode, bar) in [("prepared", 1.10), ("simple", 1.0), ("extended", 1.35)] {
            let key = format!("select-{mode}@32");
            let figure = self.ratio(&key, Kind::Pgbouncer, Metric::Rate);
            let what = format!("throughput, {mode}, 32 clients");
            self.add(what, Limit::AtLeast(bar), figure, "of pgbouncer's");
        }
        for mode in MODES {
            let key = format!("select-{mode}@200");
            let what = format!("throughput, {mode}, 200 clients");
            let pgbouncer = self.ratio(&key, Kind::Pgbouncer, Metric::Rate);
            self.add(
                what.clone(),
                Limit::AtLeast(1.0),
                pgbouncer,
                "of pgbouncer's",
            );
            let pgpool = self.ratio(&key, Kind::Pgpool, Metric::Rate);
            self.add(what, Limit::AtLeast(2.0), pgpool, "of pgpool's");
        }
    }

    fn latency(&mut self) {
        for mode in MODES {
            let figure = self.ratio(&format!("select-{mode}@32"), Kind::Pgbouncer, Metric::P99);
            let what = format!("p99 latency, {mode}, 32 clients");
            self.add(what, Limit::AtMost(1.0), figure, "of pgbouncer's");
        }
        for mode in MODES {
            let added = |row: &Row| {
                let ours = row.added(OURS, Kind::Direct, Metric::Mean)?;
                let theirs = row.added(Kind::Pgbouncer, Kind::Direct, Metric::Mean)?;
                (theirs > 0.0).then_some(ours / theirs)
            };
            let figure = self.figure(&format!("select-{mode}@1"), added);
            let what = format!("mean latency added over direct, {mode}, 1 client");
            self.add(what, Limit::AtMost(1.0), figure, "of pgbouncer's");
        }
    }

    fn bulk(&mut self) {
        for (key, what) in [
            ("result-1mb@4", "1 MB results, bytes/s"),
            ("copy-in@1", "COPY in, bytes/s"),
            ("copy-out@1", "COPY out, bytes/s"),
        ] {
            let figure = self.ratio(key, Kind::Haproxy, Metric::Rate);
            self.add(
                what.to_owned(),
                Limit::AtLeast(0.95),
                figure,
                "of HAProxy's",
            );
        }
    }

    fn clients(&mut self) {
        let idle = self.results.idle.iter().find(|(kind, _)| *kind == OURS);
        let idle = idle.and_then(|(_, idle)| idle.as_ref().ok());
        let what = idle.map_or_else(
            || "memory for an idle client (PSS)".to_owned(),
            |idle| format!("memory for an idle client at {} (PSS)", idle.clients),
        );
        let kib = idle.map(|idle| idle.kib_for_each);
        self.add(what, Limit::AtMost(6.0), kib, "KiB");
        let connect = self.ratio("connect-scram@8", Kind::Pgbouncer, Metric::Rate);
        let what = "new connections/s with SCRAM".to_owned();
        self.add(what, Limit::AtLeast(1.0), connect, "of pgbouncer's");
        let scaling = self
            .results
            .scaling
            .iter()
            .find(|(name, _)| *name == "pgconvoy1");
        let growth = scaling.and_then(|(_, scaling)| Some(scaling.as_ref().ok()?.growth()));
        let what = "capacity with 2 worker threads, against a stub server".to_owned();
        self.add(what, Limit::AtLeast(1.7), growth, "of 1 thread's");
    }

    /// From `cargo bench -p pgconvoy-benches --bench figures`.
    fn inside(&mut self) {
        let figures = self.results.figures;
        let rows = [
            (
                "route decision, known shape, pgbench select",
                200.0,
                figures.route_repeat_ns,
                "ns",
            ),
            (
                "the same, allocations",
                0.0,
                figures.route_repeat_allocations,
                "allocations",
            ),
            (
                "route decision, new shape, 200-byte select",
                30.0,
                figures.route_first_us,
                "us",
            ),
            (
                "prepared round trip, allocations",
                0.0,
                figures.round_trip_allocations.map(rare),
                "allocations",
            ),
        ];
        for (what, limit, figure, of) in rows {
            self.add(what.to_owned(), Limit::AtMost(limit), figure, of);
        }
    }
}

/// Buffers that grow for the last time and the sweeper's work once a second are not the round trip's.
fn rare(allocations: f64) -> f64 {
    if allocations < 0.01 { 0.0 } else { allocations }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{row, sample};

    fn results(rows: Vec<Row>) -> Results {
        Results {
            machine: String::new(),
            columns: Vec::new(),
            skipped: Vec::new(),
            rows,
            idle: Vec::new(),
            scaling: Vec::new(),
            figures: crate::figures::Figures::default(),
        }
    }

    fn verdict(lines: &[Line], what: &str, of: &str) -> Verdict {
        let found = |line: &&Line| line.what == what && line.of == of;
        lines.iter().find(found).unwrap().verdict
    }

    #[test]
    fn without_figures_nothing_counts_as_met() {
        let lines = rows(&results(Vec::new()));
        assert!(
            lines
                .iter()
                .all(|line| line.verdict == Verdict::NotMeasured)
        );
    }

    #[test]
    fn a_figure_is_held_to_its_own_bar() {
        let row = row(&[
            (Kind::Pgconvoy3, &[sample(100.0, 20.0); 3]),
            (Kind::Pgbouncer, &[sample(110.0, 25.0); 3]),
            (Kind::Haproxy, &[sample(200.0, 19.0); 3]),
        ]);
        let lines = rows(&results(vec![row]));
        let cpu = "CPU for a transaction, splitting, simple, 32 clients";
        assert_eq!(verdict(&lines, cpu, "of HAProxy's"), Verdict::Met);
        assert_eq!(verdict(&lines, cpu, "of pgbouncer's"), Verdict::Met);
        let throughput = "throughput, simple, 32 clients";
        assert_eq!(
            verdict(&lines, throughput, "of pgbouncer's"),
            Verdict::NotMet
        );
        let p99 = "p99 latency, simple, 32 clients";
        assert_eq!(verdict(&lines, p99, "of pgbouncer's"), Verdict::Met);
    }

    #[test]
    fn a_stretch_goal_that_is_missed_is_no_failure() {
        assert_eq!(
            Limit::StretchAtMost(0.75).verdict(Some(0.8)),
            Verdict::NotReached
        );
        assert_eq!(Limit::StretchAtMost(0.75).verdict(Some(0.7)), Verdict::Met);
    }
}
