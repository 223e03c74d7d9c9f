//! A session keeps its server connection only while it has left something there.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;

/// One server connection: who waits for it in vain is told so soon.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup
            .top("workers = 1")
            .with("[pool]\nsize = 1\nquery_wait_timeout = \"400ms\"")
    });
    stage.seed("create table t (a int)");
    stage
}

/// Whether a write of `other` finds the server connection taken.
fn is_taken(other: &mut Wire) -> bool {
    match other.query("insert into t values (1)") {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code, "53300", "{error:?}");
            true
        }
    }
}

/// What makes the state, and what gives it back.
const STATES: [(&str, &str); 14] = [
    ("listen news", "unlisten news"),
    ("listen news; listen more", "unlisten *"),
    ("create temp table x (a int)", "drop table x"),
    (
        "create temp table x (); create temp view y as select 1; create type pg_temp.z as (a int)",
        "drop view y; drop table x; drop type pg_temp.z",
    ),
    ("select pg_advisory_lock(1)", "select pg_advisory_unlock(1)"),
    (
        "select pg_advisory_lock_shared(1, 2)",
        "select pg_advisory_unlock_all()",
    ),
    (
        "begin; declare c cursor with hold for select 1; commit",
        "close c",
    ),
    ("prepare q as select 1", "deallocate q"),
    (
        "prepare q as select 1; prepare r as select 2",
        "deallocate all",
    ),
    (
        "select set_config('app.x', 'a' || 'b', false)",
        "discard all",
    ),
    ("create temp table x ()", "discard temp"),
    (
        "listen news; create temp table x (); select pg_advisory_lock(1); prepare q as select 1",
        "discard all",
    ),
    ("listen news", "begin; unlisten news; commit"),
    (
        "prepare q as select 1",
        "do $$ begin execute 'deallocate q'; end $$; deallocate all",
    ),
];

#[test]
fn session_is_unpinned_when_it_has_given_everything_back() {
    let stage = single("unpin");
    let mut other = stage.client();
    for (make, give_back) in STATES {
        let mut client = stage.client();
        client.run(make);
        assert!(is_taken(&mut other), "{make}");
        client.run(give_back);
        assert!(!is_taken(&mut other), "{make}: {give_back}");
        assert_eq!(client.one("select 1"), "1");
        client.close();
    }
}

#[test]
fn session_is_unpinned_in_the_extended_protocol_too() {
    let stage = single("unpin_extended");
    let mut other = stage.client();
    for (make, give_back) in STATES
        .iter()
        .filter(|(a, b)| !a.contains(';') && !b.contains(';'))
    {
        let mut client = stage.client();
        client.execute(make, &[]).unwrap();
        assert!(is_taken(&mut other), "{make}");
        client.execute(give_back, &[]).unwrap();
        assert!(!is_taken(&mut other), "{make}: {give_back}");
        client.close();
    }
}

#[test]
fn what_is_left_of_several_keeps_the_session_pinned() {
    let stage = single("unpin_rest");
    let mut other = stage.client();
    for (make, part, rest) in [
        (
            "select pg_advisory_lock(1); select pg_advisory_lock(1)",
            "select pg_advisory_unlock(1)",
            "select pg_advisory_unlock(1)",
        ),
        ("listen a; listen b", "unlisten a", "unlisten b"),
        (
            "listen a; create temp table x ()",
            "drop table x",
            "unlisten *",
        ),
        (
            "create temp table x (); create temp table y ()",
            "drop table x",
            "drop table y",
        ),
        (
            "prepare q as select 1; prepare r as select 2",
            "deallocate r",
            "deallocate q",
        ),
    ] {
        let mut client = stage.client();
        client.run(make);
        client.run(part);
        assert!(is_taken(&mut other), "{make}: {part}");
        client.run(rest);
        assert!(!is_taken(&mut other), "{make}: {rest}");
        client.close();
    }
}

#[test]
fn state_that_never_came_to_be_does_not_pin() {
    let stage = single("unpin_never");
    let mut holder = stage.direct(0);
    holder.run("select pg_advisory_lock(5)");
    let (mut client, mut other) = (stage.client(), stage.client());
    for sql in [
        "begin; listen news; rollback",
        "begin; create temp table x () on commit drop; commit",
        "begin; create temp table x (); rollback",
        "select pg_try_advisory_lock(5)",
        "begin; declare c cursor with hold for select 1; close c; commit",
    ] {
        client.run(sql);
        assert!(!is_taken(&mut other), "{sql}");
    }
    for sql in [
        "create temp table x (a nonsense)",
        "prepare q as select nonsense",
        "select pg_advisory_lock('x')",
    ] {
        client.fails(sql);
        assert!(!is_taken(&mut other), "{sql}");
    }
}

#[test]
fn notifications_reach_an_idle_session_that_listens() {
    let stage = Stage::new("listening");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.run("listen news; listen more");
    other.run("notify news, 'it''s one'; notify more, 'two'");
    other.run("select pg_notify('news', 'three')");
    let heard: Vec<_> = (0..3).map(|_| client.message().notification()).collect();
    let heard: Vec<(&str, &str)> = heard
        .iter()
        .map(|(c, p)| (c.as_str(), p.as_str()))
        .collect();
    assert_eq!(
        heard,
        [("news", "it's one"), ("more", "two"), ("news", "three")]
    );
}
