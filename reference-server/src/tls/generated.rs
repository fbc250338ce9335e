//! Credentials made for a test: in a folder that serves every peer, with those that must not work
//! beside them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::credentials::{BadTls, Credentials, Identity, unfit};

/// The user whose key is in the file of keys.
pub const USER: &str = "alice";

/// A folder of credentials, named as qemu, nbdkit and libnbd want them:
///
/// | file | |
/// |---|---|
/// | `ca-cert.pem` | the authority |
/// | `server-cert.pem`, `server-key.pem` | for localhost, 127.0.0.1 and ::1 |
/// | `client-cert.pem`, `client-key.pem` | `O=nbdcheck, CN=client` |
/// | `keys.psk` | the key of [`USER`] |
/// | `wrong-ca/` | the same of another authority, which nobody knows |
/// | `expired/` | the same of the right authority, no longer valid |
/// | `other-host/` | the same of the right authority, for `other.example` |
/// | `wrong-key/` | `keys.psk` with another key for [`USER`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    folder: PathBuf,
}

/// Who vouches.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn make(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::OrganizationName, "nbdcheck");
    names.push(DnType::CommonName, name);
    names
}

/// What a certificate is like.
struct Kind {
    name: &'static str,
    hosts: &'static [&'static str],
    purpose: ExtendedKeyUsagePurpose,
    expired: bool,
}

impl Made {
    /// Makes the files in a folder, which is made as well if it is not there.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn make(folder: &Path) -> Result<Self, BadTls> {
        let made = Self { folder: folder.to_owned() };
        let authority = Authority::make("test authority").map_err(unfit)?;
        let other = Authority::make("another authority").map_err(unfit)?;
        let here: &[&str] = &["localhost", "127.0.0.1", "::1"];
        made.pair("", &authority, here, false)?;
        made.pair("wrong-ca", &other, here, false)?;
        made.pair("expired", &authority, here, true)?;
        made.pair("other-host", &authority, &["other.example"], false)?;
        let key = |byte: u8| format!("{USER}:{}\n", format!("{byte:02x}").repeat(32));
        made.write("", "keys.psk", &key(0xa1))?;
        made.write("wrong-key", "keys.psk", &key(0xb2))?;
        Ok(made)
    }

    fn pair(
        &self,
        below: &str,
        authority: &Authority,
        hosts: &'static [&'static str],
        expired: bool,
    ) -> Result<(), BadTls> {
        self.write(below, "ca-cert.pem", &authority.pem)?;
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        for kind in [
            Kind { name: "server", hosts, purpose: server, expired },
            Kind { name: "client", hosts: &[], purpose: client, expired },
        ] {
            let (certificate, key) = certificate(authority, &kind).map_err(unfit)?;
            self.write(below, &format!("{}-cert.pem", kind.name), &certificate)?;
            self.write(below, &format!("{}-key.pem", kind.name), &key)?;
        }
        Ok(())
    }

    fn write(&self, below: &str, name: &str, text: &str) -> Result<(), BadTls> {
        let folder = self.folder.join(below);
        let path = folder.join(name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| BadTls::Unfit(format!("can't write `{}`: {error}", path.display())))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file: `ca-cert.pem`, `expired/server-cert.pem`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Certificate and key of `server`, `client`, `expired/client`...
    #[must_use]
    pub fn identity(&self, who: &str) -> Identity {
        Identity {
            certificate: self.file(&format!("{who}-cert.pem")),
            key: self.file(&format!("{who}-key.pem")),
        }
    }

    /// A client's certificates that work.
    #[must_use]
    pub fn x509(&self) -> Credentials {
        Credentials::X509 {
            authority: Some(self.file("ca-cert.pem")),
            identity: Some(self.identity("client")),
            hostname: Some("localhost".to_owned()),
            verify: true,
        }
    }

    /// A client's key that works.
    #[must_use]
    pub fn psk(&self) -> Credentials {
        Credentials::Psk { user: USER.to_owned(), keys: self.file("keys.psk") }
    }
}

/// A certificate and its key, as PEM.
fn certificate(authority: &Authority, kind: &Kind) -> Result<(String, String), rcgen::Error> {
    let hosts: Vec<String> = kind.hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = named(kind.hosts.first().copied().unwrap_or(kind.name));
    params.is_ca = IsCa::ExplicitNoCa;
    // Older versions of qemu want both.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![kind.purpose.clone()];
    params.use_authority_key_identifier_extension = true;
    if kind.expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority.issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
