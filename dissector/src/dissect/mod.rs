//! Drives it all: packets in, records out.
//!
//! [`Dissector`] does no I/O; [`dissect`] feeds it from a capture file. Memory is bounded whatever
//! the file's size: connections that are over leave only a mark, and there is a limit on how many
//! are followed at once.

mod awaiting_secrets;
mod channel;
#[cfg(test)]
mod channel_tests;
mod checksums;
mod context;
mod counts;
#[cfg(test)]
mod damage_tests;
mod file;
mod flow;
mod live;
mod mid_session;
mod packets;
mod parallel;
mod record;
mod replaced;
mod table;
#[cfg(test)]
mod tests;

use crate::capture::Packet;
use crate::net::Segment;
use crate::tls::KeyLog;

pub use counts::Counts;
pub use file::dissect;
pub use record::{Ended, Note, Options, Record, SessionInfo, Sink, TlsOpened, Totals};

use packets::Packets;
use table::Table;

/// Takes packets, tells records. No I/O.
pub struct Dissector {
    packets: Packets,
    table: Table,
    /// How many packets there were.
    frames: u64,
}

impl Dissector {
    /// Begins a capture.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { packets: Packets::default(), table: Table::new(options, 1), frames: 0 }
    }

    /// Secrets of TLS, as a key log: for the handshakes that come after this, and for those that
    /// wait for them ([`Growth`](crate::tls::Growth)).
    pub fn secrets(&mut self, log: &[u8]) {
        self.table.secrets(log);
    }

    /// What TLS is opened with, and has been.
    pub fn keys(&mut self) -> &mut KeyLog {
        self.table.keys()
    }

    /// Whether a connection waits for secrets.
    #[must_use]
    pub fn awaits_secrets(&self) -> bool {
        self.table.awaits_secrets()
    }

    /// Goes on with connections that wait for secrets: those whose have come, and those that have
    /// waited for a second at `now_ns`, in the packets' time. To be called after
    /// [`Dissector::secrets`], and now and then, where secrets may come at any time; without it a
    /// connection goes on when its next packet comes.
    pub fn resume<S: Sink>(&mut self, now_ns: u64, sink: &mut S) {
        self.table.resume(now_ns, sink);
    }

    /// How many sessions there have been.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.table.sessions()
    }

    /// The next packet.
    pub fn packet<S: Sink>(&mut self, packet: &Packet<'_>, sink: &mut S) {
        let Self { packets, table, frames } = self;
        *frames += 1;
        sink.at_frame(*frames);
        packets.segment(packet, |segment| table.segment(packet.time_ns, segment, sink));
    }

    /// The same, of what a packet would say that was not made.
    pub fn unpacked<S: Sink>(&mut self, time_ns: u64, segment: &Segment<'_>, sink: &mut S) {
        self.frames += 1;
        sink.at_frame(self.frames);
        self.table.segment(time_ns, segment, sink);
    }

    /// The capture is over: everything that is still open is brought to an end.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) {
        sink.at_frame(0);
        self.table.finish(sink, |_, _| ());
        self.packets.finish(sink);
    }
}
