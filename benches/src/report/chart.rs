//! The chart: for each workload its rates on the left and the proxies' CPU time on the right, as bars.

use crate::results::{Metric, Results, Row};
use crate::targets::Kind;
use std::fmt::Write as _;

const BAR: usize = 16;
const GAP: usize = 34;
const NAME: usize = 90;
const PANEL: usize = 420;
const LABEL: usize = 90;
const WIDTH: usize = 2 * (NAME + PANEL + LABEL);

/// The chart as an SVG document.
pub(super) fn render(results: &Results) -> String {
    let columns: Vec<Kind> = results.columns.iter().map(|(kind, _)| *kind).collect();
    let block = columns.len() * BAR + GAP;
    let height = results.rows.len() * block + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, row) in results.rows.iter().enumerate() {
        let top = index * block;
        let unit = row.item.workload.unit;
        let rate = format!("{}: {}", row.item.key(), unit.rate());
        panel(&mut svg, row, &columns, Metric::Rate, &rate, (0, top));
        let cpu = format!("proxy CPU us/{}", unit.one());
        let right = NAME + PANEL + LABEL;
        panel(&mut svg, row, &columns, Metric::Cpu, &cpu, (right, top));
    }
    svg.push_str("</svg>\n");
    svg
}

/// One figure of one workload: a bar for each column, as long as its share of the longest.
fn panel(
    svg: &mut String,
    row: &Row,
    columns: &[Kind],
    metric: Metric,
    title: &str,
    (left, top): (usize, usize),
) {
    let figures = columns
        .iter()
        .map(|kind| (*kind, row.median(*kind, metric)));
    let figures: Vec<(Kind, Option<f64>)> = figures.collect();
    let longest = figures
        .iter()
        .filter_map(|(_, figure)| *figure)
        .fold(0.0, f64::max);
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        left + NAME,
        top + 24
    );
    for (index, (kind, figure)) in figures.into_iter().enumerate() {
        let y = top + GAP - 4 + index * BAR;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            left + NAME - 6,
            y + 11,
            kind.name()
        );
        let Some(figure) = figure.filter(|_| longest > 0.0) else {
            continue;
        };
        let width = figure / longest * PANEL as f64;
        let decimals = usize::from(longest < 1000.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{figure:.decimals$}</text>",
            left + NAME,
            BAR - 3,
            color(kind),
            (left + NAME + 4) as f64 + width,
            y + 11
        );
    }
}

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "#9aa0a6",
        Kind::Haproxy => "#c3b091",
        Kind::Pgbouncer => "#6b8fb5",
        Kind::Pgpool => "#8a7fa8",
        Kind::Pgconvoy1 => "#e8a33d",
        Kind::Pgconvoy3 => "#d9622b",
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::results::Results;
    use crate::results::tests::{row, sample};
    use crate::targets::Kind;

    #[test]
    fn the_longest_bar_fills_the_panel() {
        let rows = vec![row(&[
            (Kind::Haproxy, &[sample(200.0, 20.0); 3]),
            (Kind::Pgbouncer, &[sample(100.0, 40.0); 3]),
        ])];
        let results = Results {
            machine: String::new(),
            columns: [Kind::Haproxy, Kind::Pgbouncer]
                .map(|kind| (kind, String::new()))
                .to_vec(),
            skipped: Vec::new(),
            rows,
            idle: Vec::new(),
            scaling: Vec::new(),
            figures: crate::figures::Figures::default(),
        };
        let svg = render(&results);
        assert_eq!(svg.matches("width=\"420.0\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("width=\"210.0\"").count(), 2, "{svg}");
    }
}
