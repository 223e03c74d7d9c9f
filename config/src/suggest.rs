//! The known name nearest to one that is not known.
//!
//! Must not know keys or values: candidates are handed in.

/// What users of pgbouncer and pgpool-II, or of the older spelling, are used to write; and which of
/// several sections is meant when none is named.
const FOREIGN_NAMES: &[(&str, &str)] = &[
    ("backend_hostname0", "node"),
    ("default_pool_size", "pool.size"),
    ("pool_size", "pool.size"),
    ("pool_mode", "pool.mode"),
    ("min_pool_size", "pool.min_idle"),
    ("query_wait", "pool.query_wait_timeout"),
    ("server_connect_timeout", "pool.connect_timeout"),
    ("max_prepared_statements", "pool.prepared_statements"),
    ("max_client_conn", "limits.max_client_connections"),
    ("num_init_children", "limits.max_client_connections"),
    (
        "idle_transaction_timeout",
        "limits.idle_in_transaction_timeout",
    ),
    ("query_timeout", "limits.query_timeout"),
    ("transaction_timeout", "limits.transaction_timeout"),
    ("client_idle_timeout", "limits.client_idle_timeout"),
    ("max_client_connections", "limits.max_client_connections"),
    ("max_server_connections", "limits.max_server_connections"),
    ("max_user_connections", "limits.max_user_server_connections"),
    (
        "max_db_connections",
        "limits.max_database_server_connections",
    ),
    (
        "max_db_client_connections",
        "limits.max_database_client_connections",
    ),
    ("reserve_pool_size", "pool.reserve_size"),
    ("reserve_pool_timeout", "pool.reserve_timeout"),
    ("auth_type", "auth.method"),
    ("listen_addr", "listen"),
    ("listen_addresses", "listen"),
    ("listen_port", "listen"),
    ("load_balance_mode", "routing.split_reads"),
    ("statement_level_load_balance", "routing.balance_per"),
    ("database_redirect_preference_list", "prefer"),
    ("app_name_redirect_preference_list", "prefer"),
    ("user_redirect_preference_list", "prefer"),
    ("read_only_function_list", "routing.read_only_functions"),
    ("write_function_list", "routing.write_functions"),
    ("delay_threshold", "routing.max_replica_lag"),
    ("health_check_period", "health.check_period"),
    ("health_check_timeout", "health.check_timeout"),
    ("health_check_max_retries", "health.check_retries"),
];

/// The candidate that `given` was most likely meant to be, if any is close enough.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_lowercase();
    // A third of the letters may differ: enough for slips, too little for another word.
    let reach = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&given, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The dotted key that an unknown one was most likely meant to be: another pooler's name for it,
/// the same name in another section, a slip in this section, a slip in the whole.
pub(crate) fn nearest_key(given: &str, known: &[&'static str]) -> Option<&'static str> {
    let (section, leaf) = given.rsplit_once('.').unwrap_or(("", given));
    let foreign = || {
        FOREIGN_NAMES
            .iter()
            .find(|(name, _)| *name == leaf)
            .map(|(_, ours)| *ours)
    };
    let elsewhere = || known.iter().copied().find(|key| leaf_of(key) == leaf);
    let here = || {
        let siblings = known
            .iter()
            .copied()
            .filter(|key| section_of(key) == section);
        let best = nearest(leaf, siblings.map(leaf_of))?;
        known
            .iter()
            .copied()
            .find(|key| section_of(key) == section && leaf_of(key) == best)
    };
    foreign()
        .or_else(elsewhere)
        .or_else(here)
        .or_else(|| nearest(given, known.iter().copied()))
        .or_else(|| {
            let best = nearest(leaf, known.iter().copied().map(leaf_of))?;
            known.iter().copied().find(|key| leaf_of(key) == best)
        })
}

fn section_of(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

fn leaf_of(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, leaf)| leaf)
}
