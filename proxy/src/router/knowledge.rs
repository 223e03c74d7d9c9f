//! What is known of names: what is built in, and what the database's own catalog says.

use std::cell::Cell;

use super::catalog::Catalog;
use super::functions::{Builtins, Safety};

/// Both, to be asked as one.
pub(super) struct Knowledge<'k> {
    builtins: &'k Builtins,
    catalog: Option<&'k Catalog>,
    /// Something was found safe only because its owner says so, and may do more than that.
    trusted: Cell<bool>,
    /// A function of a user's was found safe.
    calls: Cell<bool>,
}

impl<'k> Knowledge<'k> {
    pub(super) fn new(builtins: &'k Builtins, catalog: Option<&'k Catalog>) -> Self {
        Self {
            builtins,
            catalog,
            trusted: Cell::new(false),
            calls: Cell::new(false),
        }
    }

    /// Whether something was found safe since this was asked last only because its owner says so. What it
    /// does beside is not known.
    pub(super) fn has_trusted(&self) -> bool {
        self.trusted.take()
    }

    /// Whether a user's function was found safe since this was asked last: it may read any table.
    pub(super) fn has_called(&self) -> bool {
        self.calls.take()
    }

    /// Notes where something is safe only as its owner says, and may do more than that.
    fn trust(&self, own: Option<bool>, opaque: impl FnOnce(&Catalog) -> bool) -> Option<bool> {
        if own == Some(true) && self.catalog.is_some_and(opaque) {
            self.trusted.set(true);
        }
        own
    }

    /// Whether the database's own catalog is known.
    pub(super) fn has_catalog(&self) -> bool {
        self.catalog.is_some_and(Catalog::is_read)
    }

    /// What the function `name`, unqualified or of `pg_catalog`, may do. A user's may fit better than
    /// the one that is built in.
    pub(super) fn function(&self, name: &[u8]) -> Safety {
        let own = self.catalog.and_then(|catalog| catalog.function(name));
        let overrides = self.catalog.map(Catalog::overrides);
        let said = overrides.filter(|o| !o.is_empty()).and_then(|overrides| {
            match (self.builtins.function(name), own) {
                (Safety::Unknown, None) => overrides.of_unknown(name),
                _ => overrides.of_builtin(name),
            }
        });
        match said {
            Some(false) => return Safety::Writes,
            // A user's of that name has been judged by the same rules.
            Some(true) if own != Some(false) => {
                self.calls.set(true);
                // The configuration does not say what it leaves behind.
                self.trusted.set(true);
                return Safety::Safe;
            }
            Some(true) | None => {}
        }
        match (self.builtins.function(name), own) {
            (safety, None)
            | (safety @ (Safety::ServerState | Safety::SessionState | Safety::Writes), _) => safety,
            (Safety::Safe | Safety::Unknown, Some(true)) => {
                self.calls.set(true);
                self.trust(own, |catalog| catalog.is_opaque_function(name));
                Safety::Safe
            }
            (Safety::Safe | Safety::Unknown, Some(false)) => Safety::Unknown,
        }
    }

    /// What the function in a schema other than `pg_catalog` may do.
    pub(super) fn qualified_function(&self, schema: &[u8], name: &[u8]) -> Safety {
        let own = self
            .catalog
            .and_then(|c| c.qualified_function(schema, name));
        let said = self.catalog.and_then(|c| c.overrides().of(schema, name));
        match own {
            Some(true) => {
                self.calls.set(true);
                self.trust(own, |c| said.is_some() || c.is_opaque_function(name));
                Safety::Safe
            }
            Some(false) if said.is_some() => Safety::Writes,
            Some(false) | None => Safety::Unknown,
        }
    }

    /// Whether `x.name` is safe: where `name` is no column it is a call of the function, with the row `x`.
    pub(super) fn knows_attribute(&self, name: &[u8]) -> bool {
        let own = self.catalog.and_then(|catalog| catalog.function(name));
        if own == Some(true) {
            self.calls.set(true);
        }
        self.trust(own, |catalog| catalog.is_opaque_function(name))
            .unwrap_or(true)
    }

    /// What reading the relation `name`, which begins with `pg_`, may do.
    pub(super) fn system_relation(&self, name: &[u8]) -> Safety {
        self.builtins.catalog(name)
    }

    /// Whether a relation of that name is a table on which nothing depends that reads or writes another.
    pub(super) fn is_plain_table(&self, name: &[u8]) -> bool {
        self.catalog.is_some_and(|catalog| catalog.is_plain(name))
    }

    /// Whether some relation of that name is not for replicas.
    pub(super) fn has_unsafe_relation(&self, name: &[u8]) -> bool {
        self.catalog.is_some_and(|catalog| catalog.has_unsafe(name))
    }

    /// Whether `operator` is safe.
    pub(super) fn knows_operator(&self, operator: &[u8]) -> bool {
        let own = self.catalog.and_then(|catalog| catalog.operator(operator));
        self.trust(own, |catalog| catalog.is_opaque_operator(operator))
            .unwrap_or_else(|| self.builtins.knows_operator(operator))
    }

    /// Whether an operator of a user's of that name is not safe.
    pub(super) fn doubts_operator(&self, operator: &[u8]) -> bool {
        self.catalog.and_then(|catalog| catalog.operator(operator)) == Some(false)
    }

    /// Whether `operator` of that schema, which is not `pg_catalog`, is safe.
    pub(super) fn knows_qualified_operator(&self, schema: &[u8], operator: &[u8]) -> bool {
        let own = (self.catalog).and_then(|catalog| catalog.qualified_operator(schema, operator));
        self.trust(own, |catalog| catalog.is_opaque_operator(operator)) == Some(true)
    }

    /// The same of what is built in, or well known.
    pub(super) fn knows_builtin_operator(&self, operator: &[u8]) -> bool {
        self.builtins.knows_operator(operator)
    }

    /// Whether a cast to the type `name`, which may have been quoted, is safe.
    pub(super) fn knows_type(&self, name: &[u8]) -> bool {
        let own = self.catalog.and_then(|catalog| catalog.cast(name));
        self.trust(own, |catalog| catalog.is_opaque_type(name))
            .unwrap_or_else(|| self.builtins.knows_type(name))
    }

    /// The same of a user's, whatever schema it is in.
    pub(super) fn knows_users_type(&self, name: &[u8]) -> bool {
        let own = self.catalog.and_then(|catalog| catalog.cast(name));
        self.trust(own, |catalog| catalog.is_opaque_type(name)) == Some(true)
    }

    /// The same of the unquoted `word`.
    pub(super) fn knows_type_word(&self, word: &[u8]) -> bool {
        let own = self.catalog.and_then(|catalog| catalog.cast(word));
        self.trust(own, |catalog| catalog.is_opaque_type(word))
            .unwrap_or_else(|| self.builtins.knows_type_word(word))
    }

    /// See [`Builtins::knows_call_word`].
    pub(super) fn knows_call_word(&self, word: &[u8]) -> bool {
        self.builtins.knows_call_word(word)
    }

    /// See [`Builtins::knows_setting`].
    pub(super) fn knows_setting(&self, name: &[u8]) -> bool {
        self.builtins.knows_setting(name)
    }
}
