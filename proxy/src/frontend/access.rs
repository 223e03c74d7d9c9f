//! Who may log in, how they prove it, and whose server connections they then use.
//!
//! Built from the settings as a whole and replaced as a whole at a reload. Knows no socket.

use std::collections::HashMap;
use std::sync::Arc;

use pgconvoy_config::{AuthMethod, Settings, User};

use super::login::{Method, Rule};
use super::quotas::Quotas;
use crate::auth::{Credential, MockKey, Stored};
use crate::error::Report;
use crate::pool::budget::Size;
use crate::pool::caps::Scope;
use crate::pool::pools::Tenant;
use crate::protocol::sqlstate;
use crate::registry::{ClientLimits, Party};
use crate::session::PoolMode;

/// What a user may do on the admin console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleRight {
    /// Not even connect to it.
    None,
    /// SHOW.
    Look,
    /// Everything.
    All,
}

impl ConsoleRight {
    fn of(user: &User) -> Self {
        match (user.admin, user.stats) {
            (true, _) => Self::All,
            (false, true) => Self::Look,
            (false, false) => Self::None,
        }
    }
}

/// Why a user is not let in to the console.
pub(super) fn no_console(user: &str) -> Report {
    Report::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("user \"{user}\" may not use the admin console"),
    )
    .hint("That takes admin = true or stats = true in its [[user]].")
}

/// One user's rights.
#[derive(Debug)]
struct Account {
    stored: Option<Stored>,
    method: Method,
    console: ConsoleRight,
    /// Role on the servers.
    server_user: Arc<str>,
    /// How we prove to be that role, where that does not follow from the client's own login.
    server_credential: Option<Arc<Credential>>,
    pool_mode: Option<PoolMode>,
}

/// One database's overrides.
#[derive(Debug)]
struct Place {
    target: Arc<str>,
    pool_mode: Option<PoolMode>,
}

/// Where a client's statements go, and when its connections go back.
#[derive(Debug)]
pub struct Lodging {
    /// Whose pools.
    pub tenant: Tenant,
    /// When connections go back.
    pub mode: PoolMode,
    /// Configured for the servers; else what the client's login proves.
    pub credential: Option<Arc<Credential>>,
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Access {
    accounts: HashMap<String, Account>,
    places: HashMap<String, Place>,
    method: Method,
    open: bool,
    mode: PoolMode,
    mock: MockKey,
    quotas: Quotas,
}

/// A secret that is none; the configuration checks their form, so this is a defect.
#[derive(Debug, thiserror::Error)]
#[error("the secret of user \"{user}\" can't be used: {source}")]
pub struct UnusableSecret {
    user: String,
    #[source]
    source: crate::auth::SecretError,
}

impl Access {
    /// Takes it from the settings. Derives SCRAM verifiers from plaintext secrets, which takes
    /// about a millisecond each, once.
    ///
    /// # Errors
    /// [`UnusableSecret`].
    pub fn new(settings: &Settings) -> Result<Self, UnusableSecret> {
        let mut secrets = Vec::new();
        for user in &settings.users {
            let stored = user
                .password
                .as_ref()
                .map(|s| parse(user, s.expose()))
                .transpose()?;
            secrets.push(stored);
        }
        let known = settings.users.iter().zip(&secrets);
        let mock = MockKey::of_secrets(
            known.filter_map(|(user, stored)| Some((user.name.as_str(), stored.as_ref()?))),
        );
        let default_method = method(settings.auth.method);
        let mut accounts = HashMap::new();
        for (user, stored) in settings.users.iter().zip(secrets) {
            let method = user.auth.map_or(default_method, method);
            if let (Some(stored), Method::ScramSha256) = (&stored, method) {
                // Derived now rather than at the first login; it stays with the secret.
                let _derived = stored.scram_verifier(&user.name, &mock);
            }
            let server_user: Arc<str> = user.server_user.as_deref().unwrap_or(&user.name).into();
            let server_secret = user
                .server_password
                .as_ref()
                .map(|s| parse(user, s.expose()))
                .transpose()?;
            let account = Account {
                method,
                console: ConsoleRight::of(user),
                server_user,
                server_credential: server_secret.and_then(|s| s.credential()).map(Arc::new),
                pool_mode: user.pool_mode.map(mode),
                stored,
            };
            accounts.insert(user.name.clone(), account);
        }
        Ok(Self {
            accounts,
            places: places(settings),
            method: default_method,
            open: settings.auth.open_access,
            mode: mode(settings.pool.mode),
            mock,
            quotas: Quotas::new(settings),
        })
    }

    /// How a user must prove itself; an unknown one takes the same exchange.
    #[must_use]
    pub fn rule(&self, user: &str) -> Rule<'_> {
        let account = self.accounts.get(user);
        // An unknown user must not be let in where known ones are trusted.
        let default = match self.method {
            Method::Trust if !self.open => Method::ScramSha256,
            method => method,
        };
        Rule {
            method: account.map_or(default, |a| a.method),
            stored: account.and_then(|a| a.stored.as_ref()),
            mock: &self.mock,
        }
    }

    /// Whether the user may use what is reserved for administrators.
    #[must_use]
    pub fn is_admin(&self, user: &str) -> bool {
        let account = self.accounts.get(user);
        account.is_some_and(|a| a.console == ConsoleRight::All)
    }

    /// What a user may do on the admin console: anything where everybody is let in.
    #[must_use]
    pub fn console(&self, user: &str) -> ConsoleRight {
        match self.accounts.get(user) {
            Some(account) => account.console,
            None if self.open => ConsoleRight::All,
            None => ConsoleRight::None,
        }
    }

    /// Where a user's statements on a database go.
    #[must_use]
    pub fn lodging(&self, user: &str, database: &str) -> Lodging {
        let account = self.accounts.get(user);
        let place = self.places.get(database);
        let mode = account
            .and_then(|a| a.pool_mode)
            .or(place.and_then(|p| p.pool_mode));
        Lodging {
            tenant: Tenant {
                database: place.map_or_else(|| database.into(), |p| Arc::clone(&p.target)),
                user: account.map_or_else(|| user.into(), |a| Arc::clone(&a.server_user)),
            },
            mode: mode.unwrap_or(self.mode),
            credential: account.and_then(|a| a.server_credential.clone()),
        }
    }

    /// The size of each of a tenant's pools.
    #[must_use]
    pub fn size_of(&self, tenant: &Tenant) -> Size {
        self.quotas.size_of(tenant)
    }

    /// The size of a database's pools of users that have none of their own.
    #[must_use]
    pub fn size_in(&self, database: &str) -> Size {
        self.quotas.size_in(database)
    }

    /// A cap on server connections, if there is one.
    #[must_use]
    pub fn cap_of(&self, scope: &Scope) -> Option<usize> {
        self.quotas.cap_of(scope)
    }

    /// How many clients a user and a database may have; administrators are not counted out.
    #[must_use]
    pub fn clients_of(&self, user: &str, database: &str) -> ClientLimits {
        if self.is_admin(user) {
            ClientLimits::default()
        } else {
            self.quotas.clients_of(user, database)
        }
    }

    /// How many clients a user or a database may have; `None` is no limit.
    #[must_use]
    pub fn client_limit(&self, party: &Party) -> Option<usize> {
        match party {
            Party::User(user) => self.clients_of(user, "").user,
            Party::Database(database) => self.clients_of("", database).database,
        }
    }

    /// Every listed user on every listed database for whom a server can be logged in to before the
    /// user has, and how.
    #[must_use]
    pub fn known_tenants(&self) -> Vec<(Tenant, Option<Arc<Credential>>)> {
        let mut found = Vec::new();
        for (user, account) in &self.accounts {
            let own = account.stored.as_ref().and_then(Stored::credential);
            let trusted = account.stored.is_none() && account.method == Method::Trust;
            for database in self.places.keys() {
                let lodging = self.lodging(user, database);
                let credential = lodging.credential.or_else(|| own.clone().map(Arc::new));
                if credential.is_some() || trusted {
                    found.push((lodging.tenant, credential));
                }
            }
        }
        found
    }
}

fn places(settings: &Settings) -> HashMap<String, Place> {
    let place = |database: &pgconvoy_config::Database| Place {
        target: database.target.as_deref().unwrap_or(&database.name).into(),
        pool_mode: database.pool_mode.map(mode),
    };
    let databases = settings.databases.iter();
    databases.map(|d| (d.name.clone(), place(d))).collect()
}

fn parse(user: &User, secret: &str) -> Result<Stored, UnusableSecret> {
    Stored::parse(secret).map_err(|source| UnusableSecret {
        user: user.name.clone(),
        source,
    })
}

fn method(method: AuthMethod) -> Method {
    match method {
        AuthMethod::Trust => Method::Trust,
        AuthMethod::Password => Method::Password,
        AuthMethod::Md5 => Method::Md5,
        AuthMethod::ScramSha256 => Method::ScramSha256,
    }
}

fn mode(mode: pgconvoy_config::PoolMode) -> PoolMode {
    match mode {
        pgconvoy_config::PoolMode::Session => PoolMode::Session,
        pgconvoy_config::PoolMode::Transaction => PoolMode::Transaction,
        pgconvoy_config::PoolMode::Statement => PoolMode::Statement,
    }
}
