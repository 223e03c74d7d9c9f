//! Conversations in which a shared server connection must not show, compared message by message with a direct one.

use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Message, ServerError, Wire, row};

const SCHEMA: &str = "create schema mine authorization app; create table mine.t (id int primary key); insert into mine.t values (1), (2)";

fn stage(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 1").with("[pool]\nsize = 2")
    });
    stage.seed(SCHEMA);
    stage
}

/// A client with startup parameters, to pgconvoy or to the primary itself.
fn login(port: u16, database: &str) -> Wire {
    let who = [
        ("user", "app"),
        ("database", database),
        ("application_name", "first"),
        ("options", "-c search_path=mine"),
    ];
    Wire::login(port, &who, None).unwrap()
}

fn words(message: &Message) -> String {
    let rest = match message.tag {
        b'E' | b'N' => {
            let error = ServerError::parse(&message.body);
            let place = error.fields.get(&'P').map_or("", String::as_str);
            format!("{} at {place}: {}", error.code, error.message)
        }
        b'C' => message.command(),
        b'D' => format!("{:?}", row(message)),
        b'S' => format!("{:?}", message.pair()),
        b'Z' => String::from_utf8_lossy(&message.body).into_owned(),
        _ => String::new(),
    };
    format!("{} {rest}", char::from(message.tag))
}

/// What is answered to each of the batches.
fn answers(client: &mut Wire, batches: &[Batch]) -> Vec<Vec<String>> {
    let answer = |batch| client.ask(batch).iter().map(words).collect();
    batches.iter().map(answer).collect()
}

/// All of it in one conversation, direct and through pgconvoy.
fn assert_alike(stage: &Stage, batches: &[Batch]) {
    let mut direct = login(shared::cluster().ports()[0], &stage.database);
    let mut through = login(stage.convoy.port, &stage.database);
    let expected = answers(&mut direct, batches);
    assert_eq!(answers(&mut through, batches), expected);
}

fn batch() -> Batch {
    Batch::new()
}

/// A statement by the extended protocol, not ended.
fn run(batch: Batch, sql: &str) -> Batch {
    batch.parse("", sql).bind("", "", &[]).execute("", 0)
}

fn queries(texts: &[&str]) -> Vec<Batch> {
    texts.iter().map(|text| batch().query(text)).collect()
}

#[test]
fn like_direct_reset_of_a_startup_parameter_holds_for_the_rest_of_its_string() {
    let stage = stage("like_direct_reset");
    assert_alike(
        &stage,
        &queries(&[
            "set search_path = pg_catalog; set application_name = 'other'",
            "reset search_path; select count(*) from t; select nope from t",
            "reset all; select count(*) from t; show application_name; selec",
            "show search_path",
            "begin; set search_path = pg_catalog",
            "select 'h\u{e9}'; reset search_path; select id from t order by id; savepoint s; reset all; select nope",
            "rollback",
            "show search_path; reset work_mem; show search_path",
            "set role none; reset session authorization; select count(*) from t",
        ]),
    );
}

#[test]
fn like_direct_reset_within_an_open_batch_holds_for_what_follows() {
    let stage = stage("like_direct_batch");
    let set = batch().query("set application_name = 'other'; set search_path = pg_catalog");
    let reset = run(run(batch(), "reset all"), "select count(*) from t").sync();
    let failed = run(
        run(
            run(batch(), "insert into mine.t values (3)"),
            "reset search_path",
        ),
        "select 1 / (count(*) - 3) from t",
    )
    .sync();
    let shows = run(run(batch(), "show search_path"), "show application_name").sync();
    let discard = run(run(batch(), "discard all"), "select count(*) from t").sync();
    let fails_behind = run(run(batch(), "discard all"), "select nope from t").sync();
    let alone = run(batch(), "discard all").sync();
    assert_alike(
        &stage,
        &[
            set.clone(),
            reset,
            shows.clone(),
            set.clone(),
            failed,
            shows.clone(),
            batch().query("select count(*) from mine.t"),
            set.clone(),
            discard,
            shows.clone(),
            set.clone(),
            fails_behind,
            shows.clone(),
            set,
            alone,
            shows,
        ],
    );
}

#[test]
fn like_direct_parameters_are_told_before_the_end_of_the_request_that_resets_them() {
    let stage = stage("like_direct_told");
    assert_alike(
        &stage,
        &queries(&[
            "set application_name = 'other'; set datestyle = 'German'",
            "reset application_name",
            "reset datestyle",
            "set application_name = 'other'",
            "reset all",
            "begin",
            "set application_name = 'other'",
            "reset application_name",
            "rollback",
            "set application_name = 'other'",
            "discard all",
        ]),
    );
}

#[test]
fn like_direct_deallocate_within_a_string_takes_the_protocols_statement() {
    let stage = stage("like_direct_deallocate");
    let parse = batch()
        .parse("mine", "select id from t where id = $1")
        .sync();
    let bind = batch().bind("", "mine", &[Some("1")]).execute("", 0).sync();
    assert_alike(
        &stage,
        &[
            parse.clone(),
            batch().query("select 1; deallocate mine; select 2; deallocate mine"),
            bind.clone(),
            parse.clone(),
            batch().query("begin; deallocate mine; rollback; select nope"),
            parse.clone(),
            batch().query("deallocate prepare \"mine\"; deallocate all"),
            bind.clone(),
            parse.clone(),
            batch().query("begin"),
            batch().query("selec"),
            batch().query("deallocate mine; rollback"),
            batch().query("rollback"),
            bind,
            parse,
        ],
    );
}

#[test]
fn like_direct_discard_that_is_skipped_takes_nothing() {
    let stage = stage("like_direct_skipped");
    let parse = batch()
        .parse("mine", "select id from t where id = $1")
        .sync();
    let bind = batch().bind("", "mine", &[Some("1")]).execute("", 0).sync();
    let skipped = |sql: &str| run(run(batch(), "select 1 / 0"), sql).sync();
    assert_alike(
        &stage,
        &[
            parse.clone(),
            skipped("discard all"),
            bind.clone(),
            skipped("deallocate all"),
            bind.clone(),
            skipped("deallocate mine"),
            bind.clone(),
            run(batch(), "select 1 / 0").query("discard all").sync(),
            bind.clone(),
            batch()
                .parse("more", "select 1; deallocate all")
                .query("select 1; deallocate all; select 2")
                .parse("more", "select 2")
                .sync(),
            batch().bind("", "more", &[]).execute("", 0).sync(),
            bind.clone(),
            run(batch(), "deallocate all")
                .parse("mine", "select 7")
                .sync(),
            bind,
        ],
    );
}

#[test]
fn like_direct_statement_that_is_new_to_a_server_connection_is_refused_as_a_known_one() {
    let stage = stage("like_direct_refused");
    let parse = batch()
        .parse("one", "select id from t where id = $1")
        .parse("none", "create table x (a int)")
        .parse("end", "rollback")
        .sync();
    let bind = |name: &str, values: &[Option<&str>]| batch().bind("", name, values).sync();
    let mut through = login(stage.convoy.port, &stage.database);
    let mut direct = login(shared::cluster().ports()[0], &stage.database);
    for client in [&mut direct, &mut through] {
        client.ask(&parse);
    }
    // Another client takes the server connection that knows them.
    let mut other = stage.client();
    other.run("begin; select 1");
    let batches = [
        batch().query("begin; selec"),
        batch().query("begin"),
        batch().query("selec"),
        bind("one", &[]),
        bind("one", &[Some("1")]),
        bind("none", &[Some("1")]),
        batch().describe_statement("none").sync(),
        batch().describe_statement("one").sync(),
        bind("unknown", &[]),
        batch().bind("", "end", &[]).execute("", 0).sync(),
        batch().bind("", "one", &[Some("2")]).execute("", 0).sync(),
    ];
    assert_eq!(
        answers(&mut through, &batches),
        answers(&mut direct, &batches)
    );
}

#[test]
fn like_direct_known_statement_is_refused_in_a_block_that_fails_on_its_way() {
    let stage = stage("like_direct_fails");
    let known = "show work_mem";
    let whole = run(batch(), "begin").query("select 1 / 0");
    assert_alike(
        &stage,
        &[
            batch().parse("", known).sync(),
            whole.parse("", known).sync(),
            batch().sync(),
        ],
    );
}

#[test]
fn like_direct_refused_parse_takes_the_unnamed_statement() {
    let stage = stage("like_direct_unnamed");
    let text = "insert into t values (777) on conflict do nothing";
    let chain = batch()
        .parse("end", "rollback and chain")
        .bind("", "end", &[])
        .execute("", 2)
        .parse("", "select id from t where id = $1")
        .bind("p2", "end", &[None])
        .sync();
    let bind = batch().bind("", "", &[]).execute("", 0).sync();
    assert_alike(
        &stage,
        &[
            batch().query("begin"),
            batch().query("selec"),
            chain,
            run(batch(), text).sync(),
            bind.clone(),
            batch().query("rollback"),
            batch().parse("", text).sync(),
            batch().query("begin"),
            batch().query("selec"),
            run(batch(), text).sync(),
            bind,
        ],
    );
}
