//! The run: servers and columns are started, every workload goes through all columns in interleaved rounds, and
//! progress is told on the way.

use crate::figures::Figures;
use crate::idle::{self, Idle};
use crate::options::Options;
use crate::pgbench::{self, Run};
use crate::plan::{self, Item};
use crate::problem::{Problem, Result};
use crate::process::raise_descriptor_limit;
use crate::results::{Results, Row, Sample};
use crate::scaling::{self, Proxy, Scaling};
use crate::stage::{Bulk, Stage};
use crate::targets::{Kind, Sizes, Target};
use crate::workload::{Direction, Load, Login, Mode, WORKLOADS};
use std::time::Instant;

/// Measures all that the options ask for.
///
/// # Errors
/// When the servers can't be filled, or no column can be started. What goes wrong in one column is told in the
/// results.
pub fn run(options: &Options) -> Result<Results> {
    let begin = Instant::now();
    raise_descriptor_limit();
    let machine = machine();
    say(begin, &machine);
    if load_average() > 1.0 {
        say(
            begin,
            "WARNING: the machine is busy with something else: the figures will show it",
        );
    }
    say(begin, "starting a primary and two replicas");
    let bulk = if options.quick {
        Bulk::Quick
    } else {
        Bulk::Full
    };
    let stage = Stage::start(bulk)?;
    let (targets, skipped) = start(options, &stage, begin);
    if targets.is_empty() {
        return Err(Problem::new(
            "nothing to measure",
            "no column could be started",
        ));
    }
    let mut results = Results {
        machine,
        columns: targets
            .iter()
            .map(|target| (target.kind, target.about.clone()))
            .collect(),
        skipped,
        rows: Vec::new(),
        idle: Vec::new(),
        scaling: Vec::new(),
        figures: Figures::read(&options.out),
    };
    for item in plan::items(options) {
        results.rows.push(measure(item, &stage, &targets, begin));
    }
    results.idle = idle_clients(options, &targets, begin);
    drop(targets);
    results.scaling = scale(options, &stage, begin);
    say(begin, "measured");
    Ok(results)
}

fn start(options: &Options, stage: &Stage, begin: Instant) -> (Vec<Target>, Vec<(Kind, Problem)>) {
    let sizes = Sizes {
        pool: options.pool_size,
        workers: options.workers,
    };
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    for kind in options.kinds() {
        match Target::start(kind, stage, sizes).map(warm) {
            Ok(target) => {
                say(begin, &format!("{}: {}", kind.name(), target.about));
                targets.push(target);
            }
            Err(problem) => {
                say(begin, &format!("SKIPPED {}: {problem}", kind.name()));
                skipped.push((kind, problem));
            }
        }
    }
    (targets, skipped)
}

/// Opens as many server connections as any load needs and fills caches before anything counts. What goes wrong here
/// goes wrong again, and is told, in the rows.
fn warm(target: Target) -> Target {
    if target.pids().is_empty() {
        return target;
    }
    for mode in [Mode::Simple, Mode::Prepared] {
        if let Load::Pgbench { script, login, .. } = WORKLOADS[0].load {
            let (clients, seconds) = (200, 2);
            let run = Run {
                script,
                mode,
                login,
                clients,
                seconds,
            };
            let _ = pgbench::run(&target, run);
        }
    }
    target
}

fn measure(item: Item, stage: &Stage, targets: &[Target], begin: Instant) -> Row {
    let mut row = Row::new(item);
    for round in 0..item.rounds {
        let mut line = format!("{} {}/{}:", item.key(), round + 1, item.rounds);
        for step in 0..targets.len() {
            // Each round begins with another column, so that none is always the first after a pause.
            let target = &targets[(step + round) % targets.len()];
            let outcome = one(&item, stage, target);
            line.push_str(&match &outcome {
                Ok(sample) => format!("  {} {:.0}", target.kind.name(), sample.rate),
                Err(problem) => format!("  {} FAILED ({problem})", target.kind.name()),
            });
            row.add(target.kind, outcome);
        }
        line.push_str(&format!("  {}", item.workload.unit.rate()));
        say(begin, &line);
    }
    row
}

fn one(item: &Item, stage: &Stage, target: &Target) -> Result<Sample> {
    match item.workload.load {
        Load::Pgbench {
            script,
            mode,
            login,
        } => pgbench::run(target, Run::of(item, script, mode, login)),
        Load::Copy(direction) => {
            if direction == Direction::In {
                stage.tidy();
            }
            crate::copy::run(stage, target, direction)
        }
    }
}

fn idle_clients(
    options: &Options,
    targets: &[Target],
    begin: Instant,
) -> Vec<(Kind, Result<Idle>)> {
    if !options.wants("idle") {
        return Vec::new();
    }
    let seconds = if options.quick { 1 } else { 2 };
    let measured = targets.iter().map(|target| {
        let idle = idle::run(target, options.idle_clients, seconds);
        let text = match &idle {
            Ok(idle) => format!("{:.2} KiB for each", idle.kib_for_each),
            Err(problem) => problem.to_string(),
        };
        say(
            begin,
            &format!("idle clients, {}: {text}", target.kind.name()),
        );
        (target.kind, idle)
    });
    measured.collect()
}

fn scale(options: &Options, stage: &Stage, begin: Instant) -> Vec<(&'static str, Result<Scaling>)> {
    if !options.wants("scaling") {
        return Vec::new();
    }
    let seconds = if options.quick { 1 } else { 3 };
    let wanted = |proxy: &Proxy| {
        options.targets.is_empty()
            || options
                .targets
                .iter()
                .any(|kind| kind.name() == proxy.name())
    };
    let measured = Proxy::ALL.into_iter().filter(wanted).map(|proxy| {
        let scaling = scaling::run(proxy, stage, seconds);
        let text = match &scaling {
            Ok(scaling) => format!("capacity grows {:.2} times", scaling.growth()),
            Err(problem) => problem.to_string(),
        };
        say(
            begin,
            &format!("scaling 1 -> 2 threads, {}: {text}", proxy.name()),
        );
        (proxy.name(), scaling)
    });
    measured.collect()
}

/// What the figures were taken on.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({model}), Linux {}, load average {:.1} at the beginning",
        kernel.trim(),
        load_average()
    )
}

/// How many processes wanted a core, on average over the last minute: of others, before anything was started.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    first.unwrap_or_default()
}

fn say(begin: Instant, what: &str) {
    println!("[{:>4}s] {what}", begin.elapsed().as_secs());
}

const _: () = assert!(matches!(
    WORKLOADS[0].load,
    Load::Pgbench {
        mode: Mode::Simple,
        login: Login::Kept,
        ..
    }
));
