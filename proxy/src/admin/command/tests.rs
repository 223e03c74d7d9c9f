use super::*;

fn one(text: &str) -> Command {
    let mut all = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(all.len(), 1, "{text}: {all:?}");
    all.remove(0)
}

fn code(text: &str) -> String {
    match parse(text) {
        Ok(commands) => panic!("{text}: {commands:?}"),
        Err(report) => report.code.into_owned(),
    }
}

#[test]
fn commands_are_read_in_any_case_with_and_without_a_semicolon() {
    let app = || Some("app".to_owned());
    let table = [
        ("show pools", Command::Show(Show::Pools)),
        ("SHOW  Pools ;", Command::Show(Show::Pools)),
        ("SHOW", Command::Show(Show::Help)),
        (
            "show POOL_NODES;",
            Command::Show(Show::Local(LocalCommand::PoolNodes)),
        ),
        ("PAUSE", Command::Pause(None)),
        ("pause app;", Command::Pause(app())),
        ("Resume \"app\"", Command::Resume(app())),
        ("reconnect", Command::Reconnect(None)),
        ("wait_close app", Command::WaitClose(app())),
        ("disable app", Command::Disable("app".to_owned())),
        ("enable My-db.1", Command::Enable("My-db.1".to_owned())),
        ("kill \"a \"\"b\"", Command::Kill("a \"b".to_owned())),
        ("kill_client 17", Command::KillClient(17)),
        ("reload", Command::Reload),
        ("shutdown", Command::Shutdown(ShutdownMode::Now)),
        (
            "SHUTDOWN wait_for_servers",
            Command::Shutdown(ShutdownMode::WaitForServers),
        ),
        (
            "SHUTDOWN WAIT_FOR_CLIENTS;",
            Command::Shutdown(ShutdownMode::WaitForClients),
        ),
        ("-- first\n/* then /* in */ */ reload --", Command::Reload),
    ];
    for (text, command) in table {
        assert_eq!(one(text), command, "{text}");
    }
}

#[test]
fn several_commands_are_read_in_order_and_empty_ones_left_out() {
    assert_eq!(
        parse("show state;; pause 'x;y' ;").unwrap(),
        [
            Command::Show(Show::State),
            Command::Pause(Some("x;y".to_owned()))
        ]
    );
    for empty in ["", " ; ;", "-- nothing"] {
        assert_eq!(parse(empty).unwrap(), [], "{empty:?}");
    }
    assert_eq!(code("show pools; nonsense"), "42601", "all or nothing");
}

#[test]
fn what_drivers_say_at_connect_is_understood() {
    let name = |s: &str| Command::Chatter(Chatter::ApplicationName(s.to_owned()));
    let table = [
        ("SET application_name = 'psql x'", name("psql x")),
        ("set session application_name to y", name("y")),
        ("SET extra_float_digits = 3", Command::Chatter(Chatter::Set)),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            Command::Chatter(Chatter::Set),
        ),
        (
            "SET client_encoding TO 'UTF8'",
            Command::Chatter(Chatter::Set),
        ),
        ("SELECT 1", Command::Chatter(Chatter::SelectNumber(1))),
        (
            "BEGIN ISOLATION LEVEL READ COMMITTED",
            Command::Chatter(Chatter::Begin),
        ),
        ("start transaction", Command::Chatter(Chatter::Begin)),
        ("COMMIT", Command::Chatter(Chatter::Commit)),
        ("rollback;", Command::Chatter(Chatter::Rollback)),
        (
            "DISCARD ALL",
            Command::Chatter(Chatter::Reset("DISCARD ALL")),
        ),
    ];
    for (text, command) in table {
        assert_eq!(one(text), command, "{text}");
        assert!(!one(text).acts());
    }
    for text in [
        "show server_version",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "show datestyle",
    ] {
        assert_eq!(one(text).tag(), "SHOW", "{text}");
    }
}

#[test]
fn what_is_no_command_says_why() {
    for (text, wanted) in [
        ("nonsense", "42601"),
        ("show pools clients", "42704"),
        ("show nonsense", "42704"),
        ("disable", "42601"),
        ("kill", "42601"),
        ("kill_client x", "42601"),
        ("kill_client 99999999999", "42601"),
        ("pause a b", "42601"),
        ("reload now", "42601"),
        ("shutdown maybe", "42601"),
        ("pause 'x", "42601"),
        ("pause /* x", "42601"),
        ("= 1", "42601"),
        ("suspend", "0A000"),
        ("show fds", "0A000"),
        ("set pool_size = 5", "0A000"),
        ("set", "42601"),
        ("select now()", "0A000"),
        ("select 99999999999", "0A000"),
    ] {
        assert_eq!(code(text), wanted, "{text}");
    }
}

#[test]
fn what_changes_something_is_for_administrators() {
    for text in [
        "pause",
        "resume",
        "disable d",
        "enable d",
        "reconnect",
        "kill d",
        "kill_client 1",
        "wait_close",
        "reload",
        "shutdown",
    ] {
        assert!(one(text).acts(), "{text}");
    }
    for text in ["show clients", "show config", "select 1", "begin"] {
        assert!(!one(text).acts(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*", tail in "[\"'/*; -]*") {
        let _ = parse(&format!("{text}{tail}"));
        let _ = parse(&format!("pause {tail}{text}"));
    }
}
