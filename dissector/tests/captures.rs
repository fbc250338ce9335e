//! Small made captures, each of one thing that operators meet, decode to the text that is kept
//! beside them. Golden captures are those in which every line is a whole message.

use std::fs::{self, File};
use std::path::Path;

use dissector::dissect::{Options, dissect};
use dissector::render::{Renderer as _, TextRenderer};

#[test]
fn captures_decode_to_their_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut found = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let (Some("pcap" | "pcapng"), Some(stem)) = (extension, path.file_stem()) else { continue };
        found += 1;
        let file = File::open(&path).expect("a capture can be opened");
        let mut renderer = TextRenderer::new(Vec::new());
        dissect(file, Options::default(), &mut renderer).expect("a capture can be read");
        renderer.finish().expect("memory can be written");
        let text = String::from_utf8(renderer.into_inner()).expect("the notation is UTF-8");
        let name = stem.to_string_lossy().into_owned();
        insta::with_settings!({
            snapshot_path => &folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => format!("nbdcheck decode {name}"),
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
    assert_eq!(found, 6);
}
