//! What is built in: functions, operators, types and catalogs, by name, and what each may do.
//!
//! A name is looked up as PostgreSQL resolves it: `pg_catalog` is searched first, so a user's
//! object hides a built-in one only where `search_path` says so (and SET of it pins the session)
//! or by fitting the argument types better, which only a database's own catalog can tell.
//! The lists are data; this must not know how statements are built.

use std::collections::HashSet;

use foldhash::quality::FixedState;

/// What calling a function may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Safety {
    /// Reads at most, and gives the same on a standby.
    Safe,
    /// Reads at most, but tells of the server or session it runs in.
    ServerState,
    /// Changes settings of its session.
    SessionState,
    /// Nobody knows.
    Unknown,
    /// Writes, locks, or needs a primary.
    Writes,
}

/// PostgreSQL 15's operators, then grammar that looks like one, then pgvector's distances.
const OPERATORS: &str = "
    !! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- /
    < <-> << <<= <<| <= <> <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@
    | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ ~>~ ~~ ~~*
    != :: := => <#> <=> <+> <~> <%>";

/// Words of the grammar that name types; quoted they would be a user's own.
const TYPE_WORDS: &str =
    "bigint boolean character dec decimal double float int integer nchar real smallint";

/// Expressions of the grammar that look like calls; quoted they would be a user's own function.
const CALL_WORDS: &str = "
    all any array coalesce current_catalog current_date current_role current_time current_timestamp greatest
    grouping least localtime localtimestamp nullif row some user xmlattributes xmlconcat xmlelement xmlexists
    xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

/// Functions that tell of one server, backend or session and change nothing.
const SERVER_STATE: &str = "
    current_setting inet_client_addr inet_client_port inet_server_addr inet_server_port mxid_age
    pg_available_extension_versions pg_available_extensions pg_backend_pid pg_blocking_pids
    pg_conf_load_time pg_config pg_control_checkpoint pg_control_init pg_control_recovery
    pg_control_system pg_current_logfile pg_current_snapshot pg_current_wal_flush_lsn
    pg_current_wal_insert_lsn pg_current_wal_lsn pg_current_xact_id_if_assigned pg_database_size
    pg_get_replication_slots pg_get_wal_replay_pause_state pg_indexes_size pg_is_in_recovery
    pg_is_other_temp_schema pg_is_wal_replay_paused pg_jit_available pg_last_committed_xact
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
    pg_listening_channels pg_lock_status pg_my_temp_schema pg_notification_queue_usage
    pg_postmaster_start_time pg_relation_filenode pg_relation_filepath pg_relation_size
    pg_safe_snapshot_blocking_pids pg_show_all_settings pg_table_size pg_tablespace_location
    pg_tablespace_size pg_total_relation_size pg_trigger_depth pg_walfile_name
    pg_walfile_name_offset pg_xact_commit_timestamp txid_current_if_assigned
    txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin";

/// Built-in functions that change something or that a standby refuses; for an honest reason
/// only, for what is on no list is kept from replicas too.
const WRITES: &str = "
    currval dblink dblink_exec lastval lo_creat lo_create lo_export lo_from_bytea lo_import
    lo_put lo_truncate lo_truncate64 lo_unlink lowrite nextval pg_advisory_lock
    pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_backup_start pg_backup_stop
    pg_cancel_backend pg_create_restore_point pg_current_xact_id pg_export_snapshot
    pg_logical_emit_message pg_notify pg_promote pg_reload_conf pg_switch_wal
    pg_terminate_backend pg_try_advisory_lock pg_try_advisory_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared setseed setval
    txid_current";

/// Catalog-like relations that tell of one server and change nothing.
const RUNTIME_VIEWS: &str = "
    pg_available_extension_versions pg_available_extensions pg_backend_memory_contexts pg_config
    pg_cursors pg_file_settings pg_hba_file_rules pg_ident_file_mappings pg_locks
    pg_prepared_statements pg_prepared_xacts pg_replication_origin_status pg_replication_slots
    pg_sequences pg_settings pg_shmem_allocations pg_stats pg_stats_ext pg_stats_ext_exprs
    pg_timezone_abbrevs pg_timezone_names";

/// Settings that `SHOW` may read anywhere: each is the session's own, carried to the server it
/// uses, or the same on every node of a cluster that can be failed over.
const SETTINGS: &str = "
    application_name bytea_output client_encoding client_min_messages datestyle
    default_text_search_config extra_float_digits idle_in_transaction_session_timeout
    integer_datetimes intervalstyle jit lc_collate lc_ctype lc_messages lc_monetary lc_numeric
    lc_time lock_timeout max_identifier_length max_index_keys row_security search_path
    server_encoding server_version server_version_num standard_conforming_strings
    statement_timeout timezone transaction_isolation work_mem xmlbinary xmloption";

type Names = HashSet<&'static [u8], FixedState>;

/// The names of a list: words between white space, without lines that begin with `# `.
fn names(list: &'static str) -> impl Iterator<Item = &'static [u8]> {
    let lines = list.lines().filter(|line| !line.starts_with("# "));
    lines
        .flat_map(str::split_ascii_whitespace)
        .map(str::as_bytes)
}

/// The lists, ready to be asked. Names are asked for as PostgreSQL holds them: unquoted ones in
/// lower case.
pub(super) struct Builtins {
    safe: Names,
    server_state: Names,
    writes: Names,
    operators: Names,
    types: Names,
    type_words: Names,
    call_words: Names,
    catalogs: Names,
    runtime_views: Names,
    settings: Names,
}

impl Builtins {
    pub(super) fn new() -> Self {
        Self {
            safe: names(include_str!("data/safe_functions.txt")).collect(),
            server_state: names(SERVER_STATE).collect(),
            writes: names(WRITES).collect(),
            operators: names(OPERATORS).collect(),
            types: names(include_str!("data/types.txt")).collect(),
            type_words: names(TYPE_WORDS).collect(),
            call_words: names(CALL_WORDS).collect(),
            catalogs: names(include_str!("data/catalogs.txt")).collect(),
            runtime_views: names(RUNTIME_VIEWS).collect(),
            settings: names(SETTINGS).collect(),
        }
    }

    /// What the function `name`, unqualified or of `pg_catalog`, may do.
    pub(super) fn function(&self, name: &[u8]) -> Safety {
        // A type's name before a bracket is a cast.
        if self.safe.contains(name) || self.types.contains(name) {
            Safety::Safe
        } else if self.server_state.contains(name) || name.starts_with(b"pg_stat_get_") {
            Safety::ServerState
        } else if name == b"set_config" {
            Safety::SessionState
        } else if self.writes.contains(name) {
            Safety::Writes
        } else {
            Safety::Unknown
        }
    }

    /// What reading the relation `name`, which begins with `pg_`, may do.
    pub(super) fn catalog(&self, name: &[u8]) -> Safety {
        if self.catalogs.contains(name) {
            Safety::Safe
        } else if self.runtime_views.contains(name)
            || name.starts_with(b"pg_stat_")
            || name.starts_with(b"pg_statio_")
        {
            Safety::ServerState
        } else {
            Safety::Unknown
        }
    }

    /// Whether `operator` is built in or well known.
    pub(super) fn knows_operator(&self, operator: &[u8]) -> bool {
        self.operators.contains(operator)
    }

    /// Whether the type `name`, which may have been quoted, is built in.
    pub(super) fn knows_type(&self, name: &[u8]) -> bool {
        self.types.contains(name)
    }

    /// Whether the unquoted `word` names a built-in type.
    pub(super) fn knows_type_word(&self, word: &[u8]) -> bool {
        self.types.contains(word) || self.type_words.contains(word)
    }

    /// Whether the unquoted `word` is an expression of the grammar that looks like a call.
    pub(super) fn knows_call_word(&self, word: &[u8]) -> bool {
        self.call_words.contains(word)
    }

    /// Whether any node may answer `SHOW name`.
    pub(super) fn knows_setting(&self, name: &[u8]) -> bool {
        self.settings.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_on_one_list_only_and_in_lower_case() {
        let builtins = Builtins::new();
        for name in builtins
            .safe
            .iter()
            .chain(&builtins.server_state)
            .chain(&builtins.writes)
        {
            assert_eq!(name.to_ascii_lowercase(), *name);
        }
        assert!(builtins.safe.is_disjoint(&builtins.server_state));
        assert!(builtins.safe.is_disjoint(&builtins.writes));
        assert!(builtins.catalogs.is_disjoint(&builtins.runtime_views));
        assert!(builtins.safe.len() > 450 && builtins.types.len() > 70);
    }

    #[test]
    fn functions_that_write_or_tell_of_the_server_are_not_safe() {
        let builtins = Builtins::new();
        for name in [
            "nextval",
            "currval",
            "lastval",
            "setval",
            "set_config",
            "setseed",
            "pg_notify",
            "lo_get",
            "lo_import",
            "loread",
            "txid_current",
            "pg_current_xact_id",
            "query_to_xml",
            "table_to_xml",
            "ts_stat",
            "ts_rewrite",
            "pg_is_in_recovery",
            "current_setting",
            "pg_read_file",
            "pg_ls_dir",
            "pg_terminate_backend",
            "cursor_to_xml",
            "dblink",
            "pg_export_snapshot",
            "pg_stat_get_wal",
            "txid_status",
            "pg_sequence_last_value",
        ] {
            assert_ne!(builtins.function(name.as_bytes()), Safety::Safe, "{name}");
        }
    }
}
