//! The words of NBD: every value, message and string of the protocol, their encoding, the `C:`/`S:`
//! notation and the catalogue of requirements. No I/O, no clock, no async: bytes in, values out.

#![warn(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "a test that panics has failed"
    )
)]

pub mod build;
pub mod codec;
mod cursor;
pub mod describe;
pub mod digits;
pub mod message;
pub mod nearest;
pub mod notation;
pub mod payload;
pub mod requirements;
pub mod text;
pub mod units;
pub mod uri;
pub mod values;
