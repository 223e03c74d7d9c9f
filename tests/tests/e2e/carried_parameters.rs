//! What a session sets goes with it from server connection to server connection, and with nobody else.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;

/// One server connection on each node: whoever keeps it keeps everybody else waiting, for a moment.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"3s\"")
    });
    stage.seed("create schema s1; create schema s2; create table s1.t as select 1 as a; create table s2.t as select 2 as a");
    stage
}

fn setting(client: &mut Wire, name: &str) -> String {
    client.one(&format!(
        "select coalesce(current_setting('{name}', true), '')"
    ))
}

#[test]
fn each_session_has_its_own_settings_on_one_server_connection() {
    let stage = single("carried");
    let mut clients: Vec<Wire> = (0..4).map(|_| stage.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.run(&format!(
            "set app.number = '{number}'; set work_mem = '{}MB'",
            number + 1
        ));
        client
            .execute(&format!("set application_name to 'client {number}'"), &[])
            .unwrap();
        client.run(&format!(
            "set session characteristics as transaction {}",
            ["read write", "read only"][number % 2]
        ));
        client.run("set time zone interval '-03:30' hour to minute");
    }
    let mut plain = stage.client();
    for _ in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(setting(client, "app.number"), number.to_string());
            assert_eq!(client.one("show work_mem"), format!("{}MB", number + 1));
            assert_eq!(
                client.one("show application_name"),
                format!("client {number}")
            );
            assert_eq!(
                client.one("show default_transaction_read_only"),
                ["off", "on"][number % 2]
            );
            assert_eq!(client.one("show timezone"), "<-03:30>+03:30");
            assert_eq!(
                client.parameters["application_name"],
                format!("client {number}")
            );
        }
        assert_eq!(setting(&mut plain, "app.number"), "");
        assert_eq!(plain.one("show work_mem"), "4MB");
        assert_eq!(plain.one("show default_transaction_read_only"), "off");
    }
}

#[test]
fn settings_end_with_their_transaction_or_savepoint() {
    let stage = single("carried_rollback");
    let (mut client, mut other) = (stage.client(), stage.client());
    let mut shows = |client: &mut Wire, expected: &str, why: &str| {
        other.run("set app.x = 'of another'");
        assert_eq!(setting(client, "app.x"), expected, "{why}");
    };
    client.run("begin; set app.x = '1'; commit");
    shows(&mut client, "1", "committed");
    client.run("begin; set app.x = '2'; rollback");
    shows(&mut client, "1", "rolled back");
    client.run(
        "begin; savepoint a; set app.x = '3'; savepoint b; set app.x = '4'; rollback to b; commit",
    );
    shows(&mut client, "3", "back to the savepoint");
    for sql in [
        "begin",
        "set app.x = '5'",
        "savepoint \"A\"",
        "set app.x = '6'",
        "rollback to savepoint \"A\"",
        "release \"A\"",
        "commit",
    ] {
        client.execute(sql, &[]).unwrap();
    }
    shows(&mut client, "5", "in the extended protocol");
    client.run("begin; set local app.x = '7'; commit");
    shows(&mut client, "5", "local");
    client.fails("set app.x = '8'; select 1/0");
    shows(&mut client, "5", "failed with the statement behind it");
    client.run("begin");
    client.fails("select 1/0");
    client.run("rollback; set app.x = '9'");
    shows(&mut client, "9", "after a failed transaction");
    client.run("select set_config('app.x', 'it''s', false), set_config('app.y', 'gone', true)");
    shows(&mut client, "it's", "by set_config");
    client.run("begin");
    client.run("select set_config('app.x', '10', false)");
    client.run("commit and chain");
    client.run("set app.x = '11'");
    client.run("rollback");
    shows(&mut client, "10", "of a chained transaction");
    client.run("set app.x to default");
    shows(&mut client, "", "by default");
}

#[test]
fn resets_are_carried_too() {
    let stage = single("carried_reset");
    let (mut client, mut other) = (stage.client_with(&[("app.s", "start")]), stage.client());
    client.run("set app.a = '1'; set app.b = '2'; set app.s = '3'; reset app.a");
    other.run("select 1");
    assert_eq!(setting(&mut client, "app.a"), "");
    assert_eq!(setting(&mut client, "app.b"), "2");
    client.run("reset app.s");
    other.run("select 1");
    assert_eq!(setting(&mut client, "app.s"), "start");
    for all in ["reset all", "discard all"] {
        client.run("set app.b = '4'; set app.s = '5'");
        client.run(all);
        assert_eq!(setting(&mut client, "app.s"), "start", "{all}");
        other.run("select 1");
        assert_eq!(setting(&mut client, "app.b"), "", "{all}");
        assert_eq!(setting(&mut client, "app.s"), "start", "{all}");
    }
}

#[test]
fn who_the_session_acts_as_is_carried() {
    let stage = single("carried_role");
    stage
        .direct(0)
        .run("create role somebody; grant somebody to app");
    stage.settle();
    let who = [("user", "postgres"), ("database", stage.database.as_str())];
    let (mut client, mut other) = (
        Wire::login(stage.convoy.port, &who, None).unwrap(),
        Wire::login(stage.convoy.port, &who, None).unwrap(),
    );
    client.run("set log_min_duration_statement = '1h'; set role somebody");
    for _ in 0..2 {
        assert_eq!(other.one("select current_user"), "postgres");
        assert_eq!(other.one("show log_min_duration_statement"), "-1");
        assert_eq!(client.one("select current_user"), "somebody");
        assert_eq!(client.one("show log_min_duration_statement"), "1h");
        other.run("set log_min_duration_statement = '2h'; reset log_min_duration_statement");
    }
    client.run("reset role; set session authorization app");
    other.run("select 1");
    assert_eq!(
        client.one("select session_user || ' ' || current_user"),
        "app app"
    );
    client.run("set role somebody");
    other.run("select 1");
    assert_eq!(
        client.one("select session_user || ' ' || current_user"),
        "app somebody"
    );
    client.run("reset session authorization");
    other.run("select 1");
    assert_eq!(
        client.one("select session_user || ' ' || current_user"),
        "postgres postgres"
    );
}

#[test]
fn search_path_set_midway_decides_what_a_statement_means() {
    let stage = single("carried_path");
    let (mut one, mut two) = (stage.client(), stage.client());
    one.run("set search_path to s1, public");
    two.run("select pg_catalog.set_config('search_path', '', false)");
    for _ in 0..3 {
        assert_eq!(
            one.execute("select a from t", &[]).unwrap()[0][0].as_deref(),
            Some("1")
        );
        assert_eq!(
            two.execute("select a from t", &[]).unwrap_err().code,
            "42P01"
        );
        assert_eq!(one.one("select a from t"), "1");
        assert_eq!(two.one("show search_path"), "");
    }
    two.run("set schema 's2'");
    assert_eq!(one.one("select a from t"), "1");
    assert_eq!(
        two.execute("select a from t", &[]).unwrap()[0][0].as_deref(),
        Some("2")
    );
}

#[test]
fn settings_hold_on_every_node() {
    let stage = single("carried_nodes");
    let mut client = stage.client();
    client.run("set app.x = 'everywhere'");
    for _ in 0..6 {
        assert_eq!(setting(&mut client, "app.x"), "everywhere");
        client.run("begin read only");
        assert_eq!(setting(&mut client, "app.x"), "everywhere");
        client.run("set app.x = 'everywhere'; commit");
        client.run("create table if not exists written (a int)");
    }
    // A standby takes no SERIALIZABLE transaction: nothing of the session goes there.
    client.run("set default_transaction_isolation = 'serializable'");
    for _ in 0..4 {
        assert_eq!(client.one("select a from s1.t"), "1");
    }
}

#[test]
fn client_is_told_what_is_true_of_its_parameters() {
    let stage = single("carried_told");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.run("set timezone = 'Asia/Tokyo'; set datestyle = 'German'");
    other.run("set timezone = 'America/Lima'");
    assert_eq!(client.one("select 1"), "1");
    assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
    assert_eq!(client.parameters["DateStyle"], "German, DMY");
    assert_eq!(other.parameters["TimeZone"], "America/Lima");
    // The transaction that set it ends with its server connection: back to what it was.
    client.run("begin");
    client.run("set timezone = 'Europe/Riga'");
    assert_eq!(client.parameters["TimeZone"], "Europe/Riga");
    let pid = client.one("select pg_backend_pid()");
    stage
        .direct(0)
        .run(&format!("select pg_terminate_backend({pid})"));
    client.fails("select 1");
    client.run("rollback");
    assert_eq!(client.one("show timezone"), "Asia/Tokyo");
    assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
}

#[test]
fn what_a_function_sets_is_carried_where_it_is_reported_and_never_leaks() {
    let stage = single("carried_unseen");
    stage.seed(
        "create function hidden() returns int language plpgsql as $$ begin \
           perform set_config('app.hidden', 'mine', false); \
           perform set_config('TimeZone', 'Asia/Tokyo', false); \
           execute 'create temp table if not exists left_behind ()'; \
           perform pg_advisory_lock(77); \
           execute 'listen left_behind'; return 1; end $$",
    );
    for call in ["select hidden()", "do $$ begin perform hidden(); end $$"] {
        let (mut client, mut other) = (stage.client(), stage.client());
        client.run(call);
        // Nobody was there in between.
        assert_eq!(
            client.one("/* pgconvoy: primary */ select current_setting('app.hidden', true)"),
            "mine"
        );
        let nothing = "select coalesce(current_setting('app.hidden', true), '') || (select count(*) from pg_listening_channels()) \
             || (select count(*) from pg_class where relname = 'left_behind') \
             || (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())";
        other.run("begin");
        assert_eq!(other.one(nothing), "000", "{call}");
        assert_eq!(other.one("show timezone"), other.parameters["TimeZone"]);
        assert_ne!(other.parameters["TimeZone"], "Asia/Tokyo");
        other.run("commit");
        assert_eq!(client.one("show timezone"), "Asia/Tokyo", "{call}");
        client.close();
        other.close();
    }
}

#[test]
fn quoting_rules_set_midway_are_obeyed() {
    let stage = single("carried_quoting");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.run("set standard_conforming_strings = off; set escape_string_warning = off");
    other.run("select 1");
    // One string here, and a SET behind a string by the standard's rules.
    assert_eq!(
        client.one("select 'a\\'; set app.q = ''x'' --'"),
        "a'; set app.q = 'x' --"
    );
    other.run("select 1");
    client.run("set standard_conforming_strings = on");
    assert_eq!(client.one("select 'a\\'"), "a\\");
}

#[test]
fn date_style_set_by_halves_is_carried_whole() {
    let stage = single("carried_halves");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.run("set datestyle to sql");
    client.run("set datestyle to dmy");
    client.run("begin; select set_config('datestyle', 'german', false); select set_config('datestyle', 'ymd', false); commit");
    for _ in 0..2 {
        other.run("set datestyle to 'iso, mdy'; select 1");
        assert_eq!(client.one("show datestyle"), "German, YMD");
    }
}

#[test]
fn custom_setting_that_was_reset_is_known_on_every_server_connection() {
    let stage = Stage::with("carried_custom", |setup| {
        setup.top("workers = 1").with("[pool]\nsize = 2")
    });
    let default = format!("alter database {} set app.given = 'given'", stage.database);
    stage.direct(0).run(&default);
    stage.settle();
    let mut client = stage.client();
    let mut other = stage.client();
    client.run("/* pgconvoy: primary */ select 1");
    client.run("set app.once = 'x'; set app.given = 'y'");
    client.run("reset app.once; reset app.given");
    client.run("begin; set app.undone = 'z'; rollback");
    for _ in 0..2 {
        assert_eq!(client.one("begin; show app.once; commit"), "");
        assert_eq!(client.one("show app.undone"), "");
        assert_eq!(client.one("show app.given"), "given");
        // The server connection that knows them is another's now.
        other.run("begin; select 1");
    }
    assert_eq!(client.fails("show app.never").code, "42704");
    other.run("rollback");
}
