//! The admin console: its commands that look, in both protocols, by the clients people use.

use pgconvoy_tests::convoy::{Convoy, Readiness};
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Message, Wire, codes, frame, row, tags};
use pgconvoy_tests::{ports, show, tool};
use std::sync::LazyLock;

static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage::new("console"));

pub(crate) fn console(stage: &Stage) -> Wire {
    stage
        .convoy
        .connect("app", "pgbouncer")
        .expect("the console")
}

/// pgbouncer 1.25's columns, and ours after them.
pub(crate) const COLUMNS: [(&str, &str); 14] = [
    (
        "pools",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
         sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us \
         pool_mode load_balance_hosts sv_reserve",
    ),
    (
        "databases",
        "name host port database force_user pool_size min_pool_size reserve_pool_size \
         server_lifetime pool_mode load_balance_hosts max_connections current_connections \
         max_client_connections current_client_connections paused disabled",
    ),
    (
        "clients",
        "type user database replication state addr port local_addr local_port connect_time \
         request_time wait wait_us close_needed ptr link remote_pid tls application_name \
         prepared_statements id pinned",
    ),
    (
        "servers",
        "type user database replication state addr port local_addr local_port connect_time \
         request_time wait wait_us close_needed ptr link remote_pid tls application_name \
         prepared_statements id node",
    ),
    (
        "stats",
        "database total_server_assignment_count total_xact_count total_query_count total_received \
         total_sent total_xact_time total_query_time total_wait_time total_client_parse_count \
         total_server_parse_count total_bind_count total_client_login_count \
         avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time \
         avg_query_time avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count \
         avg_client_login_count",
    ),
    (
        "stats_totals",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent \
         xact_time query_time wait_time client_parse_count server_parse_count bind_count \
         client_login_count",
    ),
    (
        "stats_averages",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent \
         xact_time query_time wait_time client_parse_count server_parse_count bind_count \
         client_login_count",
    ),
    ("totals", "name value"),
    (
        "users",
        "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
         max_user_client_connections current_client_connections",
    ),
    ("lists", "list items"),
    ("config", "key value default changeable"),
    ("state", "key value"),
    ("version", "version"),
    ("mem", "name size used free memtotal"),
];

fn names(messages: &[Message]) -> String {
    let description = messages.iter().find(|m| m.tag == b'T').expect("columns");
    let names: Vec<String> = description.columns().into_iter().map(|(n, _)| n).collect();
    names.join(" ")
}

#[test]
fn columns_are_pgbouncers_in_both_protocols() {
    let _client = STAGE.client();
    let mut console = console(&STAGE);
    for (command, columns) in COLUMNS {
        let simple = console.ask(&Batch::new().query(&format!("SHOW {};", command.to_uppercase())));
        let extended = console.ask(
            &Batch::new()
                .parse("", &format!("show {command}"))
                .bind("", "", &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        );
        assert_eq!(names(&simple), columns, "{command}");
        assert_eq!(simple[0], extended[2], "{command}: the same description");
        let rows = "D".repeat(tags(&simple).matches('D').count());
        assert!(!rows.is_empty() || command == "servers", "{command}: rows");
        assert_eq!(tags(&simple), format!("T{rows}CZ"), "{command}");
        assert!(tags(&extended).starts_with("12T"), "{command}");
        assert!(tags(&extended).ends_with("CZ"), "{command}");
    }
    assert!(names(&console.ask(&Batch::new().query("show pool_nodes"))).starts_with("node_id"));
}

#[test]
fn it_needs_no_server_and_has_two_names() {
    let convoy = Convoy::before(&[ports::free()])
        .when(Readiness::Alive)
        .start();
    for name in ["pgbouncer", "pgconvoy"] {
        let mut console = convoy.connect("anybody", name).expect("the console");
        assert!(console.one("show version").starts_with("pgconvoy "));
        for (command, _) in COLUMNS {
            console.run(&format!("show {command}"));
        }
        let clients = show::table(&mut console, "show clients");
        assert_eq!(clients[0]["database"], name);
        assert_eq!(clients[0]["state"], "active", "it asks this very moment");
        assert_eq!(console.parameters["server_encoding"], "UTF8");
        assert!(console.parameters["server_version"].contains("pgconvoy"));
    }
}

#[test]
fn several_commands_are_answered_in_turn_until_one_fails() {
    let mut console = console(&STAGE);
    let answers = console.ask(&Batch::new().query("show version; SHOW state;;show VERSION"));
    assert_eq!(tags(&answers), "TDCTDDDCTDCZ");
    let answers = console.ask(&Batch::new().query("show version; kill_client 0; show version"));
    assert_eq!(tags(&answers), "TDCEZ");
    assert_eq!(codes(&answers), ["42704"]);
    let answers = console.ask(&Batch::new().query("show version; nonsense"));
    assert_eq!(tags(&answers), "EZ", "read as a whole first");
    assert_eq!(codes(&answers), ["42601"]);
    assert_eq!(tags(&console.ask(&Batch::new().query(" ; "))), "IZ");
    let error = console.fails("set pool_size = 5");
    assert_eq!(error.code, "0A000");
    assert!(error.fields[&'H'].contains("RELOAD"), "{error}");
    assert_eq!(console.fails("suspend").code, "0A000");
    assert_eq!(console.fails("select * from t").code, "0A000");
    assert_eq!(console.status, b'I');
}

#[test]
fn portals_suspend_and_an_error_skips_to_sync() {
    let mut console = console(&STAGE);
    let batch = Batch::new()
        .parse("s", "show state")
        .describe_statement("s")
        .bind("p", "s", &[])
        .execute("p", 2)
        .execute("p", 2)
        .execute("p", 2)
        .close_portal("p")
        .flush()
        .close_statement("s")
        .sync();
    assert_eq!(tags(&console.ask(&batch)), "1tT2DDsDCC33Z");
    let batch = Batch::new()
        .parse("b", "begin")
        .bind("", "b", &[])
        .execute("", 0)
        .parse("v", "show state")
        .bind("p", "v", &[])
        .execute("p", 1)
        .sync();
    assert_eq!(tags(&console.ask(&batch)), "12C12DsZ");
    let rest = console.ask(&Batch::new().execute("p", 0).sync());
    assert_eq!(
        tags(&rest),
        "DDCZ",
        "a portal lives as long as its transaction"
    );
    console.run("commit");
    assert_eq!(
        codes(&console.ask(&Batch::new().execute("p", 0).sync())),
        ["34000"]
    );
    let batch = Batch::new()
        .bind("", "s", &[])
        .execute("", 0)
        .parse("", "reload")
        .sync();
    let answers = console.ask(&batch);
    assert_eq!(
        (tags(&answers).as_str(), codes(&answers)),
        ("EZ", vec!["26000".to_owned()])
    );
    for (batch, code) in [
        (Batch::new().parse("", "nonsense"), "42601"),
        (Batch::new().parse("", "show state; show state"), "42601"),
        (Batch::new().execute("nope", 0), "34000"),
        (Batch::new().describe_portal("nope"), "34000"),
        (
            Batch::new()
                .parse("", "show state")
                .bind("", "", &[Some("x")]),
            "08P01",
        ),
    ] {
        assert_eq!(codes(&console.ask(&batch.sync())), [code]);
    }
    let batch = Batch::new()
        .parse("", "")
        .bind("", "", &[])
        .describe_portal("")
        .execute("", 0)
        .sync();
    assert_eq!(tags(&console.ask(&batch)), "12nIZ");
}

#[test]
fn numbers_come_in_binary_to_who_asks() {
    let mut console = console(&STAGE);
    // One result format code for all columns: binary.
    let bind = b"\0\0\0\0\0\0\0\x01\0\x01";
    let batch = Batch::new()
        .parse("", "show lists")
        .message(b'B', bind)
        .execute("", 0)
        .sync();
    let answers = console.ask(&batch);
    let first = answers.iter().find(|m| m.tag == b'D').expect("a row");
    assert_eq!(row(first)[0].as_deref(), Some("databases"));
    assert_eq!(first.body[2 + 4 + 9..][..4], 4_i32.to_be_bytes(), "an int4");
}

#[test]
fn a_message_that_is_too_long_or_no_message_ends_the_console() {
    let mut long = console(&STAGE);
    long.send(&frame(b'Q', &[vec![b' '; 70_000], vec![0]].concat()));
    assert_eq!(long.farewell().expect("words").code, "54000");
    let mut wrong = console(&STAGE);
    wrong.send(&frame(b'?', b""));
    assert_eq!(wrong.farewell().expect("words").code, "08P01");
    assert!(console(&STAGE).one("show version").contains("pgconvoy"));
}

#[test]
fn psql_shows_tables_and_the_help() {
    let port = STAGE.convoy.port;
    let mut command = tool::client("psql", port, "pgbouncer");
    command.args([
        "-X",
        "-c",
        "show pools",
        "-c",
        "show help",
        "-c",
        "SHOW VERSION;",
    ]);
    let outcome = tool::run(command, "");
    assert!(outcome.status.success(), "{outcome:?}");
    assert!(
        outcome.stdout.contains("cl_waiting_cancel_req"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("pgconvoy "), "{outcome:?}");
    assert!(outcome.stderr.contains("SHUTDOWN [WAIT_FOR"), "{outcome:?}");
    let script = "show state;\nshow lists\\gx\nset application_name = 'x';\nshow clients;\n";
    let output = tool::psql(port, "pgconvoy", script).ok();
    assert!(output.contains("active|yes"), "{output}");
    assert!(output.contains("|x|"), "{output}");
}

#[test]
fn psycopg_and_an_exporter_read_it() {
    let _client = STAGE.client();
    let report = tool::run(
        tool::driver("console.py", STAGE.convoy.port, "pgbouncer"),
        "",
    )
    .ok();
    let passed = report
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert_eq!(passed, 5, "{report}");
}

#[test]
fn transactions_and_drivers_chatter_are_answered() {
    let mut console = console(&STAGE);
    console.run("begin");
    assert_eq!(console.status, b'T');
    console.run("show state");
    console.run("commit");
    assert_eq!(console.status, b'I');
    assert_eq!(console.one("select 1"), "1");
    assert_eq!(console.one("show server_encoding"), "UTF8");
    assert_eq!(
        console.one("SHOW TRANSACTION ISOLATION LEVEL"),
        "read committed"
    );
    for sql in [
        "set client_encoding to 'UTF8'",
        "set extra_float_digits = 3",
        "set datestyle to ISO",
        "discard all",
        "rollback",
    ] {
        console.run(sql);
    }
}
