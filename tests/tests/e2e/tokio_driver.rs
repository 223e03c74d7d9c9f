//! tokio-postgres, the Rust driver, in transaction mode.

use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use pgconvoy_tests::stage::Stage;
use std::future::Future;
use std::io::Cursor;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel, NoTls};

fn stage(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| setup.with("[pool]\nsize = 3"));
    stage.seed("create table item (id int primary key, name text); insert into item select i, 'item ' || i from generate_series(1, 500) i");
    stage
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("in time")
    })
}

async fn connect(stage: &Stage) -> Client {
    let config = format!(
        "host=127.0.0.1 port={} user=app dbname={}",
        stage.convoy.port, stage.database
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls)
        .await
        .expect("log in");
    tokio::spawn(connection);
    client
}

#[test]
fn pipelined_queries_keep_their_order() {
    let stage = stage("tokio_pipeline");
    run(async {
        let client = connect(&stage).await;
        let statement = client
            .prepare("select name from item where id = $1")
            .await
            .unwrap();
        let queries = (1..=200).map(|id: i32| {
            let (client, statement) = (&client, &statement);
            async move {
                client
                    .query_one(statement, &[&id])
                    .await
                    .unwrap()
                    .get::<_, String>(0)
            }
        });
        let names = futures_util::future::join_all(queries).await;
        assert!(
            names
                .iter()
                .enumerate()
                .all(|(at, name)| *name == format!("item {}", at + 1))
        );
    });
}

#[test]
fn statements_are_shared_by_many_connections() {
    let stage = stage("tokio_statements");
    run(async {
        let clients = futures_util::future::join_all((0..12).map(|_| connect(&stage))).await;
        let work = clients
            .iter()
            .enumerate()
            .map(|(number, client)| async move {
                let read = client
                    .prepare("select name from item where id = $1")
                    .await
                    .unwrap();
                let own = client
                    .prepare(&format!("select {number} + $1::int"))
                    .await
                    .unwrap();
                for id in 1..30_i32 {
                    let name: String = client.query_one(&read, &[&id]).await.unwrap().get(0);
                    assert_eq!(name, format!("item {id}"));
                    let sum: i32 = client.query_one(&own, &[&id]).await.unwrap().get(0);
                    assert_eq!(sum, number as i32 + id);
                }
            });
        futures_util::future::join_all(work).await;
    });
}

#[test]
fn transactions_commit_roll_back_and_read_only() {
    let stage = stage("tokio_transactions");
    run(async {
        let mut client = connect(&stage).await;
        let transaction = client.transaction().await.unwrap();
        transaction
            .execute("delete from item where id = 1", &[])
            .await
            .unwrap();
        transaction.rollback().await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction
            .execute("update item set name = 'new' where id = 1", &[])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let reader = client
            .build_transaction()
            .read_only(true)
            .isolation_level(IsolationLevel::RepeatableRead);
        let transaction = reader.start().await.unwrap();
        transaction
            .query("select count(*) from item", &[])
            .await
            .unwrap();
        let error = transaction
            .execute("delete from item", &[])
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
        drop(transaction);
        let row = client
            .query_one("select name from item where id = 1", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), "new");
    });
}

#[test]
fn portals_are_read_in_parts() {
    let stage = stage("tokio_portals");
    run(async {
        let mut client = connect(&stage).await;
        let transaction = client.transaction().await.unwrap();
        let portal = transaction
            .bind("select id from item order by id", &[])
            .await
            .unwrap();
        let mut seen = 0;
        loop {
            let rows = transaction.query_portal(&portal, 70).await.unwrap();
            if rows.is_empty() {
                break;
            }
            seen += rows.len();
        }
        assert_eq!(seen, 500);
    });
}

#[test]
fn copy_in_and_out() {
    let stage = stage("tokio_copy");
    run(async {
        let client = connect(&stage).await;
        let sink = client
            .copy_in::<_, Cursor<Vec<u8>>>("copy item from stdin")
            .await
            .unwrap();
        pin_mut!(sink);
        for id in 1000..3000 {
            sink.send(Cursor::new(format!("{id}\tcopied\n").into_bytes()))
                .await
                .unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 2000);
        let parts = client
            .copy_out("copy (select id from item where name = 'copied') to stdout")
            .await
            .unwrap();
        let bytes = parts
            .try_fold(0, |sum, part| async move { Ok(sum + part.len()) })
            .await
            .unwrap();
        assert_eq!(bytes, 2000 * "1000\n".len());
    });
}

#[test]
fn cancel_token_cancels() {
    let stage = stage("tokio_cancel");
    run(async {
        let client = connect(&stage).await;
        let token = client.cancel_token();
        let sleep = client.batch_execute("begin; select pg_sleep(60)");
        let cancel = async {
            let mut watch = stage.direct(0);
            let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                       and usename = 'app' and state = 'active'";
            while watch.one(sql) == "0" {
                tokio::task::yield_now().await;
            }
            token.cancel_query(NoTls).await.unwrap();
        };
        let (slept, ()) = futures_util::future::join(sleep, cancel).await;
        assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        client.batch_execute("rollback").await.unwrap();
    });
}

#[test]
fn notifications_arrive_in_order() {
    let stage = stage("tokio_notify");
    run(async {
        let config = format!(
            "host=127.0.0.1 port={} user=app dbname={}",
            stage.convoy.port, stage.database
        );
        let (listener, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let mut messages =
            futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let (send, mut heard) = tokio::sync::mpsc::channel(10);
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(note) = message {
                    send.send(note.payload().to_owned()).await.unwrap();
                }
            }
        });
        listener.batch_execute("listen news").await.unwrap();
        let sender = connect(&stage).await;
        for payload in ["1", "2", "3"] {
            sender
                .execute("select pg_notify('news', $1)", &[&payload])
                .await
                .unwrap();
        }
        for payload in ["1", "2", "3"] {
            assert_eq!(heard.recv().await.as_deref(), Some(payload));
        }
    });
}
