//! Option haggling.

use protocol::message::{Info, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType};

use super::dsl::*;

const LIST: OptionType = OptionType::LIST;
const GO: OptionType = OptionType::GO;
const INFO: OptionType = OptionType::INFO;
const ABORT: OptionType = OptionType::ABORT;
const STARTTLS: OptionType = OptionType::STARTTLS;
const STRUCTURED: OptionType = OptionType::STRUCTURED_REPLY;
const EXTENDED: OptionType = OptionType::EXTENDED_HEADERS;
const SET: OptionType = OptionType::SET_META_CONTEXT;
const LIST_META: OptionType = OptionType::LIST_META_CONTEXT;
const BLOCK_SIZE: InfoType = InfoType::BLOCK_SIZE;
/// BLOCK_STATUS_PAYLOAD.
const PAYLOAD: u16 = 1 << 12;
const ALLOCATION: &str = "base:allocation";

fn message(option: OptionType, text: impl Into<WireString>) -> protocol::message::Message {
    rep(option, ReplyType::ERR_POLICY, ReplyBody::Message(text.into()))
}

fn long(count: usize) -> String {
    "x".repeat(count)
}

impl Talk {
    fn meta_talk(&mut self) -> &mut Self {
        self.haggle().agree(STRUCTURED)
    }

    fn info(&mut self, requests: &[InfoType], items: Vec<Info>) -> &mut Self {
        self.c(info(INFO, "disk", requests));
        for one in items {
            self.s(item(INFO, one));
        }
        self.s(ack(INFO))
    }

    fn sizes(&mut self, minimum: u32, preferred: u32, maximum: u32) -> &mut Self {
        self.haggle().c(go()).s(block_size(GO, minimum, preferred, maximum))
    }
}

fn size_of(size: u64) -> Info {
    Info::Export { size, flags: protocol::values::TransmissionFlags(FLAGS) }
}

fn with_flags(flags: u16) -> Info {
    Info::Export { size: SIZE, flags: protocol::values::TransmissionFlags(flags) }
}

cases! {
    a_name_is_utf8: StringUtf8 by Client,
        |t| { t.haggle().c(opt_raw(GO, b"\0\0\0\x02\xff\xfe\0\x01\0\x03")); },
        |t| { t.haggle().c(opt_raw(GO, b"\0\0\0\x02\xc3\xa9\0\x01\0\x03")); };
    a_message_is_utf8: StringUtf8 by Server,
        |t| { t.haggle().c(opt(LIST)).s(message(LIST, &b"\xff"[..])); },
        |t| { t.haggle().c(opt(LIST)).s(message(LIST, "nicht erlaubt: \u{e9}")); };
    a_name_has_no_nul: StringNoNul by Server,
        |t| { t.haggle().c(opt(LIST)).s(listed("disk\0", "")); },
        |t| { t.haggle().c(opt(LIST)).s(listed("disk", "")); };
    a_string_should_be_short: StringSoftLimit by Server,
        |t| { t.haggle().c(opt(LIST)).s(message(LIST, long(257))); },
        |t| { t.haggle().c(opt(LIST)).s(message(LIST, long(256))); };
    a_string_is_not_longer_than_4096: StringHardLimit by Server,
        |t| { t.haggle().c(opt(LIST)).s(listed(&long(4097), "")); },
        |t| { t.haggle().c(opt(LIST)).s(listed(&long(256), "")); };
    a_name_too_long_to_keep_is_too_long: StringHardLimit by Client,
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNSUP))
            .c(export_name(&long(200_000))); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNSUP)).c(export_name(&long(256))); };

    without_fixed_newstyle_there_is_one_option: NonfixedOneOption by Client,
        |t| { t.s(newstyle(1)).c(client_flags(0)); t.events.clear(); t.c(opt(LIST)); },
        |t| { t.haggle().c(opt(LIST)); };
    an_option_begins_with_its_magic: OptionRequestLayout by Client,
        |t| { t.haggle().raw(Client, b"IHAVEOPX\0\0\0\x03\0\0\0\0"); },
        |t| { t.haggle().raw(Client, b"IHAVEOPT\0\0\0\x03\0\0\0\0"); };
    no_request_comes_before_the_ack_of_go: OptionRequestLayout by Client,
        |t| { t.haggle().c(go()).c(read(1, 0, 512)); },
        |t| { t.haggle().c(go()).s(export(GO, SIZE, FLAGS)).s(ack(GO)).c(read(1, 0, 512)); };
    a_reply_begins_with_its_magic: OptionReplyLayout by Server,
        |t| { t.haggle().c(opt(LIST)).raw(Server, &[7; 20]); },
        |t| { t.haggle().c(opt(LIST)).raw(Server, &ack(LIST).to_bytes()); };
    a_reply_repeats_its_option: ReplyEchoesOption by Server,
        |t| { t.haggle().c(opt(OptionType(99))).s(refuse(LIST, ReplyType::ERR_UNSUP)); },
        |t| { t.haggle().c(opt(OptionType(99)))
            .s(refuse(OptionType(99), ReplyType::ERR_UNSUP)); };
    an_option_has_one_final_reply: ReplyOneFinal by Server,
        |t| { t.haggle().c(opt(LIST)).s(ack(LIST)).s(ack(LIST)); },
        |t| { t.haggle().c(opt(LIST)).s(ack(LIST)).c(opt(LIST)).s(ack(LIST)); };
    nothing_comes_after_a_final_error: ReplyOneFinal by Server,
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_POLICY)).s(ack(LIST)); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_POLICY)); };
    one_option_at_a_time: OptionOneOutstanding by Client,
        |t| { t.haggle().c(opt(LIST)).s(listed("disk", "")).c(opt(LIST)).s(ack(LIST)).s(ack(LIST)); },
        |t| { t.haggle().c(opt(LIST)).s(listed("disk", "")).s(ack(LIST)).c(opt(LIST)).s(ack(LIST)); };
    the_option_to_peek_at_an_export_is_withdrawn: PeekExportWithdrawn by Client,
        |t| { t.haggle().raw(Client, b"IHAVEOPT\0\0\0\x04\0\0\0\0"); },
        |t| { t.haggle().raw(Client, b"IHAVEOPT\0\0\0\x03\0\0\0\0"); };
    structured_replies_are_negotiated_once: OptionNoRepeat by Client,
        |t| { t.haggle().agree(STRUCTURED).c(opt(STRUCTURED)); },
        |t| { t.haggle().c(opt(STRUCTURED)).s(refuse(STRUCTURED, ReplyType::ERR_TLS_REQD))
            .agree(STARTTLS).tls().c(opt(STRUCTURED)); };
    extended_headers_are_negotiated_once: OptionNoRepeat by Client,
        |t| { t.haggle().agree(EXTENDED).c(opt(EXTENDED)); },
        |t| { t.haggle().agree(STRUCTURED).c(opt(EXTENDED)); };
    serving_options_takes_the_fixed_flag: OthersNeedFixed by Server,
        |t| { t.s(newstyle(0)).c(client_flags(0)).c(opt(LIST)); t.events.clear(); t.s(ack(LIST)); },
        |t| { t.s(newstyle(1)).c(client_flags(1)).c(opt(LIST)).s(ack(LIST)); };

    go_is_tried_before_export_name: GoPreferred by Client,
        |t| { t.haggle().c(export_name("disk")); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNSUP)).c(export_name("disk")); };
    export_name_is_a_fallback_for_who_honours_sizes: SizeClientUsesGo by Client,
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_POLICY)).c(export_name("disk")); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_PLATFORM)).c(export_name("disk")); };

    abort_has_no_data: AbortNoData by Client,
        |t| { t.haggle().c(opt_raw(ABORT, b"bye")); },
        |t| { t.haggle().c(opt(ABORT)).s(ack(ABORT)).close(Client); };
    list_has_no_data: ListNoData by Client,
        |t| { t.haggle().c(opt_raw(LIST, b"x")).s(refuse(LIST, ReplyType::ERR_INVALID)); },
        |t| { t.haggle().c(opt(LIST)).s(ack(LIST)); };
    starttls_has_no_data: StarttlsNoData by Client,
        |t| { t.haggle().c(opt_raw(STARTTLS, b"x")).s(refuse(STARTTLS, ReplyType::ERR_INVALID)); },
        |t| { t.haggle().c(opt(STARTTLS)).s(refuse(STARTTLS, ReplyType::ERR_POLICY)); };
    structured_reply_has_no_data: StructuredNoData by Client,
        |t| { t.haggle().c(opt_raw(STRUCTURED, b"x")); },
        |t| { t.haggle().c(opt(STRUCTURED)); };
    extended_headers_has_no_data: ExtendedHeadersNoData by Client,
        |t| { t.haggle().c(opt_raw(EXTENDED, b"x")); },
        |t| { t.haggle().c(opt(EXTENDED)); };

    list_is_answered_by_names: ListReply by Server,
        |t| { t.haggle().c(opt(LIST)).s(export(LIST, SIZE, FLAGS)); },
        |t| { t.haggle().c(opt(LIST)).s(listed("", "")).s(listed("b", "text")).s(ack(LIST)); };
    a_listed_name_fits_its_reply: ServerNameLength by Server,
        |t| { t.haggle().c(opt(LIST)).s(rep_raw(LIST, ReplyType::SERVER, b"\0\0\0\x05disk")); },
        |t| { t.haggle().c(opt(LIST)).s(rep_raw(LIST, ReplyType::SERVER, b"\0\0\0\x04disk")); };
    what_follows_a_listed_name_is_text: ServerDetailsAreText by Server,
        |t| { t.haggle().c(opt(LIST))
            .s(rep_raw(LIST, ReplyType::SERVER, b"\0\0\0\x04disk\xff\xff")); },
        |t| { t.haggle().c(opt(LIST)).s(rep_raw(LIST, ReplyType::SERVER, b"\0\0\0\x02disk")); };

    starttls_is_answered_by_ack_or_an_error_of_its_own: StarttlsReply by Server,
        |t| { t.haggle().c(opt(STARTTLS)).s(refuse(STARTTLS, ReplyType::ERR_TLS_REQD)); },
        |t| { t.haggle().c(opt(STARTTLS)).s(refuse(STARTTLS, ReplyType::ERR_UNSUP)); };
    state_waits_for_starttls: StarttlsDefersState by Client,
        |t| { t.haggle().agree(STRUCTURED).c(opt(STARTTLS)); },
        |t| { t.haggle().c(opt(LIST)).s(ack(LIST)).c(opt(STARTTLS)); };
    starttls_takes_fixed_newstyle: StarttlsNeedsFixed by Client,
        |t| { t.s(newstyle(1)).c(client_flags(0)); t.events.clear(); t.c(opt(STARTTLS)); },
        |t| { t.s(newstyle(1)).c(client_flags(1)).c(opt(STARTTLS)); };
    starttls_is_not_for_inside_tls: NoSecondStarttls by Client,
        |t| { t.haggle().agree(STARTTLS).tls().c(opt(STARTTLS))
            .s(refuse(STARTTLS, ReplyType::ERR_INVALID)); },
        |t| { t.haggle().c(opt(STARTTLS)).s(refuse(STARTTLS, ReplyType::ERR_POLICY))
            .c(opt(STARTTLS)); };
    tls_is_not_demanded_inside_tls: NoTlsReqdInsideTls by Server,
        |t| { t.haggle().agree(STARTTLS).tls().c(opt(LIST))
            .s(refuse(LIST, ReplyType::ERR_TLS_REQD)); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_TLS_REQD)); };

    go_data_is_filled_exactly: InfoGoLayout by Client,
        |t| { t.haggle().c(opt_raw(GO, b"\0\0\0\x04disk\0\x02\0\x03")); },
        |t| { t.haggle().c(opt_raw(GO, b"\0\0\0\x04disk\0\x02\0\x03\0\x01")); };
    a_name_in_go_leaves_room: InfoGoNameLength by Client,
        |t| { t.haggle().c(opt_raw(GO, b"\0\0\0\x05disk\0\x00")); },
        |t| { t.haggle().c(opt_raw(INFO, b"\0\0\0\x04disk\0\x00")); };
    information_is_requested_once: InfoNoDuplicateRequests by Client,
        |t| { t.haggle().c(info(GO, "disk", &[BLOCK_SIZE, InfoType::NAME, BLOCK_SIZE])); },
        |t| { t.haggle().c(info(GO, "disk", &[BLOCK_SIZE, InfoType::NAME])); };
    go_is_answered_by_information: InfoReplySequence by Server,
        |t| { t.haggle().c(go()).s(rep(GO, ReplyType::SERVER,
            ReplyBody::Server { name: "disk".into(), description: "".into() })); },
        |t| { t.haggle().c(go()).s(item(GO, Info::Raw { info: InfoType(77), data: vec![1] })); };
    the_export_is_told_before_the_ack: InfoExportRequired by Server,
        |t| { t.haggle().c(go()).s(block_size(GO, 1, 4096, 1 << 25)).s(ack(GO)); },
        |t| { t.haggle().c(go()).s(block_size(GO, 1, 4096, 1 << 25))
            .s(export(GO, SIZE, FLAGS)).s(ack(GO)); };
    an_unknown_export_has_no_information: InfoUnknownNoInfo by Server,
        |t| { t.haggle().c(go()).s(export(GO, SIZE, FLAGS))
            .s(refuse(GO, ReplyType::ERR_UNKNOWN)); },
        |t| { t.haggle().c(go()).s(export(GO, SIZE, FLAGS))
            .s(refuse(GO, ReplyType::ERR_TLS_REQD)); };
    block_sizes_are_not_demanded_of_who_asked: BlockSizeReqdNotIfRequested by Server,
        |t| { t.haggle().c(go()).s(block_size(GO, 512, 4096, 1 << 25))
            .s(refuse(GO, ReplyType::ERR_BLOCK_SIZE_REQD)); },
        |t| { t.haggle().c(info(INFO, "disk", &[])).s(block_size(INFO, 512, 4096, 1 << 25))
            .s(refuse(INFO, ReplyType::ERR_BLOCK_SIZE_REQD)); };
    block_sizes_are_told_when_demanded: BlockSizeReqdTellsFirst by Server,
        |t| { t.haggle().c(info(INFO, "disk", &[]))
            .s(refuse(INFO, ReplyType::ERR_BLOCK_SIZE_REQD)); },
        |t| { t.haggle().c(info(INFO, "disk", &[])).s(block_size(INFO, 512, 4096, 1 << 25))
            .s(refuse(INFO, ReplyType::ERR_BLOCK_SIZE_REQD)); };
    go_agrees_with_info: InfoGoConsistent by Server,
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(0)])
            .c(go()).s(export(GO, SIZE, FLAGS)).s(ack(GO)); },
        |t| { t.haggle().info(&[], vec![size_of(0)])
            .c(go()).s(export(GO, SIZE, FLAGS)).s(ack(GO)); };
    go_may_differ_after_another_option: InfoGoConsistent by Server,
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE), Info::Name("disk".into())])
            .c(go()).s(export(GO, SIZE, FLAGS)).s(ack(GO)); },
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE), Info::Name("disk".into())])
            .agree(STRUCTURED).c(go()).s(export(GO, SIZE, FLAGS | DF)).s(ack(GO)); };
    the_order_of_information_is_free: InfoGoConsistent by Server,
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE), Info::Name("disk".into())])
            .c(go()).s(item(GO, Info::Name("disc".into()))).s(export(GO, SIZE, FLAGS)).s(ack(GO)); },
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE), Info::Name("disk".into())])
            .c(go()).s(item(GO, Info::Name("disk".into()))).s(export(GO, SIZE, FLAGS)).s(ack(GO)); };
    status_with_payload_may_be_told_by_info_alone: InfoGoConsistent by Server,
        |t| { t.haggle().agree(EXTENDED).info(&[BLOCK_SIZE], vec![with_flags(FLAGS | PAYLOAD)])
            .c(go()).s(export(GO, SIZE, FLAGS | DF)).s(ack(GO)); },
        |t| { t.haggle().agree(EXTENDED).info(&[BLOCK_SIZE], vec![with_flags(FLAGS | DF | PAYLOAD)])
            .c(go()).s(export(GO, SIZE, FLAGS | DF)).s(ack(GO)); };
    no_option_follows_the_ack_of_go: GoNoMoreOptions by Client,
        |t| { t.simple().c(opt(LIST)); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNKNOWN)).c(opt(LIST)); };
    who_asked_for_sizes_asks_in_go_too: ClientRequestsBlockSize by Client,
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE)]).c(info(GO, "disk", &[])); },
        |t| { t.haggle().info(&[BLOCK_SIZE], vec![size_of(SIZE)]).c(go()); };
    sizes_are_asked_for: InteropQueriesBlockSize by Client,
        |t| { t.haggle().c(info(GO, "disk", &[InfoType::NAME])); },
        |t| { t.haggle().c(info(GO, "disk", &[BLOCK_SIZE])); };
    information_comes_once: InfoTypeOnce by Server,
        |t| { t.haggle().c(go()).s(export(GO, SIZE, FLAGS)).s(export(GO, SIZE, FLAGS)); },
        |t| { t.haggle().c(info(INFO, "disk", &[])).s(export(INFO, SIZE, FLAGS)).s(ack(INFO))
            .c(go()).s(export(GO, SIZE, FLAGS)); };
    information_has_a_type: InfoLayout by Server,
        |t| { t.haggle().c(go()).s(rep_raw(GO, ReplyType::INFO, b"\0")); },
        |t| { t.haggle().c(go()).s(rep_raw(GO, ReplyType::INFO, b"\0\x02")); };
    the_export_item_has_12_bytes: InfoExportLength by Server,
        |t| { t.haggle().c(go()).s(rep_raw(GO, ReplyType::INFO, &[0; 14])); },
        |t| { t.haggle().c(go()).s(rep_raw(GO, ReplyType::INFO, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1])); };
    the_block_size_item_has_14_bytes: InfoBlockSizeLength by Server,
        |t| { t.haggle().c(go()).s(rep_raw(GO, ReplyType::INFO, &[0, 3, 0, 0, 2, 0])); },
        |t| { t.haggle().c(go())
            .s(rep_raw(GO, ReplyType::INFO, &[0, 3, 0, 0, 2, 0, 0, 0, 2, 0, 2, 0, 0, 0])); };

    the_minimum_is_a_power_of_2: BlockSizeMinPowerOf2 by Server,
        |t| { t.sizes(768, 4096, 1 << 25); }, |t| { t.sizes(512, 4096, 1 << 25); };
    a_minimum_of_0_is_no_power_of_2: BlockSizeMinPowerOf2 by Server,
        |t| { t.sizes(0, 4096, 1 << 25); }, |t| { t.sizes(1, 4096, 1 << 25); };
    the_minimum_is_at_most_65536: BlockSizeMinLimit by Server,
        |t| { t.sizes(1 << 17, 1 << 17, 1 << 25); }, |t| { t.sizes(1 << 16, 1 << 16, 1 << 25); };
    the_size_is_a_multiple_of_the_minimum: ExportSizeMultipleOfMin by Server,
        |t| { t.sizes(512, 4096, 1 << 25).s(export(GO, 1_000_001, FLAGS)); },
        |t| { t.sizes(512, 4096, 1 << 25).s(export(GO, 1_000_448, FLAGS)); };
    the_preferred_size_is_a_power_of_2: BlockSizePreferredPowerOf2 by Server,
        |t| { t.sizes(512, 5000, 1 << 25); }, |t| { t.sizes(512, 512, 1 << 25); };
    the_preferred_size_is_at_least_512: BlockSizePreferredLowerBound by Server,
        |t| { t.sizes(1, 256, 1 << 25); }, |t| { t.sizes(1, 512, 1 << 25); };
    the_preferred_size_is_at_least_the_minimum: BlockSizePreferredLowerBound by Server,
        |t| { t.sizes(4096, 1024, 1 << 25); }, |t| { t.sizes(4096, 4096, 1 << 25); };
    the_maximum_is_at_least_the_preferred_size: BlockSizeMaxLowerBound by Server,
        |t| { t.sizes(1, 1 << 20, 1 << 19); }, |t| { t.sizes(1, 1 << 20, (1 << 20) + 5); };
    the_maximum_should_be_a_mebibyte: BlockSizeMax1Mib by Server,
        |t| { t.haggle().c(go()).s(export(GO, 1 << 20, FLAGS)).s(block_size(GO, 1, 4096, 4096)); },
        |t| { t.haggle().c(go()).s(export(GO, 1 << 19, FLAGS)).s(block_size(GO, 1, 4096, 4096)); };

    contexts_are_listed_after_structured_replies: ListMetaStructuredFirst by Client,
        |t| { t.haggle().c(meta(LIST_META, "disk", &["base:"])); },
        |t| { t.haggle().agree(EXTENDED).c(meta(LIST_META, "disk", &["base:"])); };
    contexts_are_selected_after_structured_replies: SetMetaNeedsStructured by Client,
        |t| { t.haggle().c(opt(STRUCTURED)).s(refuse(STRUCTURED, ReplyType::ERR_UNSUP))
            .c(meta(SET, "disk", &[ALLOCATION])); },
        |t| { t.meta_talk().c(meta(SET, "disk", &[ALLOCATION])); };
    a_query_has_its_length: MetaRequestLayout by Client,
        |t| { t.meta_talk().c(opt_raw(SET, b"\0\0\0\0\0\0\0\x01\0\0\0\x06base:")); },
        |t| { t.meta_talk().c(opt_raw(SET, b"\0\0\0\0\0\0\0\x01\0\0\0\x05base:")); };
    a_query_has_a_colon: MetaQueryForm by Client,
        |t| { t.meta_talk().c(meta(LIST_META, "disk", &["base"])); },
        |t| { t.meta_talk().c(meta(LIST_META, "disk", &["base:", "x-any:thing:more"])); };
    a_query_has_a_namespace: MetaQueryForm by Client,
        |t| { t.meta_talk().c(meta(SET, "disk", &[":allocation"])); },
        |t| { t.meta_talk().c(meta(SET, "disk", &[])); };
    listing_is_answered_by_contexts: ListMetaReply by Server,
        |t| { t.meta_talk().c(meta(LIST_META, "", &[])).s(export(LIST_META, SIZE, FLAGS)); },
        |t| { t.meta_talk().c(meta(LIST_META, "", &[])).s(context(LIST_META, 0, ALLOCATION))
            .s(ack(LIST_META)); };
    a_listed_context_has_a_colon: ListMetaNameForm by Server,
        |t| { t.meta_talk().c(meta(LIST_META, "", &[])).s(context(LIST_META, 0, "base")); },
        |t| { t.meta_talk().c(meta(LIST_META, "", &[])).s(context(LIST_META, 0, "x-day:")); };
    a_listed_context_has_id_0: ListMetaIdZero by Server,
        |t| { t.meta_talk().c(meta(LIST_META, "", &[])).s(context(LIST_META, 1, ALLOCATION)); },
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION])).s(context(SET, 1, ALLOCATION)); };
    no_query_selects_no_context: SetMetaZeroQueries by Server,
        |t| { t.meta_talk().c(meta(SET, "", &[])).s(context(SET, 1, ALLOCATION)); },
        |t| { t.meta_talk().c(meta(SET, "", &[])).s(ack(SET)); };
    selected_contexts_have_unique_ids: SetMetaUniqueIds by Server,
        |t| { t.meta_talk().c(meta(SET, "", &["x-a:b", "x-a:c"])).s(context(SET, 5, "x-a:b"))
            .s(context(SET, 5, "x-a:c")); },
        |t| { t.meta_talk().c(meta(SET, "", &["x-a:b", "x-a:c"])).s(context(SET, 5, "x-a:b"))
            .s(context(SET, 4, "x-a:c")); };
    a_selected_context_has_a_colon: MetaNameForm by Server,
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION])).s(context(SET, 1, "base")); },
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION])).s(context(SET, 1, "base:x")); };
    a_namespace_has_no_blanks: MetaNamespaceCharacters by Client,
        |t| { t.meta_talk().c(meta(SET, "", &["my space:x"])); },
        |t| { t.meta_talk().c(meta(SET, "", &["x-space:a b"])); };
    a_namespace_is_not_empty: MetaNamespaceCharacters by Server,
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION])).s(context(SET, 1, ":allocation")); },
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION])).s(context(SET, 1, "base:")); };
    a_context_name_is_not_longer_than_4096: MetaNameStringLimits by Server,
        |t| { t.meta_talk().c(meta(SET, "", &["x-a:*"]))
            .s(context(SET, 1, &format!("x-a:{}", long(4093)))); },
        |t| { t.meta_talk().c(meta(SET, "", &["x-a:*"]))
            .s(context(SET, 1, &format!("x-a:{}", long(252)))); };
    a_namespace_is_registered: MetaNamespaceRegistered by Server,
        |t| { t.meta_talk().c(meta(SET, "", &["acme:*"])).s(context(SET, 1, "acme:disk")); },
        |t| { t.meta_talk().c(meta(SET, "", &["acme:*"])).s(context(SET, 1, "x-acme:disk")); };
    a_context_reply_has_an_id: MetaContextLayout by Server,
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION]))
            .s(rep_raw(SET, ReplyType::META_CONTEXT, b"\0\0\x01")); },
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION]))
            .s(rep_raw(SET, ReplyType::META_CONTEXT, b"\0\0\0\x01base:x")); };
    a_context_name_is_utf8: MetaContextUtf8 by Server,
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION]))
            .s(rep_raw(SET, ReplyType::META_CONTEXT, b"\0\0\0\x01base:\xff")); },
        |t| { t.meta_talk().c(meta(SET, "", &[ALLOCATION]))
            .s(rep_raw(SET, ReplyType::META_CONTEXT, b"\0\0\0\x01base:\xc3\xa9")); };
    qemu_has_two_kinds_of_context: QemuContextNames by Server,
        |t| { t.meta_talk().c(meta(SET, "", &["qemu:dirty-bitmap:"]))
            .s(context(SET, 1, "qemu:dirty-bitmap:")); },
        |t| { t.meta_talk().c(meta(LIST_META, "", &[]))
            .s(context(LIST_META, 0, "qemu:dirty-bitmap:")).s(context(LIST_META, 0, "qemu:"))
            .s(context(LIST_META, 0, "qemu:allocation-depth")); };

    an_ack_has_no_data: AckNoData by Server,
        |t| { t.haggle().c(opt(LIST)).s(rep_raw(LIST, ReplyType::ACK, b"x")); },
        |t| { t.haggle().c(opt(LIST)).s(message(LIST, "x")); };
    options_without_items_get_none: ReplyTypeFitsOption by Server,
        |t| { t.haggle().c(opt(STRUCTURED)).s(rep(STRUCTURED, ReplyType::SERVER,
            ReplyBody::Server { name: "disk".into(), description: "".into() })); },
        |t| { t.haggle().c(opt(STRUCTURED)).s(refuse(STRUCTURED, ReplyType::ERR_UNSUP)); };
    reply_types_are_defined: ErrorBit31 by Server,
        |t| { t.haggle().c(opt(LIST)).s(rep_raw(LIST, ReplyType(5), b"x")); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_EXT_HEADER_REQD)); };
    errors_have_bit_31: ErrorBit31 by Server,
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType(0x0000_1234))); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType(0x8000_1234))); };
    structured_replies_are_renegotiated_inside_tls: StructuredRenegotiatedAfterTls by Client,
        |t| { t.haggle().agree(STRUCTURED).agree(STARTTLS).tls(); t.events.clear();
            t.c(meta(SET, "disk", &[ALLOCATION])); },
        |t| { t.haggle().agree(STARTTLS).tls().agree(STRUCTURED)
            .c(meta(SET, "disk", &[ALLOCATION])); };
}

#[test]
fn an_option_may_be_refused_before_it_is_complete() {
    let mut talk = Talk::new();
    talk.haggle()
        .raw(Client, b"IHAVEOPT\0\0\0\x63\0\0\0\x04ab")
        .s(refuse(OptionType(99), ReplyType::ERR_UNSUP));
    talk.raw(Client, b"cd").c(opt(LIST)).s(ack(LIST));
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
    3 S: NBD_REP_ERR_UNSUP option=NBD_OPT_0x63
    4 C: NBD_OPT_0x63 data=hex"61 62 63 64"
    5 C: NBD_OPT_LIST
    6 S: NBD_REP_ACK option=NBD_OPT_LIST # answers 5
    "#);
}

#[test]
fn an_oversized_option_may_be_refused_before_it_is_complete() {
    let mut talk = Talk::new();
    talk.haggle()
        .raw(Client, b"IHAVEOPT\0\0\0\x63\0\x10\0\0")
        .s(refuse(OptionType(99), ReplyType::ERR_TOO_BIG));
    talk.raw(Client, &vec![7; 1 << 20]).c(opt(LIST)).s(ack(LIST)).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
    3 S: NBD_REP_ERR_TOO_BIG option=NBD_OPT_0x63
    4 C: NBD_OPT_0x63 data=fill(0x07)*1048576
    5 C: NBD_OPT_LIST
    6 S: NBD_REP_ACK option=NBD_OPT_LIST # answers 5
    "#);
}

#[test]
fn replies_to_pipelined_options_are_matched() {
    let mut talk = Talk::new();
    talk.haggle()
        .c(opt(LIST))
        .c(go())
        .s(ack(LIST))
        .s(export(GO, SIZE, FLAGS))
        .s(ack(GO))
        .c(disc(1));
    assert_eq!(talk.broken(), ["option-one-outstanding"]);
    assert_eq!(
        talk.messages().map(|seen| seen.answers).collect::<Vec<_>>(),
        [None, None, None, None, Some(3), Some(4), Some(4), None]
    );
}
