//! Many sends in one system call, by io_uring (Linux 5.6; man io_uring_enter(2)).
//!
//! The only unsafe code of pgconvoy. What makes it sound: [`Ring::send_each`] borrows the sockets and
//! the bytes and returns only when the kernel is done with all of them. It is done at once: a send
//! with MSG_DONTWAIT is carried out or refused while it is submitted, never kept for later.
#![allow(
    unsafe_code,
    reason = "the kernel reads the submitted bytes; see above for why they are there"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, Probe, opcode, types};

/// Sends that one call of [`Ring::send_each`] takes at most.
pub(super) const MOST: usize = 64;

/// What a submission is asked again for want of memory in the kernel.
const PATIENCE: usize = 1000;

/// One thread's ring.
pub(super) struct Ring {
    ring: IoUring,
}

/// The kernel won't work with the ring any more. What was not reported has not been sent.
#[derive(Debug)]
pub(super) struct Broken(pub(super) io::Error);

impl Ring {
    /// A ring for the calling thread.
    ///
    /// # Errors
    /// When the kernel has none, or does not allow it (`kernel.io_uring_disabled`, seccomp).
    pub(super) fn new() -> io::Result<Self> {
        let entries = u32::try_from(MOST).unwrap_or(u32::MAX);
        // The flags are of Linux 6.0; before that it works without.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .build(entries)
            .or_else(|_| IoUring::new(entries))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring })
    }

    /// Sends each of `jobs` (at most [`MOST`]) as far as its socket takes it, and reports each by
    /// its place: the bytes taken, or why none were (`WouldBlock` when the socket is full).
    pub(super) fn send_each<'a>(
        &mut self,
        jobs: impl Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        mut report: impl FnMut(usize, io::Result<usize>),
    ) -> Result<(), Broken> {
        let mut left = 0;
        for (place, (socket, bytes)) in jobs.take(MOST).enumerate() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(place as u64);
            // SAFETY: `socket` and `bytes` outlive this call, which ends when all sends have ended
            // (module docs); after `Broken` the ring is not entered again, so none begins later.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_err() {
                return Err(Broken(io::ErrorKind::OutOfMemory.into()));
            }
            left += 1;
        }
        let mut patience = PATIENCE;
        while left > 0 {
            let submitted = self.ring.submit_and_wait(left);
            for completion in self.ring.completion() {
                left -= 1;
                let place = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                report(place, sent(completion.result()));
            }
            match submitted {
                Ok(_) => {}
                Err(e) if is_passing(&e) && patience > 0 => patience -= 1,
                Err(e) => return Err(Broken(e)),
            }
        }
        Ok(())
    }
}

/// A completion's result: bytes, or an error number below zero.
fn sent(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Interrupted, or short of memory.
fn is_passing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [libc::EINTR, libc::EAGAIN, libc::EBUSY].contains(&code.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::{MOST, Ring};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn each_socket_gets_its_bytes_and_each_job_its_result() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("SKIPPED: no io_uring here");
            return;
        };
        let mut pairs: Vec<_> = (0..MOST).map(|_| pair()).collect();
        for round in 0..5_usize {
            let texts: Vec<_> = (0..MOST).map(|i| format!("{round} to {i}")).collect();
            let mut taken = vec![0; MOST];
            let jobs = pairs
                .iter()
                .zip(&texts)
                .map(|((near, _), text)| (near.as_fd(), text.as_bytes()));
            ring.send_each(jobs, |place, result| taken[place] += result.unwrap())
                .unwrap();
            for (i, (_, far)) in pairs.iter_mut().enumerate() {
                assert_eq!(taken[i], texts[i].len());
                let mut got = vec![0; texts[i].len()];
                far.read_exact(&mut got).unwrap();
                assert_eq!(got, texts[i].as_bytes());
            }
        }
    }

    #[test]
    fn a_full_socket_takes_a_part_and_then_nothing_and_never_waits() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("SKIPPED: no io_uring here");
            return;
        };
        // It blocks, as far as the socket goes: only the flag keeps the send from waiting.
        let (near, _far) = pair();
        let much = vec![7; 64 << 20];
        let mut results = Vec::new();
        for _ in 0..2 {
            let job = [(near.as_fd(), &much[..])];
            ring.send_each(job.into_iter(), |_, result| results.push(result))
                .unwrap();
        }
        assert!((1..much.len()).contains(results[0].as_ref().unwrap()));
        let full = results[1].as_ref().unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn one_broken_socket_does_not_keep_the_others_from_theirs() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("SKIPPED: no io_uring here");
            return;
        };
        let (gone, (near, mut far)) = (pair().0, pair());
        gone.shutdown(std::net::Shutdown::Both).unwrap();
        let jobs = [(gone.as_fd(), &b"x"[..]), (near.as_fd(), &b"y"[..])];
        let mut results = Vec::new();
        ring.send_each(jobs.into_iter(), |place, result| {
            results.push((place, result.map_err(|e| e.kind())));
        })
        .unwrap();
        results.sort_by_key(|(place, _)| *place);
        let broken = std::io::ErrorKind::BrokenPipe;
        assert_eq!(results, [(0, Err(broken)), (1, Ok(1))]);
        let mut got = [0];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"y");
    }
}
