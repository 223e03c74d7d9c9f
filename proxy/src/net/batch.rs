//! What a worker thread has to send, collected over one turn of its event loop and sent in one
//! system call.
//!
//! Why: nearly all of a proxy's time is spent in sends (decision 0006). Sent one by one, each wakes a
//! process that then often takes the CPU from us in the middle of our turn.
//!
//! A thread without a ring sends nothing this way: [`offer`] declines and the caller writes.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;

use super::ring::{self, Ring};
use super::socket::Socket;

/// More than this goes out by itself: copying is what it costs then.
const SMALL: usize = 16 * 1024;

/// So many wait at most; the rest of a turn's sends follow in another call. More saves no more CPU, and
/// keeps the other cores waiting for work.
const FULL: usize = 8;

/// Sends wait for so many reads at most, in case the turn is long.
const READS: usize = 64;

/// Buffers kept for the next to lend.
const SPARE: usize = 64;

const _: () = assert!(FULL <= ring::MOST);

struct Queued {
    socket: Arc<Socket>,
    bytes: BytesMut,
    /// Whom to wake when not all of it was taken.
    waker: Waker,
}

struct Batch {
    ring: Ring,
    queued: Vec<Queued>,
    spare: Vec<BytesMut>,
    reads: usize,
}

thread_local! {
    static BATCH: RefCell<Option<Batch>> = const { RefCell::new(None) };
}

/// The calling thread's sends are collected from now on. Its event loop must call [`flush`] before
/// it sleeps.
///
/// # Errors
/// When there is no io_uring: all goes on without.
pub fn install() -> io::Result<()> {
    let batch = Batch {
        ring: Ring::new()?,
        queued: Vec::with_capacity(FULL),
        spare: Vec::with_capacity(SPARE),
        reads: 0,
    };
    BATCH.with_borrow_mut(|place| *place = Some(batch));
    Ok(())
}

/// Sends all that waits.
pub fn flush() {
    BATCH.with_borrow_mut(|place| {
        let Some(batch) = place else { return };
        if let Err(ring::Broken(e)) = batch.send() {
            tracing::error!(error = %e, "io_uring failed: writes go one by one from now on");
            *place = None;
        }
    });
}

/// Takes `length` bytes to be sent in this turn: those that `fill` makes of an empty buffer. `false`,
/// and `fill` not called, when they must be written at once instead; what waits has been sent then,
/// so that it doesn't wait for a large write.
pub(super) fn offer(
    socket: &Arc<Socket>,
    length: usize,
    waker: &Waker,
    fill: impl FnOnce(BytesMut) -> BytesMut,
) -> bool {
    let (taken, full) = BATCH.with_borrow_mut(|place| match place {
        Some(batch) if length <= SMALL => {
            let empty = batch.spare.pop().unwrap_or_default();
            batch.queued.push(Queued {
                socket: Arc::clone(socket),
                bytes: fill(empty),
                waker: waker.clone(),
            });
            (true, batch.queued.len() >= FULL)
        }
        Some(_) => (false, true),
        None => (false, false),
    });
    if full {
        flush();
    }
    taken
}

/// Something was read: a turn that reads on and on must not keep what waits.
pub(super) fn count_read() {
    let long = BATCH.with_borrow_mut(|place| match place {
        Some(batch) if !batch.queued.is_empty() => {
            batch.reads += 1;
            batch.reads >= READS
        }
        Some(_) | None => false,
    });
    if long {
        flush();
    }
}

impl Batch {
    fn send(&mut self) -> Result<(), ring::Broken> {
        self.reads = 0;
        if self.queued.is_empty() {
            return Ok(());
        }
        let queued = &self.queued;
        let jobs = queued.iter().map(|q| (q.socket.as_fd(), &q.bytes[..]));
        let mut done = [false; ring::MOST];
        let result = self.ring.send_each(jobs, |place, sent| {
            let (Some(queued), Some(done)) = (queued.get(place), done.get_mut(place)) else {
                return;
            };
            *done = true;
            queued.settle(sent);
        });
        for (queued, done) in queued.iter().zip(done) {
            if !done {
                queued.settle(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        for mut queued in self.queued.drain(..) {
            if self.spare.len() < SPARE && queued.bytes.capacity() > 0 {
                queued.bytes.clear();
                self.spare.push(queued.bytes);
            }
        }
        result
    }
}

impl Queued {
    /// Tells the socket what came of it.
    fn settle(&self, sent: io::Result<usize>) {
        let sent = match sent {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
        if !self.socket.settled(&self.bytes, sent) {
            self.waker.wake_by_ref();
        }
    }
}
