//! A load: file, environment and flags, one over the other, to settings or all their problems.

use std::path::Path;

use crate::env::{self, Environment};
use crate::flags::{self, Overrides};
use crate::loaded::Loaded;
use crate::problem::{Origin, Problem, Problems};
use crate::raw::{self, Raw};
use crate::settings::Settings;
use crate::{check, resolve};

/// Where settings come from; flags win over the environment, and that wins over the file.
#[derive(Clone, Default)]
pub struct Sources<'a> {
    pub file: Option<&'a Path>,
    pub env: Environment,
    pub flags: Overrides,
}

impl Settings {
    /// Reads all sources. Blocks on reading files: for start and reload, not for a worker.
    ///
    /// # Errors
    /// Every problem that was found; nothing is loaded then.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, Problems> {
        let Some(path) = sources.file else {
            return combine(
                Raw::new(Origin::Default),
                Path::new(""),
                sources,
                Vec::new(),
            );
        };
        let name = path.display().to_string();
        let directory = path.parent().unwrap_or(Path::new(""));
        match std::fs::read_to_string(path) {
            Ok(text) => load_text(&name, &text, directory, sources),
            Err(error) => {
                let origin = Origin::File {
                    name: name.into(),
                    line: None,
                };
                let message = format!("the file cannot be read: {error}");
                Err(Problems::new(vec![Problem::new(&origin, "", message)]))
            }
        }
    }

    /// Like [`Settings::load`], with the text of the file in hand; `name` is what messages call it.
    /// `sources.file` is not looked at; relative secret files start at the working directory.
    ///
    /// # Errors
    /// Every problem that was found; nothing is loaded then.
    pub fn load_text(name: &str, text: &str, sources: &Sources<'_>) -> Result<Loaded, Problems> {
        load_text(name, text, Path::new(""), sources)
    }
}

fn load_text(
    name: &str,
    text: &str,
    directory: &Path,
    sources: &Sources<'_>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let raw = raw::from_text(name, text, &mut problems).map_err(Problems::new)?;
    combine(raw, directory, sources, problems)
}

fn combine(
    mut raw: Raw,
    directory: &Path,
    sources: &Sources<'_>,
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    env::overlay(&mut raw, &sources.env, &mut problems);
    flags::overlay(&mut raw, &sources.flags);
    let mut draft = resolve::resolve(&raw, &sources.env, directory, &mut problems);
    check::check(&mut draft, &raw, &mut problems);
    if problems.is_empty() {
        Ok(Loaded::new(draft.settings, draft.entries))
    } else {
        Err(Problems::new(problems))
    }
}
