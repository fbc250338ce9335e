//! What the scenarios of a run share: the servers, and what is known of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::{Mutex, RwLock, mpsc};

use super::canary::Canary;
use super::halt::Halt;
use super::known_content::Contents;
use super::options::Options;
use super::visits::Visits;
use crate::interpret::patience::Patience;
use crate::peer::Address;
use crate::run::result::Event;
use crate::run::survey::Capabilities;
use crate::run::target::{Instance, Target, Unavailable};
use crate::tls::Security;

/// A server that several scenarios use, and what it offers.
pub(super) struct Shared {
    pub(super) instance: Mutex<Option<Instance>>,
    pub(super) address: Address,
    pub(super) owned: bool,
    /// Whether it is known to be in the configuration that it was started in.
    pub(super) described: bool,
    /// Whether it comes with what its configuration says each time that it is started.
    pub(super) content: bool,
    /// Why it does not hold what its configuration says, if it does not. Other people's servers
    /// are given content when a scenario needs it.
    pub(super) unfilled: Option<String>,
    pub(super) security: Option<Security>,
    pub(super) capabilities: Capabilities,
    /// How many connections it serves at once, as far as was tried.
    pub(super) capacity: usize,
    /// Tells whether it still serves.
    pub(super) canary: Arc<Canary>,
    /// Who is at it.
    pub(super) visits: Arc<Visits>,
}

pub(super) struct Runner {
    pub(super) target: Target,
    pub(super) options: Options,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) shared: Mutex<HashMap<String, Result<Arc<Shared>, Unavailable>>>,
    /// The exports of an external target besides the one under test, by name; `None` for those that
    /// can't be entered.
    pub(super) others: Mutex<HashMap<String, Option<Arc<Shared>>>>,
    /// What an external target holds; those that change it run alone.
    pub(super) contents: RwLock<Contents>,
    /// Whether the run goes on.
    pub(super) halt: Halt,
    /// What was learnt about waiting.
    pub(super) patience: Arc<Patience>,
    /// Held by those that share an external target; who must be alone with it waits for them.
    pub(super) together: RwLock<()>,
    /// When the last canary was sent that came back; one at a time.
    pub(super) canary: Mutex<Option<Instant>>,
    /// A server that is started again has fallen silent before.
    pub(super) silenced: AtomicBool,
    /// The user was told that a server does not serve the image that it was given.
    pub(super) foreign_image: AtomicBool,
    /// How an external target died.
    pub(super) death: std::sync::Mutex<Option<String>>,
}

impl Runner {
    /// Of a target of which nothing is known yet.
    pub(super) fn new(
        target: &Target,
        options: &Options,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            target: target.clone(),
            options: options.clone(),
            events,
            shared: Mutex::new(HashMap::new()),
            others: Mutex::default(),
            contents: RwLock::default(),
            halt: Halt::new(options.limits.clone()),
            patience: Arc::default(),
            together: RwLock::new(()),
            canary: Mutex::new(None),
            silenced: AtomicBool::new(false),
            foreign_image: AtomicBool::new(false),
            death: std::sync::Mutex::new(None),
        }
    }
}
