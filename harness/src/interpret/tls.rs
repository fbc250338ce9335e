//! TLS: the `-- tls` lines, and what `-- to` does where a session is to be inside TLS.

use protocol::message::{OptionBody, Side};
use protocol::notation::ast::Span;
use protocol::requirements::id;
use protocol::values::{OptionType, ReplyType};
use reference_server::tls::ClientCertificates;

use super::interpreter::Interpreter;
use super::setup::Upgrade;
use super::stop::{Flow, Stop};
use crate::finding::{Detail, EventKind};
use crate::link::secure::{NoTls, Secrets};
use crate::script::ast::{EventLine, Tls, TlsOutcome};
use crate::tls::{Security, Starter};

impl Interpreter<'_> {
    /// `-- tls`.
    pub(super) async fn tls(&mut self, name: &str, line: &EventLine, tls: &Tls) -> Flow {
        self.reach(&line.tags);
        let Some(security) = self.setup.security.clone() else {
            return Err(Stop::Skip("no credentials for TLS".to_owned()));
        };
        if let Some(kind) = tls.kind
            && kind != security.kind()
        {
            let (wanted, has) = (kind.name(), security.kind().name());
            return Err(Stop::Skip(format!("it takes TLS by {wanted}, here it goes by {has}")));
        }
        let tag = line.tags.first().map(|tag| tag.node.clone());
        self.handshake(name, tls, &security, tag, line.span).await
    }

    async fn handshake(
        &mut self,
        name: &str,
        tls: &Tls,
        security: &Security,
        tag: Option<String>,
        span: Span,
    ) -> Flow {
        let secrets = Secrets::default();
        let log = Some(secrets.key_log());
        let starter = match self.setup.side {
            Side::Client => security.connector(&tls.twists, log).map(Starter::Connect),
            Side::Server => security
                .acceptor(&tls.twists, ClientCertificates::Optional, log)
                .map(Starter::Accept),
        };
        let starter = starter.map_err(Stop::Skip)?;
        let limit = self.wait();
        let Some(conn) = self.conns.get_mut(name) else {
            return Err(Stop::Error(format!("no connection `{name}`")));
        };
        let (rule, expected, received) = if tls.outcome == TlsOutcome::Fails {
            let rule = match self.setup.side {
                Side::Client => id::TLS_SERVER_ENDS_ON_FAILED_HANDSHAKE,
                Side::Server => id::TLS_CLIENT_ENDS_ON_FAILED_HANDSHAKE,
            };
            match conn.link.fail_tls(&starter, &secrets, limit).await {
                Ok(()) => return Ok(()),
                Err(shown) => (rule, "-- a TLS handshake that fails", shown),
            }
        } else {
            let rule = match self.setup.side {
                Side::Client => id::TLS_SERVER_READY_AFTER_ACK,
                Side::Server => id::TLS_CLIENT_UPGRADES_ON_ACK,
            };
            let why = match conn.link.start_tls(&starter, &secrets, limit).await {
                Ok(()) => return Ok(()),
                Err(NoTls::Failed(_)) if tls.outcome == TlsOutcome::Either => return Ok(()),
                Err(NoTls::Failed(why)) => format!("the TLS handshake failed: {why}"),
                Err(NoTls::Silent) => format!("the TLS handshake did not end within {limit:?}"),
            };
            (rule, "-- a TLS handshake", why)
        };
        let rule = tag.unwrap_or_else(|| rule.to_owned());
        let detail = Detail {
            expected: vec![expected.to_owned()],
            received: received.clone(),
            event: EventKind::Handshake,
            ..Detail::default()
        };
        self.find(&rule, &received, span, detail)?;
        Err(Stop::Failed)
    }

    /// Puts a connection inside TLS, if `when` is when the set-up wants that.
    pub(super) async fn upgrade(&mut self, name: &str, when: Upgrade, span: Span) -> Flow {
        let ready = self
            .conns
            .get(name)
            .is_some_and(|conn| !conn.link.is_tls() && !conn.link.tracker().awaits_tls());
        if self.setup.side == Side::Server
            || !ready
            || self.setup.upgrade == Upgrade::Never
            || self.setup.upgrade < when
        {
            return Ok(());
        }
        let Some(security) = self.setup.security.clone() else {
            return Err(Stop::Error("no credentials for TLS".to_owned()));
        };
        let option = OptionType::STARTTLS;
        let (_, reply) = self.option(name, option, OptionBody::Empty, span).await?;
        if reply.reply != ReplyType::ACK {
            let line = protocol::message::Message::OptionReply(reply).describe(None);
            return Err(Stop::Skip(format!("{option} is not offered: S: {line}")));
        }
        let (outcome, kind) = (TlsOutcome::Succeeds, None);
        let plain = Tls { outcome, kind, twists: Vec::new() };
        self.handshake(name, &plain, &security, None, span).await
    }
}
