//! Quirks of the client: each is a lawful choice that few clients make, so that whoever judges
//! clients can be tested for false accusations. Quirks can be combined.

use std::time::Duration;

use protocol::values::{Command, InfoType as I, OptionType as O};

use crate::besides::Bytes::{Block, LastBlock, Of};
use crate::besides::Name::{Export, Other};
use crate::besides::When::{BeforeEntry, Chunked, First};
use crate::besides::{OptionBesides, RequestBesides, Said, Stage};
use crate::habits::{Cookies, Habits};
use crate::missteps::{Leaving, Quitting};
use crate::rows::quirks;

/// How long slow clients take.
const SLOW: Duration = Duration::from_millis(30);

/// An option besides.
fn asks(h: &mut Habits, when: crate::besides::When, option: O, said: Said) {
    h.options_besides.push(OptionBesides::new(when, option, said));
}

quirks! {
    ClientQuirk, "client", Habits;

    // Connections and the greeting.
    Probes = "probes",
        "makes a connection and closes it before it says anything",
        "section \"Newstyle negotiation\": nothing has begun yet", |h| h.probes = true;
    LooksFirst = "looks-first",
        "lists the exports on a connection of its own",
        "session-client-abort-any-time", |h| h.looks_first = true;
    FourConnections = "four-connections",
        "copies over four connections where CAN_MULTI_CONN is set",
        "section \"Transmission flags\"", |h| h.connections = 4;
    Slow = "slow",
        "waits 30 ms before each message", "no wait is limited", |h| h.pace = SLOW;
    Dribbles = "dribbles",
        "sends everything in pieces of a few bytes", "a stream has no borders",
        |h| h.dribbles = true;
    NoNoZeroes = "no-no-zeroes",
        "does not set NO_ZEROES", "section \"Client flags\": it may",
        |h| h.no_zeroes = false;

    // Options.
    ListFirst = "list-first",
        "lists the exports before anything else", "option-other-options-tolerated",
        |h| asks(h, First, O::LIST, Said::Data(b""));
    ListLast = "list-last",
        "lists the exports before it enters one", "option-other-options-tolerated",
        |h| asks(h, BeforeEntry, O::LIST, Said::Data(b""));
    InfoFirst = "info-first",
        "asks for information before anything else", "opt-go-without-info-tolerated",
        |h| asks(h, First, O::INFO, Said::Info(Export, &[I::BLOCK_SIZE]));
    InfoLast = "info-last",
        "asks for information before it enters an export", "opt-go-without-info-tolerated",
        |h| asks(h, BeforeEntry, O::INFO, Said::Info(Export, &[I::NAME, I::BLOCK_SIZE]));
    InfoTwice = "info-twice",
        "asks for information twice", "option-other-options-tolerated",
        |h| for _ in 0..2 {
            asks(h, BeforeEntry, O::INFO, Said::Info(Export, &[I::DESCRIPTION]));
        };
    InfoBare = "info-bare",
        "asks for information with no request", "opt-info-request-list-tolerated",
        |h| asks(h, First, O::INFO, Said::Info(Export, &[]));
    InfoOfOther = "info-of-other",
        "asks about an export that there is not", "option-other-options-tolerated",
        |h| asks(h, First, O::INFO, Said::Info(Other(b"no such export"), &[I::BLOCK_SIZE]));
    InfoOfDefault = "info-of-default",
        "asks about the export with the empty name", "option-other-options-tolerated",
        |h| asks(h, First, O::INFO, Said::Info(Other(b""), &[I::BLOCK_SIZE]));
    GoOther = "go-other",
        "tries to enter an export that there is not before its own",
        "tls-client-tls-reqd-choice-tolerated: it may try another; `NBD_OPT_GO` says nothing against it",
        |h| asks(h, BeforeEntry, O::GO, Said::Info(Other(b"no such export"), &[I::BLOCK_SIZE]));
    InfoUnknown = "info-unknown",
        "asks for information that nobody knows",
        "opt-info-unknown-requests-ignored", |h| h.wants = &[I(0x7777)];
    InfoOnlySizes = "info-only-sizes",
        "asks for nothing but the size constraints", "opt-info-request-list-tolerated",
        |h| h.wants = &[];
    InfoReversed = "info-reversed",
        "asks for information in the reversed order", "opt-info-request-list-tolerated",
        |h| h.wants = &[I::DESCRIPTION, I::NAME, I::EXPORT];
    OptionUnknown = "option-unknown",
        "tries an option that nobody knows", "option-other-options-tolerated",
        |h| asks(h, First, O(0x4e42_4421), Said::Data(b"hello"));
    OptionUnknownLong = "option-unknown-long",
        "tries an option that nobody knows, with 4000 bytes of data",
        "option-other-options-tolerated",
        |h| asks(h, BeforeEntry, O(0x7fff_fff0), Said::Data(&[0x5a; 4000]));
    StructuredFirst = "structured-first",
        "asks for structured replies before extended headers",
        "ext-opt-structured-first-tolerated", |h| h.structured_first = true;
    StructuredOnly = "structured-only",
        "asks for structured replies and not for extended headers", "they are an extension",
        |h| h.extended_headers = false;
    SimpleOnly = "simple-only",
        "asks for no other than simple replies",
        "section \"Baseline\": structured replies are not of the baseline",
        |h| h.structured_reply = false;
    TlsTried = "tls-tried",
        "asks for TLS first, and does without where it is refused",
        "section \"SELECTIVETLS mode\"", |h| h.tries_tls = true;
    ContextsSelected = "contexts-selected",
        "selects `base:allocation` and makes nothing of it",
        "opt-set-meta-empty-selection-tolerated", |h| h.base_allocation = true;
    ContextsNone = "contexts-none",
        "selects no context", "opt-set-meta-empty-selection-tolerated",
        |h| asks(h, Chunked, O::SET_META_CONTEXT, Said::Meta(Export, &[]));
    ContextsUnknown = "contexts-unknown",
        "selects a context that nobody knows", "opt-set-meta-empty-selection-tolerated",
        |h| asks(h, Chunked, O::SET_META_CONTEXT, Said::Meta(Export, &[b"x-none:a"]));
    AbortUnawaited = "abort-unawaited",
        "does not wait for the reply to `NBD_OPT_ABORT`",
        "section \"Termination of the session during option haggling\"",
        |h| h.quitting = Quitting::Unawaited;

    // Requests.
    Pipelines = "pipelines",
        "sends the requests of one operation together", "reply-out-of-order-tolerated",
        |h| h.pipelines = true;
    CookieZero = "cookie-zero",
        "gives every request the cookie 0", "cookie-reuse-tolerated",
        |h| h.cookies = Cookies::Always(0);
    CookieOnes = "cookie-ones",
        "gives every request the cookie 2^64 - 1", "cookie-reuse-tolerated",
        |h| h.cookies = Cookies::Always(u64::MAX);
    CookiesDown = "cookies-down",
        "counts cookies down from 2^64 - 1", "cookie-reuse-tolerated",
        |h| h.cookies = Cookies::Down;
    CookiesRandom = "cookies-random",
        "chooses cookies that look random", "cookie-reuse-tolerated",
        |h| h.cookies = Cookies::Random;
    PiecesSmall = "pieces-small",
        "reads and writes 4 KiB at a time", "size-client-tighter-tolerated",
        |h| h.largest = 4096;
    PiecesOdd = "pieces-odd",
        "reads and writes 61440 bytes at a time", "size-client-tighter-tolerated",
        |h| h.largest = 61_440;
    EffectsSmall = "effects-small",
        "trims, zeroes and maps 4 KiB at a time", "size-client-tighter-tolerated",
        |h| { h.largest_effect = 4096; h.largest_zeroes = 4096; };
    FlagsSet = "flags-set",
        "sets DF, FUA and NO_HOLE wherever they are offered", "read-df-tolerated",
        |h| h.sets_flags = true;
    OneExtent = "one-extent",
        "asks for one extent at a time", "section \"Command flags\": REQ_ONE",
        |h| h.one_extent = true;
    ZeroesWritten = "zeroes-written",
        "writes zeroes instead of using `NBD_CMD_WRITE_ZEROES`", "it is no must",
        |h| { h.write_zeroes = false; h.writes_zeroes = true; };
    ReadsFirst = "reads-first",
        "reads the first block before anything else", "nothing forbids it",
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, Of(0), Block));
    ReadsEnd = "reads-end",
        "reads the last block before anything else", "request-within-export",
        |h| h.requests_besides.push(RequestBesides::new(Command::READ, LastBlock, Block));
    ReadsLast = "reads-last",
        "reads the first block once more at the end", "nothing forbids it",
        |h| h.requests_besides.push(
            RequestBesides::new(Command::READ, Of(0), Block).at(Stage::Last)
        );
    FlushesLast = "flushes-last",
        "flushes three times before it leaves", "nothing forbids it", |h| h.last_flushes = 3;

    // The end.
    DiscImpatient = "disc-impatient",
        "closes right after `NBD_CMD_DISC`",
        "section \"Terminating the transmission phase\"", |h| h.leaving = Leaving::Impatient;
}

impl ClientQuirk {
    /// How a client with these quirks behaves.
    #[must_use]
    pub fn habits(quirks: impl IntoIterator<Item = Self>) -> Habits {
        let mut habits = Habits::DEFAULT;
        for quirk in quirks {
            quirk.change()(&mut habits);
        }
        habits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_at_least_forty_and_each_changes_something() {
        let names: HashSet<_> = ClientQuirk::ALL.iter().map(|quirk| quirk.name()).collect();
        assert!(names.len() >= 40 && names.len() == ClientQuirk::ALL.len(), "{}", names.len());
        for quirk in ClientQuirk::ALL {
            assert_eq!(quirk.to_string().parse(), Ok(*quirk));
            assert_ne!(ClientQuirk::habits([*quirk]), Habits::DEFAULT, "{quirk}");
        }
    }

    #[test]
    fn a_requirement_that_permits_a_quirk_is_of_the_catalogue() {
        for quirk in ClientQuirk::ALL {
            let why = quirk.lawful();
            let is_id = why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(!is_id || protocol::requirements::find(why).is_some(), "{quirk}: `{why}`");
        }
    }
}
