//! Programs that the harness starts and is answerable for: nothing of theirs outlives the value that
//! stands for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process, waitid,
};

use super::janitor;
use super::listener;
use super::mark::{MARK, POLL, has_mark, marked};
use super::tail::Tail;

/// How much of an output stream is kept, in bytes.
pub(super) const TAIL_LIMIT: usize = 16 << 10;
/// How long the end of killed processes is awaited.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It is gone; how is known only to its parent (a daemon has another).
    Unseen,
}

impl Ended {
    /// Whether the process said that all went well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Status(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Signal, &str); 11] = [
            (Signal::ABORT, "SIGABRT"),
            (Signal::BUS, "SIGBUS"),
            (Signal::FPE, "SIGFPE"),
            (Signal::HUP, "SIGHUP"),
            (Signal::ILL, "SIGILL"),
            (Signal::INT, "SIGINT"),
            (Signal::KILL, "SIGKILL"),
            (Signal::PIPE, "SIGPIPE"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::TERM, "SIGTERM"),
            (Signal::TRAP, "SIGTRAP"),
        ];
        let name = |number: i32| {
            let found = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
            found.map(|(_, name)| *name)
        };
        match self {
            Self::Status(status) => match name(status - 128) {
                Some(name) => write!(f, "exit status {status}, a shell's word for {name}"),
                None => write!(f, "exit status {status}"),
            },
            Self::Signal(number) => match name(*number) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Self::Unseen => f.write_str("gone"),
        }
    }
}

/// The system's usual directories.
const USUAL: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// `PATH` as the shell is to have it: with the system's usual directories at its end.
pub(super) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = path.split(':').filter(|dir| !dir.is_empty());
    own.chain(USUAL).collect::<Vec<_>>().join(":")
}

/// Where the program is: a name is looked up in `PATH` and in the system's usual directories, since
/// servers often lie in `sbin`, which a user's `PATH` may lack.
pub(super) fn find_program(program: &str, search: Option<&str>) -> Option<PathBuf> {
    let runnable = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return runnable(&path).then_some(path);
    }
    let path = search.map(OsString::from).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    std::env::split_paths(&path)
        .chain(USUAL.iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| runnable(path))
}

/// What to run.
#[derive(Debug, Clone)]
pub(super) struct Invocation<'a> {
    /// As found by [`find_program`].
    pub(super) program: &'a Path,
    /// Its arguments.
    pub(super) args: &'a [String],
    /// Environment variables to set; the others are inherited.
    pub(super) env: &'a BTreeMap<String, String>,
    /// Marks its processes.
    pub(super) dir: &'a Path,
    /// Its working directory; `None` for the one of this process.
    pub(super) cwd: Option<&'a Path>,
    /// How much of each output stream is kept, in bytes.
    pub(super) keep: usize,
}

/// A started program. Dropping it kills its processes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    daemon: Option<Pid>,
    dir: PathBuf,
    /// Standard output.
    pub(super) stdout: Tail,
    /// Standard error.
    pub(super) stderr: Tail,
}

impl Process {
    /// Starts a program in a process group of its own, with nothing to read and speaking no other
    /// language than C's.
    pub(super) fn spawn(what: &Invocation<'_>) -> io::Result<Self> {
        let mut command = Command::new(what.program);
        command
            .args(what.args)
            .env("LC_ALL", "C")
            .envs(what.env)
            .env(MARK, what.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = what.cwd {
            command.current_dir(cwd);
        }
        janitor::about_to_start(what.dir);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        janitor::started(pid, what.dir);
        let piped = "the stream was asked for";
        let stdout = Tail::of(child.stdout.take().expect(piped), what.keep);
        let stderr = Tail::of(child.stderr.take().expect(piped), what.keep);
        Ok(Self { child, pid, daemon: None, dir: what.dir.to_owned(), stdout, stderr })
    }

    /// The process id to look for in a process list: the daemon's, if there is one.
    pub(super) fn id(&self) -> u32 {
        self.daemon.unwrap_or(self.pid).as_raw_nonzero().get().unsigned_abs()
    }

    /// From now on the peer is the process `pid`, which the started program left behind. False if
    /// there is no such process, or where that can be seen, if it is not of this peer.
    pub(super) fn adopt(&mut self, pid: i32) -> bool {
        let Some(daemon) = Pid::from_raw(pid).filter(|pid| !pid.is_init() && is_there(*pid)) else {
            return false;
        };
        // Where it can't be read (another user's, no `/proc`), its own word must do.
        let environ = fs::read(format!("/proc/{}/environ", daemon.as_raw_nonzero()));
        if environ.is_ok_and(|environ| !has_mark(&environ, &self.dir)) {
            return false;
        }
        self.daemon = Some(daemon);
        true
    }

    /// From now on the peer is what the started program left behind when it ended: the process
    /// that listens on `port`, else any. False if there is none, or where that can't be seen.
    pub(super) fn adopt_what_is_left(&mut self, port: Option<u16>) -> bool {
        let left = self.marked();
        let listens = |pid: &&Pid| {
            port.is_some_and(|port| listener::is_held_by(port, &[**pid]) == Some(true))
        };
        match left.iter().find(listens).or(left.first()) {
            Some(pid) => {
                self.daemon = Some(*pid);
                true
            }
            None => false,
        }
    }

    /// How the started program itself ended, if it did. It stays unreaped, so that its id and its
    /// group's can't become another's.
    pub(super) fn launcher_ended(&self) -> Option<Ended> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Ended::Status(status),
                (None, Some(signal)) => Ended::Signal(signal),
                (None, None) => Ended::Unseen,
            }),
            Err(_) => Some(Ended::Unseen),
        }
    }

    /// How the process (the daemon, if there is one) ended, if it did.
    pub(super) fn ended(&self) -> Option<Ended> {
        match self.daemon {
            None => self.launcher_ended(),
            Some(daemon) => (!is_there(daemon)).then_some(Ended::Unseen),
        }
    }

    /// Whether it, or a process that it started, listens on a TCP port; `None` where that can't be
    /// seen.
    pub(super) fn listens_on(&self, port: u16) -> Option<bool> {
        let mut processes = self.marked();
        processes.push(self.daemon.unwrap_or(self.pid));
        listener::is_held_by(port, &processes)
    }

    /// Asks it to end: `SIGTERM`.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end, at most `limit`.
    pub(super) async fn wait(&self, limit: Duration) -> Option<Ended> {
        let start = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || start.elapsed() >= limit {
                return ended;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends all its processes at once and reaps it.
    pub(super) fn kill(&mut self) {
        self.end_all();
        janitor::ended(self.pid);
    }

    fn end_all(&mut self) {
        self.signal(Signal::KILL);
        // Fails only if it was reaped before.
        let _ = self.child.wait();
        // Daemons have other parents: they are awaited by looking. A process may fork while it is
        // looked for, so look again until there is none.
        let start = Instant::now();
        while start.elapsed() < KILL_LIMIT {
            let left = self.marked();
            if left.is_empty() && self.daemon.is_none_or(|daemon| !is_there(daemon)) {
                return;
            }
            for pid in left {
                // It may have ended by now.
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.pid, signal);
        if let Some(daemon) = self.daemon.filter(|daemon| is_there(*daemon)) {
            let _ = kill_process(daemon, signal);
            if rustix::process::getpgid(Some(daemon)) == Ok(daemon) {
                let _ = kill_process_group(daemon, signal);
            }
        }
    }

    /// The processes that carry this peer's mark, zombies not among them; none where the system has
    /// no `/proc`.
    fn marked(&self) -> Vec<Pid> {
        marked([self.dir.as_path()])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the process runs: it exists and is no zombie.
fn is_there(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // `pid (name) state ...`, and the name may hold anything.
    let state = stat.ok().and_then(|stat| Some(stat.rsplit_once(") ")?.1.chars().next()));
    !matches!(state, Some(Some('Z' | 'X')))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, limit: Duration) -> (Option<Ended>, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-c".to_owned(), script.to_owned()];
        let process = Process::spawn(&Invocation {
            program: Path::new("/bin/sh"),
            args: &args,
            env: &BTreeMap::new(),
            dir: dir.path(),
            cwd: None,
            keep: TAIL_LIMIT,
        })
        .unwrap();
        let ended = process.wait(limit).await;
        let (out, err) = (process.stdout.clone(), process.stderr.clone());
        drop(process);
        out.wait_for_end(Duration::from_secs(10));
        err.wait_for_end(Duration::from_secs(10));
        (ended, out.text(), err.text())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn output_and_status_are_seen() {
        let seen = shell("echo out; echo err >&2; exit 3", LONG).await;
        assert_eq!(seen, (Some(Ended::Status(3)), "out".to_owned(), "err".to_owned()));
        let seen = shell("kill -SEGV $$", LONG).await.0;
        assert_eq!(seen.map(|ended| ended.to_string()).as_deref(), Some("killed by SIGSEGV"));
    }

    #[test]
    fn how_it_ended_is_told_in_words() {
        let told = [Ended::Status(1), Ended::Status(134), Ended::Signal(6), Ended::Signal(64)];
        insta::assert_snapshot!(told.map(|it| it.to_string()).join("\n"), @r"
        exit status 1
        exit status 134, a shell's word for SIGABRT
        killed by SIGABRT
        killed by signal 64
        ");
    }

    #[tokio::test]
    async fn nothing_outlives_the_value() {
        // The end of its output, which `shell` waits for, shows that no holder of it is left.
        let start = Instant::now();
        let (ended, out, _) =
            shell("echo up; sleep 60 & sleep 60", Duration::from_millis(50)).await;
        assert_eq!((ended, out.as_str()), (None, "up"));
        assert!(start.elapsed() < Duration::from_secs(9));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_daemon_that_left_its_group_does_not_outlive_the_value() {
        let start = Instant::now();
        let (ended, ..) = shell("setsid sleep 60 & exit 0", LONG).await;
        assert_eq!(ended, Some(Ended::Status(0)));
        assert!(start.elapsed() < Duration::from_secs(9));
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(find_program("sh", None).is_some());
        assert!(find_program("sh", Some("")).is_some());
        assert_eq!(find_program("/bin/sh", None), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find_program("no-such-program", None), None);
        assert_eq!(find_program("/etc/passwd", None), None);
    }
}
