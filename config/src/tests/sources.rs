//! File, environment and flags: who wins, and what each may say.

use std::time::Duration;

use super::{load, load_with, load_without_file, problems, row};
use crate::{AuthMethod, LogFormat, Node, Overrides, PoolMode, ReadYourWrites, Settings, Sources};

fn addresses(settings: &Settings) -> Vec<String> {
    settings.nodes.iter().map(Node::address).collect()
}

#[test]
fn one_flag_is_enough_and_the_rest_is_default() {
    let flags = Overrides {
        nodes: vec!["h:5432".to_owned()],
        ..Overrides::default()
    };
    let settings = load_without_file(&[], flags).unwrap().settings;
    assert_eq!(addresses(&settings), ["h:5432"]);
    assert_eq!(settings.nodes[0].weight, 1);
    assert_eq!(settings.listen, ["127.0.0.1:5430".parse().unwrap()]);
    assert!((1..=4).contains(&settings.workers));
    assert_eq!(settings.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.pool.mode, PoolMode::Transaction);
    assert_eq!((settings.pool.size, settings.pool.min_idle), (20, 0));
    assert_eq!(settings.pool.query_wait_timeout, Duration::from_secs(120));
    assert_eq!(settings.pool.connect_timeout, Duration::from_secs(15));
    assert_eq!(
        settings.pool.server_idle_timeout,
        Some(Duration::from_secs(600))
    );
    assert_eq!(
        settings.pool.server_lifetime,
        Some(Duration::from_secs(3600))
    );
    assert_eq!(settings.pool.server_lifetime_jitter, 10);
    assert_eq!(settings.pool.prepared_statements, 200);
    assert_eq!(settings.limits.max_client_connections, 100);
    assert_eq!(
        settings.limits.client_login_timeout,
        Duration::from_secs(60)
    );
    assert_eq!(settings.limits.query_timeout, None);
    assert!(settings.routing.split_reads && !settings.routing.primary_reads);
    assert_eq!(settings.routing.read_your_writes, ReadYourWrites::Session);
    assert_eq!(settings.health.check_period, Duration::from_secs(1));
    assert_eq!(
        settings.http.listen,
        Some("127.0.0.1:9719".parse().unwrap())
    );
    assert_eq!(
        (settings.log.level.as_str(), settings.log.format),
        ("info", LogFormat::Text)
    );
}

#[test]
fn instances_share_a_file_and_have_their_numbers_from_the_environment() {
    let text = "[[node]]\naddress = \"h:1\"\n[[peer]]\nid = 1\naddress = \"a:5430\"\n\
                [[peer]]\nid = 2\naddress = \"b:5430\"\n";
    let variables = [
        ("PGCONVOY_PEER_ID", "2"),
        ("PGCONVOY_PEER_2_ID", "3"),
        ("PGCONVOY_PEER_2_ADDRESS", "[::1]:1"),
    ];
    let settings = load_with(text, &variables).unwrap().settings;
    assert_eq!(settings.peer_id, Some(2));
    let peers: Vec<_> = settings
        .peers
        .iter()
        .map(|p| (p.id, p.host.as_str(), p.port))
        .collect();
    assert_eq!(peers, [(1, "a", 5430), (2, "b", 5430), (3, "::1", 1)]);
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = "listen = \"127.0.0.1:1\"\n[pool]\nsize = 1\nmin_idle = 1\n[[node]]\n\
        address = \"file:1\"\n[http]\nlisten = \"127.0.0.1:2\"\n";
    let flags = Overrides {
        nodes: vec!["flag:1".to_owned(), "flag:2".to_owned()],
        listen: vec!["127.0.0.1:3".to_owned(), "127.0.0.1:4".to_owned()],
        http: Some("off".to_owned()),
    };
    let variables = [
        ("PGCONVOY_POOL_SIZE", "2"),
        ("PGCONVOY_LISTEN", "127.0.0.1:5"),
        ("PGCONVOY_NODES", "env:1,env:2"),
        ("PGCONVOY_HTTP_LISTEN", "127.0.0.1:6"),
    ];
    let from_env = load_with(file, &variables).unwrap();
    assert_eq!(addresses(&from_env.settings), ["env:1", "env:2"]);
    assert_eq!(
        row(&from_env, "pool.size"),
        ("2".into(), "env PGCONVOY_POOL_SIZE".into())
    );
    assert_eq!(
        row(&from_env, "pool.min_idle"),
        ("1".into(), "t.toml:4".into())
    );
    assert_eq!(
        row(&from_env, "pool.mode"),
        ("transaction".into(), "default".into())
    );

    let sources = Sources {
        file: None,
        env: super::env(&variables),
        flags,
    };
    let all = Settings::load_text("t.toml", file, &sources).unwrap();
    assert_eq!(addresses(&all.settings), ["flag:1", "flag:2"]);
    assert_eq!(all.settings.http.listen, None);
    assert_eq!(
        row(&all, "listen"),
        ("127.0.0.1:3,127.0.0.1:4".into(), "flag --listen".into())
    );
    assert_eq!(row(&all, "node[flag:2].address").1, "flag --node");
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let variables = [
        ("PGCONVOY_NODE_0_ADDRESS", "[::1]:5432"),
        ("PGCONVOY_NODE_0_WEIGHT", "3"),
        ("PGCONVOY_NODE_1_ADDRESS", "db-2.internal:5432"),
        ("PGCONVOY_NODE_1_NAME", "second"),
        ("PGCONVOY_USER_0_NAME", "app"),
        ("PGCONVOY_USER_0_PASSWORD", "x"),
        ("PGCONVOY_USER_0_ADMIN", "true"),
        ("PGCONVOY_USER_0_POOL_MODE", "session"),
        ("PGCONVOY_DATABASE_0_NAME", "app"),
        ("PGCONVOY_DATABASE_0_TARGET", "app_production"),
        ("PGCONVOY_LIMITS_MAX_CLIENT_CONNECTIONS", "5000"),
        ("PGCONVOY_LIMITS_QUERY_TIMEOUT", "5min"),
        ("PGCONVOY_ROUTING_SPLIT_READS", "off"),
        ("PGCONVOY_ROUTING_MAX_REPLICA_LAG", "16MiB"),
        ("PGCONVOY_POOL_SERVER_LIFETIME", "off"),
        ("PGCONVOY_AUTH_METHOD", "md5"),
        ("PGCONVOY_WORKERS", "3"),
        ("PGCONVOY_LISTEN", "0.0.0.0:5430,[::]:5430"),
        ("PGCONVOY_CONFIG", "/etc/pgconvoy.toml"),
        ("PGCONVOY_LOG_FORMAT", ""),
        ("HOME", "/root"),
    ];
    let settings = load_without_file(&variables, Overrides::default())
        .unwrap()
        .settings;
    assert_eq!(addresses(&settings), ["[::1]:5432", "db-2.internal:5432"]);
    assert_eq!(
        (settings.nodes[0].host.as_str(), settings.nodes[0].weight),
        ("::1", 3)
    );
    assert_eq!(settings.nodes[1].label(), "second");
    assert!(settings.users[0].admin);
    assert_eq!(settings.users[0].pool_mode, Some(PoolMode::Session));
    assert_eq!(
        settings.databases[0].target.as_deref(),
        Some("app_production")
    );
    assert_eq!(settings.limits.max_client_connections, 5000);
    assert_eq!(
        settings.limits.query_timeout,
        Some(Duration::from_secs(300))
    );
    assert!(!settings.routing.split_reads);
    assert_eq!(settings.routing.max_replica_lag, Some(16 << 20));
    assert_eq!(settings.pool.server_lifetime, None);
    assert_eq!(settings.auth.method, AuthMethod::Md5);
    assert_eq!(settings.workers, 3);
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.log.format, LogFormat::Text);
}

#[test]
fn an_indexed_name_overrides_one_key_of_the_files_element_or_adds_the_next() {
    let file = "[[node]]\naddress = \"a:1\"\nweight = 2\n[[node]]\naddress = \"b:1\"\n";
    let variables = [
        ("PGCONVOY_NODE_1_WEIGHT", "0"),
        ("PGCONVOY_NODE_2_ADDRESS", "c:1"),
    ];
    let loaded = load_with(file, &variables).unwrap();
    assert_eq!(addresses(&loaded.settings), ["a:1", "b:1", "c:1"]);
    let weights: Vec<u32> = loaded
        .settings
        .nodes
        .iter()
        .map(|node| node.weight)
        .collect();
    assert_eq!(weights, [2, 0, 1]);
    assert_eq!(
        row(&loaded, "node[b:1].weight").1,
        "env PGCONVOY_NODE_1_WEIGHT"
    );
}

#[test]
fn bad_variables_are_named() {
    let file = "[[node]]\naddress = \"h:5432\"\n";
    let table = [
        (
            "PGCONVOY_NODE_9_ADDRESS",
            "x:1",
            "env PGCONVOY_NODE_9_ADDRESS: index 9 leaves a gap; the next free one is 1",
        ),
        (
            "PGCONVOY_NODE_0_ADRESS",
            "x:1",
            "env PGCONVOY_NODE_0_ADRESS: unknown setting; \
             did you mean \"PGCONVOY_NODE_0_ADDRESS\"?",
        ),
        (
            "PGCONVOY_NODE",
            "x:1",
            "env PGCONVOY_NODE: unknown setting; did you mean \"PGCONVOY_NODES\"?",
        ),
        (
            "PGCONVOY_POOL_SIZE",
            "many",
            "env PGCONVOY_POOL_SIZE: pool.size: \"many\" is not a whole number; \
             allowed: a whole number from 1 to 100000",
        ),
        (
            "PGCONVOY_POOL_SIZE_FILE",
            "/x",
            "env PGCONVOY_POOL_SIZE_FILE: unknown setting; did you mean \"PGCONVOY_POOL_SIZE\"?",
        ),
        (
            "PGCONVOY_USER_0_PASSWORD",
            "x",
            "env PGCONVOY_USER_0_PASSWORD: user.name: is missing; add name = …",
        ),
    ];
    for (name, value, line) in table {
        assert_eq!(problems(file, &[(name, value)]), [line]);
    }
    let both = [
        ("PGCONVOY_MONITOR_PASSWORD", "x"),
        ("PGCONVOY_MONITOR_PASSWORD_FILE", "/x"),
    ];
    assert!(problems(file, &both)[0].contains("keep one"));
}

#[test]
fn what_kubernetes_sets_for_a_service_is_not_a_setting() {
    let variables = [
        ("PGCONVOY_SERVICE_HOST", "10.0.0.1"),
        ("PGCONVOY_SERVICE_PORT", "5430"),
        ("PGCONVOY_SERVICE_PORT_POSTGRES", "5430"),
        ("PGCONVOY_PORT", "tcp://10.0.0.1:5430"),
        ("PGCONVOY_PORT_5430_TCP", "tcp://10.0.0.1:5430"),
        ("PGCONVOY_PORT_5430_TCP_PROTO", "tcp"),
        ("PGCONVOY_METRICS_PORT_9719_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(problems("[[node]]\naddress = \"h:5432\"\n", &variables).is_empty());
}

#[test]
fn a_bad_flag_is_named() {
    let flags = Overrides {
        nodes: vec!["h".to_owned()],
        ..Overrides::default()
    };
    let problems = load_without_file(&[], flags).unwrap_err().to_string();
    assert!(
        problems.starts_with("flag --node: node.address: \"h\" is not"),
        "{problems}"
    );
}

#[test]
fn a_production_file_reads_as_it_is_written() {
    let text = "listen = \"0.0.0.0:5430\"\n\n[[node]]\naddress = \"10.0.0.11:5432\"\n[[node]]\n\
        address = \"10.0.0.12:5432\"\nweight = 2\n\n[[user]]\nname = \"app\"\n\
        password = { env = \"APP_PASSWORD\" }\n\n[monitor]\nuser = \"pgconvoy\"\n\
        password = { env = \"MONITOR_PASSWORD\" }\n";
    let variables = [("APP_PASSWORD", "x"), ("MONITOR_PASSWORD", "y")];
    let settings = load_with(text, &variables).unwrap().settings;
    assert_eq!(settings.monitor.user, "pgconvoy");
    assert_eq!(settings.nodes[1].weight, 2);
}

#[test]
fn off_and_zero_are_the_same_for_what_can_be_switched_off() {
    for off in ["\"off\"", "\"0\"", "0"] {
        let text = format!("pool.server_idle_timeout = {off}\n[[node]]\naddress = \"h:1\"");
        assert_eq!(load(&text).settings.pool.server_idle_timeout, None, "{off}");
    }
}
