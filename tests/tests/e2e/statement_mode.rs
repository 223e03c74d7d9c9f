//! `pool.mode = "statement"`: a server connection for each statement, and no transaction blocks.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, ServerError, codes, tags};

const STATEMENT: &str = "[pool]\nmode = \"statement\"\nsize = 1";

fn stage(name: &str) -> Stage {
    Stage::with(name, |setup| setup.with(STATEMENT).top("workers = 1"))
}

#[test]
fn transaction_block_is_refused_and_the_client_stays() {
    let stage = stage("statement_refused");
    let mut client = stage.client();
    for sql in [
        "begin",
        "start transaction read only",
        "begin isolation level serializable",
        "begin; insert into kept values (1)",
        "begin; savepoint a",
        "begin; commit and chain",
        "select 1; begin",
        "/* x */ BEGIN WORK",
    ] {
        let error = client.fails(sql);
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("ERROR", "0A000"),
            "{sql}"
        );
        assert!(error.message.contains("statement mode"), "{error}");
        assert!(error.fields[&'H'].contains("pool_mode"), "{error}");
        assert_eq!(client.status, b'I', "{sql}");
        assert_eq!(client.one("select 7"), "7");
    }
    stage.wait_activity("state like 'idle in transaction%'", 0);
}

#[test]
fn transaction_block_in_the_extended_protocol_is_refused_up_to_sync() {
    let stage = stage("statement_extended");
    let mut client = stage.client();
    let batch = Batch::new()
        .parse("", "begin")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", "select 1")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let replies = client.ask(&batch);
    assert_eq!(
        (tags(&replies).as_str(), codes(&replies)),
        ("EZ", vec!["0A000".to_owned()])
    );
    assert_eq!(client.status, b'I');
    assert_eq!(
        client.execute("select $1::int", &["3"]).unwrap()[0][0].as_deref(),
        Some("3")
    );
}

#[test]
fn refusal_in_a_pipeline_comes_in_its_turn() {
    let stage = stage("statement_pipeline");
    let mut client = stage.client();
    let batch = Batch::new()
        .query("select 1 from pg_sleep(0.1)")
        .query("begin")
        .query("show pool_version")
        .query("select 2");
    client.send(batch.bytes());
    let answers: Vec<String> = (0..4).map(|_| tags(&client.until_ready())).collect();
    assert_eq!(answers, ["TDCZ", "EZ", "TDCZ", "TDCZ"]);
}

#[test]
fn transaction_within_one_statement_works() {
    let stage = stage("statement_whole");
    let mut client = stage.client();
    client.run("create table t (a int)");
    client.run("begin; insert into t values (1); commit");
    client.run("insert into t values (2); insert into t values (3)");
    let error = client.fails("insert into t values (4); select 1/0");
    assert_eq!(error.code, "22012");
    // One implicit transaction up to Sync.
    let insert = |batch: Batch, value| {
        batch
            .parse("", "insert into t values ($1)")
            .bind("", "", &[Some(value)])
            .execute("", 0)
    };
    let batch = insert(insert(Batch::new(), "5"), "6").sync();
    assert!(codes(&client.ask(&batch)).is_empty());
    client.run("commit");
    assert_eq!(
        client.one("select string_agg(a::text, ',' order by a) from t"),
        "1,2,3,5,6"
    );
}

#[test]
fn clients_take_turns_on_one_server_connection() {
    let stage = stage("statement_turns");
    let mut clients = [stage.client(), stage.client(), stage.client()];
    clients[0].run("create table t (a int)");
    for round in 0..20 {
        for client in &mut clients {
            let row = client.execute(
                "insert into t values ($1) returning a",
                &[&round.to_string()],
            );
            assert_eq!(
                row.unwrap()[0][0].as_deref(),
                Some(round.to_string().as_str())
            );
        }
    }
    // Who wrote last sees what was written before.
    assert_eq!(clients[2].one("select count(*) from t"), "60");
    assert_eq!(stage.server_connections(0), 1);
}

/// A later `SET TRANSACTION` hides the BEGIN: only the server's answer shows that a block is open.
#[test]
fn transaction_block_that_was_not_seen_ends_the_session_and_is_rolled_back() {
    let stage = stage("statement_unseen");
    let mut client = stage.client();
    client.run("create table t (a int)");
    client.send(
        Batch::new()
            .query("begin; insert into t values (1); set transaction read write")
            .bytes(),
    );
    let error: ServerError = client.farewell().expect("last words");
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "0A000")
    );
    stage.wait_activity("state like 'idle in transaction%'", 0);
    assert_eq!(stage.direct_app().one("select count(*) from t"), "0");
}

#[test]
fn session_state_stays_with_its_owner_and_a_pinned_session_gets_no_block_either() {
    let stage = Stage::with("statement_pinned", |setup| {
        setup
            .with("[pool]\nmode = \"statement\"")
            .top("workers = 1")
    });
    let (mut owner, mut other) = (stage.client(), stage.client());
    owner.run("create temp table mine ()");
    owner.run("set app.x = 'mine'");
    for _ in 0..5 {
        assert_eq!(owner.one("select current_setting('app.x', true)"), "mine");
        assert_eq!(
            other.one("select coalesce(current_setting('app.x', true), '')"),
            ""
        );
    }
    assert_eq!(owner.fails("begin").code, "0A000");
    assert_eq!(owner.status, b'I');
    let begin = Batch::new()
        .parse("", "begin")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    assert_eq!(codes(&owner.ask(&begin)), ["0A000"]);
    assert_eq!(owner.one("select count(*) from mine"), "0");
}

#[test]
fn statement_mode_is_set_for_a_user_or_a_database_alone() {
    let stage = Stage::with("statement_one", |setup| {
        setup.with(
            "[auth]\nmethod = \"trust\"\n[[user]]\nname = \"app\"\n\
             [[user]]\nname = \"other\"\npool_mode = \"statement\"\n\
             [[database]]\nname = \"short\"\ntarget = \"postgres\"\npool_mode = \"statement\"",
        )
    });
    stage.client().run("begin; select 1");
    let mut other = stage.convoy.connect("other", &stage.database).unwrap();
    assert_eq!(other.fails("begin").code, "0A000");
    let mut short = stage.convoy.connect("app", "short").unwrap();
    assert_eq!(short.fails("begin").code, "0A000");
    assert_eq!(short.one("select current_database()"), "postgres");
}
