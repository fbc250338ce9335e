//! Cuts the bytes of a direction into messages.

use protocol::codec::{self, BadMagic, Decoded, Step};
use protocol::message::{ExportInfo, Message, Padding, Side};
use protocol::values::{
    ClientFlags, EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, HandshakeFlags, INIT_MAGIC,
    OPTION_MAGIC, OPTION_REPLY_MAGIC, OptionType, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
};

use crate::plural::Plural;

use super::event::ProblemKind;
use super::handshake::are_short;
use super::judge::Session;
use super::phase::{Farewell, Phase};
use super::replies::Last;
use super::rules::Rule;
use super::stream::Mode;

/// The bytes that stand in the place of the padding of `NBD_OPT_EXPORT_NAME`.
const PADDING: u32 = 124;

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|head| u32::from_be_bytes(*head))
}

fn is_reply_magic(magic: u32) -> bool {
    [SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, EXTENDED_REPLY_MAGIC].contains(&magic)
}

fn is_request_magic(magic: u32) -> bool {
    [REQUEST_MAGIC, EXTENDED_REQUEST_MAGIC].contains(&magic)
}

/// Whether a number of `bytes` bytes is a magic with its bytes turned around.
fn is_little_endian(error: &BadMagic) -> bool {
    match error.bytes {
        8 => {
            let found = error.found.swap_bytes();
            [INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC].contains(&found)
        }
        _ => u32::try_from(error.found).is_ok_and(|found| {
            is_reply_magic(found.swap_bytes()) | is_request_magic(found.swap_bytes())
        }),
    }
}

impl Session {
    /// Takes the next bytes of a direction.
    pub(super) fn follow(&mut self, from: Side, time_ns: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let stream = &mut self.streams[from];
            match &mut stream.mode {
                Mode::Head => bytes = self.take_head(from, time_ns, bytes),
                Mode::Bulk(bulk) => {
                    let count = usize::try_from(bulk.left).unwrap_or(usize::MAX);
                    let (now, later) = bytes.split_at(count.min(bytes.len()));
                    if let Some(recognizer) = &mut bulk.recognizer {
                        match now.len() as u64 == bulk.total {
                            true => recognizer.update_whole(now),
                            false => recognizer.update(now),
                        }
                    }
                    if let Some(contents) = &mut bulk.contents
                        && let Some(written) = &mut self.written
                    {
                        contents.update(now, written);
                    }
                    bulk.left -= now.len() as u64;
                    bytes = later;
                    self.end_bulk(from);
                }
                Mode::StrayZeroes(left) => {
                    let zeroes = bytes.iter().take(*left as usize).take_while(|b| **b == 0).count();
                    // No more of them than were left.
                    *left -= u32::try_from(zeroes).unwrap_or(*left);
                    if *left == 0 || zeroes < bytes.len() {
                        stream.mode = Mode::Head;
                    }
                    stream.offset += zeroes as u64;
                    bytes = bytes.get(zeroes..).unwrap_or_default();
                }
                Mode::Skip(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= count as u64;
                    if *left == 0 {
                        stream.mode = Mode::Head;
                    }
                    stream.offset += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Mode::Doubtful(_) => bytes = self.take_doubtful(from, time_ns, bytes),
                Mode::Resync => bytes = self.scan(from, time_ns, bytes),
                Mode::Tls | Mode::Lost | Mode::Over => {
                    stream.unread += bytes.len() as u64;
                    return;
                }
            }
        }
    }

    /// Tells the message in flight if its bulk is complete.
    pub(super) fn end_bulk(&mut self, from: Side) {
        let stream = self.stream(from);
        if let Mode::Bulk(bulk) = &stream.mode
            && bulk.left == 0
            && let Mode::Bulk(bulk) = std::mem::take(&mut stream.mode)
        {
            self.tail(from, bulk);
        }
    }

    /// Takes bytes of a message's head; gives back those behind it.
    fn take_head<'a>(&mut self, from: Side, time_ns: u64, bytes: &'a [u8]) -> &'a [u8] {
        let stream = self.stream(from);
        if stream.buffer.is_empty() {
            if !self.may_begin(from) {
                return bytes;
            }
            return match self.decode(from, bytes) {
                Ok(Step::Ready(message, taken)) => {
                    self.head(from, time_ns, message, taken);
                    bytes.get(taken..).unwrap_or_default()
                }
                Ok(Step::Need(need)) => {
                    self.stream(from).keep(bytes, need, time_ns);
                    &[]
                }
                Err(error) => {
                    self.garbage(from, error);
                    bytes.get(self.step_over(from)..).unwrap_or_default()
                }
            };
        }
        let count = stream.need.min(bytes.len());
        let (now, later) = bytes.split_at(count);
        stream.buffer.extend_from_slice(now);
        stream.need -= count;
        if stream.need > 0 {
            return later;
        }
        let began_ns = stream.began_ns;
        let mut buffer = std::mem::take(&mut stream.buffer);
        match self.decode(from, &buffer) {
            Ok(Step::Need(need)) => {
                let stream = self.stream(from);
                stream.buffer = buffer;
                stream.need = need;
            }
            Ok(Step::Ready(message, taken)) => {
                self.head(from, began_ns, message, taken);
                let rest = buffer.split_off(taken);
                buffer.clear();
                let stream = self.stream(from);
                if rest.is_empty() && stream.has_messages() {
                    stream.buffer = buffer;
                }
                self.follow(from, time_ns, &rest);
            }
            Err(error) => {
                self.garbage(from, error);
                // Garbage may turn out to be zeroes that are stepped over.
                let first = self.step_over(from);
                self.follow(from, time_ns, buffer.get(first..).unwrap_or_default());
            }
        }
        later
    }

    /// Where no message could be read, the search for one must not begin; gives how many bytes that
    /// is.
    fn step_over(&mut self, from: Side) -> usize {
        let stream = self.stream(from);
        let searches = matches!(stream.mode, Mode::Resync);
        stream.unread += u64::from(searches);
        usize::from(searches)
    }

    /// Whether a message may begin here; says what is wrong otherwise.
    fn may_begin(&mut self, from: Side) -> bool {
        if from == Side::Client {
            let (rule, text) = match self.farewell {
                None => {
                    self.options.note_begin();
                    return true;
                }
                // "Termination of the session during option haggling": after ABORT the client
                // drops the connection.
                Some(Farewell::Abort) => (Rule::AbortClientCloses, "bytes after NBD_OPT_ABORT"),
                // NBD_CMD_DISC: the client sends nothing after it.
                Some(Farewell::Disc(_)) => (Rule::DiscSilentAfter, "bytes after NBD_CMD_DISC"),
            };
            if self.follows(from) {
                self.out.accuse(rule, Side::Client, text);
            }
            self.stream(from).mode = Mode::Over;
            return false;
        }
        // "Newstyle negotiation": after the greeting it is the client's turn.
        if self.phase == Phase::Flags && self.follows(Side::Client) {
            let text = "bytes after the greeting, before the client's flags";
            self.out.accuse(Rule::GreetingLayout, Side::Server, text);
            self.lose(from, ProblemKind::Lost, "the rest of the server's bytes can't be followed");
            return false;
        }
        true
    }

    pub(super) fn decode(&self, from: Side, bytes: &[u8]) -> Decoded<Message> {
        let limits = self.config.limits;
        match (from, self.phase) {
            (Side::Server, Phase::Greeting) => Ok(codec::greeting(bytes)?.map(Message::Greeting)),
            (Side::Server, Phase::Transmission) => codec::reply(bytes, limits),
            (Side::Server, _) if self.options.front() == Some(OptionType::EXPORT_NAME) => {
                self.decode_export_info(bytes)
            }
            (Side::Server, _) => Ok(codec::option_reply(bytes, limits)?.map(Message::OptionReply)),
            // Only a hole before or within the flags makes the client patchy so early.
            (Side::Client, Phase::Greeting | Phase::Flags)
                if self.client_flags.is_none()
                    && !self.is_patchy(Side::Client)
                    && !self.may_be_oldstyle(bytes) =>
            {
                Ok(codec::client_flags(bytes).map(Message::ClientFlags))
            }
            (Side::Client, phase) => {
                let Some(magic) = be32(bytes) else {
                    return Ok(Step::Need(4 - bytes.len()));
                };
                // Options and requests tell themselves apart; that one came out of its turn is
                // said when it is judged.
                let request = match phase {
                    Phase::Transmission => magic != (OPTION_MAGIC >> 32) as u32,
                    _ => is_request_magic(magic) && self.may_be_past_haggling(),
                };
                if request {
                    Ok(codec::request(bytes, limits)?.map(Message::Request))
                } else {
                    Ok(codec::option(bytes, limits)?.map(Message::Option))
                }
            }
        }
    }

    /// Whether the client may believe to be in transmission although no answer was seen.
    pub(super) fn may_be_past_haggling(&self) -> bool {
        let entering = [OptionType::EXPORT_NAME, OptionType::GO];
        !self.follows(Side::Server)
            || self.options.back().is_some_and(|option| entering.contains(&option))
    }

    /// Whether a request stands in the place of the client's flags, and the greeting was missed: after
    /// an oldstyle one there are no flags.
    fn may_be_oldstyle(&self, bytes: &[u8]) -> bool {
        !self.follows(Side::Server) && be32(bytes).is_some_and(is_request_magic)
    }

    /// The answer to `NBD_OPT_EXPORT_NAME`, or what stands in its place.
    fn decode_export_info(&self, bytes: &[u8]) -> Decoded<Message> {
        // The shortest answer has 10 bytes; 4 more tell whether a reply stands in the place of
        // the padding, and 12 tell an option reply.
        let magic = OPTION_REPLY_MAGIC.to_be_bytes();
        let least = match (bytes.starts_with(&magic), self.no_zeroes()) {
            (true, _) => 12,
            (false, true) => 10,
            (false, false) => 14,
        };
        if let Some(lacking @ 1..) = 10usize.checked_sub(bytes.len()) {
            return Ok(Step::Need(lacking));
        }
        if let Some(lacking @ 1..) = usize::checked_sub(least, bytes.len()) {
            return Ok(Step::Need(lacking));
        }
        if least == 12 && bytes.get(8..).and_then(be32) == Some(OptionType::EXPORT_NAME.0) {
            let reply = codec::option_reply(bytes, self.config.limits)?;
            return Ok(reply.map(Message::OptionReply));
        }
        let no_zeroes = self.no_zeroes();
        if !no_zeroes
            && bytes.get(10..).and_then(be32).is_some_and(is_reply_magic)
            && let Step::Ready(info, taken) = codec::export_info(bytes, true)
        {
            return Ok(Step::Ready(Message::ExportInfo(info), taken));
        }
        Ok(codec::export_info(bytes, no_zeroes).map(Message::ExportInfo))
    }

    /// Whether both sides agreed to leave out the padding after `NBD_OPT_EXPORT_NAME`.
    pub(super) fn no_zeroes(&self) -> bool {
        self.client_flags.is_some_and(|flags| flags.has(ClientFlags::NO_ZEROES))
            && self.greeting.is_some_and(|flags| flags.has(HandshakeFlags::NO_ZEROES))
    }

    /// The padding of the answer to `NBD_OPT_EXPORT_NAME` is missing although it is due.
    pub(super) fn lacks_padding(&self, info: &ExportInfo) -> bool {
        let known = self.client_flags.is_some() && self.greeting.is_some();
        info.padding == Padding::Absent && known && !self.no_zeroes()
    }

    /// No message that may stand here begins like this.
    fn garbage(&mut self, from: Side, error: BadMagic) {
        if from == Side::Server && !self.is_patchy(from) && self.steps_over_zeroes(&error) {
            return;
        }
        let name = from.name();
        let unsure = self.is_patchy(from)
            || match self.phase {
                Phase::Transmission => {
                    from == Side::Server
                        && (self.replies.is_doubtful() || self.is_patchy(Side::Client))
                }
                _ => !self.follows(from.other()),
            };
        if unsure {
            let text = format!("{error}; it is unknown what should be there");
            return self.lose(from, ProblemKind::Ambiguous, text);
        }
        // That was told of the flags, and they explain what follows.
        let told = from == Side::Client && self.client_flags.is_some_and(are_short);
        let rule = self.rule_of_garbage(from, &error);
        let at = self.stream(from).offset + error.at as u64;
        let BadMagic { expected, found, bytes, .. } = error;
        let found = format!("{found:#0width$x}", width = bytes * 2 + 2);
        let text = format!("expected {expected}, found magic {found} at byte {at} of the {name}");
        if !told {
            self.out.accuse(rule, from, text);
        }
        let text = format!("the rest of the {name}'s bytes can't be followed");
        self.lose(from, ProblemKind::Lost, text);
    }

    /// Whether zeroes stand where the first reply should: the padding of `NBD_OPT_EXPORT_NAME` in
    /// the wrong place.
    fn steps_over_zeroes(&mut self, error: &BadMagic) -> bool {
        if self.phase != Phase::Transmission || error.found != 0 {
            return false;
        }
        let (rule, text) = match self.replies.last {
            // NBD_OPT_GO: no padding follows its NBD_REP_ACK, whatever the flags say.
            Last::Go => (Rule::GoNoPadding, "zeroes after NBD_REP_ACK to NBD_OPT_GO"),
            // "Handshake flags": with no-zeroes agreed the 124 bytes are not sent.
            Last::ExportName if self.no_zeroes() => {
                (Rule::NoZeroesHonoured, "zeroes after the answer to NBD_OPT_EXPORT_NAME")
            }
            _ => return false,
        };
        self.out.accuse(rule, Side::Server, text);
        self.replies.last = Last::Nothing;
        self.stream(Side::Server).mode = Mode::StrayZeroes(PADDING);
        true
    }

    /// Which rule is broken by bytes that begin no message.
    fn rule_of_garbage(&self, from: Side, error: &BadMagic) -> Rule {
        if is_little_endian(error) {
            return Rule::WireBigEndian;
        }
        if error.is_historic() {
            return Rule::MagicHistoric;
        }
        let top = error.found >> ((error.bytes - 2) * 8);
        if !self.tls && top == 0x1603 {
            return Rule::TlsViaStarttls;
        }
        let extended = self.negotiated.extended;
        match (from, self.phase) {
            // NBD_CMD_WRITE: exactly length bytes of data.
            (Side::Client, Phase::Transmission) if self.wrote => Rule::WritePayload,
            (Side::Client, Phase::Transmission) if extended => Rule::ExtRequestLayout,
            (Side::Client, Phase::Transmission) => Rule::RequestLayout,
            (Side::Client, _) => Rule::OptionRequestLayout,
            (Side::Server, Phase::Greeting) => Rule::GreetingLayout,
            (Side::Server, Phase::Flags | Phase::Haggling) => Rule::OptionReplyLayout,
            (Side::Server, Phase::Transmission) => match self.replies.last {
                Last::SimpleRead | Last::SimpleOther => Rule::SimpleReadPayload,
                Last::SimpleReadError => Rule::SimpleErrorNoPayload,
                Last::ExportName => Rule::ExportNameReplyLayout,
                _ if extended => Rule::ExtReplyLayout,
                Last::Chunk => Rule::StructuredChunkLayout,
                _ if self.negotiated.structured => Rule::StructuredChunkLayout,
                _ => Rule::SimpleReplyLayout,
            },
        }
    }

    /// After a simple reply to a structured read: payload, or the next reply?
    fn take_doubtful<'a>(&mut self, from: Side, time_ns: u64, bytes: &'a [u8]) -> &'a [u8] {
        let stream = self.stream(from);
        let missing = 4usize.saturating_sub(stream.buffer.len()).min(bytes.len());
        let (now, later) = bytes.split_at(missing);
        stream.keep(now, 0, time_ns);
        if stream.buffer.len() < 4 {
            return later;
        }
        let head = std::mem::take(&mut stream.buffer);
        if let Mode::Doubtful(length) = std::mem::take(&mut stream.mode)
            && !be32(&head).is_some_and(is_reply_magic)
        {
            stream.mode = Mode::Skip(length);
            self.replies.set_doubtful();
            if self.is_patchy(from) {
                self.follow(from, time_ns, &head);
                return later;
            }
            // "Structured reply chunk message": any response with a payload is structured.
            let text = "payload after a simple reply, though structured replies were negotiated";
            self.out.accuse(Rule::StructuredForPayload, from, text);
        }
        self.follow(from, time_ns, &head);
        later
    }

    /// Steps over bytes that are not in the capture.
    pub(super) fn skip(&mut self, from: Side, missing: u64) {
        let name = from.name();
        let bytes = Plural(missing, "byte");
        let text = format!("{bytes} of the {name} {} missing", bytes.are());
        self.problem(ProblemKind::Gap, from, text);
        let stream = self.stream(from);
        match &mut stream.mode {
            Mode::Bulk(bulk) if bulk.left >= missing => {
                bulk.left -= missing;
                bulk.recognizer = None;
                bulk.contents = None;
                return self.end_bulk(from);
            }
            Mode::Bulk(_) => {
                if let Mode::Bulk(mut bulk) = std::mem::take(&mut stream.mode) {
                    bulk.left = 0;
                    bulk.recognizer = None;
                    bulk.contents = None;
                    self.tail(from, bulk);
                }
            }
            Mode::Resync => {
                stream.unread += missing + stream.buffer.len() as u64;
                stream.buffer.clear();
                return;
            }
            Mode::Tls | Mode::Lost | Mode::Over => {
                stream.unread += missing;
                return;
            }
            Mode::Head | Mode::StrayZeroes(_) | Mode::Skip(_) | Mode::Doubtful(_) => {}
        }
        let text = format!("after the hole the {name} can't be followed");
        self.problem(ProblemKind::Lost, from, text);
        self.resync(from);
        self.stream(from).unread += missing;
    }
}
