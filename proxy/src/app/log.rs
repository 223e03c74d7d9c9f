//! The log: text for people or JSON for machines, at a level that may change while it runs.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use pgconvoy_config::LogFormat;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The way to change the level. A subscriber is global by its nature.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging to standard error.
///
/// # Errors
/// What is wrong with the level's directives.
pub fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|e| format!("log.level: {e}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_ansi(terminal)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .try_init(),
    };
    started.map_err(|e| e.to_string())?;
    // Set once: a second start fails above.
    let _first = LEVEL.set(handle);
    Ok(())
}

/// Changes the level.
pub(super) fn set_level(level: &str) {
    let Some(handle) = LEVEL.get() else { return };
    match EnvFilter::try_new(level) {
        Ok(filter) => {
            if let Err(error) = handle.reload(filter) {
                tracing::error!(%error, "log.level could not be changed");
            }
        }
        Err(error) => tracing::error!(%error, "log.level could not be changed"),
    }
}
