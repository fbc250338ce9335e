//! Peer files as they are written: the keys, and nothing about their meaning.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::units;
use serde::Deserialize;

use super::image::Content;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct VersionText {
    /// The arguments that make it tell.
    pub(super) args: Vec<String>,
    /// The text of its answer with `{version}` where the version stands.
    pub(super) pattern: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ServerKind {
    Server,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientKind {
    Client,
}

/// The text of a server's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ServerText {
    pub(super) format: u32,
    #[serde(rename = "kind")]
    _kind: ServerKind,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) program: String,
    pub(super) install: String,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    pub(super) version: VersionText,
    /// The program whose record of known deviations holds for it, if that is not its own name.
    #[serde(default)]
    pub(super) known: Option<String>,
    pub(super) start: StartText,
    pub(super) listen: BTreeMap<Transport, Vec<String>>,
    /// In the place of `listen` where there is TLS.
    #[serde(default)]
    pub(super) listen_tls: BTreeMap<Transport, Vec<String>>,
    #[serde(default)]
    pub(super) tls: BTreeMap<TlsKind, Vec<String>>,
    pub(super) configuration: BTreeMap<String, ConfigurationText>,
    #[serde(default)]
    pub(super) cannot: BTreeMap<String, String>,
}

/// How a server is started and stopped.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StartText {
    /// The arguments of every start; `{listen}`, `{tls}` and `{args}` stand for lists.
    pub(super) args: Vec<String>,
    /// The program returns and leaves a process behind, whose id it writes to `{pidfile}`.
    #[serde(default)]
    pub(super) daemon: bool,
    /// How long it may take until it greets.
    #[serde(default = "ready_within", deserialize_with = "duration")]
    pub(super) ready_within: Duration,
    /// How long it may take to end after `SIGTERM`, before it is killed.
    #[serde(default = "stop_within", deserialize_with = "duration")]
    pub(super) stop_within: Duration,
    /// Files to write for every start; in their text a line `{listen}`, `{tls}` or `{args}` stands
    /// for as many lines.
    #[serde(default)]
    pub(super) files: Vec<FileText>,
}

fn ready_within() -> Duration {
    Duration::from_secs(10)
}

fn stop_within() -> Duration {
    Duration::from_secs(2)
}

/// One configuration as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConfigurationText {
    pub(super) like: Option<String>,
    pub(super) export: Option<String>,
    pub(super) image: Option<ImageText>,
    pub(super) files: Option<Vec<FileText>>,
    pub(super) prepare: Option<Vec<Vec<String>>>,
    pub(super) args: Option<Vec<String>>,
    pub(super) note: Option<String>,
}

/// An image to make.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ImageText {
    /// `16MiB`, `1000001`, `{value}`.
    pub(super) size: String,
    pub(super) content: Content,
}

/// A file to make: a text, or an image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileText {
    /// Below `{dir}`.
    pub(super) path: String,
    pub(super) text: Option<String>,
    pub(super) image: Option<ImageText>,
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP on 127.0.0.1.
    #[default]
    Tcp,
    /// A unix socket.
    Unix,
}

impl Transport {
    /// As in peer files and axes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        }
    }
}

/// The ways of TLS that a peer file may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TlsKind {
    X509,
    X509Verify,
    X509NoVerify,
    X509Selective,
    Psk,
    PskSelective,
}

impl TlsKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::X509Verify => "x509-verify",
            Self::X509NoVerify => "x509-no-verify",
            Self::X509Selective => "x509-selective",
            Self::Psk => "psk",
            Self::PskSelective => "psk-selective",
        }
    }
}

/// The ways of TLS that a client's file may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientTls {
    X509,
    Psk,
}

/// The text of a client's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ClientText {
    pub(super) format: u32,
    #[serde(rename = "kind")]
    _kind: ClientKind,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) program: String,
    pub(super) install: String,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    pub(super) version: VersionText,
    /// The program whose record of known deviations holds for it, if that is not its own name.
    #[serde(default)]
    pub(super) known: Option<String>,
    pub(super) actions: BTreeMap<String, Vec<String>>,
    /// The arguments of actions inside TLS, by what the parties know each other.
    #[serde(default)]
    pub(super) tls: BTreeMap<ClientTls, BTreeMap<String, Vec<String>>>,
    /// The version that brought an action, or (`status`) an exit status that means something.
    #[serde(default)]
    pub(super) since: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) cannot: BTreeMap<String, String>,
}

/// Reads `10s`, `500ms`.
fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let time = units::time(&text).map_err(serde::de::Error::custom)?;
    if time > Duration::from_secs(600) {
        return Err(serde::de::Error::custom(format!("`{text}` is longer than 600s")));
    }
    Ok(time)
}
