//! A capture file for each scenario, as if its packets had been seen on a wire.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dissector::capture::{CaptureWriter, Conversation};
use protocol::message::Side;
use protocol::values::DEFAULT_PORT;

use crate::dial::TapMaker;
use crate::link::Tap;
use crate::link::stream::Stream;

type Out = Arc<Mutex<CaptureWriter<BufWriter<File>>>>;

/// The capture file of one scenario.
pub struct Capture {
    path: PathBuf,
    out: Out,
}

impl Capture {
    /// Makes `FOLDER/TARGET/SCENARIO.pcapng`, and the folders on the way.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path, target: &str, scenario: &str) -> io::Result<Self> {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
        let target: String = target.chars().map(safe).collect();
        let scenario: String =
            scenario.chars().map(|c| if c == '/' { c } else { safe(c) }).collect();
        let path = folder.join(target).join(format!("{}.pcapng", scenario.trim_start_matches('/')));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let out = CaptureWriter::new(BufWriter::new(File::create(&path)?))?;
        Ok(Self { path, out: Arc::new(Mutex::new(out)) })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes taps that write into the file.
    #[must_use]
    pub fn into_tap_maker(self) -> TapMaker {
        let out = self.out;
        let mut made = 0u16;
        Box::new(move |_name, stream, side| {
            made += 1;
            let (client, server) = addresses(stream, side, made);
            let mut conversation = Conversation::new(client, server);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let mut writer = out.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk loses the capture, not the verdict.
            conversation.opened(&mut writer, now).ok()?;
            drop(writer);
            Some(Box::new(Writer { out: out.clone(), conversation }) as Box<dyn Tap>)
        })
    }
}

/// The addresses of client and server; made-up ones on NBD's port where the stream has none.
fn addresses(stream: &Stream, side: Side, number: u16) -> (SocketAddr, SocketAddr) {
    if let Stream::Tcp(tcp) = stream
        && let (Ok(local), Ok(peer)) = (tcp.local_addr(), tcp.peer_addr())
    {
        return match side {
            Side::Client => (local, peer),
            Side::Server => (peer, local),
        };
    }
    let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 49152u16.saturating_add(number)));
    (client, SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)))
}

struct Writer {
    out: Out,
    conversation: Conversation,
}

impl Tap for Writer {
    fn data(&mut self, from: Side, time_ns: u64, bytes: &[u8]) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.conversation.data(&mut out, from, time_ns, bytes);
    }

    fn secrets(&mut self, lines: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.tls_key_log(lines);
    }

    fn closed(&mut self, from: Side, time_ns: u64, reset: bool) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.conversation.closed(&mut out, from, time_ns, reset);
        let _ = out.flush();
    }
}
