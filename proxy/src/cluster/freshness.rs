//! What a read demands of a replica: to show what was written before a moment, and what is in the WAL
//! up to a position. PURE.
//!
//! Must not know sessions; whether a node may answer at all is `pick`'s business.

use std::fmt;

use super::lag::{self, Lsn};
use super::node::Node;
use crate::clock;

/// What a replica must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Everything that was committed before then (of [`crate::clock`]); [`clock::NEVER`] asks nothing.
    pub wrote_at: u64,
    /// Everything up to this position.
    pub position: Option<Position>,
}

impl Freshness {
    /// Nothing is asked.
    pub const ANY: Self = Self {
        wrote_at: clock::NEVER,
        position: None,
    };

    /// Everything that was committed before `wrote_at`.
    #[must_use]
    pub fn since(wrote_at: u64) -> Self {
        Self {
            wrote_at,
            ..Self::ANY
        }
    }

    /// Whether anything is asked.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::ANY
    }

    /// Whether the replica, on the cluster's `timeline`, provably shows it.
    pub(super) fn is_shown_by(&self, node: &Node, timeline: u32) -> bool {
        let shows = |wrote_at| wrote_at == clock::NEVER || node.fresh_as_of() > wrote_at;
        let reached = |position: &Position| {
            position.timeline <= timeline && node.replayed() >= position.normalised()
        };
        shows(self.wrote_at) && self.position.as_ref().is_none_or(reached)
    }
}

/// A position in the WAL, as one session hands it to another: `timeline:lsn:block size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    timeline: u32,
    lsn: Lsn,
    wal_block_size: u64,
}

impl Position {
    /// What gives the present one, on a primary.
    pub const QUESTION: &'static str = "SELECT pg_catalog.concat(pg_catalog.substr(\
         pg_catalog.pg_walfile_name(l), 1, 8), ':', l, ':', \
         pg_catalog.current_setting('wal_block_size')) AS \"pgconvoy.position\" \
         FROM pg_catalog.pg_current_wal_insert_lsn() AS l";

    /// Reads one, `00000001:0/3000148:8192`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (timeline, rest) = text.split_once(':')?;
        let (lsn, block) = rest.split_once(':')?;
        let wal_block_size = block.parse::<u64>().ok().filter(|size| *size > 0)?;
        Some(Self {
            timeline: u32::from_str_radix(timeline, 16).ok()?,
            lsn: lag::parse_lsn(lsn)?,
            wal_block_size,
        })
    }

    fn normalised(&self) -> Lsn {
        lag::normalised(self.lsn, self.wal_block_size)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = (self.lsn >> 32, self.lsn & 0xffff_ffff);
        write!(
            f,
            "{:08X}:{high:X}/{low:X}:{}",
            self.timeline, self.wal_block_size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        let text = "0000001F:16/B374D848:8192";
        assert_eq!(Position::parse(text).unwrap().to_string(), text);
        for bad in [
            "",
            "1",
            "1:0/0",
            "1:0/0:0",
            "1:0/0:x",
            "x:0/0:8192",
            "1:00:8192",
            "1:0/0:8192:",
            "-1:0/0:8192",
        ] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }
}
