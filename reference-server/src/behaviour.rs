//! How a server behaves: one value with a field for each choice. By default it does what the
//! specification recommends. A release of qemu is a set of choices, a quirk is a lawful choice that
//! few make, and a fault is an unlawful one: each is a change of this value.

use std::time::Duration;

use protocol::values::{
    Command, CommandFlags, ErrorCode, OptionType, STRING_LIMIT, TransmissionFlags,
};

use crate::distortion::{AnswerFault, ExtentFault, ReplyFault, StoreFault};
use crate::export::{BlockSizes, Export};
use crate::features::Features;

/// How a server behaves. By default it does what the specification recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Which parts of the protocol are offered.
    pub features: Features,
    /// How long the server waits before it greets.
    pub opening: Duration,
    /// Whether a server whose only export has the empty name is oldstyle, unless it has TLS.
    pub oldstyle_without_name: bool,
    /// The unit to which the sizes of exports are rounded up, in bytes; a power of 2.
    pub(crate) size_unit: u32,

    /// Connections at once, if not as many as the limits allow.
    pub(crate) connections: Option<usize>,
    /// Whether further connections wait for their turn; else they are closed without a greeting.
    pub(crate) lets_connections_wait: bool,
    /// Requests of one session that are served at once, if not as many as the limits allow.
    pub(crate) in_flight: Option<u32>,
    /// Whether everything is sent in pieces of a few bytes.
    pub(crate) dribbles: bool,

    // The greeting.
    /// Handshake flags that a newstyle greeting has besides those of the features.
    pub(crate) spare_handshake_flags: u16,
    /// Whether the greeting shows FIXED_NEWSTYLE; else options are taken without it.
    pub(crate) shows_fixed_newstyle: bool,
    /// The handshake flags of an oldstyle greeting.
    pub(crate) oldstyle_handshake_flags: u16,
    /// What fills the reserved bytes of an oldstyle greeting.
    pub(crate) oldstyle_padding: u8,
    /// Whether unknown flags of a client end the session.
    pub(crate) checks_client_flags: bool,

    // Options.
    /// The longest export name that is looked up, in bytes, up to 4096; longer ones are invalid.
    pub(crate) name_limit: usize,
    /// The same for INFO and GO, where that is another limit.
    pub(crate) info_name_limit: Option<usize>,
    /// Whether INFO and GO refuse names that are not UTF-8 as invalid; else they are unknown.
    pub(crate) names_are_utf8: bool,
    /// Whether a name in INFO and GO ends at its first zero byte; else such a name is invalid.
    pub(crate) names_end_at_nul: bool,
    /// Whether any length of data of an option is passed over; else only what the limits allow.
    pub(crate) skips_any_option: bool,
    /// Whether errors of options come with a text.
    pub(crate) error_texts: bool,
    /// Whether those texts are in a language that takes more than ASCII.
    pub(crate) foreign_texts: bool,
    /// How long the answer to an option takes.
    pub(crate) option_delay: Duration,
    /// Whether `NBD_OPT_LIST` names no export.
    pub(crate) lists_nothing: bool,
    /// An option that has no data, and is served with any.
    pub(crate) ignores_data_of: Option<OptionType>,
    /// Whether the data of an unknown option is taken for the next option.
    pub(crate) keeps_unknown_data: bool,
    /// Whether `NBD_OPT_STRUCTURED_REPLY` is refused where they are agreed already.
    pub(crate) structured_once: bool,
    /// Whether `NBD_OPT_EXTENDED_HEADERS` is refused where they are agreed already.
    pub(crate) extended_once: bool,
    /// Whether extended headers are only for those who have agreed on structured replies.
    pub(crate) extended_wants_structured: bool,
    /// What is changed in the answers to options, unlawfully.
    pub(crate) answer_fault: Option<AnswerFault>,

    // TLS.
    /// Whether data of `NBD_OPT_STARTTLS` is minded where there is no TLS.
    pub(crate) minds_starttls_data: bool,
    /// Whether `NBD_OPT_STARTTLS` is refused after other options.
    pub(crate) starttls_only_first: bool,
    /// Whether `NBD_OPT_LIST` needs TLS where TLS is for those who ask.
    pub(crate) list_needs_tls: bool,
    /// After how many options TLS is a must no more.
    pub(crate) forgets_tls_after: Option<u32>,
    /// Whether what was agreed before `NBD_OPT_STARTTLS` still holds inside.
    pub(crate) keeps_state_at_tls: bool,
    /// Whether `NBD_OPT_STARTTLS` inside TLS is acknowledged.
    pub(crate) tls_twice: bool,
    /// Whether what came in the clear behind `NBD_OPT_STARTTLS` is taken for what comes inside.
    pub(crate) takes_injected: bool,
    /// Whether the session goes on in the clear after a TLS handshake that failed.
    pub(crate) goes_on_without_tls: bool,
    /// Whether `NBD_OPT_ABORT` is served before TLS where TLS is a must.
    pub(crate) abort_before_tls: bool,
    /// Whether `NBD_OPT_EXPORT_NAME` is served before TLS where TLS is a must.
    pub(crate) export_name_before_tls: bool,
    /// Whether other known options are served before TLS where TLS is a must.
    pub(crate) options_before_tls: bool,
    /// Whether exports that take TLS are served in the clear.
    pub(crate) serves_tls_only_bare: bool,
    /// Whether they are by `NBD_OPT_EXPORT_NAME`.
    pub(crate) serves_tls_only_by_name: bool,
    /// Whether unknown options inside TLS are said to need TLS.
    pub(crate) wants_tls_inside_tls: bool,

    // Information about exports.
    /// Whether `NBD_INFO_NAME` is sent to those who ask for it.
    pub(crate) info_name: bool,
    /// Whether `NBD_INFO_DESCRIPTION` is.
    pub(crate) info_description: bool,
    /// Whether information comes in the reversed order.
    pub(crate) info_reversed: bool,
    /// The size constraints of exports that have none of their own.
    pub(crate) block_sizes: Option<BlockSizes>,
    /// Whether description and size constraints are sent to those too who do not ask for them.
    pub(crate) tells_unasked: bool,
    /// Whether `NBD_INFO_EXPORT` comes after all other information; else before.
    pub(crate) export_last: bool,
    /// The least minimum block size that is told to those who ask, in bytes; a power of 2.
    pub(crate) least_minimum: u32,
    /// Whether `NBD_OPT_INFO` without a question for the size constraints is refused with
    /// `NBD_REP_ERR_BLOCK_SIZE_REQD`, after everything has been told.
    pub(crate) info_insists: bool,
    /// Whether trailing bytes in INFO and GO are overlooked.
    pub(crate) takes_malformed_info: bool,
    /// Whether the length of the name in INFO and GO is read as 8 bits.
    pub(crate) cuts_name_lengths: bool,
    /// Whether the first export is served to those who ask for a missing one.
    pub(crate) serves_missing_exports: bool,

    // Transmission flags.
    /// When `CAN_MULTI_CONN` is advertised.
    pub(crate) multi_conn: MultiConn,
    /// Whether `NBD_CMD_TRIM` and `NBD_CMD_WRITE_ZEROES` are advertised on read-only exports.
    pub(crate) trim_on_read_only: bool,
    /// Flags that are told in haggling and do not hold.
    pub(crate) flags_added: TransmissionFlags,
    /// Flags that hold and are not told in haggling.
    pub(crate) flags_hidden: TransmissionFlags,

    // Metadata contexts.
    /// Whether `NBD_OPT_LIST_META_CONTEXT` is served before structured replies are agreed.
    pub(crate) lists_contexts_early: bool,
    /// Whether `NBD_OPT_SET_META_CONTEXT` is.
    pub(crate) sets_contexts_early: bool,
    /// Whether contexts are listed and selected in the reversed order.
    pub(crate) contexts_reversed: bool,
    /// Whether queries that are too long are passed over; else they are invalid.
    pub(crate) passes_long_queries: bool,
    /// How contexts are numbered.
    pub(crate) context_ids: ContextIds,
    /// What the queries of `NBD_OPT_SET_META_CONTEXT` select.
    pub(crate) selects: Selects,
    /// Whether a selection survives one that fails.
    pub(crate) keeps_selection: bool,
    /// Whether a selection counts for whatever export is entered.
    pub(crate) selects_for_any_export: bool,

    // Requests.
    /// The form of replies.
    pub(crate) reply_form: ReplyForm,
    /// Requests that are treated in a way of their own.
    pub(crate) exceptions: Vec<Exception>,
    /// Whether requests must keep to blocks of 512 bytes, whatever is told of the export.
    pub(crate) enforces_untold: bool,
    /// Whether requests off the minimum block size are served.
    pub(crate) serves_unaligned: bool,
    /// A command of which ranges beyond the end are served.
    pub(crate) serves_past_end: Option<Command>,
    /// The error of `NBD_CMD_WRITE` and `NBD_CMD_WRITE_ZEROES` beyond the end.
    pub(crate) past_end: ErrorCode,
    /// The same of `NBD_CMD_WRITE_ZEROES` alone.
    pub(crate) zeroes_past_end: Option<ErrorCode>,
    /// In which order a request is looked at.
    pub(crate) check_order: CheckOrder,
    /// Whether `NBD_CMD_CACHE` of more than the maximum payload fails.
    pub(crate) limits_cache: bool,
    /// Whether a request of a wrong magic is answered before the session ends.
    pub(crate) answers_bad_magic: bool,
    /// Whether the whole of an extended header is awaited where a compact one comes.
    pub(crate) awaits_extended: bool,
    /// Whether offset plus length is computed without regard to overflow.
    pub(crate) wraps_offsets: bool,
    /// Whether only the lower 32 bits of a request's length count.
    pub(crate) cuts_lengths: bool,
    /// The error of what would change a read-only export; `None` to do it.
    pub(crate) read_only: Option<ErrorCode>,
    /// Which command flags make a request fail.
    pub(crate) flag_checks: FlagChecks,
    /// A command all flags of which are passed over.
    pub(crate) ignores_flags_of: Option<Command>,
    /// What comes of a write of more than the maximum payload.
    pub(crate) large_write: LargeWrite,
    /// Whether the payload of a refused request is taken for the next request.
    pub(crate) keeps_refused_payload: bool,
    /// What `NBD_CMD_TRIM` does.
    pub(crate) trims: Trims,
    /// Whether `NBD_CMD_WRITE_ZEROES` never makes a hole.
    pub(crate) zeroes_provision: bool,
    /// What the store does with what it is told, unlawfully.
    pub(crate) store_fault: Option<StoreFault>,

    // Block status.
    /// Whether an answer about `base:allocation` has one extent only.
    pub(crate) one_extent: bool,
    /// How many extents of a context are told at most.
    pub(crate) extents_at_most: Option<usize>,
    /// Whether the status of the first half of a range is told only.
    pub(crate) status_half: bool,
    /// Whether the last extent of each context may run past the request.
    pub(crate) extents_run_over: bool,
    /// Whether the contexts come in the reversed order.
    pub(crate) status_reversed: bool,
    /// Whether zeroes that are not stored are called holes too; else they are zero only.
    pub(crate) zeroes_are_holes: bool,
    /// Whether the last extent of a dirty bitmap may run past the request.
    pub(crate) bitmaps_run_over: bool,
    /// Whether dirty bitmaps are kept.
    pub(crate) marks_bitmaps: bool,
    /// Whether `NBD_OPT_INFO` tells of the payload of `NBD_CMD_BLOCK_STATUS` also where no context is
    /// selected yet.
    pub(crate) info_tells_payload: bool,
    /// Whether the ids in the payload of `NBD_CMD_BLOCK_STATUS` are checked.
    pub(crate) checks_status_ids: bool,
    /// Whether only the contexts that a payload names are told.
    pub(crate) filters_contexts: bool,
    /// How far before the request the status is looked up, in bytes.
    pub(crate) status_before: u64,
    /// What is changed in the extents, unlawfully.
    pub(crate) extent_fault: Option<ExtentFault>,

    // Replies.
    /// Whether what has no data to answer is answered by a simple reply, also under structured
    /// replies.
    pub(crate) simple_success: bool,
    /// Whether structured reads show holes as such.
    pub(crate) holes_in_reads: bool,
    /// Whether zeroes that were read are sent as holes.
    pub(crate) finds_zeroes: bool,
    /// Whether holes are sent in several chunks.
    pub(crate) splits_holes: bool,
    /// The lengths of data chunks one after the other, in bytes, multiples of 512; then from the first
    /// again. None: chunks end where holes begin.
    pub(crate) chunk_lengths: &'static [u64],
    /// The order of the content chunks of a read.
    pub(crate) chunk_order: ChunkOrder,
    /// Whether each structured reply ends with a chunk that says nothing else.
    pub(crate) done_apart: bool,
    /// The text of error chunks.
    pub(crate) chunk_error_text: ErrorText,
    /// Whether an error within the export is told with its offset.
    pub(crate) errors_by_offset: bool,
    /// Whether what could be read is sent before the error.
    pub(crate) data_before_error: bool,
    /// Whether the session ends after a simple read that failed.
    pub(crate) closes_after_read_error: bool,
    /// What comes of an option or request that a client must not send.
    pub(crate) wrongs: Wrongs,
    /// How long each reply takes.
    pub(crate) reply_delay: Duration,
    /// The order of replies that could be sent at the same time.
    pub(crate) reply_order: ReplyOrder,
    /// What is changed in the replies, unlawfully.
    pub(crate) reply_fault: Option<ReplyFault>,

    // The end.
    /// What comes of `NBD_CMD_DISC`.
    pub(crate) disc: Disc,
    /// How long the connection is kept after the last word.
    pub(crate) closing_delay: Duration,
}

/// When `CAN_MULTI_CONN` is advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MultiConn {
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

/// What the queries of `NBD_OPT_SET_META_CONTEXT` select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selects {
    /// The contexts that are named in full.
    Named,
    /// The same, and all if there is no query.
    AllWithoutQuery,
    /// What a listing with these queries shows.
    Listed,
    /// The contexts whose names begin with a query.
    Begun,
}

/// How contexts are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextIds {
    /// Far from each other, and never as an index: clients must not guess.
    Scattered,
    /// From 0 upwards.
    FromZero,
    /// From the largest number downwards.
    Descending,
    /// 0 for `base:allocation`, 1 for `qemu:allocation-depth`, and bitmaps from this number on, in the
    /// order in which the export has them.
    ByKind(u32),
}

/// What `NBD_CMD_TRIM` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trims {
    /// It makes holes.
    Holes,
    /// Nothing.
    Nothing,
    /// It makes holes, and garbage in the beginning of the range.
    Garbage,
}

/// The order of the content chunks of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkOrder {
    /// By offset.
    Ascending,
    /// By offset, the last one first.
    Reversed,
    /// The first, third, fifth and so on, and then the others.
    EvenFirst,
}

/// The text of error chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorText {
    /// Why the request failed.
    Why,
    /// None.
    None,
    /// The longest that there may be.
    Long,
}

/// The order of replies that could be sent at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyOrder {
    /// As they were made.
    AsMade,
    /// The last one first.
    Reversed,
    /// A chunk of each in turn.
    Interleaved,
}

/// The form of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyForm {
    /// As it was agreed.
    Agreed,
    /// Simple where structured was agreed.
    NeverStructured,
    /// Structured where both structured and extended were agreed.
    StructuredFirst,
    /// Structured where nothing was agreed.
    AlwaysStructured,
}

/// What comes of a write of more than the maximum payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LargeWrite {
    /// It fails.
    Fails,
    /// The session ends.
    Closes,
    /// It fails, and the session ends.
    FailsAndCloses,
}

/// What comes of a request that leaves the export or asks for a status that was not negotiated, and of
/// an option that is malformed or has data where there must be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrongs {
    /// An error.
    Refused,
    /// An error, and the end of the session.
    RefusedAndLeft,
    /// The end of the session.
    Left,
}

/// In which order a request is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckOrder {
    /// Its flags, whether the export may be changed, its range.
    FlagsAccessRange,
    /// Its flags, its range, whether the export may be changed.
    FlagsRangeAccess,
    /// Whether the export may be changed, its flags, its range.
    AccessFlagsRange,
}

/// Which command flags make a request fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagChecks {
    /// Those that do not go with the command, and those that are unknown.
    All,
    /// Those that do not go with the command.
    Known,
    /// Those that are unknown.
    Unknown,
    /// None.
    Nothing,
}

/// What comes of `NBD_CMD_DISC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disc {
    /// What is in flight is answered, and the session ends.
    Ends,
    /// Nothing.
    Ignored,
    /// It is answered, and the session ends.
    Answered,
    /// The session ends, and what is in flight is neither done nor answered.
    DropsInFlight,
}

/// Requests that are treated in a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) commands: Commands,
    /// Flags that the request has, at least.
    pub(crate) flags: CommandFlags,
    pub(crate) lengths: Lengths,
    pub(crate) treatment: Treatment,
}

/// The commands of an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commands {
    Only(Command),
    /// `NBD_CMD_READ` and `NBD_CMD_WRITE`.
    WithData,
    /// Those that the server does not know.
    Unknown,
}

/// The lengths of an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    Any,
    Zero,
    NotZero,
    /// More than so many bytes.
    Above(u64),
    /// More than the maximum payload.
    AboveMaximum,
}

/// What is done in an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// The request is served, whatever is wrong with it.
    Serve,
    /// It fails with this error, unless it fails for another reason.
    Fail(ErrorCode),
    /// The session ends.
    Close,
}

impl Behaviour {
    /// As the specification recommends.
    pub(crate) const DEFAULT: Self = Self {
        features: Features::EVERYTHING,
        opening: Duration::ZERO,
        oldstyle_without_name: false,
        size_unit: 1,
        connections: None,
        lets_connections_wait: false,
        in_flight: None,
        dribbles: false,
        spare_handshake_flags: 0,
        shows_fixed_newstyle: true,
        oldstyle_handshake_flags: 0,
        oldstyle_padding: 0,
        checks_client_flags: true,
        name_limit: STRING_LIMIT,
        info_name_limit: None,
        names_are_utf8: true,
        names_end_at_nul: false,
        skips_any_option: false,
        error_texts: true,
        foreign_texts: false,
        option_delay: Duration::ZERO,
        lists_nothing: false,
        ignores_data_of: None,
        keeps_unknown_data: false,
        structured_once: false,
        extended_once: false,
        extended_wants_structured: false,
        answer_fault: None,
        minds_starttls_data: false,
        starttls_only_first: false,
        list_needs_tls: false,
        forgets_tls_after: None,
        keeps_state_at_tls: false,
        tls_twice: false,
        takes_injected: false,
        goes_on_without_tls: false,
        abort_before_tls: true,
        export_name_before_tls: false,
        options_before_tls: false,
        serves_tls_only_bare: false,
        serves_tls_only_by_name: false,
        wants_tls_inside_tls: false,
        info_name: true,
        info_description: true,
        info_reversed: false,
        block_sizes: None,
        tells_unasked: false,
        export_last: false,
        least_minimum: 1,
        info_insists: false,
        takes_malformed_info: false,
        cuts_name_lengths: false,
        serves_missing_exports: false,
        multi_conn: MultiConn::Shared,
        trim_on_read_only: false,
        flags_added: TransmissionFlags::EMPTY,
        flags_hidden: TransmissionFlags::EMPTY,
        lists_contexts_early: false,
        sets_contexts_early: false,
        contexts_reversed: false,
        passes_long_queries: false,
        context_ids: ContextIds::Scattered,
        selects: Selects::Named,
        keeps_selection: false,
        selects_for_any_export: false,
        reply_form: ReplyForm::Agreed,
        exceptions: Vec::new(),
        enforces_untold: false,
        serves_unaligned: false,
        serves_past_end: None,
        past_end: ErrorCode::ENOSPC,
        zeroes_past_end: None,
        check_order: CheckOrder::FlagsAccessRange,
        limits_cache: false,
        answers_bad_magic: false,
        awaits_extended: false,
        wraps_offsets: false,
        cuts_lengths: false,
        read_only: Some(ErrorCode::EPERM),
        flag_checks: FlagChecks::All,
        ignores_flags_of: None,
        large_write: LargeWrite::Fails,
        keeps_refused_payload: false,
        trims: Trims::Holes,
        zeroes_provision: false,
        store_fault: None,
        one_extent: false,
        extents_at_most: None,
        status_half: false,
        extents_run_over: false,
        status_reversed: false,
        zeroes_are_holes: true,
        bitmaps_run_over: false,
        marks_bitmaps: true,
        info_tells_payload: false,
        checks_status_ids: true,
        filters_contexts: true,
        status_before: 0,
        extent_fault: None,
        simple_success: false,
        holes_in_reads: true,
        finds_zeroes: false,
        splits_holes: false,
        chunk_lengths: &[],
        chunk_order: ChunkOrder::Ascending,
        done_apart: false,
        chunk_error_text: ErrorText::Why,
        errors_by_offset: false,
        data_before_error: false,
        closes_after_read_error: false,
        wrongs: Wrongs::Refused,
        reply_delay: Duration::ZERO,
        reply_order: ReplyOrder::AsMade,
        reply_fault: None,
        disc: Disc::Ends,
        closing_delay: Duration::ZERO,
    };

    /// Treats some requests in a way of their own.
    pub(crate) fn except(
        &mut self,
        commands: Commands,
        flags: CommandFlags,
        lengths: Lengths,
        treatment: Treatment,
    ) {
        self.exceptions.push(Exception { commands, flags, lengths, treatment });
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::DEFAULT
    }
}
