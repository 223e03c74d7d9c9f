//! Made-up pipelines get the same answers, byte by byte, from PostgreSQL and through pgconvoy, and leave the same behind.
//!
//! Each session is lived twice: on a connection to the server, in one database, and on one through pgconvoy in transaction
//! mode, in a copy of that database with the same OIDs. Several clients do so at once over fewer server connections, each
//! in a schema of its own. `make differential COUNT=50000 SEED=7` tries more than a normal run does; with `SESSION=3` it
//! lives that one session alone.

mod conversation;
mod generate;
mod shrink;
mod steps;
mod texts;

use conversation::{Conversation, SILENT, Side, words};
use generate::{Life, Parting, life};
use pgconvoy_tests::convoy::{Convoy, Setup};
use pgconvoy_tests::random::{Random, number_of};
use pgconvoy_tests::wire::{Message, Rows, ServerError, Wire};
use pgconvoy_tests::{shared, wait};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use steps::{Pipeline, Step};

/// Clients at a time, each with a schema.
const CLIENTS: usize = 8;

/// The two worlds that must not differ.
struct Arena {
    direct: Side,
    proxied: Side,
    /// Held for its life; none where both sides are servers.
    convoy: Option<Convoy>,
    /// Reads may come from replicas: they have to have what was put there by another connection.
    split: bool,
}

/// A database with the schemas, and a copy of it.
fn databases() -> (String, String) {
    let original = shared::database("differential");
    let mut owner = Wire::connect(shared::cluster().nodes[0].port, "app", &original).unwrap();
    for client in 0..CLIENTS {
        let kind = ["int", "text"][client % 2];
        owner.run(&format!(
            "create schema w{client}; set search_path = w{client}; {}; create table odd (a {kind}, b int); \
             insert into odd values ('1', 1), ('2', 2); {}",
            texts::SCHEMA,
            texts::SEED
        ));
    }
    owner.close();
    let copy = format!("{original}_copy");
    shared::primary("postgres").run(&format!(
        "create database {copy} template {original} owner app"
    ));
    shared::cluster().wait_replayed(&shared::cluster().nodes[0]);
    (original, copy)
}

fn side(port: u16, database: &str) -> Side {
    let last_oid = shared::primary(database)
        .one("select max(oid) from (select oid from pg_class union select oid from pg_type) x");
    Side {
        port,
        database: database.to_owned(),
        last_oid: last_oid.parse().unwrap(),
    }
}

impl Arena {
    /// The server against pgconvoy in front of so many nodes.
    fn new(nodes: usize, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (original, copy) = databases();
        let ports = shared::cluster().ports();
        let setup = Convoy::before(&ports[..nodes])
            .with("[pool]\nsize = 3\nprepared_statements = 30\n[log]\nlevel = \"warn\"");
        let convoy = change(setup).start();
        Self {
            direct: side(ports[0], &original),
            proxied: side(convoy.port, &copy),
            convoy: Some(convoy),
            split: nodes > 1,
        }
    }
}

/// One client's place: its schema, and connections that look at it from outside.
struct Place<'a> {
    arena: &'a Arena,
    schema: String,
    direct: Wire,
    proxied: Wire,
    /// Who held locks though nobody was there.
    held: Rows,
}

impl<'a> Place<'a> {
    fn new(arena: &'a Arena, client: usize) -> Self {
        let primary = |side: &Side| {
            let mut wire = shared::primary(&side.database);
            wire.run(&format!(
                "set search_path = w{client}; set lock_timeout = '8s'; set timezone = 'UTC'"
            ));
            wire
        };
        Self {
            arena,
            schema: format!("w{client}"),
            direct: primary(&arena.direct),
            proxied: primary(&arena.proxied),
            held: Rows::new(),
        }
    }

    /// Both schemas as at the start. Locks of a client that has left may still be held, but not for long.
    fn reset(&mut self) -> Result<(), Difference> {
        let sql = format!(
            "drop table if exists made, neither cascade; truncate t, u restart identity; alter sequence seq restart; {}",
            texts::SEED
        );
        for wire in [&mut self.direct, &mut self.proxied] {
            while wire.query(&sql).is_err() {
                let holders = wire.run(
                    "select pid, state, query, pg_terminate_backend(pid) from pg_stat_activity \
                     where datname = current_database() and usename = 'app' and pid in \
                     (select pid from pg_locks where relation in ('t'::regclass, 'u'::regclass))",
                );
                self.held.extend(holders);
            }
        }
        if self.arena.split {
            shared::cluster().wait_replayed(&shared::cluster().nodes[0]);
        }
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        let report = format!("locks are held after the clients have left: {held:?}");
        Err(Difference::new("held", report))
    }

    /// Lives one life on both sides; how they differ, if they do.
    fn live(&mut self, life: &Life) -> Result<Alike, Difference> {
        self.reset()?;
        let begin = |side| {
            Conversation::begin(side, &self.schema, life)
                .map_err(|error| Difference::new("login", format!("log in: {error}")))
        };
        let mut direct = begin(&self.arena.direct)?;
        let mut proxied = begin(&self.arena.proxied)?;
        same_settings("after the login", &direct, &proxied)?;
        for (number, pipeline) in life.pipelines.iter().enumerate() {
            for part in pipeline.split_inclusive(|step| matches!(step, Step::Wait)) {
                direct.send(part);
                proxied.send(part);
                let (expected, got) = (direct.answers(part), proxied.answers(part));

                if same(
                    &format!("pipeline {number}"),
                    &expected,
                    &got,
                    self.arena.split,
                )? == Alike::Excused
                {
                    // What follows may differ by what was skipped.
                    for mut side in [direct, proxied] {
                        side.send(&[Step::Sync]);
                        side.answers(&[Step::Sync]);
                        side.end(Parting::Polite, &Pipeline::new());
                    }
                    return Ok(Alike::Excused);
                }
            }
            if direct.is_closed() {
                return Ok(Alike::Wholly);
            }
        }
        same_settings("at the end", &direct, &proxied)?;
        let expected = direct.end(life.parting, &life.tail);
        let got = proxied.end(life.parting, &life.tail);
        same("the last words", &expected, &got, self.arena.split)?;
        self.same_content()?;
        Ok(Alike::Wholly)
    }

    /// What is left behind; the end of a connection may still be on its way to the server.
    fn same_content(&mut self) -> Result<(), Difference> {
        let sql = "select 't ' || t::text from t union all select 'u ' || u::text from u \
                   union all select 'seq ' || last_value || is_called from seq \
                   union all select 'made ' || attname from pg_attribute where attrelid = to_regclass('made') order by 1";
        let expected = self.direct.run(sql);
        let mut got = Vec::new();
        let same = wait::within(Duration::from_secs(10), || {
            got = self.proxied.run(sql);
            // Positions of sequences may run ahead in what is cut off in its middle: only rows have to be the same.
            (got.iter().filter(is_row).eq(expected.iter().filter(is_row))).then_some(())
        });
        same.ok_or_else(|| {
            Difference::new(
                "left behind",
                format!("left behind\n  directly: {expected:?}\n  through pgconvoy: {got:?}"),
            )
        })
    }
}

fn is_row(row: &&Vec<Option<String>>) -> bool {
    !row[0]
        .as_deref()
        .is_some_and(|text| text.starts_with("seq "))
}

fn same_settings(
    when: &str,
    direct: &Conversation,
    proxied: &Conversation,
) -> Result<(), Difference> {
    let (expected, got) = (direct.settings(), proxied.settings());
    if expected == got {
        return Ok(());
    }
    let report = format!("settings {when}\n  directly: {expected:?}\n  through pgconvoy: {got:?}");
    Err(Difference::new(when, report))
}

/// Whether answers are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alike {
    Wholly,
    /// But for what is known: see [`is_excused`].
    Excused,
}

fn same(
    what: &str,
    expected: &[Message],
    got: &[Message],
    split: bool,
) -> Result<Alike, Difference> {
    if expected.last().is_some_and(|last| last.tag == SILENT) {
        return Err(Difference::new(STUCK, format!("{what}: {STUCK}")));
    }
    let told = |messages: &[Message]| messages.iter().map(comparable).collect::<Vec<_>>();
    let (expected, got) = (told(expected), told(got));
    if expected == got {
        return Ok(Alike::Wholly);
    }
    if is_excused(&expected, &got, split) {
        return Ok(Alike::Excused);
    }
    let alike = expected
        .iter()
        .zip(&got)
        .take_while(|(one, other)| one == other);
    let first = alike.count();
    let mut report = format!("{what}, message {first} of the answer");
    let mut kind = String::new();
    for (side, messages) in [("directly", expected), ("through pgconvoy", got)] {
        let _ = write!(report, "\n  {side}:");
        kind.push_str(&messages.get(first).map_or(String::new(), outline));
        let around = messages
            .iter()
            .enumerate()
            .skip(first.saturating_sub(3))
            .take(8);
        for (number, message) in around {
            let _ = write!(report, "\n    {number} {}", words(message));
        }
    }
    Err(Difference::new(&kind, report))
}

/// Whether the first answer that differs does so by what is known: in a failed transaction a statement that the server
/// connection has yet to be told of is refused (25P02) before anything else is found wrong with its use; and telling a
/// server of one takes a snapshot, as does telling it again, behind which a transaction's mode can't be set (25001). And a READ
/// ONLY transaction runs on one replica, whole, which refuses what a standby can't do (25006, 0A000 for SERIALIZABLE). A
/// statement that its settings have made wrong since is found so before it is found misused (08P01).
fn is_excused(expected: &[Message], got: &[Message], split: bool) -> bool {
    let answers = |messages: &[Message]| -> Vec<Vec<Message>> {
        let ends = messages.split_inclusive(|message| message.tag == b'Z');
        ends.map(<[Message]>::to_vec).collect()
    };
    let fails_with = |answer: &[Message], code: &str| {
        let is = |m: &Message| m.tag == b'E' && ServerError::parse(&m.body).code == code;
        answer.iter().any(is)
    };
    let failed = |answer: &[Message]| {
        let still = |m: &Message| m.tag == b'Z' && m.body == b"E";
        answer.iter().any(|m| m.tag == b'E' || still(m))
    };
    let (expected, got) = (answers(expected), answers(got));
    let Some(at) = expected
        .iter()
        .zip(&got)
        .position(|(one, other)| one != other)
    else {
        return false;
    };
    let (one, other) = (&expected[at], &got[at]);
    let before = at.checked_sub(1).is_some_and(|at| failed(&expected[at]));
    let refused = (before || failed(one)) && fails_with(other, "25P02");
    let misused = fails_with(one, "08P01") && failed(other);
    let words = other.iter().map(words).collect::<String>();
    let by_a_standby = fails_with(other, "25006") || words.contains("in a hot standby");
    let too_late = fails_with(one, "25001") != fails_with(other, "25001");
    refused || misused || too_late || (split && by_a_standby)
}

/// What a message is, without what changes from one statement to the next.
fn outline(message: &Message) -> String {
    let tag = char::from(message.tag);
    match message.tag {
        b'E' | b'N' => format!("{tag}{} ", ServerError::parse(&message.body).code),
        b'Z' => format!("{tag}{} ", char::from(message.body[0])),
        _ => format!("{tag} "),
    }
}

impl Difference {
    fn new(kind: &str, report: String) -> Self {
        Self {
            kind: kind.to_owned(),
            report,
        }
    }
}

/// An error or a notice without its place in the server's source: what pgconvoy says itself has none.
fn comparable(message: &Message) -> Message {
    let mut message = message.clone();
    if matches!(message.tag, b'E' | b'N') {
        let fields = message.body.split(|byte| *byte == 0);
        let kept = fields.filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
        message.body = kept.map(without_name).collect::<Vec<_>>().join(&0);
    }
    message
}

/// Of two statements with the same text a client is told either name: `... prepared statement "a" requires 0`.
fn without_name(field: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(field);
    match text.strip_prefix("Mbind message supplies ") {
        Some(rest) => rest.split('"').step_by(2).collect::<String>().into(),
        None => field.to_vec(),
    }
}

/// What was sent makes the server itself wait for more: nothing that ought to be made up.
const STUCK: &str = "PostgreSQL does not answer";

/// How two lives differ: in words, and of which kind, so that each kind is told once.
#[derive(Clone, Debug)]
struct Difference {
    kind: String,
    report: String,
}

/// A difference, and how to see it again.
#[derive(Clone, Debug)]
struct Found {
    session: u64,
    difference: Difference,
    life: Life,
}

/// The most kinds of difference that one run tells of.
const KINDS: usize = 12;

/// Lives sessions until so many pipelines were sent; gives the first difference of each kind.
fn search(arena: &Arena, seed: u64, pipelines: u64) -> Vec<Found> {
    let [sessions, sent, excused] = [const { AtomicU64::new(0) }; 3];
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (sessions, sent, excused, found) = (&sessions, &sent, &excused, &found);
            scope.spawn(move || {
                let mut place = Place::new(arena, client);
                while sent.load(Ordering::Relaxed) < pipelines {
                    let session = sessions.fetch_add(1, Ordering::Relaxed);
                    let life = life(Random::part(seed, session).number());
                    sent.fetch_add(life.pipelines.len() as u64, Ordering::Relaxed);
                    let difference = match place.live(&life) {
                        Ok(Alike::Wholly) => continue,
                        Ok(Alike::Excused) => {
                            excused.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        Err(difference) => difference,
                    };
                    let mut found = found.lock().unwrap();
                    found.entry(difference.kind.clone()).or_insert(Found {
                        session,
                        difference,
                        life,
                    });
                    if found.len() >= KINDS {
                        return;
                    }
                }
            });
        }
    });
    let [sessions, sent, excused] = [sessions, sent, excused].map(AtomicU64::into_inner);
    println!(
        "{sent} pipelines in {sessions} sessions, {excused} of which were not compared to their end"
    );
    found.into_inner().unwrap().into_values().collect()
}

/// One session alone, as a report names it: `DIFFERENTIAL_SESSION`.
fn again(arena: &Arena, seed: u64, session: u64) -> Vec<Found> {
    let life = life(Random::part(seed, session).number());
    let difference = Place::new(arena, 0).live(&life).err();
    let found = difference.map(|difference| Found {
        session,
        difference,
        life,
    });
    found.into_iter().collect()
}

/// Panics with the shortest life that shows each difference, if there is any.
fn assert_same(arena: &Arena, seed: u64, pipelines: u64) {
    let mut report = String::new();
    let all = match number_of("DIFFERENTIAL_SESSION", u64::MAX) {
        u64::MAX => search(arena, seed, pipelines),
        session => again(arena, seed, session),
    };
    for found in all {
        let shorter = shrink::shrink(&mut Place::new(arena, 0), found.life, &found.difference);
        let _ = write!(
            report,
            "\n=== session {}: {}\n{shorter}\n",
            found.session, found.difference.report
        );
    }
    assert!(report.is_empty(), "SEED={seed} COUNT={pipelines}{report}");
}

fn pipelines_of(default: u64) -> u64 {
    number_of("DIFFERENTIAL_COUNT", default)
}

fn seed() -> u64 {
    number_of("DIFFERENTIAL_SEED", 1)
}

#[test]
fn differential_pipelines_are_answered_as_postgresql_does() {
    let arena = Arena::new(1, |setup| setup.top("workers = 2"));
    assert_same(&arena, seed(), pipelines_of(3000));
}

#[test]
fn differential_pipelines_are_answered_the_same_when_replicas_take_the_reads() {
    let arena = Arena::new(2, |setup| setup.top("workers = 1"));
    assert_same(&arena, seed().wrapping_add(1), pipelines_of(6000) / 6);
}

/// What is compared is the same twice, and a difference is seen: or else the tests above would prove nothing.
#[test]
fn differential_finds_one_changed_row_and_nothing_else() {
    let (original, copy) = databases();
    let port = shared::cluster().ports()[0];
    let arena = Arena {
        direct: side(port, &original),
        proxied: side(port, &copy),
        convoy: None,
        split: false,
    };
    assert!(arena.convoy.is_none());
    assert_same(&arena, seed(), 600);
    let changed = "update odd set a = '3' where b = 1";
    for client in 0..CLIENTS {
        shared::primary(&copy).run(&format!("set search_path = w{client}; {changed}"));
    }
    let found = search(&arena, seed(), 2000)
        .pop()
        .expect("the changed row is seen");
    let shorter = shrink::shrink(&mut Place::new(&arena, 0), found.life, &found.difference);
    assert!(shorter.to_lowercase().contains("odd"), "{shorter}");
}
