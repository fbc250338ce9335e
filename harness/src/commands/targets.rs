//! How the command line names servers.

use reference_server::Profile;
use std::path::{Path, PathBuf};

use protocol::nearest::is_slip;
use protocol::uri::{Endpoint, Uri};

use super::error::CommandError;
use crate::peer::{Address, PeerFile, quoted, shipped_servers};
use crate::run::deviations::Deviations;
use crate::run::target::Target;
use crate::tls::{Files, Security};

/// What there is for TLS with a server that somebody else runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsArgs {
    /// CA certificates that verify the target (PEM)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Client certificate to present to the target (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Pre-shared keys to use instead of certificates, one `user:hexkey` per line (requires the
    /// build feature `psk`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_ca", "tls_cert"])]
    tls_psk: Option<PathBuf>,
}

impl TlsArgs {
    /// The options that were given, as they are written.
    #[must_use]
    pub fn written(&self) -> String {
        [
            ("--tls-ca", &self.tls_ca),
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--tls-psk", &self.tls_psk),
        ]
        .into_iter()
        .filter_map(|(option, path)| {
            Some(format!(" {option} {}", quoted(&path.as_ref()?.display().to_string())))
        })
        .collect()
    }

    fn files(&self) -> Files {
        Files {
            authority: self.tls_ca.clone(),
            certificate: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            psk: self.tls_psk.clone(),
        }
    }
}

/// A server that somebody else runs.
///
/// # Errors
/// It is no address, or the files for TLS can't be used.
pub fn external(text: &str, export: Option<&str>, tls: &TlsArgs) -> Result<Target, CommandError> {
    let hint = "a target is host:port, [v6]:port, or an nbd://, nbds:// or nbd+unix:// URI";
    let uri = Uri::from_target(text).map_err(|error| CommandError::usage(error).hint(hint))?;
    let files = tls.files();
    let security = if uri.tls || files.is_any() {
        let host = match &uri.endpoint {
            Endpoint::Tcp { host, .. } => host.as_str(),
            Endpoint::Unix(_) => "localhost",
        };
        let credentials = files.credentials(&uri).map_err(CommandError::usage)?;
        let security = Security::given(credentials, host).map_err(CommandError::usage)?;
        // What can't be used is known before anything runs.
        security.connector(&[], None).map_err(CommandError::usage)?;
        Some(Box::new(security))
    } else {
        None
    };
    let insists = uri.tls;
    let address = Address::from(uri.endpoint);
    let named = (!uri.export.is_empty()).then_some(uri.export);
    let export = export.map(str::to_owned).or(named);
    Ok(Target::External { name: text.to_owned(), address, export, security, insists })
}

/// Servers that nbdcheck starts itself.
///
/// # Errors
/// There is no such peer.
pub fn started(name: &str) -> Result<Vec<Target>, CommandError> {
    let peer = |name: &str| {
        let file = PeerFile::find(name).map_err(CommandError::usage)?;
        Ok(Target::Peer(Box::new(file)))
    };
    match name {
        "self" => Ok(vec![Target::reference()]),
        "all" => {
            let reference = Ok(Target::reference());
            let peers = shipped_servers().into_iter().map(|name| peer(&name));
            std::iter::once(reference).chain(peers).collect()
        }
        "self@all" => Ok(Profile::ALL.iter().map(Target::Profile).collect()),
        name => match name.strip_prefix("self@") {
            Some(version) => {
                let profile = Profile::find(version).map_err(CommandError::usage)?;
                Ok(vec![Target::Profile(profile)])
            }
            None => Ok(vec![peer(name)?]),
        },
    }
}

/// Servers that nbdcheck starts, or one that somebody else runs.
///
/// # Errors
/// It is neither.
pub fn servers(
    text: &str,
    export: Option<&str>,
    tls: &TlsArgs,
) -> Result<Vec<Target>, CommandError> {
    let path = Path::new(text);
    if text.contains(':') && !path.exists() {
        return Ok(vec![external(text, export, tls)?]);
    }
    match started(text) {
        // Neither a peer nor a file: the name of a host, whose port is the usual one.
        Err(_) if could_be_host(text) && !path.exists() => Ok(vec![external(text, export, tls)?]),
        peers => peers,
    }
}

/// A name that stands for several servers, where a command is about one.
pub(super) fn not_one(text: &str, command: &str) -> CommandError {
    let error = CommandError::usage(format_args!("`{text}` is not one server"));
    error.hint(format_args!("`nbdcheck {command}` is about one server at a time"))
}

/// Whether a text without a port can name a host, and is no peer's name with a mistake in it.
fn could_be_host(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]".contains(&byte));
    let peers = shipped_servers();
    letters && !text.ends_with(".toml") && !is_slip(text, peers.iter().map(String::as_str))
}

/// The shipped record of a target's known deviations.
pub(super) async fn known_of(target: &Target) -> Deviations {
    match target {
        // A command may start a program that we know.
        Target::Peer(file) => match file.recognized() {
            Some(known) => match known.version().await {
                Ok(version) => Deviations::shipped(known.record(), Some(&version)),
                Err(_) => Deviations::default(),
            },
            None => Deviations::shipped(file.record(), target.version().await.as_deref()),
        },
        Target::External { .. } | Target::Reference { .. } | Target::Profile(_) => {
            Deviations::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_port_is_an_external_server() {
        let tls = TlsArgs::default();
        for (text, shown) in [
            ("localhost", "localhost:10809"),
            ("127.0.0.1", "127.0.0.1:10809"),
            ("nbd.example.org", "nbd.example.org:10809"),
            ("fileserver", "fileserver:10809"),
            ("[::1]", "[::1]:10809"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            let targets = servers(text, None, &tls).unwrap();
            let [Target::External { address, .. }] = targets.as_slice() else { panic!("{text}") };
            assert_eq!(address.to_string(), shown);
        }
        for text in ["qemu-ndb", "no/such/file", "missing.toml"] {
            assert!(servers(text, None, &tls).is_err(), "{text}");
        }
    }
}
