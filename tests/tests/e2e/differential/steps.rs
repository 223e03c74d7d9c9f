//! What a client may send, one step after the other, and the bytes of it.

use pgconvoy_tests::wire::Batch;

/// One message, or a wait for the answers so far.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Parse {
        name: &'static str,
        sql: String,
        types: Vec<u32>,
    },
    Bind {
        portal: &'static str,
        statement: &'static str,
        formats: Vec<u16>,
        values: Vec<Option<Vec<u8>>>,
        results: Vec<u16>,
    },
    /// Of a statement (`S`), a portal (`P`), or of what there is not.
    Describe(u8, &'static str),
    Close(u8, &'static str),
    Execute {
        portal: &'static str,
        rows: u32,
    },
    Flush,
    /// A Flush, behind which nothing is sent until all is answered.
    Wait,
    Sync,
    Query(String),
    Function {
        oid: u32,
        arguments: Vec<String>,
    },
    CopyData(Vec<u8>),
    CopyDone,
    CopyFail,
}

/// What answers a step gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// By one message that ends it, or an error.
    Once,
    /// By everything up to ReadyForQuery.
    UntilReady,
    /// By nothing of its own.
    Never,
}

/// Messages sent at a stretch.
pub(super) type Pipeline = Vec<Step>;

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), b"\0"].concat()
}

fn list(numbers: &[u16]) -> Vec<u8> {
    let count = (numbers.len() as u16).to_be_bytes();
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    count.into_iter().chain(numbers).collect()
}

impl Step {
    pub(super) fn answered(&self) -> Answered {
        match self {
            Self::Parse { .. }
            | Self::Bind { .. }
            | Self::Describe(..)
            | Self::Close(..)
            | Self::Execute { .. } => Answered::Once,
            Self::Sync | Self::Query(_) | Self::Function { .. } => Answered::UntilReady,
            Self::Flush | Self::Wait | Self::CopyData(_) | Self::CopyDone | Self::CopyFail => {
                Answered::Never
            }
        }
    }

    /// Whether the server sends what it has to say up to this.
    pub(super) fn makes_it_send(&self) -> bool {
        self.answered() == Answered::UntilReady || matches!(self, Self::Flush | Self::Wait)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let batch = Batch::new();
        let batch = match self {
            Self::Parse { name, sql, types } => {
                let count = (types.len() as u16).to_be_bytes().to_vec();
                let types = types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
                batch.message(b'P', &[text(name), text(sql), count, types].concat())
            }
            Self::Bind {
                portal,
                statement,
                formats,
                values,
                results,
            } => {
                let mut body = [text(portal), text(statement), list(formats)].concat();
                body.extend((values.len() as u16).to_be_bytes());
                for value in values {
                    let length = value.as_ref().map_or(-1, |value| value.len() as i32);
                    body.extend(length.to_be_bytes());
                    body.extend(value.iter().flatten());
                }
                body.extend(list(results));
                batch.message(b'B', &body)
            }
            Self::Describe(kind, name) => batch.message(b'D', &[vec![*kind], text(name)].concat()),
            Self::Close(kind, name) => batch.message(b'C', &[vec![*kind], text(name)].concat()),
            Self::Execute { portal, rows } => batch.execute(portal, *rows),
            Self::Flush | Self::Wait => batch.flush(),
            Self::Sync => batch.sync(),
            Self::Query(sql) => batch.query(sql),
            Self::Function { oid, arguments } => {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                batch.function_call(*oid, &arguments)
            }
            Self::CopyData(data) => batch.copy_data(data),
            Self::CopyDone => batch.copy_done(),
            Self::CopyFail => batch.copy_fail("the client has changed its mind"),
        };
        batch.bytes().to_vec()
    }
}
