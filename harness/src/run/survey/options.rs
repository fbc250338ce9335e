//! What a server is asked in its haggling, and the ways into an export.

use std::time::Instant;

use protocol::message::{OptionBody, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType};

use super::asker::Reply;
use super::capabilities::{Capabilities, Route, TlsMode};
use super::fact::{Fact, NoAnswer, Trouble};
use super::surveyor::Surveyor;

/// An option that no specification knows.
const UNKNOWN: OptionType = OptionType(0x4e42_4421);
/// A name that no export has by chance, and that none is refused for its characters.
const NOBODY: &str = "nbdcheck-no-such-export-4e42444d";

impl Surveyor<'_> {
    /// What a fixed newstyle server is asked.
    pub(super) async fn options(&mut self) -> Result<(), Trouble> {
        self.tls().await?;
        self.list().await?;
        let _ = self.option(None, OptionType::STRUCTURED_REPLY, OptionBody::Empty).await;
        self.enter().await?;
        let name = WireString::from(self.found.export.as_str());
        self.information(&name).await;
        self.unknown_name().await;
        self.contexts(&name).await;
        self.extended(&name).await;
        if self.inside
            && self.found.options.keys().all(|asked| *asked == OptionType::STARTTLS)
            && self.gone.is_none()
        {
            // In TLS 1.3 a client is content before the server has looked at its certificate.
            return Err(Trouble::NoTls(
                "the server ends the session after the TLS handshake\nhint: does it demand a certificate, `--tls-cert` and `--tls-key`?"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Which TLS the server does.
    async fn tls(&mut self) -> Result<(), Trouble> {
        // A server may answer LIST by a refusal of its own; what it does not know tells its mode.
        let unknown = self.converse(None, UNKNOWN, OptionBody::Empty).await;
        self.found.unknown_option = match &unknown {
            Ok(reply) => Fact::Known(reply.last, reply.line.clone()),
            Err(error) => Fact::Unknown(error.to_string()),
        };
        self.found.leaves_at_unknown = matches!(unknown, Err(NoAnswer::Ended(_)));
        let forced = self.ask.forced
            || matches!(&unknown, Ok(reply) if reply.last == ReplyType::ERR_TLS_REQD);
        let shaken = self.start_tls().await;
        let offered = self.found.offers(OptionType::STARTTLS);
        if offered {
            self.found.tls = if forced { TlsMode::Forced } else { TlsMode::Selective };
            self.found.tls_kind = self.whom.security.map(crate::tls::Security::kind);
        }
        // With whom nobody else has set up, the handshake works: that it does not is for scenarios to
        // name.
        self.botched = !self.ask.strange && offered && shaken.is_err();
        if self.whom.insists || (forced && !self.refuses_tls()) {
            self.go_inside(shaken)?;
        }
        Ok(())
    }

    /// Whether STARTTLS is answered by an error, or comes to nothing: who demands TLS then contradicts
    /// themselves, which is for scenarios to name.
    fn refuses_tls(&self) -> bool {
        let refused = self.found.options.get(&OptionType::STARTTLS);
        self.botched || refused.is_some_and(|reply| reply.is_error())
    }

    /// STARTTLS, and the handshake where there is something for it.
    async fn start_tls(&mut self) -> Result<(), NoAnswer> {
        let mut asker = self.haggle(false).await?;
        self.asking("NBD_OPT_STARTTLS");
        let asked = asker.option(OptionType::STARTTLS, OptionBody::Empty).await;
        self.note(OptionType::STARTTLS, &asked);
        let shaken = match (&asked, self.whom.security) {
            (Ok(reply), Some(security)) if reply.last == ReplyType::ACK => {
                asker.shake_hands(security).await
            }
            (Ok(reply), _) if reply.last != ReplyType::ACK => {
                Err(NoAnswer::NoTls(format!("the server has no TLS: {}", reply.line)))
            }
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(NoAnswer::NoTls(format!("NBD_OPT_STARTTLS: {error}"))),
        };
        self.count(asked.as_ref().err());
        self.keep(&mut asker);
        self.leave(asker).await;
        shaken
    }

    /// From here on everything is asked inside TLS.
    fn go_inside(&mut self, shaken: Result<(), NoAnswer>) -> Result<(), Trouble> {
        if self.whom.security.is_none() {
            let line = self.found.evidence(&["NBD_REP_ERR_TLS_REQD"]).unwrap_or_default();
            return Err(Trouble::NoTls(format!(
                "the server insists on TLS: {line}\nhint: `--target nbds://...`, with `--tls-ca`, `--tls-cert` and `--tls-key`, or `--tls-psk`"
            )));
        }
        shaken.map_err(|error| Trouble::NoTls(error.to_string()))?;
        self.inside = true;
        // What was not answered in the clear may be answered inside.
        self.found.options.retain(|option, _| *option == OptionType::STARTTLS);
        Ok(())
    }

    /// What is refused in the clear is asked inside; gives whether there is a reason to ask again.
    async fn demanded(
        &mut self,
        option: OptionType,
        reply: &Result<Reply, NoAnswer>,
    ) -> Result<bool, Trouble> {
        let demands = matches!(reply, Ok(reply) if reply.last == ReplyType::ERR_TLS_REQD)
            // LIST may be forbidden for its own sake.
            || (option == OptionType::GO && self.is_forbidden(reply));
        if !demands || self.inside || self.refuses_tls() {
            return Ok(false);
        }
        let shaken = match self.whom.security {
            Some(_) => self.start_tls().await,
            None => Ok(()),
        };
        self.go_inside(shaken)?;
        Ok(true)
    }

    /// Whether GO is forbidden as is what nobody knows: TLS is a must, by another name.
    fn is_forbidden(&mut self, reply: &Result<Reply, NoAnswer>) -> bool {
        let forbids = |last: &ReplyType| *last == ReplyType::ERR_POLICY;
        let forbidden = self.found.unknown_option.known().is_some_and(forbids)
            && matches!(reply, Ok(reply) if forbids(&reply.last))
            && self.found.offers(OptionType::STARTTLS)
            && self.whom.security.is_some();
        if forbidden {
            self.found.tls = TlsMode::Forced;
        }
        forbidden
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        let mut heard = self.option(None, OptionType::LIST, OptionBody::Empty).await;
        if self.demanded(OptionType::LIST, &heard).await? {
            heard = self.option(None, OptionType::LIST, OptionBody::Empty).await;
        }
        if let Ok(Reply { items, last: ReplyType::ACK, .. }) = heard {
            let names = items.into_iter().filter_map(|reply| match reply.body {
                ReplyBody::Server { name, .. } => Some(name),
                _ => None,
            });
            self.found.listed = Some(names.collect());
        }
        Ok(())
    }

    /// Enters the export: by GO, else by EXPORT_NAME.
    async fn enter(&mut self) -> Result<(), Trouble> {
        let names = self.names();
        let mut refusal = None;
        for name in names {
            self.found.export = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let mut went = self.go(&name).await;
            if self.demanded(OptionType::GO, &went).await? {
                went = self.go(&name).await;
            }
            match went {
                Ok(reply) if reply.last == ReplyType::ACK => return Ok(()),
                Ok(reply) if reply.last == ReplyType::ERR_TLS_REQD && self.refuses_tls() => {
                    self.found.tls = TlsMode::Forced;
                    let why = format!("NBD_OPT_GO wants TLS, which is refused: {}", reply.line);
                    self.found.unknown.insert(OptionType::EXPORT_NAME, why);
                    return Ok(());
                }
                // The block size was asked for: an error that demands just that is for scenarios to name.
                Ok(reply) if reply.last == ReplyType::ERR_BLOCK_SIZE_REQD => return Ok(()),
                Ok(reply) if reply.last != ReplyType::ERR_UNSUP => refusal = Some(reply.line),
                // There is no GO, or none that works.
                Ok(_) | Err(_) => match self.by_name(&name, true).await {
                    Ok(()) => return Ok(()),
                    Err(NoAnswer::Unreachable(_) | NoAnswer::NoTime) => return Ok(()),
                    // A refusal closes: silence is for scenarios to name.
                    Err(NoAnswer::Silent(_)) => {}
                    Err(error) if went.is_ok() => refusal = Some(error.to_string()),
                    Err(_) => {}
                },
            }
        }
        match refusal {
            Some(refusal) => Err(self.refused(&refusal)),
            // Who says nothing is for scenarios to name.
            None => Ok(()),
        }
    }

    /// The exports to try: the given one, or the default one and the first that is listed.
    fn names(&self) -> Vec<WireString> {
        if let Some(name) = self.ask.export {
            return vec![WireString::from(name)];
        }
        let listed = self.found.listed.iter().flatten().filter(|name| !name.is_empty());
        std::iter::once(WireString::default()).chain(listed.take(1).cloned()).collect()
    }

    fn refused(&self, refusal: &str) -> Trouble {
        let hint = match &self.found.listed {
            _ if refusal.contains("NBD_REP_ERR_EXT_HEADER_REQD") => {
                "\nhint: it serves only clients that have negotiated extended headers, and most \
                 scenarios are about those that have not: let it serve both while it is tested"
                    .to_owned()
            }
            Some(names) if !names.is_empty() => {
                let names: Vec<String> = names.iter().take(8).map(ToString::to_string).collect();
                format!("\nhint: `--export` chooses another; the server lists {}", names.join(", "))
            }
            _ => "\nhint: `--export` names the export".to_owned(),
        };
        let name = WireString::from(self.found.export.as_str());
        Trouble::Export(format!("the server refuses the export {name}: {refusal}{hint}"))
    }

    async fn go(&mut self, name: &WireString) -> Result<Reply, NoAnswer> {
        let structured = self.structured();
        let mut went = self.try_go(structured, name).await;
        if went.is_err() && structured.is_some() {
            // That may have been due to the other option.
            went = self.try_go(None, name).await;
        }
        self.note(OptionType::GO, &went);
        if let Ok(Reply { items, last: ReplyType::ACK, .. }) = &went {
            self.found.learn(items);
            self.found.route = Some(Route::Go);
        }
        went
    }

    async fn try_go(
        &mut self,
        before: Option<OptionType>,
        name: &WireString,
    ) -> Result<Reply, NoAnswer> {
        let body = OptionBody::Info { name: name.clone(), requests: vec![InfoType::BLOCK_SIZE] };
        let went = self.converse(before, OptionType::GO, body).await;
        if went.is_ok() {
            self.found.opening = self.found.opening.max(self.took);
        }
        went
    }

    /// Enters by EXPORT_NAME.
    async fn by_name(&mut self, name: &WireString, options: bool) -> Result<(), NoAnswer> {
        let began = Instant::now();
        let mut asker = match options {
            true => self.haggle(self.inside).await?,
            false => {
                let (mut asker, _) = self.open().await?;
                asker.greet().await;
                asker
            }
        };
        self.asking("NBD_OPT_EXPORT_NAME");
        let entered = asker.export_name(name).await;
        self.count(entered.as_ref().err());
        if let Ok((size, flags)) = entered {
            (self.found.size, self.found.flags) = (size, flags);
            self.found.route = Some(Route::ExportName);
            self.found.opening = self.found.opening.max(began.elapsed());
        }
        if let Err(error) = &entered {
            self.found.unknown.insert(OptionType::EXPORT_NAME, error.to_string());
        }
        self.keep(&mut asker);
        self.leave(asker).await;
        entered.map(|_| ())
    }

    /// Enters a newstyle server that knows no other option.
    pub(super) async fn enter_by_name(&mut self) -> Result<(), Trouble> {
        let name = WireString::from(self.found.export.as_str());
        match self.by_name(&name, false).await {
            Ok(()) => Ok(()),
            // Without the fixed flag there is no other way to refuse.
            Err(error) => Err(self.refused(&error.to_string())),
        }
    }

    /// What INFO tells, and what those are told who do not ask for the block size.
    async fn information(&mut self, name: &WireString) {
        let info = |requests| OptionBody::Info { name: name.clone(), requests };
        let asked = vec![InfoType::BLOCK_SIZE];
        let _ = self.option(None, OptionType::INFO, info(asked)).await;
        for option in [OptionType::INFO, OptionType::GO] {
            if !self.found.offers(option) {
                continue;
            }
            if let Ok(mut asker) = self.haggle(self.inside).await {
                // Its lines would be taken for the answer to those who do ask.
                self.asking("the export without its block size");
                let asked = asker.info(option, name, &[]).await;
                self.count(asked.as_ref().err());
                self.found.block_size_required |=
                    matches!(&asked, Ok(reply) if reply.last == ReplyType::ERR_BLOCK_SIZE_REQD);
                self.leave(asker).await;
            }
        }
    }

    /// Whether a name that no export has is refused.
    async fn unknown_name(&mut self) {
        if !self.found.offers(OptionType::INFO) {
            return;
        }
        let Ok(mut asker) = self.haggle(self.inside).await else { return };
        let requests = [InfoType::BLOCK_SIZE];
        let asked = asker.info(OptionType::INFO, &WireString::from(NOBODY), &requests).await;
        self.count(asked.as_ref().err());
        let refused = |reply: &Reply| reply.last.is_error() && reply.last != ReplyType::ERR_UNSUP;
        self.found.refuses_unknown = asked.as_ref().is_ok_and(refused);
        self.leave(asker).await;
    }

    async fn contexts(&mut self, name: &WireString) {
        let structured = self.structured();
        if structured.is_none() {
            return;
        }
        let body = OptionBody::Meta { export: name.clone(), queries: Vec::new() };
        let listed = self.option(structured, OptionType::LIST_META_CONTEXT, body.clone()).await;
        if let Ok(Reply { items, .. }) = listed {
            let names = items.into_iter().filter_map(|reply| match reply.body {
                ReplyBody::MetaContext { name, .. } => Some(name),
                _ => None,
            });
            self.found.contexts = names.collect();
        }
        let _ = self.option(structured, OptionType::SET_META_CONTEXT, body).await;
    }

    /// Whether there are extended headers, and the flags of the export that hang on them and on a
    /// context.
    async fn extended(&mut self, name: &WireString) {
        let Ok(mut asker) = self.haggle(self.inside).await else { return };
        self.asking("NBD_OPT_EXTENDED_HEADERS");
        let asked = asker.option(OptionType::EXTENDED_HEADERS, OptionBody::Empty).await;
        self.note(OptionType::EXTENDED_HEADERS, &asked);
        self.count(asked.as_ref().err());
        if self.found.offers(OptionType::EXTENDED_HEADERS) {
            let queries = vec![WireString::from("base:allocation")];
            let body = OptionBody::Meta { export: name.clone(), queries };
            let mut told = Capabilities::default();
            if asker.option(OptionType::SET_META_CONTEXT, body).await.is_ok()
                && let Ok(reply) = asker.info(OptionType::INFO, name, &[InfoType::BLOCK_SIZE]).await
            {
                told.learn(&reply.items);
            }
            self.found.extended_flags = told.flags;
        }
        self.keep(&mut asker);
        self.leave(asker).await;
    }
}
