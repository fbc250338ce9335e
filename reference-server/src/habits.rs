//! How a client behaves: one value with a field for each choice. By default it does what the
//! specification recommends. A release of qemu is a set of choices, a quirk is a lawful choice that
//! few make, and a fault is an unlawful one: each is a change of this value.

use std::time::Duration;

use protocol::values::{DEFAULT_MAXIMUM_PAYLOAD, InfoType, TransmissionFlags};

use crate::besides::{OptionBesides, RequestBesides};
use crate::missteps::{
    DataFault, Entering, Leaving, Minds, Overlooks, Quitting, RequestFault, TlsFault,
};

/// How a client behaves. By default it does what the specification recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    // Connections.
    /// Connections over which files are copied, where the server allows several.
    pub(crate) connections: usize,
    /// Whether the client makes a connection and closes it at once before the one that it uses.
    pub(crate) probes: bool,
    /// Whether it lists the exports on a connection before the one that it uses.
    pub(crate) looks_first: bool,
    /// How long it waits before each message.
    pub(crate) pace: Duration,
    /// Whether everything is sent in pieces of a few bytes.
    pub(crate) dribbles: bool,

    // The greeting.
    /// Answers the handshake flag FIXED_NEWSTYLE; without it only `NBD_OPT_EXPORT_NAME` can be used.
    pub fixed_newstyle: bool,
    /// Answers the handshake flag NO_ZEROES, so that there is no padding after
    /// `NBD_OPT_EXPORT_NAME`.
    pub no_zeroes: bool,
    /// Whether these flags are sent whatever the server has offered.
    pub(crate) presumes_flags: bool,
    /// The client's flags besides.
    pub(crate) spare_flags: u32,
    /// Whether only the lower 16 bits of the flags are sent.
    pub(crate) short_flags: bool,

    // Options.
    /// Asks for replies in chunks: for structured replies, if not for more.
    pub structured_reply: bool,
    /// Asks for extended headers, and then for structured replies only if they were refused; takes
    /// `structured_reply`, and `go`, which they prescribe.
    pub extended_headers: bool,
    /// Asks for structured replies before extended headers.
    pub(crate) structured_first: bool,
    /// Selects `base:allocation`, once replies can carry it.
    pub base_allocation: bool,
    /// Uses `NBD_OPT_GO` where the server knows it.
    pub go: bool,
    /// Asks for the size constraints.
    pub block_size: bool,
    /// What else is asked for with `NBD_OPT_GO` and `NBD_OPT_INFO`.
    pub(crate) wants: &'static [InfoType],
    /// Goes on without structured replies and contexts whatever the refusal; else only where the
    /// server does not know the option.
    pub(crate) takes_any_refusal: bool,
    /// Looks for the name in the list of exports before `NBD_OPT_EXPORT_NAME`.
    pub(crate) lists_before_export_name: bool,
    /// Options that it sends besides those that it needs.
    pub(crate) options_besides: Vec<OptionBesides>,
    /// How an export is entered that the usual way does not lead to.
    pub(crate) entering: Entering,
    /// How a session ends before transmission.
    pub(crate) quitting: Quitting,

    // TLS.
    /// Asks for TLS where it is not demanded, and does without where it is refused.
    pub(crate) tries_tls: bool,
    /// What it does wrong about TLS.
    pub(crate) tls_fault: Option<TlsFault>,

    // Requests.
    /// The largest payload of a request, in bytes.
    pub(crate) largest: u32,
    /// The largest effect of a request without payload, in bytes; zeroes have a limit of their own.
    pub(crate) largest_effect: u64,
    /// The largest effect of a request for zeroes, in bytes, where lengths have 32 bits.
    pub(crate) largest_zeroes: u64,
    /// What is done with ranges that are off the minimum block size.
    pub(crate) alignment: Alignment,
    /// Whether requests of one operation are sent together; else one after the other.
    pub(crate) pipelines: bool,
    /// How cookies are chosen.
    pub(crate) cookies: Cookies,
    /// Uses `NBD_CMD_WRITE_ZEROES` where it is offered; else writes zeroes.
    pub write_zeroes: bool,
    /// Writes zeroes where `NBD_CMD_WRITE_ZEROES` is not to be had; else it fails.
    pub(crate) writes_zeroes: bool,
    /// Knows `NBD_CMD_FLAG_FAST_ZERO`.
    pub fast_zero: bool,
    /// Sets DF on reads, FUA on what writes, and NO_HOLE on zeroes, where each is offered.
    pub(crate) sets_flags: bool,
    /// Refuses to open a read-only export for writing; else it sends the write.
    pub(crate) minds_read_only: bool,
    /// Asks for one extent at a time.
    pub(crate) one_extent: bool,
    /// Requests that it sends besides those that it needs.
    pub(crate) requests_besides: Vec<RequestBesides>,
    /// What is wrong with its requests.
    pub(crate) request_fault: Option<RequestFault>,
    /// What it does wrong with data.
    pub(crate) data_fault: Option<DataFault>,

    // Answers.
    /// What server's mistakes it does not notice.
    pub(crate) overlooks: Option<Overlooks>,
    /// What lawful things of servers it can't cope with.
    pub(crate) minds: Option<Minds>,

    // The end.
    /// How many times it sends `NBD_CMD_FLUSH` before it leaves, where that is offered.
    pub(crate) last_flushes: u8,
    /// How transmission ends.
    pub(crate) leaving: Leaving,
    /// What it says about how things went.
    pub(crate) claims_success: bool,
}

/// What is done with ranges that are off the minimum block size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// They are refused.
    Refuse,
    /// More is read, and written, than was asked for.
    Widen,
    /// They are sent as they are.
    Ignore,
}

/// How cookies are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookies {
    /// They count up from this one.
    From(u64),
    /// They count down from the last one.
    Down,
    /// They look random.
    Random,
    /// Each is this one; lawful while no two requests are in flight.
    Always(u64),
}

impl Cookies {
    /// The cookie of a request by its number in the session, from 0.
    pub(crate) fn at(self, number: u64) -> u64 {
        match self {
            Self::From(first) => first.wrapping_add(number),
            Self::Down => u64::MAX - number,
            // Splitmix.
            Self::Random => {
                let mut mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Self::Always(cookie) => cookie,
        }
    }
}

impl Habits {
    /// What the specification recommends.
    pub const DEFAULT: Self = Self {
        connections: 1,
        probes: false,
        looks_first: false,
        pace: Duration::ZERO,
        dribbles: false,
        fixed_newstyle: true,
        no_zeroes: true,
        presumes_flags: false,
        spare_flags: 0,
        short_flags: false,
        structured_reply: true,
        extended_headers: true,
        structured_first: false,
        base_allocation: false,
        go: true,
        block_size: true,
        wants: &[InfoType::NAME, InfoType::DESCRIPTION],
        takes_any_refusal: true,
        lists_before_export_name: false,
        options_besides: Vec::new(),
        entering: Entering::Lawful,
        quitting: Quitting::Abort,
        tries_tls: false,
        tls_fault: None,
        largest: DEFAULT_MAXIMUM_PAYLOAD,
        largest_effect: u64::MAX,
        largest_zeroes: u64::MAX,
        alignment: Alignment::Refuse,
        pipelines: false,
        cookies: Cookies::From(1),
        write_zeroes: true,
        writes_zeroes: false,
        fast_zero: true,
        sets_flags: false,
        minds_read_only: false,
        one_extent: false,
        requests_besides: Vec::new(),
        request_fault: None,
        data_fault: None,
        overlooks: None,
        minds: None,
        last_flushes: 0,
        leaving: Leaving::Disc,
        claims_success: false,
    };

    /// Over how many connections files are copied, where the server allows several.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Whether it makes a connection and closes it at once before the one that it uses.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.probes
    }

    /// Whether it lists the exports on a connection of its own first.
    #[must_use]
    pub fn looks_first(&self) -> bool {
        self.looks_first
    }

    /// Whether it says that all went well whatever happened.
    #[must_use]
    pub fn claims_success(&self) -> bool {
        self.claims_success
    }

    /// How much of a file is copied with one read or write, in bytes.
    #[must_use]
    pub fn piece(&self) -> u64 {
        if self.request_fault == Some(RequestFault::Unlimited) { 1 << 26 } else { 1 << 20 }
    }

    pub(crate) fn overlooks(&self, what: Overlooks) -> bool {
        self.overlooks == Some(what)
    }

    pub(crate) fn minds(&self, what: Minds) -> bool {
        self.minds == Some(what)
    }

    /// Whether it can't cope with these transmission flags.
    pub(crate) fn minds_flags(&self, flags: TransmissionFlags) -> bool {
        self.minds(Minds::SpareTransmissionFlags) && flags.unknown() != TransmissionFlags::EMPTY
    }

    pub(crate) fn is_tls_fault(&self, what: TlsFault) -> bool {
        self.tls_fault == Some(what)
    }
}

impl Default for Habits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
