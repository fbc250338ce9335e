//! The `nbdcheck` command.
fn main() {}
