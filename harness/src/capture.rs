//! A capture file for each scenario, as if its packets had been seen on a wire.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dissector::capture::{CaptureWriter, Conversation};
use protocol::message::Side;
use protocol::values::DEFAULT_PORT;

use crate::dial::TapMaker;
use crate::link::Tap;
use crate::socket::Socket;

/// Where the captures of a run go, and what went wrong with them.
#[derive(Debug, Clone)]
pub struct Captures {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Each file belongs to one playing of one scenario.
    used: HashSet<PathBuf>,
    trouble: Option<String>,
}

impl Captures {
    /// Below a folder, which is made if need be; tries whether it can be written to.
    ///
    /// # Errors
    /// What the system says.
    pub fn below(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let probe = folder.join(format!(".nbdcheck.{}.tmp", std::process::id()));
        File::create_new(&probe)?;
        fs::remove_file(&probe)?;
        Ok(Self { folder: folder.to_owned(), state: Arc::default() })
    }

    /// Makes `FOLDER/TARGET/SCENARIO.pcapng`, and the folders on the way; with a number where that
    /// is another scenario's, or an earlier playing's. `None` if it can't be made: see [`trouble`].
    ///
    /// [`trouble`]: Captures::trouble
    #[must_use]
    pub fn create(&self, target: &str, scenario: &str) -> Option<Capture> {
        let path = self.place(target, scenario);
        let made = create(&path);
        match made {
            Ok(out) => {
                let out = Out { writer: Some(out), error: None };
                let out = Arc::new(Mutex::new(out));
                Some(Capture { path, out, captures: self.clone() })
            }
            Err(error) => {
                self.note(&path, &error);
                None
            }
        }
    }

    /// A path that is not used yet.
    fn place(&self, target: &str, scenario: &str) -> PathBuf {
        let mut state = locked(&self.state);
        let mut number = 1;
        loop {
            let end = if number == 1 { String::new() } else { format!("-{number}") };
            let path = self.folder.join(inside(target, scenario, &end));
            if state.used.insert(path.clone()) {
                return path;
            }
            number += 1;
        }
    }

    fn note(&self, path: &Path, error: &io::Error) {
        let text = format!("can't write {}: {error}", path.display());
        locked(&self.state).trouble.get_or_insert(text);
    }

    /// The first thing that went wrong: captures are missing or incomplete.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        locked(&self.state).trouble.clone()
    }
}

/// The path of a capture in the folder of captures. It never leads out of that.
fn inside(target: &str, scenario: &str, end: &str) -> PathBuf {
    let mut path = PathBuf::from(component(target));
    let mut parts: Vec<String> =
        scenario.split('/').filter(|part| !part.is_empty()).map(component).collect();
    let name = parts.pop().unwrap_or_else(|| component(""));
    path.extend(parts);
    path.push(format!("{name}{end}.pcapng"));
    path
}

/// A text as the name of a file or folder: neither hidden, nor the folder itself, nor the one above.
fn component(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let name: String = text.chars().map(safe).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if name.is_empty() => "_".to_owned(),
        None => name,
    }
}

fn create(path: &Path) -> io::Result<Writer> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // What an earlier run left there goes; a link to elsewhere is not followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    CaptureWriter::new(BufWriter::new(File::create_new(path)?))
}

type Writer = CaptureWriter<BufWriter<File>>;

/// The file while it is written; after an error nothing more is.
struct Out {
    writer: Option<Writer>,
    error: Option<io::Error>,
}

impl Out {
    fn write(&mut self, step: impl FnOnce(&mut Writer) -> io::Result<()>) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = step(writer)
        {
            self.writer = None;
            self.error = Some(error);
        }
    }
}

/// The capture file of one scenario.
pub struct Capture {
    path: PathBuf,
    out: Arc<Mutex<Out>>,
    captures: Captures,
}

impl Capture {
    /// Makes taps that write into the file.
    #[must_use]
    pub fn tap_maker(&self) -> TapMaker {
        let out = self.out.clone();
        let mut made = 0u16;
        Box::new(move |_name, stream, side| {
            made += 1;
            let (client, server) = addresses(stream, side, made);
            // Nobody knows what the other side had received when it sent.
            let mut conversation = Conversation::new(client, server).overheard();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            locked(&out).write(|writer| conversation.opened(writer, now));
            Some(Box::new(Recorder { out: out.clone(), conversation }) as Box<dyn Tap>)
        })
    }

    /// The scenario is over. Gives where the file is, if all of it could be written.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        let mut out = locked(&self.out);
        out.write(CaptureWriter::flush);
        match out.error.take() {
            Some(error) => {
                self.captures.note(&self.path, &error);
                None
            }
            None => Some(self.path.display().to_string()),
        }
    }
}

/// The addresses of client and server; made-up ones on NBD's port where the stream has none.
fn addresses(socket: &Socket, side: Side, number: u16) -> (SocketAddr, SocketAddr) {
    if let Socket::Tcp(tcp) = socket
        && let (Ok(local), Ok(peer)) = (tcp.local_addr(), tcp.peer_addr())
    {
        return match side {
            Side::Client => (local, peer),
            Side::Server => (peer, local),
        };
    }
    let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 49152u16.saturating_add(number)));
    (client, SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)))
}

struct Recorder {
    out: Arc<Mutex<Out>>,
    conversation: Conversation,
}

impl Tap for Recorder {
    fn data(&mut self, from: Side, time_ns: u64, bytes: &[u8]) {
        locked(&self.out).write(|writer| self.conversation.data(writer, from, time_ns, bytes));
    }

    fn secrets(&mut self, lines: &str) {
        locked(&self.out).write(|writer| writer.tls_key_log(lines));
    }

    fn closed(&mut self, from: Side, time_ns: u64, reset: bool) {
        locked(&self.out).write(|writer| {
            self.conversation.closed(writer, from, time_ns, reset)?;
            writer.flush()
        });
    }
}

/// Whoever panicked with the lock left whole values behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(target: &str, scenario: &str) -> String {
        inside(target, scenario, "").display().to_string()
    }

    #[test]
    fn names_never_lead_out_of_the_folder() {
        assert_eq!(shown("self", "2.6-base/sanity"), "self/2.6-base/sanity.pcapng");
        assert_eq!(shown("127.0.0.1:10809", "a b"), "127.0.0.1_10809/a_b.pcapng");
        assert_eq!(shown("..", "../../etc/passwd"), "_./_./_./etc/passwd.pcapng");
        assert_eq!(shown("x", "/tmp/mine"), "x/tmp/mine.pcapng");
        assert_eq!(shown("a/b", "./mine"), "a_b/_/mine.pcapng");
        assert_eq!(shown("", ""), "_/_.pcapng");
    }

    #[test]
    fn each_playing_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let captures = Captures::below(&folder.path().join("new")).unwrap();
        let finished =
            |id: &str| captures.create("x", id).and_then(Capture::finish).unwrap_or_default();
        assert!(finished("a b").ends_with("new/x/a_b.pcapng"));
        assert!(finished("a_b").ends_with("new/x/a_b-2.pcapng"));
        assert_eq!(captures.trouble(), None);
    }

    #[test]
    fn links_are_not_followed_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "mine").unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("x/a.pcapng")).unwrap();
        let captures = Captures::below(folder.path()).unwrap();
        assert!(captures.create("x", "a").and_then(Capture::finish).is_some());
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }

    #[test]
    fn what_can_not_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(Captures::below(&folder.path().join("file")).is_err());
        let captures = Captures::below(folder.path()).unwrap();
        // A file stands where a folder is needed.
        assert!(captures.create("file", "a").is_none());
        assert!(captures.trouble().is_some_and(|text| text.contains("file/a.pcapng")));
    }
}
