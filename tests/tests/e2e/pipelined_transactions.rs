//! Several messages at once around transactions: each runs where it must, and nothing that stood behind a failure is
//! done by itself.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Message, Wire, codes, row, tags};

const SCHEMA: &str = "create table t (id int primary key); insert into t select generate_series(1, 100); \
    create unlogged table fast as select 1 as a;";

fn stage(name: &str, routing: &str) -> Stage {
    Stage::routed(name, routing, SCHEMA)
}

/// Sends all at once; the answers up to each ReadyForQuery.
fn at_once(client: &mut Wire, all: &[&str]) -> Vec<Vec<Message>> {
    let batch = all.iter().fold(Batch::new(), |batch, sql| batch.query(sql));
    client.send(batch.bytes());
    all.iter().map(|_| client.until_ready()).collect()
}

fn fails(answers: &[Vec<Message>]) -> Vec<String> {
    answers.iter().flat_map(|a| codes(a)).collect()
}

#[test]
fn statements_sent_behind_a_read_only_transaction_run_where_they_must() {
    let stage = stage("pipe_behind", "");
    let lock = "select pg_try_advisory_xact_lock(77)";
    for all in [
        &[
            "begin read only",
            "select 1 from t",
            "commit",
            "insert into t values (500)",
        ][..],
        &[
            "begin read only",
            "select 1 from t",
            "commit",
            "begin",
            "insert into t values (501)",
            "commit",
        ],
        &[
            "begin read only",
            "select 1 from t",
            "select a from fast",
            "commit",
        ],
        &["begin read only", "select 1 from t", lock, "commit"],
    ] {
        let mut client = stage.client();
        let answers = at_once(&mut client, all);
        assert_eq!(fails(&answers), [""; 0], "{all:?}");
        assert_eq!(answers.last().unwrap().last().unwrap().body, b"I");
    }
    assert_eq!(
        stage
            .direct_app()
            .one("select count(*) from t where id >= 500"),
        "2"
    );
    // A lock that is taken is taken where others see it.
    let mut client = stage.client();
    at_once(&mut client, &["begin read only", "select 1 from t", lock]);
    assert_eq!(
        stage.direct_app().one("select pg_try_advisory_lock(77)"),
        "f"
    );
    stage.assert_no_write_reached_a_replica();
}

#[test]
fn writes_sent_behind_reads_of_a_transaction_run_on_the_primary() {
    let stage = stage("pipe_until", "transaction_reads = \"until_write\"");
    let mut client = stage.client();
    let learn = |client: &mut Wire| {
        ["begin", "select 1", "commit"]
            .iter()
            .for_each(|sql| drop(client.run(sql)));
    };
    learn(&mut client);
    let all = [
        "begin",
        "select 1 from t",
        "insert into t values (600)",
        "commit",
    ];
    assert_eq!(fails(&at_once(&mut client, &all)), [""; 0]);
    // By the extended protocol, with a Flush behind what is only prepared.
    client.run("begin");
    let select = Batch::new()
        .parse("s", "select id from t where id = 1")
        .describe_statement("s")
        .flush();
    client.send(select.bytes());
    let answers: Vec<Message> = (0..3).map(|_| client.message()).collect();
    assert_eq!(tags(&answers), "1tT");
    let insert = Batch::new()
        .parse("", "insert into t values (601)")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let answers = client.ask(&insert);
    assert_eq!(tags(&answers), "12CZ", "{:?}", codes(&answers));
    client.run("commit");
    assert_eq!(client.one("select count(*) from t where id >= 600"), "2");
    stage.assert_no_write_reached_a_replica();
}

fn kill(stage: &Stage) {
    stage.direct(0).run(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and usename = 'app'",
    );
}

/// A client whose transaction has lost its server, and knows it.
fn failed(stage: &Stage) -> Wire {
    let mut client = stage.client();
    client.run("begin");
    client.run("insert into t values (700)");
    kill(stage);
    // Known, or met by the statement.
    let code = client.fails("select 1 for update").code;
    assert!(
        ["40001", "57P01", "08006"].contains(&code.as_str()),
        "{code}"
    );
    client
}

fn batch(all: &[&str]) -> Batch {
    let one = |batch: Batch, sql: &&str| batch.parse("", sql).bind("", "", &[]).execute("", 0);
    all.iter().fold(Batch::new(), one).sync()
}

#[test]
fn failed_transaction_is_left_by_nothing_but_its_end() {
    let stage = stage("pipe_failed", "");
    for all in [
        &[
            "insert into t values (701)",
            "rollback",
            "insert into t values (702)",
        ][..],
        &["insert into t values (703)", "commit", "rollback"],
        &["rollback", "insert into t values (704)"],
    ] {
        let mut client = failed(&stage);
        let answers = client.ask(&batch(all));
        assert_eq!(
            (tags(&answers).as_str(), codes(&answers)[0].as_str()),
            ("EZ", "25P02"),
            "{all:?}"
        );
        assert_eq!(answers[1].body, b"E");
        client.run("rollback");
    }
    // What is only prepared ends nothing.
    let mut client = failed(&stage);
    let answers = client.ask(&Batch::new().parse("", "rollback").sync());
    assert_eq!(answers.last().unwrap().body, b"E");
    assert_eq!(client.fails("insert into t values (705)").code, "25P02");
    assert!(tags(&client.ask(&batch(&["rollback"]))).ends_with("CZ"));
    client.run("insert into t values (799)");
    // A commit by the extended protocol is no success, but it is the end.
    let mut client = failed(&stage);
    let answers = client.ask(&batch(&["commit"]));
    assert_eq!(codes(&answers), ["25P02"]);
    assert_eq!(answers.last().unwrap().body, b"I");
    assert_eq!(
        stage
            .direct_app()
            .one("select count(*) from t where id >= 700"),
        "1"
    );
}

#[test]
fn transaction_whose_begin_was_lost_with_its_server_has_failed() {
    let stage = stage("pipe_begun", "");
    let busy = "select 1 from pg_sleep(20) for update";
    let lose = |client: &mut Wire, sent: &Batch| {
        client.send(sent.bytes());
        stage.wait_activity("query like '%pg_sleep(20)%' and state = 'active'", 1);
        kill(&stage);
    };
    let query = |all: &[&str]| all.iter().fold(Batch::new(), |batch, sql| batch.query(sql));
    let mut client = stage.client();
    lose(
        &mut client,
        &query(&[busy, "begin", "insert into t values (800)"]),
    );
    for _ in 0..3 {
        assert!(!codes(&client.until_ready()).is_empty());
    }
    assert_eq!(client.fails("insert into t values (801)").code, "25P02");
    client.run("rollback");
    // Begun in a batch, and told of.
    let mut client = stage.client();
    lose(&mut client, &batch(&["begin", busy]));
    let answers = client.until_ready();
    assert_eq!(answers.last().unwrap().body, b"E", "{}", tags(&answers));
    assert_eq!(client.fails("insert into t values (802)").code, "25P02");
    client.run("rollback");
    // Behind the end of another.
    let mut client = stage.client();
    client.run("begin; insert into t values (803)");
    lose(
        &mut client,
        &query(&[busy, "commit", "begin", "insert into t values (804)"]),
    );
    for _ in 0..4 {
        assert!(!codes(&client.until_ready()).is_empty());
    }
    assert_eq!(client.fails("insert into t values (805)").code, "25P02");
    client.run("rollback");
    assert_eq!(client.one("select count(*) from t where id >= 800"), "0");
}

#[test]
fn setting_that_a_function_of_a_transaction_leaves_stays_with_it() {
    let stage = stage("pipe_unseen", "transaction_reads = \"until_write\"");
    stage.seed(
        "create function tenant(v text) returns text language plpgsql stable as \
         $$ begin return set_config('app.tenant', v, true); end $$",
    );
    wait::until("the catalog is read", wait::SOON, || {
        stage.client().run("show route select tenant('1')")[0][0].as_deref() == Some("replica")
    });
    for begin in ["begin", "begin read only"] {
        let mut client = stage.client();
        ["begin", "select 1", "commit"]
            .iter()
            .for_each(|sql| drop(client.run(sql)));
        client.run(begin);
        client.run("select id from t where id = 1");
        assert_eq!(client.one("select tenant('5')"), "5");
        assert_eq!(
            client.one("select current_setting('app.tenant', true)"),
            "5",
            "{begin}"
        );
        client.run("commit");
    }
    let mut client = stage.client();
    let read = Batch::new().query("select id from t where id = 2");
    assert_eq!(row(&client.ask(&read)[1])[0].as_deref(), Some("2"));
}
