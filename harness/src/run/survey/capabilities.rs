//! What a server offers, with the lines that show it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::describe::Value;
use protocol::message::{Info, OptionReply, ReplyBody};
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, TransmissionFlags};

use super::export::Export;
use super::fact::Fact;
use super::kept::Kept;
use crate::interpret::Limits;
use crate::script::ast::{Script, TlsKind};

/// The rules that a server breaks by serving less than it told, or than the default.
const ABOUT_MAXIMUM: [&str; 2] = [id::SIZE_DEFAULT_MAX_32_MIB, id::SIZE_SERVER_ADVERTISES_ENFORCED];

/// For whom TLS is a must (section "Server-side requirements").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// NOTLS: it has none.
    #[default]
    Off,
    /// SELECTIVETLS: it has TLS for those who ask.
    Selective,
    /// FORCEDTLS: nothing is served without.
    Forced,
}

impl TlsMode {
    /// The word in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Selective => "selective",
            Self::Forced => "forced",
        }
    }
}

/// How the export is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By `NBD_OPT_GO`.
    Go,
    /// By `NBD_OPT_EXPORT_NAME`: there is no GO, or it does not work.
    ExportName,
    /// By the oldstyle greeting.
    Oldstyle,
}

/// What a server offers.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Whether the greeting is newstyle with the fixed flag.
    pub fixed: bool,
    /// Whether the greeting is oldstyle.
    pub oldstyle: bool,
    /// How the export was entered; `None` if it was not.
    pub route: Option<Route>,
    /// The export that was entered.
    pub export: String,
    /// Size of the export in bytes.
    pub size: u64,
    /// Transmission flags, those that only structured replies bring included.
    pub flags: TransmissionFlags,
    /// The same after extended headers and a metadata context were agreed; empty without them.
    pub extended_flags: TransmissionFlags,
    /// The size constraints, if told to a client that asks for them: minimum, preferred, maximum.
    pub block_size: Option<(u32, u32, u32)>,
    /// Whether a client that does not ask for the block sizes is refused for that.
    pub block_size_required: bool,
    /// Whether INFO about an export that no server has is refused.
    pub refuses_unknown: bool,
    /// Names in the list of exports; `None` if there is no list.
    pub listed: Option<Vec<WireString>>,
    /// The metadata contexts that are listed for the export.
    pub contexts: Vec<WireString>,
    /// How each option was answered.
    pub options: BTreeMap<OptionType, ReplyType>,
    /// Why it is not known how an option is answered.
    pub unknown: BTreeMap<OptionType, String>,
    /// The options whose answers did not come, or not to their end, as long as a wait may take.
    pub silent: BTreeSet<OptionType>,
    /// A READ was not answered as long as a wait may take, nor any other request.
    pub unserved: bool,
    /// How an option is answered that no specification knows.
    pub unknown_option: Fact<ReplyType>,
    /// Whether the server ended the connection at such an option.
    pub leaves_at_unknown: bool,
    /// Which TLS it does.
    pub tls: TlsMode,
    /// By what the parties know each other in TLS, where there is something for it.
    pub tls_kind: Option<TlsKind>,
    /// The export that was entered and those that are listed, with their properties as far as the
    /// server tells them; at most [`DESCRIBED`](super::exports::DESCRIBED).
    pub exports: Vec<Export>,
    /// Whether a READ of lawful size is served. Not asked of servers that the harness set up.
    pub reads: Fact<()>,
    /// The largest READ that is served, in bytes, where that is less than has to be.
    pub served: Option<u64>,
    /// Whether a WRITE of lawful size is served; not asked where nothing may be written.
    pub writes: Fact<()>,
    /// What becomes of data that was written.
    pub kept: Kept,
    /// On how many connections the export can be used at once, as far as was tried; `None` for servers
    /// that the harness set up.
    pub capacity: Option<usize>,
    /// Whether the server was seen to serve nobody else while one client haggles: why.
    pub haggles_alone: Option<String>,
    /// Whether the server was seen to keep connections after NBD_CMD_DISC.
    pub stays_open: bool,
    /// On how many connections the server ended the session before its greeting, of how many that
    /// were alone with it; nobody else could have taken their place.
    pub hangs_up: Option<(u32, u32)>,
    /// How long it takes to be greeted and to enter the export.
    pub opening: Duration,
    /// How long a read of one block takes at least; zero where none was served.
    pub latency: Duration,
    /// The answer lines, for evidence.
    pub lines: Vec<String>,
}

impl Capabilities {
    /// Whether an option is served.
    #[must_use]
    pub fn offers(&self, option: OptionType) -> bool {
        self.options.get(&option) == Some(&ReplyType::ACK)
    }

    /// Why it is not known whether an option is served; `None` where that is known.
    #[must_use]
    pub fn why_unknown(&self, option: OptionType) -> Option<&str> {
        if self.options.contains_key(&option) {
            return None;
        }
        self.unknown.get(&option).map(String::as_str)
    }

    /// Whether the export can be entered by NBD_OPT_EXPORT_NAME alone, because NBD_OPT_GO has no proper
    /// answer; one that is refused in order is tried first.
    #[must_use]
    pub fn enters_by_name(&self) -> bool {
        self.route == Some(Route::ExportName) && self.why_unknown(OptionType::GO).is_some()
    }

    /// The line that shows something, the last first: one that contains all of these texts.
    #[must_use]
    pub fn evidence(&self, texts: &[&str]) -> Option<&str> {
        let shows = |line: &&String| texts.iter().all(|text| line.contains(text));
        self.lines.iter().rev().find(shows).map(String::as_str)
    }

    /// Within what requests must be served, and are.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let told = Limits::new(self.size, self.block_size);
        let served = self.served.unwrap_or(u64::MAX);
        Limits { maximum: told.maximum.min(served), ..told }
    }

    /// The name of the export, in quotes.
    #[must_use]
    pub fn shown_export(&self) -> String {
        WireString::from(self.export.as_str()).to_string()
    }

    /// The size of a small lawful request to the export; 0 if there is none.
    #[must_use]
    pub fn block(&self) -> u64 {
        let limits = self.limits();
        if limits.end() < limits.minimum { 0 } else { limits.block() }
    }

    /// The minimum block size; 1 if none was told.
    #[must_use]
    pub fn minimum(&self) -> u64 {
        self.limits().minimum
    }

    /// The largest payload that any request may have, in bytes: what was told, else 32 MiB, or what is
    /// served if that is less.
    #[must_use]
    pub fn maximum(&self) -> u64 {
        self.limits().maximum
    }

    /// What counts for a script: no request is larger than what is served, unless the script is about
    /// just that.
    #[must_use]
    pub fn for_script(&self, script: &Script) -> Cow<'_, Self> {
        let header = &script.header;
        let about = ABOUT_MAXIMUM.iter().any(|rule| header.claims(rule))
            || header.beyond.iter().any(|word| word.node == "maximum");
        match self.served {
            Some(_) if about => Cow::Owned(Self { served: None, ..self.clone() }),
            _ => Cow::Borrowed(self),
        }
    }

    /// The variables that a script may use before it has entered an export itself.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Value)> {
        let limits = self.limits().variables();
        let mut variables = vec![("flags".to_owned(), Value::Names(self.flags.names()))];
        variables.extend(limits.map(|(name, value)| (name.to_owned(), value)));
        variables
    }

    /// Takes over what the items of INFO or GO tell.
    pub(super) fn learn(&mut self, items: &[OptionReply]) {
        for item in items {
            match item.body {
                ReplyBody::Info(Info::Export { size, flags }) => {
                    self.size = size;
                    self.flags = flags;
                }
                ReplyBody::Info(Info::BlockSize { minimum, preferred, maximum }) => {
                    self.block_size = Some((minimum, preferred, maximum));
                }
                _ => {}
            }
        }
    }
}
