//! An export, as the server describes it.

use protocol::message::{Info, OptionReply, ReplyBody};
use protocol::text::WireString;
use protocol::values::{ReplyType, TransmissionFlags};

/// More exports than that are counted, not described.
pub const DESCRIBED: usize = 64;

/// An export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: WireString,
    /// Its description, if it has one.
    pub description: Option<WireString>,
    /// Size in bytes, if told.
    pub size: Option<u64>,
    /// Transmission flags, if told.
    pub flags: Option<TransmissionFlags>,
    /// The size constraints, if told: minimum, preferred, maximum.
    pub block_size: Option<(u32, u32, u32)>,
    /// The answer that denies information about it.
    pub refused: Option<ReplyType>,
    /// It is only served inside TLS, by a server that serves others in the clear. What else is told of
    /// it was told inside, if there is TLS with the server.
    pub tls_only: bool,
}

impl Export {
    pub(super) fn named(name: WireString) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn learn(&mut self, replies: Vec<OptionReply>) {
        for reply in replies {
            match reply.body {
                ReplyBody::Info(Info::Export { size, flags }) => {
                    (self.size, self.flags) = (Some(size), Some(flags));
                }
                ReplyBody::Info(Info::Description(text)) => self.description = Some(text),
                ReplyBody::Info(Info::BlockSize { minimum, preferred, maximum }) => {
                    self.block_size = Some((minimum, preferred, maximum));
                }
                _ => {}
            }
        }
    }
}
