use super::*;
use crate::cluster::{Cluster, NodeSpec};
use crate::metrics::{Metrics, QueryRoute};

fn view(weights: &[u32]) -> View {
    let specs: Vec<_> = (1..)
        .zip(weights)
        .map(|(port, weight)| NodeSpec {
            host: "db".into(),
            port,
            weight: *weight,
            name: None,
        })
        .collect();
    let cluster = Cluster::new(&specs, &Metrics::new("0").unwrap());
    let mut view = View::clone(&cluster.view());
    for state in &mut view.nodes {
        state.health = Health::Up;
        state.role = Role::Replica;
        state.reported_role = Role::Replica;
    }
    view.nodes[0].role = Role::Primary;
    view.nodes[0].reported_role = Role::Primary;
    view.primary = Some(NodeId(0));
    view
}

fn shares(view: &View, primary_reads: bool) -> Vec<f64> {
    let rules = ReadRules {
        primary_reads,
        ..ReadRules::default()
    };
    nodes(view, &rules)
        .iter()
        .map(|row| row.read_share)
        .collect()
}

#[test]
fn shares_of_reads_add_up_to_one_over_those_that_take_reads() {
    assert_eq!(shares(&view(&[1, 1, 1]), false), [0.0, 0.5, 0.5]);
    assert_eq!(shares(&view(&[1, 1, 2]), true), [0.25, 0.25, 0.5]);
    assert_eq!(shares(&view(&[1, 3, 1]), false), [0.0, 0.75, 0.25]);
}

#[test]
fn the_primary_has_all_reads_when_nobody_else_takes_any() {
    assert_eq!(shares(&view(&[1]), false), [1.0]);
    assert_eq!(shares(&view(&[1, 0, 0]), false), [1.0, 0.0, 0.0]);
}

#[test]
fn a_node_waits_until_a_client_has_used_it() {
    let view = view(&[1, 1]);
    let rules = ReadRules::default();
    assert_eq!(nodes(&view, &rules)[1].status, "waiting");
    view.nodes[1]
        .node
        .count_statement(StatementKind::Select, QueryRoute::Read);
    let row = &nodes(&view, &rules)[1];
    assert_eq!((row.status, row.statements.selects), ("up", 1));
}

#[test]
fn words_tell_what_a_node_is_and_what_it_says_it_is() {
    let mut view = view(&[1, 1, 1, 1]);
    view.nodes[1].health = Health::Down;
    view.nodes[2].health = Health::Unknown;
    view.nodes[2].role = Role::Unknown;
    view.nodes[2].reported_role = Role::Unknown;
    view.nodes[3].role = Role::Unknown;
    view.nodes[3].reported_role = Role::Primary;
    view.nodes[3].last_error = Some("claims to lead".into());
    let rows = nodes(&view, &ReadRules::default());
    let words: Vec<_> = rows
        .iter()
        .map(|row| [row.status, row.pg_status, row.role, row.pg_role])
        .collect();
    assert_eq!(
        words,
        [
            ["waiting", "up", "primary", "primary"],
            ["down", "down", "standby", "standby"],
            ["unused", "unknown", "standby", "unknown"],
            ["quarantine", "up", "standby", "primary"],
        ]
    );
}

#[test]
fn a_time_is_printed_as_pgpool_prints_it() {
    let text = local_time(SystemTime::UNIX_EPOCH);
    let pattern: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(pattern, "0000-00-00 00:00:00");
}

#[test]
fn a_field_has_the_binary_form_of_its_type() {
    assert_eq!(
        ColumnKind::Int4.binary("5432"),
        Some(vec![0, 0, 0x15, 0x38])
    );
    assert_eq!(ColumnKind::Int8.binary("-1"), Some(vec![0xff; 8]));
    assert_eq!(ColumnKind::Text.binary("up"), Some(b"up".to_vec()));
    assert_eq!(ColumnKind::Int4.binary("up"), None);
}
