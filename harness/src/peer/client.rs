//! Clients under test: one command an action.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::address::Address;
use super::command::{CommandLine, SHELL, shown};
use super::error::{PeerError, StartError};
use super::file::{self, CLIENT_WORDS, Client};
use super::process::{Ended, Invocation, Process, search_path};
use super::release::release;
use super::schema::ClientTls;
use super::template::{self, TemplateError, Value, Values};
use crate::script::ast::TlsKind;
use crate::tls::Security;
use protocol::uri::Uri;

/// How much of each output stream is kept, in bytes.
const KEEP: usize = 1 << 20;

/// A client's peer file, read and checked.
#[derive(Debug, Clone)]
pub struct ClientFile {
    client: Client,
}

/// What an action is about.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Where the server is.
    pub address: Address,
    /// The export's name.
    pub export: String,
    /// Where to read or write, in bytes from the start of the export.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u64,
    /// The local file to copy from or to.
    pub file: Option<PathBuf>,
    /// TLS, if the client is to demand it.
    pub tls: Option<Security>,
    /// How long the command may take.
    pub limit: Duration,
}

impl Parameters {
    /// Without offset, length and file; 30 seconds.
    #[must_use]
    pub fn new(address: Address, export: &str) -> Self {
        let limit = Duration::from_secs(30);
        let (export, tls) = (export.to_owned(), None);
        Self { address, export, offset: 0, length: 0, file: None, tls, limit }
    }

    /// The NBD URI, with what leads to the credentials.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let uri = match &self.address {
            Address::Tcp { host, port } => Uri::tcp(host.clone(), *port),
            Address::Unix(path) => Uri::unix(path),
        };
        let uri = uri.with_export(self.export.clone());
        match &self.tls {
            Some(security) => security.uri(uri),
            None => uri,
        }
    }
}

/// What became of a client's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRun {
    /// The command line, as one would type it.
    pub command: String,
    /// How it ended; `None` if it took too long and was killed.
    pub ended: Option<Ended>,
    /// The last 1 MiB of its standard output.
    pub stdout: Vec<u8>,
    /// The last it wrote on standard error, printable.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl ClientRun {
    /// Whether the client said that all went well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.ended.is_some_and(Ended::is_success)
    }
}

impl ClientFile {
    /// A shipped client by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn builtin(name: &str) -> Result<Self, PeerError> {
        Ok(Self { client: file::Text::shipped(name, "client")?.client()? })
    }

    /// The file at a path.
    ///
    /// # Errors
    /// It can't be read, or is no client's peer file.
    pub fn load(path: &Path) -> Result<Self, PeerError> {
        Ok(Self { client: file::Text::load(path)?.client()? })
    }

    /// What `--client` names: a path (something with a `/` or `.toml`) or a shipped client.
    ///
    /// # Errors
    /// As of [`ClientFile::builtin`] and [`ClientFile::load`].
    pub fn find(wanted: &str) -> Result<Self, PeerError> {
        Ok(Self { client: file::Text::find(wanted, "client")?.client()? })
    }

    /// The same client with another program, such as another version's.
    #[must_use]
    pub fn with_program(mut self, program: &Path) -> Self {
        self.client.common.program = program.display().to_string();
        self
    }

    /// Its name: `nbdinfo`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.client.common.name
    }

    /// The name of its record of known deviations.
    #[must_use]
    pub fn record(&self) -> &str {
        self.client.common.record()
    }

    /// What `--client` takes to name it: a name or a path.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.client.origin
    }

    /// One line about it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.client.common.title
    }

    /// The actions that it can do, in alphabetical order.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.client.actions.keys().map(String::as_str)
    }

    /// Whether it can do an action.
    ///
    /// # Errors
    /// The reason why not, for the report of the skipped scenario.
    pub fn supports(&self, action: &str) -> Result<(), String> {
        if self.client.actions.contains_key(action) {
            return Ok(());
        }
        Err(match self.client.cannot.get(action) {
            Some(reason) => reason.clone(),
            None => format!("{} is not described with the action `{action}`", self.name()),
        })
    }

    /// Whether it can do an action inside TLS.
    ///
    /// # Errors
    /// The reason why not.
    pub fn supports_tls(&self, action: &str, kind: TlsKind) -> Result<(), String> {
        if self.client.tls.get(&described(kind)).is_some_and(|all| all.contains_key(action)) {
            return Ok(());
        }
        Err(match self.client.cannot.get(kind.name()) {
            Some(reason) => reason.clone(),
            None => format!(
                "{} is not described with the action `{action}` inside TLS by {}",
                self.name(),
                kind.name()
            ),
        })
    }

    /// Whether a version of the program can do an action, and (`status`) tells by its exit status
    /// how that went.
    ///
    /// # Errors
    /// The reason why not.
    pub fn supports_since(&self, what: &str, version: &str) -> Result<(), String> {
        let Some(since) = self.client.since.get(what) else { return Ok(()) };
        let (Some(wanted), Some(found)) = (release(since), release(version)) else { return Ok(()) };
        if found >= wanted {
            return Ok(());
        }
        let name = self.name();
        Err(match what {
            "status" => format!("{name} before {since} exits with 0 whatever happens"),
            action => format!("{name} can `{action}` since {since}; this is {version}"),
        })
    }

    /// Asks the program for its version.
    ///
    /// # Errors
    /// It is not installed, or does not tell in the way that the file says.
    pub async fn version(&self) -> Result<String, StartError> {
        self.client.common.ask_version().await
    }

    /// Runs the command of an action to its end or its limit. If the future is dropped meanwhile,
    /// nothing is left of it.
    ///
    /// # Errors
    /// [`StartError`] if it could not be started; a failure of the command itself is in the result.
    pub async fn run(&self, action: &str, with: &Parameters) -> Result<ClientRun, StartError> {
        self.supports(action).map_err(StartError::Unsupported)?;
        let failed = |what: String| StartError::Failed {
            what,
            command: String::new(),
            output: String::new(),
        };
        let program = self.client.common.find()?;
        let dir = tempfile::Builder::new().prefix("nbd-").tempdir();
        let dir = dir.map_err(|e| failed(format!("no place to start in: {e}")))?;
        let templates = match &with.tls {
            None => &self.client.actions[action],
            Some(security) => {
                let kind = security.kind();
                self.supports_tls(action, kind).map_err(StartError::Unsupported)?;
                &self.client.tls[&described(kind)][action]
            }
        };
        let args = template::words(templates, &values(with, dir.path())).map_err(|error| {
            let name = self.name();
            StartError::Unsupported(match error {
                TemplateError::Unset { name: word } if word == "port" || word == "host" => {
                    format!("{name} does `{action}` over TCP only")
                }
                TemplateError::Unset { name: word } if word == "socket" => {
                    format!("{name} does `{action}` over a unix socket only")
                }
                other => format!("{name} can't do `{action}`: {other}"),
            })
        })?;
        let command = shown(&self.client.common.program, &args);
        let env = &self.client.common.env;
        let invocation = Invocation {
            program: &program,
            args: &args,
            env,
            dir: dir.path(),
            cwd: Some(dir.path()),
            keep: KEEP,
        };
        let run = conduct(&invocation, command, with.limit).await;
        run.map_err(|e| failed(format!("{} does not start: {e}", self.name())))
    }
}

/// Runs a program to its end or its limit; nothing is left of it.
async fn conduct(
    invocation: &Invocation<'_>,
    command: String,
    limit: Duration,
) -> io::Result<ClientRun> {
    let start = Instant::now();
    let process = Process::spawn(invocation)?;
    let ended = process.wait(limit).await;
    let took = start.elapsed();
    let (stdout, stderr) = (process.stdout.clone(), process.stderr.clone());
    drop(process);
    let grace = Duration::from_millis(500);
    stdout.wait_for_end(grace);
    stderr.wait_for_end(grace);
    Ok(ClientRun { command, ended, stdout: stdout.bytes(), stderr: stderr.text(), took })
}

/// A client's command of the user's own.
///
/// # Errors
/// It has a placeholder that is none.
pub fn client_command(text: &str) -> Result<CommandLine, PeerError> {
    let known: Vec<&str> = CLIENT_WORDS.iter().copied().chain(["action"]).collect();
    CommandLine::parse(text, &known)
        .map_err(|reason| PeerError::Command { command: text.to_owned(), reason })
}

/// Runs a command of the user's own for an action, as [`ClientFile::run`] does.
///
/// # Errors
/// See [`ClientFile::run`].
pub async fn run_command(
    line: &CommandLine,
    action: &str,
    with: &Parameters,
) -> Result<ClientRun, StartError> {
    let failed =
        |what: String, command: String| StartError::Failed { what, command, output: String::new() };
    line.can_be_found()?;
    let dir = tempfile::Builder::new().prefix("nbd-").tempdir();
    let dir = dir.map_err(|e| failed(format!("no place to start in: {e}"), String::new()))?;
    let mut values = values(with, dir.path());
    values.insert("action", Value::Text(action.to_owned()));
    let command = line.fill(&values);
    let env = BTreeMap::from([("PATH".to_owned(), search_path())]);
    let invocation = Invocation {
        program: Path::new(SHELL),
        args: &line.for_shell(&command),
        env: &env,
        dir: dir.path(),
        // As at a prompt: in the user's directory.
        cwd: None,
        keep: KEEP,
    };
    let run = conduct(&invocation, command.clone(), with.limit).await;
    run.map_err(|e| failed(format!("the client does not start: {e}"), command))
}

fn described(kind: TlsKind) -> ClientTls {
    match kind {
        TlsKind::X509 => ClientTls::X509,
        TlsKind::Psk => ClientTls::Psk,
    }
}

fn values(with: &Parameters, dir: &Path) -> Values {
    let text = |text: String| Value::Text(text);
    let mut values = Values::from([
        ("uri", text(with.uri().to_string())),
        ("name", text(with.export.clone())),
        ("offset", text(with.offset.to_string())),
        ("length", text(with.length.to_string())),
        ("dir", text(dir.display().to_string())),
    ]);
    match &with.address {
        Address::Tcp { host, port } => {
            values.insert("host", text(host.clone()));
            values.insert("port", text(port.to_string()));
        }
        Address::Unix(socket) => {
            values.insert("socket", text(socket.display().to_string()));
        }
    }
    if let Some(security) = &with.tls {
        values.insert("tls-dir", text(security.folder().display().to_string()));
    }
    if let Some(file) = &with.file {
        values.insert("file", text(file.display().to_string()));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_lacks_is_known_by_its_version() {
        let client = ClientFile::builtin("qemu-io").unwrap();
        assert_eq!(client.supports_since("read", "2.6.0"), Ok(()));
        assert_eq!(client.supports_since("zero-fast", "4.2.1 (Debian 1:4.2.1-1)"), Ok(()));
        insta::assert_snapshot!(
            client.supports_since("zero-fast", "4.1.0").unwrap_err(),
            @"qemu-io can `zero-fast` since 4.2; this is 4.1.0"
        );
        insta::assert_snapshot!(
            client.supports_since("status", "2.12.0").unwrap_err(),
            @"qemu-io before 3.0 exits with 0 whatever happens"
        );
    }
}
