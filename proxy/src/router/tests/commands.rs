//! Commands that hold a query, or modes and options: only those made of names and values are believed.

use super::super::{Target, TransactionEffect};
use super::{all_go_to, decide};

#[test]
fn options_of_names_and_values_leave_a_read_a_read() {
    all_go_to(
        Target::Replica,
        &[
            "COPY t TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER '|', FORCE_QUOTE (a, \"b\"))",
            "COPY t (a, \"B\") TO STDOUT (FORCE_QUOTE *)",
            "COPY t TO STDOUT WITH CSV HEADER DELIMITER AS ',' FORCE QUOTE a, b",
            "COPY t TO STDOUT WITH",
            "COPY (SELECT 1) TO STDOUT WITH (FORMAT text, NULL 'x')",
            "EXPLAIN (ANALYZE off, FORMAT 'json', COSTS 0, WAL -1) SELECT 1",
            "DECLARE \"c\" BINARY INSENSITIVE NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1",
        ],
    );
}

#[test]
fn what_no_option_can_be_goes_to_primary() {
    all_go_to(
        Target::Primary,
        &[
            "COPY t (a; DELETE FROM t; b) TO STDOUT",
            "COPY t (nextval('s')) TO STDOUT",
            "COPY t () TO STDOUT",
            "COPY t (a,) TO STDOUT",
            "COPY t (a b) TO STDOUT",
            "COPY t TO STDOUT (FORMAT csv; DELETE FROM t)",
            "COPY t TO STDOUT (DELIMITER nextval('s'))",
            "COPY t TO STDOUT (FORCE_QUOTE (a, nextval('s')))",
            "COPY t TO STDOUT WITH DELIMITER nextval('s')",
            "COPY (SELECT 1) TO STDOUT (FORMAT (a; DELETE FROM t))",
            "EXPLAIN (ANALYZE; DELETE FROM t) SELECT 1",
            "EXPLAIN (ANALYZE nextval('s')) SELECT 1",
            "DECLARE c CURSOR (; DELETE FROM t) FOR SELECT 1",
            "DECLARE nextval('s') CURSOR FOR SELECT 1",
            "BEGIN READ ONLY (; DELETE FROM t)",
            "BEGIN READ ONLY nextval('s')",
            "SET TRANSACTION READ ONLY (; DELETE FROM t)",
        ],
    );
    let snapshot = decide("SET TRANSACTION SNAPSHOT '00000003-0000001B-1'");
    assert_eq!(snapshot.transaction, TransactionEffect::None);
}
