//! Protocol-level prepared statements in transaction mode, over server connections that clients share.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire, codes, row, tags};

fn stage(name: &str, pool: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 2").with(&format!("[pool]\n{pool}"))
    });
    stage.seed("create table t (id int primary key, b text); insert into t select i, 'row ' || i from generate_series(1, 100) i");
    stage
}

/// Binds and executes: the first column of the first row.
fn run(client: &mut Wire, name: &str, values: &[Option<&str>]) -> String {
    let replies = client.ask(&Batch::new().bind("", name, values).execute("", 0).sync());
    let found = replies.iter().find(|message| message.tag == b'D').map(row);
    let found = found.unwrap_or_else(|| panic!("{name}: {:?}", codes(&replies)));
    found[0].clone().unwrap_or_default()
}

#[test]
fn statements_follow_their_clients_over_two_server_connections() {
    let stage = stage("prepared_move", "size = 2");
    let mut clients: Vec<Wire> = (0..10).map(|_| stage.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // The same name for ten different texts.
        let sql = format!("select '{number}:' || b from t where id = $1");
        assert_eq!(
            tags(&client.ask(&Batch::new().parse("mine", &sql).sync())),
            "1Z"
        );
    }
    for round in 1..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            let id = (round + number) % 100 + 1;
            assert_eq!(
                run(client, "mine", &[Some(&id.to_string())]),
                format!("{number}:row {id}")
            );
        }
        // Two clients at a time hold both connections, so that the others must change places.
        let (left, right) = clients.split_at_mut(5);
        let (a, b) = (&mut left[round % 5], &mut right[(round + 2) % 5]);
        for client in [&mut *a, &mut *b] {
            client.run("begin");
            run(client, "mine", &[Some("1")]);
        }
        b.run("commit");
        a.run("rollback");
    }
    assert!(stage.server_connections(0) <= 2);
}

#[test]
fn one_text_of_many_clients_is_one_statement_on_the_server() {
    // Each worker knows the statements by names of its own: the promise is one copy for each.
    let stage = stage("prepared_shared", "size = 1");
    let mut clients: Vec<Wire> = (0..20).map(|_| stage.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let name = format!("name_{number}");
        client.run("begin");
        client.ask(
            &Batch::new()
                .parse(&name, "select b from t where id = $1 -- shared")
                .sync(),
        );
        assert_eq!(run(client, &name, &[Some("7")]), "row 7");
        client.run("commit");
    }
    let sql = "begin; select count(*) from pg_prepared_statements where statement like '%-- shared'; commit";
    let count: usize = clients[0].one(sql).parse().unwrap();
    assert!(count <= 2, "{count} copies on the server");
}

#[test]
fn more_statements_than_the_server_may_hold_are_prepared_again() {
    let stage = stage("prepared_lru", "size = 1\nprepared_statements = 5");
    let mut client = stage.client();
    for number in 0..30 {
        let sql = format!("select {number} + $1::int");
        assert_eq!(
            tags(&client.ask(&Batch::new().parse(&format!("s{number}"), &sql).sync())),
            "1Z"
        );
    }
    for round in 0..3 {
        client.run("begin");
        for number in (0..30).rev() {
            assert_eq!(
                run(&mut client, &format!("s{number}"), &[Some("1")]),
                (number + 1).to_string(),
                "round {round}"
            );
        }
        let held: usize = client
            .one("select count(*) from pg_prepared_statements")
            .parse()
            .unwrap();
        assert!(held <= 6, "{held} statements on the server");
        client.run("commit");
    }
}

#[test]
fn eviction_does_not_overtake_a_queued_bind() {
    let stage = stage("prepared_overtake", "size = 1\nprepared_statements = 2");
    let mut client = stage.client();
    let mut batch = Batch::new();
    for number in 0..12 {
        batch = batch.parse(&format!("s{number}"), &format!("select {number}"));
    }
    for number in 0..12 {
        batch = batch.bind("", &format!("s{number}"), &[]).execute("", 0);
    }
    let replies = client.ask(&batch.sync());
    let values: Vec<_> = replies
        .iter()
        .filter(|message| message.tag == b'D')
        .map(|message| row(message)[0].clone().unwrap())
        .collect();
    let expected: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(values, expected, "{:?}", codes(&replies));
}

#[test]
fn describe_works_on_a_server_connection_that_has_not_seen_the_statement() {
    let stage = stage("prepared_describe", "size = 3");
    let mut client = stage.client();
    client.ask(
        &Batch::new()
            .parse("s", "select id, b from t where id = $1")
            .sync(),
    );
    let mut holders: Vec<Wire> = (0..3).map(|_| stage.client()).collect();
    for holder in &mut holders {
        holder.run("begin; select 1");
    }
    holders.remove(1).run("commit");
    for _ in 0..6 {
        assert_eq!(
            tags(&client.ask(&Batch::new().describe_statement("s").sync())),
            "tTZ"
        );
    }
    assert_eq!(run(&mut client, "s", &[Some("3")]), "3");
}

#[test]
fn statements_work_on_the_primary_and_on_both_replicas() {
    let stage = stage("prepared_nodes", "size = 1");
    let mut client = stage.client();
    client.ask(
        &Batch::new()
            .parse("read", "select b from t where id = $1")
            .parse("write", "update t set b = b where id = $1 returning b")
            .sync(),
    );
    for id in 1..30 {
        let id = id.to_string();
        assert_eq!(run(&mut client, "read", &[Some(&id)]), format!("row {id}"));
        assert_eq!(run(&mut client, "write", &[Some(&id)]), format!("row {id}"));
        client.run("begin");
        assert_eq!(run(&mut client, "read", &[Some(&id)]), format!("row {id}"));
        client.run("commit");
    }
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn type_of_a_parameter_is_part_of_a_statements_identity() {
    let stage = stage("prepared_types", "size = 1");
    let typed = |oid: u32| {
        let mut body = b"s\0select pg_typeof($1)::text\0\0\x01".to_vec();
        body.extend(oid.to_be_bytes());
        Batch::new().message(b'P', &body).sync()
    };
    let (mut text, mut number) = (stage.client(), stage.client());
    text.ask(&typed(25));
    number.ask(&typed(23));
    for _ in 0..3 {
        assert_eq!(run(&mut text, "s", &[Some("1")]), "text");
        assert_eq!(run(&mut number, "s", &[Some("1")]), "integer");
    }
}

#[test]
fn deallocate_all_and_discard_all_harm_no_other_client() {
    let stage = stage("prepared_discard", "size = 1");
    let mut keeper = stage.client();
    keeper.ask(
        &Batch::new()
            .parse("keep", "select b from t where id = $1 for update")
            .sync(),
    );
    assert_eq!(run(&mut keeper, "keep", &[Some("1")]), "row 1");
    for sql in ["deallocate all", "discard all", "discard plans"] {
        let mut sweeper = stage.client();
        sweeper.run(sql);
        sweeper.close();
        assert_eq!(
            run(&mut keeper, "keep", &[Some("2")]),
            "row 2",
            "after {sql}"
        );
    }
}

/// A statement, described, bound and run in one batch: what came back, and the row.
fn all_at_once(client: &mut Wire, sql: &str) -> (String, Vec<Option<String>>) {
    let batch = Batch::new()
        .parse("", sql)
        .describe_statement("")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let replies = client.ask(&batch);
    let found = replies.iter().find(|message| message.tag == b'D').map(row);
    (tags(&replies), found.unwrap_or_default())
}

#[test]
fn stale_plan_is_prepared_again_and_nobody_notices() {
    let stage = stage("prepared_stale", "size = 1");
    let mut client = stage.client();
    let mut named = stage.client();
    let sql = "/* pgconvoy: primary */ select * from t where id = 1";
    assert_eq!(tags(&named.ask(&Batch::new().parse("n", sql).sync())), "1Z");
    let mut columns = 2;
    for change in [
        "alter table t add c int default 3",
        "alter table t alter b type varchar(100)",
        "alter table t drop c",
    ] {
        assert_eq!(all_at_once(&mut client, sql).0, "1tT2DCZ", "{change}");
        named.ask(&Batch::new().bind("", "n", &[]).execute("", 0).sync());
        stage.direct(0).run(change);
        columns = if change.contains(" add ") { 3 } else { columns };
        columns = if change.contains(" drop ") {
            2
        } else {
            columns
        };
        // A client that parses anew never meets the error without a pooler either.
        let (replies, row) = all_at_once(&mut client, sql);
        assert_eq!(
            (replies.as_str(), row.len()),
            ("1tT2DCZ", columns),
            "{change}"
        );
        // So does one that holds a name and has the result described: it is told the new columns.
        let batch = Batch::new()
            .bind("", "n", &[])
            .describe_portal("")
            .execute("", 0)
            .sync();
        assert_eq!(tags(&named.ask(&batch)), "2TDCZ", "{change}");
    }
    let page = stage.convoy.page("/metrics").body;
    assert!(pgconvoy_tests::http::sum(&page, "pgconvoy_prepared_again_total") >= 3.0);
    // Who goes by what was described before must know that it is out of date, and what ran before
    // did not happen. When it parses the text again, it gets what is true now, everywhere.
    stage
        .direct(0)
        .run("create table log (a int); grant all on log to public");
    let write = |client: &mut Wire| {
        let batch = Batch::new()
            .parse("", "insert into log values (1)")
            .bind("", "", &[])
            .execute("", 0)
            .bind("", "n", &[])
            .execute("", 0)
            .sync();
        tags(&client.ask(&batch))
    };
    assert_eq!(write(&mut named), "12C2DCZ");
    stage.direct(0).run("alter table t add d int");
    assert_eq!(write(&mut named), "12CEZ");
    assert_eq!(named.one("select count(*) from log"), "1");
    let batch = Batch::new().bind("", "n", &[]).execute("", 0).sync();
    assert_eq!(codes(&named.ask(&batch)), ["0A000"]);
    let again = Batch::new().close_statement("n").parse("n", sql).sync();
    assert_eq!(tags(&named.ask(&again)), "31Z");
    assert_eq!(tags(&named.ask(&batch)), "2DCZ");
}

#[test]
fn stale_plan_in_a_transaction_is_an_error_as_it_is_direct() {
    let stage = stage("prepared_stale_tx", "size = 1");
    let mut client = stage.client();
    client.ask(
        &Batch::new()
            .parse("n", "select * from t where id = 1")
            .sync(),
    );
    client.run("begin");
    run(&mut client, "n", &[]);
    client.run("alter table t add c int");
    let batch = Batch::new().bind("", "n", &[]).execute("", 0).sync();
    assert_eq!(codes(&client.ask(&batch)), ["0A000"]);
    client.run("rollback");
    assert_eq!(run(&mut client, "n", &[]), "1");
}

#[test]
fn statement_parsed_right_behind_a_discard_is_there() {
    let stage = stage("prepared_discard", "size = 1");
    let mut client = stage.client();
    let sql = "/* pgconvoy: primary */ select b from t where id = 1";
    client.ask(
        &Batch::new()
            .parse("", sql)
            .bind("", "", &[])
            .execute("", 0)
            .sync(),
    );
    client.send(
        Batch::new()
            .query("discard all")
            .parse("", sql)
            .bind("", "", &[])
            .execute("", 0)
            .sync()
            .bytes(),
    );
    assert_eq!(tags(&client.until_ready()), "CZ");
    assert_eq!(tags(&client.until_ready()), "12DCZ");
}

#[test]
fn failed_discard_all_leaves_the_statements() {
    let stage = stage("prepared_discard_failed", "size = 1");
    let mut client = stage.client();
    let parse = Batch::new()
        .parse("s", "select b from t where id = $1")
        .sync();
    assert_eq!(tags(&client.ask(&parse)), "1Z");
    let failed = client.ask(&Batch::new().query("discard all; select 1"));
    assert_eq!(codes(&failed), ["25001"]);
    assert_eq!(run(&mut client, "s", &[Some("1")]), "row 1");
    client.run("begin");
    let failed = client.ask(&Batch::new().query("discard all"));
    assert_eq!(codes(&failed), ["25001"]);
    client.run("rollback");
    assert_eq!(run(&mut client, "s", &[Some("1")]), "row 1");
    client.run("discard all");
    let batch = Batch::new().bind("", "s", &[Some("1")]).sync();
    assert_eq!(codes(&client.ask(&batch)), ["26000"]);
    assert_eq!(tags(&client.ask(&parse)), "1Z");
    assert_eq!(run(&mut client, "s", &[Some("1")]), "row 1");
}
