//! The command line: run without a file, check, help, and settings from the environment.

use pgconvoy_tests::convoy::{Convoy, command};
use pgconvoy_tests::temp::TempDir;
use pgconvoy_tests::{ports, shared};

fn check(toml: &str) -> (bool, Vec<String>) {
    let directory = TempDir::new("check");
    let file = directory.write("pgconvoy.toml", toml);
    let (success, output) = command(&["check", file.to_str().unwrap()], &[]);
    (success, output.lines().map(str::to_owned).collect())
}

#[test]
fn check_accepts_a_good_file_and_shows_no_secret() {
    let toml = "listen = \"0.0.0.0:5430\"\n[[node]]\naddress = \"10.0.0.11:5432\"\n[[user]]\nname = \"app\"\npassword = \"hunter2\"\n";
    let (success, lines) = check(toml);
    assert!(success, "{lines:?}");
    assert!(!lines.join("\n").contains("hunter2"), "{lines:?}");
    assert!(
        lines.join("\n").contains("10.0.0.11:5432"),
        "the resolved whole is shown: {lines:?}"
    );
}

#[test]
fn check_says_every_problem_in_one_line_with_its_key_line_and_help() {
    let toml = "[[node]]\naddress = \"h:5432\"\n[pool]\nsise = 3\nquery_wait_timeout = \"5 parsecs\"\n[limits]\nmax_client_connections = \"many\"\n";
    let (success, lines) = check(toml);
    assert!(!success);
    let find = |words: &[&str]| {
        let found = lines
            .iter()
            .find(|line| words.iter().all(|word| line.contains(word)));
        found.unwrap_or_else(|| panic!("no line with {words:?}: {lines:#?}"))
    };
    find(&["pgconvoy.toml:4", "pool.sise", "pool.size"]);
    find(&["pgconvoy.toml:5", "pool.query_wait_timeout"]);
    find(&["pgconvoy.toml:7", "limits.max_client_connections"]);
    for line in lines.iter().filter(|line| line.contains("pgconvoy.toml:")) {
        assert!(line.len() < 300, "one short line: {line}");
    }
}

#[test]
fn route_tells_by_the_lists_of_functions_of_a_configuration() {
    let directory = TempDir::new("route");
    let file = directory.write(
        "pgconvoy.toml",
        "[[node]]\naddress = \"h:5432\"\n[routing]\nread_only_functions = [\"app.report\"]\nwrite_functions = [\"abs\"]\n",
    );
    let file = file.to_str().unwrap();
    for (sql, plain, configured) in [
        ("select app.report(1)", "unknown_function", "read_only"),
        ("select abs(-1)", "read_only", "write_function"),
    ] {
        let told = |arguments: &[&str], reason: &str| {
            let (success, output) = command(arguments, &[]);
            assert!(
                success && output.contains(&format!(" {reason}\n")),
                "{sql}: {output}"
            );
        };
        told(&["route", sql], plain);
        told(&["route", "--config", file, sql], configured);
    }
    let (success, output) = command(&["route", "-c", "/nowhere.toml", "select 1"], &[]);
    assert!(!success && output.contains("nowhere.toml"), "{output}");
}

#[test]
fn check_refuses_what_cannot_work() {
    let node = "[[node]]\naddress = \"h:5432\"\n";
    let cases = [
        ("no node", String::new(), "node"),
        ("the same node twice", format!("{node}{node}"), "h:5432"),
        (
            "everybody let in on a public address",
            format!("listen = \"0.0.0.0:5430\"\n{node}"),
            "[[user]]",
        ),
        (
            "a file that is no TOML",
            "pool = [".to_owned(),
            "pgconvoy.toml:1",
        ),
        (
            "a secret from a variable that is not set",
            format!("{node}[[user]]\nname = \"a\"\npassword = {{ env = \"NOT_SET_HERE\" }}\n"),
            "NOT_SET_HERE",
        ),
        (
            "a secret from a file that is not there",
            format!("{node}[[user]]\nname = \"a\"\npassword = {{ file = \"/nope/secret\" }}\n"),
            "/nope/secret",
        ),
        (
            "an md5 login with a SCRAM verifier",
            format!(
                "{node}[[user]]\nname = \"a\"\nauth = \"md5\"\npassword = \"SCRAM-SHA-256$4096:c3Nzc3Nzc3Nzc3Nzc3Nzcw==$a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\"\n"
            ),
            "md5",
        ),
    ];
    for (name, toml, word) in cases {
        let (success, lines) = check(&toml);
        assert!(!success, "{name} is accepted");
        assert!(
            lines.iter().any(|line| line.contains(word)),
            "{name}: {lines:#?}"
        );
    }
}

#[test]
fn check_of_a_missing_file_says_which() {
    let (success, output) = command(&["check", "/nope/pgconvoy.toml"], &[]);
    assert!(!success);
    assert!(output.contains("/nope/pgconvoy.toml"), "{output}");
}

#[test]
fn run_refuses_a_bad_file_with_the_same_lines() {
    let directory = TempDir::new("check");
    let file = directory.write("pgconvoy.toml", "[pool]\nsise = 3\n");
    let (success, output) = command(&["run", "--config", file.to_str().unwrap()], &[]);
    assert!(!success);
    assert!(
        output.contains("pool.sise") && output.contains("pool.size"),
        "{output}"
    );
    assert!(!output.contains("panicked"), "{output}");
}

#[test]
fn run_says_when_its_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (success, output) = command(
        &[
            "run",
            "--node",
            "127.0.0.1:1",
            "--listen",
            &address,
            "--http",
            "off",
        ],
        &[],
    );
    assert!(!success);
    assert!(output.contains(&address), "{output}");
}

fn serves(convoy: &Convoy) {
    let mut client = convoy.connect("app", "postgres").unwrap();
    assert_eq!(client.one("select current_user"), "app");
    assert_eq!(
        pgconvoy_tests::show::nodes(&mut client, "role"),
        ["primary", "standby", "standby"]
    );
}

#[test]
fn run_works_without_a_file() {
    let (port, http) = (ports::free(), ports::free());
    let mut arguments = vec![
        "--listen".to_owned(),
        format!("127.0.0.1:{port}"),
        "--http".to_owned(),
        format!("127.0.0.1:{http}"),
    ];
    for node in shared::cluster().ports() {
        arguments.extend(["--node".to_owned(), format!("127.0.0.1:{node}")]);
    }
    serves(&Convoy::from_arguments(&arguments, &[], port, http));
}

#[test]
fn run_works_from_the_environment_alone() {
    let (port, http) = (ports::free(), ports::free());
    let nodes: Vec<String> = shared::cluster()
        .ports()
        .iter()
        .map(|node| format!("127.0.0.1:{node}"))
        .collect();
    let environment = [
        ("PGCONVOY_LISTEN", format!("127.0.0.1:{port}")),
        ("PGCONVOY_HTTP_LISTEN", format!("127.0.0.1:{http}")),
        ("PGCONVOY_NODES", nodes.join(",")),
        ("PGCONVOY_POOL_SIZE", "3".to_owned()),
        ("PGCONVOY_USER_0_NAME", "app".to_owned()),
        ("PGCONVOY_USER_0_AUTH", "trust".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let convoy = Convoy::from_arguments(&[], &environment, port, http);
    serves(&convoy);
    assert!(
        convoy.connect("other", "postgres").is_err(),
        "only app is a user"
    );
}

#[test]
fn environment_that_nobody_knows_is_a_problem() {
    let (success, output) = command(
        &["run", "--node", "127.0.0.1:1"],
        &[("PGCONVOY_POOL_SISE", "3")],
    );
    assert!(!success);
    assert!(
        output.contains("PGCONVOY_POOL_SISE") && output.contains("PGCONVOY_POOL_SIZE"),
        "{output}"
    );
}

#[test]
fn help_names_the_commands_and_their_options() {
    let (success, help) = command(&["--help"], &[]);
    assert!(success);
    for word in ["run", "check"] {
        assert!(help.contains(word), "{help}");
    }
    let (success, help) = command(&["run", "--help"], &[]);
    assert!(success);
    for word in ["--config", "--node", "--listen", "--http"] {
        assert!(help.contains(word), "{help}");
    }
    let (success, version) = command(&["--version"], &[]);
    assert!(
        success && version.contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
}
