//! Exit statuses, a contract with users' scripts.

/// Nothing failed.
pub const OK: u8 = 0;
/// Something failed; with `--strict` also warnings, with `--expect` any difference from it.
pub const FAILED: u8 = 1;
/// Usage, a broken script, or a selection that matches no scenario.
pub const USAGE: u8 = 2;
/// No verdict: the target could not be reached, a peer could not be started, everything was
/// skipped, or a file could not be read, or something that was to be written could not be.
pub const NO_VERDICT: u8 = 3;
