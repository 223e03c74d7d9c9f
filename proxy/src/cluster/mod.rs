//! The nodes: which are there, what each of them is, who leads, and who may answer a read.
//!
//! `view` is the immutable snapshot that everybody reads and `handle` what everybody holds;
//! `pick` chooses a node for a read. `monitor` starts the watch: a `probe` is the connection to
//! one node, the `keeper` hears them all and publishes. `health` decides from what was seen,
//! `lag` proves how fresh a replica is, and `standby` finds a replica in the primary's list;
//! these three and `pick` are pure: events in, decisions out, no socket and no clock.
//!
//! `catalogs` holds what is known of each database's own catalog, which `catalog_loader` reads.
//!
//! Knows nothing of sessions and pools.

mod catalog_loader;
mod catalogs;
mod freshness;
mod handle;
mod health;
mod keeper;
mod lag;
mod monitor;
mod node;
mod pick;
mod probe;
mod settings;
mod standby;
mod view;

pub use catalogs::Database;
pub use freshness::{Freshness, Position};
pub use handle::{Cluster, NodeSpec};
pub use monitor::Monitor;
pub use node::{Node, NodeId};
pub use pick::{ReadRules, Rotation, candidates, pick_read};
pub use settings::MonitorSettings;
pub use view::{Health, NodeState, Role, View};
