//! TLS between the bytes of a connection and the judge: from the hand-over at `NBD_OPT_STARTTLS`,
//! or from the first byte where a client begins so.

use protocol::message::Side;

use super::flow::{Context, Live};
use super::{Record, Sink, TlsOpened};
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

/// Whether these are the first bytes of a record of TLS, of this type.
fn is_record(bytes: &[u8], kind: u8) -> bool {
    bytes.first() == Some(&kind) && bytes.get(1).is_none_or(|major| *major == 3)
}

impl Live {
    /// Whether a delivery is the first of a session, and the client begins with TLS.
    pub(super) fn begins_with_tls(&self, delivery: &Delivery<'_>) -> bool {
        let Delivery::Data { from: Side::Client, bytes, .. } = delivery else {
            return false;
        };
        self.totals.bytes == [bytes.len() as u64, 0]
            && self.judge.as_ref().is_some_and(|judge| judge.phase() == Phase::Greeting)
            && bytes.len() > 2
            && is_record(bytes, 22)
    }

    /// TLS begins with the next bytes.
    pub(super) fn begin_tls(&mut self, bare: bool) {
        let begin = if bare { Begin::Bare } else { Begin::Agreed };
        self.tls = Some(Box::new(Secure { begin, ..Secure::default() }));
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
            Delivery::Data { from, time_ns, bytes } => self.open(from, time_ns, bytes, context),
            Delivery::Gap { from, time_ns, missing } => {
                tls.connection.gap(from);
                let text = format!("{missing} bytes of the {} inside TLS are missing", from.name());
                judge.tls_lost(from, time_ns, ProblemKind::Gap, &text);
            }
            Delivery::End { from, time_ns } => {
                if tls.connection.is_opened() && !tls.notified[from as usize] {
                    judge.tls_unclosed(from, time_ns);
                }
                judge.closed(from, time_ns, Close::End);
            }
            Delivery::Conflict { .. } => {}
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
            Delivery::Data { from, time_ns, bytes } => {
                judge.tls_unanswered(time_ns);
                judge.received(from, time_ns, bytes);
            }
            Delivery::End { from, time_ns } => {
                judge.tls_unanswered(time_ns);
                judge.closed(from, time_ns, Close::End);
            }
            Delivery::Conflict { .. } => return false,
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
        Stop::NoRecord { .. } => "bytes that are no TLS record",
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
