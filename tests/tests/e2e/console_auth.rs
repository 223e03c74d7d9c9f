//! Who may do what on the admin console: every command by every kind of user.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{ServerError, Wire};
use std::sync::LazyLock;

const USERS: &str = "
[auth]
method = \"scram-sha-256\"
[[user]]
name = \"boss\"
password = \"pw\"
admin = true
[[user]]
name = \"watcher\"
password = \"pw\"
stats = true
[[user]]
name = \"app\"
password = \"pw\"
[[user]]
name = \"trusted\"
auth = \"trust\"
";

static STAGE: LazyLock<Stage> =
    LazyLock::new(|| Stage::with("console_auth", |setup| setup.with(USERS)));

fn log_in(stage: &Stage, user: &str, password: &str) -> Result<Wire, ServerError> {
    let who = [("user", user), ("database", "pgbouncer")];
    Wire::login(stage.convoy.port, &who, Some(password))
}

const LOOKS: [&str; 24] = [
    "show",
    "show help",
    "show pools",
    "show clients",
    "show servers",
    "show stats",
    "show stats_totals",
    "show stats_averages",
    "show totals",
    "show databases",
    "show users",
    "show lists",
    "show config",
    "show state",
    "show version",
    "show mem",
    "show pool_nodes",
    "show pool_version",
    "show pool_backend_stats",
    "show server_version",
    "select 1",
    "begin",
    "commit",
    "set application_name = 'x'",
];

/// What acts, and what an administrator is told (nothing: it is done).
const ACTS: [(&str, &str); 16] = [
    ("pause", ""),
    ("resume", ""),
    ("pause nope", "3D000"),
    ("resume nope", "3D000"),
    ("disable nope", "3D000"),
    ("enable nope", "3D000"),
    ("reconnect", ""),
    ("reconnect nope", "3D000"),
    ("wait_close", ""),
    ("wait_close nope", "3D000"),
    ("kill nope", "3D000"),
    ("kill_client 2147483647", "42704"),
    ("reload", ""),
    ("set pool.size = 3", "0A000"),
    ("suspend", "0A000"),
    ("show fds", "0A000"),
];

#[test]
fn an_administrator_may_do_everything() {
    let stage = Stage::with("console_admin", |setup| setup.with(USERS));
    let mut boss = log_in(&stage, "boss", "pw").expect("an administrator");
    for command in LOOKS {
        boss.run(command);
    }
    for (command, code) in ACTS {
        let got = boss.query(command).err().map_or(String::new(), |e| e.code);
        assert_eq!(got, code, "{command}");
    }
    boss.run("shutdown");
}

#[test]
fn a_watcher_may_look_and_not_act() {
    let mut watcher = log_in(&STAGE, "watcher", "pw").expect("a watcher");
    for command in LOOKS {
        watcher.run(command);
    }
    let mut acts: Vec<&str> = ACTS.iter().map(|(command, _)| *command).collect();
    acts.extend([
        "shutdown",
        "shutdown wait_for_servers",
        "shutdown wait_for_clients",
    ]);
    for command in acts {
        let code = watcher.fails(command).code;
        let unsupported = command.starts_with("set") || ["suspend", "show fds"].contains(&command);
        assert_eq!(
            code,
            if unsupported { "0A000" } else { "42501" },
            "{command}"
        );
        if !unsupported {
            let error = watcher.execute(command, &[]).unwrap_err();
            assert_eq!(error.code, "42501", "{command} in the extended protocol");
        }
    }
    let error = watcher.fails("show version; pause");
    assert!(error.fields[&'H'].contains("admin = true"), "{error}");
    assert_eq!(
        watcher.run("show state")[0][1].as_deref(),
        Some("yes"),
        "nothing is paused"
    );
}

#[test]
fn others_are_not_let_in() {
    for user in ["app", "trusted"] {
        let error = log_in(&STAGE, user, "pw").err().expect("refused");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "42501"),
            "{user}"
        );
        assert!(error.fields[&'H'].contains("admin = true"), "{error}");
    }
    // Who has not proven anything learns nothing of the console.
    for (user, password) in [
        ("nobody", "pw"),
        ("boss", "wrong"),
        ("watcher", "wrong"),
        ("app", "wrong"),
    ] {
        let error = log_in(&STAGE, user, password).err().expect("refused");
        assert_eq!(error.code, "28P01", "{user}");
    }
}

#[test]
fn a_reload_that_takes_a_right_away_holds_for_who_is_there() {
    let stage = Stage::with("console_revoked", |setup| setup.with(USERS));
    let mut boss = log_in(&stage, "boss", "pw").expect("an administrator");
    let mut watcher = log_in(&stage, "watcher", "pw").expect("a watcher");
    let fewer = USERS.replace("admin = true", "stats = true").replacen(
        "name = \"watcher\"\npassword = \"pw\"\nstats = true",
        "name = \"watcher\"\npassword = \"pw\"",
        1,
    );
    stage.convoy.reload(|setup| setup.with(&fewer));
    stage.convoy.wait_log(&["configuration reloaded"]);
    assert_eq!(boss.fails("pause").code, "42501");
    boss.run("show state");
    assert_eq!(watcher.fails("show state").code, "42501");
}

#[test]
fn the_console_has_no_name_for_a_configured_database() {
    let stage = Stage::with("console_names", |setup| setup.with(USERS));
    let file = stage.convoy.file("bad.toml");
    let text = "[[node]]\naddress = \"127.0.0.1:1\"\n[[database]]\nname = \"pgbouncer\"\n";
    std::fs::write(&file, text).unwrap();
    let (fine, output) = pgconvoy_tests::convoy::command(&["check", file.to_str().unwrap()], &[]);
    assert!(!fine);
    assert!(
        output.contains("bad.toml:4: database.name") && output.contains("target"),
        "{output}"
    );
}
