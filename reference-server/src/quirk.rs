//! Quirks: each is a lawful choice that few servers make, so that whoever judges servers can be
//! tested for false accusations. Quirks can be combined.

use std::time::Duration;

use protocol::values::{Command, CommandFlags as F, ErrorCode as E, TransmissionFlags};

use crate::behaviour::Commands::Only;
use crate::behaviour::Treatment::Fail;
use crate::behaviour::{
    Behaviour, ChunkOrder, ContextIds, ErrorText, LargeWrite, Lengths, MultiConn, ReplyOrder,
    Trims, Wrongs,
};
use crate::export::BlockSizes;
use crate::rows::quirks;

/// How long slow servers take.
const SLOW: Duration = Duration::from_millis(30);

quirks! {
    Quirk, "server", Behaviour;

    // Connections and the greeting.
    OneConnection = "one-connection",
        "serves one connection at a time, and lets others wait",
        "the specification asks no server for a number of connections",
        |b| {
            b.connections = Some(1);
            b.lets_connections_wait = true;
        };
    SlowGreeting = "slow-greeting",
        "waits 30 ms before it greets", "no wait is limited", |b| b.opening = SLOW;
    NoNoZeroes = "no-no-zeroes",
        "does not offer the handshake flag NO_ZEROES",
        "section \"Handshake flags\": a server offers it if it can",
        |b| b.features.no_zeroes = false;

    // Options.
    OptionsSlow = "options-slow",
        "answers options 30 ms late", "no wait is limited", |b| b.option_delay = SLOW;
    ErrorsWithoutText = "errors-without-text",
        "sends error replies to options without a text",
        "section \"Option reply types\": the text is optional",
        |b| b.error_texts = false;
    ErrorsForeign = "errors-foreign",
        "sends error replies to options with a text of other letters than ASCII",
        "section \"Conventions\": strings are UTF-8",
        |b| b.foreign_texts = true;
    ListRefused = "list-refused",
        "refuses `NBD_OPT_LIST` with `NBD_REP_ERR_POLICY`",
        "section \"Baseline\": the option may be forbidden",
        |b| b.features.list = false;
    NamesShort = "names-short",
        "finds export names of up to 256 bytes, and longer ones invalid",
        "section \"Conventions\": strings of more than 256 bytes may be refused",
        |b| b.name_limit = 256;
    StructuredOnce = "structured-once",
        "refuses a second `NBD_OPT_STRUCTURED_REPLY`",
        "`NBD_OPT_STRUCTURED_REPLY`: nothing is said of a second one, and any defined error may come",
        |b| b.structured_once = true;
    NoStructured = "no-structured",
        "offers neither structured replies nor extended headers",
        "section \"Baseline\": they are not of the baseline",
        |b| { b.features.structured_reply = false; b.features.extended_headers = false; };
    NoExtended = "no-extended",
        "does not offer extended headers", "they are an extension",
        |b| b.features.extended_headers = false;
    BaselineOnly = "baseline-only",
        "offers the baseline of the specification and nothing else",
        "section \"Baseline\"",
        |b| {
            b.features.no_zeroes = false;
            for name in ["structured-reply", "extended-headers", "meta-context", "flush", "fua",
                "trim", "write-zeroes", "cache", "multi-conn", "block-size"] {
                b.features.leave_out(name);
            }
        };

    // Information about exports.
    InfoUnasked = "info-unasked",
        "sends description and size constraints to those too who do not ask",
        "opt-info-unsolicited-tolerated", |b| b.tells_unasked = true;
    InfoExportLast = "info-export-last",
        "sends `NBD_INFO_EXPORT` after all other information",
        "opt-info-any-order-tolerated", |b| b.export_last = true;
    InfoReversed = "info-reversed",
        "sends information in the reversed order",
        "opt-info-any-order-tolerated", |b| b.info_reversed = true;
    InfoNoName = "info-no-name",
        "sends no `NBD_INFO_NAME`", "info-name-omitted-tolerated", |b| b.info_name = false;
    InfoNoDescription = "info-no-description",
        "sends no `NBD_INFO_DESCRIPTION`",
        "opt-info-requests-skipped-tolerated", |b| b.info_description = false;
    InfoBare = "info-bare",
        "sends nothing but `NBD_INFO_EXPORT` and the size constraints",
        "opt-info-requests-skipped-tolerated",
        |b| { b.info_name = false; b.info_description = false; };
    MinimumOf512 = "minimum-512",
        "has a minimum block size of 512", "section \"Size constraints\"",
        |b| b.block_sizes = BlockSizes::new(512, 4096, 32 << 20).ok();
    MinimumOf4096 = "minimum-4096",
        "has a minimum block size of 4096", "section \"Size constraints\"",
        |b| b.block_sizes = BlockSizes::new(4096, 4096, 32 << 20).ok();
    PreferredOf64K = "preferred-64k",
        "prefers blocks of 64 KiB", "section \"Size constraints\"",
        |b| b.block_sizes = BlockSizes::new(1, 65_536, 32 << 20).ok();
    MaximumOf1M = "maximum-1m",
        "has a maximum payload of 1 MiB",
        "section \"Size constraints\": a maximum of 1 MiB is the least that should be",
        |b| b.block_sizes = BlockSizes::new(1, 4096, 1 << 20).ok();
    MaximumOdd = "maximum-odd",
        "has a maximum payload that is no power of 2",
        "section \"Size constraints\": a multiple of the minimum is enough",
        |b| b.block_sizes = BlockSizes::new(1, 4096, 1_234_567).ok();
    LargeWriteCloses = "large-write-closes",
        "hangs up on a write of more than the maximum payload",
        "section \"Size constraints\": a client must not send it",
        |b| b.large_write = LargeWrite::Closes;

    // Transmission flags and commands.
    FutureFlags = "future-flags",
        "sets the transmission flags 14 and 15, which nobody knows yet",
        "tflag-client-ignores-unknown",
        |b| b.flags_added = TransmissionFlags(3 << 14);
    NoFlush = "no-flush",
        "does not offer `NBD_CMD_FLUSH`, nor FUA", "tflag-supported-tolerated",
        |b| { b.features.flush = false; b.features.fua = false; };
    NoTrim = "no-trim",
        "does not offer `NBD_CMD_TRIM`", "tflag-supported-tolerated",
        |b| b.features.trim = false;
    NoWriteZeroes = "no-write-zeroes",
        "does not offer `NBD_CMD_WRITE_ZEROES`", "tflag-supported-tolerated",
        |b| b.features.write_zeroes = false;
    NoFastZero = "no-fast-zero",
        "does not offer `NBD_CMD_FLAG_FAST_ZERO`", "tflag-supported-tolerated",
        |b| b.features.fast_zero = false;
    NoCache = "no-cache",
        "does not offer `NBD_CMD_CACHE`", "tflag-supported-tolerated",
        |b| b.features.cache = false;
    NoDf = "no-df",
        "does not offer `NBD_CMD_FLAG_DF`", "tflag-supported-tolerated",
        |b| b.features.df = false;
    NoMultiConn = "no-multi-conn",
        "does not say that several connections see the same",
        "tflag-supported-tolerated", |b| b.multi_conn = MultiConn::Never;
    TrimKeeps = "trim-keeps",
        "trims nothing", "trim-effect-tolerated", |b| b.trims = Trims::Nothing;
    TrimGarbles = "trim-garbles",
        "leaves garbage where it trims",
        "`NBD_CMD_TRIM`: a client must not presume what is read afterwards",
        |b| b.trims = Trims::Garbage;
    FastZeroNever = "fast-zero-never",
        "offers FAST_ZERO, and always fails it with `NBD_ENOTSUP`",
        "tflag-fast-zero-always-enotsup-tolerated",
        |b| b.except(Only(Command::WRITE_ZEROES), F::FAST_ZERO, Lengths::NotZero, Fail(E::ENOTSUP));
    CacheFails = "cache-fails",
        "offers `NBD_CMD_CACHE`, and always fails it with `NBD_EIO`",
        "tflag-cache-loose-tolerated",
        |b| b.except(Only(Command::CACHE), F::EMPTY, Lengths::Any, Fail(E::EIO));
    ZeroesProvisioned = "zeroes-provisioned",
        "makes no hole by `NBD_CMD_WRITE_ZEROES`",
        "`NBD_CMD_WRITE_ZEROES`: a server may punch holes, and need not",
        |b| b.zeroes_provision = true;
    EmptyReadFails = "empty-read-fails",
        "fails reads of length 0", "`NBD_CMD_READ`: what comes of them is unspecified",
        |b| b.except(Only(Command::READ), F::EMPTY, Lengths::Zero, Fail(E::EINVAL));
    EmptyWriteFails = "empty-write-fails",
        "fails writes of length 0", "`NBD_CMD_WRITE`: what comes of them is unspecified",
        |b| b.except(Only(Command::WRITE), F::EMPTY, Lengths::Zero, Fail(E::EINVAL));
    EmptyTrimFails = "empty-trim-fails",
        "fails trims and zeroes of length 0", "what comes of them is unspecified",
        |b| {
            b.except(Only(Command::TRIM), F::EMPTY, Lengths::Zero, Fail(E::EINVAL));
            b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::Zero, Fail(E::EINVAL));
        };
    DfOverflows = "df-overflows",
        "fails reads with DF of more than 64 KiB with `NBD_EOVERFLOW`",
        "`NBD_CMD_FLAG_DF`: only up to 65536 bytes must be served",
        |b| b.except(Only(Command::READ), F::DF, Lengths::Above(65_536), Fail(E::EOVERFLOW));

    // Metadata contexts.
    NoContexts = "no-contexts",
        "offers no metadata contexts", "section \"Baseline\"",
        |b| b.features.meta_context = false;
    NoQemuContexts = "no-qemu-contexts",
        "offers `base:allocation` and no other context", "section \"Metadata querying\"",
        |b| { b.features.allocation_depth = false; b.features.dirty_bitmaps = false; };
    NoAllocation = "no-allocation",
        "offers contexts, but not `base:allocation`", "section \"Metadata querying\"",
        |b| b.features.base_allocation = false;
    ContextsListedEarly = "contexts-listed-early",
        "lists contexts before structured replies are agreed",
        "`NBD_OPT_LIST_META_CONTEXT`: only a client should not ask so early",
        |b| b.lists_contexts_early = true;
    ContextsReversed = "contexts-reversed",
        "lists and selects contexts in the reversed order",
        "`NBD_OPT_SET_META_CONTEXT`: no order is asked for",
        |b| b.contexts_reversed = true;
    ContextIdsSmall = "context-ids-small",
        "numbers contexts from 0", "NBD_REP_META_CONTEXT: ids are up to the server",
        |b| b.context_ids = ContextIds::FromZero;
    ContextIdsDescending = "context-ids-descending",
        "numbers contexts downwards from 0xffffffff", "NBD_REP_META_CONTEXT: ids are up to the server",
        |b| b.context_ids = ContextIds::Descending;

    // NBD_CMD_BLOCK_STATUS.
    StatusOne = "status-one",
        "tells one extent of each context", "status-short-answer-tolerated",
        |b| b.extents_at_most = Some(1);
    StatusTwo = "status-two",
        "tells at most two extents of each context", "status-short-answer-tolerated",
        |b| b.extents_at_most = Some(2);
    StatusHalf = "status-half",
        "tells the status of the first half of a range", "status-short-answer-tolerated",
        |b| b.status_half = true;
    StatusRunsOver = "status-runs-over",
        "tells of the last extent as far as it goes, beyond the request too",
        "status-overrun-tolerated", |b| b.extents_run_over = true;
    StatusZeroOnly = "status-zero-only",
        "calls holes zero, and no holes", "`NBD_STATE_HOLE`: a server may leave the bit clear",
        |b| b.zeroes_are_holes = false;
    StatusReversed = "status-reversed",
        "tells of the contexts in the reversed order", "status-chunk-order-tolerated",
        |b| b.status_reversed = true;

    // Replies.
    RepliesSlow = "replies-slow",
        "sends replies 30 ms late", "no wait is limited", |b| b.reply_delay = SLOW;
    RepliesReversed = "replies-reversed",
        "answers the last of several requests first",
        "section \"Ordering of messages and writes\"", |b| b.reply_order = ReplyOrder::Reversed;
    RepliesInterleaved = "replies-interleaved",
        "mixes the chunks of several replies", "structured-interleave-tolerated",
        |b| b.reply_order = ReplyOrder::Interleaved;
    OneAtATime = "one-at-a-time",
        "reads the next request when it has answered the one before",
        "section \"Ordering of messages and writes\"", |b| b.in_flight = Some(1);
    Dribbles = "dribbles",
        "sends everything in pieces of a few bytes", "TCP is a stream", |b| b.dribbles = true;
    SuccessSimple = "success-simple",
        "answers what has no data with simple replies, also where structured ones were agreed",
        "section \"Structured reply chunk message\": only payload takes a structured reply",
        |b| b.simple_success = true;
    ChunksTiny = "chunks-tiny",
        "sends the data of structured reads in chunks of 512 bytes",
        "chunk-content-repeated-tolerated", |b| b.chunk_lengths = &[512];
    ChunksUneven = "chunks-uneven",
        "sends the data of structured reads in chunks of very different lengths",
        "chunk-content-repeated-tolerated", |b| b.chunk_lengths = &[512, 65_536, 1536, 4096];
    ChunksReversed = "chunks-reversed",
        "sends the chunks of structured reads from the end to the beginning",
        "read-content-order-tolerated",
        |b| { b.chunk_lengths = &[4096]; b.chunk_order = ChunkOrder::Reversed; };
    ChunksMixed = "chunks-mixed",
        "sends the even chunks of structured reads before the odd ones",
        "read-content-order-tolerated",
        |b| { b.chunk_lengths = &[1024]; b.chunk_order = ChunkOrder::EvenFirst; };
    DoneApart = "done-apart",
        "ends every structured reply with a chunk of its own", "read-final-chunk-kind-tolerated",
        |b| b.done_apart = true;
    HolesAsData = "holes-as-data",
        "sends the zeroes of holes as data", "`NBD_REPLY_TYPE_OFFSET_HOLE`: a server may use it",
        |b| b.holes_in_reads = false;
    DataAsHoles = "data-as-holes",
        "looks for zeroes in what it has read, and sends them as holes",
        "`NBD_REPLY_TYPE_OFFSET_HOLE`: the content is what counts",
        |b| b.finds_zeroes = true;
    HolesSplit = "holes-split",
        "sends a hole in chunks of 4096 bytes", "chunk-content-repeated-tolerated",
        |b| b.splits_holes = true;

    // Errors.
    ErrorChunksBare = "error-chunks-bare",
        "sends error chunks without a text",
        "`NBD_REPLY_TYPE_ERROR`: the text is optional", |b| b.chunk_error_text = ErrorText::None;
    ErrorChunksLong = "error-chunks-long",
        "sends error chunks with a text of 256 bytes",
        "`NBD_REPLY_TYPE_ERROR`: longer ones should not be",
        |b| b.chunk_error_text = ErrorText::Long;
    ErrorsByOffset = "errors-by-offset",
        "fails requests within the export with `NBD_REPLY_TYPE_ERROR_OFFSET`",
        "`NBD_REPLY_TYPE_ERROR_OFFSET`", |b| b.errors_by_offset = true;
    ErrorsAfterData = "errors-after-data",
        "sends what could be read before it fails a structured read",
        "read-error-deferred-tolerated", |b| b.data_before_error = true;
    ReadErrorCloses = "read-error-closes",
        "hangs up after a simple read that failed", "read-simple-error-close-tolerated",
        |b| b.closes_after_read_error = true;
    WrongdoersLeft = "wrongdoers-left",
        "hangs up after it has refused a malformed option, or a request that leaves the export",
        "section \"Terminating the transmission phase\": a client must not send it",
        |b| b.wrongs = Wrongs::RefusedAndLeft;
    WrongdoersLeftAtOnce = "wrongdoers-left-at-once",
        "hangs up without an answer on a malformed option, or a request that leaves the export",
        "section \"Terminating the transmission phase\": a client must not send it",
        |b| b.wrongs = Wrongs::Left;

    // The end.
    AbortSlow = "abort-slow",
        "keeps the connection for 30 ms after the ACK of `NBD_OPT_ABORT`", "no wait is limited",
        |b| b.closing_delay = SLOW;
    DiscSlow = "disc-slow",
        "closes 100 ms after `NBD_CMD_DISC`", "no wait is limited",
        |b| b.closing_delay = Duration::from_millis(100);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_at_least_sixty_and_each_changes_something() {
        let names: HashSet<_> = Quirk::ALL.iter().map(|quirk| quirk.name()).collect();
        assert!(names.len() >= 60 && names.len() == Quirk::ALL.len(), "{}", names.len());
        for quirk in Quirk::ALL {
            assert_eq!(quirk.to_string().parse(), Ok(*quirk));
            let mut behaviour = Behaviour::default();
            quirk.change()(&mut behaviour);
            assert_ne!(behaviour, Behaviour::default(), "{quirk}");
        }
        assert!("oddity".parse::<Quirk>().is_err());
    }

    /// What permits a quirk is a requirement, a section or a message of the specification, or that
    /// nothing forbids it.
    #[test]
    fn a_requirement_that_permits_a_quirk_is_of_the_catalogue() {
        for quirk in Quirk::ALL {
            let why = quirk.lawful();
            let is_id = why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(!is_id || protocol::requirements::find(why).is_some(), "{quirk}: `{why}`");
        }
    }
}
