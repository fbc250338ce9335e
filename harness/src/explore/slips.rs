//! What is not quite lawful, and what a server must make of it. Each slip has a connection of its own: after
//! it, a server may hang up.

use protocol::values::{OptionType, TransmissionFlags as T};

use super::haggle::{Agreed, MISSING};
use super::session::{Beyond, Entry, Form, Infos, Kind, Opt, Route, Setting, Slip};
use super::writer::{Deed, Writer};
use crate::run::survey::TlsMode;

const KIB: u64 = 1 << 10;
/// The connection of a slip.
const NAME: &str = "x";
/// The one that comes after it.
const AFTER: &str = "y";
/// A request that is the payload of another one: whoever takes it for a request answers it.
const HIDDEN: &str =
    "25 60 95 13 00 00 00 00 6b 65 70 74 6b 65 70 74 00 00 00 00 00 00 00 00 00 00 02 00";
const HIDDEN_LENGTH: u64 = 28;
/// An option that is the data of another one.
const HIDDEN_OPTION: &str = "49 48 41 56 45 4f 50 54 00 00 00 03 00 00 00 00";
/// A length that no payload has, and effects may have, in bytes.
const LONG: u64 = 0xffff_f000;

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Self::Read => "NBD_CMD_READ",
            Self::Write => "NBD_CMD_WRITE",
            Self::Trim => "NBD_CMD_TRIM",
            Self::Zeroes => "NBD_CMD_WRITE_ZEROES",
            Self::Cache => "NBD_CMD_CACHE",
            Self::Status => "NBD_CMD_BLOCK_STATUS",
            Self::Flush => "NBD_CMD_FLUSH",
        }
    }

    fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Trim | Self::Zeroes)
    }
}

impl Writer<'_> {
    pub(super) fn slip(&mut self, slip: Slip) {
        self.make_room(2);
        match slip {
            // What a setting is about comes most often there.
            Slip::Data { option } | Slip::Tls { how: option } if self.facts.setting.is_tls() => {
                self.tls_slip(option);
            }
            Slip::Beyond { form, kind, how } if self.facts.setting.is_tls() => {
                self.tls_slip(
                    how as u8 + 4 * u8::from(form == Form::Simple) + u8::from(kind == Kind::Read),
                );
            }
            Slip::Beyond { form, kind, .. } if self.facts.minimum() > 1 && form != Form::Simple => {
                self.unaligned(form, kind);
            }
            Slip::Beyond { form, kind, .. } | Slip::OtherFlag { form, kind, .. }
                if self.facts.setting == Setting::Large =>
            {
                self.longest(form, kind);
            }
            Slip::Data { .. } if self.facts.setting == Setting::Many => self.missing_by_name(),
            Slip::NoContext { replaced } if self.facts.setting == Setting::Many => {
                self.long_name(replaced, 256);
            }
            Slip::Beyond { form, kind, .. } | Slip::Empty { form, kind }
                if self.facts.has(T::READ_ONLY) && kind.changes() =>
            {
                self.read_only(form, kind);
            }
            Slip::Beyond { form, kind, how } => self.beyond(form, kind, how),
            Slip::Unaligned { form, kind } => self.unaligned(form, kind),
            Slip::UnknownFlag { form, kind } => {
                self.flag(form, kind, 0x8000, "error-unknown-flag-einval");
            }
            Slip::OtherFlag { form, kind, bit } => self.other_flag(form, kind, bit),
            Slip::UnknownCommand { form, number } => self.unknown_command(form, number),
            Slip::Empty { form, kind } => self.empty(form, kind),
            Slip::Longest { form, kind } => self.longest(form, kind),
            Slip::NoContext { replaced } => self.no_context(replaced),
            Slip::Ids { twice } => self.ids(twice),
            Slip::DiscBeside { kind } => self.disc_beside(kind),
            Slip::OddDisc => {
                self.pen.event(NAME, "to transmission");
                self.pen.client(NAME, "NBD_CMD_DISC offset=512 length=512");
                self.pen.server(NAME, "end [disc-server-closes]");
                self.pen.event(NAME, "close");
            }
            _ if !self.facts.found.fixed => {}
            Slip::ClientFlags { bit } => self.client_flags(bit),
            Slip::Data { option } => self.data(option),
            Slip::MissingByName => self.missing_by_name(),
            Slip::SetEarly => self.set_early(),
            Slip::Trailing { go } => self.trailing(go),
            Slip::ShortQueries { set } => self.short_queries(set),
            Slip::LongName { go, length } => self.long_name(go, length),
            Slip::Tls { how } => self.tls_slip(how),
        }
    }

    /// A connection in the wanted form of replies, with a context if the request is about status; `None`
    /// where the server does not offer the command.
    fn stage(&mut self, form: Form, kind: Kind) -> Option<Form> {
        let offered = match kind {
            Kind::Read => true,
            Kind::Write => self.facts.is_writable(),
            Kind::Trim => self.facts.is_writable() && self.facts.has(T::SEND_TRIM),
            Kind::Zeroes => self.facts.is_writable() && self.facts.has(T::SEND_WRITE_ZEROES),
            Kind::Cache => self.facts.has(T::SEND_CACHE),
            Kind::Status => !self.facts.contexts().is_empty(),
            Kind::Flush => self.facts.has(T::SEND_FLUSH),
        };
        if !offered || self.facts.block() == 0 {
            return None;
        }
        let wanted = if kind == Kind::Status { form.max_chunks() } else { form };
        let context = u8::from(kind == Kind::Status);
        let form = self.facts.form(wanted);
        if kind == Kind::Status && form == Form::Simple {
            return None;
        }
        if kind.changes() {
            self.pen.need("write");
        }
        let entry = Entry { form, context, options: Vec::new(), route: Route::Plain };
        self.enter(NAME, &entry).map(|(form, _)| form)
    }

    /// A read of the first block on the connection of the slip, unless the server has left; and the end.
    fn go_on(&mut self, ends: &str, rule: &str) {
        let visit = self.visitor();
        let block = self.facts.block();
        let data = self.seen(&(0..block), visit).payload();
        if self.counts_on_content() {
            self.pen.need("content");
        }
        self.pen.client(NAME, &format!("NBD_CMD_READ cookie=good offset=0 length={block}"));
        self.pen.line("either {");
        self.pen.server(NAME, &format!("reply ok cookie=good data={data} [{rule}]"));
        self.pen.line(format!("}} {ends} {{"));
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    /// What comes of it, the first outcome that fits.
    fn outcomes(&mut self, outcomes: &[(&str, &str)]) {
        for (index, (head, line)) in outcomes.iter().enumerate() {
            self.pen.line(match index {
                0 => format!("{head} {{"),
                _ => format!("}} {head} {{"),
            });
            match line.strip_prefix("should ") {
                Some(line) => {
                    let line = super::pen::server(NAME, line);
                    self.pen.line(format!("should {line}"));
                }
                None => self.pen.server(NAME, line),
            }
        }
        self.pen.line("}");
    }

    /// A request with its payload, if it has one.
    fn request(&mut self, kind: Kind, offset: u64, length: u64, more: &str) {
        let payload = match kind {
            Kind::Write if length >= HIDDEN_LENGTH => {
                format!("data=hex\"{HIDDEN}\" ++ zero*{}", length - HIDDEN_LENGTH)
            }
            Kind::Write => format!("data=fill(0x5a)*{length}"),
            Kind::Flush => String::new(),
            _ => format!("length={length}"),
        };
        let offset = if kind == Kind::Flush { String::new() } else { format!(" offset={offset}") };
        self.pen.client(NAME, &format!("{} cookie=bad{offset} {payload}{more}", kind.command()));
    }

    fn beyond(&mut self, form: Form, kind: Kind, how: Beyond) {
        if kind == Kind::Flush || self.stage(form, kind).is_none() {
            return;
        }
        let (end, block, size) = (self.facts.end(), self.facts.block(), self.facts.found.size);
        let (offset, length) = match how {
            Beyond::At => (end, block),
            Beyond::Across => (end - block, 2 * block),
            Beyond::Far => (size.next_multiple_of(4 << 30).max(1 << 40), block),
            Beyond::Wraps => (0xffff_ffff_ffff_0000, (64 * KIB + block).min(self.facts.maximum())),
        };
        // A short one would end below 2^64, which is beyond the end as well.
        self.pen.beyond("end");
        self.request(kind, offset, length, "");
        match kind {
            Kind::Read | Kind::Trim => self.outcomes(&[
                ("either", "should reply NBD_EINVAL cookie=bad [request-beyond-end-einval]"),
                ("or", "end"),
            ]),
            Kind::Write | Kind::Zeroes => {
                let rule = match kind {
                    Kind::Write => "write-beyond-end-enospc",
                    _ => "write-zeroes-beyond-end-enospc",
                };
                self.outcomes(&[
                    ("either", &format!("reply NBD_ENOSPC cookie=bad [{rule}]")),
                    ("or", "reply NBD_EINVAL cookie=bad"),
                    (&format!("or warn {rule}"), "reply error cookie=bad"),
                    ("or", "end"),
                ]);
            }
            Kind::Cache => {
                self.outcomes(&[
                    ("either", "reply error cookie=bad [cache-error-code]"),
                    ("or", "end"),
                ]);
            }
            _ => self.outcomes(&[
                ("either", "reply NBD_EINVAL cookie=bad [status-beyond-end-einval]"),
                ("or warn status-beyond-end-einval", "reply error cookie=bad"),
                ("or", "end"),
            ]),
        }
        if kind.changes() && how == Beyond::Across {
            let visit = self.visitor();
            self.disturb(end - block..size, visit);
        }
        self.go_on("or", "baseline-read");
    }

    /// A change of an export that can't be changed. Who serves it all the same has been allowed to be
    /// written to.
    fn read_only(&mut self, form: Form, kind: Kind) {
        let block = self.facts.block();
        if !self.facts.write || block == 0 {
            return;
        }
        let form = self.facts.form(form);
        let entry = Entry { form, context: 0, options: Vec::new(), route: Route::Plain };
        if self.enter(NAME, &entry).is_none() {
            return;
        }
        self.pen.need("read-only");
        self.request(kind, 0, block, "");
        let rule = "tflag-read-only-fails-writes";
        match kind {
            Kind::Write => self.outcomes(&[
                ("either", &format!("reply NBD_EPERM cookie=bad [{rule}]")),
                ("or warn write-read-only-eperm", "reply error cookie=bad"),
            ]),
            Kind::Zeroes => {
                self.pen.line("either {");
                self.pen.server(NAME, &format!("reply NBD_EPERM cookie=bad [{rule}]"));
                self.pen.line("} or {");
                self.pen.server(NAME, "reply NBD_EINVAL cookie=bad");
                self.pen.line(
                    "should check $flags lacks {SEND_WRITE_ZEROES} [write-zeroes-read-only-eperm]",
                );
                self.pen.line("} or warn write-zeroes-read-only-eperm {");
                self.pen.server(NAME, "reply error cookie=bad");
                self.pen.line("} or {");
                self.pen.server(NAME, "end");
                self.pen.line("}");
            }
            _ => self.outcomes(&[
                ("either", &format!("reply error cookie=bad [{rule}]")),
                ("or", "end"),
            ]),
        }
        self.go_on("or", rule);
    }

    fn unaligned(&mut self, form: Form, kind: Kind) {
        let minimum = self.facts.minimum();
        if minimum < 2
            || !matches!(kind, Kind::Read | Kind::Write | Kind::Zeroes)
            || self.facts.end() < 4 * minimum
            || self.stage(form, kind).is_none()
        {
            return;
        }
        self.pen.beyond("minimum");
        let (offset, length) = (minimum + minimum / 2, minimum);
        self.request(kind, offset, length, "");
        self.outcomes(&[
            ("either", "should reply NBD_EINVAL cookie=bad [request-unaligned-einval]"),
            ("or warn request-unaligned-einval", "reply ok cookie=bad"),
            ("or", "end"),
        ]);
        if kind.changes() {
            let visit = self.visitor();
            self.disturb(minimum..3 * minimum, visit);
        }
        self.go_on("or", "baseline-read");
    }

    fn flag(&mut self, form: Form, kind: Kind, mask: u16, rule: &str) {
        let Some(offset) = self.quiet() else { return };
        if self.stage(form, kind).is_none() {
            return;
        }
        let block = self.facts.block();
        self.request(kind, offset, block, &format!(" flags={{{mask:#x}}}"));
        self.outcomes(&[
            ("either", &format!("reply NBD_EINVAL cookie=bad [{rule}]")),
            (&format!("or warn {rule}"), "reply _ cookie=bad"),
            (&format!("or warn {rule}"), "end"),
        ]);
        if kind.changes() {
            let visit = self.visitor();
            self.disturb(offset..offset + block, visit);
        }
        // The payload of what was refused is no request of its own.
        let after = match kind {
            Kind::Write if rule == "error-unknown-flag-einval" => rule,
            Kind::Write => "write-error-code",
            _ => "baseline-read",
        };
        self.go_on(&format!("or warn {rule}"), after);
    }

    /// Where something may become of the export without harm to what is looked at: past the first blocks.
    fn quiet(&self) -> Option<u64> {
        let block = self.facts.block();
        (self.facts.end() >= 9 * block && block > 0).then_some(8 * block)
    }

    fn other_flag(&mut self, form: Form, kind: Kind, bit: u8) {
        // Of FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO and PAYLOAD_LEN those that are not for the command.
        let fits = match kind {
            Kind::Read => bit == 2,
            Kind::Zeroes => bit == 1 || bit == 4,
            Kind::Status => bit == 3,
            _ => false,
        };
        // PAYLOAD_LEN would make a payload of the length in extended headers.
        let payload = bit == 5;
        if fits || payload || !(1..5).contains(&bit) {
            return;
        }
        let rule = match kind {
            Kind::Cache => "cache-unknown-flags-rejected",
            _ => "error-inapplicable-flag-einval",
        };
        self.flag(form, kind, 1 << bit, rule);
    }

    fn unknown_command(&mut self, form: Form, number: u16) {
        if self.stage(form, Kind::Read).is_none() {
            return;
        }
        self.pen.client(NAME, &format!("NBD_CMD_{number:#06x} cookie=0xbad offset=0 length=0"));
        self.outcomes(&[
            ("either", "reply NBD_EINVAL cookie=0xbad [error-unknown-command-einval]"),
            ("or warn error-unknown-command-einval", "reply _ cookie=0xbad"),
            ("or warn error-unknown-command-einval", "end"),
        ]);
        self.go_on("or", "baseline-read");
    }

    fn empty(&mut self, form: Form, kind: Kind) {
        let rule = match kind {
            Kind::Read => "read-zero-length-no-disconnect",
            Kind::Write => "write-zero-length-no-disconnect",
            Kind::Trim => "trim-zero-length-no-disconnect",
            Kind::Zeroes => "write-zeroes-zero-length-no-disconnect",
            Kind::Status => "status-zero-length-no-disconnect",
            Kind::Cache | Kind::Flush => return,
        };
        if self.stage(form, kind).is_none() {
            return;
        }
        self.pen.client(NAME, &format!("{} cookie=bad offset=0 length=0", kind.command()));
        self.outcomes(&[("either", "reply _ cookie=bad"), (&format!("or warn {rule}"), "end")]);
        self.go_on(&format!("or warn {rule}"), "baseline-read");
    }

    /// An effect on more than a payload may have, or than the lower half of a length can say.
    fn longest(&mut self, form: Form, kind: Kind) {
        let size = self.facts.end();
        let length = match form {
            Form::Extended if self.facts.form(form) == Form::Extended => 5 << 30,
            _ => LONG - LONG % self.facts.minimum(),
        };
        let length = if length < size { length } else { size };
        let length = length - length % self.facts.minimum();
        if !matches!(kind, Kind::Zeroes | Kind::Cache | Kind::Trim)
            || length <= self.facts.maximum()
            || length > size
            || self.stage(form, kind).is_none()
        {
            return;
        }
        self.pen.beyond("effect");
        self.pen.patient();
        let at = size - length;
        self.request(kind, at, length, "");
        let rule = "size-effect-length-no-disconnect";
        let warn = format!("or warn {rule}");
        if kind == Kind::Zeroes {
            // The last block shows whether all of it was done.
            let block = self.facts.block();
            let last = size - block;
            self.pen.line("either {");
            self.pen.server(NAME, &format!("reply ok cookie=bad [{rule}]"));
            for offset in [at + length / 2 - (at + length / 2) % block, last] {
                self.pen
                    .client(NAME, &format!("NBD_CMD_READ cookie=r offset={offset} length={block}"));
                self.pen.server(
                    NAME,
                    &format!("reply ok cookie=r data=zero*{block} [write-zeroes-stored]"),
                );
            }
            self.pen.line("} or {");
            self.pen.server(NAME, "reply error cookie=bad");
            self.pen.line(format!("}} {warn} {{"));
            self.pen.server(NAME, "end");
            self.pen.line("}");
        } else {
            self.outcomes(&[("either", &format!("reply _ cookie=bad [{rule}]")), (&warn, "end")]);
        }
        if kind.changes() {
            let visit = self.visitor();
            self.disturb(at..size, visit);
        }
        self.go_on("or", "baseline-read");
    }

    fn no_context(&mut self, replaced: bool) {
        let block = self.facts.block();
        let form = self.facts.form(Form::Structured);
        // Where contexts are what the setting is about, they are always selected.
        let selects = matches!(self.facts.setting, Setting::Bitmap | Setting::Backing);
        if block == 0 || selects || form == Form::Simple && replaced {
            return;
        }
        let contexts = self.facts.contexts();
        let rule = "status-without-context-einval";
        if replaced
            && self.facts.found.fixed
            && !self.facts.forces_tls()
            && let Some(first) = contexts.first()
        {
            let first = first.to_string();
            self.begin(NAME, false);
            self.pen.since((2, 12));
            let mut agreed = Agreed::default();
            self.option(NAME, &Opt::Structured, &mut agreed);
            for query in [format!("\"{first}\""), "\"x-nbdcheck:none\"".to_owned()] {
                self.pen.client(
                    NAME,
                    &format!("NBD_OPT_SET_META_CONTEXT name=$export queries={{{query}}}"),
                );
                if query.contains(&first) {
                    self.pen.server(NAME, "NBD_REP_META_CONTEXT option=NBD_OPT_SET_META_CONTEXT");
                }
                self.pen.server(
                    NAME,
                    "NBD_REP_ACK option=NBD_OPT_SET_META_CONTEXT [opt-set-meta-replaces]",
                );
            }
            self.pen.event(NAME, "to transmission structured");
            self.pen
                .client(NAME, &format!("NBD_CMD_BLOCK_STATUS cookie=bad offset=0 length={block}"));
            self.outcomes(&[
                ("either", "reply error cookie=bad [opt-set-meta-replaces]"),
                ("or", "end"),
            ]);
        } else {
            let entry = Entry { form, context: 0, options: Vec::new(), route: Route::Plain };
            if self.enter(NAME, &entry).is_none() {
                return;
            }
            self.pen
                .client(NAME, &format!("NBD_CMD_BLOCK_STATUS cookie=bad offset=0 length={block}"));
            let warn = format!("or warn {rule}");
            self.outcomes(&[
                ("either", &format!("reply NBD_EINVAL cookie=bad [{rule}]")),
                (&warn, "reply error cookie=bad"),
                ("or", "end"),
            ]);
        }
        self.go_on("or", "baseline-read");
    }

    fn ids(&mut self, twice: bool) {
        let block = self.facts.block();
        if !self.facts.found.extended_flags.has(T::BLOCK_STATUS_PAYLOAD) || block == 0 {
            return;
        }
        let entry =
            Entry { form: Form::Extended, context: 1, options: Vec::new(), route: Route::Plain };
        let Some((Form::Extended, selected)) = self.enter(NAME, &entry) else { return };
        let Some((_, Some(id))) = selected.first() else { return };
        let ids = if twice { format!("${id} ${id}") } else { format!("${id}+0x7a7a") };
        self.pen.client(
            NAME,
            &format!(
                "NBD_CMD_BLOCK_STATUS cookie=bad offset=0 effect-length={block} ids={{{ids}}}"
            ),
        );
        self.pen.server(NAME, "reply NBD_EINVAL cookie=bad [ext-status-payload-bad-einval]");
        self.go_on("or", "baseline-read");
    }

    /// What is in flight when a client takes leave is carried out, if not answered.
    fn disc_beside(&mut self, kind: Kind) {
        let kind = if kind.changes() { Kind::Write } else { Kind::Read };
        let Some(offset) = self.quiet() else { return };
        if self.stage(Form::Simple, kind).is_none() {
            return;
        }
        let block = self.facts.block();
        self.pen.event(NAME, "send coalesced");
        if kind == Kind::Read {
            self.pen.client(NAME, &format!("NBD_CMD_READ cookie=r offset={offset} length={block}"));
            self.pen.client(NAME, "NBD_CMD_DISC");
            self.pen.line("maybe {");
            self.pen.server(NAME, "reply _ cookie=r");
            self.pen.line("}");
            self.pen.server(NAME, "end [disc-server-closes]");
            self.pen.event(NAME, "close");
            return;
        }
        let seed = self.seed();
        self.pen.client(
            NAME,
            &format!("NBD_CMD_WRITE cookie=w offset={offset} data=place({seed})*{block}"),
        );
        self.pen.client(NAME, "NBD_CMD_DISC");
        let look = |writer: &mut Self| {
            writer.pen.event(AFTER, "to transmission");
            writer.pen.client(AFTER, &format!("NBD_CMD_READ offset={offset} length={block}"));
            writer.pen.server(
                AFTER,
                &format!("reply ok data=place({seed})*{block} [disc-outstanding-handled]"),
            );
        };
        self.pen.line("either {");
        self.pen.server(NAME, "reply ok cookie=w [disc-outstanding-handled]");
        self.pen.server(NAME, "end [disc-server-closes]");
        look(self);
        self.pen.line("} or {");
        self.pen.server(NAME, "reply error cookie=w");
        self.pen.server(NAME, "end [disc-server-closes]");
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        look(self);
        self.pen.line("}");
        self.pen.event(NAME, "close");
        self.pen.event(AFTER, "close");
        let visit = self.visitor();
        self.did(&(offset..offset + block), Deed::Wrote, visit);
        self.disturb(offset..offset + block, visit);
    }

    fn client_flags(&mut self, bit: u8) {
        self.pen.event(NAME, "connect");
        self.pen.server(NAME, "greeting fixed-newstyle");
        let mask = 1u32 << bit.clamp(2, 31);
        self.pen.client(NAME, &format!("client-flags flags={{FIXED_NEWSTYLE {mask:#x}}}"));
        self.pen.client(NAME, "NBD_OPT_LIST");
        self.pen.server(NAME, "end [handshake-server-closes-on-unknown-client-flags]");
        self.pen.event(NAME, "close");
    }

    fn data(&mut self, option: u8) {
        if self.facts.forces_tls() {
            return;
        }
        let found = &self.facts.found;
        let (option, rule, served) = match option {
            0 => ("NBD_OPT_LIST", "opt-list-data-invalid", OptionType::LIST),
            1 => (
                "NBD_OPT_STRUCTURED_REPLY",
                "opt-structured-data-invalid",
                OptionType::STRUCTURED_REPLY,
            ),
            2 => ("NBD_OPT_EXTENDED_HEADERS", "ext-opt-data-invalid", OptionType::EXTENDED_HEADERS),
            _ => ("NBD_OPT_ABORT", "opt-abort-data-ignored", OptionType::ABORT),
        };
        if served != OptionType::ABORT && !found.offers(served) {
            return;
        }
        self.begin(NAME, false);
        self.pen.client(NAME, &format!("{option} data=hex\"{HIDDEN_OPTION}\""));
        let warn = format!("or warn {rule}");
        if served == OptionType::ABORT {
            self.outcomes(&[
                ("either", "NBD_REP_ACK option=NBD_OPT_ABORT [opt-abort-acked]"),
                (&warn, "error option=NBD_OPT_ABORT"),
            ]);
            self.pen.event(NAME, "close");
            return;
        }
        if served == OptionType::LIST {
            self.pen.line("repeat 0.. {");
            self.pen.server(NAME, "NBD_REP_SERVER option=NBD_OPT_LIST");
            self.pen.line("}");
        }
        let again = |writer: &mut Self| {
            writer.pen.client(NAME, "NBD_OPT_0x4e424421");
            writer.pen.server(
                NAME,
                "NBD_REP_ERR_UNSUP option=NBD_OPT_0x4e424421 [option-reply-one-final]",
            );
        };
        self.pen.line("either {");
        self.pen.server(NAME, &format!("NBD_REP_ERR_INVALID option={option} [{rule}]"));
        again(self);
        self.pen.line(format!("}} {warn} {{"));
        self.pen.server(NAME, &format!("error option={option}"));
        again(self);
        self.pen.line(format!("}} {warn} {{"));
        self.pen.server(NAME, &format!("NBD_REP_ACK option={option}"));
        again(self);
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    fn missing_by_name(&mut self) {
        if self.facts.forces_tls() || !self.facts.hazard || !self.knows_names() {
            return;
        }
        self.pen.hazard("makes the server end a session");
        self.begin(NAME, false);
        self.pen.client(NAME, &format!("NBD_OPT_EXPORT_NAME name=\"{MISSING}\""));
        self.pen.server(NAME, "end [opt-export-name-refusal-closes]");
        self.pen.event(NAME, "close");
    }

    fn set_early(&mut self) {
        if self.facts.forces_tls() || !self.facts.found.offers(OptionType::SET_META_CONTEXT) {
            return;
        }
        let Some(context) = self.facts.contexts().first().map(ToString::to_string) else { return };
        self.pen.since((2, 12));
        self.begin(NAME, false);
        const OPTION: &str = "NBD_OPT_SET_META_CONTEXT";
        self.pen.client(NAME, &format!("{OPTION} name=$export queries={{\"{context}\"}}"));
        let warn = "or warn opt-set-meta-early-invalid";
        self.pen.line("either {");
        self.pen.server(
            NAME,
            &format!("NBD_REP_ERR_INVALID option={OPTION} [opt-set-meta-early-invalid]"),
        );
        self.pen.line("} or {");
        self.pen.server(NAME, &format!("NBD_REP_ERR_EXT_HEADER_REQD option={OPTION}"));
        self.pen.line(format!("}} {warn} {{"));
        self.pen.server(NAME, &format!("error option={OPTION}"));
        self.pen.line(format!("}} {warn} {{"));
        self.pen.server(NAME, &format!("NBD_REP_META_CONTEXT option={OPTION}"));
        self.pen.server(NAME, &format!("NBD_REP_ACK option={OPTION}"));
        self.pen.line(format!("}} {warn} {{"));
        self.pen.server(NAME, &format!("NBD_REP_ACK option={OPTION}"));
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    /// What follows a malformed option: the next one is answered, or the server has left.
    fn still_in_step(&mut self, rule: &str) {
        self.pen.client(NAME, "NBD_OPT_0x4e424421");
        self.pen.line("either {");
        self.pen.server(NAME, &format!("error option=NBD_OPT_0x4e424421 [{rule}]"));
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
    }

    fn trailing(&mut self, go: bool) {
        if self.facts.forces_tls() {
            return;
        }
        let rule = "opt-info-go-malformed-invalid";
        self.pen.since((2, 10));
        if go && self.facts.hazard {
            // More information requests are announced than there are.
            self.pen.hazard("sends malformed options");
            self.begin(NAME, false);
            self.pen
                .client(NAME, &format!("NBD_OPT_GO data=hex\"00 00 00 00 ff ff {HIDDEN_OPTION}\""));
            self.pen.line("either {");
            self.pen.server(NAME, &format!("error option=NBD_OPT_GO [{rule}]"));
            self.still_in_step(rule);
            self.pen.line("} or {");
            self.pen.server(NAME, "end");
            self.pen.line("}");
            self.pen.event(NAME, "close");
            return;
        }
        let option = "NBD_OPT_INFO";
        self.begin(NAME, false);
        self.pen.client(
            NAME,
            &format!(
                "{option} name=$export info={{NBD_INFO_BLOCK_SIZE}} length=8+length($export)+3"
            ),
        );
        self.pen.client(NAME, "bytes data=fill(0xff)*3");
        self.pen.line("either {");
        self.pen.server(NAME, &format!("error option={option} [{rule}]"));
        self.still_in_step(rule);
        self.pen.line("} or {");
        self.pen.server(NAME, &format!("NBD_REP_INFO _ option={option}"));
        self.pen.line("repeat 0.. {");
        self.pen.server(NAME, &format!("NBD_REP_INFO _ option={option}"));
        self.pen.line("}");
        self.pen.server(NAME, &format!("NBD_REP_ACK option={option}"));
        self.pen.client(NAME, "NBD_OPT_0x4e424421");
        self.pen.server(NAME, &format!("error option=NBD_OPT_0x4e424421 [{rule}]"));
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    fn short_queries(&mut self, set: bool) {
        if self.facts.forces_tls()
            || !self.facts.hazard
            || !self.facts.found.offers(OptionType::SET_META_CONTEXT)
        {
            return;
        }
        let option = if set { "NBD_OPT_SET_META_CONTEXT" } else { "NBD_OPT_LIST_META_CONTEXT" };
        let rule = "opt-meta-malformed-invalid";
        self.pen.since((2, 12));
        self.pen.hazard("sends malformed options");
        self.begin(NAME, false);
        let mut agreed = Agreed::default();
        self.option(NAME, &Opt::Structured, &mut agreed);
        if set && let Some(context) = self.facts.contexts().first().map(ToString::to_string) {
            // A selection that fails is none.
            self.pen.client(NAME, &format!("{option} name=$export queries={{\"{context}\"}}"));
            self.pen.server(NAME, &format!("NBD_REP_META_CONTEXT option={option}"));
            self.pen.server(NAME, &format!("NBD_REP_ACK option={option}"));
        }
        self.pen.client(NAME, &format!("{option} data=hex\"00 00 00 40 64 69 73 6b 00 00 00 00\""));
        self.pen.line("either {");
        self.pen.server(NAME, &format!("error option={option} [{rule}]"));
        match set {
            true => {
                let block = self.facts.block();
                self.pen.event(NAME, "to transmission structured");
                self.pen.client(
                    NAME,
                    &format!("NBD_CMD_BLOCK_STATUS cookie=s offset=0 length={block}"),
                );
                self.pen.line("either {");
                self.pen.server(NAME, "reply error cookie=s [opt-set-meta-replaces]");
                self.pen.line("} or {");
                self.pen.server(NAME, "end");
                self.pen.line("}");
            }
            false => self.still_in_step(rule),
        }
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    fn long_name(&mut self, go: bool, length: u16) {
        if self.facts.forces_tls() || !self.facts.hazard || !self.knows_names() {
            return;
        }
        let option = if go { "NBD_OPT_GO" } else { "NBD_OPT_INFO" };
        let rule = "opt-info-missing-export-unknown";
        self.pen.since((2, 10));
        self.pen.hazard("sends long names");
        self.begin(NAME, false);
        // What a server makes of it that looks at the lower byte of the length alone is an export's name.
        let own = self.facts.found.export.len();
        let name = match length % 2 {
            0 => format!("$export+\"n\"*{}", 256),
            _ => format!("\"n\"*{length}"),
        };
        let over = match length % 2 {
            0 => true,
            _ => length > 256,
        };
        if length.is_multiple_of(2) && own == 0 {
            self.pen.event(NAME, "close");
            return;
        }
        self.pen.client(NAME, &format!("{option} name={name} info={{NBD_INFO_BLOCK_SIZE}}"));
        self.pen.line("either {");
        self.pen.server(NAME, &format!("NBD_REP_ERR_UNKNOWN option={option} [{rule}]"));
        self.still_in_step("session-server-errors-options");
        for error in ["TOO_BIG", "INVALID"].iter().filter(|error| over || **error == "TOO_BIG") {
            self.pen.line("} or {");
            self.pen.server(NAME, &format!("NBD_REP_ERR_{error} option={option}"));
        }
        self.pen.line("}");
        self.pen.event(NAME, "close");
    }

    fn tls_slip(&mut self, how: u8) {
        let (forced, only) = (self.facts.forces_tls(), self.facts.setting == Setting::TlsOnly);
        if !self.facts.setting.is_tls() || self.facts.found.tls == TlsMode::Off {
            return;
        }
        match how % 5 {
            4 if forced => {
                self.begin(NAME, false);
                self.pen.client(NAME, "NBD_OPT_ABORT");
                self.pen.server(NAME, "NBD_REP_ACK option=NBD_OPT_ABORT [tls-forced-abort-exempt]");
            }
            0 => {
                self.begin(NAME, false);
                let mut agreed = Agreed::default();
                self.option(NAME, &Opt::Tls, &mut agreed);
                self.pen.client(NAME, "NBD_OPT_STARTTLS");
                self.pen.line("either {");
                self.pen.server(
                    NAME,
                    "NBD_REP_ERR_INVALID option=NBD_OPT_STARTTLS [tls-starttls-twice-invalid]",
                );
                self.option(NAME, &Opt::Unknown(0, 0), &mut agreed);
                self.pen.line("} or {");
                self.pen.server(NAME, "end");
                self.pen.line("}");
            }
            1 => self.behind_starttls(),
            2 => {
                self.begin(NAME, false);
                self.pen.client(NAME, "NBD_OPT_STARTTLS");
                self.pen.server(NAME, "NBD_REP_ACK option=NBD_OPT_STARTTLS");
                self.pen.client(NAME, "NBD_OPT_LIST");
                self.pen.server(NAME, "end [tls-server-ends-on-failed-handshake]");
            }
            _ if forced => {
                self.begin(NAME, false);
                self.pen.client(NAME, "NBD_OPT_EXPORT_NAME name=$export");
                self.pen.server(NAME, "end [tls-forced-export-name-closes]");
            }
            _ if only => {
                self.pen.need("other");
                self.begin(NAME, false);
                self.pen.client(NAME, "NBD_OPT_INFO name=$other");
                self.until(
                    "NBD_REP_ERR_TLS_REQD option=NBD_OPT_INFO [tls-selective-tls-only-tls-reqd]",
                    "NBD_REP_INFO _",
                );
                self.pen.client(NAME, "NBD_OPT_EXPORT_NAME name=$other");
                self.pen.server(NAME, "end [tls-selective-export-name-closes]");
            }
            _ => {
                let entry = Entry {
                    form: Form::Structured,
                    context: 0,
                    options: vec![Opt::Structured, Opt::Tls],
                    route: Route::Go(Infos(8)),
                };
                self.state_reset(&entry);
            }
        }
        self.pen.event(NAME, "close");
    }

    /// An option in the clear behind STARTTLS is not acted on inside TLS.
    fn behind_starttls(&mut self) {
        self.begin(NAME, false);
        self.pen.event(NAME, "send coalesced");
        self.pen.client(NAME, "NBD_OPT_STARTTLS");
        self.pen.client(NAME, "NBD_OPT_LIST");
        self.pen.event(NAME, "send whole");
        self.pen.line("either {");
        self.pen.server(NAME, "NBD_REP_ACK option=NBD_OPT_STARTTLS");
        self.pen.event(NAME, "tls may-fail");
        self.pen.client(NAME, "NBD_OPT_0x4e424421");
        self.pen.line("either {");
        self.pen.server(
            NAME,
            "NBD_REP_ERR_UNSUP option=NBD_OPT_0x4e424421 [tls-no-plaintext-after-ack]",
        );
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
        self.pen.line("} or {");
        self.pen.server(NAME, "end");
        self.pen.line("}");
    }

    /// What was agreed in the clear is no more inside.
    fn state_reset(&mut self, entry: &Entry) {
        self.begin(NAME, false);
        let mut agreed = Agreed::default();
        for option in &entry.options {
            self.option(NAME, option, &mut agreed);
        }
        self.information(NAME, true, Infos(8));
        let block = self.facts.block();
        self.pen.client(NAME, &format!("NBD_CMD_READ offset=0 length={block}"));
        self.pen
            .server(NAME, &format!("simple-reply ok data=any*{block} [opt-starttls-resets-state]"));
    }

    /// One line until another comes.
    fn until(&mut self, last: &str, before: &str) {
        let (last, before) = (super::pen::server(NAME, last), super::pen::server(NAME, before));
        self.pen.line(format!("until {last} {{"));
        self.pen.line(before);
        self.pen.line("}");
    }
}

impl Form {
    /// A form that has chunks.
    fn max_chunks(self) -> Self {
        if self == Self::Simple { Self::Structured } else { self }
    }
}
