//! Replies as such: simple ones, whom they answer, and error values.

use protocol::message::{Cookie, Message, Side, SimpleReply};
use protocol::values::{Command, CommandFlags, ErrorCode, OPTION_MAGIC, TransmissionFlags};

use super::commands::{self, CommandRow, Payload, Writes};
use super::event::ProblemKind;
use super::export::Export;
use super::flight::{Answered, InFlight, Match};
use super::judge::Session;
use super::phase::{Farewell, Phase};
use super::replies::Last;
use super::rules::{Findings, Rule};
use super::stream::Mode;
use super::verdict::Verdict;

/// Reads of up to so many bytes are served in one piece where that is asked for.
const SERVED_WHOLE: u64 = 1 << 16;

impl Session {
    pub(super) fn simple_reply(&mut self, reply: &SimpleReply, found: &mut Findings) -> Verdict {
        let SimpleReply { error, cookie } = *reply;
        if self.negotiated.extended && self.knows_negotiation() {
            // "Simple reply message": not with extended headers, not even without payload.
            let text = "a simple reply, though extended headers were negotiated";
            found.server(Rule::ExtNoSimpleReply, "", text);
        }
        self.replies.set(Last::SimpleOther);
        match self.flight.find(cookie) {
            Match::None => self.simple_to_nobody(reply, found),
            Match::Several(payload) => {
                self.forget_written();
                self.check_error_value(error, None, "", found);
                self.flight.answer(cookie, Answered::Simple);
                match payload {
                    _ if error != ErrorCode::OK || self.chunks_expected() => Verdict::default(),
                    Some(bulk) => Verdict { bulk, ..Verdict::default() },
                    None => {
                        let text = "a reply to one of several requests with the same cookie";
                        self.lose(Side::Server, ProblemKind::Ambiguous, text);
                        Verdict::default()
                    }
                }
            }
            Match::One(request) => {
                let progress = request.progress.take();
                let request = InFlight { progress: None, wanted: None, ..*request };
                if let Some(progress) = progress {
                    self.flight.recycle(progress);
                    // "Transmission": one simple reply or a series of chunks, not both.
                    let text = "a simple reply in the middle of a structured one";
                    found.server(Rule::OneReplyPerRequest, "", text);
                }
                self.flight.answer(cookie, Answered::Simple);
                self.changed(&request, error == ErrorCode::OK);
                let verdict = self.simple_to(&request, error, found);
                let ok = error == ErrorCode::OK && !found.any_binding();
                Verdict { compare: self.comparison(&request, cookie, true, ok), ..verdict }
            }
        }
    }

    /// Whether replies with payload come in chunks, or may do so as far as is known.
    fn chunks_expected(&self) -> bool {
        self.negotiated.structured || self.negotiated.extended
    }

    fn simple_to(&mut self, request: &InFlight, error: ErrorCode, found: &mut Findings) -> Verdict {
        let answers = request.number;
        let ok = error == ErrorCode::OK;
        self.check_error_value(error, Some(request), "", found);
        if commands::payload(request.command) == Payload::Reply {
            if self.chunks_expected() {
                if !self.negotiated.extended {
                    // "Structured reply chunk message": no simple reply for NBD_CMD_READ.
                    let text =
                        "a simple reply to NBD_CMD_READ, though structured replies were negotiated";
                    found.server(Rule::ReadNoSimple, "", text);
                }
                if ok && request.length > 0 {
                    self.stream(Side::Server).mode = Mode::Doubtful(request.length);
                }
                return Verdict { answers, ..Verdict::default() };
            }
            if ok && request.length_unknown {
                // How much data follows nobody knows.
                self.resync(Side::Server);
                self.stream(Side::Server).quiet = true;
                return Verdict { answers, ..Verdict::default() };
            }
            self.replies.last = if ok { Last::SimpleRead } else { Last::SimpleReadError };
            let bulk = if ok { request.length } else { 0 };
            return Verdict { answers, bulk, at: request.offset, compare: None };
        }
        if ok {
            self.check_read_only(request, found);
        }
        if self.negotiated.extended {
            return Verdict { answers, ..Verdict::default() };
        }
        if commands::payload(request.command) == Payload::Status && ok && !request.is_unspecified()
        {
            // "Metadata querying": answered by a structured reply.
            let text = "a simple reply that reports success to NBD_CMD_BLOCK_STATUS";
            found.server(Rule::StatusStructured, "", text);
        } else if self.negotiated.structured && !ok {
            // "Structured reply chunk message": errors should be structured, to have a message.
            let text = "an error in a simple reply, though structured replies were negotiated";
            found.server(Rule::StructuredErrorsPreferred, "", text);
        }
        Verdict { answers, ..Verdict::default() }
    }

    fn simple_to_nobody(&mut self, reply: &SimpleReply, found: &mut Findings) -> Verdict {
        self.check_error_value(reply.error, None, "", found);
        self.answers_nobody(reply.cookie, Answered::Simple, found);
        // Whether data follows only the request could tell.
        if reply.error == ErrorCode::OK && !self.chunks_expected() {
            self.replies.set_doubtful();
        }
        Verdict::default()
    }

    /// A reply with a cookie that no request in flight has.
    pub(super) fn answers_nobody(&mut self, cookie: Cookie, by: Answered, found: &mut Findings) {
        // An option that is not complete, though the server has answered it: what came since may be
        // its data, or requests.
        let client = &self.streams[Side::Client];
        let amid_option = match &client.mode {
            Mode::Bulk(bulk) => matches!(bulk.seen.message, Message::Option(_)),
            Mode::Head => client.buffer.starts_with(&OPTION_MAGIC.to_be_bytes()),
            _ => false,
        };
        let unclear = self.replies.excused || self.flight.is_incomplete() || amid_option;
        if unclear || !self.follows(Side::Client) {
            return;
        }
        let hex = format!("cookie={:#x}", cookie.0);
        if self.farewell == Some(Farewell::Disc(cookie)) {
            // NBD_CMD_DISC: there is no reply.
            return found.server(Rule::DiscNoReply, "cookie", "a reply to NBD_CMD_DISC");
        }
        match self.flight.answered(cookie) {
            // "Structured reply flags": NBD_REPLY_FLAG_DONE marks the last chunk.
            Some(Answered::Chunks) if by == Answered::Chunks => {
                let text = format!("a chunk after the last one with {hex}");
                found.server(Rule::DoneLast, "cookie", text);
            }
            // "Transmission": one reply per request.
            Some(_) => {
                let text = format!("the request with {hex} was answered already");
                found.server(Rule::OneReplyPerRequest, "cookie", text);
            }
            None if self.flight.open() == 0 => {
                let text = format!("a reply with {hex}, though no request is in flight");
                found.server(Rule::OneReplyPerRequest, "cookie", text);
            }
            // "Transmission": the reply has the request's cookie.
            None => {
                let near = self.flight.one_bit_off(cookie).map_or_else(String::new, |near| {
                    format!("; it is one bit off the open request {:#x}", near.0)
                });
                let text = format!("{hex} is that of no request in flight{near}");
                found.server(Rule::CookieEchoed, "cookie", text);
            }
        }
    }

    /// "Error values", and where single ones may be used. `request` is what is answered, if that
    /// is known.
    pub(super) fn check_error_value(
        &mut self,
        error: ErrorCode,
        request: Option<&InFlight>,
        field: &'static str,
        found: &mut Findings,
    ) {
        if error == ErrorCode::OK {
            return;
        }
        self.shuts_down |= error == ErrorCode::ESHUTDOWN;
        if error.name().is_none() {
            found.server(Rule::ErrorKnown, field, format!("{error} is not a defined error value"));
        }
        // "Error values": NBD_ENOMEM should be avoided.
        if error == ErrorCode::ENOMEM {
            found.server(Rule::ErrorNoEnomem, field, "NBD_ENOMEM should not be used");
        }
        let Some(request) = request else { return };
        // What a request that breaks a rule is answered is mostly open, and so is the answer to
        // requests of length 0.
        if request.faulty || request.is_unspecified() {
            return;
        }
        match error {
            ErrorCode::EOVERFLOW => self.check_eoverflow(request, field, found),
            ErrorCode::ENOTSUP => self.check_enotsup(request, field, found),
            _ => {}
        }
    }

    fn check_eoverflow(&self, request: &InFlight, field: &'static str, found: &mut Findings) {
        let Some(export) = &self.export else { return };
        let command = request.command;
        let maximum = export.block_size.map_or(1 << 25, |size| u64::from(size.maximum));
        let whole = command == Command::READ
            && request.flags.has(CommandFlags::DF)
            && export.flags.has(TransmissionFlags::SEND_DF);
        if whole && request.length <= SERVED_WHOLE.min(maximum) {
            // NBD_CMD_READ: unfragmented reads of up to 65,536 bytes are supported.
            let text = format!("NBD_EOVERFLOW in answer to DF with length={}", request.length);
            return found.server(Rule::Df65536Served, field, text);
        }
        if command == Command::WRITE_ZEROES && request.flags.has(CommandFlags::FAST_ZERO) {
            // NBD_CMD_WRITE_ZEROES: a fast one should not fail so, whatever its length.
            let text = "NBD_EOVERFLOW in answer to FAST_ZERO";
            return found.server(Rule::ZeroesFastNoEoverflow, field, text);
        }
        // "Error values" and NBD_CMD_READ: for reads where DF is supported, for structured reads,
        // and for commands without payload that are longer than the maximum payload.
        let documented = match command {
            Command::READ => self.chunks_expected() || export.flags.has(TransmissionFlags::SEND_DF),
            command => {
                let free = |row: &CommandRow| row.has_range() && !row.moves_data();
                commands::row(command).is_some_and(free) && request.length > maximum
            }
        };
        if !documented {
            let text =
                format!("NBD_EOVERFLOW in answer to {command} with length={}", request.length);
            found.server(Rule::ErrorEoverflowScope, field, text);
        }
    }

    /// A command was answered with success.
    pub(super) fn check_read_only(&self, request: &InFlight, found: &mut Findings) {
        let Some(export) = &self.export else { return };
        let read_only = export.flags.has(TransmissionFlags::READ_ONLY);
        let Some(row) = commands::row(request.command).filter(|_| read_only) else { return };
        if request.is_unspecified() {
            return;
        }
        let text = format!("{} reports success, though READ_ONLY is set", request.command);
        match row.writes {
            // "Transmission flags": what is marked read-only fails writes.
            Writes::Content => found.server(Rule::ReadOnlyFailsWrites, "", text),
            // A trim that is ignored writes nothing. "Error values" says that it should fail all
            // the same, if it may be sent at all.
            Writes::Advice if !request.faulty => found.server(Rule::ReadOnlyEperm, "", text),
            Writes::Advice | Writes::Nothing => {}
        }
    }

    fn check_enotsup(&self, request: &InFlight, field: &'static str, found: &mut Findings) {
        let Some(Export { flags, .. }) = &self.export else { return };
        if request.command != Command::WRITE_ZEROES {
            // "Error values": only for NBD_CMD_WRITE_ZEROES.
            let text = format!("NBD_ENOTSUP in answer to {}", request.command);
            return found.server(Rule::ErrorEnotsupScope, field, text);
        }
        if request.flags.has(CommandFlags::FAST_ZERO) {
            return;
        }
        let text = "NBD_ENOTSUP, though FAST_ZERO is not set";
        // NBD_CMD_WRITE_ZEROES: without the flag it never fails so where NBD_FLAG_SEND_FAST_ZERO
        // is advertised, and should not where it is not.
        let rule = if flags.has(TransmissionFlags::SEND_FAST_ZERO) {
            Rule::ZeroesNoEnotsupWithoutFast
        } else {
            Rule::ZeroesUnadvertisedNoEnotsup
        };
        found.server(rule, field, text);
    }

    /// Whether transmission was entered before the eyes of the judge.
    pub(super) fn knows_negotiation(&self) -> bool {
        self.phase == Phase::Transmission && self.follows(Side::Client) && self.export.is_some()
    }
}
