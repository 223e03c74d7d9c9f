//! First packets as tables of raw bytes.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::protocol::to_server;

fn packet(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn startup_packet(version: u32, rest: &[u8]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend_from_slice(rest);
    packet(&body)
}

fn started(version: u32, rest: &[u8]) -> Startup {
    match first_packet(&startup_packet(version, rest)).unwrap() {
        FirstPacket::Startup(startup) => startup,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_startup_is_read_with_all_its_parameters() {
    let startup = started(0x0003_0000, b"user\0u\0database\0d\0DateStyle\0German\0\0");
    assert_eq!((startup.user(), startup.database()), ("u", "d"));
    assert_eq!(startup.get("DateStyle"), Some("German"));
    assert_eq!(startup.get("datestyle"), None);
    assert!(!startup.needs_negotiation(0));
}

#[test]
fn the_database_defaults_to_the_user_and_the_last_of_equals_counts() {
    assert_eq!(started(0x0003_0000, b"user\0u\0\0").database(), "u");
    assert_eq!(
        started(0x0003_0000, b"user\0u\0database\0\0\0").database(),
        "u"
    );
    assert_eq!(started(0x0003_0000, b"user\0a\0user\0b\0\0").user(), "b");
}

#[test]
fn newer_minors_and_protocol_options_are_negotiated() {
    let newer = started(0x0003_0002, b"user\0u\0\0");
    assert!(newer.needs_negotiation(0));
    assert!(!newer.needs_negotiation(2));
    let grease = started(0x0003_270f, b"user\0u\0_pq_.test\0v\0\0");
    assert_eq!(grease.protocol_options, ["_pq_.test"]);
    assert_eq!(grease.parameters.len(), 1);
    assert!(grease.needs_negotiation(9999));
}

#[test]
fn an_application_name_of_any_encoding_is_made_readable() {
    let startup = started(0x0003_0000, b"user\0u\0application_name\0caf\xe9\0\0");
    assert_eq!(startup.get("application_name"), Some("caf\\xe9"));
}

#[test]
fn requests_are_told_apart() {
    let mut out = BytesMut::new();
    to_server::ssl_request(&mut out);
    assert_eq!(first_packet(&out), Ok(FirstPacket::Ssl));
    assert_eq!(
        first_packet(&startup_packet(80_877_104, b"")),
        Ok(FirstPacket::GssEnc)
    );
    for length in [4, 32, 256] {
        let key = vec![7; length];
        out.clear();
        to_server::cancel_request(&mut out, 42, &key);
        let expected = Cancel {
            pid: 42,
            key: key.into(),
        };
        assert_eq!(first_packet(&out), Ok(FirstPacket::Cancel(expected)));
    }
}

#[test]
fn malformed_packets_are_refused_with_their_own_error() {
    let layout = |reason| Err(StartupError::Layout(reason));
    let unsupported = |major, minor| Err(StartupError::UnsupportedProtocol { major, minor });
    for (bytes, expected) in [
        (
            startup_packet(0x0002_0000, b"user\0u\0\0"),
            unsupported(2, 0),
        ),
        (startup_packet(0x0004_0001, b""), unsupported(4, 1)),
        (startup_packet(80_877_105, b""), unsupported(1234, 5681)),
        (
            startup_packet(0x0003_0000, b""),
            layout("a string is not terminated"),
        ),
        (
            startup_packet(0x0003_0000, b"user\0u"),
            layout("a string is not terminated"),
        ),
        (
            startup_packet(0x0003_0000, b"user\0u\0"),
            layout("a string is not terminated"),
        ),
        (
            startup_packet(0x0003_0000, b"user\0u\0\0x"),
            layout("expected terminator as last byte"),
        ),
        (
            startup_packet(0x0003_0000, b"\0"),
            Err(StartupError::NoUser),
        ),
        (
            startup_packet(0x0003_0000, b"user\0\0\0"),
            Err(StartupError::NoUser),
        ),
        (
            startup_packet(0x0003_0000, b"user\0\xff\0\0"),
            Err(StartupError::Encoding("user".to_owned())),
        ),
        (
            startup_packet(80_877_103, b"x"),
            layout("bytes follow its end"),
        ),
        (
            startup_packet(80_877_102, b"\0\0\0\x01abc"),
            layout("the cancel key is not 4 to 256 bytes long"),
        ),
        (
            startup_packet(80_877_102, b"\0\0"),
            layout("it is too short"),
        ),
    ] {
        assert_eq!(first_packet(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_awaited() {
    assert_eq!(packet_len(b"\0\0\0"), Ok(None));
    assert_eq!(packet_len(&8_u32.to_be_bytes()), Ok(Some(8)));
    assert_eq!(packet_len(&10_004_u32.to_be_bytes()), Ok(Some(10_004)));
    for word in [0, 4, 7, 10_005, u32::MAX, 0x8000_0000] {
        assert_eq!(
            packet_len(&word.to_be_bytes()),
            Err(StartupError::Length),
            "{word}"
        );
    }
    assert_eq!(packet_len(b"GET / HTTP/1.1"), Err(StartupError::Length));
}

#[test]
fn a_cancel_key_never_shows_in_debug_output() {
    let cancel = Cancel {
        pid: 1,
        key: Bytes::from_static(b"hunter22"),
    };
    assert!(!format!("{cancel:?}").contains("hunter"));
    assert!(!format!("{cancel:?}").contains("104"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = first_packet(&body);
        let _ = first_packet(&packet(&body));
        let _ = first_packet(&startup_packet(0x0003_0000, &body));
        let _ = first_packet(&startup_packet(80_877_102, &body));
    }

    #[test]
    fn what_we_send_we_can_read(user in "[a-z]{1,20}", value in "[^\0]{0,40}") {
        let mut out = BytesMut::new();
        to_server::startup(&mut out, 0, [("user", user.as_str()), ("x", value.as_str())]);
        let FirstPacket::Startup(startup) = first_packet(&out).unwrap() else { panic!() };
        prop_assert_eq!(startup.user(), user);
        prop_assert_eq!(startup.get("x"), Some(value.as_str()));
    }
}
