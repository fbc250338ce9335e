//! What rustls needs to know: certificates, versions, where secrets go.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use super::credentials::{BadTls, ClientCertificates, Identity, KeyLog, Versions, read, unfit};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn protocols(versions: Versions) -> Vec<&'static SupportedProtocolVersion> {
    match versions {
        Versions::All => vec![&TLS13, &TLS12],
        Versions::Only12 => vec![&TLS12],
        Versions::Only13 => vec![&TLS13],
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates
        .map_err(|error| BadTls::Read { path: path.clone(), error: error.to_string() })?;
    if certificates.is_empty() {
        return Err(BadTls::Empty { path: path.clone(), what: "certificate" });
    }
    Ok(certificates)
}

fn private_key(path: &PathBuf) -> Result<PrivateKeyDer<'static>, BadTls> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| BadTls::Empty { path: path.clone(), what: "private key" })
}

fn roots(path: &PathBuf) -> Result<Arc<RootCertStore>, BadTls> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            BadTls::Unfit(format!("`{}` is not a certificate authority: {error}", path.display()))
        })?;
    }
    Ok(Arc::new(roots))
}

#[derive(Debug)]
struct Secrets(KeyLog);

impl rustls::KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        use std::fmt::Write as _;
        let mut line = format!("{label} ");
        for byte in client_random {
            let _ = write!(line, "{byte:02x}");
        }
        line.push(' ');
        for byte in secret {
            let _ = write!(line, "{byte:02x}");
        }
        self.0.line(&line);
    }
}

pub(super) fn server(
    identity: &Identity,
    clients: ClientCertificates,
    authority: Option<&PathBuf>,
    versions: Versions,
    key_log: Option<KeyLog>,
) -> Result<ServerConfig, BadTls> {
    let verifier = match (clients, authority) {
        (ClientCertificates::None, _) => WebPkiClientVerifier::no_client_auth(),
        (_, None) => {
            let text = "clients can't be verified without a certificate authority";
            return Err(BadTls::Unfit(text.to_owned()));
        }
        (clients, Some(path)) => {
            let builder = WebPkiClientVerifier::builder_with_provider(roots(path)?, provider());
            let builder = match clients {
                ClientCertificates::Optional => builder.allow_unauthenticated(),
                _ => builder,
            };
            builder.build().map_err(unfit)?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&protocols(versions))
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&identity.certificate)?, private_key(&identity.key)?)
        .map_err(unfit)?;
    // Nobody resumes, and tickets in the middle of NBD's traffic serve no one.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if let Some(key_log) = key_log {
        config.key_log = Arc::new(Secrets(key_log));
    }
    Ok(config)
}

pub(super) fn client(
    authority: Option<&PathBuf>,
    identity: Option<&Identity>,
    versions: Versions,
    key_log: Option<KeyLog>,
) -> Result<ClientConfig, BadTls> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&protocols(versions))
        .map_err(unfit)?;
    let builder = match authority {
        Some(path) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots(path)?, provider()).build();
            builder.with_webpki_verifier(verifier.map_err(unfit)?)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
    };
    let mut config = match identity {
        Some(Identity { certificate, key }) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(unfit)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    if let Some(key_log) = key_log {
        config.key_log = Arc::new(Secrets(key_log));
    }
    Ok(config)
}

pub(super) fn name(text: &str) -> Result<ServerName<'static>, BadTls> {
    // An IPv6 address may have a zone, which no certificate knows.
    let text = text.split('%').next().unwrap_or(text);
    ServerName::try_from(text.to_owned())
        .map_err(|_| BadTls::Unfit(format!("`{text}` is not a name that a certificate can have")))
}

/// Takes any server: the user asked not to verify. Signatures are still checked, so that the server
/// has the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
