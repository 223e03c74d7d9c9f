//! Session state in transaction mode: it works for its owner, and nobody else ever sees it.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::Wire;

/// A state: how it is made, the question that shows it, the answer to its owner, the answer to anybody else.
struct State {
    make: &'static str,
    ask: &'static str,
    owner: &'static str,
    other: &'static str,
}

const STATES: [State; 13] = [
    State {
        make: "set app.x = 'mine'",
        ask: "select coalesce(current_setting('app.x', true), '')",
        owner: "mine",
        other: "",
    },
    State {
        make: "select set_config('app.y', 'mine', false)",
        ask: "select coalesce(current_setting('app.y', true), '')",
        owner: "mine",
        other: "",
    },
    State {
        make: "set search_path = pg_catalog",
        ask: "show search_path",
        owner: "pg_catalog",
        other: "\"$user\", public",
    },
    State {
        make: "set statement_timeout = '77s'",
        ask: "show statement_timeout",
        owner: "77s",
        other: "0",
    },
    State {
        make: "set default_transaction_read_only = on",
        ask: "show default_transaction_read_only",
        owner: "on",
        other: "off",
    },
    State {
        make: "set session characteristics as transaction isolation level serializable",
        ask: "show default_transaction_isolation",
        owner: "serializable",
        other: "read committed",
    },
    State {
        make: "set role pg_monitor",
        ask: "select current_user",
        owner: "pg_monitor",
        other: "app",
    },
    State {
        make: "create temp table mine as select 1",
        ask: "select count(*) from pg_class where relname = 'mine' and pg_table_is_visible(oid)",
        owner: "1",
        other: "0",
    },
    State {
        make: "listen news",
        ask: "select count(*) from pg_listening_channels()",
        owner: "1",
        other: "0",
    },
    State {
        make: "select pg_advisory_lock(7)",
        ask: "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        owner: "1",
        other: "0",
    },
    State {
        make: "prepare q as select 1",
        ask: "select count(*) from pg_prepared_statements where name = 'q'",
        owner: "1",
        other: "0",
    },
    State {
        make: "begin; declare c cursor with hold for select 1; commit",
        ask: "select count(*) from pg_cursors where name = 'c'",
        owner: "1",
        other: "0",
    },
    State {
        make: "begin; set app.z = 'mine'; commit",
        ask: "select coalesce(current_setting('app.z', true), '')",
        owner: "mine",
        other: "",
    },
];

fn stage(name: &str, size: usize) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with(&format!("[pool]\nsize = {size}"))
    });
    stage.seed("create table t (a int)");
    stage.direct(0).run("grant pg_monitor to app");
    stage.settle();
    stage
}

#[test]
fn state_holds_for_its_owner_while_others_use_the_pool() {
    let stage = stage("state_owner", 2);
    for state in &STATES {
        let (mut owner, mut other) = (stage.client(), stage.client());
        owner.run(state.make);
        for round in 0..5 {
            assert_eq!(
                other.one(state.ask),
                state.other,
                "{}: leaked, round {round}",
                state.make
            );
            other.run("begin; select 1; commit");
            assert_eq!(
                owner.one(state.ask),
                state.owner,
                "{}: lost, round {round}",
                state.make
            );
        }
        owner.close();
        other.close();
    }
}

#[test]
fn state_is_gone_when_its_owner_has_left() {
    for parting in [Wire::close as fn(Wire), drop] {
        let stage = stage("state_left", 1);
        for state in &STATES {
            let mut owner = stage.client();
            owner.run(state.make);
            assert_eq!(owner.one(state.ask), state.owner, "{}", state.make);
            parting(owner);
            let mut next = stage.client();
            assert_eq!(
                next.one(state.ask),
                state.other,
                "{}: inherited",
                state.make
            );
            next.close();
        }
    }
}

#[test]
fn state_set_by_the_extended_protocol_is_kept_apart_too() {
    let stage = stage("state_extended", 2);
    for state in STATES.iter().filter(|state| !state.make.contains(';')) {
        let (mut owner, mut other) = (stage.client(), stage.client());
        owner.execute(state.make, &[]).unwrap();
        for _ in 0..3 {
            assert_eq!(
                other.execute(state.ask, &[]).unwrap()[0][0].as_deref(),
                Some(state.other),
                "{}",
                state.make
            );
            assert_eq!(
                owner.execute(state.ask, &[]).unwrap()[0][0].as_deref(),
                Some(state.owner),
                "{}",
                state.make
            );
        }
        owner.close();
        other.close();
    }
}

#[test]
fn state_hidden_behind_another_statement_is_kept_apart_too() {
    let stage = stage("state_hidden", 1);
    let hidden = [
        ("insert into t values (1); set app.h = 'mine'", "app.h"),
        ("select 'a;b'; set app.i = 'mine'", "app.i"),
        ("/* set */ set app.j = 'mine'", "app.j"),
        (
            "begin; savepoint s; set app.k = 'mine'; release s; commit",
            "app.k",
        ),
    ];
    for (sql, setting) in hidden {
        let mut owner = stage.client();
        owner.run(sql);
        let question = format!("select coalesce(current_setting('{setting}', true), '')");
        assert_eq!(owner.one(&question), "mine", "{sql}");
        owner.close();
        assert_eq!(stage.client().one(&question), "", "{sql}");
    }
}

#[test]
fn temp_table_shadows_only_for_its_owner() {
    let stage = stage("state_temp", 2);
    stage.seed("insert into t values (1)");
    let (mut owner, mut other) = (stage.client(), stage.client());
    owner.run("create temp table t (a int); insert into t values (42), (43)");
    for _ in 0..10 {
        assert_eq!(owner.one("select count(*) from t"), "2");
        assert_eq!(
            owner
                .execute("select count(*) from pg_temp.t", &[])
                .unwrap()[0][0]
                .as_deref(),
            Some("2")
        );
        assert_eq!(other.one("select count(*) from t"), "1");
    }
}

#[test]
fn set_local_and_settings_of_a_rolled_back_transaction_are_gone() {
    let stage = stage("state_local", 1);
    let mut client = stage.client();
    client.run("begin; set local app.x = 'inside'");
    assert_eq!(client.one("select current_setting('app.x')"), "inside");
    client.run("commit");
    assert_eq!(
        client.one("select coalesce(current_setting('app.x', true), '')"),
        ""
    );
    client.run("begin; set app.y = 'inside'; rollback");
    assert_eq!(
        client.one("select coalesce(current_setting('app.y', true), '')"),
        ""
    );
    client.run("set app.a = '1'; set app.b = '2'; reset app.a");
    assert_eq!(client.one("select current_setting('app.b')"), "2");
    client.run("discard all");
    assert_eq!(
        client.one("select coalesce(current_setting('app.b', true), '')"),
        ""
    );
}

#[test]
fn advisory_lock_is_free_when_its_owner_has_left() {
    let stage = stage("state_lock", 3);
    let mut owner = stage.client();
    owner.run("select pg_advisory_lock(1); select pg_advisory_lock(1)");
    let mut other = stage.client();
    assert_eq!(other.one("select pg_try_advisory_lock(1)"), "f");
    assert_eq!(owner.one("select pg_advisory_unlock(1)"), "t");
    assert_eq!(
        other.one("select pg_try_advisory_lock(1)"),
        "f",
        "locked twice, released once"
    );
    drop(owner);
    wait::until("the lock is free", wait::SOON, || {
        other.one("select pg_try_advisory_lock(1)") == "t"
    });
}

#[test]
fn failing_prepare_is_not_reported_to_the_next_client() {
    let stage = stage("state_prepare", 1);
    let (mut first, mut second) = (stage.client(), stage.client());
    first.run("prepare q as select 1");
    assert_eq!(first.fails("prepare q as select 2").code, "42P05");
    assert_eq!(first.one("execute q"), "1");
    first.close();
    assert_eq!(second.fails("execute q").code, "26000");
    second.run("prepare q as select 3");
    assert_eq!(second.one("execute q"), "3");
}

#[test]
fn pins_are_counted_with_their_reason() {
    let stage = stage("state_pins", 3);
    let mut client = stage.client();
    client.run("listen news");
    let mut other = stage.client();
    other.run("create temp table x ()");
    let page = stage.convoy.page("/metrics").body;
    let counted: f64 = pgconvoy_tests::http::sum(&page, "pgconvoy_pins_total");
    assert!(counted >= 2.0, "{page}");
}

#[test]
fn session_mode_gives_each_client_a_server_connection_of_its_own() {
    let stage = Stage::with("session_mode", |setup| {
        setup.with("[pool]\nmode = \"session\"\nsize = 3")
    });
    stage.seed("create table t as select 1 as a");
    let mut clients: Vec<Wire> = (0..3).map(|_| stage.client()).collect();
    let pids: std::collections::BTreeSet<String> = clients
        .iter_mut()
        .map(|client| client.one("select pg_backend_pid()"))
        .collect();
    assert_eq!(pids.len(), 3);
    for (number, client) in clients.iter_mut().enumerate() {
        client.run(&format!(
            "set app.number = '{number}'; prepare q as select {number}"
        ));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(
            client.one("/* pgconvoy: primary */ select current_setting('app.number')"),
            number.to_string()
        );
        assert_eq!(client.one("execute q"), number.to_string());
        assert_eq!(client.one("select a from t"), "1");
    }
    clients.into_iter().for_each(Wire::close);
    let mut next = stage.client();
    assert_eq!(
        next.one(
            "/* pgconvoy: primary */ select coalesce(current_setting('app.number', true), '')"
        ),
        ""
    );
    assert_eq!(next.fails("execute q").code, "26000");
}
