//! The classic format: a header and records.

use std::io::Read;

use pcap_parser::{
    LegacyPcapBlock, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use super::LinkType;
use super::reader::{Item, MAX_BLOCK, Packet, ReadError};
use super::source::Source;

/// What the file's header says.
pub(super) struct Pcap {
    link: LinkType,
    big_endian: bool,
    /// Longer record headers, of a patched libpcap of old.
    modified: bool,
    /// Nanoseconds per unit of the time stamps' fraction.
    unit: u64,
}

impl Pcap {
    pub(super) fn new<R: Read>(source: &mut Source<R>) -> Result<Self, ReadError> {
        if !source.fill(24)? {
            return Err(ReadError::Cut { at: 0, what: "the file header" });
        }
        let (_, header) =
            parse_pcap_header(source.data()).map_err(|_| ReadError::NotACapture { hint: "" })?;
        let pcap = Self {
            // The high bits tell about frame check sequences.
            link: LinkType(header.network.0 as u32 & 0xffff),
            big_endian: header.is_bigendian(),
            modified: header.is_modified_format(),
            unit: if header.is_nanosecond_precision() { 1 } else { 1000 },
        };
        source.consume(header.size());
        Ok(pcap)
    }

    pub(super) fn next_item<'a, R: Read>(
        &self,
        source: &'a mut Source<R>,
        taken: &mut usize,
    ) -> Result<Option<Item<'a>>, ReadError> {
        let at = source.position();
        let cut = ReadError::Cut { at, what: "a packet" };
        let head = if self.modified { 24 } else { 16 };
        if !source.fill(head)? {
            return if source.data().is_empty() { Ok(None) } else { Err(cut) };
        }
        let bytes = source.data();
        let length = [bytes[8], bytes[9], bytes[10], bytes[11]];
        let length =
            if self.big_endian { u32::from_be_bytes(length) } else { u32::from_le_bytes(length) };
        let whole = head.saturating_add(length as usize);
        if whole > MAX_BLOCK {
            return Err(ReadError::Corrupt { at, what: "a packet has an impossible length" });
        }
        if !source.fill(whole)? {
            return Err(cut);
        }
        let parse = match (self.modified, self.big_endian) {
            (true, _) => parse_pcap_frame_modified,
            (false, true) => parse_pcap_frame_be,
            (false, false) => parse_pcap_frame,
        };
        let Ok((_, block)) = parse(&source.data()[..whole]) else {
            return Err(ReadError::Corrupt { at, what: "a packet can't be read" });
        };
        *taken = whole;
        Ok(Some(Item::Packet(self.packet(&block))))
    }

    fn packet<'a>(&self, block: &LegacyPcapBlock<'a>) -> Packet<'a> {
        let fraction = u64::from(block.ts_usec).saturating_mul(self.unit);
        Packet {
            time_ns: u64::from(block.ts_sec).saturating_mul(1_000_000_000).saturating_add(fraction),
            link: self.link,
            data: block.data,
            original_length: block.origlen,
        }
    }
}
