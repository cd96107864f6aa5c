//! What decoders of binary formats have in common.

use super::Limits;
use super::json::too_large;
use crate::rejection::{Code, Issue, Rejection};

/// What is wrong with a body. Never holds a value of it.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) code: Code,
    pub(super) expected: &'static str,
    pub(super) actual: &'static str,
    pub(super) offset: u64,
}

impl From<Bad> for Rejection {
    #[cold]
    fn from(bad: Bad) -> Self {
        let Bad { code, expected, actual, offset } = bad;
        Issue { offset: Some(offset), ..Issue::at(code, "", expected, actual) }.into()
    }
}

/// Refuses bodies that no format has.
///
/// # Errors
/// `frame.empty` or `frame.too_large`.
pub(super) fn within(limits: Limits, body: &[u8]) -> Result<(), Rejection> {
    if body.len() > limits.body_bytes_max {
        return Err(too_large(body.len(), limits.body_bytes_max));
    }
    if body.is_empty() {
        return Err(Issue::whole(Code::FrameEmpty).into());
    }
    Ok(())
}

/// The rest of a body.
#[derive(Debug)]
pub(super) struct Cursor<'b> {
    whole: usize,
    pub(super) rest: &'b [u8],
    /// What is read, for issues.
    what: &'static str,
}

impl<'b> Cursor<'b> {
    /// Of `body` all behind its first `skipped` bytes.
    pub(super) fn new(body: &'b [u8], skipped: usize, what: &'static str) -> Self {
        Self { whole: body.len(), rest: &body[skipped..], what }
    }

    pub(super) fn offset(&self) -> u64 {
        (self.whole - self.rest.len()) as u64
    }

    #[cold]
    pub(super) fn bad(&self, code: Code, expected: &'static str, actual: &'static str) -> Bad {
        Bad { code, expected, actual, offset: self.offset() }
    }

    #[cold]
    pub(super) fn truncated(&self) -> Bad {
        let bad = self.bad(Code::BinaryTruncated, self.what, "the end of the body");
        Bad { offset: self.whole as u64, ..bad }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'b [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn text(&mut self, len: usize) -> Result<&'b str, Bad> {
        let begins = self.offset();
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let bad = self.bad(Code::BinaryUtf8, "UTF-8", "other bytes");
            Bad { offset: begins + error.valid_up_to() as u64, ..bad }
        })
    }

    pub(super) fn finite(&self, value: f64) -> Result<f64, Bad> {
        if !value.is_finite() {
            return Err(self.bad(Code::BinaryNumber, "a finite number", "an infinite one, or none"));
        }
        Ok(value)
    }

    pub(super) fn deeper(&self, depth_left: usize) -> Result<usize, Bad> {
        depth_left.checked_sub(1).ok_or_else(|| self.bad(Code::BinaryDepth, "less depth", "more"))
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Bad> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(self.bad(Code::BinaryTrailing, "the end of the body", "more bytes")),
        }
    }
}
