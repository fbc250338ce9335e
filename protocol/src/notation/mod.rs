//! The `C:`/`S:` notation: one grammar for scripts, transcripts, decode output and golden files.

pub mod ast;
