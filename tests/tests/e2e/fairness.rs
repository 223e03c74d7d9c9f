//! Who came first is served first, and no pool starves another one under the same cap.

use crate::console::console;
use crate::console_control::{begin, database};
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The order in which fifty clients, who came one after the other, got their statement run; and ten
/// more, if there is a pause between them.
fn order_of_service(name: &str, connections: usize, pause: bool) -> Vec<usize> {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with(&format!("[pool]\nsize = {connections}"))
    });
    stage.seed("create table t (id serial, who int)");
    let mut holders: Vec<Wire> = (0..connections).map(|_| stage.client()).collect();
    for holder in &mut holders {
        holder.run("begin; select pg_advisory_xact_lock_shared(1)");
    }
    let mut control = stage.client();
    let mut clients: Vec<Wire> = (0..50).map(|_| stage.client()).collect();
    let mut come = |number: usize, client: &mut Wire| {
        let sql = format!("insert into t (who) values ({number})");
        client.send(Batch::new().query(&sql).bytes());
        // Its answer comes from the same thread, after what was sent before.
        control.run("show pool_version");
    };
    for (number, client) in clients.iter_mut().enumerate() {
        come(number, client);
    }
    wait::until("fifty clients wait", wait::SOON, || {
        let page = stage.convoy.page("/metrics").body;
        pgconvoy_tests::http::sum(&page, "pgconvoy_pool_waiting") >= 50.0
    });
    if pause {
        let (mut admin, mut pauser) = (console(&stage), console(&stage));
        begin(&mut pauser, "pause");
        wait::until("the database is paused", wait::SOON, || {
            database(&mut admin, &stage, "paused") == "1"
        });
        for number in 50..60 {
            let mut client = stage.client();
            come(number, &mut client);
            clients.push(client);
        }
        for holder in &mut holders {
            holder.run("commit");
        }
        pauser.until_ready();
        assert_eq!(stage.direct(0).one("select count(*) from t"), "0");
        admin.run("resume");
    } else {
        for holder in &mut holders {
            holder.run("commit");
        }
    }
    for client in &mut clients {
        client.until_ready();
    }
    let order = stage.direct(0).run("select who from t order by id");
    let number = |row: &Vec<Option<String>>| row[0].as_deref().unwrap().parse().unwrap();
    order.iter().map(number).collect()
}

#[test]
fn fifty_clients_on_one_connection_are_served_in_the_order_they_came() {
    let order = order_of_service("fifo_one", 1, false);
    assert_eq!(order, (0..50).collect::<Vec<_>>());
}

#[test]
fn fifty_clients_on_two_connections_are_served_in_the_order_they_came() {
    let order = order_of_service("fifo_two", 2, false);
    assert_eq!(order.len(), 50);
    // The server may be slow with one of them; it is the proxy that is tested.
    let far = |(place, number): &(usize, &usize)| place.abs_diff(**number) > 4;
    let late = order.iter().enumerate().filter(far).count();
    assert!(late <= 3, "{order:?}");
}

#[test]
fn clients_are_served_in_the_order_they_came_though_there_was_a_pause() {
    let order = order_of_service("fifo_pause", 1, true);
    assert_eq!(order, (0..60).collect::<Vec<_>>());
}

/// Transactions that each client of `app` and of `other` got done meanwhile, both pools being under
/// one cap of two connections.
fn share(name: &str, app: usize, other: usize) -> (usize, usize) {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 2")
            .with("[routing]\nsplit_reads = false\n[limits]\nmax_server_connections = 2")
    });
    let done = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (user, count, done) in [("app", app, &done[0]), ("other", other, &done[1])] {
            for _ in 0..count {
                let (stage, stop) = (&stage, &stop);
                scope.spawn(move || {
                    let mut client = stage.convoy.connect(user, &stage.database).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        client.run("begin; select pg_sleep(0.002); commit");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        let start = Instant::now();
        let enough = || {
            let [app_done, other_done] = [&done[0], &done[1]].map(|d| d.load(Ordering::Relaxed));
            app_done >= 20 * app && other_done >= 20 * other
        };
        while !enough() && start.elapsed() < Duration::from_secs(40) {
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let [app_done, other_done] = done.map(AtomicUsize::into_inner);
    (app_done / app, other_done / other)
}

#[test]
fn two_pools_under_one_cap_share_it() {
    let (app, other) = share("share_even", 8, 8);
    assert!(app.min(other) >= 20, "{app} and {other} for each client");
    assert!(
        app <= 3 * other && other <= 3 * app,
        "{app} and {other} for each client"
    );
}

#[test]
fn tenant_with_one_client_is_not_starved_by_one_with_many() {
    let (many, one) = share("share_uneven", 40, 1);
    assert!(one >= 20, "{many} for each of many, {one} for the one");
    assert!(
        many <= 4 * one,
        "{many} for each of many, {one} for the one"
    );
}
