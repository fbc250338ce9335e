//! The TLS of a server under test: what a configuration's name or an axis asks for.

use std::path::PathBuf;

use reference_server::tls::{Acceptor, ClientCertificates, PskKeys, Versions};
use reference_server::{ServerTls, TlsMode};

use crate::peer::Tls;
use crate::script::ast::{Event, Script, Statement, StatementKind, TlsKind};
use crate::tls::Security;

/// What a server's TLS is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// By what the parties know each other.
    pub kind: TlsKind,
    /// For whom TLS is a must.
    pub mode: TlsMode,
    /// Whether clients must show a certificate; `None` if that is the server's to choose, since
    /// they have one.
    pub demanded: Option<bool>,
}

impl Wanted {
    /// TLS for everybody.
    #[must_use]
    pub const fn forced(kind: TlsKind) -> Self {
        Self { kind, mode: TlsMode::Forced, demanded: None }
    }

    /// The configuration that the server is to have besides TLS, and the TLS that its name asks
    /// for, if it does.
    #[must_use]
    pub fn of(configuration: &str) -> (&str, Option<Self>) {
        let x509 = Self::forced(TlsKind::X509);
        let psk = Self::forced(TlsKind::Psk);
        let selective = |wanted| Self { mode: TlsMode::Selective, ..wanted };
        match configuration {
            "tls-forced" => ("default", Some(x509)),
            "tls-verify" => ("default", Some(Self { demanded: Some(true), ..x509 })),
            "tls-no-verify" => ("default", Some(Self { demanded: Some(false), ..x509 })),
            "tls-selective" => ("default", Some(selective(x509))),
            "tls-only" => ("tls-only", Some(selective(x509))),
            "tls-psk" => ("default", Some(psk)),
            "tls-psk-selective" => ("default", Some(selective(psk))),
            other => (other, None),
        }
    }

    /// Whether a configuration's name makes TLS a must.
    #[must_use]
    pub fn is_forced(configuration: &str) -> bool {
        Self::of(configuration).1.is_some_and(|wanted| wanted.mode == TlsMode::Forced)
    }

    /// As a peer file calls it.
    #[must_use]
    pub fn of_peer(self, folder: PathBuf) -> Tls {
        match (self.kind, self.mode, self.demanded) {
            (TlsKind::X509, TlsMode::Selective, _) => Tls::X509Selective(folder),
            (TlsKind::X509, TlsMode::Forced, None) => Tls::X509(folder),
            (TlsKind::X509, TlsMode::Forced, Some(true)) => Tls::X509Verify(folder),
            (TlsKind::X509, TlsMode::Forced, Some(false)) => Tls::X509NoVerify(folder),
            (TlsKind::Psk, TlsMode::Selective, _) => Tls::PskSelective(folder),
            (TlsKind::Psk, TlsMode::Forced, _) => Tls::Psk(folder),
        }
    }

    /// For the reference server.
    ///
    /// # Errors
    /// It can't be had.
    pub fn of_reference(self, security: &Security) -> Result<ServerTls, String> {
        let folder = security.folder();
        let acceptor = match self.kind {
            TlsKind::X509 => {
                let clients = match self.demanded {
                    Some(true) => ClientCertificates::Require,
                    Some(false) => ClientCertificates::None,
                    None => ClientCertificates::Optional,
                };
                let identity = security.identity("server");
                let authority = folder.join("ca-cert.pem");
                Acceptor::x509(&identity, clients, Some(&authority), Versions::All, None)
            }
            TlsKind::Psk => PskKeys::read(&folder.join("keys.psk"))
                .and_then(|keys| Acceptor::psk(keys, Versions::All, None)),
        };
        let acceptor = acceptor.map_err(|error| error.to_string())?;
        Ok(ServerTls { mode: self.mode, acceptor })
    }
}

/// Whether a script sees to TLS by itself: it wants a kind of it, or begins it.
#[must_use]
pub fn is_hand_made(script: &Script) -> bool {
    let header = &script.header;
    let configured = header.export.as_ref().is_some_and(|name| Wanted::of(&name.node).1.is_some());
    let needed = header.has_need("tls");
    configured
        || needed
        || script.source.text.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            line.contains("NBD_OPT_STARTTLS") || line.trim_start().starts_with("-- tls")
        })
}

/// Whether every connection of a script begins by a step that can put it inside TLS.
#[must_use]
pub fn begins_by_steps(script: &Script) -> bool {
    let mut open = Vec::new();
    steps(&script.body, &mut open)
}

fn steps<'s>(body: &'s [Statement], open: &mut Vec<&'s str>) -> bool {
    body.iter().all(|statement| match &statement.kind {
        StatementKind::Message(line) => {
            open.contains(&line.conn.as_ref().map_or("", |conn| conn.node.as_str()))
        }
        StatementKind::Event(line) => {
            let name = line.conn.as_ref().map_or("", |conn| conn.node.as_str());
            match line.event {
                Event::ToHaggling | Event::ToTransmission(..) | Event::Serve(_) => open.push(name),
                Event::Close | Event::Reset => open.retain(|other| *other != name),
                Event::Connect | Event::Pause(_) | Event::Send(_) | Event::Judge(_) => {}
                Event::Tls(_) | Event::Shut | Event::Fence => return open.contains(&name),
            }
            true
        }
        StatementKind::Check { .. } => true,
        StatementKind::Either(branches) => branches.iter().all(|branch| {
            let mut own = open.clone();
            steps(&branch.body, &mut own)
        }),
        StatementKind::Until { line, body } => {
            open.contains(&line.conn.as_ref().map_or("", |conn| conn.node.as_str()))
                && steps(body, open)
        }
        StatementKind::AnyOrder(body)
        | StatementKind::Maybe(body)
        | StatementKind::Repeat { body, .. }
        | StatementKind::For { body, .. }
        | StatementKind::Given { body, .. } => steps(body, open),
    })
}
