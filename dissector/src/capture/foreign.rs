//! Files that are no captures that can be read here, and what makes one of them.

use std::io;

use super::source::Source;

/// The longest of the first bytes below.
const LONGEST: usize = 12;

/// What such files begin with, and what to do.
const FORMATS: [(&[u8], &str); 16] = [
    (b"snoop\0\0\0", "\nhint: it is a snoop file: `editcap -F pcapng FILE NEW` converts it"),
    (b"RTSS", NETMON),
    (b"GMBU", NETMON),
    (b"\xaa\xaa\xaa\xaa", "\nhint: it is a 5Views file: `editcap -F pcapng FILE NEW` converts it"),
    (b"XCP\0", "\nhint: it is a NetXRay file: `editcap -F pcapng FILE NEW` converts it"),
    (b"TRSNIFF data", "\nhint: it is a Sniffer file: `editcap -F pcapng FILE NEW` converts it"),
    (b"iptrace ", "\nhint: it is an iptrace file: `editcap -F pcapng FILE NEW` converts it"),
    (b"\xfd7zXZ\0", "\nhint: it is compressed by xz: xz -dc FILE | nbdcheck decode -"),
    (b"BZh", "\nhint: it is compressed by bzip2: bzip2 -dc FILE | nbdcheck decode -"),
    (b"\x04\x22\x4d\x18", "\nhint: it is compressed by LZ4: lz4 -dc FILE | nbdcheck decode -"),
    (b"LZIP", "\nhint: it is compressed by lzip: lzip -dc FILE | nbdcheck decode -"),
    (b"\x1f\x9d", "\nhint: it is compressed by compress: gzip -dc FILE | nbdcheck decode -"),
    (b"PK\x03\x04", "\nhint: it is a zip archive: unzip -p FILE | nbdcheck decode -"),
    (b"7z\xbc\xaf\x27\x1c", "\nhint: it is a 7z archive: 7z x -so FILE | nbdcheck decode -"),
    (b"{", "\nhint: it looks like JSON, perhaps what was decoded of a capture"),
    (b"NBDMAGIC", "\nhint: it looks like bytes of a session without packets"),
];

const NETMON: &str =
    "\nhint: it is a Network Monitor file: `editcap -F pcapng FILE NEW` converts it";

/// ERF has no mark of its own, and is one of these.
const ANY: &str =
    "\nhint: `editcap -F pcapng FILE NEW` converts what Wireshark reads: ERF and others";

/// What a file seems to be that is no capture, by its first bytes.
pub(super) fn hint(source: &mut Source<'_>) -> io::Result<&'static str> {
    source.fill(LONGEST)?;
    let data = source.data();
    let known = FORMATS.iter().find(|(begins, _)| data.starts_with(begins));
    Ok(known.map_or(ANY, |(_, hint)| hint))
}
