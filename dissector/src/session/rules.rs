//! Which requirements of the catalogue the judge checks, and what becomes of the others that can be
//! seen on the wire.

use std::sync::LazyLock;

use protocol::message::Side;
use protocol::requirements::{self, Requirement};

macro_rules! rules {
    ($($rule:ident = $id:literal;)*) => {
        /// A requirement that the judge checks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = concat!("`", $id, "`.")] $rule,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The catalogue's id.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$rule => const { requirements::known($id) },)*
                }
            }
        }
    };
}

rules! {
    // Conventions.
    WireBigEndian = "wire-big-endian";
    StringUtf8 = "string-utf8";
    StringNoNul = "string-no-nul";
    StringSoftLimit = "string-soft-limit-256";
    StringHardLimit = "string-hard-limit-4096";
    // Greeting and client flags.
    OldstyleGreetingLayout = "oldstyle-greeting-layout";
    OldstyleReservedZero = "oldstyle-reserved-zero";
    OldstyleNoHandshakeFlags = "oldstyle-no-handshake-flags";
    GreetingLayout = "handshake-greeting-layout";
    ClientFlagsWidth = "handshake-client-flags-width";
    FixedNewstyleFlag = "handshake-fixed-newstyle-flag";
    ClientSetsFixed = "handshake-client-sets-fixed";
    HandshakeFlagsNoOthers = "handshake-flags-no-others";
    ClientNoZeroesOfferedOnly = "client-flags-no-zeroes-offered-only";
    ClientFlagsNoOthers = "client-flags-no-others";
    // Options as such.
    NonfixedOneOption = "newstyle-nonfixed-one-option";
    OptionRequestLayout = "option-request-layout";
    OptionReplyLayout = "option-reply-layout";
    ReplyEchoesOption = "option-reply-echoes-option";
    ReplyOneFinal = "option-reply-one-final";
    OptionOneOutstanding = "option-one-outstanding";
    OptionNoRepeat = "option-no-repeat-state-change";
    ClosesOnUnknownFlags = "handshake-server-closes-on-unknown-client-flags";
    ServerErrorsOptions = "session-server-errors-options";
    BaselineList = "baseline-list";
    ListDataInvalid = "opt-list-data-invalid";
    OthersNeedFixed = "opt-others-need-fixed-newstyle";
    // EXPORT_NAME.
    PeekExportWithdrawn = "opt-peek-export-withdrawn";
    ExportNameRequestLayout = "opt-export-name-request-layout";
    ExportNameReplyLayout = "opt-export-name-reply-layout";
    ExportNamePaddingZero = "opt-export-name-padding-zero";
    NoZeroesHonoured = "handshake-no-zeroes-honoured";
    GoPreferred = "opt-go-preferred";
    SizeClientUsesGo = "size-client-uses-go";
    // Options without data.
    AbortNoData = "opt-abort-no-data";
    ListNoData = "opt-list-no-data";
    StarttlsNoData = "opt-starttls-no-data";
    StructuredNoData = "opt-structured-no-data";
    ExtendedHeadersNoData = "ext-opt-no-data";
    // LIST.
    ListReply = "opt-list-reply";
    ServerNameLength = "rep-server-name-length";
    ServerDetailsAreText = "rep-server-details-are-text";
    // STARTTLS, and how TLS begins and ends.
    StarttlsReply = "opt-starttls-reply";
    StarttlsDefersState = "opt-starttls-client-defers-state";
    StarttlsNeedsFixed = "tls-client-starttls-needs-fixed";
    NoSecondStarttls = "tls-client-no-second-starttls";
    NoTlsReqdInsideTls = "tls-no-tls-reqd-inside-tls";
    TlsViaStarttls = "tls-via-starttls-upgrade";
    NoPlaintextAfterAck = "tls-no-plaintext-after-ack";
    StarttlsTwiceInvalid = "tls-starttls-twice-invalid";
    StarttlsAcked = "tls-starttls-acked";
    NotlsNoTlsReqd = "tls-notls-no-tls-reqd";
    ForcedErrorsOthers = "tls-forced-error-other-options";
    SelectiveTlsReqdScope = "tls-selective-tls-reqd-scope";
    ClientUpgradesOnAck = "tls-client-upgrades-on-ack";
    HardDisconnectTlsFirst = "session-hard-disconnect-tls-first";
    // INFO and GO.
    DescriptionMatchesList = "info-description-matches-list";
    InfoGoLayout = "opt-info-go-layout";
    InfoGoNameLength = "opt-info-go-name-length";
    InfoNoDuplicateRequests = "opt-info-no-duplicate-requests";
    InfoReplySequence = "opt-info-reply-sequence";
    InfoExportRequired = "opt-info-export-required";
    InfoUnknownNoInfo = "opt-info-unknown-no-info";
    BlockSizeReqdNotIfRequested = "block-size-reqd-not-if-requested";
    BlockSizeReqdTellsFirst = "block-size-reqd-tells-sizes-first";
    InfoGoConsistent = "opt-info-go-consistent";
    GoNoPadding = "opt-go-no-padding";
    GoNoMoreOptions = "opt-go-client-no-more-options";
    ClientRequestsBlockSize = "size-client-requests-block-size";
    InteropQueriesBlockSize = "interop-client-queries-block-size";
    InfoTypeOnce = "info-type-once";
    InfoLayout = "info-layout";
    InfoExportLength = "info-export-length";
    InfoBlockSizeLength = "info-block-size-length";
    // Size constraints as advertised.
    BlockSizeMinPowerOf2 = "block-size-min-power-of-2";
    BlockSizeMinLimit = "block-size-min-limit-65536";
    ExportSizeMultipleOfMin = "export-size-multiple-of-min";
    BlockSizePreferredPowerOf2 = "block-size-preferred-power-of-2";
    BlockSizePreferredLowerBound = "block-size-preferred-lower-bound";
    BlockSizeMaxLowerBound = "block-size-max-lower-bound";
    BlockSizeMax1Mib = "block-size-max-1-mib";
    // Transmission flags.
    HasFlags = "tflag-has-flags";
    DfNeedsStructured = "tflag-df-needs-structured";
    ResizeExperimental = "tflag-resize-experimental";
    FastZeroNeedsWriteZeroes = "tflag-fast-zero-needs-write-zeroes";
    // Structured replies and metadata contexts.
    StructuredExtensionsClient = "opt-structured-extensions-client";
    StructuredRenegotiatedAfterTls = "opt-structured-renegotiated-after-tls";
    ListMetaStructuredFirst = "opt-list-meta-client-structured-first";
    SetMetaNeedsStructured = "opt-set-meta-needs-structured";
    MetaRequestLayout = "opt-meta-request-layout";
    MetaQueryForm = "opt-meta-query-form";
    ListMetaReply = "opt-list-meta-reply";
    ListMetaNameForm = "opt-list-meta-name-form";
    ListMetaIdZero = "opt-list-meta-id-zero";
    StructuredDataInvalid = "opt-structured-data-invalid";
    SetMetaEarlyInvalid = "opt-set-meta-early-invalid";
    BaseWildcardIgnored = "base-wildcard-ignored-in-set";
    EmptyLeafSelectsNothing = "meta-empty-leaf-selects-nothing";
    QemuWildcardsSelectNothing = "qemu-wildcards-select-nothing";
    SetMetaZeroQueries = "opt-set-meta-zero-queries";
    SetMetaUniqueIds = "opt-set-meta-unique-ids";
    MetaNameForm = "meta-name-form";
    MetaNamespaceCharacters = "meta-namespace-characters";
    MetaNameStringLimits = "meta-name-string-limits";
    MetaNamespaceRegistered = "meta-namespace-registered";
    MetaContextLayout = "rep-meta-context-layout";
    MetaContextUtf8 = "rep-meta-context-utf8";
    QemuContextNames = "qemu-context-names";
    // Option reply types.
    AckNoData = "rep-ack-no-data";
    ReplyTypeFitsOption = "rep-type-fits-option";
    ErrorBit31 = "rep-error-bit-31";
    // Requests.
    RequestLayout = "request-layout";
    CookieDistinct = "cookie-distinct-inflight";
    MagicHistoric = "magic-historic-not-used";
    MagicExtended = "magic-extended-only-negotiated";
    PortableMin512 = "size-client-portable-min-512";
    PortableMax32Mib = "size-client-portable-max-32-mib";
    PayloadLimit = "size-client-payload-limit";
    RequestAligned = "request-aligned-to-min";
    RequestWithinExport = "request-within-export";
    ClientNeedsFlag = "tflag-client-needs-flag";
    DfNeedsFlag = "cmdflag-df-needs-tflag";
    FastZeroNeedsFlag = "cmdflag-fast-zero-needs-tflag";
    CommandFlagsDocumented = "cmdflag-documented-only";
    FuaWritesOnly = "cmdflag-fua-writes-only";
    ReadZeroLength = "read-zero-length-client";
    WriteZeroLength = "write-zero-length-client";
    WritePayload = "write-client-payload";
    FlushNeedsFlag = "flush-client-needs-flag";
    FlushZeroFields = "flush-zero-fields";
    TrimZeroLength = "trim-zero-length-client";
    TrimNeedsFlag = "trim-client-needs-flag";
    WriteZeroesZeroLength = "write-zeroes-zero-length-client";
    WriteZeroesNeedsFlag = "write-zeroes-client-needs-flag";
    StatusZeroLength = "status-zero-length-client";
    StatusNeedsContext = "status-client-needs-context";
    BaselineNegotiated = "baseline-client-negotiates-rest";
    // Replies as such.
    SimpleOnlyWithoutStructured = "reply-simple-only-without-structured";
    OneReplyPerRequest = "reply-one-per-request";
    CookieEchoed = "cookie-echoed";
    SimpleReplyLayout = "simple-reply-layout";
    SimpleReadPayload = "simple-reply-read-payload";
    SimpleErrorNoPayload = "read-simple-error-no-payload";
    StructuredForPayload = "structured-required-for-payload";
    ReadNoSimple = "read-structured-no-simple";
    StructuredErrorsPreferred = "structured-errors-preferred";
    StatusStructured = "status-reply-structured";
    // Error values.
    ErrorKnown = "error-known-values";
    ErrorEoverflowScope = "error-eoverflow-scope";
    ErrorEnotsupScope = "error-enotsup-scope";
    ReadOnlyFailsWrites = "tflag-read-only-fails-writes";
    ReadOnlyEperm = "write-read-only-eperm";
    ErrorNoEnomem = "error-no-enomem";
    ZeroesNoEnotsupWithoutFast = "write-zeroes-no-enotsup-without-fast";
    ZeroesFastNoEoverflow = "write-zeroes-fast-no-eoverflow";
    ZeroesUnadvertisedNoEnotsup = "write-zeroes-unadvertised-no-enotsup";
    // Structured replies.
    DoneLast = "structured-done-last";
    StructuredChunkLayout = "structured-chunk-layout";
    ReplyFlagsNoOthers = "replyflag-no-others";
    VariablePartLimit = "chunk-variable-part-limit";
    ChunkTypeFits = "chunk-type-fits-command";
    NoneEmpty = "chunk-none-empty";
    NoneDone = "chunk-none-done";
    DataLength = "chunk-offset-data-length";
    ContentInBounds = "chunk-content-in-bounds";
    ContentNoOverlap = "chunk-content-no-overlap";
    ContentBeforeError = "read-content-before-error";
    HoleLength = "chunk-offset-hole-length";
    HoleNonzero = "chunk-offset-hole-nonzero";
    ChunksMultipleOf512 = "read-chunks-multiple-of-512";
    ReadCoversRequest = "read-structured-covers-request";
    ErrorsNotMixed = "read-errors-not-mixed";
    DfOneContent = "read-df-one-content-chunk";
    DfEoverflowNoContent = "read-df-eoverflow-no-content";
    Df65536Served = "read-df-65536-served";
    // Error chunks.
    ErrorCommonFields = "chunk-error-common-fields";
    ErrorLength = "chunk-error-length";
    ErrorOnce = "chunk-error-once";
    ErrorMessageLimit = "chunk-error-message-limit";
    ErrorNonzero = "chunk-error-nonzero";
    ErrorMessageFits = "chunk-error-message-fits";
    ErrorOffsetLength = "chunk-error-offset-length";
    ErrorOffsetInBounds = "chunk-error-offset-in-bounds";
    ErrorOffsetNoRepeat = "chunk-error-offset-no-repeat";
    ErrorOffsetOnePerContent = "chunk-error-offset-one-per-content";
    // Block status.
    StatusLength = "chunk-block-status-length";
    StatusAtLeastOne = "status-at-least-one-extent";
    StatusExtentNonzero = "status-extent-nonzero";
    StatusSumBeforeLast = "status-sum-before-last";
    StatusExtentLimit = "status-extent-limit";
    StatusReqOneSingle = "status-req-one-single-extent";
    StatusReqOneLength = "status-req-one-length";
    StatusOnePerContext = "status-one-chunk-per-context";
    StatusWithinExport = "status-within-export";
    StatusNeighboursDiffer = "status-neighbours-differ";
    StatusMultipleOf512 = "status-extents-multiple-of-512";
    StatusMultipleOfMin = "status-extents-multiple-of-min";
    BaseReservedBits = "base-alloc-reserved-bits-zero";
    QemuDirtyBitmapStatus = "qemu-dirty-bitmap-status";
    // Teardown.
    AbortAcked = "opt-abort-acked";
    ForcedAbortExempt = "tls-forced-abort-exempt";
    AbortClientCloses = "opt-abort-client-closes";
    AbortsOnShutdown = "session-client-aborts-on-shutdown";
    DiscOnShutdown = "term-client-disc-on-eshutdown";
    ShutdownWaits = "term-shutdown-waits";
    ClientQuitsSoftly = "session-client-quits-softly";
    NoHardDisconnect = "session-no-unjustified-hard-disconnect";
    DiscWhenIdle = "term-client-disc-when-idle";
    DiscSilentAfter = "disc-client-silent-after";
    DiscZeroFields = "disc-zero-fields";
    DiscNoReply = "disc-no-reply";
    // The extension "extended headers": negotiation.
    ExtExportNameForbidden = "ext-export-name-forbidden";
    ExtStructuredAfterExtended = "ext-structured-after-extended";
    ExtOptDataInvalid = "ext-opt-data-invalid";
    ExtGoNotUnsup = "ext-go-not-unsup";
    ExtListMetaBaseNoError = "ext-list-meta-base-no-error";
    ExtSetMetaBaseNoError = "ext-set-meta-base-no-error";
    ExtRenegotiatedAfterTls = "ext-renegotiated-after-tls";
    ExtStatusPayloadFlagNeedsExt = "ext-tflag-status-payload-needs-ext";
    ExtStatusPayloadFlagNeedsContexts = "ext-tflag-status-payload-needs-contexts";
    // The same: requests.
    ExtRequestLayout = "ext-request-layout";
    ExtClientUsesExtendedRequests = "ext-client-uses-extended-requests";
    ExtCompactNoPayloadFlag = "ext-compact-no-payload-flag";
    ExtWritePayloadFlag = "ext-write-payload-flag";
    ExtPayloadNonzero = "ext-payload-nonzero";
    ExtReadClient32Bit = "ext-read-client-32-bit";
    ExtStatusPayloadNeedsFlag = "ext-status-payload-client-needs-tflag";
    ExtStatusPayloadForm = "ext-status-payload-form";
    // The same: replies.
    ExtReplyLayout = "ext-reply-layout";
    ExtAllRepliesExtended = "ext-all-replies-extended";
    ExtNoSimpleReply = "ext-no-simple-reply";
    ExtReplyOffsetMatches = "ext-reply-offset-matches";
    ExtReplyLength32Bit = "ext-reply-length-32-bit";
    ExtStatusCompactOnly = "ext-block-status-compact-only";
    ExtStatusNeedsNegotiation = "ext-block-status-ext-needs-negotiation";
    ExtStatusLength = "ext-block-status-ext-length";
    ExtStatusCount = "ext-block-status-ext-count";
    ExtStatusCountNonzero = "ext-block-status-ext-count-nonzero";
    ExtStatusExtentNonzero = "ext-block-status-ext-extent-nonzero";
    ExtStatusUpperZero = "ext-block-status-ext-upper-zero";
}

static REQUIREMENTS: LazyLock<Vec<&'static Requirement>> = LazyLock::new(|| {
    let find = |rule: &Rule| requirements::find(rule.id()).expect("a test looks up every rule");
    Rule::ALL.iter().map(find).collect()
});

impl Rule {
    /// The row of the catalogue.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is one for each variant")]
    pub fn requirement(self) -> &'static Requirement {
        REQUIREMENTS[self as usize]
    }
}

/// Requirements that show on the wire and have no check of their own, because whatever breaks them
/// breaks the named rules.
pub const COVERED: &[(&str, &[Rule])] = &[
    ("ext-go-supported", &[Rule::ExtGoNotUnsup]),
    ("ext-cmdflag-df-needs-tflag", &[Rule::DfNeedsFlag]),
    ("ext-list-meta-client-first", &[Rule::ListMetaStructuredFirst]),
    ("ext-meta-needs-chunks", &[Rule::SetMetaNeedsStructured]),
    (
        "ext-read-reply-kind",
        &[
            Rule::SimpleOnlyWithoutStructured,
            Rule::ReadNoSimple,
            Rule::ExtNoSimpleReply,
            Rule::ExtAllRepliesExtended,
        ],
    ),
    ("ext-reply-cookie-matches", &[Rule::CookieEchoed]),
    (
        "ext-reply-payload-extensions-client",
        &[Rule::StructuredExtensionsClient, Rule::SetMetaNeedsStructured],
    ),
    ("ext-reply-simple-when-neither", &[Rule::SimpleOnlyWithoutStructured, Rule::MagicExtended]),
    ("ext-status-one-chunk-per-context", &[Rule::StatusOnePerContext, Rule::ExtStatusCompactOnly]),
    ("ext-status-rules-carry-over", &[Rule::StatusSumBeforeLast, Rule::StatusReqOneSingle]),
    ("ext-status-via-chunks", &[Rule::StatusStructured, Rule::ExtNoSimpleReply]),
    ("ext-tflag-df-needs-chunks", &[Rule::DfNeedsStructured]),
    ("info-description-length", &[Rule::InfoLayout]),
    ("info-name-length", &[Rule::InfoLayout]),
    (
        "opt-extended-headers-reserved",
        &[
            Rule::ExtStatusNeedsNegotiation,
            Rule::ExtCompactNoPayloadFlag,
            Rule::ExtStatusPayloadFlagNeedsExt,
        ],
    ),
    ("opt-set-meta-client-final", &[Rule::StatusNeedsContext]),
    ("size-client-abides", &[Rule::RequestAligned, Rule::PayloadLimit]),
    ("size-reply-extra-limits", &[Rule::ErrorMessageLimit, Rule::StatusExtentLimit]),
];

/// Requirements that show on the wire and are not checked, each with the reason.
pub const NOT_YET: &[(&str, &str)] = &[(
    "disc-server-closes",
    "only a time limit tells that a close does not come: the harness waits",
)];

/// A rule that was broken, before the message that broke it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    pub(super) party: Side,
    pub(super) field: Option<&'static str>,
    pub(super) text: String,
}

/// What a message was found to break.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// The client broke `rule`; `field` is the key in the description of the message.
    pub(super) fn client(&mut self, rule: Rule, field: &'static str, text: impl Into<String>) {
        self.add(rule, Side::Client, field, text);
    }

    /// The server broke `rule`; `field` is the key in the description of the message.
    pub(super) fn server(&mut self, rule: Rule, field: &'static str, text: impl Into<String>) {
        self.add(rule, Side::Server, field, text);
    }

    /// `party` broke `rule`; an empty `field` means that none is to be marked.
    pub(super) fn add(
        &mut self,
        rule: Rule,
        party: Side,
        field: &'static str,
        text: impl Into<String>,
    ) {
        let field = (!field.is_empty()).then_some(field);
        self.0.push(Finding { rule, party, field, text: text.into() });
    }

    /// Whether a MUST or MUST NOT was broken.
    pub(super) fn any_binding(&self) -> bool {
        self.0.iter().any(|finding| finding.rule.requirement().level.is_binding())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use protocol::requirements::Observable;

    use super::*;

    #[test]
    fn every_rule_is_in_the_catalogue_and_listed_once() {
        for rule in Rule::ALL {
            assert!(requirements::find(rule.id()).is_some(), "{}", rule.id());
        }
        let ids: HashSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
    }

    #[test]
    fn every_requirement_seen_on_the_wire_is_checked_covered_or_excused() {
        let checked: HashSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        let covered: HashSet<_> = COVERED.iter().map(|(id, _)| *id).collect();
        let excused: HashSet<_> = NOT_YET.iter().map(|(id, _)| *id).collect();
        for requirement in requirements::all() {
            let id = requirement.id;
            let places =
                [&checked, &covered, &excused].iter().filter(|set| set.contains(id)).count();
            let expected = usize::from(requirement.observable == Observable::Wire);
            assert_eq!(places, expected, "{id} is in {places} of the three lists");
        }
        let known = |id: &&str| requirements::find(id).is_some();
        assert!(covered.iter().chain(&excused).all(known));
    }
}
