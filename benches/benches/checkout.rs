//! Lending an idle server connection and taking it back, on one worker with nobody waiting.

use arc_swap::ArcSwap;
use divan::{AllocProfiler, Bencher, black_box};
use pgconvoy::cluster::{Node, NodeId};
use pgconvoy::metrics::Metrics;
use pgconvoy::pool::budget::{Elsewhere, Size};
use pgconvoy::pool::caps::Scope;
use pgconvoy::pool::checkout::{Commons, Limits, Pool, Shared};
use pgconvoy::pool::control::Database;
use pgconvoy_benches::stage::{DATABASE, USER};
use pgconvoy_benches::stub;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn pool(port: u16, size: usize) -> Result<Arc<Pool>, Box<dyn std::error::Error>> {
    let metrics = Metrics::new("bench")?.node("stub");
    let node = Node::new(
        NodeId(0),
        "node".to_owned(),
        "127.0.0.1".to_owned(),
        port,
        1,
        metrics,
    );
    let limits = Limits {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: None,
        lifetime: None,
        lifetime_jitter: 0,
        reserve_timeout: Duration::from_secs(5),
        login_retry: Duration::from_secs(15),
        check_delay: None,
    };
    let commons = Commons {
        ledger: Arc::default(),
        gates: Box::default(),
        limits: Arc::new(ArcSwap::from_pointee(limits)),
    };
    let scopes = [
        Scope::User(USER.into()),
        Scope::Database(DATABASE.into()),
        Scope::Node(NodeId(0)),
        Scope::All,
    ];
    let account = commons.ledger.account(&scopes, &|_| None);
    let size = Size {
        size,
        reserve: 0,
        min_idle: 0,
    };
    let shared = Shared::new(
        Arc::new(node),
        (DATABASE.into(), USER.into()),
        size,
        account,
        1,
        Arc::new(commons),
        (Arc::new(Database::new(DATABASE.into(), 1)), Arc::default()),
    );
    Ok(Pool::join(Arc::new(shared), 0)?)
}

#[divan::bench(args = [1, 20])]
fn checkout_and_release(bencher: Bencher<'_, '_>, idle: usize) {
    if let Err(error) = lend(bencher, idle) {
        eprintln!("checkout: {error}");
    }
}

fn lend(bencher: Bencher<'_, '_>, idle: usize) -> Result<(), Box<dyn std::error::Error>> {
    // Only the load's user logs in: no real server is asked.
    let stub = stub::Server::start(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let pool = pool(stub.port, idle)?;
        let mut lent = Vec::new();
        for _ in 0..idle {
            lent.push(
                pool.checkout(1, Elsewhere::No)
                    .await
                    .map_err(|error| format!("{error:?}"))?,
            );
        }
        lent.into_iter().for_each(|checkout| checkout.release(1));
        bencher.bench_local(|| {
            if let Some(checkout) = black_box(&pool).try_checkout() {
                checkout.release(1);
            }
        });
        Ok(())
    })
}
