//! Garbage on the port: that connection alone is closed, with FATAL 08P01 where anything can be said.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, ServerError, Wire, frame, startup};
use std::sync::LazyLock;
use std::time::Duration;

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    Stage::with("garbage", |setup| {
        setup.with("[limits]\nmax_client_connections = 300").with(
            "[[user]]\nname = \"app\"\nauth = \"trust\"\n\
             [[user]]\nname = \"srv_scram\"\npassword = \"secret-of-srv_scram\"",
        )
    })
});

const VERSION_3_0: u32 = 0x0003_0000;

/// A frame whose length field says something else than its body.
fn lying(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// Sends bytes and collects what is said until the close.
fn farewell(mut wire: Wire, bytes: &[u8]) -> Option<ServerError> {
    wire.patience(Duration::from_secs(10));
    // The proxy may hang up before all of it has been sent.
    let _ = wire.try_send(bytes);
    wire.farewell()
}

fn assert_protocol_violation(name: &str, said: Option<ServerError>) {
    let error = said.unwrap_or_else(|| panic!("{name}: closed without a word"));
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "08P01"),
        "{name}: {error}"
    );
}

/// Runs `attack` while another client is in the middle of a transaction, which must not notice.
fn with_a_bystander(attack: impl FnOnce()) {
    let mut bystander = STAGE.client();
    bystander.run("begin; create temp table mine as select 1 as a");
    attack();
    assert_eq!(bystander.one("select a from mine"), "1");
    bystander.run("commit");
    assert_eq!(STAGE.client().one("select 1"), "1");
    let log = STAGE.convoy.log();
    assert!(!log.contains("panicked at"), "{log}");
}

#[test]
fn garbage_before_the_login_is_refused() {
    let no_terminator = [
        &22_u32.to_be_bytes()[..],
        &VERSION_3_0.to_be_bytes(),
        b"user\0app\0data12",
    ]
    .concat();
    let odd = [
        &17_u32.to_be_bytes()[..],
        &VERSION_3_0.to_be_bytes(),
        b"user\0app\0",
    ]
    .concat();
    let huge = startup(
        VERSION_3_0,
        &[("user", "app"), ("options", &"x".repeat(10_500))],
    );
    let cases: [(&str, Vec<u8>); 9] = [
        (
            "an HTTP request",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        ("length 0", vec![0; 8]),
        ("length 3", [&3_u32.to_be_bytes()[..], &[0; 8]].concat()),
        ("length 7", [&7_u32.to_be_bytes()[..], &[0, 3, 0]].concat()),
        ("a negative length", vec![0xff; 16]),
        ("over 10 kB", huge),
        ("no terminator", no_terminator),
        ("a value is missing", odd),
        (
            "a TLS hello",
            vec![
                0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
            ],
        ),
    ];
    with_a_bystander(|| {
        for (name, bytes) in cases {
            assert_protocol_violation(
                name,
                farewell(Wire::open(STAGE.convoy.port).unwrap(), &bytes),
            );
        }
    });
}

#[test]
fn lengths_and_types_that_cannot_be_are_refused_after_the_login() {
    let cases: [(&str, Vec<u8>); 12] = [
        ("unknown type z", frame(b'z', b"")),
        ("unknown type 0", frame(0, b"")),
        ("unknown type 0xff", frame(0xff, b"abc")),
        ("a backend's message", frame(b'T', b"\0\0")),
        ("length 0", lying(b'Q', 0, b"select 1\0")),
        ("length 3", lying(b'Q', 3, b"select 1\0")),
        ("length -1", lying(b'Q', u32::MAX, b"select 1\0")),
        ("length -2^31", lying(b'P', 0x8000_0000, b"")),
        ("2 GB - 1", lying(b'Q', 0x7fff_ffff, b"select 1\0")),
        ("a long Sync", lying(b'S', 5, b"x")),
        ("a password out of place", frame(b'p', b"secret\0")),
        ("a Describe of 100 MB", lying(b'D', 100_000_000, b"S")),
    ];
    with_a_bystander(|| {
        for (name, bytes) in cases {
            assert_protocol_violation(name, farewell(STAGE.client(), &bytes));
        }
    });
}

#[test]
fn malformed_bodies_are_refused_and_their_tail_is_never_run() {
    // Each is followed by a Sync: a server that resynchronises answers it, one that closes does not.
    let cases: [(&str, Vec<u8>); 10] = [
        ("Query without a terminator", frame(b'Q', b"select 1")),
        (
            "Query with an early terminator",
            frame(b'Q', b"select 1\0create table smuggled ()\0"),
        ),
        ("empty Parse", frame(b'P', b"")),
        ("Parse without types", frame(b'P', b"s\0select 1\0")),
        ("Bind cut short", frame(b'B', b"\0")),
        (
            "Bind with a lying count",
            [
                Batch::new().parse("", "select 1").bytes(),
                &frame(b'B', b"\0\0\0\0\x7f\xff"),
            ]
            .concat(),
        ),
        ("empty Execute", frame(b'E', b"")),
        ("Execute cut short", frame(b'E', b"\0\0\0")),
        ("Describe of neither", frame(b'D', b"Xs\0")),
        ("empty Close", frame(b'C', b"")),
    ];
    with_a_bystander(|| {
        for (name, bytes) in cases {
            let mut client = STAGE.client();
            let bytes = [
                bytes,
                Batch::new().sync().bytes().to_vec(),
                frame(b'X', b""),
            ]
            .concat();
            let _ = client.try_send(&bytes);
            let error = client
                .farewell()
                .unwrap_or_else(|| panic!("{name}: closed without a word"));
            assert_eq!(error.code, "08P01", "{name}: {error}");
        }
        assert_eq!(
            STAGE
                .direct(0)
                .one("select count(*) from pg_class where relname = 'smuggled'"),
            "0"
        );
    });
}

#[test]
fn garbage_instead_of_a_password_is_refused() {
    let cases: [(&str, Vec<u8>); 8] = [
        ("an empty password message", frame(b'p', b"")),
        ("length 0", lying(b'p', 0, b"")),
        (
            "a password of 1 GB",
            lying(b'p', 0x4000_0000, b"SCRAM-SHA-256\0"),
        ),
        ("a query instead", frame(b'Q', b"select 1\0")),
        ("an unknown mechanism", frame(b'p', b"NOPE\0\0\0\0\0")),
        (
            "a first message that is none",
            frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x03abc"),
        ),
        (
            "a lying length",
            frame(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=abc"),
        ),
        (
            "bytes that are no text",
            frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x04\xff\xfe\xfd\xfc"),
        ),
    ];
    with_a_bystander(|| {
        for (name, bytes) in cases {
            let mut wire = Wire::open(STAGE.convoy.port).unwrap();
            let who = [("user", "srv_scram"), ("database", STAGE.database.as_str())];
            wire.send(&startup(VERSION_3_0, &who));
            assert_eq!(wire.message().tag, b'R', "{name}");
            let error =
                farewell(wire, &bytes).unwrap_or_else(|| panic!("{name}: closed without a word"));
            assert_eq!(error.severity, "FATAL", "{name}: {error}");
            assert!(
                ["08P01", "28P01", "28000"].contains(&error.code.as_str()),
                "{name}: {error}"
            );
        }
    });
}

#[test]
fn random_bytes_harm_nobody() {
    // A fixed xorshift: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    with_a_bystander(|| {
        for round in 0..60 {
            let bytes: Vec<u8> = (0..200).map(|_| byte()).collect();
            let mut wire = if round % 2 == 0 {
                Wire::open(STAGE.convoy.port).unwrap()
            } else {
                STAGE.client()
            };
            let _ = wire.try_send(&bytes);
        }
    });
}

#[test]
fn connection_that_is_opened_and_closed_leaves_nothing_behind() {
    with_a_bystander(|| {
        for cut in 0..20 {
            let mut wire = Wire::open(STAGE.convoy.port).unwrap();
            let packet = startup(
                VERSION_3_0,
                &[("user", "app"), ("database", STAGE.database.as_str())],
            );
            wire.send(&packet[..cut.min(packet.len())]);
        }
    });
}
