//! Several instances behind one address: a cancel request works whichever of them gets it.

use pgconvoy_tests::convoy::Convoy;
use pgconvoy_tests::wire::{Batch, Wire, cancel};
use pgconvoy_tests::{ports, shared, wait};
use std::time::{Duration, Instant};

/// Instances with these numbers in front of the shared cluster, and a database of their own.
struct Fleet {
    convoys: Vec<Convoy>,
    database: String,
}

impl Fleet {
    /// `peers` says what each is told of the others, from everybody's numbers and ports.
    fn new(name: &str, ids: &[u8], peers: impl Fn(u8, &[(u8, u16)]) -> Vec<(u8, u16)>) -> Self {
        let convoys: Vec<Convoy> = ids
            .iter()
            .map(|id| {
                Convoy::before(&shared::cluster().ports())
                    .top(&format!("peer_id = {id}"))
                    .start()
            })
            .collect();
        let all: Vec<(u8, u16)> = ids
            .iter()
            .copied()
            .zip(convoys.iter().map(|c| c.port))
            .collect();
        for (id, convoy) in ids.iter().zip(&convoys) {
            let list: String = peers(*id, &all)
                .iter()
                .map(|(id, port)| format!("[[peer]]\nid = {id}\naddress = \"127.0.0.1:{port}\"\n"))
                .collect();
            convoy.reload(|setup| setup.with(&list));
            convoy.wait_log(&["configuration reloaded"]);
        }
        Self {
            convoys,
            database: shared::database(name),
        }
    }

    /// Everybody knows everybody, itself included: one list for all.
    fn whole(name: &str, ids: &[u8]) -> Self {
        Self::new(name, ids, |_, all| all.to_vec())
    }

    /// A client of one instance whose statement runs, for a long time.
    fn sleeper(&self, at: usize, version: u32) -> Wire {
        let who = [("user", "app"), ("database", self.database.as_str())];
        let mut client =
            Wire::login_as_of(version, self.convoys[at].port, &who, None).expect("log in");
        client.send(Batch::new().query("begin; select pg_sleep(100)").bytes());
        self.wait_asleep(1);
        client
    }

    fn wait_asleep(&self, count: usize) {
        let mut direct = shared::primary(&self.database);
        let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                   and usename = 'app' and query like '%pg_sleep(100)%' and state = 'active'";
        wait::until("so many sleep", wait::SOON, || {
            direct.one(sql) == count.to_string()
        });
    }
}

fn code_of(client: &mut Wire) -> Vec<String> {
    pgconvoy_tests::wire::codes(&client.until_ready())
}

#[test]
fn cancel_request_to_the_wrong_one_of_two_instances_is_passed_on() {
    let fleet = Fleet::whole("peers_two", &[1, 2]);
    for version in [0x0003_0000, 0x0003_0002] {
        for (at, to) in [(0, 1), (1, 0), (1, 1)] {
            let mut client = fleet.sleeper(at, version);
            cancel(fleet.convoys[to].port, &client.key);
            assert_eq!(code_of(&mut client), ["57014"], "{version:x} {at} {to}");
            client.run("rollback");
        }
    }
}

#[test]
fn every_one_of_three_instances_finds_the_client() {
    let fleet = Fleet::whole("peers_three", &[7, 200, 255]);
    for at in 0..3 {
        for to in 0..3 {
            let mut client = fleet.sleeper(at, 0x0003_0000);
            cancel(fleet.convoys[to].port, &client.key);
            assert_eq!(code_of(&mut client), ["57014"], "{at} {to}");
            client.run("rollback");
        }
    }
}

#[test]
fn client_that_waits_is_found_through_a_peer_too() {
    let fleet = Fleet::whole("peers_queue", &[1, 2]);
    fleet.convoys[0].reload(|setup| {
        let peer = fleet.convoys[1].port;
        setup.with(&format!(
            "[pool]\nsize = 1\n[[peer]]\nid = 2\naddress = \"127.0.0.1:{peer}\""
        ))
    });
    fleet.convoys[0].wait_log(&["configuration reloaded", "pool.size"]);
    let mut holder = fleet.convoys[0].connect("app", &fleet.database).unwrap();
    let mut queued = fleet.convoys[0].connect("app", &fleet.database).unwrap();
    holder.run("begin; select 1");
    queued.send(Batch::new().query("create table never ()").bytes());
    wait::until("it waits", wait::SOON, || {
        let page = fleet.convoys[0].page("/metrics").body;
        pgconvoy_tests::http::sum(&page, "pgconvoy_pool_waiting") == 1.0
    });
    cancel(fleet.convoys[1].port, &queued.key);
    assert_eq!(code_of(&mut queued), ["57014"]);
}

#[test]
fn key_of_nobody_does_nothing_and_is_passed_on_to_nobody() {
    let fleet = Fleet::whole("peers_nobody", &[1, 2]);
    let mut client = fleet.sleeper(0, 0x0003_0000);
    let (pid, secret) = client.key.clone();
    let of_peer_3 = pid & 0x007f_ffff | 3 << 23;
    let wrong: Vec<u8> = secret.iter().map(|byte| !byte).collect();
    for convoy in &fleet.convoys {
        cancel(convoy.port, &(of_peer_3, secret.clone()));
        cancel(convoy.port, &(pid + 1, secret.clone()));
        cancel(convoy.port, &(pid, wrong.clone()));
    }
    fleet.wait_asleep(1);
    cancel(fleet.convoys[1].port, &client.key);
    assert_eq!(code_of(&mut client), ["57014"]);
}

/// Each takes the other for number 3: without a bound the request would go to and fro for ever.
#[test]
fn wrong_lists_do_not_send_a_request_in_circles() {
    let fleet = Fleet::new("peers_circle", &[1, 2], |id, all| {
        let other = all.iter().find(|(other, _)| *other != id).unwrap();
        vec![(3, other.1)]
    });
    let key = (3 << 23 | 5, vec![1, 2, 3, 4]);
    let before = Instant::now();
    cancel(fleet.convoys[0].port, &key);
    assert!(before.elapsed() < Duration::from_secs(5));
    let said = ["a peer sent a cancel request", "peer=3"];
    fleet.convoys[1].wait_log(&said);
    assert!(!fleet.convoys[0].log().contains(said[0]), "it came back");
    assert_eq!(fleet.convoys[1].log().matches(said[0]).count(), 1);
}

#[test]
fn peer_that_is_gone_is_logged_and_holds_nobody_up() {
    let nobody = ports::free();
    let fleet = Fleet::new("peers_gone", &[1], |_, _| vec![(9, nobody)]);
    let before = Instant::now();
    cancel(fleet.convoys[0].port, &(9 << 23 | 1, vec![0; 32]));
    assert!(before.elapsed() < Duration::from_secs(5));
    fleet.convoys[0].wait_log(&["cancel request not passed on", "peer=9"]);
}
