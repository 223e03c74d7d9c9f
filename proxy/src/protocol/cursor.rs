//! A checked walk over one message's body: every read says what was missing, none panics, and
//! `finish` insists that the body is used up. It must not know which messages there are.

use memchr::memchr;

use super::frame::FrameError;

/// Borrows from the frame; `message` names it in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self {
            message,
            rest: body,
        }
    }

    pub(super) fn error(&self, reason: &'static str) -> FrameError {
        FrameError::Body {
            message: self.message,
            reason,
        }
    }

    /// Bytes before the next NUL, which is skipped.
    pub(super) fn text(&mut self) -> Result<&'a [u8], FrameError> {
        match memchr(0, self.rest) {
            Some(end) => {
                let text = &self.rest[..end];
                self.rest = &self.rest[end + 1..];
                Ok(text)
            }
            None => Err(self.error("a string is not terminated")),
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error("it is too short")),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error("it is too short")),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn int16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Result<i32, FrameError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn finish(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error("bytes follow its end"))
        }
    }
}
