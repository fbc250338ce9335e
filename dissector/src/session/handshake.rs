//! The greeting and the client's flags (sections "Handshake" and "Flag fields").

use protocol::message::{ExportInfo, Greeting, Padding, Side};
use protocol::values::{ClientFlags, HandshakeFlags, TransmissionFlags};

use super::export::Export;
use super::judge::Session;
use super::phase::Phase;
use super::replies::Last;
use super::rules::{Findings, Rule};
use super::verdict::Verdict;

/// What an option begins with: the `IH` of its magic.
const OPTION_HEAD: u32 = 0x4948;

/// Whether the flags have 16 bits, and the first option follows them at once.
pub(super) fn are_short(flags: ClientFlags) -> bool {
    flags.0 >> 16 <= 3 && flags.0 & 0xffff == OPTION_HEAD
}

impl Session {
    pub(super) fn greeting(&mut self, greeting: &Greeting, found: &mut Findings) -> Verdict {
        match greeting {
            Greeting::Oldstyle { size, flags, handshake_flags, padding } => {
                // "Handshake flags": none of them is set during oldstyle negotiation.
                if *handshake_flags != HandshakeFlags::EMPTY {
                    let text = format!("handshake-flags={handshake_flags} in an oldstyle greeting");
                    found.server(Rule::OldstyleNoHandshakeFlags, "handshake-flags", text);
                }
                // "Oldstyle negotiation": the last 124 bytes are zeroes.
                if *padding != Padding::Zeroes {
                    let text = "the reserved bytes of the greeting are not all zero";
                    found.server(Rule::OldstyleReservedZero, "padding", text);
                }
                self.transmission_flags(*flags, found);
                self.enter(
                    Export {
                        size: *size,
                        flags: *flags,
                        block_size: None,
                        asked_block_size: false,
                    },
                    Last::Nothing,
                );
            }
            Greeting::Newstyle { flags } => {
                // "Handshake flags": bit 0 is set by servers that support fixed newstyle, which
                // "Baseline" demands of all.
                if !flags.has(HandshakeFlags::FIXED_NEWSTYLE) {
                    let text = "the greeting does not announce fixed newstyle";
                    found.server(Rule::FixedNewstyleFlag, "flags", text);
                }
                // "Handshake flags": the server sets no other flags.
                if flags.unknown() != HandshakeFlags::EMPTY {
                    let text = format!("unknown handshake flags {}", flags.unknown());
                    found.server(Rule::HandshakeFlagsNoOthers, "flags", text);
                }
                self.greeting = Some(*flags);
                let flags_came = self.client_flags.is_some();
                self.phase = if flags_came { Phase::Haggling } else { Phase::Flags };
            }
        }
        Verdict::default()
    }

    pub(super) fn client_flags(&mut self, flags: ClientFlags, found: &mut Findings) -> Verdict {
        self.client_flags = Some(flags);
        let known = self.follows(Side::Server);
        if flags.0 >> 16 == 0x1603 && !self.tls {
            // "TLS support": TLS is an upgrade inside the session, by NBD_OPT_STARTTLS.
            let text = "a TLS handshake in the place of the client's flags";
            found.client(Rule::TlsViaStarttls, "flags", text);
        } else if are_short(flags) {
            // "Newstyle negotiation": 32 bits of flags.
            let text = "the flags have 16 bits: an option follows them at once";
            found.client(Rule::ClientFlagsWidth, "flags", text);
        } else if self.phase == Phase::Greeting && known {
            // "Newstyle negotiation": the flags answer the greeting.
            let text = "bytes of the client before the greeting is complete";
            found.client(Rule::ClientFlagsWidth, "", text);
        } else {
            self.check_client_flags(flags, found);
        }
        if self.phase == Phase::Flags || !known {
            self.phase = Phase::Haggling;
        }
        Verdict::default()
    }

    fn check_client_flags(&mut self, flags: ClientFlags, found: &mut Findings) {
        let Some(offered) = self.greeting else { return };
        let echoes = |client, server| flags.has(client) && !offered.has(server);
        self.must_close = flags.unknown() != ClientFlags::EMPTY
            || echoes(ClientFlags::FIXED_NEWSTYLE, HandshakeFlags::FIXED_NEWSTYLE)
            || echoes(ClientFlags::NO_ZEROES, HandshakeFlags::NO_ZEROES);
        // "Client flags": clients set no other flags.
        if flags.unknown() != ClientFlags::EMPTY {
            let text = format!("unknown client flags {}", flags.unknown());
            found.client(Rule::ClientFlagsNoOthers, "flags", text);
        }
        // "Client flags": none that matches nothing that the server advertises.
        if flags.has(ClientFlags::FIXED_NEWSTYLE) && !offered.has(HandshakeFlags::FIXED_NEWSTYLE) {
            let text = "FIXED_NEWSTYLE is set, though the server does not offer it";
            found.client(Rule::ClientFlagsNoOthers, "flags", text);
        }
        // "Client flags": bit 1 only if the server set NBD_FLAG_NO_ZEROES.
        if flags.has(ClientFlags::NO_ZEROES) && !offered.has(HandshakeFlags::NO_ZEROES) {
            let text = "NO_ZEROES is set, though the server does not offer it";
            found.client(Rule::ClientNoZeroesOfferedOnly, "flags", text);
        }
        // "Fixed newstyle negotiation": the client should confirm what the server offers.
        if offered.has(HandshakeFlags::FIXED_NEWSTYLE) && !flags.has(ClientFlags::FIXED_NEWSTYLE) {
            let text = "FIXED_NEWSTYLE is clear, though the server offers it";
            found.client(Rule::ClientSetsFixed, "flags", text);
        }
    }

    /// The server answers an option.
    pub(super) fn check_goes_on(&mut self, found: &mut Findings) {
        if std::mem::take(&mut self.must_close) && self.follows(Side::Client) {
            // "Client flags": the server drops the connection of a client that sets an unknown flag,
            // or one that matches nothing that it advertises.
            let text = "the server goes on, though the client set flags that it did not offer";
            found.server(Rule::ClosesOnUnknownFlags, "", text);
        }
    }

    /// Whether both sides agreed on fixed newstyle; `None` when that was not seen.
    pub(super) fn fixed(&self) -> Option<bool> {
        let (server, client) = (self.greeting?, self.client_flags?);
        Some(server.has(HandshakeFlags::FIXED_NEWSTYLE) && client.has(ClientFlags::FIXED_NEWSTYLE))
    }

    /// The answer to `NBD_OPT_EXPORT_NAME`.
    pub(super) fn export_info(&mut self, info: &ExportInfo, found: &mut Findings) -> Verdict {
        self.check_goes_on(found);
        if self.lacks_padding(info) {
            // "Newstyle negotiation": 124 zeroes follow, unless no-zeroes was negotiated.
            let text = "the 124 zeroes are missing, though no-zeroes was not agreed";
            found.server(Rule::ExportNameReplyLayout, "flags", text);
        }
        // "Newstyle negotiation": the reserved bytes are zeroes.
        if matches!(info.padding, Padding::Other(_)) {
            let text = "the reserved bytes of the answer are not all zero";
            found.server(Rule::ExportNamePaddingZero, "padding", text);
        }
        self.transmission_flags(info.flags, found);
        let entered = self.options.take_front();
        let (name, answers) = entered.map_or((None, None), |option| (option.name, option.number));
        let learned = name.as_ref().and_then(|name| self.options.learned(name));
        let export = Export {
            size: info.size,
            flags: info.flags,
            block_size: learned.map(|(size, _)| size),
            asked_block_size: learned.is_some_and(|(_, asked)| asked),
        };
        self.options.entered = name;
        self.enter(export, Last::ExportName);
        Verdict { answers, ..Verdict::default() }
    }

    /// Haggling is over.
    pub(super) fn enter(&mut self, export: Export, last: Last) {
        self.phase = Phase::Transmission;
        self.export = Some(export);
        self.replies.last = last;
    }

    /// The rules for the flags of an export, wherever they are told.
    pub(super) fn transmission_flags(&self, flags: TransmissionFlags, found: &mut Findings) {
        use TransmissionFlags as F;
        // "Transmission flags": bit 0 is always 1.
        if !flags.has(F::HAS_FLAGS) {
            found.server(Rule::HasFlags, "flags", "HAS_FLAGS is clear");
        }
        let Self { negotiated, .. } = self;
        let known = self.follows(Side::Client);
        // Bit 7: clear unless structured replies were negotiated. (Extended headers count too.)
        if flags.has(F::SEND_DF) && known && !negotiated.structured && !negotiated.extended {
            let text = "SEND_DF is set, though structured replies were not negotiated";
            found.server(Rule::DfNeedsStructured, "flags", text);
        }
        // Bit 9 belongs to an experimental extension that nobody can have negotiated.
        if flags.has(F::SEND_RESIZE) {
            let text = "SEND_RESIZE belongs to an experimental extension";
            found.server(Rule::ResizeExperimental, "flags", text);
        }
        // Bit 11: 0 if NBD_FLAG_SEND_WRITE_ZEROES is not set.
        if flags.has(F::SEND_FAST_ZERO) && !flags.has(F::SEND_WRITE_ZEROES) {
            let text = "SEND_FAST_ZERO is set without SEND_WRITE_ZEROES";
            found.server(Rule::FastZeroNeedsWriteZeroes, "flags", text);
        }
        // Bit 12: not unless extended headers were negotiated.
        if flags.has(F::BLOCK_STATUS_PAYLOAD) && known && !negotiated.extended {
            let text = "BLOCK_STATUS_PAYLOAD is set, though extended headers were not negotiated";
            found.server(Rule::ExtStatusPayloadFlagNeedsExt, "flags", text);
        }
    }
}
