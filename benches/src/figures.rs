//! What the micro bench `figures` measures inside the process, for the bar: written by it, read by `compare`.

use serde_json::{Value, json};
use std::path::Path;

/// The file's name, in the directory of the results.
pub const FILE: &str = "figures.json";

/// The figures of the bar that are no load's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Deciding a pgbench select whose shape is known, in ns.
    pub route_repeat_ns: Option<f64>,
    /// Allocations in that.
    pub route_repeat_allocations: Option<f64>,
    /// Deciding a 200-byte select of a new shape, in us.
    pub route_first_us: Option<f64>,
    /// Allocations of the whole proxy for one prepared round trip.
    pub round_trip_allocations: Option<f64>,
}

impl Figures {
    /// What was written last; nothing when it never was.
    pub fn read(directory: &Path) -> Self {
        let text = std::fs::read_to_string(directory.join(FILE)).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let number = |name: &str| value.get(name).and_then(Value::as_f64);
        Self {
            route_repeat_ns: number("route_repeat_ns"),
            route_repeat_allocations: number("route_repeat_allocations"),
            route_first_us: number("route_first_us"),
            round_trip_allocations: number("round_trip_allocations"),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        let value = json!({
            "route_repeat_ns": self.route_repeat_ns,
            "route_repeat_allocations": self.route_repeat_allocations,
            "route_first_us": self.route_first_us,
            "round_trip_allocations": self.round_trip_allocations,
        });
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join(FILE), format!("{value:#}\n"))
    }
}
