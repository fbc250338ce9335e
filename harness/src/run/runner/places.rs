//! Which export a scenario is played on: a server that the harness starts is set up for it, one that somebody
//! else runs may have an export that is as the scenario wants it.

use std::sync::Arc;
use std::time::Duration;

use protocol::message::{Info, Message, OptionReply, ReplyBody};
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, TransmissionFlags};
use tokio::sync::Mutex;

use super::content::{is_far, only_reads};
use super::known_content::There;
use super::state::{Runner, Shared};
use crate::run::SkipKind;
use crate::run::fitting::unfit;
use crate::run::needs::{Allowed, apparently_missing, missing};
use crate::run::prepare::{Answered, Place};
use crate::run::survey::export::Export;
use crate::run::survey::{Ask, Capabilities, TlsMode, Whom, probe};
use crate::run::target::{Target, Unavailable};
use crate::script::ast::Script;

/// How many exports besides the one under test are tried.
const OTHERS: usize = 16;
/// How many waits it may take to ask about one export.
const WAITS: u32 = 4;

/// Where a scenario is to be played.
pub(super) struct Spot {
    pub(super) shared: Arc<Shared>,
    pub(super) allowed: Allowed,
    /// The name of another export of the server.
    pub(super) other: Option<WireString>,
    /// What the export was seen to hold, in place of the content that scenarios know.
    pub(super) there: Option<Arc<[u8]>>,
    /// Why the scenario can't be played there, or anywhere.
    pub(super) lacking: Option<(SkipKind, String)>,
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
            let shared = self.shared(self.target.given(configuration)).await?;
            let mut spot = self.spot_on(shared, script, configuration, true).await;
            if let Some((SkipKind::NotPossible, reason)) = &mut spot.lacking
                && let Some(missing) = self.target.not_given(configuration)
            {
                *reason = format!("{missing}, and {reason}");
            }
            return Ok(spot);
        }
        let main = self.shared("default").await?;
        let main = self.spot_on(main, script, configuration, true).await;
        if main.lacking.is_none() {
            return Ok(main);
        }
        // What an export lacks that is of the wanted kind says more than that another is not.
        let mut nearest = unfit(configuration, &main.shared.capabilities)
            .is_none()
            .then(|| main.lacking.clone())
            .flatten();
        let found = &main.shared.capabilities;
        for export in found.exports.iter().take(OTHERS) {
            let Ok(name) = str::from_utf8(export.name.as_bytes()) else { continue };
            if name == found.export || export.tls_only || export.refused.is_some() {
                continue;
            }
            // What is told of it may do to see that it is not it.
            if let (Some(size), Some(flags)) = (export.size, export.flags) {
                let told = told(export, name, size, flags, found);
                if unfit(configuration, &told).is_some() {
                    continue;
                }
                let allowed = self.allowed(&told, false);
                if let Some(lacking) = apparently_missing(script, &told, allowed) {
                    nearest.get_or_insert(lacking);
                    continue;
                }
            }
            let Some(shared) = self.other_shared(name, &main.shared).await else { continue };
            let spot = self.spot_on(shared, script, configuration, false).await;
            match spot.lacking {
                None => return Ok(spot),
                Some(lacking) if unfit(configuration, &spot.shared.capabilities).is_none() => {
                    nearest.get_or_insert(lacking);
                }
                Some(_) => {}
            }
        }
        let lacking = nearest.or_else(|| main.lacking.clone());
        Ok(Spot { lacking, ..main })
    }

    async fn spot_on(
        &self,
        shared: Arc<Shared>,
        script: &Script,
        configuration: &str,
        is_main: bool,
    ) -> Spot {
        let needs = |word| script.header.has_need(word);
        let mut allowed = self.allowed(&shared.capabilities, is_main);
        let mut there = None;
        let other = if needs("other") { self.other(configuration, &shared) } else { None };
        allowed.other = other.is_some();
        let read_only = shared.capabilities.flags.has(TransmissionFlags::READ_ONLY);
        if self.target.is_owned() {
            allowed.content = shared.unfilled.is_none();
        }
        if needs("content") && !allowed.content && (read_only || !allowed.write) {
            there = self.there(&shared).await;
            let far = is_far(configuration);
            let known = |there: &There| there.known && (there.far || !far);
            if there.as_ref().is_some_and(known) {
                (allowed.content, there) = (true, None);
            } else if only_reads(script) {
                allowed.content = there.is_some();
            }
        }
        let found = &shared.capabilities;
        let lacking = (!allowed.owned)
            .then(|| unfit(configuration, found))
            .flatten()
            .or_else(|| missing(script, found, allowed));
        let there = there.map(|there| there.bytes);
        Spot { shared, allowed, other, there, lacking }
    }

    /// What is allowed with an export. Where the user named one, the others are not written to.
    fn allowed(&self, found: &Capabilities, is_main: bool) -> Allowed {
        let named = matches!(self.target, Target::External { export: Some(_), .. });
        let owned = self.target.is_owned();
        let read_only = found.flags.has(TransmissionFlags::READ_ONLY);
        Allowed {
            write: owned || (self.options.write && (is_main || !named)),
            hazard: self.options.hazard || owned,
            owned: self.target.is_described(),
            content: owned || (self.options.write && (is_main || !named) && !read_only),
            other: false,
            names: found.refuses_unknown,
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
        let write = self.allowed(&main.capabilities, false).write;
        // It may be stored in another way than the one under test.
        let ask = Ask { strange: true, write, ..Ask::offers(Some(name), limit) };
        let asked = probe(self.whom(main), &ask);
        let asked = tokio::time::timeout(limit.saturating_mul(WAITS), asked);
        let found = match write {
            true => self.changing(name, asked).await,
            false => asked.await,
        };
        let shared = found.ok().and_then(Result::ok).map(|mut capabilities| {
            // What the server lists and takes for TLS is the same everywhere.
            capabilities.tls = main.capabilities.tls;
            capabilities.tls_kind = main.capabilities.tls_kind;
            Arc::new(Shared {
                instance: Mutex::new(None),
                address: main.address.clone(),
                owned: false,
                described: false,
                content: false,
                unfilled: None,
                security: main.security.clone(),
                capabilities,
                capacity: main.capacity,
                canary: main.canary.clone(),
                visits: main.visits.clone(),
            })
        });
        others.insert(name.to_owned(), shared.clone());
        shared
    }

    /// An export that surely is another one.
    fn other(&self, configuration: &str, shared: &Shared) -> Option<WireString> {
        let found = &shared.capabilities;
        if configuration == "tls-only" {
            if self.target.is_described() {
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

    /// An export, as who lays content sees it.
    pub(super) fn place<'s>(&self, shared: &'s Shared) -> Place<'s> {
        let tls = shared.security.as_ref();
        Place {
            address: &shared.address,
            tls: tls.filter(|_| shared.capabilities.tls != TlsMode::Off),
            export: &shared.capabilities.export,
            limit: self.options.timeout.max(Duration::from_secs(1)),
            most: shared.capabilities.maximum(),
            answered: Answered::by(&shared.capabilities),
            stays_open: shared.capabilities.stays_open,
        }
    }
}

/// An export as far as the server tells of it before anybody enters it.
fn told(
    export: &Export,
    name: &str,
    size: u64,
    flags: TransmissionFlags,
    found: &Capabilities,
) -> Capabilities {
    let line = |info| {
        let body = ReplyBody::Info(info);
        let option = OptionType::INFO;
        let reply = OptionReply { option, reply: ReplyType::INFO, body };
        format!("S: {}", Message::OptionReply(reply).describe(None))
    };
    let mut lines = vec![line(Info::Export { size, flags })];
    if let Some((minimum, preferred, maximum)) = export.block_size {
        lines.push(line(Info::BlockSize { minimum, preferred, maximum }));
    }
    Capabilities {
        export: name.to_owned(),
        size,
        flags,
        // More may show to who enters it.
        extended_flags: TransmissionFlags::EMPTY,
        block_size: export.block_size,
        lines,
        ..found.clone()
    }
}
