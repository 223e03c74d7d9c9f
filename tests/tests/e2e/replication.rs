//! Replication connections: passed through to a node, as the tools that use them have it.

use pgconvoy_tests::convoy::{Convoy, Setup};
use pgconvoy_tests::http::sum;
use pgconvoy_tests::installed::client_command;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::temp::TempDir;
use pgconvoy_tests::tool;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, ServerError, Wire, cancel, codes};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Command;
use std::sync::LazyLock;

/// A primary and a replica that decode, for tests that harm neither.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| logical(1));

fn logical(replicas: usize) -> Cluster {
    let cluster = Cluster::start(replicas);
    let primary = &cluster.nodes[0];
    primary
        .superuser("postgres")
        .run("alter system set wal_level = 'logical'");
    primary.stop();
    primary.start();
    cluster.wait_streaming(primary, replicas);
    cluster
}

fn setup() -> Setup {
    Convoy::before(&CLUSTER.ports())
}

/// A replication connection of the superuser; `more` are startup parameters.
fn open(convoy: &Convoy, mode: &str, more: &[(&str, &str)]) -> Result<Wire, ServerError> {
    let who = [
        ("user", "postgres"),
        ("database", "postgres"),
        ("replication", mode),
    ];
    let all: Vec<_> = who.iter().chain(more).copied().collect();
    Wire::login(convoy.port, &all, None)
}

fn program(name: &str, convoy: &Convoy) -> Command {
    let mut command = tool::client(name, convoy.port, "postgres");
    command.env("PGUSER", "postgres");
    command
}

/// A backup through pgconvoy, proven whole by its own manifest; where it was taken.
fn backup(convoy: &Convoy, options: &str) -> String {
    let directory = TempDir::new("backup");
    let target = directory.join("data");
    let mut command = program("pg_basebackup", convoy);
    command
        .args(["--no-sync", "-c", "fast", "-X", "stream", "-D"])
        .arg(&target);
    command.env("PGOPTIONS", options);
    tool::run(command, "").ok();
    let mut verify = client_command("pg_verifybackup");
    verify.arg(&target);
    tool::run(verify, "").ok();
    let label = std::fs::read_to_string(target.join("backup_label")).expect("a backup label");
    let line = label
        .lines()
        .find_map(|line| line.strip_prefix("BACKUP FROM: "));
    line.expect("where it was taken").to_owned()
}

#[test]
fn pg_basebackup_takes_a_whole_backup_of_the_primary_with_its_wal() {
    assert_eq!(backup(&setup().start(), ""), "primary");
}

#[test]
fn pg_basebackup_takes_a_backup_of_a_replica_when_asked_to_or_configured_so() {
    assert_eq!(
        backup(&setup().start(), "-c pgconvoy.node=replica"),
        "standby"
    );
    let convoy = setup().with("[replication]\nnode = \"replica\"").start();
    assert_eq!(backup(&convoy, ""), "standby");
    assert_eq!(backup(&convoy, "-c pgconvoy.node=primary"), "primary");
}

#[test]
fn pg_receivewal_receives_whole_segments_from_its_slot() {
    let convoy = setup().start();
    let directory = TempDir::new("wal");
    let receivewal = |arguments: &[&str]| {
        let mut command = program("pg_receivewal", &convoy);
        command
            .args(["--no-loop", "--slot", "through_convoy"])
            .args(arguments);
        tool::run(command, "").ok();
    };
    let mut primary = CLUSTER.nodes[0].superuser("postgres");
    primary.run("select pg_create_physical_replication_slot('through_convoy', true)");
    primary.run("create table filler (a text)");
    primary.run("insert into filler select repeat('y', 500) from generate_series(1, 80000)");
    primary.run("select pg_switch_wal()");
    let end = primary.one("select pg_current_wal_lsn()");
    let path = directory.path().to_str().unwrap();
    receivewal(&["--no-sync", "--endpos", &end, "-D", path]);
    let whole: Vec<u64> = std::fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .filter(|file| !file.file_name().to_string_lossy().ends_with(".partial"))
        .map(|file| file.metadata().unwrap().len())
        .collect();
    assert!(
        whole.len() >= 2 && whole.iter().all(|size| *size == 16 << 20),
        "{whole:?}"
    );
    receivewal(&["--drop-slot"]);
}

#[test]
fn pg_recvlogical_decodes_what_is_written_through_pgconvoy() {
    let convoy = setup().start();
    let recvlogical = |arguments: &[&str]| {
        let mut command = program("pg_recvlogical", &convoy);
        command
            .args(["-d", "postgres", "--no-loop", "--slot", "decoded"])
            .args(arguments);
        tool::run(command, "").ok()
    };
    recvlogical(&["--create-slot", "-P", "test_decoding"]);
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    client.run("create table decoded (a int)");
    client.run("insert into decoded select generate_series(1, 3)");
    let end = client.one("select pg_current_wal_lsn()");
    let output = recvlogical(&["--start", "--endpos", &end, "-f", "-"]);
    for value in 1..=3 {
        let line = format!("table public.decoded: INSERT: a[integer]:{value}");
        assert_eq!(output.matches(&line).count(), 1, "{output}");
    }
    recvlogical(&["--drop-slot"]);
}

#[test]
fn standby_streams_through_pgconvoy() {
    let cluster = Cluster::start(1);
    let convoy = Convoy::before(&cluster.ports()).start();
    let [primary, standby] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    standby.superuser("postgres").run(&format!(
        "alter system set primary_conninfo = \
         'host=127.0.0.1 port={} user=postgres application_name=through'",
        convoy.port
    ));
    standby.superuser("postgres").run("select pg_reload_conf()");
    let sql = "select count(*) from pg_stat_replication \
               where application_name = 'through' and state = 'streaming'";
    wait::until("it streams", wait::SOON, || {
        primary.try_one(sql).as_deref() == Some("1")
    });
    primary
        .superuser("postgres")
        .run("create table streamed as select 42 as a");
    cluster.wait_replayed(primary);
    assert_eq!(
        standby.superuser("postgres").one("select a from streamed"),
        "42"
    );
}

/// The first copy of a table and the changes after it take connections of their own.
#[test]
fn subscription_of_another_cluster_follows_through_pgconvoy() {
    let convoy = setup().start();
    let subscriber = Cluster::start(0);
    let mut client = convoy.connect("postgres", "postgres").unwrap();
    client.run("create table published (a int primary key)");
    client.run("insert into published values (1), (2)");
    client.run("create publication through_convoy for table published");
    let mut there = subscriber.nodes[0].superuser("postgres");
    there.run("create table published (a int primary key)");
    there.run(&format!(
        "create subscription through_convoy \
         connection 'host=127.0.0.1 port={} user=postgres dbname=postgres' \
         publication through_convoy",
        convoy.port
    ));
    let mut arrives = |rows: &str| {
        wait::until("the rows arrive", wait::SOON, || {
            there.one("select coalesce(string_agg(a::text, ',' order by a), '') from published")
                == rows
        });
    };
    arrives("1,2");
    client.run("insert into published values (3); delete from published where a = 1");
    arrives("2,3");
    there.run("drop subscription through_convoy");
}

#[test]
fn driver_starts_logical_replication() {
    let convoy = setup().start();
    let mut command = tool::driver("psycopg3_replication.py", convoy.port, "postgres");
    command.env("PGUSER", "postgres");
    let report = tool::run(command, "").ok();
    assert_eq!(report.matches("ok ").count(), 3, "{report}");
}

#[test]
fn commands_and_sql_run_where_the_client_asks_for() {
    let convoy = setup().start();
    let in_recovery = |options: &str| {
        let mut wire = open(&convoy, "database", &[("options", options)]).expect("a connection");
        assert_eq!(
            wire.run("IDENTIFY_SYSTEM")[0][3].as_deref(),
            Some("postgres")
        );
        wire.one("select pg_is_in_recovery()")
    };
    let replica = format!("-c pgconvoy.node=127.0.0.1:{}", CLUSTER.nodes[1].port);
    assert_eq!(in_recovery(""), "f");
    assert_eq!(in_recovery("-c pgconvoy.node=primary"), "f");
    assert_eq!(in_recovery("-c pgconvoy.node=replica"), "t");
    assert_eq!(in_recovery(&replica), "t");
    let options = r"-c pgconvoy.node=primary -c work_mem=3MB -c app.x=a\ b";
    let more = [("options", options), ("application_name", "mine")];
    let mut wire = open(&convoy, "database", &more).unwrap();
    assert_eq!(wire.one("show work_mem"), "3MB");
    assert_eq!(wire.one("show app.x"), "a b");
    assert_eq!(wire.one("show application_name"), "mine");
    assert_eq!(wire.parameters["application_name"], "mine");
    let mut physical = open(&convoy, "true", &[]).unwrap();
    assert_eq!(physical.run("IDENTIFY_SYSTEM")[0][3], None);
}

#[test]
fn no_such_node_and_no_such_mode_are_told_at_the_login() {
    let convoy = setup().start();
    let error = open(
        &convoy,
        "true",
        &[("options", "-c pgconvoy.node=elsewhere")],
    )
    .err()
    .unwrap();
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "42704")
    );
    let port = CLUSTER.nodes[1].port.to_string();
    assert!(
        error.message.contains("elsewhere") && error.fields[&'D'].contains(&port),
        "{error}"
    );
    let error = open(&convoy, "perhaps", &[]).err().unwrap();
    assert_eq!(
        (error.code.as_str(), error.fields.contains_key(&'H')),
        ("22023", true)
    );
    // An ordinary session.
    assert_eq!(open(&convoy, "off", &[]).unwrap().one("select 1"), "1");
}

#[test]
fn client_proves_itself_here_and_is_mapped_to_its_server_user() {
    let users = "[[user]]\nname = \"app\"\npassword = \"a\"\n\
                 [[user]]\nname = \"backup\"\npassword = \"b\"\nserver_user = \"postgres\"";
    let convoy = setup().with(users).start();
    let login = |user: &str, password: &str| {
        let who = [
            ("user", user),
            ("database", "postgres"),
            ("replication", "database"),
        ];
        Wire::login(convoy.port, &who, Some(password))
    };
    assert_eq!(login("backup", "wrong").err().unwrap().code, "28P01");
    assert_eq!(
        login("backup", "b").unwrap().one("select current_user"),
        "postgres"
    );
    // The server decides who may replicate.
    let error = login("app", "a").err().unwrap();
    assert_eq!(error.code, "42501", "{error}");
    // What is an option stays one: it logs nobody in as somebody else.
    let who = [
        ("user", "app"),
        ("database", "postgres"),
        ("replication", "database"),
        ("options", "-c user=postgres"),
    ];
    assert!(Wire::login(convoy.port, &who, Some("a")).is_err());
}

#[test]
fn running_command_is_cancelled_by_its_key() {
    let convoy = setup().start();
    let mut wire = open(&convoy, "database", &[("application_name", "to_cancel")]).unwrap();
    wire.send(Batch::new().query("select pg_sleep(100)").bytes());
    wait_running("to_cancel", 1);
    cancel(convoy.port, &wire.key);
    assert_eq!(codes(&wire.until_ready()), ["57014"]);
    assert_eq!(wire.one("select 1"), "1");
}

#[test]
fn command_of_a_client_that_left_is_stopped() {
    let convoy = setup().start();
    let mut wire = open(&convoy, "database", &[("application_name", "to_leave")]).unwrap();
    wire.send(Batch::new().query("select pg_sleep(100)").bytes());
    wait_running("to_leave", 1);
    drop(wire);
    wait_running("to_leave", 0);
}

fn wait_running(name: &str, count: usize) {
    let sql = format!(
        "select count(*) from pg_stat_activity \
         where application_name = '{name}' and query like '%pg_sleep(100)%' and state = 'active'"
    );
    wait::until("so many run", wait::SOON, || {
        CLUSTER.nodes[0].try_one(&sql) == Some(count.to_string())
    });
}

#[test]
fn replication_connections_are_bounded_and_give_their_place_back() {
    let convoy = setup()
        .with("[limits]\nmax_replication_connections = 2")
        .start();
    let kept = open(&convoy, "true", &[]).unwrap();
    let _other = open(&convoy, "database", &[]).unwrap();
    let error = open(&convoy, "true", &[]).err().unwrap();
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "53300")
    );
    assert!(
        error.fields[&'H'].contains("limits.max_replication_connections"),
        "{error}"
    );
    let open_now = sum(
        &convoy.page("/metrics").body,
        "pgconvoy_replication_connections",
    );
    assert_eq!(open_now, 2.0);
    // Sessions have their own bound.
    assert_eq!(
        convoy
            .connect("postgres", "postgres")
            .unwrap()
            .one("select 1"),
        "1"
    );
    kept.close();
    wait::until("a place is free", wait::SOON, || {
        open(&convoy, "true", &[]).is_ok()
    });
}

#[test]
fn time_limits_of_sessions_do_not_end_them() {
    let limits = "[limits]\nclient_idle_timeout = \"300ms\"\nquery_timeout = \"300ms\"";
    let convoy = setup().with(limits).start();
    let mut wire = open(&convoy, "database", &[]).unwrap();
    let mut session = convoy.connect("postgres", "postgres").unwrap();
    session.run("select 1");
    assert_eq!(session.farewell().unwrap().code, "57P05");
    assert_eq!(wire.one("select 1 from pg_sleep(1)"), "1");
}

#[test]
fn shutdown_ends_them_at_once_with_words() {
    let convoy = setup().top("drain_timeout = \"60s\"").start();
    let mut idle = open(&convoy, "true", &[]).unwrap();
    let mut streaming = open(&convoy, "true", &[]).unwrap();
    let position = streaming.run("IDENTIFY_SYSTEM")[0][2].clone().unwrap();
    let start = format!("START_REPLICATION PHYSICAL {position}");
    streaming.send(Batch::new().query(&start).bytes());
    assert_eq!(streaming.message().tag, b'W');
    convoy.signal(Signal::TERM);
    for wire in [&mut idle, &mut streaming] {
        let error = wire.farewell().expect("last words");
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "57P01"),
            "{error}"
        );
    }
    assert!(
        convoy
            .wait_end(std::time::Duration::from_secs(20))
            .success()
    );
}

#[test]
fn server_that_dies_ends_them_with_words_and_the_next_one_reaches_the_new_primary() {
    let cluster = Cluster::start(1);
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut wire = open(&convoy, "database", &[]).unwrap();
    let system = wire.run("IDENTIFY_SYSTEM")[0][0].clone();
    let pid: i32 = wire.one("select pg_backend_pid()").parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let error = wire.farewell().expect("last words");
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "08006"),
        "{error}"
    );
    let port = cluster.nodes[0].port.to_string();
    assert!(error.message.contains(&port), "{error}");

    let mut wire = wait::value("the node is up again", wait::SOON, || {
        open(&convoy, "database", &[]).ok()
    });
    cluster.nodes[0].kill();
    // Some of its processes may notice that the first one is gone, and say so.
    let error = wire.farewell().expect("last words");
    assert!(["08006", "57P01"].contains(&error.code.as_str()), "{error}");
    cluster.nodes[1].promote();
    let mut wire = wait::value("a new connection", wait::SOON, || {
        open(&convoy, "database", &[]).ok()
    });
    assert_eq!(wire.run("IDENTIFY_SYSTEM")[0][0], system);
    assert_eq!(wire.one("select pg_is_in_recovery()"), "f");
}

#[test]
fn node_that_no_longer_leads_ends_them_with_words() {
    let cluster = Cluster::start(1);
    let convoy = Convoy::before(&cluster.ports()).start();
    let mut to_primary = open(&convoy, "database", &[]).unwrap();
    let name = format!("-c pgconvoy.node=127.0.0.1:{}", cluster.nodes[0].port);
    let mut to_node = open(&convoy, "database", &[("options", &name)]).unwrap();
    cluster.nodes[1].promote();
    let error = to_primary.farewell().expect("last words");
    assert_eq!(error.code, "57P01", "{error}");
    assert!(error.message.contains("no longer leads"), "{error}");
    // Who asked for the node has it.
    assert_eq!(to_node.one("select 1"), "1");
}

#[test]
fn backup_that_nobody_reads_takes_no_memory() {
    let convoy = setup().start();
    CLUSTER.nodes[0].superuser("postgres").run(
        "create table if not exists bulk as select repeat('z', 1000) from generate_series(1, 100000)",
    );
    let mut wire = open(&convoy, "true", &[("application_name", "unread")]).unwrap();
    let before = convoy.memory_kb("VmHWM");
    wire.send(
        Batch::new()
            .query("BASE_BACKUP (CHECKPOINT 'fast', WAL)")
            .bytes(),
    );
    let sql = "select count(*) from pg_stat_activity where application_name = 'unread' \
               and wait_event = 'ClientWrite'";
    wait::until("the server waits for us", wait::SOON, || {
        CLUSTER.nodes[0].try_one(sql).as_deref() == Some("1")
    });
    let mut bytes = 0;
    while let Some((tag, length)) = wire.skip() {
        bytes += length;
        if tag == b'Z' {
            break;
        }
    }
    assert_eq!(wire.status, b'I');
    assert!(bytes > 100 << 20, "{bytes} bytes were passed on");
    let grown = convoy.memory_kb("VmHWM") - before;
    assert!(grown < 8 * 1024, "{grown} kB");
    assert_eq!(wire.run("IDENTIFY_SYSTEM").len(), 1);
}
