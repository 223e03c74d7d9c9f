//! The results as people and programs read them. The parts are PURE; `write` puts them into files.

mod chart;
mod json;
mod markdown;

pub use markdown::render as markdown;

use crate::bar::Line;
use crate::results::Results;
use std::path::Path;

/// Writes `results.md`, `results.json` and `results.svg`.
///
/// # Errors
/// Those of the file system.
pub fn write(directory: &Path, results: &Results, bar: &[Line]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let text = markdown::render(results, bar);
    std::fs::write(directory.join("results.md"), text)?;
    let json = serde_json::to_string_pretty(&json::render(results, bar))?;
    std::fs::write(directory.join("results.json"), json)?;
    std::fs::write(directory.join("results.svg"), chart::render(results))
}
