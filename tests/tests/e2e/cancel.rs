//! Cancel requests: the right statement, on the right server connection, and no other.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, ServerError, Wire, cancel};

fn error_of(client: &mut Wire) -> ServerError {
    let replies = client.until_ready();
    let error = replies
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error");
    ServerError::parse(&error.body)
}

#[test]
fn running_statement_on_the_primary_is_cancelled() {
    let stage = Stage::new("cancel_primary");
    let mut client = stage.client();
    client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    cancel(stage.convoy.port, &client.key);
    assert_eq!(error_of(&mut client).code, "57014");
    assert_eq!(client.status, b'E');
    client.run("rollback");
    assert_eq!(client.one("select 1"), "1");
}

#[test]
fn running_statement_on_a_replica_is_cancelled() {
    let stage = Stage::new("cancel_replica");
    let mut client = stage.client();
    client.run("begin read only");
    client.send(Batch::new().query("select pg_sleep(100)").bytes());
    let sql = "select count(*) from pg_stat_activity where datname = current_database() \
               and query like 'select pg_sleep%' and state = 'active'";
    let mut replicas = [stage.direct(1), stage.direct(2)];
    pgconvoy_tests::wait::until("it runs on a replica", pgconvoy_tests::wait::SOON, || {
        replicas.iter_mut().any(|replica| replica.one(sql) == "1")
    });
    cancel(stage.convoy.port, &client.key);
    assert_eq!(error_of(&mut client).code, "57014");
    client.run("rollback");
}

#[test]
fn late_cancel_does_not_hit_the_next_client_of_the_server_connection() {
    let stage = Stage::with("cancel_late", |setup| {
        setup.with("[pool]\nsize = 1").top("workers = 1")
    });
    let (mut first, mut second) = (stage.client(), stage.client());
    first.run("begin; select 1; commit");
    second.send(
        Batch::new()
            .query("begin; select pg_sleep(1.5); commit")
            .bytes(),
    );
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    cancel(stage.convoy.port, &first.key);
    let replies = second.until_ready();
    assert!(
        replies.iter().all(|message| message.tag != b'E'),
        "{replies:?}"
    );
}

#[test]
fn cancel_with_a_wrong_key_does_nothing() {
    let stage = Stage::new("cancel_wrong");
    let mut client = stage.client();
    client.send(
        Batch::new()
            .query("begin; select pg_sleep(1); commit")
            .bytes(),
    );
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    let (pid, secret) = client.key.clone();
    let wrong: Vec<u8> = secret.iter().map(|byte| !byte).collect();
    cancel(stage.convoy.port, &(pid, wrong));
    cancel(stage.convoy.port, &(pid.wrapping_add(1), secret));
    assert!(
        client
            .until_ready()
            .iter()
            .all(|message| message.tag != b'E')
    );
}

#[test]
fn client_that_leaves_takes_its_running_statement_along() {
    let stage = Stage::new("cancel_leave");
    let mut client = stage.client();
    client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 1);
    drop(client);
    // PostgreSQL itself would not look at the socket before the statement ends: the proxy cancels it.
    stage.wait_activity("query like '%pg_sleep%' and state = 'active'", 0);
    stage.wait_activity("state like 'idle in transaction%'", 0);
}
