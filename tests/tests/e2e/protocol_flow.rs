//! The same bytes sent to PostgreSQL and through pgconvoy get the same answer, message by message.
//!
//! Errors and notices are compared by severity and SQLSTATE: positions and source lines may differ when a
//! statement's name is another one on the server. ParameterStatus is left out: it may come at any time.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Message, ServerError, Wire, tags};
use std::sync::LazyLock;

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let stage = Stage::new("flow");
    stage.seed("create table t (a int primary key, b text); insert into t select i, 'row ' || i from generate_series(1, 10) i");
    stage
});

/// What one write is answered with, up to its last ReadyForQuery.
struct Step {
    batch: Batch,
    ready: usize,
}

/// A write that is answered with one ReadyForQuery.
fn once(batch: Batch) -> Step {
    Step { batch, ready: 1 }
}

/// A write that is answered with several.
fn times(ready: usize, batch: Batch) -> Step {
    Step { batch, ready }
}

fn new() -> Batch {
    Batch::new()
}

fn comparable(message: Message) -> Message {
    match message.tag {
        b'E' | b'N' => {
            let error = ServerError::parse(&message.body);
            Message {
                tag: message.tag,
                body: format!("{} {}", error.severity, error.code).into_bytes(),
            }
        }
        _ => message,
    }
}

fn answers(mut wire: Wire, steps: &[Step]) -> Vec<Vec<Message>> {
    let answer = |step: &Step| {
        wire.send(step.batch.bytes());
        let messages = (0..step.ready).flat_map(|_| wire.until_ready());
        messages
            .filter(|message| message.tag != b'S')
            .map(comparable)
            .collect()
    };
    steps.iter().map(answer).collect()
}

fn check(steps: &[Step]) {
    let direct = answers(STAGE.direct_app(), steps);
    let proxied = answers(STAGE.client(), steps);
    for (number, (direct, proxied)) in direct.iter().zip(&proxied).enumerate() {
        assert_eq!(
            tags(proxied),
            tags(direct),
            "the shape of answer {number}: {proxied:?}"
        );
        assert_eq!(proxied, direct, "answer {number}");
    }
    let log = STAGE.convoy.log();
    assert!(!log.contains("panicked at"), "{log}");
}

macro_rules! same_as_direct {
    ($($name:ident: [$($step:expr),+ $(,)?];)+) => {
        $(#[test] fn $name() { check(&[$($step),+]); })+
    };
}

same_as_direct! {
    empty_query_is_answered: [once(new().query("")), once(new().query(" ; ")), once(new().query("-- nothing"))];
    several_statements_in_one_query: [once(new().query("select 1; select 'two', 2; select a from t order by a"))];
    error_ends_a_query_of_several_statements: [once(new().query("select 1; select 1/0; select 2")), once(new().query("select 3"))];
    queries_may_be_pipelined: [times(3, new().query("select 1").query("select nope").query("select 3"))];
    failed_transaction_refuses_until_rollback: [
        once(new().query("begin")), once(new().query("select 1/0")), once(new().query("select 1")),
        once(new().query("rollback")), once(new().query("select 1")),
    ];
    savepoints_recover_a_transaction: [
        once(new().query("begin; savepoint s")), once(new().query("select 1/0")),
        once(new().query("rollback to s")), once(new().query("select 1")), once(new().query("commit")),
    ];
    notices_are_passed_on: [once(new().query("do $$ begin raise notice 'hello'; raise warning 'mind'; end $$"))];
    text_that_is_not_utf8_reaches_the_server: [once(new().message(b'Q', b"select '\xff\xfe'\0")), once(new().query("select 1"))];
    unnamed_statement_and_portal: [
        once(new().parse("", "select a, b from t where a = $1").bind("", "", &[Some("3")]).describe_portal("").execute("", 0).sync()),
    ];
    named_statement_lives_until_it_is_closed: [
        once(new().parse("s", "select b from t where a = $1").describe_statement("s").sync()),
        once(new().bind("", "s", &[Some("1")]).execute("", 0).sync()),
        once(new().bind("", "s", &[Some("2")]).describe_portal("").execute("", 0).sync()),
        once(new().bind("", "s", &[None]).execute("", 0).sync()),
        once(new().close_statement("s").sync()),
        once(new().bind("", "s", &[Some("1")]).execute("", 0).sync()),
    ];
    statement_name_in_use_is_refused: [
        once(new().parse("s", "select 1").sync()), once(new().parse("s", "select 2").sync()),
        once(new().bind("", "s", &[]).execute("", 0).sync()),
    ];
    closed_name_may_be_used_again_in_one_pipeline: [
        once(new().parse("s", "select 1").sync()),
        once(new().close_statement("s").parse("s", "select 'two'").bind("", "s", &[]).execute("", 0).sync()),
    ];
    failed_parse_leaves_no_statement: [
        once(new().parse("s", "select nope from t").sync()),
        once(new().bind("", "s", &[]).execute("", 0).sync()),
        once(new().parse("s", "select 1").bind("", "s", &[]).execute("", 0).sync()),
    ];
    unnamed_statement_is_replaced_within_a_pipeline: [
        once(new().parse("", "select 1").bind("", "", &[]).execute("", 0).parse("", "select 'b'").bind("", "", &[]).execute("", 0).sync()),
    ];
    unnamed_statement_survives_a_sync: [
        once(new().parse("", "select a from t where a < $1").sync()),
        once(new().bind("", "", &[Some("4")]).execute("", 0).sync()),
    ];
    pipeline_under_one_sync: [
        once(new().parse("a", "select 1").parse("b", "select b from t where a = $1").bind("", "a", &[]).execute("", 0)
            .bind("", "b", &[Some("5")]).describe_portal("").execute("", 0).bind("", "a", &[]).execute("", 0).sync()),
    ];
    pipeline_of_many_syncs: [
        times(4, new().parse("s", "select $1::int").bind("", "s", &[Some("1")]).execute("", 0).sync()
            .bind("", "s", &[Some("x")]).execute("", 0).sync().bind("", "s", &[Some("3")]).execute("", 0).sync().sync()),
    ];
    error_skips_to_sync: [
        times(2, new().parse("", "select nope").bind("", "", &[]).describe_portal("").execute("", 0).close_portal("").sync()
            .parse("", "select 1").bind("", "", &[]).execute("", 0).sync()),
    ];
    error_in_the_middle_of_a_pipeline: [
        once(new().parse("", "select 1").bind("", "", &[]).execute("", 0).parse("", "select $1::int").bind("", "", &[Some("x")])
            .execute("", 0).parse("after", "select 2").sync()),
        once(new().bind("", "after", &[]).execute("", 0).sync()),
    ];
    query_behind_a_failed_message_is_skipped: [once(new().parse("", "select nope").query("select 1").sync()), once(new().query("select 2"))];
    failed_pipeline_is_rolled_back_as_one: [
        once(new().parse("", "insert into t values (99, 'x')").bind("", "", &[]).execute("", 0)
            .parse("", "select 1/0 from t").bind("", "", &[]).execute("", 0).sync()),
        once(new().query("select count(*) from t where a = 99")),
    ];
    portal_is_suspended_at_max_rows: [
        once(new().query("begin")),
        once(new().parse("", "select a from t order by a").bind("p", "", &[]).execute("p", 4).execute("p", 4).sync()),
        once(new().execute("p", 4).sync()),
        once(new().close_portal("p").execute("p", 1).sync()),
        once(new().query("rollback")),
    ];
    portal_is_suspended_outside_a_transaction: [
        once(new().parse("", "select a from t order by a").bind("p", "", &[]).execute("p", 3).execute("p", 0).sync()),
        once(new().execute("p", 1).sync()),
    ];
    empty_statement_in_the_extended_protocol: [once(new().parse("", "").bind("", "", &[]).describe_portal("").execute("", 0).sync())];
    wrong_number_of_parameters: [once(new().parse("", "select $1::int").bind("", "", &[]).execute("", 0).sync()), once(new().query("select 1"))];
    missing_names_are_reported: [
        once(new().describe_statement("nope").sync()), once(new().describe_portal("nope").sync()),
        once(new().execute("nope", 0).sync()), once(new().close_statement("nope").close_portal("nope").sync()),
    ];
    sync_and_flush_alone: [once(new().sync()), once(new().flush().flush().sync()), times(3, new().sync().sync().sync())];
    write_by_the_extended_protocol_in_a_transaction: [
        once(new().parse("", "begin").bind("", "", &[]).execute("", 0).sync()),
        once(new().parse("", "insert into t values ($1, $2)").bind("", "", &[Some("77"), Some("x")]).execute("", 0).sync()),
        once(new().parse("", "select b from t where a = 77").bind("", "", &[]).execute("", 0).sync()),
        once(new().parse("", "rollback").bind("", "", &[]).execute("", 0).sync()),
    ];
    transaction_within_one_pipeline: [
        once(new().parse("", "begin").bind("", "", &[]).execute("", 0).parse("", "update t set b = b where a = 1").bind("", "", &[])
            .execute("", 0).parse("", "rollback").bind("", "", &[]).execute("", 0).sync()),
    ];
    simple_query_between_extended_ones: [
        once(new().parse("s", "select a from t where a = $1").sync()),
        times(3, new().bind("", "s", &[Some("1")]).execute("", 0).sync().query("select 'simple'").bind("", "s", &[Some("2")]).execute("", 0).sync()),
    ];
    // abs(int4) is OID 1397, and 0 is no function.
    function_call_is_answered: [once(new().function_call(1397, &["-5"])), once(new().function_call(0, &[])), once(new().query("select 1"))];
    function_call_in_a_transaction: [once(new().query("begin")), once(new().function_call(1397, &["-7"])), once(new().query("commit"))];
    sql_level_prepare_and_execute: [
        once(new().query("prepare q as select a from t where a = $1")), once(new().query("execute q(2)")),
        once(new().query("execute q('x')")), once(new().query("deallocate q")), once(new().query("execute q(2)")),
    ];
    cursor_in_a_transaction: [
        once(new().query("begin; declare c cursor for select a from t order by a")), once(new().query("fetch 3 from c")),
        once(new().query("move 2 in c")), once(new().query("fetch all from c")), once(new().query("close c; commit")),
    ];
    explain_shows_a_plan: [once(new().query("explain (costs off) select * from t where a = 1"))];
    chained_transactions: [once(new().query("begin")), once(new().query("commit and chain")), once(new().query("rollback"))];
    copy_out: [once(new().query("copy t to stdout")), once(new().query("copy (select a from t where a < 3) to stdout (format csv, header)"))];
    copy_out_by_the_extended_protocol: [once(new().parse("", "copy t to stdout").bind("", "", &[]).execute("", 0).sync())];
    copy_in: [
        once(new().query("begin")),
        once(new().query("copy t from stdin").copy_data(b"20\ttwenty\n21\t").copy_data(b"twenty-one\n").copy_done()),
        once(new().query("select count(*) from t")), once(new().query("rollback")),
    ];
    copy_in_that_the_client_gives_up: [
        once(new().query("copy t from stdin").copy_data(b"20\ttwenty\n").copy_fail("changed my mind")), once(new().query("select count(*) from t")),
    ];
    copy_in_of_bad_data: [
        once(new().query("copy t from stdin").copy_data(b"x\ttwenty\n").copy_data(b"30\tthirty\n").copy_done()), once(new().query("select count(*) from t")),
    ];
    copy_in_that_fails_before_it_starts: [once(new().query("copy nope from stdin").copy_data(b"1\n").copy_done()), once(new().query("select 1"))];
    copy_in_by_the_extended_protocol: [
        once(new().query("begin")),
        once(new().parse("", "copy t from stdin").bind("", "", &[]).execute("", 0).copy_data(b"20\tx\n").copy_done().sync()),
        once(new().query("rollback")),
    ];
    copy_in_by_the_extended_protocol_ignores_a_sync_during_the_copy: [
        once(new().query("begin")),
        once(new().parse("", "copy t from stdin").bind("", "", &[]).execute("", 0).sync().copy_data(b"20\tx\n").copy_done().sync()),
        once(new().query("rollback")),
    ];
    copies_among_other_statements: [
        once(new().query("select 1; copy t to stdout; select 2")),
        once(new().query("begin; copy t from stdin; select count(*) from t; rollback").copy_data(b"40\tx\n").copy_done()),
    ];
    large_parameter_and_result: [
        once(new().parse("", "select length($1), $1").bind("", "", &[Some(&"x".repeat(3_000_000))]).execute("", 0).sync()),
        once(new().query(&format!("select length('{}')", "y".repeat(2_000_000)))),
    ];
    result_without_columns: [once(new().query("select from t")), once(new().parse("", "select").bind("", "", &[]).describe_portal("").execute("", 0).sync())];
}

#[test]
fn flush_brings_the_answers_before_the_sync() {
    for mut wire in [STAGE.direct_app(), STAGE.client()] {
        let next = |wire: &mut Wire, count: usize| {
            tags(&(0..count).map(|_| wire_message(wire)).collect::<Vec<_>>())
        };
        let parse = new()
            .parse("f", "select a from t where a = $1")
            .describe_statement("f")
            .flush();
        wire.send(parse.bytes());
        assert_eq!(next(&mut wire, 3), "1tT");
        wire.send(
            new()
                .bind("", "f", &[Some("1")])
                .execute("", 0)
                .flush()
                .bytes(),
        );
        assert_eq!(next(&mut wire, 3), "2DC");
        wire.send(new().bind("", "f", &[Some("x")]).flush().bytes());
        assert_eq!(next(&mut wire, 1), "E");
        wire.send(new().sync().bytes());
        assert_eq!(next(&mut wire, 1), "Z");
    }
}

/// The next message that is not a ParameterStatus.
fn wire_message(wire: &mut Wire) -> Message {
    loop {
        let message = wire.message();
        if message.tag != b'S' {
            return message;
        }
    }
}

#[test]
fn parameter_status_follows_a_set() {
    let mut client = STAGE.client();
    client.run("set timezone = 'Asia/Tokyo'");
    assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
    client.run("begin; set timezone = 'Europe/Riga'");
    assert_eq!(client.parameters["TimeZone"], "Europe/Riga");
    client.run("rollback");
    assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
}

#[test]
fn notifications_reach_an_idle_listener_byte_for_byte() {
    let (mut listener, mut sender) = (STAGE.client(), STAGE.client());
    listener.run("listen news");
    sender.run("notify news, 'it''s; a \"test\"'");
    let message = wire_message(&mut listener);
    assert_eq!(message.tag, b'A');
    assert_eq!(
        message.notification(),
        ("news".into(), "it's; a \"test\"".into())
    );
    listener.run("unlisten news");
}

#[test]
fn frames_may_be_split_anywhere() {
    let batch = new()
        .parse("", "select b from t where a = $1")
        .bind("", "", &[Some("3")])
        .execute("", 0)
        .sync();
    let mut client = STAGE.client();
    for byte in batch.bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(tags(&client.until_ready()), "12DCZ");
}
