//! Many short statements and many cancel requests at the same time, to one instance or through two:
//! nobody's statement but the one that was meant is ever cancelled.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::shared;
use pgconvoy_tests::wire::{Batch, Wire, begin_cancel, cancel, codes};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Statements of each client.
const ROUNDS: usize = 150;
const CANCELLERS: usize = 6;
const VICTIMS: usize = 4;

#[derive(Default)]
struct Tally {
    cancelled: AtomicUsize,
    finished: AtomicUsize,
    over: AtomicBool,
}

/// What a storm is about: where clients are, where requests go, and what they run.
struct Storm<'a> {
    convoys: &'a [Convoy],
    database: String,
    tally: Tally,
}

impl Storm<'_> {
    fn client(&self, number: usize) -> Wire {
        let port = self.convoys[number % self.convoys.len()].port;
        let version = if number.is_multiple_of(2) {
            0x0003_0000
        } else {
            0x0003_0002
        };
        // Each has parameters of its own, which are set ahead of what it runs on a connection of another.
        let name = format!("client {number}");
        let who = [
            ("user", "app"),
            ("database", self.database.as_str()),
            ("application_name", name.as_str()),
        ];
        Wire::login_as_of(version, port, &who, None).expect("log in")
    }

    /// Cancels its own statements, some of which are over by then, and must find the next one whole.
    fn cancel_own(&self, number: usize) {
        let mut client = self.client(number);
        for round in 0..ROUNDS {
            let to = self.convoys[(number + round) % self.convoys.len()].port;
            let in_transaction = round.is_multiple_of(3);
            if in_transaction {
                client.run("begin");
            }
            let statement = if round.is_multiple_of(2) {
                Batch::new().query("select pg_sleep(random() * 0.004)")
            } else {
                Batch::new()
                    .parse("", "select pg_sleep(random() * $1)")
                    .bind("", "", &[Some("0.004")])
                    .execute("", 0)
                    .sync()
            };
            client.send(statement.bytes());
            // Its end is sometimes seen before the statement's, and sometimes after.
            let late = (round.is_multiple_of(2)).then(|| begin_cancel(to, &client.key));
            if late.is_none() {
                cancel(to, &client.key);
            }
            let said = codes(&client.until_ready());
            match said.as_slice() {
                [] => self.tally.finished.fetch_add(1, Ordering::Relaxed),
                [code] if code == "57014" => self.tally.cancelled.fetch_add(1, Ordering::Relaxed),
                other => panic!("{other:?}"),
            };
            if let Some(mut late) = late {
                assert!(late.receive().is_none());
            }
            if in_transaction {
                client.run("rollback");
            }
            assert_eq!(client.one("select 7"), "7");
        }
    }

    /// Is never cancelled by anybody.
    fn be_left_alone(&self, number: usize) {
        let mut client = self.client(number);
        while !self.tally.over.load(Ordering::Relaxed) {
            client.run("select pg_sleep(0.001)");
            client.run("begin");
            client.run("select pg_sleep(0.001)");
            client.run("commit");
            client
                .execute("select $1::int", &["1"])
                .expect("nobody cancels this");
        }
    }

    fn rage(&self) {
        std::thread::scope(|scope| {
            for number in 0..VICTIMS {
                scope.spawn(move || self.be_left_alone(number));
            }
            let cancellers: Vec<_> = (0..CANCELLERS)
                .map(|number| scope.spawn(move || self.cancel_own(number)))
                .collect();
            let ended: Vec<_> = cancellers.into_iter().map(|thread| thread.join()).collect();
            self.tally.over.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(Result::is_ok));
        });
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let (cancelled, finished) = (count(&self.tally.cancelled), count(&self.tally.finished));
        assert_eq!(cancelled + finished, CANCELLERS * ROUNDS);
        assert!(cancelled > ROUNDS / 2, "{cancelled} were cancelled");
    }
}

/// Fewer connections than clients, so that each is lent from one to the next at once.
fn convoy(more: &str) -> Convoy {
    Convoy::before(&shared::cluster().ports())
        .with("[pool]\nsize = 3\n[limits]\nmax_client_connections = 300")
        .with("[routing]\nsplit_reads = false")
        .top("workers = 2")
        .top(more)
        .start()
}

#[test]
fn storm_of_cancel_requests_hits_nobody_else() {
    let convoys = [convoy("")];
    Storm {
        convoys: &convoys,
        database: shared::database("storm"),
        tally: Tally::default(),
    }
    .rage();
}

#[test]
fn storm_of_cancel_requests_through_the_wrong_instance_hits_nobody_else() {
    let convoys = [convoy("peer_id = 1"), convoy("peer_id = 2")];
    let list = format!(
        "[pool]\nsize = 3\n[routing]\nsplit_reads = false\n\
         [[peer]]\nid = 1\naddress = \"127.0.0.1:{}\"\n[[peer]]\nid = 2\naddress = \"127.0.0.1:{}\"",
        convoys[0].port, convoys[1].port
    );
    for convoy in &convoys {
        convoy.reload(|setup| setup.with(&list));
        convoy.wait_log(&["configuration reloaded"]);
    }
    Storm {
        convoys: &convoys,
        database: shared::database("storm_peers"),
        tally: Tally::default(),
    }
    .rage();
}
