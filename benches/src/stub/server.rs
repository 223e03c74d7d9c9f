//! The server that answers at once: one row, whatever is asked.
//!
//! Connections of other users than the load's (a monitor's, say) are spliced to a real server: the stub need not
//! know what a proxy asks to believe in a primary.

use super::poll::{Connection, Poller, Used};
use super::whole_frames;
use crate::problem::{Problem, Result};
use crate::stage::USER;
use pgconvoy_tests::wire::frame;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// SSLRequest and GSSENCRequest (PostgreSQL docs, 55.7): refused with a single `N`.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Connections that were let in and wait for the answering thread.
const WAITING: usize = 64;

/// A running stub. It ends with the value.
pub struct Server {
    pub port: u16,
    end: Arc<AtomicBool>,
}

impl Server {
    /// Starts it; `real` is the server for other users than the load's.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(real: u16) -> Result<Self> {
        let trouble = |error| Problem::new("start the stub server", error);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(trouble)?;
        let port = listener.local_addr().map_err(trouble)?.port();
        let end = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = sync_channel(WAITING);
        let ended = Arc::clone(&end);
        std::thread::spawn(move || answer_all(&receiver, &ended));
        let ended = Arc::clone(&end);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let sender = sender.clone();
                // A thread for each login: one that says nothing must not hold up the others.
                std::thread::spawn(move || admit(stream, real, &sender));
            }
        });
        Ok(Self { port, end })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn admit(mut stream: TcpStream, real: u16, sender: &SyncSender<Connection>) {
    let Ok(startup) = read_startup(&mut stream) else {
        return;
    };
    let user = [b"user\0", USER.as_bytes(), b"\0"].concat();
    let is_load = startup.windows(user.len()).any(|bytes| bytes == user);
    if !is_load {
        splice(stream, real, &startup);
        return;
    }
    if stream.write_all(&greeting()).is_ok()
        && let Ok(connection) = Connection::new(stream)
    {
        let _ = sender.send(connection);
    }
}

/// The startup packet as it came, its length included.
fn read_startup(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if ENCRYPTION_REQUESTS.contains(&code) {
            stream.write_all(b"N")?;
            continue;
        }
        let mut packet = head.to_vec();
        packet.resize(length.clamp(8, 10_000), 0);
        stream.read_exact(&mut packet[8..])?;
        return Ok(packet);
    }
}

/// Moves bytes both ways until one side ends.
fn splice(client: TcpStream, real: u16, startup: &[u8]) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", real)) else {
        return;
    };
    let (Ok(mut from_server), Ok(mut to_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    if server.write_all(startup).is_err() {
        return;
    }
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut client = client;
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

/// A poller that can't be made drops the receiver: the next login sees it.
fn answer_all(receiver: &Receiver<Connection>, end: &AtomicBool) {
    let Ok(mut poller) = Poller::new() else {
        return;
    };
    let answers = Answers::new();
    while !end.load(Ordering::Relaxed) {
        for connection in receiver.try_iter() {
            if poller.add(connection).is_err() {
                return;
            }
        }
        let turned = poller.turn(|_, bytes, out| Used {
            bytes: whole_frames(bytes, |tag, _| answers.to(tag, out)),
        });
        if turned.is_err() {
            return;
        }
    }
}

/// What is said after a login that asks for no password.
fn greeting() -> Vec<u8> {
    let parameters = [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "Etc/UTC"),
        ("integer_datetimes", "on"),
        ("is_superuser", "off"),
        ("session_authorization", USER),
        ("standard_conforming_strings", "on"),
        ("application_name", ""),
    ];
    let mut said = frame(b'R', &0_u32.to_be_bytes());
    for (name, value) in parameters {
        said.extend(frame(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    said.extend(frame(b'K', &[0, 0, 1, 0, 0, 0, 2, 0]));
    said.extend(ready());
    said
}

fn ready() -> Vec<u8> {
    frame(b'Z', b"I")
}

/// The answers, made once.
struct Answers {
    description: Vec<u8>,
    statement: Vec<u8>,
    row: Vec<u8>,
    query: Vec<u8>,
    parsed: Vec<u8>,
    bound: Vec<u8>,
    closed: Vec<u8>,
    ready: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        // One column `abalance` of type int4 (oid 23), in text.
        let mut column = b"\0\x01abalance\0".to_vec();
        column.extend([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0,
        ]);
        let description = frame(b'T', &column);
        let mut row = frame(b'D', &[0, 1, 0, 0, 0, 1, b'0']);
        row.extend(frame(b'C', b"SELECT 1\0"));
        let ready = ready();
        Self {
            query: [description.clone(), row.clone(), ready.clone()].concat(),
            // One parameter, int4.
            statement: [frame(b't', &[0, 1, 0, 0, 0, 23]), description.clone()].concat(),
            description,
            row,
            parsed: frame(b'1', b""),
            bound: frame(b'2', b""),
            closed: frame(b'3', b""),
            ready,
        }
    }

    /// Appends the answer to a message of this type. Describe is taken for a portal's unless a Parse precedes it:
    /// no proxy describes statements on its own.
    fn to(&self, tag: u8, out: &mut Vec<u8>) {
        let answer = match tag {
            b'Q' => &self.query,
            b'P' => &self.parsed,
            b'B' => &self.bound,
            b'D' if out.ends_with(&self.parsed) => &self.statement,
            b'D' => &self.description,
            b'E' => &self.row,
            b'C' => &self.closed,
            b'S' => &self.ready,
            _ => return,
        };
        out.extend_from_slice(answer);
    }
}
