//! The messages of a handshake, as far as they matter to an onlooker: the randoms, what was
//! chosen, and where keys change.

use super::suites::Suite;
use super::version::Version;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(super) const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;

/// How much of a hello is kept; real ones have less than 2000 bytes.
const HELLO: usize = 4096;
/// The version and the random of a client's hello.
const CLIENT_HELLO_HEAD: usize = 34;
/// The random of a hello that asks for another client hello (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const ENCRYPT_THEN_MAC: u16 = 22;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

/// Cuts the handshake bytes of a direction into messages, whatever records they came in.
#[derive(Debug, Default)]
pub(super) struct Messages {
    head: Vec<u8>,
    /// The beginning of the body.
    body: Vec<u8>,
    /// How much of the body is still to come, once the head is complete.
    left: usize,
}

impl Messages {
    /// The next message that ends in `input`: its type, and the beginning of its body.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<(u8, Vec<u8>)> {
        if self.head.len() < 4 {
            let (now, later) = input.split_at(input.len().min(4 - self.head.len()));
            self.head.extend_from_slice(now);
            *input = later;
            let [_, a, b, c] = *self.head.first_chunk::<4>()?;
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        }
        let (now, later) = input.split_at(input.len().min(self.left));
        let kind = *self.head.first()?;
        let wanted = match kind {
            CLIENT_HELLO | SERVER_HELLO | ENCRYPTED_EXTENSIONS => HELLO,
            _ => 0,
        };
        let keep = wanted.saturating_sub(self.body.len());
        self.body.extend_from_slice(now.get(..keep).unwrap_or(now));
        self.left -= now.len();
        *input = later;
        if self.left > 0 {
            return None;
        }
        self.head.clear();
        Some((kind, std::mem::take(&mut self.body)))
    }
}

/// The random of a client's hello.
pub(super) fn client_random(body: &[u8]) -> Option<[u8; 32]> {
    body.get(2..CLIENT_HELLO_HEAD)?.try_into().ok()
}

/// Whether a client's hello says that early data follow.
pub(super) fn offers_early_data(body: &[u8]) -> bool {
    let extensions = || {
        let mut rest = body.get(CLIENT_HELLO_HEAD..)?;
        let [session] = take(&mut rest)?;
        rest = rest.get(usize::from(session)..)?;
        let suites = u16::from_be_bytes(take(&mut rest)?);
        rest = rest.get(usize::from(suites)..)?;
        let [compressions] = take(&mut rest)?;
        rest.get(usize::from(compressions)..)
    };
    extensions().is_some_and(has_early_data)
}

/// Whether the encrypted extensions of a server say that it takes the client's early data.
pub(super) fn has_early_data(mut extensions: &[u8]) -> bool {
    let mut found = || {
        let _length: [u8; 2] = take(&mut extensions)?;
        loop {
            if u16::from_be_bytes(take(&mut extensions)?) == EARLY_DATA {
                return Some(());
            }
            let length = u16::from_be_bytes(take(&mut extensions)?);
            extensions = extensions.get(usize::from(length)..)?;
        }
    };
    found().is_some()
}

/// What a server's hello says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) version: Version,
    pub(super) random: [u8; 32],
    pub(super) suite: Suite,
    pub(super) encrypt_then_mac: bool,
    pub(super) compresses: bool,
}

impl ServerHello {
    /// `None` when it is no hello.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let legacy = u16::from_be_bytes(take(&mut rest)?);
        let random: [u8; 32] = take(&mut rest)?;
        let [session] = take(&mut rest)?;
        rest = rest.get(usize::from(session)..)?;
        let suite = Suite(u16::from_be_bytes(take(&mut rest)?));
        let [compression] = take(&mut rest)?;
        let mut hello = Self {
            version: Version(legacy),
            random,
            suite,
            encrypt_then_mac: false,
            compresses: compression != 0,
        };
        if rest.is_empty() {
            return Some(hello); // extensions may be left out altogether
        }
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let mut extensions = rest.get(..length)?;
        while !extensions.is_empty() {
            let kind = u16::from_be_bytes(take(&mut extensions)?);
            let length = usize::from(u16::from_be_bytes(take(&mut extensions)?));
            let (data, later) = extensions.split_at_checked(length)?;
            extensions = later;
            match kind {
                ENCRYPT_THEN_MAC => hello.encrypt_then_mac = true,
                SUPPORTED_VERSIONS => {
                    hello.version = Version(u16::from_be_bytes(*data.first_chunk()?))
                }
                _ => {}
            }
        }
        Some(hello)
    }

    /// Whether it only asks for another client hello.
    pub(super) fn is_retry(&self) -> bool {
        self.random == RETRY
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (now, later) = bytes.split_first_chunk()?;
    *bytes = later;
    Some(*now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 0, 0]); // a session
        body.extend([0xc0, 0x2f, 0]);
        if !extensions.is_empty() {
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
        }
        body
    }

    #[test]
    fn a_hello_tells_what_was_chosen() {
        let plain = ServerHello::parse(&hello(&[])).expect("it is whole");
        assert_eq!(plain.version, Version::TLS12);
        assert_eq!(plain.suite, Suite(0xc02f));
        assert!(!plain.encrypt_then_mac && !plain.is_retry() && !plain.compresses);
        let extensions = [0, 22, 0, 0, 0xff, 1, 0, 1, 0, 0, 43, 0, 2, 3, 4];
        let other = ServerHello::parse(&hello(&extensions)).expect("it is whole");
        assert_eq!(other.version, Version::TLS13);
        assert!(other.encrypt_then_mac);
        assert_eq!(ServerHello::parse(&hello(&extensions[..12])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(body: Vec<u8>) {
            let _ = ServerHello::parse(&body);
            let _ = (client_random(&body), offers_early_data(&body), has_early_data(&body));
        }

        #[test]
        fn messages_come_whole_however_they_are_cut(size in 1usize..50) {
            let body = hello(&[]);
            let mut stream = vec![11, 0, 1, 0];
            stream.extend([0; 256]);
            stream.extend([SERVER_HELLO, 0, 0, body.len() as u8]);
            stream.extend(&body);
            stream.extend([14, 0, 0, 0]);
            let mut messages = Messages::default();
            let mut seen = Vec::new();
            for mut piece in stream.chunks(size) {
                while let Some(message) = messages.next(&mut piece) {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, [(11, vec![]), (SERVER_HELLO, body), (14, vec![])]);
        }
    }
}
