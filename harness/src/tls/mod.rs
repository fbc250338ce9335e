//! TLS as the harness uses it: what it has for one peer, and where secrets go.

mod folder;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::uri::Uri;
use reference_server::tls::generated::USER;
use reference_server::tls::{
    Acceptor, ClientCertificates, Connector, Credentials, Identity, KeyLog, PskKeys, Versions,
};

use crate::script::ast::{TlsKind, TlsTwist};

pub use folder::Folder;

/// Appends secrets to a file, as `SSLKEYLOGFILE` says.
///
/// # Errors
/// The file can't be opened.
pub fn key_log_file(path: &Path) -> Result<KeyLog, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| format!("can't open `{}`: {error}", path.display()))?;
    Ok(KeyLog::new(move |line| {
        // In one piece: others may append to the same file. A full disk loses secrets, not sessions.
        let _ = (&file).write_all(format!("{line}\n").as_bytes());
    }))
}

/// Begins TLS as one side or the other.
#[derive(Debug, Clone)]
pub enum Starter {
    /// As a client.
    Connect(Connector),
    /// As a server.
    Accept(Acceptor),
}

/// What the harness has for TLS with one peer.
#[derive(Debug, Clone)]
pub struct Security {
    credentials: Credentials,
    host: String,
    folder: Arc<Folder>,
}

impl Security {
    /// With credentials of the user's.
    ///
    /// # Errors
    /// The harness's own, for what must not work, can't be made.
    pub fn given(credentials: Credentials, host: &str) -> Result<Self, String> {
        Ok(Self { credentials, host: host.to_owned(), folder: Folder::shared()? })
    }

    /// With those that the harness has made for the run.
    ///
    /// # Errors
    /// They can't be made, or this program was built without pre-shared keys.
    pub fn made(kind: TlsKind) -> Result<Self, String> {
        let folder = Folder::shared()?;
        let credentials = match kind {
            TlsKind::X509 => folder.made().x509(),
            TlsKind::Psk => folder.made().psk(),
        };
        let this = Self { credentials, host: "localhost".to_owned(), folder };
        // Better known before a server is started.
        this.connector(&[], None)?;
        Ok(this)
    }

    /// By what the parties know each other.
    #[must_use]
    pub fn kind(&self) -> TlsKind {
        match self.credentials {
            Credentials::X509 { .. } => TlsKind::X509,
            Credentials::Psk { .. } => TlsKind::Psk,
        }
    }

    /// What a client has.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The name that the server's certificate must have if the credentials name none.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The folder of what the harness has made.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate and key of the run's: `server`, `client`, `expired/client`...
    #[must_use]
    pub fn identity(&self, who: &str) -> Identity {
        self.folder.made().identity(who)
    }

    /// What the reference client needs.
    #[must_use]
    pub fn of_client(&self) -> reference_server::client::Tls {
        reference_server::client::Tls::required(self.credentials.clone())
    }

    /// A URI with the parameters that lead a client to the credentials of the run.
    #[must_use]
    pub fn uri(&self, uri: Uri) -> Uri {
        let folder = self.folder.path();
        let mut uri = Uri { tls: true, ..uri };
        match self.kind() {
            TlsKind::X509 => {
                uri.tls_certificates = Some(folder.to_owned());
                uri.tls_hostname = Some(self.host.clone());
            }
            TlsKind::Psk => {
                uri.user = Some(USER.to_owned());
                uri.tls_psk_file = Some(folder.join("keys.psk"));
            }
        }
        uri
    }

    /// A client's TLS, twisted as a script wants it.
    ///
    /// # Errors
    /// It can't be had.
    pub fn connector(
        &self,
        twists: &[TlsTwist],
        key_log: Option<KeyLog>,
    ) -> Result<Connector, String> {
        let mut credentials = self.credentials.clone();
        let made = self.folder.made();
        for twist in twists {
            match (twist, &mut credentials) {
                (TlsTwist::NoCertificate, Credentials::X509 { identity, .. }) => *identity = None,
                (TlsTwist::WrongCa, Credentials::X509 { identity, .. }) => {
                    *identity = Some(made.identity("wrong-ca/client"));
                }
                (TlsTwist::Expired, Credentials::X509 { identity, .. }) => {
                    *identity = Some(made.identity("expired/client"));
                }
                (TlsTwist::WrongKey, Credentials::Psk { user, .. }) => {
                    let wrong = PskKeys::read(&made.file("wrong-key/keys.psk"))
                        .and_then(|wrong| Ok(wrong.key_of(USER)?.to_vec()));
                    let wrong = wrong.map_err(|error| error.to_string())?;
                    return Connector::psk(user, &wrong, versions(twists), key_log)
                        .map_err(|error| error.to_string());
                }
                (TlsTwist::UnknownUser, Credentials::Psk { user, keys }) => {
                    let key = PskKeys::read(keys).and_then(|all| Ok(all.key_of(user)?.to_vec()));
                    let key = key.map_err(|error| error.to_string())?;
                    return Connector::psk("nobody-knows-me", &key, versions(twists), key_log)
                        .map_err(|error| error.to_string());
                }
                (TlsTwist::OnlyTls12 | TlsTwist::OnlyTls13, _) => {}
                (twist, _) => return Err(unfit(*twist, self.kind())),
            }
        }
        Connector::new(&credentials, &self.host, versions(twists), key_log)
            .map_err(|error| error.to_string())
    }

    /// A server's TLS, twisted as a script wants it, with the credentials of the run.
    ///
    /// # Errors
    /// It can't be had.
    pub fn acceptor(
        &self,
        twists: &[TlsTwist],
        clients: ClientCertificates,
        key_log: Option<KeyLog>,
    ) -> Result<Acceptor, String> {
        let made = self.folder.made();
        let mut who = "server";
        let mut keys = "keys.psk";
        for twist in twists {
            match (twist, self.kind()) {
                (TlsTwist::WrongCa, TlsKind::X509) => who = "wrong-ca/server",
                (TlsTwist::Expired, TlsKind::X509) => who = "expired/server",
                (TlsTwist::OtherHost, TlsKind::X509) => who = "other-host/server",
                (TlsTwist::WrongKey, TlsKind::Psk) => keys = "wrong-key/keys.psk",
                (TlsTwist::OnlyTls12 | TlsTwist::OnlyTls13, _) => {}
                (twist, kind) => return Err(unfit(*twist, kind)),
            }
        }
        let versions = versions(twists);
        let acceptor = match self.kind() {
            TlsKind::X509 => {
                let (identity, authority) = (made.identity(who), made.file("ca-cert.pem"));
                Acceptor::x509(&identity, clients, Some(&authority), versions, key_log)
            }
            TlsKind::Psk => PskKeys::read(&made.file(keys))
                .and_then(|keys| Acceptor::psk(keys, versions, key_log)),
        };
        acceptor.map_err(|error| error.to_string())
    }
}

fn versions(twists: &[TlsTwist]) -> Versions {
    if twists.contains(&TlsTwist::OnlyTls12) {
        Versions::Only12
    } else if twists.contains(&TlsTwist::OnlyTls13) {
        Versions::Only13
    } else {
        Versions::All
    }
}

fn unfit(twist: TlsTwist, kind: TlsKind) -> String {
    format!("`{}` does not go with TLS by {} on this side", twist.name(), kind.name())
}

/// Files that the command line names for TLS with a target.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Certificates of those who may vouch for the server.
    pub authority: Option<PathBuf>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// A file of pre-shared keys.
    pub psk: Option<PathBuf>,
}

impl Files {
    /// Whether any file is named.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.authority.is_some() || self.certificate.is_some() || self.psk.is_some()
    }

    /// What a client has, these files and a URI's parameters taken together; the files count more.
    ///
    /// # Errors
    /// The file of keys can't be read, or it is not clear whose key is meant.
    pub fn credentials(&self, uri: &Uri) -> Result<Credentials, String> {
        let psk = self.psk.as_ref().or(uri.tls_psk_file.as_ref().filter(|_| !self.is_any()));
        if let Some(path) = psk {
            let keys = PskKeys::read(path).map_err(|error| error.to_string())?;
            let mut users = keys.users();
            let user = match (&uri.user, users.next(), users.next()) {
                (Some(user), ..) => user.clone(),
                (None, Some(only), None) => only.to_owned(),
                _ => {
                    return Err(format!(
                        "`{}` has several users, or none\nhint: `nbds://USER@HOST/` says which",
                        path.display()
                    ));
                }
            };
            return Ok(Credentials::Psk { user, keys: path.clone() });
        }
        let in_folder = |name: &str| {
            let path = uri.tls_certificates.as_ref()?.join(name);
            path.exists().then_some(path)
        };
        let authority = self.authority.clone().or_else(|| in_folder("ca-cert.pem"));
        let certificate = self.certificate.clone().or_else(|| in_folder("client-cert.pem"));
        let key = self.key.clone().or_else(|| in_folder("client-key.pem"));
        let identity = certificate.zip(key).map(|(certificate, key)| Identity { certificate, key });
        Ok(Credentials::X509 {
            // Without an authority there is nobody to verify by, unless the URI insists.
            verify: uri.tls_verify_peer.unwrap_or(authority.is_some()),
            authority,
            identity,
            hostname: uri.tls_hostname.clone(),
        })
    }
}
