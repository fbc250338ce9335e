//! Options and requests that a client sends besides those that it needs.

use protocol::values::{Command, CommandFlags, InfoType, OPTION_MAGIC, OptionType};

/// When an option is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before TLS is asked for, or would be.
    BeforeTls,
    /// As the first thing inside TLS, or of all.
    First,
    /// Once it is agreed that replies come in chunks, before contexts are selected.
    Chunked,
    /// Once all is agreed, before the export is entered.
    BeforeEntry,
    /// In transmission.
    AfterEntry,
    /// After `NBD_OPT_ABORT`.
    AfterAbort,
}

/// The name of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// That of the session.
    Export,
    /// Another one.
    Other(&'static [u8]),
}

/// What an option says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Data(&'static [u8]),
    /// For `NBD_OPT_INFO` and `NBD_OPT_GO`.
    Info(Name, &'static [InfoType]),
    /// For the options about metadata contexts.
    Meta(Name, &'static [&'static [u8]]),
}

/// An option besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionBesides {
    pub(crate) when: When,
    pub(crate) option: OptionType,
    pub(crate) said: Said,
    pub(crate) magic: u64,
    /// Whether its replies are read before anything else is sent.
    pub(crate) awaited: bool,
}

impl OptionBesides {
    pub(crate) const fn new(when: When, option: OptionType, said: Said) -> Self {
        Self { when, option, said, magic: OPTION_MAGIC, awaited: true }
    }

    pub(crate) const fn empty(when: When, option: OptionType) -> Self {
        Self::new(when, option, Said::Data(b""))
    }

    pub(crate) fn to_bytes(self, export: &str) -> Vec<u8> {
        let counted = |bytes: &[u8]| {
            let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
            out.extend_from_slice(bytes);
            out
        };
        let named = |name: Name| match name {
            Name::Export => counted(export.as_bytes()),
            Name::Other(name) => counted(name),
        };
        let data = match self.said {
            Said::Data(data) => data.to_vec(),
            Said::Info(name, requests) => {
                let mut data = named(name);
                data.extend((requests.len() as u16).to_be_bytes());
                data.extend(requests.iter().flat_map(|request| request.0.to_be_bytes()));
                data
            }
            Said::Meta(name, queries) => {
                let mut data = named(name);
                data.extend((queries.len() as u32).to_be_bytes());
                data.extend(queries.iter().flat_map(|query| counted(query)));
                data
            }
        };
        let mut bytes = self.magic.to_be_bytes().to_vec();
        bytes.extend(self.option.0.to_be_bytes());
        bytes.extend(counted(&data));
        bytes
    }
}

/// When a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// After `NBD_CMD_DISC`.
    AfterDisc,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bytes {
    Of(u64),
    /// A block that every server takes: 4 KiB, or the minimum block size if that is larger.
    Block,
    /// Where the last such block of the export begins.
    LastBlock,
    /// So many before the end of the export.
    BeforeEnd(u64),
    /// So many more than the largest payload.
    OverMaximum(u64),
}

impl Bytes {
    /// In an export of this size, with these limits of its block size, in bytes.
    pub(crate) fn of(self, size: u64, minimum: u32, maximum: u32) -> u64 {
        let block = u64::from(minimum.max(4096));
        match self {
            Self::Block => block,
            Self::LastBlock => (size / block).saturating_sub(1) * block,
            Self::Of(bytes) => bytes,
            Self::BeforeEnd(bytes) => size.saturating_sub(bytes),
            Self::OverMaximum(more) => u64::from(maximum).saturating_add(more),
        }
    }
}

/// A request besides. A write has zeroes as its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestBesides {
    pub(crate) stage: Stage,
    pub(crate) command: Command,
    pub(crate) flags: CommandFlags,
    pub(crate) offset: Bytes,
    pub(crate) length: Bytes,
}

impl RequestBesides {
    /// One without flags before all others.
    pub(crate) const fn new(command: Command, offset: Bytes, length: Bytes) -> Self {
        let (stage, flags) = (Stage::First, CommandFlags::EMPTY);
        Self { stage, command, flags, offset, length }
    }

    pub(crate) const fn with(self, flags: CommandFlags) -> Self {
        Self { flags, ..self }
    }

    pub(crate) const fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }
}
