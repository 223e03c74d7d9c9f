//! The admin console: what its tables say is true.

use crate::console::{COLUMNS, console};
use pgconvoy_tests::show::{self, Table};
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wait;
use pgconvoy_tests::wire::{Batch, Wire};

fn of<'a>(
    table: &'a Table,
    column: &str,
    value: &str,
) -> &'a std::collections::BTreeMap<String, String> {
    let found = table.iter().find(|row| row[column] == value);
    found.unwrap_or_else(|| panic!("no {column} = {value}: {table:?}"))
}

#[test]
fn pools_tell_who_is_active_and_who_waits() {
    let stage = Stage::with("console_pools", |setup| setup.with("[pool]\nsize = 1"));
    let mut console = console(&stage);
    let (mut holder, mut waiter) = (stage.client(), stage.client());
    holder.run("begin; select 1");
    let pool = of(
        &show::table(&mut console, "show pools"),
        "database",
        &stage.database,
    )
    .clone();
    assert_eq!(
        (pool["user"].as_str(), pool["pool_mode"].as_str()),
        ("app", "transaction")
    );
    assert_eq!(
        (pool["cl_active"].as_str(), pool["sv_active"].as_str()),
        ("2", "1")
    );
    waiter.send(Batch::new().query("begin; select 1").bytes());
    wait::until("one client waits", wait::SOON, || {
        let pool = of(
            &show::table(&mut console, "show pools"),
            "database",
            &stage.database,
        )
        .clone();
        let wait: u64 = pool["maxwait_us"].parse().unwrap();
        (pool["cl_active"].as_str(), pool["cl_waiting"].as_str()) == ("1", "1") && wait > 0
    });
    let clients = show::table(&mut console, "show clients");
    let waiting = of(&clients, "state", "waiting");
    assert_eq!(waiting["link"], "");
    assert_eq!(waiting["id"], waiter.key.0.to_string());
    assert!(waiting["wait_us"].parse::<u64>().unwrap() > 0);
    holder.run("commit");
    waiter.until_ready();
    waiter.run("commit");
    wait::until("nobody waits", wait::SOON, || {
        let pool = of(
            &show::table(&mut console, "show pools"),
            "database",
            &stage.database,
        )
        .clone();
        (pool["cl_waiting"].as_str(), pool["maxwait_us"].as_str()) == ("0", "0")
            && pool["sv_active"] == "0"
    });
}

#[test]
fn clients_and_servers_tell_of_each_other() {
    let stage = Stage::new("console_links");
    let mut console = console(&stage);
    let mut client = stage.client_with(&[("application_name", "first")]);
    let batch = Batch::new()
        .parse("a", "select 1")
        .parse("b", "select 2")
        .sync();
    client.ask(&batch);
    client.run("begin");
    let pid = client.one("select pg_backend_pid()");
    let clients = show::table(&mut console, "show clients");
    let mine = of(&clients, "id", &client.key.0.to_string());
    let servers = show::table(&mut console, "show servers");
    let server = of(&servers, "remote_pid", &pid);
    assert_eq!(
        (&mine["link"], &server["link"]),
        (&server["ptr"], &mine["ptr"])
    );
    for (column, value) in [
        ("type", "C"),
        ("user", "app"),
        ("database", &stage.database),
        ("state", "active"),
        ("addr", "127.0.0.1"),
        ("application_name", "first"),
        ("prepared_statements", "2"),
        ("pinned", ""),
        ("tls", ""),
    ] {
        assert_eq!(mine[column], value, "{column}");
    }
    assert_eq!(mine["local_port"], stage.convoy.port.to_string());
    let port = pgconvoy_tests::shared::cluster().nodes[0].port.to_string();
    for (column, value) in [
        ("type", "S"),
        ("state", "active"),
        ("port", &port),
        ("application_name", "first"),
        ("node", &format!("127.0.0.1:{port}")),
        ("close_needed", "0"),
    ] {
        assert_eq!(server[column], value, "{column}");
    }
    client.run("commit; set application_name = 'second'");
    client.run("listen x");
    let clients = show::table(&mut console, "show clients");
    let mine = of(&clients, "id", &client.key.0.to_string());
    assert_eq!(mine["application_name"], "second");
    assert_eq!(mine["pinned"], "listen");
    client.run("unlisten x");
    wait::until("the pin is given back", wait::SOON, || {
        let clients = show::table(&mut console, "show clients");
        of(&clients, "id", &client.key.0.to_string())["pinned"].is_empty()
    });
    let id = client.key.0.to_string();
    client.close();
    wait::until("it is gone, and its server idle", wait::SOON, || {
        let gone = show::table(&mut console, "show clients")
            .iter()
            .all(|row| row["id"] != id);
        let servers = show::table(&mut console, "show servers");
        gone && servers
            .iter()
            .all(|s| s["state"] == "idle" && s["link"].is_empty())
    });
}

#[test]
fn stats_count_what_was_done() {
    let stage = Stage::new("console_stats");
    let mut console = console(&stage);
    let mut client = stage.client();
    client.run("create table t (a int)");
    client.run("begin");
    client.run("insert into t values (1)");
    client.run("select pg_sleep(0.05)");
    client.run("commit");
    for _ in 0..3 {
        client.execute("insert into t values ($1)", &["2"]).unwrap();
    }
    let stats = |console: &mut Wire| {
        let table = show::table(console, "show stats");
        let row = of(&table, "database", &stage.database).clone();
        move |column: &str| row[column].parse::<u64>().unwrap()
    };
    wait::until("the last is counted", wait::SOON, || {
        stats(&mut console)("total_xact_count") == 5
    });
    let figure = stats(&mut console);
    for (column, value) in [
        ("total_client_login_count", 1),
        ("total_server_assignment_count", 5),
        ("total_query_count", 8),
        ("total_client_parse_count", 3),
        ("total_server_parse_count", 1),
        ("total_bind_count", 3),
    ] {
        assert_eq!(figure(column), value, "{column}");
    }
    assert!(figure("total_query_time") >= 50_000);
    assert!(figure("total_xact_time") > figure("total_query_time") / 2);
    assert!(figure("total_received") > 200 && figure("total_sent") > 200);
    let totals = show::table(&mut console, "show totals");
    assert_eq!(of(&totals, "name", "total_query_count")["value"], "8");
    assert_eq!(
        of(&totals, "name", "avg_query_count")["value"],
        "0",
        "no minute yet"
    );
    let halves = show::table(&mut console, "show stats_totals");
    assert_eq!(of(&halves, "database", &stage.database)["bind_count"], "3");
}

#[test]
fn databases_users_lists_and_config_tell_the_settings_without_secrets() {
    let stage = Stage::with("console_settings", |setup| {
        setup.with(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\nadmin = true\npool_size = 7\n\
             [[user]]\nname = \"other\"\npassword = \"hidden-word\"\npool_mode = \"session\"\n\
             [[database]]\nname = \"nick\"\ntarget = \"postgres\"\npool_size = 3\n",
        )
    });
    let mut console = console(&stage);
    let _client = stage.client();
    let databases = show::table(&mut console, "show databases");
    let nick = of(&databases, "name", "nick");
    assert_eq!(
        (nick["database"].as_str(), nick["pool_size"].as_str()),
        ("postgres", "3")
    );
    let own = of(&databases, "name", &stage.database);
    assert_eq!(own["current_client_connections"], "1");
    assert_eq!(own["host"], "127.0.0.1");
    let users = show::table(&mut console, "show users");
    assert_eq!(of(&users, "name", "app")["pool_size"], "7");
    // The console's own clients count against no limit.
    assert_eq!(of(&users, "name", "app")["current_client_connections"], "1");
    assert_eq!(of(&users, "name", "other")["pool_mode"], "session");
    let lists = show::table(&mut console, "show lists");
    assert_eq!(of(&lists, "list", "used_clients")["items"], "2");
    assert_eq!(of(&lists, "list", "users")["items"], "2");
    let config = show::table(&mut console, "show config");
    assert_eq!(of(&config, "key", "pool.size")["default"], "20");
    assert_eq!(of(&config, "key", "pool.size")["changeable"], "yes");
    assert_eq!(of(&config, "key", "workers")["changeable"], "no");
    assert_eq!(
        of(&config, "key", "user[other].password")["value"],
        "********"
    );
    let memory = show::table(&mut console, "show mem");
    let client = of(&memory, "name", "client");
    let number = |column: &str| client[column].parse::<u64>().unwrap();
    assert_eq!(number("used"), 2);
    assert_eq!(number("memtotal"), 2 * number("size"));
    for (command, _) in COLUMNS {
        let shown = format!("{:?}", console.run(&format!("show {command}")));
        assert!(!shown.contains("hidden-word"), "{command}");
    }
}

/// The fields of one row, by their columns.
fn fields<const N: usize>(
    console: &mut Wire,
    command: &str,
    row: (&str, &str),
    columns: [&str; N],
) -> [String; N] {
    let table = show::table(console, command);
    let row = of(&table, row.0, row.1);
    columns.map(|column| row[column].clone())
}

const LIMITED: &str = "\
    [[user]]\nname = \"app\"\nauth = \"trust\"\nadmin = true\nreserve_size = 3\n\
    [[user]]\nname = \"other\"\nauth = \"trust\"\nmax_server_connections = 7\n\
    max_client_connections = 4\n\
    [[user]]\nname = \"third\"\nauth = \"trust\"\nmax_server_connections = \"off\"\n";

#[test]
fn users_show_their_limits_and_what_counts_against_them() {
    let limits = |of_all: u32| {
        format!(
            "{LIMITED}[routing]\nsplit_reads = false\n[limits]\nmax_user_server_connections = {of_all}\n\
             max_user_client_connections = 5"
        )
    };
    let stage = Stage::with("figures_users", |setup| setup.with(&limits(9)));
    let mut console = console(&stage);
    let mut clients = [(); 3].map(|()| stage.convoy.connect("other", &stage.database).unwrap());
    for client in &mut clients[..2] {
        client.run("begin; select 1");
    }
    let mut figures = |name: &str| {
        let columns = [
            "reserve_pool_size",
            "max_user_connections",
            "current_connections",
            "max_user_client_connections",
            "current_client_connections",
        ];
        fields(&mut console, "show users", ("name", name), columns)
    };
    // An administrator has a cap, and is let in whatever the limit.
    assert_eq!(figures("app"), ["3", "9", "0", "0", "0"]);
    assert_eq!(figures("other"), ["", "7", "2", "4", "3"]);
    assert_eq!(figures("third"), ["", "0", "0", "5", "0"]);
    let [first, ..] = clients;
    first.close();
    wait::until("a client less", wait::SOON, || figures("other")[4] == "2");
    stage.convoy.reload(|setup| setup.with(&limits(11)));
    wait::until("the new cap is shown", wait::SOON, || {
        figures("app")[1] == "11"
    });
}

#[test]
fn databases_show_their_limits_and_what_counts_against_them() {
    let stage = Stage::with("figures_databases", |setup| {
        setup.with(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\nadmin = true\n\
             [[user]]\nname = \"other\"\nauth = \"trust\"\n\
             [[database]]\nname = \"nick\"\ntarget = \"postgres\"\nreserve_size = 2\nmin_idle = 1\n\
             max_server_connections = 12\nmax_client_connections = 3\n\
             [pool]\nreserve_size = 1\n[routing]\nsplit_reads = false\n[limits]\n\
             max_database_server_connections = 8\nmax_database_client_connections = 6",
        )
    });
    let mut console = console(&stage);
    let mut clients = [(); 2].map(|()| stage.client());
    for client in &mut clients {
        client.run("begin; select 1");
    }
    let _nick = stage.convoy.connect("other", "nick").unwrap();
    let mut figures = |name: &str| {
        let columns = [
            "min_pool_size",
            "reserve_pool_size",
            "max_connections",
            "current_connections",
            "max_client_connections",
            "current_client_connections",
        ];
        fields(&mut console, "show databases", ("name", name), columns)
    };
    assert_eq!(figures(&stage.database), ["0", "1", "8", "2", "6", "2"]);
    // Kept warm: two users on three nodes.
    wait::until("connections of nick", wait::SOON, || {
        figures("nick") == ["1", "2", "12", "6", "3", "1"]
    });
}

#[test]
fn connections_of_the_reserve_and_those_closed_for_a_cap_are_shown() {
    let stage = Stage::with("figures_reserve", |setup| {
        setup.with(
            "[pool]\nsize = 1\nreserve_size = 1\nreserve_timeout = \"100ms\"\n\
             [routing]\nsplit_reads = false\n[limits]\nmax_server_connections = 2",
        )
    });
    let mut console = console(&stage);
    let mut clients = [(); 2].map(|()| stage.client());
    let mut figures = || {
        let mut item = |list| {
            let [items] = fields(&mut console, "show lists", ("list", list), ["items"]);
            items
        };
        let lists = [item("reserve_servers"), item("closed_for_caps")];
        let pool = ("database", stage.database.as_str());
        let [reserve] = fields(&mut console, "show pools", pool, ["sv_reserve"]);
        (reserve, lists)
    };
    let shown = |n: &str, closed: &str| (n.to_owned(), [n, closed].map(str::to_owned));
    assert_eq!(figures(), shown("0", "0"));
    for client in &mut clients {
        client.run("begin; select 1");
    }
    assert_eq!(figures(), shown("1", "0"));
    for client in &mut clients {
        client.run("commit");
    }
    wait::until("the reserve is closed", wait::SOON, || {
        figures() == shown("0", "0")
    });
    let mut others =
        ["template1", "postgres"].map(|database| stage.convoy.connect("app", database).unwrap());
    for other in &mut others {
        other.run("select 1");
    }
    wait::until("one made room", wait::SOON, || figures() == shown("0", "1"));
    let key = ("key", "limits.max_server_connections");
    let config = fields(&mut console, "show config", key, ["value", "default"]);
    assert_eq!(config, ["2", "off"]);
}
