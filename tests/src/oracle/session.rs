//! One psql session under the oracle's eyes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::outcome::{self, Outcome};
use super::tally::{Case, Tally, Verdict};
use super::text::{self, Kind};
use crate::wire::{Message, Wire, frame};

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// A pgconvoy that sends everything to the primary.
    pub convoy: u16,
    /// A hot standby that has what is committed on the primary when the commit is answered.
    pub standby: u16,
}

/// The longest that a server may be silent.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often a standby is asked again before a difference counts, and how long between.
const AGAIN: usize = 12;
const PAUSE: Duration = Duration::from_millis(60);

/// The longest that pgconvoy takes to read a catalog once it was told of a change.
const CATALOG: Duration = Duration::from_millis(2500);

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Where pgconvoy would send a statement.
struct Route {
    replica: bool,
    reason: String,
    held_by: String,
    /// The names it calls.
    functions: String,
}

struct Session<'s> {
    client: Wire,
    convoy: Wire,
    /// None once it is lost.
    standby: Option<Wire>,
    /// Tells pgconvoy of changes when its catalog is in doubt; opened when needed.
    prompter: Option<Wire>,
    startup: Vec<u8>,
    ports: Ports,
    file: String,
    /// Settings of a transaction that has not ended yet.
    pending: Vec<Vec<u8>>,
    /// Whether pgconvoy has read the catalog since this session may have changed it.
    catalog_is_fresh: bool,
    tally: &'s Mutex<Tally>,
}

/// Serves one client until it leaves.
pub fn serve(mut client: TcpStream, ports: Ports, tally: &Mutex<Tally>) {
    let Some(startup) = read_startup(&mut client, ports) else {
        return;
    };
    let (Some(convoy), Some(standby)) =
        (open(ports.convoy, &startup), open(ports.standby, &startup))
    else {
        return;
    };
    let mut session = Session {
        client: Wire::over(client).expect("a socket that can be set up"),
        convoy,
        standby: None,
        prompter: None,
        file: file_of(&startup),
        startup,
        ports,
        pending: Vec::new(),
        catalog_is_fresh: false,
        tally,
    };
    session.client.patience(PATIENCE * 6);
    if session.relay(&mut Outcome::default()).is_none() {
        return;
    }
    session.standby = greet(standby);
    while let Some(message) = session.client.receive() {
        if session.message(&message).is_none() {
            return;
        }
    }
}

/// The first packet that is not about encryption; cancel requests are passed on.
fn read_startup(client: &mut TcpStream, ports: Ports) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 8];
        client.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut packet = head.to_vec();
        packet.resize(length, 0);
        client.read_exact(packet.get_mut(8..)?).ok()?;
        match u32::from_be_bytes([head[4], head[5], head[6], head[7]]) {
            SSL | GSS => client.write_all(b"N").ok()?,
            CANCEL => {
                // The server closes when it has acted on it.
                open(ports.convoy, &packet)?.receive();
                return None;
            }
            _ => return Some(packet),
        }
    }
}

fn open(port: u16, startup: &[u8]) -> Option<Wire> {
    let mut wire = Wire::open(port).ok()?;
    wire.patience(PATIENCE);
    wire.try_send(startup).ok()?;
    Some(wire)
}

/// Waits for the end of the login.
fn greet(mut wire: Wire) -> Option<Wire> {
    while wire.receive()?.tag != b'Z' {}
    Some(wire)
}

/// `pg_regress/boolean` runs boolean.sql.
fn file_of(startup: &[u8]) -> String {
    let parameters = String::from_utf8_lossy(startup.get(8..).unwrap_or_default()).into_owned();
    let mut parts = parameters.split('\0');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if name == "application_name" {
            return value.rsplit('/').next().unwrap_or_default().to_owned();
        }
    }
    "-".to_owned()
}

impl Session<'_> {
    /// Handles one message of the client's; `None` at the end.
    fn message(&mut self, message: &Message) -> Option<()> {
        match message.tag {
            b'Q' => {
                let sql = message.body.strip_suffix(b"\0").unwrap_or(&message.body);
                self.query(sql)
            }
            b'S' | b'F' => {
                self.pass(message)?;
                self.relay(&mut Outcome::default())
            }
            b'X' => None,
            _ => self.pass(message),
        }
    }

    fn pass(&mut self, message: &Message) -> Option<()> {
        self.convoy
            .try_send(&frame(message.tag, &message.body))
            .ok()
    }

    /// Passes the server's answer on up to ReadyForQuery.
    fn relay(&mut self, outcome: &mut Outcome) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let Some(message) = self.convoy.receive() else {
                // Its last words.
                self.client.try_send(&bytes).ok();
                return None;
            };
            outcome.note(&message);
            bytes.extend(frame(message.tag, &message.body));
            if matches!(message.tag, b'Z' | b'G') || bytes.len() > 1 << 16 {
                self.client.try_send(&bytes).ok()?;
                bytes.clear();
            }
            match message.tag {
                b'Z' => return Some(()),
                b'G' => self.copy_in()?,
                _ => {}
            }
        }
    }

    fn copy_in(&mut self) -> Option<()> {
        loop {
            let message = self.client.receive()?;
            self.pass(&message)?;
            if matches!(message.tag, b'c' | b'f') {
                return Some(());
            }
        }
    }

    /// Lets the primary run it, for the client.
    fn run(&mut self, sql: &[u8]) -> Option<Outcome> {
        let mut outcome = Outcome::default();
        let query = frame(b'Q', &[sql, b"\0"].concat());
        self.convoy.try_send(&query).ok()?;
        self.relay(&mut outcome)?;
        Some(outcome)
    }

    fn query(&mut self, sql: &[u8]) -> Option<()> {
        let text = String::from_utf8_lossy(sql).into_owned();
        let kind = text::kind(&text);
        let idle = self.convoy.status == b'I';
        match kind {
            Kind::Select | Kind::OtherRead if idle && self.standby.is_some() => {
                self.examine(sql, &text, kind == Kind::Select)
            }
            Kind::Select | Kind::OtherRead => self.run(sql).map(drop),
            Kind::Setting => {
                if self.run(sql)?.is_ok() {
                    self.pending.push(sql.to_vec());
                }
                self.settle("COMMIT");
                Some(())
            }
            Kind::Other => {
                self.catalog_is_fresh = false;
                let outcome = self.run(sql)?;
                self.settle(&outcome.command());
                Some(())
            }
        }
    }

    /// Tells the standby of settings once they hold.
    fn settle(&mut self, command: &str) {
        if self.convoy.status != b'I' {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        if command == "COMMIT" {
            for sql in pending {
                self.try_standby(&sql);
            }
        }
    }

    /// What the standby says to it.
    fn try_standby(&mut self, sql: &[u8]) -> Option<Outcome> {
        let standby = self.standby.as_mut()?;
        let mut outcome = outcome::run(standby, sql);
        // Several statements, one of which began a transaction.
        if outcome.is_some() && standby.status != b'I' {
            outcome = outcome::run(standby, b"ROLLBACK").and(outcome);
        }
        if outcome.is_none() {
            self.standby = None;
            self.tally().lost();
        }
        outcome
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where pgconvoy would send it; `None` if it is not one statement.
    fn ask(&mut self, sql: &str) -> Option<Route> {
        let rows = self.convoy.query(&format!("SHOW ROUTE {sql}")).ok()?;
        let mut columns = rows
            .into_iter()
            .next()?
            .into_iter()
            .map(Option::unwrap_or_default);
        let (target, _node) = (columns.next()?, columns.next()?);
        Some(Route {
            replica: target == "replica",
            reason: columns.next()?,
            held_by: columns.next()?,
            functions: columns.next()?,
        })
    }

    /// A connection through pgconvoy of the oracle's own.
    fn prompter(&mut self) -> Option<&mut Wire> {
        if self.prompter.is_none() {
            self.prompter = open(self.ports.convoy, &self.startup).and_then(greet);
        }
        self.prompter.as_mut()
    }

    /// The route once pgconvoy has read the database's catalog again, which is asked for.
    fn ask_again(&mut self, sql: &str) -> Option<Route> {
        let prompt = b"DROP AGGREGATE IF EXISTS nothing_of_the_oracle(int)";
        outcome::run(self.prompter()?, prompt);
        std::thread::sleep(CATALOG);
        self.catalog_is_fresh = true;
        self.ask(sql)
    }

    /// Whether pgconvoy may not have heard yet of what keeps it on the primary: of something of a user's.
    fn may_be_new(&mut self, route: &Route) -> bool {
        if self.catalog_is_fresh || !route.reason.starts_with("unknown") {
            return false;
        }
        if route.reason != "unknown_function" {
            return true;
        }
        let names = route.functions.replace('\'', "''");
        let sql = format!(
            "SELECT 1 FROM pg_proc WHERE oid >= 16384 AND proname = ANY (SELECT regexp_replace(f, '.*\\.', '') \
             FROM regexp_split_to_table('{names}', ', ') f) LIMIT 1"
        );
        self.prompter()
            .and_then(|prompter| prompter.query(&sql).ok())
            .is_none_or(|rows| !rows.is_empty())
    }

    /// Runs it here and there, and judges.
    fn examine(&mut self, sql: &[u8], text: &str, select: bool) -> Option<()> {
        let route = self.ask(text);
        let (Some(route), Some(standby)) = (route, self.try_standby(sql)) else {
            return self.run(sql).map(drop);
        };
        let primary = self.run(sql)?;
        let ordered = text::is_ordered(text);
        let same = primary.is_same(&standby, ordered);
        let (verdict, reason) = if same {
            self.judge_same(text, route, primary.is_ok())
        } else {
            self.judge_different(sql, text, route, &primary, &standby)?
        };
        let case = Case {
            file: &self.file,
            sql: text,
            select,
            reason: &reason,
            outcomes: (primary.summary(), standby.summary()),
        };
        self.tally().add(verdict, &case);
        Some(())
    }

    fn judge_same(&mut self, text: &str, route: Route, passed: bool) -> (Verdict, String) {
        if !passed {
            return (Verdict::Fails, route.reason);
        }
        let mut route = route;
        if !route.replica
            && self.may_be_new(&route)
            && let Some(later) = self.ask_again(text)
        {
            route = later;
        }
        match (route.replica, route.held_by.is_empty()) {
            (true, true) => (Verdict::Sent, route.reason),
            (true, false) => (Verdict::Held, route.held_by),
            (false, _) => (Verdict::Kept, route.reason),
        }
    }

    fn judge_different(
        &mut self,
        sql: &[u8],
        text: &str,
        route: Route,
        primary: &Outcome,
        standby: &Outcome,
    ) -> Option<(Verdict, String)> {
        let ordered = text::is_ordered(text);
        // A session that waits for its sequences is only held by the way: the router's word is what counts.
        let sent = route.replica && matches!(route.held_by.as_str(), "" | "sequence");
        if !standby.is_ok() && !sent {
            return Some((Verdict::Needed, route.reason));
        }
        // What a standby runs is no write: it may be run once more on the primary.
        let mut expected = primary.clone();
        if standby.is_ok() {
            expected = outcome::run(&mut self.convoy, sql)?;
            if !expected.is_same(primary, ordered) {
                return Some((Verdict::Varies, route.reason));
            }
        }
        // What others did in between is no difference of the nodes.
        for _ in 0..AGAIN {
            match self.try_standby(sql) {
                Some(again) if again.is_same(&expected, ordered) => {
                    return Some(self.judge_same(text, route, expected.is_ok()));
                }
                Some(_) => std::thread::sleep(PAUSE),
                None => break,
            }
        }
        if !sent {
            return Some((Verdict::Needed, route.reason));
        }
        // A machine that is busy takes its time to read a catalog.
        let verdict = if (0..4).any(|_| self.ask_again(text).is_some_and(|later| !later.replica)) {
            Verdict::WrongByOldCatalog
        } else {
            Verdict::Wrong
        };
        Some((verdict, route.reason))
    }
}
