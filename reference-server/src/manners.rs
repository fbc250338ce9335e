//! How a server behaves where the specification leaves it a choice, or only recommends.

use std::time::Duration;

use protocol::values::{ErrorCode, STRING_LIMIT};

use crate::export::Export;

/// How a server behaves where the specification leaves it a choice, or only recommends. By default
/// as it recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// The longest export name that is looked up, in bytes, up to 4096; longer ones are invalid.
    pub name_limit: usize,
    /// Whether errors of options come with a text.
    pub error_texts: bool,
    /// Whether `NBD_INFO_NAME` is sent to those who ask for it.
    pub info_name: bool,
    /// Whether description and size constraints are sent to those too who do not ask for them.
    pub tells_unasked: bool,
    /// Whether `NBD_INFO_EXPORT` comes after all other information; else before.
    pub export_last: bool,
    /// The least minimum block size that is told to those who ask, in bytes; a power of 2.
    pub least_minimum: u32,
    /// Whether `NBD_OPT_INFO` without a question for the size constraints is refused with
    /// `NBD_REP_ERR_BLOCK_SIZE_REQD`, after everything has been told.
    pub info_insists: bool,
    /// Whether requests off the minimum block size are served.
    pub serves_unaligned: bool,
    /// Whether `NBD_OPT_STRUCTURED_REPLY` is refused where they are agreed already.
    pub structured_once: bool,
    /// Whether `NBD_OPT_LIST_META_CONTEXT` is served before structured replies are agreed.
    pub lists_contexts_early: bool,
    /// The error of `NBD_CMD_WRITE` and `NBD_CMD_WRITE_ZEROES` beyond the end.
    pub past_end: ErrorCode,
    /// The error of what would change a read-only export.
    pub read_only: ErrorCode,
    /// Whether unknown command flags are passed over; else the request fails.
    pub ignores_flags: bool,
    /// Whether a write of more than the maximum payload ends the session; else it fails.
    pub large_write_closes: bool,
    /// Whether what has no data to answer is answered by a simple reply, also under structured
    /// replies.
    pub simple_success: bool,
    /// Whether structured reads show holes as such.
    pub holes_in_reads: bool,
    /// Whether an answer about `base:allocation` has one extent only.
    pub one_extent: bool,
    /// Whether zeroes that are not stored are called holes too; else they are zero only.
    pub zeroes_are_holes: bool,
    /// Whether the last extent of a dirty bitmap may run past the request.
    pub bitmaps_run_over: bool,
    /// Whether `NBD_CMD_TRIM` and `NBD_CMD_WRITE_ZEROES` are advertised on read-only exports.
    pub trim_on_read_only: bool,
    /// When `CAN_MULTI_CONN` is advertised.
    pub multi_conn: MultiConn,
    /// The unit to which sizes are rounded up, in bytes; a power of 2.
    pub size_unit: u32,
    /// How long an export takes to open: how long the server waits before it greets.
    pub opening: Duration,
    /// Whether a server whose only export has the empty name is oldstyle, unless it has TLS.
    pub oldstyle_without_name: bool,
}

/// When `CAN_MULTI_CONN` is advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiConn {
    /// Never.
    Never,
    /// For read-only exports that several clients may share.
    SharedReadOnly,
    /// For read-only exports, shared or not.
    ReadOnly,
    /// For exports that several clients may share.
    Shared,
}

impl MultiConn {
    /// Whether it is advertised for an export.
    pub(crate) fn applies(self, export: &Export) -> bool {
        match self {
            Self::Never => false,
            Self::SharedReadOnly => export.is_read_only() && export.is_multi_conn(),
            Self::ReadOnly => export.is_read_only(),
            Self::Shared => export.is_multi_conn(),
        }
    }
}

impl Manners {
    /// As the specification recommends.
    pub(crate) const DEFAULT: Self = Self {
        name_limit: STRING_LIMIT,
        error_texts: true,
        info_name: true,
        tells_unasked: false,
        export_last: false,
        least_minimum: 1,
        info_insists: false,
        serves_unaligned: false,
        structured_once: false,
        lists_contexts_early: false,
        past_end: ErrorCode::ENOSPC,
        read_only: ErrorCode::EPERM,
        ignores_flags: false,
        large_write_closes: false,
        simple_success: false,
        holes_in_reads: true,
        one_extent: false,
        zeroes_are_holes: true,
        bitmaps_run_over: false,
        trim_on_read_only: false,
        multi_conn: MultiConn::Shared,
        size_unit: 1,
        opening: Duration::ZERO,
        oldstyle_without_name: false,
    };
}

impl Default for Manners {
    fn default() -> Self {
        Self::DEFAULT
    }
}
