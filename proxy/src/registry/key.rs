//! Cancel keys: how a client's process id names the instance that gave it, and what marks a request
//! that a peer has passed on (decision 0010). PURE.
//!
//! From the top bit: 1 "passed on", 8 the instance, 23 the client's number there.

/// Bits of the client's number.
const NUMBER_BITS: u32 = 23;

/// The top bit: no client is told a process id that has it.
const PASSED_ON: u32 = 1 << 31;

/// An instance among its peers, 1 to 255; 0 is one without peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerId(pub u8);

/// How much of a cancel secret a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    /// Protocol 3.0 and 3.1: 4 bytes.
    Short,
    /// Protocol 3.2: as long as PostgreSQL's own, 32 bytes.
    Long,
}

impl KeyLength {
    /// In bytes.
    #[must_use]
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Short => 4,
            Self::Long => 32,
        }
    }
}

/// The process id of an instance's client; `None` for a number that would look like none.
pub(super) fn pid(instance: PeerId, number: u32) -> Option<i32> {
    let number = number & ((1 << NUMBER_BITS) - 1);
    let pid = u32::from(instance.0) << NUMBER_BITS | number;
    i32::try_from(pid).ok().filter(|_| number > 0)
}

/// Which instance a process id names.
#[must_use]
pub fn instance_of(pid: i32) -> PeerId {
    let [first, second, ..] = (pid.cast_unsigned() & !PASSED_ON).to_be_bytes();
    PeerId(first << 1 | second >> 7)
}

/// Whether a peer has passed the request on already: it must go no further.
#[must_use]
pub fn was_passed_on(pid: i32) -> bool {
    pid.cast_unsigned() & PASSED_ON != 0
}

/// The process id as the instance itself gave it.
pub(super) fn original(pid: i32) -> i32 {
    (pid.cast_unsigned() & !PASSED_ON).cast_signed()
}

/// The process id to pass a request on with.
#[must_use]
pub fn passed_on(pid: i32) -> i32 {
    (pid.cast_unsigned() | PASSED_ON).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_is_named_by_its_pids_and_no_pid_looks_passed_on() {
        for id in 0..=u8::MAX {
            for number in [1, 2, 77, (1 << NUMBER_BITS) - 1, u32::MAX] {
                let pid = pid(PeerId(id), number).unwrap();
                assert!(pid > 0, "tools expect a process id");
                assert_eq!(instance_of(pid), PeerId(id));
                assert!(!was_passed_on(pid));
                let marked = passed_on(pid);
                assert!(was_passed_on(marked) && was_passed_on(passed_on(marked)));
                assert_eq!((instance_of(marked), original(marked)), (PeerId(id), pid));
            }
        }
        assert_eq!(pid(PeerId(3), 0), None);
        assert_eq!(
            pid(PeerId(3), 1 << NUMBER_BITS),
            None,
            "the number comes round"
        );
    }

    #[test]
    fn an_instance_without_peers_gives_small_pids() {
        assert_eq!(pid(PeerId::default(), 41), Some(41));
    }
}
