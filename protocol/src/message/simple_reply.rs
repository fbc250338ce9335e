//! Simple replies (section "Simple reply message"). They are decoded beside the other replies, in
//! [`super::chunk`]: the magic decides.

use super::Held;
use super::parts::{COOKIE, Grammar, Show};
use super::{Cookie, Message, Words};
use crate::build::{BuildError, Built, Context, Fields};
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

/// The fields of a line about a simple reply.
pub(crate) fn fields() -> Grammar {
    let mut fields = Grammar::default();
    fields.add_part::<Cookie>(&COOKIE);
    fields.data_and_lies(None, u32::KIND);
    fields
}

/// What a line about a simple reply says, whose second word this is.
pub(crate) fn build(
    error: &str,
    fields: &mut Fields<'_>,
    context: &Context,
) -> Result<Built, BuildError> {
    // The second word was checked to be an error value.
    let error = error.parse().unwrap_or(ErrorCode::OK);
    let cookie = fields.part_or(&COOKIE, context.cookie)?;
    let message = Message::SimpleReply(SimpleReply { error, cookie });
    Ok(Built::new(message, fields.payload()?))
}
