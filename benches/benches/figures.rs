//! The bar's figures that no load shows: what a route decision costs, and how often the proxy allocates in a
//! steady-state prepared round trip. Writes `benches/results/figures.json` for `compare`.

use pgconvoy::app::App;
use pgconvoy::router::{Quoting, Router};
use pgconvoy_benches::figures::Figures;
use pgconvoy_benches::stage::{DATABASE, USER};
use pgconvoy_benches::stats::median;
use pgconvoy_benches::{client, statements, stub};
use pgconvoy_config::{Environment, Overrides, Settings, Sources};
use pgconvoy_tests::ports;
use pgconvoy_tests::postgres::Cluster;
use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts what all threads allocate.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came; a relaxed counter is all that is added.
#[allow(
    unsafe_code,
    reason = "there is no other way to count allocations than to be the allocator"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (route_repeat_ns, route_repeat_allocations) = repeat();
    let round_trip = match round_trip() {
        Ok(allocations) => Some(allocations),
        Err(error) => {
            eprintln!("figures: allocations in a round trip are NOT measured: {error}");
            None
        }
    };
    let figures = Figures {
        route_repeat_ns,
        route_repeat_allocations: Some(route_repeat_allocations),
        route_first_us: first(),
        round_trip_allocations: round_trip,
    };
    println!("{figures:#?}");
    figures.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results"))?;
    Ok(())
}

fn router() -> Router {
    Router::new([0x5eed, 0x0ff], 4096)
}

/// Nanoseconds and allocations of a decision for a shape that is known: the median of many batches.
fn repeat() -> (Option<f64>, f64) {
    const BATCH: usize = 2000;
    let texts: Vec<String> = (0..256).map(statements::pgbench).collect();
    let mut router = router();
    let mut batches = Vec::with_capacity(200);
    router.decide(texts[0].as_bytes(), Quoting::Standard);
    let before = allocations();
    for _ in 0..200 {
        let begin = Instant::now();
        for n in 0..BATCH {
            let text = black_box(texts[n % texts.len()].as_bytes());
            black_box(router.decide(text, Quoting::Standard));
        }
        batches.push(begin.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    let allocated = allocations() - before;
    (median(&batches), allocated as f64 / (200 * BATCH) as f64)
}

/// Microseconds of a decision for a shape that is new.
fn first() -> Option<f64> {
    let mut router = router();
    let times = (0..4000).map(|n| {
        let text = statements::new_shape(n);
        let begin = Instant::now();
        black_box(router.decide(black_box(text.as_bytes()), Quoting::Standard));
        begin.elapsed().as_nanos() as f64 / 1000.0
    });
    median(&times.collect::<Vec<_>>())
}

/// Allocations for one prepared round trip through a proxy in this process. The stub and its clients allocate
/// nothing once they are at work; what the monitor allocates meanwhile is measured without load and taken off.
fn round_trip() -> Result<f64, Box<dyn Error>> {
    let cluster = Cluster::start(0);
    let server = stub::Server::start(cluster.nodes[0].port)?;
    let port = ports::free();
    let config = format!(
        "listen = \"127.0.0.1:{port}\"\nworkers = 1\n[[node]]\naddress = \"127.0.0.1:{}\"\n\
         [http]\nlisten = \"off\"\n[log]\nlevel = \"warn\"\n",
        server.port
    );
    let sources = Sources {
        file: None,
        env: Environment::default(),
        flags: Overrides::default(),
    };
    let loaded = Settings::load_text("bench", &config, &sources)?;
    let again = loaded.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(move || {
            runtime.block_on(async {
                match App::start(loaded, Box::new(move || Ok(again.clone()))) {
                    Ok(_app) => {
                        let _ = stopped.await;
                    }
                    Err(error) => eprintln!("figures: {error}"),
                }
            });
        });
        let measured = count(port);
        let _ = stop.send(());
        measured
    })
}

fn count(port: u16) -> Result<f64, Box<dyn Error>> {
    const LENGTH: Duration = Duration::from_secs(2);
    let begin = Instant::now();
    // It listens some time after its start.
    while client::login(port, USER, DATABASE).is_err() {
        if begin.elapsed() > Duration::from_secs(20) {
            return Err("pgconvoy lets no client in".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = allocations();
    std::thread::sleep(LENGTH);
    let without_load = allocations() - before;
    let mut at_work = 0;
    let report = stub::load(port, 16, LENGTH, || at_work = allocations())?;
    let with_load = allocations() - at_work;
    println!(
        "allocations in {LENGTH:?}: {without_load} without load, {with_load} with {} round trips",
        report.transactions
    );
    Ok(with_load.saturating_sub(without_load) as f64 / report.transactions as f64)
}
