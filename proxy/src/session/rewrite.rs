//! A Query of several statements, some of which mean something else on a shared server connection than
//! on the client's own. PURE.
//!
//! RESET takes a startup parameter back to the server's value: the statements that set the client's are
//! put right behind it, as no other request fits in between. DEALLOCATE names a statement that has
//! another name on servers: one that is made for it is taken away instead. What is put in answers for
//! nothing, and the places that errors name are those of the client's text.

use crate::backend::parameters::{ParameterSet, goes_with, is_identity};
use crate::protocol::error_fields::{ErrorFields, ErrorView};
use crate::router::{self, Effect};

/// What DEALLOCATE takes away in place of the client's statement.
const STAND_IN: &str = " PREPARE \"pgconvoy own\" AS SELECT";
const WITHOUT_STAND_IN: &str = "DEALLOCATE \"pgconvoy own\"";

/// A statement of a text that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The client's, with what it does to the session's parameters.
    Clients(Effect),
    /// One of our own, which gives back what the client's before it has taken; its answer is hidden.
    Own,
}

/// The text as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) sql: String,
    /// What each statement of it is, in order.
    pub(super) parts: Vec<Part>,
    pub(super) changes: Changes,
}

impl Rewritten {
    /// Another text altogether, which changes nothing.
    pub(super) fn of(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            parts: Vec::new(),
            changes: Changes::NONE,
        }
    }
}

/// Where a text was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Change>);

/// In characters of the text that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    at: usize,
    put_in: usize,
    taken_out: usize,
}

impl Changes {
    /// Nowhere.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// The place in the client's text (from 1 on) of one in what was sent.
    fn place(&self, place: usize) -> usize {
        let (mut gone, mut more) = (0, 0);
        for change in self.0.iter().take_while(|change| change.at < place) {
            let inside = place - change.at <= change.put_in;
            if inside {
                return change.at + gone + 1 - more;
            }
            gone += change.taken_out;
            more += change.put_in;
        }
        place + gone - more
    }

    /// The server's error with the place it has in the client's text; `None` when that is the same.
    pub(crate) fn error(&self, body: &[u8]) -> Option<ErrorFields> {
        if self.0.is_empty() {
            return None;
        }
        let place = ErrorView::new(body).get(b'P')?;
        let place: usize = std::str::from_utf8(place).ok()?.parse().ok()?;
        Some(ErrorFields::parse(body).at(self.place(place)))
    }
}

/// What is to be sent in place of `sql`, whose statements have these effects; `None` when it can go as
/// it is. `startup` is what the client began with, `holds` tells which names its prepared statements have.
pub(super) fn rewrite(
    sql: &[u8],
    effects: &[Effect],
    startup: &ParameterSet,
    holds: impl Fn(&str) -> bool,
) -> Option<Rewritten> {
    if effects.len() < 2 || !effects.iter().any(is_of_interest) {
        return None;
    }
    let sql = std::str::from_utf8(sql).ok()?;
    let places = router::places(sql.as_bytes());
    if places.len() != effects.len() {
        return None;
    }
    let mut text = Text::default();
    let mut gone = Vec::new();
    let last = effects.len() - 1;
    for (number, (effect, place)) in effects.iter().zip(&places).enumerate() {
        match effect {
            Effect::Deallocate(Some(name)) if holds(name) && !gone.contains(&name) => {
                gone.push(name);
                text.copy(sql.get(text.taken..place.start)?);
                let taken_out = sql.get(place.clone())?;
                text.put_in(&format!("{STAND_IN};{WITHOUT_STAND_IN}"), taken_out);
                text.parts.push(Part::Own);
                text.parts.push(Part::Clients(effect.clone()));
                continue;
            }
            Effect::Deallocate(None) => return text.finish(sql, effects, number),
            Effect::None
            | Effect::Set(_)
            | Effect::Reset(_)
            | Effect::ResetAll
            | Effect::DiscardAll
            | Effect::Deallocate(Some(_))
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Unknown => {}
        }
        text.copy(sql.get(text.taken..place.end)?);
        text.parts.push(Part::Clients(effect.clone()));
        for statement in lost(effect, startup).filter(|_| number < last) {
            text.put_in(&format!(";{statement}"), "");
            text.parts.push(Part::Own);
        }
    }
    text.finish(sql, effects, effects.len())
}

fn is_of_interest(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Deallocate(Some(_)) | Effect::Reset(_) | Effect::ResetAll
    )
}

/// The statements that set again what one with this effect takes from the startup parameters.
fn lost(effect: &Effect, startup: &ParameterSet) -> impl Iterator<Item = String> {
    let lost = match effect {
        Effect::Reset(name) => startup.filtered(|n| goes_with(n, name)),
        Effect::ResetAll => startup.filtered(|n| !is_identity(n)),
        Effect::None
        | Effect::Set(_)
        | Effect::DiscardAll
        | Effect::Deallocate(_)
        | Effect::Savepoint(_)
        | Effect::Release(_)
        | Effect::RollbackTo(_)
        | Effect::Unknown => ParameterSet::default(),
    };
    lost.restoration(&ParameterSet::default()).into_iter()
}

/// A text as it comes to be.
#[derive(Default)]
struct Text {
    sql: String,
    /// How many bytes of the client's are in it, or were left out.
    taken: usize,
    /// Its length in characters.
    characters: usize,
    parts: Vec<Part>,
    changes: Vec<Change>,
}

impl Text {
    fn copy(&mut self, part: &str) {
        self.sql.push_str(part);
        self.taken += part.len();
        self.characters += part.chars().count();
    }

    fn put_in(&mut self, part: &str, in_place_of: &str) {
        self.changes.push(Change {
            at: self.characters,
            put_in: part.chars().count(),
            taken_out: in_place_of.chars().count(),
        });
        self.sql.push_str(part);
        self.taken += in_place_of.len();
        self.characters += part.chars().count();
    }

    /// The rest, from the statement with this number on, as it is.
    fn finish(mut self, sql: &str, effects: &[Effect], from: usize) -> Option<Rewritten> {
        if self.changes.is_empty() {
            return None;
        }
        self.copy(sql.get(self.taken..)?);
        let rest = effects.get(from..)?.iter().cloned();
        self.parts.extend(rest.map(Part::Clients));
        Some(Rewritten {
            sql: self.sql,
            parts: self.parts,
            changes: Changes(self.changes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup() -> ParameterSet {
        let pairs = [("search_path", "a, b"), ("work_mem", "7MB"), ("role", "r")];
        let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned()));
        ParameterSet::clone(&ParameterSet::new(pairs).unwrap())
    }

    fn rewritten(sql: &str) -> Option<Rewritten> {
        let effects = router::effects(sql.as_bytes(), &[]);
        rewrite(sql.as_bytes(), &effects, &startup(), |name| name == "mine")
    }

    #[test]
    fn what_a_reset_takes_is_given_again_before_the_next_statement() {
        let text = rewritten("select 1; reset work_mem /* so */ ; select 2").unwrap();
        assert_eq!(
            text.sql,
            "select 1; reset work_mem;SET SESSION \"work_mem\" TO E'7MB' /* so */ ; select 2"
        );
        assert_eq!(
            text.parts,
            [
                Part::Clients(Effect::None),
                Part::Clients(Effect::Reset("work_mem".into())),
                Part::Own,
                Part::Clients(Effect::None),
            ]
        );
        let all = rewritten("reset all;;select 1").unwrap();
        assert_eq!(
            all.sql,
            "reset all;SELECT pg_catalog.set_config(E'search_path',E'a, b',false);\
             SET SESSION \"work_mem\" TO E'7MB';;select 1"
        );
        assert_eq!(all.parts.len(), 4);
    }

    #[test]
    fn statements_that_mean_the_same_anywhere_are_left_alone() {
        for sql in [
            "reset work_mem",
            "select 1; reset all",
            "reset other; select 1",
            "deallocate another; select 1",
            "deallocate all; select 1",
            "select 'reset all'; select 1",
        ] {
            assert_eq!(rewritten(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_stand_in_is_deallocated_for_a_statement_of_the_protocol_once() {
        let text = rewritten("select 1; deallocate mine; deallocate mine").unwrap();
        assert_eq!(
            text.sql,
            "select 1; PREPARE \"pgconvoy own\" AS SELECT;DEALLOCATE \"pgconvoy own\"; deallocate mine"
        );
        let mine = Part::Clients(Effect::Deallocate(Some("mine".into())));
        assert_eq!(text.parts[1..], [Part::Own, mine.clone(), mine]);
        let none = rewritten("reset work_mem; deallocate all; deallocate mine").unwrap();
        assert!(none.sql.ends_with("; deallocate all; deallocate mine"));
        assert_eq!(none.parts.len(), 4);
    }

    #[test]
    fn errors_name_the_place_in_the_clients_text() {
        let sql =
            "select 'h\u{e9}'; deallocate mine; reset work_mem; select nope; reset all; selec";
        let text = rewritten(sql).unwrap();
        let sent: Vec<char> = text.sql.chars().collect();
        let own: Vec<char> = sql.chars().collect();
        let find = |all: &[char], what: &str| {
            let what: Vec<char> = what.chars().collect();
            all.windows(what.len()).position(|w| w == what).unwrap() + 1
        };
        for what in [
            "select 'h",
            "reset work_mem",
            "nope",
            "reset all",
            "; selec",
        ] {
            let place = text.changes.place(find(&sent, what));
            assert_eq!(place, find(&own, what), "{what}");
        }
        let inside = text.changes.place(find(&sent, "DEALLOCATE"));
        assert_eq!(inside, find(&own, " deallocate"));
    }
}
