//! A server connection is kept as long as something of its client is on it, and not a moment longer.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::postgres::Cluster;
use pgconvoy_tests::show;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire, codes, tags};
use std::time::{Duration, Instant};

fn sized(name: &str, size: usize, more: &str) -> Stage {
    let pool = format!("[pool]\nsize = {size}\nquery_wait_timeout = \"10s\"\n{more}");
    let stage = Stage::with(name, |setup| setup.top("workers = 1").with(&pool));
    stage.seed("create table t (a int)");
    stage
}

/// A client whose startup parameters are not those of the server connection: it needs a set-up each time that
/// another client has used the connection meanwhile.
fn particular(stage: &Stage) -> Wire {
    stage.client_with(&[("TimeZone", "Asia/Tokyo"), ("options", "-c work_mem=7MB")])
}

/// Leaves the server connections with the parameters of an ordinary client.
fn use_plainly(client: &mut Wire) {
    client.run("/* pgconvoy: primary */ select 1");
}

/// Another client gets the only server connection, in order.
fn assert_next_client_is_served(stage: &Stage, what: &str) {
    let mut next = stage.client();
    let sql = "/* pgconvoy: primary */ select 'mine'";
    let simple = next.query(sql).unwrap_or_else(|e| panic!("{what}: {e}"));
    let extended = next
        .execute(sql, &[])
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    for rows in [simple, extended] {
        assert_eq!(rows[0][0].as_deref(), Some("mine"), "{what}");
    }
    next.close();
}

/// Cause: the Sync that a server drops during a COPY was counted as one to be answered, and the batch as ended by it.
#[test]
fn copy_by_the_extended_protocol_that_fails_gives_its_connection_back() {
    let stage = sized("copy_fails", 1, "");
    let ends = [
        Batch::new().copy_data(b"bad\n"),
        Batch::new().copy_data(b"bad\n").copy_data(b"1\n"),
        Batch::new().copy_data(b"1\n").copy_fail("changed my mind"),
        Batch::new().copy_fail("changed my mind"),
    ];
    for (number, end) in ends.iter().enumerate() {
        for in_one_write in [true, false] {
            for mut wire in [stage.direct_app(), stage.client()] {
                let what = format!("end {number}, in one write: {in_one_write}");
                begin_copy(&mut wire);
                let told = if in_one_write {
                    wire.ask(&end.clone().copy_done().sync())
                } else {
                    wire.send(end.bytes());
                    let error = wire.message();
                    [vec![error], wire.ask(&Batch::new().copy_done().sync())].concat()
                };
                assert_eq!(tags(&told), "EZ", "{what}");
                let count = "/* pgconvoy: primary */ select count(*) from t";
                assert_eq!(wire.one(count), "0", "{what}");
                // The client stays: its connection has to be free all the same.
                assert_next_client_is_served(&stage, &what);
                wire.close();
            }
        }
    }
}

/// As libpq does it: a Sync leaves with the Execute, and another one is to come with the end of the data.
fn begin_copy(wire: &mut Wire) {
    let parsed = wire.ask(&Batch::new().parse("s", "copy t from stdin").sync());
    assert_eq!(tags(&parsed), "1Z");
    let run = Batch::new().bind("", "s", &[]).execute("", 0).sync();
    wire.send(run.bytes());
    assert_eq!([wire.message().tag, wire.message().tag], *b"2G");
}

/// The same, when the client never sends the Sync that would end it.
#[test]
fn client_that_leaves_a_failed_copy_leaves_its_connection_usable() {
    let stage = sized("copy_left", 1, "");
    let copy = Batch::new()
        .parse("", "copy t from stdin")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    for end in [
        Batch::new().copy_data(b"bad\n").copy_data(b"1\n"),
        Batch::new().copy_fail("changed my mind"),
    ] {
        for parting in [Wire::close as fn(Wire), drop] {
            let mut client = stage.client();
            client.send(copy.bytes());
            let begun: Vec<_> = (0..3).map(|_| client.message()).collect();
            assert_eq!(tags(&begun), "12G");
            client.send(end.bytes());
            assert_eq!(client.message().tag, b'E');
            parting(client);
            assert_next_client_is_served(&stage, "after a failed copy");
        }
    }
    assert_eq!(stage.direct(0).one("select count(*) from t"), "0");
}

/// Cause: the ReadyForQuery of the set-up made the session forget its portal, so the Execute was not seen to be a SET.
#[test]
fn setting_made_behind_a_set_up_over_several_writes_is_seen_by_its_owner_only() {
    let stage = sized("set_over_writes", 2, "");
    let (mut owner, mut other) = (particular(&stage), stage.client());
    use_plainly(&mut other);
    let begin = Batch::new()
        .parse("", "set app.mark = 'mine'")
        .bind("", "", &[])
        .flush();
    owner.send(begin.bytes());
    assert_eq!([owner.message().tag, owner.message().tag], *b"12");
    assert_eq!(tags(&owner.ask(&Batch::new().execute("", 0).sync())), "CZ");
    let ask = "select coalesce(current_setting('app.mark', true), '')";
    let on_primary = format!("/* pgconvoy: primary */ {ask}");
    for round in 0..5 {
        assert_eq!(other.one(&on_primary), "", "leaked, round {round}");
        assert_eq!(owner.one(ask), "mine", "lost, round {round}");
        assert_eq!(owner.one("show timezone"), "Asia/Tokyo");
    }
    owner.close();
    let mut left: Vec<Wire> = (0..2).map(|_| stage.client()).collect();
    for client in &mut left {
        client.run("begin; insert into t values (1)");
        assert_eq!(client.one(ask), "", "inherited");
    }
}

/// Cause: the connection a session had first was kept, and it was one to a replica.
#[test]
fn session_that_reads_first_may_write_in_session_mode() {
    let stage = sized("session_mode_write", 1, "mode = \"session\"");
    let mut client = stage.client();
    assert_eq!(client.one("select count(*) from t"), "0");
    client.run("insert into t values (1)");
    assert_eq!(client.one("select count(*) from t"), "1");
    client.close();
    let mut client = stage.client();
    client.execute("select count(*) from t", &[]).unwrap();
    client.execute("insert into t values (2)", &[]).unwrap();
    let count = client.execute("select count(*) from t", &[]).unwrap();
    assert_eq!(count[0][0].as_deref(), Some("2"));
    client.run("begin; insert into t values (3); commit");
    client.close();
    stage.assert_no_write_reached_a_replica();
}

/// Cause: a connection was taken for it, and not given back because the proxy itself gave the answer.
#[test]
fn deallocating_a_protocol_level_statement_does_not_keep_the_connection() {
    let stage = sized("deallocate", 1, "");
    for sql in ["deallocate s", "DEALLOCATE PREPARE \"s\"", "deallocate all"] {
        for extended in [false, true] {
            for mut wire in [stage.direct_app(), stage.client()] {
                let sum = Batch::new().parse("s", "select 1 from t for update").sync();
                assert_eq!(tags(&wire.ask(&sum)), "1Z");
                let run = Batch::new().bind("", "s", &[]).execute("", 0).sync();
                assert_eq!(tags(&wire.ask(&run)), "2CZ");
                if extended {
                    wire.execute(sql, &[]).unwrap();
                } else {
                    wire.run(sql);
                }
                let what = format!("{sql}, extended: {extended}");
                assert_next_client_is_served(&stage, &what);
                assert_eq!(codes(&wire.ask(&run)), ["26000"], "{what}");
                wire.close();
            }
        }
    }
}

/// Cause: any ReadyForQuery marked the client idle, also that of a set-up or of a statement before the last one.
#[test]
fn client_idle_timeout_spares_a_client_whose_statement_runs() {
    let stage = sized(
        "idle_but_waiting",
        8,
        "[limits]\nclient_idle_timeout = \"1s\"",
    );
    let slow = "/* pgconvoy: primary */ select 'slept' from pg_sleep(3)";
    let extended = |batch: Batch| {
        batch
            .parse("", slow)
            .bind("", "", &[])
            .execute("", 0)
            .sync()
    };
    let pipelined = Batch::new()
        .query("select 1")
        .query("insert into t values (1)")
        .query(slow);
    let batches = [
        (1, Batch::new().query(slow)),
        (2, Batch::new().query("select 1").query(slow)),
        (3, pipelined),
        (1, extended(Batch::new())),
        (2, extended(Batch::new().sync())),
    ];
    // Every server connection has been used by an ordinary client before.
    let mut plain: Vec<Wire> = (0..8).map(|_| stage.client()).collect();
    for sql in ["begin; insert into t values (1)", "commit"] {
        plain.iter_mut().for_each(|client| drop(client.run(sql)));
    }
    std::thread::scope(|scope| {
        for (ready, batch) in &batches {
            for behind_set_up in [false, true] {
                let stage = &stage;
                scope.spawn(move || {
                    let mut client = if behind_set_up {
                        particular(stage)
                    } else {
                        stage.client()
                    };
                    client.send(batch.bytes());
                    for _ in 0..*ready {
                        let replies = client.until_ready();
                        assert_eq!(codes(&replies), [""; 0], "set-up: {behind_set_up}");
                    }
                });
            }
        }
    });
}

/// Cause: the clock of a statement was stopped by the answer to the set-up ahead of it.
#[test]
fn query_timeout_ends_a_statement_behind_a_set_up() {
    let stage = sized("timeout_behind", 1, "[limits]\nquery_timeout = \"1s\"");
    let slow = "/* pgconvoy: primary */ select pg_sleep(60)";
    let extended = Batch::new()
        .parse("", slow)
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let batches = [
        (1, Batch::new().query(slow)),
        (
            2,
            Batch::new().query("insert into t values (1)").query(slow),
        ),
        (1, extended),
    ];
    for (ready, batch) in &batches {
        use_plainly(&mut stage.client());
        let mut client = particular(&stage);
        let start = Instant::now();
        client.send(batch.bytes());
        let mut error = None;
        for _ in 0..*ready {
            while let Some(message) = client.receive().filter(|message| message.tag != b'Z') {
                error = error.or((message.tag == b'E').then_some(message));
            }
        }
        assert_eq!(codes(error.as_slice()), ["57014"]);
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(20), "after {waited:?}");
        stage.wait_activity("state = 'active' and query like '%pg_sleep%'", 0);
    }
}

/// Cause: a write was counted at the first ReadyForQuery: that of the set-up, or of the write before it.
///
/// A replica that has what the primary had at that time is then taken to have the write, too. So the write has to
/// last until such a replica is known, and the replica must not have it at once.
#[test]
fn reads_see_writes_behind_a_set_up_and_at_the_end_of_a_pipeline() {
    let cluster = Cluster::start(1);
    cluster.nodes[0]
        .superuser("postgres")
        .run("create table t (a int primary key)");
    cluster.wait_replayed(&cluster.nodes[0]);
    let mut replica = cluster.nodes[1].superuser("postgres");
    replica.run("alter system set recovery_min_apply_delay = '200ms'");
    replica.run("select pg_reload_conf()");
    let convoy = Convoy::before(&cluster.ports())
        .top("workers = 1")
        .with("[pool]\nsize = 1\n[health]\ncheck_period = \"50ms\"\nposition_period = \"50ms\"")
        .start();
    let who = [
        ("user", "postgres"),
        ("database", "postgres"),
        ("TimeZone", "Asia/Tokyo"),
    ];
    let mut plain = convoy.connect("postgres", "postgres").unwrap();
    // Who has written nothing reads from the replica: there is something that could go wrong.
    plain.run("select count(*) from t");
    assert_eq!(show::counts(&mut plain)[1].select, 1);
    let mut writer = Wire::login(convoy.port, &who, None).unwrap();
    for round in 0..100 {
        plain.run("begin; select 1; commit");
        let [first, last] = [2 * round, 2 * round + 1];
        let seconds = if round % 25 < 4 { 0.5 } else { 0.0 };
        let slow = format!("insert into t select {last} from pg_sleep({seconds})");
        let quick = format!("insert into t values ({first})");
        match round % 4 {
            0 => drop(writer.run(&slow)),
            1 => drop(writer.execute(&slow, &[]).unwrap()),
            2 => {
                writer.send(Batch::new().query(&quick).query(&slow).bytes());
                let told = [writer.until_ready(), writer.until_ready()].concat();
                assert_eq!(tags(&told), "CZCZ");
            }
            _ => {
                let both = [&quick, &slow].iter().fold(Batch::new(), |batch, sql| {
                    batch.parse("", sql).bind("", "", &[]).execute("", 0).sync()
                });
                writer.send(both.bytes());
                let told = [writer.until_ready(), writer.until_ready()].concat();
                assert_eq!(tags(&told), "12CZ12CZ");
            }
        }
        let count = format!("select count(*) from t where a = {last}");
        assert_eq!(writer.one(&count), "1", "round {round}: a stale read");
    }
}
