//! Option haggling so far.

use std::collections::VecDeque;

use protocol::message::Info;
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType};

use super::export::BlockSize;
use super::selection::Context;

/// An option that has no final reply yet, and what was said in answer to it.
#[derive(Debug, Clone)]
pub(super) struct Outstanding {
    pub(super) option: OptionType,
    /// The number of its message; `None` while that is not complete.
    pub(super) number: Option<u64>,
    /// The export it names; `None` also when its data was not seen (yet).
    pub(super) name: Option<WireString>,
    /// The information it asks for.
    pub(super) requests: Option<Vec<InfoType>>,
    /// The contexts it queries.
    pub(super) queries: Option<Vec<WireString>>,
    /// It has data that does not have the layout of the option.
    pub(super) has_raw_data: bool,
    /// Information received; at most [`ITEM_LIMIT`] items.
    pub(super) items: Vec<Info>,
    /// Contexts received; at most [`super::selection::LIMIT`].
    pub(super) contexts: Vec<Context>,
    /// There was more than is kept.
    pub(super) overflow: bool,
}

/// How many information items of one answer are kept.
pub(super) const ITEM_LIMIT: usize = 64;
/// How many options may be outstanding (lawful is one) before they are no longer followed.
pub(super) const OUTSTANDING_LIMIT: usize = 64;

impl Outstanding {
    pub(super) fn new(option: OptionType) -> Self {
        Self {
            option,
            number: None,
            name: None,
            requests: None,
            queries: None,
            has_raw_data: false,
            items: Vec::new(),
            contexts: Vec::new(),
            overflow: false,
        }
    }

    pub(super) fn asked_block_size(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.contains(&InfoType::BLOCK_SIZE))
    }

    pub(super) fn block_size(&self) -> Option<BlockSize> {
        self.items.iter().find_map(|item| match *item {
            Info::BlockSize { minimum, preferred, maximum } => {
                Some(BlockSize { minimum, preferred, maximum })
            }
            _ => None,
        })
    }
}

/// Haggling so far.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) outstanding: VecDeque<Outstanding>,
    /// The option that is coming began before the last one had its final reply.
    pub(super) began_early: bool,
    /// The option that is coming got replies before it was complete.
    pub(super) answered_early: bool,
    /// The last INFO, if it succeeded and no option came after it.
    pub(super) last_info: Option<Outstanding>,
    /// Size constraints learned by INFO, for which export, and whether the client asked for them.
    pub(super) learned: Option<(WireString, BlockSize, bool)>,
    /// The name by which transmission was entered.
    pub(super) entered: Option<WireString>,
    pub(super) go_sent: bool,
    pub(super) asked_block_size: bool,
    pub(super) told_block_size: bool,
    /// INFO or GO got `NBD_REP_ERR_UNSUP` or `NBD_REP_ERR_PLATFORM`.
    pub(super) unsupported: bool,
    /// A GO with the block-size request was refused in another way.
    pub(super) go_refused: bool,
    /// What the replies before TLS say of how the server handles TLS.
    pub(super) tls_mode: TlsMode,
    /// The exports of a complete answer to NBD_OPT_LIST: names and descriptions; at most
    /// [`LISTED_LIMIT`].
    pub(super) listed: Vec<(WireString, WireString)>,
    /// The same of the answer that is coming.
    pub(super) listing: Vec<(WireString, WireString)>,
}

/// How many listed exports are kept.
pub(super) const LISTED_LIMIT: usize = 256;

/// What the replies to options before TLS say of the server's mode ("TLS support").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TlsMode {
    /// It refused NBD_OPT_STARTTLS: NOTLS.
    pub(super) refused: bool,
    /// It demanded TLS: not NOTLS.
    pub(super) demanded: bool,
    /// It demanded TLS for an option for which only FORCEDTLS does.
    pub(super) forced: bool,
    /// It served an option for which FORCEDTLS demands TLS.
    pub(super) served: bool,
}

impl Options {
    /// The option whose reply is next.
    pub(super) fn front(&self) -> Option<OptionType> {
        self.outstanding.front().map(|outstanding| outstanding.option)
    }

    /// The last option that was sent and has no final reply.
    pub(super) fn back(&self) -> Option<OptionType> {
        self.outstanding.back().map(|outstanding| outstanding.option)
    }

    /// Takes the option whose reply is next.
    pub(super) fn take_front(&mut self) -> Option<Outstanding> {
        self.outstanding.pop_front()
    }

    /// Takes the option that a reply to `option` answers: the first, unless the client sent
    /// several and only a later one matches.
    pub(super) fn take(&mut self, option: OptionType) -> Option<(usize, Outstanding)> {
        let at = self.outstanding.iter().position(|o| o.option == option).unwrap_or(0);
        self.outstanding.remove(at).map(|outstanding| (at, outstanding))
    }

    /// Puts back what `take` gave: its final reply is still to come.
    pub(super) fn put_back(&mut self, at: usize, outstanding: Outstanding) {
        self.outstanding.insert(at.min(self.outstanding.len()), outstanding);
    }

    /// How many options have no final reply.
    pub(super) fn count(&self) -> usize {
        self.outstanding.len()
    }

    /// The number of the oldest option without a final reply.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.outstanding.front().and_then(|outstanding| outstanding.number)
    }

    /// An export is listed.
    pub(super) fn listing(&mut self, name: &WireString, description: &WireString) {
        if self.listing.len() < LISTED_LIMIT {
            self.listing.push((name.clone(), description.clone()));
        }
    }

    /// NBD_OPT_LIST has its final reply.
    pub(super) fn listed(&mut self, acknowledged: bool) {
        let listing = std::mem::take(&mut self.listing);
        if acknowledged {
            self.listed = listing;
        }
    }

    /// A message of the client begins.
    pub(super) fn note_begin(&mut self) {
        self.began_early = !self.outstanding.is_empty();
    }

    /// The server answers `option` of which only the beginning has come.
    pub(super) fn answered_early(&mut self, option: OptionType) {
        if !self.answered_early {
            self.answered_early = true;
            self.outstanding.push_back(Outstanding::new(option));
        }
    }

    /// The option that waited for its bulk has become message `number`.
    pub(super) fn numbered(&mut self, number: u64) {
        if let Some(outstanding) = self.outstanding.iter_mut().find(|o| o.number.is_none()) {
            outstanding.number = Some(number);
        }
    }

    /// The constraints that INFO told for this export, and whether the client asked for them.
    pub(super) fn learned(&self, name: &WireString) -> Option<(BlockSize, bool)> {
        self.learned.as_ref().filter(|(of, ..)| of == name).map(|(_, size, asked)| (*size, *asked))
    }

    /// STARTTLS: everything that was negotiated is forgotten.
    pub(super) fn forget(&mut self) {
        let Self { go_sent, asked_block_size, told_block_size, unsupported, go_refused, .. } =
            *self;
        *self = Self {
            go_sent,
            asked_block_size,
            told_block_size,
            unsupported,
            go_refused,
            ..Self::default()
        };
    }
}
