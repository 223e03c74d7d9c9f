use super::*;
use crate::cluster::{Cluster, Health, NodeId, NodeSpec, ReadRules, Role, View};
use crate::metrics::{Metrics, QueryRoute, Severity, StatementKind};
use crate::router::LocalCommand;
use crate::status::Table;

fn view() -> View {
    let spec = |host: &str| NodeSpec {
        host: host.into(),
        port: 5432,
        weight: 1,
        name: None,
    };
    let specs = [spec("a"), spec("b"), spec("c")];
    let cluster = Cluster::new(&specs, &Metrics::new("0").unwrap());
    let mut view = View::clone(&cluster.view());
    for state in &mut view.nodes {
        state.health = Health::Up;
        state.role = Role::Replica;
        state.reported_role = Role::Replica;
    }
    view.nodes[0].role = Role::Primary;
    view.nodes[0].reported_role = Role::Primary;
    view.nodes[1].lag_bytes = Some(77);
    view.nodes[1].replication_state = "streaming".into();
    view.nodes[1].sync_state = "async".into();
    view.primary = Some(NodeId(0));
    view
}

fn ask(view: &View, command: LocalCommand) -> Table {
    let rules = ReadRules::default();
    let context = Context {
        view,
        rules: &rules,
        read_node: Some(NodeId(1)),
    };
    let table = answer(command, &context);
    for row in &table.rows {
        assert_eq!(row.len(), table.columns.len());
        for (field, column) in row.iter().zip(table.columns) {
            let text = field.as_deref().unwrap();
            assert!(
                column.kind.binary(text).is_some(),
                "{}: {text}",
                column.name
            );
        }
    }
    table
}

fn names(table: &Table) -> String {
    table
        .columns
        .iter()
        .map(|column| column.name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn field<'a>(table: &'a Table, row: usize, name: &str) -> &'a str {
    let index = table
        .columns
        .iter()
        .position(|column| column.name == name)
        .unwrap();
    table.rows[row][index].as_deref().unwrap()
}

#[test]
fn show_pool_nodes_has_the_fourteen_columns_that_scripts_know() {
    let table = ask(&view(), LocalCommand::PoolNodes);
    assert_eq!(
        names(&table),
        "node_id, hostname, port, status, pg_status, lb_weight, role, pg_role, select_cnt, \
         load_balance_node, replication_delay, replication_state, replication_sync_state, \
         last_status_change"
    );
    let row: Vec<_> = table.rows[1][..13]
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    assert_eq!(
        row,
        [
            "1",
            "b",
            "5432",
            "waiting",
            "up",
            "0.500000",
            "standby",
            "standby",
            "0",
            "true",
            "77",
            "streaming",
            "async"
        ]
    );
    let row: Vec<_> = table.rows[0][..13]
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    assert_eq!(
        row,
        [
            "0", "a", "5432", "waiting", "up", "0.000000", "primary", "primary", "0", "false", "0",
            "", ""
        ]
    );
}

#[test]
fn show_pool_backend_stats_counts_what_was_sent_and_what_failed() {
    let view = view();
    let node = &view.nodes[0].node;
    node.count_statement(StatementKind::Insert, QueryRoute::Write);
    node.count_statement(StatementKind::Insert, QueryRoute::Write);
    node.count_statement(StatementKind::Ddl, QueryRoute::Write);
    node.metrics.error(Severity::Fatal);
    let table = ask(&view, LocalCommand::PoolBackendStats);
    assert_eq!(
        names(&table),
        "node_id, hostname, port, status, role, select_cnt, insert_cnt, update_cnt, delete_cnt, \
         ddl_cnt, other_cnt, panic_cnt, fatal_cnt, error_cnt"
    );
    for (name, value) in [
        ("status", "up"),
        ("insert_cnt", "2"),
        ("ddl_cnt", "1"),
        ("fatal_cnt", "1"),
    ] {
        assert_eq!(field(&table, 0, name), value, "{name}");
    }
    assert_eq!(field(&table, 1, "insert_cnt"), "0");
}

#[test]
fn show_pool_version_names_the_product_and_its_version() {
    let table = ask(&view(), LocalCommand::PoolVersion);
    assert_eq!(names(&table), "pool_version");
    assert_eq!(
        field(&table, 0, "pool_version"),
        concat!("pgconvoy ", env!("CARGO_PKG_VERSION"))
    );
}
