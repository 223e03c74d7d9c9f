//! What the console says of itself in the terms of a server: the parameters that drivers are told at
//! their login, or ask for.

use crate::status::Column;

/// A parameter that is always the same here.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as it is reported.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
    /// The column of its SHOW.
    pub columns: &'static [Column],
    /// Whether clients are told at their login (ParameterStatus).
    pub reported: bool,
}

macro_rules! parameters {
    ($($name:literal = $value:expr, $reported:literal;)+) => {
        /// All of them.
        pub const PARAMETERS: &[Parameter] = &[$(Parameter {
            name: $name,
            value: $value,
            columns: &[Column::text($name)],
            reported: $reported,
        }),+];
    };
}

parameters! {
    // A release whose protocol this is, so that drivers know what to expect.
    "server_version" = concat!("17.0 (pgconvoy ", env!("CARGO_PKG_VERSION"), ")"), true;
    "server_encoding" = "UTF8", true;
    "client_encoding" = "UTF8", true;
    "DateStyle" = "ISO, MDY", true;
    "IntervalStyle" = "postgres", true;
    "TimeZone" = "UTC", true;
    "integer_datetimes" = "on", true;
    "standard_conforming_strings" = "on", true;
    "is_superuser" = "off", true;
    "default_transaction_read_only" = "off", true;
    "in_hot_standby" = "off", true;
    "server_version_num" = "170000", false;
    "transaction_isolation" = "read committed", false;
    "transaction_read_only" = "off", false;
    "search_path" = "", false;
    "max_identifier_length" = "63", false;
}

/// The parameter of that name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Parameter> {
    let name = match name {
        "transaction isolation level" => "transaction_isolation",
        "time zone" => "TimeZone",
        other => other,
    };
    PARAMETERS
        .iter()
        .find(|p| p.name.eq_ignore_ascii_case(name))
}
