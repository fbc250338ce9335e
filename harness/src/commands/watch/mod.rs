//! Traffic that is decoded while it passes, and written to a file meanwhile: what `capture` and
//! `relay` have in common.

mod copy;
mod growing;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use dissector::capture::Packet;
use dissector::dissect::{Dissector, Options, Sink};
use dissector::net::Segment;
use dissector::tls::{Growth, KeyLog};

use super::CommandError;
use super::captures::name;

pub(super) use copy::Copy;
use growing::GrowingLog;

/// A key log is read in so many pieces at once.
const PIECES: usize = 64;

/// Key logs that programs write meanwhile.
#[derive(Default)]
pub(super) struct Logs(Vec<GrowingLog>);

impl Logs {
    /// None need exist yet.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, CommandError> {
        let open = |path: &PathBuf| {
            GrowingLog::new(path).map_err(|error| {
                CommandError::usage(format_args!("can't read {}: {error}", name(path)))
            })
        };
        Ok(Self(paths.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// The secrets to begin with.
    pub(super) fn keys(&self) -> KeyLog {
        let mut keys = KeyLog::default();
        if !self.0.is_empty() {
            keys.set_growth(Growth::AnyTime);
        }
        keys
    }
}

/// Takes packets while they pass: decodes them, and writes them and the secrets that open them.
pub(super) struct Watch<'a, S> {
    dissector: Dissector,
    sink: &'a mut S,
    file: Option<&'a mut Copy>,
    logs: Logs,
}

impl<'a, S: Sink> Watch<'a, S> {
    /// `options` has the keys of `logs`; what is decoded goes to `sink`.
    pub(super) fn new(
        options: Options,
        logs: Logs,
        sink: &'a mut S,
        file: Option<&'a mut Copy>,
    ) -> Self {
        Self { dissector: Dissector::new(options), sink, file, logs }
    }

    /// The next packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        self.dissector.packet(packet, self.sink);
        self.secrets_while(packet.time_ns);
        if let Some(file) = &mut self.file {
            if self.dissector.awaits_secrets() {
                file.keep(packet);
            } else {
                file.packet(packet);
            }
        }
    }

    /// The next packet, not made yet, if it need not be: only a file needs whole packets.
    pub(super) fn unpacked(&mut self, time_ns: u64, segment: &Segment<'_>) -> bool {
        if self.file.is_some() {
            return false;
        }
        self.dissector.unpacked(time_ns, segment, self.sink);
        self.secrets_while(time_ns);
        true
    }

    /// Looks for secrets where a session waits for them.
    fn secrets_while(&mut self, time_ns: u64) {
        if self.dissector.awaits_secrets() && self.look() {
            self.dissector.resume(time_ns, self.sink);
        }
        self.write_secrets();
    }

    /// To be called now and then while there are no packets.
    pub(super) fn pause(&mut self) {
        if self.dissector.awaits_secrets() {
            self.look();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            self.dissector.resume(now_ns, self.sink);
            self.write_secrets();
        }
        if let Some(file) = &mut self.file
            && !self.dissector.awaits_secrets()
        {
            file.release();
        }
    }

    /// Whether something waits for secrets: then pauses should be short.
    pub(super) fn awaits_secrets(&self) -> bool {
        self.dissector.awaits_secrets()
    }

    /// Whether nobody wants to see more.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "only of use to `capture`"))]
    pub(super) fn is_done(&self) -> bool {
        self.sink.is_done()
    }

    /// Hands on to the system what was written.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// Looks for secrets that were logged since; whether there are any.
    fn look(&mut self) -> bool {
        let mut found = false;
        for log in &mut self.logs.0 {
            for _ in 0..PIECES {
                match log.read() {
                    Ok(lines) if !lines.is_empty() => {
                        self.dissector.secrets(&lines);
                        found = true;
                    }
                    // It may be another file the next time.
                    _ => break,
                }
            }
        }
        found
    }

    fn write_secrets(&mut self) {
        let secrets = self.dissector.keys().take_used();
        if let Some(file) = &mut self.file {
            file.secrets(&secrets);
        }
    }

    /// Nothing more passes: what is still open is brought to an end.
    pub(super) fn finish(mut self) -> Watched {
        self.look();
        self.dissector.finish(self.sink);
        self.write_secrets();
        let no_secrets = !self.logs.0.is_empty() && self.dissector.keys().is_empty();
        Watched { sessions: self.dissector.sessions(), no_secrets }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    /// How many sessions of NBD there were.
    pub(super) sessions: u64,
    /// There are key logs, and no secrets came in them.
    pub(super) no_secrets: bool,
}

impl Watched {
    /// Warns of key logs in which nothing came.
    pub(super) fn warn(&self, logs: &[PathBuf]) {
        if self.no_secrets {
            let logs: Vec<_> = logs.iter().map(|path| name(path)).collect();
            crate::say!("warning: no secrets of TLS came in {}", logs.join(", "));
        }
    }
}
