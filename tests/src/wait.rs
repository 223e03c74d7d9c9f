//! Waiting for a condition with a deadline: the tests' only way to wait, so that none sleeps for longer than it must.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(10);

/// The deadline for things that ought to take well under a second, with room for a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks again and again until `look` gives a value; `None` when `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(STEP);
    }
}

/// Waits for a value. Panics, naming `what`, when `limit` has passed.
pub fn value<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"))
}

/// Waits until `holds` is true. Panics, naming `what`, when `limit` has passed.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    value(what, limit, || holds().then_some(()));
}
