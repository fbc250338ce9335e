//! The classic format: a header and records.

use pcap_parser::parse_pcap_header;

use super::LinkType;
use super::item::{Item, MAX_BLOCK, Packet, ReadError};
use super::order::ByteOrder;
use super::source::Source;

/// What the file's header says.
pub(super) struct Pcap {
    link: LinkType,
    order: ByteOrder,
    /// Longer record headers, of a patched libpcap of old.
    modified: bool,
    /// Nanoseconds per unit of the time stamps' fraction.
    unit: u64,
}

impl Pcap {
    pub(super) fn new(source: &mut Source<'_>) -> Result<Self, ReadError> {
        if !source.fill(24)? {
            return Err(ReadError::Cut { at: 0, what: "the file header" });
        }
        let (_, header) =
            parse_pcap_header(source.data()).map_err(|_| ReadError::NotACapture { hint: "" })?;
        let pcap = Self {
            // The high bits tell about frame check sequences.
            link: LinkType(header.network.0.cast_unsigned() & 0xffff),
            order: ByteOrder { big_endian: header.is_bigendian() },
            modified: header.is_modified_format(),
            unit: if header.is_nanosecond_precision() { 1 } else { 1000 },
        };
        source.consume(header.size());
        Ok(pcap)
    }

    /// Length of a record's header, in bytes.
    fn head(&self) -> usize {
        if self.modified { 24 } else { 16 }
    }

    /// The length of a record that begins like this, in bytes, as it says itself.
    pub(super) fn length(&self, head: &[u8]) -> usize {
        self.head().saturating_add(self.order.u32_at(head, 8) as usize)
    }

    /// Brings the next record into the buffer; gives its length.
    pub(super) fn next_record(&self, source: &mut Source<'_>) -> Result<Option<usize>, ReadError> {
        let at = source.position();
        let cut = ReadError::Cut { at, what: "a packet" };
        if !source.fill(self.head())? {
            return if source.data().is_empty() { Ok(None) } else { Err(cut) };
        }
        let whole = self.length(source.data());
        if whole > MAX_BLOCK {
            return Err(ReadError::Corrupt { at, what: "a packet has an impossible length" });
        }
        if source.fill(whole)? { Ok(Some(whole)) } else { Err(cut) }
    }

    /// Takes a record apart.
    pub(super) fn item<'a>(&self, record: &'a [u8]) -> Item<'a> {
        let seconds = u64::from(self.order.u32_at(record, 0)).saturating_mul(1_000_000_000);
        let fraction = u64::from(self.order.u32_at(record, 4)).saturating_mul(self.unit);
        Item::Packet(Packet {
            time_ns: seconds.saturating_add(fraction),
            link: self.link,
            data: record.get(self.head()..).unwrap_or_default(),
            original_length: self.order.u32_at(record, 12),
        })
    }
}
