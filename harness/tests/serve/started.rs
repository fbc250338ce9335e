//! Starting `nbdcheck serve`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// `nbdcheck serve` on a free port: the process, what it prints next, and the URI that it has printed.
pub(crate) fn started(args: &[&str], stderr: Stdio) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["serve", "--bind", "127.0.0.1:0"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the server starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut uri = String::new();
    out.read_line(&mut uri).expect("a URI");
    (child, out, uri.trim().to_owned())
}
