//! Matrices: many parties side by side.
//!
//! A matrix is a list of [`Grid`]s; terminal, JSON, markdown and HTML are renderings of the same
//! grids, so that they can't disagree.

pub mod changes;
pub mod features;
pub mod grid;
pub mod html;
pub mod interop;
pub mod json;
pub mod markdown;
pub mod terminal;
pub mod tested;

pub use grid::{Cell, Column, Grid, Mark, Row};

#[cfg(test)]
mod tests;
