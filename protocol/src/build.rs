//! From a name and named fields to a message: the inverse of [`crate::describe`].
//!
//! A field that is not given has its lawful default, unless nothing can be guessed. Three things
//! that a line may say are not part of a message, because they are lies about it: a `magic` and an
//! announced `length` of its own, and data of another length than the header tells. [`Built`]
//! carries them beside it.

use crate::describe::Value;
use crate::message::parts::part;
use crate::message::{
    Chunk, ChunkBody, Message, Side, chunk, greeting, option, option_reply, request, simple_reply,
};
use crate::notation::vocabulary::{Head, VariantKind};
use crate::payload::Payload;

mod constant;
mod context;
mod error;
mod fields;
mod given;
#[cfg(test)]
mod tests;

pub use constant::{at, build_line, constant, parse_line};
pub use context::Context;
pub use error::{Blame, BuildError};

pub(crate) use fields::{Data, Fields, Made};
pub(crate) use given::{Given, at_most};

/// A message, and what a line says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The message.
    pub message: Message,
    /// The bulk that follows it. Its length can differ from [`Message::bulk`].
    pub payload: Option<Payload>,
    /// The length that the header announces instead of the true one: of an option, an option reply
    /// or a chunk.
    pub announced_length: Option<u64>,
    /// The magic instead of the lawful one.
    pub magic: Option<u64>,
}

impl Built {
    pub(crate) fn new(message: Message, payload: Option<Payload>) -> Self {
        Self { message, payload, announced_length: None, magic: None }
    }

    /// The message as it goes on the wire, with its own magic and announced length, up to its bulk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.message.to_lying_bytes(self.magic, self.announced_length)
    }

    /// Where in the export the first byte of the bulk belongs, for [`Payload::fill`].
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        match &self.message {
            Message::Request(request) => request.offset,
            Message::Chunk(Chunk { body: ChunkBody::Data { offset, .. }, .. }) => *offset,
            _ => 0,
        }
    }
}

type Result<T> = std::result::Result<T, BuildError>;

/// Makes the message that `side` says with these words and fields.
///
/// # Errors
/// The words name no message, or a field is unknown, missing, of another type or out of range.
pub fn build(
    side: Side,
    head: &str,
    variant: Option<&str>,
    fields: &[(String, Value)],
    context: &Context,
) -> Result<Built> {
    let Some(kind) = Head::find(head) else {
        let help = Head::did_you_mean(head);
        return Err(BuildError::UnknownHead { head: head.to_owned(), help });
    };
    if let Some(speaker) = kind.side()
        && speaker != side
    {
        return Err(BuildError::WrongSide { head: head.to_owned(), side: speaker.name() });
    }
    check_variant(head, kind, variant)?;
    let mut fields = Fields::new(head, kind.fields(variant), fields)?;
    let second = variant.unwrap_or_default();
    let (message, payload) = match kind {
        Head::Greeting => (Message::Greeting(greeting::build(second, &mut fields)?), None),
        Head::ClientFlags => {
            (Message::ClientFlags(greeting::build_client_flags(&mut fields)?), None)
        }
        Head::Option(option) => with(Message::Option, option::build(option, &mut fields)?),
        Head::OptionReply(reply) => {
            let info = second.parse().ok();
            let built = option_reply::build(reply, info, &mut fields, context)?;
            with(Message::OptionReply, built)
        }
        Head::ExportInfo => {
            (Message::ExportInfo(greeting::build_export_info(&mut fields, context)?), None)
        }
        Head::Request(command) => {
            with(Message::Request, request::build(command, &mut fields, context)?)
        }
        Head::SimpleReply => {
            with(Message::SimpleReply, simple_reply::build(second, &mut fields, context)?)
        }
        Head::Chunk(chunk) => with(Message::Chunk, chunk::build(chunk, &mut fields, context)?),
        Head::AnyError | Head::Reply | Head::Bytes | Head::End => {
            return Err(BuildError::NotAMessage { head: head.to_owned() });
        }
    };
    let mut built = Built::new(message, payload);
    built.magic = fields.find(&part("magic"))?;
    if !matches!(built.message, Message::Request(_)) {
        built.announced_length = fields.find(&part("length"))?;
    }
    Ok(built)
}

/// A message of a family, as any message, and its bulk.
fn with<T>(
    any: impl FnOnce(T) -> Message,
    (message, payload): (T, Option<Payload>),
) -> (Message, Option<Payload>) {
    (any(message), payload)
}

fn check_variant(word: &str, head: Head, variant: Option<&str>) -> Result<()> {
    let kind = head.variant();
    match variant {
        Some(variant) if !kind.accepts(variant) => Err(BuildError::UnknownVariant {
            variant: variant.to_owned(),
            wanted: kind.wanted(),
            help: crate::nearest::did_you_mean(variant, kind.words()),
        }),
        None if matches!(kind, VariantKind::Style | VariantKind::Error) => {
            Err(BuildError::MissingVariant { head: word.to_owned(), wanted: kind.wanted() })
        }
        _ => Ok(()),
    }
}
