//! Session state under a crowd: each of many clients on few server connections has its own, all of it, and nothing else.
//!
//! `make isolation SECONDS=60` does so for longer than a normal run.

mod client;
mod model;

use client::Client;
use pgconvoy_tests::random::number_of;
use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Server connections for all.
const POOL: usize = 5;

fn stage(nodes: &str) -> Stage {
    let stage = Stage::with("isolation", |setup| {
        setup.top("workers = 2").with(&format!(
            "[pool]\nsize = {POOL}\n[limits]\nmax_client_connections = 300\n[log]\nlevel = \"warn\"\n{nodes}"
        ))
    });
    stage.seed("create table t (a int)");
    stage.direct(0).run("grant pg_monitor to app");
    stage.settle();
    stage
}

#[test]
fn isolation_of_200_clients_over_5_server_connections() {
    let stage = stage("[routing]\nsplit_reads = false");
    let seed = number_of("ISOLATION_SEED", 1);
    let clients = number_of("ISOLATION_CLIENTS", 200) as usize;
    let end = Instant::now() + Duration::from_secs(number_of("ISOLATION_SECONDS", 6));
    let (wrong, done) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for number in 0..clients {
            let (stage, wrong, done) = (&stage, &wrong, &done);
            scope.spawn(move || {
                let mut client = Client::new(stage.convoy.port, &stage.database, number, seed);
                let mut result = client.check();
                while result.is_ok() && Instant::now() < end {
                    result = client.episode();
                }
                if let Err(error) = result {
                    wrong.lock().unwrap().push(error);
                }
                done.lock().unwrap().push(client.statements);
                client.leave();
            });
        }
    });
    let (wrong, done) = (wrong.into_inner().unwrap(), done.into_inner().unwrap());
    let total: u64 = done.iter().sum();
    assert!(
        wrong.is_empty(),
        "SEED={seed}: {} of {clients} clients, {total} statements:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    assert_eq!(done.len(), clients);
    assert!(
        done.iter().all(|count| *count > 5),
        "somebody starved: {done:?}"
    );
    println!("{clients} clients, {total} statements, nothing leaked, nothing lost");
}

/// Each kind of state that appears or is gone without the client's doing is noticed: or else the test above proves nothing.
#[test]
fn isolation_check_notices_what_is_not_the_clients_doing() {
    let database = shared::database("isolation_check");
    let mut owner = shared::primary(&database);
    owner.run("grant pg_monitor to app; create table t (a int); grant insert on t to app");
    let port = shared::cluster().ports()[0];
    let leaks = [
        "set work_mem = '9MB'",
        "set application_name = 'another'",
        "set app.own = 'another'",
        "set role pg_monitor",
        "set default_transaction_read_only = on",
        "prepare q as select 1",
        "declare held cursor with hold for select 1",
        "listen another",
        "select pg_advisory_lock(1)",
        "create temp table scratch (a int)",
    ];
    for leak in leaks {
        let mut client = Client::new(port, &database, 1, 1);
        client.check().unwrap();
        client.say(leak).unwrap();
        assert!(client.check().is_err(), "not noticed: {leak}");
    }
    let mut client = Client::new(port, &database, 1, 1);
    client.model.set("work_mem", "9MB");
    assert!(client.check().is_err(), "a lost setting is not noticed");
    // Left to itself it finds nothing wrong.
    let mut client = Client::new(port, &database, 2, 2);
    for _ in 0..400 {
        client.episode().unwrap();
    }
    drop(client);
}
