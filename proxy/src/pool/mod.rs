//! Server connections that are lent to sessions and come back clean.
//!
//! A pool belongs to a node, a database and a user. Each worker keeps its own idle connections, so
//! that lending and returning stay on one thread; the number of connections is a promise of the
//! whole instance, kept by a shared budget, and a worker whose clients wait gets connections from
//! the others.
//!
//! Knows nothing of clients, routes or statements.

pub mod budget;
pub mod caps;
pub mod checkout;
mod claims;
pub mod control;
pub mod hold;
pub mod manager;
pub mod permit;
pub mod pools;
pub mod servers;
pub mod stats;
mod supply;
mod upkeep;
