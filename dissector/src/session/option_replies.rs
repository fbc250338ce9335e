//! What the server says during option haggling (section "Option reply types").

use protocol::message::{Info, OptionReply, ReplyBody, Side};
use protocol::values::{HandshakeFlags, OPTION_MAGIC, OptionType, ReplyType, STRING_LIMIT};

use crate::plural::Plural;

use super::context;
use super::event::ProblemKind;
use super::export::Export;
use super::haggling::Outstanding;
use super::judge::Session;
use super::phase::{Negotiated, Phase};
use super::replies::Last;
use super::rules::{Findings, Rule};
use super::selection::Selection;
use super::stream::Mode;
use super::strings;
use super::verdict::Verdict;

impl Session {
    pub(super) fn option_reply(&mut self, reply: &OptionReply, found: &mut Findings) -> Verdict {
        let bulk = match reply.body {
            ReplyBody::Bulk(length) => u64::from(length),
            _ => 0,
        };
        check_type(reply.reply, found);
        check_layout(reply, found);
        self.check_goes_on(found);
        if !self.follows(Side::Client) {
            let mut unseen = Outstanding::new(reply.option);
            self.content(reply, &mut unseen, found);
            if reply.reply.is_final() {
                self.finished(reply, unseen, found);
            }
            return Verdict { bulk, ..Verdict::default() };
        }
        if self.options.count() == 0
            && let Some(option) = self.option_that_is_coming()
        {
            // A server may refuse an option before it is complete.
            self.options.answered_early(option);
        }
        let Some((at, mut outstanding)) = self.options.take(reply.option) else {
            // "Fixed newstyle negotiation": replies answer options, and one of them is the last.
            let text = format!("{} to {}, though no option is open", reply.reply, reply.option);
            found.server(Rule::ReplyOneFinal, "", text);
            return Verdict { bulk, ..Verdict::default() };
        };
        let answers = outstanding.number;
        // "Fixed newstyle negotiation": the reply repeats the option that it answers.
        if reply.option != outstanding.option {
            let swapped = reply.option.0.swap_bytes() == outstanding.option.0;
            let remark = if swapped { " (it is in the other byte order)" } else { "" };
            let text =
                format!("option={} in a reply to {}{remark}", reply.option, outstanding.option);
            found.server(Rule::ReplyEchoesOption, "option", text);
        }
        if self.fits(reply.reply, outstanding.option, found) {
            self.content(reply, &mut outstanding, found);
        }
        if reply.reply.is_final() {
            self.check_final(reply.reply, &outstanding, found);
            self.finished(reply, outstanding, found);
        } else {
            self.options.put_back(at, outstanding);
        }
        Verdict { answers, bulk, ..Verdict::default() }
    }

    /// The option of which only the beginning has come.
    fn option_that_is_coming(&self) -> Option<OptionType> {
        let stream = &self.streams[Side::Client];
        if !matches!(stream.mode, Mode::Head) {
            return None;
        }
        let rest = stream.buffer.strip_prefix(&OPTION_MAGIC.to_be_bytes())?;
        rest.first_chunk::<4>().map(|option| OptionType(u32::from_be_bytes(*option)))
    }

    /// Whether a reply of this type may answer this option.
    fn fits(&self, reply: ReplyType, option: OptionType, found: &mut Findings) -> bool {
        if reply == ReplyType::ERR_TLS_REQD && self.tls {
            // "FORCEDTLS mode", "SELECTIVETLS mode": never once TLS is up.
            found.server(Rule::NoTlsReqdInsideTls, "", "NBD_REP_ERR_TLS_REQD inside TLS");
            return true;
        }
        if option == OptionType::EXPORT_NAME {
            // "Newstyle negotiation": answered by the export's information, or not at all.
            let text = "an option reply to NBD_OPT_EXPORT_NAME";
            found.server(Rule::ExportNameReplyLayout, "", text);
            return true;
        }
        let wanted = match option {
            OptionType::LIST => Some(ReplyType::SERVER),
            OptionType::INFO | OptionType::GO => Some(ReplyType::INFO),
            OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT => {
                Some(ReplyType::META_CONTEXT)
            }
            _ => None,
        };
        // Where fixed newstyle was not agreed, any option but NBD_OPT_EXPORT_NAME may be refused.
        if option == OptionType::ABORT && reply.is_error() && self.fixed() != Some(false) {
            let rule = match reply {
                // "FORCEDTLS mode": all options but STARTTLS and ABORT are refused so.
                ReplyType::ERR_TLS_REQD => Rule::ForcedAbortExempt,
                // NBD_OPT_ABORT: the server replies with NBD_REP_ACK.
                _ => Rule::AbortAcked,
            };
            found.server(rule, "", format!("{reply} in answer to NBD_OPT_ABORT"));
            return true;
        }
        let refused = reply.is_error() && reply.name().is_some();
        let fits = reply == ReplyType::ACK
            || Some(reply) == wanted
            || reply.name().is_none()
            || refused && option != OptionType::STARTTLS
            || refused && STARTTLS_ERRORS.contains(&reply);
        if !fits {
            let rule = match option {
                // NBD_OPT_LIST: NBD_REP_SERVER, then NBD_REP_ACK or an error.
                OptionType::LIST => Rule::ListReply,
                // NBD_OPT_INFO and NBD_OPT_GO: NBD_REP_INFO, then NBD_REP_ACK or an error.
                OptionType::INFO | OptionType::GO => Rule::InfoReplySequence,
                // NBD_OPT_LIST_META_CONTEXT: NBD_REP_META_CONTEXT, then NBD_REP_ACK or an error.
                OptionType::LIST_META_CONTEXT => Rule::ListMetaReply,
                // NBD_OPT_STARTTLS: NBD_REP_ACK or an error that the document permits.
                OptionType::STARTTLS => Rule::StarttlsReply,
                // "Option reply types": each belongs to its options.
                _ => Rule::ReplyTypeFitsOption,
            };
            found.server(rule, "", format!("{reply} in answer to {option}"));
        }
        fits
    }

    /// What is inside of a reply of a type that fits.
    fn content(&mut self, reply: &OptionReply, option: &mut Outstanding, found: &mut Findings) {
        match &reply.body {
            ReplyBody::Message(message) => strings::check(message, Side::Server, "message", found),
            ReplyBody::Server { name, description } => {
                strings::check(name, Side::Server, "name", found);
                // NBD_REP_SERVER: the rest of the data is a string for people.
                let text = Rule::ServerDetailsAreText;
                let limit = Rule::StringHardLimit;
                strings::check_as(
                    text,
                    text,
                    limit,
                    description,
                    Side::Server,
                    "description",
                    found,
                );
                self.options.listing(name, description);
            }
            ReplyBody::Info(info) => self.info_item(info, option, found),
            ReplyBody::MetaContext { id, name } => context::check_context(*id, name, option, found),
            ReplyBody::Empty | ReplyBody::Raw(_) | ReplyBody::Bulk(_) => {}
        }
    }

    /// The final reply to an option.
    fn finished(&mut self, reply: &OptionReply, option: Outstanding, found: &mut Findings) {
        if reply.reply == ReplyType::ACK {
            self.acknowledged(option, found);
        } else {
            self.refused(reply.reply, &option, found);
        }
    }

    fn refused(&mut self, reply: ReplyType, option: &Outstanding, found: &mut Findings) {
        self.refused_extended(reply, option, found);
        self.shuts_down |= reply == ReplyType::ERR_SHUTDOWN;
        if matches!(option.option, OptionType::INFO | OptionType::GO) {
            self.info_refused(reply, option, found);
            if matches!(reply, ReplyType::ERR_UNSUP | ReplyType::ERR_PLATFORM) {
                self.options.unsupported = true;
            } else if option.option == OptionType::GO && option.asked_block_size() {
                self.options.go_refused = true;
            }
        }
    }

    fn acknowledged(&mut self, option: Outstanding, found: &mut Findings) {
        let fixed = |flags: HandshakeFlags| flags.has(HandshakeFlags::FIXED_NEWSTYLE);
        if self.greeting.is_some_and(|flags| !fixed(flags))
            && option.option != OptionType::EXPORT_NAME
        {
            // NBD_OPT_EXPORT_NAME: a server that takes any other option supports fixed newstyle.
            let text = "another option is served, though fixed newstyle was not announced";
            found.server(Rule::OthersNeedFixed, "", text);
        }
        match option.option {
            OptionType::STRUCTURED_REPLY => self.negotiated.structured = true,
            OptionType::EXTENDED_HEADERS => self.negotiated.extended = true,
            OptionType::SET_META_CONTEXT => {
                let Outstanding { name, contexts, overflow, number, .. } = option;
                let known = !overflow && number.is_some();
                self.negotiated.selection = known.then_some(Selection { export: name, contexts });
            }
            OptionType::STARTTLS => self.start_tls(),
            OptionType::INFO => {
                if self.follows(Side::Client) {
                    self.info_acknowledged(&option, found);
                }
                if let (Some(name), Some(size)) = (&option.name, option.block_size()) {
                    let asked = option.asked_block_size();
                    self.options.learned = Some((name.clone(), size, asked));
                }
                self.options.last_info = Some(option);
            }
            OptionType::GO => {
                if self.follows(Side::Client) {
                    self.info_acknowledged(&option, found);
                }
                self.go(option);
            }
            _ => {}
        }
    }

    /// NBD_OPT_GO was acknowledged.
    fn go(&mut self, option: Outstanding) {
        self.phase = Phase::Transmission;
        self.replies.last = Last::Go;
        let learned = option.name.as_ref().and_then(|name| self.options.learned(name));
        let asked = option.asked_block_size() || learned.is_some_and(|(_, asked)| asked);
        let block_size = option.block_size().or(learned.map(|(size, _)| size));
        // Nobody can abide by constraints that are none.
        let block_size = block_size.filter(|size| size.is_lawful());
        let export = option.items.iter().find_map(|item| match *item {
            Info::Export { size, flags } => {
                Some(Export { size, flags, block_size, asked_block_size: asked })
            }
            _ => None,
        });
        self.options.entered = option.name;
        // Without its information the export's rules can't be judged.
        self.export = export.filter(|_| self.follows(Side::Client) && self.follows(Side::Server));
    }

    /// NBD_OPT_STARTTLS was acknowledged: TLS records follow, and nothing that was negotiated is
    /// preserved.
    fn start_tls(&mut self) {
        self.negotiated = Negotiated {
            structured_before_tls: self.negotiated.structured,
            extended_before_tls: self.negotiated.extended,
            selection: Some(Selection::default()),
            ..Default::default()
        };
        self.options.forget();
        let client = self.stream(Side::Client);
        if !client.buffer.is_empty() {
            let bytes = client.buffer.len();
            client.offset += bytes as u64;
            client.buffer.clear();
            let bytes = Plural(bytes as u64, "byte");
            let text = format!("{bytes} of a message before TLS {} not followed", bytes.are());
            self.problem(ProblemKind::CutOff, Side::Client, text);
        }
        for stream in self.streams.iter_mut() {
            if !matches!(stream.mode, Mode::Lost) {
                stream.begin_tls();
            }
        }
    }
}

/// The errors that can answer NBD_OPT_STARTTLS.
const STARTTLS_ERRORS: [ReplyType; 6] = [
    ReplyType::ERR_UNSUP,
    ReplyType::ERR_POLICY,
    ReplyType::ERR_INVALID,
    ReplyType::ERR_PLATFORM,
    ReplyType::ERR_SHUTDOWN,
    ReplyType::ERR_TOO_BIG,
];

/// "Option reply types": 1 to 4, or an error, all of which have bit 31. Which errors there are is
/// left open.
fn check_type(reply: ReplyType, found: &mut Findings) {
    if reply.name().is_none() && !reply.is_error() {
        let text = format!("{reply} is neither defined nor an error");
        found.server(Rule::ErrorBit31, "", text);
    }
}

/// Data that does not have the layout of its type.
fn check_layout(reply: &OptionReply, found: &mut Findings) {
    let (length, raw) = match &reply.body {
        ReplyBody::Raw(data) => (data.len() as u64, true),
        ReplyBody::Bulk(length) => (u64::from(*length), false),
        _ => return,
    };
    let length = Plural(length, "byte");
    match reply.reply {
        // NBD_REP_ACK: no data.
        ReplyType::ACK => {
            let text = format!("NBD_REP_ACK with {length} of data");
            found.server(Rule::AckNoData, "data", text);
        }
        // NBD_REP_SERVER: the name's length is no larger than the reply's less 4.
        ReplyType::SERVER if raw => {
            let text = format!("the name does not fit into {length}");
            found.server(Rule::ServerNameLength, "data", text);
        }
        // NBD_REP_INFO: the length includes the 2 bytes of the type.
        ReplyType::INFO if raw => {
            found.server(Rule::InfoLayout, "data", format!("NBD_REP_INFO of {length}"));
        }
        // NBD_REP_META_CONTEXT: an id and the name.
        ReplyType::META_CONTEXT if raw => {
            let text = format!("NBD_REP_META_CONTEXT of {length}");
            found.server(Rule::MetaContextLayout, "data", text);
        }
        ReplyType::META_CONTEXT => {
            let text = format!("a name of more than {STRING_LIMIT} bytes");
            found.server(Rule::MetaNameStringLimits, "data", text);
        }
        // "Conventions": names and messages are at most 4096 bytes long.
        reply if reply.is_error() || reply == ReplyType::SERVER => {
            let text = format!("a string of more than {STRING_LIMIT} bytes");
            found.server(Rule::StringHardLimit, "data", text);
        }
        _ => {}
    }
}
