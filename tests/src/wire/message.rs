//! Messages of the backend, as they came, and the few that tests look into.

use std::collections::BTreeMap;
use std::fmt;

/// One message: its tag and its body without the length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// ParameterStatus: name and value.
    pub fn pair(&self) -> (String, String) {
        let mut parts = self
            .body
            .split(|byte| *byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned());
        (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        )
    }

    /// NotificationResponse: channel and payload.
    pub fn notification(&self) -> (String, String) {
        Self {
            tag: self.tag,
            body: self.body[4..].to_vec(),
        }
        .pair()
    }

    /// CommandComplete: its text, as `SELECT 1`.
    pub fn command(&self) -> String {
        self.pair().0
    }

    /// RowDescription: the columns' names and type OIDs.
    pub fn columns(&self) -> Vec<(String, u32)> {
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let name = String::from_utf8_lossy(&rest[..end]).into_owned();
            let fixed = &rest[end + 1..];
            columns.push((name, u32::from_be_bytes(fixed[6..10].try_into().unwrap())));
            rest = &fixed[18..];
        }
        columns
    }
}

/// The tags of messages as one string, `12DCZ`: the shape of an answer.
pub fn tags(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| char::from(message.tag))
        .collect()
}

/// The SQLSTATEs of the ErrorResponses among messages.
pub fn codes(messages: &[Message]) -> Vec<String> {
    let errors = messages.iter().filter(|message| message.tag == b'E');
    errors
        .map(|message| ServerError::parse(&message.body).code)
        .collect()
}

/// The values of a DataRow as text.
pub fn row(message: &Message) -> Vec<Option<String>> {
    let mut rest = &message.body[2..];
    let mut values = Vec::new();
    while rest.len() >= 4 {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        if length < 0 {
            values.push(None);
            continue;
        }
        let (value, tail) = rest.split_at(length as usize);
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = tail;
    }
    values
}

/// An ErrorResponse or NoticeResponse (PostgreSQL docs, "Error and Notice Message Fields").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub fields: BTreeMap<char, String>,
}

impl ServerError {
    pub fn parse(body: &[u8]) -> Self {
        let fields: BTreeMap<char, String> = body
            .split(|byte| *byte == 0)
            .filter(|field| !field.is_empty())
            .map(|field| {
                (
                    char::from(field[0]),
                    String::from_utf8_lossy(&field[1..]).into_owned(),
                )
            })
            .collect();
        let get = |letter| fields.get(&letter).cloned().unwrap_or_default();
        Self {
            severity: get('S'),
            code: get('C'),
            message: get('M'),
            fields,
        }
    }

    /// The socket broke: shown as SQLSTATE 08006 (connection failure), which no server sends to a client.
    pub fn lost(why: &str) -> Self {
        Self {
            severity: "LOST".into(),
            code: "08006".into(),
            message: why.into(),
            fields: BTreeMap::new(),
        }
    }

    /// True when the connection broke rather than being refused with words.
    pub fn is_lost(&self) -> bool {
        self.severity == "LOST"
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.severity, self.code, self.message)?;
        match self.fields.get(&'D') {
            Some(detail) => write!(out, " ({detail})"),
            None => Ok(()),
        }
    }
}
