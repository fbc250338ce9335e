//! Options and their data (section "Option types").

use super::parts::{
    Count, DATA, Fallback, Grammar, Held, LENGTH, Part, Show, Source, Words, bodies, part,
};
use crate::build::{Data, Fields, Made};
use crate::cursor::{BadMagic, Cursor, Decoded, LayoutError, Limits, Step, be32, first, low32};
use crate::describe::Kind;
use crate::text::WireString;
use crate::values::{InfoType, OPTION_MAGIC, OptionType};

/// An option and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionRequest {
    /// Which option.
    pub option: OptionType,
    /// Its data.
    pub body: OptionBody,
}

const EXPORT: Part = part("name").counted(4, "name length").is("export name");

bodies! {
    /// The data of an option.
    pub enum OptionBody of OptionType {
        /// The name in EXPORT_NAME.
        OptionType::EXPORT_NAME => Name(name: WireString = part("name"));
        /// INFO and GO.
        OptionType::INFO | OptionType::GO => Info {
            /// The export; empty for the default one.
            name: WireString = EXPORT,
            /// The items asked for.
            requests: Vec<InfoType> = part("info")
                .counted(2, "number of information requests")
                .on_wire("information request")
                .or(Fallback::Blank),
        };
        /// LIST_META_CONTEXT and SET_META_CONTEXT.
        OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT => Meta {
            /// The export; empty for the default one.
            export: WireString = EXPORT.count_is("export name length"),
            /// Each with a namespace and a colon, if well-formed.
            queries: Vec<WireString> = part("queries")
                .counted(4, "number of queries")
                .or(Fallback::Blank),
        };
    } or {
        /// No data. The lawful form of ABORT, LIST, STARTTLS, STRUCTURED_REPLY, EXTENDED_HEADERS.
        Empty,
        /// Data of an unknown option, or that does not have its option's layout.
        Raw(Vec<u8>),
        /// As many bytes of data follow as bulk: more than the decoder was allowed to keep.
        Bulk(u32),
    }
}

/// Decodes an option and its data.
///
/// # Errors
/// The magic is not `IHAVEOPT`.
pub fn decode(bytes: &[u8], limits: Limits) -> Decoded<OptionRequest> {
    let magic = u64::from_be_bytes(first!(bytes, 8));
    if magic != OPTION_MAGIC {
        return Err(BadMagic { expected: "IHAVEOPT", found: magic, bytes: 8, at: 0 });
    }
    let header = first!(bytes, 16);
    let option = OptionType(be32(&header, 8));
    let length = be32(&header, 12);
    if length > limits.option {
        return Ok(Step::Ready(OptionRequest { option, body: OptionBody::Bulk(length) }, 16));
    }
    let total = 16 + length as usize;
    let Some(data) = bytes.get(16..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    let body = body(option, data).unwrap_or_else(|_| OptionBody::Raw(data.to_vec()));
    Ok(Step::Ready(OptionRequest { option, body }, total))
}

pub(crate) fn body(option: OptionType, data: &[u8]) -> Result<OptionBody, LayoutError> {
    let mut from = Cursor::new(data, "option length");
    let (body, what) = match OptionBody::of_type(option, &mut from)? {
        Some(body @ OptionBody::Info { .. }) => (body, "NBD_OPT_INFO or NBD_OPT_GO data"),
        Some(body) => (body, "metadata context option data"),
        None => match option {
            OptionType::ABORT
            | OptionType::LIST
            | OptionType::STARTTLS
            | OptionType::STRUCTURED_REPLY
            | OptionType::EXTENDED_HEADERS => (OptionBody::Empty, "option without data"),
            _ if data.is_empty() => (OptionBody::Empty, ""),
            _ => return Ok(OptionBody::Raw(data.to_vec())),
        },
    };
    from.end(what).map(|()| body)
}

impl OptionBody {
    /// Appends the data of the option, without its length; nothing for bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.show(out);
    }

    fn show(&self, to: &mut impl Show) {
        match self {
            Self::Raw(data) => to.part(&DATA, data),
            Self::Bulk(length) => to.bulk((*length).into()),
            _ => self.show_parts(to),
        }
    }
}

impl OptionRequest {
    pub(super) fn show(&self, to: &mut impl Show) {
        let mut length = Count::default();
        self.body.show(&mut length);
        to.magic(OPTION_MAGIC);
        to.word("option", &self.option.0.to_be_bytes(), self.option);
        to.part(&LENGTH, &low32(length.0));
        self.body.show(to);
    }

    pub(super) fn words(&self) -> Words {
        Words(Kind::Option, self.option.label(), None)
    }
}

/// The fields of a line about this option.
pub(crate) fn fields(option: OptionType) -> Grammar {
    let mut fields = Grammar::of(|fields| OptionBody::of_type(option, fields));
    fields.data_and_lies(Some(u32::KIND), u64::KIND);
    fields
}

const WHOLE: &str = "`data` is the whole data of the option";

/// What a line about this option says.
pub(crate) fn build(option: OptionType, fields: &mut Fields<'_>) -> Made<OptionRequest> {
    let own = Grammar::of(|own| OptionBody::of_type(option, own));
    let (body, payload) = match fields.whole_data(&own, u32::MAX.into(), WHOLE)? {
        Some(Data::Raw(bytes)) => (OptionBody::Raw(bytes), None),
        Some(Data::Bulk(bulk)) => (OptionBody::Bulk(low32(bulk.length())), Some(bulk)),
        None => (OptionBody::of_type(option, fields)?.unwrap_or(OptionBody::Empty), None),
    };
    Ok((OptionRequest { option, body }, payload))
}
