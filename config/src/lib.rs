//! pgconvoy's settings: a TOML file, the environment and command-line flags, resolved once into
//! typed, validated values.
//!
//! A setting takes its way through the crate once: `keys` defines it (name, shape, default, doc),
//! `raw` finds what the file, `env` and `flags` say about it, `resolve` turns that into
//! [`Settings`], `check` compares settings with each other, and `loaded` remembers where each
//! value came from. Every problem of a load is collected; none hides another.
//!
//! This crate must not know sockets, PostgreSQL's protocol or how a secret is checked: it only
//! tells shapes apart as far as a setting can be refused for them.

mod check;
mod env;
mod flags;
mod keys;
mod kind;
mod load;
mod loaded;
mod problem;
mod raw;
mod reference;
mod resolve;
mod secret;
mod sections;
mod settings;
mod suggest;
mod units;
mod value;

#[cfg(test)]
mod tests;

pub use env::Environment;
pub use flags::Overrides;
pub use load::Sources;
pub use loaded::{Changes, Loaded, SettingRow, diff};
pub use problem::{Origin, Problem, Problems};
pub use reference::reference;
pub use secret::{Secret, SecretShape};
pub use settings::{
    Auth, AuthMethod, Balance, BalancePer, CONSOLE_DATABASES, Database, FunctionPattern, Health,
    Http, Limits, Log, LogFormat, Monitor, Node, Peer, Pool, PoolMode, Prefer, ReadYourWrites,
    Replication, Routing, Settings, TransactionReads, User, UserTimes,
};
