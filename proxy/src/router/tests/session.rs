//! Session state and transactions.

use super::super::{Discard, PinReason, PinSet, Reason, SequenceUse, Target, TransactionEffect};
use super::decide;

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn session_state_pins_with_its_reason() {
    for (sql, pin) in [
        ("SET a = 1", Some(PinReason::Set)),
        ("SET SESSION a = 1", Some(PinReason::Set)),
        ("SET ROLE x", Some(PinReason::Set)),
        ("SET TIME ZONE 'UTC'", Some(PinReason::Set)),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            Some(PinReason::Set),
        ),
        ("RESET ALL", Some(PinReason::Set)),
        ("SET LOCAL a = 1", None),
        ("SET local.a = 1", Some(PinReason::Set)),
        ("SET transaction.a = 1", Some(PinReason::Set)),
        ("SET TRANSACTION READ ONLY", None),
        ("SET CONSTRAINTS ALL DEFERRED", None),
        ("DISCARD ALL", None),
        ("SELECT set_config('a', 'b', false)", Some(PinReason::Set)),
        (
            "SELECT pg_catalog.set_config('search_path', '', false)",
            Some(PinReason::Set),
        ),
        ("SELECT set_config('a', 'b', true)", None),
        (
            "SELECT set_config('a', f('x', true), false)",
            Some(PinReason::Set),
        ),
        ("SELECT set_config('a', 'b', 't')", Some(PinReason::Set)),
        ("SELECT set_config('a', 'b', $1)", Some(PinReason::Set)),
        (
            "SELECT set_config('a', 'b', not true)",
            Some(PinReason::Set),
        ),
        (
            "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
            Some(PinReason::Set),
        ),
        (
            "SELECT U&\"set_config\"('a', 'b', false)",
            Some(PinReason::UnknownState),
        ),
        ("LISTEN a", Some(PinReason::Listen)),
        ("UNLISTEN *", None),
        ("NOTIFY a, 'it''s'", None),
        ("CREATE TEMP TABLE t (a int)", Some(PinReason::TempTable)),
        (
            "create local temporary table t as select 1",
            Some(PinReason::TempTable),
        ),
        (
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            Some(PinReason::TempTable),
        ),
        ("CREATE TABLE pg_temp.t (a int)", Some(PinReason::TempTable)),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'select 1'",
            Some(PinReason::TempTable),
        ),
        ("CREATE TABLE t (temp int)", None),
        ("SELECT 1 INTO TEMP t", Some(PinReason::TempTable)),
        ("SELECT 1 INTO pg_temp.t", Some(PinReason::TempTable)),
        ("SELECT 1 INTO t", None),
        ("SELECT pg_advisory_lock(1)", Some(PinReason::AdvisoryLock)),
        (
            "SELECT pg_try_advisory_lock_shared(1, 2)",
            Some(PinReason::AdvisoryLock),
        ),
        ("SELECT pg_advisory_xact_lock(1)", None),
        ("SELECT pg_advisory_unlock(1)", None),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            Some(PinReason::HoldCursor),
        ),
        ("DECLARE c CURSOR FOR SELECT 1", None),
        ("LOAD 'x'", Some(PinReason::Load)),
        ("SELECT setseed(0.1)", Some(PinReason::Seed)),
        (
            "PREPARE p AS WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            Some(PinReason::Prepare),
        ),
        ("EXECUTE p", None),
        ("DEALLOCATE ALL", None),
        ("PREPARE TRANSACTION 'x'", None),
        ("DO $$ BEGIN PERFORM 1; END $$", None),
        ("CALL p()", None),
        ("SELECT nextval('s')", None),
    ] {
        let decision = decide(sql);
        let pins = pin.map_or(PinSet::NONE, PinSet::of);
        assert_eq!(decision.pins, pins, "{sql}");
        assert!(pin.is_none() || decision.target == Target::Primary, "{sql}");
    }
}

#[test]
fn state_hidden_behind_other_statements_still_pins() {
    for sql in [
        "INSERT INTO t VALUES (1); SET a = 1",
        "INSERT INTO t SELECT pg_advisory_lock(1)",
        "UPDATE t SET a = \"set_config\"('a', 'b', false)",
        "SELECT 1; LISTEN x",
        "COMMIT; SET a = 1",
        "BEGIN; SET LOCAL a = 1; COMMIT; CREATE TEMP TABLE t ()",
        "EXPLAIN ANALYZE SELECT pg_advisory_lock(1)",
        "CREATE TABLE t AS SELECT set_config('a', 'b', false)",
        "COPY (SELECT pg_advisory_lock(1)) TO STDOUT",
        "DELETE FROM t WHERE frob frob; SET a = 1",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SET a = 1",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; SET a = 1",
    ] {
        assert!(!decide(sql).pins.is_empty(), "{sql}");
    }
}

#[test]
fn every_reason_to_pin_counts() {
    let decision = decide("SET a = 1; CREATE TEMP TABLE t AS SELECT pg_advisory_lock(1)");
    let all = [
        PinReason::Set,
        PinReason::TempTable,
        PinReason::AdvisoryLock,
    ];
    assert_eq!(decision.pins.iter().collect::<Vec<_>>(), all);
}

#[test]
fn what_may_give_state_back_is_known() {
    for sql in [
        "UNLISTEN *",
        "DROP TABLE t",
        "CLOSE c",
        "DEALLOCATE p",
        "DISCARD TEMP",
        "SELECT pg_advisory_unlock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT 1; UNLISTEN x",
    ] {
        assert!(decide(sql).releases, "{sql}");
    }
    for sql in ["LISTEN x", "SELECT 1", "SELECT pg_advisory_lock(1)"] {
        assert!(!decide(sql).releases, "{sql}");
    }
}

#[test]
fn code_that_was_not_looked_at_is_unseen() {
    for sql in [
        "SELECT f()",
        "CALL p()",
        "DO 'x'",
        "SELECT 1 <~~> 2",
        "CREATE TABLE t AS SELECT f()",
        "INSERT INTO t VALUES (1); SELECT f()",
        "/* pgconvoy: replica */ SELECT f()",
    ] {
        assert!(decide(sql).unseen, "{sql}");
    }
    for sql in [
        "SELECT 1",
        "INSERT INTO t VALUES (1)",
        "SET a = 1",
        "SELECT nextval('s')",
    ] {
        assert!(!decide(sql).unseen, "{sql}");
    }
}

#[test]
fn the_end_of_a_function_body_does_not_end_the_transaction() {
    let sql = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
    assert_eq!(decide(sql).transaction, TransactionEffect::None);
    assert_eq!(decide(sql).reason, Reason::Ddl);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn transaction_control_is_recognised() {
    use TransactionEffect as Effect;
    for (sql, effect, reason) in [
        ("BEGIN", Effect::Begin, Reason::Transaction),
        ("begin work;", Effect::Begin, Reason::Transaction),
        (
            "START TRANSACTION READ WRITE",
            Effect::BeginReadWrite,
            Reason::Transaction,
        ),
        (
            "BEGIN READ ONLY",
            Effect::BeginReadOnly,
            Reason::ReadOnlyTransaction,
        ),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            Effect::BeginSerializable,
            Reason::Serializable,
        ),
        (
            "BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE",
            Effect::BeginSerializable,
            Reason::Serializable,
        ),
        (
            "BEGIN ISOLATION LEVEL READ COMMITTED",
            Effect::Begin,
            Reason::Transaction,
        ),
        (
            "SET TRANSACTION READ ONLY",
            Effect::SetReadOnly,
            Reason::ReadOnlyTransaction,
        ),
        (
            "SET TRANSACTION READ WRITE",
            Effect::SetReadWrite,
            Reason::Transaction,
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            Effect::SetSerializable,
            Reason::Serializable,
        ),
        ("COMMIT", Effect::Commit, Reason::Transaction),
        ("END WORK", Effect::Commit, Reason::Transaction),
        (
            "COMMIT AND CHAIN",
            Effect::CommitAndChain,
            Reason::Transaction,
        ),
        ("COMMIT AND NO CHAIN", Effect::Commit, Reason::Transaction),
        ("ROLLBACK", Effect::Rollback, Reason::Transaction),
        ("ABORT", Effect::Rollback, Reason::Transaction),
        (
            "ROLLBACK AND CHAIN",
            Effect::RollbackAndChain,
            Reason::Transaction,
        ),
        (
            "ROLLBACK TO SAVEPOINT a",
            Effect::RollbackTo,
            Reason::Transaction,
        ),
        (
            "ROLLBACK WORK TO a",
            Effect::RollbackTo,
            Reason::Transaction,
        ),
        ("SAVEPOINT a", Effect::Savepoint, Reason::Transaction),
        ("RELEASE a", Effect::Release, Reason::Transaction),
        (
            "PREPARE TRANSACTION 'x'",
            Effect::PrepareTransaction,
            Reason::Transaction,
        ),
        ("COMMIT PREPARED 'x'", Effect::None, Reason::Transaction),
        (
            "BEGIN; SELECT 1; COMMIT",
            Effect::Commit,
            Reason::SeveralStatements,
        ),
        ("BEGIN; SELECT 1", Effect::Begin, Reason::SeveralStatements),
    ] {
        let decision = decide(sql);
        assert_eq!(
            (decision.transaction, decision.reason),
            (effect, reason),
            "{sql}"
        );
    }
}

#[test]
fn what_throws_prepared_statements_away_says_so() {
    assert_eq!(decide("DISCARD ALL").discard, Discard::All);
    assert_eq!(decide("DEALLOCATE p").discard, Discard::Statements);
    assert_eq!(decide("DISCARD PLANS").discard, Discard::Nothing);
    assert_eq!(decide("SELECT 1; DISCARD ALL").discard, Discard::All);
}

#[test]
fn what_asks_for_the_last_value_of_a_sequence_is_known() {
    for (sql, expected) in [
        ("SELECT nextval('s')", SequenceUse::Makes),
        ("INSERT INTO t VALUES (setval('s', 1))", SequenceUse::Makes),
        ("SELECT pg_catalog.\"currval\"('s')", SequenceUse::Reads),
        ("INSERT INTO t VALUES (LastVal ())", SequenceUse::Reads),
        ("SELECT nextval('s'); SELECT lastval()", SequenceUse::Reads),
        (
            "CREATE TABLE t (a int DEFAULT currval('s'))",
            SequenceUse::Reads,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT lastval()'",
            SequenceUse::Reads,
        ),
        ("SELECT 'lastval()'", SequenceUse::None),
        ("SELECT currval FROM t", SequenceUse::None),
        ("INSERT INTO t VALUES (1)", SequenceUse::None),
    ] {
        assert_eq!(decide(sql).sequence, expected, "{sql}");
    }
}
