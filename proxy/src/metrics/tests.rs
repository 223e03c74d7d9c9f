use super::*;

fn metrics() -> Metrics {
    Metrics::new("0.0.0").unwrap()
}

fn has_line(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| line == wanted)
}

#[test]
fn a_statement_counts_under_its_kind_and_its_route() {
    let metrics = metrics();
    let node = metrics.node("db1:5432");
    node.statement(StatementKind::Select, QueryRoute::Read);
    node.statement(StatementKind::Select, QueryRoute::Write);
    node.statement(StatementKind::Ddl, QueryRoute::Write);
    assert_eq!(node.statements(StatementKind::Select), 2);
    let text = metrics.render().unwrap();
    for line in [
        "pgconvoy_queries_total{node=\"db1:5432\",route=\"read\"} 1",
        "pgconvoy_queries_total{node=\"db1:5432\",route=\"write\"} 2",
        "pgconvoy_statements_total{kind=\"select\",node=\"db1:5432\"} 2",
        "pgconvoy_statements_total{kind=\"ddl\",node=\"db1:5432\"} 1",
        "pgconvoy_statements_total{kind=\"insert\",node=\"db1:5432\"} 0",
    ] {
        assert!(has_line(&text, line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_server_cannot_invent_labels_through_its_sqlstate() {
    let metrics = metrics();
    metrics.error(b"23505");
    for odd in [
        &b""[..],
        b"2",
        b"23",
        b"2350",
        b"ab123",
        b"\xff\xff000",
        b"23505x",
    ] {
        metrics.error(odd);
    }
    let text = metrics.render().unwrap();
    assert!(has_line(&text, "pgconvoy_errors_total{class=\"23\"} 1"));
    assert!(has_line(&text, "pgconvoy_errors_total{class=\"other\"} 7"));
}

#[test]
fn the_same_pool_on_two_workers_is_one_pool_in_the_output() {
    let metrics = metrics();
    let one = metrics.pool("db1:5432", "app", "bob");
    let two = metrics.pool("db1:5432", "app", "bob");
    one.active.inc();
    two.active.inc();
    let line = "pgconvoy_pool_connections{database=\"app\",node=\"db1:5432\",state=\"active\",\
                user=\"bob\"} 2";
    assert!(has_line(&metrics.render().unwrap(), line));
    metrics.forget_pool("db1:5432", "app", "bob");
    assert!(!metrics.render().unwrap().contains("bob"));
}

#[test]
fn a_severity_that_is_not_known_is_an_error() {
    let table = [
        (&b"FATAL"[..], Severity::Fatal),
        (b"PANIC", Severity::Panic),
        (b"ERROR", Severity::Error),
        (b"FEHLER", Severity::Error),
    ];
    for (field, severity) in table {
        assert_eq!(Severity::from_field(field), severity);
    }
}
