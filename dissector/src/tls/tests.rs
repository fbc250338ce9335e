//! Connections of OpenSSL and rustls, in memory, opened with what they log.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use openssl::ssl::{
    HandshakeError, SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslOptions, SslStream,
    SslVerifyMode, SslVersion,
};
use proptest::prelude::*;

use super::*;

type Pipe = Arc<Mutex<Vec<u8>>>;
/// Who sent what, in order.
pub(crate) type Talk = Vec<(Side, Vec<u8>)>;

const KEY: &[u8] = b"0123456789abcdef";

/// One end of a connection in memory.
#[derive(Debug)]
struct End {
    side: Side,
    from: Pipe,
    to: Pipe,
    talk: Arc<Mutex<Talk>>,
}

impl Read for End {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut from = self.from.lock().expect("no test panics with it");
        if from.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = from.len().min(out.len());
        out[..count].copy_from_slice(&from[..count]);
        from.drain(..count);
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.lock().expect("no test panics with it").extend_from_slice(bytes);
        self.talk.lock().expect("no test panics with it").push((self.side, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a connection of OpenSSL is made.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    /// In OpenSSL's words.
    cipher: &'static str,
    encrypt_then_mac: bool,
    /// The server wants another key share than the client's first.
    retry: bool,
    /// How keys are agreed, in OpenSSL's words, if that matters.
    groups: Option<&'static str>,
}

impl Choice {
    pub(crate) const fn new(cipher: &'static str) -> Self {
        Self { cipher, encrypt_then_mac: true, retry: false, groups: None }
    }

    fn apply(self, builder: &mut SslContextBuilder, log: &Pipe) {
        let log = log.clone();
        builder.set_keylog_callback(move |_, line| {
            let mut log = log.lock().expect("no test panics with it");
            log.extend_from_slice(line.as_bytes());
            log.push(b'\n');
        });
        builder.set_security_level(0);
        builder.set_verify(SslVerifyMode::NONE);
        let version = if self.cipher.starts_with("TLS_") {
            builder.set_ciphersuites(self.cipher).expect("OpenSSL knows it");
            SslVersion::TLS1_3
        } else {
            builder.set_cipher_list(self.cipher).expect("OpenSSL knows it");
            SslVersion::TLS1_2
        };
        builder.set_min_proto_version(Some(version)).expect("OpenSSL knows it");
        builder.set_max_proto_version(Some(version)).expect("OpenSSL knows it");
        if !self.encrypt_then_mac {
            // SSL_OP_NO_ENCRYPT_THEN_MAC
            builder.set_options(SslOptions::from_bits_retain(1 << 19));
        }
        if let Some(groups) = self.groups {
            builder.set_groups_list(groups).expect("OpenSSL knows them");
        }
    }
}

/// Self-signed; for RSA key exchange too.
fn certificate() -> (openssl::x509::X509, openssl::pkey::PKey<openssl::pkey::Private>) {
    use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, x509::X509};
    let key = PKey::from_rsa(Rsa::generate(2048).expect("it can")).expect("it is a key");
    let mut builder = X509::builder().expect("there is memory");
    builder.set_pubkey(&key).expect("it is a key");
    let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&from.expect("it is a date")).expect("it is a date");
    builder.set_not_after(&to.expect("it is a date")).expect("it is a date");
    builder.sign(&key, MessageDigest::sha256()).expect("it can be signed");
    (builder.build(), key)
}

/// A connection on which both sides say something; what was sent, and the key log.
fn talk(choice: Choice) -> (Talk, Vec<u8>) {
    let said = [
        (Side::Client, b"from the client".to_vec()),
        (Side::Server, vec![0x5a; 40_000]),
        (Side::Client, vec![0xa5; 1000]),
    ];
    say(choice, &said)
}

/// What two parties that say this send, and the key log. The client closes in order.
pub(crate) fn say(choice: Choice, said: &[(Side, Vec<u8>)]) -> (Talk, Vec<u8>) {
    let (log, talk) = (Pipe::default(), Arc::new(Mutex::new(Talk::new())));
    let (to_server, to_client) = (Pipe::default(), Pipe::default());
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("it can");
    let (certificate, key) = certificate();
    acceptor.set_certificate(&certificate).expect("they fit");
    acceptor.set_private_key(&key).expect("they fit");
    acceptor.set_psk_server_callback(|_, _, key| {
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    choice.apply(&mut acceptor, &Pipe::default());
    let mut connector = SslConnector::builder(SslMethod::tls()).expect("it can");
    connector.set_psk_client_callback(|_, _, identity, key| {
        identity[..2].copy_from_slice(b"a\0");
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    choice.apply(&mut connector, &log);
    if choice.retry {
        acceptor.set_groups_list("P-384").expect("OpenSSL knows it");
        connector.set_groups_list("X25519:P-384").expect("OpenSSL knows them");
    }
    let mut connect = connector.build().configure().expect("it can");
    connect.set_verify_hostname(false);
    let end = |side, from: &Pipe, to: &Pipe| End {
        side,
        from: from.clone(),
        to: to.clone(),
        talk: talk.clone(),
    };
    let mut client = connect.connect("localhost", end(Side::Client, &to_client, &to_server));
    let mut server = acceptor.build().accept(end(Side::Server, &to_server, &to_client));
    for _ in 0..10 {
        client = match client {
            Err(HandshakeError::WouldBlock(amid)) => amid.handshake(),
            done => done,
        };
        server = match server {
            Err(HandshakeError::WouldBlock(amid)) => amid.handshake(),
            done => done,
        };
    }
    let mut client = client.expect("the handshake succeeds");
    let mut server = server.expect("the handshake succeeds");
    let drain = |stream: &mut SslStream<End>| {
        let mut buffer = [0; 1 << 16];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    };
    for (from, bytes) in said {
        let (sender, receiver) = match from {
            Side::Client => (&mut client, &mut server),
            Side::Server => (&mut server, &mut client),
        };
        sender.write_all(bytes).expect("memory takes it");
        drain(receiver);
    }
    let _ = client.shutdown();
    let talk = talk.lock().expect("no test panics with it").clone();
    let log = log.lock().expect("no test panics with it").clone();
    (talk, log)
}

/// What an onlooker makes of it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    opened: Option<Parameters>,
    data: [Vec<u8>; 2],
    closed: [bool; 2],
    stopped: [Option<Stop>; 2],
}

fn look(talk: &[(Side, Vec<u8>)], keys: &KeyLog, piece: usize) -> (Seen, Connection) {
    let mut connection = Connection::new();
    let keys = &mut keys.clone();
    let mut seen = Seen::default();
    for (from, bytes) in talk {
        let side = *from as usize;
        for mut input in bytes.chunks(piece) {
            while let Some(output) = connection.next(*from, &mut input, keys) {
                match output {
                    Output::Opened(parameters) => seen.opened = Some(parameters),
                    Output::Data(bytes) => seen.data[side].extend_from_slice(bytes),
                    Output::CloseNotify => seen.closed[side] = true,
                    Output::Alert(number) => panic!("alert {number}"),
                    Output::Stopped(stop) => seen.stopped[side] = Some(stop),
                }
            }
        }
    }
    (seen, connection)
}

fn keys(log: &[u8]) -> KeyLog {
    let mut keys = KeyLog::default();
    keys.add(log);
    keys
}

fn check(choice: Choice, version: Version) {
    let (talk, log) = talk(choice);
    for piece in [1 << 20, 7] {
        let (seen, connection) = look(&talk, &keys(&log), piece);
        let opened = seen.opened.unwrap_or_else(|| panic!("{}: not opened", choice.cipher));
        assert_eq!(opened.version, version);
        assert!(opened.suite.name().is_some(), "{}", choice.cipher);
        assert_eq!(seen.stopped, [None; 2], "{}", choice.cipher);
        assert_eq!(seen.data[0], [&b"from the client"[..], &[0xa5; 1000]].concat());
        assert_eq!(seen.data[1], [0x5a; 40_000]);
        assert!(seen.closed[0], "{}", choice.cipher);
        assert_eq!(connection.sealed(), None);
    }
    // Without the secrets it is counted and named.
    let (seen, connection) = look(&talk, &KeyLog::default(), 1 << 20);
    assert_eq!(seen, Seen::default());
    let text = connection.sealed().expect("it was not opened");
    assert!(text.starts_with(&format!("tls {version} TLS_")) && text.contains(", no keys: "));
}

#[test]
fn tls_1_3_opens() {
    for cipher in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    ] {
        check(Choice::new(cipher), Version::TLS13);
    }
    check(Choice { retry: true, ..Choice::new("TLS_AES_128_GCM_SHA256") }, Version::TLS13);
}

#[test]
fn a_post_quantum_key_exchange_changes_nothing() {
    const GROUP: &str = "X25519MLKEM768";
    let mut context = SslContextBuilder::new(SslMethod::tls()).expect("it can");
    if context.set_groups_list(GROUP).is_err() {
        eprintln!("this OpenSSL does not know {GROUP}: not tested");
        return;
    }
    let choice = Choice { groups: Some(GROUP), ..Choice::new("TLS_AES_256_GCM_SHA384") };
    check(choice, Version::TLS13);
}

#[test]
fn secrets_that_are_missing_are_named() {
    let (talk, log) = talk(Choice::new("TLS_AES_128_GCM_SHA256"));
    let log = String::from_utf8(log).expect("a log is text");
    for (left_out, wanted) in [
        ("SERVER_TRAFFIC", ", no SERVER_TRAFFIC_SECRET_0: "),
        ("CLIENT_", ", no CLIENT_HANDSHAKE_TRAFFIC_SECRET, no CLIENT_TRAFFIC_SECRET_0: "),
    ] {
        let lines = log.lines().filter(|line| !line.starts_with(left_out));
        let mut some = keys(lines.collect::<Vec<_>>().join("\n").as_bytes());
        for growth in [Growth::Never, Growth::AnyTime] {
            some.set_growth(growth);
            let mut connection = Connection::new();
            for (from, bytes) in &talk {
                let mut input = &bytes[..];
                while connection.next(*from, &mut input, &mut some).is_some() {}
                if connection.is_waiting() {
                    connection.give_up();
                }
            }
            let sealed = connection.sealed().expect("it was not opened");
            assert!(sealed.contains(wanted), "{sealed}");
        }
    }
}

#[test]
fn tls_1_2_opens() {
    for cipher in [
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-CCM",
        "AES256-CCM8",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "PSK-AES128-GCM-SHA256",
        "ECDHE-PSK-CHACHA20-POLY1305",
    ] {
        check(Choice::new(cipher), Version::TLS12);
    }
}

#[test]
fn cbc_opens_with_the_mac_inside_and_outside() {
    for cipher in [
        "AES128-SHA",
        "AES256-SHA256",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES256-SHA384",
        "PSK-AES256-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA384",
    ] {
        for encrypt_then_mac in [false, true] {
            check(Choice { encrypt_then_mac, ..Choice::new(cipher) }, Version::TLS12);
        }
    }
}

#[test]
fn a_resumed_look_needs_the_hello() {
    let (talk, log) = talk(Choice::new("TLS_AES_128_GCM_SHA256"));
    let (seen, connection) = look(&talk[1..], &keys(&log), 1 << 20);
    assert_eq!(seen, Seen::default());
    let text = connection.sealed().expect("it was not opened");
    assert!(text.contains("no hello of the client"), "{text}");
}

#[test]
fn wrong_secrets_open_nothing() {
    let (talk, log) = talk(Choice::new("ECDHE-RSA-AES128-SHA256"));
    let text = String::from_utf8(log).expect("it is text");
    let (start, end) = text.trim_end().rsplit_once(' ').expect("it has words");
    let other = if end.starts_with('0') { "1" } else { "0" };
    let log = format!("{start} {other}{}", &end[1..]);
    let (seen, connection) = look(&talk, &keys(log.as_bytes()), 1 << 20);
    assert!(connection.sealed().is_some_and(|text| text.contains("the secrets do not fit")));
    assert_eq!(seen.stopped, [Some(Stop::Damaged); 2]);
    assert_eq!((seen.opened, &seen.data[0][..], &seen.data[1][..]), (None, &[][..], &[][..]));
}

#[test]
fn a_secret_that_is_missing_is_named() {
    let (talk, log) = talk(Choice::new("TLS_AES_128_GCM_SHA256"));
    let text = String::from_utf8(log).expect("it is text");
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
        let others: Vec<&str> = text.lines().filter(|line| !line.starts_with(label)).collect();
        let (seen, connection) = look(&talk, &keys(others.join("\n").as_bytes()), 1 << 20);
        assert_eq!(seen, Seen::default());
        let told = connection.sealed().expect("it was not opened");
        assert!(told.contains(&format!(", no {label}: ")), "{told}");
    }
}

#[derive(Debug, Default)]
struct Log(Mutex<Vec<u8>>);

impl rustls::KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        self.0.lock().expect("no test panics with it").extend_from_slice(line.as_bytes());
    }
}

/// rustls, which can update keys and send early data.
struct Rustls {
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
    log: Arc<Log>,
}

impl Rustls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can");
        let key = made.signing_key.serialize_der();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key).expect("it is a key");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("it is a certificate");
        let log = Arc::new(Log::default());
        let mut client =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.key_log = log.clone();
        client.enable_early_data = true;
        let mut server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they fit");
        server.max_early_data_size = 1 << 14;
        Self { client: Arc::new(client), server: Arc::new(server), log }
    }

    fn connect(&self) -> (rustls::ClientConnection, rustls::ServerConnection) {
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("it is a name");
        let client = rustls::ClientConnection::new(self.client.clone(), name).expect("it can");
        let server = rustls::ServerConnection::new(self.server.clone()).expect("it can");
        (client, server)
    }

    fn log(&self) -> Vec<u8> {
        self.log.0.lock().expect("no test panics with it").clone()
    }
}

/// Sends to and fro what both have to send.
fn exchange(
    client: &mut rustls::ClientConnection,
    server: &mut rustls::ServerConnection,
    talk: &mut Talk,
) {
    let mut buffer = [0; 256];
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while client.write_tls(&mut bytes).is_ok_and(|count| count > 0) {}
        let mut input = &bytes[..];
        while server.read_tls(&mut input).is_ok_and(|count| count > 0) {
            server.process_new_packets().expect("it is lawful");
            if let Some(mut early) = server.early_data() {
                while early.read(&mut buffer).is_ok_and(|count| count > 0) {}
            }
            while server.reader().read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
        talk.push((Side::Client, bytes));
        let mut bytes = Vec::new();
        while server.write_tls(&mut bytes).is_ok_and(|count| count > 0) {}
        let mut input = &bytes[..];
        while client.read_tls(&mut input).is_ok_and(|count| count > 0) {
            client.process_new_packets().expect("it is lawful");
            while client.reader().read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
        talk.push((Side::Server, bytes));
    }
}

#[test]
fn keys_are_updated() {
    let rustls = Rustls::new();
    let (mut client, mut server) = rustls.connect();
    let mut talk = Talk::new();
    exchange(&mut client, &mut server, &mut talk);
    for round in 0..3 {
        client.writer().write_all(&[round; 10]).expect("memory takes it");
        server.writer().write_all(&[round; 20]).expect("memory takes it");
        exchange(&mut client, &mut server, &mut talk);
        client.refresh_traffic_keys().expect("the handshake is done");
        server.refresh_traffic_keys().expect("the handshake is done");
        exchange(&mut client, &mut server, &mut talk);
    }
    client.writer().write_all(b"end").expect("memory takes it");
    exchange(&mut client, &mut server, &mut talk);
    let (seen, _) = look(&talk, &keys(&rustls.log()), 50);
    assert_eq!(seen.stopped, [None; 2]);
    assert_eq!(seen.data[0], [&[0; 10][..], &[1; 10], &[2; 10], b"end"].concat());
    assert_eq!(seen.data[1], [&[0; 20][..], &[1; 20], &[2; 20]].concat());
}

/// A connection whose first messages the client sends as early data, a record each, and the key log.
/// A server that does not accept these gets them again.
pub(crate) fn say_early(
    accepted: bool,
    early: &[Vec<u8>],
    said: &[(Side, Vec<u8>)],
) -> (Talk, Vec<u8>) {
    let mut rustls = Rustls::new();
    let (mut client, mut server) = rustls.connect();
    exchange(&mut client, &mut server, &mut Talk::new());
    if !accepted {
        // Another server, which does not know the session.
        let mut other = rustls::ServerConfig::clone(&rustls.server);
        other.session_storage = rustls::server::ServerSessionMemoryCache::new(1);
        rustls.server = Arc::new(other);
    }
    let (mut client, mut server) = rustls.connect();
    client.set_buffer_limit(None);
    server.set_buffer_limit(None);
    let mut talk = Talk::new();
    for message in early {
        client.early_data().expect("there is a session").write_all(message).expect("it is short");
        let mut bytes = Vec::new();
        while client.write_tls(&mut bytes).is_ok_and(|count| count > 0) {}
        talk.push((Side::Client, bytes));
    }
    for (_, bytes) in &talk {
        let mut input = &bytes[..];
        while server.read_tls(&mut input).is_ok_and(|count| count > 0) {
            server.process_new_packets().expect("it is lawful");
            if let Some(mut early) = server.early_data() {
                while early.read(&mut [0; 256]).is_ok_and(|count| count > 0) {}
            }
        }
    }
    exchange(&mut client, &mut server, &mut talk);
    assert_eq!(client.is_early_data_accepted(), accepted);
    let again = early.iter().filter(|_| !accepted).map(|message| (Side::Client, message));
    for (from, message) in again.chain(said.iter().map(|(from, message)| (*from, message))) {
        let mut writer: Box<dyn Write> = match from {
            Side::Client => Box::new(client.writer()),
            Side::Server => Box::new(server.writer()),
        };
        writer.write_all(message).expect("memory takes it");
        drop(writer);
        exchange(&mut client, &mut server, &mut talk);
    }
    client.send_close_notify();
    server.send_close_notify();
    exchange(&mut client, &mut server, &mut talk);
    talk.retain(|(_, bytes)| !bytes.is_empty());
    (talk, rustls.log())
}

#[test]
fn early_data_is_counted_and_what_follows_opened() {
    let early = [b"one".to_vec(), b"two".to_vec()];
    let said = [(Side::Server, b"three".to_vec()), (Side::Client, b"four".to_vec())];
    for accepted in [true, false] {
        let (talk, log) = say_early(accepted, &early, &said);
        for (talk, order) in [(talk.clone(), "as sent"), (late(talk.clone()), "after the hello")] {
            let (seen, connection) = look(&talk, &keys(&log), 50);
            assert_eq!(seen.stopped, [None; 2], "{order}");
            let again: &[u8] = if accepted { b"" } else { b"onetwo" };
            assert_eq!(seen.data, [[again, b"four"].concat(), b"three".to_vec()], "{order}");
            assert_eq!(connection.lacks_early_data(), accepted);
            // The message that ends early data is one of them.
            let count = if accepted { 3 } else { 2 };
            let sealed = connection.sealed().unwrap_or_default();
            assert!(
                sealed.ends_with(&format!(", early data: {count} records not opened")),
                "{sealed}"
            );
        }
        let (_, connection) = look(&talk, &KeyLog::default(), 50);
        assert!(connection.sealed().is_some_and(|sealed| sealed.contains(", no keys: ")));
    }
}

/// All early data that do not come with the hello come after the server's first records.
fn late(mut talk: Talk) -> Talk {
    let first = talk.iter().position(|(from, _)| *from == Side::Server).unwrap_or(0);
    let server = talk.remove(first);
    talk.insert(1, server);
    talk
}

#[test]
fn plaintext_is_told_from_records() {
    let mut connection = Connection::new();
    let mut input = &b"IHAVEOPT and so on"[..];
    let stopped = connection.next(Side::Client, &mut input, &mut KeyLog::default());
    let stop = Stop::NoRecord { first: true, is_nbd: true };
    assert_eq!(stopped, Some(Output::Stopped(stop)));
    assert_eq!(connection.next(Side::Client, &mut input, &mut KeyLog::default()), None);
    assert!(input.is_empty());
}

/// Connections to damage, made once.
fn samples() -> &'static [(Talk, KeyLog, Seen)] {
    static SAMPLES: std::sync::OnceLock<Vec<(Talk, KeyLog, Seen)>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let mac_inside = Choice { encrypt_then_mac: false, ..Choice::new("AES128-SHA") };
        let choices = [
            Choice::new("TLS_AES_128_GCM_SHA256"),
            Choice::new("TLS_AES_128_CCM_8_SHA256"),
            Choice::new("ECDHE-RSA-CHACHA20-POLY1305"),
            Choice::new("ECDHE-RSA-AES256-SHA384"),
            mac_inside,
        ];
        let sample = |choice| {
            let (talk, log) = talk(choice);
            let keys = keys(&log);
            let seen = look(&talk, &keys, 1 << 20).0;
            (talk, keys, seen)
        };
        choices.into_iter().map(sample).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What is damaged is not given out: there is no plaintext but that which was sent.
    #[test]
    fn damage_never_becomes_plaintext(
        which: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        piece in 1usize..5000,
    ) {
        let (talk, keys, seen) = which.get(samples());
        let mut bytes: Vec<Vec<u8>> = talk.iter().map(|(_, bytes)| bytes.clone()).collect();
        for (at, flip) in damage {
            let total: usize = bytes.iter().map(Vec::len).sum();
            let mut at = at.index(total);
            for message in &mut bytes {
                if at < message.len() {
                    message[at] ^= flip;
                    break;
                }
                at -= message.len();
            }
        }
        if let Some(cut) = cut {
            let message = cut.index(bytes.len());
            let length = cut.index(bytes[message].len() + 1);
            bytes[message].drain(..length);
        }
        let talk: Talk = talk.iter().map(|(from, _)| *from).zip(bytes).collect();
        let (mut connection, keys) = (Connection::new(), &mut keys.clone());
        let mut given = [0, 0];
        for (from, bytes) in &talk {
            let side = *from as usize;
            for mut input in bytes.chunks(piece) {
                while let Some(output) = connection.next(*from, &mut input, keys) {
                    if let Output::Data(data) = output {
                        let wanted = seen.data[side].get(given[side]..given[side] + data.len());
                        prop_assert_eq!(wanted, Some(data));
                        given[side] += data.len();
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_can_be_looked_at(
        pieces: Vec<(bool, Vec<u8>)>,
        records: Vec<(bool, u8, Vec<u8>)>,
    ) {
        let side = |client| if client { Side::Client } else { Side::Server };
        let (mut connection, mut keys) = (Connection::new(), KeyLog::default());
        for (client, kind, body) in records {
            let kind = 20 + kind % 5;
            let header = [kind, 3, 3, (body.len() >> 8) as u8, body.len() as u8];
            let bytes = [&header[..], &body].concat();
            let mut input = &bytes[..];
            while connection.next(side(client), &mut input, &mut keys).is_some() {}
        }
        for (client, bytes) in pieces {
            let mut input = &bytes[..];
            while connection.next(side(client), &mut input, &mut keys).is_some() {}
        }
        let _ = connection.sealed();
    }
}
