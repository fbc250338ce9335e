//! From bytes seen to verdicts: capture files, packets, TCP streams, sessions, rules, renderers.
//!
//! ```text
//! capture -> net -> tcp (-> tls) -> session -> dissect -> render
//! file       packet  bytes          messages   records    text, JSON
//! ```

#![warn(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    any(test, fuzzing),
    allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "a test that panics has failed"
    )
)]

pub mod capture;
pub mod dissect;
pub mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod latency;
pub mod net;
mod plural;
pub mod render;
pub mod session;
pub mod stats;
pub mod tcp;
pub mod tls;
