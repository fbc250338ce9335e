//! The secrets of connections, in the format of `SSLKEYLOGFILE` ("NSS key log").

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, Read as _};

use protocol::message::{Both, Side};

/// How many connections' secrets are kept; beyond that the oldest are dropped.
const MAX_CONNECTIONS: usize = 1 << 16;
/// So much of a log is read without a secret in it, in bytes.
const MAX_IDLE: usize = 16 << 20;
/// Longer lines are no secrets.
const MAX_LINE: usize = 1024;

const MASTER: &str = "CLIENT_RANDOM";
const CLIENT_HANDSHAKE: &str = "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
const SERVER_HANDSHAKE: &str = "SERVER_HANDSHAKE_TRAFFIC_SECRET";
const CLIENT_TRAFFIC: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_TRAFFIC: &str = "SERVER_TRAFFIC_SECRET_0";

/// A secret: up to 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret {
    bytes: [u8; 48],
    length: usize,
}

impl Secret {
    /// `None` when it is too long.
    pub(super) fn new(secret: &[u8]) -> Option<Self> {
        let mut bytes = [0; 48];
        bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Self { bytes, length: secret.len() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The secrets of a connection that are missing where others are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacking {
    /// Of TLS 1.2.
    Master,
    /// Of TLS 1.3: which, in the order of [`TRAFFIC_LABELS`].
    Traffic([bool; 4]),
}

const TRAFFIC_LABELS: [&str; 4] =
    [CLIENT_HANDSHAKE, SERVER_HANDSHAKE, CLIENT_TRAFFIC, SERVER_TRAFFIC];

/// As "LABEL, no LABEL", to stand after "no ".
impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Traffic(missing) = self else { return f.write_str(MASTER) };
        let labels = TRAFFIC_LABELS.iter().zip(missing).filter(|(_, missing)| **missing);
        for (index, (label, _)) in labels.enumerate() {
            write!(f, "{}{label}", if index > 0 { ", no " } else { "" })?;
        }
        Ok(())
    }
}

/// What is known of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets {
    /// Before TLS 1.3.
    pub(super) master: Option<Secret>,
    /// TLS 1.3, of each side.
    pub(super) handshake: Both<Option<Secret>>,
    pub(super) application: Both<Option<Secret>>,
    used: bool,
}

impl Secrets {
    /// TLS 1.3: of client and server, for the handshake and what comes after it; all or nothing.
    ///
    /// # Errors
    /// Which are missing.
    pub(super) fn traffic(&self) -> Result<[[Secret; 2]; 2], Lacking> {
        let (client, server) = (Side::Client, Side::Server);
        let first = [self.handshake[client], self.handshake[server]];
        let later = [self.application[client], self.application[server]];
        match (first, later) {
            ([Some(client), Some(server)], [Some(client_later), Some(server_later)]) => {
                Ok([[client, client_later], [server, server_later]])
            }
            ([a, b], [c, d]) => Err(Lacking::Traffic([a, b, c, d].map(|secret| secret.is_none()))),
        }
    }

    /// As lines of a log.
    fn write(&self, random: &[u8; 32], out: &mut String) {
        let (client, server) = (Side::Client, Side::Server);
        for (label, secret) in [
            (MASTER, self.master),
            (CLIENT_HANDSHAKE, self.handshake[client]),
            (SERVER_HANDSHAKE, self.handshake[server]),
            (CLIENT_TRAFFIC, self.application[client]),
            (SERVER_TRAFFIC, self.application[server]),
        ] {
            if let Some(secret) = secret {
                let _ = writeln!(out, "{label} {} {}", Hex(random), Hex(secret.bytes()));
            }
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether secrets may come after a connection has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Growth {
    /// They were all there before.
    #[default]
    Never,
    /// They come among the packets: a connection waits for them until its last packet, at most.
    AmongPackets,
    /// They come as time goes by, and so may come after the last packet of a connection.
    AnyTime,
}

/// Secrets by the random of the client's hello.
#[derive(Debug, Clone, Default)]
pub struct KeyLog {
    connections: HashMap<[u8; 32], Secrets>,
    /// The connections in the order in which they were logged.
    order: VecDeque<[u8; 32]>,
    /// Those whose secrets were used and not taken.
    used: Vec<[u8; 32]>,
    growth: Growth,
}

impl KeyLog {
    /// Adds the secrets of a log; gives how many there were. Lines that are not understood, as
    /// those of other tools and of later versions, are passed over.
    pub fn add(&mut self, log: &[u8]) -> usize {
        log.split(|byte| *byte == b'\n').filter(|line| self.line(line).is_some()).count()
    }

    /// Whether a line is one of a key log, also with a secret that opens no session, such as one for
    /// early data: all that a program logs whose handshake fails.
    #[must_use]
    pub fn is_of_a_log(line: &[u8]) -> bool {
        let words: Vec<_> =
            line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty()).collect();
        let is_label = |label: &[u8]| {
            label.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        };
        match words[..] {
            [label, random, secret] => {
                is_label(label)
                    && hex(random).is_some_and(|random| random.length == 32)
                    && hex(secret).is_some()
            }
            _ => false,
        }
    }

    /// Adds the secrets of a log of any size, as [`KeyLog::add`] does.
    ///
    /// # Errors
    /// Reading fails, or there is no secret in 16 MiB, as in a device that never ends.
    pub fn read(&mut self, mut log: impl BufRead) -> io::Result<usize> {
        let mut found = 0;
        let mut idle = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            log.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(found);
            }
            let new = self.add(&line);
            found += new;
            idle = if new > 0 { 0 } else { idle + line.len() };
            if idle > MAX_IDLE {
                let text = "not a key log: 16 MiB in a row without a secret";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }

    /// More secrets may come, so that connections without any wait for them.
    pub fn set_growth(&mut self, growth: Growth) {
        self.growth = growth;
    }

    /// Whether more secrets may come.
    #[must_use]
    pub fn growth(&self) -> Growth {
        self.growth
    }

    /// The secrets of connections that have been opened with them since this was last asked, as lines
    /// of a log.
    pub fn take_used(&mut self) -> String {
        let mut lines = String::new();
        for random in std::mem::take(&mut self.used) {
            if let Some(secrets) = self.connections.get(&random) {
                secrets.write(&random, &mut lines);
            }
        }
        lines
    }

    /// How many connections' secrets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are no secrets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(super) fn find(&self, client_random: &[u8; 32]) -> Option<&Secrets> {
        self.connections.get(client_random)
    }

    /// A connection is opened with its secrets.
    pub(super) fn set_used(&mut self, client_random: &[u8; 32]) {
        if self.used.len() < MAX_CONNECTIONS
            && let Some(secrets) = self.connections.get_mut(client_random)
            && !std::mem::replace(&mut secrets.used, true)
        {
            self.used.push(*client_random);
        }
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        let mut words =
            line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let label = words.next()?;
        let random: [u8; 32] = hex(words.next()?)?.bytes().try_into().ok()?;
        let secret = hex(words.next()?)?;
        let place: fn(&mut Secrets) -> &mut Option<Secret> = match (label, secret.length) {
            (b"CLIENT_RANDOM", 48) => |secrets| &mut secrets.master,
            (b"CLIENT_HANDSHAKE_TRAFFIC_SECRET", 32 | 48) => {
                |secrets| &mut secrets.handshake[Side::Client]
            }
            (b"SERVER_HANDSHAKE_TRAFFIC_SECRET", 32 | 48) => {
                |secrets| &mut secrets.handshake[Side::Server]
            }
            (b"CLIENT_TRAFFIC_SECRET_0", 32 | 48) => {
                |secrets| &mut secrets.application[Side::Client]
            }
            (b"SERVER_TRAFFIC_SECRET_0", 32 | 48) => {
                |secrets| &mut secrets.application[Side::Server]
            }
            _ => return None,
        };
        if !self.connections.contains_key(&random) {
            if self.connections.len() == MAX_CONNECTIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.connections.remove(&oldest);
            }
            self.order.push_back(random);
        }
        *place(self.connections.entry(random).or_default()) = Some(secret);
        Some(())
    }
}

fn hex(digits: &[u8]) -> Option<Secret> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let mut bytes = [0; 48];
    for (at, [high, low]) in pairs.iter().enumerate() {
        *bytes.get_mut(at)? = digit(*high)? << 4 | digit(*low)?;
    }
    Some(Secret { bytes, length: pairs.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_never_ends_and_holds_no_secret_is_given_up() {
        let endless = io::BufReader::new(io::repeat(0));
        let error = KeyLog::default().read(endless).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    fn line(label: &str, random: u8, secret: u8, length: usize) -> String {
        let hex = |byte: u8, count: usize| format!("{byte:02x}").repeat(count);
        format!("{label} {} {}\n", hex(random, 32), hex(secret, length))
    }

    #[test]
    fn secrets_are_found_by_the_random_of_the_client() {
        let mut log = KeyLog::default();
        let lines = [
            "# a comment\n".to_owned(),
            line("CLIENT_RANDOM", 1, 0xaa, 48),
            line("SERVER_HANDSHAKE_TRAFFIC_SECRET", 2, 0xbb, 32),
            line("CLIENT_TRAFFIC_SECRET_0", 2, 0xcc, 48).replace('\n', "\r\n"),
            line("EXPORTER_SECRET", 2, 0xdd, 32),
            line("CLIENT_RANDOM", 3, 0xaa, 47),
            line("CLIENT_RANDOM", 3, 0xaa, 49),
            line("CLIENT_RANDOM", 3, 0xaa, 48).replace('a', "g"),
            "CLIENT_RANDOM\nRSA 00 11\n\n".to_owned(),
        ];
        let lines = lines.concat();
        assert_eq!(log.add(lines.as_bytes()), 3);
        assert_eq!(log.len(), 2);
        let first = log.find(&[1; 32]).expect("it was logged");
        assert_eq!(first.master, Secret::new(&[0xaa; 48]));
        let second = log.find(&[2; 32]).expect("it was logged");
        assert_eq!(*second.handshake.as_array(), [None, Secret::new(&[0xbb; 32])]);
        assert_eq!(*second.application.as_array(), [Secret::new(&[0xcc; 48]), None]);
        let of_a_log = lines.split('\n').filter(|line| KeyLog::is_of_a_log(line.as_bytes()));
        assert_eq!(of_a_log.count(), 5); // the exporter's, and one that is too short
        let mut read = KeyLog::default();
        assert_eq!(read.read(lines.as_bytes()).ok(), Some(3));
        assert!(!format!("{log:?}").contains("aa"));
    }

    #[test]
    fn used_secrets_are_given_as_they_were_logged() {
        let mut log = KeyLog::default();
        let lines =
            [line("CLIENT_RANDOM", 1, 0xaa, 48), line("SERVER_TRAFFIC_SECRET_0", 2, 0xcc, 32)];
        log.add(lines.concat().as_bytes());
        assert_eq!(log.take_used(), "");
        log.set_used(&[2; 32]);
        assert_eq!(log.take_used(), lines[1]);
        for random in [2, 3, 1, 1] {
            log.set_used(&[random; 32]);
        }
        assert_eq!(log.take_used(), lines[0]);
    }

    #[test]
    fn the_oldest_secrets_are_dropped_when_there_are_too_many() {
        let mut log = KeyLog::default();
        for number in 0..=MAX_CONNECTIONS {
            let random = format!("{number:064x}");
            log.add(format!("CLIENT_RANDOM {random} {}\n", "ab".repeat(48)).as_bytes());
        }
        let random = |number: usize| {
            let mut random = [0; 32];
            random[28..].copy_from_slice(&(number as u32).to_be_bytes());
            random
        };
        assert_eq!((log.len(), log.order.len()), (MAX_CONNECTIONS, MAX_CONNECTIONS));
        assert!(log.find(&random(0)).is_none());
        assert!(log.find(&random(1)).is_some() && log.find(&random(MAX_CONNECTIONS)).is_some());
    }

    proptest! {
        #[test]
        fn anything_can_be_read(log: Vec<u8>) {
            KeyLog::default().add(&log);
        }

        #[test]
        fn damaged_lines_do_no_harm(at in 0usize..150, byte: u8) {
            let mut log = line("CLIENT_RANDOM", 1, 2, 48).into_bytes();
            log[at] = byte;
            let mut keys = KeyLog::default();
            prop_assert!(keys.add(&log) <= 1);
            prop_assert!(keys.len() <= 1);
        }
    }
}
