//! Options and their answers.

use protocol::values::{OptionType, ReplyType, TransmissionFlags as T};

use super::session::{Entry, Form, Infos, Opt, Query, Route, Setting};
use super::writer::Writer;
use crate::run::survey::TlsMode;

/// A name that no server has an export of by chance.
pub(super) const MISSING: &str = "nbdcheck: no such export";
/// How many options one connection has at most: servers may limit them.
const OPTIONS: usize = 24;
/// How many of the exports that are listed are asked about.
const LISTED: usize = 3;

/// The contexts that were selected, with the variables that hold their ids.
pub(super) type Selected = Vec<(String, Option<String>)>;

/// What has been agreed on a connection so far.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) structured: bool,
    pub(super) extended: bool,
    pub(super) inside: bool,
    /// Contexts that were selected, with the variables that hold their ids.
    pub(super) selected: Selected,
    asked: usize,
    listed: bool,
}

/// The information requests of a set of bits.
fn infos(bits: Infos, required: bool) -> String {
    let names = [
        "NBD_INFO_EXPORT",
        "NBD_INFO_NAME",
        "NBD_INFO_DESCRIPTION",
        "NBD_INFO_BLOCK_SIZE",
        "NBD_INFO_0x7777",
    ];
    let bits = if required { bits.0 | 8 } else { bits.0 };
    let set: Vec<&str> = names
        .into_iter()
        .enumerate()
        .filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, name)| name)
        .collect();
    set.join(" ")
}

impl Writer<'_> {
    /// A connection enters the export: the form of its replies and the contexts that it has selected;
    /// `None` where it can't.
    pub(super) fn enter(&mut self, name: &str, entry: &Entry) -> Option<(Form, Selected)> {
        let about_status = matches!(self.facts.setting, Setting::Bitmap | Setting::Backing);
        let form = self.facts.form(match entry.form {
            Form::Simple if about_status => Form::Structured,
            form => form,
        });
        let contexts = self.chosen(entry.context, form);
        if !self.facts.found.fixed {
            self.pen.event(name, "to transmission");
            return Some((Form::Simple, Vec::new()));
        }
        match form {
            Form::Simple => {}
            Form::Structured => {
                self.pen.since((2, 11));
                self.pen.need("structured");
            }
            Form::Extended => {
                self.pen.since((8, 2));
                self.pen.need("extended");
            }
        }
        if contexts.len() <= 1 && entry.options.is_empty() && entry.route == Route::Plain {
            let form_word = match form {
                Form::Simple => "",
                Form::Structured => " structured",
                Form::Extended => " extended",
            };
            // What the form needs is negotiated with it.
            let payload = form == Form::Extended
                && self.facts.found.extended_flags.has(T::BLOCK_STATUS_PAYLOAD)
                && !contexts.is_empty();
            if !payload {
                let with = contexts.iter().map(|context| format!(" with \"{context}\""));
                let with: String = with.collect();
                self.pen.event(name, &format!("to transmission{form_word}{with}"));
                let contexts = contexts.into_iter().map(|context| (context, None));
                return Some((form, contexts.collect()));
            }
        }
        let mut agreed = Agreed::default();
        let by_name = matches!(entry.route, Route::ExportName(_)) && form != Form::Extended;
        let by_name = by_name && (self.facts.minimum() == 1);
        self.begin(name, by_name && entry.route == Route::ExportName(false));
        for option in &entry.options {
            self.option(name, option, &mut agreed);
        }
        if self.facts.forces_tls() && !agreed.inside {
            self.option(name, &Opt::Tls, &mut agreed);
        }
        match form {
            Form::Structured if !agreed.structured && !agreed.extended => {
                self.option(name, &Opt::Structured, &mut agreed);
            }
            Form::Extended if !agreed.extended => self.option(name, &Opt::Extended, &mut agreed),
            _ => {}
        }
        if !contexts.is_empty() && (agreed.structured || agreed.extended) {
            self.select(name, &contexts, &mut agreed);
        }
        let form = match (agreed.extended, agreed.structured) {
            (true, _) => Form::Extended,
            (_, true) => Form::Structured,
            _ => Form::Simple,
        };
        match &entry.route {
            Route::ExportName(_) if by_name && form != Form::Extended => {
                self.pen.client(name, "NBD_OPT_EXPORT_NAME name=$export");
                let number = self.number();
                self.pen.server(
                    name,
                    &format!("export-info size=?told{number} flags has {{HAS_FLAGS}}"),
                );
                self.pen
                    .line(format!("check $told{number} == $size [info-export-equals-export-name]"));
            }
            Route::Go(bits) => self.information(name, true, *bits),
            _ => self.pen.event(name, "to transmission"),
        }
        Some((form, agreed.selected))
    }

    /// The contexts that an entry selects.
    fn chosen(&self, context: u8, form: Form) -> Vec<String> {
        let all = self.facts.contexts();
        let about_status = matches!(self.facts.setting, Setting::Bitmap | Setting::Backing);
        if form == Form::Simple || all.is_empty() || (context == 0 && !about_status) {
            return Vec::new();
        }
        let context = usize::from(context).saturating_sub(1);
        match context {
            _ if about_status => vec![all[0].to_owned()],
            2 => all.iter().take(2).map(|name| (*name).to_owned()).collect(),
            place => vec![all[place % all.len()].to_owned()],
        }
    }

    /// A connection up to the client's flags; `padded` without NO_ZEROES.
    pub(super) fn begin(&mut self, name: &str, padded: bool) {
        match padded {
            true => {
                self.pen.event(name, "connect");
                self.pen.server(name, "greeting fixed-newstyle");
                self.pen.client(name, "client-flags flags={FIXED_NEWSTYLE}");
            }
            false => self.pen.event(name, "to haggling"),
        }
    }

    /// A connection that never enters the export.
    pub(super) fn haggle(&mut self, options: &[Opt], aborts: bool) {
        if !self.facts.found.fixed {
            return;
        }
        let name = "h";
        self.make_room(1);
        self.begin(name, false);
        let mut agreed = Agreed::default();
        for option in options {
            self.option(name, option, &mut agreed);
        }
        if aborts {
            let rule = match self.facts.forces_tls() && !agreed.inside {
                true => "tls-forced-abort-exempt",
                false => "opt-abort-acked",
            };
            self.pen.client(name, "NBD_OPT_ABORT");
            self.pen.server(name, &format!("NBD_REP_ACK option=NBD_OPT_ABORT [{rule}]"));
        }
        self.pen.event(name, "close");
    }

    /// An option and its answer.
    pub(super) fn option(&mut self, name: &str, option: &Opt, agreed: &mut Agreed) {
        agreed.asked += 1;
        if agreed.asked > OPTIONS {
            return;
        }
        if self.facts.forces_tls() && !agreed.inside && *option != Opt::Tls {
            self.outside(name, option);
            return;
        }
        match option {
            Opt::List if agreed.listed => self.list_again(name),
            Opt::List => {
                agreed.listed = true;
                self.list(name);
            }
            Opt::Info(bits) => self.information(name, false, *bits),
            Opt::InfoListed => self.info_listed(name),
            Opt::Missing(go, bits) => self.missing(name, *go, *bits),
            Opt::Structured => self.structured(name, agreed),
            Opt::Extended => self.extended(name, agreed),
            Opt::Contexts(set, queries) => self.contexts(name, *set, queries, agreed),
            Opt::Unknown(number, bytes) => self.unknown(name, *number, *bytes),
            Opt::Peek => {
                self.pen.client(name, "NBD_OPT_PEEK_EXPORT data=hex\"64 69 73 6b\"");
                self.pen.server(
                    name,
                    "NBD_REP_ERR_UNSUP option=NBD_OPT_PEEK_EXPORT [opt-peek-export-withdrawn]",
                );
            }
            Opt::Tls => self.tls(name, agreed),
        }
    }

    /// The same where nothing but TLS is served.
    fn outside(&mut self, name: &str, option: &Opt) {
        let (what, option, rule) = match option {
            Opt::List => ("NBD_OPT_LIST", "NBD_OPT_LIST", "tls-forced-error-other-options"),
            Opt::Info(_) | Opt::InfoListed => {
                ("NBD_OPT_INFO name=$export", "NBD_OPT_INFO", "tls-forced-error-other-options")
            }
            Opt::Missing(..) => ("NBD_OPT_GO name=$export", "NBD_OPT_GO", "tls-forced-go-tls-reqd"),
            Opt::Structured => (
                "NBD_OPT_STRUCTURED_REPLY",
                "NBD_OPT_STRUCTURED_REPLY",
                "tls-forced-error-other-options",
            ),
            Opt::Extended => (
                "NBD_OPT_EXTENDED_HEADERS",
                "NBD_OPT_EXTENDED_HEADERS",
                "tls-forced-error-other-options",
            ),
            _ => ("NBD_OPT_0x4e424421", "NBD_OPT_0x4e424421", "tls-forced-error-other-options"),
        };
        self.pen.client(name, what);
        self.pen.server(name, &format!("NBD_REP_ERR_TLS_REQD option={option} [{rule}]"));
    }

    fn tls(&mut self, name: &str, agreed: &mut Agreed) {
        let has_tls = self.facts.setting.is_tls();
        if agreed.inside || !(has_tls || self.facts.owned && self.facts.found.tls == TlsMode::Off) {
            return;
        }
        self.pen.client(name, "NBD_OPT_STARTTLS");
        if !has_tls {
            self.pen.server(name, "error option=NBD_OPT_STARTTLS [tls-notls-starttls-error]");
            return;
        }
        self.pen.server(name, "NBD_REP_ACK option=NBD_OPT_STARTTLS [tls-starttls-acked]");
        self.pen.event(name, "tls");
        *agreed = Agreed { inside: true, asked: agreed.asked, ..Agreed::default() };
    }

    fn list(&mut self, name: &str) {
        self.pen.client(name, "NBD_OPT_LIST");
        let listed = self.facts.found.listed.as_ref();
        let has_it = listed.is_some_and(|names| {
            names.iter().any(|name| name.as_bytes() == self.facts.found.export.as_bytes())
        });
        let answer = self.facts.found.options.get(&OptionType::LIST).copied();
        match (has_it, answer) {
            (true, _) => {
                self.pen.line("any-order {");
                self.pen.server(
                    name,
                    "NBD_REP_SERVER option=NBD_OPT_LIST name=$export [opt-list-reply]",
                );
                self.pen.line("repeat 0.. {");
                self.pen.server(name, "NBD_REP_SERVER option=NBD_OPT_LIST");
                self.pen.line("}");
                self.pen.line("}");
                self.pen.server(name, "NBD_REP_ACK option=NBD_OPT_LIST");
            }
            (false, Some(ReplyType::ACK)) => {
                if self.facts.owned
                    && self.facts.described
                    && self.facts.setting == Setting::Default
                {
                    // It has one, and there is no reason to hide it.
                    self.pen.need("owned");
                    self.pen.server(
                        name,
                        "NBD_REP_SERVER option=NBD_OPT_LIST name=$export [opt-list-reply]",
                    );
                }
                self.pen.line("repeat 0.. {");
                self.pen.server(name, "NBD_REP_SERVER option=NBD_OPT_LIST");
                self.pen.line("}");
                self.pen.server(name, "NBD_REP_ACK option=NBD_OPT_LIST");
            }
            (false, _) => {
                for (index, error) in
                    ["POLICY", "PLATFORM", "TOO_BIG", "SHUTDOWN"].iter().enumerate()
                {
                    self.pen.line(if index == 0 { "either {" } else { "} or {" });
                    let tag = if index == 0 { " [baseline-list]" } else { "" };
                    self.pen.server(name, &format!("NBD_REP_ERR_{error} option=NBD_OPT_LIST{tag}"));
                }
                self.pen.line("}");
            }
        }
    }

    /// A second list may be refused: nothing asks for it.
    fn list_again(&mut self, name: &str) {
        self.pen.client(name, "NBD_OPT_LIST");
        self.pen.line("repeat 0.. {");
        self.pen.server(name, "NBD_REP_SERVER option=NBD_OPT_LIST");
        self.pen.line("}");
        self.pen.line("either {");
        self.pen.server(name, "NBD_REP_ACK option=NBD_OPT_LIST");
        self.pen.line("} or {");
        self.pen.server(name, "error option=NBD_OPT_LIST");
        self.pen.line("}");
    }

    /// INFO or GO about the export.
    pub(super) fn information(&mut self, name: &str, go: bool, bits: Infos) {
        let option = if go { "NBD_OPT_GO" } else { "NBD_OPT_INFO" };
        self.pen.since((2, 10));
        let asks = bits.0 & 8 != 0 || go || self.facts.minimum() > 1;
        let infos = infos(bits, asks);
        self.pen.client(name, &format!("{option} name=$export info={{{infos}}}"));
        if !asks {
            self.pen.line("repeat 0.. {");
            self.pen.server(name, &format!("NBD_REP_INFO _ option={option}"));
            self.pen.line("}");
            self.pen.line("either {");
            self.pen
                .server(name, &format!("NBD_REP_ACK option={option} [opt-info-export-required]"));
            self.pen.line("} or warn interop-block-size-not-required {");
            self.pen.server(name, &format!("NBD_REP_ERR_BLOCK_SIZE_REQD option={option}"));
            self.pen.line("}");
            return;
        }
        let number = self.number();
        self.pen.line("any-order {");
        self.pen.server(
            name,
            &format!("NBD_REP_INFO NBD_INFO_EXPORT option={option} size=?told{number} flags has {{HAS_FLAGS}} [opt-info-export-required]"),
        );
        self.pen.line("repeat 0.. {");
        self.pen.server(name, &format!("NBD_REP_INFO _ option={option}"));
        self.pen.line("}");
        self.pen.line("}");
        self.pen.server(name, &format!("NBD_REP_ACK option={option} [baseline-info-go]"));
        self.pen.line(format!("check $told{number} == $size [opt-info-go-consistent]"));
    }

    fn info_listed(&mut self, name: &str) {
        let listed = self.facts.found.listed.iter().flatten();
        let names: Vec<String> = listed
            .filter(|name| str::from_utf8(name.as_bytes()).is_ok())
            .take(LISTED)
            .map(ToString::to_string)
            .collect();
        self.pen.since((2, 10));
        for export in names {
            self.pen.client(
                name,
                &format!("NBD_OPT_INFO name={export} info={{NBD_INFO_NAME NBD_INFO_DESCRIPTION NBD_INFO_BLOCK_SIZE}}"),
            );
            self.pen.line("repeat 0.. {");
            self.pen.server(name, "NBD_REP_INFO _ option=NBD_OPT_INFO");
            self.pen.line("}");
            self.pen.line("either {");
            self.pen.server(name, "NBD_REP_ACK option=NBD_OPT_INFO [rep-server-name-usable]");
            self.pen.line("} or {");
            self.pen.server(name, "NBD_REP_ERR_TLS_REQD option=NBD_OPT_INFO");
            self.pen.line("}");
        }
    }

    fn missing(&mut self, name: &str, go: bool, bits: Infos) {
        if !self.knows_names() {
            return;
        }
        let option = if go { "NBD_OPT_GO" } else { "NBD_OPT_INFO" };
        self.pen.since((2, 10));
        let infos = infos(bits, true);
        self.pen.client(name, &format!("{option} name=\"{MISSING}\" info={{{infos}}}"));
        self.pen.server(
            name,
            &format!("NBD_REP_ERR_UNKNOWN option={option} [opt-info-missing-export-unknown]"),
        );
    }

    /// Whether an export of a made up name is refused, or should be.
    pub(super) fn knows_names(&mut self) -> bool {
        let made = self.facts.described && self.facts.setting == Setting::Many;
        if made {
            self.pen.need("owned");
        } else if self.facts.found.refuses_unknown {
            self.pen.need("names");
        }
        made || self.facts.found.refuses_unknown
    }

    fn structured(&mut self, name: &str, agreed: &mut Agreed) {
        const OPTION: &str = "NBD_OPT_STRUCTURED_REPLY";
        self.pen.since((2, 11));
        self.pen.client(name, OPTION);
        if agreed.extended {
            self.pen
                .server(name, &format!("error option={OPTION} [ext-structured-after-extended]"));
        } else if agreed.structured {
            self.pen.line("either {");
            self.pen.server(name, &format!("NBD_REP_ACK option={OPTION}"));
            self.pen.line("} or {");
            self.pen.server(name, &format!("error option={OPTION}"));
            self.pen.line("}");
        } else if self.facts.found.offers(OptionType::STRUCTURED_REPLY) {
            self.pen.server(name, &format!("NBD_REP_ACK option={OPTION}"));
            agreed.structured = true;
        } else {
            self.pen.server(name, &format!("error option={OPTION}"));
        }
    }

    fn extended(&mut self, name: &str, agreed: &mut Agreed) {
        const OPTION: &str = "NBD_OPT_EXTENDED_HEADERS";
        self.pen.since((8, 2));
        self.pen.client(name, OPTION);
        if agreed.extended {
            self.pen.line("either {");
            self.pen.server(name, &format!("NBD_REP_ACK option={OPTION}"));
            self.pen.line("} or {");
            self.pen.server(name, &format!("error option={OPTION}"));
            self.pen.line("}");
        } else if self.facts.found.offers(OptionType::EXTENDED_HEADERS) {
            self.pen.server(name, &format!("NBD_REP_ACK option={OPTION}"));
            agreed.extended = true;
        } else {
            self.pen.server(name, &format!("error option={OPTION}"));
        }
    }

    /// Selects contexts by their names.
    fn select(&mut self, name: &str, contexts: &[String], agreed: &mut Agreed) {
        const OPTION: &str = "NBD_OPT_SET_META_CONTEXT";
        self.pen.since((2, 12));
        let quoted: Vec<String> = contexts.iter().map(|context| format!("\"{context}\"")).collect();
        self.pen.client(name, &format!("{OPTION} name=$export queries={{{}}}", quoted.join(" ")));
        let several = contexts.len() > 1;
        if several {
            self.pen.line("any-order {");
        }
        agreed.selected.clear();
        for context in contexts {
            let variable = format!("id{}", self.number());
            self.pen.server(
                name,
                &format!("NBD_REP_META_CONTEXT option={OPTION} id=?{variable} name=\"{context}\" [opt-set-meta-reply]"),
            );
            agreed.selected.push((context.clone(), Some(variable)));
        }
        if several {
            self.pen.line("}");
        }
        self.pen.server(name, &format!("NBD_REP_ACK option={OPTION} [opt-set-meta-reply]"));
    }

    fn contexts(&mut self, name: &str, set: bool, queries: &[Query], agreed: &mut Agreed) {
        if !self.facts.found.offers(OptionType::SET_META_CONTEXT)
            || !self.facts.found.offers(OptionType::LIST_META_CONTEXT)
        {
            self.contexts_agree(name, agreed);
            return;
        }
        self.chunks(name, agreed);
        if !(agreed.structured || agreed.extended) {
            return;
        }
        let option = if set { "NBD_OPT_SET_META_CONTEXT" } else { "NBD_OPT_LIST_META_CONTEXT" };
        self.pen.since((2, 12));
        let all: Vec<String> = self.facts.contexts().into_iter().map(str::to_owned).collect();
        let mut texts: Vec<String> = Vec::new();
        for query in queries {
            let text = match query {
                Query::Listed(place) if all.is_empty() => format!("x-nbdcheck:{place}"),
                Query::Listed(place) => all[usize::from(*place) % all.len()].clone(),
                Query::Namespace => "base:".to_owned(),
                Query::Qemu => "qemu:".to_owned(),
                Query::Bitmaps => "qemu:dirty-bitmap:".to_owned(),
                Query::Foreign => "x-nbdcheck:none".to_owned(),
                Query::Almost => "base:alloc".to_owned(),
            };
            // What a server makes of the same query twice is for another slip.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        self.pen.client(name, &format!("{option} name=$export queries={{{}}}", quoted.join(" ")));
        let matches = |context: &String| {
            texts.iter().any(|text| match text.as_str() {
                "base:" | "qemu:" | "qemu:dirty-bitmap:" if !set => {
                    context.starts_with(text.as_str())
                }
                text => text == context,
            }) || (!set && texts.is_empty())
        };
        let wild = set && texts.iter().any(|text| text.ends_with(':'));
        let answered: Vec<String> =
            all.iter().filter(|context| matches(context)).cloned().collect();
        let rule = match (set, answered.is_empty()) {
            (true, true) if texts.is_empty() => "opt-set-meta-zero-queries",
            (true, true) if texts.iter().any(|text| text.starts_with("qemu:")) => {
                "qemu-wildcards-select-nothing"
            }
            (true, true) if wild => "meta-empty-leaf-selects-nothing",
            (true, _) => "opt-set-meta-reply",
            (false, true) => "opt-list-meta-no-match-ack",
            (false, false) if texts.is_empty() => "opt-list-meta-zero-queries",
            (false, false) => "opt-list-meta-matches",
        };
        let several = answered.len() > 1;
        if several {
            self.pen.line("any-order {");
        }
        let mut selected = Vec::new();
        for context in &answered {
            let id = match set {
                true => {
                    let variable = format!("id{}", self.number());
                    let field = format!(" id=?{variable}");
                    selected.push((context.clone(), Some(variable)));
                    field
                }
                false => String::new(),
            };
            self.pen.server(
                name,
                &format!("NBD_REP_META_CONTEXT option={option}{id} name=\"{context}\" [{rule}]"),
            );
        }
        if several {
            self.pen.line("}");
        }
        self.pen.server(name, &format!("NBD_REP_ACK option={option} [{rule}]"));
        if set {
            agreed.selected = selected;
        }
    }

    /// Contexts take replies in chunks.
    fn chunks(&mut self, name: &str, agreed: &mut Agreed) {
        if !agreed.structured && !agreed.extended {
            self.structured(name, agreed);
        }
    }

    /// What is selected is listed, and the other way round: where the survey could not find out which
    /// contexts there are.
    fn contexts_agree(&mut self, name: &str, agreed: &mut Agreed) {
        const SET: &str = "NBD_OPT_SET_META_CONTEXT";
        const LIST: &str = "NBD_OPT_LIST_META_CONTEXT";
        if self.facts.refuses(OptionType::SET_META_CONTEXT) || !agreed.selected.is_empty() {
            return;
        }
        self.chunks(name, agreed);
        if !(agreed.structured || agreed.extended) {
            return;
        }
        self.pen.since((2, 12));
        self.pen.client(name, &format!("{SET} name=$export queries={{\"base:allocation\"}}"));
        self.pen.line("either {");
        self.pen
            .server(name, &format!("NBD_REP_META_CONTEXT option={SET} name=\"base:allocation\""));
        self.pen.server(name, &format!("NBD_REP_ACK option={SET}"));
        for (queries, rule) in
            [("\"base:allocation\"", "opt-list-meta-matches"), ("", "opt-list-meta-zero-queries")]
        {
            self.pen.client(name, &format!("{LIST} name=$export queries={{{queries}}}"));
            self.pen.line("either {");
            self.pen.server(name, &format!("NBD_REP_META_CONTEXT option={LIST} [{rule}]"));
            self.pen.line("repeat 0.. {");
            self.pen.server(name, &format!("NBD_REP_META_CONTEXT option={LIST}"));
            self.pen.line("}");
            self.pen.server(name, &format!("NBD_REP_ACK option={LIST}"));
            self.pen.line("} or warn opt-list-meta-zero-queries-not-too-big {");
            self.pen.server(name, &format!("NBD_REP_ERR_TOO_BIG option={LIST}"));
            self.pen.line("}");
        }
        self.pen.client(name, &format!("{LIST} name=$export queries={{\"x-nbdcheck:none\"}}"));
        self.pen.server(name, &format!("NBD_REP_ACK option={LIST} [opt-list-meta-no-match-ack]"));
        self.pen.line("} or {");
        self.pen.server(name, &format!("NBD_REP_ACK option={SET}"));
        self.pen.line("} or {");
        self.pen.server(name, &format!("error option={SET}"));
        self.pen.line("}");
        // Whether it was is no matter: nothing counts on it.
        agreed.asked += 3;
    }

    fn unknown(&mut self, name: &str, number: u32, bytes: u16) {
        let option = format!("NBD_OPT_{:#x}", 0x4e42_4421 + number);
        let data = match (bytes, number % 2) {
            (0, _) => String::new(),
            // It looks like an option itself.
            (16, 1) => " data=hex\"49 48 41 56 45 4f 50 54 00 00 00 02 00 00 00 00\"".to_owned(),
            (bytes, _) => format!(" data=fill(0x49)*{bytes}"),
        };
        let rule =
            if bytes == 0 { "rep-err-unsup-meaning" } else { "option-unknown-stays-in-sync" };
        self.pen.client(name, &format!("{option}{data}"));
        self.pen.server(name, &format!("NBD_REP_ERR_UNSUP option={option} [{rule}]"));
    }
}
