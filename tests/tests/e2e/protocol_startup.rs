//! The first packets: what is said before a session exists (PostgreSQL docs, "Start-up").

use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Message, ServerError, Wire, startup};
use std::collections::BTreeSet;
use std::sync::LazyLock;

static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage::new("startup"));

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
const VERSION_3_0: u32 = 0x0003_0000;
const VERSION_3_2: u32 = 0x0003_0002;

fn proxied() -> Wire {
    Wire::open(STAGE.convoy.port).unwrap()
}

fn direct() -> Wire {
    Wire::open(shared::cluster().nodes[0].port).unwrap()
}

fn who() -> [(&'static str, &'static str); 2] {
    [("user", "app"), ("database", STAGE.database.as_str())]
}

fn reach_ready(wire: &mut Wire) {
    let messages = wire.until_ready();
    assert_eq!(
        messages[0],
        Message {
            tag: b'R',
            body: vec![0, 0, 0, 0]
        }
    );
    assert_eq!(wire.one("select 1"), "1");
}

#[test]
fn ssl_request_is_declined_and_the_login_goes_on() {
    let mut wire = proxied();
    wire.send(&SSL_REQUEST);
    assert_eq!(wire.byte(), Some(b'N'));
    wire.send(&startup(VERSION_3_0, &who()));
    reach_ready(&mut wire);
}

#[test]
fn gssenc_request_is_declined_and_may_be_followed_by_ssl_request() {
    let mut wire = proxied();
    wire.send(&GSSENC_REQUEST);
    assert_eq!(wire.byte(), Some(b'N'));
    wire.send(&SSL_REQUEST);
    assert_eq!(wire.byte(), Some(b'N'));
    wire.send(&startup(VERSION_3_0, &who()));
    reach_ready(&mut wire);
}

#[test]
fn startup_packet_may_arrive_byte_by_byte() {
    let mut wire = proxied();
    for byte in startup(VERSION_3_0, &who()) {
        wire.send(&[byte]);
    }
    reach_ready(&mut wire);
}

/// What the server negotiates: the messages tagged `v` before the session is ready.
fn negotiated(mut wire: Wire, version: u32, options: &[(&str, &str)]) -> Vec<Message> {
    let parameters: Vec<_> = who().iter().chain(options).copied().collect();
    wire.send(&startup(version, &parameters));
    let messages = wire.until_ready();
    assert_eq!(wire.one("select 1"), "1");
    messages
        .into_iter()
        .filter(|message| message.tag == b'v')
        .collect()
}

#[test]
fn newer_minor_versions_and_unknown_protocol_options_are_negotiated_down() {
    let told = |version, options: &[(&str, &str)]| negotiated(proxied(), version, options);
    let body = |minor: u8, options: &[&str]| {
        let mut body = vec![0, 3, 0, minor, 0, 0, 0, options.len() as u8];
        for option in options {
            body.extend_from_slice(option.as_bytes());
            body.push(0);
        }
        vec![Message { tag: b'v', body }]
    };
    for version in [VERSION_3_0, 0x0003_0001, VERSION_3_2] {
        assert!(told(version, &[]).is_empty(), "{version:x} is spoken");
    }
    assert_eq!(told(0x0003_0063, &[]), body(2, &[]));
    // Never to a version above the client's own.
    let option = ("_pq_.command_tag_format", "1");
    assert_eq!(told(VERSION_3_0, &[option]), body(0, &[option.0]));
    let two = [("_pq_.a", "1"), ("_pq_.b", "")];
    assert_eq!(told(VERSION_3_2, &two), body(2, &["_pq_.a", "_pq_.b"]));
    let direct = negotiated(direct(), VERSION_3_0, &[option]);
    assert_eq!(told(VERSION_3_0, &[option]), direct);
}

#[test]
fn cancel_secrets_are_as_long_as_the_protocol_version_has_them() {
    for (version, length) in [
        (VERSION_3_0, 4),
        (0x0003_0001, 4),
        (VERSION_3_2, 32),
        (0x0003_270f, 32),
    ] {
        let client = Wire::login_as_of(version, STAGE.convoy.port, &who(), None).unwrap();
        assert_eq!(client.key.1.len(), length, "{version:x}");
        assert!(client.key.0 > 0);
    }
}

fn refusal(mut wire: Wire, packet: &[u8]) -> ServerError {
    wire.send(packet);
    wire.farewell().expect("a refusal with words")
}

#[test]
fn other_major_versions_are_refused() {
    for version in [0x0001_0000, 0x0002_0000, 0x0004_0000] {
        let error = refusal(proxied(), &startup(version, &who()));
        assert_eq!(
            (error.severity.as_str(), error.code.as_str()),
            ("FATAL", "0A000"),
            "{version:x}"
        );
    }
}

#[test]
fn startup_without_a_user_is_refused_as_postgresql_does() {
    let packet = startup(VERSION_3_0, &[("database", "postgres")]);
    let error = refusal(proxied(), &packet);
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "28000")
    );
}

#[test]
fn database_defaults_to_the_user_name() {
    let mut wire = Wire::login(STAGE.convoy.port, &[("user", "postgres")], None).unwrap();
    assert_eq!(wire.one("select current_database()"), "postgres");
}

#[test]
fn missing_database_is_reported_with_the_servers_own_error() {
    let error = Wire::connect(STAGE.convoy.port, "app", "no_such_database")
        .and_then(|mut wire| wire.query("select 1").map(|_| ()))
        .unwrap_err();
    assert_eq!(error.code, "3D000", "{error}");
    assert!(error.message.contains("no_such_database"), "{error}");
}

#[test]
fn missing_role_is_reported_with_the_servers_own_error() {
    let error = Wire::connect(STAGE.convoy.port, "nobody_here", &STAGE.database)
        .and_then(|mut wire| wire.query("select 1").map(|_| ()))
        .unwrap_err();
    assert_eq!(error.code, "28000", "{error}");
}

#[test]
fn every_client_gets_a_cancel_key_of_its_own() {
    let clients: Vec<Wire> = (0..20).map(|_| STAGE.client()).collect();
    let keys: BTreeSet<_> = clients.iter().map(|client| client.key.clone()).collect();
    assert_eq!(keys.len(), clients.len());
}

#[test]
fn parameter_status_is_what_the_primary_reports() {
    let mut proxied = STAGE.client().parameters;
    let mut direct = STAGE.direct_app().parameters;
    // A pool may have connected to a replica first; what a client is told there is checked nowhere else.
    for parameters in [&mut proxied, &mut direct] {
        parameters.remove("in_hot_standby");
    }
    assert_eq!(proxied, direct);
}
