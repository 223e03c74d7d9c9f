//! Metrics and health over HTTP.

use pgconvoy_tests::http::{self, sample};
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::{shared, tool, wait};
use std::process::Command;

fn loaded(name: &str) -> Stage {
    let stage = Stage::new(name);
    stage.seed("create table t as select 1 as a");
    let mut client = stage.client();
    for _ in 0..30 {
        client.run("select a from t");
        client.run("insert into t values (2)");
    }
    client.fails("select 1/0 from t for update");
    client.fails("selec");
    stage
}

#[test]
fn promtool_is_content_with_the_metrics() {
    let stage = loaded("promtool");
    let page = stage.convoy.page("/metrics");
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .to_ascii_lowercase()
            .contains("content-type: text/plain"),
        "{}",
        page.head
    );
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    let outcome = tool::run(promtool, &page.body);
    assert!(
        outcome.status.success(),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    assert_eq!(outcome.stderr.trim(), "", "promtool has something to say");
}

#[test]
fn metrics_count_what_was_done() {
    let stage = loaded("metrics");
    // Workers publish what they counted for themselves from time to time.
    wait::until("the route cache's hits are counted", wait::SOON, || {
        http::sum(
            &stage.convoy.page("/metrics").body,
            "pgconvoy_route_cache_hits_total",
        ) >= 20.0
    });
    let watcher = stage.client();
    let page = stage.convoy.page("/metrics").body;
    let nodes: Vec<String> = shared::cluster()
        .ports()
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let value = |name: &str, labels: &[(&str, &str)]| {
        sample(&page, name, labels).unwrap_or_else(|| panic!("{name} {labels:?}\n{page}"))
    };
    assert!(value("pgconvoy_client_connections", &[]) >= 1.0);
    assert!(value("pgconvoy_client_connections_total", &[]) >= 2.0);
    for (number, node) in nodes.iter().enumerate() {
        assert_eq!(value("pgconvoy_node_up", &[("node", node)]), 1.0);
        assert_eq!(
            value("pgconvoy_node_primary", &[("node", node)]),
            f64::from(u8::from(number == 0))
        );
    }
    let queries: f64 = page
        .lines()
        .filter(|line| line.starts_with("pgconvoy_queries_total{") && line.contains(&nodes[0]))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(queries >= 30.0, "{queries} on the primary");
    assert!(value("pgconvoy_query_seconds_count", &[("node", &nodes[0])]) >= 30.0);
    assert!(value("pgconvoy_wait_seconds_count", &[]) >= 1.0);
    assert!(value("pgconvoy_bytes_total", &[("node", &nodes[0])]) > 0.0);
    assert_eq!(value("pgconvoy_errors_total", &[("class", "42")]), 1.0);
    assert_eq!(value("pgconvoy_errors_total", &[("class", "22")]), 1.0);
    assert!(
        value(
            "pgconvoy_pool_connections",
            &[
                ("database", &stage.database),
                ("user", "app"),
                ("node", &nodes[0])
            ]
        ) >= 0.0
    );
    assert_eq!(value("pgconvoy_failovers_total", &[]), 0.0);
    watcher.close();
}

#[test]
fn health_pages_answer_and_other_paths_do_not_exist() {
    let stage = Stage::new("health");
    assert_eq!(stage.convoy.page("/healthz").status, 200);
    assert_eq!(stage.convoy.page("/readyz").status, 200);
    assert_eq!(stage.convoy.page("/nope").status, 404);
    let head = http::request(stage.convoy.http, "HEAD", "/healthz").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(
        http::request(stage.convoy.http, "DELETE", "/metrics")
            .unwrap()
            .status
            >= 400
    );
}

#[test]
fn garbage_and_silence_on_the_http_port_harm_nobody() {
    use std::io::Write;
    let stage = Stage::new("http_garbage");
    let mut silent: Vec<std::net::TcpStream> = Vec::new();
    for _ in 0..100 {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", stage.convoy.http)) {
            let _ = stream.write_all(b"\x16\x03\x01garbage");
            silent.push(stream);
        }
    }
    assert_eq!(stage.client().one("select 1"), "1");
    drop(silent);
    wait::until("the pages are back", wait::SOON, || {
        http::get(stage.convoy.http, "/healthz").is_ok_and(|page| page.status == 200)
    });
}

#[test]
fn refused_clients_are_counted_by_reason() {
    let stage = Stage::with("refused", |setup| {
        setup.with("[limits]\nmax_client_connections = 2\nreserved_admin_connections = 0")
    });
    let clients = [stage.client(), stage.client()];
    assert_eq!(
        stage
            .convoy
            .connect("app", &stage.database)
            .err()
            .unwrap()
            .code,
        "53300"
    );
    let page = stage.convoy.page("/metrics").body;
    assert_eq!(
        http::sum(&page, "pgconvoy_client_connections_rejected_total"),
        1.0,
        "{page}"
    );
    drop(clients);
}
