//! What the client asks for (sections "Request message", "Size constraints", "Command flags" and
//! "Request types").

use protocol::message::{Request, RequestForm, Side};
use protocol::values::{Command, CommandFlags, OptionType, TransmissionFlags};

use crate::plural::Plural;

use super::commands::{self, CommandRow, Fields, Payload};
use super::event::ProblemKind;
use super::export::Export;
use super::extended;
use super::flight::InFlight;
use super::judge::Session;
use super::phase::{Farewell, Phase};
use super::rules::{Findings, Rule};
use super::selection::Selection;
use super::stream::Mode;
use super::verdict::Verdict;

/// The unit of a client that knows no constraints, in bytes.
const PORTABLE_MINIMUM: u64 = 512;
/// The largest payload of a client that knows no constraints, in bytes.
const PORTABLE_MAXIMUM: u64 = 1 << 25;

impl Session {
    pub(super) fn request(&mut self, request: &Request, found: &mut Findings) -> Verdict {
        let waiting = self.options.back() == Some(OptionType::GO) && self.follows(Side::Server);
        if self.phase != Phase::Transmission {
            if waiting {
                // NBD_OPT_GO: transmission begins with NBD_REP_ACK; until then there are options.
                let text = "a request before the final reply to NBD_OPT_GO";
                found.client(Rule::OptionRequestLayout, "", text);
            } else if !self.follows(Side::Server) {
                self.phase = Phase::Transmission;
                self.export = None;
            }
        }
        self.wrote = request.command == Command::WRITE;
        self.check_request_form(request, found);
        check_fields(request, found);
        self.check_shutdown(request, found);
        self.check_needs(request, found);
        self.check_flags(request, found);
        if let Some(export) = &self.export {
            check_range(request, export, found);
            self.check_size(request, export, found);
        }
        let bulk = if request.status.is_some() { 0 } else { request.payload_length() };
        let verdict = Verdict { bulk, at: request.offset, ..Verdict::default() };
        if request.command == Command::DISC {
            self.check_disc(found);
            self.farewell = Some(Farewell::Disc(request.cookie));
            return verdict;
        }
        if !matches!(self.streams[Side::Server].mode, Mode::Lost) {
            self.register(request, bulk, found);
        }
        verdict
    }

    fn register(&mut self, request: &Request, bulk: u64, found: &mut Findings) {
        if !self.follows(Side::Server) {
            // What has the same cookie was answered unseen, and so were most if there are many.
            self.flight.forget(request.cookie);
            if self.flight.open() >= self.config.in_flight {
                self.flight.clear();
            }
        }
        // "Transmission": cookies should be distinct from those of all pending requests.
        if self.flight.has(request.cookie) {
            let text = format!("cookie={:#x} is that of a request in flight", request.cookie.0);
            found.client(Rule::CookieDistinct, "cookie", text);
        }
        let entry = InFlight {
            number: (bulk == 0).then(|| self.out.next_number()),
            command: request.command,
            flags: request.flags,
            offset: request.offset,
            // Of what is not known, nothing is expected.
            length: extended::effect_length(request).unwrap_or(0),
            length_unknown: !self.unknown.is_empty(),
            faulty: found.any_binding(),
            wanted: request.status.as_ref().map(|status| status.ids.clone().into_boxed_slice()),
            progress: None,
        };
        self.changes(&entry);
        if self.flight.add(request.cookie, entry) {
            let limit = self.config.in_flight;
            let text = format!("more than {limit} requests in flight; replies are not correlated");
            self.problem(ProblemKind::Limit, Side::Client, text);
        }
    }

    /// Commands and flags that have to be negotiated or exposed first.
    fn check_needs(&self, request: &Request, found: &mut Findings) {
        let command = request.command;
        let Some(row) = commands::row(command) else {
            if command == Command::RESIZE {
                // NBD_CMD_RESIZE belongs to an experimental extension.
                let text = "NBD_CMD_RESIZE belongs to an experimental extension";
                found.client(Rule::ResizeExperimental, "", text);
            } else {
                // "Baseline": whatever else a client uses is negotiated first.
                let text = format!("{command} can't have been negotiated");
                found.client(Rule::BaselineNegotiated, "", text);
            }
            return;
        };
        let Some(Export { flags, .. }) = &self.export else { return };
        // NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES: each has its flag.
        if let Some((flag, rule)) = row.offered_by
            && !flags.has(flag)
        {
            let name = flag.names().join(" ");
            found.client(rule, "", format!("{command}, though {name} is clear"));
        }
        if row.payload == Payload::Status {
            self.check_status_needs(found);
        }
    }

    fn chunks(&self) -> bool {
        self.negotiated.structured || self.negotiated.extended
    }

    /// What NBD_CMD_BLOCK_STATUS takes.
    fn check_status_needs(&self, found: &mut Findings) {
        if !self.chunks() {
            return self.lacks_structured("NBD_CMD_BLOCK_STATUS", found);
        }
        // NBD_CMD_BLOCK_STATUS: the last NBD_OPT_SET_META_CONTEXT named the export that was
        // entered and returned at least one context.
        let Some(Selection { export, contexts }) = &self.negotiated.selection else { return };
        if contexts.is_empty() {
            let text = "NBD_CMD_BLOCK_STATUS, though no context was selected";
            found.client(Rule::StatusNeedsContext, "", text);
        } else if let (Some(selected), Some(entered)) = (export, &self.options.entered)
            && selected != entered
        {
            let text = format!("the contexts were selected for {selected}, not for {entered}");
            found.client(Rule::StatusNeedsContext, "", text);
        }
    }

    /// NBD_OPT_STRUCTURED_REPLY: what hangs on it takes negotiation, again after TLS.
    fn lacks_structured(&self, what: &str, found: &mut Findings) {
        let lacking = (Rule::StructuredExtensionsClient, "structured replies were not negotiated");
        let (rule, text) = self.not_renegotiated().unwrap_or(lacking);
        found.client(rule, "", format!("{what}, though {text}"));
    }

    /// "Command flags".
    fn check_flags(&self, request: &Request, found: &mut Findings) {
        use CommandFlags as C;
        let (command, flags) = (request.command, request.flags);
        if flags == C::EMPTY {
            return;
        }
        let Some(row) = commands::row(command) else { return };
        // A client sets only flags that are documented for the command.
        let mut documented = C::FUA | row.flags;
        if request.form == RequestForm::Compact {
            // That bit 5 is for extended requests only is said elsewhere.
            documented = documented | C::PAYLOAD_LEN;
        }
        let others = flags.without(documented);
        if others != C::EMPTY {
            let text = format!("flags={others} are not documented for {command}");
            found.client(Rule::CommandFlagsDocumented, "flags", text);
        }
        let Some(export) = &self.export else { return };
        let exposed = export.flags;
        if flags.has(C::FUA) {
            if !exposed.has(TransmissionFlags::SEND_FUA) {
                // "Transmission flags": a feature exposed by a flag takes that flag.
                let text = "FUA is set, though SEND_FUA is clear";
                found.client(Rule::ClientNeedsFlag, "flags", text);
            } else if !row.may_write() {
                // Bit 0: should be set only on commands that may write.
                let text = format!("FUA is set on {command}, which writes nothing");
                found.client(Rule::FuaWritesOnly, "flags", text);
            }
        }
        if flags.has(C::DF) && row.flags.has(C::DF) {
            if !self.chunks() {
                self.lacks_structured("DF is set", found);
            } else if !exposed.has(TransmissionFlags::SEND_DF) {
                // Bit 2: not unless NBD_FLAG_SEND_DF is set.
                let text = "DF is set, though SEND_DF is clear";
                found.client(Rule::DfNeedsFlag, "flags", text);
            }
        }
        if flags.has(C::FAST_ZERO)
            && row.flags.has(C::FAST_ZERO)
            && exposed.has(TransmissionFlags::SEND_WRITE_ZEROES)
            && !exposed.has(TransmissionFlags::SEND_FAST_ZERO)
        {
            // Bit 4: not unless NBD_FLAG_SEND_FAST_ZERO is set.
            let text = "FAST_ZERO is set, though SEND_FAST_ZERO is clear";
            found.client(Rule::FastZeroNeedsFlag, "flags", text);
        }
    }

    /// "Size constraints", where they were advertised and where they were not.
    fn check_size(&self, request: &Request, export: &Export, found: &mut Findings) {
        let Some(row) = commands::row(request.command).filter(|row| row.has_range()) else {
            return;
        };
        // How much the client decides to move: what it sends, and reads that are answered simply.
        let payload = match request.payload_length() {
            0 if row.payload == Payload::Reply && !self.chunks() => Some(request.length),
            0 => None,
            length => Some(length),
        };
        let offset = request.offset;
        let length = extended::effect_length(request).unwrap_or(0);
        let Some(size) = export.block_size else {
            // A client without constraints should keep to 512 bytes (as far as the export has
            // them)...
            if let Some((field, value)) =
                unaligned(offset, length, PORTABLE_MINIMUM, Some(export.size))
            {
                let text = format!("{field}={value} is not a multiple of 512");
                found.client(Rule::PortableMin512, field, text);
            }
            // ... and to 2^25 bytes of payload.
            if row.moves_data() && length > PORTABLE_MAXIMUM {
                let text = format!("length={length} is larger than {PORTABLE_MAXIMUM}");
                found.client(Rule::PortableMax32Mib, "length", text);
            }
            return;
        };
        // A client that did not ask for the constraints need not understand them.
        if !export.asked_block_size {
            return;
        }
        // Offset and length are multiples of the advertised minimum.
        let minimum = u64::from(size.minimum);
        if minimum.is_power_of_two()
            && let Some((field, value)) = unaligned(offset, length, minimum, None)
        {
            let text = format!("{field}={value} is not a multiple of minimum={minimum}");
            found.client(Rule::RequestAligned, field, text);
        }
        // No payload whose length the client decides is larger than the advertised maximum.
        if let Some(length) = payload
            && size.maximum != u32::MAX
            && length > u64::from(size.maximum)
        {
            let text = format!("length={length} is larger than maximum={}", size.maximum);
            found.client(Rule::PayloadLimit, "length", text);
        }
    }

    /// "Terminating the transmission phase": after NBD_ESHUTDOWN the client takes its leave. What it
    /// had sent before it knew of that, or while other requests were open, may still come.
    fn check_shutdown(&mut self, request: &Request, found: &mut Findings) {
        let knows = self.informed[Side::Client];
        let idle = self.flight.open() == 0 && !self.flight.is_incomplete();
        if self.shuts_down && knows && idle && request.command != Command::DISC {
            self.shuts_down = false;
            let text = format!("{} after NBD_ESHUTDOWN was received", request.command);
            found.client(Rule::DiscOnShutdown, "", text);
        }
    }

    fn check_disc(&self, found: &mut Findings) {
        // "Terminating the transmission phase": the client should wait for its requests first.
        let open = self.flight.open();
        if open > 0 && self.follows(Side::Server) {
            let open = Plural(open as u64, "request");
            let text = format!("NBD_CMD_DISC with {open} in flight");
            found.client(Rule::DiscWhenIdle, "", text);
        }
    }
}

/// The first of offset and length that is not a multiple of `unit`; the rest of an export, up to
/// `size`, may have any length.
fn unaligned(
    offset: u64,
    length: u64,
    unit: u64,
    size: Option<u64>,
) -> Option<(&'static str, u64)> {
    if !offset.is_multiple_of(unit) {
        return Some(("offset", offset));
    }
    let rest = size.is_some_and(|size| offset.checked_add(length) == Some(size));
    (!length.is_multiple_of(unit) && !rest).then_some(("length", length))
}

/// Rules for single fields.
fn check_fields(request: &Request, found: &mut Findings) {
    let command = request.command;
    let Some(row) = commands::row(command) else { return };
    let effect = extended::effect_length(request);
    // Some should not be sent with a length of 0.
    if let Some(rule) = row.not_empty
        && effect == Some(0)
    {
        found.client(rule, "length", format!("{command} with length=0"));
    }
    // NBD_CMD_DISC, NBD_CMD_FLUSH: offset and length are 0.
    if let Fields::Zero(rule) = row.fields {
        if request.offset != 0 {
            found.client(rule, "offset", format!("{command} with offset={}", request.offset));
        } else if effect.is_some_and(|length| length != 0) {
            found.client(rule, "length", format!("{command} with length={}", request.length));
        }
    }
}

/// "Size constraints": offset and length do not exceed the export.
fn check_range(request: &Request, export: &Export, found: &mut Findings) {
    let (offset, length) = (request.offset, extended::effect_length(request).unwrap_or(0));
    let fits = offset.checked_add(length).is_some_and(|end| end <= export.size);
    let ranged = commands::row(request.command).is_some_and(CommandRow::has_range);
    if ranged && !fits {
        let size = export.size;
        let text = format!("offset={offset} and length={length} reach beyond size={size}");
        let field = if offset > size { "offset" } else { "length" };
        found.client(Rule::RequestWithinExport, field, text);
    }
}
