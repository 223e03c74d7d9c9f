//! The report as Markdown: a table for each workload, idle clients, scaling, and the bar.

use crate::bar::{Line, Verdict};
use crate::results::{Metric, Results, Row};
use crate::targets::Kind;
use std::fmt::Write as _;

/// The whole report.
pub fn render(results: &Results, bar: &[Line]) -> String {
    let mut text = String::from("# pgconvoy beside its peers\n\n");
    let _ = writeln!(
        text,
        "{}; PostgreSQL (a primary, two replicas), pgbench and the proxies share them. Medians over the rounds; \
         (ratios) are to pgbouncer's figure in the same round. CPU is the proxy's own, user and system, all its \
         processes.\n",
        results.machine
    );
    for (kind, about) in &results.columns {
        let _ = writeln!(text, "- **{}**: {about}", kind.name());
    }
    for (kind, problem) in &results.skipped {
        let problem = problem.to_string().replace('\n', " | ");
        let _ = writeln!(text, "- **{}: SKIPPED**: {problem}", kind.name());
    }
    for row in &results.rows {
        workload(&mut text, row, &results.columns);
    }
    idle(&mut text, results);
    scaling(&mut text, results);
    the_bar(&mut text, bar);
    text
}

fn workload(text: &mut String, row: &Row, columns: &[(Kind, String)]) {
    let workload = row.item.workload;
    let rounds = row.item.rounds;
    let _ = writeln!(
        text,
        "\n## {} ({} rounds)\n{}\n",
        row.item.key(),
        rounds,
        workload.about
    );
    let (rate, one) = (workload.unit.rate(), workload.unit.one());
    let _ = writeln!(
        text,
        "| | {rate} | mean ms | p99 ms | CPU us/{one} | switches/{one} |\n|---|---:|---:|---:|---:|---:|"
    );
    for (kind, _) in columns {
        let _ = write!(text, "| {} ", kind.name());
        for metric in Metric::ALL {
            let _ = write!(text, "| {} ", cell(row, *kind, metric));
        }
        text.push_str("|\n");
    }
    for (kind, _) in columns {
        if let Some(problem) = row.problem(*kind) {
            let _ = writeln!(text, "\n{} FAILED: {problem}", kind.name());
        }
    }
}

fn cell(row: &Row, kind: Kind, metric: Metric) -> String {
    let Some(figure) = row.median(kind, metric) else {
        return "-".to_owned();
    };
    let figure = match metric {
        Metric::Rate => format!("{figure:.0}"),
        Metric::Mean | Metric::P99 => format!("{:.3}", figure / 1000.0),
        Metric::Cpu => format!("{figure:.1}"),
        Metric::Switches => format!("{figure:.2}"),
    };
    match row.ratio(kind, Kind::Pgbouncer, metric) {
        Some(ratio) if kind != Kind::Pgbouncer => format!("{figure} ({ratio:.2})"),
        _ => figure,
    }
}

fn idle(text: &mut String, results: &Results) {
    if results.idle.is_empty() {
        return;
    }
    text.push_str(
        "\n## idle clients, while 32 others run select-simple\n\n\
         | | idle clients | KiB for each (PSS) | tx/s of the 32 | CPU us/tx |\n|---|---:|---:|---:|---:|\n",
    );
    for (kind, idle) in &results.idle {
        let _ = match idle {
            Ok(idle) => writeln!(
                text,
                "| {} | {} | {:.2} | {:.0} | {:.1} |",
                kind.name(),
                idle.clients,
                idle.kib_for_each,
                idle.active.rate,
                idle.active.cpu_us.unwrap_or_default()
            ),
            Err(problem) => writeln!(text, "| {} | - | {problem} | - | - |", kind.name()),
        };
    }
}

fn scaling(text: &mut String, results: &Results) {
    if results.scaling.is_empty() {
        return;
    }
    text.push_str(
        "\n## scaling from 1 to 2 worker threads, against a stub server\n\nCapacity is transactions per second of \
         CPU time of the busiest thread: what the proxy could carry with cores to spare. The stub and its clients \
         share the cores, so the rate on the wall clock shows the machine's limit.\n\n\
         | | capacity 1 | capacity 2 | growth | tx/s 1 | tx/s 2 | CPU us/tx 1 | 2 |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (name, scaling) in &results.scaling {
        let _ = match scaling {
            Ok(scaling) => writeln!(
                text,
                "| {name} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} | {:.1} |",
                scaling.one.capacity,
                scaling.two.capacity,
                scaling.growth(),
                scaling.one.rate,
                scaling.two.rate,
                scaling.one.cpu_us,
                scaling.two.cpu_us
            ),
            Err(problem) => {
                let problem = problem.to_string().replace('\n', " ");
                writeln!(text, "| {name} | {problem} | | | | | | |")
            }
        };
    }
}

fn the_bar(text: &mut String, bar: &[Line]) {
    text.push_str("\n## the bar\n\n| what | bar | measured | |\n|---|---|---:|---|\n");
    let measured = |line: &&Line| line.verdict != Verdict::NotMeasured;
    for line in bar.iter().filter(measured) {
        let figure = line
            .figure
            .map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} {} | {figure} | {} |",
            line.what,
            line.limit,
            line.of,
            line.verdict.name()
        );
    }
    let count = |verdict| bar.iter().filter(|line| line.verdict == verdict).count();
    let _ = writeln!(
        text,
        "\n{} met, {} not met, {} stretch goals not reached.",
        count(Verdict::Met),
        count(Verdict::NotMet),
        count(Verdict::NotReached),
    );
    let missing = bar.iter().filter(|line| !measured(line));
    let mut missing: Vec<&str> = missing.map(|line| line.what.as_str()).collect();
    missing.dedup();
    if !missing.is_empty() {
        let _ = writeln!(text, "\nNot measured in this run: {}.", missing.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar;
    use crate::problem::Problem;
    use crate::results::tests::{row, sample};

    #[test]
    fn the_report_names_figures_ratios_and_what_was_skipped() {
        let rows = vec![row(&[
            (Kind::Haproxy, &[sample(150.0, 20.0); 3]),
            (Kind::Pgbouncer, &[sample(100.0, 25.0); 3]),
        ])];
        let results = Results {
            machine: "2 cores".to_owned(),
            columns: [Kind::Haproxy, Kind::Pgbouncer]
                .map(|kind| (kind, String::new()))
                .to_vec(),
            skipped: vec![(Kind::Pgpool, Problem::new("no pgpool", "install it"))],
            rows,
            idle: Vec::new(),
            scaling: Vec::new(),
            figures: crate::figures::Figures::default(),
        };
        let text = render(&results, &bar::rows(&results));
        assert!(
            text.contains(
                "| haproxy | 150 (1.50) | 0.100 (1.00) | 0.300 (1.00) | 20.0 (0.80) | - |"
            )
        );
        assert!(text.contains("| pgbouncer | 100 | 0.100 |"));
        assert!(text.contains("**pgpool: SKIPPED**: no pgpool: install it"));
        assert!(
            text.contains("0 met, 0 not met") && text.contains("Not measured in this run: CPU")
        );
    }
}
