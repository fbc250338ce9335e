//! Deliberate faults: each breaks one rule, so that whoever judges the server can be judged.

use protocol::values::{Command, CommandFlags as F, ErrorCode as E, OptionType, TransmissionFlags};

use crate::behaviour::Commands::{self, Only};
use crate::behaviour::Treatment::{Close, Fail, Serve};
use crate::behaviour::{Behaviour, Disc, FlagChecks, Lengths, ReplyForm, Selects};
use crate::distortion::{AnswerFault, ExtentFault, ReplyFault, StoreFault};
use crate::export::BlockSizes;
use crate::rows::faults;

faults! {
    Fault, "server", Behaviour;

    // Greeting and client flags.
    "greeting" {
    HandshakeSpareFlag = "handshake-spare-flag",
        "sets bit 7 of the handshake flags", ["handshake-flags-no-others"],
        |b| b.spare_handshake_flags = 1 << 7;
    HandshakeFixedClear = "handshake-fixed-clear",
        "takes all options, but does not set the flag FIXED_NEWSTYLE",
        ["handshake-fixed-newstyle-flag"],
        |b| b.shows_fixed_newstyle = false;
    OldstyleHandshakeFlags = "oldstyle-handshake-flags",
        "sets handshake flags in the oldstyle greeting", ["oldstyle-no-handshake-flags"],
        |b| b.oldstyle_handshake_flags = 1;
    OldstylePadding = "oldstyle-padding",
        "fills the reserved bytes of the oldstyle greeting with 0xff", ["oldstyle-reserved-zero"],
        |b| b.oldstyle_padding = 0xff;
    ClientFlagsUnchecked = "client-flags-unchecked",
        "carries on when the client's flags have unknown bits",
        ["handshake-server-closes-on-unknown-client-flags"],
        |b| b.checks_client_flags = false;
    }

    // NBD_OPT_EXPORT_NAME.
    "export-name" {
    NoZeroesIgnored = "no-zeroes-ignored",
        "pads the answer to `NBD_OPT_EXPORT_NAME` although no-zeroes was agreed",
        ["handshake-no-zeroes-honoured"],
        |b| b.answer_fault = Some(AnswerFault::NoZeroesIgnored);
    ExportNameUnpadded = "export-name-unpadded",
        "leaves out the 124 zeroes although no-zeroes was not agreed",
        ["opt-export-name-reply-layout"],
        |b| b.answer_fault = Some(AnswerFault::ExportNameUnpadded);
    ExportNamePaddingShort = "export-name-padding-short",
        "sends 100 zeroes instead of 124", ["opt-export-name-reply-layout"],
        |b| b.answer_fault = Some(AnswerFault::ExportNamePaddingShort);
    ExportNamePaddingFilled = "export-name-padding-filled",
        "sends 124 bytes of 0xff instead of zeroes", ["opt-export-name-padding-zero"],
        |b| b.answer_fault = Some(AnswerFault::ExportNamePaddingFilled);
    ExportNameUnknownAnswered = "export-name-unknown-answered",
        "answers `NBD_OPT_EXPORT_NAME` of a missing export with an error reply",
        ["opt-export-name-refusal-closes"],
        |b| b.answer_fault = Some(AnswerFault::ExportNameUnknownAnswered);
    ExportNameCloses = "export-name-closes",
        "hangs up on every `NBD_OPT_EXPORT_NAME`", ["interop-export-name"],
        |b| b.answer_fault = Some(AnswerFault::ExportNameCloses);
    ExportNameByteOrder = "export-name-byte-order",
        "reports the size of an export in little-endian order", ["info-export-equals-export-name"],
        |b| b.answer_fault = Some(AnswerFault::ExportNameByteOrder);
    }

    // Options in general.
    "options" {
    OptionMessageLong = "option-message-long",
        "sends error replies with messages of 300 bytes", ["string-soft-limit-256"],
        |b| b.answer_fault = Some(AnswerFault::OptionMessageLong);
    OptionRefusalCloses = "option-refusal-closes",
        "hangs up where it refuses an option", ["session-server-errors-options"],
        |b| b.answer_fault = Some(AnswerFault::OptionRefusalCloses);
    AbortDataRefused = "abort-data-refused",
        "refuses an `NBD_OPT_ABORT` with data", ["opt-abort-data-ignored"],
        |b| b.answer_fault = Some(AnswerFault::AbortDataRefused);
    PeekAcked = "peek-acked",
        "acknowledges the withdrawn `NBD_OPT_PEEK_EXPORT`", ["opt-peek-export-withdrawn"],
        |b| b.answer_fault = Some(AnswerFault::PeekAcked);
    OptionReplyShort = "option-reply-short",
        "reports a length in option replies that leaves out the last byte", ["option-reply-layout"],
        |b| b.answer_fault = Some(AnswerFault::OptionReplyShort);
    OptionReplyOtherCode = "option-reply-other-code",
        "puts the next option's number into its replies", ["option-reply-echoes-option"],
        |b| b.answer_fault = Some(AnswerFault::OptionReplyOtherCode);
    OptionReplyOtherMagic = "option-reply-other-magic",
        "begins replies to options with another magic", ["option-reply-layout"],
        |b| b.answer_fault = Some(AnswerFault::OptionReplyOtherMagic);
    OptionTwoFinalReplies = "option-two-final-replies",
        "sends the final reply to every option twice", ["option-reply-one-final"],
        |b| b.answer_fault = Some(AnswerFault::OptionTwoFinalReplies);
    OptionUnknownCloses = "option-unknown-closes",
        "hangs up on an unknown option", ["session-no-unjustified-hard-disconnect"],
        |b| b.answer_fault = Some(AnswerFault::OptionUnknownCloses);
    OptionUnknownAcked = "option-unknown-acked",
        "acknowledges unknown options", ["rep-err-unsup-meaning"],
        |b| b.answer_fault = Some(AnswerFault::OptionUnknownAcked);
    OptionUnknownDataKept = "option-unknown-data-kept",
        "takes the data of an unknown option for the next option",
        ["option-unknown-stays-in-sync"],
        |b| b.keeps_unknown_data = true;
    OptionErrorWithoutBit = "option-error-without-bit",
        "clears bit 31 of error replies", ["rep-error-bit-31"],
        |b| b.answer_fault = Some(AnswerFault::OptionErrorWithoutBit);
    OptionMessageTooLong = "option-message-too-long",
        "sends error replies with messages of 5000 bytes", ["string-hard-limit-4096"],
        |b| b.answer_fault = Some(AnswerFault::OptionMessageTooLong);
    OptionMessageNotUtf8 = "option-message-not-utf8",
        "sends error replies with messages that are not UTF-8", ["string-utf8"],
        |b| b.answer_fault = Some(AnswerFault::OptionMessageNotUtf8);
    OptionMessageWithNul = "option-message-with-nul",
        "ends the messages of error replies with a zero byte", ["string-no-nul"],
        |b| b.answer_fault = Some(AnswerFault::OptionMessageWithNul);
    AckWithData = "ack-with-data",
        "sends data in `NBD_REP_ACK`", ["rep-ack-no-data"],
        |b| b.answer_fault = Some(AnswerFault::AckWithData);
    AbortWithoutAck = "abort-without-ack",
        "closes on `NBD_OPT_ABORT` without a reply", ["opt-abort-acked"],
        |b| b.answer_fault = Some(AnswerFault::AbortWithoutAck);

    ListUnsupported = "list-unsupported",
        "does not know `NBD_OPT_LIST`", ["baseline-list"],
        |b| b.answer_fault = Some(AnswerFault::ListUnsupported);
    ListNameOverrun = "list-name-overrun",
        "sends an `NBD_REP_SERVER` whose name is longer than the reply", ["rep-server-name-length"],
        |b| b.answer_fault = Some(AnswerFault::ListNameOverrun);
    ListDetailsNotUtf8 = "list-details-not-utf8",
        "lists descriptions that are not UTF-8", ["rep-server-details-are-text"],
        |b| b.answer_fault = Some(AnswerFault::ListDetailsNotUtf8);
    ListDataAccepted = "list-data-accepted",
        "answers an `NBD_OPT_LIST` with data as if there were none", ["opt-list-data-invalid"],
        |b| b.ignores_data_of = Some(OptionType::LIST);
    ListEmpty = "list-empty",
        "lists no export, and serves them all the same", ["opt-list-reply"],
        |b| b.lists_nothing = true;
    ListNamesUnusable = "list-names-unusable",
        "lists names that `NBD_OPT_GO` does not know", ["rep-server-name-usable"],
        |b| b.answer_fault = Some(AnswerFault::ListNamesUnusable);
    ListInfoReplies = "list-info-replies",
        "answers `NBD_OPT_LIST` with `NBD_REP_INFO`", ["opt-list-reply"],
        |b| b.answer_fault = Some(AnswerFault::ListInfoReplies);
    }

    // NBD_OPT_INFO and NBD_OPT_GO.
    "information" {
    InfoWithoutExport = "info-without-export",
        "acknowledges INFO and GO without `NBD_INFO_EXPORT`", ["opt-info-export-required"],
        |b| b.answer_fault = Some(AnswerFault::InfoWithoutExport);
    InfoGoDiffer = "info-go-differ",
        "reports another size in GO than in INFO", ["opt-info-go-consistent"],
        |b| b.answer_fault = Some(AnswerFault::InfoGoDiffer);
    InfoExportLength = "info-export-length",
        "sends an `NBD_INFO_EXPORT` of 14 bytes", ["info-export-length"],
        |b| b.answer_fault = Some(AnswerFault::InfoExportLength);
    InfoExportTwice = "info-export-twice",
        "sends `NBD_INFO_EXPORT` twice", ["info-type-once"],
        |b| b.answer_fault = Some(AnswerFault::InfoExportTwice);
    InfoBlockSizeLength = "info-block-size-length",
        "sends an `NBD_INFO_BLOCK_SIZE` of 10 bytes", ["info-block-size-length"],
        |b| b.answer_fault = Some(AnswerFault::InfoBlockSizeLength);
    InfoNameDiffers = "info-name-differs",
        "reports another canonical name than `NBD_OPT_LIST`", ["info-name-matches-list"],
        |b| b.answer_fault = Some(AnswerFault::InfoNameDiffers);
    InfoDescriptionDiffers = "info-description-differs",
        "reports another description than `NBD_OPT_LIST`", ["info-description-matches-list"],
        |b| b.answer_fault = Some(AnswerFault::InfoDescriptionDiffers);
    InfoUnknownRequestRefused = "info-unknown-request-refused",
        "refuses INFO and GO with an unknown information request",
        ["opt-info-unknown-requests-ignored"],
        |b| b.answer_fault = Some(AnswerFault::InfoUnknownRequestRefused);
    GoUnsupported = "go-unsupported",
        "does not know `NBD_OPT_INFO` and `NBD_OPT_GO`", ["baseline-info-go"],
        |b| b.features.info_and_go = false;
    GoAloneUnsupported = "go-alone-unsupported",
        "knows `NBD_OPT_INFO`, but not `NBD_OPT_GO`", ["ext-go-not-unsup"],
        |b| b.answer_fault = Some(AnswerFault::GoAloneUnsupported);
    GoStays = "go-stays",
        "goes on with options after the ACK of GO", ["opt-go-enters-transmission"],
        |b| b.answer_fault = Some(AnswerFault::GoStays);
    InfoAfterAck = "info-after-ack",
        "sends the ACK before the information", ["opt-info-export-required"],
        |b| b.answer_fault = Some(AnswerFault::InfoAfterAck);
    InfoShort = "info-short",
        "sends an `NBD_REP_INFO` of 1 byte", ["info-layout"],
        |b| b.answer_fault = Some(AnswerFault::InfoShort);
    InfoSizeOdd = "info-size-odd",
        "reports a size that is not a multiple of the minimum block size", ["export-size-multiple-of-min"],
        |b| { b.block_sizes = BlockSizes::new(512, 4096, 1 << 25).ok(); b.answer_fault = Some(AnswerFault::InfoSizeOdd); };
    BlockSizeMaximumTiny = "block-size-maximum-tiny",
        "reports a maximum payload of 64 KiB", ["block-size-max-1-mib"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeMaximumTiny);
    BlockSizesUntold = "block-sizes-untold",
        "serves blocks of 512 bytes only, and does not report that", ["size-server-advertises-enforced"],
        |b| { b.features.block_size = false; b.enforces_untold = true; };
    BlockSizeInsists = "block-size-insists",
        "serves only those who ask for the block sizes", ["interop-block-size-not-required"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeInsists);
    EmptyNameUnknown = "empty-name-unknown",
        "serves the default export by `NBD_OPT_EXPORT_NAME`, and not by INFO and GO", ["opt-export-name-refusal-closes"],
        |b| b.answer_fault = Some(AnswerFault::EmptyNameUnknown);
    InfoEnds = "info-ends",
        "hangs up after it has answered `NBD_OPT_INFO`", ["session-no-unjustified-hard-disconnect"],
        |b| b.answer_fault = Some(AnswerFault::InfoEnds);
    InfoReplyUnfit = "info-reply-unfit",
        "sends an `NBD_REP_SERVER` in its answers to INFO and GO", ["opt-info-reply-sequence"],
        |b| b.answer_fault = Some(AnswerFault::InfoReplyUnfit);
    InfoMalformedAccepted = "info-malformed-accepted",
        "overlooks trailing bytes in INFO and GO", ["opt-info-go-malformed-invalid"],
        |b| b.takes_malformed_info = true;
    BlockSizeMinimumOdd = "block-size-minimum-odd",
        "reports a minimum block size of 1000", ["block-size-min-power-of-2"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeMinimumOdd);
    BlockSizeMinimumHuge = "block-size-minimum-huge",
        "reports a minimum block size of 131072", ["block-size-min-limit-65536"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeMinimumHuge);
    BlockSizePreferredOdd = "block-size-preferred-odd",
        "reports a preferred block size of 5000", ["block-size-preferred-power-of-2"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizePreferredOdd);
    BlockSizePreferredSmall = "block-size-preferred-small",
        "reports a preferred block size of 256", ["block-size-preferred-lower-bound"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizePreferredSmall);
    BlockSizeMaximumSmall = "block-size-maximum-small",
        "reports a maximum payload below the preferred block size", ["block-size-max-lower-bound"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeMaximumSmall);
    BlockSizeRequiredAnyway = "block-size-required-anyway",
        "demands the block size request of those who made it", ["block-size-reqd-not-if-requested"],
        |b| b.answer_fault = Some(AnswerFault::BlockSizeRequiredAnyway);
    GoPadded = "go-padded",
        "sends 124 zeroes after the ACK of GO", ["opt-go-no-padding"],
        |b| b.answer_fault = Some(AnswerFault::GoPadded);
    GoUnknownCloses = "go-unknown-closes",
        "hangs up on INFO and GO of a missing export", ["session-no-unjustified-hard-disconnect"],
        |b| b.answer_fault = Some(AnswerFault::GoUnknownCloses);
    GoUnknownServed = "go-unknown-served",
        "serves the first export to those who ask for a missing one",
        ["opt-info-missing-export-unknown"],
        |b| b.serves_missing_exports = true;
    GoUnknownAfterInfo = "go-unknown-after-info",
        "sends information before it says that an export is unknown", ["opt-info-unknown-no-info"],
        |b| b.answer_fault = Some(AnswerFault::GoUnknownAfterInfo);
    // Seen in a server that read the length as 8 bits.
    GoNameLengthCut = "go-name-length-cut",
        "reads the length of the name in GO as 8 bits", ["opt-info-missing-export-unknown"],
        |b| b.cuts_name_lengths = true;
    }

    // NBD_OPT_STARTTLS.
    "tls" {
    TlsInjection = "tls-injection",
        "acts inside TLS on options that came in the clear behind `NBD_OPT_STARTTLS`",
        ["tls-no-plaintext-after-ack"],
        |b| b.takes_injected = true;
    TlsStateKept = "tls-state-kept",
        "keeps what was agreed before `NBD_OPT_STARTTLS`", ["opt-starttls-resets-state"],
        |b| b.keeps_state_at_tls = true;
    TlsRefused = "tls-refused",
        "refuses `NBD_OPT_STARTTLS` although it demands TLS", ["tls-starttls-acked"],
        |b| b.answer_fault = Some(AnswerFault::TlsRefused);
    StarttlsUnfit = "starttls-unfit",
        "answers `NBD_OPT_STARTTLS` with `NBD_REP_SERVER`", ["opt-starttls-reply"],
        |b| b.answer_fault = Some(AnswerFault::StarttlsUnfit);
    TlsRequiredAsPolicy = "tls-required-as-policy",
        "answers `NBD_REP_ERR_POLICY` instead of `NBD_REP_ERR_TLS_REQD`",
        ["tls-forced-error-other-options", "tls-selective-tls-only-tls-reqd"],
        |b| b.answer_fault = Some(AnswerFault::TlsRequiredAsPolicy);
    TlsRequiredWithoutTls = "tls-required-without-tls",
        "answers unknown options with `NBD_REP_ERR_TLS_REQD` where it offers no TLS",
        ["tls-notls-no-tls-reqd"],
        |b| b.answer_fault = Some(AnswerFault::TlsRequiredWithoutTls);
    TlsPretended = "tls-pretended",
        "acknowledges `NBD_OPT_STARTTLS` where it offers no TLS, and goes on in the clear",
        ["tls-no-plaintext-after-ack"],
        |b| b.answer_fault = Some(AnswerFault::TlsPretended);
    TlsListDemanded = "tls-list-demanded",
        "demands TLS for `NBD_OPT_LIST` where TLS is for those who ask", ["tls-selective-tls-reqd-scope"],
        |b| b.list_needs_tls = true;
    TlsOnlyFirst = "tls-only-first",
        "refuses `NBD_OPT_STARTTLS` after other options", ["tls-selective-upgrade-any-time", "tls-starttls-acked"],
        |b| b.starttls_only_first = true;
    TlsClosesAfterAck = "tls-closes-after-ack",
        "hangs up after it has acknowledged `NBD_OPT_STARTTLS`", ["tls-server-ready-after-ack"],
        |b| b.answer_fault = Some(AnswerFault::TlsClosesAfterAck);
    TlsModeForgotten = "tls-mode-forgotten",
        "demands TLS for the first three options only", ["tls-mode-consistent"],
        |b| b.forgets_tls_after = Some(3);
    TlsOnlyByName = "tls-only-by-name",
        "serves exports that take TLS in the clear by `NBD_OPT_EXPORT_NAME`", ["tls-selective-export-name-closes"],
        |b| b.serves_tls_only_by_name = true;
    TlsTwice = "tls-twice",
        "acknowledges `NBD_OPT_STARTTLS` inside TLS", ["tls-starttls-twice-invalid"],
        |b| b.tls_twice = true;
    TlsForcedForgotten = "tls-forced-forgotten",
        "serves known options in the clear where TLS is a must",
        ["tls-forced-error-other-options"],
        |b| b.options_before_tls = true;
    TlsForcedExportName = "tls-forced-export-name",
        "serves `NBD_OPT_EXPORT_NAME` in the clear where TLS is a must",
        ["tls-forced-export-name-closes"],
        |b| b.export_name_before_tls = true;
    TlsForcedAbort = "tls-forced-abort",
        "wants TLS for `NBD_OPT_ABORT` too", ["tls-forced-abort-exempt"],
        |b| b.abort_before_tls = false;
    TlsOnlyServed = "tls-only-served",
        "serves exports in the clear that take TLS",
        ["tls-selective-tls-only-tls-reqd"],
        |b| b.serves_tls_only_bare = true;
    TlsFailedGoesOn = "tls-failed-goes-on",
        "goes on in the clear after a TLS handshake that failed",
        ["tls-server-ends-on-failed-handshake"],
        |b| b.goes_on_without_tls = true;
    TlsRequiredInside = "tls-required-inside",
        "answers unknown options inside TLS with `NBD_REP_ERR_TLS_REQD`",
        ["tls-no-tls-reqd-inside-tls"],
        |b| b.wants_tls_inside_tls = true;
    }

    // NBD_OPT_STRUCTURED_REPLY and transmission flags.
    "flags" {
    StructuredDataAccepted = "structured-data-accepted",
        "acknowledges `NBD_OPT_STRUCTURED_REPLY` with data", ["opt-structured-data-invalid"],
        |b| b.ignores_data_of = Some(OptionType::STRUCTURED_REPLY);
    StructuredForgotten = "structured-forgotten",
        "acknowledges `NBD_OPT_STRUCTURED_REPLY` and sends simple replies all the same",
        ["read-structured-no-simple"],
        |b| b.reply_form = ReplyForm::NeverStructured;
    DfHidden = "df-hidden",
        "serves DF, and does not set SEND_DF", ["tflag-df-if-supported"],
        |b| b.flags_hidden = TransmissionFlags::SEND_DF;
    ResizeFlag = "resize-flag",
        "sets the transmission flag of the experimental extension RESIZE", ["tflag-resize-experimental"],
        |b| b.flags_added = TransmissionFlags(1 << 9);
    HasFlagsClear = "has-flags-clear",
        "clears HAS_FLAGS", ["tflag-has-flags"],
        |b| b.flags_hidden = TransmissionFlags::HAS_FLAGS;
    DfWithoutStructured = "df-without-structured",
        "sets SEND_DF although structured replies were not agreed", ["tflag-df-needs-structured"],
        |b| b.flags_added = TransmissionFlags::SEND_DF;
    FlushAdvertisedOnly = "flush-advertised-only",
        "sets SEND_FLUSH, but takes `NBD_CMD_FLUSH` for unknown", ["tflag-not-unsupported"],
        |b| b.except(Only(Command::FLUSH), F::EMPTY, Lengths::Any, Fail(E::EINVAL));
    MultiConnStaleCache = "multi-conn-stale-cache",
        "keeps what a connection has read in a cache of that connection",
        ["tflag-multi-conn-consistent"],
        |b| b.store_fault = Some(StoreFault::MultiConnStaleCache);
    MultiConnWriteBack = "multi-conn-write-back",
        "keeps what a connection writes to itself until that connection flushes",
        ["tflag-multi-conn-consistent"],
        |b| b.store_fault = Some(StoreFault::MultiConnWriteBack);
    FastZeroAlone = "fast-zero-alone",
        "sets SEND_FAST_ZERO without SEND_WRITE_ZEROES", ["tflag-fast-zero-needs-write-zeroes"],
        |b| { b.flags_hidden = TransmissionFlags::SEND_WRITE_ZEROES; b.flags_added = TransmissionFlags::SEND_FAST_ZERO; };
    }

    // Replies in general.
    "replies" {
    ErrorEnomem = "error-enomem",
        "fails requests with `NBD_ENOMEM` whatever the cause", ["error-no-enomem"],
        |b| b.reply_fault = Some(ReplyFault::ErrorEnomem);
    ErrorEnotsup = "error-enotsup",
        "fails requests with `NBD_ENOTSUP` whatever the cause", ["error-enotsup-scope"],
        |b| b.reply_fault = Some(ReplyFault::ErrorEnotsup);
    ErrorsSimple = "errors-simple",
        "fails all but READ and BLOCK_STATUS with simple replies although structured ones were agreed", ["structured-errors-preferred"],
        |b| b.reply_fault = Some(ReplyFault::ErrorsSimple);
    ExtendedUnasked = "extended-unasked",
        "sends extended replies where structured ones were agreed", ["magic-extended-only-negotiated"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedUnasked);
    CookieWrong = "cookie-wrong",
        "adds 1 to the cookies of replies", ["cookie-echoed"],
        |b| b.reply_fault = Some(ReplyFault::CookieWrong);
    CookieSwapped = "cookie-swapped",
        "reverses the bytes of cookies", ["cookie-echoed"],
        |b| b.reply_fault = Some(ReplyFault::CookieSwapped);
    CookieTruncated = "cookie-truncated",
        "keeps only the lower 32 bits of cookies", ["cookie-echoed"],
        |b| b.reply_fault = Some(ReplyFault::CookieTruncated);
    ReplyTwice = "reply-twice",
        "answers every request twice", ["reply-one-per-request"],
        |b| b.reply_fault = Some(ReplyFault::ReplyTwice);
    ReplyMissing = "reply-missing",
        "does not answer `NBD_CMD_FLUSH`", ["reply-one-per-request"],
        |b| b.reply_fault = Some(ReplyFault::ReplyMissing);
    ReplyOldMagic = "reply-old-magic",
        "begins simple replies with the historic magic 0x96744668", ["magic-historic-not-used"],
        |b| b.reply_fault = Some(ReplyFault::ReplyOldMagic);
    SimpleErrorWithData = "simple-error-with-data",
        "sends the asked length of bytes after a failed simple READ",
        ["read-simple-error-no-payload"],
        |b| b.reply_fault = Some(ReplyFault::SimpleErrorWithData);
    SimpleToStructuredRead = "simple-to-structured-read",
        "answers READ with simple replies although structured ones were agreed",
        ["read-structured-no-simple"],
        |b| b.reply_fault = Some(ReplyFault::SimpleToStructuredRead);
    SimpleReadError = "simple-read-error",
        "answers a READ that fails early with a simple reply although structured ones were agreed",
        ["read-structured-no-simple"],
        |b| b.reply_fault = Some(ReplyFault::SimpleReadError);
    StructuredUnasked = "structured-unasked",
        "sends structured replies that were not agreed", ["reply-simple-only-without-structured"],
        |b| b.reply_form = ReplyForm::AlwaysStructured;
    ErrorUnknownValue = "error-unknown-value",
        "fails requests with the error value 71", ["error-known-values"],
        |b| b.reply_fault = Some(ReplyFault::ErrorUnknownValue);
    ErrorUnexpectedOverflow = "error-unexpected-overflow",
        "fails requests with `NBD_EOVERFLOW` whatever the cause", ["error-eoverflow-scope"],
        |b| b.reply_fault = Some(ReplyFault::ErrorUnexpectedOverflow);
    }

    // Chunks.
    "chunks" {
    ChunksOverlap = "chunks-overlap",
        "begins the second content chunk one byte early", ["chunk-content-no-overlap"],
        |b| b.reply_fault = Some(ReplyFault::ChunksOverlap);
    ChunkOutOfBounds = "chunk-out-of-bounds",
        "sends content from beyond the end of the read", ["chunk-content-in-bounds"],
        |b| b.reply_fault = Some(ReplyFault::ChunkOutOfBounds);
    ChunkNoneNotLast = "chunk-none-not-last",
        "sends NONE without DONE before the last chunk", ["chunk-none-done"],
        |b| b.reply_fault = Some(ReplyFault::ChunkNoneNotLast);
    ChunkNoneWithData = "chunk-none-with-data",
        "sends NONE with 8 bytes of payload", ["chunk-none-empty"],
        |b| b.reply_fault = Some(ReplyFault::ChunkNoneWithData);
    ChunkDataEmpty = "chunk-data-empty",
        "sends a data chunk without data", ["chunk-offset-data-length"],
        |b| b.reply_fault = Some(ReplyFault::ChunkDataEmpty);
    ChunkHoleEmpty = "chunk-hole-empty",
        "sends a hole of length 0", ["chunk-offset-hole-nonzero"],
        |b| b.reply_fault = Some(ReplyFault::ChunkHoleEmpty);
    ChunkHoleLength = "chunk-hole-length",
        "sends holes of 16 bytes of payload", ["chunk-offset-hole-length"],
        |b| b.reply_fault = Some(ReplyFault::ChunkHoleLength);
    ChunkTypeUnfit = "chunk-type-unfit",
        "answers WRITE with a hole chunk", ["chunk-type-fits-command"],
        |b| b.reply_fault = Some(ReplyFault::ChunkTypeUnfit);
    ChunkSpareFlag = "chunk-spare-flag",
        "sets bit 3 of the reply flags", ["replyflag-no-others"],
        |b| b.reply_fault = Some(ReplyFault::ChunkSpareFlag);
    DoneMissing = "done-missing",
        "never sets DONE, so that no reply ends", ["reply-one-per-request"],
        |b| b.reply_fault = Some(ReplyFault::DoneMissing);
    DoneTwice = "done-twice",
        "sets DONE on every chunk of a reply", ["structured-done-last"],
        |b| b.reply_fault = Some(ReplyFault::DoneTwice);
    ChunkAfterDone = "chunk-after-done",
        "sends another chunk after the one with DONE", ["structured-done-last"],
        |b| b.reply_fault = Some(ReplyFault::ChunkAfterDone);
    ErrorChunkTwice = "error-chunk-twice",
        "sends two error chunks", ["chunk-error-once"],
        |b| b.reply_fault = Some(ReplyFault::ErrorChunkTwice);
    ErrorOffsetShort = "error-offset-short",
        "sends error chunks with an offset of 2 bytes", ["chunk-error-offset-length"],
        |b| { b.errors_by_offset = true; b.reply_fault = Some(ReplyFault::ErrorOffsetShort); };
    ErrorOffsetOutside = "error-offset-outside",
        "reports errors at offsets outside of the request", ["chunk-error-offset-in-bounds"],
        |b| { b.errors_by_offset = true; b.reply_fault = Some(ReplyFault::ErrorOffsetOutside); };
    ErrorOffsetTwice = "error-offset-twice",
        "reports an error at the same offset twice", ["chunk-error-offset-no-repeat"],
        |b| { b.errors_by_offset = true; b.reply_fault = Some(ReplyFault::ErrorOffsetTwice); };
    ErrorsMixed = "errors-mixed",
        "reports an error with an offset, and one without", ["read-errors-not-mixed"],
        |b| { b.errors_by_offset = true; b.reply_fault = Some(ReplyFault::ErrorsMixed); };
    ChunksOdd = "chunks-odd",
        "cuts the data of reads at multiples of 1000", ["read-chunks-multiple-of-512"],
        |b| b.reply_fault = Some(ReplyFault::ChunksOdd);
    ChunkOffsetRelative = "chunk-offset-relative",
        "counts the offsets of content chunks from the offset of the request", ["chunk-content-in-bounds"],
        |b| b.reply_fault = Some(ReplyFault::ChunkOffsetRelative);
    ContentAfterError = "content-after-error",
        "sends content where it has just reported an error", ["read-content-before-error"],
        |b| { b.errors_by_offset = true; b.reply_fault = Some(ReplyFault::ContentAfterError); };
    ErrorChunkZero = "error-chunk-zero",
        "sends error chunks with the error value 0", ["chunk-error-nonzero"],
        |b| b.reply_fault = Some(ReplyFault::ErrorChunkZero);
    ErrorChunkMessageTooLong = "error-chunk-message-too-long",
        "sends error chunks with messages of 5000 bytes", ["chunk-error-message-limit"],
        |b| b.reply_fault = Some(ReplyFault::ErrorChunkMessageTooLong);
    ErrorChunkMessageOverrun = "error-chunk-message-overrun",
        "reports message lengths in error chunks that exceed the chunk",
        ["chunk-error-message-fits"],
        |b| b.reply_fault = Some(ReplyFault::ErrorChunkMessageOverrun);
    ErrorChunkShort = "error-chunk-short",
        "sends error chunks of 4 bytes", ["chunk-error-length"],
        |b| b.reply_fault = Some(ReplyFault::ErrorChunkShort);
    }

    // READ.
    "reads" {
    ReadShort = "read-short",
        "leaves out the last byte of a structured read", ["read-structured-covers-request"],
        |b| b.reply_fault = Some(ReplyFault::ReadShort);
    ReadOtherOffset = "read-other-offset",
        "reads from the offset less its lowest 12 bits", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::ReadOtherOffset);
    ReadRefused = "read-refused",
        "fails every READ with `NBD_EINVAL`", ["baseline-read"],
        |b| b.except(Only(Command::READ), F::EMPTY, Lengths::NotZero, Fail(E::EINVAL));
    ReadTailZero = "read-tail-zero",
        "reads the last byte as zero", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::ReadTailZero);
    ReadHoles = "read-holes",
        "sends data as holes", ["write-stored"],
        |b| b.reply_fault = Some(ReplyFault::ChunkHoleForData);
    OffsetCut = "offset-cut",
        "reads and writes at the lower 32 bits of offsets", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::Offset32Bits);
    ReadErrorHidden = "read-error-hidden",
        "serves what its store can't read as zeroes",
        ["read-simple-error-code", "read-error-chunk-required"],
        |b| b.store_fault = Some(StoreFault::ReadErrorHidden);
    ReadPastEnd = "read-past-end",
        "serves READ beyond the end as zeroes", ["request-beyond-end-einval"],
        |b| b.serves_past_end = Some(Command::READ);
    ReadOffsetWraps = "read-offset-wraps",
        "checks offset plus length without regard to overflow", ["request-beyond-end-einval"],
        |b| b.wraps_offsets = true;
    ReadUnaligned = "read-unaligned",
        "accepts requests that are not aligned to the minimum block size",
        ["request-unaligned-einval"],
        |b| b.serves_unaligned = true;
    ReadZeroCloses = "read-zero-closes",
        "hangs up on a READ of length 0", ["read-zero-length-no-disconnect"],
        |b| b.except(Only(Command::READ), F::EMPTY, Lengths::Zero, Close);
    ReadLargeCloses = "read-large-closes",
        "hangs up on payloads above 1 MiB", ["size-32-mib-not-dos"],
        |b| b.except(Commands::WithData, F::EMPTY, Lengths::Above(1 << 20), Close);
    DfHole = "df-hole",
        "answers READ with DF with a hole", ["read-df-mixed-is-data"],
        |b| b.reply_fault = Some(ReplyFault::DfHole);
    DfFragmented = "df-fragmented",
        "answers READ with DF in two content chunks", ["read-df-one-content-chunk"],
        |b| b.reply_fault = Some(ReplyFault::DfFragmented);
    DfErrorWithData = "df-error-with-data",
        "sends content before it fails a READ with DF with `NBD_EOVERFLOW`", ["read-df-eoverflow-no-content"],
        |b| b.reply_fault = Some(ReplyFault::DfErrorWithData);
    DfRefused = "df-refused",
        "fails every READ with DF", ["read-df-65536-served"],
        |b| b.except(Only(Command::READ), F::DF, Lengths::Any, Fail(E::EINVAL));
    }

    // WRITE, TRIM, WRITE_ZEROES, FLUSH.
    "writes" {
    WriteEmptyCloses = "write-empty-closes",
        "hangs up on a WRITE of length 0", ["write-zero-length-no-disconnect"],
        |b| b.except(Only(Command::WRITE), F::EMPTY, Lengths::Zero, Close);
    TrimEmptyCloses = "trim-empty-closes",
        "hangs up on a TRIM of length 0", ["trim-zero-length-no-disconnect"],
        |b| b.except(Only(Command::TRIM), F::EMPTY, Lengths::Zero, Close);
    LargeFails = "large-fails",
        "fails payloads above 16 MiB, and advertises no maximum", ["size-default-max-32-mib"],
        |b| { b.features.block_size = false; b.except(Commands::WithData, F::EMPTY, Lengths::Above(16 << 20), Fail(E::EINVAL)); };
    ZeroesEnotsupUnadvertised = "zeroes-enotsup-unadvertised",
        "fails WRITE_ZEROES with `NBD_ENOTSUP`, and does not set SEND_FAST_ZERO", ["write-zeroes-unadvertised-no-enotsup"],
        |b| { b.features.fast_zero = false; b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::Any, Fail(E::ENOTSUP)); };
    WriteErrorHidden = "write-error-hidden",
        "reports success for a WRITE that failed", ["write-error-code"],
        |b| b.reply_fault = Some(ReplyFault::WriteErrorHidden);
    ZeroesErrorHidden = "zeroes-error-hidden",
        "reports success for a WRITE_ZEROES that failed", ["write-zeroes-error-code"],
        |b| b.reply_fault = Some(ReplyFault::ZeroesErrorHidden);
    WriteRefused = "write-refused",
        "fails every WRITE with `NBD_EINVAL`", ["baseline-write"],
        |b| b.except(Only(Command::WRITE), F::EMPTY, Lengths::NotZero, Fail(E::EINVAL));
    WriteTailLost = "write-tail-lost",
        "does not store the last byte of a WRITE", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::WriteTailLost);
    WriteFirstPiece = "write-first-piece",
        "stores the first 16 KiB of a WRITE and no more", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::WriteFirstPiece);
    WriteRoundsOffset = "write-rounds-offset",
        "writes at the offset less its lowest 9 bits", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::WriteRoundsOffset);
    WriteFuaCloses = "write-fua-closes",
        "hangs up on a WRITE with FUA", ["session-no-unjustified-hard-disconnect"],
        |b| b.except(Only(Command::WRITE), F::FUA, Lengths::Any, Close);
    WriteNotStored = "write-not-stored",
        "answers WRITE without storing anything", ["write-stored"],
        |b| b.store_fault = Some(StoreFault::WriteNotStored);
    WritePastEnd = "write-past-end",
        "accepts WRITE beyond the end", ["write-beyond-end-enospc"],
        |b| b.serves_past_end = Some(Command::WRITE);
    WritePastEndEio = "write-past-end-eio",
        "fails WRITE beyond the end with `NBD_EIO`", ["write-beyond-end-enospc"],
        |b| b.past_end = E::EIO;
    WritePayloadKept = "write-payload-kept",
        "takes the payload of a refused request for the next request",
        ["error-unknown-flag-einval", "ext-payload-consumed"],
        |b| b.keeps_refused_payload = true;
    ReadOnlyWritable = "read-only-writable",
        "accepts writes to a read-only export", ["tflag-read-only-fails-writes"],
        |b| b.read_only = None;
    ReadOnlyEio = "read-only-eio",
        "fails writes to a read-only export with `NBD_EIO`", ["write-read-only-eperm", "write-zeroes-read-only-eperm"],
        |b| b.read_only = Some(E::EIO);
    TrimAdvertisedOnly = "trim-advertised-only",
        "sets SEND_TRIM, but takes `NBD_CMD_TRIM` for unknown", ["tflag-not-unsupported"],
        |b| b.except(Only(Command::TRIM), F::EMPTY, Lengths::NotZero, Fail(E::EINVAL));
    TrimShifted = "trim-shifted",
        "trims one page further on", ["trim-confined"],
        |b| b.store_fault = Some(StoreFault::TrimShifted);
    TrimNeighbours = "trim-neighbours",
        "rounds TRIM outwards to 4096 bytes and beyond", ["trim-confined"],
        |b| b.store_fault = Some(StoreFault::TrimNeighbours);
    ZeroesAdvertisedOnly = "zeroes-advertised-only",
        "sets SEND_WRITE_ZEROES, but takes `NBD_CMD_WRITE_ZEROES` for unknown", ["tflag-not-unsupported"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::NotZero, Fail(E::EINVAL));
    ZeroesTailLost = "zeroes-tail-lost",
        "leaves the last byte of a WRITE_ZEROES as it was", ["write-zeroes-stored"],
        |b| b.store_fault = Some(StoreFault::ZeroesTailLost);
    ZeroesNotStored = "zeroes-not-stored",
        "answers WRITE_ZEROES without doing anything", ["write-zeroes-stored"],
        |b| b.store_fault = Some(StoreFault::ZeroesNotStored);
    ZeroesPastEnd = "zeroes-past-end",
        "accepts WRITE_ZEROES beyond the end", ["write-zeroes-beyond-end-enospc"],
        |b| b.serves_past_end = Some(Command::WRITE_ZEROES);
    ZeroesNeighbours = "zeroes-neighbours",
        "rounds WRITE_ZEROES outwards to 4096 bytes", ["write-zeroes-stored"],
        |b| b.store_fault = Some(StoreFault::ZeroesNeighbours);
    ZeroesInwards = "zeroes-inwards",
        "rounds WRITE_ZEROES inwards to 4096 bytes", ["write-zeroes-reads-back-zero"],
        |b| b.store_fault = Some(StoreFault::ZeroesInwards);
    ZeroesFirstPiece = "zeroes-first-piece",
        "zeroes the first 64 MiB of a range and no more", ["write-zeroes-stored"],
        |b| b.store_fault = Some(StoreFault::ZeroesFirstPiece);
    ZeroesLongCloses = "zeroes-long-closes",
        "hangs up on a WRITE_ZEROES that is longer than a payload may be",
        ["size-effect-length-no-disconnect"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::AboveMaximum, Close);
    ZeroesEmptyCloses = "zeroes-empty-closes",
        "hangs up on a WRITE_ZEROES of length 0", ["write-zeroes-zero-length-no-disconnect"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::Zero, Close);
    ZeroesEnotsup = "zeroes-enotsup",
        "fails WRITE_ZEROES with `NBD_ENOTSUP`", ["write-zeroes-no-enotsup-without-fast"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::EMPTY, Lengths::Any, Fail(E::ENOTSUP));
    NoHoleRefused = "no-hole-refused",
        "fails WRITE_ZEROES with NO_HOLE as an unknown flag", ["cmdflag-no-hole-supported"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::NO_HOLE, Lengths::Any, Fail(E::EINVAL));
    FastZeroOverflow = "fast-zero-overflow",
        "fails WRITE_ZEROES with FAST_ZERO with `NBD_EOVERFLOW`",
        ["write-zeroes-fast-no-eoverflow"],
        |b| b.except(Only(Command::WRITE_ZEROES), F::FAST_ZERO, Lengths::Any, Fail(E::EOVERFLOW));
    FastZeroHalfDone = "fast-zero-half-done",
        "zeroes half of a range before it fails FAST_ZERO with `NBD_ENOTSUP`",
        ["write-zeroes-fast-enotsup-unchanged"],
        |b| b.store_fault = Some(StoreFault::FastZeroHalfDone);
    }

    // CACHE.
    "cache" {
    CacheWithData = "cache-with-data",
        "answers CACHE with the data where structured replies were agreed",
        ["chunk-type-fits-command"],
        |b| b.reply_fault = Some(ReplyFault::CacheWithData);
    CacheZeroes = "cache-zeroes",
        "zeroes what CACHE is about", ["cache-no-semantic-effect"],
        |b| b.store_fault = Some(StoreFault::CacheZeroes);
    CacheStale = "cache-stale",
        "reads from what CACHE has fetched, whatever was written since",
        ["cache-no-semantic-effect"],
        |b| b.store_fault = Some(StoreFault::CacheStale);
    CachePastEnd = "cache-past-end",
        "reports success for CACHE beyond the end", ["cache-error-code"],
        |b| b.serves_past_end = Some(Command::CACHE);
    CacheFlagsUnchecked = "cache-flags-unchecked",
        "overlooks all flags of CACHE", ["cache-unknown-flags-rejected"],
        |b| b.ignores_flags_of = Some(Command::CACHE);
    }

    // Flags and commands.
    "commands" {
    FuaRefusedOnRead = "fua-refused-on-read",
        "fails READ with FUA", ["cmdflag-fua-accepted-everywhere"],
        |b| b.except(Only(Command::READ), F::FUA, Lengths::Any, Fail(E::EINVAL));
    FuaRefusedOnWrite = "fua-refused-on-write",
        "fails WRITE with FUA, and sets SEND_FUA", ["cmdflag-fua-accepted-everywhere"],
        |b| b.except(Only(Command::WRITE), F::FUA, Lengths::NotZero, Fail(E::EINVAL));
    FuaRefusedOnFlush = "fua-refused-on-flush",
        "fails FLUSH with FUA", ["cmdflag-fua-accepted-everywhere"],
        |b| b.except(Only(Command::FLUSH), F::FUA, Lengths::Any, Fail(E::EINVAL));
    FuaRefusedOnTrim = "fua-refused-on-trim",
        "fails TRIM with FUA", ["cmdflag-fua-accepted-everywhere"],
        |b| b.except(Only(Command::TRIM), F::FUA, Lengths::NotZero, Fail(E::EINVAL));
    FlagUnknownAccepted = "flag-unknown-accepted",
        "overlooks unknown command flags", ["error-unknown-flag-einval"],
        |b| b.flag_checks = FlagChecks::Known;
    FlagInapplicableAccepted = "flag-inapplicable-accepted",
        "overlooks command flags that do not belong to the command",
        ["error-inapplicable-flag-einval", "ext-unexpected-payload-einval"],
        |b| b.flag_checks = FlagChecks::Unknown;
    CommandUnknownCloses = "command-unknown-closes",
        "hangs up on an unknown command", ["error-unknown-command-einval"],
        |b| b.except(Commands::Unknown, F::EMPTY, Lengths::Any, Close);
    CommandUnknownSucceeds = "command-unknown-succeeds",
        "reports success for unknown commands", ["error-unknown-command-einval"],
        |b| b.except(Commands::Unknown, F::EMPTY, Lengths::Any, Serve);
    }

    // Metadata contexts.
    "contexts" {
    ContextEndMissing = "context-end-missing",
        "does not end its answers to `NBD_OPT_LIST_META_CONTEXT`", ["option-reply-one-final"],
        |b| b.answer_fault = Some(AnswerFault::ContextEndMissing);
    ContextListWantsExtended = "context-list-wants-extended",
        "refuses to list contexts without extended headers", ["ext-list-meta-base-no-error"],
        |b| b.answer_fault = Some(AnswerFault::ContextListWantsExtended);
    ContextSetWantsExtended = "context-set-wants-extended",
        "refuses to select contexts without extended headers", ["ext-set-meta-base-no-error"],
        |b| b.answer_fault = Some(AnswerFault::ContextSetWantsExtended);
    ContextMalformedAccepted = "context-malformed-accepted",
        "acknowledges context options whose data is malformed", ["opt-meta-malformed-invalid"],
        |b| b.answer_fault = Some(AnswerFault::ContextMalformedAccepted);
    ContextEarly = "context-early",
        "lets contexts be selected before structured replies are agreed",
        ["opt-set-meta-early-invalid"],
        |b| { b.lists_contexts_early = true; b.sets_contexts_early = true; };
    ContextUnknownRefused = "context-unknown-refused",
        "refuses queries of unknown namespaces", ["opt-meta-unknown-namespace-ignored"],
        |b| b.answer_fault = Some(AnswerFault::ContextUnknownRefused);
    ContextNoneRefused = "context-none-refused",
        "fails `NBD_OPT_LIST_META_CONTEXT` when no context matches", ["opt-list-meta-no-match-ack"],
        |b| b.answer_fault = Some(AnswerFault::ContextNoneRefused);
    ContextListEmpty = "context-list-empty",
        "lists no context when there is no query", ["opt-list-meta-zero-queries"],
        |b| b.answer_fault = Some(AnswerFault::ContextListEmpty);
    ContextListTooBig = "context-list-too-big",
        "takes the list of all contexts for too big", ["opt-list-meta-zero-queries-not-too-big"],
        |b| b.answer_fault = Some(AnswerFault::ContextListTooBig);
    ContextUnlisted = "context-unlisted",
        "lists no context for any query", ["opt-list-meta-matches", "qemu-list-specific"],
        |b| b.answer_fault = Some(AnswerFault::ContextUnlisted);
    ContextListId = "context-list-id",
        "sends ids other than 0 in the list of contexts", ["opt-list-meta-id-zero"],
        |b| b.answer_fault = Some(AnswerFault::ContextListId);
    ContextNameBare = "context-name-bare",
        "leaves the colon out of the names of contexts",
        ["opt-list-meta-name-form", "meta-name-form"],
        |b| b.answer_fault = Some(AnswerFault::ContextNameBare);
    ContextNamespaceEmpty = "context-namespace-empty",
        "leaves the namespace out of the names of contexts", ["meta-namespace-characters"],
        |b| b.answer_fault = Some(AnswerFault::ContextNamespaceEmpty);
    ContextNamespaceOther = "context-namespace-other",
        "reports contexts of a namespace that is not registered", ["meta-namespace-registered"],
        |b| b.answer_fault = Some(AnswerFault::ContextNamespaceOther);
    ContextNameNotUtf8 = "context-name-not-utf8",
        "reports names of contexts that are not UTF-8", ["rep-meta-context-utf8"],
        |b| b.answer_fault = Some(AnswerFault::ContextNameNotUtf8);
    ContextNameTooLong = "context-name-too-long",
        "reports names of contexts of 5000 bytes", ["meta-name-string-limits"],
        |b| b.answer_fault = Some(AnswerFault::ContextNameTooLong);
    ContextReplyShort = "context-reply-short",
        "sends an `NBD_REP_META_CONTEXT` of 2 bytes", ["rep-meta-context-layout"],
        |b| b.answer_fault = Some(AnswerFault::ContextReplyShort);
    ContextReplyUnfit = "context-reply-unfit",
        "answers context options with `NBD_REP_SERVER`", ["rep-type-fits-option"],
        |b| b.answer_fault = Some(AnswerFault::ContextReplyUnfit);
    ContextSelectedTwice = "context-selected-twice",
        "selects a context as often as there are queries",
        ["opt-set-meta-unique-ids", "opt-set-meta-reply"],
        |b| b.answer_fault = Some(AnswerFault::ContextSelectedTwice);
    ContextIdOther = "context-id-other",
        "reports other ids in haggling than in status chunks", ["status-one-chunk-per-context"],
        |b| b.answer_fault = Some(AnswerFault::ContextIdOther);
    ContextIdsEqual = "context-ids-equal",
        "gives all selected contexts the same id", ["opt-set-meta-unique-ids"],
        |b| b.answer_fault = Some(AnswerFault::ContextIdsEqual);
    ContextWithoutQuery = "context-without-query",
        "selects all contexts when there is no query", ["opt-set-meta-zero-queries"],
        |b| b.selects = Selects::AllWithoutQuery;
    ContextWildcardSelects = "context-wildcard-selects",
        "selects what a wildcard matches",
        ["meta-empty-leaf-selects-nothing", "qemu-wildcards-select-nothing"],
        |b| b.selects = Selects::Listed;
    ContextPrefixSelects = "context-prefix-selects",
        "selects contexts of which a query has the beginning", ["opt-set-meta-reply"],
        |b| b.selects = Selects::Begun;
    ContextSelectionKept = "context-selection-kept",
        "keeps a selection when the next one fails", ["opt-set-meta-replaces"],
        |b| b.keeps_selection = true;
    ContextSelectionAnywhere = "context-selection-anywhere",
        "takes a selection for whatever export is entered", ["status-without-context-einval"],
        |b| b.selects_for_any_export = true;
    QemuContextOther = "qemu-context-other",
        "reports a context of the namespace qemu that does not exist", ["qemu-context-names"],
        |b| b.answer_fault = Some(AnswerFault::QemuContextOther);
    QemuWildcardUnlisted = "qemu-wildcard-unlisted",
        "lists nothing for the query `qemu:`", ["qemu-list-wildcard-namespace"],
        |b| b.answer_fault = Some(AnswerFault::QemuWildcardUnlisted);
    BitmapWildcardUnlisted = "bitmap-wildcard-unlisted",
        "lists nothing for the query `qemu:dirty-bitmap:`", ["qemu-list-wildcard-dirty-bitmap"],
        |b| b.answer_fault = Some(AnswerFault::BitmapWildcardUnlisted);
    }

    // NBD_CMD_BLOCK_STATUS.
    "block-status" {
    StatusPastEnd = "status-past-end",
        "reports the status of what is beyond the end", ["status-beyond-end-einval"],
        |b| b.serves_past_end = Some(Command::BLOCK_STATUS);
    StatusErrorHidden = "status-error-hidden",
        "reports success, without an extent, for an `NBD_CMD_BLOCK_STATUS` that failed",
        ["status-one-chunk-per-context"],
        |b| b.reply_fault = Some(ReplyFault::StatusErrorHidden);
    StatusZeroCloses = "status-zero-closes",
        "hangs up on an `NBD_CMD_BLOCK_STATUS` of length 0", ["status-zero-length-no-disconnect"],
        |b| b.except(Only(Command::BLOCK_STATUS), F::EMPTY, Lengths::Zero, Close);
    StatusSimple = "status-simple",
        "answers `NBD_CMD_BLOCK_STATUS` with simple replies", ["status-reply-structured"],
        |b| b.reply_fault = Some(ReplyFault::StatusSimple);
    StatusChunkMissing = "status-chunk-missing",
        "answers `NBD_CMD_BLOCK_STATUS` with NONE alone", ["status-one-chunk-per-context"],
        |b| b.reply_fault = Some(ReplyFault::StatusChunkMissing);
    StatusChunkLength = "status-chunk-length",
        "sends status chunks with 2 bytes too many", ["chunk-block-status-length"],
        |b| b.reply_fault = Some(ReplyFault::StatusChunkLength);
    StatusNoExtent = "status-no-extent",
        "sends status chunks without extents", ["status-at-least-one-extent"],
        |b| b.extent_fault = Some(ExtentFault::StatusNoExtent);
    StatusExtentEmpty = "status-extent-empty",
        "begins a status chunk with an extent of length 0", ["status-extent-nonzero"],
        |b| b.extent_fault = Some(ExtentFault::StatusExtentEmpty);
    StatusExtentTooMany = "status-extent-too-many",
        "adds an extent behind the end of the request", ["status-sum-before-last"],
        |b| b.extent_fault = Some(ExtentFault::StatusExtentTooMany);
    StatusBeyondExport = "status-beyond-export",
        "reports extents that reach beyond the export", ["status-within-export"],
        |b| b.extent_fault = Some(ExtentFault::StatusBeyondExport);
    StatusOneTwice = "status-one-twice",
        "sends two extents in spite of REQ_ONE", ["status-req-one-single-extent"],
        |b| b.extent_fault = Some(ExtentFault::StatusOneTwice);
    StatusOneLonger = "status-one-longer",
        "sends an extent longer than the request in spite of REQ_ONE", ["status-req-one-length"],
        |b| b.extent_fault = Some(ExtentFault::StatusOneLonger);
    StatusNeighboursEqual = "status-neighbours-equal",
        "cuts an extent in two of the same status", ["status-neighbours-differ"],
        |b| b.extent_fault = Some(ExtentFault::StatusNeighboursEqual);
    StatusCutAnywhere = "status-cut-anywhere",
        "cuts extents at multiples of 1000",
        ["status-extents-multiple-of-512", "status-extents-multiple-of-min"],
        |b| b.extent_fault = Some(ExtentFault::StatusCutAnywhere);
    StatusBefore = "status-before",
        "reports the status of what lies 64 KiB before the request", ["status-extents-consecutive"],
        |b| b.status_before = 65_536;
    StatusReservedBits = "status-reserved-bits",
        "sets bit 4 in the status of `base:allocation`", ["base-alloc-reserved-bits-zero"],
        |b| b.extent_fault = Some(ExtentFault::StatusReservedBits);
    StatusDataAsZero = "status-data-as-zero",
        "calls all data zero", ["base-alloc-zero-flag-true"],
        |b| b.extent_fault = Some(ExtentFault::StatusDataAsZero);
    StatusHolesHidden = "status-holes-hidden",
        "calls holes data", ["status-known-reported"],
        |b| b.extent_fault = Some(ExtentFault::StatusHolesHidden);
    BitmapOtherBits = "bitmap-other-bits",
        "sets bit 1 in the status of bitmaps", ["qemu-dirty-bitmap-status"],
        |b| b.extent_fault = Some(ExtentFault::BitmapOtherBits);
    BitmapAllDirty = "bitmap-all-dirty",
        "calls everything dirty", ["qemu-dirty-bitmap-content"],
        |b| b.extent_fault = Some(ExtentFault::BitmapAllDirty);
    BitmapInverted = "bitmap-inverted",
        "calls clean what is dirty", ["qemu-dirty-bitmap-content"],
        |b| b.extent_fault = Some(ExtentFault::BitmapInverted);
    BitmapWritesUnmarked = "bitmap-writes-unmarked",
        "does not mark writes in bitmaps", ["qemu-dirty-bitmap-content"],
        |b| b.marks_bitmaps = false;
    DepthFromZero = "depth-from-zero",
        "counts allocation depths from 0", ["qemu-allocation-depth-status"],
        |b| b.extent_fault = Some(ExtentFault::DepthFromZero);
    }

    // Extended headers.
    "extended-headers" {
    ExtendedWantsStructured = "extended-wants-structured",
        "refuses extended headers to those who have not agreed on structured replies",
        ["ext-opt-alone-supported"],
        |b| b.extended_wants_structured = true;
    StructuredFirst = "structured-first",
        "sends structured replies to those who agreed on both forms", ["ext-all-replies-extended"],
        |b| b.reply_form = ReplyForm::StructuredFirst;
    ExtendedStatusLength = "extended-status-length",
        "sends extended status chunks with 2 bytes too many", ["ext-block-status-ext-length"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusLength);
    ExtendedStatusNone = "extended-status-none",
        "sends extended status chunks without extents", ["ext-block-status-ext-count-nonzero"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusNone);
    ExtendedStatusUnasked = "extended-status-unasked",
        "sends extended status chunks without extended headers", ["ext-block-status-ext-needs-negotiation"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusUnasked);
    ExtendedDataAccepted = "extended-data-accepted",
        "acknowledges `NBD_OPT_EXTENDED_HEADERS` with data", ["ext-opt-data-invalid"],
        |b| b.ignores_data_of = Some(OptionType::EXTENDED_HEADERS);
    StructuredAfterExtended = "structured-after-extended",
        "acknowledges `NBD_OPT_STRUCTURED_REPLY` after extended headers",
        ["ext-structured-after-extended"],
        |b| b.answer_fault = Some(AnswerFault::StructuredAfterExtended);
    StatusPayloadFlag = "status-payload-flag",
        "sets BLOCK_STATUS_PAYLOAD whatever was agreed",
        ["ext-tflag-status-payload-needs-ext", "ext-tflag-status-payload-needs-contexts"],
        |b| b.answer_fault = Some(AnswerFault::StatusPayloadFlag);
    ExtendedOffsetZero = "extended-offset-zero",
        "reports the offset 0 in the headers of extended replies", ["ext-reply-offset-matches"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedOffsetZero);
    ExtendedSimpleReply = "extended-simple-reply",
        "answers all but READ and BLOCK_STATUS with simple replies under extended headers",
        ["ext-no-simple-reply"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedSimpleReply);
    ExtendedCompactChunks = "extended-compact-chunks",
        "answers extended requests with structured reply chunks", ["ext-all-replies-extended"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedCompactChunks);
    ExtendedLengthCut = "extended-length-cut",
        "looks at the lower 32 bits of the length of an extended request", ["ext-length-meaning"],
        |b| b.cuts_lengths = true;
    ExtendedStatusCompact = "extended-status-compact",
        "sends compact status chunks under extended headers", ["ext-block-status-compact-only"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusCompact);
    ExtendedStatusCount = "extended-status-count",
        "counts one extent too many in extended status chunks", ["ext-block-status-ext-count"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusCount);
    ExtendedStatusUpper = "extended-status-upper",
        "sets bit 32 of the status in extended status chunks",
        ["ext-block-status-ext-upper-zero"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusUpper);
    ExtendedStatusEmpty = "extended-status-empty",
        "sends extended status chunks whose first extent is empty",
        ["ext-block-status-ext-extent-nonzero"],
        |b| b.reply_fault = Some(ReplyFault::ExtendedStatusEmpty);
    StatusPayloadIgnored = "status-payload-ignored",
        "reports all contexts whatever the payload of BLOCK_STATUS names",
        ["ext-status-payload-filters"],
        |b| b.filters_contexts = false;
    StatusPayloadUnchecked = "status-payload-unchecked",
        "accepts unknown and repeated ids in the payload of BLOCK_STATUS",
        ["ext-status-payload-bad-einval"],
        |b| b.checks_status_ids = false;
    }

    // NBD_CMD_DISC.
    "end" {
    DiscAnswered = "disc-answered",
        "answers `NBD_CMD_DISC`", ["disc-no-reply"],
        |b| b.disc = Disc::Answered;
    DiscDropsInFlight = "disc-drops-in-flight",
        "drops the requests in flight at `NBD_CMD_DISC`", ["disc-outstanding-handled"],
        |b| b.disc = Disc::DropsInFlight;
    DiscIgnored = "disc-ignored",
        "keeps the connection after `NBD_CMD_DISC`", ["disc-server-closes"],
        |b| b.disc = Disc::Ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_fault_breaks_a_requirement_of_the_catalogue() {
        for fault in Fault::ALL {
            assert!(!fault.expected().is_empty());
            for id in fault.expected() {
                assert!(protocol::requirements::find(id).is_some(), "{fault} names `{id}`");
            }
        }
    }

    #[test]
    fn names_are_unique_and_read_back() {
        let names: HashSet<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(*fault));
        }
        assert!("goo".parse::<Fault>().is_err());
    }
}
