//! What a server is, found out by asking it before anything is tested: in small steps, each on a
//! connection of its own. What is not answered is unknown, and nothing else is concluded from it.

mod asker;
mod capabilities;
pub mod capacity;
pub mod content;
pub mod export;
mod exports;
pub mod fact;
pub mod kept;
mod largest;
mod options;
mod parting;
pub mod relies;
mod steps;
mod surveyor;
#[cfg(test)]
mod tests;
mod way;
mod whole;
mod whom;

pub use capabilities::{Capabilities, Route, TlsMode};
pub use fact::{Fact, Trouble};
pub use steps::probe;
pub use whole::{Survey, survey};
pub use whom::{Ask, Whom};
