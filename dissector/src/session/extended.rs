//! The extension "extended headers": which header is used, payloads of requests, and what hangs on
//! its negotiation.

use protocol::message::{Chunk, ChunkBody, ChunkForm, Request, RequestForm};
use protocol::values::{CommandFlags, OptionType, ReplyType, TransmissionFlags};

use crate::plural::Plural;

use super::commands::{self, Payload};
use super::context;
use super::flight::InFlight;
use super::haggling::Outstanding;
use super::judge::Session;
use super::rules::{Findings, Rule};
use super::selection::Selection;

impl Session {
    /// What was negotiated before `NBD_OPT_STARTTLS` and is used without being negotiated again.
    pub(super) fn not_renegotiated(&self) -> Option<(Rule, &'static str)> {
        if self.negotiated.structured_before_tls {
            // NBD_OPT_STRUCTURED_REPLY: to be renegotiated after NBD_OPT_STARTTLS.
            let text = "structured replies were not renegotiated after NBD_OPT_STARTTLS";
            Some((Rule::StructuredRenegotiatedAfterTls, text))
        } else if self.negotiated.extended_before_tls {
            // NBD_OPT_EXTENDED_HEADERS: the same.
            let text = "extended headers were not renegotiated after NBD_OPT_STARTTLS";
            Some((Rule::ExtRenegotiatedAfterTls, text))
        } else {
            None
        }
    }

    /// A final error to an option.
    pub(super) fn refused_extended(
        &self,
        reply: ReplyType,
        option: &Outstanding,
        found: &mut Findings,
    ) {
        let extended = self.negotiated.extended;
        let only_base = context::only_base(option.queries.as_ref());
        match (option.option, reply) {
            // NBD_OPT_GO: supported by who acknowledged extended headers.
            (OptionType::GO, ReplyType::ERR_UNSUP) if extended => {
                let text = "NBD_OPT_GO is not supported, though extended headers were negotiated";
                found.server(Rule::ExtGoNotUnsup, "", text);
            }
            // NBD_OPT_LIST_META_CONTEXT: not once extended headers are negotiated...
            (OptionType::LIST_META_CONTEXT, ReplyType::ERR_EXT_HEADER_REQD) if extended => {
                let text = "extended headers are demanded, though they were negotiated";
                found.server(Rule::ExtListMetaBaseNoError, "", text);
            }
            // ... and not for the namespace `base`. (Before structured replies the error just says
            // that the option came early.)
            (OptionType::LIST_META_CONTEXT, ReplyType::ERR_EXT_HEADER_REQD)
                if only_base && self.negotiated.structured =>
            {
                let text = "extended headers are demanded for the namespace `base`";
                found.server(Rule::ExtListMetaBaseNoError, "", text);
            }
            // NBD_OPT_SET_META_CONTEXT: the same.
            (OptionType::SET_META_CONTEXT, ReplyType::ERR_EXT_HEADER_REQD)
                if only_base && (self.negotiated.structured || extended) =>
            {
                let text = "extended headers are demanded for the namespace `base`";
                found.server(Rule::ExtSetMetaBaseNoError, "", text);
            }
            _ => {}
        }
    }

    /// The flags of an export in the answer to NBD_OPT_GO.
    pub(super) fn check_status_payload_flag(&self, flags: TransmissionFlags, found: &mut Findings) {
        let none = self.negotiated.selection.as_ref().is_some_and(|s| !Selection::is_some(s));
        let known = self.follows(protocol::message::Side::Client);
        // "Transmission flags", bit 12: should be clear where no context was negotiated.
        if flags.has(TransmissionFlags::BLOCK_STATUS_PAYLOAD)
            && self.negotiated.extended
            && none
            && known
        {
            let text = "BLOCK_STATUS_PAYLOAD is set, though no context was selected";
            found.server(Rule::ExtStatusPayloadFlagNeedsContexts, "flags", text);
        }
    }

    /// Which header a request has, and its payload.
    pub(super) fn check_request_form(&self, request: &Request, found: &mut Findings) {
        let has_payload = request.flags.has(CommandFlags::PAYLOAD_LEN);
        let negotiated = &self.negotiated;
        match request.form {
            RequestForm::Compact => {
                if negotiated.extended {
                    // NBD_OPT_EXTENDED_HEADERS: every request is extended.
                    let text = "a compact request, though extended headers were negotiated";
                    found.client(Rule::ExtClientUsesExtendedRequests, "", text);
                }
                if has_payload {
                    // "Request message": not in the compact style.
                    let text = "PAYLOAD_LEN in a compact request";
                    found.client(Rule::ExtCompactNoPayloadFlag, "flags", text);
                }
            }
            RequestForm::Extended => {
                if !negotiated.extended && self.export.is_some() {
                    // "Reserved Magic values": only as the extension describes.
                    let text = "an extended request, though extended headers were not negotiated";
                    // NBD_OPT_EXTENDED_HEADERS: to be renegotiated after NBD_OPT_STARTTLS.
                    let rule = if negotiated.extended_before_tls {
                        Rule::ExtRenegotiatedAfterTls
                    } else {
                        Rule::MagicExtended
                    };
                    found.client(rule, "form", text);
                }
                self.check_payload(request, has_payload, found);
            }
        }
    }

    /// The payload of an extended request.
    fn check_payload(&self, request: &Request, has_payload: bool, found: &mut Findings) {
        let length = request.length;
        if commands::payload(request.command) == Payload::Request && !has_payload {
            // "Request message": NBD_CMD_WRITE has a payload and must say so.
            let text = "PAYLOAD_LEN is clear in an extended NBD_CMD_WRITE";
            return found.client(Rule::ExtWritePayloadFlag, "flags", text);
        }
        if commands::payload(request.command) == Payload::Reply
            && !has_payload
            && length > u64::from(u32::MAX)
        {
            // NBD_REPLY_TYPE_OFFSET_HOLE: portable clients read no more than 32 bits.
            let text = format!("length={length} has more than 32 bits");
            found.client(Rule::ExtReadClient32Bit, "length", text);
        }
        if !has_payload {
            return;
        }
        if length == 0 {
            // "Command flags", bit 5: the length is that of a nonzero payload.
            let text = "PAYLOAD_LEN with length=0";
            return found.client(Rule::ExtPayloadNonzero, "length", text);
        }
        if commands::payload(request.command) != Payload::Status {
            return;
        }
        if length < 8 || !length.is_multiple_of(4) {
            // NBD_CMD_BLOCK_STATUS: an effect length and ids, 8 + 4n bytes.
            let length = Plural(length, "byte");
            let text = format!("a payload of {length} is not 8 and a multiple of 4");
            found.client(Rule::ExtStatusPayloadForm, "length", text);
        }
        if let Some(export) = &self.export
            && !export.flags.has(TransmissionFlags::BLOCK_STATUS_PAYLOAD)
        {
            // "Transmission flags", bit 12: the payload form should not be used without it.
            let text = "PAYLOAD_LEN is set, though BLOCK_STATUS_PAYLOAD is clear";
            found.client(Rule::ExtStatusPayloadNeedsFlag, "flags", text);
        }
    }
}

/// How much of the export a request is about, in bytes; `None` where it tells only how long its
/// payload is.
pub(super) fn effect_length(request: &Request) -> Option<u64> {
    let announces = request.form == RequestForm::Extended
        && request.flags.has(CommandFlags::PAYLOAD_LEN)
        && commands::payload(request.command) != Payload::Request;
    match &request.status {
        Some(status) => Some(status.effect_length),
        None => (!announces).then_some(request.length),
    }
}

/// "Extended reply chunk message": the offset in the header is that of the request.
pub(super) fn check_request_offset(chunk: &Chunk, request: &InFlight, found: &mut Findings) {
    if let ChunkForm::Extended { offset } = chunk.form
        && offset != request.offset
    {
        let text = format!("{offset} is not the request's offset={}", request.offset);
        found.server(Rule::ExtReplyOffsetMatches, "request-offset", text);
    }
}

/// "Extended reply chunk message": the length of a payload fits 32 bits.
pub(super) fn fits_32_bits(chunk: &Chunk, found: &mut Findings) -> bool {
    let length = match &chunk.body {
        ChunkBody::Data { length, .. } => length.saturating_add(8),
        ChunkBody::Bulk(length) => *length,
        _ => return true,
    };
    let fits = length <= u64::from(u32::MAX);
    if !fits {
        let text = format!("a payload of {length} bytes has more than 32 bits");
        found.server(Rule::ExtReplyLength32Bit, "", text);
    }
    fits
}

/// NBD_REPLY_TYPE_BLOCK_STATUS_EXT: how many extents a chunk says that it has, and has.
pub(super) fn check_count(count: u32, extents: usize, found: &mut Findings) {
    if count == 0 {
        // The count is not 0...
        found.server(Rule::ExtStatusCountNonzero, "count", "count=0");
    } else if extents == 0 {
        // ... the length is 8 and a positive multiple of 16...
        let text = "8 bytes of payload, not 8 and a multiple of 16";
        found.server(Rule::ExtStatusLength, "count", text);
    } else if count as usize != extents {
        // ... and the two agree.
        let extents = Plural(extents as u64, "extent");
        let text = format!("count={count}, and there {} {extents}", extents.are());
        found.server(Rule::ExtStatusCount, "count", text);
    }
}
