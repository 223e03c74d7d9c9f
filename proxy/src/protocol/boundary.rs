//! Where messages end in a stream that is passed on unread: between two of them there is room for
//! one of ours. PURE. Knows the framing and nothing of what messages mean.

use super::frame::HEADER;

/// How far one direction of a connection is in its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The header of the next message, as far as it has come.
    head: [u8; HEADER],
    head_len: usize,
    /// Bytes of the present message's body that are still to come.
    left: u64,
    tag: u8,
}

impl Boundary {
    /// Takes note of bytes that pass. A length that no message has is taken as that of an empty
    /// one: the peer that reads it finds out.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped =
                    usize::try_from(self.left).map_or(bytes.len(), |l| l.min(bytes.len()));
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let (Some(place), Some((byte, rest))) =
                (self.head.get_mut(self.head_len), bytes.split_first())
            else {
                return;
            };
            *place = *byte;
            self.head_len += 1;
            bytes = rest;
            if self.head_len == HEADER {
                let [tag, a, b, c, d] = self.head;
                self.tag = tag;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d])).saturating_sub(4);
                self.head_len = 0;
            }
        }
    }

    /// Whether the next byte begins a message.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.head_len == 0
    }

    /// The type of the last message of which the header has passed; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u8 {
        self.tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_are_found_however_the_bytes_are_cut() {
        let stream = b"Z\0\0\0\x05Id\0\0\0\x07abcc\0\0\0\x04";
        let ends = [6, 14, 19];
        for cut in 1..=stream.len() {
            let mut boundary = Boundary::default();
            let mut passed = 0;
            for part in stream.chunks(cut) {
                boundary.pass(part);
                passed += part.len();
                assert_eq!(
                    boundary.is_between(),
                    ends.contains(&passed),
                    "{cut} {passed}"
                );
            }
            assert_eq!(boundary.last(), b'c');
        }
        assert!(Boundary::default().is_between());
        assert_eq!(Boundary::default().last(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_pass(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let (mut whole, mut cut) = (Boundary::default(), Boundary::default());
            whole.pass(&parts.concat());
            parts.iter().for_each(|part| cut.pass(part));
            prop_assert_eq!(whole, cut);
        }
    }
}
