//! Deliberate faults of the client: each breaks one rule, so that whoever judges clients can be
//! judged.

use protocol::values::{Command, CommandFlags as F, InfoType as I, OptionType as O};

use crate::besides::Bytes::{BeforeEnd, Of, OverMaximum};
use crate::besides::Name::{Export, Other};
use crate::besides::When::{AfterAbort, AfterEntry, BeforeEntry, BeforeTls, First};
use crate::besides::{OptionBesides, RequestBesides, Said, Stage};
use crate::habits::{Alignment, Cookies, Habits};
use crate::missteps::{
    DataFault, Entering, Leaving, Minds, Overlooks, Quitting, RequestFault, TlsFault,
};
use crate::rows::faults;

/// A query of 300 bytes.
const LONG_QUERY: &[u8] = &{
    let mut query = [b'a'; 300];
    query[1] = b':';
    query
};

faults! {
    ClientFault, "client", Habits;

    // Greeting and client flags.
    "greeting" {
    FlagsShort = "flags-short",
        "sends its flags with 16 bits", ["handshake-client-flags-width"],
        |h| h.short_flags = true;
    FlagsSpare = "flags-spare",
        "sets bit 2 of its flags", ["client-flags-no-others"],
        |h| h.spare_flags = 1 << 2;
    NoZeroesPresumed = "no-zeroes-presumed",
        "sets NO_ZEROES and FIXED_NEWSTYLE whatever is offered",
        ["client-flags-no-zeroes-offered-only", "newstyle-nonfixed-one-option"],
        |h| h.presumes_flags = true;
    FixedUnset = "fixed-unset",
        "does not set FIXED_NEWSTYLE", ["handshake-client-sets-fixed"],
        |h| h.fixed_newstyle = false;
    GreetingFlagsMinded = "greeting-flags-minded",
        "leaves servers that set unknown handshake flags", ["handshake-client-ignores-unknown-flags"],
        |h| h.minds = Some(Minds::SpareGreetingFlags);
    GreetingUnchecked = "greeting-unchecked",
        "does not look at the magics of the greeting", ["baseline-notls"],
        |h| h.overlooks = Some(Overlooks::GreetingMagic);
    }

    // Options in general.
    "options" {
    OptionMagic = "option-magic",
        "begins an option with another magic", ["option-request-layout"],
        |h| h.options_besides.push(OptionBesides {
            magic: 0x4948_4156_454f_5055, awaited: false, ..OptionBesides::empty(First, O::LIST)
        });
    OptionsTwoAtOnce = "options-two-at-once",
        "sends an option before the reply to the one before", ["option-one-outstanding"],
        |h| {
            h.options_besides.push(OptionBesides {
                awaited: false, ..OptionBesides::empty(First, O::LIST)
            });
        };
    StructuredTwice = "structured-twice",
        "asks for structured replies twice", ["option-no-repeat-state-change"],
        |h| {
            h.extended_headers = false;
            h.options_besides.push(OptionBesides::empty(BeforeEntry, O::STRUCTURED_REPLY));
        };
    PeekExport = "peek-export",
        "sends the withdrawn `NBD_OPT_PEEK_EXPORT`", ["opt-peek-export-withdrawn"],
        |h| h.options_besides.push(OptionBesides::empty(First, O::PEEK_EXPORT));
    NameWithNul = "name-with-nul",
        "asks about a name that ends with a zero byte", ["string-no-nul"],
        |h| h.options_besides.push(OptionBesides::new(First, O::INFO, Said::Info(Other(b"disk\0"), &[])));
    NameNotUtf8 = "name-not-utf8",
        "asks about a name that is not UTF-8", ["string-utf8"],
        |h| h.options_besides.push(OptionBesides::new(First, O::INFO, Said::Info(Other(b"d\xefsk"), &[])));
    NameTooLong = "name-too-long",
        "asks about a name of 5000 bytes", ["string-hard-limit-4096"],
        |h| h.options_besides.push(OptionBesides::new(First, O::INFO, Said::Info(Other(&[b'n'; 5000]), &[])));
    ListWithData = "list-with-data",
        "sends data with `NBD_OPT_LIST`", ["opt-list-no-data"],
        |h| h.options_besides.push(OptionBesides::new(First, O::LIST, Said::Data(b"all")));
    ListNever = "list-never",
        "says that it can't list exports", ["baseline-list"],
        |h| h.data_fault = Some(DataFault::FailsLists);
    ListDescriptionsMinded = "list-descriptions-minded",
        "gives up where exports are listed with descriptions", ["rep-server-details-are-text"],
        |h| h.minds = Some(Minds::Descriptions);
    ListLongNamesMinded = "list-long-names-minded",
        "gives up where exports with names of more than 256 bytes are listed",
        ["string-hard-limit-4096"],
        |h| h.minds = Some(Minds::LongNames);
    StructuredWithData = "structured-with-data",
        "sends data with `NBD_OPT_STRUCTURED_REPLY`", ["opt-structured-no-data"],
        |h| h.options_besides.push(OptionBesides::new(First, O::STRUCTURED_REPLY, Said::Data(b"1")));
    StructuredNeeded = "structured-needed",
        "leaves servers without structured replies", ["opt-structured-client-handles-unsup"],
        |h| h.minds = Some(Minds::NoStructured);
    OptionsEndRefused = "options-end-refused",
        "hangs up where a server does not answer `NBD_OPT_ABORT`, and says that it failed",
        ["opt-abort-client-tolerates-close"],
        |h| h.minds = Some(Minds::UnansweredAbort);
    AbortWithData = "abort-with-data",
        "sends data with `NBD_OPT_ABORT`", ["opt-abort-no-data"],
        |h| h.quitting = Quitting::AbortWithData;
    AbortAndMore = "abort-and-more",
        "sends another option after `NBD_OPT_ABORT`", ["opt-abort-client-closes"],
        |h| h.options_besides.push(OptionBesides::empty(AfterAbort, O::LIST));
    QuitsHard = "quits-hard",
        "hangs up instead of sending `NBD_OPT_ABORT`",
        ["session-client-quits-softly", "baseline-abort"],
        |h| h.quitting = Quitting::Close;
    ShutdownUnheeded = "shutdown-unheeded",
        "sends another option after `NBD_REP_ERR_SHUTDOWN`", ["session-client-aborts-on-shutdown"],
        |h| h.entering = Entering::ByNameAfterRefusal;
    ShutdownQuitsHard = "shutdown-quits-hard",
        "hangs up at `NBD_REP_ERR_SHUTDOWN`", ["session-client-aborts-on-shutdown"],
        |h| h.quitting = Quitting::CloseAtShutdown;
    }

    // NBD_OPT_EXPORT_NAME, NBD_OPT_INFO and NBD_OPT_GO.
    "entering" {
    ExportNameFirst = "export-name-first",
        "enters by `NBD_OPT_EXPORT_NAME` without trying `NBD_OPT_GO`", ["opt-go-preferred"],
        |h| h.go = false;
    ExportNameCounted = "export-name-counted",
        "puts a count before the name in `NBD_OPT_EXPORT_NAME`", ["opt-export-name-request-layout"],
        |h| { h.go = false; h.entering = Entering::CountedName; };
    ExportNameNever = "export-name-never",
        "gives up where `NBD_OPT_GO` is not known", ["opt-go-fallback"],
        |h| h.entering = Entering::NeverByName;
    ExportNameAfterRefusal = "export-name-after-refusal",
        "tries `NBD_OPT_EXPORT_NAME` where `NBD_OPT_GO` was refused", ["size-client-uses-go"],
        |h| h.entering = Entering::ByNameAfterRefusal;
    ExportNameEndTaken = "export-name-end-taken",
        "takes the end of the stream for the answer to `NBD_OPT_EXPORT_NAME`",
        ["opt-export-name-refusal-closes"],
        |h| { h.go = false; h.entering = Entering::EndIsAnswer; };
    ExportNameWithSlash = "export-name-with-slash",
        "leaves the slash of the URI in the export's name", ["uri-export-name"],
        |h| h.entering = Entering::SlashBeforeName;
    EntersNever = "enters-never",
        "never enters an export, and says that all went well", ["baseline-info-go"],
        |h| { h.entering = Entering::Never; h.claims_success = true; };
    InfoTrailingBytes = "info-trailing-bytes",
        "sends bytes after the last information request", ["opt-info-go-layout"],
        |h| h.options_besides.push(OptionBesides::new(First, O::INFO, Said::Data(b"\0\0\0\0\0\0\0\x03")));
    InfoNameOverrun = "info-name-overrun",
        "counts a name longer than the data of `NBD_OPT_INFO`", ["opt-info-go-name-length"],
        |h| h.options_besides.push(OptionBesides::new(First, O::INFO, Said::Data(b"\0\0\0\x09disk\0\0")));
    InfoRequestTwice = "info-request-twice",
        "requests the same information twice", ["opt-info-no-duplicate-requests"],
        |h| h.wants = &[I::NAME, I::DESCRIPTION, I::NAME];
    InfoUnknownMinded = "info-unknown-minded",
        "leaves servers that send unknown information", ["opt-info-client-ignores-unknown"],
        |h| h.minds = Some(Minds::UnknownInfo);
    InfoOrderMinded = "info-order-minded",
        "leaves servers that do not send `NBD_INFO_EXPORT` first", ["info-client-no-order"],
        |h| h.minds = Some(Minds::InfoOrder);
    BlockSizeUnasked = "block-size-unasked",
        "does not ask for the size constraints", ["interop-client-queries-block-size"],
        |h| h.block_size = false;
    BlockSizeForgotten = "block-size-forgotten",
        "asks for the size constraints with `NBD_OPT_INFO`, and not with `NBD_OPT_GO`",
        ["size-client-requests-block-size"],
        |h| {
            h.block_size = false;
            let info = Said::Info(Export, &[I::BLOCK_SIZE]);
            h.options_besides.push(OptionBesides::new(BeforeEntry, O::INFO, info));
        };
    TransmissionFlagsMinded = "transmission-flags-minded",
        "leaves servers that set unknown transmission flags", ["tflag-client-ignores-unknown"],
        |h| h.minds = Some(Minds::SpareTransmissionFlags);
    GoRefusalIgnored = "go-refusal-ignored",
        "takes any final reply to `NBD_OPT_GO` for the ACK", ["option-request-layout"],
        |h| h.entering = Entering::AnyReply;
    GoNotAwaited = "go-not-awaited",
        "sends a request before the final reply to `NBD_OPT_GO`", ["option-request-layout"],
        |h| h.entering = Entering::Early;
    GoAndMore = "go-and-more",
        "sends an option after the ACK of `NBD_OPT_GO`", ["opt-go-client-no-more-options"],
        |h| h.options_besides.push(OptionBesides {
            awaited: false, ..OptionBesides::empty(AfterEntry, O::LIST)
        });
    }

    // Metadata contexts.
    "contexts" {
    ContextListEarly = "context-list-early",
        "lists contexts before structured replies are agreed", ["opt-list-meta-client-structured-first"],
        |h| h.options_besides.push(OptionBesides::new(First, O::LIST_META_CONTEXT, Said::Meta(Export, &[])));
    ContextSetEarly = "context-set-early",
        "selects contexts before structured replies are agreed", ["opt-set-meta-needs-structured"],
        |h| h.options_besides.push(
            OptionBesides::new(First, O::SET_META_CONTEXT, Said::Meta(Export, &[b"base:allocation"]))
        );
    ContextLayout = "context-layout",
        "counts one query more than there is", ["opt-meta-request-layout"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::SET_META_CONTEXT, Said::Data(b"\0\0\0\x04disk\0\0\0\x01"))
        );
    ContextQueryBare = "context-query-bare",
        "sends a query without a namespace", ["opt-meta-query-form"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::LIST_META_CONTEXT, Said::Meta(Export, &[b"allocation"]))
        );
    ContextNamespaceBlank = "context-namespace-blank",
        "sends a query whose namespace has a blank", ["meta-namespace-characters"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::LIST_META_CONTEXT, Said::Meta(Export, &[b"x none:a"]))
        );
    ContextQueryNotUtf8 = "context-query-not-utf8",
        "sends a query that is not UTF-8", ["string-utf8"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::LIST_META_CONTEXT, Said::Meta(Export, &[b"x-none:\xff"]))
        );
    ContextQueryLong = "context-query-long",
        "sends a query of 300 bytes", ["string-soft-limit-256"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::LIST_META_CONTEXT, Said::Meta(Export, &[LONG_QUERY]))
        );
    ContextQueryTooLong = "context-query-too-long",
        "sends a query of 5000 bytes", ["string-hard-limit-4096"],
        |h| h.options_besides.push(
            OptionBesides::new(BeforeEntry, O::LIST_META_CONTEXT, Said::Meta(Export, &[&[b':'; 5000]]))
        );
    ContextIdsSmall = "context-ids-small",
        "keeps 16 bits of the ids of contexts", ["opt-set-meta-client-id-opaque"],
        |h| h.minds = Some(Minds::LargeContextIds);
    ContextLost = "context-lost",
        "asks for block status after another selection, of nothing", ["status-client-needs-context"],
        |h| {
            h.base_allocation = true;
            h.options_besides.push(
                OptionBesides::new(BeforeEntry, O::SET_META_CONTEXT, Said::Meta(Export, &[]))
            );
            h.requests_besides.push(RequestBesides::new(Command::BLOCK_STATUS, Of(0), Of(512)));
        };
    ContextOfOther = "context-of-other",
        "asks for block status after a selection for another export", ["status-client-needs-context"],
        |h| {
            h.options_besides.push(
                OptionBesides::new(BeforeEntry, O::SET_META_CONTEXT, Said::Meta(Other(b"other"), &[b"base:allocation"]))
            );
            h.requests_besides.push(RequestBesides::new(Command::BLOCK_STATUS, Of(0), Of(512)));
        };
    StatusBitsMinded = "status-bits-minded",
        "gives up where unknown bits of a status are set", ["base-alloc-client-ignores-unknown-bits"],
        |h| h.minds = Some(Minds::SpareStatusBits);
    StatusNeighboursMinded = "status-neighbours-minded",
        "gives up where neighbouring extents have the same status", ["status-client-equal-neighbours"],
        |h| h.minds = Some(Minds::EqualNeighbours);
    }

    // NBD_OPT_STARTTLS.
    "tls" {
    TlsAtOnce = "tls-at-once",
        "begins TLS before the greeting", ["tls-via-starttls-upgrade"],
        |h| h.tls_fault = Some(TlsFault::AtOnce);
    TlsAfterOptions = "tls-after-options",
        "lists exports before it asks for TLS",
        ["tls-client-starttls-first", "tls-client-secures-before-sensitive"],
        |h| h.options_besides.push(OptionBesides::empty(BeforeTls, O::LIST));
    TlsAfterStructured = "tls-after-structured",
        "asks for structured replies before it asks for TLS", ["opt-starttls-client-defers-state"],
        |h| h.options_besides.push(OptionBesides::empty(BeforeTls, O::STRUCTURED_REPLY));
    TlsStructuredCarried = "tls-structured-carried",
        "uses structured replies inside TLS that were agreed before", ["opt-structured-renegotiated-after-tls"],
        |h| {
            h.options_besides.push(OptionBesides::empty(BeforeTls, O::STRUCTURED_REPLY));
            h.structured_reply = false;
            h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(512)).with(F::DF));
        };
    TlsExtendedCarried = "tls-extended-carried",
        "uses extended headers inside TLS that were agreed before", ["ext-renegotiated-after-tls"],
        |h| {
            h.options_besides.push(OptionBesides::empty(BeforeTls, O::EXTENDED_HEADERS));
            h.structured_reply = false;
            h.request_fault = Some(RequestFault::ExtendedUnasked);
        };
    StarttlsWithData = "starttls-with-data",
        "sends data with `NBD_OPT_STARTTLS`", ["opt-starttls-no-data"],
        |h| h.options_besides.push(OptionBesides::new(First, O::STARTTLS, Said::Data(b"1.3")));
    StarttlsNotFixed = "starttls-not-fixed",
        "asks for TLS where fixed newstyle was not agreed", ["tls-client-starttls-needs-fixed"],
        |h| h.tls_fault = Some(TlsFault::NotFixed);
    StarttlsTwice = "starttls-twice",
        "asks for TLS inside TLS", ["tls-client-no-second-starttls"],
        |h| h.tls_fault = Some(TlsFault::Twice);
    StarttlsAnyReply = "starttls-any-reply",
        "begins TLS whatever the answer is", ["tls-via-starttls-upgrade"],
        |h| h.tls_fault = Some(TlsFault::AnyReply);
    StarttlsRefusalIgnored = "starttls-refusal-ignored",
        "goes on in the clear where TLS is refused, though it is demanded",
        ["uri-secure-scheme-uses-tls", "tls-client-only-tls-leaves-on-error"],
        |h| h.tls_fault = Some(TlsFault::PlainAfterRefusal);
    TlsPlainAfterAck = "tls-plain-after-ack",
        "goes on in the clear after the ACK", ["tls-client-upgrades-on-ack"],
        |h| h.tls_fault = Some(TlsFault::PlainAfterAck);
    TlsLeavesAtAck = "tls-leaves-at-ack",
        "hangs up at the ACK", ["tls-client-upgrades-on-ack"],
        |h| h.tls_fault = Some(TlsFault::LeavesAtAck);
    TlsPlainAfterFailure = "tls-plain-after-failure",
        "goes on in the clear after a failed handshake", ["tls-client-ends-on-failed-handshake"],
        |h| h.tls_fault = Some(TlsFault::PlainAfterFailure);
    TlsUnverified = "tls-unverified",
        "does not verify the server", ["uri-tls-verify-default"],
        |h| h.tls_fault = Some(TlsFault::Unverified);
    TlsOnly12 = "tls-only-1-2",
        "knows TLS 1.2 only", ["tls-version-later"],
        |h| h.tls_fault = Some(TlsFault::Only12);
    TlsOnly13 = "tls-only-1-3",
        "knows TLS 1.3 only", ["tls-version-1-2"],
        |h| h.tls_fault = Some(TlsFault::Only13);
    TlsTorn = "tls-torn",
        "hangs up without a word, and without ending TLS", ["session-hard-disconnect-tls-first"],
        |h| h.leaving = Leaving::Torn;
    }

    // Requests.
    "requests" {
    RequestMagicOther = "request-magic-other",
        "begins requests with a magic of its own", ["request-layout"],
        |h| h.request_fault = Some(RequestFault::OtherMagic);
    RequestMagicOld = "request-magic-old",
        "begins requests with a magic of the past", ["magic-historic-not-used"],
        |h| h.request_fault = Some(RequestFault::OldMagic);
    RequestMagicExtended = "request-magic-extended",
        "sends extended requests that were not agreed", ["magic-extended-only-negotiated"],
        |h| { h.extended_headers = false; h.request_fault = Some(RequestFault::ExtendedUnasked); };
    RequestLittleEndian = "request-little-endian",
        "sends the magic of a request in little-endian order", ["wire-big-endian"],
        |h| h.request_fault = Some(RequestFault::LittleEndian);
    OffsetsCut = "offsets-cut",
        "keeps 32 bits of an offset", ["request-layout"],
        |h| h.request_fault = Some(RequestFault::CutsOffsets);
    CookiesEqual = "cookies-equal",
        "gives requests in flight the same cookie", ["cookie-distinct-inflight"],
        |h| { h.pipelines = true; h.cookies = Cookies::Always(7); };
    RequestBeyondEnd = "request-beyond-end",
        "reads beyond the end", ["request-within-export"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, BeforeEnd(512), Of(1024)));
    SizeRoundedUp = "size-rounded-up",
        "takes the size of an export for a multiple of 512", ["request-within-export"],
        |h| h.data_fault = Some(DataFault::RoundsSizeUp);
    RequestUnaligned = "request-unaligned",
        "reads less than the minimum block size", ["request-aligned-to-min"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(512), Of(512)));
    AlignmentIgnored = "alignment-ignored",
        "does not look at the minimum block size", ["request-aligned-to-min"],
        |h| {
            h.alignment = Alignment::Ignore;
            h.requests_besides.push(RequestBesides::new(Command::READ, Of(1536), Of(1024)));
        };
    RequestTiny = "request-tiny",
        "reads 100 bytes where no size constraints are told", ["size-client-portable-min-512"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(100), Of(100)));
    PayloadUnlimited = "payload-unlimited",
        "reads and writes as much at once as there is", ["size-client-portable-max-32-mib"],
        |h| h.request_fault = Some(RequestFault::Unlimited);
    PayloadOverMaximum = "payload-over-maximum",
        "writes more at once than the maximum payload", ["size-client-payload-limit"],
        |h| h.requests_besides.push(RequestBesides::new(Command::WRITE, Of(0), OverMaximum(4096)));
    FlagSpare = "flag-spare",
        "sets bit 9 of the command flags", ["cmdflag-documented-only"],
        |h| h.request_fault = Some(RequestFault::SpareFlag);
    CommandUnknown = "command-unknown",
        "sends a command that nobody knows", ["baseline-client-negotiates-rest"],
        |h| h.requests_besides.push(RequestBesides::new(Command(0x1234), Of(0), Of(512)));
    CommandResize = "command-resize",
        "sends `NBD_CMD_RESIZE`", ["tflag-resize-experimental"],
        |h| h.requests_besides.push(RequestBesides::new(Command::RESIZE, Of(0), Of(1 << 20)));
    FuaOnReads = "fua-on-reads",
        "sets FUA on a read", ["cmdflag-fua-writes-only"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(512)).with(F::FUA));
    FuaNotOffered = "fua-not-offered",
        "sets FUA on writes whether it is offered or not", ["tflag-client-needs-flag"],
        |h| h.request_fault = Some(RequestFault::FuaAlways);
    DfNotAgreed = "df-not-agreed",
        "sets DF where structured replies were not agreed", ["opt-structured-extensions-client"],
        |h| {
            h.structured_reply = false;
            h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(512)).with(F::DF));
        };
    DfNotOffered = "df-not-offered",
        "sets DF whether it is offered or not", ["cmdflag-df-needs-tflag"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(512)).with(F::DF));
    FastZeroNotOffered = "fast-zero-not-offered",
        "sets FAST_ZERO whether it is offered or not", ["cmdflag-fast-zero-needs-tflag"],
        |h| h.request_fault = Some(RequestFault::FastZeroAlways);
    FlushNotOffered = "flush-not-offered",
        "flushes whether that is offered or not", ["flush-client-needs-flag"],
        |h| h.requests_besides.push(RequestBesides::new(Command::FLUSH, Of(0), Of(0)));
    FlushWithLength = "flush-with-length",
        "sends `NBD_CMD_FLUSH` with a length", ["flush-zero-fields"],
        |h| h.request_fault = Some(RequestFault::FlushEverywhere);
    FlushSkipped = "flush-skipped",
        "says that it has flushed, and has not", ["interop-flush-fua"],
        |h| h.data_fault = Some(DataFault::FlushesNot);
    TrimNotOffered = "trim-not-offered",
        "trims whether that is offered or not", ["trim-client-needs-flag"],
        |h| h.requests_besides.push(RequestBesides::new(Command::TRIM, Of(0), Of(512)));
    ZeroesNotOffered = "zeroes-not-offered",
        "sends `NBD_CMD_WRITE_ZEROES` whether that is offered or not", ["write-zeroes-client-needs-flag"],
        |h| h.requests_besides.push(RequestBesides::new(Command::WRITE_ZEROES, Of(0), Of(512)));
    ReadEmpty = "read-empty",
        "reads nothing", ["read-zero-length-client"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(0)));
    WriteEmpty = "write-empty",
        "writes nothing", ["write-zero-length-client"],
        |h| h.requests_besides.push(RequestBesides::new(Command::WRITE, Of(0), Of(0)));
    TrimEmpty = "trim-empty",
        "trims nothing", ["trim-zero-length-client"],
        |h| h.requests_besides.push(RequestBesides::new(Command::TRIM, Of(0), Of(0)));
    ZeroesEmpty = "zeroes-empty",
        "zeroes nothing", ["write-zeroes-zero-length-client"],
        |h| h.requests_besides.push(RequestBesides::new(Command::WRITE_ZEROES, Of(0), Of(0)));
    StatusEmpty = "status-empty",
        "asks for the status of nothing", ["status-zero-length-client"],
        |h| {
            h.base_allocation = true;
            h.requests_besides.push(RequestBesides::new(Command::BLOCK_STATUS, Of(0), Of(0)));
        };
    StatusWithoutContext = "status-without-context",
        "asks for block status without a context", ["status-client-needs-context"],
        |h| h.requests_besides.push(RequestBesides::new(Command::BLOCK_STATUS, Of(0), Of(512)));
    WritePayloadLong = "write-payload-long",
        "sends a byte more than it announces", ["write-client-payload"],
        |h| h.request_fault = Some(RequestFault::PayloadLong);
    WriteSkipped = "write-skipped",
        "says that it has written, and has not", ["baseline-write"],
        |h| h.data_fault = Some(DataFault::WritesNothing);
    WriteElsewhere = "write-elsewhere",
        "writes 512 bytes too far", ["baseline-write"],
        |h| h.data_fault = Some(DataFault::WritesElsewhere);
    WriteGarbled = "write-garbled",
        "writes other data than it was given", ["baseline-write"],
        |h| h.data_fault = Some(DataFault::WritesGarbled);
    WriteHalf = "write-half",
        "writes half of what it was given", ["baseline-write"],
        |h| h.data_fault = Some(DataFault::WritesHalf);
    ZeroesSkipped = "zeroes-skipped",
        "says that it has zeroed, and has not", ["baseline-write"],
        |h| h.data_fault = Some(DataFault::ZeroesNot);
    }

    // Replies.
    "replies" {
    ReadShifted = "read-shifted",
        "puts what it has read in the wrong place", ["baseline-read"],
        |h| h.data_fault = Some(DataFault::ReadsShifted);
    ReadHalf = "read-half",
        "keeps half of what it has read", ["baseline-read"],
        |h| h.data_fault = Some(DataFault::ReadsLess);
    ReplyMagicUnchecked = "reply-magic-unchecked",
        "does not look at the magic of replies", ["baseline-simple-replies"],
        |h| h.overlooks = Some(Overlooks::ReplyMagic);
    ReplyCookieUnchecked = "reply-cookie-unchecked",
        "does not look at the cookie of replies", ["baseline-simple-replies"],
        |h| h.overlooks = Some(Overlooks::Cookies);
    ReplyErrorsIgnored = "reply-errors-ignored",
        "takes failed requests for done", ["baseline-simple-replies", "baseline-write"],
        |h| h.overlooks = Some(Overlooks::Errors);
    ReplyErrorsUnknownIgnored = "reply-errors-unknown-ignored",
        "takes requests that failed with an unknown error for done", ["error-client-unexpected-as-einval"],
        |h| h.overlooks = Some(Overlooks::UnknownErrors);
    WriteErrorsIgnored = "write-errors-ignored",
        "takes failed writes for done", ["baseline-write"],
        |h| h.overlooks = Some(Overlooks::Writes);
    EndTaken = "end-taken",
        "takes the end of the stream for all answers that are missing",
        ["baseline-read", "baseline-write"],
        |h| h.overlooks = Some(Overlooks::Closes);
    ErrorChunksIgnored = "error-chunks-ignored",
        "passes over error chunks", ["structured-success-means-no-error-chunk"],
        |h| h.overlooks = Some(Overlooks::ErrorChunks);
    ErrorsAfterDataIgnored = "errors-after-data-ignored",
        "takes a read for done that failed after some data", ["structured-success-means-no-error-chunk", "chunk-error-client-no-assumption"],
        |h| h.overlooks = Some(Overlooks::ErrorsAfterData);
    ErrorChunksUnknownIgnored = "error-chunks-unknown-ignored",
        "passes over error chunks of an unknown type", ["chunk-client-unknown-error-fails-request"],
        |h| h.overlooks = Some(Overlooks::UnknownErrorChunks);
    ChunksUnfitIgnored = "chunks-unfit-ignored",
        "passes over chunks of unknown and unfit types", ["chunk-client-unknown-type-closes"],
        |h| h.overlooks = Some(Overlooks::UnfitChunks);
    ChunksOutOfBounds = "chunks-out-of-bounds",
        "takes data outside of the range that it asked for", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::OutOfBounds);
    ChunksOverlapping = "chunks-overlapping",
        "takes the same data twice", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::Overlap);
    ChunksMissing = "chunks-missing",
        "does not notice that data is missing", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::Missing);
    ChunksMalformed = "chunks-malformed",
        "passes over chunks that do not have the layout of their type", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::Layouts);
    ReadSimpleTaken = "read-simple-taken",
        "takes simple replies to reads although structured ones were agreed",
        ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::SimpleReads);
    ChunksInOrder = "chunks-in-order",
        "wants chunks in the order of their offsets", ["read-client-reassembles"],
        |h| h.minds = Some(Minds::ChunkOrder);
    HolesMinded = "holes-minded",
        "gives up where a server sends holes", ["read-client-reassembles"],
        |h| h.minds = Some(Minds::Holes);
    EmptyLastMinded = "empty-last-minded",
        "gives up where the last chunk of a read is empty", ["chunk-none-success"],
        |h| h.minds = Some(Minds::EmptyLastChunk);
    ReplyFlagsMinded = "reply-flags-minded",
        "gives up where unknown flags of a chunk are set", ["replyflag-client-ignores-unknown"],
        |h| h.minds = Some(Minds::SpareReplyFlags);
    }

    // The extension.
    "extended-headers" {
    ExtendedNeeded = "extended-needed",
        "leaves servers without extended headers", ["ext-client-handles-unsup"],
        |h| h.minds = Some(Minds::NoExtended);
    ExtendedWithData = "extended-with-data",
        "sends data with `NBD_OPT_EXTENDED_HEADERS`", ["ext-opt-no-data"],
        |h| h.options_besides.push(OptionBesides::new(First, O::EXTENDED_HEADERS, Said::Data(b"1")));
    ExtendedExportName = "extended-export-name",
        "enters by `NBD_OPT_EXPORT_NAME` though extended headers were agreed", ["ext-export-name-forbidden"],
        |h| h.entering = Entering::ByNameAfterExtended;
    ExtendedCompactRequests = "extended-compact-requests",
        "sends compact requests though extended headers were agreed",
        ["ext-client-uses-extended-requests"],
        |h| h.request_fault = Some(RequestFault::CompactUnderExtended);
    ExtendedWriteUnmarked = "extended-write-unmarked",
        "leaves PAYLOAD_LEN out of extended writes", ["ext-write-payload-flag"],
        |h| h.request_fault = Some(RequestFault::NoPayloadFlag);
    ExtendedPayloadEmpty = "extended-payload-empty",
        "sets PAYLOAD_LEN on a write of nothing", ["ext-payload-nonzero"],
        |h| h.requests_besides.push(
            RequestBesides::new(Command::WRITE, Of(0), Of(0)).with(F::PAYLOAD_LEN)
        );
    PayloadFlagCompact = "payload-flag-compact",
        "sets PAYLOAD_LEN on a compact request", ["ext-compact-no-payload-flag"],
        |h| {
            h.extended_headers = false;
            h.requests_besides.push(
                RequestBesides::new(Command::READ, Of(0), Of(512)).with(F::PAYLOAD_LEN)
            );
        };
    StatusPayloadNotOffered = "status-payload-not-offered",
        "names contexts in block status whether that is offered or not",
        ["ext-status-payload-client-needs-tflag"],
        |h| h.request_fault = Some(RequestFault::NamesContexts);
    StatusPayloadOdd = "status-payload-odd",
        "sends a payload of block status that has 2 bytes too many", ["ext-status-payload-form"],
        |h| h.request_fault = Some(RequestFault::NamesContextsOdd);
    ExtendedReadHuge = "extended-read-huge",
        "reads 4 GiB at once", ["ext-read-client-32-bit"],
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Of(1 << 32)));
    ExtendedSimpleTaken = "extended-simple-taken",
        "takes simple replies although extended headers were agreed", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::SimpleUnderExtended);
    ExtendedCompactStatusTaken = "extended-compact-status-taken",
        "takes compact status chunks although extended headers were agreed",
        ["chunk-client-unknown-type-closes"],
        |h| h.overlooks = Some(Overlooks::CompactStatus);
    ExtentsEmptyTaken = "extents-empty-taken",
        "takes extents without length", ["chunk-client-inconsistent-closes"],
        |h| h.overlooks = Some(Overlooks::EmptyExtents);
    }

    // NBD_CMD_DISC.
    "end" {
    DiscNever = "disc-never",
        "hangs up instead of sending `NBD_CMD_DISC`", ["session-no-unjustified-hard-disconnect", "baseline-disc"],
        |h| h.leaving = Leaving::Close;
    DiscInFlight = "disc-in-flight",
        "sends `NBD_CMD_DISC` before the reply to a read", ["term-client-disc-when-idle"],
        |h| h.leaving = Leaving::InFlight;
    DiscWithLength = "disc-with-length",
        "sends `NBD_CMD_DISC` with a length", ["disc-zero-fields"],
        |h| h.leaving = Leaving::DiscWithLength;
    DiscAndMore = "disc-and-more",
        "sends a read after `NBD_CMD_DISC`", ["disc-client-silent-after"],
        |h| h.requests_besides.push(
            RequestBesides::new(Command::READ, Of(0), Of(512)).at(Stage::AfterDisc)
        );
    ShutdownHangsUp = "shutdown-hangs-up",
        "hangs up at `NBD_ESHUTDOWN`", ["term-client-disc-on-eshutdown"],
        |h| h.leaving = Leaving::CloseAtShutdown;
    ShutdownReads = "shutdown-reads",
        "reads once more after `NBD_ESHUTDOWN`", ["term-client-disc-on-eshutdown"],
        |h| h.leaving = Leaving::ReadsAtShutdown;
    }
}

impl ClientFault {
    /// How a client with this fault behaves.
    #[must_use]
    pub fn habits(self) -> Habits {
        let mut habits = Habits::DEFAULT;
        self.change()(&mut habits);
        habits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_fault_breaks_a_requirement_of_the_catalogue_and_changes_something() {
        for fault in ClientFault::ALL {
            for id in fault.expected() {
                assert!(protocol::requirements::find(id).is_some(), "{fault} names `{id}`");
            }
            assert_ne!(fault.habits(), Habits::DEFAULT, "{fault}");
        }
    }

    #[test]
    fn there_are_at_least_ninety_and_names_read_back() {
        let names: HashSet<_> = ClientFault::ALL.iter().map(|fault| fault.name()).collect();
        assert!(names.len() >= 90 && names.len() == ClientFault::ALL.len(), "{}", names.len());
        for fault in ClientFault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(*fault));
        }
    }
}
