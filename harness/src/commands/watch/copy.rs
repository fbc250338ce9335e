//! The file that packets are written to while they are decoded.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use dissector::capture::{CaptureWriter, LinkType, Packet};

use crate::commands::CommandError;
use crate::commands::captures::name;

/// How much memory packets may take that wait for secrets to be written before them, in bytes.
const KEPT: usize = 32 << 20;

type Writer = CaptureWriter<BufWriter<File>>;

/// The file that packets are written to. The first error ends writing, and is told at the end.
pub(crate) struct Copy {
    name: String,
    writer: Writer,
    error: Option<io::Error>,
    kept: Vec<Kept>,
    memory: usize,
}

/// A packet that waits.
struct Kept {
    time_ns: u64,
    link: LinkType,
    data: Box<[u8]>,
    original_length: u32,
}

impl Copy {
    pub(crate) fn create(path: &Path, link: LinkType) -> Result<Self, CommandError> {
        if path == Path::new("-") {
            let text = "standard output is for what is decoded, not for packets";
            return Err(CommandError::usage(text).hint("`-w FILE`"));
        }
        let name = name(path);
        let writer = File::create(path).and_then(|file| {
            CaptureWriter::for_link(BufWriter::with_capacity(1 << 20, file), link)
        });
        let writer = writer.map_err(|error| CommandError::cannot_write(&name, &error))?;
        Ok(Self { name, writer, error: None, kept: Vec::new(), memory: 0 })
    }

    /// Writes a packet, after those that were kept.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        self.release();
        self.write(|writer| writer.captured(packet));
    }

    /// Keeps a packet, as secrets may come that readers need before it. If there are too many, they
    /// wait no longer.
    pub(crate) fn keep(&mut self, packet: &Packet<'_>) {
        let Packet { time_ns, link, data, original_length } = *packet;
        if self.memory > KEPT {
            self.release();
        }
        self.memory += size_of::<Kept>() + data.len();
        self.kept.push(Kept { time_ns, link, data: data.into(), original_length });
    }

    /// Writes what was kept.
    pub(crate) fn release(&mut self) {
        self.memory = 0;
        for kept in std::mem::take(&mut self.kept) {
            let Kept { time_ns, link, original_length, .. } = kept;
            let packet = Packet { time_ns, link, data: &kept.data, original_length };
            self.write(|writer| writer.captured(&packet));
        }
    }

    /// Writes secrets of TLS, lines of a key log, before what was kept.
    pub(crate) fn secrets(&mut self, lines: &str) {
        if !lines.is_empty() {
            self.write(|writer| writer.tls_key_log(lines));
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) {
        if self.error.is_none()
            && let Err(error) = write(&mut self.writer)
        {
            crate::say!("error: can't write {}: {error}; decoding goes on", self.name);
            self.error = Some(error);
        }
    }

    /// Hands on to the system what was written, so that whoever reads the file finds it.
    pub(crate) fn flush(&mut self) {
        self.write(CaptureWriter::flush);
    }

    /// Writes what was kept.
    pub(crate) fn finish(mut self) -> Result<(), CommandError> {
        self.release();
        if let Some(error) = self.error {
            let name = self.name;
            return Err(CommandError::no_verdict(format_args!("{name} is incomplete: {error}")));
        }
        self.writer.flush().map_err(|error| CommandError::cannot_write(self.name, &error))
    }
}
