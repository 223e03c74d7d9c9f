//! Every startup parameter a client sends is honoured on the server connection it uses.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::Wire;

/// A pool of one, so that clients with different parameters must share the server connection.
fn single(name: &str) -> Stage {
    let stage = Stage::with(name, |setup| {
        setup.top("workers = 1").with("[pool]\nsize = 1")
    });
    stage.seed("create schema other authorization app; create table other.hidden as select 7 as a; create table t as select 1 as a");
    stage
}

/// A setting as it is on the primary and on a replica.
fn both(client: &mut Wire, setting: &str) -> [String; 2] {
    let show = format!("show {setting}");
    client.run("begin");
    let primary = client.one(&show);
    client.run("commit; begin read only");
    let replica = client.one(&show);
    client.run("commit");
    [primary, replica]
}

#[test]
fn parameters_hold_on_every_node() {
    let stage = single("parameters");
    let cases = [
        (
            "application_name",
            "my app; 'quoted' \"x\"",
            "application_name",
            "my app; 'quoted' \"x\"",
        ),
        (
            "search_path",
            "other, public",
            "search_path",
            "other, public",
        ),
        ("TimeZone", "Asia/Tokyo", "timezone", "Asia/Tokyo"),
        ("datestyle", "German", "datestyle", "German, DMY"),
        ("client_encoding", "latin1", "client_encoding", "latin1"),
        ("work_mem", "7MB", "work_mem", "7MB"),
        ("app.tenant", "blue", "app.tenant", "blue"),
        ("extra_float_digits", "0", "extra_float_digits", "0"),
        ("statement_timeout", "45s", "statement_timeout", "45s"),
        ("options", "-c geqo=off", "geqo", "off"),
        ("options", "-c app.a='x' --work_mem=9MB", "work_mem", "9MB"),
        (
            "options",
            "-c app.words=two\\ words -c statement_timeout=33s",
            "app.words",
            "two words",
        ),
        ("options", "-c app.back=a\\\\b", "app.back", "a\\b"),
        (
            "options",
            "  -csearch_path=other\t--enable-seqscan=off ",
            "enable_seqscan",
            "off",
        ),
    ];
    for (name, value, setting, expected) in cases {
        let mut client = stage.client_with(&[(name, value)]);
        let [primary, replica] = both(&mut client, setting);
        let same = |shown: &str| shown.eq_ignore_ascii_case(expected);
        assert!(
            same(&primary),
            "{name}={value} on the primary: {setting} is {primary}"
        );
        assert!(
            same(&replica),
            "{name}={value} on a replica: {setting} is {replica}"
        );
        let direct = pgconvoy_tests::shared::cluster().nodes[0].port;
        let who = [
            ("user", "app"),
            ("database", stage.database.as_str()),
            (name, value),
        ];
        let mut direct = Wire::login(direct, &who, None).unwrap();
        assert_eq!(
            primary,
            direct.one(&format!("show {setting}")),
            "{name}={value} as PostgreSQL takes it"
        );
    }
}

#[test]
fn clients_with_different_parameters_share_a_server_connection_without_mixing_them() {
    let stage = single("mixed");
    let zones = ["Asia/Tokyo", "Europe/Riga", "America/Lima"];
    let mut clients: Vec<Wire> = zones
        .iter()
        .map(|zone| {
            stage.client_with(&[
                ("TimeZone", zone),
                ("options", &format!("-c app.zone={zone}")),
            ])
        })
        .collect();
    let mut plain = stage.client();
    let default = plain.one("show timezone");
    for _ in 0..5 {
        for (client, zone) in clients.iter_mut().zip(zones) {
            assert_eq!(both(client, "timezone"), [zone, zone]);
            assert_eq!(client.one("select current_setting('app.zone')"), *zone);
            assert_eq!(client.parameters["TimeZone"], zone);
        }
        assert_eq!(
            both(&mut plain, "timezone"),
            [default.clone(), default.clone()]
        );
        assert_eq!(
            plain.one("select coalesce(current_setting('app.zone', true), '')"),
            ""
        );
    }
}

#[test]
fn search_path_decides_what_a_name_means() {
    let stage = single("search_path");
    let mut inside = stage.client_with(&[("search_path", "other")]);
    let mut outside = stage.client();
    for _ in 0..4 {
        assert_eq!(inside.one("select a from hidden"), "7");
        assert_eq!(
            inside.execute("select a from hidden", &[]).unwrap()[0][0].as_deref(),
            Some("7")
        );
        assert_eq!(outside.fails("select a from hidden").code, "42P01");
        assert_eq!(
            outside
                .execute("select a from hidden", &[])
                .unwrap_err()
                .code,
            "42P01"
        );
    }
}

#[test]
fn parameters_that_cannot_be_are_refused_as_postgresql_does() {
    let stage = single("bad_parameters");
    for (name, value, code) in [
        ("TimeZone", "Nowhere/Land", "22023"),
        ("no_such_setting", "1", "42704"),
        ("options", "-c work_mem=lots", "22023"),
        ("client_encoding", "klingon", "22023"),
    ] {
        let who = [
            ("user", "app"),
            ("database", stage.database.as_str()),
            (name, value),
        ];
        let result = Wire::login(stage.convoy.port, &who, None)
            .and_then(|mut wire| wire.query("select 1").map(|_| ()));
        assert_eq!(result.unwrap_err().code, code, "{name}={value}");
    }
    assert_eq!(stage.client().one("select 1"), "1");
}

#[test]
fn application_name_is_seen_in_the_servers_activity() {
    let stage = single("activity");
    let mut client = stage.client_with(&[("application_name", "billing")]);
    client.run("begin");
    stage.wait_activity("application_name = 'billing'", 1);
    client.run("commit");
}

#[test]
fn defaults_of_the_role_and_the_database_hold() {
    let stage = single("role_defaults");
    let mut admin = stage.direct(0);
    let database = &stage.database;
    admin.run(&format!(
        "create role tuned_{database} login; alter role tuned_{database} set work_mem = '11MB'"
    ));
    admin.run(&format!(
        "alter database {database} set app.kind = 'database default'"
    ));
    stage.settle();
    let mut client = stage
        .convoy
        .connect(&format!("tuned_{database}"), database)
        .unwrap();
    assert_eq!(both(&mut client, "work_mem"), ["11MB", "11MB"]);
    assert_eq!(
        both(&mut client, "app.kind"),
        ["database default", "database default"]
    );
}

/// What RESET and its like must leave in a session that keeps its server connection: as direct, the values of the
/// client's startup; and what the session has set otherwise stays.
fn resets_go_back_to_the_startup(mut client: Wire) {
    client.run("set work_mem = '5MB'; set lock_timeout = '3s'");
    client.run("set datestyle = 'Postgres'");
    client.run("reset datestyle");
    assert_eq!(client.one("show datestyle"), "German, DMY");
    assert_eq!(client.parameters["DateStyle"], "German, DMY");
    assert_eq!(client.one("show lock_timeout"), "3s");
    client.run("set app.tenant = 'red'");
    client.run("reset work_mem");
    assert_eq!(client.one("show work_mem"), "7MB");
    assert_eq!(client.one("show app.tenant"), "red");
    client.run("begin");
    client.run("reset app.tenant");
    client.run("set transaction isolation level repeatable read");
    assert_eq!(client.one("show app.tenant"), "blue", "in the transaction");
    client.run("commit");
    assert_eq!(client.one("show app.tenant"), "blue");
    for all in ["reset all", "discard all"] {
        client.run("set work_mem = '5MB'; set lock_timeout = '3s'");
        client.run(all);
        assert_eq!(client.one("show work_mem"), "7MB", "{all}");
        assert_eq!(client.one("show datestyle"), "German, DMY", "{all}");
        assert_eq!(client.one("show app.tenant"), "blue", "{all}");
        assert_eq!(client.one("show lock_timeout"), "0", "{all}");
        assert_eq!(client.parameters["DateStyle"], "German, DMY", "{all}");
    }
    // A reset that did not happen gives nothing back.
    client.run("set datestyle = 'SQL'");
    client.fails("reset no_such_parameter");
    client.run("begin");
    client.fails("select 1/0");
    client.fails("reset datestyle");
    client.run("rollback");
    assert_eq!(client.one("show datestyle"), "SQL, DMY");
}

const STARTUP: [(&str, &str); 3] = [
    ("datestyle", "German"),
    ("work_mem", "7MB"),
    ("app.tenant", "blue"),
];

#[test]
fn reset_goes_back_to_the_startup() {
    let stage = single("reset_startup");
    resets_go_back_to_the_startup(stage.client_with(&STARTUP));
    let mut pinned = stage.client_with(&STARTUP);
    pinned.run("create temp table keeps_it_here ()");
    resets_go_back_to_the_startup(pinned);
}

#[test]
fn reset_in_session_mode_goes_back_to_the_startup() {
    let stage = Stage::with("reset_session", |setup| {
        setup.with("[pool]\nmode = \"session\"")
    });
    resets_go_back_to_the_startup(stage.client_with(&STARTUP));
}

#[test]
fn kept_session_whose_startup_parameters_cannot_be_given_back_ends_with_a_word() {
    let stage = Stage::with("reset_refused", |setup| {
        setup.with("[pool]\nmode = \"session\"\nsize = 1")
    });
    let parameters = [
        ("user", "postgres"),
        ("database", stage.database.as_str()),
        ("log_min_duration_statement", "1h"),
    ];
    let mut client = Wire::login(stage.convoy.port, &parameters, None).unwrap();
    assert_eq!(client.one("show log_min_duration_statement"), "1h");
    client.run("set role app");
    // RESET ALL asks for no right, but setting a superuser's parameter does.
    client.run("reset all");
    let error = client.fails("select 1");
    assert_eq!(error.code, "57P01");
    assert!(
        error.fields[&'D'].contains("permission denied"),
        "{error:?}"
    );
    // Another session gets a server connection without a trace of it.
    let mut other = stage.client();
    assert_eq!(other.one("select current_user"), "app");
    assert_eq!(other.one("show log_min_duration_statement"), "-1");
}
