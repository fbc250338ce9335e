//! TLS between the bytes of a connection and the judge: from the hand-over at `NBD_OPT_STARTTLS`,
//! or from the first byte where a client begins so.

use protocol::message::Side;

use super::flow::Context;
use super::held::Held;
use super::live::Live;
use super::{Record, Sink, TlsOpened};
use crate::plural::Plural;
use crate::session::{Close, Phase, ProblemKind};
use crate::tcp::Delivery;
use crate::tls::{Connection, Output, Stop};

/// The TLS of a session.
#[derive(Default)]
pub(super) struct Secure {
    connection: Connection,
    begin: Begin,
    /// Who has closed TLS in order.
    notified: [bool; 2],
    /// It was told that the client's first messages are not known.
    missed: bool,
    held: Held,
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

impl Live {
    /// Whether a delivery is the first of a session, and the client begins with TLS.
    fn begins_with_tls(&self, delivery: &Delivery<'_>) -> bool {
        let Delivery::Data { from: Side::Client, bytes, .. } = delivery else {
            return false;
        };
        self.tls.is_none()
            && self.totals.bytes == [bytes.len() as u64, 0]
            && self.judge.as_ref().is_some_and(|judge| judge.phase() == Phase::Greeting)
            && bytes.len() > 2
            && is_record(bytes, 22)
    }

    /// Begins TLS if a session begins with it, or with a hole and then TLS: there it was agreed.
    pub(super) fn meet_tls(&mut self, delivery: &Delivery<'_>) {
        let Delivery::Data { time_ns, bytes, .. } = *delivery else { return };
        if !self.begins_with_tls(delivery) {
            return;
        }
        let Some(judge) = &mut self.judge else { return };
        if judge.is_whole() {
            self.begin_tls(true);
        } else if bytes.get(5) == Some(&CLIENT_HELLO) {
            judge.tls_met(time_ns);
            self.begin_tls(false);
        }
    }

    /// TLS begins with the next bytes.
    pub(super) fn begin_tls(&mut self, bare: bool) {
        let begin = if bare { Begin::Bare } else { Begin::Agreed };
        self.tls = Some(Box::new(Secure { begin, ..Secure::default() }));
    }

    /// Keeps a delivery if it has to wait for secrets.
    pub(super) fn hold<S: Sink>(
        &mut self,
        delivery: &Delivery<'_>,
        context: &mut Context<'_, S>,
    ) -> bool {
        self.resume(delivery.time_ns(), context);
        match &mut self.tls {
            Some(tls) if tls.connection.is_waiting() => {
                tls.held.keep(delivery);
                true
            }
            _ => false,
        }
    }

    /// Whether it stands still until secrets come.
    pub(super) fn awaits_secrets(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.is_waiting())
    }

    /// How much memory is taken by what waits for secrets, in bytes.
    pub(super) fn held_memory(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.held.memory())
    }

    /// Goes on if the secrets have come that it waits for, or the wait has been long enough.
    pub(super) fn resume<S: Sink>(&mut self, now_ns: u64, context: &mut Context<'_, S>) {
        if let Some(tls) = &self.tls
            && tls.connection.is_waiting()
        {
            self.go_on(tls.held.is_enough(now_ns), context);
        }
    }

    /// Waits no longer.
    pub(super) fn stop_waiting<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        if self.awaits_secrets() {
            self.go_on(true, context);
        }
    }

    /// Goes on if the secrets have come, or at any rate.
    fn go_on<S: Sink>(&mut self, anyway: bool, context: &mut Context<'_, S>) {
        let Some(tls) = &mut self.tls else { return };
        if tls.connection.awaits_secrets(context.keys) {
            if !anyway {
                return;
            }
            tls.connection.give_up();
        }
        let mut held = std::mem::take(&mut tls.held);
        held.release(|delivery| self.take(delivery, context));
    }

    /// Takes what comes while TLS is in force.
    pub(super) fn deliver_tls<S: Sink>(
        &mut self,
        delivery: &Delivery<'_>,
        context: &mut Context<'_, S>,
    ) {
        if self.find_out(delivery) {
            return;
        }
        let (Some(tls), Some(judge)) = (&mut self.tls, &mut self.judge) else { return };
        match *delivery {
            Delivery::Data { from, time_ns, bytes, .. } => self.open(from, time_ns, bytes, context),
            Delivery::Gap { from, time_ns, missing, .. } => {
                tls.connection.gap(from);
                let bytes = Plural(missing, "byte");
                let text =
                    format!("{bytes} of the {} inside TLS {} missing", from.name(), bytes.are());
                judge.tls_lost(from, time_ns, ProblemKind::Gap, &text);
            }
            Delivery::End { from, time_ns, .. } => {
                if tls.connection.is_opened() && !tls.notified[from as usize] {
                    judge.tls_unclosed(from, time_ns);
                }
                judge.closed(from, time_ns, Close::End);
            }
            Delivery::Conflict { .. } | Delivery::Aside { .. } => {}
            Delivery::Reset { from, time_ns } => judge.closed(from, time_ns, Close::Reset),
        }
    }

    /// Whether the server answers a client that began with TLS in kind. Gives whether that is all
    /// that was to be done with the delivery.
    fn find_out(&mut self, delivery: &Delivery<'_>) -> bool {
        let (Some(tls), Some(judge)) = (&mut self.tls, &mut self.judge) else { return true };
        if tls.begin != Begin::Bare {
            return false;
        }
        match *delivery {
            Delivery::Data { from: Side::Client, .. } => return false,
            Delivery::Data { time_ns, bytes, .. }
                if is_record(bytes, 22) || is_record(bytes, 21) =>
            {
                tls.begin = Begin::Tunnel;
                judge.tls_unasked(time_ns);
                return false;
            }
            Delivery::Gap { time_ns, .. } => {
                tls.begin = Begin::Tunnel;
                judge.tls_unasked(time_ns);
                return false;
            }
            Delivery::Data { from, time_ns, bytes, .. } => {
                judge.tls_unanswered(time_ns);
                judge.received(from, time_ns, bytes);
            }
            Delivery::End { from, time_ns, .. } => {
                judge.tls_unanswered(time_ns);
                judge.closed(from, time_ns, Close::End);
            }
            Delivery::Conflict { .. } | Delivery::Aside { .. } => return false,
            Delivery::Reset { from, time_ns } => {
                judge.tls_unanswered(time_ns);
                judge.closed(from, time_ns, Close::Reset);
            }
        }
        self.tls = None;
        true
    }

    fn open<S: Sink>(
        &mut self,
        from: Side,
        time_ns: u64,
        bytes: &[u8],
        context: &mut Context<'_, S>,
    ) {
        let mut input = bytes;
        while let (Some(tls), Some(judge)) = (&mut self.tls, &mut self.judge)
            && let Some(output) = tls.connection.next(from, &mut input, context.keys)
        {
            let mut opened = None;
            match output {
                Output::Opened(parameters) => {
                    judge.tls_opened(time_ns);
                    opened = Some(TlsOpened { time_ns, parameters });
                }
                Output::Data(bytes) => {
                    judge.received(from, time_ns, bytes);
                }
                Output::CloseNotify => {
                    tls.notified[from as usize] = true;
                    if tls.connection.is_opened() {
                        judge.closed(from, time_ns, Close::End);
                    }
                }
                Output::Alert(number) => {
                    let alert = alert(number);
                    let text = format!("the {} reports a fatal error of TLS: {alert}", from.name());
                    judge.tls_failed(from, time_ns, &text);
                }
                Output::Stopped(Stop::NoRecord { first, is_nbd })
                    if tls.begin == Begin::Agreed && (first || is_nbd) =>
                {
                    judge.tls_plaintext(from, time_ns, first);
                }
                Output::Stopped(stop) => {
                    let text = format!("{}; the {} can't be followed", why(stop), from.name());
                    judge.tls_lost(from, time_ns, ProblemKind::Lost, &text);
                }
            }
            self.drain(None, context.sink);
            if let Some(opened) = opened {
                context.sink.record(Record::Tls(&self.info, &opened));
            }
            self.miss_early_data(time_ns, context.sink);
        }
        if let Some(tls) = &mut self.tls
            && tls.connection.is_waiting()
        {
            tls.held = Held::since(time_ns);
            if !input.is_empty() {
                tls.held.keep(&Delivery::Data { from, time_ns, bytes: input, informed: false });
            }
        }
    }

    /// The server may answer early data, which the judge does not know.
    fn miss_early_data<S: Sink>(&mut self, time_ns: u64, sink: &mut S) {
        if let (Some(tls), Some(judge)) = (&mut self.tls, &mut self.judge)
            && tls.connection.is_opened()
            && tls.connection.lacks_early_data()
            && !std::mem::replace(&mut tls.missed, true)
        {
            let text = "what the client says first is early data of TLS, which is not opened";
            judge.tls_missed(Side::Client, time_ns, text);
            self.drain(None, sink);
        }
    }

    /// Nothing more will come.
    pub(super) fn finish_tls(&mut self, time_ns: u64) {
        let (Some(tls), Some(judge)) = (&mut self.tls, &mut self.judge) else { return };
        if tls.begin == Begin::Bare {
            return judge.tls_unanswered(time_ns);
        }
        if let Some(text) = tls.connection.sealed() {
            judge.tls_sealed(text);
        }
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
