//! `currval` and `lastval` answer for the session, whatever server connection it uses.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;

fn stage(name: &str, size: usize) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 1").with(&format!(
            "[pool]\nsize = {size}\nquery_wait_timeout = \"400ms\""
        ))
    });
    stage.seed("create sequence s; create table t (id int default nextval('s'), who text)");
    stage
}

#[test]
fn last_values_are_the_sessions_own_once_its_application_asks_for_them() {
    let stage = stage("sequence_own", 6);
    stage.client().fails("select lastval()");
    let mut clients: Vec<Wire> = (0..5).map(|_| stage.client()).collect();
    for round in 0..4 {
        let ids: Vec<String> = clients
            .iter_mut()
            .map(|client| client.one("insert into t (who) values ('x') returning id"))
            .collect();
        for (client, id) in clients.iter_mut().zip(&ids) {
            assert_eq!(client.one("select lastval()"), *id, "round {round}");
            let currval = client.execute("select currval('s')", &[]).unwrap();
            assert_eq!(currval[0][0].as_ref(), Some(id), "round {round}");
        }
    }
}

#[test]
fn first_to_ask_finds_what_it_has_made_while_nobody_came_in_between() {
    let stage = stage("sequence_first", 2);
    let (mut client, mut other) = (stage.client(), stage.client());
    other.run("begin; select 1 for update");
    let id = client.one("select nextval('s')");
    other.run("commit");
    // The connection that was given back last is the other one.
    assert_eq!(client.one("select lastval()"), id);
}

#[test]
fn last_value_of_another_session_is_never_seen() {
    let stage = stage("sequence_others", 1);
    let (mut maker, mut other) = (stage.client(), stage.client());
    maker.run("insert into t (who) values ('maker')");
    for sql in ["select lastval()", "select currval('s')"] {
        assert_eq!(other.fails(sql).code, "55000", "{sql}");
        other.run("discard sequences");
        maker.run("insert into t (who) values ('maker')");
        maker.run("discard all");
        assert_eq!(other.execute(sql, &[]).unwrap_err().code, "55000", "{sql}");
        other.run("discard all");
        maker.run("insert into t (who) values ('maker')");
        maker.run("discard all");
    }
    let mut first = stage.client();
    first.run("begin");
    assert_eq!(first.fails("select lastval()").code, "55000");
}

#[test]
fn taking_next_values_alone_keeps_nobody_waiting() {
    let stage = stage("sequence_next", 1);
    let (mut client, mut other) = (stage.client(), stage.client());
    for _ in 0..3 {
        client.one("select nextval('s')");
        other.one("select nextval('s')");
    }
    // Who asks for the last value keeps its connection, until it says that it won't ask again.
    client.one("select nextval('s')");
    client.one("select lastval()");
    assert_eq!(other.fails("select nextval('s')").code, "53300");
    client.run("discard sequences");
    other.one("select nextval('s')");
}
