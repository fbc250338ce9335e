//! The newer format: sections of blocks, several interfaces in each.

use std::io::Read;

use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, SecretsType, parse_block_be, parse_block_le};

use super::LinkType;
use super::reader::{Item, MAX_BLOCK, Packet, ReadError};
use super::source::Source;

/// Section header block; the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// A section with more interfaces than this is corrupt.
const MAX_INTERFACES: usize = 65_536;

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    /// Packets were cut to this many bytes; 0 for never.
    snaplen: u32,
    /// Units of time a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

/// What the current section has said.
#[derive(Default)]
pub(super) struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// For packets without a time of their own.
    last_ns: u64,
}

impl PcapNg {
    /// Checks that the file begins with a section header.
    pub(super) fn check_head<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ReadError> {
        if !source.fill(12)? {
            return Err(ReadError::Cut { at: 0, what: "the section header" });
        }
        let magic = source.data()[8..].first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        if magic != BYTE_ORDER && magic.swap_bytes() != BYTE_ORDER {
            return Err(ReadError::NotACapture { hint: "" });
        }
        Ok(())
    }

    fn u32_at(&self, bytes: &[u8], at: usize) -> u32 {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        let word = word.unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    pub(super) fn next_item<'a, R: Read>(
        &mut self,
        source: &'a mut Source<R>,
        taken: &mut usize,
    ) -> Result<Option<Item<'a>>, ReadError> {
        loop {
            let at = source.position();
            let Some(whole) = self.next_block(source)? else {
                return Ok(None);
            };
            let bytes = &source.data()[..whole];
            match self.u32_at(bytes, 0) {
                ENHANCED_PACKET | SIMPLE_PACKET => break,
                SECRETS if self.u32_at(bytes, 8) == SecretsType::TlsKeyLog.0 => break,
                SECTION => self.interfaces.clear(),
                INTERFACE => self.interface(bytes, at)?,
                _ => {} // statistics, names, comments: nothing for us
            }
            source.consume(whole);
        }
        let at = source.position();
        // `next_block` has brought all of it in.
        *taken = self.u32_at(source.data(), 4) as usize;
        self.item(&source.data()[..*taken], at).map(Some)
    }

    /// Brings the next block into the buffer; gives its length. Skips blocks that are too large.
    fn next_block<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<usize>, ReadError> {
        loop {
            let at = source.position();
            let cut = ReadError::Cut { at, what: "a block" };
            if !source.fill(12)? {
                return if source.data().is_empty() { Ok(None) } else { Err(cut) };
            }
            let head = source.data();
            if self.u32_at(head, 0) == SECTION || self.u32_at(head, 0) == SECTION.swap_bytes() {
                let magic = head[8..].first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
                match magic {
                    BYTE_ORDER => self.big_endian = false,
                    m if m.swap_bytes() == BYTE_ORDER => self.big_endian = true,
                    _ => {
                        let what = "a section header has no byte-order magic";
                        return Err(ReadError::Corrupt { at, what });
                    }
                }
            }
            let length = self.u32_at(head, 4) as usize;
            if length < 12 || !length.is_multiple_of(4) {
                return Err(ReadError::Corrupt { at, what: "a block has an impossible length" });
            }
            if length > MAX_BLOCK {
                let kind = self.u32_at(head, 0);
                if matches!(kind, SIMPLE_PACKET | ENHANCED_PACKET | SECTION) {
                    let what = "a packet has an impossible length";
                    return Err(ReadError::Corrupt { at, what });
                }
                if !source.skip(length as u64)? {
                    return Err(cut);
                }
                continue;
            }
            return if source.fill(length)? { Ok(Some(length)) } else { Err(cut) };
        }
    }

    fn parse<'a>(&self, bytes: &'a [u8], at: u64) -> Result<Block<'a>, ReadError> {
        let parse = if self.big_endian { parse_block_be } else { parse_block_le };
        match parse(bytes) {
            Ok((_, block)) => Ok(block),
            Err(_) => Err(ReadError::Corrupt { at, what: "a block can't be read" }),
        }
    }

    fn interface(&mut self, bytes: &[u8], at: u64) -> Result<(), ReadError> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(ReadError::Corrupt { at, what: "a section has too many interfaces" });
        }
        if let Block::InterfaceDescription(block) = self.parse(bytes, at)? {
            self.interfaces.push(Interface {
                link: LinkType(block.linktype.0 as u32),
                snaplen: block.snaplen,
                resolution: resolution(block.if_tsresol),
                // The parser reads it as little-endian whatever the section is.
                offset: match self.big_endian {
                    true => block.if_tsoffset.swap_bytes(),
                    false => block.if_tsoffset,
                },
            });
        }
        Ok(())
    }

    fn item<'a>(&mut self, bytes: &'a [u8], at: u64) -> Result<Item<'a>, ReadError> {
        let no_interface =
            ReadError::Corrupt { at, what: "a packet names an interface that was not described" };
        match self.parse(bytes, at)? {
            Block::EnhancedPacket(block) => {
                let interface =
                    self.interfaces.get(block.if_id as usize).copied().ok_or(no_interface)?;
                let units = (u64::from(block.ts_high) << 32) | u64::from(block.ts_low);
                self.last_ns = nanoseconds(units, interface);
                // The parser keeps the padding with the data.
                let length = block.data.len().min(block.caplen as usize);
                Ok(Item::Packet(Packet {
                    time_ns: self.last_ns,
                    link: interface.link,
                    data: &block.data[..length],
                    original_length: block.origlen,
                }))
            }
            Block::SimplePacket(block) => {
                let interface = self.interfaces.first().copied().ok_or(no_interface)?;
                let mut length = block.data.len().min(block.orig_len() as usize);
                if interface.snaplen > 0 {
                    length = length.min(interface.snaplen as usize);
                }
                Ok(Item::Packet(Packet {
                    time_ns: self.last_ns,
                    link: interface.link,
                    data: &block.data[..length],
                    original_length: block.orig_len(),
                }))
            }
            Block::DecryptionSecrets(block) => {
                let length = block.data.len().min(block.secrets_len as usize);
                Ok(Item::TlsKeyLog(&block.data[..length]))
            }
            _ => Err(ReadError::Corrupt { at, what: "a block can't be read" }),
        }
    }
}

/// Units a second, from if_tsresol: a power of 10, or with the high bit of 2. (The parser's own
/// reading knows no power of 2.) Nonsense counts as microseconds, the default.
fn resolution(code: u8) -> u64 {
    let power = u32::from(code & 0x7f);
    let base: u64 = if code & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power).unwrap_or(1_000_000)
}

fn nanoseconds(units: u64, interface: Interface) -> u64 {
    let scaled = u128::from(units) * 1_000_000_000 / u128::from(interface.resolution);
    let scaled = i128::try_from(scaled).unwrap_or(i128::MAX);
    let shifted = scaled.saturating_add(i128::from(interface.offset) * 1_000_000_000);
    u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
}
