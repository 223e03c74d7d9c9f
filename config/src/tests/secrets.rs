//! Secrets: where they may come from, what they may serve, and that nobody sees them.

use super::{load, load_with, problems};
use crate::{Overrides, Secret, SecretShape, Settings, Sources};

const SCRAM: &str = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
const MD5: &str = "md5c4ca4238a0b923820dcc509a6f75849b";

fn user(rest: &str) -> String {
    format!("[[node]]\naddress = \"h:5432\"\n[[user]]\nname = \"a\"\n{rest}\n")
}

fn password(text: &str, variables: &[(&str, &str)]) -> String {
    let loaded = load_with(text, variables).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.settings.users[0]
        .password
        .as_ref()
        .unwrap()
        .expose()
        .to_owned()
}

#[test]
fn shapes_are_told_apart_as_postgresql_does() {
    let table = [
        ("hunter2", SecretShape::Plaintext),
        (MD5, SecretShape::Md5),
        (
            "md5C4CA4238A0B923820DCC509A6F75849B",
            SecretShape::Plaintext,
        ),
        ("md5 is old", SecretShape::Plaintext),
        (SCRAM, SecretShape::ScramVerifier),
        ("SCRAM-SHA-256$4096:AAAA$cut:off", SecretShape::Plaintext),
    ];
    for (text, shape) in table {
        assert_eq!(Secret::new(text).shape(), shape, "{text}");
    }
}

#[test]
fn a_secret_is_given_or_read_from_a_variable() {
    assert_eq!(password(&user("password = \"hunter2\""), &[]), "hunter2");
    let named = user("password = { env = \"APP_PASSWORD\" }");
    assert_eq!(password(&named, &[("APP_PASSWORD", "hunter2")]), "hunter2");
    let from_env = [("PGCONVOY_USER_0_PASSWORD", "hunter2")];
    assert_eq!(password(&user(""), &from_env), "hunter2");
}

#[test]
fn a_secret_file_is_found_beside_the_configuration_and_loses_its_line_end() {
    let directory = std::env::temp_dir().join(format!("pgconvoy-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("secret"), " hunter2 \r\n").unwrap();
    let file = directory.join("pgconvoy.toml");
    std::fs::write(&file, user("password = { file = \"secret\" }")).unwrap();
    let sources = Sources {
        file: Some(&file),
        ..Sources::default()
    };
    let loaded = Settings::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        loaded.settings.users[0].password,
        Some(Secret::new(" hunter2 "))
    );

    let path = directory.join("secret").display().to_string();
    let variables = [("PGCONVOY_USER_0_PASSWORD_FILE", path.as_str())];
    assert_eq!(password(&user(""), &variables), " hunter2 ");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_secret_that_cannot_be_had_names_its_line_and_source() {
    let table = [
        ("{ env = \"NOPE\" }", "the variable \"NOPE\" is not set"),
        (
            "{ file = \"/nonexistent/s\" }",
            "cannot read the file \"/nonexistent/s\": No such file or directory (os error 2)",
        ),
        (
            "{ file = \"a\", env = \"b\" }",
            "exactly one of file and env is needed; \
             allowed: a string, { file = \"…\" } or { env = \"…\" }",
        ),
        (
            "{ fil = \"a\" }",
            "\"fil\" is no source of a secret; \
             allowed: a string, { file = \"…\" } or { env = \"…\" }; did you mean \"file\"?",
        ),
        ("\"\"", "the secret is empty"),
        ("\"a\\u0000b\"", "the secret holds a NUL character"),
        (
            "\"SCRAM-SHA-256$4096:AAAA\"",
            "begins as a SCRAM verifier, but is not a whole one; \
             allowed: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>",
        ),
        (
            "5",
            "a number does not fit here; allowed: a string, { file = \"…\" } or { env = \"…\" }",
        ),
    ];
    for (value, message) in table {
        let lines = problems(&user(&format!("password = {value}")), &[]);
        assert_eq!(lines, [format!("t.toml:5: user.password: {message}")]);
    }
}

#[test]
fn a_method_needs_a_secret_that_can_serve_it() {
    let refused = |auth: &str, secret: &str| {
        problems(
            &user(&format!("auth = \"{auth}\"\npassword = \"{secret}\"")),
            &[],
        )
    };
    assert_eq!(
        refused("md5", SCRAM),
        [
            "t.toml:6: user.password: a SCRAM verifier cannot serve the method md5; \
          use auth = \"scram-sha-256\" for this user, or a secret of the other kind"
        ]
    );
    assert_eq!(
        refused("scram-sha-256", MD5),
        [
            "t.toml:6: user.password: an md5 hash cannot serve the method scram-sha-256; \
          use auth = \"md5\" for this user, or a secret of the other kind"
        ]
    );
    let fit = [
        ("md5", MD5),
        ("md5", "x"),
        ("scram-sha-256", SCRAM),
        ("scram-sha-256", "x"),
        ("password", SCRAM),
        ("password", MD5),
        ("trust", SCRAM),
    ];
    for (auth, secret) in fit {
        assert!(refused(auth, secret).is_empty(), "{auth} {secret}");
    }
    assert!(problems(&user("auth = \"trust\""), &[]).is_empty());
}

#[test]
fn a_verifier_cannot_log_in_to_a_server() {
    let message = "a SCRAM verifier cannot log in to a server; give the password itself";
    let text = user(&format!("password = \"x\"\nserver_password = \"{SCRAM}\""));
    assert_eq!(
        problems(&text, &[]),
        [format!("t.toml:6: user.server_password: {message}")]
    );
    let text = format!("monitor.password = \"{SCRAM}\"\n[[node]]\naddress = \"h:5432\"");
    assert_eq!(
        problems(&text, &[]),
        [format!("t.toml:1: monitor.password: {message}")]
    );
}

#[test]
fn no_rendering_shows_a_secret() {
    let text = user("password = \"hunter2\"\nserver_password = \"hunter2\"");
    let text = format!("monitor.password = \"hunter2\"\n{text}");
    let loaded = load(&text);
    let changed = load(&text.replace("hunter2", "hunter22"));
    let renderings = [
        format!("{loaded:?}"),
        format!("{loaded:#?}"),
        format!("{:?}", loaded.settings),
        format!("{:?}", loaded.describe()),
        format!("{:?}", crate::diff(&loaded, &changed)),
        format!("{}", Secret::new("hunter2")),
    ];
    for rendering in renderings {
        assert!(!rendering.contains("hunter2"), "{rendering}");
    }
    let rows = loaded.describe();
    let shown = rows.iter().filter(|row| row.value == "********").count();
    assert_eq!(shown, 3);
}

#[test]
fn no_problem_shows_a_secret() {
    let text =
        user("password = \"hunter2\"\nserver_password = \"hunter2\"\npasswort = \"hunter2\"")
            + "auth = \"hunte\"\n[auth]\nmethod = \"nope\"\n";
    let variables = [
        ("PGCONVOY_USER_0_PASWORD", "hunter2"),
        ("PGCONVOY_USER_7_PASSWORD", "hunter2"),
        ("PGCONVOY_MONITOR_PASSWORD", "SCRAM-SHA-256$hunter2"),
    ];
    let lines = problems(&text, &variables);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(
        lines.iter().all(|line| !line.contains("hunter2")),
        "{lines:#?}"
    );
}

#[test]
fn flags_and_sources_need_no_file() {
    let flags = Overrides {
        nodes: vec!["h:5432".to_owned()],
        ..Overrides::default()
    };
    let variables = [
        ("PGCONVOY_USER_0_NAME", "app"),
        ("PGCONVOY_USER_0_PASSWORD", MD5),
        ("PGCONVOY_USER_0_AUTH", "md5"),
        ("PGCONVOY_LISTEN", "0.0.0.0:5430"),
    ];
    let loaded = super::load_without_file(&variables, flags).unwrap();
    assert_eq!(loaded.settings.users[0].password, Some(Secret::new(MD5)));
}
