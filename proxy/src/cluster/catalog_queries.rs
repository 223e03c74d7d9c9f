//! What is asked of a database's catalog: text in, [`Facts`] out.
//!
//! Objects from 16384 on are users' (PostgreSQL docs, 74.2.2, "OID Assignment"). Of what is built in only volatile
//! functions are of interest. Knows no connection.

use tokio_postgres::SimpleQueryRow;

use super::probe::column;
use crate::router::{Constraint, Facts, Qualified, Relation, Runs};

/// Estimates of what is recursive are far too high: it would be compiled first.
pub(super) const BEGIN: &str =
    "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL jit = off";

/// Of certain users' types (`pg_type AS t` where this holds) all that are made of them, themselves included: upwards,
/// as those in question are few, and every table is a type.
macro_rules! made_of {
    ($seed:literal) => {
        concat!(
            "whole (typ, part) AS MATERIALIZED (SELECT oid, typelem FROM pg_type WHERE typelem >= 16384 \
             UNION ALL SELECT oid, typbasetype FROM pg_type WHERE typbasetype >= 16384 \
             UNION ALL SELECT c.reltype, a.atttypid FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid \
             WHERE c.reltype <> 0 AND a.atttypid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped \
             UNION ALL SELECT rngtypid, rngsubtype FROM pg_range \
             UNION ALL SELECT (to_jsonb(r) ->> 'rngmultitypid')::oid, rngtypid FROM pg_range AS r \
             WHERE to_jsonb(r) ->> 'rngmultitypid' IS NOT NULL), \
             made_of (typ, part) AS (SELECT t.oid, t.oid FROM pg_type AS t WHERE t.oid >= 16384 AND ",
            $seed,
            " UNION SELECT w.typ, m.part FROM made_of AS m JOIN whole AS w ON w.part = m.typ) "
        )
    };
}

/// What stands behind `function` (an oid), if it is a user's or volatile.
macro_rules! runs {
    ($function:literal) => {
        concat!(
            " JOIN pg_proc AS f ON f.oid = ",
            $function,
            " AND (f.oid >= 16384 OR f.provolatile = 'v') JOIN pg_namespace AS fn ON fn.oid = f.pronamespace "
        )
    };
}

/// Columns that [`runs`] reads.
macro_rules! run {
    () => {
        " fn.nspname AS function_schema, f.proname AS function, f.provolatile = 'v' AS volatile "
    };
}

/// An aggregate runs what it is made of.
const FUNCTIONS: &str = concat!(
    "SELECT DISTINCT n.nspname AS schema, p.proname AS name,",
    run!(),
    "FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace LEFT JOIN pg_aggregate AS a \
     ON a.aggfnoid = p.oid JOIN pg_proc AS f ON f.oid IN (p.oid, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, \
     a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
     JOIN pg_namespace AS fn ON fn.oid = f.pronamespace WHERE p.oid >= 16384 \
     OR (n.nspname = 'pg_catalog' AND f.provolatile = 'v') ORDER BY 1, 2, 3, 4, 5"
);

/// Those in SQL (language 14) that are declared to be safe. The standard's bodies have no text of their own: the whole definition is read (PostgreSQL docs, CREATE
/// FUNCTION, `sql_body`).
const BODIES: &str = "SELECT n.nspname AS schema, p.proname AS name, \
     CASE WHEN p.prosrc <> '' THEN p.prosrc END AS text, \
     CASE WHEN p.prosrc = '' THEN pg_get_functiondef(p.oid) END AS definition \
     FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace \
     WHERE p.oid >= 16384 AND p.prolang = 14 AND p.prokind = 'f' \
     AND p.provolatile <> 'v' ORDER BY 1, 2, 3, 4";

const OF_ROWS: &str = concat!(
    "SELECT DISTINCT f.proname AS name,",
    run!(),
    "FROM pg_proc AS f JOIN pg_namespace AS fn ON fn.oid = f.pronamespace JOIN pg_type AS t \
     ON t.oid = f.proargtypes[0] WHERE f.oid >= 16384 AND f.pronargs - f.pronargdefaults <= 1 \
     AND t.typtype IN ('c', 'p') ORDER BY 1, 2, 3, 4"
);

const OPERATORS: &str = concat!(
    "SELECT DISTINCT n.nspname AS schema, o.oprname AS name,",
    " coalesce(fn.nspname, '') AS function_schema, coalesce(f.proname, '') AS function, \
     coalesce(f.provolatile, 'v') = 'v' AS volatile \
     FROM pg_operator AS o JOIN pg_namespace AS n ON n.oid = o.oprnamespace LEFT JOIN pg_proc AS f \
     ON f.oid = o.oprcode LEFT JOIN pg_namespace AS fn ON fn.oid = f.pronamespace \
     WHERE o.oid >= 16384 ORDER BY 1, 2, 3, 4, 5"
);

/// Ranges run more. Arrays are cast to by the name of what they are of.
const TYPES: &str = concat!(
    "WITH RECURSIVE ",
    made_of!("t.typtype NOT IN ('b', 'c', 'd', 'e')"),
    "SELECT t.typname AS name, bool_and(NOT EXISTS (SELECT FROM made_of AS m WHERE m.typ = t.oid)) AS sound \
     FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid WHERE t.oid >= 16384 \
     AND t.typcategory <> 'A' AND (t.typtype IN ('b', 'd', 'e', 'r', 'm') OR c.relkind = 'c') \
     GROUP BY 1 ORDER BY 1"
);

const CASTS: &str = concat!(
    "SELECT DISTINCT t.typname AS name,",
    run!(),
    "FROM pg_cast AS c JOIN pg_type AS t ON t.oid IN (c.castsource, c.casttarget)",
    runs!("c.castfunc"),
    "WHERE t.oid >= 16384 ORDER BY 1, 2, 3, 4"
);

const CONSTRAINTS: &str = concat!(
    "WITH RECURSIVE ",
    made_of!("t.oid IN (SELECT contypid FROM pg_constraint WHERE contype = 'c')"),
    "SELECT DISTINCT t.typname AS name, t.oid::bigint AS number, 'SELECT ' || pg_get_expr(c.conbin, 0) AS query \
     FROM made_of AS m \
     JOIN pg_type AS t ON t.oid = m.typ JOIN pg_constraint AS c ON c.contypid = m.part \
     LEFT JOIN pg_class AS r ON r.oid = t.typrelid WHERE c.contype = 'c' AND t.typcategory <> 'A' \
     AND (t.typrelid = 0 OR r.relkind = 'c') ORDER BY 1, 2, 3"
);

/// Views, what is not the same on a standby, and policies; temporary ones are their sessions' own.
const RELATIONS: &str = "SELECT c.relname AS name, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS query \
     FROM pg_class AS c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND (c.relkind IN ('v', 'f', 'S') \
     OR c.relpersistence = 'u' AND c.relkind IN ('r', 'p', 'm')) \
     UNION ALL SELECT c.relname, 'SELECT ' || pg_get_expr(p.polqual, p.polrelid) FROM pg_policy AS p \
     JOIN pg_class AS c ON c.oid = p.polrelid WHERE c.relrowsecurity AND p.polqual IS NOT NULL ORDER BY 1, 2";

/// What each type runs of users' functions or volatile ones. Casts to what is built in are not told by the name of
/// the type that is cast.
macro_rules! odd {
    () => {
        "WITH RECURSIVE odd (typ, function) AS (SELECT u.typ, f.oid FROM (SELECT oid, unnest(ARRAY[typinput, typoutput, \
         typreceive, typsend, typmodin, typmodout]::oid[]) FROM pg_type WHERE oid >= 16384 \
         UNION ALL SELECT unnest(ARRAY[amproclefttype, amprocrighttype]), amproc::oid FROM pg_amproc \
         UNION ALL SELECT unnest(ARRAY[a.amoplefttype, a.amoprighttype]), o.oprcode::oid FROM pg_amop AS a \
         JOIN pg_operator AS o ON o.oid = a.amopopr \
         UNION ALL SELECT unnest(ARRAY[castsource, casttarget]), castfunc FROM pg_cast \
         WHERE castcontext = 'i' OR casttarget < 16384 \
         UNION ALL SELECT rngtypid, unnest(ARRAY[rngcanonical, rngsubdiff]::oid[]) FROM pg_range) AS u (typ, function) \
         JOIN pg_proc AS f ON f.oid = u.function WHERE u.typ >= 16384 AND (f.oid >= 16384 OR f.provolatile = 'v')), "
    };
}

/// Types by their number, operator families by theirs below zero.
const UNSEEN: &str = concat!(
    odd!(),
    made_of!("t.oid IN (SELECT typ FROM odd)"),
    "SELECT DISTINCT x.number AS number,",
    run!(),
    "FROM (SELECT m.typ::bigint, o.function FROM made_of AS m JOIN odd AS o ON o.typ = m.part \
     UNION SELECT -amprocfamily::bigint, amproc::oid FROM pg_amproc \
     UNION SELECT -a.amopfamily::bigint, o.oprcode::oid FROM pg_amop AS a JOIN pg_operator AS o ON o.oid = a.amopopr) \
     AS x (number, function)",
    runs!("x.function"),
    "ORDER BY 1, 2, 3, 4"
);

const UNSEEN_OF_TYPES: &str = "SELECT t.typname AS name, t.oid::bigint AS number FROM pg_type AS t \
     LEFT JOIN pg_class AS c ON c.oid = t.typrelid WHERE t.oid >= 16384 AND t.typcategory <> 'A' \
     AND (t.typtype IN ('b', 'd', 'e', 'r', 'm') OR c.relkind = 'c') ORDER BY 1, 2";

const UNSEEN_OF_RELATIONS: &str = "SELECT c.relname AS name, a.atttypid::bigint AS number FROM pg_attribute AS a \
     JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'f') \
     AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 \
     UNION SELECT c.relname, -o.opcfamily::bigint FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid \
     JOIN pg_opclass AS o ON o.oid = any (i.indclass::oid[]) WHERE c.oid >= 16384 AND c.relpersistence <> 't' \
     AND o.opcfamily IN (SELECT amprocfamily FROM pg_amproc WHERE amproc::oid >= 16384 \
     UNION SELECT a.amopfamily FROM pg_amop AS a JOIN pg_operator AS p ON p.oid = a.amopopr \
     WHERE p.oprcode::oid >= 16384) ORDER BY 1, 2";

const UNSEEN_OF_FUNCTIONS: &str = "SELECT DISTINCT n.nspname AS schema, p.proname AS name, t.typ::bigint AS number \
     FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace CROSS JOIN LATERAL \
     unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]) || p.prorettype) AS t (typ) \
     WHERE p.oid >= 16384 AND t.typ >= 16384 ORDER BY 1, 2, 3";

/// Tables of which a statement's text tells all that it reads and writes.
const PLAIN: &str = "SELECT c.relname AS name FROM pg_class AS c \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' GROUP BY 1 HAVING bool_and( \
     c.oid >= 16384 AND c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition \
     AND NOT c.relhassubclass AND NOT c.relhasrules AND NOT c.relrowsecurity \
     AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid) \
     AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
     AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.contype = 'f' AND k.confrelid = c.oid \
     AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))) \
     AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_proc'::regclass \
     AND d.refobjid >= 16384 AND (d.classid, d.objid) IN (SELECT 'pg_attrdef'::regclass, a.oid \
     FROM pg_attrdef AS a WHERE a.adrelid = c.oid UNION ALL SELECT 'pg_constraint'::regclass, k.oid \
     FROM pg_constraint AS k WHERE k.conrelid = c.oid)) \
     AND NOT EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
     WHERE a.attrelid = c.oid AND t.typtype = 'd')) ORDER BY 1";

/// Those that are not in C (languages 12 and 13) and are declared to be safe.
const OPAQUE: &str = "SELECT n.nspname AS schema, p.proname AS name FROM pg_proc AS p JOIN pg_namespace AS n \
     ON n.oid = p.pronamespace WHERE p.oid >= 16384 AND p.prolang NOT IN (12, 13) AND p.provolatile <> 'v' \
     AND p.prokind = 'f' GROUP BY 1, 2 ORDER BY 1, 2";

const UNLOGGED: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE relpersistence = 'u' \
     AND relkind IN ('r', 'p', 'm')) AS unlogged";

/// Asked only for who follows writes by table.
pub(super) const TABLES_APART: (&str, Take) = (PLAIN, |facts, row| {
    facts.plain.push(row.name()?);
    Some(())
});

/// Adds a row to the facts.
pub(super) type Take = fn(&mut Facts, &Row<'_>) -> Option<()>;

/// Every question, and where its answer goes. A row that lacks something makes the answer none.
pub(super) const QUESTIONS: &[(&str, Take)] = &[
    (FUNCTIONS, |facts, row| {
        facts.functions.push((row.qualified()?, row.runs()?));
        Some(())
    }),
    (BODIES, |facts, row| {
        let text = row.text("text");
        let definition = || statements_of(&row.text("definition").unwrap_or_default());
        let body = (row.qualified()?, text.unwrap_or_else(definition));
        facts.bodies.push(body);
        Some(())
    }),
    (OF_ROWS, |facts, row| {
        facts.of_rows.push((row.name()?, row.runs()?));
        Some(())
    }),
    (OPERATORS, |facts, row| {
        facts.operators.push((row.qualified()?, row.runs()?));
        Some(())
    }),
    (TYPES, |facts, row| {
        facts.types.push((row.name()?, row.flag("sound")?));
        Some(())
    }),
    (CASTS, |facts, row| {
        facts.casts.push((row.name()?, row.runs()?));
        Some(())
    }),
    (CONSTRAINTS, |facts, row| {
        facts.constraints.push(Constraint {
            name: row.name()?,
            number: row.number()?,
            query: row.text("query")?,
        });
        Some(())
    }),
    (RELATIONS, |facts, row| {
        let (name, query) = (row.name()?, row.text("query"));
        facts.relations.push(Relation { name, query });
        Some(())
    }),
    (OPAQUE, |facts, row| {
        facts.opaque.push(row.qualified()?);
        Some(())
    }),
    (UNLOGGED, |facts, row| {
        facts.unlogged = row.flag("unlogged")?;
        Some(())
    }),
    (UNSEEN, |facts, row| {
        facts.unseen.push((row.number()?, row.runs()?));
        Some(())
    }),
    (UNSEEN_OF_TYPES, |facts, row| {
        facts.unseen_of_types.push((row.name()?, row.number()?));
        Some(())
    }),
    (UNSEEN_OF_RELATIONS, |facts, row| {
        facts.unseen_of_relations.push((row.name()?, row.number()?));
        Some(())
    }),
    (UNSEEN_OF_FUNCTIONS, |facts, row| {
        let function = (row.qualified()?, row.number()?);
        facts.unseen_of_functions.push(function);
        Some(())
    }),
];

/// The statements in a definition whose body is `RETURN expression` or `BEGIN ATOMIC … END`. The lines of
/// its head begin with a space, all but the first.
fn statements_of(definition: &str) -> String {
    let body = |begin: &str| {
        definition
            .split_once(begin)
            .map(|(_, body)| body.trim_end())
    };
    if let Some(expression) = body("\nRETURN ") {
        format!("SELECT {expression}")
    } else {
        let block = body("\nBEGIN ATOMIC\n").and_then(|block| block.strip_suffix("END"));
        block.unwrap_or_default().to_owned()
    }
}

/// A row of an answer.
pub(super) struct Row<'r>(pub(super) &'r SimpleQueryRow);

impl Row<'_> {
    fn text(&self, name: &str) -> Option<String> {
        column(self.0, name).map(str::to_owned)
    }

    fn name(&self) -> Option<String> {
        self.text("name")
    }

    fn flag(&self, name: &str) -> Option<bool> {
        column(self.0, name).map(|value| value == "t")
    }

    fn number(&self) -> Option<i64> {
        column(self.0, "number")?.parse().ok()
    }

    fn qualified(&self) -> Option<Qualified> {
        let (schema, name) = (self.text("schema")?, self.name()?);
        Some(Qualified { schema, name })
    }

    fn runs(&self) -> Option<Runs> {
        Some(Runs {
            function: Qualified {
                schema: self.text("function_schema")?,
                name: self.text("function")?,
            },
            volatile: self.flag("volatile")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_the_standards_form_become_statements() {
        let head = "CREATE OR REPLACE FUNCTION public.f(x integer)\n RETURNS integer\n LANGUAGE sql\n STABLE";
        for (body, statements) in [
            ("\nRETURN (x + 1)\n", "SELECT (x + 1)"),
            (
                "\nBEGIN ATOMIC\n SELECT 1;\n SELECT f(x);\nEND\n",
                " SELECT 1;\n SELECT f(x);\n",
            ),
            ("\nAS $function$$function$\n", ""),
        ] {
            assert_eq!(statements_of(&format!("{head}{body}")), statements);
        }
    }
}
