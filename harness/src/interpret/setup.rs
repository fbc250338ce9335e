//! What a scenario is played with.

use std::sync::Arc;
use std::time::Duration;

use protocol::describe::Value;
use protocol::message::Side;

use super::patience::Patience;
use crate::dial::{ClientProcess, Dialer};
use crate::link::Touched;
use crate::script::ast::{Replies, Segmentation};
use crate::tls::Security;

/// What a scenario is played with.
pub struct Setup {
    /// The side that the harness plays.
    pub side: Side,
    /// Name of the export under test.
    pub export: String,
    /// Variables that are known from the start: `size`, `flags`, `minimum`...
    pub variables: Vec<(String, Value)>,
    /// The largest payload that requests may have, in bytes, whatever the server tells.
    pub most: Option<u64>,
    /// What the export holds from its start on, in place of the content that scenarios know: what is
    /// read is compared with it. For scripts that write nothing.
    pub there: Option<Arc<[u8]>>,
    /// Takes note of what requests may change.
    pub touched: Touched,
    /// How long one wait may take.
    pub timeout: Duration,
    /// How long the whole scenario may take.
    pub deadline: Duration,
    /// The server has few places, and may turn away who comes before the last one's is free again.
    pub few_places: bool,
    /// NBD_OPT_GO has no proper answer, and the export can be entered by NBD_OPT_EXPORT_NAME.
    pub enters_by_name: bool,
    /// The server was seen to end connections at an option that nobody knows.
    pub leaves_at_unknown: bool,
    /// What is known about waiting for this peer.
    pub patience: Arc<Patience>,
    /// The form of reply that `-- to transmission` negotiates when the script leaves it open.
    pub replies: Replies,
    /// How messages are cut when the script leaves it open.
    pub segmentation: Segmentation,
    /// What there is for TLS with the peer.
    pub security: Option<Security>,
    /// When the harness begins TLS of its own accord.
    pub upgrade: Upgrade,
    /// The server keeps connections after `NBD_CMD_DISC`; scenarios about that say so, the others
    /// end them themselves.
    pub stays_open: bool,
    /// Where connections come from.
    pub dialer: Dialer,
    /// The client under test, when there is one.
    pub client: Option<ClientProcess>,
}

/// When the harness begins TLS of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Upgrade {
    /// Only where the script says so.
    #[default]
    Never,
    /// Before transmission, since the server serves nothing else; options are the script's matter.
    BeforeTransmission,
    /// Before haggling: the whole session is to be inside.
    BeforeHaggling,
}
