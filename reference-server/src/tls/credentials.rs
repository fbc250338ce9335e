//! What the parties have for TLS, and why that may be of no use.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The longest name of a user, in bytes: OpenSSL takes no more.
pub(super) const USER_LIMIT: usize = 128;
/// The longest key, in bytes: OpenSSL takes no more.
pub(super) const KEY_LIMIT: usize = 256;

/// Which versions of TLS are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

/// Takes the secrets of TLS sessions, a line at a time without its end, in the format of
/// `SSLKEYLOGFILE`. Must not block.
#[derive(Clone)]
pub struct KeyLog(Arc<dyn Fn(&str) + Send + Sync>);

impl KeyLog {
    /// Hands every line to a function.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(super) fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

/// The same function.
impl PartialEq for KeyLog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyLog {}

/// Files that show who one is: PEM, the certificate with those that lead to its authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificates, one's own first.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
}

/// What a server wants to know of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientCertificates {
    /// Nothing: they are not asked.
    #[default]
    None,
    /// They are asked, and may have no certificate; a bad one is refused.
    Optional,
    /// They must have a certificate of the authority.
    Require,
}

/// Why a text is no file of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// A line that is no `user:hexkey`.
    #[error("`{path}`, line {line}: expected `user:hexkey`, the key in pairs of hexadecimal digits", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A name or key that is too long.
    #[error("`{path}`, line {line}: a name has at most {USER_LIMIT} bytes and a key at most {KEY_LIMIT}", path = .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Nobody of that name.
    #[error("`{path}` has no key for the user `{user}`", path = .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name.
        user: String,
    },
}

/// Why TLS can't be had with what was given.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file can't be read.
    #[error("can't read `{path}`: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A file has none of what it should have.
    #[error("`{path}` holds no {what}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `certificate`, `private key`.
        what: &'static str,
    },
    /// The certificates, keys or names do not go together.
    #[error("{0}")]
    Unfit(String),
    /// The keys can't be read.
    #[error(transparent)]
    Keys(#[from] BadKeys),
    /// A server is to be verified, and nobody says by whom.
    #[error(
        "no certificate authority to verify the server with\n\
         hint: name its file, or do not verify the server"
    )]
    NoAuthority,
    /// This program was built without pre-shared keys.
    #[error(
        "this program was built without pre-shared keys\n\
         hint: build it with `--features psk`; that takes OpenSSL's development files"
    )]
    NoPsk,
}

/// What a client has for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Certificates.
    X509 {
        /// A file with the certificates of those who may vouch for the server.
        authority: Option<PathBuf>,
        /// Shown to a server that asks for it.
        identity: Option<Identity>,
        /// The name that the server's certificate should have; the host's if not said.
        hostname: Option<String>,
        /// Whether the server must show a certificate of the authority with the right name.
        verify: bool,
    },
    /// A key that the server has as well.
    Psk {
        /// Whose key.
        user: String,
        /// The file of keys: lines of `user:hexkey`.
        keys: PathBuf,
    },
}

pub(super) fn unfit(error: impl fmt::Display) -> BadTls {
    BadTls::Unfit(error.to_string())
}

pub(super) fn read(path: &PathBuf) -> Result<Vec<u8>, BadTls> {
    /// Certificates and keys are small; whatever else is named by mistake need not be read.
    const LIMIT: u64 = 4 << 20;
    let read = || {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LIMIT {
            return Err(io::Error::other("it is too large for what it should be"));
        }
        Ok(bytes)
    };
    read().map_err(|error| BadTls::Read { path: path.clone(), error: error.to_string() })
}
