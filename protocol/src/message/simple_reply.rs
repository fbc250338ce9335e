//! Simple replies (section "Simple reply message").

use super::cookie::Cookie;
use super::parts::{COOKIE, Grammar, Held, Show, Words};
use crate::build::{Context, Fields, Made};
use crate::cursor::{Step, be32, be64, head};
use crate::describe::Kind;
use crate::values::{ErrorCode, SIMPLE_REPLY_MAGIC};

/// A simple reply (section "Simple reply message"). The data of a successful read is bulk, whose
/// length only the request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleReply {
    /// `ErrorCode::OK` or why the request failed.
    pub error: ErrorCode,
    /// The request's.
    pub cookie: Cookie,
}

impl SimpleReply {
    pub(super) fn show(&self, to: &mut impl Show) {
        to.form(SIMPLE_REPLY_MAGIC, false);
        to.word("error", &self.error.0.to_be_bytes(), self.error);
        to.part(&COOKIE, &self.cookie);
    }

    pub(super) fn words(&self) -> Words {
        Words(Kind::SimpleReply, "simple-reply".into(), Some(self.error.label()))
    }
}

/// Decodes a simple reply, whose magic is known to be there.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Step<SimpleReply> {
    match head::<16>(bytes) {
        Ok(header) => {
            let (error, cookie) = (ErrorCode(be32(&header, 4)), Cookie(be64(&header, 8)));
            Step::Ready(SimpleReply { error, cookie }, 16)
        }
        Err(more) => Step::Need(more),
    }
}

/// The fields of a line about a simple reply.
pub(crate) fn fields() -> Grammar {
    let mut fields = Grammar::default();
    fields.add_part::<Cookie>(&COOKIE);
    fields.data_and_lies(None, u32::KIND);
    fields
}

/// What a line about a simple reply says, whose second word this is.
pub(crate) fn build(error: &str, fields: &mut Fields<'_>, context: &Context) -> Made<SimpleReply> {
    // The second word was checked to be an error value.
    let error = error.parse().unwrap_or(ErrorCode::OK);
    let cookie = fields.part_or(&COOKIE, context.cookie)?;
    Ok((SimpleReply { error, cookie }, fields.payload()?))
}
