//! Both sides of the exchange against the RFC's vector, against verifiers that PostgreSQL made,
//! against each other, and against malformed messages.

use proptest::prelude::*;

use super::*;
use crate::auth::scram_client::{ScramClient, Source};
use crate::auth::scram_server::{ScramServer, Standing};
use crate::auth::secret::Password;

/// Few iterations, as the tests' builds are slow at them; the vectors have the real 4096.
const QUICK: u32 = 3;

// RFC 7677, section 3: user `user`, password `pencil`.
const RFC_CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const RFC_SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const RFC_SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const RFC_SERVER_FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const RFC_CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const RFC_SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

// Made by PostgreSQL 15: CREATE ROLE a PASSWORD 'pencil'.
const ASCII_VERIFIER: &str = "SCRAM-SHA-256$4096:jrho7D9NqJe8p3f0QuI6SQ==$\
    E4YH5bdnE04Yf0rRsGZMOXjVhTUQZpSFivJrVkIePl8=:WSy+xe6Z+ivBD031XD3/+OzOOHaCdoPU+/0Frkha/HQ=";
// The same for U&'IX \00ADpa\00AAss\2168', which SASLprep turns into `IX paassIX`.
const PREPARED_VERIFIER: &str = "SCRAM-SHA-256$4096:6RDMufh83oRi35gOAsoh2A==$\
    YPjVhhbPx0EJjvvUdWZFvsCVjl0YUwHouwtRBYs8BNg=:lhbipQt2m+0CsgomOcx/0cHbvCmXyG+eTOl15hQPsYc=";

fn rfc_verifier() -> Verifier {
    Verifier::derive(b"pencil", &STANDARD.decode(RFC_SALT).unwrap(), 4096)
}

fn quick_verifier(password: &[u8]) -> Verifier {
    Verifier::derive(password, b"0123456789abcdef", QUICK)
}

/// A whole exchange between our two sides.
fn exchange(
    verifier: &Verifier,
    standing: Standing,
    source: Source<'_>,
) -> Result<ScramKeys, ScramError> {
    let client = ScramClient::new(source);
    let challenge = ScramServer::new(verifier, standing).first(client.message())?;
    let proof = client.challenge(challenge.message())?;
    let accepted = challenge.finish(proof.message())?;
    proof.verify(accepted.message())?;
    Ok(accepted.into_keys())
}

#[test]
fn the_client_sends_what_the_rfc_says() {
    let password = Password::new(b"pencil");
    let client =
        ScramClient::with_nonce(Source::Password(&password), "user", RFC_CLIENT_NONCE.into());
    assert_eq!(client.message(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let proof = client.challenge(RFC_SERVER_FIRST).unwrap();
    assert_eq!(proof.message(), RFC_CLIENT_FINAL);
    assert_eq!(proof.verify(RFC_SERVER_FINAL), Ok(()));
}

#[test]
fn the_server_sends_what_the_rfc_says() {
    let verifier = rfc_verifier();
    let server = ScramServer::with_nonce(&verifier, Standing::Genuine, RFC_SERVER_NONCE.to_owned());
    let challenge = server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(challenge.message(), RFC_SERVER_FIRST);
    let accepted = challenge.finish(RFC_CLIENT_FINAL).unwrap();
    assert_eq!(accepted.message(), RFC_SERVER_FINAL);
}

#[test]
fn verifiers_made_by_postgresql_accept_their_passwords() {
    let ascii = Verifier::parse(ASCII_VERIFIER).unwrap();
    assert!(bool::from(ascii.matches(b"pencil")));
    assert!(!bool::from(ascii.matches(b"Pencil")));
    let prepared = Verifier::parse(PREPARED_VERIFIER).unwrap();
    assert!(bool::from(
        prepared.matches("IX \u{ad}pa\u{aa}ss\u{2168}".as_bytes())
    ));
    assert!(bool::from(prepared.matches(b"IX paassIX")));
}

#[test]
fn what_cannot_be_prepared_is_used_as_it_is() {
    for raw in [
        &b"\xff\xfe"[..],
        "a\u{7f}\u{e9}\u{7}".as_bytes(),
        "\u{ad}".as_bytes(),
        b"a\x01",
    ] {
        assert_eq!(&*prepared(raw), raw);
    }
}

#[test]
fn mangled_verifiers_are_none() {
    for text in [
        "",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:c2FsdA==$",
        "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
        &ASCII_VERIFIER.replace("4096", "0"),
        &ASCII_VERIFIER.replace("4096", "-1"),
        &ASCII_VERIFIER.replace("4096", "+1"),
        &ASCII_VERIFIER.replace("4096", "99999999"),
        &ASCII_VERIFIER.replace("4096:jrho7D9NqJe8p3f0QuI6SQ==", "4096:"),
        &ASCII_VERIFIER.replace("SHA-256", "SHA-1"),
        &format!("{ASCII_VERIFIER}x"),
    ] {
        assert_eq!(Verifier::parse(text), None, "{text}");
    }
}

#[test]
fn the_two_sides_agree_on_a_right_password_only() {
    let verifier = quick_verifier(b"right");
    let (right, wrong) = (Password::new(b"right"), Password::new(b"wrong"));
    assert!(exchange(&verifier, Standing::Genuine, Source::Password(&right)).is_ok());
    let denied = Err(ScramError::Denied);
    assert_eq!(
        exchange(&verifier, Standing::Genuine, Source::Password(&wrong)),
        denied
    );
    assert_eq!(
        exchange(&verifier, Standing::Doomed, Source::Password(&right)),
        denied
    );
}

#[test]
fn keys_learnt_from_a_client_prove_its_password_to_a_server_with_the_same_verifier() {
    let verifier = quick_verifier(b"right");
    let password = Password::new(b"right");
    let keys = exchange(&verifier, Standing::Genuine, Source::Password(&password)).unwrap();
    assert!(exchange(&verifier, Standing::Genuine, Source::Keys(&keys)).is_ok());

    let elsewhere = Verifier::derive(b"right", b"another salt", QUICK);
    let refused = exchange(&elsewhere, Standing::Genuine, Source::Keys(&keys));
    assert_eq!(refused, Err(ScramError::OtherSecret));
}

#[test]
fn a_clients_first_message_is_accepted_or_refused_by_the_letter() {
    let malformed = |reason| Some(ScramError::Malformed(reason));
    let verifier = quick_verifier(b"x");
    let long = format!("n,,n=,r={}", "x".repeat(MAX_MESSAGE));
    for (message, expected) in [
        (&b"n,,n=,r=abc"[..], None),
        (b"y,,n=user,r=abc", None),
        (b"n,,n=user,r=abc,x=ignored", None),
        (b"", malformed("it is empty")),
        (b"n", malformed("unexpected channel-binding flag")),
        (b"x,,n=,r=abc", malformed("unexpected channel-binding flag")),
        (b"n,", malformed("unexpected attribute")),
        (b"n,,", malformed("attribute expected")),
        (b"n,,r=abc", malformed("another attribute was expected")),
        (b"n,,n=,r=", malformed("non-printable characters in nonce")),
        (
            b"n,,n=,r=a\0b",
            malformed("non-printable characters in nonce"),
        ),
        (
            b"n,,n=,r=a\xffb",
            malformed("non-printable characters in nonce"),
        ),
        (b"n,,n=,r=abc,", malformed("attribute expected")),
        (b"n,,n=,r=abc,,", malformed("attribute expected")),
        (b"n,,n=,r=abc,1=x", malformed("attribute expected")),
        (long.as_bytes(), malformed("it is too long")),
        (
            b"n,a=admin,n=,r=abc",
            Some(ScramError::Unsupported(
                "client uses authorization identity, but it is not supported",
            )),
        ),
        (
            b"n,,m=ext,n=,r=abc",
            Some(ScramError::Unsupported(
                "client requires an unsupported SCRAM extension",
            )),
        ),
        (
            b"p=tls-server-end-point,,n=,r=abc",
            malformed(
                "the client selected SCRAM-SHA-256 without channel binding, \
                 but the message includes channel binding data",
            ),
        ),
    ] {
        let result = ScramServer::new(&verifier, Standing::Genuine)
            .first(message)
            .err();
        assert_eq!(result, expected, "{:?}", String::from_utf8_lossy(message));
    }
}

#[test]
fn a_clients_final_message_must_fit_the_first() {
    let verifier = rfc_verifier();
    let finish = |first: &[u8], last: &str| {
        ScramServer::with_nonce(&verifier, Standing::Genuine, RFC_SERVER_NONCE.to_owned())
            .first(first)
            .unwrap()
            .finish(last.as_bytes())
            .err()
    };
    let good = std::str::from_utf8(RFC_CLIENT_FINAL).unwrap();
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    assert_eq!(finish(first, good), None);
    assert_eq!(
        finish(b"n,,n=other,r=rOprNGfwEbeRWgbNEkqO", good),
        Some(ScramError::Denied)
    );
    assert_eq!(
        finish(first, &good.replace("p=dH", "p=dI")),
        Some(ScramError::Denied)
    );
    // An extension is signed with the rest, so that adding one breaks the proof.
    assert_eq!(
        finish(first, &good.replace(",p=", ",x=y,p=")),
        Some(ScramError::Denied)
    );
    for mangled in [
        String::new(),
        good.replace("c=biws,", ""),
        good.replace("biws", "eSws"),
        good.replace("$k0", "$k1"),
        good.replace(",p=", ",q="),
        good.replace("p=dHzb", "p="),
        good.replace("p=dHzb", "p=!!!!"),
        format!("{good},x=y"),
        format!("{good},"),
        "c=biws".to_owned(),
        "c=biws,r=".to_owned(),
        format!("c=biws,r={}", "x".repeat(MAX_MESSAGE)),
    ] {
        let result = finish(first, &mangled);
        assert!(
            matches!(result, Some(ScramError::Malformed(_))),
            "{mangled}: {result:?}"
        );
    }
}

#[test]
fn a_server_is_not_believed() {
    let password = Password::new(b"pencil");
    let challenge = |message: &str| {
        let source = Source::Password(&password);
        ScramClient::with_nonce(source, "", "mine".to_owned())
            .challenge(message.as_bytes())
            .err()
    };
    assert_eq!(challenge("r=minetheirs,s=c2FsdA==,i=2"), None);
    for message in [
        "",
        "e=other-error",
        "r=mine,s=c2FsdA==,i=2",
        "r=theirs,s=c2FsdA==,i=2",
        "r=minetheirs,s=,i=2",
        "r=minetheirs,s=!,i=2",
        "r=minetheirs,s=c2FsdA==",
        "r=minetheirs,s=c2FsdA==,i=0",
        "r=minetheirs,s=c2FsdA==,i=-2",
        "r=minetheirs,s=c2FsdA==,i=1000001",
        "r=minetheirs,s=c2FsdA==,i=99999999999999999999",
        "r=mine\u{7f},s=c2FsdA==,i=2",
        &format!("r=mine{},s=c2FsdA==,i=2", "x".repeat(MAX_MESSAGE)),
        &format!("r=minetheirs,s={},i=2", "AAAA".repeat(100)),
    ] {
        let result = challenge(message);
        assert!(
            matches!(result, Some(ScramError::Malformed(_))),
            "{message}: {result:?}"
        );
    }
    let proof = || {
        let source = Source::Password(&password);
        ScramClient::with_nonce(source, "", "mine".to_owned())
            .challenge(b"r=minetheirs,s=c2FsdA==,i=2")
            .unwrap()
    };
    assert_eq!(proof().verify(RFC_SERVER_FINAL), Err(ScramError::Denied));
    assert_eq!(proof().verify(b"v="), Err(ScramError::Denied));
    assert_eq!(
        proof().verify(b"e=invalid-proof"),
        Err(ScramError::ServerFailed)
    );
    assert!(matches!(proof().verify(b""), Err(ScramError::Malformed(_))));
    assert!(matches!(
        proof().verify(b"x=y"),
        Err(ScramError::Malformed(_))
    ));
}

#[test]
fn nonces_are_printable_and_never_the_same() {
    let (one, other) = (nonce(), nonce());
    assert_eq!(one.len(), 24);
    assert!(is_nonce(one.as_bytes()));
    assert_ne!(one, other);
}

#[test]
fn no_key_shows_in_debug_output() {
    let keys = ScramKeys {
        client_key: [77; 32],
        server_key: [88; 32],
        salt: vec![99],
        iterations: 5,
    };
    assert_eq!(format!("{keys:?}"), "ScramKeys { iterations: 5, .. }");
    assert_eq!(
        format!("{:?}", Verifier::of(&keys)),
        "Verifier { iterations: 5, .. }"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_message_is_answered_or_refused(
        message in "(n,,n=,r=|c=biws,r=|r=|v=)?[ -~\u{0}\u{e4}]{0,60}",
        raw in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let verifier = Verifier {
            iterations: 1, salt: vec![1], stored_key: [0; 32], server_key: [0; 32],
        };
        let password = Password::new(b"x");
        for bytes in [message.as_bytes(), &raw] {
            let _ = ScramServer::new(&verifier, Standing::Genuine).first(bytes);
            let server = ScramServer::new(&verifier, Standing::Genuine);
            let _ = server.first(b"n,,n=,r=a").unwrap().finish(bytes);
            let _ = ScramClient::new(Source::Password(&password)).challenge(bytes);
            let _ = Verifier::parse(&String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn any_password_proves_itself(password in proptest::collection::vec(any::<u8>(), 1..40)) {
        let verifier = quick_verifier(&password);
        let secret = Password::new(&password);
        let keys = exchange(&verifier, Standing::Genuine, Source::Password(&secret));
        prop_assert!(keys.is_ok());
    }
}
