//! The session's parameters on their way: what its statements set, what the connection at hand lacks,
//! and what the client is told.

use std::sync::Arc;

use super::attach::Link;
use super::parameters::Outcome;
use super::relay::After;
use super::replies::Reply;
use super::rewrite::Part;
use super::run::Tag;
use super::{Makes, Session, failure};
use crate::backend::parameters::{ParameterSet, Setting, is_identity, or_end};
use crate::backend::reported::{OF_THE_NODE, Reported};
use crate::protocol::frame::{HEADER, Header, TransactionStatus};
use crate::protocol::messages::Target;
use crate::protocol::{messages, to_client, to_server};
use crate::router::{Decision, Effect, Isolation, PinReason, Quoting, SequenceUse};

/// What a session can make the default of its transactions.
const ISOLATION: [(&str, Isolation); 4] = [
    ("serializable", Isolation::Serializable),
    ("repeatable read", Isolation::RepeatableRead),
    ("read committed", Isolation::ReadCommitted),
    ("read uncommitted", Isolation::ReadCommitted),
];

/// What makes a server forget a session's sequences.
const FORGET_SEQUENCES: &str = "SET exit_on_error TO on;DISCARD SEQUENCES;RESET exit_on_error";

impl Session {
    /// A statement has succeeded.
    pub(super) fn completed(&mut self, tag: Tag, part: Option<Part>) {
        let effect = match part {
            Some(Part::Own) => {
                self.parameters.are_given();
                return;
            }
            Some(Part::Clients(effect)) => Some(effect),
            None => None,
        };
        match (tag, &effect) {
            (Tag::Commit, _) => self.parameters.committed(),
            (Tag::Rollback, None | Some(Effect::None)) => {
                self.parameters.rolled_back();
                self.parameters_changed();
            }
            (Tag::DiscardAll | Tag::DeallocateAll, _) => {
                if let Some(link) = &mut self.link {
                    link.checkout.prepared.clear();
                }
                if tag == Tag::DiscardAll {
                    self.pins.discarded();
                    self.statements.clear();
                }
            }
            (Tag::DiscardSequences, _) => self.pins.sequences_discarded(),
            (Tag::Rollback | Tag::Other, _) => {}
        }
        match &effect {
            Some(Effect::Deallocate(None)) => self.statements.clear(),
            Some(Effect::Deallocate(Some(name))) => {
                self.statements.set(name.as_bytes(), None);
            }
            Some(_) | None => {}
        }
        let Some(effect) = effect.filter(|effect| *effect != Effect::None) else {
            return;
        };
        if self.parameters.apply(effect) == Outcome::Unknown {
            self.pin(PinReason::Set.into(), true);
        }
        self.parameters_changed();
        if tag == Tag::DiscardAll && self.batch.is_open() {
            // It was committed at once, whatever follows it (PostgreSQL docs, 55.2.3.1).
            self.parameters.committed();
            self.restore_apart();
        }
    }

    /// A ParameterStatus has come. What a node is (`in_hot_standby`) is no matter of the client, who talks to
    /// all; what changes for a request of our own, or by a RESET of what the client has from its
    /// startup, it is told when that is done, if it is another then.
    pub(super) fn on_parameter(&mut self, header: Header) -> After {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref()) else {
            return After::Hidden;
        };
        let body = buffers.server_in.get(HEADER..header.len);
        let Some(Ok((name, value))) = body.map(messages::parameter_status) else {
            return After::Lost(failure::server_violation("malformed ParameterStatus"));
        };
        link.checkout.note_parameter(name, value);
        let lacking = self.parameters.are_lacking_one(name);
        if lacking || buffers.replies.front_is_own() || name == OF_THE_NODE.as_bytes() {
            return After::Hidden;
        }
        if self.parameters.are_lacking() || self.untold {
            Arc::make_mut(&mut self.told).note(name, value);
        }
        After::Nothing
    }

    /// Before a ReadyForQuery of the client's: it is told what a RESET has changed, as the server would
    /// tell it if it had the client's startup parameters itself.
    pub(super) fn foretell_parameters(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        let lacking = self.parameters.are_lacking() && !self.transaction.failed;
        let (true, Some(link)) = (untold || lacking, &self.link) else {
            return;
        };
        let mut reported = Arc::clone(&link.checkout.reported);
        if lacking {
            let first = self.identity.reported.iter();
            let lacking = |name: &str| self.parameters.are_lacking_one(name.as_bytes());
            for (name, value) in first.filter(|(name, _)| lacking(name)) {
                Arc::make_mut(&mut reported).note(name.as_bytes(), value.as_bytes());
            }
        }
        self.tell_reported(&reported);
    }

    /// ReadyForQuery has come: what the server says of its parameters is true for the client.
    pub(super) fn settle_parameters(&mut self, idle: bool) {
        // What a RESET has changed is given back before the client is told anything.
        let lacking = self.parameters.are_lacking();
        let link = self.link.as_ref().filter(|_| !lacking);
        let news = link.map(|l| &l.checkout.reported);
        let news = news.filter(|reported| !reported.looks_like(&self.told));
        if let Some(reported) = news.cloned() {
            let before = std::mem::replace(&mut self.told, reported);
            self.told_before.get_or_insert(before);
            self.told_anew();
        }
        if !idle {
            return;
        }
        if let Some(before) = self.told_before.take() {
            self.adopt_reported(&before);
        }
        if !self.parameters.were_touched() && !self.parameters.is_open() {
            return;
        }
        if self.transaction.failed && self.parameters.is_open() {
            self.parameters.rolled_back();
            if self.transaction.called {
                // A part of it may have been committed.
                self.pin(PinReason::Set.into(), true);
            }
        }
        self.parameters.committed();
        for (name, value) in self.told.iter().filter(|(name, _)| can_be_set(name)) {
            self.parameters.reported(name, value);
        }
        self.parameters.settled();
        self.parameters_changed();
    }

    /// What was set by code that was not looked at is seen by what the server reports.
    fn adopt_reported(&mut self, before: &Arc<Reported>) {
        let now = Arc::clone(&self.told);
        for (name, value) in now.news(before) {
            let lower = name.to_ascii_lowercase();
            if can_be_set(&lower) && !self.parameters.has_touched(&lower) {
                self.parameters.adopt(&lower, value);
                self.parameters_changed();
            }
        }
    }

    /// What depends on the parameters is brought in line with them.
    pub(super) fn parameters_changed(&mut self) {
        let common = self.context.common(self.parameters.current());
        self.parameters.share(common);
        let current = self.parameters.current();
        self.space = (self.context).space(&self.database.name, current);
        self.asks_anew();
        let current = self.parameters.current();
        self.makes = Makes {
            serializable: says(current, "default_transaction_isolation", "serializable"),
            temporary: says(current, "search_path", "pg_temp"),
            read_only: self.makes.read_only,
            isolation: ISOLATION.iter().find_map(|(value, level)| {
                says(current, "default_transaction_isolation", value).then_some(*level)
            }),
        };
    }

    /// Before a statement that sets something: until the server has said what came of it, text is
    /// read with distrust if that is what it may change.
    pub(super) fn about_to_set(&mut self, effects: &[Effect]) {
        let reads_differently =
            |name: &str| matches!(name, "client_encoding" | "standard_conforming_strings");
        let changes = effects.iter().any(|effect| match effect {
            Effect::Set(set) => set.iter().any(|a| reads_differently(&a.name)),
            Effect::Reset(name) => reads_differently(name),
            Effect::None
            | Effect::ResetAll
            | Effect::DiscardAll
            | Effect::Deallocate(_)
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Unknown => false,
        });
        if changes {
            self.quoting = Quoting::Unsafe;
        }
    }

    /// Nothing is under way: text is read as the server said last.
    pub(super) fn trust_text_again(&mut self) {
        if self.quoting == Quoting::Unsafe && !self.parameters.are_lacking() {
            self.quoting = quoting(&self.told);
        }
    }

    /// Whether something is set that may take the rights of the role that the session acts as: it can't
    /// be set again before that role is taken, nor taken back after it is left.
    pub(super) fn needs_its_role(&self, effects: &[Effect]) -> bool {
        let mut carried = self.parameters.current().iter();
        let mut acts = carried.any(|(name, _)| is_identity(name));
        effects.iter().any(|effect| match effect {
            Effect::Set(set) => set.iter().any(|a| {
                acts |= is_identity(&a.name);
                acts && is_reserved(&a.name)
            }),
            Effect::Reset(name) => acts && is_reserved(name),
            Effect::None
            | Effect::ResetAll
            | Effect::DiscardAll
            | Effect::Deallocate(_)
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Unknown => false,
        })
    }

    /// Gives the connection back the startup parameters that a RESET has taken away, as soon as that
    /// can be done.
    pub(super) fn restore_parameters(&mut self) {
        let failed = self.transaction.status == TransactionStatus::Failed;
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        let quiet = self.link.is_some() && !failed && !owed;
        if !quiet || !self.parameters.are_lacking() {
            return;
        }
        let lost = self.parameters.lost();
        self.ask(&lost);
    }

    /// The same behind a DISCARD ALL in the client's batch, whose transaction begins anew.
    fn restore_apart(&mut self) {
        let owed = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        if owed || !self.parameters.are_lacking() {
            return;
        }
        let lost = self.parameters.lost();
        self.untold = true;
        self.set_up(&[or_end(&lost)]);
    }

    /// Asks for something of our own where the client is at.
    pub(super) fn ask(&mut self, statements: &[String]) {
        match (&self.link, self.batch.is_open()) {
            (None, _) => {}
            (Some(_), true) => self.ask_within_batch(statements),
            (Some(_), false) => self.set_up(&[or_end(statements)]),
        }
    }

    /// Asks for something of our own in the client's batch, which goes on behind it in the same
    /// transaction; by the unnamed statement, which nobody uses on servers.
    fn ask_within_batch(&mut self, statements: &[String]) {
        const PORTAL: &[u8] = b"pgconvoy own";
        const NO_VALUES: &[u8] = &[0; 6];
        let buffers = self.buffers();
        for sql in statements {
            let out = &mut buffers.server_out;
            to_server::parse(out, b"", sql.as_bytes(), &[0; 2]);
            to_server::bind_header(out, PORTAL, b"", NO_VALUES.len());
            out.extend_from_slice(NO_VALUES);
            to_server::execute(out, PORTAL, 0);
            to_server::close(out, Target::Portal, PORTAL);
            buffers.replies.push(Reply::Own);
        }
    }

    /// Asks the server for something of our own, ahead of what the client asks for next.
    fn set_up(&mut self, queries: &[String]) {
        let buffers = self.buffers();
        for sql in queries {
            to_server::query(&mut buffers.server_out, sql.as_bytes());
            buffers.replies.push(Reply::Setup);
        }
    }

    /// Makes the connection this session's own, ahead of its first request on it.
    pub(super) fn carry_parameters(&mut self, link: &mut Link) {
        let wanted = self.parameters.current();
        let checkout = &mut link.checkout;
        let own = |session: u64| session == 0 || session == self.number;
        let forget = !own(checkout.sequences_of) && self.identity.pools.asks_sequences();
        let same = Arc::ptr_eq(&checkout.parameters, wanted) && !checkout.parameters_unsure;
        if same && own(checkout.unseen_by) && !forget {
            self.tell_reported(&link.checkout.reported);
            return;
        }
        let mut queries = checkout.carry(wanted, self.number).unwrap_or_default();
        checkout.carries(wanted, self.number);
        if forget && std::mem::take(&mut checkout.sequences_of) != 0 {
            queries.push(FORGET_SEQUENCES.to_owned());
        }
        self.parameters.are_given();
        if queries.is_empty() {
            self.tell_reported(&link.checkout.reported);
        } else {
            self.set_up(&queries);
        }
    }

    /// `currval` and `lastval` are about to be asked: they know of this session's own statements, or
    /// of nothing. In the middle of a batch it is too late for that.
    pub(super) fn guard_sequences(&mut self, decision: &Decision) {
        let quiet = !self.batch.is_open()
            && self.transaction.status != TransactionStatus::Failed
            && self.buffers.as_ref().is_none_or(|b| b.replies.is_empty());
        if decision.sequence != SequenceUse::Reads || !quiet {
            return;
        }
        let Some(link) = &mut self.link else { return };
        let others = link.checkout.sequences_of != self.number;
        if others && std::mem::take(&mut link.checkout.sequences_of) != 0 {
            self.set_up(&[FORGET_SEQUENCES.to_owned()]);
        }
    }

    /// The connection has what the session wants: the client is told where that is not what it knows.
    pub(super) fn tell_reported(&mut self, reported: &Arc<Reported>) {
        if Arc::ptr_eq(reported, &self.told) || reported.looks_like(&self.told) {
            return;
        }
        let told = std::mem::replace(&mut self.told, Arc::clone(reported));
        let out = &mut self.buffers().client_out;
        for (name, value) in reported.news(&told) {
            to_client::parameter_status(out, name.as_bytes(), value.as_bytes());
        }
        self.told_anew();
    }

    /// What the client knows of the parameters has changed.
    pub(super) fn told_anew(&mut self) {
        self.quoting = quoting(&self.told);
        let default = self.told.get("default_transaction_read_only");
        self.makes.read_only = default == Some("on");
        self.publish_name();
    }

    /// For SHOW CLIENTS: what the client calls itself.
    fn publish_name(&self) {
        let name = self.told.get("application_name").unwrap_or_default();
        let client = self.identity.registration.client();
        client.set_application_name(name);
    }

    /// A request of our own is done, its answer hidden.
    pub(super) fn setup_done(&mut self) {
        self.publish_pins();
        let Some(link) = &mut self.link else { return };
        link.at_rest = true;
        let more = (self.buffers.as_deref()).is_some_and(|b| b.replies.front_is_own());
        if !more && !self.untold {
            let reported = Arc::clone(&link.checkout.reported);
            self.tell_reported(&reported);
        }
    }

    /// What the connection has when the session leaves it.
    pub(super) fn leave_parameters(&self, link: &mut Link) {
        let actual = self.parameters.actual();
        if !Arc::ptr_eq(&link.checkout.parameters, actual) {
            link.checkout.parameters = Arc::clone(actual);
        }
    }

    /// The server is asked whether what kept the session on its connection is still there.
    pub(super) fn ask_pins(&mut self) {
        let idle = self.transaction.status == TransactionStatus::Idle;
        let Some(sql) = self.pins.ready(idle && self.link.is_some()) else {
            return;
        };
        let buffers = self.buffers();
        to_server::query(&mut buffers.server_out, sql.as_bytes());
        buffers.replies.push(Reply::Probe);
    }

    /// The session's parameters are what they were before its lost transaction.
    pub(super) fn transaction_lost(&mut self) {
        self.transaction = super::Transaction::NONE;
        self.beginning.is_over();
        if self.parameters.is_open() {
            self.parameters.rolled_back();
            self.parameters_changed();
        }
        self.parameters.settled();
        self.told_before = None;
        self.statements.transaction_ended();
    }

    /// A session whose parameters can't be had again can't go on elsewhere.
    pub(super) fn keeps_its_connection(&self) -> bool {
        !self.pins.is_empty() || self.identity.mode == super::PoolMode::Session
    }
}

/// Whether text can be read reliably under these parameters.
pub(super) fn quoting(reported: &Reported) -> Quoting {
    Quoting::of(
        reported.get("client_encoding"),
        reported.get("standard_conforming_strings"),
    )
}

/// Whether a reported parameter is one that a session sets.
fn can_be_set(name: &str) -> bool {
    !matches!(
        name,
        "in_hot_standby"
            | "integer_datetimes"
            | "is_superuser"
            | "server_encoding"
            | "server_version"
            | "session_authorization"
    )
}

/// Whether what was said of a parameter has a word in it.
fn says(parameters: &ParameterSet, name: &str, word: &str) -> bool {
    let value = parameters.get(name);
    value.is_some_and(|value| {
        let (Setting::Value(text) | Setting::Clause(text)) = value else {
            return false;
        };
        text.to_ascii_lowercase().contains(word)
    })
}

/// Whether setting the parameter may take more than any role has (PostgreSQL docs, 20.1 and the
/// parameters that "only superusers" may set; libraries may reserve their own).
fn is_reserved(name: &str) -> bool {
    const LIBRARIES: [&str; 6] = [
        "auto_explain.",
        "pg_hint_plan.",
        "pg_stat_statements.",
        "pgaudit.",
        "plperl.",
        "plpgsql.",
    ];
    const OTHERS: [&str; 22] = [
        "allow_in_place_tablespaces",
        "allow_system_table_mods",
        "backtrace_functions",
        "commit_delay",
        "compute_query_id",
        "deadlock_timeout",
        "dynamic_library_path",
        "ignore_checksum_failure",
        "jit_debugging_support",
        "jit_profiling_support",
        "lc_messages",
        "max_stack_depth",
        "session_preload_libraries",
        "session_replication_role",
        "temp_file_limit",
        "track_activities",
        "track_counts",
        "track_functions",
        "track_io_timing",
        "track_wal_io_timing",
        "update_process_title",
        "zero_damaged_pages",
    ];
    name.starts_with("log_")
        || name.starts_with("wal_")
        || OTHERS.contains(&name)
        || LIBRARIES.iter().any(|prefix| name.starts_with(prefix))
}
