//! The way into an export, once it is known.

use std::time::Duration;

use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType, TransmissionFlags};

use super::asker::{Asker, Style};
use super::capabilities::{Capabilities, Route};
use super::fact::NoAnswer;
use super::whom::Whom;

/// The way into an export.
#[derive(Debug, Clone)]
pub(super) struct Way<'a> {
    pub whom: Whom<'a>,
    pub inside: bool,
    pub route: Route,
    pub name: WireString,
}

/// What entering an export tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    pub size: u64,
    pub flags: TransmissionFlags,
    pub block_size: Option<(u32, u32, u32)>,
}

impl Way<'_> {
    /// Opens a connection and enters; simple replies and compact headers.
    pub(super) async fn enter(&self, limit: Duration) -> Result<(Asker, Entered), NoAnswer> {
        let (mut asker, style) = Asker::open(self.whom, limit).await?;
        match self.enter_on(&mut asker, style).await {
            Ok(entered) => Ok((asker, entered)),
            Err(error) => {
                asker.leave(limit.min(Duration::from_secs(1)), false).await;
                Err(error)
            }
        }
    }

    async fn enter_on(&self, asker: &mut Asker, style: Style) -> Result<Entered, NoAnswer> {
        let apart = NoAnswer::NoWay("the server greeted in another way than before");
        match (self.route, style) {
            (Route::Oldstyle, Style::Oldstyle { size, flags }) => {
                return Ok(Entered { size, flags, block_size: None });
            }
            (Route::Oldstyle, _) | (_, Style::Oldstyle { .. }) => return Err(apart),
            _ => asker.greet().await,
        }
        if self.inside {
            asker.begin_tls(self.whom.security).await?;
        }
        if self.route == Route::ExportName {
            let (size, flags) = asker.export_name(&self.name).await?;
            return Ok(Entered { size, flags, block_size: None });
        }
        let reply = asker.info(OptionType::GO, &self.name, &[InfoType::BLOCK_SIZE]).await?;
        if reply.last != ReplyType::ACK {
            return Err(NoAnswer::Unexpected(reply.line));
        }
        let mut told = Capabilities::default();
        told.learn(&reply.items);
        let Capabilities { size, flags, block_size, .. } = told;
        Ok(Entered { size, flags, block_size })
    }
}
