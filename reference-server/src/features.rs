//! Which parts of the protocol a server offers.

use protocol::values::HandshakeFlags;

/// The three ways to begin a session (section "Handshake").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The default export, at once.
    Oldstyle,
    /// `NBD_OPT_EXPORT_NAME` and nothing else.
    Newstyle,
    /// Any options.
    FixedNewstyle,
}

/// The forms of replies in the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Replies {
    /// Simple replies only.
    Simple,
    /// Structured replies were agreed.
    Structured,
    /// Extended headers were agreed, for requests too.
    Extended,
}

impl Replies {
    /// `simple`, `structured` or `extended`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Structured => "structured",
            Self::Extended => "extended",
        }
    }
}

/// Which parts of the protocol a server offers. What is off is answered as a server answers that
/// has never heard of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// How sessions begin.
    pub handshake: Handshake,
    /// The handshake flag `NO_ZEROES`.
    pub no_zeroes: bool,
    /// `NBD_OPT_LIST`.
    pub list: bool,
    /// `NBD_OPT_INFO` and `NBD_OPT_GO`.
    pub info_and_go: bool,
    /// `NBD_INFO_BLOCK_SIZE`.
    pub block_size: bool,
    /// `NBD_OPT_STRUCTURED_REPLY`.
    pub structured_reply: bool,
    /// `NBD_OPT_EXTENDED_HEADERS`.
    pub extended_headers: bool,
    /// `NBD_OPT_LIST_META_CONTEXT`, `NBD_OPT_SET_META_CONTEXT`, `NBD_CMD_BLOCK_STATUS`.
    pub meta_context: bool,
    /// The context `base:allocation`.
    pub base_allocation: bool,
    /// The contexts `qemu:dirty-bitmap:NAME`, for exports that have bitmaps.
    pub dirty_bitmaps: bool,
    /// The context `qemu:allocation-depth`.
    pub allocation_depth: bool,
    /// `NBD_CMD_BLOCK_STATUS` with a payload that names contexts.
    pub status_payload: bool,
    /// `NBD_CMD_FLUSH`.
    pub flush: bool,
    /// `NBD_CMD_FLAG_FUA`.
    pub fua: bool,
    /// `NBD_CMD_TRIM`.
    pub trim: bool,
    /// `NBD_CMD_WRITE_ZEROES`.
    pub write_zeroes: bool,
    /// `NBD_CMD_FLAG_FAST_ZERO`.
    pub fast_zero: bool,
    /// `NBD_CMD_CACHE`.
    pub cache: bool,
    /// `NBD_CMD_FLAG_DF`, once structured replies are agreed.
    pub df: bool,
    /// The transmission flag `CAN_MULTI_CONN`, for exports that can.
    pub multi_conn: bool,
}

impl Default for Features {
    /// Everything.
    fn default() -> Self {
        Self::EVERYTHING
    }
}

impl Features {
    /// Everything.
    pub(crate) const EVERYTHING: Self = Self {
        handshake: Handshake::FixedNewstyle,
        no_zeroes: true,
        list: true,
        info_and_go: true,
        block_size: true,
        structured_reply: true,
        extended_headers: true,
        meta_context: true,
        base_allocation: true,
        dirty_bitmaps: true,
        allocation_depth: true,
        status_payload: true,
        flush: true,
        fua: true,
        trim: true,
        write_zeroes: true,
        fast_zero: true,
        cache: true,
        df: true,
        multi_conn: true,
    };

    /// The features that can be left out by name, in the order of the fields.
    pub const NAMES: &'static [&'static str] = &[
        "no-zeroes",
        "list",
        "info-and-go",
        "block-size",
        "structured-reply",
        "extended-headers",
        "meta-context",
        "base-allocation",
        "dirty-bitmaps",
        "allocation-depth",
        "status-payload",
        "flush",
        "fua",
        "trim",
        "write-zeroes",
        "fast-zero",
        "cache",
        "df",
        "multi-conn",
    ];

    /// Leaves out one of [`Features::NAMES`]; whether there is one of that name.
    pub fn leave_out(&mut self, name: &str) -> bool {
        let feature = match name {
            "no-zeroes" => &mut self.no_zeroes,
            "list" => &mut self.list,
            "info-and-go" => &mut self.info_and_go,
            "block-size" => &mut self.block_size,
            "structured-reply" => &mut self.structured_reply,
            "extended-headers" => &mut self.extended_headers,
            "meta-context" => &mut self.meta_context,
            "base-allocation" => &mut self.base_allocation,
            "dirty-bitmaps" => &mut self.dirty_bitmaps,
            "allocation-depth" => &mut self.allocation_depth,
            "status-payload" => &mut self.status_payload,
            "flush" => &mut self.flush,
            "fua" => &mut self.fua,
            "trim" => &mut self.trim,
            "write-zeroes" => &mut self.write_zeroes,
            "fast-zero" => &mut self.fast_zero,
            "cache" => &mut self.cache,
            "df" => &mut self.df,
            "multi-conn" => &mut self.multi_conn,
            _ => return false,
        };
        *feature = false;
        true
    }

    /// The flags of a newstyle greeting.
    pub(crate) fn handshake_flags(&self) -> HandshakeFlags {
        let mut flags = HandshakeFlags::EMPTY;
        if self.handshake == Handshake::FixedNewstyle {
            flags = flags | HandshakeFlags::FIXED_NEWSTYLE;
        }
        if self.no_zeroes {
            flags = flags | HandshakeFlags::NO_ZEROES;
        }
        flags
    }
}
