//! Messages of the frontend, written by hand (PostgreSQL docs, "Message Formats").

/// Several messages that leave in one write.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

/// One message: tag, length, body.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a message under 4 GiB");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A StartupMessage of this protocol version (major in the high 16 bits).
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(text(name));
        body.extend(text(value));
    }
    body.push(0);
    let length = (body.len() + 4) as u32;
    [&length.to_be_bytes()[..], &body].concat()
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), b"\0"].concat()
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Any message, also one that no driver would send.
    #[must_use]
    pub fn message(mut self, tag: u8, body: &[u8]) -> Self {
        self.bytes.extend(frame(tag, body));
        self
    }

    #[must_use]
    pub fn query(self, sql: &str) -> Self {
        self.message(b'Q', &text(sql))
    }

    /// Parse without parameter types.
    #[must_use]
    pub fn parse(self, name: &str, sql: &str) -> Self {
        self.message(b'P', &[text(name), text(sql), vec![0, 0]].concat())
    }

    /// Bind with text parameters (`None` is NULL) and text results.
    #[must_use]
    pub fn bind(self, portal: &str, statement: &str, values: &[Option<&str>]) -> Self {
        let mut body = [text(portal), text(statement), vec![0, 0]].concat();
        body.extend((values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    body.extend((value.len() as u32).to_be_bytes());
                    body.extend(value.as_bytes());
                }
            }
        }
        body.extend([0, 0]);
        self.message(b'B', &body)
    }

    #[must_use]
    pub fn describe_statement(self, name: &str) -> Self {
        self.message(b'D', &[vec![b'S'], text(name)].concat())
    }

    #[must_use]
    pub fn describe_portal(self, name: &str) -> Self {
        self.message(b'D', &[vec![b'P'], text(name)].concat())
    }

    #[must_use]
    pub fn close_statement(self, name: &str) -> Self {
        self.message(b'C', &[vec![b'S'], text(name)].concat())
    }

    #[must_use]
    pub fn close_portal(self, name: &str) -> Self {
        self.message(b'C', &[vec![b'P'], text(name)].concat())
    }

    /// Execute; `max_rows` 0 is all of them.
    #[must_use]
    pub fn execute(self, portal: &str, max_rows: u32) -> Self {
        self.message(
            b'E',
            &[text(portal), max_rows.to_be_bytes().to_vec()].concat(),
        )
    }

    #[must_use]
    pub fn flush(self) -> Self {
        self.message(b'H', b"")
    }

    #[must_use]
    pub fn sync(self) -> Self {
        self.message(b'S', b"")
    }

    #[must_use]
    pub fn copy_data(self, data: &[u8]) -> Self {
        self.message(b'd', data)
    }

    #[must_use]
    pub fn copy_done(self) -> Self {
        self.message(b'c', b"")
    }

    #[must_use]
    pub fn copy_fail(self, why: &str) -> Self {
        self.message(b'f', &text(why))
    }

    /// FunctionCall with text arguments and a text result.
    #[must_use]
    pub fn function_call(self, oid: u32, arguments: &[&str]) -> Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend([0, 0]);
        body.extend((arguments.len() as u16).to_be_bytes());
        for argument in arguments {
            body.extend((argument.len() as u32).to_be_bytes());
            body.extend(argument.as_bytes());
        }
        body.extend([0, 0]);
        self.message(b'F', &body)
    }
}
