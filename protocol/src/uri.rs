//! NBD URIs: `nbd://host:port/name`, `nbds://`, `nbd+unix:///name?socket=PATH`, `nbds+unix://`.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::values::DEFAULT_PORT;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port; 10809 if the URI names none.
        port: u16,
    },
    /// A Unix socket. A path that begins with a zero byte is in the abstract namespace.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How the parties of a TLS session know each other (parameter `tls-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsType {
    /// `anon`: not at all.
    Anonymous,
    /// `x509`: by certificates.
    X509,
    /// `psk`: by a key that both have.
    Psk,
}

impl TlsType {
    /// The word in a URI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anon",
            Self::X509 => "x509",
            Self::Psk => "psk",
        }
    }
}

/// A server, an export of it, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    /// Whether TLS is demanded (`nbds`, `nbds+unix`).
    pub tls: bool,
    /// The user for TLS with pre-shared keys.
    pub user: Option<String>,
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// The name of the export; empty for the default one.
    pub export: String,
    /// Parameter `tls-type`.
    pub tls_type: Option<TlsType>,
    /// Parameter `tls-hostname`: the name that the server's certificate should have.
    pub tls_hostname: Option<String>,
    /// Parameter `tls-verify-peer`.
    pub tls_verify_peer: Option<bool>,
    /// Parameter `tls-certificates`, of libnbd: a directory of certificates and keys.
    pub tls_certificates: Option<PathBuf>,
    /// Parameter `tls-psk-file`, of libnbd: a file of pre-shared keys.
    pub tls_psk_file: Option<PathBuf>,
    /// Experimental parameters, whose names begin with `x-`, in their order.
    pub experimental: Vec<(String, String)>,
}

/// Why a text is no NBD URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// It does not begin with a scheme and `://`.
    #[error("an NBD URI begins with `nbd://`, `nbds://`, `nbd+unix://` or `nbds+unix://`")]
    NoScheme,
    /// The scheme is not NBD's.
    #[error("`{0}` is not a scheme of NBD: `nbd`, `nbds`, `nbd+unix` and `nbds+unix` are")]
    Scheme(String),
    /// A character that may not stand in a URI as it is.
    #[error("{character:?} at byte {at} must be written as `{}`", encoded(*.character))]
    Character {
        /// The character.
        character: char,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A `%` without two hexadecimal digits.
    #[error("`%` without two hexadecimal digits in the {0}")]
    Escape(&'static str),
    /// A part that is not UTF-8 once decoded.
    #[error("the {0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A fragment.
    #[error("an NBD URI has no fragment (`#...`)")]
    Fragment,
    /// TCP without a host.
    #[error("the URI names no host")]
    NoHost,
    /// An IPv6 address without brackets, or brackets around something else.
    #[error("`{0}` is not a host: write an IPv6 address in brackets, as in `[::1]:10809`")]
    Host(String),
    /// A port that is no number from 1 to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
    /// A Unix URI with a host.
    #[error("a Unix socket has no host; write `nbd+unix:///name?socket=PATH`")]
    UnixHost,
    /// A Unix URI without a socket.
    #[error("a Unix URI needs `?socket=PATH`")]
    NoSocket,
    /// A parameter without a value.
    #[error("the parameter `{0}` has no value")]
    NoValue(String),
    /// A parameter that NBD URIs do not have.
    #[error("there is no parameter `{0}`; experimental ones begin with `x-`")]
    Parameter(String),
    /// A parameter that stands twice.
    #[error("the parameter `{0}` appears twice")]
    Twice(String),
    /// A parameter with a value that it can't have.
    #[error("`{value}` is not a value for `{parameter}`, which is {wanted}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// What it can be.
        wanted: &'static str,
    },
}

/// `%20` for a space.
fn encoded(character: char) -> String {
    let mut out = String::new();
    let mut utf8 = [0; 4];
    for byte in character.encode_utf8(&mut utf8).bytes() {
        let _ = write!(out, "%{byte:02X}");
    }
    out
}

impl Uri {
    /// A TCP server's default export.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::new(Endpoint::Tcp { host: host.into(), port })
    }

    /// The default export of a server on a Unix socket.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::new(Endpoint::Unix(path.as_ref().to_owned()))
    }

    fn new(endpoint: Endpoint) -> Self {
        Self {
            tls: false,
            user: None,
            endpoint,
            export: String::new(),
            tls_type: None,
            tls_hostname: None,
            tls_verify_peer: None,
            tls_certificates: None,
            tls_psk_file: None,
            experimental: Vec::new(),
        }
    }

    /// The same with another export.
    #[must_use]
    pub fn with_export(mut self, name: impl Into<String>) -> Self {
        self.export = name.into();
        self
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match (&self.endpoint, self.tls) {
            (Endpoint::Tcp { .. }, false) => "nbd",
            (Endpoint::Tcp { .. }, true) => "nbds",
            (Endpoint::Unix(_), false) => "nbd+unix",
            (Endpoint::Unix(_), true) => "nbds+unix",
        }
    }

    /// Reads a URI, or `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// The text is neither.
    pub fn from_target(text: &str) -> Result<Self, BadUri> {
        if text.contains("://") {
            return text.parse();
        }
        // Paths and the like are better told apart here than taken for a host's name.
        if text.contains(['/', '?', '@']) || text.starts_with("nbd:") {
            return Err(BadUri::NoScheme);
        }
        let (host, port) = authority(text)?;
        if host.is_empty() {
            return Err(BadUri::NoHost);
        }
        Ok(Self::tcp(host, port))
    }
}

impl FromStr for Uri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        check_characters(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(BadUri::NoScheme)?;
        let (tls, unix) = match scheme.to_ascii_lowercase().as_str() {
            "nbd" => (false, false),
            "nbds" => (true, false),
            "nbd+unix" => (false, true),
            "nbds+unix" => (true, true),
            _ => return Err(BadUri::Scheme(scheme.to_owned())),
        };
        if rest.contains('#') {
            return Err(BadUri::Fragment);
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, path) = before.split_once('/').unwrap_or((before, ""));
        let (user, address) = match address.rsplit_once('@') {
            Some((user, address)) => (Some(decode_text(user, "user")?), address),
            None => (None, address),
        };
        let parameters = Parameters::parse(query)?;
        let endpoint = match (unix, parameters.socket) {
            (true, _) if !address.is_empty() => return Err(BadUri::UnixHost),
            (true, None) => return Err(BadUri::NoSocket),
            (true, Some(path)) => Endpoint::Unix(path),
            (false, Some(_)) => return Err(BadUri::Parameter("socket".into())),
            (false, None) => {
                let (host, port) = authority(address)?;
                let host = decode_text(host, "host")?;
                if host.is_empty() {
                    return Err(BadUri::NoHost);
                }
                Endpoint::Tcp { host, port }
            }
        };
        Ok(Self {
            tls,
            user,
            endpoint,
            export: decode_text(path, "export name")?,
            tls_type: parameters.tls_type,
            tls_hostname: parameters.tls_hostname,
            tls_verify_peer: parameters.tls_verify_peer,
            tls_certificates: parameters.tls_certificates,
            tls_psk_file: parameters.tls_psk_file,
            experimental: parameters.experimental,
        })
    }
}

/// RFC 3986: only certain printable ASCII may stand unescaped.
fn check_characters(text: &str) -> Result<(), BadUri> {
    let wrong = |c: char| !c.is_ascii_graphic() || r#""<>\^`{|}"#.contains(c);
    match text.char_indices().find(|(_, c)| wrong(*c)) {
        Some((at, character)) => Err(BadUri::Character { character, at }),
        None => Ok(()),
    }
}

/// Splits `host:port`.
fn authority(text: &str) -> Result<(&str, u16), BadUri> {
    let bad = || BadUri::Host(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            // A zone may follow the address.
            let address = host.split('%').next().unwrap_or(host);
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            match after.strip_prefix(':') {
                Some(port) => (host, port),
                None if after.is_empty() => (host, ""),
                None => return Err(bad()),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if port.contains(':') || (!text.starts_with('[') && host.contains(['[', ']'])) {
        return Err(bad());
    }
    if port.is_empty() {
        return Ok((host, DEFAULT_PORT));
    }
    let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok());
    match number.flatten() {
        Some(number) if number > 0 => Ok((host, number)),
        _ => Err(BadUri::Port(port.to_owned())),
    }
}

#[derive(Default)]
struct Parameters {
    socket: Option<PathBuf>,
    tls_type: Option<TlsType>,
    tls_hostname: Option<String>,
    tls_verify_peer: Option<bool>,
    tls_certificates: Option<PathBuf>,
    tls_psk_file: Option<PathBuf>,
    experimental: Vec<(String, String)>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, BadUri> {
        let mut out = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode_text(key, "name of a parameter")?;
            if value.is_empty() && !key.starts_with("x-") {
                return Err(BadUri::NoValue(key));
            }
            let text = || decode_text(value, "value of a parameter");
            let path = || decode(value, "path").map(|path| OsString::from_vec(path).into());
            let twice = match key.as_str() {
                "socket" => out.socket.replace(path()?).is_some(),
                "tls-certificates" => out.tls_certificates.replace(path()?).is_some(),
                "tls-psk-file" => out.tls_psk_file.replace(path()?).is_some(),
                "tls-type" => out.tls_type.replace(tls_type(text()?)?).is_some(),
                "tls-hostname" => out.tls_hostname.replace(text()?).is_some(),
                "tls-verify-peer" => out.tls_verify_peer.replace(verify(text()?)?).is_some(),
                key if key.starts_with("x-") => {
                    out.experimental.push((key.to_owned(), text()?));
                    false
                }
                key => return Err(BadUri::Parameter(key.to_owned())),
            };
            if twice {
                return Err(BadUri::Twice(key));
            }
        }
        Ok(out)
    }
}

fn tls_type(value: String) -> Result<TlsType, BadUri> {
    let all = [TlsType::Anonymous, TlsType::X509, TlsType::Psk];
    all.into_iter().find(|kind| kind.name() == value).ok_or(BadUri::Value {
        parameter: "tls-type",
        value,
        wanted: "`anon`, `x509` or `psk`",
    })
}

fn verify(value: String) -> Result<bool, BadUri> {
    match value.as_str() {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(BadUri::Value { parameter: "tls-verify-peer", value, wanted: "0 or 1" }),
    }
}

fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, BadUri> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let Some(([high, low], after)) = rest.split_first_chunk::<2>() else {
            return Err(BadUri::Escape(what));
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = digit(*high)
            .zip(digit(*low))
            .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        out.push(byte.ok_or(BadUri::Escape(what))?);
        rest = after;
    }
    Ok(out)
}

fn decode_text(text: &str, what: &'static str) -> Result<String, BadUri> {
    String::from_utf8(decode(text, what)?).map_err(|_| BadUri::NotUtf8(what))
}

/// Writes bytes with everything escaped but unreserved characters and those in `also`.
fn encode(out: &mut fmt::Formatter<'_>, bytes: &[u8], also: &str) -> fmt::Result {
    for byte in bytes {
        let c = char::from(*byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || also.contains(c) {
            out.write_char(c)?;
        } else {
            write!(out, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// Prints the shortest form, from which the same URI is read back.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if let Some(user) = &self.user {
            encode(f, user.as_bytes(), "")?;
            f.write_str("@")?;
        }
        if let Endpoint::Tcp { host, port } = &self.endpoint {
            if host.contains(':') {
                write!(f, "[{host}]")?;
            } else {
                encode(f, host.as_bytes(), "")?;
            }
            if *port != DEFAULT_PORT {
                write!(f, ":{port}")?;
            }
        }
        f.write_str("/")?;
        encode(f, self.export.as_bytes(), "/:@!$&'()*+,;=")?;
        let mut separator = '?';
        let mut parameter = |f: &mut fmt::Formatter<'_>, key: &str, value: &[u8]| {
            f.write_char(separator)?;
            separator = '&';
            encode(f, key.as_bytes(), "")?;
            f.write_str("=")?;
            encode(f, value, "/:@")
        };
        if let Endpoint::Unix(path) = &self.endpoint {
            parameter(f, "socket", path.as_os_str().as_bytes())?;
        }
        if let Some(kind) = self.tls_type {
            parameter(f, "tls-type", kind.name().as_bytes())?;
        }
        if let Some(name) = &self.tls_hostname {
            parameter(f, "tls-hostname", name.as_bytes())?;
        }
        if let Some(verify) = self.tls_verify_peer {
            parameter(f, "tls-verify-peer", if verify { b"1" } else { b"0" })?;
        }
        if let Some(path) = &self.tls_certificates {
            parameter(f, "tls-certificates", path.as_os_str().as_bytes())?;
        }
        if let Some(path) = &self.tls_psk_file {
            parameter(f, "tls-psk-file", path.as_os_str().as_bytes())?;
        }
        for (key, value) in &self.experimental {
            parameter(f, key, value.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Uri {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<Uri>().unwrap_err().to_string()
    }

    #[test]
    fn the_port_is_10809_unless_named() {
        assert_eq!(parse("nbd://localhost/"), Uri::tcp("localhost", 10809));
        assert_eq!(parse("nbd://localhost"), Uri::tcp("localhost", 10809));
        assert_eq!(parse("NBD://localhost:99/"), Uri::tcp("localhost", 99));
        assert_eq!(parse("nbd://localhost:/"), Uri::tcp("localhost", 10809));
    }

    #[test]
    fn the_name_is_the_path_less_one_slash() {
        for (uri, name) in [
            ("nbd://h/disk", "disk"),
            ("nbd://h", ""),
            ("nbd://h//disk", "/disk"),
            ("nbd://h/hello%20world", "hello world"),
            ("nbd://h/a/b%2Fc", "a/b/c"),
            ("nbd+unix:///disk?socket=/s", "disk"),
            ("nbd+unix://?socket=/s", ""),
        ] {
            assert_eq!(parse(uri).export, name, "{uri}");
        }
    }

    #[test]
    fn ipv6_stands_in_brackets() {
        assert_eq!(parse("nbd://[::1]:99/"), Uri::tcp("::1", 99));
        assert_eq!(parse("nbd://[::1]"), Uri::tcp("::1", 10809));
        assert!("nbd://::1/".parse::<Uri>().is_err());
        assert!("nbd://[localhost]/".parse::<Uri>().is_err());
        assert_eq!(parse("nbd://[::1]:99/").to_string(), "nbd://[::1]:99/");
    }

    #[test]
    fn tls_parameters_are_read() {
        let uri = parse(
            "nbds://alice@h/x?tls-type=psk&tls-hostname=other&tls-verify-peer=0&tls-certificates=/p&tls-psk-file=/k&x-a=b&x-c=",
        );
        assert!(uri.tls);
        assert_eq!(uri.user.as_deref(), Some("alice"));
        assert_eq!(uri.tls_type, Some(TlsType::Psk));
        assert_eq!(uri.tls_hostname.as_deref(), Some("other"));
        assert_eq!(uri.tls_verify_peer, Some(false));
        assert_eq!(uri.tls_certificates.as_deref(), Some(Path::new("/p")));
        assert_eq!(uri.tls_psk_file.as_deref(), Some(Path::new("/k")));
        assert_eq!(uri.experimental, [("x-a".into(), "b".into()), ("x-c".into(), String::new())]);
    }

    #[test]
    fn an_abstract_socket_begins_with_a_zero_byte() {
        let uri = parse("nbds+unix:///?socket=%00name");
        assert_eq!(uri.endpoint, Endpoint::Unix("\0name".into()));
        assert_eq!(uri.to_string(), "nbds+unix:///?socket=%00name");
    }

    #[test]
    fn errors_say_what_to_write() {
        insta::assert_snapshot!(error("http://h/"), @"`http` is not a scheme of NBD: `nbd`, `nbds`, `nbd+unix` and `nbds+unix` are");
        insta::assert_snapshot!(error("nbd:h"), @"an NBD URI begins with `nbd://`, `nbds://`, `nbd+unix://` or `nbds+unix://`");
        insta::assert_snapshot!(error("nbd://h/a b"), @"' ' at byte 9 must be written as `%20`");
        insta::assert_snapshot!(error("nbd://h/ä"), @"'ä' at byte 8 must be written as `%C3%A4`");
        insta::assert_snapshot!(error("nbd://h/%4"), @"`%` without two hexadecimal digits in the export name");
        insta::assert_snapshot!(error("nbd://h/%ff"), @"the export name is not UTF-8");
        insta::assert_snapshot!(error("nbd://h/a#b"), @"an NBD URI has no fragment (`#...`)");
        insta::assert_snapshot!(error("nbd:///a"), @"the URI names no host");
        insta::assert_snapshot!(error("nbd://::1/"), @"`::1` is not a host: write an IPv6 address in brackets, as in `[::1]:10809`");
        insta::assert_snapshot!(error("nbd://h:99999/"), @"`99999` is not a port");
        insta::assert_snapshot!(error("nbd+unix://h/?socket=/s"), @"a Unix socket has no host; write `nbd+unix:///name?socket=PATH`");
        insta::assert_snapshot!(error("nbd+unix:///a"), @"a Unix URI needs `?socket=PATH`");
        insta::assert_snapshot!(error("nbd://h/?tls=1"), @"there is no parameter `tls`; experimental ones begin with `x-`");
        insta::assert_snapshot!(error("nbds://h/?tls-type=ssl"), @"`ssl` is not a value for `tls-type`, which is `anon`, `x509` or `psk`");
        insta::assert_snapshot!(error("nbds://h/?tls-hostname"), @"the parameter `tls-hostname` has no value");
        insta::assert_snapshot!(error("nbd+unix:///?socket=/a&socket=/b"), @"the parameter `socket` appears twice");
    }

    #[test]
    fn a_target_may_be_a_host_and_port() {
        let target = |text| Uri::from_target(text);
        assert_eq!(target("localhost:99"), Ok(Uri::tcp("localhost", 99)));
        assert_eq!(target("localhost"), Ok(Uri::tcp("localhost", 10809)));
        assert_eq!(target("[::1]:99"), Ok(Uri::tcp("::1", 99)));
        assert_eq!(target("nbd://h/x"), Ok(Uri::tcp("h", 10809).with_export("x")));
        assert_eq!(target("/tmp/socket"), Err(BadUri::NoScheme));
        assert_eq!(target("nbd:h:1"), Err(BadUri::NoScheme));
        assert_eq!(target(""), Err(BadUri::NoHost));
        assert!(target("::1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            unix: bool, tls: bool, port in 1u16.., v6: bool, export: String,
            user in prop::option::of(".{0,9}"), path in prop::collection::vec(any::<u8>(), 1..20),
            hostname in prop::option::of(".{1,9}"), verify: Option<bool>,
            experimental in prop::collection::vec(("x-[a-z]{0,5}", ".{0,5}"), 0..3),
        ) {
            let host = if v6 { "fe80::1".to_owned() } else { "example.org".to_owned() };
            let endpoint = if unix {
                Endpoint::Unix(OsString::from_vec(path).into())
            } else {
                Endpoint::Tcp { host, port }
            };
            let uri = Uri {
                tls, user: user.filter(|_| !unix), endpoint, export, tls_type: None,
                tls_hostname: hostname, tls_verify_peer: verify, tls_certificates: None,
                tls_psk_file: None, experimental,
            };
            prop_assert_eq!(uri.to_string().parse(), Ok(uri));
        }

        #[test]
        fn no_text_panics(text: String, tail in "[%a-z0-9/?&=:@\\[\\]]{0,40}") {
            let _ = Uri::from_target(&text);
            let _ = format!("nbd://{tail}").parse::<Uri>();
            let _ = format!("nbd+unix://{tail}").parse::<Uri>();
        }
    }
}
