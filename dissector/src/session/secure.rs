//! Where TLS begins and ends (section "TLS support"). The records are somebody else's: here comes
//! what is inside of them, and what became of them.

use protocol::message::Side;

use super::rules::Rule;
use super::stream::{Mode, Stream};
use super::{Phase, ProblemKind, Session};

impl Session {
    /// From here on [`Session::received`] is given what is inside TLS, of both directions, from
    /// the first byte; offsets count from 0 again. To be called after [`Session::expects_tls`].
    pub fn tls_opened(&mut self, time_ns: u64) {
        self.out.now_ns = time_ns;
        for stream in &mut self.streams {
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

    /// What `from` said first inside TLS is not known; to be called after [`Session::tls_opened`]. It
    /// is followed from the first message on that is found.
    pub fn tls_missed(&mut self, from: Side, time_ns: u64, text: &str) {
        self.out.now_ns = time_ns;
        self.problem(ProblemKind::Encrypted, from, text);
        if self.stream(from).has_messages() {
            self.resync(from);
        }
    }

    /// Whether TLS was agreed and not opened: the next bytes of both sides are TLS records.
    #[must_use]
    pub fn expects_tls(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.mode, Mode::Tls))
    }

    /// What `from` sends inside TLS can't be known from here on: a record is damaged or missing.
    pub fn tls_lost(&mut self, from: Side, time_ns: u64, kind: ProblemKind, text: &str) {
        self.out.now_ns = time_ns;
        self.lose(from, kind, text);
        self.stream(from).sealed = true;
    }

    /// `from` sent bytes that are not TLS records, though TLS was agreed; `first` when these are
    /// its first bytes after that.
    pub fn tls_plaintext(&mut self, from: Side, time_ns: u64, first: bool) {
        self.out.now_ns = time_ns;
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
        self.tls_lost(from, time_ns, ProblemKind::Lost, &text);
    }

    /// Both sides speak TLS from the first byte: perhaps a tunnel. What is inside is judged.
    pub fn tls_unasked(&mut self, time_ns: u64) {
        self.out.now_ns = time_ns;
        let text = "the connection is TLS from its first byte, without NBD_OPT_STARTTLS";
        self.problem(ProblemKind::Tls, Side::Client, text);
        for stream in &mut self.streams {
            if stream.closed.is_none() {
                stream.begin_tls();
            }
        }
    }

    /// Whether nothing of either side is missing so far.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.follows(Side::Client) && self.follows(Side::Server)
    }

    /// TLS begins after a hole: it was agreed in what is missing. What is inside is judged.
    pub fn tls_met(&mut self, time_ns: u64) {
        self.out.now_ns = time_ns;
        let text = "TLS begins after a hole; that it was agreed is missing";
        self.problem(ProblemKind::Tls, Side::Client, text);
        self.phase = self.phase.max(Phase::Haggling);
        for stream in &mut self.streams {
            if stream.closed.is_none() {
                stream.begin_tls();
            }
        }
    }

    /// The client began with TLS, and the server does not speak it.
    pub fn tls_unanswered(&mut self, time_ns: u64) {
        self.out.now_ns = time_ns;
        // "TLS support": TLS is an upgrade inside the session, by NBD_OPT_STARTTLS.
        let text = "a TLS handshake before the greeting";
        self.out.accuse(Rule::TlsViaStarttls, Side::Client, text);
        self.lose(Side::Client, ProblemKind::Lost, "the client's TLS can't be followed");
    }

    /// `from` reported that TLS failed. Whoever can't go on may leave without a word.
    pub fn tls_failed(&mut self, from: Side, time_ns: u64, text: &str) {
        self.out.now_ns = time_ns;
        self.problem(ProblemKind::Tls, from, text);
        for stream in &mut self.streams {
            stream.unread += stream.buffer.len() as u64;
            stream.buffer = Vec::new();
            stream.mode = Mode::Lost;
            stream.sealed = true;
        }
        self.flight.clear();
    }

    /// `from` is about to end its direction without having closed TLS. To be called before
    /// [`Session::closed`].
    pub fn tls_unclosed(&mut self, from: Side, time_ns: u64) {
        self.out.now_ns = time_ns;
        let closed = |side: Side| self.streams[side as usize].closed.is_some();
        // After a farewell nothing more was to come that somebody could have cut off.
        let known = self.follows(from) && self.follows(from.other());
        if closed(from) || !known || self.farewell.is_some() {
            return;
        }
        let text = format!("the {} ends its direction without closing TLS", from.name());
        if closed(from.other()) || self.out.broke[from.other() as usize] {
            self.problem(ProblemKind::Tls, from, text);
        } else {
            // "Terminating the transmission phase" and the same for haggling: who drops the
            // connection shuts TLS down first.
            self.out.accuse(Rule::HardDisconnectTlsFirst, from, text);
        }
    }

    /// TLS that was not opened, or not to its end.
    pub fn tls_sealed(&mut self, text: String) {
        self.problem(ProblemKind::Encrypted, Side::Client, text);
    }
}
