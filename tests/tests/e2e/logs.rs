//! What is logged, and what never is.

use pgconvoy_tests::convoy::Setup;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;

const SECRET: &str = "hunter2-secret-of-the-client";

/// Logins that succeed and fail, statements that succeed and fail: everything that might tempt a log line.
fn lively(name: &str, change: impl FnOnce(Setup) -> Setup) -> Stage {
    let users = format!(
        "[[user]]\nname = \"srv_trust\"\npassword = \"{SECRET}\"\nserver_password = \"secret-for-the-server\"\n\
         [[user]]\nname = \"app\"\nauth = \"trust\"\n"
    );
    let stage = Stage::with(name, |setup| change(setup).with(&users));
    let who = [("user", "srv_trust"), ("database", stage.database.as_str())];
    for password in [SECRET, "wrong-password-attempt"] {
        if let Ok(mut client) = Wire::login(stage.convoy.port, &who, Some(password)) {
            client.run("select 'marker-of-a-query'");
            client
                .execute("select $1::text", &["marker-of-a-parameter"])
                .unwrap();
            client.fails("select 'marker-of-an-error' from nope");
            client.close();
        }
    }
    stage.convoy.wait_log(&["srv_trust"]);
    stage
}

fn assert_discreet(log: &str, with_queries: bool) {
    for word in [
        SECRET,
        "secret-for-the-server",
        "wrong-password-attempt",
        "marker-of-a-parameter",
    ] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
    if !with_queries {
        assert!(!log.contains("marker-of-"), "a query is in the log:\n{log}");
    }
}

#[test]
fn log_has_neither_secrets_nor_queries() {
    let stage = lively("logs", |setup| setup);
    assert_discreet(&stage.convoy.log(), false);
}

#[test]
fn log_at_trace_level_has_neither_secrets_nor_queries() {
    let stage = lively("logs_trace", |setup| {
        setup.with("[log]\nlevel = \"trace\"\n")
    });
    assert_discreet(&stage.convoy.log(), false);
}

#[test]
fn query_text_is_logged_when_asked_for() {
    let stage = lively("logs_queries", |setup| {
        setup.with("[log]\nqueries = true\n")
    });
    stage.convoy.wait_log(&["marker-of-a-query"]);
    assert_discreet(&stage.convoy.log(), true);
}

#[test]
fn json_log_is_one_object_a_line() {
    let stage = lively("logs_json", |setup| {
        setup.with("[log]\nformat = \"json\"\n")
    });
    let log = stage.convoy.log();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() > 2, "{log}");
    for line in lines {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value.get("level").is_some(), "{line}");
    }
    assert_discreet(&log, false);
}

#[test]
fn client_that_comes_and_goes_is_two_lines_at_most() {
    let stage = Stage::new("logs_events");
    let before = stage.convoy.log().lines().count();
    for _ in 0..20 {
        let mut client = stage.client();
        for _ in 0..10 {
            client.run("select 1");
        }
        client.close();
    }
    let added = stage.convoy.log().lines().count() - before;
    // A few lines of its own affairs, such as new server connections, may come between.
    assert!(
        added <= 20 * 2 + 15,
        "{added} lines for 20 clients:\n{}",
        stage.convoy.log()
    );
}

#[test]
fn connection_lines_can_be_switched_off() {
    let stage = Stage::with("logs_quiet", |setup| {
        setup.with("[log]\nconnections = false\n")
    });
    let before = stage.convoy.log().lines().count();
    (0..50).for_each(|_| stage.client().close());
    let added = stage.convoy.log().lines().count() - before;
    assert!(
        added < 20,
        "{added} lines for 50 clients:\n{}",
        stage.convoy.log()
    );
}
