//! From bytes to messages and back.
//!
//! Decoders are given the bytes that have come and answer one of three things: how many more are
//! needed, a message and how many bytes it took, or what is wrong and where. They keep no state;
//! which message comes next is the session's knowledge.
//!
//! A message whose own length field delimits it never fails to decode: data that does not have the
//! layout of its type comes back raw, so that it can be shown, and [`layout_error`] says why. Only
//! a wrong magic is an error, because the stream can't be followed after it.

pub use crate::cursor::{BadMagic, Decoded, LayoutError, Limits, Step};
pub use crate::message::greeting::{client_flags, decode as greeting, export_info};
pub use crate::message::option::decode as option;
pub use crate::message::option_reply::decode as option_reply;
pub use crate::message::request::decode as request;
use crate::message::{
    Chunk, ChunkBody, Info, Message, OptionBody, OptionReply, OptionRequest, ReplyBody,
};
use crate::message::{chunk, info, option, option_reply, simple_reply};
use crate::values::SIMPLE_REPLY_MAGIC;

/// Decodes a reply of the transmission phase, simple, structured or extended by its magic:
/// [`Message::SimpleReply`] or [`Message::Chunk`]. Read data is bulk.
///
/// # Errors
/// The magic is none of the three.
#[inline]
pub fn reply(bytes: &[u8], limits: Limits) -> Decoded<Message> {
    if bytes.starts_with(&SIMPLE_REPLY_MAGIC.to_be_bytes()) {
        return Ok(simple_reply::decode(bytes).map(Message::SimpleReply));
    }
    Ok(chunk::decode(bytes, limits)?.map(Message::Chunk))
}

/// Why the data of a message came back raw although its type has a layout; `None` where the
/// layout holds or the type is unknown.
#[must_use]
pub fn layout_error(message: &Message) -> Option<LayoutError> {
    match message {
        Message::Option(OptionRequest { option, body: OptionBody::Raw(data) }) => {
            option::body(*option, data).err()
        }
        Message::OptionReply(OptionReply { reply, body: ReplyBody::Raw(data), .. }) => {
            option_reply::body(*reply, data).err()
        }
        Message::OptionReply(OptionReply {
            body: ReplyBody::Info(Info::Raw { info, data }),
            ..
        }) => info::body(*info, data).err(),
        Message::Chunk(Chunk { chunk, body: ChunkBody::Raw(data), .. }) => {
            chunk::body(*chunk, data).err()
        }
        _ => None,
    }
}
