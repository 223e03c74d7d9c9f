//! Headers as tables of raw bytes.

use proptest::prelude::*;

use super::*;

fn header(tag: u8, length: i32) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn a_header_needs_five_bytes() {
    let whole = header(b'Q', 9);
    for short in 0..HEADER {
        assert_eq!(peek(&whole[..short]), Ok(None));
        assert_eq!(peek_frontend(&whole[..short]), Ok(None));
        assert_eq!(peek_backend(&whole[..short]), Ok(None));
    }
    let expected = Header { tag: b'Q', len: 10 };
    assert_eq!(peek(&whole), Ok(Some(expected)));
    assert_eq!(peek_frontend(&whole), Ok(Some((Frontend::Query, expected))));
    assert_eq!(expected.body_len(), 5);
}

#[test]
fn lengths_no_message_of_the_type_can_have_are_refused() {
    let large = i32::try_from(LARGE).unwrap();
    let small = i32::try_from(SMALL).unwrap();
    for (tag, length, accepted) in [
        (b'Q', large, true),
        (b'Q', large + 1, false),
        (b'Q', 4, false),
        (b'Q', -1, false),
        (b'Q', i32::MIN, false),
        (b'd', 4, true),
        (b'd', 3, false),
        (b'S', 4, true),
        (b'S', 5, false),
        (b'H', 0, false),
        (b'X', 8, false),
        (b'E', small, true),
        (b'E', small + 1, false),
        (b'D', 5, false),
        (b'C', small + 1, false),
        (b'p', 65_535, true),
        (b'p', 65_536, false),
        (b'p', 0, false),
    ] {
        let result = peek_frontend(&header(tag, length));
        assert_eq!(result.is_ok(), accepted, "{} {length}", char::from(tag));
    }
    for (tag, length, accepted) in [
        (b'Z', 5, true),
        (b'Z', 4, false),
        (b'Z', 6, false),
        (b'K', 12, true),
        (b'K', 264, true),
        (b'K', 265, false),
        (b'D', large, true),
        (b'D', 4, false),
        (b'1', 5, false),
        (b't', 4 + 2 + 65_535 * 4, true),
        (b'R', 70_000, false),
        (b'E', 4, true),
    ] {
        let result = peek_backend(&header(tag, length));
        assert_eq!(result.is_ok(), accepted, "{} {length}", char::from(tag));
    }
}

#[test]
fn unknown_types_are_refused_whatever_their_length() {
    assert_eq!(
        peek_frontend(&header(b'q', 4)),
        Err(FrameError::UnknownType { tag: b'q' })
    );
    assert_eq!(
        peek_frontend(b"\0\xff\xff\xff\xff"),
        Err(FrameError::UnknownType { tag: 0 })
    );
    assert_eq!(
        peek_backend(&header(b'Q', 9)),
        Err(FrameError::UnknownType { tag: b'Q' })
    );
    let error = FrameError::UnknownType { tag: 7 };
    assert_eq!(error.to_string(), "invalid message type 0x07");
    assert_eq!(error.sqlstate(), "08P01");
}

#[test]
fn statuses_are_their_bytes() {
    for status in [
        TransactionStatus::Idle,
        TransactionStatus::InTransaction,
        TransactionStatus::Failed,
    ] {
        assert_eq!(TransactionStatus::from_byte(status.as_byte()), Some(status));
    }
    assert_eq!(TransactionStatus::from_byte(b'i'), None);
}

proptest! {
    #[test]
    fn a_header_is_accepted_with_at_least_five_bytes_or_refused(bytes: [u8; 5]) {
        let seen = [
            peek(&bytes),
            peek_frontend(&bytes).map(|h| h.map(|(_, h)| h)),
            peek_backend(&bytes).map(|h| h.map(|(_, h)| h)),
        ];
        for header in seen.into_iter().flatten() {
            let header = header.unwrap();
            prop_assert!((HEADER..=LARGE + 1).contains(&header.len));
        }
    }
}
