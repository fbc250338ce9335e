//! How the command line names faults and quirks, and lists them.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

use protocol::nearest::the_nearest;

use crate::{exit, output};

/// The one with this name; otherwise the nearest name, and the command that lists all.
pub(super) fn parse<T: FromStr<Err: Display>>(
    text: &str,
    names: impl Iterator<Item = &'static str>,
    list: &str,
) -> Result<T, String> {
    text.parse().map_err(|error| {
        format!("{error}\nhint: {}; `{list}` shows all", the_nearest(text, names, 1))
    })
}

/// Prints all, each with what it does and, below, why that matters; returns the exit status.
pub(super) fn list<T: Display>(
    all: impl IntoIterator<Item = T>,
    told: impl Fn(&T) -> [String; 2],
) -> u8 {
    let mut out = String::new();
    for one in all {
        let [does, matters] = told(&one);
        let _ = writeln!(out, "{one}: {does}\n    {matters}");
    }
    output::print(&out);
    exit::OK
}
