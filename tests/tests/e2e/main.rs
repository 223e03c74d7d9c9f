//! End-to-end tests: the `pgconvoy` binary in front of a real primary and two real replicas, one file per behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails has to end the test with its cause"
)]

mod balancing;
mod cancel;
mod cancel_peers;
mod cancel_storm;
mod carried_parameters;
mod catalog;
mod catalog_depth;
mod command_line;
mod console;
mod console_auth;
mod console_control;
mod console_figures;
mod console_pause;
mod differential;
mod drivers;
mod dump_restore;
mod failover;
mod fairness;
mod freshness;
mod garbage;
mod hard_cases;
mod hard_routing;
mod harness;
mod held_connections;
mod io_uring;
mod isolation;
mod like_direct;
mod limits;
mod logins;
mod logs;
mod memory;
mod metrics;
mod pgbench;
mod pipelined_transactions;
mod pipelines;
mod pools;
mod prepared;
mod protocol_flow;
mod protocol_startup;
mod psql;
mod refusals;
mod replicas;
mod replication;
mod routing;
mod sequences;
mod session_state;
mod show_commands;
mod show_route;
mod signals;
mod startup_parameters;
mod state_leaks;
mod statement_mode;
mod timeouts;
mod tokio_driver;
mod transactions;
mod unpinning;
