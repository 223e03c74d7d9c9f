//! Secrets: given as such, or by the file or variable that holds them, read once at load.
//!
//! No message here may carry what was read.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{Kind, Outside, Refusal, Visibility, wrong};
use crate::env::Variable;
use crate::secret::{REDACTED, Secret};
use crate::suggest;
use crate::value::Value;

const FORM: &str = "a string, { file = \"…\" } or { env = \"…\" }";

/// No secret is longer; the bound keeps a wrong path (a device, a log) from being swallowed.
const LONGEST: u64 = 64 * 1024;

pub(crate) struct SecretValue;

impl Kind for SecretValue {
    type Out = Secret;

    fn read(&self, value: &Value, outside: &Outside<'_>) -> Result<Secret, Refusal> {
        match value {
            Value::Text(text) | Value::Word(text) => usable(text),
            Value::Table(entries) => from_reference(entries, outside),
            other @ (Value::Integer(_)
            | Value::Boolean(_)
            | Value::List(_)
            | Value::Unusable(_)) => Err(wrong(other).allowed(FORM)),
        }
    }

    fn show(&self, _: &Secret) -> String {
        REDACTED.to_owned()
    }

    fn exact(&self, value: &Secret) -> String {
        value.expose().to_owned()
    }

    fn visibility(&self) -> Visibility {
        Visibility::Secret
    }
}

fn from_reference(entries: &[(String, Value)], outside: &Outside<'_>) -> Result<Secret, Refusal> {
    let [(source, value)] = entries else {
        return Err(Refusal::new("exactly one of file and env is needed").allowed(FORM));
    };
    let Some(name) = value.text().filter(|name| !name.is_empty()) else {
        return Err(Refusal::new("the name of a file or variable is needed").allowed(FORM));
    };
    match source.as_str() {
        "file" => from_file(&outside.directory.join(name)),
        "env" => match outside.env.get(name) {
            Some(Variable::Text(text)) => usable(text),
            Some(Variable::NotUnicode) => Err(Refusal::new(format!(
                "the variable {name:?} is not valid UTF-8"
            ))),
            None => Err(Refusal::new(format!("the variable {name:?} is not set"))),
        },
        other => Err(Refusal {
            nearest: suggest::nearest(other, ["file", "env"]).map(str::to_owned),
            ..Refusal::new(format!("{other:?} is no source of a secret")).allowed(FORM)
        }),
    }
}

fn from_file(path: &Path) -> Result<Secret, Refusal> {
    let shown = path.display().to_string();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| Refusal::new(format!("cannot read the file {shown:?}: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(Refusal::new(format!(
            "the file {shown:?} is too long for a secret"
        )));
    }
    // Editors and `echo` end the last line; the line's end is not part of the secret.
    usable(
        text.strip_suffix('\n')
            .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t)),
    )
}

fn usable(text: &str) -> Result<Secret, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("the secret is empty"));
    }
    if text.contains('\0') {
        return Err(Refusal::new("the secret holds a NUL character"));
    }
    let secret = Secret::new(text);
    if secret.is_broken_verifier() {
        return Err(
            Refusal::new("begins as a SCRAM verifier, but is not a whole one")
                .allowed("SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"),
        );
    }
    Ok(secret)
}
