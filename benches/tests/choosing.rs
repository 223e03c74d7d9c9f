//! Choosing the node of a read allocates nothing, whichever way reads are balanced.

use pgconvoy::cluster::{
    Balance, Cluster, Freshness, Health, InUse, NodeId, NodeSpec, Preference, Preferences,
    ReadRules, Role, Rotation, View, Whose, Wish, pick_read,
};
use pgconvoy::metrics::Metrics;
use pgconvoy::pattern::Pattern;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has nobody to count for.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; a counter of the thread is all that is added.
#[allow(
    unsafe_code,
    reason = "there is no other way to count allocations than to be the allocator"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A primary and three replicas that may be read.
fn view(metrics: &Metrics) -> View {
    let specs: Vec<_> = (1..5)
        .map(|port| NodeSpec {
            host: "db".into(),
            port,
            weight: u32::from(port),
            name: None,
        })
        .collect();
    let cluster = Cluster::new(&specs, metrics);
    let mut view = View::unchecked(cluster.nodes(), SystemTime::UNIX_EPOCH);
    for state in &mut view.nodes {
        state.health = Health::Up;
        state.role = Role::Replica;
        state.timeline = 1;
        state.node.measure(true);
    }
    view.nodes[0].role = Role::Primary;
    // With nobody leading no replica has to prove anything, which only the monitor can.
    view.primary = None;
    view.timeline = 1;
    view
}

#[test]
fn choosing_a_node_and_using_it_allocates_nothing() {
    let before = ALLOCATIONS.get();
    let view = view(&Metrics::new("0").unwrap());
    assert!(ALLOCATIONS.get() > before, "it counts");
    let whose = Whose {
        application: Some(Pattern::new("report*")),
        user: None,
        database: Some(Pattern::new("*")),
    };
    let preferences = Preferences::new(vec![(whose, Preference::Node(NodeId(2)))]);
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::LeastLatency,
    ] {
        let rules = ReadRules {
            balance,
            ..ReadRules::default()
        };
        let mut rotation = Rotation::new();
        let mut seen = [0; 4];
        let mut read = |now: u64, application: &str| {
            let wish = Wish {
                prefer: preferences.of(application, "app", "app"),
                ..Wish::default()
            };
            let id = pick_read(&view, &rules, &Freshness::ANY, &wish, &mut rotation, now).unwrap();
            seen[usize::from(id.0)] += 1;
            let mut used = InUse::new(Arc::clone(&view.nodes[usize::from(id.0)].node));
            used.asked(now);
            used.answered(now, now + 50, false);
        };
        read(1, "psql");
        let before = ALLOCATIONS.get();
        for n in 1..1_000 {
            read(n * 100, if n % 10 == 0 { "reports" } else { "psql" });
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{balance:?}");
        assert!(seen[0] == 0 && seen[2] >= 99, "{balance:?}: {seen:?}");
    }
}
