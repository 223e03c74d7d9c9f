use super::*;

fn set(pairs: &[(&str, &str)]) -> Arc<ParameterSet> {
    ParameterSet::new(
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
    )
    .unwrap()
}

fn with_clause(pairs: &[(&str, &str)], name: &str, clause: &str) -> ParameterSet {
    let mut set = ParameterSet::clone(&set(pairs));
    set.set(name.to_owned(), Setting::Clause(clause.to_owned()));
    set
}

/// What stands between the words that make the server end the connection on an error.
fn inner(query: &str) -> String {
    let rest = query.strip_prefix(OR_END).unwrap();
    let rest = rest.strip_suffix(ALIVE).unwrap();
    rest.strip_prefix(AT_ONCE).unwrap_or(rest).to_owned()
}

#[test]
fn equal_sets_need_no_sql() {
    let a = set(&[("DateStyle", "ISO"), ("search_path", "a, b")]);
    let b = set(&[("search_path", "a, b"), ("datestyle", "ISO")]);
    assert_eq!(a, b);
    assert_eq!(a.difference(&b), None);
}

#[test]
fn what_is_not_wanted_is_reset_and_what_differs_is_set() {
    let from = set(&[("a.b", "1"), ("timezone", "UTC")]);
    let to = set(&[
        ("datestyle", "ISO"),
        ("search_path", "x, y"),
        ("timezone", "UTC"),
    ]);
    assert_eq!(
        inner(&to.difference(&from).unwrap()[0]),
        "RESET \"a\".\"b\";SELECT pg_catalog.set_config(E'search_path',E'x, y',false);\
         SELECT pg_catalog.set_config(E'datestyle',E'ISO',false);"
    );
}

#[test]
fn what_was_set_by_its_own_words_is_set_by_them_again() {
    let to = with_clause(&[("a.b", "1")], "timezone", "TIME ZONE INTERVAL '1' HOUR");
    assert_eq!(
        inner(&to.difference(&set(&[("a.b", "1")])).unwrap()[0]),
        "SET SESSION TIME ZONE INTERVAL '1' HOUR;"
    );
    assert_eq!(
        to.restoration(&set(&[("a.b", "1")])),
        ["SET SESSION TIME ZONE INTERVAL '1' HOUR"]
    );
}

#[test]
fn another_role_is_left_before_and_taken_after_everything_else() {
    let from = with_clause(&[("log_statement", "all")], "role", "ROLE a");
    let to = with_clause(&[("log_statement", "none")], "role", "ROLE b");
    assert_eq!(
        inner(&to.difference(&from).unwrap()[0]),
        "RESET SESSION AUTHORIZATION;RESET ROLE;\
         SELECT pg_catalog.set_config(E'log_statement',E'none',false);SET SESSION ROLE b;"
    );
    assert_eq!(
        inner(&set(&[]).difference(&from).unwrap()[0]),
        "RESET SESSION AUTHORIZATION;RESET ROLE;RESET \"log_statement\";"
    );
    let roles = with_clause(
        &[("role", "a")],
        "session_authorization",
        "SESSION AUTHORIZATION b",
    );
    let scratch = roles.from_scratch("CLOSE ALL;");
    assert_eq!(
        scratch[0],
        "SET exit_on_error TO on;RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL;"
    );
    assert_eq!(
        inner(&scratch[1]),
        "CLOSE ALL;SET SESSION SESSION AUTHORIZATION b;\
         SELECT pg_catalog.set_config(E'role',E'a',false);"
    );
}

#[test]
fn time_limit_of_the_session_before_does_not_hold() {
    let from = set(&[("statement_timeout", "5")]);
    let queries = set(&[("a.b", "1")]).difference(&from).unwrap();
    assert_eq!(inner(&queries[0]), "RESET statement_timeout;");
    assert_eq!(queries.len(), 2);
    let both = set(&[("a.b", "1"), ("statement_timeout", "5")]);
    let queries = both.difference(&from).unwrap();
    assert!(
        queries[1].contains("E'statement_timeout',E'5'"),
        "set again"
    );
    assert_eq!(from.difference(&from), None);
}

#[test]
fn lost_values_are_given_again_without_a_snapshot_where_that_can_be() {
    let all = set(&[("work_mem", "7MB"), ("search_path", "a, b"), ("x.y", "z")]);
    assert_eq!(
        or_end(&all.restoration(&set(&[("x.y", "z")]))),
        "SET exit_on_error TO on;SELECT pg_catalog.set_config(E'search_path',E'a, b',false);\
         SET SESSION \"work_mem\" TO E'7MB';RESET exit_on_error;"
    );
    assert!(all.restoration(&all).is_empty());
}

#[test]
fn custom_settings_that_are_no_more_are_known_again_but_not_taken_back() {
    let mut known = ParameterSet::default();
    known.set("a.b".to_owned(), Setting::Known);
    let none = ParameterSet::default();
    let set = set(&[("a.b", "1")]);
    assert_eq!(
        inner(&known.difference(&none).unwrap()[0]),
        "SELECT pg_catalog.set_config(E'a.b',COALESCE(pg_catalog.current_setting(E'a.b',true),''),false);"
    );
    assert_eq!(
        inner(&known.difference(&set).unwrap()[0]),
        "RESET \"a\".\"b\";"
    );
    assert_eq!(none.difference(&known), None);
    assert_eq!(known.difference(&known), None);
}

#[test]
fn values_cannot_break_out_of_their_quotes() {
    let to = set(&[("application_name", "it's \\' h\u{e9}re")]);
    assert_eq!(
        inner(&to.difference(&set(&[])).unwrap()[0]),
        r"SELECT pg_catalog.set_config(E'application_name',E'it''s \\'' h\xc3\xa9re',false);"
    );
}

#[test]
fn names_that_are_no_names_are_refused() {
    for bad in ["", "a b", "x;y", "1a", "a..b", "a'"] {
        assert!(
            ParameterSet::new([(bad.to_owned(), String::new())]).is_err(),
            "{bad}"
        );
    }
}
