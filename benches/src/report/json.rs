//! The report for programs: every sample of every round, the medians and ratios, and the bar.

use crate::bar::Line;
use crate::idle::Idle;
use crate::problem::Result;
use crate::results::{Metric, Results, Row, Sample};
use crate::scaling::{Point, Scaling};
use crate::targets::Kind;
use serde_json::{Map, Value, json};

/// The whole report as one object.
pub(super) fn render(results: &Results, bar: &[Line]) -> Value {
    let columns = |(kind, about): &(Kind, String)| json!({"name": kind.name(), "about": about});
    let skipped = results
        .skipped
        .iter()
        .map(|(kind, problem)| json!({"name": kind.name(), "why": problem.to_string()}));
    json!({
        "machine": results.machine,
        "columns": results.columns.iter().map(columns).collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
        "workloads": results.rows.iter().map(workload).collect::<Vec<_>>(),
        "idle": object(results.idle.iter().map(|(kind, result)| (kind.name(), or_error(result, idle)))),
        "scaling": object(results.scaling.iter().map(|(name, result)| (*name, or_error(result, scaling)))),
        "bar": bar.iter().map(line).collect::<Vec<_>>(),
    })
}

fn object<'a>(entries: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn or_error<T>(result: &Result<T>, render: fn(&T) -> Value) -> Value {
    match result {
        Ok(value) => render(value),
        Err(problem) => json!({"error": problem.to_string()}),
    }
}

fn workload(row: &Row) -> Value {
    let columns = row.outcomes.iter().map(|(kind, outcomes)| {
        let figures = |figure: &dyn Fn(Metric) -> Option<f64>| {
            let entries = Metric::ALL.map(|metric| (metric.name(), json!(figure(metric))));
            object(entries.into_iter())
        };
        let column = json!({
            "median": figures(&|metric| row.median(*kind, metric)),
            "ratio_to_pgbouncer": figures(&|metric| row.ratio(*kind, Kind::Pgbouncer, metric)),
            "rounds": outcomes.iter().map(|outcome| or_error(outcome, sample)).collect::<Vec<_>>(),
        });
        (kind.name(), column)
    });
    json!({
        "key": row.item.key(),
        "about": row.item.workload.about,
        "clients": row.item.clients,
        "seconds": row.item.seconds,
        "unit": row.item.workload.unit.one(),
        "columns": object(columns),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "rate": sample.rate,
        "mean_us": sample.mean_us,
        "p99_us": sample.p99_us,
        "cpu_us": sample.cpu_us,
        "switches": sample.switches,
    })
}

fn idle(idle: &Idle) -> Value {
    json!({
        "clients": idle.clients,
        "kib_for_each": idle.kib_for_each,
        "active": sample(&idle.active),
    })
}

fn scaling(scaling: &Scaling) -> Value {
    let point = |point: &Point| json!({"rate": point.rate, "capacity": point.capacity, "cpu_us": point.cpu_us});
    json!({"one": point(&scaling.one), "two": point(&scaling.two), "growth": scaling.growth()})
}

fn line(line: &Line) -> Value {
    let mut entry = Map::new();
    entry.insert("what".to_owned(), json!(line.what));
    entry.insert(
        "bar".to_owned(),
        json!(format!("{} {}", line.limit, line.of)),
    );
    entry.insert("figure".to_owned(), json!(line.figure));
    entry.insert("verdict".to_owned(), json!(line.verdict.name()));
    Value::Object(entry)
}
