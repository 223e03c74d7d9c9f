//! Settings against each other: what each key may hold alone, but not beside another.
//!
//! Must not read values. A key that was refused already is not blamed a second time.

use std::collections::BTreeMap;

use crate::keys;
use crate::problem::{Origin, Problem};
use crate::raw::{Element, Raw};
use crate::resolve::Draft;
use crate::secret::{Secret, SecretShape};
use crate::settings::{AuthMethod, CONSOLE_DATABASES, Named as _, Node, Settings, User};
use crate::suggest;

/// Finds what does not go together, and decides whether access is open.
pub(crate) fn check(draft: &mut Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    check_nodes(draft, raw, problems);
    check_users(draft, problems);
    check_databases(draft, problems);
    check_peers(draft, raw, problems);
    check_sizes(draft, raw, problems);
    check_replication(draft, raw, problems);
    check_reads(draft, raw, problems);
    check_monitor(draft, raw, problems);
    check_addresses(draft, raw, problems);
    check_access(draft, raw, problems);
}

/// Every client would come from this host.
pub(crate) fn listens_on_loopback_only(settings: &Settings) -> bool {
    settings
        .listen
        .iter()
        .all(|address| address.ip().to_canonical().is_loopback())
}

/// What to say when nobody is listed and clients could come from anywhere.
pub(crate) fn open_to_the_world(origin: &Origin) -> Problem {
    let message = "no user is given, and listen is not only loopback, so anybody could log in; \
        add [[user]] with name and password, or listen on 127.0.0.1";
    Problem::new(origin, "user", message)
}

fn check_nodes(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    if raw.list("node").is_empty() && !is_blamed("node", problems) {
        let message = "no node is given; add [[node]] with address = \"host:5432\", \
            or --node host:5432, or PGCONVOY_NODES";
        problems.push(Problem::new(&raw.whole, "node", message));
    }
    let named = draft.settings.nodes.iter().zip(&draft.nodes);
    let addresses = named
        .clone()
        .map(|(node, element)| (node.address().to_ascii_lowercase(), *element));
    refuse_twins(addresses, keys::NODE_ADDRESS.name, problems);
    let names = named.filter_map(|(node, element)| Some((node.name.clone()?, *element)));
    refuse_twins(names, keys::NODE_NAME.name, problems);
}

fn check_databases(draft: &Draft<'_>, problems: &mut Vec<Problem>) {
    let names = draft
        .settings
        .databases
        .iter()
        .map(|database| database.name.clone());
    refuse_twins(
        names.zip(draft.databases.iter().copied()),
        keys::DATABASE_NAME.name,
        problems,
    );
    for (database, element) in draft.settings.databases.iter().zip(&draft.databases) {
        if CONSOLE_DATABASES.contains(&database.name.as_str()) {
            let key = keys::DATABASE_NAME.name;
            let message = format!(
                "{:?} is the admin console's; give another name, with target = {:?}",
                database.name, database.name
            );
            problems.push(Problem::new(element.origin(key), key, message));
        }
    }
    let key = keys::DATABASE_MIN_IDLE.name;
    for (database, element) in draft.settings.databases.iter().zip(&draft.databases) {
        let size = database.pool_size.unwrap_or(draft.settings.pool.size);
        let cap = database.max_server_connections.flatten();
        let most = cap.map_or(size, |cap| cap.min(size));
        if let Some(idle) = database.min_idle.filter(|idle| *idle > most)
            && draft.sound_in(element, key)
        {
            let message = format!("{idle} is more than this database's pools may have, {most}");
            problems.push(Problem::new(element.origin(key), key, message));
        }
    }
}

/// Keys must name this instance before others can find it by them.
fn check_peers(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let ids = draft.settings.peers.iter().map(|peer| peer.id.to_string());
    refuse_twins(
        ids.zip(draft.peers.iter().copied()),
        keys::PEER_NUMBER.name,
        problems,
    );
    let (key, own) = (keys::PEER_ID.name, draft.settings.peer_id);
    if own.is_none() && !draft.peers.is_empty() && draft.sound(raw, key) {
        let message = "is needed beside [[peer]]: cancel keys name this instance by it";
        problems.push(Problem::new(raw.origin(key), key, message));
    }
}

/// The section was there, but could not be read as one.
fn is_blamed(section: &str, problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.key == section)
}

/// Each second element of the same name is a problem that tells where the first one is.
fn refuse_twins<'a>(
    named: impl Iterator<Item = (String, &'a Element)>,
    key: &str,
    problems: &mut Vec<Problem>,
) {
    let mut seen: BTreeMap<String, &Element> = BTreeMap::new();
    for (name, element) in named {
        if let Some(first) = seen.get(&name) {
            let message = format!("{name:?} is given twice, first at {}", first.origin(key));
            problems.push(Problem::new(element.origin(key), key, message));
        } else {
            seen.insert(name, element);
        }
    }
}

fn check_users(draft: &Draft<'_>, problems: &mut Vec<Problem>) {
    let names = draft.settings.users.iter().map(|user| user.name.clone());
    refuse_twins(
        names.zip(draft.users.iter().copied()),
        keys::USER_NAME.name,
        problems,
    );
    for (user, element) in draft.settings.users.iter().zip(&draft.users) {
        check_login(draft, user, element, problems);
        let key = keys::USER_SERVER_PASSWORD.name;
        refuse_verifier(
            user.server_password.as_ref(),
            element.origin(key),
            key,
            problems,
        );
    }
}

/// A user's method must be one that its secret can serve.
fn check_login(draft: &Draft<'_>, user: &User, element: &Element, problems: &mut Vec<Problem>) {
    let (password, auth) = (keys::USER_PASSWORD.name, keys::USER_AUTH.name);
    if !draft.sound_in(element, password) || !draft.sound_in(element, auth) {
        return;
    }
    let method = user.auth.unwrap_or(draft.settings.auth.method);
    let Some(secret) = &user.password else {
        if method != AuthMethod::Trust {
            let message = format!(
                "the user {:?} has none, and its method is {method}; add one, or auth = \"trust\"",
                user.name
            );
            problems.push(Problem::new(&element.origin, password, message));
        }
        return;
    };
    let (held, serves) = match (method, secret.shape()) {
        (AuthMethod::Md5, SecretShape::ScramVerifier) => {
            ("a SCRAM verifier", AuthMethod::ScramSha256)
        }
        (AuthMethod::ScramSha256, SecretShape::Md5) => ("an md5 hash", AuthMethod::Md5),
        (AuthMethod::Trust | AuthMethod::Password, _)
        | (_, SecretShape::Plaintext)
        | (AuthMethod::Md5, SecretShape::Md5)
        | (AuthMethod::ScramSha256, SecretShape::ScramVerifier) => return,
    };
    let message = format!(
        "{held} cannot serve the method {method}; use auth = \"{}\" for this user, \
        or a secret of the other kind",
        serves.name()
    );
    problems.push(Problem::new(element.origin(password), password, message));
}

/// A verifier proves a client's password to us; it does not let us log in anywhere.
fn refuse_verifier(
    secret: Option<&Secret>,
    origin: &Origin,
    key: &str,
    problems: &mut Vec<Problem>,
) {
    if secret.is_some_and(|secret| secret.shape() == SecretShape::ScramVerifier) {
        let message = "a SCRAM verifier cannot log in to a server; give the password itself";
        problems.push(Problem::new(origin, key, message));
    }
}

fn check_replication(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let key = keys::REPLICATION_NODE.name;
    let problem = unknown_node(
        draft,
        &draft.settings.replication.node,
        raw.origin(key),
        key,
    );
    problems.extend(problem);
}

/// Reads can prefer a node, or a zone, only if there is one.
fn check_reads(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let key = keys::PREFER_NODE.name;
    for (prefer, element) in draft.settings.prefer.iter().zip(&draft.prefer) {
        problems.extend(unknown_node(draft, &prefer.node, element.origin(key), key));
    }
    let (key, nodes) = (keys::ROUTING_ZONE.name, &draft.settings.nodes);
    let zones = || nodes.iter().filter_map(|node| node.zone.as_deref());
    if let Some(zone) = &draft.settings.routing.zone
        && !zones().any(|known| known == zone)
        && draft
            .nodes
            .iter()
            .all(|e| draft.sound_in(e, keys::NODE_ZONE.name))
    {
        let nearest = suggest::nearest(zone, zones()).map(str::to_owned);
        let message = format!("no node has zone = {zone:?}");
        problems.push(Problem::new(raw.origin(key), key, message).nearest(nearest));
    }
}

/// What to say when `node` is none, nor a kind of node.
fn unknown_node(draft: &Draft<'_>, node: &str, origin: &Origin, key: &str) -> Option<Problem> {
    let nodes = &draft.settings.nodes;
    let labels: Vec<String> = nodes.iter().map(Node::label).collect();
    let known = |n: &Node| n.label() == node || n.address() == node;
    if matches!(node, "primary" | "replica") || nodes.iter().any(known) {
        return None;
    }
    let kinds = ["primary", "replica"];
    let names = labels.iter().map(String::as_str).chain(kinds);
    let nearest = suggest::nearest(node, names).map(str::to_owned);
    let message =
        format!("{node:?} is no node; write \"primary\", \"replica\" or a node's name or address");
    Some(Problem::new(origin, key, message).nearest(nearest))
}

fn check_monitor(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let key = keys::MONITOR_PASSWORD.name;
    let secret = draft.settings.monitor.password.as_ref();
    refuse_verifier(secret, raw.origin(key), key, problems);
}

fn check_sizes(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let both_sound = |a: &str, b: &str| draft.sound(raw, a) && draft.sound(raw, b);
    let pool = &draft.settings.pool;
    let (idle, size) = (keys::POOL_MIN_IDLE.name, keys::POOL_SIZE.name);
    if pool.min_idle > pool.size && both_sound(idle, size) {
        let message = format!(
            "{} is more than {size}, which is {}",
            pool.min_idle, pool.size
        );
        problems.push(Problem::new(blame(raw, idle, size), idle, message));
    }
    let limits = &draft.settings.limits;
    let cap = keys::LIMITS_MAX_SERVER_CONNECTIONS.name;
    if let Some(most) = limits
        .max_server_connections
        .filter(|most| *most < pool.min_idle)
        && both_sound(idle, cap)
    {
        let message = format!("{} is more than {cap}, which is {most}", pool.min_idle);
        problems.push(Problem::new(blame(raw, idle, cap), idle, message));
    }
    let (patience, wait) = (
        keys::POOL_RESERVE_TIMEOUT.name,
        keys::POOL_QUERY_WAIT_TIMEOUT.name,
    );
    if pool.reserve_size > 0
        && pool.reserve_timeout >= pool.query_wait_timeout
        && both_sound(patience, wait)
    {
        let message = format!("the reserve is never opened: nobody waits longer than {wait}");
        problems.push(Problem::new(blame(raw, patience, wait), patience, message));
    }
    let (reserved, max) = (
        keys::LIMITS_RESERVED_ADMIN_CONNECTIONS.name,
        keys::LIMITS_MAX_CLIENT_CONNECTIONS.name,
    );
    if limits.reserved_admin_connections >= limits.max_client_connections
        && both_sound(reserved, max)
    {
        let message = format!(
            "{} leaves none of {max}, which is {}, to others",
            limits.reserved_admin_connections, limits.max_client_connections
        );
        problems.push(Problem::new(blame(raw, reserved, max), reserved, message));
    }
}

/// Where the first key was given, else the second: one of them was, or they would agree.
fn blame<'a>(raw: &'a Raw, first: &str, second: &str) -> &'a Origin {
    let given = |key: &str| raw.single.get(key).map(|given| &given.origin);
    given(first).or_else(|| given(second)).unwrap_or(&raw.whole)
}

fn check_addresses(draft: &Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let settings = &draft.settings;
    let Some(http) = settings.http.listen.filter(|http| http.port() != 0) else {
        return;
    };
    if settings.listen.contains(&http) {
        let (key, other) = (keys::HTTP_LISTEN.name, keys::LISTEN.name);
        let message =
            format!("{http} is also {other}; clients and HTTP need addresses of their own");
        problems.push(Problem::new(blame(raw, key, other), key, message));
    }
}

/// Without any user, everybody is let in from this host, and nobody from elsewhere.
fn check_access(draft: &mut Draft<'_>, raw: &Raw, problems: &mut Vec<Problem>) {
    let method = keys::AUTH_METHOD.name;
    let unsure = is_blamed("user", problems) || !draft.sound(raw, keys::LISTEN.name);
    if !raw.list("user").is_empty() || unsure {
        return;
    }
    if !listens_on_loopback_only(&draft.settings) {
        problems.push(open_to_the_world(raw.origin(keys::LISTEN.name)));
        return;
    }
    let asked = raw.single.contains_key(method);
    if asked && draft.sound(raw, method) && draft.settings.auth.method != AuthMethod::Trust {
        let message = format!(
            "{} has nobody to check, as no user is given; add [[user]] with name and password",
            draft.settings.auth.method
        );
        problems.push(Problem::new(raw.origin(method), method, message));
        return;
    }
    draft.settings.auth.open_access = true;
    draft.settings.auth.method = AuthMethod::Trust;
    draft.amend(method, AuthMethod::Trust.to_string());
}
