//! One connection of a scenario: the stream, what was said on it, and the judge that listens.

mod alerts;
pub(crate) mod carrier;
mod connection;
mod end;
pub mod secure;
pub mod stream;
mod tap;
mod touched;
pub mod tracker;
mod transcript;

pub use connection::{Incoming, Link, Received, plain};
pub(crate) use end::seconds;
pub use end::{End, Part};
pub use tap::Tap;
pub use touched::Touched;
pub(crate) use transcript::shorten;
pub use transcript::{Entry, Judged, Said};
