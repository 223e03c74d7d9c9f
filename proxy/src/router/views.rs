//! Views, and tables with row security, followed to what they call.

use super::catalog::{Catalog, Facts, Relation};
use super::classify;
use super::functions::Builtins;
use super::hint::Hint;
use super::knowledge::Knowledge;
use super::route::{Reason, Target};

/// Views upon views are followed so far; all are read again for each step.
const DEPTH: usize = 16;

/// Judges what a database's catalog holds. A relation is safe once all that its definitions name is; what
/// is never found to be is not.
#[must_use]
pub fn read(facts: &Facts) -> Catalog {
    let builtins = Builtins::new();
    let mut catalog = Catalog::new(facts);
    let mut doubtful: Vec<&Relation> = facts.relations.iter().collect();
    for _ in 0..DEPTH {
        let knowledge = Knowledge::new(&builtins, Some(&catalog));
        let mut still = doubtful.clone();
        still.retain(|relation| !is_safe(&knowledge, relation));
        if still.len() == doubtful.len() {
            break;
        }
        catalog.set_unsafe(still.iter().copied());
        doubtful = still;
    }
    catalog
}

fn is_safe(knowledge: &Knowledge<'_>, relation: &Relation) -> bool {
    relation.query.as_ref().is_some_and(|query| {
        let decision = classify::classify(knowledge, query.as_bytes(), 0, Hint::None);
        decision.target == Target::Replica && decision.reason == Reason::ReadOnlySelect
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::{Decision, Quoting, Router};

    fn view(name: &str, query: &str) -> Relation {
        Relation {
            name: name.to_owned(),
            query: Some(query.to_owned()),
        }
    }

    fn catalog() -> Catalog {
        let function =
            |schema: &str, name: &str, volatile| (schema.to_owned(), name.to_owned(), volatile);
        read(&Facts {
            plain: Vec::new(),
            unlogged: false,
            functions: vec![
                function("public", "stable_one", false),
                function("public", "mixed", false),
                function("other", "mixed", true),
                function("public", "lower", true),
                function("public", "writes", true),
                function("public", "pg_stat_reset", false),
                function("pg_catalog", "pg_stat_reset", true),
                function("pg_catalog", "random", true),
            ],
            operators: vec![
                ("<=>".to_owned(), false),
                ("===".to_owned(), false),
                ("@@".to_owned(), true),
                ("~~*".to_owned(), true),
            ],
            types: vec![("mood".to_owned(), true), ("odd".to_owned(), false)],
            relations: vec![
                view("outer_view", "SELECT n FROM public.inner_view"),
                view("inner_view", "SELECT public.stable_one(1) AS n;"),
                view("counted", "SELECT nextval('s'::regclass) AS n"),
                view("deep", "SELECT n FROM public.counted JOIN t ON true"),
                view("secret", "SELECT (owner = CURRENT_USER)"),
                view("secret", "SELECT public.writes(1)"),
                view("around", "SELECT n FROM around"),
                Relation {
                    name: "fast".to_owned(),
                    query: None,
                },
            ],
        })
    }

    fn decide(sql: &str) -> Decision {
        let catalog = catalog();
        Router::new([1, 2], 16).decide_in(sql.as_bytes(), Quoting::Standard, Some(&catalog))
    }

    #[test]
    fn names_are_safe_when_all_that_they_may_stand_for_are() {
        for (sql, target) in [
            ("select stable_one(1)", Target::Replica),
            ("select public.stable_one(1) from t", Target::Replica),
            ("select Stable_One(1), upper('x')", Target::Replica),
            ("select mixed(1)", Target::Primary),
            ("select public.mixed(1)", Target::Replica),
            ("select other.mixed(1)", Target::Primary),
            ("select x.public.mixed(1)", Target::Primary),
            ("select t.mixed from t", Target::Primary),
            ("select (t).writes from t", Target::Primary),
            ("select (t).\"mixed\" from t", Target::Primary),
            ("select t.stable_one, t.mixt from t", Target::Replica),
            ("select lower('x')", Target::Primary),
            ("select unheard_of(1)", Target::Primary),
            ("select elsewhere.stable_one(1)", Target::Primary),
            ("select * from stable_one(1)", Target::Replica),
            ("select * from public.stable_one(1) g", Target::Replica),
            ("select a === b, a <=> b from t", Target::Replica),
            ("select a @@ b from t", Target::Primary),
            ("select a <<<>>> b from t", Target::Primary),
            ("select a ilike b from t", Target::Primary),
            ("select a like b, a in (b) from t", Target::Replica),
            ("select 'happy'::mood, mood 'sad'", Target::Replica),
            ("select 'x'::odd", Target::Primary),
            ("select nextval('s')", Target::Primary),
            ("select pg_stat_reset()", Target::Primary),
            ("select \"a\"\"b\" from t", Target::Primary),
        ] {
            assert_eq!(decide(sql).target, target, "{sql}");
        }
    }

    #[test]
    fn relations_are_followed_to_what_they_call() {
        for (sql, target) in [
            ("select * from outer_view", Target::Replica),
            ("select * from \"inner_view\" v", Target::Replica),
            ("select * from deep", Target::Primary),
            (
                "select 1 where exists (table public.Counted)",
                Target::Primary,
            ),
            (
                "with x as (select * from deep) select * from x",
                Target::Primary,
            ),
            ("select * from secret", Target::Primary),
            ("select * from around", Target::Primary),
            ("select * from fast", Target::Primary),
            ("copy fast to stdout", Target::Primary),
            (
                "explain select * from (t join fast on true)",
                Target::Primary,
            ),
            ("select * from t", Target::Replica),
        ] {
            let decision = decide(sql);
            assert_eq!(decision.target, target, "{sql}");
            if target == Target::Primary {
                assert_eq!(decision.reason, Reason::Relation, "{sql}");
            }
        }
    }

    #[test]
    fn decisions_are_remembered_for_one_catalog() {
        let (one, other) = (catalog(), read(&Facts::default()));
        assert_eq!(one.version(), catalog().version());
        assert_ne!(one.version(), other.version());
        let mut router = Router::new([1, 2], 16);
        let mut decide = |catalog: Option<&Catalog>| {
            let sql = b"select stable_one(1)";
            router.decide_in(sql, Quoting::Standard, catalog).target
        };
        for _ in 0..2 {
            assert_eq!(decide(Some(&one)), Target::Replica);
            assert_eq!(decide(Some(&other)), Target::Primary);
            assert_eq!(decide(None), Target::Primary);
        }
    }
}
