//! Which export a scenario is played on: a server that the harness starts is set up for it, one that somebody
//! else runs may have an export that is as the scenario wants it.

use std::sync::Arc;
use std::time::Duration;

use protocol::message::OptionBody;
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, TransmissionFlags};
use tokio::sync::Mutex;

use super::{Runner, Shared};
use crate::run::fitting::unfit;
use crate::run::needs::{Allowed, apparently_missing, missing};
use crate::run::prepare::Place;
use crate::run::probe::{Asker, Capabilities, TlsMode, Whom, probe};
use crate::run::target::{Target, Unavailable};
use crate::script::ast::Script;

/// How many exports besides the one under test are tried.
const OTHERS: usize = 16;
/// A name that no export has by chance.
const NOBODY: &str = "no such export: nbdcheck 4e42444d";
/// How many waits it may take to ask about one export.
const WAITS: u32 = 4;

/// Where a scenario is to be played.
pub(super) struct Spot {
    pub(super) shared: Arc<Shared>,
    pub(super) allowed: Allowed,
    /// The name of another export of the server.
    pub(super) other: Option<WireString>,
}

impl Runner {
    /// The server in a configuration, or the export of somebody else's server that a scenario can
    /// be played on; where there is none, the export under test, which then lacks something.
    pub(super) async fn spot(
        &self,
        script: &Script,
        configuration: &str,
    ) -> Result<Spot, Unavailable> {
        if self.target.is_owned() {
            let shared = self.shared(configuration).await?;
            return Ok(self.spot_on(shared, script, configuration, true).await);
        }
        let main = self.shared("default").await?;
        let main = self.spot_on(main, script, configuration, true).await;
        if main.lacks_nothing(script, configuration) {
            return Ok(main);
        }
        let found = &main.shared.capabilities;
        for export in found.exports.iter().take(OTHERS) {
            let Ok(name) = str::from_utf8(export.name.as_bytes()) else { continue };
            if name == found.export || export.tls_only || export.refused.is_some() {
                continue;
            }
            // What is told of it may do to see that it is not it.
            if let (Some(size), Some(flags)) = (export.size, export.flags) {
                let block_size = export.block_size;
                let export = name.to_owned();
                let told = Capabilities { export, size, flags, block_size, ..found.clone() };
                let allowed = Allowed { content: true, ..self.allowed(&told, false) };
                let lacks = unfit(configuration, &told)
                    .or_else(|| apparently_missing(script, &told, allowed));
                if lacks.is_some() {
                    continue;
                }
            }
            let Some(shared) = self.other_shared(name, &main.shared).await else { continue };
            let spot = self.spot_on(shared, script, configuration, false).await;
            if spot.lacks_nothing(script, configuration) {
                return Ok(spot);
            }
        }
        Ok(main)
    }

    async fn spot_on(
        &self,
        shared: Arc<Shared>,
        script: &Script,
        configuration: &str,
        is_main: bool,
    ) -> Spot {
        let needs = |word| script.header.needs.iter().any(|need| need.name.node == word);
        let mut allowed = self.allowed(&shared.capabilities, is_main);
        let other = if needs("other") { self.other(configuration, &shared) } else { None };
        allowed.other = other.is_some();
        if needs("names") {
            allowed.names = self.is_strict(&shared).await;
        }
        let read_only = shared.capabilities.flags.has(TransmissionFlags::READ_ONLY);
        if needs("content") && !allowed.owned && (read_only || !allowed.write) {
            allowed.content = self.holds_known(&shared).await;
        }
        Spot { shared, allowed, other }
    }

    /// What is allowed with an export. Where the user named one, the others are not written to.
    fn allowed(&self, found: &Capabilities, is_main: bool) -> Allowed {
        let named = matches!(self.target, Target::External { export: Some(_), .. });
        let owned = self.target.is_owned();
        let read_only = found.flags.has(TransmissionFlags::READ_ONLY);
        Allowed {
            write: owned || (self.options.write && (is_main || !named)),
            hazard: self.options.hazard,
            owned,
            content: owned || (self.options.write && (is_main || !named) && !read_only),
            other: false,
            names: false,
        }
    }

    fn whom<'s>(&self, shared: &'s Shared) -> Whom<'s> {
        Whom {
            address: &shared.address,
            security: shared.security.as_ref(),
            insists: self.target.insists_on_tls(),
        }
    }

    /// Another export of somebody else's server; asked once.
    async fn other_shared(&self, name: &str, main: &Shared) -> Option<Arc<Shared>> {
        let mut others = self.others.lock().await;
        if let Some(known) = others.get(name) {
            return known.clone();
        }
        let limit = self.options.timeout;
        let asked = probe(self.whom(main), Some(name), limit);
        let found = tokio::time::timeout(limit.saturating_mul(WAITS), asked).await;
        let shared = found.ok().and_then(Result::ok).map(|mut capabilities| {
            // What the server lists and takes for TLS is the same everywhere.
            capabilities.tls = main.capabilities.tls;
            capabilities.tls_kind = main.capabilities.tls_kind;
            Arc::new(Shared {
                instance: Mutex::new(None),
                address: main.address.clone(),
                owned: false,
                security: main.security.clone(),
                capabilities,
                capacity: main.capacity,
            })
        });
        others.insert(name.to_owned(), shared.clone());
        shared
    }

    /// An export that surely is another one.
    fn other(&self, configuration: &str, shared: &Shared) -> Option<WireString> {
        let found = &shared.capabilities;
        if configuration == "tls-only" {
            if self.target.is_owned() {
                return Some("secret".into());
            }
            let hidden = found.exports.iter().find(|export| export.tls_only);
            return hidden.map(|export| export.name.clone());
        }
        let is_other =
            |name: &&WireString| !name.is_empty() && name.as_bytes() != found.export.as_bytes();
        let mut named = found.listed.iter().flatten().filter(is_other);
        if !found.export.is_empty() {
            return named.next().cloned();
        }
        // One of the names may be that of the default export.
        let differs = |name: &&WireString| {
            let size = found.exports.iter().find(|export| export.name == **name).map(|it| it.size);
            size.flatten().is_some_and(|size| size != found.size)
        };
        named.find(differs).cloned()
    }

    /// Whether the server refuses an export that it can't have.
    async fn is_strict(&self, shared: &Shared) -> bool {
        let mut told = Capabilities::default();
        let whom = self.whom(shared);
        let found = &shared.capabilities;
        let haggling = Asker::haggling(whom, found, self.options.timeout, &mut told).await;
        let Ok(Some(mut asked)) = haggling else { return false };
        let body = OptionBody::Info { name: NOBODY.into(), requests: Vec::new() };
        let answer = asked.option(&mut told, OptionType::INFO, body).await;
        asked.leave().await;
        matches!(answer, Ok((_, last)) if last != ReplyType::ACK && last != ReplyType::ERR_UNSUP)
    }

    /// An export, as who lays content sees it.
    pub(super) fn place<'s>(&self, shared: &'s Shared) -> Place<'s> {
        let tls = shared.security.as_ref();
        Place {
            address: &shared.address,
            tls: tls.filter(|_| shared.capabilities.tls != TlsMode::Off),
            export: &shared.capabilities.export,
            limit: self.options.timeout.max(Duration::from_secs(1)),
        }
    }
}

impl Spot {
    fn lacks_nothing(&self, script: &Script, configuration: &str) -> bool {
        let found = &self.shared.capabilities;
        (self.allowed.owned || unfit(configuration, found).is_none())
            && missing(script, found, self.allowed).is_none()
    }
}
