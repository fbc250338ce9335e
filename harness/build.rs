//! Files that are embedded are followed, new ones included.

fn main() {
    for folder in ["../scenarios", "peers", "known"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
