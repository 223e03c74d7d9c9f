use super::*;

fn clause(name: &str, clause: &str) -> Effect {
    Effect::Set(vec![Assignment {
        name: name.to_owned(),
        value: Value::Clause(clause.to_owned()),
    }])
}

fn literals(pairs: &[(&str, &str)]) -> Effect {
    let set = pairs.iter().map(|(name, value)| Assignment {
        name: (*name).to_owned(),
        value: Value::Literal((*value).to_owned()),
    });
    Effect::Set(set.collect())
}

fn reset(name: &str) -> Effect {
    Effect::Reset(name.to_owned())
}

#[test]
fn settings_are_read_with_the_clause_that_sets_them_again() {
    let table = [
        (
            "SET work_mem = '4MB'",
            clause("work_mem", "work_mem = '4MB'"),
        ),
        (
            "set session Sort_Mem to 5 ;",
            clause("work_mem", "Sort_Mem to 5"),
        ),
        (
            "/* x */ SET search_path TO a, \"B\" -- the end",
            clause("search_path", "search_path TO a, \"B\""),
        ),
        ("SET SCHEMA 'a'", clause("search_path", "SCHEMA 'a'")),
        (
            "SET app.Tenant = 'x''y'",
            clause("app.tenant", "app.Tenant = 'x''y'"),
        ),
        ("SET \"app.a\" = 1", clause("app.a", "\"app.a\" = 1")),
        (
            "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
            clause("timezone", "TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE"),
        ),
        (
            "SET NAMES 'latin1'",
            clause("client_encoding", "NAMES 'latin1'"),
        ),
        ("SET ROLE none", clause("role", "ROLE none")),
        ("SET role TO admin", clause("role", "role TO admin")),
        (
            "SET SESSION AUTHORIZATION 'bob'",
            clause("session_authorization", "SESSION AUTHORIZATION 'bob'"),
        ),
        (
            "SET XML OPTION DOCUMENT",
            clause("xmloption", "XML OPTION DOCUMENT"),
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL repeatable READ, \
             READ ONLY NOT DEFERRABLE",
            literals(&[
                ("default_transaction_isolation", "repeatable read"),
                ("default_transaction_read_only", "on"),
                ("default_transaction_deferrable", "off"),
            ]),
        ),
        (
            "SELECT pg_catalog.set_config('search_path', '', false)",
            literals(&[("search_path", "")]),
        ),
        (
            "select set_config('a.b', 'it''s', false) as x, set_config('c.d', '1', true)",
            literals(&[("a.b", "it's")]),
        ),
    ];
    for (sql, effect) in table {
        assert_eq!(effects(sql.as_bytes(), &[]), [effect], "{sql}");
    }
}

#[test]
fn what_takes_a_setting_back_is_read() {
    let table = [
        ("RESET work_mem", reset("work_mem")),
        ("RESET TIME ZONE", reset("timezone")),
        (
            "RESET SESSION AUTHORIZATION",
            reset("session_authorization"),
        ),
        ("RESET ROLE", reset("role")),
        ("SET TIME ZONE LOCAL", reset("timezone")),
        ("SET work_mem TO DEFAULT", reset("work_mem")),
        ("SET NAMES", reset("client_encoding")),
        ("RESET ALL", Effect::ResetAll),
        ("DISCARD ALL", Effect::DiscardAll),
        ("DISCARD TEMP", Effect::None),
        ("SAVEPOINT Sp", Effect::Savepoint("sp".to_owned())),
        ("RELEASE SAVEPOINT \"Sp\"", Effect::Release("Sp".to_owned())),
        ("RELEASE a", Effect::Release("a".to_owned())),
        (
            "ROLLBACK WORK TO SAVEPOINT a",
            Effect::RollbackTo("a".to_owned()),
        ),
        ("ROLLBACK TO a", Effect::RollbackTo("a".to_owned())),
    ];
    for (sql, effect) in table {
        assert_eq!(effects(sql.as_bytes(), &[]), [effect], "{sql}");
    }
}

#[test]
fn what_lasts_no_longer_than_a_transaction_has_no_effect() {
    for sql in [
        "SET LOCAL work_mem = 1",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET transaction_isolation = 'serializable'",
        "SELECT set_config('a.b', 'c', true)",
        "ROLLBACK",
        "ROLLBACK AND CHAIN",
        "ROLLBACK PREPARED 'x'",
        "INSERT INTO t VALUES (1)",
        "SELECT 1",
    ] {
        assert_eq!(effects(sql.as_bytes(), &[]), [Effect::None], "{sql}");
    }
}

#[test]
fn what_cannot_be_read_is_unknown() {
    for sql in [
        "SET SEED TO 0.5",
        "SET application_name = 'Größe'",
        "SET U&\"x\" = 1",
        "SET x",
        "SELECT set_config($1, $2, false)",
        "SELECT set_config('a.b', 'c', 1 > 0)",
        "SELECT set_config('a.b', E'\\x', false)",
        "SELECT set_config('a.b', 'c', false) FROM t",
        "INSERT INTO t SELECT set_config('a.b', 'c', false)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION SNAPSHOT 'x'",
        "(SELECT set_config('a.b', 'c', false))",
        r"SET a.b = 'x\y'",
        "SET exit_on_error = on",
    ] {
        assert_eq!(effects(sql.as_bytes(), &[]), [Effect::Unknown], "{sql}");
    }
}

#[test]
fn every_statement_of_a_text_has_its_effect() {
    assert_eq!(
        effects(b"BEGIN; SET a.b = 1; ; SELECT 1; SAVEPOINT s", &[]),
        [
            Effect::None,
            clause("a.b", "a.b = 1"),
            Effect::None,
            Effect::Savepoint("s".to_owned())
        ]
    );
}

#[test]
fn values_of_parameters_are_read_too() {
    let bound = |value: &[u8], binary| Bound {
        value: Some(value.to_vec()),
        binary,
    };
    let sql = b"select set_config($2, $1, $3)";
    for (local, expected) in [
        (bound(b"f", false), literals(&[("app.x", "it's")])),
        (bound(&[0], true), literals(&[("app.x", "it's")])),
        (bound(&[1], true), Effect::None),
        (bound(b"TRUE", false), Effect::None),
        (bound(b"perhaps", false), Effect::Unknown),
    ] {
        let values = [bound(b"it's", false), bound(b"App.X", true), local];
        assert_eq!(effects(sql, &values), [expected]);
        assert_eq!(effects(sql, &values[..2]), [Effect::Unknown]);
    }
    let null = Bound {
        value: None,
        binary: false,
    };
    assert_eq!(
        effects(b"select set_config('a.b', $1, false)", &[null]),
        [Effect::Unknown]
    );
}

#[test]
fn deallocate_is_read_in_all_its_clothes() {
    let name = |name: &str| Effect::Deallocate(Some(name.to_owned()));
    for (sql, effect) in [
        ("DEALLOCATE _pg3_0", name("_pg3_0")),
        (" deallocate PREPARE \"My \"\"x\";", name("My \"x")),
        ("DEALLOCATE /* x */ Foo -- bar", name("foo")),
        ("DEALLOCATE ALL", Effect::Deallocate(None)),
        ("DEALLOCATE PREPARE ALL;", Effect::Deallocate(None)),
        ("DEALLOCATE", Effect::Unknown),
        ("DEALLOCATE a b", Effect::Unknown),
    ] {
        assert_eq!(effects(sql.as_bytes(), &[]), [effect], "{sql}");
    }
}

#[test]
fn setting_may_be_named_with_a_word_of_the_grammar() {
    for name in [
        "local.x",
        "transaction.x",
        "constraints.x",
        "schema.x",
        "names.x",
        "session.x",
    ] {
        let sql = format!("SET {name} = '1'");
        let expected = clause(name, &format!("{name} = '1'"));
        assert_eq!(effects(sql.as_bytes(), &[]), [expected], "{sql}");
    }
}

#[test]
fn names_are_cut_where_postgresql_cuts_them() {
    let long = "s".repeat(63);
    let sql = format!("SAVEPOINT {long}a; ROLLBACK TO {long}b");
    let expected = [Effect::Savepoint(long.clone()), Effect::RollbackTo(long)];
    assert_eq!(effects(sql.as_bytes(), &[]), expected);
}
