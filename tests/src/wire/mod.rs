//! A client that speaks the PostgreSQL protocol (3.0 unless told otherwise) by hand over one blocking socket.
//!
//! It shares nothing with the proxy's own framing, shows every message as it came, and can send what no driver
//! would. Every read has a deadline, so that a hang is a failed test and not a stuck one.

mod batch;
mod login;
mod message;

pub use batch::{Batch, frame, startup};
pub use message::{Message, ServerError, codes, row, tags};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// Where a read goes first: room that is made anew for each read would be most of what a read costs.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]);
}

/// What one simple query gave back.
pub type Rows = Vec<Vec<Option<String>>>;

/// One connection. Dropping it closes the socket without a Terminate message, as a killed client does.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    /// The ParameterStatus values seen so far.
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData: process id and secret.
    pub key: (i32, Vec<u8>),
    /// Of the last ReadyForQuery: `I`, `T` or `E`.
    pub status: u8,
    /// NoticeResponse messages seen by `query`.
    pub notices: Vec<ServerError>,
    /// NotificationResponse messages seen by `query`: channel and payload.
    pub notifications: Vec<(String, String)>,
}

impl Wire {
    /// A socket on which nothing has been said yet.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(port: u16) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// A socket that somebody else has opened; what it sends next has to be a message with a tag.
    ///
    /// # Errors
    /// When the socket can't be set up.
    pub fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            parameters: BTreeMap::new(),
            key: (0, Vec::new()),
            status: 0,
            notices: Vec::new(),
            notifications: Vec::new(),
        })
    }

    /// Logs in as `user` without a password.
    ///
    /// # Errors
    /// The server's refusal; a socket error shows as SQLSTATE 08006.
    pub fn connect(port: u16, user: &str, database: &str) -> Result<Self, ServerError> {
        Self::login(port, &[("user", user), ("database", database)], None)
    }

    /// Logs in with these startup parameters and password, by whatever method the server asks for.
    ///
    /// # Errors
    /// As [`Wire::connect`].
    pub fn login(
        port: u16,
        parameters: &[(&str, &str)],
        password: Option<&str>,
    ) -> Result<Self, ServerError> {
        Self::login_as_of(0x0003_0000, port, parameters, password)
    }

    /// Logs in with another version of the protocol, as `0x0003_0002`.
    ///
    /// # Errors
    /// As [`Wire::connect`].
    pub fn login_as_of(
        version: u32,
        port: u16,
        parameters: &[(&str, &str)],
        password: Option<&str>,
    ) -> Result<Self, ServerError> {
        let mut wire = Self::open(port).map_err(|error| ServerError::lost(&error.to_string()))?;
        // A listener that closes resets what waits in its queue.
        wire.try_send(&startup(version, parameters))
            .map_err(|error| ServerError::lost(&error.to_string()))?;
        let user = parameters
            .iter()
            .find(|(name, _)| *name == "user")
            .map_or("", |(_, user)| user);
        login::run(&mut wire, user, password)?;
        Ok(wire)
    }

    /// Sets the deadline of each read from now on.
    pub fn patience(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send to the server");
    }

    /// Like `send`, for a peer that may already have hung up.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message; `None` when the peer has closed the connection (or reset it).
    /// Panics when nothing comes within the deadline.
    pub fn receive(&mut self) -> Option<Message> {
        let length = self.frame_length()?;
        let body = self.buffer[self.start + 5..self.start + length].to_vec();
        let message = Message {
            tag: self.buffer[self.start],
            body,
        };
        self.start += length;
        self.note(&message);
        Some(message)
    }

    /// Waits for the next byte: true when none comes within the deadline of a read.
    pub fn stays_silent(&mut self) -> bool {
        let is_late = |error: std::io::Error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        };
        self.buffer.len() == self.start && self.stream.peek(&mut [0]).is_err_and(is_late)
    }

    /// The next message of a peer that must not hang up.
    pub fn message(&mut self) -> Message {
        self.receive().expect("the server closed the connection")
    }

    /// Passes over the next message without keeping it: its tag and whole length in bytes.
    pub fn skip(&mut self) -> Option<(u8, usize)> {
        let length = self.frame_length()?;
        let tag = self.buffer[self.start];
        if matches!(tag, b'Z' | b'E') {
            let message = self.receive()?;
            return Some((message.tag, length));
        }
        self.start += length;
        Some((tag, length))
    }

    /// One byte outside of any frame: the answer to SSLRequest and GSSENCRequest.
    pub fn byte(&mut self) -> Option<u8> {
        self.fill(1).then(|| {
            self.start += 1;
            self.buffer[self.start - 1]
        })
    }

    /// Reads until the next whole frame is in the buffer and gives its length.
    fn frame_length(&mut self) -> Option<usize> {
        if !self.fill(5) {
            return None;
        }
        let head: [u8; 4] = self.buffer[self.start + 1..self.start + 5]
            .try_into()
            .unwrap();
        let length = u32::from_be_bytes(head) as usize + 1;
        self.fill(length).then_some(length)
    }

    fn fill(&mut self, wanted: usize) -> bool {
        while self.buffer.len() - self.start < wanted {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let got = SCRATCH.with_borrow_mut(|scratch| {
                let got = receive_some(&mut self.stream, scratch);
                self.buffer.extend_from_slice(&scratch[..got]);
                got
            });
            if got == 0 {
                return false;
            }
        }
        true
    }

    fn note(&mut self, message: &Message) {
        match message.tag {
            b'S' => {
                let (name, value) = message.pair();
                self.parameters.insert(name, value);
            }
            b'K' => {
                let pid: [u8; 4] = message.body[..4].try_into().unwrap();
                self.key = (i32::from_be_bytes(pid), message.body[4..].to_vec());
            }
            b'Z' => self.status = message.body[0],
            b'N' => self.notices.push(ServerError::parse(&message.body)),
            b'A' => self.notifications.push(message.notification()),
            _ => {}
        }
    }

    /// Every message up to and with the next ReadyForQuery.
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.message();
            let ready = message.tag == b'Z';
            messages.push(message);
            if ready {
                return messages;
            }
        }
    }

    /// Sends a batch and gives every message up to the next ReadyForQuery.
    pub fn ask(&mut self, batch: &Batch) -> Vec<Message> {
        self.send(batch.bytes());
        self.until_ready()
    }

    /// A simple query: all rows of all its statements as text.
    ///
    /// # Errors
    /// The first ErrorResponse; a connection that closes shows as SQLSTATE 08006.
    pub fn query(&mut self, sql: &str) -> Result<Rows, ServerError> {
        if self
            .try_send(&frame(b'Q', &[sql.as_bytes(), b"\0"].concat()))
            .is_err()
        {
            return Err(self.last_words());
        }
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let Some(message) = self.receive() else {
                return Err(failed.unwrap_or_else(|| ServerError::lost("closed during a query")));
            };
            match message.tag {
                b'D' => rows.push(row(&message)),
                b'E' => failed = failed.or(Some(ServerError::parse(&message.body))),
                b'Z' => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// What the server said before it closed the connection.
    fn last_words(&mut self) -> ServerError {
        while let Some(message) = self.receive() {
            if message.tag == b'E' {
                return ServerError::parse(&message.body);
            }
        }
        ServerError::lost("the connection is closed")
    }

    /// A simple query that must succeed.
    pub fn run(&mut self, sql: &str) -> Rows {
        self.query(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first column of the first row of a query that must succeed; "" for NULL.
    pub fn one(&mut self, sql: &str) -> String {
        let rows = self.run(sql);
        let first = rows.first().and_then(|row| row.first());
        first
            .unwrap_or_else(|| panic!("no row: {sql}"))
            .clone()
            .unwrap_or_default()
    }

    /// A simple query that must fail: its error.
    pub fn fails(&mut self, sql: &str) -> ServerError {
        match self.query(sql) {
            Ok(rows) => panic!("{sql}: should have failed, gave {rows:?}"),
            Err(error) => error,
        }
    }

    /// A row by the extended protocol, unnamed statement and portal, text parameters.
    ///
    /// # Errors
    /// The ErrorResponse, if one came.
    pub fn execute(&mut self, sql: &str, arguments: &[&str]) -> Result<Rows, ServerError> {
        let arguments: Vec<_> = arguments.iter().copied().map(Some).collect();
        let batch = Batch::new()
            .parse("", sql)
            .bind("", "", &arguments)
            .execute("", 0)
            .sync();
        let replies = self.ask(&batch);
        if let Some(error) = replies.iter().find(|message| message.tag == b'E') {
            return Err(ServerError::parse(&error.body));
        }
        Ok(replies
            .iter()
            .filter(|message| message.tag == b'D')
            .map(row)
            .collect())
    }

    /// Waits for a FATAL that nobody asked for, or for the close: `None` when the socket closed without a word.
    pub fn farewell(&mut self) -> Option<ServerError> {
        let mut words = None;
        while let Some(message) = self.receive() {
            if message.tag == b'E' {
                words = Some(ServerError::parse(&message.body));
            }
        }
        words
    }

    /// Ends the sending: the other end reads its end of file and may still answer.
    pub fn half_close(&mut self) {
        // It may have hung up already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Says Terminate and closes.
    pub fn close(mut self) {
        let _ = self.try_send(&frame(b'X', b""));
    }
}

/// What one read brings; 0 is the end, which a reset is, too.
fn receive_some(stream: &mut TcpStream, into: &mut [u8]) -> usize {
    loop {
        match stream.read(into) {
            Ok(got) => return got,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return 0,
            // A read with a deadline is not begun again by the kernel after a stop of the process.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no answer from the server: {error}"),
        }
    }
}

/// Sends a CancelRequest on a connection of its own and waits until the server has closed it.
pub fn cancel(port: u16, key: &(i32, Vec<u8>)) {
    let mut wire = begin_cancel(port, key);
    assert!(wire.receive().is_none(), "a cancel request gets no answer");
}

/// Sends a CancelRequest; the server closes the connection when it has acted on it.
pub fn begin_cancel(port: u16, key: &(i32, Vec<u8>)) -> Wire {
    let mut wire = Wire::open(port).expect("connect for a cancel request");
    let mut body = 80_877_102_i32.to_be_bytes().to_vec();
    body.extend(key.0.to_be_bytes());
    body.extend(&key.1);
    let length = (body.len() + 4) as u32;
    wire.send(&[&length.to_be_bytes()[..], &body].concat());
    wire
}
