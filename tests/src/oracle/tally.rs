//! What the oracle has found, by file and in total.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Statements of each kind that the report shows.
const SAMPLES: usize = 400;

/// One statement's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Would go to a replica, which does the same.
    Sent,
    /// Would go to a replica, which doesn't.
    Wrong,
    /// The same, but not any more once pgconvoy had read the catalog again.
    WrongByOldCatalog,
    /// Would go where its session is held, though the router would let it go.
    Held,
    /// Goes to the primary, though a standby does the same.
    Kept,
    /// Goes to the primary, and a standby does something else.
    Needed,
    /// Fails on both in the same way, wherever it goes.
    Fails,
    /// Is different each time, also on the primary.
    Varies,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: [usize; 8],
    selects: [usize; 8],
}

impl Counts {
    fn add(&mut self, other: &Self) {
        for at in 0..8 {
            self.all[at] += other.all[at];
            self.selects[at] += other.selects[at];
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Tally {
    files: BTreeMap<String, Counts>,
    samples: BTreeMap<String, (usize, Vec<String>)>,
    lost: usize,
}

/// What is known of one statement when it is judged.
#[derive(Clone, Debug)]
pub(super) struct Case<'c> {
    pub(super) file: &'c str,
    pub(super) sql: &'c str,
    pub(super) select: bool,
    pub(super) reason: &'c str,
    /// What the primary and the standby said.
    pub(super) outcomes: (String, String),
}

impl Tally {
    pub(super) fn add(&mut self, verdict: Verdict, case: &Case<'_>) {
        let counts = self.files.entry(case.file.to_owned()).or_default();
        counts.all[verdict as usize] += 1;
        if case.select {
            counts.selects[verdict as usize] += 1;
        }
        let heading = match verdict {
            Verdict::Sent | Verdict::Needed | Verdict::Fails => return,
            Verdict::Wrong => "WRONG".to_owned(),
            Verdict::WrongByOldCatalog => "wrong by an old catalog".to_owned(),
            Verdict::Held => format!("held by {}", case.reason),
            Verdict::Kept => format!("kept: {}", case.reason),
            Verdict::Varies => format!("varies: {}", case.reason),
        };
        let (count, samples) = self.samples.entry(heading).or_default();
        *count += 1;
        if samples.len() < SAMPLES {
            let mut sample = format!("[{}] {}", case.file, one_line(case.sql));
            if matches!(verdict, Verdict::Wrong | Verdict::WrongByOldCatalog) {
                let (primary, standby) = &case.outcomes;
                let _ = write!(
                    sample,
                    "\n      route: {}\n      primary: {primary}\n      standby: {standby}",
                    case.reason
                );
            }
            samples.push(sample);
        }
    }

    /// A standby's connection broke: its session was not looked at any further.
    pub(super) fn lost(&mut self) {
        self.lost += 1;
    }

    /// How many statements would go wrong.
    #[must_use]
    pub fn wrong(&self) -> usize {
        let wrong = Verdict::Wrong as usize;
        self.files.values().map(|counts| counts.all[wrong]).sum()
    }

    /// How many statements were judged.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.files
            .values()
            .map(|counts| counts.all.iter().sum::<usize>())
            .sum()
    }

    /// The counts by file and in total, then what stays on the primary for no need.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!(
            "{:<28}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}  offload  of SELECTs\n",
            "file", "sent", "wrong", "oldcat", "held", "kept", "needed", "fails", "varies"
        );
        let mut total = Counts::default();
        for (file, counts) in &self.files {
            total.add(counts);
            line(&mut report, file, counts);
        }
        line(&mut report, "total", &total);
        let _ = writeln!(
            report,
            "sent: to a replica, where a hot standby does the same; held: would be sent, but the session stays where \
             it is; kept: on the primary, though a standby does the same; offload: sent and held of these three\n\
             standbys' connections lost: {}",
            self.lost
        );
        report
    }

    /// The statements behind the counts.
    #[must_use]
    pub fn samples(&self) -> String {
        let mut report = String::new();
        for (heading, (count, samples)) in &self.samples {
            let _ = writeln!(report, "{heading} ({count})");
            for sample in samples {
                let _ = writeln!(report, "  {sample}");
            }
        }
        report
    }

    /// How many statements are behind each heading of the samples.
    #[must_use]
    pub fn headings(&self) -> String {
        let mut headings: Vec<_> = self.samples.iter().collect();
        headings.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let mut report = String::new();
        for (heading, (count, _)) in headings {
            let _ = writeln!(report, "{count:>8}  {heading}");
        }
        report
    }
}

fn line(report: &mut String, file: &str, counts: &Counts) {
    let _ = write!(report, "{file:<28}");
    for count in counts.all {
        let _ = write!(report, "{count:>8}");
    }
    let _ = writeln!(
        report,
        "  {:>7}  {:>10}",
        share(&counts.all),
        share(&counts.selects)
    );
}

/// Of what a standby runs identically, what the router lets go there.
fn share(counts: &[usize; 8]) -> String {
    let let_go = counts[Verdict::Sent as usize] + counts[Verdict::Held as usize];
    let all = let_go + counts[Verdict::Kept as usize];
    if all == 0 {
        "-".to_owned()
    } else {
        format!("{:.1}%", 100.0 * let_go as f64 / all as f64)
    }
}

fn one_line(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let line = words.join(" ");
    if line.len() <= 1000 {
        return line;
    }
    let cut: String = line.chars().take(1000).collect();
    format!("{cut} ...")
}
