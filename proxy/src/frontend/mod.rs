//! From an accepted socket to a session: who it is, whether it may come in, what it is told.

pub mod access;
pub mod listener;
pub mod login;
pub mod peers;
pub mod startup;
mod welcome;
