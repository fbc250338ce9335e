//! The newer format: sections of blocks, several interfaces in each.

use pcap_parser::{Block, SecretsType, parse_block_be, parse_block_le};

use super::LinkType;
use super::item::{Item, MAX_BLOCK, Packet, ReadError};
use super::order::ByteOrder;
use super::source::Source;

/// Section header block; the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
/// What came before enhanced packets.
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// How many packets of the interface were lost since the one before (`epb_dropcount`).
const PACKET_DROPPED: u16 = 4;
/// How many the interface lost (`isb_ifdrop`), and the system (`isb_osdrop`).
const INTERFACE_DROPPED: u16 = 5;
const SYSTEM_DROPPED: u16 = 7;
/// A section with more interfaces than this is corrupt.
const MAX_INTERFACES: usize = 65_536;

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    /// Packets were cut to this many bytes; 0 for never.
    snaplen: u32,
    /// Units of time a second.
    resolution: u64,
    /// Nanoseconds a unit, where that is a whole number.
    unit: Option<u64>,
    /// Seconds to add.
    offset: i64,
    /// How many packets were lost, as its statistics say, and as its packets say.
    dropped: [u64; 2],
}

/// What the current section has said.
#[derive(Default)]
pub(super) struct PcapNg {
    order: ByteOrder,
    interfaces: Vec<Interface>,
    /// For packets without a time of their own.
    last_ns: u64,
    /// How many packets were lost on the interfaces of the sections before.
    dropped: u64,
}

impl PcapNg {
    /// Checks that the file begins with a section header.
    pub(super) fn check_head(&mut self, source: &mut Source<'_>) -> Result<(), ReadError> {
        if !source.fill(12)? {
            return Err(ReadError::Cut { at: 0, what: "the section header" });
        }
        let magic = ByteOrder { big_endian: false }.u32_at(source.data(), 8);
        if magic != BYTE_ORDER && magic.swap_bytes() != BYTE_ORDER {
            return Err(ReadError::NotACapture { hint: "" });
        }
        Ok(())
    }

    /// The length of a block that begins like this, in bytes, as it says itself; 0 where it does not.
    pub(super) fn length(&self, head: &[u8]) -> usize {
        self.order.u32_at(head, 4) as usize
    }

    /// Brings the next packet or secret into the buffer; gives the length of its block.
    #[inline]
    pub(super) fn next_record(
        &mut self,
        source: &mut Source<'_>,
    ) -> Result<Option<usize>, ReadError> {
        loop {
            let at = source.position();
            let Some(whole) = self.next_block(source)? else {
                return Ok(None);
            };
            let bytes = source.data().get(..whole).unwrap_or_default();
            match self.order.u32_at(bytes, 0) {
                ENHANCED_PACKET | SIMPLE_PACKET | OLD_PACKET => return Ok(Some(whole)),
                SECRETS if self.order.u32_at(bytes, 8) == SecretsType::TlsKeyLog.0 => {
                    return Ok(Some(whole));
                }
                SECTION => {
                    self.dropped = self.dropped();
                    self.interfaces.clear();
                }
                STATISTICS => self.statistics(whole, source),
                INTERFACE => self.interface(bytes, at)?,
                _ => {} // statistics, names, comments: nothing for us
            }
            source.consume(whole);
        }
    }

    /// Brings the next block into the buffer; gives its length. Skips blocks that are too large.
    #[inline]
    fn next_block(&mut self, source: &mut Source<'_>) -> Result<Option<usize>, ReadError> {
        loop {
            let at = source.position();
            let cut = ReadError::Cut { at, what: "a block" };
            if !source.fill(12)? {
                return if source.data().is_empty() { Ok(None) } else { Err(cut) };
            }
            let head = source.data();
            if self.order.u32_at(head, 0) == SECTION
                || self.order.u32_at(head, 0) == SECTION.swap_bytes()
            {
                let magic = ByteOrder { big_endian: false }.u32_at(head, 8);
                match magic {
                    BYTE_ORDER => self.order.big_endian = false,
                    m if m.swap_bytes() == BYTE_ORDER => self.order.big_endian = true,
                    _ => {
                        let what = "a section header has no byte-order magic";
                        return Err(ReadError::Corrupt { at, what });
                    }
                }
            }
            let length = self.length(head);
            if length < 12 || !length.is_multiple_of(4) {
                return Err(ReadError::Corrupt { at, what: "a block has an impossible length" });
            }
            if length > MAX_BLOCK {
                let kind = self.order.u32_at(head, 0);
                if matches!(kind, SIMPLE_PACKET | ENHANCED_PACKET | OLD_PACKET | SECTION) {
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
        let parse = if self.order.big_endian { parse_block_be } else { parse_block_le };
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
            let resolution = resolution(block.if_tsresol);
            self.interfaces.push(Interface {
                link: LinkType(block.linktype.0.cast_unsigned()),
                snaplen: block.snaplen,
                resolution,
                unit: 1_000_000_000_u64
                    .is_multiple_of(resolution)
                    .then(|| 1_000_000_000 / resolution),
                // The parser reads it as little-endian whatever the section is.
                offset: match self.order.big_endian {
                    true => block.if_tsoffset.swap_bytes(),
                    false => block.if_tsoffset,
                },
                dropped: [0; 2],
            });
        }
        Ok(())
    }

    /// Takes a block apart that [`PcapNg::next_record`] found.
    #[inline]
    pub(super) fn item<'a>(&mut self, bytes: &'a [u8], at: u64) -> Result<Item<'a>, ReadError> {
        let unreadable = ReadError::Corrupt { at, what: "a block can't be read" };
        if self.order.u32_at(bytes, bytes.len() - 4) as usize != bytes.len() {
            return Err(unreadable);
        }
        let kind = self.order.u32_at(bytes, 0);
        // Behind its fixed fields, before the length at its end; padding and options included.
        let head = match kind {
            SIMPLE_PACKET => 12,
            SECRETS => 16,
            _ => 28,
        };
        let Some(body) = bytes.get(head..bytes.len() - 4) else { return Err(unreadable) };
        let interface = match kind {
            SECRETS => {
                let length = self.order.u32_at(bytes, 12) as usize;
                return Ok(Item::TlsKeyLog(body.get(..length).unwrap_or(body)));
            }
            SIMPLE_PACKET => 0,
            OLD_PACKET => usize::from(self.order.u16_at(bytes, 8)),
            _ => self.order.u32_at(bytes, 8) as usize,
        };
        let Some(interface) = self.interfaces.get(interface) else {
            // Neither its time nor its headers can be known.
            let (time_ns, link) = (self.last_ns, LinkType::UNDESCRIBED);
            let packet = Packet { time_ns, link, data: &[], original_length: 0 };
            return Ok(Item::Packet(packet));
        };
        let (captured, original_length) = if kind == SIMPLE_PACKET {
            let length = self.order.u32_at(bytes, 8);
            let limit = if interface.snaplen > 0 { interface.snaplen } else { u32::MAX };
            (length.min(limit), length)
        } else {
            let high = u64::from(self.order.u32_at(bytes, 12)) << 32;
            self.last_ns = nanoseconds(high | u64::from(self.order.u32_at(bytes, 16)), interface);
            (self.order.u32_at(bytes, 20), self.order.u32_at(bytes, 24))
        };
        let link = interface.link;
        let end = body.len().min(captured as usize);
        let options = body.get(end.next_multiple_of(4)..).unwrap_or_default();
        if kind == ENHANCED_PACKET && !options.is_empty() {
            let lost = self.option(options, PACKET_DROPPED).unwrap_or(0);
            let number = self.order.u32_at(bytes, 8) as usize;
            if let Some(interface) = self.interfaces.get_mut(number) {
                interface.dropped[1] = interface.dropped[1].saturating_add(lost);
            }
        }
        Ok(Item::Packet(Packet {
            time_ns: self.last_ns,
            link,
            data: body.get(..end).unwrap_or_default(),
            original_length,
        }))
    }

    /// How many packets were lost while the capture was made, as far as it says.
    pub(super) fn dropped(&self) -> u64 {
        // Statistics and packets may tell of the same ones.
        let each =
            self.interfaces.iter().map(|interface| interface.dropped[0].max(interface.dropped[1]));
        each.fold(self.dropped, u64::saturating_add)
    }

    /// Interface statistics: the latest ones count, from the beginning of the capture.
    fn statistics(&mut self, whole: usize, source: &Source<'_>) {
        let bytes = source.data().get(..whole).unwrap_or_default();
        let number = self.order.u32_at(bytes, 8) as usize;
        let options = bytes.get(20..whole - 4).unwrap_or_default();
        let lost = [INTERFACE_DROPPED, SYSTEM_DROPPED]
            .into_iter()
            .filter_map(|code| self.option(options, code))
            .fold(0, u64::saturating_add);
        if let Some(interface) = self.interfaces.get_mut(number) {
            interface.dropped[0] = lost;
        }
    }

    /// The number in an option of 8 bytes.
    fn option(&self, mut options: &[u8], wanted: u16) -> Option<u64> {
        // Each takes 4 bytes at least, so that this ends.
        while options.len() >= 4 {
            let (code, length) = (self.order.u16_at(options, 0), self.order.u16_at(options, 2));
            if code == 0 {
                return None;
            }
            if code == wanted && length == 8 && options.len() >= 12 {
                let words = [self.order.u32_at(options, 4), self.order.u32_at(options, 8)];
                let [low, high] = if self.order.big_endian { [words[1], words[0]] } else { words };
                return Some(u64::from(high) << 32 | u64::from(low));
            }
            options = options.get(4 + usize::from(length).next_multiple_of(4)..)?;
        }
        None
    }
}

/// Units a second, from if_tsresol: a power of 10, or with the high bit of 2. (The parser's own
/// reading knows no power of 2.) Nonsense counts as microseconds, the default.
fn resolution(code: u8) -> u64 {
    let power = u32::from(code & 0x7f);
    let base: u64 = if code & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power).unwrap_or(1_000_000)
}

fn nanoseconds(units: u64, interface: &Interface) -> u64 {
    if let Some(unit) = interface.unit
        && interface.offset == 0
    {
        return units.saturating_mul(unit);
    }
    let scaled = u128::from(units) * 1_000_000_000 / u128::from(interface.resolution);
    let scaled = i128::try_from(scaled).unwrap_or(i128::MAX);
    let shifted = scaled.saturating_add(i128::from(interface.offset) * 1_000_000_000);
    u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
}
