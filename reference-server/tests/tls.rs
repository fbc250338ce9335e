//! TLS of the reference server and client with each other.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::uri::Uri;
use protocol::values::ReplyType;
use reference_server::client::{Client, ClientError, Haggling, Options, Tls};
use reference_server::store::MemoryStore;
use reference_server::tls::generated::Made;
use reference_server::tls::{
    Acceptor, ClientCertificates, Credentials, KeyLog, PskKeys, Versions, has_psk,
};
use reference_server::{Ending, Event, Export, Server, ServerHandle, ServerTls, TlsMode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Served {
    handle: ServerHandle,
    made: Made,
    endings: Arc<Mutex<Vec<Ending>>>,
    secrets: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    X509(ClientCertificates),
    Psk,
}

const ASKED: Kind = Kind::X509(ClientCertificates::Optional);
const REQUIRED: Kind = Kind::X509(ClientCertificates::Require);
const NOT_ASKED: Kind = Kind::X509(ClientCertificates::None);

impl Served {
    async fn new(mode: TlsMode, kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Made::make(folder.path()).unwrap();
        let secrets = Arc::new(Mutex::new(Vec::new()));
        let seen = secrets.clone();
        let log = KeyLog::new(move |line| seen.lock().unwrap().push(line.to_owned()));
        let acceptor = match kind {
            Kind::X509(clients) => {
                let authority = made.file("ca-cert.pem");
                let identity = made.identity("server");
                Acceptor::x509(&identity, clients, Some(&authority), Versions::All, Some(log))
            }
            Kind::Psk => {
                let keys = PskKeys::read(&made.file("keys.psk")).unwrap();
                Acceptor::psk(keys, Versions::All, Some(log))
            }
        };
        let endings = Arc::new(Mutex::new(Vec::new()));
        let ended = endings.clone();
        let secret = mode == TlsMode::Selective;
        let handle = Server::builder()
            .export(Export::new("disk", MemoryStore::pattern(1 << 20, 3)))
            .export(Export::new("secret", MemoryStore::new(1 << 20)).with_tls_only(secret))
            .tls(ServerTls { mode, acceptor: acceptor.unwrap() })
            .observer(move |event| {
                if let Event::Closed { ending, .. } = event {
                    ended.lock().unwrap().push(ending);
                }
            })
            .tcp(([127, 0, 0, 1], 0).into())
            .start()
            .await
            .unwrap();
        Self { handle, made, endings, secrets, _folder: folder }
    }

    fn uri(&self, export: &str) -> Uri {
        let address = self.handle.tcp_address().unwrap();
        Uri::tcp("127.0.0.1", address.port()).with_export(export)
    }

    /// How the sessions ended, once they all have.
    async fn endings(self) -> Vec<Ending> {
        self.handle.shutdown().await;
        self.endings.lock().unwrap().clone()
    }

    async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.handle.tcp_address().unwrap()).await.unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(&[0, 0, 0, 3]).await.unwrap();
        stream
    }
}

fn with(credentials: Credentials) -> Options {
    let tls = Tls::required(credentials);
    Options { tls: Some(tls), timeout: Duration::from_secs(10), ..Options::default() }
}

fn only(credentials: Credentials, versions: Versions) -> Options {
    let mut options = with(credentials);
    options.tls.as_mut().unwrap().versions = versions;
    options
}

async fn reads(served: &Served, options: &Options) {
    let client = Client::connect(&served.uri("disk"), options).await.unwrap();
    let mut expected = vec![0; 4096];
    protocol::payload::place(3, 512, &mut expected);
    assert_eq!(client.read(512, 4096).await.unwrap(), expected);
    client.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_work_with_each_version() {
    let served = Served::new(TlsMode::Forced, REQUIRED).await;
    for versions in [Versions::All, Versions::Only12, Versions::Only13] {
        reads(&served, &only(served.made.x509(), versions)).await;
    }
    let secrets = served.secrets.lock().unwrap();
    assert!(secrets.iter().any(|line| line.starts_with("CLIENT_RANDOM ")));
    assert!(secrets.iter().any(|line| line.starts_with("SERVER_TRAFFIC_SECRET_0 ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_work_with_each_version() {
    if !has_psk() {
        return;
    }
    let served = Served::new(TlsMode::Forced, Kind::Psk).await;
    for versions in [Versions::All, Versions::Only12, Versions::Only13] {
        reads(&served, &only(served.made.psk(), versions)).await;
    }
    let secrets = served.secrets.lock().unwrap();
    assert!(secrets.iter().any(|line| line.starts_with("CLIENT_RANDOM ")));
    assert!(secrets.iter().any(|line| line.starts_with("SERVER_TRAFFIC_SECRET_0 ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_users_fail() {
    if !has_psk() {
        return;
    }
    let served = Served::new(TlsMode::Forced, Kind::Psk).await;
    let keys = served.made.file("wrong-key/keys.psk");
    let other = served.made.file("other.psk");
    std::fs::write(&other, "mallory:0011223344\n").unwrap();
    for versions in [Versions::Only12, Versions::Only13] {
        for (user, keys) in [("alice", &keys), ("mallory", &other)] {
            let wrong = Credentials::Psk { user: user.to_owned(), keys: keys.clone() };
            let error = Client::connect(&served.uri("disk"), &only(wrong, versions)).await;
            assert!(matches!(error, Err(ClientError::Tls(_))), "{versions:?} {user}: {error:?}");
        }
    }
    let endings = served.endings().await;
    assert!(endings.iter().all(|ending| matches!(ending, Ending::Tls(_))), "{endings:?}");
}

fn bare(made: &Made) -> Credentials {
    let mut credentials = made.x509();
    if let Credentials::X509 { identity, .. } = &mut credentials {
        *identity = None;
    }
    credentials
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_certificate_is_refused_where_it_is_required_only() {
    let served = Served::new(TlsMode::Forced, REQUIRED).await;
    for versions in [Versions::Only12, Versions::Only13] {
        let options = only(bare(&served.made), versions);
        let error = Client::connect(&served.uri("disk"), &options).await;
        // With TLS 1.3 a client has done its part before the server looks at it.
        assert!(error.is_err(), "{error:?}");
    }
    for kind in [ASKED, NOT_ASKED] {
        let served = Served::new(TlsMode::Forced, kind).await;
        reads(&served, &with(bare(&served.made))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_others_are_refused() {
    for kind in [REQUIRED, ASKED] {
        let served = Served::new(TlsMode::Forced, kind).await;
        for who in ["wrong-ca/client", "expired/client", "server"] {
            let mut credentials = served.made.x509();
            if let Credentials::X509 { identity, .. } = &mut credentials {
                *identity = Some(served.made.identity(who));
            }
            let error = Client::connect(&served.uri("disk"), &with(credentials)).await;
            assert!(error.is_err(), "{who}");
        }
        let endings = served.endings().await;
        assert!(endings.iter().all(|ending| matches!(ending, Ending::Tls(_))), "{endings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refuses_servers_that_it_can_not_verify() {
    let served = Served::new(TlsMode::Forced, NOT_ASKED).await;
    let made = &served.made;
    let changed = |ca: &str, name: &str, checks: bool| {
        let mut credentials = bare(made);
        if let Credentials::X509 { authority, hostname, verify, .. } = &mut credentials {
            *authority = Some(made.file(ca));
            *hostname = Some(name.to_owned());
            *verify = checks;
        }
        with(credentials)
    };
    for (ca, name) in [("wrong-ca/ca-cert.pem", "localhost"), ("ca-cert.pem", "other.example")] {
        let error = Client::connect(&served.uri("disk"), &changed(ca, name, true)).await;
        assert!(matches!(error, Err(ClientError::Tls(_))), "{error:?}");
        reads(&served, &changed(ca, name, false)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_mode_serves_nothing_in_the_clear() {
    let served = Served::new(TlsMode::Forced, NOT_ASKED).await;
    let options = Options::default();
    let mut haggling = Haggling::connect(&served.uri("disk"), &options).await.unwrap();
    let required = |error: ClientError| {
        matches!(error, ClientError::Refused { error: ReplyType::ERR_TLS_REQD, .. })
    };
    assert!(required(haggling.list().await.unwrap_err()));
    assert!(required(haggling.info("disk").await.unwrap_err()));
    assert!(required(haggling.structured_reply().await.unwrap_err()));
    haggling.abort().await.unwrap();
    let haggling = Haggling::connect(&served.uri("disk"), &options).await.unwrap();
    assert!(matches!(haggling.export_name("disk").await, Err(ClientError::Closed(_))));
    // A client that prefers TLS gets it.
    let mut options = with(bare(&served.made));
    options.tls.as_mut().unwrap().required = false;
    reads(&served, &options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selective_mode_withholds_one_export() {
    let served = Served::new(TlsMode::Selective, NOT_ASKED).await;
    let plain = Options::default();
    let client = Client::connect(&served.uri("disk"), &plain).await.unwrap();
    client.disconnect().await.unwrap();
    let refused = Client::connect(&served.uri("secret"), &plain).await;
    let reqd = ReplyType::ERR_TLS_REQD;
    assert!(matches!(refused, Err(ClientError::Refused { error, .. }) if error == reqd));
    let haggling = Haggling::connect(&served.uri("secret"), &plain).await.unwrap();
    assert!(matches!(haggling.export_name("secret").await, Err(ClientError::Closed(_))));
    let client = Client::connect(&served.uri("secret"), &with(bare(&served.made))).await.unwrap();
    client.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_requires_tls_leaves_without_it() {
    let server = Server::builder()
        .export(Export::new("disk", MemoryStore::new(512)))
        .tcp(([127, 0, 0, 1], 0).into())
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = Made::make(folder.path()).unwrap();
    let uri = server.uris("disk").remove(0);
    let refused = Client::connect(&uri, &with(made.x509())).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    let uri = Uri { tls: true, tls_certificates: Some(folder.path().to_owned()), ..uri };
    let refused = Client::connect(&uri, &Options::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    let nobody = Uri { tls: true, tls_certificates: None, ..uri };
    let refused = Client::connect(&nobody, &Options::default()).await;
    assert!(matches!(refused, Err(ClientError::BadTls(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_names_credentials_as_for_libnbd() {
    let served = Served::new(TlsMode::Forced, REQUIRED).await;
    let mut uri = served.uri("disk");
    uri.tls = true;
    uri.tls_certificates = Some(served.made.folder().to_owned());
    Client::connect(&uri, &Options::default()).await.unwrap().disconnect().await.unwrap();
}

/// STARTTLS without data.
const STARTTLS: &[u8] = b"IHAVEOPT\0\0\0\x05\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pipelined_in_the_clear_is_not_carried_out() {
    let served = Served::new(TlsMode::Forced, NOT_ASKED).await;
    let mut stream = served.raw().await;
    let mut bytes = STARTTLS.to_vec();
    bytes.extend_from_slice(b"IHAVEOPT\0\0\0\x03\0\0\0\0");
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
    let why = "bytes in the clear behind NBD_OPT_STARTTLS".to_owned();
    drop(stream);
    assert_eq!(served.endings().await, [Ending::Refused(why)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_of_garbage_ends_the_session() {
    for kind in [NOT_ASKED, Kind::Psk] {
        if kind == Kind::Psk && !has_psk() {
            continue;
        }
        let served = Served::new(TlsMode::Selective, kind).await;
        let mut stream = served.raw().await;
        stream.write_all(STARTTLS).await.unwrap();
        let mut ack = [0; 20];
        stream.read_exact(&mut ack).await.unwrap();
        stream.write_all(b"IHAVEOPT\0\0\0\x03\0\0\0\0").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 20 && rest.first().is_none_or(|kind| *kind == 21), "{rest:?}");
    }
}
