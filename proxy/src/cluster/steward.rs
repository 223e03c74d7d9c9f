//! Looks at the replicas again and again and sets their shares of the reads, as `turnout` has it.
//!
//! A task of the control runtime. The hot path only sees the share: it needs no clock for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::handle::Cluster;
use super::load::FULL;
use super::settings::MonitorSettings;
use super::turnout::{self, Answers, Event, Sight, Standing, Terms, Turnout, Why};
use super::view::{Health, NodeState, Role, View};
use crate::clock;
use crate::metrics::{AnswerTimes, EjectionReason};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks at how long answers took.
const WINDOW: Duration = Duration::from_secs(5);

/// Works for as long as the process does.
pub(super) async fn run(cluster: Arc<Cluster>, settings: Arc<ArcSwap<MonitorSettings>>) {
    let mut turnouts = vec![Turnout::default(); cluster.nodes().len()];
    let times = || cluster.nodes().iter().map(|n| n.metrics.answer_times());
    let mut before: Vec<AnswerTimes> = times().collect();
    let mut window_began = clock::now();
    let mut worked = true;
    loop {
        tokio::time::sleep(LOOK).await;
        let terms = settings.load().turnout;
        // Once more when it was switched off, to undo what was done.
        let works = terms != Terms::default();
        if !std::mem::replace(&mut worked, works) {
            if !works {
                continue;
            }
            before = times().collect();
            window_began = clock::now();
        }
        let (view, now) = (cluster.view(), clock::now());
        let ended = now.saturating_sub(window_began) >= clock::micros(WINDOW);
        let mut sights: Vec<Sight> = view.nodes.iter().map(|s| sight(&view, s)).collect();
        if ended && terms.ejection.is_some() {
            let after: Vec<AnswerTimes> = times().collect();
            for (sight, (after, before)) in sights.iter_mut().zip(after.iter().zip(&before)) {
                sight.answers =
                    (after.median_since(before)).map(|(count, median)| Answers { count, median });
            }
            before = after;
        }
        if ended {
            window_began = now;
        }
        let events = turnout::look(&mut turnouts, &sights, terms, now);
        for (state, turnout) in view.nodes.iter().zip(&turnouts) {
            let share = turnout.share(terms, now);
            state.node.load.set_share(share);
            let percent = i64::from(share) * 100 / i64::from(FULL);
            state.node.metrics.share_percent.set(percent);
        }
        events.iter().for_each(|event| tell(&view, *event));
    }
}

fn sight(view: &View, state: &NodeState) -> Sight {
    let same_history = view.primary.is_none() || state.timeline == view.timeline;
    let behind =
        view.primary.is_some() && (state.stalled || state.node.fresh_as_of() == clock::NEVER);
    let standing = match (state.health, state.role) {
        (Health::Unknown, _) => Standing::Unknown,
        (Health::Up, Role::Primary) => Standing::Leads,
        (Health::Up, Role::Replica) if same_history && behind => Standing::Behind,
        (Health::Up, Role::Replica) if same_history => Standing::Serves,
        (Health::Up | Health::Down, _) => Standing::Gone,
    };
    if standing != Standing::Serves {
        state.node.load.forget_failures();
    }
    Sight {
        standing,
        failures: state.node.load.failures(),
        answers: None,
    }
}

fn tell(view: &View, event: Event) {
    let (Event::Ejected(place, ..) | Event::Back(place)) = event;
    let Some(state) = view.nodes.get(place) else {
        return;
    };
    let node = state.node.label.as_str();
    match event {
        Event::Ejected(_, why, time) => {
            // What it did before is paid for.
            state.node.load.forget_failures();
            let (reason, told) = match why {
                Why::Failures(count) => (
                    EjectionReason::Errors,
                    format!("{count} connections in a row failed"),
                ),
                Why::Slow(own, peer) => (
                    EjectionReason::Slow,
                    format!(
                        "half of its answers take {own:.3} s or more, the next slowest replica's {peer:.3} s"
                    ),
                ),
            };
            state.node.metrics.ejected(reason);
            tracing::warn!(
                node,
                reason = told,
                for_seconds = time.as_secs_f64(),
                "node taken out of the rotation"
            );
        }
        Event::Back(_) => tracing::info!(node, "node back in the rotation"),
    }
}
