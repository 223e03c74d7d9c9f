//! From an accepted socket to a session: who it is, whether it may come in, what it is told.

pub mod access;
pub mod listener;
pub mod login;
mod passthrough;
pub mod peers;
pub mod replication;
pub mod startup;
mod welcome;
