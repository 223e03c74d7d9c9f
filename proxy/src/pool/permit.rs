//! The right to have one server connection.

use std::sync::Arc;

/// Where a right goes back to.
pub trait Room: Send + Sync {
    /// One connection less.
    fn give_back(&self);
}

/// The right to have one server connection; given back when it is dropped.
pub struct Permit(Arc<dyn Room>);

impl Permit {
    /// A right that `room` has counted.
    #[must_use]
    pub fn of(room: Arc<dyn Room>) -> Self {
        Self(room)
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}
