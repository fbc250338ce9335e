//! Scenario scripts: what they say, how they are read, checked and formatted.

pub mod ast;
