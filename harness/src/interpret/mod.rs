//! The interpreter: plays one side of a scenario against a peer and collects what it finds.

pub mod assemble;
mod besides;
mod collected;
mod conn;
mod control;
mod enter;
pub mod eval;
mod events;
mod expect;
mod findings;
mod host;
mod interpreter;
mod judged;
pub mod labels;
mod left;
mod limits;
pub mod matching;
mod open;
mod others;
pub mod patience;
mod play;
mod rules;
mod send;
mod serve;
mod setup;
mod stop;
mod tls;

pub(crate) use findings::sent_last;
pub use limits::Limits;
pub use play::play;
pub use setup::{Setup, Upgrade};
pub use stop::{Ending, Played};
