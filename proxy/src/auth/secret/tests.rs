//! Kinds of secrets, what they can prove, and that unknown users look like known ones.

use super::*;

const VERIFIER: &str = "SCRAM-SHA-256$4096:jrho7D9NqJe8p3f0QuI6SQ==$\
    E4YH5bdnE04Yf0rRsGZMOXjVhTUQZpSFivJrVkIePl8=:WSy+xe6Z+ivBD031XD3/+OzOOHaCdoPU+/0Frkha/HQ=";

fn md5_of_a() -> String {
    format!("md5{}", "a".repeat(32))
}

#[test]
fn kinds_are_told_apart_as_postgresql_does() {
    assert!(matches!(Stored::parse("pencil"), Ok(Stored::Plain(_))));
    assert!(matches!(Stored::parse("md5pencil"), Ok(Stored::Plain(_))));
    assert!(matches!(Stored::parse(&md5_of_a()), Ok(Stored::Md5(_))));
    assert!(matches!(Stored::parse(VERIFIER), Ok(Stored::Scram(_))));
    assert!(matches!(
        Stored::parse("SCRAM-SHA-256"),
        Ok(Stored::Plain(_))
    ));
    assert_eq!(Stored::parse(""), Err(SecretError::Empty));
    assert_eq!(Stored::parse("a\0b"), Err(SecretError::Nul));
    assert_eq!(
        Stored::parse("SCRAM-SHA-256$4096:oops"),
        Err(SecretError::Scram)
    );
}

#[test]
fn each_kind_can_prove_what_it_holds() {
    let mock = MockKey::new([1; 32]);
    let plain = Stored::parse("pencil").unwrap();
    let md5 = Stored::parse(&md5_of_a()).unwrap();
    let scram = Stored::parse(VERIFIER).unwrap();
    assert!(matches!(plain.credential(), Some(Credential::Plain(_))));
    assert!(matches!(md5.credential(), Some(Credential::Md5Hash(_))));
    assert_eq!(scram.credential(), None);
    assert!(md5.scram_verifier("u", &mock).is_none());
    assert!(scram.md5_hash("u").is_none());
    assert_eq!(plain.md5_hash("c"), Some(Md5Hash::new(b"pencil", "c")));
}

#[test]
fn a_cleartext_password_matches_every_kind_it_belongs_to() {
    let mock = MockKey::new([1; 32]);
    let md5 = Stored::parse("md5a2286e2058e8275f4419293789626063").unwrap();
    for stored in [
        Stored::parse("pencil").unwrap(),
        md5,
        Stored::parse(VERIFIER).unwrap(),
    ] {
        assert!(
            bool::from(stored.matches(b"pencil", "c", &mock)),
            "{stored:?}"
        );
        assert!(
            !bool::from(stored.matches(b"pen", "c", &mock)),
            "{stored:?}"
        );
        assert!(!bool::from(stored.matches(b"", "c", &mock)), "{stored:?}");
    }
}

#[test]
fn an_unknown_user_is_shown_what_a_known_one_would_be() {
    let mock = MockKey::new([1; 32]);
    let known = Stored::parse("pencil").unwrap();
    let real = known.scram_verifier("u", &mock).unwrap();
    let fake = mock.verifier("u");
    assert_eq!((&real.salt, real.iterations), (&fake.salt, fake.iterations));
    assert_ne!(real.stored_key, fake.stored_key);
    assert_eq!(fake, mock.verifier("u"));
    assert_ne!(fake.salt, mock.verifier("v").salt);
    assert_ne!(fake.salt, MockKey::new([2; 32]).verifier("u").salt);
}

#[test]
fn a_mock_key_follows_the_secrets_and_not_their_order() {
    let (a, b) = (Stored::parse("one").unwrap(), Stored::parse("two").unwrap());
    let key = MockKey::of_secrets([("a", &a), ("b", &b)]);
    assert_eq!(key.0, MockKey::of_secrets([("b", &b), ("a", &a)]).0);
    assert_ne!(key.0, MockKey::of_secrets([("a", &b), ("b", &a)]).0);
    assert_ne!(MockKey::of_secrets([]).0, MockKey::of_secrets([]).0);
}

#[test]
fn keys_for_servers_are_derived_once_per_salt() {
    let password = Password::new(b"pencil");
    let first = password.keys(b"salt", 2);
    assert_eq!(*password.0.keys.lock().unwrap(), Some(first.clone()));
    assert_eq!(password.clone().keys(b"salt", 2), first);
    let second = password.keys(b"other", 2);
    assert_ne!(second, first);
    assert_eq!(*password.0.keys.lock().unwrap(), Some(second));
}

#[test]
fn no_secret_shows_in_debug_output() {
    for text in ["pencil", &md5_of_a(), VERIFIER] {
        let stored = Stored::parse(text).unwrap();
        let shown = format!("{stored:?} {:?}", stored.credential());
        assert!(
            !shown.contains("pencil") && !shown.contains("aaaa"),
            "{shown}"
        );
        assert!(shown.len() < 80, "{shown}");
    }
    assert_eq!(format!("{:?}", MockKey::new([7; 32])), "MockKey(..)");
}
