//! Makes a constant of each requirement's id, so that a misspelt one does not compile.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=requirements.tsv");
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let table = fs::read_to_string(Path::new(&folder).join("requirements.tsv"))
        .expect("the catalogue lies beside this file");
    let mut ids = Vec::new();
    let mut code = String::new();
    for row in table.lines().skip(1) {
        let id = row.split('\t').next().unwrap_or_default();
        let summary = row.split('\t').next_back().unwrap_or_default();
        let name = id.replace('-', "_").to_uppercase();
        // Writing to a string can't fail.
        let _ = writeln!(code, "#[doc = {summary:?}]\npub const {name}: &str = {id:?};");
        ids.push(id);
    }
    ids.sort_unstable();
    let _ = writeln!(code, "pub(super) const SORTED: [&str; {}] = {ids:?};", ids.len());
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("requirement_ids.rs"), code)
        .expect("cargo's folder is writable");
}
