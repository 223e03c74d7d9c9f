//! Logins over an in-memory stream against clients of every kind, honest and not.

use std::future::Future;

use tokio::io::DuplexStream;

use super::*;
use crate::auth::md5::Md5Hash;
use crate::auth::scram_client::{ScramClient, Source};
use crate::protocol::frame::{Backend, peek_backend};
use crate::protocol::messages::Authentication;
use crate::protocol::to_server;

const VERIFIER: &str = "SCRAM-SHA-256$4096:jrho7D9NqJe8p3f0QuI6SQ==$\
    E4YH5bdnE04Yf0rRsGZMOXjVhTUQZpSFivJrVkIePl8=:WSy+xe6Z+ivBD031XD3/+OzOOHaCdoPU+/0Frkha/HQ=";

fn stored(text: &str) -> Stored {
    Stored::parse(text).unwrap()
}

fn md5_stored() -> Stored {
    stored("md5a2286e2058e8275f4419293789626063")
}

/// Runs the exchange for user `c` against a client; gives its verdict, what is left to send and
/// what the client saw.
async fn login<F, O>(
    method: Method,
    secret: Option<&Stored>,
    client: impl FnOnce(DuplexStream) -> F,
) -> (Result<Authenticated, LoginError>, BytesMut, O)
where
    F: Future<Output = O>,
{
    let (mut ours, theirs) = tokio::io::duplex(64);
    let (mut buf, mut out) = (BytesMut::new(), BytesMut::new());
    let mock = MockKey::new([9; 32]);
    let rule = Rule {
        method,
        stored: secret,
        mock: &mock,
    };
    let server = async {
        let verdict = authenticate(&mut ours, &mut buf, &mut out, "c", &rule).await;
        drop(ours);
        verdict
    };
    let (verdict, seen) = tokio::join!(server, client(theirs));
    (verdict, out, seen)
}

/// The body of the next message from the server; `None` when there is none.
async fn request(stream: &mut DuplexStream) -> Option<Vec<u8>> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await.ok()?;
    let (kind, header) = peek_backend(&head).unwrap().unwrap();
    assert_eq!(kind, Backend::Authentication);
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).await.unwrap();
    Some(body)
}

/// A client that knows `password` and does as it is asked; gives the kinds of requests it saw.
async fn honest(mut stream: DuplexStream, password: &'static str) -> Vec<&'static str> {
    let secret = Password::new(password.as_bytes());
    let mut seen = Vec::new();
    let mut scram = None;
    let mut proof = None;
    while let Some(body) = request(&mut stream).await {
        let mut out = BytesMut::new();
        seen.push(match messages::authentication(&body).unwrap() {
            Authentication::Cleartext => {
                to_server::password(&mut out, password.as_bytes());
                "cleartext"
            }
            Authentication::Md5 { salt } => {
                let hash = Md5Hash::new(password.as_bytes(), "c");
                to_server::password(&mut out, &hash.response(salt));
                "md5"
            }
            Authentication::Sasl { mechanisms } => {
                assert_eq!(mechanisms, [b"SCRAM-SHA-256"]);
                let client = ScramClient::new(Source::Password(&secret));
                to_server::sasl_initial(&mut out, MECHANISM, client.message());
                scram = Some(client);
                "sasl"
            }
            Authentication::SaslContinue(data) => {
                let client = scram.take().unwrap().challenge(data).unwrap();
                to_server::sasl_response(&mut out, client.message());
                proof = Some(client);
                "continue"
            }
            other => panic!("{other:?}"),
        });
        stream.write_all(&out).await.unwrap();
    }
    drop(proof);
    seen
}

fn told(verdict: Result<Authenticated, LoginError>) -> (String, String) {
    let report = verdict.unwrap_err().report().unwrap();
    (report.code.into_owned(), report.message)
}

#[tokio::test]
async fn a_right_password_is_let_in_by_every_method_its_secret_fits() {
    let (plain, md5, scram) = (stored("pencil"), md5_stored(), stored(VERIFIER));
    for (method, secret, kind) in [
        (Method::Password, &plain, "Plain"),
        (Method::Password, &md5, "Plain"),
        (Method::Password, &scram, "Plain"),
        (Method::Md5, &plain, "Plain"),
        (Method::Md5, &md5, "Md5Hash"),
        (Method::ScramSha256, &plain, "Plain"),
        (Method::ScramSha256, &scram, "ScramKeys"),
    ] {
        let (verdict, _, _) = login(method, Some(secret), |s| honest(s, "pencil")).await;
        let credential = verdict.unwrap().credential.unwrap();
        assert!(
            format!("{credential:?}").starts_with(kind),
            "{method:?} {credential:?}"
        );
    }
}

#[tokio::test]
async fn the_servers_proof_is_left_to_go_out_with_authentication_ok() {
    let secret = stored("pencil");
    let (verdict, out, _) =
        login(Method::ScramSha256, Some(&secret), |s| honest(s, "pencil")).await;
    assert!(verdict.is_ok());
    let decoded = messages::authentication(&out[HEADER..]).unwrap();
    assert!(matches!(decoded, Authentication::SaslFinal(data) if data.starts_with(b"v=")));
}

#[tokio::test]
async fn unknown_unfit_and_wrong_look_the_same_to_the_client() {
    let (plain, md5, scram) = (stored("pencil"), md5_stored(), stored(VERIFIER));
    let expected = (
        "28P01".to_owned(),
        "password authentication failed for user \"c\"".to_owned(),
    );
    for (method, unfit) in [
        (Method::Password, None),
        (Method::Md5, Some(&scram)),
        (Method::ScramSha256, Some(&md5)),
    ] {
        let (verdict, _, wrong) = login(method, Some(&plain), |s| honest(s, "nope")).await;
        assert!(matches!(
            verdict,
            Err(LoginError::Denied {
                cause: Cause::WrongPassword,
                ..
            })
        ));
        assert_eq!(told(verdict), expected);
        let (verdict, _, unknown) = login(method, None, |s| honest(s, "pencil")).await;
        assert!(matches!(
            verdict,
            Err(LoginError::Denied {
                cause: Cause::UnknownUser,
                ..
            })
        ));
        assert_eq!(told(verdict), expected);
        assert_eq!(wrong, unknown);
        if unfit.is_some() {
            let (verdict, _, seen) = login(method, unfit, |s| honest(s, "pencil")).await;
            assert!(matches!(
                verdict,
                Err(LoginError::Denied {
                    cause: Cause::UnfitSecret,
                    ..
                })
            ));
            assert_eq!(told(verdict), expected);
            assert_eq!(seen, wrong);
        }
    }
}

#[tokio::test]
async fn trust_asks_nothing_and_keeps_what_is_stored_for_the_server() {
    let plain = stored("pencil");
    for (secret, known) in [(None, false), (Some(&plain), true)] {
        let (verdict, out, seen) = login(Method::Trust, secret, |s| honest(s, "x")).await;
        assert_eq!(verdict.unwrap().credential.is_some(), known);
        assert!(out.is_empty() && seen.is_empty());
    }
}

/// A client that answers the first request with `bytes` and closes.
async fn blunt(mut stream: DuplexStream, bytes: Vec<u8>) {
    request(&mut stream).await.unwrap();
    // The server may close in the middle of it.
    let _ = stream.write_all(&bytes).await;
}

fn message(build: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    build(&mut out);
    out.to_vec()
}

#[tokio::test]
async fn what_is_no_answer_is_a_protocol_violation_whoever_asks() {
    let plain = stored("pencil");
    let initial = |mechanism: &'static str, data: &'static [u8]| {
        message(|out| to_server::sasl_initial(out, mechanism, data))
    };
    for (method, bytes, code) in [
        (
            Method::Password,
            message(|out| to_server::query(out, b"select 1")),
            "08P01",
        ),
        (Method::Password, b"p\0\0\0\x04".to_vec(), "08P01"),
        (Method::Password, b"p\0\0\0\0".to_vec(), "08P01"),
        (Method::Password, b"p\xff\xff\xff\xff".to_vec(), "08P01"),
        (Method::Password, b"p\0\x01\0\0".to_vec(), "08P01"),
        (Method::Password, b"p\0\0\0\x08a\0b\0".to_vec(), "08P01"),
        (Method::Password, b"\0\0\0\0\0".to_vec(), "08P01"),
        (
            Method::Password,
            message(|out| to_server::password(out, b"")),
            "28P01",
        ),
        (
            Method::Md5,
            message(|out| to_server::password(out, b"")),
            "28P01",
        ),
        (
            Method::Md5,
            message(|out| to_server::password(out, b"md5short")),
            "28P01",
        ),
        (
            Method::ScramSha256,
            message(|out| to_server::password(out, b"pencil")),
            "08P01",
        ),
        (
            Method::ScramSha256,
            initial("SCRAM-SHA-256-PLUS", b"p=x,,n=,r=a"),
            "08P01",
        ),
        (Method::ScramSha256, initial("SCRAM-SHA-256", b""), "08P01"),
        (
            Method::ScramSha256,
            initial("SCRAM-SHA-256", b"p=x,,n=,r=a"),
            "08P01",
        ),
        (
            Method::ScramSha256,
            initial("SCRAM-SHA-256", b"n,a=x,n=,r=a"),
            "0A000",
        ),
        (
            Method::ScramSha256,
            initial("SCRAM-SHA-256", &[b'n'; 2000]),
            "08P01",
        ),
    ] {
        for secret in [Some(&plain), None] {
            let (verdict, _, ()) = login(method, secret, |s| blunt(s, bytes.clone())).await;
            assert_eq!(told(verdict).0, code, "{method:?} {bytes:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_told_nothing() {
    for bytes in [
        Vec::new(),
        b"p\0\0".to_vec(),
        b"p\0\0\0\x09abc".to_vec(),
        b"X\0\0\0\x04".into(),
    ] {
        let (verdict, _, ()) = login(Method::Password, None, |s| blunt(s, bytes)).await;
        assert!(verdict.unwrap_err().report().is_none());
    }
}

#[tokio::test]
async fn a_client_may_wait_for_an_empty_challenge_first() {
    let secret = stored("pencil");
    let client = |mut stream: DuplexStream| async move {
        let password = Password::new(b"pencil");
        request(&mut stream).await.unwrap();
        stream
            .write_all(b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff")
            .await
            .unwrap();
        assert_eq!(request(&mut stream).await.unwrap(), b"\0\0\0\x0b");
        let scram = ScramClient::new(Source::Password(&password));
        let first = message(|out| to_server::sasl_response(out, scram.message()));
        stream.write_all(&first).await.unwrap();
        let body = request(&mut stream).await.unwrap();
        let proof = scram.challenge(&body[4..]).unwrap();
        let last = message(|out| to_server::sasl_response(out, proof.message()));
        stream.write_all(&last).await.unwrap();
    };
    let (verdict, _, ()) = login(Method::ScramSha256, Some(&secret), client).await;
    assert!(verdict.is_ok());
}

#[tokio::test]
async fn what_a_client_sends_after_its_password_is_left_for_the_session() {
    let (mut ours, mut theirs) = tokio::io::duplex(1024);
    let mut bytes = message(|out| to_server::password(out, b"pencil"));
    bytes.extend(message(|out| to_server::query(out, b"select 1")));
    theirs.write_all(&bytes).await.unwrap();
    let (mut buf, mut out) = (BytesMut::new(), BytesMut::new());
    let (secret, mock) = (stored("pencil"), MockKey::new([9; 32]));
    let rule = Rule {
        method: Method::Password,
        stored: Some(&secret),
        mock: &mock,
    };
    authenticate(&mut ours, &mut buf, &mut out, "c", &rule)
        .await
        .unwrap();
    drop(theirs);
    while ours.read_buf(&mut buf).await.unwrap() > 0 {}
    assert_eq!(&buf[..], message(|out| to_server::query(out, b"select 1")));
}
