//! Writing pcapng: one section, one interface.

use std::io::{self, Write};

use super::{LinkType, Packet};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// `TLSK`: the secrets are a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;

const OPTION_END: u16 = 0;
const OPTION_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;

/// Writes a pcapng file that Wireshark and this crate's reader understand.
pub struct CaptureWriter<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the head of the file: a section and an interface whose packets begin with an IP
    /// header and whose times are in nanoseconds.
    ///
    /// # Errors
    /// Writing fails.
    pub fn new(out: W) -> io::Result<Self> {
        Self::for_link(out, LinkType::RAW)
    }

    /// Writes the head of the file: a section and an interface of this link type, whose times are
    /// in nanoseconds.
    ///
    /// # Errors
    /// Writing fails, or the link type is none of pcapng (16 bits).
    pub fn for_link(out: W, link: LinkType) -> io::Result<Self> {
        let link = u16::try_from(link.0)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "link type too large"))?;
        let mut this = Self { out, block: Vec::new() };
        this.begin(SECTION);
        this.put32(0x1a2b_3c4d);
        this.put16(1);
        this.put16(0);
        this.block.extend_from_slice(&u64::MAX.to_le_bytes()); // length not known
        this.option(OPTION_APPLICATION, concat!("nbdcheck ", env!("CARGO_PKG_VERSION")).as_bytes());
        this.option(OPTION_END, &[]);
        this.end()?;
        this.begin(INTERFACE);
        this.put16(link);
        this.put16(0);
        this.put32(0); // packets are whole
        this.option(OPTION_TIME_RESOLUTION, &[9]);
        this.option(OPTION_END, &[]);
        this.end()?;
        Ok(this)
    }

    /// Writes a packet, which begins with the header of the link type. `time_ns` counts from 1970
    /// (UTC).
    ///
    /// # Errors
    /// Writing fails.
    pub fn packet(&mut self, time_ns: u64, packet: &[u8]) -> io::Result<()> {
        self.cut_packet(time_ns, packet, packet.len())
    }

    /// Writes a packet as it was captured; its link type must be that of the file.
    ///
    /// # Errors
    /// Writing fails.
    pub fn captured(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.cut_packet(packet.time_ns, packet.data, packet.original_length as usize)
    }

    fn cut_packet(&mut self, time_ns: u64, packet: &[u8], whole: usize) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "packet too large");
        self.begin(ENHANCED_PACKET);
        self.put32(0);
        let [high, low] = halves(time_ns);
        self.put32(high);
        self.put32(low);
        self.put32(u32::try_from(packet.len()).map_err(too_large)?);
        self.put32(u32::try_from(whole).map_err(too_large)?);
        self.block.extend_from_slice(packet);
        self.end()
    }

    /// Writes TLS secrets in the format of `SSLKEYLOGFILE`, with which the packets that follow can
    /// be decrypted.
    ///
    /// # Errors
    /// Writing fails.
    pub fn tls_key_log(&mut self, lines: &str) -> io::Result<()> {
        let length = u32::try_from(lines.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "key log too large"))?;
        self.begin(SECRETS);
        self.put32(TLS_KEY_LOG);
        self.put32(length);
        self.block.extend_from_slice(lines.as_bytes());
        self.end()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// Writing fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put32(kind);
        self.put32(0); // the length, once it is known
    }

    /// Pads, sets both lengths, writes: in one piece, so that a killed program leaves at most one
    /// block cut off.
    fn end(&mut self) -> io::Result<()> {
        self.pad();
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "block too large");
        let length = u32::try_from(self.block.len() + 4).map_err(too_large)?;
        if let Some(place) = self.block.get_mut(4..8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self.put32(length);
        self.out.write_all(&self.block)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.put16(code);
        // The length has 16 bits; what does not fit says nothing that readers need.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.put16(length);
        self.block.extend(value.iter().take(length.into()));
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn put16(&mut self, value: u16) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }
}

/// The high and the low 32 bits.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, low @ ..] = number.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(low)]
}
