//! Reads `[routing]` and `[[prefer]]`.

use super::{Reader, Scope};
use crate::keys;
use crate::raw::Element;
use crate::settings::{Prefer, Routing};

pub(super) fn read_routing(reader: &mut Reader<'_>, at: &Scope<'_>) -> Routing {
    Routing {
        split_reads: reader.value(at, &keys::ROUTING_SPLIT_READS),
        primary_reads: reader.value(at, &keys::ROUTING_PRIMARY_READS),
        read_your_writes: reader.value(at, &keys::ROUTING_READ_YOUR_WRITES),
        transaction_reads: reader.value(at, &keys::ROUTING_TRANSACTION_READS),
        max_replica_lag: reader.value(at, &keys::ROUTING_MAX_REPLICA_LAG),
        max_replica_delay: reader.value(at, &keys::ROUTING_MAX_REPLICA_DELAY),
        shadow_check: reader.value(at, &keys::ROUTING_SHADOW_CHECK),
        catalog_refresh: reader.value(at, &keys::ROUTING_CATALOG_REFRESH),
        read_only_functions: (reader.optional(at, &keys::ROUTING_READ_ONLY_FUNCTIONS))
            .unwrap_or_default(),
        write_functions: (reader.optional(at, &keys::ROUTING_WRITE_FUNCTIONS)).unwrap_or_default(),
        balance: reader.value(at, &keys::ROUTING_BALANCE),
        balance_per: reader.value(at, &keys::ROUTING_BALANCE_PER),
        zone: reader.optional(at, &keys::ROUTING_ZONE),
        slow_start: reader.value(at, &keys::ROUTING_SLOW_START),
        ejection: reader.value(at, &keys::ROUTING_EJECTION),
    }
}

pub(super) fn read_prefer(
    reader: &mut Reader<'_>,
    at: &Scope<'_>,
    element: &Element,
) -> Option<Prefer> {
    let prefer = Prefer {
        application: reader.optional(at, &keys::PREFER_APPLICATION),
        user: reader.optional(at, &keys::PREFER_USER),
        database: reader.optional(at, &keys::PREFER_DATABASE),
        node: String::new(),
    };
    let node = reader.required(at, &keys::PREFER_NODE, element)?;
    Some(Prefer { node, ..prefer })
}
