//! Messages sent without waiting for answers: all of them are answered, in order and as PostgreSQL would.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Message, ServerError, Wire, row, startup};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// One server connection on each node for everybody, so that one that is left in a wrong state is met again.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"10s\"")
    });
    stage.seed("create table t (a int)");
    stage
}

/// Messages as words, without what differs between any two connections: positions of errors, settings, keys.
fn told(messages: &[Message]) -> Vec<String> {
    let words = |message: &Message| match message.tag {
        b'S' | b'K' | b'R' => None,
        b'D' => Some(format!("D {:?}", row(message))),
        b'C' => Some(format!("C {}", message.command())),
        b'E' => Some(format!("E {}", ServerError::parse(&message.body).code)),
        b'Z' => Some(format!("Z {}", char::from(message.body[0]))),
        tag => Some(char::from(tag).to_string()),
    };
    messages.iter().filter_map(words).collect()
}

/// The answers up to this many ReadyForQuery.
fn answers(wire: &mut Wire, ready: usize) -> Vec<String> {
    (0..ready).flat_map(|_| told(&wire.until_ready())).collect()
}

/// Other clients of the only server connection are served, by both protocols.
fn assert_next_client_is_served(stage: &Stage) {
    let mut next = stage.client();
    let sql = "/* pgconvoy: primary */ select 'mine'";
    assert_eq!(next.one(sql), "mine");
    let rows = next.execute(sql, &[]).unwrap();
    assert_eq!(rows[0][0].as_deref(), Some("mine"));
    next.close();
}

/// A socket that has logged in, for what a [`Wire`] does not do: a half-close, and writes that may get stuck.
fn socket(port: u16, database: &str) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let who = [("user", "app"), ("database", database)];
    socket.write_all(&startup(0x0003_0000, &who)).unwrap();
    let mut seen = Vec::new();
    let mut room = [0; 4096];
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let got = socket.read(&mut room).unwrap();
        assert_ne!(got, 0, "closed during login");
        seen.extend_from_slice(&room[..got]);
    }
    socket
}

/// Cause: the error came when nothing more was owed, so the rest was not skipped but run as a batch of its own.
#[test]
fn batch_behind_a_failed_parse_and_a_flush_is_skipped() {
    let stage = single("flush_skips");
    let batch = Batch::new()
        .parse("x", "selec 1")
        .flush()
        .parse("", "insert into t values (1)")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    for mut wire in [stage.direct_app(), stage.client()] {
        wire.send(batch.bytes());
        assert_eq!(answers(&mut wire, 1), ["E 42601", "Z I"]);
        assert_eq!(
            wire.one("/* pgconvoy: primary */ select count(*) from t"),
            "0",
            "the insert ran"
        );
        wire.close();
    }
    assert_next_client_is_served(&stage);
}

/// Cause: the insert waited for room in the client's buffer, and nothing looked at it again once there was room.
///
/// That is when the end of the result is in the proxy, and little enough to need no other read. How much the sockets
/// hold is not known before, so the size is searched for: the insert runs by itself as long as everything fits.
#[test]
fn statement_behind_a_big_result_is_run_when_the_client_reads_at_last() {
    let stage = single("big_result_first");
    for hint in ["", "/* pgconvoy: primary */ "] {
        let (mut fits, mut too_big) = (500, 20_000);
        while too_big - fits > 4 {
            let rows = (fits + too_big) / 2;
            let value = stage.direct(0).one("select count(*) from t");
            let mut slow = stage.client();
            let read =
                format!("{hint}select repeat('x', 1000) from generate_series(1, {rows}) -- big");
            let insert = format!("insert into t values ({value})");
            slow.send(Batch::new().query(&read).query(&insert).bytes());
            wait_until_no_more_can_be_sent(&stage);
            if stage.direct(0).one("select count(*) from t") == value {
                too_big = rows;
            } else {
                fits = rows;
            }
            let big = slow.until_ready();
            assert_eq!(big.len(), rows + 3, "{hint}{rows} rows");
            let told = answers(&mut slow, 1);
            assert_eq!(told, ["C INSERT 0 1", "Z I"], "{hint}{rows} rows");
            slow.close();
        }
    }
    assert_next_client_is_served(&stage);
}

/// Waits until the big read has been sent whole, or is stuck because its client does not read.
fn wait_until_no_more_can_be_sent(stage: &Stage) {
    let sql = "select count(*) filter (where query like '%-- big' or query like 'insert%'), \
               count(*) filter (where state = 'active' and wait_event is distinct from 'ClientWrite') \
               from pg_stat_activity where datname = current_database() and usename = 'app'";
    let mut nodes: Vec<Wire> = (0..3).map(|node| stage.direct(node)).collect();
    let mut calm = 0;
    wait::until("the big read is sent or stuck", wait::SOON, || {
        let rows: Vec<_> = nodes.iter_mut().map(|node| node.run(sql)).collect();
        let is = |row: &Vec<Option<String>>, column: usize, value: &str| {
            row[column].as_deref() == Some(value)
        };
        let begun = rows.iter().any(|rows| !is(&rows[0], 0, "0"));
        let busy = rows.iter().any(|rows| !is(&rows[0], 1, "0"));
        calm = if begun && !busy { calm + 1 } else { 0 };
        calm >= 5
    });
}

/// Cause: an answer was expected for each, and the list of them had no bound.
#[test]
fn endless_closes_without_a_sync_do_not_grow_the_proxy() {
    for batch in [
        Batch::new().close_statement("").close_portal(""),
        Batch::new().close_statement("no such statement"),
    ] {
        let stage = single("endless_closes");
        let mut socket = socket(stage.convoy.port, &stage.database);
        let before = stage.convoy.memory_kb("VmRSS");
        // A proxy that stops reading from who does not read is within its rights.
        socket
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let chunk = batch.bytes().repeat(64 * 1024 / batch.bytes().len());
        for _ in 0..8 * 1024 * 1024 / chunk.len() {
            if socket.write_all(&chunk).is_err() {
                break;
            }
        }
        let grown = stage.convoy.memory_kb("VmHWM") - before;
        assert!(grown < 32 * 1024, "grew by {grown} kB");
        drop(socket);
        assert_next_client_is_served(&stage);
    }
}

/// The other side of the bound above: nothing is lost, and nobody waits for ever.
#[test]
fn closes_without_number_are_all_answered() {
    const COUNT: usize = 300_000;
    let stage = single("many_closes");
    let mut wire = socket(stage.convoy.port, &stage.database);
    let mut writer = wire.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let chunk = Batch::new().close_statement("").close_portal("");
            let chunk = chunk.bytes().repeat(1000);
            for _ in 0..COUNT / 2000 {
                writer.write_all(&chunk).unwrap();
            }
            writer.write_all(Batch::new().sync().bytes()).unwrap();
        });
        let mut seen = vec![0; COUNT * 5 + 6];
        wire.read_exact(&mut seen).expect("all answers");
        let (closes, ready) = seen.split_at(COUNT * 5);
        assert!(closes.chunks(5).all(|close| close == b"3\0\0\0\x04"));
        assert_eq!(ready, b"Z\0\0\0\x05I");
    });
    assert_next_client_is_served(&stage);
}

/// Cause: what the login had read beyond the startup packet was thrown away.
#[test]
fn query_right_behind_the_startup_packet_is_answered() {
    let stage = single("eager");
    let primary: u16 = stage.direct(0).one("show port").parse().unwrap();
    let who = [("user", "app"), ("database", stage.database.as_str())];
    let eager = Batch::new()
        .query("select 1")
        .query("insert into t values (1)");
    for port in [primary, stage.convoy.port] {
        let mut wire = Wire::open(port).unwrap();
        wire.send(&[startup(0x0003_0000, &who), eager.bytes().to_vec()].concat());
        let expected = [
            "Z I",
            "T",
            "D [Some(\"1\")]",
            "C SELECT 1",
            "Z I",
            "C INSERT 0 1",
            "Z I",
        ];
        assert_eq!(answers(&mut wire, 3), expected);
        wire.close();
    }
}

/// Cause: what the proxy had answered itself was held back while a statement behind it waited for a connection.
#[test]
fn shows_and_statements_that_wait_for_a_connection_are_answered_in_order() {
    let stage = single("show_order");
    let (show, insert) = ("show pool_version", "insert into t values (1)");
    for order in [
        vec![show, insert],
        vec![insert, show],
        vec![show, show, insert, show, insert],
    ] {
        let (mut holder, mut client) = (stage.client(), stage.client());
        holder.run("begin; insert into t values (0)");
        let batch = order
            .iter()
            .fold(Batch::new(), |batch, sql| batch.query(sql));
        client.send(batch.bytes());
        wait::until("the insert waits", wait::SOON, || {
            let page = stage.convoy.page("/metrics").body;
            pgconvoy_tests::http::sum(&page, "pgconvoy_pool_waiting") >= 1.0
        });
        let mut held = true;
        for sql in &order {
            if held && *sql == insert {
                holder.run("commit");
                held = false;
            }
            let first = client.until_ready()[0].tag;
            let expected = if *sql == show { b'T' } else { b'C' };
            assert_eq!(char::from(first), char::from(expected), "{order:?}: {sql}");
        }
        holder.close();
        client.close();
    }
}

/// Sends each batch and reads as many ReadyForQuery, directly and through the proxy; the last must match `end`.
fn same_as_direct(name: &str, batches: &[(Batch, usize)], end: &[&str]) {
    let stage = single(name);
    let [direct, proxied] = [stage.direct_app(), stage.client()].map(|mut wire| {
        let told: Vec<_> = batches
            .iter()
            .map(|(batch, ready)| {
                wire.send(batch.bytes());
                answers(&mut wire, *ready)
            })
            .collect();
        wire.close();
        told
    });
    assert_eq!(proxied, direct);
    assert_eq!(direct.last().unwrap(), end);
    assert_next_client_is_served(&stage);
}

/// Cause: the statement that failed was forgotten together with the one that had taken its name since.
#[test]
fn unnamed_statement_made_anew_behind_a_failed_one_is_kept() {
    let failed = Batch::new()
        .parse("", "selec 1")
        .bind("", "", &[])
        .execute("", 0)
        .sync()
        .parse("", "select 7")
        .flush();
    let run = Batch::new().bind("", "", &[]).execute("", 0).sync();
    // The answer to the second Parse comes ahead of that to the Bind.
    let end = ["1", "2", "D [Some(\"7\")]", "C SELECT 1", "Z I"];
    same_as_direct("unnamed_anew", &[(failed, 1), (run, 1)], &end);
}

/// Cause: see below; here the answers are waited for in between.
#[test]
fn statement_skipped_behind_a_failed_one_is_prepared_when_it_is_used_by_another_name() {
    let text = "select 7 from t where a is null union all select 7";
    let skipped = Batch::new().parse("", "selec 1").parse("u", text).sync();
    let run = Batch::new()
        .parse("v", text)
        .bind("", "v", &[])
        .execute("", 0)
        .sync();
    let gone = Batch::new().bind("", "u", &[]).execute("", 0).sync();
    let again = Batch::new().bind("", "v", &[]).execute("", 0).sync();
    let end = ["2", "D [Some(\"7\")]", "C SELECT 1", "Z I"];
    let batches = [(skipped, 1), (run, 1), (gone, 1), (again, 1)];
    same_as_direct("skipped_parse", &batches, &end);
}

/// Cause: a Parse was taken for done before the server had confirmed it, and not sent again with the same text.
#[test]
fn statement_skipped_behind_a_failed_one_is_prepared_in_the_same_write() {
    let text = "insert into t select 7 where false";
    let batch = Batch::new()
        .parse("", "selec 1")
        .parse("u", text)
        .sync()
        .parse("v", text)
        .bind("", "v", &[])
        .execute("", 0)
        .sync();
    let end = ["E 42601", "Z I", "1", "2", "C INSERT 0 0", "Z I"];
    same_as_direct("skipped_parse_at_once", &[(batch, 2)], &end);
}

/// Cause: a Query that the server skips up to the Sync was waited for, and the connection kept for ever.
#[test]
fn query_skipped_behind_a_failed_parse_does_not_keep_the_connection() {
    let batch = Batch::new()
        .parse("", "selec 1")
        .query("insert into t values (1)")
        .sync();
    let count = Batch::new().query("/* pgconvoy: primary */ select count(*) from t");
    let end = ["T", "D [Some(\"0\")]", "C SELECT 1", "Z I"];
    same_as_direct("query_skipped", &[(batch, 1), (count, 1)], &end);
}

/// Cause: Terminate was obeyed at once, and the end of the client's sending was taken for its death.
#[test]
fn statement_followed_by_terminate_and_a_half_close_still_commits() {
    let stage = single("parting_write");
    let primary: u16 = stage.direct(0).one("show port").parse().unwrap();
    let batches = [
        Batch::new().query("insert into t select 1 from pg_sleep(0.3)"),
        Batch::new()
            .parse("", "insert into t select 1 from pg_sleep(0.3)")
            .bind("", "", &[])
            .execute("", 0)
            .sync(),
    ];
    let mut direct = stage.direct(0);
    for port in [primary, stage.convoy.port] {
        for batch in &batches {
            direct.run("truncate t");
            let mut leaver = socket(port, &stage.database);
            let parting = batch.clone().message(b'X', b"");
            leaver.write_all(parting.bytes()).unwrap();
            leaver.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            let _ = leaver.read_to_end(&mut rest);
            wait::until("the insert is committed", Duration::from_secs(5), || {
                direct.one("select count(*) from t") == "1"
            });
        }
    }
    assert_next_client_is_served(&stage);
}
