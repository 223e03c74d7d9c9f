//! What a database's own catalog says of names: which functions, operators and types of its users are safe,
//! and which relations are not. PURE.
//!
//! Names are judged whatever schema a session would find them in: a name is safe only if all that it may
//! stand for are. Must not look into definitions; `views` does.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;

/// The catalog's rows, as far as they matter here. What is built in is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Functions: schema, name, and whether any of that name is volatile. Of those built in only that are.
    pub functions: Vec<(String, String, bool)>,
    /// Operators, and whether any of that name runs a volatile function.
    pub operators: Vec<(String, bool)>,
    /// Types, and whether casting to any of that name runs nothing volatile.
    pub types: Vec<(String, bool)>,
    /// Names that only such tables have which stand alone: no trigger, rule, policy, child or cascading key, and
    /// no function of a user in a default or a constraint.
    pub plain: Vec<String>,
    /// Whether there is an unlogged table, which no standby can read.
    pub unlogged: bool,
    /// Relations that are more than a table.
    pub relations: Vec<Relation>,
}

/// A relation that is more than a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// A query that reading it runs; none if a replica should not read it (unlogged and foreign tables,
    /// sequences).
    pub query: Option<String>,
}

type Names<T> = HashMap<Vec<u8>, T, FixedState>;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Catalog {
    version: u64,
    functions: Names<bool>,
    qualified: HashMap<(Vec<u8>, Vec<u8>), bool, FixedState>,
    operators: Names<bool>,
    types: Names<bool>,
    plain: HashSet<Vec<u8>, FixedState>,
    unlogged: bool,
    unsafe_relations: HashSet<Vec<u8>, FixedState>,
}

impl Catalog {
    /// What follows from the facts, but for the relations: they are all doubtful.
    pub(super) fn new(facts: &Facts) -> Self {
        let mut catalog = Self {
            version: FixedState::default().hash_one(facts).max(1),
            plain: (facts.plain.iter())
                .map(|name| name.clone().into_bytes())
                .collect(),
            unlogged: facts.unlogged,
            ..Self::default()
        };
        let builtin = |schema: &str| schema == "pg_catalog";
        for (schema, name, volatile) in facts.functions.iter().filter(|f| !builtin(&f.0)) {
            let (schema, name) = (schema.clone().into_bytes(), name.clone().into_bytes());
            *catalog.functions.entry(name.clone()).or_insert(true) &= !volatile;
            *catalog.qualified.entry((schema, name)).or_insert(true) &= !volatile;
        }
        // Which of the two is meant is not worked out.
        for (_, name, _) in facts.functions.iter().filter(|f| builtin(&f.0) && f.2) {
            if let Some(safe) = catalog.functions.get_mut(name.as_bytes()) {
                *safe = false;
            }
        }
        for (name, volatile) in &facts.operators {
            catalog
                .operators
                .insert(name.clone().into_bytes(), !volatile);
        }
        for (name, safe) in &facts.types {
            catalog.types.insert(name.clone().into_bytes(), *safe);
        }
        catalog.set_unsafe(facts.relations.iter());
        catalog
    }

    /// These relations are not for replicas, and no others.
    pub(super) fn set_unsafe<'r>(&mut self, relations: impl Iterator<Item = &'r Relation>) {
        let names = relations.map(|relation| relation.name.clone().into_bytes());
        self.unsafe_relations = names.collect();
    }

    /// The same for the same facts.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether that is a table that stands alone ([`Facts::plain`]).
    pub(super) fn is_plain(&self, name: &[u8]) -> bool {
        self.plain.contains(name)
    }

    /// Whether there is a table that no standby can read.
    #[must_use]
    pub fn has_unlogged(&self) -> bool {
        self.unlogged
    }

    /// Whether all functions of that name are safe; `None` if there is none.
    pub(super) fn function(&self, name: &[u8]) -> Option<bool> {
        self.functions.get(name).copied()
    }

    /// The same of those in a schema.
    pub(super) fn qualified_function(&self, schema: &[u8], name: &[u8]) -> Option<bool> {
        self.qualified
            .get(&(schema.to_vec(), name.to_vec()))
            .copied()
    }

    /// Whether all operators of that name are safe; `None` if there is none.
    pub(super) fn operator(&self, name: &[u8]) -> Option<bool> {
        self.operators.get(name).copied()
    }

    /// Whether a cast to the type is safe; `None` if there is none of that name.
    pub(super) fn cast(&self, name: &[u8]) -> Option<bool> {
        self.types.get(name).copied()
    }

    /// Whether some relation of that name is not for replicas.
    pub(super) fn has_unsafe(&self, name: &[u8]) -> bool {
        self.unsafe_relations.contains(name)
    }
}
