//! The exports that a server lists, as it describes them.

use std::time::Duration;

use protocol::message::{Info, OptionBody, OptionReply, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType, TransmissionFlags};

use super::probe::{Asker, Capabilities, TlsMode, Unanswered, Whom};

/// More exports than that are counted, not described.
pub const DESCRIBED: usize = 64;
/// How many are asked for on one connection: nbdkit closes after 32 options.
const AT_ONCE: usize = 16;

/// An export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: WireString,
    /// Its description, if it has one.
    pub description: Option<WireString>,
    /// Size in bytes, if told.
    pub size: Option<u64>,
    /// Transmission flags, if told.
    pub flags: Option<TransmissionFlags>,
    /// The size constraints, if told: minimum, preferred, maximum.
    pub block_size: Option<(u32, u32, u32)>,
    /// The answer that denies information about it.
    pub refused: Option<ReplyType>,
    /// It is only served inside TLS, by a server that serves others in the clear.
    pub tls_only: bool,
}

impl Export {
    fn learn(&mut self, replies: Vec<OptionReply>) {
        for reply in replies {
            match reply.body {
                ReplyBody::Info(Info::Export { size, flags }) => {
                    (self.size, self.flags) = (Some(size), Some(flags));
                }
                ReplyBody::Info(Info::Description(text)) => self.description = Some(text),
                ReplyBody::Info(Info::BlockSize { minimum, preferred, maximum }) => {
                    self.block_size = Some((minimum, preferred, maximum));
                }
                _ => {}
            }
        }
    }
}

/// Describes the export that was entered and the first [`DESCRIBED`] that are listed, as far as the
/// server tells.
pub async fn describe(whom: Whom<'_>, found: &Capabilities, limit: Duration) -> Vec<Export> {
    let mut names: Vec<WireString> =
        found.listed.iter().flatten().take(DESCRIBED).cloned().collect();
    let entered = WireString::from(found.export.as_str());
    if found.size > 0 && !names.contains(&entered) {
        names.insert(0, entered.clone());
    }
    let mut exports: Vec<Export> =
        names.into_iter().map(|name| Export { name, ..Export::default() }).collect();
    if found.offers(OptionType::INFO) {
        for group in exports.chunks_mut(AT_ONCE) {
            // Who hangs up keeps the rest to himself.
            if ask(whom, found, group, limit).await.is_err() {
                break;
            }
        }
    }
    // What entering has shown holds, also of servers that can't be asked.
    if let Some(export) = exports.iter_mut().find(|export| export.name == entered)
        && (found.size > 0 || found.flags != TransmissionFlags::EMPTY)
    {
        export.size = Some(found.size);
        export.flags = Some(found.flags);
        export.block_size = export.block_size.or(found.block_size);
    }
    exports
}

async fn ask(
    whom: Whom<'_>,
    found: &Capabilities,
    exports: &mut [Export],
    limit: Duration,
) -> Result<(), Unanswered> {
    let mut told = Capabilities::default();
    let Some(mut asked) = Asker::haggling(whom, found, limit, &mut told).await? else {
        return Ok(());
    };
    if found.offers(OptionType::STRUCTURED_REPLY) {
        // Some flags show only then.
        asked.option(&mut told, OptionType::STRUCTURED_REPLY, OptionBody::Empty).await?;
    }
    for export in exports {
        let requests = vec![InfoType::BLOCK_SIZE, InfoType::DESCRIPTION];
        let body = OptionBody::Info { name: export.name.clone(), requests };
        let (replies, last) = asked.option(&mut told, OptionType::INFO, body).await?;
        export.learn(replies);
        export.refused = (last != ReplyType::ACK).then_some(last);
        export.tls_only = last == ReplyType::ERR_TLS_REQD && found.tls == TlsMode::Selective;
    }
    asked.leave().await;
    Ok(())
}
