//! Programs of others, started and stopped by the tests that need them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a program may take that should take less than a second.
const LIMIT: Duration = Duration::from_secs(30);

/// The program with the directories of system programs searched too. It ends when its handle is
/// dropped.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    // The system's first: scripts among the tools want the system's interpreters.
    command
        .env("PATH", format!("/usr/bin:/bin:/usr/sbin:/sbin:{path}"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program that must succeed; gives what it wrote, standard output first.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn run<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> String {
    let mut command = program(name);
    command.args(arguments);
    let output = timeout(LIMIT, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("`{name}` takes too long"))
        .unwrap_or_else(|error| panic!("`{name}` can't be run: {error}"));
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "`{name}` failed: {}\n{}", output.status, text.concat());
    text.concat()
}

/// A server that runs until it is dropped.
#[allow(dead_code, reason = "not every test file needs it")]
#[derive(Debug)]
pub(crate) struct Running(Child);

/// Starts a server in the foreground and waits until its socket is there.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn start<S: AsRef<OsStr>>(name: &str, arguments: &[S], socket: &Path) -> Running {
    let mut command = program(name);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("`{name}` can't be run: {error}"));
    let listening = async {
        while !socket.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("`{name}` ended: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, listening).await.unwrap_or_else(|_| panic!("`{name}` does not listen"));
    Running(child)
}

/// Whether the installed qemu has extended headers, which came with 8.2.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn qemu_is_extended() -> bool {
    let told = std::process::Command::new("qemu-img").arg("--version").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.split_whitespace().find(|word| word.starts_with(|c: char| c.is_numeric()));
    let mut numbers = version.unwrap_or_default().split('.').map_while(|part| part.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(8u32), Some(2u32))
}
