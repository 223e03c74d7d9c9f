//! Durations, sizes and suggestions.

use std::time::Duration;

use proptest::prelude::*;

use crate::keys;
use crate::suggest::{nearest, nearest_key};
use crate::units::{NotAQuantity, parse_duration, parse_size, show_duration, show_size};

#[test]
fn durations_are_read_with_their_units() {
    let table = [
        ("0", 0),
        ("0s", 0),
        ("500ms", 500),
        ("5s", 5000),
        ("5 s", 5000),
        ("2min", 120_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
    ];
    for (text, millis) in table {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_duration_says_why() {
    let unit = |unit: &str| Err(NotAQuantity::UnknownUnit(unit.to_owned()));
    assert_eq!(parse_duration("5"), Err(NotAQuantity::NoUnit));
    assert_eq!(parse_duration(""), Err(NotAQuantity::NoNumber));
    assert_eq!(parse_duration("-5s"), Err(NotAQuantity::NoNumber));
    assert_eq!(parse_duration("5m"), unit("m"));
    assert_eq!(parse_duration("1.5s"), unit(".5s"));
    assert_eq!(parse_duration("5S"), unit("S"));
    assert_eq!(
        parse_duration("99999999999999999999s"),
        Err(NotAQuantity::TooLarge)
    );
    assert_eq!(
        parse_duration("999999999999999999d"),
        Err(NotAQuantity::TooLarge)
    );
}

#[test]
fn sizes_are_read_with_their_units() {
    let table = [
        ("16", 16),
        ("16B", 16),
        ("16kB", 16_384),
        ("64MiB", 64 << 20),
        ("64MB", 64 << 20),
    ];
    for (text, bytes) in table {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    assert_eq!(parse_size("1GiB"), Ok(1 << 30));
    assert_eq!(parse_size("99999999999TiB"), Err(NotAQuantity::TooLarge));
    assert_eq!(
        parse_size("1Mib"),
        Err(NotAQuantity::UnknownUnit("Mib".to_owned()))
    );
}

proptest! {
    #[test]
    fn a_duration_reads_back_as_it_was_shown(millis in 0_u64..100_000_000_000) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
    }

    #[test]
    fn a_size_reads_back_as_it_was_shown(bytes in any::<u64>()) {
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn no_text_breaks_the_readers(text in any::<String>()) {
        let _ = (parse_duration(&text), parse_size(&text));
    }

    #[test]
    fn no_file_breaks_the_loader(text in any::<String>()) {
        // Nearly never a valid file; the promise is problems, one line each.
        for line in super::problems(&text, &[]) {
            prop_assert_eq!(line.lines().count(), 1, "{}", line);
        }
    }
}

#[test]
fn shown_in_the_largest_exact_unit() {
    assert_eq!(show_duration(Duration::from_secs(120)), "2min");
    assert_eq!(show_duration(Duration::from_secs(90)), "90s");
    assert_eq!(show_duration(Duration::ZERO), "0");
    assert_eq!(show_size(64 << 20), "64MiB");
    assert_eq!(show_size(1000), "1000B");
    assert_eq!(show_size(0), "0");
}

#[test]
fn suggestions_need_to_be_near() {
    assert_eq!(
        nearest("sesion", ["session", "transaction"]),
        Some("session")
    );
    assert_eq!(nearest("statement", ["session", "transaction"]), None);
}

#[test]
fn keys_are_suggested_across_sections_and_from_other_poolers() {
    let table = [
        ("pool.sise", Some("pool.size")),
        ("pool.query_timeout", Some("limits.query_timeout")),
        ("query_timeout", Some("limits.query_timeout")),
        ("default_pool_size", Some("pool.size")),
        ("max_client_conn", Some("limits.max_client_connections")),
        (
            "max_db_connections",
            Some("limits.max_database_server_connections"),
        ),
        (
            "user.max_server_conections",
            Some("user.max_server_connections"),
        ),
        ("reserve_pool_timeout", Some("pool.reserve_timeout")),
        ("nodes", Some("node")),
        ("users", Some("user")),
        ("lisen", Some("listen")),
        ("health.check_perod", Some("health.check_period")),
        ("health_check_period", Some("health.check_period")),
        ("zzzzzz", None),
    ];
    for (given, expected) in table {
        assert_eq!(nearest_key(given, &keys::names()), expected, "{given}");
    }
}
