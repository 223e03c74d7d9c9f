//! SHOW POOL_NODES, POOL_VERSION and POOL_BACKEND_STATS: pgpool's columns, true numbers, both protocols.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Message, row, tags};
use pgconvoy_tests::{shared, show};
use std::sync::LazyLock;

static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage::new("show"));

const NODES: [&str; 14] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "pg_status",
    "lb_weight",
    "role",
    "pg_role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
    "replication_state",
    "replication_sync_state",
    "last_status_change",
];
const STATS: [&str; 14] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "select_cnt",
    "insert_cnt",
    "update_cnt",
    "delete_cnt",
    "ddl_cnt",
    "other_cnt",
    "panic_cnt",
    "fatal_cnt",
    "error_cnt",
];

fn columns(messages: &[Message]) -> Vec<String> {
    let description = messages
        .iter()
        .find(|message| message.tag == b'T')
        .expect("a row description");
    description
        .columns()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

fn rows(messages: &[Message]) -> Vec<Vec<Option<String>>> {
    messages
        .iter()
        .filter(|message| message.tag == b'D')
        .map(row)
        .collect()
}

#[test]
fn columns_are_pgpools_in_both_protocols() {
    for (command, names) in [
        ("pool_nodes", &NODES[..]),
        ("pool_backend_stats", &STATS[..]),
        ("pool_version", &["pool_version"][..]),
    ] {
        let mut client = STAGE.client();
        let simple = client.ask(&Batch::new().query(&format!("show {command}")));
        let sql = format!("SHOW {}", command.to_uppercase());
        let extended = client.ask(
            &Batch::new()
                .parse("", &sql)
                .bind("", "", &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        );
        let count = if names.len() == 1 { 1 } else { 3 };
        let data = "D".repeat(count);
        assert_eq!(tags(&simple), format!("T{data}CZ"), "{command}");
        assert_eq!(tags(&extended), format!("12T{data}CZ"), "{command}");
        assert_eq!(columns(&simple), names, "{command}");
        assert_eq!(columns(&extended), names, "{command}");
        assert_eq!(simple[0], extended[2], "the same row description");
        assert_eq!(rows(&simple).len(), rows(&extended).len());
    }
}

#[test]
fn named_statements_describe_and_pipelines_work_with_show() {
    let mut client = STAGE.client();
    let batch = Batch::new()
        .parse("nodes", "show pool_nodes")
        .describe_statement("nodes")
        .sync();
    assert_eq!(tags(&client.ask(&batch)), "1tTZ");
    for _ in 0..2 {
        let batch = Batch::new()
            .bind("p", "nodes", &[])
            .describe_portal("p")
            .execute("p", 0)
            .close_portal("p")
            .sync();
        assert_eq!(tags(&client.ask(&batch)), "2TDDDC3Z");
    }
    let batch = Batch::new()
        .parse("", "select 1")
        .bind("", "", &[])
        .execute("", 0)
        .bind("", "nodes", &[])
        .execute("", 0)
        .parse("", "select 2")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    assert_eq!(tags(&client.ask(&batch)), "12DC2DDDC12DCZ");
    assert_eq!(
        tags(&client.ask(&Batch::new().close_statement("nodes").sync())),
        "3Z"
    );
}

#[test]
fn show_is_answered_inside_a_transaction_with_its_true_status() {
    let mut client = STAGE.client();
    client.run("begin");
    client.run("SHOW POOL_NODES;");
    assert_eq!(client.status, b'T');
    client.fails("select 1/0");
    assert_eq!(client.status, b'E');
    client.run("rollback");
    client.run("  show   Pool_Version ; ");
    assert_eq!(client.status, b'I');
}

#[test]
fn pool_nodes_tells_the_truth_about_the_nodes() {
    let stage = Stage::with("show_truth", |setup| setup.weights(&[1, 3, 1]));
    stage.seed("create table t as select 1 as a");
    let mut client = stage.client();
    client.run("select a from t");
    client.run("begin; select 1; commit");
    let ports: Vec<String> = shared::cluster()
        .ports()
        .iter()
        .map(u16::to_string)
        .collect();
    assert_eq!(show::nodes(&mut client, "node_id"), ["0", "1", "2"]);
    assert_eq!(show::nodes(&mut client, "hostname"), ["127.0.0.1"; 3]);
    assert_eq!(show::nodes(&mut client, "port"), ports);
    assert_eq!(show::nodes(&mut client, "pg_status"), ["up"; 3]);
    assert_eq!(
        show::nodes(&mut client, "role"),
        ["primary", "standby", "standby"]
    );
    assert_eq!(
        show::nodes(&mut client, "pg_role"),
        ["primary", "standby", "standby"]
    );
    assert_eq!(
        show::nodes(&mut client, "replication_state"),
        ["", "streaming", "streaming"]
    );
    assert_eq!(
        show::nodes(&mut client, "replication_sync_state"),
        ["", "async", "async"]
    );
    let weights = show::nodes(&mut client, "lb_weight");
    let sum: f64 = weights
        .iter()
        .map(|weight| weight.parse::<f64>().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 0.001, "{weights:?}");
    assert!(
        weights.iter().all(|weight| weight
            .split_once('.')
            .is_some_and(|(_, digits)| digits.len() == 6)),
        "{weights:?}"
    );
    let chosen = show::nodes(&mut client, "load_balance_node");
    assert_eq!(
        chosen.iter().filter(|value| *value == "true").count(),
        1,
        "{chosen:?}"
    );
    assert!(
        chosen
            .iter()
            .all(|value| value == "true" || value == "false")
    );
    for change in show::nodes(&mut client, "last_status_change") {
        let shape: String = change
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00 00:00:00");
    }
    for status in show::nodes(&mut client, "status") {
        assert!(["up", "waiting"].contains(&status.as_str()), "{status}");
    }
}

#[test]
fn backend_stats_count_by_command_and_error() {
    let stage = Stage::new("show_stats");
    let mut client = stage.client();
    client.run("create table t (a int)");
    for _ in 0..3 {
        client.run("insert into t values (1)");
        client.execute("update t set a = $1", &["2"]).unwrap();
    }
    client.run("delete from t where a = 5");
    client.fails("insert into t values ('x')");
    client.fails("insert into nope values (1)");
    let primary = show::table(&mut client, "show pool_backend_stats").remove(0);
    let number = |column: &str| primary[column].parse::<u64>().unwrap();
    assert_eq!(
        (
            number("insert_cnt"),
            number("update_cnt"),
            number("delete_cnt"),
            number("ddl_cnt")
        ),
        (5, 3, 1, 1)
    );
    assert_eq!(
        (
            number("error_cnt"),
            number("fatal_cnt"),
            number("panic_cnt")
        ),
        (2, 0, 0)
    );
}

#[test]
fn pool_version_names_the_product() {
    let version = STAGE.client().one("show pool_version");
    assert!(
        version.contains("pgconvoy") && version.contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
}

#[test]
fn other_show_commands_are_the_servers() {
    let mut client = STAGE.client();
    assert_eq!(
        client.one("show server_version_num"),
        STAGE.direct(0).one("show server_version_num")
    );
    assert_eq!(client.fails("show pool_nonsense").code, "42704");
    assert_eq!(client.one("select 'show pool_nodes'"), "show pool_nodes");
}
