//! Logins over an in-memory stream against servers of every kind, sound and not.

use std::future::Future;

use tokio::io::DuplexStream;

use super::*;
use crate::auth::md5::Md5Hash;
use crate::auth::scram_server::{ScramServer, Standing};
use crate::auth::secret::Password;
use crate::auth::{ScramError, Verifier};
use crate::protocol::frame::{TransactionStatus, peek_frontend};
use crate::protocol::{messages, to_client};

const WHO: LoginTarget<'_> = LoginTarget {
    user: "c",
    database: "d",
    parameters: &[],
};

fn plain() -> Credential {
    Credential::Plain(Password::new(b"pencil"))
}

fn message(build: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    build(&mut out);
    out.to_vec()
}

/// What a server says once it is content.
fn greeting() -> Vec<u8> {
    message(|out| {
        to_client::authentication_ok(out);
        to_client::parameter_status(out, b"TimeZone", b"UTC");
        to_client::notice_response(out, &ErrorFields::error("01000", "collation"));
        to_client::parameter_status(out, b"TimeZone", b"Europe/Paris");
        to_client::backend_key_data(out, 7, b"abcd");
        to_client::ready_for_query(out, TransactionStatus::Idle);
    })
}

/// Logs in to a server that does as `script` says, which then sees the connection close.
async fn against<F: Future<Output = ()>>(
    credential: Option<&Credential>,
    script: impl FnOnce(Server) -> F,
) -> Result<Greeting, LoginError> {
    let (mut ours, theirs) = tokio::io::duplex(64);
    let mut buf = BytesMut::new();
    let client = async {
        let result = login(&mut ours, &mut buf, &WHO, credential).await;
        drop(ours);
        result
    };
    let (result, ()) = tokio::join!(client, script(Server(theirs)));
    if result.is_ok() {
        assert!(buf.is_empty());
    }
    result
}

/// Logs in to a server that sends `bytes` whatever it is told, and closes.
async fn against_bytes(bytes: Vec<u8>) -> Result<Greeting, LoginError> {
    let credential = plain();
    against(Some(&credential), |mut server| async move {
        server.startup().await;
        server.send(&bytes).await;
    })
    .await
}

struct Server(DuplexStream);

impl Server {
    async fn startup(&mut self) -> Vec<u8> {
        let mut body = vec![0; self.0.read_u32().await.unwrap() as usize - 4];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The client may close in the middle of it.
        let _ = self.0.write_all(bytes).await;
    }

    async fn password(&mut self) -> Vec<u8> {
        let mut head = [0; HEADER];
        self.0.read_exact(&mut head).await.unwrap();
        let (_, header) = peek_frontend(&head).unwrap().unwrap();
        assert_eq!(header.tag, b'p');
        let mut body = vec![0; header.body_len()];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    /// SCRAM as a server does it; what is sent at the end is `last` of its own proof.
    async fn scram(&mut self, verifier: &Verifier, last: impl FnOnce(&[u8]) -> Vec<u8>) {
        let mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
        self.send(&message(|out| {
            to_client::authentication_sasl(out, &mechanisms)
        }))
        .await;
        let body = self.password().await;
        let initial = messages::sasl_initial(&body).unwrap();
        let challenge = ScramServer::new(verifier, Standing::Genuine)
            .first(initial.data.unwrap())
            .unwrap();
        let first = challenge.message().to_vec();
        self.send(&message(|out| {
            to_client::authentication_sasl_continue(out, &first)
        }))
        .await;
        match challenge.finish(&self.password().await) {
            Ok(accepted) => self.send(&last(accepted.message())).await,
            Err(_) => {
                let error = ErrorFields::fatal("28P01", "password authentication failed");
                self.send(&message(|out| to_client::error_response(out, &error)))
                    .await;
            }
        }
    }
}

fn final_and_greeting(proof: &[u8]) -> Vec<u8> {
    let mut bytes = message(|out| to_client::authentication_sasl_final(out, proof));
    bytes.extend(greeting());
    bytes
}

#[tokio::test]
async fn a_server_that_trusts_us_is_taken_at_its_word() {
    let greeting = against(None, |mut server| async move {
        assert_eq!(
            server.startup().await,
            b"\0\x03\0\0user\0c\0database\0d\0\0"
        );
        server.send(&greeting()).await;
    })
    .await
    .unwrap();
    assert_eq!(
        greeting.parameters,
        [("TimeZone".to_owned(), "Europe/Paris".to_owned())]
    );
    assert_eq!((greeting.pid, &greeting.key[..]), (7, &b"abcd"[..]));
    assert_eq!(greeting.notices.len(), 1);
    assert!(!format!("{greeting:?}").contains("abcd"));
}

#[tokio::test]
async fn settings_are_sent_as_they_are() {
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let parameters = [("options".to_owned(), "-c geqo=off".to_owned())];
    let who = LoginTarget {
        parameters: &parameters,
        ..WHO
    };
    let mut buf = BytesMut::new();
    let mut server = Server(theirs);
    let script = async {
        let body = server.startup().await;
        assert_eq!(
            &body[4..],
            b"user\0c\0database\0d\0options\0-c geqo=off\0\0"
        );
        server.send(&greeting()).await;
    };
    let (result, ()) = tokio::join!(login(&mut ours, &mut buf, &who, None), script);
    assert!(result.is_ok());
}

#[tokio::test]
async fn a_cleartext_password_is_shown_to_a_server_that_asks() {
    let credential = plain();
    let result = against(Some(&credential), |mut server| async move {
        server.startup().await;
        server
            .send(&message(to_client::authentication_cleartext))
            .await;
        assert_eq!(server.password().await, b"pencil\0");
        server.send(&greeting()).await;
    })
    .await;
    assert!(result.is_ok());
}

#[tokio::test]
async fn md5_is_answered_from_a_password_or_its_hash() {
    let hash = Md5Hash::new(b"pencil", "c");
    for credential in [plain(), Credential::Md5Hash(hash.clone())] {
        let hash = hash.clone();
        let result = against(Some(&credential), |mut server| async move {
            server.startup().await;
            let salt = [1, 2, 3, 4];
            server
                .send(&message(|out| to_client::authentication_md5(out, salt)))
                .await;
            let answer = server.password().await;
            assert!(bool::from(
                hash.accepts(salt, messages::password(&answer).unwrap())
            ));
            server.send(&greeting()).await;
        })
        .await;
        assert!(result.is_ok());
    }
}

#[tokio::test]
async fn scram_is_answered_from_a_password_or_from_the_keys_of_the_same_verifier() {
    let verifier = Verifier::derive(b"pencil", b"salt", 2);
    let keys = crate::auth::ScramKeys::derive(b"pencil", b"salt", 2);
    for credential in [plain(), Credential::ScramKeys(keys.clone())] {
        let verifier = verifier.clone();
        let result = against(Some(&credential), |mut server| async move {
            server.startup().await;
            server.scram(&verifier, final_and_greeting).await;
        })
        .await;
        assert!(result.is_ok());
    }
    let other = Verifier::derive(b"pencil", b"other", 2);
    let credential = Credential::ScramKeys(keys);
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let mut server = Server(theirs);
    let mut buf = BytesMut::new();
    let result = tokio::select! {
        result = login(&mut ours, &mut buf, &WHO, Some(&credential)) => result,
        () = async {
            server.startup().await;
            server.scram(&other, final_and_greeting).await;
        } => panic!("the server was content"),
    };
    let error = result.unwrap_err();
    assert!(matches!(error, LoginError::Scram(ScramError::OtherSecret)));
    assert!(error.report("n:1").message.contains("n:1"));
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_wrong_password_is_the_servers_own_error() {
    let credential = Credential::Plain(Password::new(b"wrong"));
    let error = against(Some(&credential), |mut server| async move {
        server.startup().await;
        let verifier = Verifier::derive(b"pencil", b"salt", 2);
        server.scram(&verifier, final_and_greeting).await;
    })
    .await
    .unwrap_err();
    let report = error.report("n:1");
    assert_eq!(report.code, "28P01");
    assert_eq!(report.message, "password authentication failed");
    assert!(report.hint.is_some());
}

#[tokio::test]
async fn a_server_that_does_not_prove_itself_is_an_impostor() {
    let skipped = |_: &[u8]| greeting();
    let forged = |_: &[u8]| final_and_greeting(b"v=AAAA");
    let credential = plain();
    for last in [skipped as fn(&[u8]) -> Vec<u8>, forged] {
        let error = against(Some(&credential), |mut server| async move {
            server.startup().await;
            server
                .scram(&Verifier::derive(b"pencil", b"salt", 2), last)
                .await;
        })
        .await
        .unwrap_err();
        assert!(
            matches!(
                error,
                LoginError::OutOfTurn {
                    kind: Backend::Authentication
                } | LoginError::Scram(ScramError::Denied)
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_method_that_cannot_be_answered_says_so() {
    let ask = |code: u8| vec![b'R', 0, 0, 0, 8, 0, 0, 0, code];
    for (bytes, text) in [
        (ask(2), "Kerberos V5 authentication, which is not supported"),
        (ask(7), "GSSAPI authentication, which is not supported"),
        (ask(9), "SSPI authentication, which is not supported"),
        (
            ask(99),
            "an unknown kind of authentication, which is not supported",
        ),
        (
            message(|out| to_client::authentication_sasl(out, &["OAUTHBEARER"])),
            "SCRAM-SHA-256",
        ),
    ] {
        let error = against_bytes(bytes).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.report("n:1").code, "0A000");
    }
    let hash = Credential::Md5Hash(Md5Hash::new(b"x", "c"));
    for (credential, code) in [(Some(&hash), "28000"), (None, "28000")] {
        let error = against(credential, |mut server| async move {
            server.startup().await;
            server
                .send(&message(|out| {
                    to_client::authentication_sasl(out, &["SCRAM-SHA-256"])
                }))
                .await;
        })
        .await
        .unwrap_err();
        assert_eq!(error.report("n:1").code, code);
        assert!(error.report("n:1").hint.is_some());
    }
}

#[tokio::test]
async fn a_servers_refusal_is_passed_on_and_tells_whether_to_try_again() {
    for (code, retryable, lost) in [
        ("57P03", true, false),
        ("53300", true, false),
        ("57P01", true, true),
        ("3D000", false, false),
        ("28000", false, false),
    ] {
        let fields = ErrorFields::fatal(code, "said so").hint("do this");
        let bytes = message(|out| to_client::error_response(out, &fields));
        let error = against_bytes(bytes).await.unwrap_err();
        assert_eq!(
            (error.retryable(), error.is_connection_lost()),
            (retryable, lost),
            "{code}"
        );
        let report = error.report("n:1");
        assert_eq!((&*report.code, &*report.message), (code, "said so"));
        assert_eq!(report.hint.as_deref(), Some("do this"));
    }
    let error = against_bytes(b"E\0\0\0\x0aMboom\0".to_vec())
        .await
        .unwrap_err();
    assert_eq!(error.report("n:1").code, "XX000");
}

#[tokio::test]
async fn messages_out_of_turn_or_out_of_bounds_end_the_login() {
    let ok = message(to_client::authentication_ok);
    let after_ok = |bytes: Vec<u8>| [ok.clone(), bytes].concat();
    let ready = |status| message(|out| to_client::ready_for_query(out, status));
    let long = vec![b'x'; 70_000];
    let endless = message(|out| {
        for _ in 0..20 {
            to_client::parameter_status(out, b"x", &long[..60_000]);
        }
    });
    for bytes in [
        ready(TransactionStatus::Idle),
        message(|out| to_client::parameter_status(out, b"a", b"b")),
        message(|out| to_client::backend_key_data(out, 1, b"abcd")),
        after_ok(ok.clone()),
        after_ok(ready(TransactionStatus::InTransaction)),
        after_ok(message(|out| to_client::data_row(out, &[Some(b"1")]))),
        after_ok(message(|out| to_client::parameter_status(out, b"x", &long))),
        after_ok(endless),
        message(|out| to_client::authentication_sasl_continue(out, b"r=x")),
        message(|out| to_client::authentication_sasl_final(out, b"v=x")),
        b"R\0\0\0\x04".to_vec(),
        b"R\0\0\0\x08\0\0\0\x05".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        b"Z\xff\xff\xff\xff".to_vec(),
    ] {
        let start = bytes[..bytes.len().min(40)].to_vec();
        let error = against_bytes(bytes).await.unwrap_err();
        assert_eq!(error.report("n:1").code, "08P01", "{start:?} {error}");
        assert!(!error.retryable());
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_may_be_tried_again() {
    for bytes in [
        Vec::new(),
        b"R\0\0".to_vec(),
        message(to_client::authentication_ok),
    ] {
        let error = against_bytes(bytes).await.unwrap_err();
        assert!(matches!(error, LoginError::Closed) && error.retryable());
        assert_eq!(error.report("n:1").code, "08006");
    }
}

#[tokio::test]
async fn what_a_server_says_on_its_own_after_the_greeting_is_taken_in() {
    let late = message(|out| to_client::parameter_status(out, b"a", b"b"));
    let greeting = against_bytes([greeting(), late].concat()).await.unwrap();
    assert_eq!(greeting.pid, 7);
}
