//! Makes a life that shows a difference shorter, as long as it shows one.

use super::generate::{Life, Parting};
use super::steps::Step;
use super::{Difference, Pipeline, Place};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The longest it may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Shrinker<'a, 'b> {
    place: &'a mut Place<'b>,
    began: Instant,
    life: Life,
    difference: Difference,
}

/// The shortest life that was found, in words.
pub(super) fn shrink(place: &mut Place<'_>, life: Life, difference: &Difference) -> String {
    let Err(again) = place.live(&life) else {
        return alone(&life, difference);
    };
    let mut shrinker = Shrinker {
        place,
        began: Instant::now(),
        life,
        difference: if again.kind == difference.kind {
            difference.clone()
        } else {
            again
        },
    };
    shrinker.parting();
    while shrinker.pass() {}
    shrinker.told()
}

/// What was sent where a session differed that takes the others to do so.
fn alone(life: &Life, difference: &Difference) -> String {
    let mut told = "(alone, this session shows no difference: it takes the others)".to_owned();
    let number = difference.report.strip_prefix("pipeline ");
    let number = number.and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
    let sent = number.and_then(|number| life.pipelines.get(number));
    for step in sent.into_iter().flatten() {
        let _ = write!(told, "\n    {step:?}");
    }
    told
}

impl Shrinker<'_, '_> {
    /// Keeps a shorter life when it shows a difference, too.
    fn keeps(&mut self, shorter: Life) -> bool {
        if self.began.elapsed() > PATIENCE {
            return false;
        }
        let Err(difference) = self.place.live(&shorter) else {
            return false;
        };
        if difference.kind != self.difference.kind {
            return false;
        }
        self.difference = difference;
        self.life = shorter;
        true
    }

    fn parting(&mut self) {
        let mut polite = self.life.clone();
        polite.parting = Parting::Polite;
        polite.tail.clear();
        self.keeps(polite);
    }

    /// Leaves out what can be left out: true when something was.
    fn pass(&mut self) -> bool {
        let mut shorter = self.without_pipelines(self.life.pipelines.len().div_ceil(2));
        shorter |= self.without_pipelines(1);
        for pipeline in 0..=self.life.pipelines.len() {
            shorter |= self.without_steps(pipeline);
        }
        shorter
    }

    fn without_pipelines(&mut self, count: usize) -> bool {
        let (mut at, mut shorter) = (0, false);
        while count > 0 && at < self.life.pipelines.len() {
            let mut without = self.life.clone();
            let end = (at + count).min(without.pipelines.len());
            without.pipelines.drain(at..end);
            if self.keeps(without) {
                shorter = true;
            } else {
                at += count;
            }
        }
        shorter
    }

    /// The pipeline past the last is the tail.
    fn without_steps(&mut self, pipeline: usize) -> bool {
        let (mut at, mut shorter) = (0, false);
        loop {
            let mut without = self.life.clone();
            let steps = of(&mut without, pipeline);
            if at >= steps.len() {
                return shorter;
            }
            // Without the end of its data a COPY would wait for ever.
            let ends_copy = matches!(steps.remove(at), Step::CopyDone | Step::CopyFail);
            if !ends_copy && self.keeps(without) {
                shorter = true;
            } else {
                at += 1;
            }
        }
    }

    fn told(&self) -> String {
        let mut text = String::from("the shortest that differs:\n");
        for (number, pipeline) in self.life.pipelines.iter().enumerate() {
            let _ = writeln!(text, "  pipeline {number}");
            for step in pipeline {
                let _ = writeln!(text, "    {step:?}");
            }
        }
        let _ = writeln!(
            text,
            "  the end: {:?} {:?}",
            self.life.parting, self.life.tail
        );
        let _ = write!(text, "{}", self.difference.report);
        text
    }
}

fn of(life: &mut Life, pipeline: usize) -> &mut Pipeline {
    if pipeline < life.pipelines.len() {
        &mut life.pipelines[pipeline]
    } else {
        &mut life.tail
    }
}
