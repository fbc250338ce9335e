//! The `C:`/`S:` notation: one grammar for scripts, transcripts, decode output and golden files.

pub mod ast;
pub mod error;
mod expr;
pub mod field;
pub mod lexer;
pub mod parser;
mod print;
#[cfg(test)]
mod tests;
pub mod vocabulary;
