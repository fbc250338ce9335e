//! Embedded scripts.
use crate::script::ast::Script;
use include_dir::{Dir, include_dir};
use std::sync::Arc;
static SCENARIOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../scenarios");
fn collect<'d>(dir: &'d Dir<'_>, files: &mut Vec<&'d include_dir::File<'d>>) {
    files
        .extend(dir.files().filter(|file| file.path().extension().is_some_and(|ext| ext == "nbd")));
    for dir in dir.dirs() {
        collect(dir, files);
    }
}
/// all
pub fn all() -> Result<Vec<Arc<Script>>, String> {
    let mut out = Vec::new();
    let mut files = Vec::new();
    collect(&SCENARIOS, &mut files);
    files.sort_by_key(|f| f.path());
    for f in files {
        let path = f.path().display().to_string();
        out.push(Arc::new(load(
            path.trim_end_matches(".nbd"),
            &format!("scenarios/{path}"),
            f.contents_utf8().unwrap_or(""),
        )?));
    }
    Ok(out)
}
/// load
pub fn load(id: &str, path: &str, text: &str) -> Result<Script, String> {
    crate::script::parse(id, path, text).map_err(|e| crate::script::render(&e, false))
}
