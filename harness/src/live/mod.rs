//! Packets as they pass an interface, by libpcap.

mod open;
mod stop;

use std::io;
use std::time::{Duration, Instant};

use dissector::capture::{LinkType, Packet};
use pcap::{Active, Capture, Error, PacketHeader};

pub use open::OpenError;
use open::{DELAY, NANOSECONDS};
use stop::Signals;
pub use stop::{Limits, Stop};

/// How often packets are looked for; the buffer holds what comes within many times this.
const PAUSE: Duration = Duration::from_millis(20);
/// So many packets are taken before signals and limits are looked at again.
const BATCH: usize = 4096;

/// An interface that is being listened to.
pub struct Live {
    capture: Capture<Active>,
    link: LinkType,
}

/// How listening ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listened {
    /// Why.
    pub stop: Stop,
    /// Packets that were handed on.
    pub packets: u64,
    /// Packets that were lost since they were taken too slowly, if libpcap can tell.
    pub dropped: Option<u64>,
}

/// Whoever listens.
pub trait Listener {
    /// From here on nothing is missed, and signals are heeded.
    fn ready(&mut self);

    /// The next packet; whether more are wanted.
    fn packet(&mut self, packet: &Packet<'_>) -> bool;

    /// There are no more packets for the moment, or there have been many. Called every few hundredths
    /// of a second at least.
    fn pause(&mut self);
}

impl Live {
    /// Listens to what passes an interface from or to these TCP ports. From here on nothing is
    /// missed.
    ///
    /// # Errors
    /// There is no such interface, we may not, or libpcap has another reason.
    pub fn open(interface: &str, ports: &[u16]) -> Result<Self, OpenError> {
        let (capture, link) = open::open(interface, ports)?;
        Ok(Self { capture, link })
    }

    /// What packets begin with.
    #[must_use]
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Hands packets on until a limit is reached, SIGINT or SIGTERM comes, or no more are wanted.
    ///
    /// # Errors
    /// The interface went away, or waiting fails.
    pub async fn run(
        mut self,
        limits: Limits,
        listener: &mut impl Listener,
    ) -> io::Result<Listened> {
        let mut signals = Signals::new()?;
        listener.ready();
        let mut packets = 0;
        let mut deadline = limits.duration.and_then(|limit| Instant::now().checked_add(limit));
        // Once it ends, what the kernel still gathers is waited for.
        let mut ending = None;
        let stop = loop {
            let most = limits.count.map_or(u64::MAX, |count| count - packets);
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(BATCH);
            let (taken, wanted) = self.drain(most, listener)?;
            packets += taken as u64;
            if !wanted {
                break Stop::Unwanted;
            }
            if limits.count == Some(packets) {
                break Stop::Count;
            }
            let now = Instant::now();
            match deadline {
                Some(at) if now >= at => match ending {
                    Some(stop) => break stop,
                    None => {
                        ending = Some(Stop::Duration);
                        deadline = Some(now + 2 * DELAY);
                    }
                },
                _ => {}
            }
            listener.pause();
            if taken == BATCH {
                tokio::task::yield_now().await;
                continue;
            }
            let pause = deadline.map_or(PAUSE, |at| at.saturating_duration_since(now).min(PAUSE));
            tokio::select! {
                stop = signals.next(), if ending.is_none() => {
                    ending = Some(stop);
                    deadline = Some(Instant::now() + 2 * DELAY);
                }
                () = tokio::time::sleep(pause) => {}
            }
        };
        let dropped = self.capture.stats().ok();
        Ok(Listened { stop, packets, dropped: dropped.map(|stats| u64::from(stats.dropped)) })
    }

    /// Hands on what is there, up to `most` packets; says how many there were and whether more are
    /// wanted.
    fn drain(&mut self, most: usize, listener: &mut impl Listener) -> io::Result<(usize, bool)> {
        for taken in 0..most {
            let packet = match self.capture.next_packet() {
                Ok(packet) => packet,
                Err(Error::TimeoutExpired) => return Ok((taken, true)),
                Err(error) => return Err(io::Error::other(error)),
            };
            let packet = Packet {
                time_ns: time_ns(packet.header),
                link: self.link,
                data: packet.data,
                original_length: packet.header.len,
            };
            if !listener.packet(&packet) {
                return Ok((taken + 1, false));
            }
        }
        Ok((most, true))
    }
}

/// Since 1970, in nanoseconds.
fn time_ns(header: &PacketHeader) -> u64 {
    let seconds = u64::try_from(header.ts.tv_sec).unwrap_or(0);
    let fraction = u64::try_from(header.ts.tv_usec).unwrap_or(0);
    let fraction = if NANOSECONDS { fraction } else { fraction.saturating_mul(1000) };
    seconds.saturating_mul(1_000_000_000).saturating_add(fraction)
}
