//! Between the reassembly of a connection and its judge: bytes in, and out come plain bytes, what becomes
//! of TLS, and the ends of directions. TLS begins at `NBD_OPT_STARTTLS`, or with the first byte where
//! a client begins so.
//!
//! A delivery is put in and asked for steps, [`Channel::next`], until there are none. What a step says
//! is to be done before the next one is asked for.

use protocol::message::{Both, Side};

use super::awaiting_secrets::AwaitingSecrets;
use super::mid_session::{Met, MidSession};
use super::{Note, TlsOpened};
use crate::session::{Begins, Close, Phase, Session, Tls, Unreadable};
use crate::tcp::Delivery;
use crate::tls::{Connection, KeyLog, Output, Stop};

/// What is to be done next.
pub(super) enum Step<'a> {
    /// The judge takes these bytes.
    Plain { from: Side, bytes: &'a [u8] },
    /// The judge is told that bytes are missing; `cut`: from a packet that was captured in part.
    Gap { from: Side, missing: u64, cut: bool },
    /// The judge is told of the end of a direction.
    Closed { from: Side, how: Close },
    /// The judge is told what became of TLS.
    Tls(Tls),
    /// TLS is open: to be told to the judge, and as a record.
    Opened(TlsOpened),
    /// To be told as a record.
    Note(Note),
    /// Nothing; there may be more.
    Nothing,
}

/// A delivery, as far as it was taken.
pub(super) struct Input<'a> {
    delivery: Delivery<'a>,
    /// What is left of its bytes.
    bytes: &'a [u8],
    stage: Stage,
}

/// How far a delivery has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was done with it.
    New,
    /// It is known whether TLS begins with it.
    Met,
    /// TLS has been told that a direction ends.
    Ending,
    Done,
}

impl<'a> Input<'a> {
    pub(super) fn new(delivery: Delivery<'a>) -> Self {
        let bytes = match delivery {
            Delivery::Data { bytes, .. } => bytes,
            _ => &[],
        };
        Self { delivery, bytes, stage: Stage::New }
    }

    /// The last so many bytes, which were given out as plain ones, are TLS.
    pub(super) fn put_back(&mut self, count: usize) {
        if let Delivery::Data { bytes, .. } = self.delivery {
            self.bytes = bytes.get(bytes.len().saturating_sub(count)..).unwrap_or_default();
            self.stage = Stage::Met;
        }
    }
}

/// Both directions of a session.
#[derive(Default)]
pub(super) struct Channel {
    /// Once TLS has begun.
    tls: Option<Box<Secure>>,
    /// While it is open what a session is that began before the capture.
    mid_session: Option<Box<MidSession>>,
    /// When the session begins.
    start_ns: u64,
    /// How many bytes came.
    bytes: Both<u64>,
    /// How it ends has been told as far as it concerns sessions that began before the capture.
    ended: bool,
}

/// The TLS of a session.
#[derive(Default)]
struct Secure {
    connection: Connection,
    begin: Begin,
    /// Who has closed TLS in order.
    notified: Both<bool>,
    /// It was told that the client's first messages are not known.
    missed: bool,
    waiting: AwaitingSecrets,
}

/// How TLS began.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Begin {
    /// By `NBD_OPT_STARTTLS`.
    #[default]
    Agreed,
    /// The client's first bytes are TLS, and the server has said nothing yet.
    Bare,
    /// The first bytes of both are.
    Tunnel,
}

/// What the first message of a client is in TLS.
const CLIENT_HELLO: u8 = 1;

/// Whether these are the first bytes of a record of TLS, of this type.
fn is_record(bytes: &[u8], kind: u8) -> bool {
    bytes.first() == Some(&kind) && bytes.get(1).is_none_or(|major| *major == 3)
}

impl Channel {
    /// For a session; `whole`: it is seen from its beginning.
    pub(super) fn new(whole: bool, start_ns: u64) -> Self {
        Self { mid_session: (!whole).then(Box::default), start_ns, ..Self::default() }
    }

    /// Whether the judge is given the bytes as they come.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// TLS begins with the next bytes: it was agreed.
    pub(super) fn begin_tls(&mut self) {
        self.begin(Begin::Agreed);
    }

    fn begin(&mut self, begin: Begin) {
        self.tls = Some(Box::new(Secure { begin, ..Secure::default() }));
    }

    /// Keeps a delivery if it has to wait for secrets.
    pub(super) fn keeps(&mut self, delivery: &Delivery<'_>) -> bool {
        match &mut self.tls {
            Some(tls) if tls.connection.is_waiting() => {
                tls.waiting.keep(delivery);
                true
            }
            _ => false,
        }
    }

    /// Keeps what is left of a delivery amid which the wait for secrets began.
    pub(super) fn keep_rest(&mut self, input: &Input<'_>) {
        let Some(tls) = self.tls.as_mut().filter(|tls| tls.connection.is_waiting()) else { return };
        let Delivery::Data { from, time_ns, informed, .. } = input.delivery else { return };
        tls.waiting = AwaitingSecrets::since(time_ns);
        if !input.bytes.is_empty() {
            let bytes = input.bytes;
            tls.waiting.keep(&Delivery::Data { from, time_ns, bytes, informed });
        }
    }

    /// How many bytes inside TLS were not opened.
    pub(super) fn unopened(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.connection.unopened())
    }

    /// Whether it stands still until secrets come.
    pub(super) fn awaits_secrets(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.is_waiting())
    }

    /// How much memory is taken by what waits for secrets, in bytes.
    pub(super) fn held_memory(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.waiting.memory())
    }

    /// What waited, if the secrets have come, or the wait has been long enough.
    pub(super) fn resume(&mut self, now_ns: u64, keys: &mut KeyLog) -> Option<AwaitingSecrets> {
        let tls = self.tls.as_mut().filter(|tls| tls.connection.is_waiting())?;
        if tls.connection.awaits_secrets(keys) {
            if !tls.waiting.is_enough(now_ns) {
                return None;
            }
            tls.connection.give_up();
        }
        Some(std::mem::take(&mut tls.waiting))
    }

    /// What waited, whatever it waited for.
    pub(super) fn stop_waiting(&mut self, keys: &mut KeyLog) -> Option<AwaitingSecrets> {
        let tls = self.tls.as_mut().filter(|tls| tls.connection.is_waiting())?;
        if tls.connection.awaits_secrets(keys) {
            tls.connection.give_up();
        }
        Some(std::mem::take(&mut tls.waiting))
    }

    /// What is to be done next with a delivery; `None` when that is all.
    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Input<'i>,
        keys: &mut KeyLog,
        judge: &Session,
    ) -> Option<Step<'a>> {
        if input.stage == Stage::New {
            input.stage = Stage::Met;
            if let Delivery::Data { from, bytes, .. } = input.delivery {
                self.bytes[from] += bytes.len() as u64;
            }
            if let Some(step) = self.meet(input, judge) {
                return Some(step);
            }
        }
        match input.stage {
            Stage::Done => None,
            _ if self.tls.is_some() => self.next_of_tls(input, keys),
            _ => {
                input.stage = Stage::Done;
                plain(&input.delivery)
            }
        }
    }

    /// What a delivery says at its beginning.
    fn meet(&mut self, input: &mut Input<'_>, judge: &Session) -> Option<Step<'static>> {
        let delivery = &input.delivery;
        if self.begins_with_tls(delivery, judge) {
            if judge.is_whole() {
                self.begin(Begin::Bare);
            } else if input.bytes.get(5) == Some(&CLIENT_HELLO) {
                self.begin(Begin::Agreed);
                return Some(Step::Tls(Tls::Begins(Begins::AfterHole)));
            }
        }
        match self.mid_session.as_mut()?.take(delivery) {
            Met::Open => None,
            Met::Inside => {
                input.stage = Stage::Done;
                None
            }
            Met::FoundInside(text) => {
                input.stage = Stage::Done;
                Some(Step::Note(self.mid_session_note(text)))
            }
        }
    }

    /// Whether a delivery is the first of a session, and the client begins with TLS.
    fn begins_with_tls(&self, delivery: &Delivery<'_>, judge: &Session) -> bool {
        let Delivery::Data { from: Side::Client, bytes, .. } = delivery else {
            return false;
        };
        self.tls.is_none()
            && self.bytes == Both::new(bytes.len() as u64, 0)
            && judge.phase() == Phase::Greeting
            && bytes.len() > 2
            && is_record(bytes, 22)
    }

    /// Takes what comes while TLS is in force.
    fn next_of_tls<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Input<'i>,
        keys: &mut KeyLog,
    ) -> Option<Step<'a>> {
        if let Some(step) = self.find_out(input) {
            return Some(step);
        }
        let tls = self.tls.as_mut()?;
        match input.delivery {
            Delivery::Data { from, time_ns, .. } => tls.open(from, time_ns, input, keys),
            Delivery::Gap { from, missing, .. } => {
                input.stage = Stage::Done;
                tls.connection.gap(from);
                Some(Step::Tls(Tls::Unreadable(from, Unreadable::Gap(missing))))
            }
            Delivery::End { from, .. } => {
                let unclosed = tls.connection.is_opened() && !tls.notified[from];
                if unclosed && input.stage != Stage::Ending {
                    input.stage = Stage::Ending;
                    return Some(Step::Tls(Tls::Unclosed(from)));
                }
                input.stage = Stage::Done;
                plain(&input.delivery)
            }
            Delivery::Conflict { .. } | Delivery::Aside { .. } | Delivery::Reset { .. } => {
                input.stage = Stage::Done;
                plain(&input.delivery)
            }
        }
    }

    /// Whether the server answers a client that began with TLS in kind.
    fn find_out(&mut self, input: &mut Input<'_>) -> Option<Step<'static>> {
        let tls = self.tls.as_mut().filter(|tls| tls.begin == Begin::Bare)?;
        let in_kind = match input.delivery {
            Delivery::Data { from: Side::Client, .. }
            | Delivery::Conflict { .. }
            | Delivery::Aside { .. } => return None,
            Delivery::Data { bytes, .. } => is_record(bytes, 22) || is_record(bytes, 21),
            Delivery::Gap { .. } => true,
            Delivery::End { .. } | Delivery::Reset { .. } => false,
        };
        if in_kind {
            tls.begin = Begin::Tunnel;
            return Some(Step::Tls(Tls::Begins(Begins::Unasked)));
        }
        self.tls = None;
        Some(Step::Tls(Tls::Unreadable(Side::Client, Unreadable::Unanswered)))
    }

    /// Whether it is still open what a session is that began before the capture.
    pub(super) fn may_be_tls(&self) -> bool {
        self.mid_session.is_some()
    }

    /// A message was found in a session that began before the capture, or it ends: it is no TLS.
    pub(super) fn is_nbd(&mut self) -> Option<Note> {
        self.mid_session.take_if(|it| !it.is_tls())?;
        let text = "the session began before the capture; requests and the replies to them are \
                    decoded, and not judged";
        Some(self.mid_session_note(text))
    }

    fn mid_session_note(&self, text: &str) -> Note {
        Note { kind: "mid-session", time_ns: self.start_ns, text: text.to_owned() }
    }

    /// Nothing more will come: what is to be done then.
    pub(super) fn next_at_end(&mut self, time_ns: u64) -> Option<Step<'static>> {
        if let Some(met) = self.mid_session.take() {
            return Some(Step::Note(met.ended(time_ns)));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let tls = self.tls.as_ref()?;
        if tls.begin == Begin::Bare {
            return Some(Step::Tls(Tls::Unreadable(Side::Client, Unreadable::Unanswered)));
        }
        let sealed = |text| Step::Tls(Tls::Unreadable(Side::Client, Unreadable::Sealed(text)));
        tls.connection.sealed().map(sealed)
    }
}

/// What the judge is told of a delivery where there is no TLS.
fn plain<'a>(delivery: &Delivery<'a>) -> Option<Step<'a>> {
    Some(match *delivery {
        Delivery::Data { from, bytes, .. } => Step::Plain { from, bytes },
        Delivery::Gap { from, missing, cut, .. } => Step::Gap { from, missing, cut },
        Delivery::End { from, .. } => Step::Closed { from, how: Close::End },
        Delivery::Reset { from, .. } => Step::Closed { from, how: Close::Reset },
        Delivery::Conflict { .. } | Delivery::Aside { .. } => return None,
    })
}

impl Secure {
    /// Opens records.
    fn open<'a>(
        &'a mut self,
        from: Side,
        time_ns: u64,
        input: &mut Input<'_>,
        keys: &mut KeyLog,
    ) -> Option<Step<'a>> {
        // The server may answer early data, which the judge does not know.
        if self.connection.is_opened()
            && self.connection.lacks_early_data()
            && !std::mem::replace(&mut self.missed, true)
        {
            return Some(Step::Tls(Tls::Unreadable(Side::Client, Unreadable::EarlyData)));
        }
        let is_opened = self.connection.is_opened();
        let Some(output) = self.connection.next(from, &mut input.bytes, keys) else {
            input.stage = Stage::Done;
            return None;
        };
        Some(match output {
            Output::Opened(parameters) => Step::Opened(TlsOpened { time_ns, parameters }),
            Output::Data(bytes) => Step::Plain { from, bytes },
            Output::CloseNotify => {
                self.notified[from] = true;
                match is_opened {
                    true => Step::Closed { from, how: Close::End },
                    false => Step::Nothing,
                }
            }
            Output::Alert(number) => {
                let alert = alert(number);
                let text = format!("the {} reports a fatal error of TLS: {alert}", from.name());
                Step::Tls(Tls::Unreadable(from, Unreadable::Failed(text)))
            }
            Output::Stopped(Stop::NoRecord { first, is_nbd })
                if self.begin == Begin::Agreed && (first || is_nbd) =>
            {
                Step::Tls(Tls::Unreadable(from, Unreadable::Plaintext { first }))
            }
            Output::Stopped(stop) => {
                let text = format!("{}; the {} can't be followed", why(stop), from.name());
                Step::Tls(Tls::Unreadable(from, Unreadable::Damaged(text)))
            }
        })
    }
}

fn why(stop: Stop) -> &'static str {
    match stop {
        Stop::NoRecord { .. } => "bytes that are not a TLS record",
        Stop::Damaged => "a TLS record is damaged, or the secrets are another connection's",
        Stop::Handshake => "the TLS handshake makes no sense",
    }
}

/// The name of an alert (RFC 8446, 6), or its number.
fn alert(number: u8) -> String {
    let name = match number {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        other => return format!("alert {other}"),
    };
    name.to_owned()
}
