//! The server's side of haggling: options in, answers out. No sockets, no clock.

use std::sync::Arc;

use protocol::codec::layout_error;
use protocol::message::{
    ExportInfo, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, Padding, ReplyBody,
};
use protocol::text::WireString;
use protocol::values::{
    ClientFlags, HandshakeFlags, InfoType, OptionType, ReplyType, TransmissionFlags,
};

use crate::answer::{Answer, Next, check_name, close, is_wrong, message, refuse, reply, shortened};
use crate::behaviour::Wrongs;
use crate::config::{Config, TlsMode};
use crate::context_options;
use crate::distort;
use crate::export::Export;
use crate::features::{Handshake, Replies};
use crate::negotiated::Negotiated;
use crate::outgoing::Parts;
use crate::session_end::Ending;
use crate::transmission::Transmission;

/// What errors say in a language that takes more than ASCII.
const FOREIGN: &str = "Das läßt sich so nicht machen — これはできません";

/// A session up to its transmission phase.
#[derive(Debug)]
pub(crate) struct Negotiation {
    config: Arc<Config>,
    fixed: bool,
    no_zeroes: bool,
    tls: bool,
    agreed: Negotiated,
    options: u32,
}

impl Negotiation {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            fixed: false,
            no_zeroes: false,
            tls: false,
            agreed: Negotiated::default(),
            options: 0,
        }
    }

    /// TLS has begun: what was agreed by options is forgotten (`NBD_OPT_STARTTLS`), the handshake's
    /// flags are not.
    pub(crate) fn inside_tls(&mut self) {
        let Self { fixed, no_zeroes, options, .. } = *self;
        let fresh = Self::new(self.config.clone());
        let old = std::mem::replace(self, Self { fixed, no_zeroes, options, tls: true, ..fresh });
        if self.config.behaviour.keeps_state_at_tls {
            self.agreed = old.agreed;
        }
    }

    /// The first message; after an oldstyle one comes transmission.
    pub(crate) fn greeting(&self) -> Answer {
        let mut parts = Parts::default();
        let behaviour = &self.config.behaviour;
        if behaviour.features.handshake != Handshake::Oldstyle {
            let mut flags = behaviour.features.handshake_flags();
            flags.0 |= behaviour.spare_handshake_flags;
            if !behaviour.shows_fixed_newstyle {
                flags = flags.without(HandshakeFlags::FIXED_NEWSTYLE);
            }
            parts.message(Message::Greeting(Greeting::Newstyle { flags }));
            return Answer { parts, next: Next::Option };
        }
        // An oldstyle client can't name an export.
        let Some(export) = self.config.exports.find(b"") else {
            let why = "there is no default export for an oldstyle session";
            return Answer { parts, next: Next::Close(Ending::Refused(why.into())) };
        };
        parts.message(Message::Greeting(Greeting::Oldstyle {
            size: export.size(),
            flags: self.advertised(export),
            handshake_flags: HandshakeFlags(behaviour.oldstyle_handshake_flags),
            padding: match behaviour.oldstyle_padding {
                0 => Padding::Zeroes,
                byte => Padding::Other(Box::new([byte; 124])),
            },
        }));
        Answer { parts, next: self.enter(export) }
    }

    /// Takes the client's flags.
    ///
    /// # Errors
    /// A flag is unknown or was not offered: the session must end (section "Client flags").
    pub(crate) fn client_flags(&mut self, flags: ClientFlags) -> Result<(), Ending> {
        let behaviour = &self.config.behaviour;
        let offered = behaviour.features.handshake_flags();
        let unasked = ClientFlags(flags.0 & !u32::from(offered.0));
        if unasked != ClientFlags::EMPTY && behaviour.checks_client_flags {
            return Err(Ending::Refused(format!("client flags {unasked} were not offered")));
        }
        self.fixed = flags.has(ClientFlags::FIXED_NEWSTYLE) || !behaviour.shows_fixed_newstyle;
        self.no_zeroes = flags.has(ClientFlags::NO_ZEROES);
        Ok(())
    }

    /// Answers an option. Bulk data, if any, has been passed over.
    pub(crate) fn option(&mut self, request: &OptionRequest, shutdown: bool) -> Answer {
        self.options += 1;
        if self.options > self.config.limits.options {
            return close("too many options");
        }
        let mut answer = self.honest(request, shutdown);
        let behaviour = &self.config.behaviour;
        let wrongs = behaviour.wrongs;
        if wrongs != Wrongs::Refused && is_refused(&mut answer) && is_wrong(request) {
            let over = close("an option that it must not send");
            match wrongs {
                Wrongs::RefusedAndLeft => answer.next = over.next,
                _ => answer = over,
            }
        }
        match (behaviour.error_texts, behaviour.foreign_texts) {
            (false, _) => answer.parts.messages_mut().for_each(|it| say(it, "")),
            (true, true) => answer.parts.messages_mut().for_each(|it| say(it, FOREIGN)),
            (true, false) => {}
        }
        if let Some(fault) = self.config.behaviour.answer_fault {
            distort::distort_answer(fault, request, &mut answer, self.no_zeroes);
        }
        answer
    }

    fn honest(&mut self, request: &OptionRequest, shutdown: bool) -> Answer {
        let OptionRequest { option, body } = request;
        let behaviour = &self.config.behaviour;
        let features = &behaviour.features;
        match *option {
            OptionType::EXPORT_NAME => self.export_name(body, shutdown),
            // Without fixed newstyle no other option can be answered.
            _ if !self.fixed => close("an option that needs fixed newstyle"),
            OptionType::ABORT if self.insists_on_tls() && !behaviour.abort_before_tls => {
                tls_required(*option)
            }
            OptionType::ABORT => Answer {
                next: Next::Close(Ending::Aborted),
                ..reply(*option, ReplyType::ACK, ReplyBody::Empty)
            },
            _ if shutdown => refuse(*option, ReplyType::ERR_SHUTDOWN, "the server shuts down"),
            OptionType::STARTTLS => self.starttls(body),
            _ if self.insists_on_tls()
                && !(option.name().is_some() && behaviour.options_before_tls) =>
            {
                tls_required(*option)
            }
            OptionType::LIST
                if behaviour.list_needs_tls && self.config.tls.is_some() && !self.tls =>
            {
                tls_required(*option)
            }
            OptionType::LIST if features.list => self.list(body),
            // Everybody knows the option, so it can only be forbidden ("Baseline").
            OptionType::LIST => refuse(
                OptionType::LIST,
                ReplyType::ERR_POLICY,
                "this server does not list its exports",
            ),
            OptionType::INFO | OptionType::GO if features.info_and_go => self.info(request),
            OptionType::STRUCTURED_REPLY if features.structured_reply => {
                self.structured_reply(body)
            }
            // Whoever takes extended headers needs GO.
            OptionType::EXTENDED_HEADERS if features.extended_headers && features.info_and_go => {
                self.extended_headers(body)
            }
            OptionType::LIST_META_CONTEXT if features.meta_context => {
                context_options::list(&self.agreed, &self.config, self.tls, request)
            }
            OptionType::SET_META_CONTEXT if features.meta_context => {
                context_options::set(&mut self.agreed, &self.config, self.tls, request)
            }
            _ if self.tls && behaviour.wants_tls_inside_tls => tls_required(*option),
            _ => unsupported(*option),
        }
    }

    /// FORCEDTLS mode, and no TLS yet.
    fn insists_on_tls(&self) -> bool {
        let forced = self.config.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Forced);
        let forgotten =
            self.config.behaviour.forgets_tls_after.is_some_and(|count| self.options > count);
        forced && !self.tls && !forgotten
    }

    /// SELECTIVETLS mode, no TLS yet, and an export that takes it.
    fn withholds(&self, export: &Export) -> bool {
        export.is_tls_only() && !self.tls && !self.config.behaviour.serves_tls_only_bare
    }

    fn starttls(&self, body: &OptionBody) -> Answer {
        let option = OptionType::STARTTLS;
        let Some(tls) = &self.config.tls else {
            if self.config.behaviour.minds_starttls_data && *body != OptionBody::Empty {
                return refuse(option, ReplyType::ERR_INVALID, "NBD_OPT_STARTTLS takes no data");
            }
            return refuse(option, ReplyType::ERR_POLICY, "this server offers no TLS");
        };
        if self.config.behaviour.starttls_only_first && self.options > 1 {
            return refuse(option, ReplyType::ERR_INVALID, "NBD_OPT_STARTTLS comes first");
        }
        if self.tls && self.config.behaviour.tls_twice {
            return reply(option, ReplyType::ACK, ReplyBody::Empty);
        }
        if self.tls {
            return refuse(option, ReplyType::ERR_INVALID, "TLS has begun already");
        }
        if *body != OptionBody::Empty {
            return refuse(option, ReplyType::ERR_INVALID, "NBD_OPT_STARTTLS takes no data");
        }
        let next = Next::Tls(tls.acceptor.clone());
        Answer { next, ..reply(option, ReplyType::ACK, ReplyBody::Empty) }
    }

    /// `NBD_OPT_STRUCTURED_REPLY`.
    fn structured_reply(&mut self, body: &OptionBody) -> Answer {
        let option = OptionType::STRUCTURED_REPLY;
        if self.minds_data(option, body) {
            let why = "NBD_OPT_STRUCTURED_REPLY takes no data";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        if self.agreed.extended {
            let why = "extended headers have been agreed, and take precedence";
            return refuse(option, ReplyType::ERR_EXT_HEADER_REQD, why);
        }
        if self.agreed.structured && self.config.behaviour.structured_once {
            let why = "structured replies have been agreed already";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        self.agreed.structured = true;
        reply(option, ReplyType::ACK, ReplyBody::Empty)
    }

    /// `NBD_OPT_EXTENDED_HEADERS`.
    fn extended_headers(&mut self, body: &OptionBody) -> Answer {
        let option = OptionType::EXTENDED_HEADERS;
        if self.minds_data(option, body) {
            let why = "NBD_OPT_EXTENDED_HEADERS takes no data";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        if self.agreed.extended && self.config.behaviour.extended_once {
            let why = "extended headers have been agreed already";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        if self.config.behaviour.extended_wants_structured && !self.agreed.structured {
            let why = "structured replies come first";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        self.agreed.extended = true;
        reply(option, ReplyType::ACK, ReplyBody::Empty)
    }

    /// Whether an option that should have no data has some, and that matters.
    fn minds_data(&self, option: OptionType, body: &OptionBody) -> bool {
        *body != OptionBody::Empty && self.config.behaviour.ignores_data_of != Some(option)
    }

    fn export_name(&self, body: &OptionBody, shutdown: bool) -> Answer {
        if self.agreed.replies() == Replies::Extended {
            return close("an export by its name alone after extended headers were agreed");
        }
        let OptionBody::Name(name) = body else {
            return close("an export name that is far too long");
        };
        if name.len() > self.config.behaviour.name_limit {
            return close("an export name that is too long for this server");
        }
        if self.insists_on_tls() && !self.config.behaviour.export_name_before_tls {
            return close("an export without TLS");
        }
        let Some(export) = self.config.exports.find(name.as_bytes()) else {
            return close("an export that is not there");
        };
        if self.withholds(export) && !self.config.behaviour.serves_tls_only_by_name {
            return close("an export that is served inside TLS only");
        }
        if shutdown {
            return Answer { parts: Parts::default(), next: Next::Close(Ending::Stopped) };
        }
        if export.is_block_size_required() && self.config.behaviour.features.block_size {
            return close("an export that can't be had without its size constraints");
        }
        let mut parts = Parts::default();
        parts.message(Message::ExportInfo(ExportInfo {
            size: export.size(),
            flags: self.advertised(export),
            padding: if self.no_zeroes { Padding::Absent } else { Padding::Zeroes },
        }));
        Answer { parts, next: self.enter(export) }
    }

    fn list(&self, body: &OptionBody) -> Answer {
        let option = OptionType::LIST;
        if self.minds_data(option, body) {
            return refuse(option, ReplyType::ERR_INVALID, "NBD_OPT_LIST takes no data");
        }
        let mut parts = Parts::default();
        let nothing = self.config.behaviour.lists_nothing;
        let listed = |export: &&Arc<Export>| export.is_listed() && !nothing;
        for export in self.config.exports.iter().filter(listed) {
            parts.message(message(
                option,
                ReplyType::SERVER,
                ReplyBody::Server {
                    name: export.name().into(),
                    description: export.description().into(),
                },
            ));
        }
        parts.message(message(option, ReplyType::ACK, ReplyBody::Empty));
        Answer { parts, next: Next::Option }
    }

    fn info(&self, request: &OptionRequest) -> Answer {
        let option = request.option;
        let lenient;
        let (name, requests) = match &request.body {
            OptionBody::Info { name, requests } => (name, requests),
            OptionBody::Raw(data) if self.config.behaviour.takes_malformed_info => {
                lenient = distort::lenient_info(data);
                (&lenient.0, &lenient.1)
            }
            _ => {
                let why = match layout_error(&Message::Option(request.clone())) {
                    Some(error) => error.to_string(),
                    None => "the data is far too long".to_owned(),
                };
                return refuse(option, ReplyType::ERR_INVALID, &why);
            }
        };
        let behaviour = &self.config.behaviour;
        let name = match name.as_bytes().iter().position(|byte| *byte == 0) {
            Some(end) if behaviour.names_end_at_nul => &WireString::from(&name.as_bytes()[..end]),
            _ => name,
        };
        let limit = behaviour.info_name_limit.unwrap_or(behaviour.name_limit);
        let is_other_text = !behaviour.names_are_utf8
            && name.len() <= limit
            && name.to_str().is_none()
            && !name.as_bytes().contains(&0);
        if let (Err(why), false) = (check_name(name, limit), is_other_text) {
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        let Some(export) = self.find(name) else {
            let why = format!("no export is named {}", shortened(name));
            return refuse(option, ReplyType::ERR_UNKNOWN, &why);
        };
        if self.withholds(export) {
            return tls_required(option);
        }
        let asked = requests.contains(&InfoType::BLOCK_SIZE);
        let insists = behaviour.info_insists && option == OptionType::INFO;
        let required =
            (export.is_block_size_required() || insists) && behaviour.features.block_size;
        let mut parts = Parts::default();
        for info in self.items(option, export, requests, required && !asked) {
            parts.message(message(option, ReplyType::INFO, ReplyBody::Info(info)));
        }
        if required && !asked {
            let why = "ask for NBD_INFO_BLOCK_SIZE: this export has size constraints";
            let body = ReplyBody::Message(why.into());
            parts.message(message(option, ReplyType::ERR_BLOCK_SIZE_REQD, body));
            return Answer { parts, next: Next::Option };
        }
        parts.message(message(option, ReplyType::ACK, ReplyBody::Empty));
        let next = if option == OptionType::GO { self.enter(export) } else { Next::Option };
        Answer { parts, next }
    }

    /// What to tell of an export: always size and flags, and what was asked for.
    fn items(
        &self,
        option: OptionType,
        export: &Arc<Export>,
        requests: &[InfoType],
        sizes_anyway: bool,
    ) -> Vec<Info> {
        let behaviour = &self.config.behaviour;
        let asked = |info| requests.contains(&info);
        let told = |info| asked(info) || behaviour.tells_unasked;
        let size = export.size();
        let mut flags = self.advertised(export);
        if behaviour.info_tells_payload
            && option == OptionType::INFO
            && self.agreed.replies() == Replies::Extended
        {
            flags = flags | TransmissionFlags::BLOCK_STATUS_PAYLOAD;
        }
        let mut items = vec![Info::Export { size, flags }];
        if asked(InfoType::NAME) && behaviour.info_name {
            items.push(Info::Name(export.name().into()));
        }
        let description = behaviour.info_description && !export.description().is_empty();
        if told(InfoType::DESCRIPTION) && description {
            items.push(Info::Description(export.description().into()));
        }
        if behaviour.features.block_size && (told(InfoType::BLOCK_SIZE) || sizes_anyway) {
            let sizes = export.block_sizes();
            let committed = asked(InfoType::BLOCK_SIZE) || option == OptionType::INFO;
            let least = if committed { behaviour.least_minimum } else { 1 };
            items.push(Info::BlockSize {
                minimum: sizes.minimum().max(least),
                preferred: sizes.preferred().max(least),
                maximum: sizes.maximum().max(least),
            });
        }
        if behaviour.export_last {
            items.rotate_left(1);
        }
        if behaviour.info_reversed {
            items.reverse();
        }
        items
    }

    fn find(&self, name: &WireString) -> Option<&Arc<Export>> {
        let mut name = name.as_bytes();
        if self.config.behaviour.cuts_name_lengths {
            name = &name[..name.len() & 0xff];
        }
        let found = self.config.exports.find(name);
        if found.is_none() && self.config.behaviour.serves_missing_exports {
            return self.config.exports.iter().next();
        }
        found
    }

    fn advertised(&self, export: &Arc<Export>) -> TransmissionFlags {
        let replies = self.agreed.replies();
        let flags = self.agreed.transmission_flags(&self.config, export, replies);
        let behaviour = &self.config.behaviour;
        flags.without(behaviour.flags_hidden) | behaviour.flags_added
    }

    fn enter(&self, export: &Arc<Export>) -> Next {
        Next::Transmit(Box::new(Transmission::new(&self.config, export, &self.agreed)))
    }
}

/// Puts another text into an error.
fn say(message: &mut Message, words: &str) {
    if let Message::OptionReply(OptionReply { body: ReplyBody::Message(text), .. }) = message {
        *text = words.into();
    }
}

/// Whether an option is refused for what is wrong with it.
fn is_refused(answer: &mut Answer) -> bool {
    answer.parts.messages_mut().any(|message| {
        matches!(message, Message::OptionReply(reply) if reply.reply == ReplyType::ERR_INVALID)
    })
}

fn tls_required(option: OptionType) -> Answer {
    refuse(option, ReplyType::ERR_TLS_REQD, "this takes TLS: NBD_OPT_STARTTLS comes first")
}

fn unsupported(option: OptionType) -> Answer {
    refuse(option, ReplyType::ERR_UNSUP, &format!("{option} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Behaviour;
    use crate::config::Limits;
    use crate::export::{BlockSizes, Exports};
    use crate::features::Features;
    use crate::store::MemoryStore;
    use proptest::prelude::*;
    use protocol::codec::{self, Step};

    fn config() -> Config {
        let sizes = BlockSizes::new(512, 4096, 1 << 20).unwrap();
        let exports = vec![
            Export::new("", MemoryStore::new(1000)).with_description("default"),
            Export::new("a".repeat(4096), MemoryStore::new(1)),
            Export::new("hidden", MemoryStore::new(1)).with_listed(false),
            Export::new("blocks", MemoryStore::new(1 << 20))
                .with_block_sizes(sizes)
                .with_block_size_required(true),
        ];
        Config {
            exports: Exports::new(exports, None).unwrap(),
            behaviour: Behaviour::default(),
            limits: Limits::default(),
            tls: None,
        }
    }

    fn offering(features: Features) -> Config {
        Config { behaviour: Behaviour { features, ..Behaviour::default() }, ..config() }
    }

    fn fixed(config: Config) -> Negotiation {
        let mut negotiation = Negotiation::new(Arc::new(config));
        negotiation.client_flags(ClientFlags(3)).unwrap();
        negotiation
    }

    fn ask(negotiation: &mut Negotiation, option: OptionType, body: OptionBody) -> Answer {
        negotiation.option(&OptionRequest { option, body }, false)
    }

    fn info(name: &[u8], requests: &[InfoType]) -> OptionBody {
        OptionBody::Info { name: name.into(), requests: requests.to_vec() }
    }

    fn replies(answer: &mut Answer) -> Vec<(ReplyType, ReplyBody)> {
        let reply = |message: &mut Message| match message {
            Message::OptionReply(reply) => (reply.reply, reply.body.clone()),
            other => panic!("{other:?} is no reply to an option"),
        };
        answer.parts.messages_mut().map(reply).collect()
    }

    fn last(mut answer: Answer) -> ReplyType {
        replies(&mut answer).last().unwrap().0
    }

    #[test]
    fn refuses_client_flags_that_are_unknown_or_were_not_offered() {
        let features = Features { no_zeroes: false, ..Features::default() };
        let mut negotiation = Negotiation::new(Arc::new(offering(features)));
        for flags in [2, 3, 4, 1 << 31] {
            assert!(negotiation.client_flags(ClientFlags(flags)).is_err(), "{flags:#x}");
        }
        assert!(negotiation.client_flags(ClientFlags(1)).is_ok());
    }

    #[test]
    fn names_have_up_to_4096_bytes() {
        let mut n = fixed(config());
        let mut name = vec![b'a'; 4096];
        assert_eq!(last(ask(&mut n, OptionType::INFO, info(&name, &[]))), ReplyType::ACK);
        name[0] = b'b';
        let mut unknown = ask(&mut n, OptionType::INFO, info(&name, &[]));
        let (reply, body) = replies(&mut unknown).remove(0);
        assert_eq!(reply, ReplyType::ERR_UNKNOWN);
        let ReplyBody::Message(text) = body else { panic!("no message") };
        assert!(text.len() < 256, "a message is short however long the name");
        name.push(b'a');
        for name in [&name[..], b"a\0", b"\xff"] {
            let answer = ask(&mut n, OptionType::GO, info(name, &[]));
            assert_eq!(last(answer), ReplyType::ERR_INVALID);
        }
    }

    #[test]
    fn tells_what_is_asked_for_and_always_size_and_flags() {
        let mut n = fixed(config());
        let unknown = InfoType(0x4242);
        let asked = [InfoType::BLOCK_SIZE, InfoType::NAME, unknown, InfoType::DESCRIPTION];
        for (requests, count) in [(&asked[..], 4), (&[], 1), (&asked[..1], 2)] {
            let mut answer = ask(&mut n, OptionType::INFO, info(b"", requests));
            let told = replies(&mut answer);
            assert_eq!(told.len(), count + 1);
            assert!(matches!(told[0].1, ReplyBody::Info(Info::Export { size: 1000, .. })));
        }
    }

    #[test]
    fn demands_the_block_size_request_and_tells_the_sizes_first() {
        let mut n = fixed(config());
        let mut answer = ask(&mut n, OptionType::GO, info(b"blocks", &[]));
        let told = replies(&mut answer);
        assert!(matches!(told[1].1, ReplyBody::Info(Info::BlockSize { minimum: 512, .. })));
        assert_eq!(told[2].0, ReplyType::ERR_BLOCK_SIZE_REQD);
        assert!(matches!(answer.next, Next::Option));
        let answer = ask(&mut n, OptionType::GO, info(b"blocks", &[InfoType::BLOCK_SIZE]));
        assert!(matches!(answer.next, Next::Transmit(_)));
        let by_name = OptionBody::Name("blocks".into());
        let answer = ask(&mut n, OptionType::EXPORT_NAME, by_name);
        assert!(matches!(answer.next, Next::Close(_)) && answer.parts.list.is_empty());
    }

    #[test]
    fn lists_what_is_not_hidden() {
        let mut n = fixed(config());
        let mut answer = ask(&mut n, OptionType::LIST, OptionBody::Empty);
        assert_eq!(replies(&mut answer).len(), 4);
        let with_data = ask(&mut n, OptionType::LIST, OptionBody::Raw(vec![0]));
        assert_eq!(last(with_data), ReplyType::ERR_INVALID);
    }

    #[test]
    fn what_is_switched_off_is_unsupported() {
        let features = Features {
            list: false,
            info_and_go: false,
            structured_reply: false,
            meta_context: false,
            ..Features::default()
        };
        let mut n = fixed(offering(features));
        let list = ask(&mut n, OptionType::LIST, OptionBody::Empty);
        assert_eq!(last(list), ReplyType::ERR_POLICY);
        for (option, body) in [
            (OptionType::GO, info(b"", &[])),
            (OptionType::STRUCTURED_REPLY, OptionBody::Empty),
            (OptionType::EXTENDED_HEADERS, OptionBody::Empty),
            (OptionType::LIST_META_CONTEXT, OptionBody::Raw(vec![])),
            (OptionType::SET_META_CONTEXT, OptionBody::Raw(vec![])),
            (OptionType::PEEK_EXPORT, OptionBody::Empty),
            (OptionType(99), OptionBody::Bulk(1 << 20)),
        ] {
            assert_eq!(last(ask(&mut n, option, body)), ReplyType::ERR_UNSUP, "{option}");
        }
        // Of the baseline: it can only be forbidden.
        let list = ask(&mut n, OptionType::LIST, OptionBody::Empty);
        assert_eq!(last(list), ReplyType::ERR_POLICY);
    }

    #[test]
    fn in_a_shutdown_only_abort_is_honoured() {
        let mut n = fixed(config());
        for option in [OptionType::LIST, OptionType::STRUCTURED_REPLY, OptionType(99)] {
            let request = OptionRequest { option, body: OptionBody::Empty };
            assert_eq!(last(n.option(&request, true)), ReplyType::ERR_SHUTDOWN);
        }
        let request = OptionRequest { option: OptionType::ABORT, body: OptionBody::Empty };
        let answer = n.option(&request, true);
        assert!(matches!(answer.next, Next::Close(Ending::Aborted)));
        assert_eq!(last(answer), ReplyType::ACK);
    }

    #[test]
    fn options_are_counted() {
        let limits = Limits { options: 3, ..Limits::default() };
        let mut n = fixed(Config { limits, ..config() });
        for _ in 0..3 {
            assert_eq!(last(ask(&mut n, OptionType::LIST, OptionBody::Empty)), ReplyType::ACK);
        }
        let answer = ask(&mut n, OptionType::LIST, OptionBody::Empty);
        assert!(matches!(answer.next, Next::Close(_)));
    }

    proptest! {
        #[test]
        fn any_option_gets_one_final_reply_with_its_number(
            option in prop_oneof![0u32..13, any::<u32>()], data: Vec<u8>,
        ) {
            let mut n = fixed(config());
            let raw = OptionRequest { option: OptionType(option), body: OptionBody::Raw(data) };
            let bytes = Message::Option(raw).to_bytes();
            let Ok(Step::Ready(request, _)) = codec::option(&bytes, Default::default()) else {
                panic!("a whole option")
            };
            let mut answer = n.option(&request, false);
            if request.option != OptionType::EXPORT_NAME {
                let told = replies(&mut answer);
                let finals = told.iter().filter(|(reply, _)| reply.is_final()).count();
                prop_assert_eq!(finals, 1);
                prop_assert!(told.last().unwrap().0.is_final());
                for message in answer.parts.messages_mut() {
                    prop_assert!(matches!(message, Message::OptionReply(reply)
                        if reply.option == request.option));
                }
            }
        }
    }
}
