//! Replies to options (section "Option reply types").

use super::info::{self, Info};
use super::parts::{Count, DATA, Grammar, Held, LENGTH, Part, Show, Source, Words, bodies, part};
use crate::build::{BuildError, Context, Data, Fields, Made};
use crate::cursor::{BadMagic, Cursor, Decoded, LayoutError, Limits, Step, be32, first, low32};
use crate::describe::Kind;
use crate::notation::field::VariantKind;
use crate::text::WireString;
use crate::values::{InfoType, OPTION_REPLY_MAGIC, OptionType, ReplyType};

/// One reply to an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionReply {
    /// The option that is answered.
    pub option: OptionType,
    /// The kind of reply.
    pub reply: ReplyType,
    /// Its data.
    pub body: ReplyBody,
}

pub(crate) const OPTION: Part = part("option");

bodies! {
    /// The data of an option reply.
    pub enum ReplyBody of ReplyType {
        /// `NBD_REP_SERVER`.
        ReplyType::SERVER => Server {
            /// Name of the export.
            name: WireString = part("name").counted(4, "name length").is("export name"),
            /// What follows the name; may be empty.
            description: WireString = part("description").optional(),
        };
        /// `NBD_REP_META_CONTEXT`.
        ReplyType::META_CONTEXT => MetaContext {
            /// The id that status chunks will carry.
            id: u32 = part("id").is("context id"),
            /// Namespace, colon, leaf.
            name: WireString = part("name"),
        };
        /// The text in an error reply; not empty.
        reply if reply.is_error() => Message(text: WireString = part("message").optional());
    } or {
        /// No data.
        Empty,
        /// `NBD_REP_INFO`.
        Info(Info),
        /// Data of an unknown reply type, or that does not have its type's layout.
        Raw(Vec<u8>),
        /// As many bytes of data follow as bulk: more than the decoder was allowed to keep.
        Bulk(u32),
    }
}

/// Decodes a reply to an option.
///
/// # Errors
/// The magic is not that of option replies.
pub fn decode(bytes: &[u8], limits: Limits) -> Decoded<OptionReply> {
    let magic = u64::from_be_bytes(first!(bytes, 8));
    if magic != OPTION_REPLY_MAGIC {
        return Err(BadMagic { expected: "the option reply magic", found: magic, bytes: 8, at: 0 });
    }
    let header = first!(bytes, 20);
    let option = OptionType(be32(&header, 8));
    let reply = ReplyType(be32(&header, 12));
    let length = be32(&header, 16);
    if length > limits.option {
        return Ok(Step::Ready(OptionReply { option, reply, body: ReplyBody::Bulk(length) }, 20));
    }
    let total = 20 + length as usize;
    let Some(data) = bytes.get(20..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    let body = body(reply, data).unwrap_or_else(|_| ReplyBody::Raw(data.to_vec()));
    Ok(Step::Ready(OptionReply { option, reply, body }, total))
}

pub(crate) fn body(reply: ReplyType, data: &[u8]) -> Result<ReplyBody, LayoutError> {
    let mut from = Cursor::new(data, "reply length");
    match reply {
        ReplyType::ACK => return from.end("NBD_REP_ACK").map(|()| ReplyBody::Empty),
        ReplyType::INFO => {
            let info = InfoType(from.u16("information type")?);
            let data = from.rest();
            let raw = |_| Info::Raw { info, data: data.to_vec() };
            return Ok(ReplyBody::Info(info::body(info, data).unwrap_or_else(raw)));
        }
        _ => {}
    }
    Ok(match ReplyBody::of_type(reply, &mut from)? {
        Some(ReplyBody::Message(_)) | None if data.is_empty() => ReplyBody::Empty,
        Some(body) => body,
        None => ReplyBody::Raw(data.to_vec()),
    })
}

impl ReplyBody {
    /// Appends the data of the reply, without its length; nothing for bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.show(out);
    }

    fn show(&self, to: &mut impl Show) {
        match self {
            Self::Info(info) => info.show(to),
            Self::Raw(data) => to.part(&DATA, data),
            Self::Bulk(length) => to.bulk((*length).into()),
            _ => self.show_parts(to),
        }
    }
}

impl OptionReply {
    pub(super) fn show(&self, to: &mut impl Show) {
        let mut length = Count::default();
        self.body.show(&mut length);
        to.magic(OPTION_REPLY_MAGIC);
        to.part(&OPTION, &self.option);
        to.word("reply type", &self.reply.0.to_be_bytes(), self.reply);
        to.part(&LENGTH, &low32(length.0));
        self.body.show(to);
    }

    pub(super) fn words(&self) -> Words {
        let variant = match &self.body {
            ReplyBody::Info(info) => Some(info.info_type().label()),
            _ => None,
        };
        Words(Kind::OptionReply, self.reply.label(), variant)
    }
}

/// The fields that the data of a reply gives to a line; `info` is its second word.
fn own(reply: ReplyType, info: Option<InfoType>) -> Grammar {
    match info {
        Some(info) => Grammar::of(|own| Info::of_type(info, own)),
        None => Grammar::of(|own| ReplyBody::of_type(reply, own)),
    }
}

/// The fields of a line about this reply.
pub(crate) fn fields(reply: ReplyType, info: Option<InfoType>) -> Grammar {
    let mut fields = Grammar::default();
    fields.add_part::<OptionType>(&OPTION);
    fields.extend(own(reply, info));
    fields.data_and_lies(Some(u32::KIND), u64::KIND);
    fields
}

const WHOLE: &str = "`data` is the whole data of the reply";

/// What a line about this reply says.
pub(crate) fn build(
    reply: ReplyType,
    info: Option<InfoType>,
    fields: &mut Fields<'_>,
    context: &Context,
) -> Made<OptionReply> {
    let option = fields.part_or(&OPTION, context.option)?;
    let data = fields.whole_data(&own(reply, info), u32::MAX.into(), WHOLE)?;
    let mut payload = None;
    let body = match (data, info) {
        (Some(Data::Raw(data)), Some(info)) => ReplyBody::Info(Info::Raw { info, data }),
        (Some(Data::Raw(data)), None) => ReplyBody::Raw(data),
        (Some(Data::Bulk(_)), Some(_)) => {
            let why = "only `hex` may follow an information type";
            return Err(BuildError::Conflict { key: DATA.key.to_owned(), why });
        }
        (Some(Data::Bulk(bulk)), None) => {
            let length = low32(bulk.length());
            payload = Some(bulk);
            ReplyBody::Bulk(length)
        }
        (None, Some(info)) => {
            let raw = Info::Raw { info, data: Vec::new() };
            ReplyBody::Info(Info::of_type(info, fields)?.unwrap_or(raw))
        }
        (None, None) if reply == ReplyType::INFO => {
            let wanted = VariantKind::Info.wanted();
            return Err(BuildError::MissingVariant { head: reply.to_string(), wanted });
        }
        (None, None) => match ReplyBody::of_type(reply, fields)? {
            Some(ReplyBody::Message(text)) if text.is_empty() => ReplyBody::Empty,
            body => body.unwrap_or(ReplyBody::Empty),
        },
    };
    Ok((OptionReply { option, reply, body }, payload))
}
