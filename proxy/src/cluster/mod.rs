//! The nodes: which are there, what each of them is, who leads, and who may answer a read.
//!
//! `view` is the immutable snapshot that everybody reads and `handle` what everybody holds;
//! `pick` chooses a node for a read, by the `load` that nodes have and what clients prefer
//! (`preference`); the `steward` sets replicas' shares as `turnout` has it. `monitor` starts the watch: a `probe` is the connection to
//! one node, the `keeper` hears them all and publishes. `health` decides from what was seen,
//! `lag` proves how fresh a replica is, and `standby` finds a replica in the primary's list;
//! these three, `turnout`, `preference` and `pick` are pure: events in, decisions out, no socket and no clock.
//!
//! `catalogs` holds what is known of each database's own catalog, which `catalog_loader` reads by
//! `catalog_queries`.
//!
//! Knows nothing of sessions and pools.

mod catalog_loader;
mod catalog_queries;
mod catalogs;
mod freshness;
mod handle;
mod health;
mod in_use;
mod keeper;
mod lag;
mod load;
mod monitor;
mod node;
mod pick;
mod preference;
mod probe;
mod settings;
mod standby;
mod steward;
mod turnout;
mod view;

pub use catalogs::Database;
pub use freshness::{Freshness, Position};
pub use handle::{Cluster, NodeSpec};
pub use in_use::InUse;
pub use monitor::Monitor;
pub use node::{Node, NodeId};
pub use pick::{Balance, BalancePer, ReadRules, Rotation, Wish, candidates, pick_read};
pub use preference::{Preference, Preferences, Whose};
pub use settings::MonitorSettings;
pub use turnout::Terms as TurnoutTerms;
pub use view::{Health, NodeState, Role, View};
