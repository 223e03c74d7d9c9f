//! Makes up what a client does from its login to its end. Depends on the seed alone, not on what is answered.

use super::steps::{Pipeline, Step};
use super::texts::{EMPTY, READS, STATE, TRANSACTION, Text, WRITES, WRONG};
use pgconvoy_tests::random::Random;
use std::collections::BTreeMap;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// Terminate.
    Polite,
    /// It is gone at once, in a transaction that nobody will commit.
    Gone,
}

/// A client's life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) parting: Parting,
    /// What it says last.
    pub(super) tail: Pipeline,
    /// The other startup parameter it brings.
    pub(super) application: String,
}

const STATEMENTS: [&str; 6] = ["", "", "s1", "s2", "a longer name", "pgconvoy_1"];
const PORTALS: [&str; 6] = ["", "", "", "p1", "p2", "c1"];

/// Functions by OID with arguments: int4pl, lower, length, int4div, nextval, and none.
const FUNCTIONS: [(u32, &[&str]); 8] = [
    (177, &["1", "2"]),
    (870, &["ABC"]),
    (1317, &["abc"]),
    (154, &["1", "0"]),
    (1574, &["seq"]),
    (177, &["1", "abc"]),
    (177, &["1"]),
    (99_999_999, &[]),
];

struct Generator {
    random: Random,
    /// Whether this session leaves state behind that keeps it on its server connection.
    stateful: bool,
    /// What was parsed by which name, for Binds that fit.
    parsed: BTreeMap<&'static str, &'static str>,
}

/// The life of the session with this seed.
pub(super) fn life(seed: u64) -> Life {
    let mut random = Random::new(seed);
    let stateful = random.percent(25);
    let count = if stateful {
        random.between(1, 8)
    } else {
        random.between(3, 40)
    };
    let application = format!("app {}", random.below(5));
    let mut generator = Generator {
        random,
        stateful,
        parsed: BTreeMap::new(),
    };
    let pipelines = (0..count).map(|_| generator.pipeline()).collect();
    let parting = *generator.random.pick(&[Parting::Polite, Parting::Gone]);
    let tail = generator.tail(parting);
    Life {
        pipelines,
        parting,
        tail,
        application,
    }
}

/// The unnamed portal is used behind a Bind of the same batch only: PostgreSQL 15.18 crashes when one is executed that a
/// failed Query has left behind in a transaction.
fn without_leftovers(steps: &mut Pipeline) {
    let mut bound = false;
    for step in steps {
        match step {
            Step::Bind { portal: "", .. } => bound = true,
            Step::Sync | Step::Query(_) | Step::Function { .. } => bound = false,
            Step::Execute { portal, .. } | Step::Describe(b'P', portal) if portal.is_empty() => {
                if !bound {
                    *portal = "p1";
                }
            }
            Step::Parse { .. }
            | Step::Bind { .. }
            | Step::Describe(..)
            | Step::Close(..)
            | Step::Execute { .. }
            | Step::Flush
            | Step::Wait
            | Step::CopyData(_)
            | Step::CopyDone
            | Step::CopyFail => {}
        }
    }
}

impl Generator {
    fn pipeline(&mut self) -> Pipeline {
        let mut steps = Vec::new();
        for _ in 0..self.random.between(1, 6) {
            self.phrase(&mut steps);
        }
        match self.random.below(20) {
            0 => steps.push(Step::Wait),
            1 => {}
            _ => steps.push(Step::Sync),
        }
        without_leftovers(&mut steps);
        steps
    }

    /// What is said last, and not ended.
    fn tail(&mut self, parting: Parting) -> Pipeline {
        let mut steps = Vec::new();
        match parting {
            Parting::Polite => {}
            Parting::Gone => {
                steps.push(Step::Sync);
                steps.push(Step::Query("rollback".into()));
                steps.push(Step::Query("begin".into()));
                // What is cut off runs when it will, perhaps in the next life: no sequence shows it there.
                let quiet = |(sql, _): &&Text| !sql.contains("seq") && !sql.contains("into u");
                let writes: Vec<Text> = WRITES.iter().filter(quiet).copied().collect();
                for _ in 0..self.random.between(1, 4) {
                    let sql = *self.random.pick(&writes);
                    self.driver_like(&mut steps, sql);
                }
            }
        }
        without_leftovers(&mut steps);
        steps
    }

    fn phrase(&mut self, steps: &mut Pipeline) {
        match self.random.weighted(&[30, 14, 6, 14, 16, 2, 5, 8, 4, 3]) {
            0 => {
                let text = self.text();
                self.driver_like(steps, text);
            }
            1 => self.bind_and_execute(steps),
            2 => self.suspended(steps),
            3 => {
                for _ in 0..self.random.between(1, 3) {
                    let step = self.any_message();
                    steps.push(step);
                }
            }
            4 => self.query(steps),
            5 => {
                let (oid, arguments) = *self.random.pick(&FUNCTIONS);
                // As drivers do; behind unfinished messages it is a case of its own.
                if self.random.percent(70) {
                    steps.push(Step::Sync);
                }
                let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
                steps.push(Step::Function { oid, arguments });
            }
            6 => self.copy(steps),
            7 => self.transaction(steps),
            8 => steps.push(Step::Sync),
            _ => steps.push(if self.random.percent(60) {
                Step::Wait
            } else {
                Step::Flush
            }),
        }
    }

    fn text(&mut self) -> Text {
        let state = if self.stateful { 25 } else { 0 };
        let kinds = [READS, WRITES, WRONG, EMPTY, TRANSACTION, STATE];
        let kind = self.random.weighted(&[45, 25, 8, 2, 10, state]);
        *self.random.pick(kinds[kind])
    }

    /// The text as it is, or in a variant that nobody has prepared yet.
    fn variant(&mut self, sql: &str) -> String {
        match self.random.below(12) {
            0 => format!("{sql} -- {}", self.random.below(1000)),
            1 => format!("/* {} */ {sql}", self.random.below(100)),
            2 => sql.to_uppercase(),
            _ => sql.to_owned(),
        }
    }

    /// FETCH is sent as a Query only: PostgreSQL 15.18 crashes at the Describe of a prepared one whose cursor is gone.
    fn parse(&mut self, name: &'static str, (sql, kinds): Text) -> Step {
        let sql = if sql.starts_with("fetch") {
            "move 1 in c1"
        } else {
            sql
        };
        self.parsed.insert(name, kinds);
        let oid = |kind| match kind {
            'i' => 23,
            'l' => 20,
            'n' => 1700,
            'b' => 16,
            _ => 25,
        };
        let types = match self.random.below(40) {
            0..10 => kinds.chars().map(oid).collect(),
            10 => kinds.chars().map(|_| 0).collect(),
            11 => kinds.chars().map(|_| 25).collect(),
            12 => vec![23, 25, 1700],
            13 => vec![99_999_999],
            _ => Vec::new(),
        };
        Step::Parse {
            name,
            sql: self.variant(sql),
            types,
        }
    }

    fn value(&mut self, kind: char) -> String {
        match kind {
            'i' | 'l' => self.random.between(1, 30).to_string(),
            'n' => format!("{}.25", self.random.below(100)),
            'b' => (*self.random.pick(&["t", "false", "on"])).to_owned(),
            _ => (*self
                .random
                .pick(&["row 3", "", "text; with 'all'", "ünïcödé", "22012"]))
            .to_owned(),
        }
    }

    /// One value of a Bind and its format.
    fn bound(&mut self, kind: char) -> (Option<Vec<u8>>, u16) {
        let binary = self.random.percent(20) && kind != 'n';
        if self.random.percent(4) {
            return (None, u16::from(binary));
        }
        if self.random.percent(3) {
            return (Some(b"abc".to_vec()), u16::from(binary));
        }
        if !binary {
            return (Some(self.value(kind).into_bytes()), 0);
        }
        let number = self.random.between(1, 30);
        let bytes = match kind {
            'i' => (number as u32).to_be_bytes().to_vec(),
            'l' => (number as u64).to_be_bytes().to_vec(),
            'b' => vec![1],
            _ => self.value(kind).into_bytes(),
        };
        (Some(bytes), 1)
    }

    fn bind(&mut self, portal: &'static str, statement: &'static str) -> Step {
        let kinds = self.parsed.get(statement).copied().unwrap_or("i");
        let (mut values, mut formats): (Vec<_>, Vec<_>) =
            kinds.chars().map(|kind| self.bound(kind)).unzip();
        if formats.iter().all(|format| *format == 0) {
            formats.truncate(self.random.below(2));
        }
        match self.random.below(60) {
            0 => values.push(None),
            1 => drop(values.pop()),
            2 => formats = vec![0, 0, 1],
            3 => formats.push(7),
            _ => {}
        }
        let results = match self.random.below(20) {
            0..3 => vec![1],
            3 => vec![0, 1],
            4 => vec![0],
            _ => Vec::new(),
        };
        Step::Bind {
            portal,
            statement,
            formats,
            values,
            results,
        }
    }

    fn execute(&mut self, portal: &'static str) -> Step {
        let rows = if self.random.percent(20) {
            self.random.between(1, 5) as u32
        } else {
            0
        };
        Step::Execute { portal, rows }
    }

    fn driver_like(&mut self, steps: &mut Pipeline, text: Text) {
        let name = *self.random.pick(&STATEMENTS);
        if !name.is_empty() && self.random.percent(60) {
            steps.push(Step::Close(b'S', name));
        }
        steps.push(self.parse(name, text));
        if self.random.percent(25) {
            steps.push(Step::Describe(b'S', name));
        }
        if self.random.percent(10) {
            steps.push(Step::Wait);
        }
        let portal = *self.random.pick(&PORTALS);
        steps.push(self.bind(portal, name));
        if self.random.percent(40) {
            steps.push(Step::Describe(b'P', portal));
        }
        steps.push(self.execute(portal));
        if self.random.percent(10) {
            steps.push(Step::Close(b'S', name));
        }
        if self.random.percent(40) {
            steps.push(Step::Sync);
        }
    }

    fn bind_and_execute(&mut self, steps: &mut Pipeline) {
        let statement = *self.random.pick(&STATEMENTS);
        let portal = *self.random.pick(&PORTALS);
        steps.push(self.bind(portal, statement));
        steps.push(self.execute(portal));
        if self.random.percent(30) {
            steps.push(Step::Sync);
        }
    }

    fn suspended(&mut self, steps: &mut Pipeline) {
        let portal = *self.random.pick(&PORTALS);
        let text = *self.random.pick(READS);
        steps.push(self.parse("", text));
        steps.push(self.bind(portal, ""));
        for _ in 0..self.random.between(1, 4) {
            let rows = self.random.between(1, 4) as u32;
            steps.push(Step::Execute { portal, rows });
            match self.random.below(8) {
                0 => steps.push(Step::Sync),
                1 => steps.push(Step::Wait),
                2 => steps.push(Step::Query("select 'between'".into())),
                _ => {}
            }
        }
        if self.random.percent(50) {
            steps.push(Step::Close(b'P', portal));
        }
    }

    fn any_message(&mut self) -> Step {
        let statement = *self.random.pick(&STATEMENTS);
        let portal = *self.random.pick(&PORTALS);
        match self.random.below(30) {
            0..6 => {
                let text = self.text();
                self.parse(statement, text)
            }
            6..11 => self.bind(portal, statement),
            11..14 => Step::Describe(b'S', statement),
            14..17 => Step::Describe(b'P', portal),
            17..20 => Step::Close(b'S', statement),
            20..22 => Step::Close(b'P', portal),
            22..26 => self.execute(portal),
            26 => Step::Flush,
            27 => Step::Describe(b'X', statement),
            // Outside of a COPY they are passed over.
            28 => Step::CopyDone,
            _ => Step::CopyData(b"1\tstray\n".to_vec()),
        }
    }

    /// A statement with literals in the place of its parameters.
    fn literal(&mut self, (sql, kinds): Text) -> String {
        let mut sql = sql.to_owned();
        for (place, kind) in kinds.chars().enumerate() {
            let value = self.value(kind).replace('\'', "''");
            let value = if matches!(kind, 'i' | 'l' | 'n') {
                value
            } else {
                format!("'{value}'")
            };
            sql = sql.replace(&format!("${}", place + 1), &value);
        }
        sql
    }

    fn query(&mut self, steps: &mut Pipeline) {
        let count = [1, 1, 1, 2, 3, 4][self.random.below(6)];
        let parts: Vec<String> = (0..count)
            .map(|_| {
                let text = self.text();
                self.literal(text)
            })
            .collect();
        steps.push(Step::Query(self.variant(&parts.join("; "))));
    }

    fn transaction(&mut self, steps: &mut Pipeline) {
        let text = *self.random.pick(TRANSACTION);
        if self.random.percent(50) {
            steps.push(Step::Query(text.0.to_owned()));
        } else {
            self.driver_like(steps, text);
        }
    }

    fn copy(&mut self, steps: &mut Pipeline) {
        let sql = *self.random.pick(&[
            "copy t (id, v) from stdin",
            "copy t (id, v) from stdin",
            "copy t (id, v) from stdin with (format csv, header)",
            "copy u (t_id, note) from stdin",
            "copy odd to stdout",
            "copy (select id, v from t order by id) to stdout with (format binary)",
            "copy (select 10 / (5 - g) from generate_series(1, 9) g) to stdout",
            "insert into t (id, v) values (901, 'ahead'); copy t (id, v) from stdin; delete from t where id = 901",
            "copy t (id, v) from stdin; copy u (t_id, note) from stdin; select 1",
            "copy odd (a) to stdout; copy odd to stdout",
        ]);
        let extended = !sql.contains("; ") && self.random.percent(30);
        if extended {
            // Names of its own: nobody else may find a COPY there and wait for data.
            steps.push(Step::Close(b'S', "copy"));
            steps.push(self.parse("copy", (sql, "")));
            steps.push(self.bind("copy", "copy"));
            steps.push(Step::Execute {
                portal: "copy",
                rows: 0,
            });
        } else {
            steps.push(Step::Query(sql.to_owned()));
        }
        for _ in 0..sql.matches("from stdin").count() {
            self.copy_data(steps);
        }
        if extended {
            steps.push(Step::Sync);
        }
    }

    fn copy_data(&mut self, steps: &mut Pipeline) {
        for _ in 0..self.random.below(4) {
            let id = self.random.between(1, 60);
            let line = match self.random.below(8) {
                0 => "not a number\tat all\n".to_owned(),
                1 => format!("{id}\n"),
                2 => format!("{id},by csv\n"),
                // A row in two messages.
                3 => {
                    steps.push(Step::CopyData(format!("{id}\tha").into_bytes()));
                    "lf\n".to_owned()
                }
                _ => format!("{id}\tcopied {id}\n"),
            };
            steps.push(Step::CopyData(line.into_bytes()));
            if self.random.percent(10) {
                steps.push(Step::Flush);
            }
        }
        steps.push(if self.random.percent(85) {
            Step::CopyDone
        } else {
            Step::CopyFail
        });
    }
}
