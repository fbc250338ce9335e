//! The command line of this process.

use crate::peer::quoted;

/// The command as it was typed.
#[must_use]
pub(super) fn typed() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| format!(" {}", quoted(&word.to_string_lossy())));
    std::iter::once("nbdcheck".to_owned()).chain(words).collect()
}
