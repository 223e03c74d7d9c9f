//! What a reload changes, and what it names as waiting for a restart.

use super::{load, row};
use crate::{Loaded, diff};

const BASE: &str = "listen = \"127.0.0.1:5430\"\n[[node]]\naddress = \"a:1\"\n[[node]]\n\
    address = \"b:1\"\n[[user]]\nname = \"app\"\npassword = \"old-secret\"\n[pool]\nsize = 20\n";

fn changed(from: &str, to: &str) -> Loaded {
    assert!(BASE.contains(from));
    load(&BASE.replace(from, to))
}

fn names(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

#[test]
fn a_change_is_live_or_waits_for_a_restart() {
    let table: &[(&str, &str, &[&str], &[&str])] = &[
        ("size = 20", "size = 20", &[], &[]),
        ("size = 20", "size = 30", &["pool.size"], &[]),
        ("old-secret", "new-secret", &["user[app].password"], &[]),
        ("\"app\"", "\"web\"", &["user[app]", "user[web]"], &[]),
        ("\"b:1\"", "\"b:1\"\nweight = 5", &["node[b:1].weight"], &[]),
        ("\"b:1\"", "\"c:1\"", &[], &["node[b:1]", "node[c:1]"]),
        (":5430", ":5431", &[], &["listen"]),
        (
            "[pool]",
            "[monitor]\npassword = \"x\"\n[pool]",
            &[],
            &["monitor.password"],
        ),
        (
            "[pool]",
            "[log]\nformat = \"json\"\nlevel = \"debug\"\n[pool]",
            &["log.level"],
            &["log.format"],
        ),
        (":5430\"", ":5430\"\npeer_id = 7", &[], &["peer_id"]),
        (
            "[pool]",
            "[replication]\nnode = \"b:1\"\n[limits]\nmax_replication_connections = 3\n[pool]",
            &["limits.max_replication_connections", "replication.node"],
            &[],
        ),
        (
            "[pool]",
            "[[database]]\nname = \"x\"\n[pool]",
            &["database[x]"],
            &[],
        ),
        (
            "[[node]]\naddress = \"a:1\"\n[[node]]\naddress = \"b:1\"",
            "[[node]]\n\
            address = \"b:1\"\n[[node]]\naddress = \"a:1\"",
            &[],
            &[],
        ),
    ];
    for (from, to, live, restart) in table {
        let changes = diff(&load(BASE), &changed(from, to));
        assert_eq!(names(&changes.live), *live, "{to}");
        assert_eq!(names(&changes.restart), *restart, "{to}");
        assert_eq!(changes.is_empty(), live.is_empty() && restart.is_empty());
    }
}

#[test]
fn a_reload_takes_what_is_live_and_keeps_the_rest() {
    let old = load(BASE);
    let new = load(
        "listen = \"127.0.0.1:9\"\nworkers = 7\n[[node]]\naddress = \"c:1\"\n[[node]]\n\
         address = \"b:1\"\nweight = 9\n[[user]]\nname = \"app\"\npassword = \"new\"\n\
         [pool]\nsize = 5\n[log]\nformat = \"json\"\nqueries = true\n[http]\nlisten = \"off\"\n",
    );
    let (running, changes) = old.reload(&new).unwrap();
    assert_eq!(running.settings.listen, old.settings.listen);
    assert_eq!(running.settings.workers, old.settings.workers);
    assert_eq!(running.settings.http, old.settings.http);
    assert_eq!(running.settings.log.format, old.settings.log.format);
    let nodes: Vec<_> = running
        .settings
        .nodes
        .iter()
        .map(|n| (n.address(), n.weight))
        .collect();
    assert_eq!(nodes, [("a:1".to_owned(), 1), ("b:1".to_owned(), 9)]);
    assert_eq!(running.settings.users, new.settings.users);
    assert_eq!(running.settings.pool.size, 5);
    assert!(running.settings.log.queries);
    assert!(names(&changes.restart).contains(&"node[c:1]"));
    // Another look at the same file finds the same left over, and nothing live.
    let again = diff(&running, &new);
    assert_eq!((again.live, again.restart), (Vec::new(), changes.restart));
}

#[test]
fn rows_after_a_reload_tell_what_holds() {
    let (running, _) = load(BASE)
        .reload(&changed(":5430", ":5431\"\n#\""))
        .unwrap();
    assert_eq!(
        row(&running, "listen"),
        ("127.0.0.1:5430".into(), "t.toml:1".into())
    );
    // Unchanged keys are shown where the new file has them.
    assert_eq!(
        row(&running, "pool.size"),
        ("20".into(), "t.toml:11".into())
    );
    let keys: Vec<String> = running.describe().into_iter().map(|row| row.key).collect();
    let before: Vec<String> = load(BASE)
        .describe()
        .into_iter()
        .map(|row| row.key)
        .collect();
    assert_eq!(keys, before);
}

#[test]
fn a_node_that_waits_for_a_restart_keeps_its_rows_together() {
    let new = load(
        "[[node]]\naddress = \"b:1\"\nweight = 3\n[[user]]\nname = \"app\"\n\
         password = \"x\"\n",
    );
    let (running, changes) = load(BASE).reload(&new).unwrap();
    assert_eq!(names(&changes.restart), ["node[a:1]"]);
    let rows = running.describe();
    let nodes: Vec<_> = rows
        .iter()
        .filter(|row| row.key.starts_with("node"))
        .collect();
    let shown: Vec<_> = nodes
        .iter()
        .map(|r| (r.key.as_str(), r.value.as_str()))
        .collect();
    let expected = [
        ("node[a:1].address", "a:1"),
        ("node[a:1].weight", "1"),
        ("node[a:1].max_server_connections", "off"),
        ("node[b:1].address", "b:1"),
        ("node[b:1].weight", "3"),
        ("node[b:1].max_server_connections", "off"),
    ];
    assert_eq!(shown, expected);
}

/// The new file alone is fine, as it also moves to loopback; but that part waits for a restart.
#[test]
fn a_reload_never_opens_an_address_that_is_not_loopback() {
    let old = load(&BASE.replace("127.0.0.1:5430", "0.0.0.0:5430"));
    let new = load("[[node]]\naddress = \"a:1\"\n");
    assert!(new.settings.auth.open_access);
    let problems = old.reload(&new).unwrap_err().to_string();
    assert!(
        problems.starts_with("t.toml:1: user: no user is given"),
        "{problems}"
    );
}
