//! Where TLS begins and ends (section "TLS support"). The records are somebody else's: here comes
//! what is inside of them, and what became of them.

use protocol::message::Side;

use crate::plural::Plural;

use super::event::ProblemKind;
use super::judge::Session;
use super::phase::Phase;
use super::rules::Rule;
use super::stream::{Mode, Stream};

/// What becomes of the TLS of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Both sides speak TLS, and nobody was seen to ask for it.
    Begins(Begins),
    /// From here on [`Session::received`] is given what is inside TLS, of both directions, from the
    /// first byte; offsets count from 0 again. Comes after [`Session::expects_tls`].
    Opened,
    /// What a side sends inside TLS can't be known, from here on or from the first byte.
    Unreadable(Side, Unreadable),
    /// A side is about to end its direction without having closed TLS; [`Session::closed`] follows.
    Unclosed(Side),
}

/// How TLS begins that was not seen to be agreed. What is inside is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// With the first byte: perhaps a tunnel.
    Unasked,
    /// After a hole: it was agreed in what is missing.
    AfterHole,
}

/// Why TLS can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// So many bytes are missing.
    Gap(u64),
    /// A record is damaged, or makes no sense: one line for people.
    Damaged(String),
    /// The side sends bytes that are not TLS, though it was agreed; `first` when these are its first
    /// bytes after that.
    Plaintext {
        /// These are its first bytes.
        first: bool,
    },
    /// TLS failed, as this line says. Whoever can't go on may leave without a word.
    Failed(String),
    /// The client begins with TLS, and the server does not speak it.
    Unanswered,
    /// What the side says first is early data. It is followed from the first message on that is
    /// found. Comes after [`Tls::Opened`].
    EarlyData,
    /// It was not opened, or not to its end; nothing more comes.
    Sealed(String),
}

impl Session {
    /// Takes what became of the session's TLS, seen at `time_ns`.
    pub fn tls(&mut self, time_ns: u64, event: Tls) {
        self.out.now_ns = time_ns;
        match event {
            Tls::Begins(begins) => self.tls_begins(begins),
            Tls::Opened => self.tls_opened(),
            Tls::Unreadable(from, why) => self.tls_unreadable(from, why),
            Tls::Unclosed(from) => self.tls_unclosed(from),
        }
    }

    /// Whether TLS was agreed and not opened: the next bytes of both sides are TLS records.
    #[must_use]
    pub fn expects_tls(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.mode, Mode::Tls))
    }

    /// Whether nothing of either side is missing so far.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.follows(Side::Client) && self.follows(Side::Server)
    }

    fn tls_opened(&mut self) {
        for stream in self.streams.iter_mut() {
            if stream.closed.is_none() && !stream.sealed {
                *stream = Stream::default();
            }
        }
        if self.phase == Phase::Flags {
            // They were missed: TLS is agreed during haggling.
            self.phase = Phase::Haggling;
        }
        self.tls = true;
    }

    fn tls_begins(&mut self, begins: Begins) {
        let text = match begins {
            Begins::Unasked => {
                "the connection is TLS from its first byte, without NBD_OPT_STARTTLS"
            }
            Begins::AfterHole => "TLS begins after a hole; that it was agreed is missing",
        };
        self.problem(ProblemKind::Tls, Side::Client, text);
        if begins == Begins::AfterHole {
            self.phase = self.phase.max(Phase::Haggling);
        }
        for stream in self.streams.iter_mut() {
            if stream.closed.is_none() {
                stream.begin_tls();
            }
        }
    }

    fn tls_unreadable(&mut self, from: Side, why: Unreadable) {
        match why {
            Unreadable::Gap(missing) => {
                let (bytes, name) = (Plural(missing, "byte"), from.name());
                let text = format!("{bytes} of the {name} inside TLS {} missing", bytes.are());
                self.unjudged += missing;
                self.tls_lost(from, ProblemKind::Gap, &text);
            }
            Unreadable::Damaged(text) => self.tls_lost(from, ProblemKind::Lost, &text),
            Unreadable::Plaintext { first } => self.tls_plaintext(from, first),
            Unreadable::Failed(text) => self.tls_failed(from, &text),
            Unreadable::Unanswered => {
                // "TLS support": TLS is an upgrade inside the session, by NBD_OPT_STARTTLS.
                let text = "a TLS handshake before the greeting";
                self.out.accuse(Rule::TlsViaStarttls, Side::Client, text);
                let text = "the client's TLS can't be followed";
                self.lose(Side::Client, ProblemKind::Lost, text);
            }
            Unreadable::EarlyData => {
                let text = "what the client says first is early data of TLS, which is not opened";
                self.problem(ProblemKind::Encrypted, from, text);
                if self.stream(from).has_messages() {
                    self.resync(from);
                }
            }
            Unreadable::Sealed(text) => self.problem(ProblemKind::Encrypted, from, &text),
        }
    }

    /// What `from` sends inside TLS can't be known from here on.
    fn tls_lost(&mut self, from: Side, kind: ProblemKind, text: &str) {
        self.lose(from, kind, text);
        self.stream(from).sealed = true;
    }

    /// `from` sent bytes that are not TLS records, though TLS was agreed; `first` when these are
    /// its first bytes after that.
    fn tls_plaintext(&mut self, from: Side, first: bool) {
        let name = from.name();
        if self.follows(from) {
            // "FORCEDTLS mode": after the NBD_REP_ACK everything goes over TLS. "Client-side
            // requirements": the client upgrades.
            let rule = match (from, first) {
                (Side::Client, true) => Rule::ClientUpgradesOnAck,
                _ => Rule::NoPlaintextAfterAck,
            };
            let text =
                format!("bytes of the {name} after NBD_REP_ACK to NBD_OPT_STARTTLS are not TLS");
            self.out.accuse(rule, from, text);
        }
        let text = format!("what the {name} sends beside TLS can't be followed");
        self.tls_lost(from, ProblemKind::Lost, &text);
    }

    /// `from` reported that TLS failed. Whoever can't go on may leave without a word.
    fn tls_failed(&mut self, from: Side, text: &str) {
        self.problem(ProblemKind::Tls, from, text);
        for stream in self.streams.iter_mut() {
            stream.unread += stream.buffer.len() as u64;
            stream.buffer = Vec::new();
            stream.mode = Mode::Lost;
            stream.sealed = true;
        }
        self.flight.clear();
    }

    /// `from` is about to end its direction without having closed TLS.
    fn tls_unclosed(&mut self, from: Side) {
        let closed = |side: Side| self.streams[side].closed.is_some();
        // After a farewell nothing more was to come that somebody could have cut off.
        let known = self.follows(from) && self.follows(from.other());
        if closed(from) || !known || self.farewell.is_some() {
            return;
        }
        let text = format!("the {} ends its direction without closing TLS", from.name());
        if closed(from.other()) || self.out.broke[from.other()] {
            self.problem(ProblemKind::Tls, from, text);
        } else {
            // "Terminating the transmission phase" and the same for haggling: who drops the
            // connection shuts TLS down first.
            self.out.accuse(Rule::HardDisconnectTlsFirst, from, text);
        }
    }
}
