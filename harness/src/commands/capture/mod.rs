//! `nbdcheck capture`.

#[cfg(not(feature = "live"))]
mod absent;
#[cfg(feature = "live")]
mod present;

#[cfg(not(feature = "live"))]
pub use absent::{Args, run};
#[cfg(feature = "live")]
pub use present::{Args, run};
