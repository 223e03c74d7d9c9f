//! One connection to one server: opening it, what is known of it, cleaning it, cancelling on it.
//!
//! Knows nothing of clients, pools or routes.

pub mod cancel;
pub mod connect;
pub mod connection;
pub mod digest;
pub mod login;
pub mod parameters;
pub mod prepared;
pub mod reported;
pub mod reset;
