//! Which programs a test needs, and what it does without them.
//!
//! `NBDCHECK_REQUIRE_PEERS` names the programs that must be there, separated by blanks, or says `all`;
//! `make test` names those that the distribution has.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::path::Path;

/// Whether the programs are all installed. Fails for one that must be there, and names one that may be
/// missing: the test is passed over then.
#[must_use]
pub(crate) fn here(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !installed(program));
    let Some(program) = missing else { return true };
    assert!(!required(program), "`{program}` is needed, and not installed");
    eprintln!("`{program}` is not installed: not tested");
    false
}

/// Whether a test may not pass for lack of this program.
#[must_use]
pub(crate) fn required(program: &str) -> bool {
    let list = std::env::var("NBDCHECK_REQUIRE_PEERS").unwrap_or_default();
    list.split_whitespace().any(|word| word == "all" || word == program)
}

/// Servers often lie in `sbin`, which a user's `PATH` may lack.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(|dir| Path::new(dir).to_owned());
    std::env::split_paths(&path).chain(usual).any(|dir| dir.join(program).is_file())
}
