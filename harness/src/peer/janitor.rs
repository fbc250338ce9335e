//! Ends what `nbdcheck` started where it can't do so itself any more, since it was killed: a second process
//! of the same program, which waits for the end of a pipe that only the first one holds.
//!
//! A parent-death signal would not do: it reaches children only, not theirs, and it is sent when a
//! thread ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::mark::{POLL, marked};

/// The name by which the program knows that it is the janitor.
const NAME: &str = "nbdcheck-janitor";
/// How long killed processes are looked for.
const LIMIT: Duration = Duration::from_secs(5);

/// This program can be the janitor: set by its `main`, and so not in tests of the library.
static AT_HAND: AtomicBool = AtomicBool::new(false);
/// Where the janitor listens, if there is one.
static JANITOR: LazyLock<Mutex<Option<ChildStdin>>> = LazyLock::new(|| Mutex::new(hire()));

/// To be called first thing by `main`. True if this process was the janitor and has done its work.
#[must_use]
pub fn work_if_called() -> bool {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        work(std::io::stdin().lock());
        return true;
    }
    AT_HAND.store(true, Ordering::Relaxed);
    false
}

/// Not to be reached by what ends the others: in a group of its own, without their environment, and
/// holding none of their streams open.
fn hire() -> Option<ChildStdin> {
    if !AT_HAND.load(Ordering::Relaxed) {
        return None;
    }
    let running = PathBuf::from("/proc/self/exe");
    let program = if running.exists() { running } else { std::env::current_exe().ok()? };
    let mut command = Command::new(program);
    command.arg0(NAME).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()?.stdin.take()
}

/// Tells that a program is about to be started whose processes have `dir` for a mark.
pub(super) fn about_to_start(dir: &Path) {
    tell(&format!("?{}\n", dir.display()));
}

/// Tells which process group it has become.
pub(super) fn started(group: Pid, dir: &Path) {
    tell(&format!("+{} {}\n", group.as_raw_nonzero(), dir.display()));
}

/// Tells that nothing of it is left.
pub(super) fn ended(group: Pid) {
    tell(&format!("-{}\n", group.as_raw_nonzero()));
}

fn tell(line: &str) {
    let mut janitor = JANITOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pipe) = janitor.as_mut() {
        // Without a janitor there is one safeguard less.
        let _ = pipe.write_all(line.as_bytes());
    }
}

/// What runs, as told line by line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Charge {
    starting: BTreeSet<PathBuf>,
    groups: BTreeMap<i32, PathBuf>,
}

impl Charge {
    fn hear(&mut self, line: &str) {
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        match kind {
            "?" => drop(self.starting.insert(rest.into())),
            "+" => {
                if let Some((group, dir)) = rest.split_once(' ')
                    && let Ok(group) = group.parse()
                {
                    self.starting.remove(Path::new(dir));
                    self.groups.insert(group, dir.into());
                }
            }
            "-" => {
                if let Ok(group) = rest.parse::<i32>() {
                    self.groups.remove(&group);
                }
            }
            _ => {}
        }
    }
}

fn work(from: impl std::io::BufRead) {
    let mut charge = Charge::default();
    for line in from.lines().map_while(Result::ok) {
        charge.hear(&line);
    }
    let Charge { starting, groups } = charge;
    for group in groups.keys().filter_map(|group| Pid::from_raw(*group)) {
        // It may be gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let dirs: Vec<PathBuf> = starting.into_iter().chain(groups.into_values()).collect();
    let start = Instant::now();
    while !dirs.is_empty() && start.elapsed() < LIMIT {
        let left = marked(dirs.iter().map(PathBuf::as_path));
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(POLL);
    }
    for dir in dirs {
        // Each was made for one start.
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut charge = Charge::default();
        for line in ["?/tmp/a b", "+12 /tmp/a b", "?/tmp/c", "+13 /tmp/c", "-12", "?/d", "", "x"] {
            charge.hear(line);
        }
        let groups = [(13, PathBuf::from("/tmp/c"))].into();
        assert_eq!(charge, Charge { starting: [PathBuf::from("/d")].into(), groups });
    }
}
