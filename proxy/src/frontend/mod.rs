//! From an accepted socket to a session: who it is, whether it may come in, what it is told.

pub mod access;
mod console;
pub mod listener;
pub mod login;
mod quotas;
pub mod startup;
mod welcome;
