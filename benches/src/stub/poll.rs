//! Many sockets on one thread by epoll: as little between the kernel and the proxy's peer as there can be.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// How long a wait lasts before the caller may look whether it is to end.
const TICK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// A socket and what came in but was not used up yet.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// What a reader did with the bytes it was shown.
pub(super) struct Used {
    /// How many from the beginning it needs no more.
    pub(super) bytes: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 * 1024],
            filled: 0,
        })
    }

    /// One read, then whatever `answer` has put into `out`, in one write. False when the other side is gone.
    ///
    /// The answers are short and the other side reads them before it asks again: a write that would block means
    /// that something is wrong with it, and is treated as its end.
    fn turn(
        &mut self,
        out: &mut Vec<u8>,
        answer: &mut impl FnMut(&[u8], &mut Vec<u8>) -> Used,
    ) -> bool {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return false,
            Ok(read) => self.filled += read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        out.clear();
        let used = answer(&self.buffer[..self.filled], out).bytes;
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
        let room = self.filled < self.buffer.len();
        room && (out.is_empty() || self.stream.write_all(out).is_ok())
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }
}

/// The sockets of one thread.
pub(super) struct Poller {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    events: Vec<Event>,
    out: Vec<u8>,
}

impl Poller {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            events: Vec::with_capacity(256),
            out: Vec::with_capacity(4096),
        })
    }

    pub(super) fn add(&mut self, connection: Connection) -> std::io::Result<()> {
        let data = EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &connection.stream, data, EventFlags::IN)?;
        self.connections.push(Some(connection));
        Ok(())
    }

    pub(super) fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections.iter_mut().flatten()
    }

    /// Waits up to 20 ms and lets `answer` see what has come in on each socket, with the socket's number.
    pub(super) fn turn(
        &mut self,
        mut answer: impl FnMut(usize, &[u8], &mut Vec<u8>) -> Used,
    ) -> std::io::Result<()> {
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let index = event.data.u64() as usize;
            let Some(slot) = self.connections.get_mut(index) else {
                continue;
            };
            let alive = slot.as_mut().is_none_or(|connection| {
                connection.turn(&mut self.out, &mut |bytes, out| answer(index, bytes, out))
            });
            if !alive {
                *slot = None;
            }
        }
        Ok(())
    }
}
