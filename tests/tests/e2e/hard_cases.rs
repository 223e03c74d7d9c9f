//! What is known to have gone wrong in poolers, where no other file has a test of it.

use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Message, ServerError, Wire, codes, row, startup, tags};

/// One server connection on each node, for everybody.
fn single(name: &str, more: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 1").with(&format!(
            "[pool]\nsize = 1\nquery_wait_timeout = \"5s\"\n{more}"
        ))
    });
    stage.seed("create table t (a int, b text); insert into t select i, 'row ' || i from generate_series(1, 10) i");
    stage
}

/// Answers without what may differ: parameters, and of errors all but the SQLSTATE.
fn told(messages: &[Message]) -> Vec<String> {
    let words = |message: &Message| match message.tag {
        b'S' => None,
        b'E' => Some(format!("E {}", ServerError::parse(&message.body).code)),
        b'D' => Some(format!("D {:?}", row(message))),
        b'C' => Some(format!("C {}", message.command())),
        b'Z' => Some(format!("Z {}", char::from(message.body[0]))),
        tag => Some(char::from(tag).to_string()),
    };
    messages.iter().filter_map(words).collect()
}

/// Each batch, answered with one ReadyForQuery, gets the answer that it gets from PostgreSQL.
fn same_as_direct(stage: &Stage, batches: &[Batch]) {
    let [direct, proxied] = [stage.direct_app(), stage.client()].map(|mut wire| {
        let answers: Vec<_> = batches.iter().map(|b| told(&wire.ask(b))).collect();
        wire.close();
        answers
    });
    assert_eq!(proxied, direct);
}

/// A bound and executed statement: the first field of the first row, or the SQLSTATE.
fn run(client: &mut Wire, name: &str) -> String {
    let replies = client.ask(&Batch::new().bind("", name, &[]).execute("", 0).sync());
    match replies.iter().find(|message| message.tag == b'D') {
        Some(found) => row(found)[0].clone().unwrap_or_default(),
        None => codes(&replies).join(" "),
    }
}

// Prepared statements and the protocol.

#[test]
fn confirmation_of_a_known_statement_keeps_its_place_among_long_rows_and_errors() {
    let stage = single("case_place", "");
    let (long, short) = (
        "/* pgconvoy: primary */ select repeat('x', 100000) from generate_series(1, 40)",
        "/* pgconvoy: primary */ select b from t where a = 1",
    );
    // From now on both are on the server, and a Parse of them is answered here.
    stage
        .client()
        .ask(&Batch::new().parse("a", long).parse("b", short).sync());
    let batch = Batch::new()
        .parse("l", long)
        .bind("", "l", &[])
        .execute("", 0)
        .parse("s", short)
        .describe_statement("s")
        .bind("", "s", &[])
        .describe_portal("")
        .execute("", 0)
        .parse("bad", "selec 1")
        .parse("after", short)
        .describe_statement("after")
        .sync();
    let again = Batch::new().bind("", "after", &[]).execute("", 0).sync();
    let once_more = Batch::new().bind("", "s", &[]).execute("", 0).sync();
    same_as_direct(&stage, &[batch, again, once_more]);
}

#[test]
fn failing_execute_is_told_to_its_own_client_alone() {
    let stage = single("case_execute", "");
    let (mut first, mut second) = (stage.client(), stage.client());
    first.run("prepare q as select 1/a from t where a = $1 - 1 union all select 1/($1 - 1)");
    for _ in 0..3 {
        assert_eq!(first.fails("execute q(1)").code, "22012");
        assert_eq!(first.fails("execute q('x')").code, "22P02");
        assert_eq!(first.fails("execute nope").code, "26000");
        first.run("deallocate q");
        assert_eq!(second.fails("execute q(1)").code, "26000");
        assert_eq!(second.one("/* pgconvoy: primary */ select 2"), "2");
        first.run("prepare q as select 1/($1 - 1)");
    }
}

#[test]
fn statement_of_sql_is_bound_by_the_protocol_and_one_of_the_protocol_deallocated_by_sql() {
    let stage = single("case_names", "");
    let bind = || Batch::new().bind("", "q", &[]).execute("", 0).sync();
    let batches = [
        Batch::new().query("prepare q as select 'sql'"),
        bind(),
        Batch::new().describe_statement("q").sync(),
        Batch::new().query("execute q"),
        Batch::new().query("deallocate q"),
        bind(),
        Batch::new().parse("q", "select 'protocol'").sync(),
        bind(),
        Batch::new().query("deallocate q"),
        bind(),
        Batch::new().query("prepare q as select 'sql again'"),
        Batch::new().query("execute q"),
        bind(),
    ];
    same_as_direct(&stage, &batches);
    // The names are each client's own.
    let mut other = stage.client();
    assert_eq!(run(&mut other, "q"), "26000");
    assert_eq!(other.fails("execute q").code, "26000");
}

#[test]
fn prepare_sent_through_parse_is_executed_like_any_other() {
    let stage = single("case_parse_prepare", "");
    let mut client = stage.client();
    client.ask(
        &Batch::new()
            .parse("p", "prepare q(int) as select b from t where a = $1")
            .sync(),
    );
    assert_eq!(
        tags(&client.ask(&Batch::new().bind("", "p", &[]).execute("", 0).sync())),
        "2CZ"
    );
    let batch = Batch::new()
        .parse("e", "execute q(3)")
        .bind("", "e", &[])
        .execute("", 0)
        .sync();
    assert_eq!(tags(&client.ask(&batch)), "12DCZ");
    assert_eq!(run(&mut client, "e"), "row 3");
    client.close();
    assert_eq!(stage.client().fails("execute q(3)").code, "26000");
}

#[test]
fn autocommit_off_as_jdbc_sends_it_is_answered_as_directly() {
    let stage = single("case_jdbc", "");
    let begin = || {
        Batch::new()
            .parse("", "BEGIN")
            .bind("", "", &[])
            .execute("", 0)
    };
    let select = "select a, b from t where a > $1 order by a";
    let first = begin()
        .parse("S_1", select)
        .bind("C_1", "S_1", &[Some("4")])
        .describe_portal("C_1")
        .execute("C_1", 2)
        .sync();
    let more = Batch::new().execute("C_1", 2).sync();
    let write = Batch::new()
        .close_portal("C_1")
        .parse("", "insert into t values ($1, $2)")
        .bind("", "", &[Some("11"), None])
        .describe_portal("")
        .execute("", 1)
        .sync();
    let end = |sql: &str| {
        Batch::new()
            .parse("S_2", sql)
            .bind("", "S_2", &[])
            .execute("", 1)
            .sync()
    };
    let read = begin()
        .bind("", "S_1", &[Some("8")])
        .describe_portal("")
        .execute("", 0)
        .sync();
    let closed = Batch::new()
        .close_statement("S_2")
        .close_statement("S_1")
        .sync();
    let batches = [
        first,
        more,
        write,
        end("ROLLBACK"),
        read,
        Batch::new().bind("", "S_2", &[]).execute("", 1).sync(),
        closed,
        Batch::new().bind("", "S_1", &[Some("8")]).sync(),
    ];
    same_as_direct(&stage, &batches);
    assert_eq!(stage.client().one("select count(*) from t"), "10");
}

#[test]
fn close_behind_a_failed_parse_leaves_the_next_one_its_name() {
    let stage = single("case_close", "");
    let good = || {
        Batch::new()
            .parse("s", "select 1")
            .bind("", "s", &[])
            .execute("", 0)
    };
    let batches = [
        Batch::new()
            .parse("s", "selec 1")
            .close_statement("s")
            .sync(),
        good().sync(),
        Batch::new().close_statement("s").sync(),
        Batch::new().parse("s", "select nope").sync(),
        Batch::new().close_statement("s").close_portal("").sync(),
        good().close_statement("s").sync(),
        Batch::new().bind("", "s", &[]).sync(),
    ];
    same_as_direct(&stage, &batches);
}

#[test]
fn statement_of_one_text_reads_the_table_of_its_clients_own_search_path() {
    let stage = single("case_path", "");
    stage.seed(
        "create schema one; create table one.x as select 1 as a; \
         create schema two; create table two.x as select 'two'::text as a, now() as at",
    );
    for hint in ["/* pgconvoy: primary */ ", ""] {
        let text = format!("{hint}select * from x");
        let mut one = stage.client_with(&[("search_path", "one")]);
        let mut two = stage.client();
        two.run("set search_path = two");
        for client in [&mut one, &mut two] {
            assert_eq!(
                tags(&client.ask(&Batch::new().parse("s", &text).sync())),
                "1Z"
            );
        }
        for round in 0..4 {
            assert_eq!(run(&mut one, "s"), "1", "{hint}{round}");
            assert_eq!(run(&mut two, "s"), "two", "{hint}{round}");
        }
        two.run("set search_path = one");
        let batch = Batch::new()
            .parse("", &text)
            .bind("", "", &[])
            .execute("", 0)
            .sync();
        let replies = two.ask(&batch);
        assert_eq!(tags(&replies), "12DCZ", "{:?}", codes(&replies));
    }
}

// Session state.

#[test]
fn setting_beside_one_that_was_reset_reaches_nobody_else() {
    let stage = single("case_reset_one", "");
    let (mut owner, mut other) = (stage.client(), stage.client());
    let shown = "/* pgconvoy: primary */ select current_setting('work_mem') || ' ' || coalesce(current_setting('app.b', true), '')";
    let plain = other.one(shown);
    owner.run("set work_mem = '7MB'; set app.b = 'mine'; reset work_mem");
    assert_eq!(other.one(shown), plain);
    assert_eq!(owner.one(shown), "4MB mine");
    owner.run("set work_mem = '9MB'; reset app.b");
    assert_eq!(other.one(shown), plain);
    assert_eq!(owner.one(shown), "9MB ");
    owner.close();
    assert_eq!(other.one(shown), plain);
}

#[test]
fn seed_of_a_session_is_used_by_it_alone() {
    let stage = Stage::with("case_seed", |setup| {
        setup.top("workers = 1").with("[pool]\nsize = 2")
    });
    let draw = |client: &mut Wire| client.one("select random()");
    let [direct, proxied] = [stage.direct_app(), stage.client()].map(|mut client| {
        let mut other = stage.client();
        client.run("select setseed(0.25)");
        let drawn: Vec<String> = (0..5)
            .map(|_| {
                draw(&mut other);
                draw(&mut client)
            })
            .collect();
        drawn
    });
    assert_eq!(proxied, direct);
}

#[test]
fn library_that_one_session_has_loaded_is_in_no_other() {
    let stage = single("case_load", "");
    let shown = "/* pgconvoy: primary */ select coalesce(current_setting('auto_explain.log_timing', true), 'none')";
    let admin = || stage.convoy.connect("postgres", &stage.database).unwrap();
    let mut owner = admin();
    owner.run("load 'auto_explain'");
    for _ in 0..3 {
        assert_eq!(owner.one(shown), "on");
    }
    owner.close();
    let mut next = admin();
    assert_eq!(next.one(shown), "none");
}

#[test]
fn quotes_in_the_startup_options_mean_nothing_as_directly() {
    let stage = single("case_options", "");
    let port = shared::cluster().nodes[0].port;
    for options in [
        "-c geqo=off -c a.b=\"x y\"",
        "-c geqo=off -c a.b=\"x\\ y\"",
        "-c geqo=off -c a.b='x\\ \\ y'",
        "-c geqo=off -c a.b=",
    ] {
        let seen = |port: u16| {
            let who = [
                ("user", "app"),
                ("database", stage.database.as_str()),
                ("options", options),
            ];
            let shown = "select current_setting('geqo') || ' ' || coalesce(current_setting('a.b', true), 'none')";
            match Wire::login(port, &who, None) {
                Ok(mut wire) => wire.one(shown),
                Err(error) => format!("{} {}", error.severity, error.code),
            }
        };
        assert_eq!(seen(stage.convoy.port), seen(port), "{options}");
    }
}

// What has been a hole in a pooler.

/// The byte that answers a request for encryption, and what is said to a login that came along with it.
fn declined(port: u16, database: &str, request: [u8; 4]) -> (Option<u8>, Vec<String>) {
    let who = [("user", "app"), ("database", database)];
    let login = startup(0x0003_0000, &who);
    let mut wire = Wire::open(port).unwrap();
    wire.send(&[&[0, 0, 0, 8], &request[..], &login].concat());
    let answer = wire.byte();
    let said = std::iter::from_fn(|| wire.receive().filter(|message| message.tag != b'Z'));
    (answer, told(&said.collect::<Vec<_>>()))
}

#[test]
fn bytes_sent_along_with_a_request_for_encryption_are_refused() {
    let stage = Stage::new("case_ssl");
    let refused = (Some(b'N'), vec!["E 08P01".to_owned()]);
    let (ssl, gss) = ([4, 210, 22, 47], [4, 210, 22, 48]);
    let port = stage.convoy.port;
    assert_eq!(declined(port, &stage.database, ssl), refused);
    assert_eq!(declined(port, &stage.database, gss), refused);
    let primary = shared::cluster().nodes[0].port;
    assert_eq!(declined(primary, &stage.database, ssl), refused, "directly");
}

#[test]
fn wrong_password_is_refused_though_server_connections_are_open_for_the_right_one() {
    let database = shared::database("case_warm");
    let password = "secret-of-srv_scram";
    let convoy = pgconvoy_tests::convoy::Convoy::before(&shared::cluster().ports())
        .with(&format!(
            "[[user]]\nname = \"srv_scram\"\npassword = \"{password}\""
        ))
        .start();
    let who = [("user", "srv_scram"), ("database", database.as_str())];
    let log_in = |password: Option<&str>| Wire::login(convoy.port, &who, password);
    let mut inside = log_in(Some(password)).unwrap();
    inside.run("begin");
    for _ in 0..3 {
        assert_eq!(log_in(Some(password)).unwrap().one("select 1"), "1");
        for wrong in [None, Some("wrong"), Some("")] {
            let error = log_in(wrong).err().expect("refused");
            assert_eq!(
                (error.severity.as_str(), error.code.as_str()),
                ("FATAL", "28P01")
            );
        }
    }
    assert_eq!(inside.one("select 1"), "1");
}

#[test]
fn names_that_are_too_long_are_refused_as_directly() {
    let stage = Stage::new("case_long");
    for length in [64, 1000, 9000] {
        let long = "x".repeat(length);
        for (user, database) in [
            ("app", long.as_str()),
            (long.as_str(), stage.database.as_str()),
        ] {
            let refused = |port: u16| {
                let error = Wire::connect(port, user, database).err().expect("refused");
                (error.severity, error.code)
            };
            let direct = refused(shared::cluster().nodes[0].port);
            assert_eq!(refused(stage.convoy.port), direct, "{length}");
        }
    }
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn our_own_questions_are_not_answered_by_what_a_client_has_put_in_its_search_path() {
    let stage = single("case_shadow", "");
    stage.seed(
        "create schema evil; create table evil.asked (what text); \
         create function evil.told(what text) returns boolean language plpgsql as \
           $$ begin insert into evil.asked values (what); return false; end $$; \
         create function evil.pg_backend_pid() returns int language sql as $$ select 0 from (select evil.told('pid')) t $$; \
         create function evil.pg_my_temp_schema() returns oid language sql as $$ select 0::oid from (select evil.told('temp')) t $$; \
         create function evil.pg_listening_channels() returns setof text language sql as \
           $$ select null::text where evil.told('channels') $$; \
         create function evil.same(int, int) returns boolean language sql as $$ select evil.told('int =') $$; \
         create function evil.same(oid, oid) returns boolean language sql as $$ select evil.told('oid =') $$; \
         create function evil.same(text, text) returns boolean language sql as $$ select evil.told('text =') $$; \
         create operator evil.= (leftarg = int, rightarg = int, function = evil.same); \
         create operator evil.= (leftarg = oid, rightarg = oid, function = evil.same); \
         create operator evil.= (leftarg = text, rightarg = text, function = evil.same); \
         create view evil.pg_locks as select l.* from pg_catalog.pg_locks l where evil.told('locks'); \
         create view evil.pg_prepared_statements as select p.* from pg_catalog.pg_prepared_statements p where evil.told('prepared'); \
         create view evil.pg_cursors as select c.* from pg_catalog.pg_cursors c where evil.told('cursors')",
    );
    let mut other = stage.client();
    for path in ["startup", "set"] {
        let mut client = if path == "startup" {
            stage.client_with(&[("search_path", "evil, pg_catalog")])
        } else {
            let mut client = stage.client();
            client.run("set search_path = evil, pg_catalog");
            client
        };
        for (make, give_back) in [
            ("listen news", "unlisten news"),
            ("create temp table mine ()", "drop table mine"),
            (
                "select pg_catalog.pg_advisory_lock(7)",
                "select pg_catalog.pg_advisory_unlock(7)",
            ),
            ("prepare q as select 1", "deallocate q"),
            (
                "begin; declare c cursor with hold for select 1; commit",
                "close c",
            ),
        ] {
            client.run(make);
            client.run(give_back);
            // It was seen that nothing is left: another client gets the only server connection.
            assert_eq!(other.one("/* pgconvoy: primary */ select 1"), "1", "{make}");
        }
        client.close();
    }
    let asked = stage.direct(0).run("select distinct what from evil.asked");
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn metrics_tell_no_secret() {
    let stage = Stage::with("case_metrics", |setup| {
        setup.with(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\n\
             [[user]]\nname = \"srv_scram\"\npassword = \"secret-of-srv_scram\"\n\
             server_password = \"other-secret\"",
        )
    });
    let who = [("user", "srv_scram"), ("database", stage.database.as_str())];
    for password in ["secret-of-srv_scram", "guessed-secret"] {
        assert!(Wire::login(stage.convoy.port, &who, Some(password)).is_err());
    }
    stage
        .client()
        .fails("select 'a-literal-secret' from nowhere");
    wait::until("the failures are counted", wait::SOON, || {
        let page = stage.convoy.page("/metrics").body;
        assert!(!page.contains("secret"), "{page}");
        pgconvoy_tests::http::sum(&page, "pgconvoy_client_connections_rejected_total") >= 2.0
    });
    for page in ["/healthz", "/readyz", "/nowhere"] {
        let body = stage.convoy.page(page).body;
        assert!(!body.contains("secret"), "{body}");
    }
}
