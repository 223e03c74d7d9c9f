//! One client's connection to one side, and all that it was answered.

use super::generate::{Life, Parting};
use super::steps::{Answered, Pipeline, Step};
use pgconvoy_tests::wire::{Message, ServerError, Wire, row};
use std::time::Duration;

/// Where a client connects.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) port: u16,
    pub(super) database: String,
    /// OIDs past this one were given while the test ran: another number on each side.
    pub(super) last_oid: u32,
}

pub(super) struct Conversation {
    wire: Wire,
    last_oid: u32,
    /// An error has come: what is sent is passed over, up to a Sync.
    skipping: bool,
    closed: bool,
    /// What was sent and not answered yet.
    owed: Vec<Step>,
}

/// Stand for the end of the connection, and for an answer that does not come.
const CLOSED: u8 = b'!';
pub(super) const SILENT: u8 = b'?';

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn mark(tag: u8) -> Message {
    Message {
        tag,
        body: Vec::new(),
    }
}

impl Conversation {
    pub(super) fn begin(side: &Side, schema: &str, life: &Life) -> Result<Self, ServerError> {
        let options = format!("-c search_path={schema} -c lock_timeout=20s");
        let who = [
            ("user", "app"),
            ("database", side.database.as_str()),
            ("application_name", life.application.as_str()),
            ("options", options.as_str()),
        ];
        let mut wire = Wire::login(side.port, &who, None)?;
        wire.patience(PATIENCE);
        Ok(Self {
            wire,
            last_oid: side.last_oid,
            skipping: false,
            closed: false,
            owed: Vec::new(),
        })
    }

    /// The settings the server has told of.
    pub(super) fn settings(&self) -> Vec<String> {
        let settings = self.wire.parameters.iter();
        settings
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// Sends steps in a few writes. The other end may have hung up.
    pub(super) fn send(&mut self, steps: &[Step]) {
        let bytes: Vec<u8> = steps.iter().flat_map(Step::bytes).collect();
        // The cut depends on the content alone: the same on both sides, anywhere in a message.
        let cut = bytes.len() * (bytes.len() % 7) / 7;
        let (head, tail) = bytes.split_at(cut);
        if self
            .wire
            .try_send(head)
            .and_then(|()| self.wire.try_send(tail))
            .is_err()
        {
            self.closed = true;
        }
    }

    /// All that is answered to steps that were sent.
    ///
    /// What nothing makes the server send yet is waited for with the next ones.
    pub(super) fn answers(&mut self, steps: &[Step]) -> Vec<Message> {
        self.owed.extend_from_slice(steps);
        let sent = self.owed.iter().rposition(Step::makes_it_send);
        let steps: Vec<Step> = self.owed.drain(..sent.map_or(0, |last| last + 1)).collect();
        let mut seen = Vec::new();
        for step in &steps {
            let answered = step.answered();
            if answered == Answered::Never || (self.skipping && !matches!(step, Step::Sync)) {
                continue;
            }
            self.skipping = false;
            self.answer(answered, &mut seen);
        }
        seen
    }

    fn answer(&mut self, answered: Answered, seen: &mut Vec<Message>) {
        while !self.closed {
            if self.wire.stays_silent() {
                self.closed = true;
                seen.push(mark(SILENT));
                return;
            }
            let Some(mut message) = self.wire.receive() else {
                self.closed = true;
                seen.push(mark(CLOSED));
                return;
            };
            forget_new_oids(&mut message, self.last_oid);
            let tag = message.tag;
            seen.push(message);
            match answered {
                Answered::UntilReady if tag == b'Z' => return,
                Answered::Once if tag == b'E' => {
                    self.skipping = true;
                    return;
                }
                Answered::Once if b"123nTCsI".contains(&tag) => return,
                _ => {}
            }
        }
    }

    /// Leaves as this life ends. Gives what was answered to those of the last words that must be answered.
    pub(super) fn end(mut self, parting: Parting, tail: &Pipeline) -> Vec<Message> {
        match parting {
            Parting::Polite => {
                self.wire.close();
                Vec::new()
            }
            Parting::Gone => {
                // What is certain comes first: a client that goes with answers unread cuts off what it sent, too.
                let begun = tail.iter().rposition(|step| matches!(step, Step::Query(_)));
                let (certain, cut) = tail.split_at(begun.map_or(0, |last| last + 1));
                self.send(certain);
                let seen = self.answers(certain);
                self.send_cut(cut);
                seen
            }
        }
    }

    /// All but the end of the last message.
    fn send_cut(&mut self, tail: &[Step]) {
        let bytes: Vec<u8> = tail.iter().flat_map(Step::bytes).collect();
        let _ = self.wire.try_send(&bytes[..bytes.len().saturating_sub(2)]);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Puts one number in the place of every OID that is not of the seeded content, in RowDescription.
fn forget_new_oids(message: &mut Message, last_oid: u32) {
    if message.tag != b'T' {
        return;
    }
    let mut at = 2;
    while let Some(name) = message
        .body
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == 0))
    {
        let fixed = at + name + 1;
        for place in [fixed, fixed + 6] {
            let oid = &mut message.body[place..place + 4];
            if u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]) > last_oid {
                oid.fill(0xff);
            }
        }
        at = fixed + 18;
    }
}

/// A message in words, for who reads of a difference.
pub(super) fn words(message: &Message) -> String {
    let tag = char::from(message.tag);
    match message.tag {
        b'E' | b'N' => format!("{tag} {:?}", ServerError::parse(&message.body).fields),
        b'D' => format!("{tag} {:?}", row(message)),
        b'C' => format!("{tag} {}", message.command()),
        b'S' => format!("{tag} {:?}", message.pair()),
        b'T' => format!("{tag} {:?} {:?}", message.columns(), message.body),
        _ => format!("{tag} {:?}", String::from_utf8_lossy(&message.body)),
    }
}
