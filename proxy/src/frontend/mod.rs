//! From an accepted socket to a session: who it is, whether it may come in, what it is told.

pub mod access;
mod console;
pub mod door;
mod entry;
pub mod listener;
pub mod login;
mod passthrough;
pub mod peers;
mod quotas;
pub mod replication;
mod startup;
mod welcome;
