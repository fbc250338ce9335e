//! TLS for both sides: X.509 by rustls, pre-shared keys by OpenSSL (feature `psk`).
//!
//! TLS 1.2 is the least that is spoken (section "TLS versions"). No session is ever resumed: each
//! handshake shows what the parties know.

mod credentials;
pub mod generated;
mod handshake;
mod keys;
#[cfg(feature = "psk")]
mod psk;
mod stream;
mod x509;

pub use credentials::BadKeys;
pub use credentials::{BadTls, ClientCertificates, Credentials, Identity, KeyLog, Versions};
pub use handshake::{Acceptor, Connector, has_psk};
pub use keys::PskKeys;
pub use stream::{Failed, TlsStream};
