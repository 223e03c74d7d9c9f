//! The right to have one server connection.

use std::sync::Arc;

/// Whether a right has become a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection is still to be opened.
    Opening,
    /// It is there.
    Open,
}

/// Where a right goes back to.
pub trait Room: Send + Sync {
    /// One connection less; `was` is how far it had come.
    fn give_back(self: Arc<Self>, was: Stage);

    /// A connection that was being opened is there.
    fn opened(&self);
}

/// The right to have one server connection; given back when it is dropped.
pub struct Permit {
    room: Arc<dyn Room>,
    stage: Stage,
}

impl Permit {
    /// A right that `room` has counted, to a connection that is still to be opened.
    #[must_use]
    pub fn of(room: Arc<dyn Room>) -> Self {
        Self {
            room,
            stage: Stage::Opening,
        }
    }

    /// Notes that the connection is there.
    pub fn opened(&mut self) {
        if self.stage == Stage::Opening {
            self.stage = Stage::Open;
            self.room.opened();
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Permit").field(&self.stage).finish()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        Arc::clone(&self.room).give_back(self.stage);
    }
}
