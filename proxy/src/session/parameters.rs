//! The parameters of a session, through transactions and savepoints. PURE.
//!
//! What a statement sets counts from its CommandComplete on and goes with a transaction that is
//! rolled back, as on the server (PostgreSQL docs, SET). What is only set for a transaction stays
//! on the server and is not known here.

use std::sync::Arc;

use crate::backend::parameters::{ParameterSet, Setting, goes_with, is_custom, is_identity};
use crate::router::{Assignment, Effect, Value};

/// Savepoints that are remembered within a transaction.
const MAX_SAVEPOINTS: usize = 1024;

/// Parameters among which custom settings that are no more are remembered.
const MAX_KNOWN: usize = 256;

/// What came of an effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The session knows its parameters.
    Known,
    /// It does not know them any more.
    Unknown,
}

/// What a session wants, and what its server connection has: less, after a RESET, which goes back to
/// what the connection was opened with.
#[derive(Clone, Debug)]
struct State {
    wanted: Arc<ParameterSet>,
    actual: Arc<ParameterSet>,
}

impl State {
    fn customs(&self) -> Vec<String> {
        let names = self.wanted.iter().map(|(name, _)| name);
        names.filter(|n| is_custom(n)).map(str::to_owned).collect()
    }
}

/// A transaction's way back.
#[derive(Debug)]
struct History {
    at_start: State,
    savepoints: Vec<(String, State)>,
}

/// Which parameters were set or reset.
#[derive(Debug)]
enum Touched {
    Some(Vec<String>),
    All,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Parameters {
    startup: Arc<ParameterSet>,
    state: State,
    history: Option<Box<History>>,
    /// Since the server was last in no transaction.
    touched: Touched,
}

impl Parameters {
    /// As the client asked for at its startup.
    pub(super) fn new(startup: Arc<ParameterSet>) -> Self {
        let state = State {
            wanted: Arc::clone(&startup),
            actual: Arc::clone(&startup),
        };
        Self {
            startup,
            state,
            history: None,
            touched: Touched::Some(Vec::new()),
        }
    }

    /// What the session wants.
    pub(super) fn current(&self) -> &Arc<ParameterSet> {
        &self.state.wanted
    }

    /// What its server connection has.
    pub(super) fn actual(&self) -> &Arc<ParameterSet> {
        &self.state.actual
    }

    /// Whether the connection lacks something.
    pub(super) fn are_lacking(&self) -> bool {
        !Arc::ptr_eq(&self.state.wanted, &self.state.actual)
    }

    /// Whether it lacks the parameter that the server calls so.
    pub(super) fn are_lacking_one(&self, name: &[u8]) -> bool {
        if !self.are_lacking() {
            return false;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        self.state.wanted.get(&name) != self.state.actual.get(&name)
    }

    /// The connection has been given what the session wants.
    pub(super) fn are_given(&mut self) {
        self.state.actual = Arc::clone(&self.state.wanted);
    }

    /// The statements that give the connection what it lacks; they are to be sent.
    pub(super) fn lost(&mut self) -> Vec<String> {
        let lost = self.state.wanted.restoration(&self.state.actual);
        self.are_given();
        lost
    }

    /// Takes an equal set that others have, too.
    pub(super) fn share(&mut self, equal: Arc<ParameterSet>) {
        if !self.are_lacking() {
            self.state.actual = Arc::clone(&equal);
        }
        self.state.wanted = equal;
    }

    /// Whether something may have to be taken back.
    pub(super) fn is_open(&self) -> bool {
        self.history.is_some()
    }

    /// Whether anything was set or reset since the last [`Parameters::settled`].
    pub(super) fn were_touched(&self) -> bool {
        !matches!(&self.touched, Touched::Some(names) if names.is_empty())
    }

    /// Whether `name` (in lower case) was.
    pub(super) fn has_touched(&self, name: &str) -> bool {
        match &self.touched {
            Touched::Some(names) => names.iter().any(|n| n == name),
            Touched::All => true,
        }
    }

    /// The server is in no transaction, and all it had to say of parameters was taken in.
    pub(super) fn settled(&mut self) {
        self.touched = Touched::Some(Vec::new());
    }

    /// A statement with this effect has succeeded.
    pub(super) fn apply(&mut self, effect: Effect) -> Outcome {
        match effect {
            Effect::None | Effect::Deallocate(_) => Outcome::Known,
            Effect::Unknown => Outcome::Unknown,
            Effect::Set(assignments) => self.set(assignments),
            Effect::Reset(name) => self.reset(&name),
            Effect::ResetAll => self.reset_all(),
            Effect::DiscardAll => {
                let known = self.state.customs();
                self.touch_all();
                self.state.wanted = Arc::clone(&self.startup);
                self.state.actual = Arc::default();
                self.remember(&known);
                self.meet()
            }
            Effect::Savepoint(name) => self.savepoint(name),
            Effect::Release(name) => self.leave(&name, false),
            Effect::RollbackTo(name) => self.leave(&name, true),
        }
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self) {
        self.history = None;
    }

    /// The transaction was rolled back.
    pub(super) fn rolled_back(&mut self) {
        if let Some(history) = self.history.take() {
            self.go_back(history.at_start);
        }
    }

    /// The server goes on to know the custom settings that were set since.
    fn go_back(&mut self, then: State) {
        let known = self.state.customs();
        self.state = then;
        self.remember(&known);
    }

    fn remember(&mut self, known: &[String]) {
        for name in known {
            let full = self.state.wanted.len() >= MAX_KNOWN;
            if full || self.state.wanted.get(name).is_some() {
                continue;
            }
            self.change(|set| set.set(name.clone(), Setting::Known));
        }
    }

    /// The server has reported this value at the transaction's end. Where it has set the parameter it
    /// is what to carry: of two SETs of `DateStyle` the second may change half of it only.
    pub(super) fn reported(&mut self, name: &str, value: &str) {
        let lower = name.to_ascii_lowercase();
        let carried = self.state.wanted.get(&lower);
        let given = carried.is_some() && carried == self.state.actual.get(&lower);
        if self.has_touched(&lower) && given && carried != self.startup.get(&lower) {
            self.adopt(&lower, value);
        }
    }

    /// The server reports a value that no statement is known to have set. Not to be taken back: it
    /// is reported at the transaction's end.
    pub(super) fn adopt(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        self.change(|set| set.set(name.clone(), Setting::Value(value.to_owned())));
    }

    fn history(&mut self) -> &mut History {
        self.history.get_or_insert_with(|| {
            Box::new(History {
                at_start: self.state.clone(),
                savepoints: Vec::new(),
            })
        })
    }

    fn touch(&mut self, name: &str) {
        self.history();
        if let Touched::Some(names) = &mut self.touched
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }

    fn touch_all(&mut self) {
        self.history();
        self.touched = Touched::All;
    }

    /// What happens to the session's parameters and to the connection's alike.
    fn change(&mut self, change: impl Fn(&mut ParameterSet)) {
        let mut actual = ParameterSet::clone(&self.state.actual);
        change(&mut actual);
        if self.are_lacking() {
            let mut wanted = ParameterSet::clone(&self.state.wanted);
            change(&mut wanted);
            self.state.wanted = self.shared(wanted);
            self.state.actual = Arc::new(actual);
            let _known = self.meet();
        } else {
            self.state.wanted = self.shared(actual);
            self.state.actual = Arc::clone(&self.state.wanted);
        }
    }

    /// Sessions that want the same as they began with share one object with the others.
    fn shared(&self, set: ParameterSet) -> Arc<ParameterSet> {
        if set == *self.startup {
            Arc::clone(&self.startup)
        } else {
            Arc::new(set)
        }
    }

    /// Equal sets are one object: nothing is lacking then.
    fn meet(&mut self) -> Outcome {
        if self.state.wanted == self.state.actual {
            self.are_given();
        }
        Outcome::Known
    }

    fn set(&mut self, assignments: Vec<Assignment>) -> Outcome {
        for assignment in assignments {
            self.touch(&assignment.name);
            self.change(|set| assign(set, &assignment));
        }
        Outcome::Known
    }

    fn reset(&mut self, name: &str) -> Outcome {
        self.touch(name);
        let known = if is_custom(name) {
            vec![name.to_owned()]
        } else {
            Vec::new()
        };
        let gone = |n: &str| goes_with(n, name);
        let mut wanted = self.state.wanted.filtered(|n| !gone(n));
        for (n, value) in self.startup.iter().filter(|(n, _)| gone(n)) {
            wanted.set(n.to_owned(), value.clone());
        }
        let actual = self.state.actual.filtered(|n| !gone(n));
        self.state.wanted = self.shared(wanted);
        self.state.actual = Arc::new(actual);
        self.remember(&known);
        self.meet()
    }

    fn reset_all(&mut self) -> Outcome {
        self.touch_all();
        let known = self.state.customs();
        let mut wanted = self.startup.filtered(|name| !is_identity(name));
        for (name, value) in self.state.wanted.iter().filter(|(n, _)| is_identity(n)) {
            wanted.set(name.to_owned(), value.clone());
        }
        let actual = self.state.actual.filtered(is_identity);
        self.state.wanted = self.shared(wanted);
        self.state.actual = Arc::new(actual);
        self.remember(&known);
        self.meet()
    }

    fn savepoint(&mut self, name: String) -> Outcome {
        let state = self.state.clone();
        let savepoints = &mut self.history().savepoints;
        if savepoints.len() >= MAX_SAVEPOINTS {
            // One that is used again may be among those forgotten.
            savepoints.remove(0);
        }
        savepoints.push((name, state));
        Outcome::Known
    }

    /// RELEASE, or ROLLBACK TO, which keeps the savepoint.
    fn leave(&mut self, name: &str, back: bool) -> Outcome {
        let savepoints = &mut self.history().savepoints;
        let Some(at) = savepoints.iter().rposition(|(n, _)| n == name) else {
            return Outcome::Unknown;
        };
        if back {
            let then = savepoints[at].1.clone();
            savepoints.truncate(at + 1);
            self.go_back(then);
        } else {
            savepoints.truncate(at);
        }
        Outcome::Known
    }
}

fn assign(set: &mut ParameterSet, assignment: &Assignment) {
    if assignment.name == "session_authorization" {
        // It ends SET ROLE (PostgreSQL docs, SET SESSION AUTHORIZATION).
        set.remove("role");
    }
    let value = match &assignment.value {
        Value::Literal(value) => Setting::Value(value.clone()),
        Value::Clause(clause) => Setting::Clause(clause.clone()),
    };
    set.set(assignment.name.clone(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::effects;

    fn session(startup: &[(&str, &str)]) -> Parameters {
        let pairs = startup
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Parameters::new(ParameterSet::new(pairs).unwrap())
    }

    fn run(session: &mut Parameters, sql: &str) -> Outcome {
        let mut last = Outcome::Known;
        for effect in effects(sql.as_bytes(), &[]) {
            last = session.apply(effect);
        }
        last
    }

    fn shown(session: &Parameters) -> Vec<String> {
        let entries = session.current().iter();
        entries
            .map(|(name, value)| match value {
                Setting::Value(value) => format!("{name}={value}"),
                Setting::Clause(clause) => clause.clone(),
                Setting::Known => format!("{name}?"),
            })
            .collect()
    }

    #[test]
    fn what_is_set_stays_when_its_transaction_is_committed_and_goes_when_it_is_not() {
        let mut session = session(&[("work_mem", "7MB")]);
        run(&mut session, "set a.b = 1");
        session.committed();
        run(
            &mut session,
            "set a.b = 2; set work_mem = 3; set local a.c = 4",
        );
        assert_eq!(shown(&session), ["a.b = 2", "work_mem = 3"]);
        session.rolled_back();
        assert_eq!(shown(&session), ["a.b = 1", "work_mem=7MB"]);
    }

    #[test]
    fn savepoints_take_back_what_was_set_since() {
        let mut session = session(&[]);
        run(
            &mut session,
            "begin; set a.a = 1; savepoint s; set a.a = 2; savepoint s; set a.a = 3",
        );
        run(&mut session, "rollback to s");
        assert_eq!(shown(&session), ["a.a = 2"]);
        run(
            &mut session,
            "set a.a = 4; rollback to s; release s; rollback to s",
        );
        assert_eq!(shown(&session), ["a.a = 1"]);
        assert_eq!(run(&mut session, "release s; release s"), Outcome::Unknown);
        session.committed();
        assert_eq!(shown(&session), ["a.a = 1"]);
        session.rolled_back();
        assert_eq!(shown(&session), ["a.a = 1"]);
    }

    #[test]
    fn resets_go_back_to_the_startup_and_the_connection_lacks_that_until_it_is_given() {
        let mut session = session(&[("datestyle", "German"), ("role", "r")]);
        run(&mut session, "set work_mem = 1; reset work_mem");
        assert!(!session.are_lacking());
        run(
            &mut session,
            "set datestyle = iso; reset DateStyle; set geqo = 1",
        );
        assert!(session.are_lacking());
        assert_eq!(shown(&session), ["datestyle=German", "geqo = 1", "role=r"]);
        let actual: Vec<&str> = session.actual().iter().map(|(name, _)| name).collect();
        assert_eq!(actual, ["geqo", "role"], "what was set since is there");
        session.rolled_back();
        assert!(!session.are_lacking(), "it was not reset after all");
        run(&mut session, "set role x; set geqo = 1; reset all");
        assert_eq!(shown(&session), ["datestyle=German", "role x"]);
        assert_eq!(session.actual().len(), 1);
        session.are_given();
        session.committed();
        run(&mut session, "discard all");
        assert_eq!(shown(&session), ["datestyle=German", "role=r"]);
        assert!(session.actual().is_empty());
        session.rolled_back();
        assert!(!session.are_lacking());
        run(&mut session, "set session authorization y");
        assert_eq!(
            shown(&session),
            ["datestyle=German", "session authorization y"]
        );
        run(&mut session, "savepoint s; reset datestyle; rollback to s");
        assert!(!session.are_lacking());
    }

    #[test]
    fn custom_settings_that_are_no_more_are_remembered() {
        let mut session = session(&[("a.s", "1")]);
        run(
            &mut session,
            "set a.a = 1; set a.s = 2; reset a.a; reset a.s",
        );
        assert_eq!(shown(&session), ["a.a?", "a.s=1"]);
        session.committed();
        run(
            &mut session,
            "set a.b = 1; savepoint s; set a.c = 1; rollback to s",
        );
        assert_eq!(shown(&session)[1..3], ["a.b = 1", "a.c?"]);
        session.rolled_back();
        assert_eq!(shown(&session), ["a.a?", "a.b?", "a.c?", "a.s=1"]);
        session.are_given();
        run(&mut session, "set a.a = 3; discard all");
        assert_eq!(shown(&session), ["a.a?", "a.b?", "a.c?", "a.s=1"]);
        assert!(session.are_lacking_one(b"a.s") && !session.are_lacking_one(b"a.a"));
    }

    #[test]
    fn what_the_transaction_has_touched_is_known_until_its_end() {
        let mut session = session(&[]);
        run(&mut session, "set timezone = 'UTC'");
        assert!(session.has_touched("timezone") && !session.has_touched("datestyle"));
        run(&mut session, "reset all");
        assert!(session.has_touched("datestyle"));
        session.committed();
        assert!(session.has_touched("datestyle") && session.were_touched());
        session.settled();
        assert!(!session.has_touched("timezone") && !session.were_touched());
        session.adopt("DateStyle", "SQL, DMY");
        assert_eq!(
            shown(&session),
            ["datestyle=SQL, DMY", "timezone = 'UTC'"][..1]
        );
    }
}
