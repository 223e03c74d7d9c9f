//! The oracle: decides by experiment whether pgconvoy routes a statement rightly.
//!
//! It stands between psql and a pgconvoy that sends everything to the primary (`split_reads = false`), and sees
//! each statement as it was sent. Of what may be a read it asks that very session with SHOW ROUTE where it would
//! go, runs it on a hot standby, lets it run on the primary, and compares.

mod outcome;
mod session;
mod tally;
mod text;

pub use session::{Ports, serve};
pub use tally::Tally;
