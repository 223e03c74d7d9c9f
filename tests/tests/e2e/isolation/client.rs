//! A client that changes its session's state at random and looks after every statement whether it is what it believes.

use super::model::{Model, SETTINGS, Settings, question};
use pgconvoy_tests::random::Random;
use pgconvoy_tests::wire::{Batch, Rows, Wire, codes};

/// What went wrong: lost or leaked state, or a statement that was answered in another way.
pub(super) type Wrong = String;

pub(super) struct Client {
    number: usize,
    random: Random,
    wire: Wire,
    pub(super) model: Model,
    /// The statement `own` of the protocol is prepared.
    own: bool,
    /// Statements so far, and the last of them.
    pub(super) statements: u64,
    said: Vec<String>,
}

impl Client {
    /// Logs in with settings of its own.
    pub(super) fn new(port: u16, database: &str, number: usize, seed: u64) -> Self {
        let name = format!("client {number}");
        let zone = ["Asia/Kolkata", "Etc/UTC", "Africa/Cairo"][number % 3];
        let who = [
            ("user", "app"),
            ("database", database),
            ("application_name", name.as_str()),
            ("TimeZone", zone),
            ("options", "-c work_mem=6MB"),
        ];
        let wire = Wire::login(port, &who, None).unwrap_or_else(|error| panic!("log in: {error}"));
        let start = Settings::from([
            ("application_name", name.clone()),
            ("search_path", "\"$user\", public".to_owned()),
            ("DateStyle", "ISO, MDY".to_owned()),
            ("TimeZone", zone.to_owned()),
            ("statement_timeout", "0".to_owned()),
            ("app.own", String::new()),
            ("work_mem", "6MB".to_owned()),
            ("extra_float_digits", "1".to_owned()),
            ("IntervalStyle", "postgres".to_owned()),
        ]);
        Self {
            number,
            random: Random::part(seed, number as u64),
            wire,
            model: Model::new(start),
            own: false,
            statements: 0,
            said: Vec::new(),
        }
    }

    fn wrong(&self, what: &str) -> Wrong {
        let last = self.said.iter().rev().take(12).rev();
        let last: Vec<&String> = last.collect();
        format!("client {}: {what}; said last: {last:#?}", self.number)
    }

    /// A statement by either protocol, without a look at what it leaves.
    pub(super) fn say(&mut self, sql: &str) -> Result<Rows, Wrong> {
        self.statements += 1;
        if !sql.starts_with("select coalesce(") {
            self.said.push(sql.to_owned());
        }
        if self.said.len() > 40 {
            self.said.drain(..20);
        }
        let answer = if sql.contains(';') || self.random.percent(50) {
            self.wire.query(sql)
        } else {
            self.wire.execute(sql, &[])
        };
        answer.map_err(|error| self.wrong(&format!("{sql}: {error}")))
    }

    /// Whether all is as the model has it.
    pub(super) fn check(&mut self) -> Result<(), Wrong> {
        let rows = self.say(&question())?;
        let row: Vec<String> = rows[0]
            .iter()
            .map(|value| value.clone().unwrap_or_default())
            .collect();
        let expected = self.model.row();
        if row != expected {
            return Err(self.wrong(&format!("the session is\n {row:?}, not\n {expected:?}")));
        }
        for (name, value) in self.model.told() {
            let told = self.wire.parameters.get(name);
            if told != Some(&value) {
                return Err(self.wrong(&format!("was told {name}={told:?}, not {value:?}")));
            }
        }
        let foreign = self.wire.notifications.iter();
        let mine = format!("for {}", self.number);
        match foreign
            .clone()
            .find(|(_, payload)| !payload.starts_with(&mine))
        {
            Some(heard) => Err(self.wrong(&format!("heard what is another's: {heard:?}"))),
            None => Ok(()),
        }
    }

    /// A statement, and the look behind it.
    fn does(&mut self, sql: &str, change: impl FnOnce(&mut Model)) -> Result<(), Wrong> {
        self.say(sql)?;
        change(&mut self.model);
        self.check()
    }

    fn gives(&mut self, sql: &str, expected: &str) -> Result<(), Wrong> {
        let rows = self.say(sql)?;
        let got = rows.first().and_then(|row| row.first()).cloned().flatten();
        if got.as_deref() == Some(expected) {
            return self.check();
        }
        Err(self.wrong(&format!("{sql} gave {got:?}, not {expected}")))
    }

    fn fails(&mut self, sql: &str, code: &str) -> Result<(), Wrong> {
        self.said.push(sql.to_owned());
        match self.wire.query(sql) {
            Err(error) if error.code == code => Ok(()),
            other => Err(self.wrong(&format!("{sql} gave {other:?}, not {code}"))),
        }
    }

    /// A few statements that leave nothing behind that would keep the session on its server connection.
    pub(super) fn episode(&mut self) -> Result<(), Wrong> {
        match self.random.below(15) {
            0..3 => self.setting(),
            3..6 => self.transaction(),
            6 => self.reset(),
            7 => self.role(),
            8 => self.temp_table(),
            9 => self.locks(),
            10 => self.sql_prepared(),
            11 => self.listening(),
            12 => self.held_cursor(),
            13 => self.protocol_prepared(),
            _ => self.failing(),
        }
    }

    fn any_setting(&mut self) -> (&'static str, &'static str) {
        let (name, values) = *self.random.pick(&SETTINGS);
        let value = *self.random.pick(&values);
        (name, value)
    }

    /// A change of a setting in words, and whether it is for the transaction alone.
    fn change(&mut self, name: &str, value: &str) -> (String, bool) {
        let quoted = value.replace('\'', "''");
        let list = name == "search_path" || name == "DateStyle";
        match self.random.below(5) {
            0 | 1 if !list => (format!("set {name} = '{quoted}'"), false),
            2 if !list => (format!("set local {name} to '{quoted}'"), true),
            3 => (
                format!("select set_config('{name}', '{quoted}', true)"),
                true,
            ),
            _ => (
                format!("select set_config('{name}', '{quoted}', false)"),
                false,
            ),
        }
    }

    fn setting(&mut self) -> Result<(), Wrong> {
        let (name, value) = self.any_setting();
        let (sql, local) = self.change(name, value);
        self.does(&sql, |model| {
            if local {
                model.set_local(name, value);
            } else {
                model.set(name, value);
            }
        })
    }

    fn transaction(&mut self) -> Result<(), Wrong> {
        self.does("begin", Model::save)?;
        let mut savepoints = 0;
        for _ in 0..self.random.between(1, 5) {
            match self.random.below(8) {
                0 => {
                    self.does("savepoint s", Model::save)?;
                    savepoints += 1;
                }
                1 if savepoints > 0 => self.does("rollback to s", Model::rollback_to)?,
                2 if savepoints > 0 => {
                    self.does("release s", Model::release)?;
                    savepoints -= 1;
                }
                3 if savepoints > 0 => {
                    self.fails("select 1/0", "22012")?;
                    self.does("rollback to s", Model::rollback_to)?;
                }
                _ => self.setting()?,
            }
        }
        match self.random.below(4) {
            0 | 1 => self.does("commit", Model::commit),
            2 => self.does("rollback", Model::rollback),
            _ => {
                self.fails("select 1/0", "22012")?;
                self.does("commit", Model::rollback)
            }
        }
    }

    fn reset(&mut self) -> Result<(), Wrong> {
        match self.random.below(4) {
            0 => self.does("reset all", Model::reset_all),
            1 => {
                self.own = false;
                self.does("discard all", Model::discard_all)
            }
            _ => {
                let (name, _) = self.any_setting();
                self.does(&format!("reset {name}"), |model| model.reset(name))
            }
        }
    }

    fn role(&mut self) -> Result<(), Wrong> {
        match self.random.below(3) {
            0 => self.does("set session authorization app", |model| model.user = "app")?,
            1 => {
                self.does("set default_transaction_read_only = on", |model| {
                    model.read_only = true
                })?;
                self.fails("insert into public.t values (1)", "25006")?;
                self.does("reset default_transaction_read_only", |model| {
                    model.read_only = false
                })?;
            }
            _ => {
                self.does("set role pg_monitor", |model| model.user = "pg_monitor")?;
                self.setting()?;
            }
        }
        self.does("reset role", |model| model.user = "app")
    }

    fn temp_table(&mut self) -> Result<(), Wrong> {
        let mine = self.number;
        self.does("create temp table scratch (a int)", |model| {
            model.temp_tables = 1
        })?;
        self.does(
            &format!("insert into pg_temp.scratch values ({mine})"),
            |_| {},
        )?;
        self.gives(
            "select string_agg(a::text, ',') from pg_temp.scratch",
            &mine.to_string(),
        )?;
        self.does("drop table pg_temp.scratch", |model| model.temp_tables = 0)
    }

    fn locks(&mut self) -> Result<(), Wrong> {
        let key = self.number;
        for _ in 0..2 {
            // The same lock twice is one row of pg_locks, and takes two unlocks.
            self.does(&format!("select pg_advisory_lock({key})"), |model| {
                model.locks = 1
            })?;
        }
        self.does(&format!("select pg_advisory_unlock({key})"), |_| {})?;
        self.does(&format!("select pg_advisory_unlock({key})"), |model| {
            model.locks = 0
        })
    }

    fn sql_prepared(&mut self) -> Result<(), Wrong> {
        let mine = self.number.to_string();
        self.does(&format!("prepare q as select {mine}"), |model| {
            model.prepared = 1
        })?;
        self.gives("execute q", &mine)?;
        self.fails("execute another", "26000")?;
        self.does("deallocate q", |model| model.prepared = 0)
    }

    fn listening(&mut self) -> Result<(), Wrong> {
        let channel = format!("channel_{}", self.number);
        self.does(&format!("listen {channel}"), |model| model.channels = 1)?;
        let payload = format!("for {}: {}", self.number, self.random.number());
        self.wire.notifications.clear();
        self.say(&format!("notify {channel}, '{payload}'"))?;
        self.check()?;
        let heard = std::mem::take(&mut self.wire.notifications);
        if heard != [(channel, payload)] {
            return Err(self.wrong(&format!("heard {heard:?}")));
        }
        self.does("unlisten *", |model| model.channels = 0)
    }

    fn held_cursor(&mut self) -> Result<(), Wrong> {
        let mine = self.number;
        let sql = format!(
            "declare held cursor with hold for select {mine} + g from generate_series(1, 3) g"
        );
        self.does(&sql, |model| model.cursors = 1)?;
        for row in 1..=2 {
            self.gives("fetch 1 from held", &(mine + row).to_string())?;
        }
        self.does("close held", |model| model.cursors = 0)
    }

    /// The statement `own` of the protocol: prepared once, used after whatever came between.
    fn protocol_prepared(&mut self) -> Result<(), Wrong> {
        let sql = format!("select {} + $1::int", self.number);
        let mut batch = Batch::new();
        if !self.own {
            batch = batch.parse("own", &sql);
        }
        let batch = batch.bind("", "own", &[Some("1")]).execute("", 0).sync();
        self.own = true;
        self.statements += 1;
        let answer = self.wire.ask(&batch);
        let rows = answer.iter().filter(|message| message.tag == b'D');
        let rows: Vec<_> = rows.map(pgconvoy_tests::wire::row).collect();
        if rows == [[Some((self.number + 1).to_string())]] {
            return self.check();
        }
        Err(self.wrong(&format!("own gave {rows:?} {:?}", codes(&answer))))
    }

    fn failing(&mut self) -> Result<(), Wrong> {
        let (name, value) = self.any_setting();
        let quoted = value.replace('\'', "''");
        match self.random.below(3) {
            0 => self.fails("select nope", "42703")?,
            // One implicit transaction: what was set is undone with it.
            1 => self.fails(
                &format!("select set_config('{name}', '{quoted}', false); select 1/0"),
                "22012",
            )?,
            _ => self.fails("set work_mem = 'much'", "22023")?,
        }
        self.check()
    }

    pub(super) fn leave(self) {
        self.wire.close();
    }
}
