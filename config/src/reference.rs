//! The text of `reference.toml`, made from the definitions of the keys.
//!
//! Lines that begin with `#` and no space are settings that can be switched on by taking it off.

use std::fmt::Write as _;

use crate::env;
use crate::keys::{self, AnyKey, Reload, Written};
use crate::sections::{Example, SECTIONS, Section, Shape};

const HEAD: &str = "\
# pgconvoy's settings: every key with its default. Only a node is needed; take the rest as it is.
# A line that begins with # and no space shows a key or section that may be left out.
#
# Durations need a unit: ms, s, min, h, d. Sizes may have one: B, kB, MB, GB, KiB, MiB, GiB.
# Each key can come from the environment, too, under the name in brackets, and then wins over this
# file; in lists, 0 is the first. A secret can be the content of a file: PGCONVOY_USER_0_PASSWORD_FILE.
# PGCONVOY_NODES=\"host1:5432,host2:5432\" gives the whole list of nodes.
# (restart) marks what a reload with SIGHUP does not change.
";

/// Every key with its default and one line of explanation, in TOML: the repository's
/// `config/reference.toml`, and what `pgconvoy` can print.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let top = keys::ALL.iter().filter(|key| !key.name().contains('.'));
    for key in top {
        push_key(&mut text, *key, "");
    }
    for section in SECTIONS {
        push_section(&mut text, section);
    }
    text
}

fn push_section(text: &mut String, section: &Section) {
    let (open, close) = match section.shape {
        Shape::Table => ("[", "]"),
        Shape::List => ("[[", "]]"),
    };
    let off = match section.example {
        Example::InForce => "",
        Example::Off => "#",
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n\n# {}.\n{off}{open}{}{close}\n",
        section.doc, section.name
    );
    let prefix = format!("{}.", section.name);
    for key in keys::ALL
        .iter()
        .filter(|key| key.name().starts_with(&prefix))
    {
        push_key(text, *key, off);
    }
}

fn push_key(text: &mut String, key: &dyn AnyKey, off: &str) {
    let leaf = key
        .name()
        .rsplit_once('.')
        .map_or(key.name(), |(_, leaf)| leaf);
    let restart = match key.reload() {
        Reload::Live => "",
        Reload::Restart => " (restart)",
    };
    let variable = env::variable(key, "0");
    let (off, value) = match key.written() {
        Written::Default(value) => (off, value),
        Written::RequiredExample(value) => (off, value.to_owned()),
        Written::OptionalExample(value) => ("#", value.to_owned()),
    };
    let _ = write!(
        text,
        "\n# {}{restart} [{variable}]\n{off}{leaf} = {value}\n",
        key.doc()
    );
}
