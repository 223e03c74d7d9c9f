//! `compare`: the same load through pgconvoy and its peers, side by side, and the bar the figures are held to.
//!
//! Like the end-to-end tests it knows pgconvoy only from outside: its command line, config keys and ports. So the
//! peers and we are measured by the same hands.

pub mod bar;
pub mod client;
pub mod compare;
pub mod copy;
pub mod figures;
pub mod idle;
pub mod options;
pub mod pgbench;
pub mod plan;
pub mod problem;
pub mod process;
pub mod report;
pub mod results;
pub mod scaling;
pub mod stage;
pub mod statements;
pub mod stats;
pub mod stub;
pub mod targets;
pub mod usage;
pub mod workload;
