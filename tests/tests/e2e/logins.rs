//! Logins on both sides: what a client must prove to us, and what we prove to the server.

use pgconvoy_tests::convoy::{Convoy, Setup};
use pgconvoy_tests::shared;
use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{ServerError, Wire, frame, startup};
use std::sync::LazyLock;

/// Quotes and letters that SASLprep leaves alone (and one that it maps: the Ohm sign becomes an omega).
const PASSWORD: &str = "correct horse \"battery\" 'staple' \u{e9}\u{2126}";

/// Each user: name, login method, and the secret as TOML. The server trusts all of them.
fn users() -> Vec<(String, &'static str, String)> {
    let mut primary = shared::primary("postgres");
    let mut verifier = |name: &str, encryption: &str| {
        let quoted = PASSWORD.replace('\'', "''");
        primary.run(&format!(
            "set password_encryption = '{encryption}'; create role {name} login password '{quoted}'"
        ));
        primary.one(&format!(
            "select rolpassword from pg_authid where rolname = '{name}'"
        ))
    };
    let kinds = ["plain", "md5", "scram", "file", "env"];
    let mut users = Vec::new();
    for (method, kinds) in [
        ("password", &kinds[..]),
        ("md5", &["plain", "md5", "file", "env"]),
        ("scram-sha-256", &["plain", "scram", "file", "env"]),
    ] {
        for kind in kinds {
            let name = format!("u_{}_{kind}", &method[..3]);
            let encryption = if *kind == "scram" {
                "scram-sha-256"
            } else {
                "md5"
            };
            let stored = verifier(&name, encryption);
            let secret = match *kind {
                "plain" => format!("'''{PASSWORD}'''"),
                "file" => "{ file = \"secret.txt\" }".to_owned(),
                "env" => "{ env = \"TEST_SECRET\" }".to_owned(),
                _ => format!("{stored:?}"),
            };
            users.push((name, method, secret));
        }
    }
    users
}

static STAGE: LazyLock<(Stage, Vec<String>)> = LazyLock::new(|| {
    let users = users();
    let secret_file = shared::cluster()
        .directory()
        .write("secret.txt", &format!("{PASSWORD}\n"));
    let mut toml = "[[user]]\nname = \"srv_trust\"\nauth = \"trust\"\n".to_owned();
    for (name, method, secret) in &users {
        let secret = secret.replace("secret.txt", secret_file.to_str().unwrap());
        toml.push_str(&format!(
            "[[user]]\nname = \"{name}\"\nauth = \"{method}\"\npassword = {secret}\n"
        ));
    }
    let stage = Stage::with("logins", |setup| {
        setup
            .env("TEST_SECRET", PASSWORD)
            .with("[limits]\nmax_client_connections = 500")
            .with(&toml)
    });
    (stage, users.into_iter().map(|(name, _, _)| name).collect())
});

fn log_in(user: &str, password: Option<&str>) -> Result<Wire, ServerError> {
    let (stage, _) = &*STAGE;
    Wire::login(
        stage.convoy.port,
        &[("user", user), ("database", &stage.database)],
        password,
    )
}

#[test]
fn right_password_opens_with_every_method_and_kind_of_secret() {
    for name in &STAGE.1 {
        let mut client =
            log_in(name, Some(PASSWORD)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(client.one("select current_user"), *name);
        assert_eq!(
            client.one("/* pgconvoy: replica */ select current_user"),
            *name
        );
    }
    assert_eq!(
        log_in("srv_trust", None)
            .unwrap()
            .one("select current_user"),
        "srv_trust"
    );
}

#[test]
fn wrong_password_is_refused_with_every_method_and_kind_of_secret() {
    for name in &STAGE.1 {
        for wrong in ["", "wrong", "correct horse"] {
            let error = log_in(name, Some(wrong))
                .err()
                .unwrap_or_else(|| panic!("{name} got in with {wrong:?}"));
            assert_eq!(
                (error.severity.as_str(), error.code.as_str()),
                ("FATAL", "28P01"),
                "{name}: {error}"
            );
            let names_the_user = error.message.contains(name.as_str());
            assert!(names_the_user || wrong.is_empty(), "{error}");
        }
    }
}

#[test]
fn verifier_itself_is_no_password() {
    let mut primary = shared::primary("postgres");
    for name in STAGE
        .1
        .iter()
        .filter(|name| name.ends_with("_md5") || name.ends_with("_scram"))
    {
        let verifier = primary.one(&format!(
            "select rolpassword from pg_authid where rolname = '{name}'"
        ));
        assert_eq!(
            log_in(name, Some(&verifier)).err().unwrap().code,
            "28P01",
            "{name}"
        );
    }
}

/// What the first answer to a startup packet asks for.
fn asked(user: &str) -> Vec<u8> {
    let (stage, _) = &*STAGE;
    let mut wire = Wire::open(stage.convoy.port).unwrap();
    wire.send(&startup(
        0x0003_0000,
        &[("user", user), ("database", &stage.database)],
    ));
    let message = wire.message();
    assert_eq!(message.tag, b'R', "{user}");
    message.body
}

#[test]
fn unknown_user_takes_the_same_exchange_as_a_known_one() {
    // The default method is SCRAM.
    assert_eq!(asked("nobody_knows"), asked("u_scr_plain"));
    let known = log_in("u_scr_plain", Some("wrong")).err().unwrap();
    let unknown = log_in("nobody_knows", Some("wrong")).err().unwrap();
    assert_eq!(
        (&unknown.severity, &unknown.code),
        (&known.severity, &known.code)
    );
    assert_eq!(
        unknown.message.replace("nobody_knows", "u_scr_plain"),
        known.message
    );
    assert_eq!(
        unknown.fields.keys().collect::<Vec<_>>(),
        known.fields.keys().collect::<Vec<_>>()
    );
}

#[test]
fn unknown_user_is_shown_the_same_salt_each_time() {
    let salt = |user: &str| {
        let (stage, _) = &*STAGE;
        let mut wire = Wire::open(stage.convoy.port).unwrap();
        wire.send(&startup(
            0x0003_0000,
            &[("user", user), ("database", &stage.database)],
        ));
        wire.message();
        let first = b"n,,n=,r=abcdefghijklmnopqrstuvwx";
        let body = [
            &b"SCRAM-SHA-256\0"[..],
            &(first.len() as u32).to_be_bytes(),
            first,
        ]
        .concat();
        wire.send(&frame(b'p', &body));
        let challenge = String::from_utf8(wire.message().body[4..].to_vec()).unwrap();
        challenge
            .split(',')
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for user in ["u_scr_plain", "u_scr_scram", "nobody_knows", "nor_this_one"] {
        assert_eq!(salt(user), salt(user), "{user}");
    }
    assert_ne!(salt("nobody_knows"), salt("nor_this_one"));
    // A known user's iteration count must not give it away.
    assert_eq!(salt("nobody_knows")[1], salt("u_scr_plain")[1]);
}

#[test]
fn query_before_the_login_is_done_is_not_run() {
    let (stage, _) = &*STAGE;
    let mut wire = Wire::open(stage.convoy.port).unwrap();
    let early = [
        startup(
            0x0003_0000,
            &[("user", "u_scr_plain"), ("database", &stage.database)],
        ),
        frame(b'Q', b"create table smuggled ()\0"),
    ];
    wire.send(&early.concat());
    let error = wire.farewell().expect("a refusal");
    assert_eq!(error.severity, "FATAL");
    assert_eq!(
        stage
            .direct(0)
            .one("select count(*) from pg_class where relname = 'smuggled'"),
        "0"
    );
}

/// A proxy whose user `app` logs in to the server as `server_user` with this secret.
fn before_server_login(server_user: &str, secret: &str) -> Setup {
    Convoy::before(&shared::cluster().ports()).with(&format!(
        "[[user]]\nname = \"app\"\nauth = \"trust\"\nserver_user = \"{server_user}\"\nserver_password = \"{secret}\"\n"
    ))
}

#[test]
fn server_login_works_with_every_method() {
    for user in ["srv_trust", "srv_clear", "srv_md5", "srv_scram"] {
        let convoy = before_server_login(user, &format!("secret-of-{user}")).start();
        let mut client = convoy
            .connect("app", "postgres")
            .unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(
            client.one("/* pgconvoy: primary */ select current_user"),
            user
        );
        assert_eq!(
            client.one("/* pgconvoy: replica */ select current_user"),
            user
        );
    }
}

#[test]
fn clients_own_password_is_used_for_the_server() {
    for user in ["srv_clear", "srv_md5", "srv_scram"] {
        let password = format!("secret-of-{user}");
        let toml = format!("[[user]]\nname = \"{user}\"\npassword = \"{password}\"\n");
        let convoy = Convoy::before(&shared::cluster().ports())
            .with(&toml)
            .start();
        let who = [("user", user), ("database", "postgres")];
        let mut client = Wire::login(convoy.port, &who, Some(&password))
            .unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(client.one("select current_user"), user);
    }
}

#[test]
fn verifier_alone_is_enough_for_a_server_with_the_same_one() {
    let mut primary = shared::primary("postgres");
    for (user, method) in [("srv_md5", "md5"), ("srv_scram", "scram-sha-256")] {
        let verifier = primary.one(&format!(
            "select rolpassword from pg_authid where rolname = '{user}'"
        ));
        let toml =
            format!("[[user]]\nname = \"{user}\"\nauth = \"{method}\"\npassword = {verifier:?}\n");
        let convoy = Convoy::before(&shared::cluster().ports())
            .with(&toml)
            .start();
        let who = [("user", user), ("database", "postgres")];
        let password = format!("secret-of-{user}");
        for _ in 0..3 {
            let mut client = Wire::login(convoy.port, &who, Some(&password))
                .unwrap_or_else(|error| panic!("{user}: {error}"));
            assert_eq!(client.one("select current_user"), user);
        }
        assert_eq!(
            Wire::login(convoy.port, &who, Some("wrong"))
                .err()
                .unwrap()
                .code,
            "28P01"
        );
    }
}

#[test]
fn servers_refusal_of_our_login_reaches_the_client() {
    for (user, code) in [
        ("srv_scram", "28P01"),
        ("srv_md5", "28P01"),
        ("srv_clear", "28P01"),
        ("srv_reject", "28000"),
    ] {
        let convoy = before_server_login(user, "wrong").start();
        let error = convoy
            .connect("app", "postgres")
            .and_then(|mut wire| wire.query("select 1").map(|_| ()))
            .unwrap_err();
        assert_eq!(error.code, code, "{user}: {error}");
    }
}
