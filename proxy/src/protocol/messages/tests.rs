//! Bodies as tables of raw bytes: decoded whole or refused, never by halves.

use proptest::prelude::*;

use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, FrameError>) {
    assert!(matches!(result, Err(FrameError::Body { .. })), "{result:?}");
}

#[test]
fn parse_is_taken_apart_without_copying_or_decoding_text() {
    let decoded = parse(b"n\xff\0select '\xe4'\0\0\x01\0\0\0\x17").unwrap();
    assert_eq!(decoded.name, b"n\xff");
    assert_eq!(decoded.query, b"select '\xe4'");
    assert_eq!(decoded.types, b"\0\x01\0\0\0\x17");
}

#[test]
fn malformed_parses_are_refused() {
    for body in [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"\0select 1",
        b"\0select 1\0\0\x01",
        b"\0select 1\0\0\x02\0\0\0\x17",
        b"\0select 1\0\0\0extra",
        b"\0select\0 1\0\0\0",
    ] {
        refused(parse(body));
    }
}

#[test]
fn bind_names_are_read_from_any_prefix_that_has_them() {
    let body = b"portal\0statement\0\0\0\0\0\0\0";
    for short in 0..17 {
        assert_eq!(bind_names(&body[..short]), Ok(None), "{short}");
    }
    for enough in 17..=body.len() {
        let names = bind_names(&body[..enough]).unwrap().unwrap();
        assert_eq!(names.portal, b"portal");
        assert_eq!(names.statement, b"statement");
        assert_eq!(names.used, 17);
    }
}

#[test]
fn a_name_without_end_is_refused_once_it_is_too_long() {
    assert_eq!(bind_names(&vec![b'x'; MAX_NAME]), Ok(None));
    refused(bind_names(&vec![b'x'; MAX_NAME + 1]));
    let mut second = vec![0];
    second.extend(vec![b'x'; MAX_NAME + 1]);
    refused(bind_names(&second));
    let mut longest = vec![b'x'; MAX_NAME];
    longest.extend_from_slice(b"\0\0");
    assert_eq!(bind_names(&longest).unwrap().unwrap().used, MAX_NAME + 2);
    assert_eq!(parse_name(b"ab\0rest"), Ok(Some(&b"ab"[..])));
    assert_eq!(parse_name(b"ab"), Ok(None));
}

#[test]
fn small_messages_must_be_used_up() {
    refused(describe(b""));
    refused(describe(b"S"));
    refused(describe(b"Sx"));
    refused(describe(b"Xx\0"));
    refused(describe(b"Sx\0y"));
    refused(close(b"Px\0\0"));
    refused(execute(b""));
    refused(execute(b"\0\0\0\0"));
    refused(execute(b"\0\0\0\0\0\0"));
    refused(query(b""));
    refused(query(b"select 1"));
    refused(query(b"select 1\0tail"));
    refused(query(b"select\0 1\0"));
    refused(password(b""));
    refused(password(b"x\0y\0"));
    refused(parameter_status(b"a\0b"));
    refused(parameter_status(b"a\0b\0c"));
    refused(ready_for_query(b""));
    refused(ready_for_query(b"X"));
    refused(ready_for_query(b"II"));
    refused(notification(b"\0\0\0\x01a\0"));
    refused(command_complete(b"SELECT 1"));
}

#[test]
fn sound_server_messages_are_read() {
    assert_eq!(
        parameter_status(b"TimeZone\0UTC\0"),
        Ok((&b"TimeZone"[..], &b"UTC"[..]))
    );
    assert_eq!(ready_for_query(b"T"), Ok(TransactionStatus::InTransaction));
    assert_eq!(command_complete(b"INSERT 0 1\0"), Ok(&b"INSERT 0 1"[..]));
    let note = notification(b"\0\0\0\x07c\0it's\0").unwrap();
    assert_eq!(
        (note.pid, note.channel, note.payload),
        (7, &b"c"[..], &b"it's"[..])
    );
}

#[test]
fn cancel_keys_of_every_protocol_version_are_read_and_never_shown() {
    for length in [4_usize, 32, 256] {
        let mut body = 9_i32.to_be_bytes().to_vec();
        body.extend(vec![b'k'; length]);
        let key = backend_key(&body).unwrap();
        assert_eq!((key.pid, key.key.len()), (9, length));
        assert_eq!(format!("{key:?}"), "BackendKey { pid: 9, .. }");
    }
    refused(backend_key(b"\0\0\0\x09abc"));
    refused(backend_key(&[0; 261]));
}

#[test]
fn authentication_requests_are_checked_against_their_code() {
    assert_eq!(authentication(b"\0\0\0\0"), Ok(Authentication::Ok));
    assert_eq!(
        authentication(b"\0\0\0\x63abc"),
        Ok(Authentication::Unknown(99))
    );
    refused(authentication(b""));
    refused(authentication(b"\0\0\0\0x"));
    refused(authentication(b"\0\0\0\x05abc"));
    refused(authentication(b"\0\0\0\x05abcde"));
    refused(authentication(b"\0\0\0\x0aSCRAM-SHA-256\0"));
    refused(authentication(b"\0\0\0\x0a\0more"));
}

#[test]
fn sasl_initial_lengths_are_not_believed() {
    assert_eq!(sasl_initial(b"M\0\xff\xff\xff\xff").unwrap().data, None);
    assert_eq!(
        sasl_initial(b"M\0\0\0\0\x01x").unwrap().data,
        Some(&b"x"[..])
    );
    for body in [
        &b"M"[..],
        b"M\0\0\0\0\x02x",
        b"M\0\0\0\0\x01xy",
        b"M\0\x7f\xff\xff\xffx",
        b"M\0\xff\xff\xff\xfe",
        b"M\0\xff\xff\xff\xffx",
    ] {
        assert!(sasl_initial(body).is_err(), "{body:?}");
    }
}

#[test]
fn an_absurd_option_count_costs_nothing() {
    refused(negotiate_protocol_version(b"\0\x03\0\0\x7f\xff\xff\xff"));
    refused(negotiate_protocol_version(b"\0\x03\0\0\0\0\0\0x\0"));
}

proptest! {
    #[test]
    fn no_decoder_panics(body in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&body);
        let _ = bind_names(&body);
        let _ = parse_name(&body);
        let _ = describe(&body);
        let _ = close(&body);
        let _ = execute(&body);
        let _ = query(&body);
        let _ = password(&body);
        let _ = sasl_initial(&body);
        let _ = authentication(&body);
        let _ = backend_key(&body);
        let _ = parameter_status(&body);
        let _ = ready_for_query(&body);
        let _ = notification(&body);
        let _ = negotiate_protocol_version(&body);
    }
}
