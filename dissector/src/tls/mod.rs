//! Opens TLS with secrets that somebody logged: TLS 1.2 and 1.3, AES-GCM, AES-CCM, ChaCha20 and
//! AES-CBC.
//!
//! Sans-io: [`Connection::next`] takes the bytes of a direction and gives what is inside, record
//! by record, decrypted in place. A direction holds at most one record. What is not authentic is
//! never given out. All cryptography is that of *ring* and, for CBC and CCM, of RustCrypto.
//!
//! An onlooker needs little of the handshake: the randoms, by which secrets are found and (before
//! 1.3) keys derived, what the server chose, and where keys change. Certificates are not looked
//! at. Early data is counted and not opened.

mod derive;
mod handshake;
mod keylog;
mod keys;
mod opener;
mod record;
mod record_search;
mod suites;
#[cfg(test)]
pub(crate) mod tests;
mod version;
mod wait;

use std::fmt;
use std::ops::Range;

use protocol::message::{Both, Side};

use handshake::{Messages, ServerHello};
use keylog::{Lacking, Secret};
use opener::Opener;
use record::{NoRecord, Records};
use wait::Wait;

use crate::plural::Plural;

pub use keylog::{Growth, KeyLog};
pub use record_search::RecordSearch;
pub use suites::Suite;
pub use version::Version;

/// What the server chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The version.
    pub version: Version,
    /// The cipher suite.
    pub suite: Suite,
}

/// `1.3 TLS_AES_128_GCM_SHA256`
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.suite)
    }
}

/// What became known of a direction.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// The handshake is done and the application's first bytes were opened; they come next.
    Opened(Parameters),
    /// Bytes of the application.
    Data(&'a [u8]),
    /// The sender closed its direction within TLS.
    CloseNotify,
    /// The sender reported a fatal error, by its number in the registry of IANA.
    Alert(u8),
    /// The direction can't be followed any more.
    Stopped(Stop),
}

/// Why a direction can't be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// There are bytes that are not a TLS record.
    NoRecord {
        /// They begin the direction.
        first: bool,
        /// They are how a message of NBD begins.
        is_nbd: bool,
    },
    /// A record is not authentic: damaged, or the secrets are another connection's.
    Damaged,
    /// The handshake makes no sense.
    Handshake,
}

/// How the records of a direction are protected.
#[derive(Default)]
enum Protection {
    /// Not at all yet.
    #[default]
    Clear,
    /// With known keys.
    Open(Box<Opener>),
    /// With keys that are not known: records are only counted.
    Sealed,
    /// Not followed.
    Stopped,
}

/// Why records stay sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    NoKeys,
    /// There are others of the connection, and not these.
    Missing(Lacking),
    Unsupported,
    NoHello,
}

#[derive(Default)]
struct Direction {
    records: Records,
    messages: Messages,
    protection: Protection,
    /// TLS 1.3: the secret of what comes now.
    secret: Option<Secret>,
    /// TLS 1.3: the secret of what comes after the handshake.
    later: Option<Secret>,
    /// TLS 1.2: the keys of what comes after the change of cipher.
    ready: Option<Box<Opener>>,
    /// How many records came.
    count: u64,
    /// Content of the record at hand that was not given out yet.
    pending: Option<Range<usize>>,
}

/// What the client says before the server's hello (RFC 8446, 2.3), with keys of its own. Records of it
/// may still come after the hello.
#[derive(Debug, Default)]
struct Early {
    offered: bool,
    accepted: bool,
    records: u64,
    /// A record of the client was opened with the keys that come next.
    over: bool,
}

/// One TLS connection: both directions.
#[derive(Default)]
pub struct Connection {
    sides: Both<Direction>,
    client_random: Option<[u8; 32]>,
    server: Option<ServerHello>,
    opened: bool,
    sealed: u64,
    /// How many bytes of application data, as they come, were not opened.
    unopened: u64,
    reason: Option<Reason>,
    /// Of each direction, whether its first protected record was opened.
    fits: Both<Option<bool>>,
    wait: Wait,
    early: Early,
}

impl Early {
    /// Whether a record of the client that can't be opened may be early data.
    fn may_come(&self) -> bool {
        self.offered && !self.over
    }
}

impl Connection {
    /// A connection of which nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the server chose, as far as it was seen.
    #[must_use]
    pub fn parameters(&self) -> Option<Parameters> {
        self.server.map(|hello| Parameters { version: hello.version, suite: hello.suite })
    }

    /// Whether anything of the application was opened.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.opened
    }

    /// How many records came.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.sides.iter().map(|direction| direction.count).sum()
    }

    /// How many bytes came that may hold data of the application and were not opened.
    #[must_use]
    pub fn unopened(&self) -> u64 {
        self.unopened
    }

    /// Whether the server took early data of the client, which is not opened.
    #[must_use]
    pub fn lacks_early_data(&self) -> bool {
        self.early.accepted && self.early.records > 0
    }

    /// Whether a record of this direction is incomplete.
    #[must_use]
    pub fn is_amid_record(&self, side: Side) -> bool {
        self.sides[side].records.incomplete() > 0
    }

    /// Takes bytes that `from` sent until something is known, and gives that; `None` when all are
    /// taken, or when secrets have to be waited for ([`Connection::is_waiting`]). The secrets must
    /// be there when the server's hello comes, unless the log is growing.
    pub fn next<'a>(
        &'a mut self,
        from: Side,
        input: &mut &[u8],
        keys: &mut KeyLog,
    ) -> Option<Output<'a>> {
        let content = loop {
            if self.is_waiting() && self.awaits_secrets(keys) {
                return None;
            }
            let direction = &mut self.sides[from];
            if let Some(content) = direction.pending.take() {
                if let (false, Some(parameters)) = (self.opened, self.parameters()) {
                    self.opened = true;
                    self.sides[from].pending = Some(content);
                    return Some(Output::Opened(parameters));
                }
                break content;
            }
            if matches!(direction.protection, Protection::Stopped) {
                self.unopened += input.len() as u64;
                *input = &[];
                return None;
            }
            match direction.records.fill(input) {
                Ok(true) => direction.count += 1,
                Ok(false) => return None,
                Err(NoRecord { is_nbd }) => {
                    let first = direction.count == 0;
                    return Some(self.stop(from, Stop::NoRecord { first, is_nbd }));
                }
            }
            match self.record(from, keys) {
                Ok(None) => {}
                Ok(Some(output)) => return Some(output),
                Err(stop) => return Some(self.stop(from, stop)),
            }
        };
        let (_, record) = self.sides[from].records.record();
        Some(Output::Data(record.get(content).unwrap_or_default()))
    }

    /// Bytes of `from` are missing: the direction can't be followed any more.
    pub fn gap(&mut self, from: Side) {
        self.stop(from, Stop::Damaged);
    }

    fn stop(&mut self, from: Side, stop: Stop) -> Output<'static> {
        let direction = &mut self.sides[from];
        *direction = Direction { count: direction.count, ..Direction::default() };
        direction.protection = Protection::Stopped;
        Output::Stopped(stop)
    }

    /// Reads the record at hand.
    fn record(&mut self, from: Side, keys: &mut KeyLog) -> Result<Option<Output<'static>>, Stop> {
        let direction = &mut self.sides[from];
        let (header, body) = direction.records.record();
        let is_1_3 = self.server.is_some_and(|hello| hello.version == Version::TLS13);
        let (kind, content, opened) = match &mut direction.protection {
            // Version 1.3 sends records in the clear for old devices on the way, and alerts of a
            // side that could not make keys.
            _ if is_1_3 && header[0] == record::CHANGE_CIPHER_SPEC => return Ok(None),
            Protection::Open(_) if is_1_3 && header[0] == record::ALERT && body.len() == 2 => {
                (header[0], 0..body.len(), false)
            }
            Protection::Clear => (header[0], 0..body.len(), false),
            Protection::Open(opener) => match opener.open(header, body) {
                Ok(opened) => {
                    self.early.over |= from == Side::Client;
                    self.fits[from].get_or_insert(true);
                    (opened.kind, opened.content, true)
                }
                Err(_) if from == Side::Client && is_1_3 && self.early.may_come() => {
                    self.early.records += 1;
                    self.unopened += body.len() as u64;
                    self.rekey(from); // to begin at the first record again
                    return Ok(None);
                }
                Err(_) => {
                    self.fits[from].get_or_insert(false);
                    self.unopened += body.len() as u64;
                    return Err(Stop::Damaged);
                }
            },
            Protection::Sealed | Protection::Stopped => {
                self.sealed += 1;
                if header[0] == record::APPLICATION_DATA {
                    self.unopened += body.len() as u64;
                }
                return Ok(None);
            }
        };
        Ok(match kind {
            record::APPLICATION_DATA if opened => {
                direction.pending = (!content.is_empty()).then_some(content);
                None
            }
            record::APPLICATION_DATA
                if from == Side::Client && self.server.is_none() && self.early.may_come() =>
            {
                self.early.records += 1;
                self.unopened += content.len() as u64;
                None
            }
            // Before there are keys, or a server whose hello was not seen.
            record::APPLICATION_DATA => {
                self.unopened += content.len() as u64;
                self.seal(from, Reason::NoHello);
                self.sealed += 1;
                None
            }
            record::ALERT => match body.get(content) {
                Some([_, 0]) => Some(Output::CloseNotify),
                Some([2, number]) => Some(Output::Alert(*number)),
                _ => None,
            },
            record::CHANGE_CIPHER_SPEC => {
                self.change_cipher(from);
                None
            }
            record::HANDSHAKE => {
                self.handshake(from, content, keys)?;
                None
            }
            _ => None,
        })
    }

    fn handshake(
        &mut self,
        from: Side,
        content: Range<usize>,
        keys: &mut KeyLog,
    ) -> Result<(), Stop> {
        let direction = &mut self.sides[from];
        let Direction { records, messages, .. } = direction;
        let mut input = records.record().1.get(content).unwrap_or_default();
        // Few messages fit into a record; those of interest are handled after it is read.
        let mut seen = Vec::new();
        while let Some((kind, body)) = messages.next(&mut input) {
            if matches!(
                kind,
                handshake::CLIENT_HELLO
                    | handshake::SERVER_HELLO
                    | handshake::ENCRYPTED_EXTENSIONS
                    | handshake::FINISHED
                    | handshake::KEY_UPDATE
            ) {
                seen.push((kind, body));
            }
        }
        for (kind, body) in seen {
            match (kind, from) {
                (handshake::CLIENT_HELLO, Side::Client) => {
                    let random = handshake::client_random(&body).ok_or(Stop::Handshake)?;
                    self.client_random = Some(random);
                    self.early.offered |= handshake::offers_early_data(&body);
                }
                (handshake::ENCRYPTED_EXTENSIONS, Side::Server) => {
                    self.early.accepted = handshake::has_early_data(&body);
                }
                (handshake::SERVER_HELLO, Side::Server) => {
                    let hello = ServerHello::parse(&body).ok_or(Stop::Handshake)?;
                    if !hello.is_retry() {
                        self.server = Some(hello);
                        self.find_keys(&hello, keys);
                    }
                }
                (handshake::FINISHED, _) => self.finished(from),
                (handshake::KEY_UPDATE, _) => self.key_update(from),
                _ => {}
            }
        }
        Ok(())
    }

    /// What to tell of a connection that was not opened, or not to its end: `tls 1.3
    /// TLS_AES_128_GCM_SHA256, no keys: 120 records not opened`.
    #[must_use]
    pub fn sealed(&self) -> Option<String> {
        let Some(parameters) = self.parameters() else {
            let records = Plural(self.records(), "record");
            return (self.records() > 0).then(|| format!("tls, no hello of the server: {records}"));
        };
        let sealed = Plural(self.sealed + self.early.records, "record");
        let reason = match self.reason {
            None if self.fits == Both::new(Some(false), Some(false)) => {
                return Some(format!("tls {parameters}, the secrets do not fit: nothing opened"));
            }
            Some(Reason::NoKeys) => "no keys",
            Some(Reason::Missing(labels)) => {
                return Some(format!("tls {parameters}, no {labels}: {sealed} not opened"));
            }
            Some(Reason::Unsupported) => "which can't be opened",
            Some(Reason::NoHello) => "no hello of the client",
            None if self.opened && self.early.records > 0 => "early data",
            None if self.opened => return None,
            None => {
                let records = Plural(self.records(), "record");
                return Some(format!("tls {parameters}, ended within the handshake: {records}"));
            }
        };
        Some(format!("tls {parameters}, {reason}: {sealed} not opened"))
    }
}
