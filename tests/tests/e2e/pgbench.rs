//! pgbench through pgconvoy: no errors in any mode, reads evenly on both replicas, no write ever on one.

use pgconvoy_tests::show::Counts;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::tool::pgbench;

fn stage(mode: &str) -> Stage {
    let stage = Stage::new(&format!("bench_{mode}"));
    pgbench(stage.convoy.port, &stage.database, &["-i", "-q", "-s", "2"]);
    stage.settle();
    stage
}

fn select_counts(counts: &[Counts]) -> Vec<u64> {
    counts.iter().map(|node| node.select).collect()
}

/// Select-only, writes without and with contention, a connection per transaction, and a look at the balances.
fn every_script_runs(mode: &str) {
    let stage = stage(mode);
    let run = |arguments: &[&str]| {
        let common = ["-M", mode, "-n", "-c", "8", "-j", "2"];
        pgbench(
            stage.convoy.port,
            &stage.database,
            &[&common, arguments].concat(),
        );
    };
    let before = select_counts(&stage.counts());
    run(&["-S", "-t", "400"]);
    let after = select_counts(&stage.counts());
    assert_balanced(&before, &after, 8 * 400);
    run(&["-N", "-t", "50"]);
    run(&["-b", "tpcb-like", "-t", "50"]);
    run(&["-S", "-C", "-t", "10"]);
    run(&["-b", "tpcb-like", "-C", "-t", "5"]);
    stage.assert_no_write_reached_a_replica();
    let sql = "select (select sum(delta) from pgbench_history) = (select sum(abalance) from pgbench_accounts), \
               (select count(*) from pgbench_history)";
    let row = stage.direct_app().run(sql).remove(0);
    assert_eq!(row, [Some("t".into()), Some((8 * 105).to_string())]);
}

/// Every read on a replica, and the two replicas within 5 % of each other.
fn assert_balanced(before: &[u64], after: &[u64], reads: u64) {
    let served: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    let (low, high) = (served[1].min(served[2]), served[1].max(served[2]));
    assert!(
        served[1] + served[2] >= reads,
        "of {reads} reads the nodes served {served:?}"
    );
    assert!(high - low <= high / 20, "not within 5 %: {served:?}");
    // pgbench asks a few things of the catalog before it starts.
    assert!(served[0] <= 20, "reads on the primary: {served:?}");
}

#[test]
fn simple_protocol_runs_without_errors_and_balances_reads() {
    every_script_runs("simple");
}

#[test]
fn extended_protocol_runs_without_errors_and_balances_reads() {
    every_script_runs("extended");
}

#[test]
fn prepared_statements_run_without_errors_and_balance_reads() {
    every_script_runs("prepared");
}

#[test]
fn pipelined_script_runs_without_errors() {
    let stage = stage("pipeline");
    let script = stage.convoy.file("pipeline.sql");
    let text = "\\set a random(1, 1000)\n\\startpipeline\nselect abalance from pgbench_accounts where aid = :a;\n\
                update pgbench_accounts set abalance = abalance + 1 where aid = :a;\n\
                select abalance from pgbench_accounts where aid = :a;\n\\endpipeline\n";
    std::fs::write(&script, text).unwrap();
    for mode in ["extended", "prepared"] {
        let arguments = [
            "-M",
            mode,
            "-n",
            "-c",
            "4",
            "-t",
            "100",
            "-f",
            script.to_str().unwrap(),
        ];
        pgbench(stage.convoy.port, &stage.database, &arguments);
    }
    let sum = stage
        .direct_app()
        .one("select sum(abalance) from pgbench_accounts");
    assert_eq!(sum, (2 * 4 * 100).to_string());
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn more_clients_than_server_connections_share_them() {
    let stage = Stage::with("bench_small_pool", |setup| setup.with("[pool]\nsize = 2"));
    pgbench(stage.convoy.port, &stage.database, &["-i", "-q", "-s", "1"]);
    stage.settle();
    // A thread for each client: pgbench prepares with a blocking call, which would hold up its other clients.
    for mode in ["simple", "extended", "prepared"] {
        let arguments = ["-M", mode, "-n", "-c", "40", "-j", "40", "-t", "20"];
        pgbench(stage.convoy.port, &stage.database, &arguments);
    }
    assert!(stage.server_connections(0) <= 2);
}
