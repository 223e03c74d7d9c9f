//! The content of ErrorResponse and NoticeResponse: one letter and one string per field
//! (PostgreSQL docs, "Error and Notice Message Fields"). Reading is tolerant, because servers have
//! been seen to leave fields and terminators out, and an error must reach its reader anyhow.
//! It must not know who failed, nor what an SQLSTATE implies.

use std::borrow::Cow;
use std::fmt;

use super::frame::{Backend, FrameError, peek_backend};
use crate::error::Report;

/// How bad it is; FATAL and PANIC end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    Error,
    Fatal,
    Panic,
    Warning,
    Notice,
    Debug,
    Info,
    Log,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Log => "LOG",
        }
    }

    /// Only the untranslated words are known.
    #[must_use]
    pub fn from_bytes(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"ERROR" => Self::Error,
            b"FATAL" => Self::Fatal,
            b"PANIC" => Self::Panic,
            b"WARNING" => Self::Warning,
            b"NOTICE" => Self::Notice,
            b"DEBUG" => Self::Debug,
            b"INFO" => Self::Info,
            b"LOG" => Self::Log,
            _ => return None,
        })
    }
}

/// A borrowed reader of a body. Never fails: what is malformed ends the list.
#[derive(Clone, Copy)]
pub struct ErrorView<'a> {
    body: &'a [u8],
}

impl<'a> ErrorView<'a> {
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// Whether the server ends the connection with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        let severity = self.get(b'V').or_else(|| self.get(b'S'));
        matches!(severity, Some(b"FATAL" | b"PANIC"))
    }

    /// The fields in order. A last string without its terminator counts to the body's end.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (&field, after) = rest.split_first()?;
            if field == 0 {
                return None;
            }
            let end = memchr::memchr(0, after).unwrap_or(after.len());
            let value = &after[..end];
            rest = after.get(end + 1..).unwrap_or_default();
            Some((field, value))
        })
    }

    /// The first field of that letter, such as `b'C'`.
    #[must_use]
    pub fn get(&self, field: u8) -> Option<&'a [u8]> {
        self.fields()
            .find_map(|(name, value)| (name == field).then_some(value))
    }

    /// The SQLSTATE, if there is one of five ASCII letters and digits.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&'a str> {
        let code = self.get(b'C')?;
        if code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric) {
            std::str::from_utf8(code).ok()
        } else {
            None
        }
    }

    /// The severity, from the field that is never translated, else from the one that may be.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.get(b'V')
            .or_else(|| self.get(b'S'))
            .and_then(Severity::from_bytes)
    }

    /// The primary message; empty when there is none.
    #[must_use]
    pub fn message(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.get(b'M').unwrap_or_default())
    }
}

impl fmt::Debug for ErrorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `FATAL 28P01: message`: detail, context and query text stay out, as they may hold user data.
impl fmt::Display for ErrorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity().unwrap_or(Severity::Error).as_str();
        write!(
            f,
            "{severity} {}: {}",
            self.sqlstate().unwrap_or("?????"),
            self.message()
        )
    }
}

/// An error of ours to be sent, or a server's kept whole.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorFields {
    /// As on the wire, without the final terminator; every string is terminated.
    body: Vec<u8>,
}

impl ErrorFields {
    /// An error of our own.
    #[must_use]
    pub fn new(severity: Severity, code: &str, message: impl AsRef<str>) -> Self {
        Self { body: Vec::new() }
            .with(b'S', severity.as_str())
            .with(b'V', severity.as_str())
            .with(b'C', code)
            .with(b'M', message.as_ref())
    }

    #[must_use]
    pub fn error(code: &str, message: impl AsRef<str>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    #[must_use]
    pub fn fatal(code: &str, message: impl AsRef<str>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    /// A peer's ErrorResponse or NoticeResponse body, kept as far as it can be read.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let mut kept = Vec::with_capacity(body.len());
        for (field, value) in ErrorView::new(body).fields() {
            kept.push(field);
            kept.extend_from_slice(value);
            kept.push(0);
        }
        Self { body: kept }
    }

    /// What one of our own floors reports, ready for the wire.
    #[must_use]
    pub fn of_report(severity: Severity, report: &Report) -> Self {
        let mut fields = Self::new(severity, &report.code, &report.message);
        if let Some(detail) = &report.detail {
            fields = fields.detail(detail);
        }
        if let Some(hint) = &report.hint {
            fields = fields.hint(hint);
        }
        fields
    }

    /// A server's error as our own floors pass it on: code, message, detail and hint.
    #[must_use]
    pub fn to_report(&self) -> Report {
        let text = |field| {
            self.get(field)
                .map(|text| String::from_utf8_lossy(text).into_owned())
        };
        let mut report = Report::new(self.sqlstate().to_owned(), self.message().into_owned());
        report.detail = text(b'D');
        report.hint = text(b'H').map(Cow::Owned);
        report
    }

    /// A whole ErrorResponse frame at the beginning of `frame`; `None` for any other.
    ///
    /// # Errors
    /// [`FrameError`] when the frame's header is not sound.
    pub fn from_frame(frame: &[u8]) -> Result<Option<Self>, FrameError> {
        Ok(match peek_backend(frame)? {
            Some((Backend::ErrorResponse, header)) => {
                frame.get(super::HEADER..header.len).map(Self::parse)
            }
            Some(_) | None => None,
        })
    }

    #[must_use]
    pub fn detail(self, text: impl AsRef<str>) -> Self {
        self.with(b'D', text.as_ref())
    }

    #[must_use]
    pub fn hint(self, text: impl AsRef<str>) -> Self {
        self.with(b'H', text.as_ref())
    }

    /// Appends any field; a NUL cuts the text. The letter 0 is not a field.
    #[must_use]
    pub fn with(mut self, field: u8, text: &str) -> Self {
        if field != 0 {
            let end = memchr::memchr(0, text.as_bytes()).unwrap_or(text.len());
            self.body.push(field);
            self.body.extend_from_slice(&text.as_bytes()[..end]);
            self.body.push(0);
        }
        self
    }

    /// The same error with another severity, as when a server's FATAL must not end a client.
    #[must_use]
    pub fn with_severity(&self, severity: Severity) -> Self {
        let mut kept = Self { body: Vec::new() }
            .with(b'S', severity.as_str())
            .with(b'V', severity.as_str());
        for (field, value) in self.view().fields() {
            if !matches!(field, b'S' | b'V') {
                kept.body.push(field);
                kept.body.extend_from_slice(value);
                kept.body.push(0);
            }
        }
        kept
    }

    /// The same error with another place in the text that was sent (the field `P`).
    #[must_use]
    pub fn at(&self, place: usize) -> Self {
        let mut moved = Self { body: Vec::new() };
        for (field, value) in self.view().fields() {
            if field == b'P' {
                moved = moved.with(field, &place.to_string());
            } else {
                moved.body.push(field);
                moved.body.extend_from_slice(value);
                moved.body.push(0);
            }
        }
        moved
    }

    #[must_use]
    pub fn view(&self) -> ErrorView<'_> {
        ErrorView::new(&self.body)
    }

    /// See [`ErrorView::get`].
    #[must_use]
    pub fn get(&self, field: u8) -> Option<&[u8]> {
        self.view().get(field)
    }

    /// The SQLSTATE; `XX000` when the sender left it out.
    #[must_use]
    pub fn sqlstate(&self) -> &str {
        self.view()
            .sqlstate()
            .unwrap_or(super::sqlstate::INTERNAL_ERROR)
    }

    /// The primary message; empty when there is none.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        self.view().message()
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

impl fmt::Display for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_found_by_letter() {
        let error = ErrorFields::fatal("28P01", "no").detail("d").hint("h");
        assert_eq!(error.get(b'D'), Some(&b"d"[..]));
        assert_eq!(error.get(b'H'), Some(&b"h"[..]));
        assert_eq!(error.get(b'W'), None);
        assert_eq!(error.sqlstate(), "28P01");
        assert_eq!(error.to_string(), "FATAL 28P01: no");
    }

    #[test]
    fn a_servers_error_is_read_however_broken() {
        for (body, sqlstate, message) in [
            (&b""[..], None, ""),
            (b"\0", None, ""),
            (b"C", None, ""),
            (b"SFATAL\0Mno code\0\0", None, "no code"),
            (b"C2800\0Mshort\0", None, "short"),
            (b"C28000\0Munterminated", Some("28000"), "unterminated"),
            (b"C28000\0\0Mafter the end\0\0", Some("28000"), ""),
            (b"M\xff\0\0", None, "\u{fffd}"),
        ] {
            let view = ErrorView::new(body);
            assert_eq!(view.sqlstate(), sqlstate, "{body:?}");
            assert_eq!(view.message(), message, "{body:?}");
        }
        assert_eq!(ErrorFields::parse(b"Mx\0\0").sqlstate(), "XX000");
    }

    #[test]
    fn a_report_survives_the_wire() {
        let report = Report::new("57P03", "no leader").detail("d").hint("wait");
        let fields = ErrorFields::of_report(Severity::Fatal, &report);
        assert_eq!(fields.view().severity(), Some(Severity::Fatal));
        assert_eq!(fields.to_report(), report);
    }

    #[test]
    fn severity_comes_from_the_untranslated_field() {
        assert_eq!(
            ErrorView::new(b"SFEHLER\0VERROR\0\0").severity(),
            Some(Severity::Error)
        );
        assert_eq!(
            ErrorView::new(b"SFATAL\0\0").severity(),
            Some(Severity::Fatal)
        );
        assert_eq!(ErrorView::new(b"SFEHLER\0\0").severity(), None);
        let softened = ErrorFields::fatal("57P01", "m").with_severity(Severity::Error);
        assert_eq!(softened.view().severity(), Some(Severity::Error));
        assert_eq!(softened.sqlstate(), "57P01");
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let kept = ErrorFields::parse(&body);
            prop_assert_eq!(kept.view().fields().count(), ErrorView::new(&body).fields().count());
            let _ = kept.to_string();
        }
    }
}
