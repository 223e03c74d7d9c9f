//! What was given for each key, still unread: the file's table, with the line of every value.
//!
//! Knows which keys exist, not what they take. Names that do not exist are problems here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys;
use crate::problem::{Origin, Problem};
use crate::sections::{self, Section, Shape};
use crate::suggest;
use crate::value::Value;

/// A value and where it was given.
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The values of one table, by the full name of their key.
pub(crate) type Values = BTreeMap<&'static str, Given>;

/// One `[[…]]`.
pub(crate) struct Element {
    pub(crate) origin: Origin,
    pub(crate) values: Values,
}

impl Element {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            values: Values::new(),
        }
    }

    /// Where a key was given; where the element begins, when it was not.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        self.values
            .get(key)
            .map_or(&self.origin, |given| &given.origin)
    }
}

/// Everything that was given.
pub(crate) struct Raw {
    /// The file, or nothing: what to blame for what is missing.
    pub(crate) whole: Origin,
    /// Keys outside of lists.
    pub(crate) single: Values,
    /// Elements by the name of their list.
    pub(crate) lists: BTreeMap<&'static str, Vec<Element>>,
}

impl Raw {
    pub(crate) fn new(whole: Origin) -> Self {
        Self {
            whole,
            single: Values::new(),
            lists: BTreeMap::new(),
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[Element] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where a key outside of lists was given; the whole file, when it was not.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        self.single
            .get(key)
            .map_or(&self.whole, |given| &given.origin)
    }
}

/// Reads a file's text. `name` is what messages call the file.
///
/// A text that is no TOML gives its syntax problems alone: what follows such a place may be read
/// amiss, and would only add noise.
pub(crate) fn from_text(
    name: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Result<Raw, Vec<Problem>> {
    let lines = Lines::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut broken: Vec<Problem> = Vec::new();
    for error in &errors {
        let origin = error
            .span()
            .map_or_else(|| lines.whole(), |span| lines.origin(&span));
        // One mistake often makes several errors of its line.
        if broken.iter().all(|problem| problem.origin != origin) {
            // Only the message: the error's own rendering quotes the line, secrets included.
            let message = format!("syntax error: {}", error.message().replace('\n', " "));
            broken.push(Problem::new(&origin, "", message));
        }
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let mut raw = Raw::new(lines.whole());
    Walk {
        lines,
        raw: &mut raw,
        problems,
    }
    .document(document.get_ref());
    Ok(raw)
}

/// Line numbers of byte offsets.
struct Lines {
    name: Arc<str>,
    /// Offset of each line's first byte.
    starts: Vec<usize>,
}

impl Lines {
    fn new(name: &str, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Self {
            name: Arc::from(name),
            starts,
        }
    }

    fn whole(&self) -> Origin {
        Origin::File {
            name: Arc::clone(&self.name),
            line: None,
        }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.starts.partition_point(|start| *start <= span.start);
        Origin::File {
            name: Arc::clone(&self.name),
            line: Some(line),
        }
    }
}

type Name<'a, 'i> = &'a Spanned<std::borrow::Cow<'i, str>>;

struct Walk<'a> {
    lines: Lines,
    raw: &'a mut Raw,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            match sections::section(name.get_ref()) {
                Some(section) => self.section(section, name, value),
                None if keys::find(name.get_ref()).is_some() => {
                    let mut values = std::mem::take(&mut self.raw.single);
                    self.value("", name, value, &mut values);
                    self.raw.single = values;
                }
                None => self.unknown("", name),
            }
        }
    }

    fn section(
        &mut self,
        section: &'static Section,
        name: Name<'_, '_>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let origin = self.lines.origin(&name.span());
        match (section.shape, value.get_ref()) {
            (Shape::Table, DeValue::Table(table)) => {
                let mut values = std::mem::take(&mut self.raw.single);
                self.table(section, table, &mut values);
                self.raw.single = values;
            }
            (Shape::List, DeValue::Array(items)) => {
                for item in items {
                    self.element(section, item);
                }
            }
            (Shape::List, DeValue::Table(table)) => {
                // Its content is read all the same, so that its problems are told in this run.
                self.mistaken(section, &origin, "[[", "]]");
                self.push(section, origin, table);
            }
            (Shape::Table, _) => self.mistaken(section, &origin, "[", "]"),
            (Shape::List, _) => self.mistaken(section, &origin, "[[", "]]"),
        }
    }

    fn mistaken(&mut self, section: &Section, origin: &Origin, open: &str, close: &str) {
        let message = format!("is a section; write {open}{}{close}", section.name);
        self.problems
            .push(Problem::new(origin, section.name, message));
    }

    fn element(&mut self, section: &'static Section, item: &Spanned<DeValue<'_>>) {
        let origin = self.lines.origin(&item.span());
        match item.get_ref().as_table() {
            Some(table) => self.push(section, origin, table),
            None => self.mistaken(section, &origin, "[[", "]]"),
        }
    }

    fn push(&mut self, section: &'static Section, origin: Origin, table: &DeTable<'_>) {
        let mut element = Element::new(origin);
        self.table(section, table, &mut element.values);
        self.raw
            .lists
            .entry(section.name)
            .or_default()
            .push(element);
    }

    fn table(&mut self, section: &Section, table: &DeTable<'_>, values: &mut Values) {
        for (name, value) in table {
            self.value(section.name, name, value, values);
        }
    }

    fn value(
        &mut self,
        section: &str,
        name: Name<'_, '_>,
        value: &Spanned<DeValue<'_>>,
        values: &mut Values,
    ) {
        match keys::find(&full_name(section, name.get_ref())) {
            Some(key) => {
                let origin = self.lines.origin(&name.span());
                let value = Value::from(value.get_ref());
                values.insert(key.name(), Given { value, origin });
            }
            None => self.unknown(section, name),
        }
    }

    fn unknown(&mut self, section: &str, name: Name<'_, '_>) {
        let full = full_name(section, name.get_ref());
        let nearest = suggest::nearest_key(&full, &keys::names()).map(str::to_owned);
        let origin = self.lines.origin(&name.span());
        self.problems
            .push(Problem::new(&origin, &full, "unknown key").nearest(nearest));
    }
}

fn full_name(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}
