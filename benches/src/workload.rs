//! The loads: what a pgbench client sends, how a row of the report is called, and in what it is counted.

/// How pgbench sends statements (its `-M`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Simple,
    Extended,
    Prepared,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

/// Who logs in, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Once, trusted, as `app`.
    Kept,
    /// For each transaction, with SCRAM.
    ScramEachTime,
}

/// Which way a COPY goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Pgbench {
        script: &'static str,
        mode: Mode,
        login: Login,
    },
    /// psql's `\copy` of the bulk table; one client.
    Copy(Direction),
}

/// In what a workload's rate is counted. One transaction is 1 MB in the bulk loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Transactions,
    Connections,
    Megabytes,
}

impl Unit {
    /// What the rate is, per second.
    pub fn rate(self) -> &'static str {
        match self {
            Self::Transactions => "tx/s",
            Self::Connections => "conn/s",
            Self::Megabytes => "MB/s",
        }
    }

    /// What CPU time is given per.
    pub fn one(self) -> &'static str {
        match self {
            Self::Transactions => "tx",
            Self::Connections => "conn",
            Self::Megabytes => "MB",
        }
    }
}

/// Whether `make bench QUICK=1` runs a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Always: the bar hangs on it.
    Core,
    Full,
}

/// One workload at several numbers of clients.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub load: Load,
    pub unit: Unit,
    /// Numbers of clients, and in which runs each is measured.
    pub clients: &'static [(usize, Part)],
}

/// The selects keep to a tenth of the accounts: a server process that meets a page for the first time pays for
/// mapping it, and columns with more of them would pay that for longer than a run lasts.
const SELECT: &str = "\\set aid random(1, 100000)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
";

/// pgbench puts variables into the text itself in simple mode, also within quotes and names.
const LITERALS: &str = "\\set aid random(1, 100000)
\\set n random(1, 1000000000000)
SELECT \"a\".\"aid\", \"a\".\"bid\", \"a\".\"abalance\" FROM \"pgbench_accounts\" AS \"a\" \
WHERE (\"a\".\"aid\" = :aid AND \"a\".\"abalance\" > -:n AND \"a\".\"filler\" <> 'order-:n') \
ORDER BY \"a\".\"aid\" ASC LIMIT 21;
";

const SHAPES: &str = "\\set aid random(1, 100000)
\\set n random(1, 1000000000000)
SELECT abalance AS c:n FROM pgbench_accounts WHERE aid = :aid;
";

const TPCB: &str = "\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
";

const TRANSACTION: &str = "\\set aid random(1, 100000 * :scale)
\\set other random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :other;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT bid, abalance FROM pgbench_accounts WHERE aid = :aid;
SELECT count(*) FROM pgbench_branches;
END;
";

/// 20 statements between the two: see [`expand`].
const PIPELINE: &str = "\\set aid random(1, 100000)
\\startpipeline
*20 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\\endpipeline
";

const ROWS: &str = "\\set first random(1, 100000 * :scale - 1000)
SELECT aid, bid, abalance FROM pgbench_accounts WHERE aid >= :first AND aid < :first + 1000;
";

/// 1,024 rows of 1 KiB.
const MEGABYTE: &str = "\\set first random(1, 40000)
SELECT body FROM bench_bulk WHERE id >= :first AND id < :first + 1024;
";

const fn pgbench(script: &'static str, mode: Mode) -> Load {
    Load::Pgbench {
        script,
        mode,
        login: Login::Kept,
    }
}

const BY_CLIENTS: &[(usize, Part)] = &[(1, Part::Full), (32, Part::Core), (200, Part::Full)];
const BY_CLIENTS_CORE: &[(usize, Part)] = &[(1, Part::Core), (32, Part::Core), (200, Part::Core)];

/// Every workload that is timed, in the order of the report.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "select-simple",
        about: "pgbench -S, simple protocol: one shape, the literal changes",
        load: pgbench(SELECT, Mode::Simple),
        unit: Unit::Transactions,
        clients: BY_CLIENTS,
    },
    Workload {
        name: "select-extended",
        about: "pgbench -S, extended protocol: parsed each time, unnamed",
        load: pgbench(SELECT, Mode::Extended),
        unit: Unit::Transactions,
        clients: BY_CLIENTS,
    },
    Workload {
        name: "select-prepared",
        about: "pgbench -S, prepared: parsed once for each client",
        load: pgbench(SELECT, Mode::Prepared),
        unit: Unit::Transactions,
        clients: BY_CLIENTS_CORE,
    },
    Workload {
        name: "literals",
        about: "a 200-byte ORM-like select, simple: one shape, no text is ever sent twice",
        load: pgbench(LITERALS, Mode::Simple),
        unit: Unit::Transactions,
        clients: &[(32, Part::Full)],
    },
    Workload {
        name: "shapes",
        about: "a select whose shape never comes twice (a new column name), simple",
        load: pgbench(SHAPES, Mode::Simple),
        unit: Unit::Transactions,
        clients: &[(32, Part::Full)],
    },
    Workload {
        name: "tpcb",
        about: "tpcb-like writes, simple",
        load: pgbench(TPCB, Mode::Simple),
        unit: Unit::Transactions,
        clients: &[(32, Part::Core)],
    },
    Workload {
        name: "transaction",
        about: "BEGIN, five statements of which one writes, END; extended",
        load: pgbench(TRANSACTION, Mode::Extended),
        unit: Unit::Transactions,
        clients: &[(32, Part::Full)],
    },
    Workload {
        name: "pipeline",
        about: "20 selects in one pipeline, one Sync; extended",
        load: pgbench(PIPELINE, Mode::Extended),
        unit: Unit::Transactions,
        clients: &[(8, Part::Full)],
    },
    Workload {
        name: "rows-1000",
        about: "results of 1,000 small rows, simple",
        load: pgbench(ROWS, Mode::Simple),
        unit: Unit::Transactions,
        clients: &[(8, Part::Full)],
    },
    Workload {
        name: "result-1mb",
        about: "results of 1 MB in 1,024 rows, simple",
        load: pgbench(MEGABYTE, Mode::Simple),
        unit: Unit::Megabytes,
        clients: &[(4, Part::Core)],
    },
    Workload {
        name: "copy-in",
        about: "psql \\copy from a file into an unlogged table",
        load: Load::Copy(Direction::In),
        unit: Unit::Megabytes,
        clients: &[(1, Part::Core)],
    },
    Workload {
        name: "copy-out",
        about: "psql \\copy of a table to /dev/null",
        load: Load::Copy(Direction::Out),
        unit: Unit::Megabytes,
        clients: &[(1, Part::Core)],
    },
    Workload {
        name: "connect-scram",
        about: "a new connection with SCRAM-SHA-256 for each select",
        load: Load::Pgbench {
            script: SELECT,
            mode: Mode::Simple,
            login: Login::ScramEachTime,
        },
        unit: Unit::Connections,
        clients: &[(8, Part::Core)],
    },
];

/// A pgbench script as it is given to pgbench: a line `*N statement` stands for N of them.
pub fn expand(script: &str) -> String {
    let mut text = String::new();
    for line in script.lines() {
        let repeated = line.strip_prefix('*').and_then(|rest| rest.split_once(' '));
        let times = repeated.and_then(|(times, _)| times.parse().ok());
        match (repeated, times) {
            (Some((_, statement)), Some(times)) => {
                (0..times).for_each(|_: usize| text.extend([statement, "\n"]));
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starred_line_is_repeated_and_others_stay() {
        assert_eq!(expand("\\a\n*3 b;\n\\c\n"), "\\a\nb;\nb;\nb;\n\\c\n");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
    }
}
