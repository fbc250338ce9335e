//! Runs scenarios against one target: several at once, without one disturbing another.

mod canary;
mod content;
mod decide;
pub(super) mod halt;
mod image;
mod known_content;
mod options;
mod places;
mod playing;
mod run;
pub mod stage;
mod standing;
mod state;
mod verdict;
mod visits;

pub use halt::Limits;
pub use options::Options;
pub use run::run_target;
pub(super) use verdict::conclude;
