//! How much of its share of the reads each replica takes: slow start for one that comes back, ejection for
//! one that fails or is far slower than the others. PURE: what was seen and the time in, shares out.
//!
//! Whether a node is up is `health`'s: one that is down is left to it. The last replica is never ejected here,
//! and if the others go after that `pick` reads from the ejected all the same.

use std::time::Duration;

use super::load::FULL;
use crate::clock;

/// Failures in a row, with no answer in between, that eject.
const FAILURES: u32 = 5;

/// Answers that a median must be of.
const ANSWERS: u64 = 20;

/// So many times slower than its slowest peer, and by so much, is an outlier.
const FACTOR: f64 = 5.0;
const BY: f64 = 0.01;

/// The longest ejection, in first ones.
const LONGEST: u32 = 16;

/// What a share begins with.
const FLOOR: u32 = FULL / 16;

/// The settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Until one that comes back has its whole share.
    pub slow_start: Option<Duration>,
    /// How long the first ejection is.
    pub ejection: Option<Duration>,
}

/// What health says of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not been looked at yet.
    #[default]
    Unknown,
    /// A replica that may be read.
    Serves,
    /// One that has yet to be seen to catch up, or receives nothing.
    Behind,
    /// Down, or not believed.
    Gone,
    /// The primary.
    Leads,
}

/// Answers since the last look at them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answers {
    pub(super) count: u64,
    /// Seconds.
    pub(super) median: f64,
}

/// What was seen of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    pub(super) standing: Standing,
    pub(super) failures: u32,
    /// None between two looks at them.
    pub(super) answers: Option<Answers>,
}

/// Why a node is ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    /// That many failures in a row.
    Failures(u32),
    /// Its median, and its slowest peer's.
    Slow(f64, f64),
}

/// What has changed for the node of that index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    Ejected(usize, Why, Duration),
    Back(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Full,
    Gone,
    Starting {
        since: u64,
    },
    Ejected {
        until: u64,
    },
}

/// Where one node is in this.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turnout {
    state: State,
    /// It has served.
    known: bool,
    /// How long its last ejection was, and until when; none after as long without one.
    last: Option<(Duration, u64)>,
}

impl Turnout {
    /// Of [`FULL`]; 0 for who is out of the rotation.
    pub(super) fn share(&self, terms: Terms, now: u64) -> u32 {
        match (self.state, terms.slow_start) {
            (State::Ejected { .. }, _) => 0,
            (State::Gone, Some(_)) => FLOOR,
            (State::Full | State::Gone, _) | (State::Starting { .. }, None) => FULL,
            (State::Starting { since }, Some(whole)) => {
                let gone = now.saturating_sub(since);
                let part = gone.saturating_mul(u64::from(FULL)) / clock::micros(whole).max(1);
                u32::try_from(part).unwrap_or(FULL).clamp(FLOOR, FULL)
            }
        }
    }

    /// Whether it takes reads.
    fn is_in(&self, sight: &Sight) -> bool {
        sight.standing == Standing::Serves && !matches!(self.state, State::Ejected { .. })
    }

    fn starts(&mut self, terms: Terms, now: u64) {
        self.state = match terms.slow_start {
            Some(_) => State::Starting { since: now },
            None => State::Full,
        };
    }

    /// Follows what health says, and the time.
    fn follow(&mut self, sight: &Sight, terms: Terms, now: u64) -> bool {
        self.known |= sight.standing == Standing::Serves;
        match (sight.standing, self.state) {
            (Standing::Unknown, _) => {}
            // At the start nobody has caught up.
            (Standing::Behind, _) if !self.known => {}
            (Standing::Behind, _) => self.state = State::Gone,
            (Standing::Leads, _) => self.state = State::Full,
            (Standing::Gone, _) => self.state = State::Gone,
            (Standing::Serves, State::Gone) => self.starts(terms, now),
            (Standing::Serves, State::Ejected { until }) => {
                if until <= now || terms.ejection.is_none() {
                    self.starts(terms, now);
                    return true;
                }
            }
            (Standing::Serves, State::Starting { since }) => {
                let whole = terms.slow_start.map_or(0, clock::micros);
                if now.saturating_sub(since) >= whole {
                    self.state = State::Full;
                }
            }
            (Standing::Serves, State::Full) => {}
        }
        false
    }

    fn eject(&mut self, first: Duration, now: u64) -> Duration {
        let longest = first * LONGEST;
        let again = self
            .last
            .filter(|(last, until)| now.saturating_sub(*until) < clock::micros(*last));
        let time = again.map_or(first, |(last, _)| (last * 2).min(longest));
        let until = now.saturating_add(clock::micros(time));
        self.last = Some((time, until));
        self.state = State::Ejected { until };
        time
    }
}

/// One look at all nodes; of each the same place in both slices.
pub(super) fn look(
    turnouts: &mut [Turnout],
    sights: &[Sight],
    terms: Terms,
    now: u64,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (place, (turnout, sight)) in turnouts.iter_mut().zip(sights).enumerate() {
        if turnout.follow(sight, terms, now) {
            events.push(Event::Back(place));
        }
    }
    let Some(first) = terms.ejection else {
        return events;
    };
    for place in 0..turnouts.len() {
        let others = (turnouts.iter().zip(sights).enumerate())
            .filter(|(other, (t, s))| *other != place && t.is_in(s));
        let slowest = others.clone().filter_map(|(_, (_, s))| s.answers);
        let slowest = slowest
            .filter(|a| a.count >= ANSWERS)
            .map(|a| a.median)
            .max_by(f64::total_cmp);
        let alone = others.count() == 0;
        let (Some(turnout), Some(sight)) = (turnouts.get(place), sights.get(place)) else {
            continue;
        };
        if alone || !turnout.is_in(sight) {
            continue;
        }
        if let Some(why) = outlies(sight, slowest)
            && let Some(turnout) = turnouts.get_mut(place)
        {
            events.push(Event::Ejected(place, why, turnout.eject(first, now)));
        }
    }
    events
}

fn outlies(sight: &Sight, slowest_peer: Option<f64>) -> Option<Why> {
    if sight.failures >= FAILURES {
        return Some(Why::Failures(sight.failures));
    }
    let own = sight.answers.filter(|a| a.count >= ANSWERS)?.median;
    let peer = slowest_peer?;
    (own >= peer * FACTOR && own >= peer + BY).then_some(Why::Slow(own, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const TERMS: Terms = Terms {
        slow_start: None,
        ejection: Some(Duration::from_secs(10)),
    };

    fn serves() -> Sight {
        Sight {
            standing: Standing::Serves,
            ..Sight::default()
        }
    }

    fn fails() -> Sight {
        Sight {
            failures: FAILURES,
            ..serves()
        }
    }

    fn answered(count: u64, median: f64) -> Sight {
        Sight {
            answers: Some(Answers { count, median }),
            ..serves()
        }
    }

    fn gone() -> Sight {
        Sight {
            standing: Standing::Gone,
            ..Sight::default()
        }
    }

    fn behind() -> Sight {
        Sight {
            standing: Standing::Behind,
            ..Sight::default()
        }
    }

    fn leads() -> Sight {
        Sight {
            standing: Standing::Leads,
            failures: FAILURES,
            ..Sight::default()
        }
    }

    #[test]
    fn share_grows_from_the_return_to_the_whole() {
        let terms = Terms {
            slow_start: Some(Duration::from_secs(8)),
            ejection: None,
        };
        let mut all = [Turnout::default()];
        let mut share = |sight: Sight, now: u64| {
            assert!(look(&mut all, &[sight], terms, now).is_empty());
            all[0].share(terms, now)
        };
        for (sight, at, expected) in [
            (Sight::default(), 1, FULL),
            (behind(), 1, FULL),
            (serves(), 2, FULL),
            (gone(), 3, FLOOR),
            (serves(), 10 * SECOND, FLOOR),
            (serves(), 12 * SECOND, FULL / 4),
            (serves(), 16 * SECOND, FULL * 3 / 4),
            (gone(), 17 * SECOND, FLOOR),
            (serves(), 20 * SECOND, FLOOR),
            (serves(), 27 * SECOND, FULL * 7 / 8),
            (serves(), 28 * SECOND, FULL),
            (behind(), 28 * SECOND, FLOOR),
            (serves(), 28 * SECOND, FLOOR),
            (leads(), 29 * SECOND, FULL),
        ] {
            assert_eq!(share(sight, at), expected, "at {at}");
        }
    }

    #[test]
    fn without_slow_start_who_comes_back_has_all_at_once() {
        let mut all = [Turnout::default()];
        let _ = look(&mut all, &[gone()], TERMS, 1);
        assert_eq!(all[0].share(TERMS, 1), FULL);
        let _ = look(&mut all, &[serves()], TERMS, 2);
        assert_eq!(all[0].share(TERMS, 2), FULL);
    }

    #[test]
    fn who_is_ejected_and_who_is_not() {
        let few = ANSWERS - 1;
        for (what, sights, ejected) in [
            ("fails", vec![fails(), serves()], Some(0)),
            ("fails and is alone", vec![fails(), gone()], None),
            ("fails beside the primary", vec![fails(), leads()], None),
            (
                "nearly fails",
                vec![
                    Sight {
                        failures: FAILURES - 1,
                        ..serves()
                    },
                    serves(),
                ],
                None,
            ),
            ("both fail", vec![fails(), fails()], Some(0)),
            (
                "is slow",
                vec![answered(50, 0.001), answered(50, 0.1)],
                Some(1),
            ),
            (
                "is a little slow",
                vec![answered(50, 0.03), answered(50, 0.1)],
                None,
            ),
            (
                "is slow by little",
                vec![answered(50, 0.0001), answered(50, 0.009)],
                None,
            ),
            (
                "was slow a few times",
                vec![answered(50, 0.001), answered(few, 0.1)],
                None,
            ),
            (
                "has no peer to compare",
                vec![answered(few, 0.001), answered(50, 0.1)],
                None,
            ),
            (
                "is as slow as another",
                vec![answered(50, 0.001), answered(50, 0.1), answered(50, 0.1)],
                None,
            ),
        ] {
            let mut all = vec![Turnout::default(); sights.len()];
            let events = look(&mut all, &sights, TERMS, SECOND);
            let found: Vec<_> = (events.iter())
                .map(|event| match event {
                    Event::Ejected(place, _, time) => {
                        assert_eq!(*time, Duration::from_secs(10));
                        *place
                    }
                    Event::Back(_) => panic!("{what}"),
                })
                .collect();
            assert_eq!(found, ejected.into_iter().collect::<Vec<_>>(), "{what}");
            for (place, turnout) in all.iter().enumerate() {
                let out = Some(place) == ejected;
                assert_eq!(turnout.share(TERMS, SECOND) == 0, out, "{what} {place}");
            }
        }
    }

    #[test]
    fn ejections_get_longer_up_to_a_bound_and_are_forgiven() {
        let mut all = [Turnout::default(); 2];
        let mut now = SECOND;
        let mut times = Vec::new();
        for _ in 0..6 {
            let events = look(&mut all, &[fails(), serves()], TERMS, now);
            let [Event::Ejected(0, Why::Failures(FAILURES), time)] = events[..] else {
                panic!("{events:?}");
            };
            times.push(time.as_secs());
            now += clock::micros(time) - 1;
            assert!(look(&mut all, &[serves(), serves()], TERMS, now).is_empty());
            now += 1;
            let back = look(&mut all, &[serves(), serves()], TERMS, now);
            assert_eq!(back, [Event::Back(0)]);
            assert_eq!(all[0].share(TERMS, now), FULL);
        }
        assert_eq!(times, [10, 20, 40, 80, 160, 160]);
        now += 160 * SECOND;
        let events = look(&mut all, &[fails(), serves()], TERMS, now);
        assert_eq!(
            events,
            [Event::Ejected(
                0,
                Why::Failures(FAILURES),
                Duration::from_secs(10)
            )]
        );
    }

    #[test]
    fn ejection_ends_when_it_is_switched_off_and_is_healths_when_the_node_goes() {
        let mut all = [Turnout::default(); 2];
        let _ = look(&mut all, &[fails(), serves()], TERMS, 1);
        let off = Terms::default();
        assert_eq!(
            look(&mut all, &[serves(), serves()], off, 2),
            [Event::Back(0)]
        );
        let _ = look(&mut all, &[fails(), serves()], TERMS, 3);
        assert!(look(&mut all, &[gone(), serves()], TERMS, 4).is_empty());
        assert!(look(&mut all, &[serves(), serves()], TERMS, 5).is_empty());
        assert_eq!(all[0].share(TERMS, 5), FULL);
    }
}
