//! What a database's own catalog says of names: which functions, operators and types of its users are safe,
//! and which relations are not. PURE.
//!
//! Names are judged whatever schema a session would find them in: a name is safe only if all that it may
//! stand for are. Must not look into definitions; `views` does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::overrides::Overrides;

/// A name with its schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Qualified {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

/// That something runs a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Runs {
    /// The function.
    pub function: Qualified,
    /// What it is declared to be.
    pub volatile: bool,
}

/// The catalog's rows, as far as they matter here. What is built in is not among them, but for functions that
/// are volatile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Functions: each runs itself, an aggregate what it is made of.
    pub functions: Vec<(Qualified, Runs)>,
    /// Functions that are declared to be safe and may do more to their session than they say: those that are
    /// written in SQL or another language of the database.
    pub opaque: Vec<Qualified>,
    /// The statements of functions in SQL that are declared to be safe.
    pub bodies: Vec<(Qualified, String)>,
    /// Functions of one row, which can be written as if they were a column of it.
    pub of_rows: Vec<(String, Runs)>,
    /// Operators.
    pub operators: Vec<(Qualified, Runs)>,
    /// Types, and whether casting to one runs nothing but what is told of it here.
    pub types: Vec<(String, bool)>,
    /// Names that only such tables have which stand alone: no trigger, rule, policy, child or cascading key, and
    /// no function of a user in a default or a constraint.
    pub plain: Vec<String>,
    /// Whether there is an unlogged table, which no standby can read.
    pub unlogged: bool,
    /// What a cast to the type runs that is written as one.
    pub casts: Vec<(String, Runs)>,
    /// Of types that are domains, or made of them.
    pub constraints: Vec<Constraint>,
    /// Relations that are more than a table.
    pub relations: Vec<Relation>,
    /// What runs unseen: by number, above zero that of a type (its input and output, implicit casts, operator classes,
    /// and those of what it is made of), below zero that of an operator family.
    pub unseen: Vec<(i64, Runs)>,
    /// Which of that goes with a type, by its name,
    pub unseen_of_types: Vec<(String, i64)>,
    /// with a relation, for its columns and indexes,
    pub unseen_of_relations: Vec<(String, i64)>,
    /// and with a function, for its arguments and result.
    pub unseen_of_functions: Vec<(Qualified, i64)>,
}

/// A constraint that whatever becomes of a type is held against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// The type's name.
    pub name: String,
    /// And its number.
    pub number: i64,
    /// A query that is what the constraint runs.
    pub query: String,
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
type QualifiedNames = HashMap<(Vec<u8>, Vec<u8>), bool, FixedState>;
type NameSet = HashSet<Vec<u8>, FixedState>;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Catalog {
    version: u64,
    /// Whether it has been read; if not, only the overrides are known.
    is_read: bool,
    overrides: Arc<Overrides>,
    functions: Names<bool>,
    qualified: QualifiedNames,
    operators: Names<bool>,
    qualified_operators: QualifiedNames,
    types: Names<bool>,
    /// Functions, operators and types of these names may run what is opaque ([`Facts::opaque`]).
    opaque_functions: NameSet,
    opaque_operators: NameSet,
    opaque_types: NameSet,
    plain: NameSet,
    unlogged: bool,
    unsafe_types: NameSet,
    unsafe_relations: NameSet,
    /// Those among them that stay so whatever their queries are.
    unsafe_for_good: NameSet,
}

impl Catalog {
    /// What is known of a database whose own has not been read.
    #[must_use]
    pub fn unread(overrides: Arc<Overrides>) -> Self {
        Self {
            version: if overrides.is_empty() {
                0
            } else {
                overrides.version(&0_u8)
            },
            overrides,
            ..Self::default()
        }
    }

    /// What follows from the facts, but for what has definitions: it is all doubtful. These functions are not
    /// safe, whatever they are declared to be.
    pub(super) fn new(
        facts: &Facts,
        overrides: Arc<Overrides>,
        not_safe: &HashSet<&Qualified>,
    ) -> Self {
        let mut catalog = Self {
            version: overrides.version(facts),
            is_read: true,
            overrides,
            plain: (facts.plain.iter())
                .map(|name| name.clone().into_bytes())
                .collect(),
            unlogged: facts.unlogged,
            ..Self::default()
        };
        let unsafe_unseen: HashSet<i64> = (facts.unseen.iter())
            .filter(|(_, runs)| !catalog.may_run(runs, not_safe))
            .map(|(number, _)| *number)
            .collect();
        catalog.learn_functions(facts, not_safe, &unsafe_unseen);
        let unsafe_functions: HashSet<&Qualified> = (facts.unseen_of_functions.iter())
            .filter(|(_, number)| unsafe_unseen.contains(number))
            .map(|(function, _)| function)
            .collect();
        for (name, runs) in &facts.operators {
            let safe =
                catalog.may_run(runs, not_safe) && !unsafe_functions.contains(&runs.function);
            let (schema, name) = bytes(name);
            *catalog.operators.entry(name.clone()).or_insert(true) &= safe;
            let qualified = catalog.qualified_operators.entry((schema, name));
            *qualified.or_insert(true) &= safe;
        }
        catalog.learn_types(facts, not_safe, &unsafe_unseen);
        let of_rows = facts
            .of_rows
            .iter()
            .filter(|(_, runs)| !catalog.may_run(runs, not_safe));
        let columns = facts.unseen_of_relations.iter();
        let columns = columns.filter(|(_, number)| unsafe_unseen.contains(number));
        let for_good = (of_rows.map(|(name, _)| name)).chain(columns.map(|(name, _)| name));
        catalog.unsafe_for_good = for_good.map(|name| name.clone().into_bytes()).collect();
        catalog.learn_opaque(facts);
        catalog.set_unsafe(facts.relations.iter());
        catalog.set_unsafe_types(facts.constraints.iter());
        catalog
    }

    /// Which names may run what is opaque.
    fn learn_opaque(&mut self, facts: &Facts) {
        let opaque: HashSet<&Qualified> = facts.opaque.iter().collect();
        let runs = |runs: &Runs| opaque.contains(&runs.function);
        let bytes = |name: &String| name.clone().into_bytes();
        self.opaque_functions = (facts.functions.iter())
            .filter(|(called, made_of)| opaque.contains(called) || runs(made_of))
            .map(|(called, _)| bytes(&called.name))
            .collect();
        self.opaque_operators = (facts.operators.iter())
            .filter(|(_, made_of)| runs(made_of))
            .map(|(operator, _)| bytes(&operator.name))
            .collect();
        let numbers: HashSet<i64> = (facts.unseen.iter())
            .filter(|(_, made_of)| runs(made_of))
            .map(|(number, _)| *number)
            .collect();
        let casts = facts.casts.iter().filter(|(_, made_of)| runs(made_of));
        let unseen = (facts.unseen_of_types.iter()).filter(|(_, number)| numbers.contains(number));
        // What a constraint runs is not worked out here.
        let constraints = facts.constraints.iter().map(|c| &c.name);
        self.opaque_types = (casts.map(|(name, _)| name))
            .chain(unseen.map(|(name, _)| name))
            .chain(constraints)
            .map(bytes)
            .collect();
    }

    /// Whether a function of that name may do more to its session than its owner says.
    pub(super) fn is_opaque_function(&self, name: &[u8]) -> bool {
        self.opaque_functions.contains(name)
    }

    /// The same of an operator.
    pub(super) fn is_opaque_operator(&self, name: &[u8]) -> bool {
        self.opaque_operators.contains(name)
    }

    /// The same of casts to a type.
    pub(super) fn is_opaque_type(&self, name: &[u8]) -> bool {
        self.opaque_types.contains(name)
    }

    /// Whether a function that something runs is safe.
    fn may_run(&self, runs: &Runs, not_safe: &HashSet<&Qualified>) -> bool {
        let (schema, name) = (&runs.function.schema, &runs.function.name);
        let declared = || !runs.volatile && !not_safe.contains(&runs.function);
        let said = self.overrides.of(schema.as_bytes(), name.as_bytes());
        said.unwrap_or_else(declared)
    }

    fn learn_functions(
        &mut self,
        facts: &Facts,
        not_safe: &HashSet<&Qualified>,
        unsafe_unseen: &HashSet<i64>,
    ) {
        let builtin = |f: &&(Qualified, Runs)| f.0.schema == "pg_catalog";
        let learn = |catalog: &mut Self, called: &Qualified, safe: bool| {
            let (schema, name) = bytes(called);
            let safe = catalog.overrides.of(&schema, &name).unwrap_or(safe);
            *catalog.functions.entry(name.clone()).or_insert(true) &= safe;
            *catalog.qualified.entry((schema, name)).or_insert(true) &= safe;
        };
        for (called, runs) in facts.functions.iter().filter(|f| !builtin(f)) {
            let safe = self.may_run(runs, not_safe);
            learn(self, called, safe);
        }
        let unseen = facts.unseen_of_functions.iter();
        for (called, _) in unseen.filter(|(_, number)| unsafe_unseen.contains(number)) {
            learn(self, called, false);
        }
        // Which of the two is meant is not worked out.
        for (called, _) in facts.functions.iter().filter(builtin) {
            let said = self.overrides.of_builtin(called.name.as_bytes());
            if let Some(safe) = self.functions.get_mut(called.name.as_bytes())
                && said != Some(true)
            {
                *safe = false;
            }
        }
    }

    fn learn_types(
        &mut self,
        facts: &Facts,
        not_safe: &HashSet<&Qualified>,
        unsafe_unseen: &HashSet<i64>,
    ) {
        for (name, sound) in &facts.types {
            *self.types.entry(name.clone().into_bytes()).or_insert(true) &= sound;
        }
        let casts = facts
            .casts
            .iter()
            .filter(|(_, runs)| !self.may_run(runs, not_safe));
        let unseen = facts.unseen_of_types.iter();
        let unseen = unseen.filter(|(_, number)| unsafe_unseen.contains(number));
        let names = casts
            .map(|(name, _)| name)
            .chain(unseen.map(|(name, _)| name));
        let names: Vec<&[u8]> = names.map(|name| name.as_bytes()).collect();
        for name in names {
            if let Some(safe) = self.types.get_mut(name) {
                *safe = false;
            }
        }
    }

    /// These relations' queries are not for replicas, and no others.
    pub(super) fn set_unsafe<'r>(&mut self, relations: impl Iterator<Item = &'r Relation>) {
        let names = relations.map(|relation| relation.name.clone().into_bytes());
        self.unsafe_relations = names.chain(self.unsafe_for_good.iter().cloned()).collect();
    }

    /// These types' constraints are not for replicas, and no others.
    pub(super) fn set_unsafe_types<'r>(
        &mut self,
        constraints: impl Iterator<Item = &'r Constraint>,
    ) {
        self.unsafe_types = constraints.map(|c| c.name.clone().into_bytes()).collect();
    }

    /// The same for the same facts and overrides; 0 for one that says nothing.
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

    /// Whether it has been read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// What the configuration says.
    pub(super) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Whether all functions of that name are safe; `None` if there is none.
    pub(super) fn function(&self, name: &[u8]) -> Option<bool> {
        self.functions.get(name).copied()
    }

    /// The same of those in a schema.
    pub(super) fn qualified_function(&self, schema: &[u8], name: &[u8]) -> Option<bool> {
        let said = self.overrides.of(schema, name);
        said.or_else(|| {
            self.qualified
                .get(&(schema.to_vec(), name.to_vec()))
                .copied()
        })
    }

    /// Whether all operators of that name are safe; `None` if there is none.
    pub(super) fn operator(&self, name: &[u8]) -> Option<bool> {
        self.operators.get(name).copied()
    }

    /// The same of those in a schema.
    pub(super) fn qualified_operator(&self, schema: &[u8], name: &[u8]) -> Option<bool> {
        let key = (schema.to_vec(), name.to_vec());
        self.qualified_operators.get(&key).copied()
    }

    /// Whether a cast to the type is safe; `None` if there is none of that name.
    pub(super) fn cast(&self, name: &[u8]) -> Option<bool> {
        let safe = self.types.get(name).copied();
        safe.map(|safe| safe && !self.unsafe_types.contains(name))
    }

    /// Whether some relation of that name is not for replicas.
    pub(super) fn has_unsafe(&self, name: &[u8]) -> bool {
        self.unsafe_relations.contains(name)
    }
}

fn bytes(name: &Qualified) -> (Vec<u8>, Vec<u8>) {
    (
        name.schema.clone().into_bytes(),
        name.name.clone().into_bytes(),
    )
}
