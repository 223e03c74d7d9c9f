//! Bad files and the exact lines that they give.

use super::problems;

const NODE: &str = "[[node]]\naddress = \"h:5432\"\n";

fn with_node(text: &str) -> Vec<String> {
    problems(&format!("{text}\n{NODE}"), &[])
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    let table = [
        (
            "[pool]\nsise = 5",
            "t.toml:2: pool.sise: unknown key; did you mean \"pool.size\"?",
        ),
        (
            "lisen = 5",
            "t.toml:1: lisen: unknown key; did you mean \"listen\"?",
        ),
        (
            "[pol]\nsize = 5",
            "t.toml:1: pol: unknown key; did you mean \"pool\"?",
        ),
        (
            "[limits]\nmax_client_conn = 5",
            "t.toml:2: limits.max_client_conn: unknown key; \
             did you mean \"limits.max_client_connections\"?",
        ),
        (
            "[pool]\nqwertyuiop = 5",
            "t.toml:2: pool.qwertyuiop: unknown key",
        ),
        ("\"a\\nb\" = 5", "t.toml:1: a\\nb: unknown key"),
    ];
    for (text, line) in table {
        assert_eq!(with_node(text), [line], "{text}");
    }
}

#[test]
fn the_consoles_names_are_no_databases() {
    for name in ["pgconvoy", "pgbouncer"] {
        assert_eq!(
            with_node(&format!("[[database]]\nname = \"{name}\"")),
            [format!(
                "t.toml:2: database.name: \"{name}\" is the admin console's; \
                 give another name, with target = \"{name}\""
            )]
        );
    }
    assert!(with_node("[[database]]\nname = \"x\"\ntarget = \"pgbouncer\"").is_empty());
}

#[test]
fn bad_values_say_what_is_allowed() {
    let table = [
        (
            "pool.mode = \"sesion\"",
            "t.toml:1: pool.mode: \"sesion\" is not a pool mode; \
             allowed: \"session\", \"transaction\", \"statement\"; did you mean \"session\"?",
        ),
        (
            "pool.size = 0",
            "t.toml:1: pool.size: 0 is out of range; allowed: a whole number from 1 to 100000",
        ),
        (
            "pool.size = \"20\"",
            "t.toml:1: pool.size: a number is written without quotes",
        ),
        (
            "pool.size = 1.5",
            "t.toml:1: pool.size: a number with a fraction does not fit here; \
             allowed: a whole number from 1 to 100000",
        ),
        (
            "pool.connect_timeout = \"5m\"",
            "t.toml:1: pool.connect_timeout: \"m\" is not a unit of a duration; \
             allowed: ms, s, min, h, d; did you mean \"min\"?",
        ),
        (
            "pool.connect_timeout = 5",
            "t.toml:1: pool.connect_timeout: 5 has no unit; \
             allowed: a number with a unit: ms, s, min, h, d",
        ),
        (
            "pool.connect_timeout = \"0\"",
            "t.toml:1: pool.connect_timeout: too short; allowed: at least 1ms",
        ),
        (
            "drain_timeout = \"9999d\"",
            "t.toml:1: drain_timeout: too long; allowed: at most 366d",
        ),
    ];
    for (text, line) in table {
        assert_eq!(with_node(text), [line], "{text}");
    }
}

#[test]
fn bad_sizes_flags_and_addresses_say_what_is_allowed() {
    let table = [
        (
            "routing.max_replica_lag = \"16Mb\"",
            "t.toml:1: routing.max_replica_lag: \"Mb\" is not a unit of a size; allowed: \
             B, kB, MB, GB, TB, KiB, MiB, GiB, TiB (steps of 1024); did you mean \"MB\"?",
        ),
        (
            "routing.split_reads = \"yes\"",
            "t.toml:1: routing.split_reads: a string does not fit here; allowed: true, false",
        ),
        (
            "pool.server_lifetime_jitter = \"110%\"",
            "t.toml:1: pool.server_lifetime_jitter: not a percentage; allowed: 0% to 100%",
        ),
        (
            "log.level = \"inof\"",
            "t.toml:1: log.level: \"inof\" is not a log level; allowed: off, error, warn, info, \
             debug, trace, or target=level,…; did you mean \"info\"?",
        ),
        (
            "listen = \"localhost:5430\"",
            "t.toml:1: listen: \"localhost:5430\" is not an address to listen on; \
             allowed: an IP address and port, such as \"127.0.0.1:5430\"",
        ),
        (
            "listen = [\"127.0.0.1:5430\", \"127.0.0.1:5430\"]",
            "t.toml:1: listen: 127.0.0.1:5430 is given twice",
        ),
        (
            "monitor.user = \"\"",
            "t.toml:1: monitor.user: must not be empty",
        ),
    ];
    for (text, line) in table {
        assert_eq!(with_node(text), [line], "{text}");
    }
}

#[test]
fn bad_node_addresses_are_refused() {
    let bad = [
        "h", "h:", ":5432", "h:0", "h:65536", "::1:5432", "[::1]", "a b:5432",
    ];
    for address in bad {
        assert_eq!(
            problems(&format!("[[node]]\naddress = {address:?}"), &[]),
            [format!(
                "t.toml:2: node.address: {address:?} is not a node's address; \
                 allowed: host:port, such as \"10.0.0.11:5432\" or \"[::1]:5432\""
            )],
        );
    }
}

#[test]
fn a_url_in_the_place_of_an_address_is_not_repeated() {
    assert_eq!(
        problems(
            "[[node]]\naddress = \"postgres://app:hunter2@h:5432/app\"",
            &[]
        ),
        [
            "t.toml:2: node.address: is no URL; only host and port stand here; \
          allowed: host:port, such as \"10.0.0.11:5432\" or \"[::1]:5432\""
        ]
    );
}

#[test]
fn sections_in_the_wrong_brackets_are_told_apart() {
    assert_eq!(
        problems("[node]\naddress = \"h:5432\"", &[]),
        ["t.toml:1: node: is a section; write [[node]]"]
    );
    assert_eq!(
        with_node("[[pool]]"),
        ["t.toml:1: pool: is a section; write [pool]"]
    );
    assert_eq!(
        with_node("pool = 5"),
        ["t.toml:1: pool: is a section; write [pool]"]
    );
    assert_eq!(
        problems("node = [\"h:5432\"]", &[]),
        ["t.toml:1: node: is a section; write [[node]]"]
    );
}

#[test]
fn every_problem_is_told_at_once_in_line_order() {
    let text = "listen = \"nowhere\"\n[pool]\nsise = 1\nmode = \"x\"\n[[node]]\n\
        address = \"h\"\nwieght = 2\n[[user]]\npassword = \"x\"\n[limits]\nquery_timeout = \"5\"\n";
    let expected = [
        "t.toml:1: listen: \"nowhere\" is not an address to listen on; \
         allowed: an IP address and port, such as \"127.0.0.1:5430\"",
        "t.toml:3: pool.sise: unknown key; did you mean \"pool.size\"?",
        "t.toml:4: pool.mode: \"x\" is not a pool mode; allowed: \"session\", \"transaction\", \"statement\"",
        "t.toml:6: node.address: \"h\" is not a node's address; \
         allowed: host:port, such as \"10.0.0.11:5432\" or \"[::1]:5432\"",
        "t.toml:7: node.wieght: unknown key; did you mean \"node.weight\"?",
        "t.toml:8: user.name: is missing; add name = …",
        "t.toml:11: limits.query_timeout: 5 has no unit; \
         allowed: a whole number with a unit: ms, s, min, h, d",
        "env PGCONVOY_POOL_SISE: unknown setting; did you mean \"PGCONVOY_POOL_SIZE\"?",
    ];
    assert_eq!(problems(text, &[("PGCONVOY_POOL_SISE", "5")]), expected);
}

#[test]
fn broken_syntax_names_its_line_and_never_its_content() {
    let lines = problems(
        "listen = \"127.0.0.1:5430\"\n[[user]]\npassword = \"hunter2\n",
        &[],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("t.toml:3: syntax error: "),
        "{lines:?}"
    );
    assert!(!lines[0].contains("hunter2"), "{lines:?}");
    let twice = problems("workers = 1\nworkers = 2\n", &[]);
    assert_eq!(twice, ["t.toml:2: syntax error: duplicate key"]);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let table = [
        (
            "[pool]\nsize = 2\nmin_idle = 3",
            "t.toml:3: pool.min_idle: 3 is more than pool.size, which is 2",
        ),
        (
            "[pool]\nmin_idle = 3\n[limits]\nmax_server_connections = 2",
            "t.toml:2: pool.min_idle: 3 is more than limits.max_server_connections, which is 2",
        ),
        (
            "[pool]\nreserve_size = 1\nquery_wait_timeout = \"5s\"",
            "t.toml:3: pool.reserve_timeout: the reserve is never opened: \
             nobody waits longer than pool.query_wait_timeout",
        ),
        (
            "[[database]]\nname = \"a\"\npool_size = 4\nmin_idle = 5",
            "t.toml:4: database.min_idle: 5 is more than this database's pools may have, 4",
        ),
        (
            "[limits]\nmax_client_connections = 1",
            "t.toml:2: limits.reserved_admin_connections: \
             1 leaves none of limits.max_client_connections, which is 1, to others",
        ),
        (
            "http.listen = \"127.0.0.1:5430\"",
            "t.toml:1: http.listen: 127.0.0.1:5430 is also listen; \
             clients and HTTP need addresses of their own",
        ),
        (
            "[[user]]\nname = \"a\"",
            "t.toml:1: user.password: the user \"a\" has none, and its method is scram-sha-256; \
             add one, or auth = \"trust\"",
        ),
        (
            "[[user]]\nname = \"a\"\npassword = \"x\"\n[[user]]\nname = \"a\"\npassword = \"y\"",
            "t.toml:5: user.name: \"a\" is given twice, first at t.toml:2",
        ),
        (
            "[[database]]\nname = \"a\"\n[[database]]\nname = \"a\"",
            "t.toml:4: database.name: \"a\" is given twice, first at t.toml:2",
        ),
        (
            "[[node]]\naddress = \"H:5432\"",
            "t.toml:4: node.address: \"h:5432\" is given twice, first at t.toml:2",
        ),
        (
            "peer_id = 1\n[[peer]]\nid = 2\naddress = \"a:1\"\n[[peer]]\nid = 2\naddress = \"b:1\"",
            "t.toml:6: peer.id: \"2\" is given twice, first at t.toml:3",
        ),
        (
            "[replication]\nnode = \"standby\"",
            "t.toml:2: replication.node: \"standby\" is no node; \
             write \"primary\", \"replica\" or a node's name or address",
        ),
        (
            "[[peer]]\nid = 2\naddress = \"a:1\"",
            "t.toml: peer_id: is needed beside [[peer]]: cancel keys name this instance by it",
        ),
        (
            "[auth]\nmethod = \"md5\"",
            "t.toml:2: auth.method: md5 has nobody to check, as no user is given; \
             add [[user]] with name and password",
        ),
    ];
    for (text, line) in table {
        assert_eq!(with_node(text), [line], "{text}");
    }
}

#[test]
fn a_refused_value_is_not_blamed_twice() {
    assert_eq!(with_node("[pool]\nsize = 0\nmin_idle = 30").len(), 1);
    assert_eq!(
        with_node("[[user]]\nname = \"a\"\npassword = { env = \"NOT_SET\" }").len(),
        1
    );
    assert_eq!(with_node("listen = \"nowhere\"").len(), 1);
}

#[test]
fn no_node_says_how_to_give_one() {
    let message = "node: no node is given; add [[node]] with address = \"host:5432\", \
        or --node host:5432, or PGCONVOY_NODES";
    assert_eq!(problems("", &[]), [format!("t.toml: {message}")]);
    let problems = super::load_without_file(&[], crate::Overrides::default()).unwrap_err();
    assert_eq!(problems.to_string(), format!("settings: {message}"));
}

#[test]
fn nobody_listed_is_open_on_loopback_only() {
    let open = super::load(NODE).settings;
    assert!(open.auth.open_access);
    assert_eq!(open.auth.method, crate::AuthMethod::Trust);
    let world = "t.toml:1: user: no user is given, and listen is not only loopback, so anybody \
        could log in; add [[user]] with name and password, or listen on 127.0.0.1";
    assert_eq!(with_node("listen = \"0.0.0.0:5430\""), [world]);
    assert_eq!(
        with_node("listen = [\"127.0.0.1:5430\", \"[::]:5430\"]"),
        [world]
    );
    assert_eq!(with_node("listen = \"[::ffff:10.0.0.1]:5430\""), [world]);
    assert!(with_node("listen = [\"127.0.0.2:5430\", \"[::1]:5430\"]").is_empty());
    let user = format!("{NODE}[[user]]\nname = \"a\"\npassword = \"x\"");
    assert!(!super::load(&user).settings.auth.open_access);
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let path = std::path::Path::new("/nonexistent/pgconvoy.toml");
    let sources = crate::Sources {
        file: Some(path),
        ..crate::Sources::default()
    };
    let problems = crate::Settings::load(&sources).unwrap_err().to_string();
    assert!(
        problems.starts_with("/nonexistent/pgconvoy.toml: the file cannot be read: No such file"),
        "{problems}"
    );
}

#[test]
fn a_cap_is_a_number_or_off_and_zero_is_off() {
    let cap = |text: &str| {
        let text =
            format!("[[node]]\naddress = \"h:1\"\n[limits]\nmax_server_connections = {text}");
        super::load(&text).settings.limits.max_server_connections
    };
    assert_eq!([cap("0"), cap("\"off\""), cap("7")], [None, None, Some(7)]);
    assert_eq!(
        with_node("[[user]]\nname = \"a\"\npassword = \"x\"\nmax_client_connections = -1"),
        [
            "t.toml:4: user.max_client_connections: -1 is out of range; \
          allowed: a whole number from 0 to 1000000, or \"off\""
        ]
    );
}

#[test]
fn reads_can_only_prefer_nodes_and_zones_that_there_are() {
    let node = "[[node]]\naddress = \"h:5432\"\nname = \"replica-1\"\nzone = \"eu-1a\"\n";
    let kinds = "write \"primary\", \"replica\" or a node's name or address";
    let table = [
        ("[[prefer]]\nnode = \"h:5432\"", vec![]),
        ("[[prefer]]\napplication = \"x*\"\nnode = \"replica-1\"\n[[prefer]]\nnode = \"replica\"", vec![]),
        (
            "[[prefer]]\nnode = \"replica-2\"",
            vec![format!("t.toml:6: prefer.node: \"replica-2\" is no node; {kinds}; did you mean \"replica-1\"?")],
        ),
        (
            "[[prefer]]\nuser = \"x\"",
            vec!["t.toml:5: prefer.node: is missing; add node = …".to_owned()],
        ),
        (
            "[routing]\nzone = \"eu-1b\"",
            vec!["t.toml:6: routing.zone: no node has zone = \"eu-1b\"; did you mean \"eu-1a\"?".to_owned()],
        ),
        ("[routing]\nzone = \"eu-1a\"", vec![]),
        (
            "[routing]\nbalance = \"least_conections\"",
            vec![
                "t.toml:6: routing.balance: \"least_conections\" is not a way to balance reads; allowed: \
                 \"round_robin\", \"least_connections\", \"least_latency\"; \
                 did you mean \"least_connections\"?"
                    .to_owned(),
            ],
        ),
        (
            "[routing]\nread_only_functions = [\"a.b.c\"]",
            vec![
                "t.toml:6: routing.read_only_functions: \"a.b.c\" is not a function's name; allowed: \
                 a list of names such as [\"lookup_*\", \"app.report\"]"
                    .to_owned(),
            ],
        ),
        ("[routing]\nwrite_functions = \"app.f\"", vec![]),
    ];
    for (text, lines) in table {
        assert_eq!(problems(&format!("{node}{text}\n"), &[]), lines, "{text}");
    }
}
