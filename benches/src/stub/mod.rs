//! A load that is bound by the proxy alone: a server that answers at once and clients that ask at once, both with
//! the least work a round trip can be, so that what is left is the proxy.

mod load;
mod poll;
mod server;

pub use load::{Report, run as load};
pub use server::Server;

/// How long the type byte and length of a message are.
const HEADER: usize = 5;

/// Calls `each` with the type of every whole message at the beginning of `bytes`; gives how long they are together.
///
/// PostgreSQL docs, 55.7: a type byte, then a length that counts itself.
pub fn whole_frames(bytes: &[u8], mut each: impl FnMut(u8, &[u8])) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER) {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let end = at + 1 + length.max(4);
        let Some(frame) = bytes.get(at..end) else {
            break;
        };
        each(header[0], &frame[HEADER..]);
        at = end;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::whole_frames;

    #[test]
    fn only_whole_frames_are_seen() {
        let mut bytes = vec![b'S', 0, 0, 0, 4, b'Q', 0, 0, 0, 6, b'x', 0, b'S', 0, 0];
        let mut seen = Vec::new();
        let used = whole_frames(&bytes, |tag, body| seen.push((tag, body.len())));
        assert_eq!((used, seen), (12, vec![(b'S', 0), (b'Q', 2)]));
        bytes.truncate(4);
        assert_eq!(whole_frames(&bytes, |_, _| ()), 0);
    }
}
