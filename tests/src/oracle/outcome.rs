//! What running a statement brought, as far as a client can tell.

use crate::wire::{Message, ServerError, Wire, frame};

/// The answer to one Query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Rows and lines of COPY, as they came.
    rows: Vec<Vec<u8>>,
    /// The columns' names and types, and what was completed.
    shape: Vec<Vec<u8>>,
    /// SQLSTATE and words of the error, if there was one.
    pub(super) error: Option<(String, String)>,
}

impl Outcome {
    /// Adds one message of the server's.
    pub(super) fn note(&mut self, message: &Message) {
        match message.tag {
            b'D' | b'd' => self.rows.push(message.body.clone()),
            b'T' => {
                let columns = message.columns().into_iter();
                self.shape.extend(columns.map(|(name, of)| {
                    let mut column = name.into_bytes();
                    column.extend(of.to_be_bytes());
                    column
                }));
            }
            b'C' => self.shape.push(message.body.clone()),
            b'E' => {
                let error = ServerError::parse(&message.body);
                self.error = Some((error.code, error.message));
            }
            _ => {}
        }
    }

    /// What was completed last, as `COMMIT`.
    pub(super) fn command(&self) -> String {
        let last = self.shape.last().map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(last)
            .trim_end_matches('\0')
            .to_owned()
    }

    pub(super) fn is_ok(&self) -> bool {
        self.error.is_none()
    }

    /// Whether a client would take the two for one.
    pub(super) fn is_same(&self, other: &Self, ordered: bool) -> bool {
        if self.error != other.error || self.shape != other.shape {
            return false;
        }
        // What came before an error is no result.
        if self.error.is_some() || self.rows == other.rows {
            return true;
        }
        let sorted = |outcome: &Self| {
            let mut rows = outcome.rows.clone();
            rows.sort();
            rows
        };
        !ordered && sorted(self) == sorted(other)
    }

    /// One line for the report.
    pub(super) fn summary(&self) -> String {
        match &self.error {
            Some((code, message)) => format!("{code} {message}"),
            None => {
                let first = self.rows.first().map_or_else(String::new, |row| {
                    let text: String = String::from_utf8_lossy(row)
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(60)
                        .collect();
                    format!(": {text}")
                });
                format!("{} rows{first}", self.rows.len())
            }
        }
    }
}

/// Runs `sql` on a connection of the oracle's own; `None` when it is lost.
pub(super) fn run(wire: &mut Wire, sql: &[u8]) -> Option<Outcome> {
    wire.try_send(&frame(b'Q', &[sql, b"\0"].concat())).ok()?;
    let mut outcome = Outcome::default();
    loop {
        let message = wire.receive()?;
        outcome.note(&message);
        match message.tag {
            b'Z' => return Some(outcome),
            // COPY FROM STDIN: there is nothing to give it.
            b'G' => wire.try_send(&frame(b'f', b"\0")).ok()?,
            _ => {}
        }
    }
}
