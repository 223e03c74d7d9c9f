//! What a client believes its session to be, and the question that shows whether it is.

use std::collections::BTreeMap;

/// The settings that clients change, with values as the server shows them. The reported ones are told to the client.
pub(super) const SETTINGS: [(&str, [&str; 3]); 9] = [
    ("application_name", ["one", "two's", ""]),
    (
        "search_path",
        ["pg_catalog", "public, pg_catalog", "nowhere"],
    ),
    ("DateStyle", ["German, DMY", "SQL, MDY", "ISO, YMD"]),
    ("TimeZone", ["Asia/Tokyo", "Europe/Riga", "America/Lima"]),
    ("statement_timeout", ["77s", "99s", "0"]),
    ("app.own", ["mine", "mine; too", ""]),
    ("work_mem", ["5MB", "7MB", "9MB"]),
    ("extra_float_digits", ["0", "2", "-3"]),
    ("IntervalStyle", ["iso_8601", "sql_standard", "postgres"]),
];

/// Told to the client by ParameterStatus.
const REPORTED: [&str; 4] = ["application_name", "DateStyle", "TimeZone", "IntervalStyle"];

pub(super) type Settings = BTreeMap<&'static str, String>;

/// Settings of the session, and those that end with the transaction.
#[derive(Clone, Debug, Default)]
struct Layers {
    session: Settings,
    local: Settings,
}

/// Everything a session can leave behind that these clients use.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// What RESET goes back to.
    start: Settings,
    now: Layers,
    /// As it was at BEGIN and at each savepoint.
    saved: Vec<Layers>,
    pub(super) user: &'static str,
    pub(super) read_only: bool,
    pub(super) prepared: usize,
    pub(super) cursors: usize,
    pub(super) channels: usize,
    pub(super) locks: usize,
    pub(super) temp_tables: usize,
}

/// One row that shows it all. Nothing in it depends on a setting of the session.
pub(super) fn question() -> String {
    let settings =
        SETTINGS.map(|(name, _)| format!("coalesce(current_setting('{name}', true), '')"));
    format!(
        "select {}, current_user, current_setting('default_transaction_read_only'), \
         (select count(*) from pg_catalog.pg_prepared_statements where from_sql), \
         (select count(*) from pg_catalog.pg_cursors where is_holdable), \
         (select count(*) from pg_catalog.pg_listening_channels()), \
         (select coalesce(sum(1), 0) from pg_catalog.pg_locks where locktype = 'advisory' and pid = pg_catalog.pg_backend_pid()), \
         (select count(*) from pg_catalog.pg_class where relname = 'scratch' and relnamespace = pg_catalog.pg_my_temp_schema())",
        settings.join(", ")
    )
}

impl Model {
    pub(super) fn new(start: Settings) -> Self {
        Self {
            now: Layers {
                session: start.clone(),
                local: Settings::new(),
            },
            start,
            saved: Vec::new(),
            user: "app",
            read_only: false,
            prepared: 0,
            cursors: 0,
            channels: 0,
            locks: 0,
            temp_tables: 0,
        }
    }

    /// SET and `set_config(…, false)`.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.now.local.remove(name);
        self.now.session.insert(name, value.to_owned());
    }

    /// SET LOCAL and `set_config(…, true)`.
    pub(super) fn set_local(&mut self, name: &'static str, value: &str) {
        if !self.saved.is_empty() {
            self.now.local.insert(name, value.to_owned());
        }
    }

    pub(super) fn reset(&mut self, name: &'static str) {
        let value = self.start[name].clone();
        self.set(name, &value);
    }

    pub(super) fn reset_all(&mut self) {
        for (name, _) in SETTINGS {
            self.reset(name);
        }
        self.read_only = false;
    }

    pub(super) fn discard_all(&mut self) {
        *self = Self::new(self.start.clone());
    }

    /// BEGIN, SAVEPOINT.
    pub(super) fn save(&mut self) {
        self.saved.push(self.now.clone());
    }

    /// ROLLBACK TO the last savepoint, which stays.
    pub(super) fn rollback_to(&mut self) {
        if let Some(saved) = self.saved.last() {
            self.now = saved.clone();
        }
    }

    pub(super) fn release(&mut self) {
        self.saved.pop();
    }

    pub(super) fn commit(&mut self) {
        self.saved.clear();
        self.now.local.clear();
    }

    pub(super) fn rollback(&mut self) {
        if let Some(first) = self.saved.drain(..).next() {
            self.now = first;
        }
        self.now.local.clear();
    }

    fn value(&self, name: &str) -> String {
        let value = self.now.local.get(name).or(self.now.session.get(name));
        value.cloned().unwrap_or_default()
    }

    /// The row that the question must give.
    pub(super) fn row(&self) -> Vec<String> {
        let settings = SETTINGS.map(|(name, _)| self.value(name));
        let counts = [
            self.prepared,
            self.cursors,
            self.channels,
            self.locks,
            self.temp_tables,
        ];
        let read_only = if self.read_only { "on" } else { "off" };
        settings
            .into_iter()
            .chain([self.user.to_owned(), read_only.to_owned()])
            .chain(counts.map(|count| count.to_string()))
            .collect()
    }

    /// What the client must have been told by ParameterStatus.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        REPORTED.map(|name| (name, self.value(name))).to_vec()
    }
}
