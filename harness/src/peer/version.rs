//! Which version of a program is installed.

use std::time::Duration;

use super::command::shown;
use super::error::StartError;
use super::file::Common;
use super::process::{Invocation, Process, TAIL_LIMIT, find_program};

/// How long a program may take to tell its version.
const LIMIT: Duration = Duration::from_secs(10);

impl Common {
    /// The program's path.
    pub(super) fn find(&self) -> Result<std::path::PathBuf, StartError> {
        let search = self.env.get("PATH").map(String::as_str);
        find_program(&self.program, search).ok_or_else(|| StartError::Missing {
            program: self.program.clone(),
            hint: self.install.clone(),
        })
    }

    /// Asks the program for its version.
    pub(super) async fn ask_version(&self) -> Result<String, StartError> {
        let program = self.find()?;
        let args = &self.version.args;
        let failed = |what: String, output| StartError::Failed {
            what,
            command: shown(&self.program, args),
            output,
        };
        let dir = tempfile::tempdir().map_err(|e| failed(e.to_string(), String::new()))?;
        let process = Process::spawn(&Invocation {
            program: &program,
            args,
            env: &self.env,
            dir: dir.path(),
            cwd: Some(dir.path()),
            keep: TAIL_LIMIT,
        })
        .map_err(|e| failed(e.to_string(), String::new()))?;
        let ended = process.wait(LIMIT).await;
        let (stdout, stderr) = (process.stdout.clone(), process.stderr.clone());
        drop(process);
        let grace = Duration::from_millis(200);
        stdout.wait_for_end(grace);
        stderr.wait_for_end(grace);
        // Some print it on standard error, some exit with a failure after it.
        let output = format!("{}\n{}", stdout.text(), stderr.text());
        match extract(&output, &self.version.pattern) {
            Some(version) => Ok(version),
            None if ended.is_none() => Err(failed(format!("no version within {LIMIT:?}"), output)),
            None => {
                let text = format!("no version like `{}` in its answer", self.version.pattern);
                Err(failed(text, output.trim().to_owned()))
            }
        }
    }
}

/// The version where the pattern has `{version}`: digits, letters and `.+~-`, starting with a digit.
fn extract(output: &str, pattern: &str) -> Option<String> {
    let (before, after) = pattern.split_once("{version}")?;
    output.lines().find_map(|line| {
        let (_, rest) = line.split_once(before)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !".+~-".contains(c));
        let (version, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let starts = version.starts_with(|c: char| c.is_ascii_digit());
        (starts && rest.starts_with(after)).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_in_what_programs_say() {
        let qemu = "qemu-nbd 10.0.2 (Debian 1:10.0.2+ds-2)\nWritten by Anthony Liguori.";
        assert_eq!(extract(qemu, "qemu-nbd {version}").as_deref(), Some("10.0.2"));
        let nbd = "This is nbd-server version 3.24\n";
        assert_eq!(extract(nbd, "version {version}").as_deref(), Some("3.24"));
        assert_eq!(extract("usage: version [options]", "version {version}"), None);
    }
}
