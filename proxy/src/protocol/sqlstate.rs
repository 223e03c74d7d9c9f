//! The SQLSTATEs pgconvoy sends or looks for (PostgreSQL docs, appendix "PostgreSQL Error Codes").
//! Plain text constants: nothing here decides what an error means.

pub const CONNECTION_EXCEPTION: &str = "08000";
/// The connection to a server cannot be made.
pub const CANNOT_CONNECT: &str = "08001";
/// A server refused the connection.
pub const CONNECTION_REJECTED: &str = "08004";
/// A connection was lost.
pub const CONNECTION_FAILURE: &str = "08006";
/// A COMMIT's outcome is not known.
pub const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";
pub const PROTOCOL_VIOLATION: &str = "08P01";
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
pub const INVALID_PARAMETER_VALUE: &str = "22023";
pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
pub const ACTIVE_SQL_TRANSACTION: &str = "25001";
/// A replica's "cannot execute … in a read-only transaction".
pub const READ_ONLY_SQL_TRANSACTION: &str = "25006";
pub const IN_FAILED_SQL_TRANSACTION: &str = "25P02";
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
pub const TRANSACTION_TIMEOUT: &str = "25P04";
/// A prepared statement of that name is not there.
pub const INVALID_STATEMENT_NAME: &str = "26000";
pub const INVALID_AUTHORIZATION: &str = "28000";
pub const INVALID_PASSWORD: &str = "28P01";
pub const INVALID_CURSOR_NAME: &str = "34000";
/// A database of that name is not there.
pub const INVALID_CATALOG_NAME: &str = "3D000";
pub const SERIALIZATION_FAILURE: &str = "40001";
pub const DEADLOCK_DETECTED: &str = "40P01";
pub const SYNTAX_ERROR: &str = "42601";
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
pub const UNDEFINED_OBJECT: &str = "42704";
pub const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
pub const INSUFFICIENT_RESOURCES: &str = "53000";
pub const OUT_OF_MEMORY: &str = "53200";
pub const TOO_MANY_CONNECTIONS: &str = "53300";
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
pub const QUERY_CANCELED: &str = "57014";
pub const ADMIN_SHUTDOWN: &str = "57P01";
pub const CRASH_SHUTDOWN: &str = "57P02";
/// "The database system is starting up" and its kin.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
pub const DATABASE_DROPPED: &str = "57P04";
pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
pub const SYSTEM_ERROR: &str = "58000";
pub const IO_ERROR: &str = "58030";
pub const CONFIG_FILE_ERROR: &str = "F0000";
pub const INTERNAL_ERROR: &str = "XX000";
pub const WARNING: &str = "01000";
pub const SUCCESS: &str = "00000";
