//! Items of information about an export (section "Option reply types", `NBD_REP_INFO`).

use super::parts::{DATA, Fallback, Show, Source, TRANSMISSION_FLAGS, bodies, part};
use crate::cursor::{Cursor, LayoutError};
use crate::text::WireString;
use crate::values::{DEFAULT_MAXIMUM_PAYLOAD, InfoType, TransmissionFlags};

bodies! {
    /// An item of information about an export (section "Option reply types", `NBD_REP_INFO`).
    pub enum Info of InfoType {
        /// `NBD_INFO_EXPORT`.
        InfoType::EXPORT => Export {
            /// Size in bytes.
            size: u64 = part("size").is("export size"),
            /// What can be done with the export.
            flags: TransmissionFlags = TRANSMISSION_FLAGS,
        };
        /// `NBD_INFO_NAME`.
        InfoType::NAME => Name(name: WireString = part("name"));
        /// `NBD_INFO_DESCRIPTION`.
        InfoType::DESCRIPTION => Description(text: WireString = part("description"));
        /// `NBD_INFO_BLOCK_SIZE`.
        InfoType::BLOCK_SIZE => BlockSize {
            /// Smallest unit of offset and length, in bytes; a power of 2 up to 65,536.
            minimum: u32 = part("minimum").is("minimum block size").or(Fallback::Number(1)),
            /// Unit that is efficient, in bytes; a power of 2, at least 512.
            preferred: u32 = part("preferred").is("preferred block size").or(Fallback::Number(4096)),
            /// Largest payload in bytes; `0xffffffff` for no limit.
            maximum: u32 = part("maximum")
                .is("maximum payload")
                .or(Fallback::Number(DEFAULT_MAXIMUM_PAYLOAD as u64)),
        };
    } or {
        /// An unknown type, or data that does not have its type's layout.
        Raw {
            /// The type.
            info: InfoType,
            /// What follows the type.
            data: Vec<u8>,
        },
    }
}

pub(crate) fn body(info: InfoType, data: &[u8]) -> Result<Info, LayoutError> {
    let mut from = Cursor::new(data, "reply length");
    match Info::of_type(info, &mut from)? {
        Some(item) => from.end(info.name().unwrap_or("information")).map(|()| item),
        None => Ok(Info::Raw { info, data: data.to_vec() }),
    }
}

impl Info {
    /// The type of this item.
    #[must_use]
    pub fn info_type(&self) -> InfoType {
        match self {
            Self::Export { .. } => InfoType::EXPORT,
            Self::Name(_) => InfoType::NAME,
            Self::Description(_) => InfoType::DESCRIPTION,
            Self::BlockSize { .. } => InfoType::BLOCK_SIZE,
            Self::Raw { info, .. } => *info,
        }
    }

    pub(super) fn show(&self, to: &mut impl Show) {
        let info = self.info_type();
        to.word("information type", &info.0.to_be_bytes(), info);
        match self {
            Self::Raw { data, .. } => to.part(&DATA, data),
            _ => self.show_parts(to),
        }
    }
}
