//! Looks for what nobody wrote a scenario for: sessions are made up, played, and what fails is shrunk to the
//! shortest script that still fails.
//!
//! A session ([`session`]) is a value of proptest's strategies. The [`writer`] makes a script of it, which says
//! for every answer what is lawful; it is played, judged and shown like any other script, and can be saved.

mod answers;
mod asks;
mod common;
mod differ;
mod facts;
mod haggle;
mod hunt;
mod in_order;
mod model;
mod pen;
pub mod render;
mod session;
mod slips;
pub mod tell_differences;
#[cfg(test)]
mod tests;
mod writer;

pub use differ::{Compared, Difference, Parted, differ};
pub use hunt::{Found, Hunt, Limits, Tally, hunt};
