//! Prepared statements: what a client calls them, and what they are.
//!
//! A statement is its text and parameter types, within a space of settings that change its
//! meaning. It gets a number when it is first seen, and the same name on every server connection,
//! so that clients share it. Knows no server connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::prepared::StatementId;
use crate::protocol::error_fields::{ErrorFields, ErrorView};
use crate::router::{Bound, Decision};

/// What a prepared statement is.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Its number in this instance.
    pub(crate) id: StatementId,
    /// Its name on servers.
    pub(crate) name: Vec<u8>,
    /// Parse's text, terminator and parameter types, as they came; empty for a statement too long
    /// to keep, which lives on one pinned connection only.
    pub(crate) definition: Vec<u8>,
    /// The catalog that says so, by its version.
    version: AtomicU64,
    /// Where it may run and what it does.
    decision: Decision,
    /// A replica has refused it.
    refused: AtomicBool,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Names on servers begin with this; a client's own name that does is unknown to us by then.
pub(crate) const NAME_PREFIX: &[u8] = b"pgconvoy_";

/// And this is put before it then.
pub(crate) const UNKNOWN_PREFIX: &[u8] = b"client_";

impl Statement {
    /// A new statement.
    pub(crate) fn new(definition: Vec<u8>, version: u64, decision: Decision) -> Arc<Self> {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = [NAME_PREFIX, id.to_string().as_bytes()].concat();
        Arc::new(Self {
            id,
            name,
            definition,
            version: AtomicU64::new(version),
            decision,
            refused: AtomicBool::new(false),
        })
    }

    /// Where it may run and what it does.
    pub(crate) fn decision(&self) -> Decision {
        if self.refused.load(Ordering::Relaxed) {
            self.decision.refused()
        } else {
            self.decision
        }
    }

    /// The catalog that it was last decided by.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Whether it is what it was by that catalog, which has `decided` so.
    pub(crate) fn stays(&self, version: u64, decided: Decision) -> bool {
        let same = self.decision == decided;
        if same {
            self.version.store(version, Ordering::Relaxed);
        }
        same
    }

    /// A replica has refused it: from now on it is for the primary.
    pub(crate) fn is_refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// The text.
    pub(crate) fn text(&self) -> &[u8] {
        let end = memchr::memchr(0, &self.definition).unwrap_or(self.definition.len());
        &self.definition[..end]
    }

    /// How many parameters its Parse gave types to.
    pub(crate) fn types(&self) -> u16 {
        let at = self.text().len() + 1;
        let count = self.definition.get(at..at + 2);
        count.map_or(0, |count| u16::from_be_bytes([count[0], count[1]]))
    }
}

/// How many statements a space remembers that no client holds by name.
const REMEMBERED: usize = 2048;

type Known = HashMap<Arc<[u8]>, Arc<Statement>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Generations {
    young: Known,
    old: Known,
}

/// The statements seen by one worker under one set of meaning-changing settings.
///
/// Two generations: when the young one is full, the old one is forgotten. What a client still
/// holds lives on in that client.
#[derive(Debug, Default)]
pub(crate) struct Space {
    known: Mutex<Generations>,
}

impl Space {
    /// The statement with this definition; `decide` classifies it by the catalog of that version when it
    /// is new or was decided by another. It is another statement when the decision is another.
    pub(crate) fn intern(
        &self,
        definition: &[u8],
        version: u64,
        decide: impl FnOnce() -> Decision,
    ) -> Arc<Statement> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known.young.get(definition)
            && statement.version() == version
        {
            return Arc::clone(statement);
        }
        let before = known.young.remove(definition);
        let before = before.or_else(|| known.old.remove(definition));
        let statement = match before {
            Some(statement) if statement.version() == version => statement,
            Some(statement) => {
                let decided = decide();
                if statement.stays(version, decided) {
                    statement
                } else {
                    Statement::new(definition.to_vec(), version, decided)
                }
            }
            None => Statement::new(definition.to_vec(), version, decide()),
        };
        if known.young.len() >= REMEMBERED {
            known.old = std::mem::take(&mut known.young);
        }
        known
            .young
            .insert(Arc::from(definition), Arc::clone(&statement));
        statement
    }
}

impl Space {
    /// Who has this definition next is given a new statement.
    pub(crate) fn forget(&self, definition: &[u8]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.remove(definition);
        known.old.remove(definition);
    }
}

/// One client's statements and portals by its own names.
#[derive(Debug, Default)]
pub(crate) struct ClientStatements {
    named: HashMap<Vec<u8>, Arc<Statement>, foldhash::fast::FixedState>,
    unnamed: Option<Arc<Statement>>,
    portals: HashMap<Vec<u8>, Arc<Statement>, foldhash::fast::FixedState>,
    unnamed_portal: Option<Arc<Statement>>,
    /// What was bound to portals whose statements set something.
    values: Vec<(Vec<u8>, Vec<Bound>)>,
    /// How many are named, for who looks from outside.
    count: Arc<AtomicUsize>,
}

impl ClientStatements {
    /// None yet; tells `count` how many there are.
    pub(crate) fn counted(count: Arc<AtomicUsize>) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    /// The statement of that name; the empty name is the unnamed one.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name)
        }
    }

    /// The statement with that number, if a name or a portal is its.
    pub(crate) fn numbered(&self, id: StatementId) -> Option<Arc<Statement>> {
        let portals = self.portals.values().chain(&self.unnamed_portal);
        let all = self.named.values().chain(&self.unnamed).chain(portals);
        all.into_iter().find(|s| s.id == id).cloned()
    }

    /// The names of the statement with that number.
    pub(crate) fn names_of(&self, id: StatementId) -> Vec<Vec<u8>> {
        let named = self.named.iter().filter(|(_, s)| s.id == id);
        let unnamed = self.unnamed.iter().filter(|s| s.id == id);
        named
            .map(|(name, _)| name.clone())
            .chain(unnamed.map(|_| Vec::new()))
            .collect()
    }

    /// An error of the server's in which statements are called what the client calls them; `None` when
    /// it names none.
    ///
    /// `taken` are names that what was sent since has given to others, or to none.
    /// `unnamed` tells whether it was asked of the unnamed one.
    pub(crate) fn in_clients_words<'a>(
        &self,
        body: &[u8],
        mut taken: impl Iterator<Item = (StatementId, &'a [u8])>,
        unnamed: bool,
    ) -> Option<ErrorFields> {
        let code = ErrorView::new(body).sqlstate()?;
        if !matches!(code, "08P01" | "26000" | "42P05") {
            return None;
        }
        let at = memchr::memmem::find(body, NAME_PREFIX)?;
        let number = body.get(at + NAME_PREFIX.len()..)?;
        let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
        let end = at + NAME_PREFIX.len() + digits;
        let before = body.get(..at)?;
        let (start, name) = match before.strip_suffix(UNKNOWN_PREFIX) {
            // One that the client made up.
            Some(rest) => (rest.len(), body.get(at..end)?.to_vec()),
            None => {
                let id = std::str::from_utf8(number.get(..digits)?).ok()?;
                let id = id.parse().ok()?;
                let mut names = self.names_of(id);
                names.retain(|name| name.is_empty() == unnamed);
                let taken = taken.find(|(of, name)| *of == id && name.is_empty() == unnamed);
                let taken = taken.map(|(_, name)| name.to_vec());
                (at, taken.or_else(|| names.pop()).unwrap_or_default())
            }
        };
        let renamed = [body.get(..start)?, &name, body.get(end..)?].concat();
        Some(ErrorFields::parse(&renamed))
    }

    /// Sets or removes a statement; returns what was there.
    pub(crate) fn set(
        &mut self,
        name: &[u8],
        statement: Option<Arc<Statement>>,
    ) -> Option<Arc<Statement>> {
        if name.is_empty() {
            return std::mem::replace(&mut self.unnamed, statement);
        }
        let before = match statement {
            Some(statement) => self.named.insert(name.to_vec(), statement),
            None => self.named.remove(name),
        };
        self.count.store(self.named.len(), Ordering::Relaxed);
        before
    }

    /// DEALLOCATE ALL and DISCARD ALL, which the unnamed statement survives.
    pub(crate) fn clear(&mut self) {
        self.named.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    /// The statement that a portal was bound to.
    pub(crate) fn portal(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() {
            self.unnamed_portal.as_ref()
        } else {
            self.portals.get(name)
        }
    }

    /// A portal was bound.
    pub(crate) fn bind(&mut self, portal: &[u8], statement: Arc<Statement>) {
        if portal.is_empty() {
            self.unnamed_portal = Some(statement);
        } else {
            self.portals.insert(portal.to_vec(), statement);
        }
    }

    /// What was bound to a portal, for who wants to know what it sets.
    pub(crate) fn note_values(&mut self, portal: &[u8], values: Vec<Bound>) {
        self.values.retain(|(name, _)| name != portal);
        self.values.push((portal.to_vec(), values));
    }

    /// What was noted of a portal.
    pub(crate) fn values(&self, portal: &[u8]) -> &[Bound] {
        let found = self.values.iter().find(|(name, _)| name == portal);
        found.map_or(&[], |(_, values)| values)
    }

    /// Portals end with their transaction.
    pub(crate) fn transaction_ended(&mut self) {
        if !self.values.is_empty() {
            self.values.clear();
        }
        if !self.portals.is_empty() {
            self.portals.clear();
        }
        self.unnamed_portal = None;
    }
}

/// What to take back when a Parse or a Close did not happen.
#[derive(Debug)]
pub(crate) enum Undo {
    /// Nothing.
    Nothing,
    /// Nothing either; the client calls that statement so.
    Called(StatementId, Vec<u8>),
    /// The server does not hold the statement after all.
    NotPrepared(StatementId),
    /// The server still holds the statement.
    StillPrepared(StatementId),
    /// The client's name means what it meant before.
    Rename(Rename),
}

impl Undo {
    /// Which name a statement had until it was taken from it.
    pub(crate) fn name_of(&self) -> Option<(StatementId, &[u8])> {
        match self {
            Self::Rename(rename) => {
                let before = rename.before.as_ref().map(|s| s.id);
                Some((before.unwrap_or(rename.id), &rename.name))
            }
            Self::Called(id, name) => Some((*id, name)),
            Self::Nothing | Self::NotPrepared(_) | Self::StillPrepared(_) => None,
        }
    }

    /// Whether it changes what a name means.
    pub(crate) fn renames(&self) -> bool {
        matches!(self, Self::Rename(_))
    }
}

/// The client's view before a Parse or Close.
#[derive(Debug)]
pub(crate) struct Rename {
    /// The client's name; empty, and without an allocation, for the unnamed statement.
    pub(crate) name: Vec<u8>,
    /// What it meant.
    pub(crate) before: Option<Arc<Statement>>,
    /// The statement that the name was given to, or taken from.
    pub(crate) id: StatementId,
    /// Whether it was given (Parse) or taken (Close).
    pub(crate) set: bool,
    /// Whether it was sent to the server to be prepared.
    pub(crate) sent: bool,
}
