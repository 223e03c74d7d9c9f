//! Which replica a read goes to: by load, by latency, by zone, by session, by preference; and what becomes of one
//! that comes back, fails or is slow.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire};
use pgconvoy_tests::{http, shared, show, wait};
use std::time::{Duration, Instant};

/// One worker, so that turns are exact, and these sections.
fn stage(name: &str, sections: &str) -> Stage {
    Stage::with(name, |setup| setup.top("workers = 1").with(sections))
}

/// How many reads each node gets of what is done.
fn reads(stage: &Stage, work: impl FnOnce()) -> Vec<u64> {
    let select = || stage.counts().into_iter().map(|c| c.select);
    let before: Vec<u64> = select().collect();
    work();
    select()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

fn read(client: &mut Wire, times: usize) {
    (0..times).for_each(|_| assert_eq!(client.one("select 1"), "1"));
}

/// `at(node)` does something there only: the function's body is for the replica of that number.
fn function_for(stage: &Stage, name: &str, node: usize, body: &str) {
    let port = shared::cluster().nodes[node].port;
    stage.seed(&format!(
        "create function {name}() returns int language plpgsql stable as $$ begin \
         if inet_server_port() = {port} then {body}; end if; return 1; end $$"
    ));
    let mut client = stage.client();
    wait::until("its catalog is known", wait::SOON, || {
        client.run(&format!("show route select {name}()"))[0][0].as_deref() == Some("replica")
    });
}

fn label(node: usize) -> String {
    format!("127.0.0.1:{}", shared::cluster().nodes[node].port)
}

fn ejections(stage: &Stage, reason: &str) -> f64 {
    let page = stage.convoy.page("/metrics").body;
    let labels = [("node", label(1)), ("reason", reason.to_owned())];
    let labels = labels
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    http::sample(&page, "pgconvoy_node_ejections_total", &labels).unwrap()
}

#[test]
fn replica_with_fewest_connections_in_use_is_next() {
    let stage = stage(
        "least_connections",
        "[routing]\nbalance = \"least_connections\"",
    );
    let (mut client, mut holder) = (stage.client(), stage.client());
    let all = reads(&stage, || read(&mut client, 20));
    assert_eq!(all, [0, 10, 10], "equals take turns");
    // A transaction that only reads stays on its replica.
    let held = reads(&stage, || {
        holder.run("begin read only");
        read(&mut holder, 1);
    });
    let busy = held.iter().position(|n| *n > 0).unwrap();
    let others = reads(&stage, || read(&mut client, 20));
    assert_eq!((others[0], others[busy]), (0, 0), "{held:?} {others:?}");
    holder.run("commit");
    let all = reads(&stage, || read(&mut client, 20));
    assert_eq!(all, [0, 10, 10], "given back");
}

#[test]
fn replica_that_answers_sooner_is_read_more() {
    let stage = stage("least_latency", "[routing]\nbalance = \"least_latency\"");
    function_for(&stage, "slow", 1, "perform pg_sleep(0.1)");
    let mut client = stage.client();
    let all = reads(&stage, || {
        (0..60).for_each(|_| drop(client.run("select slow()")))
    });
    assert!(all[0] == 0 && all[1] <= 6 && all[2] >= 54, "{all:?}");
    // By a reload it is all the same how slow it is.
    stage
        .convoy
        .reload(|setup| setup.with("[routing]\nbalance = \"round_robin\""));
    stage.convoy.wait_log(&["reloaded"]);
    let all = reads(&stage, || {
        (0..20).for_each(|_| drop(client.run("select slow()")))
    });
    assert_eq!(all, [0, 10, 10]);
}

#[test]
fn replica_that_does_not_answer_at_all_is_left_alone() {
    let cluster = Cluster::start(2);
    let convoy = Convoy::before(&cluster.ports())
        .top("workers = 1")
        .with("[routing]\nbalance = \"least_latency\"\n[health]\ncheck_timeout = \"1min\"")
        .start();
    let connect = || convoy.connect("postgres", "postgres").unwrap();
    let mut clients: Vec<Wire> = (0..8).map(|_| connect()).collect();
    clients.iter_mut().for_each(|client| read(client, 5));
    let mut stuck = connect();
    // Whoever runs there now does not answer any more; health does not know for a minute.
    cluster.nodes[1].freeze_all(true);
    let mut waiting = 0;
    let mut served = 0;
    for client in &mut clients {
        client.patience(Duration::from_millis(300));
        client.send(Batch::new().query("select 1").bytes());
        if client.stays_silent() {
            waiting += 1
        } else {
            served += 1
        }
    }
    cluster.nodes[1].freeze_all(false);
    assert!(
        waiting <= 2 && served >= 6,
        "{waiting} wait, {served} were served"
    );
    read(&mut stuck, 5);
}

#[test]
fn replicas_of_the_same_zone_are_read_while_one_is_usable() {
    let zones = |setup: pgconvoy_tests::convoy::Setup| {
        setup
            .node(1, "zone = \"a\"")
            .node(2, "zone = \"b\"")
            .top("workers = 1")
    };
    let stage = Stage::with("zones", |setup| {
        zones(setup).with("[routing]\nzone = \"b\"")
    });
    let mut client = stage.client();
    assert_eq!(reads(&stage, || read(&mut client, 10)), [0, 0, 10]);
    assert_eq!(client.run("show route select 1")[0][1], Some(label(2)));
    let reload = |weights: &[u32], zone: &str| {
        let zone = format!("[routing]\nzone = \"{zone}\"");
        stage
            .convoy
            .reload(|setup| setup.weights(weights).with(&zone));
    };
    reload(&[1, 1, 0], "b");
    wait::until("the other zone is read", wait::SOON, || {
        reads(&stage, || read(&mut client, 2)) == [0, 2, 0]
    });
    reload(&[1, 1, 1], "a");
    wait::until("the weight is back", wait::SOON, || {
        client.run("show route select 1")[0][1] == Some(label(1))
    });
    assert_eq!(reads(&stage, || read(&mut client, 10)), [0, 10, 0]);
}

#[test]
fn session_keeps_its_replica() {
    let stage = stage("per_session", "[routing]\nbalance_per = \"session\"");
    let mut clients = [
        stage.client(),
        stage.client(),
        stage.client(),
        stage.client(),
    ];
    let mut totals = [0; 3];
    for client in &mut clients {
        let all = reads(&stage, || read(client, 10));
        assert!(all.contains(&10), "{all:?}");
        (totals.iter_mut().zip(&all)).for_each(|(total, n)| *total += n);
    }
    assert_eq!(totals, [0, 20, 20], "sessions take turns");
    // A write's own reads may have to go elsewhere; afterwards it is back.
    let mine = reads(&stage, || read(&mut clients[0], 1));
    clients[0].run("create table written as select 1");
    wait::until("it is back", wait::SOON, || {
        reads(&stage, || read(&mut clients[0], 1)) == mine
    });
}

#[test]
fn preferences_are_followed_by_application_user_and_database() {
    let second = label(2);
    let stage = stage(
        "preferences",
        &format!(
            "[[prefer]]\napplication = \"report*\"\nnode = \"{second}\"\n\
             [[prefer]]\nuser = \"app\"\ndatabase = \"preferences*\"\napplication = \"fresh\"\nnode = \"primary\"\n\
             [[prefer]]\nuser = \"nobody\"\nnode = \"primary\"\n\
             [[prefer]]\ndatabase = \"other\"\nnode = \"primary\"\n"
        ),
    );
    let as_application = |name: &str| stage.client_with(&[("application_name", name)]);
    let mut reports = as_application("reports");
    assert_eq!(reads(&stage, || read(&mut reports, 10)), [0, 0, 10]);
    assert_eq!(reports.run("show route select 1")[0][1], Some(second));
    let mut fresh = as_application("fresh");
    assert_eq!(reads(&stage, || read(&mut fresh, 10)), [10, 0, 0]);
    let mut other = as_application("other");
    assert_eq!(reads(&stage, || read(&mut other, 10)), [0, 5, 5]);
    // It goes by what the client is called now.
    other.run("set application_name = 'report'");
    assert_eq!(reads(&stage, || read(&mut other, 10)), [0, 0, 10]);
    other.run("reset application_name");
    wait::until("it is the other again", wait::SOON, || {
        reads(&stage, || read(&mut other, 10)) == [0, 5, 5]
    });
}

#[test]
fn node_of_weight_zero_is_read_by_who_prefers_it() {
    let stage = Stage::with("prefer_weight", |setup| {
        let preference = format!(
            "[[prefer]]\napplication = \"report\"\nnode = \"{}\"",
            label(1)
        );
        setup
            .top("workers = 1")
            .weights(&[1, 0, 1])
            .with(&preference)
    });
    let mut report = stage.client_with(&[("application_name", "report")]);
    assert_eq!(reads(&stage, || read(&mut report, 10)), [0, 10, 0]);
    let mut other = stage.client();
    assert_eq!(reads(&stage, || read(&mut other, 10)), [0, 0, 10]);
}

#[test]
fn replica_that_comes_back_gets_its_share_bit_by_bit() {
    let cluster = Cluster::start(2);
    let convoy = Convoy::before(&cluster.ports())
        .top("workers = 1")
        .with("[routing]\nslow_start = \"8s\"\n[health]\ncheck_period = \"200ms\"")
        .start();
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    let mut share_of = |count: usize| {
        let select = |client: &mut Wire| show::counts(client)[1].select;
        let before = select(&mut client);
        read(&mut client, count);
        (select(&mut client) - before) as f64 / count as f64
    };
    wait::until("both are read", wait::SOON, || share_of(20) > 0.4);
    cluster.nodes[1].stop();
    wait::until("it is not read", wait::SOON, || share_of(20) < 0.01);
    let mut watch = convoy.connect("postgres", "postgres").unwrap();
    wait::until("it is down", wait::SOON, || {
        show::nodes(&mut watch, "status")[1] == "down"
    });
    cluster.nodes[1].start();
    let first = wait::value("it is read again", wait::SOON, || {
        Some(share_of(100)).filter(|share| *share > 0.0)
    });
    let since = Instant::now();
    assert!(first < 0.25, "{first}");
    let page = convoy.page("/metrics").body;
    let label = format!("127.0.0.1:{}", cluster.nodes[1].port);
    let percent = http::sample(&page, "pgconvoy_node_share_percent", &[("node", &label)]).unwrap();
    assert!(percent < 50.0, "{percent}");
    wait::until("it has all of it", Duration::from_secs(20), || {
        share_of(100) > 0.49
    });
    assert!(
        since.elapsed() > Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn replica_whose_connections_break_is_ejected_for_a_while() {
    let stage = stage("ejected_errors", "[routing]\nejection = \"3s\"");
    function_for(
        &stage,
        "dies",
        1,
        "perform pg_terminate_backend(pg_backend_pid())",
    );
    let mut client = stage.client();
    wait::until("it is ejected", wait::SOON, || {
        // An error where the answer had begun; the client stays.
        let _ = client.query("select dies()");
        std::thread::sleep(Duration::from_millis(20));
        ejections(&stage, "errors") > 0.5
    });
    assert_eq!(reads(&stage, || read(&mut client, 10)), [0, 0, 10]);
    assert_eq!(client.run("show route select 1")[0][1], Some(label(2)));
    let told = stage
        .convoy
        .wait_log(&["taken out of the rotation", &label(1)]);
    assert!(
        told.contains("connections in a row failed") && told.contains("for_seconds=3"),
        "{told}"
    );
    stage.convoy.wait_log(&["back in the rotation", &label(1)]);
    assert_eq!(reads(&stage, || read(&mut client, 10)), [0, 5, 5]);
}

#[test]
fn replica_that_is_far_slower_than_the_other_is_ejected_and_the_last_one_is_not() {
    let stage = stage("ejected_slow", "[routing]\nejection = \"2min\"");
    function_for(&stage, "slow", 1, "perform pg_sleep(0.03)");
    let mut client = stage.client();
    wait::until("it is ejected", Duration::from_secs(30), || {
        (0..20).for_each(|_| drop(client.run("select slow()")));
        ejections(&stage, "slow") > 0.5
    });
    let told = stage
        .convoy
        .wait_log(&["taken out of the rotation", &label(1)]);
    assert!(told.contains("half of its answers"), "{told}");
    assert_eq!(reads(&stage, || read(&mut client, 10)), [0, 0, 10]);
    stage.convoy.reload(|setup| {
        setup
            .weights(&[1, 1, 0])
            .with("[routing]\nejection = \"2min\"")
    });
    wait::until("it is all that is left", wait::SOON, || {
        reads(&stage, || read(&mut client, 2)) == [0, 2, 0]
    });
}
