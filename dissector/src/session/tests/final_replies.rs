//! Which final reply an option must have, or must not have.

use protocol::message::Info;
use protocol::values::{OptionType, ReplyType};

use super::dsl::*;

const LIST: OptionType = OptionType::LIST;
const GO: OptionType = OptionType::GO;
const INFO: OptionType = OptionType::INFO;
const STARTTLS: OptionType = OptionType::STARTTLS;
const STRUCTURED: OptionType = OptionType::STRUCTURED_REPLY;
const EXTENDED: OptionType = OptionType::EXTENDED_HEADERS;
const SET: OptionType = OptionType::SET_META_CONTEXT;
const TLS_REQD: ReplyType = ReplyType::ERR_TLS_REQD;
const INVALID: ReplyType = ReplyType::ERR_INVALID;
const UNSUP: ReplyType = ReplyType::ERR_UNSUP;

impl Talk {
    /// What was said so far is not what the talk is about.
    fn besides(&mut self) -> &mut Self {
        self.events.clear();
        self
    }

    fn refused(&mut self, option: OptionType, error: ReplyType) -> &mut Self {
        self.c(opt(option)).s(refuse(option, error))
    }

    fn raw_option(&mut self, option: OptionType, data: &[u8]) -> &mut Self {
        self.haggle().c(opt_raw(option, data)).besides()
    }

    /// Lists an export, and asks for it.
    fn described(&mut self, listing: &str, told: &str) -> &mut Self {
        self.haggle().c(opt(LIST)).s(listed("disk", listing)).s(ack(LIST));
        self.c(info(INFO, "disk", &[])).s(export(INFO, SIZE, FLAGS));
        self.s(item(INFO, Info::Description(told.into()))).s(ack(INFO))
    }

    fn set(&mut self, queries: &[&str], selected: &str) -> &mut Self {
        self.haggle().agree(STRUCTURED).c(meta(SET, "disk", queries));
        self.s(context(SET, 1, selected))
    }
}

cases! {
    a_server_closes_on_unknown_flags: ClosesOnUnknownFlags by Server,
        |t| { t.s(newstyle(3)).c(client_flags(7)).besides().agree(LIST); },
        |t| { t.s(newstyle(3)).c(client_flags(7)).besides().c(opt(LIST)).close(Server); };
    a_server_closes_on_flags_that_it_did_not_offer: ClosesOnUnknownFlags by Server,
        |t| { t.s(newstyle(1)).c(client_flags(3)).besides().c(export_name("")).besides()
            .s(export_answer(FLAGS, protocol::message::Padding::Zeroes)); },
        |t| { t.s(newstyle(3)).c(client_flags(1)).agree(LIST); };
    list_is_implemented: BaselineList by Server,
        |t| { t.haggle().refused(LIST, UNSUP); },
        |t| { t.haggle().refused(LIST, ReplyType::ERR_POLICY); };
    list_has_no_data: ListDataInvalid by Server,
        |t| { t.raw_option(LIST, b"x").s(ack(LIST)); },
        |t| { t.raw_option(LIST, b"x").s(refuse(LIST, INVALID)); };
    structured_replies_take_no_data: StructuredDataInvalid by Server,
        |t| { t.raw_option(STRUCTURED, b"x").s(ack(STRUCTURED)); },
        |t| { t.raw_option(STRUCTURED, b"x").s(refuse(STRUCTURED, UNSUP)); };
    extended_headers_take_no_data: ExtOptDataInvalid by Server,
        |t| { t.raw_option(EXTENDED, b"x").s(ack(EXTENDED)); },
        |t| { t.raw_option(EXTENDED, b"x").s(refuse(EXTENDED, INVALID)); };
    structured_replies_do_not_follow_extended_headers: ExtStructuredAfterExtended by Server,
        |t| { t.haggle().agree(EXTENDED).agree(STRUCTURED); },
        |t| { t.haggle().agree(EXTENDED).refused(STRUCTURED, ReplyType::ERR_EXT_HEADER_REQD); };
    the_order_decides: ExtStructuredAfterExtended by Server,
        |t| { t.haggle().agree(EXTENDED).refused(STRUCTURED, UNSUP); },
        |t| { t.haggle().agree(STRUCTURED).agree(EXTENDED); };
    contexts_come_after_structured_replies: SetMetaEarlyInvalid by Server,
        |t| { t.haggle().c(meta(SET, "disk", &["base:allocation"])).besides().s(ack(SET)); },
        |t| { t.haggle().c(meta(SET, "disk", &["base:allocation"])).besides()
            .s(refuse(SET, INVALID)); };
    a_description_is_that_of_the_list: DescriptionMatchesList by Server,
        |t| { t.described("a disk", "a tape"); },
        |t| { t.described("a disk", "a disk"); };
    a_list_need_not_describe: DescriptionMatchesList by Server,
        |t| { t.described("a disk", "A disk"); },
        |t| { t.described("", "a disk"); };

    starttls_comes_once: StarttlsTwiceInvalid by Server,
        |t| { t.haggle().agree(STARTTLS).tls().c(opt(STARTTLS)).besides()
            .s(refuse(STARTTLS, UNSUP)); },
        |t| { t.haggle().agree(STARTTLS).tls().c(opt(STARTTLS)).besides()
            .s(refuse(STARTTLS, INVALID)); };
    who_demands_tls_has_it: StarttlsAcked by Server,
        |t| { t.haggle().refused(LIST, TLS_REQD).refused(STARTTLS, ReplyType::ERR_POLICY); },
        |t| { t.haggle().refused(LIST, TLS_REQD).refused(STARTTLS, ReplyType::ERR_SHUTDOWN); };
    who_has_no_tls_does_not_demand_it: NotlsNoTlsReqd by Server,
        |t| { t.haggle().refused(STARTTLS, UNSUP).c(go()).s(refuse(GO, TLS_REQD)); },
        |t| { t.haggle().refused(STARTTLS, UNSUP).c(go())
            .s(refuse(GO, ReplyType::ERR_POLICY)); };
    forced_is_forced: ForcedErrorsOthers by Server,
        |t| { t.haggle().refused(LIST, TLS_REQD).agree(STRUCTURED); },
        |t| { t.haggle().c(go()).s(refuse(GO, TLS_REQD)).agree(STRUCTURED); };
    selective_is_about_exports: SelectiveTlsReqdScope by Server,
        |t| { t.haggle().agree(STRUCTURED).refused(LIST, TLS_REQD); },
        |t| { t.haggle().agree(STRUCTURED).c(go()).s(refuse(GO, TLS_REQD)); };

    base_alone_selects_nothing: BaseWildcardIgnored by Server,
        |t| { t.set(&["base:"], "base:allocation"); },
        |t| { t.set(&["base:", "base:allocation"], "base:allocation"); };
    qemu_alone_selects_nothing: QemuWildcardsSelectNothing by Server,
        |t| { t.set(&["qemu:dirty-bitmap:"], "qemu:dirty-bitmap:b"); },
        |t| { t.set(&["qemu:dirty-bitmap:b"], "qemu:dirty-bitmap:b"); };
    a_bare_namespace_selects_nothing: EmptyLeafSelectsNothing by Server,
        |t| { t.set(&["x-foo:"], "x-foo:bar"); },
        // What else selects it is for its namespace to say.
        |t| { t.set(&["x-foo:b*"], "x-foo:bar"); };
}
