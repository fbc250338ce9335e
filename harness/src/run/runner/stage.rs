//! A target that scripts are played against one after another, as they come about.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::options::Options;
use super::state::Runner;
use crate::run::Outcome;
use crate::run::survey::Capabilities;
use crate::run::survey::kept::Kept;
use crate::run::target::{Target, Unavailable};
use crate::script::ast::Script;

/// A target, ready to be played against.
pub struct Stage {
    runner: Runner,
}

/// What is known of a target in a configuration.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it offers.
    pub capabilities: Capabilities,
    /// The harness started it.
    pub owned: bool,
    /// It is known to be as the configuration says.
    pub described: bool,
    /// It holds what scenarios know, or can be made to.
    pub content: bool,
    /// What was read once is read again, unless somebody writes.
    pub keeps: bool,
    /// On how many connections it serves at once.
    pub capacity: usize,
}

impl Stage {
    /// Asks a target what it is.
    ///
    /// # Errors
    /// Why it can't be played against.
    pub async fn open(target: &Target, options: &Options) -> Result<Self, Unavailable> {
        // Nobody listens.
        let (events, _) = mpsc::unbounded_channel();
        let runner = Runner::new(target, options, events);
        let stage = Self { runner };
        match stage.runner.shared("default").await {
            Ok(_) => Ok(stage),
            Err(unavailable) => {
                stage.runner.stop().await;
                Err(unavailable)
            }
        }
    }

    /// What is known of it in a configuration; `None` where it can't be had.
    pub async fn setup(&self, configuration: &str) -> Option<Setup> {
        let Runner { target, options, .. } = &self.runner;
        let is_own = target.is_owned();
        if configuration != "default"
            && (!is_own
                || target.supports(configuration, options.access).is_err()
                || target.not_given(configuration).is_some())
        {
            return None;
        }
        let shared = self.runner.shared(target.given(configuration)).await.ok()?;
        let kept = &shared.capabilities.kept;
        let lacks = matches!(kept, Kept::Changes(_) | Kept::Nothing(_) | Kept::Private(_));
        Some(Setup {
            keeps: !matches!(kept, Kept::Changes(_)),
            content: shared.unfilled.is_none() && !lacks,
            capabilities: shared.capabilities.clone(),
            owned: shared.owned,
            described: shared.described,
            capacity: shared.capacity,
        })
    }

    /// Plays a script.
    pub async fn play(&self, script: &Arc<Script>) -> Outcome {
        self.runner.run(script).await
    }

    /// Why nothing more can be played.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.runner.halt.reason()
    }

    /// Ends what was started.
    pub async fn close(&self) {
        self.runner.stop().await;
    }
}
