//! Servers under test: started, awaited, watched and stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::address::Address;
use super::command::{CommandLine, shown};
use super::error::{PeerError, StartError};
use super::file::{self, Configuration, Server};
use super::greet::greet;
use super::image::Content;
use super::mark::POLL;
use super::own;
use super::place::{Place, size_of};
use super::process::{Ended, Invocation, Process, TAIL_LIMIT, find_program, search_path};
use super::schema::{TlsKind, Transport};
use super::template::{self, TemplateError, Value, Values};

/// How often a start is tried when the address was taken in the meantime.
const TRIES: usize = 4;
/// How long a program may be greeted for by another, such as a container's proxy, before that is
/// taken for its own greeting. One that found its port taken has ended by then.
const FOREIGN_LIMIT: Duration = Duration::from_secs(2);
/// How long one command of `prepare` may take.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);
/// How long one attempt to be greeted may take: less than the whole wait, since a socket may listen
/// before anybody serves it.
const GREET_LIMIT: Duration = Duration::from_secs(2);
/// How soon a server that serves one session only ends after it, as a rule.
const LEAVE_LIMIT: Duration = Duration::from_millis(100);
/// How long a server that no longer answers may take to end.
const GONE_LIMIT: Duration = Duration::from_millis(500);

/// A server's peer file, read and checked.
#[derive(Debug, Clone)]
pub struct PeerFile {
    server: Server,
    /// It was seen to stay after a session.
    stays: Arc<AtomicBool>,
}

/// The command line that starts a server.
struct Line {
    program: PathBuf,
    args: Vec<String>,
    /// As one would type it.
    shown: String,
    env: BTreeMap<String, String>,
    /// It runs in the server's own directory, not in the user's.
    in_its_place: bool,
}

/// The TLS that a server is to have; where nothing else is said, it insists on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tls {
    /// None.
    #[default]
    Off,
    /// X.509: a directory with `ca-cert.pem`, `server-cert.pem` and `server-key.pem`.
    X509(PathBuf),
    /// The same, and clients must show a certificate.
    X509Verify(PathBuf),
    /// The same, and clients need no certificate.
    X509NoVerify(PathBuf),
    /// X.509 for those who ask for it.
    X509Selective(PathBuf),
    /// Pre-shared keys: a directory with `keys.psk`, lines of `user:hexkey`.
    Psk(PathBuf),
    /// Pre-shared keys for those who ask for TLS.
    PskSelective(PathBuf),
}

impl Tls {
    fn kind(&self) -> Option<(TlsKind, &Path)> {
        match self {
            Self::Off => None,
            Self::X509(dir) => Some((TlsKind::X509, dir)),
            Self::X509Verify(dir) => Some((TlsKind::X509Verify, dir)),
            Self::X509NoVerify(dir) => Some((TlsKind::X509NoVerify, dir)),
            Self::X509Selective(dir) => Some((TlsKind::X509Selective, dir)),
            Self::Psk(dir) => Some((TlsKind::Psk, dir)),
            Self::PskSelective(dir) => Some((TlsKind::PskSelective, dir)),
        }
    }
}

/// How a server is to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartOptions {
    /// What carries the bytes.
    pub transport: Transport,
    /// What protects them.
    pub tls: Tls,
    /// Where the server's directory is made; by default where the system keeps temporary files.
    pub parent: Option<PathBuf>,
}

impl PeerFile {
    /// A shipped server by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn builtin(name: &str) -> Result<Self, PeerError> {
        Ok(Self::new(file::Text::shipped(name, "server")?.server()?))
    }

    /// The file at a path.
    ///
    /// # Errors
    /// It can't be read, or is no server's peer file.
    pub fn load(path: &Path) -> Result<Self, PeerError> {
        Ok(Self::new(file::Text::load(path)?.server()?))
    }

    /// What `--peer` names: a path (something with a `/` or `.toml`) or a shipped server.
    ///
    /// # Errors
    /// As of [`PeerFile::builtin`] and [`PeerFile::load`].
    pub fn find(wanted: &str) -> Result<Self, PeerError> {
        Ok(Self::new(file::Text::find(wanted, "server")?.server()?))
    }

    /// A server that a command of the user's own starts; the name of its export, if that is known.
    ///
    /// # Errors
    /// The command's placeholders are not such that the server can be reached.
    pub fn from_command(command: &str, export: Option<&str>) -> Result<Self, PeerError> {
        Ok(Self::new(own::server(command, export)?))
    }

    /// The same server, with as much time for its first greeting as any wait may take.
    #[must_use]
    pub fn greeting_within(mut self, wait: Duration) -> Self {
        let ready = &mut self.server.start.ready_within;
        *ready = wait.max(*ready);
        self
    }

    /// The shipped description of the program that a command starts, where it is one of ours by name.
    #[must_use]
    pub fn recognized(&self) -> Option<Self> {
        let program = self.command()?.program()?;
        let name = Path::new(program).file_name()?.to_str()?;
        let mut known = Self::builtin(name).ok()?;
        known.server.common.program = program.to_owned();
        Some(known)
    }

    fn new(server: Server) -> Self {
        Self { server, stays: Arc::default() }
    }

    /// The user's own command, if it is made of one.
    #[must_use]
    pub fn command(&self) -> Option<&CommandLine> {
        self.server.command.as_ref()
    }

    /// What `--peer` or `--server` takes to name it: a name, a path, a command.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.server.origin
    }

    /// The same peer with another program, such as another version's.
    #[must_use]
    pub fn with_program(mut self, program: &Path) -> Self {
        self.server.common.program = program.display().to_string();
        self
    }

    /// Its name: `qemu-nbd`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.server.common.name
    }

    /// The name of its record of known deviations.
    #[must_use]
    pub fn record(&self) -> &str {
        self.server.common.record()
    }

    /// What a sentence about it begins with.
    fn subject(&self) -> &str {
        if self.command().is_some() { "the server" } else { self.name() }
    }

    /// One line about it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.server.common.title
    }

    /// The configurations that it describes, in alphabetical order; `size-*` stands for
    /// `size-511`, `size-1MiB`...
    pub fn configurations(&self) -> impl Iterator<Item = &str> {
        self.server.configuration_names()
    }

    /// Whether the peer can be started as `configuration`.
    ///
    /// # Errors
    /// The reason why not, for the report of the skipped scenario.
    pub fn supports(&self, configuration: &str) -> Result<(), String> {
        match self.server.configuration(configuration) {
            Some(_) => Ok(()),
            None => Err(self.server.reason(configuration)),
        }
    }

    /// Whether the peer can be reached so.
    ///
    /// # Errors
    /// The reason why not.
    pub fn can_be_reached(&self, options: &StartOptions) -> Result<(), String> {
        let reason = |name: &str| {
            let default = || format!("{} is not described with `{name}`", self.name());
            self.server.cannot.get(name).cloned().unwrap_or_else(default)
        };
        let transport = self.transport(options.transport);
        if !self.server.listen.contains_key(&transport) {
            return Err(reason(transport.name()));
        }
        match options.tls.kind() {
            Some((kind, _)) if !self.server.tls.contains_key(&kind) => Err(reason(kind.name())),
            _ => Ok(()),
        }
    }

    /// TCP where nothing else is said, unless the server knows only unix sockets.
    fn transport(&self, wanted: Transport) -> Transport {
        let listen = &self.server.listen;
        let only_unix = !listen.contains_key(&Transport::Tcp);
        if wanted == Transport::default() && only_unix { Transport::Unix } else { wanted }
    }

    /// Asks the program for its version.
    ///
    /// # Errors
    /// It is not installed, or does not tell in the way that the file says.
    pub async fn version(&self) -> Result<String, StartError> {
        if self.command().is_some() {
            let reason =
                "the peer file does not say how to ask the program for its version".to_owned();
            return Err(StartError::Unsupported(reason));
        }
        self.server.common.ask_version().await
    }

    /// Starts it over TCP without TLS. See [`PeerFile::start_with`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, configuration: &str) -> Result<Running, StartError> {
        self.start_with(configuration, &StartOptions::default()).await
    }

    /// Starts it and waits until it greets. If the future is dropped meanwhile, nothing is left.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(
        &self,
        configuration: &str,
        options: &StartOptions,
    ) -> Result<Running, StartError> {
        let mut tries = 1;
        loop {
            match self.try_start(configuration, options).await {
                // Between our asking for a free port and its taking it another may have come.
                Err(StartError::Failed { output, .. })
                    if tries < TRIES && output.to_ascii_lowercase().contains("in use") =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_start(
        &self,
        configuration: &str,
        options: &StartOptions,
    ) -> Result<Running, StartError> {
        let server = &self.server;
        let unsupported = |name: &str| {
            let default = || format!("{} is not described with `{name}`", self.name());
            StartError::Unsupported(server.cannot.get(name).cloned().unwrap_or_else(default))
        };
        let (wanted, value) = server
            .configuration(configuration)
            .ok_or_else(|| StartError::Unsupported(server.reason(configuration)))?;
        let transport = self.transport(options.transport);
        let listen = server.listen.get(&transport).ok_or_else(|| unsupported(transport.name()))?;
        let tls = match options.tls.kind() {
            None => None,
            Some((kind, dir)) => {
                Some((server.tls.get(&kind).ok_or_else(|| unsupported(kind.name()))?, dir))
            }
        };
        let listen = match tls {
            Some(_) => server.listen_tls.get(&transport).unwrap_or(listen),
            None => listen,
        };
        if let Some(line) = &server.command {
            line.can_be_found()?;
        }
        let program = server.common.find()?;
        let place = Place::make(transport, options.parent.as_deref())
            .map_err(|e| failed("no place to start in", &e))?;
        let size = wanted.size.as_ref().and_then(|size| size_of(size, value));
        let mut values = place.values(wanted, value, size);
        if let Some((_, dir)) = tls {
            let name = match options.tls {
                Tls::Psk(_) | Tls::PskSelective(_) if server.command.is_some() => "psk-dir",
                _ => "tls-dir",
            };
            values.insert(name, Value::Text(dir.display().to_string()));
        }
        let lists = [
            ("listen", Some(listen)),
            ("tls", tls.map(|(args, _)| args)),
            ("args", Some(&wanted.args)),
        ];
        for (name, templates) in lists {
            let list = templates.map(|templates| template::words(templates, &values)).transpose();
            let list = list.map_err(|e| unfilled(configuration, &e))?.unwrap_or_default();
            values.insert(name, Value::Words(list));
        }
        place
            .make_files(server, wanted, &values, value, size)
            .map_err(|e| failed("its files can't be made", &e))?;
        self.prepare(wanted, &values, &place).await?;
        let line = match &server.command {
            Some(line) => {
                own::set_optional(configuration, value, &mut values);
                let shown = line.fill(&values);
                let args = line.for_shell(&shown);
                let env = BTreeMap::from([("PATH".to_owned(), search_path())]);
                // As at a prompt: in the user's directory.
                Line { program, args, shown, env, in_its_place: false }
            }
            None => {
                let args = template::words(&server.start.args, &values)
                    .map_err(|e| unfilled(configuration, &e))?;
                let shown = shown(&server.common.program, &args);
                let env = server.common.env.clone();
                Line { program, args, shown, env, in_its_place: true }
            }
        };
        let mut running = self.spawn(configuration, wanted, place, size, line)?;
        running.wait_until_ready(self).await?;
        Ok(running)
    }

    /// Starts the program of a configuration whose files are there.
    fn spawn(
        &self,
        configuration: &str,
        wanted: &Configuration,
        place: Place,
        size: Option<u64>,
        line: Line,
    ) -> Result<Running, StartError> {
        let server = &self.server;
        let process = Process::spawn(&Invocation {
            program: &line.program,
            args: &line.args,
            env: &line.env,
            dir: place.dir.path(),
            cwd: line.in_its_place.then(|| place.dir.path()),
            keep: TAIL_LIMIT,
        })
        .map_err(|e| StartError::Failed {
            what: format!("{} does not start: {e}", self.subject()),
            command: line.shown.clone(),
            output: String::new(),
        })?;
        Ok(Running {
            process,
            address: place.address.clone(),
            export: (!wanted.export.is_empty() || server.command.is_none())
                .then(|| wanted.export.clone()),
            configuration: configuration.to_owned(),
            note: wanted.note.clone(),
            image: wanted.image.as_ref().map(|_| place.image.clone()),
            content: wanted.image.as_ref().map(|image| image.content),
            size,
            command: line.shown,
            stop_within: server.start.stop_within,
            place,
        })
    }

    /// Runs the commands that make ready what the server needs.
    async fn prepare(
        &self,
        wanted: &Configuration,
        values: &Values,
        place: &Place,
    ) -> Result<(), StartError> {
        let env = &self.server.common.env;
        for words in &wanted.prepare {
            let words = template::words(words, values).map_err(|e| unfilled("prepare", &e))?;
            let Some((name, args)) = words.split_first() else { continue };
            let program = find_program(name, None).ok_or_else(|| StartError::Missing {
                program: name.clone(),
                hint: self.server.common.install.clone(),
            })?;
            let dir = place.dir.path();
            let cwd = Some(dir);
            let invocation =
                Invocation { program: &program, args, env, dir, cwd, keep: TAIL_LIMIT };
            let process =
                Process::spawn(&invocation).map_err(|e| failed("a preparation failed", &e))?;
            let ended = process.wait(PREPARE_LIMIT).await;
            if !ended.is_some_and(Ended::is_success) {
                process.stderr.wait_for_end(Duration::from_millis(200));
                let how = ended.map_or_else(|| "too slow".to_owned(), |e| e.to_string());
                return Err(StartError::Failed {
                    what: format!("a preparation for {} failed: {how}", self.name()),
                    command: shown(name, args),
                    output: process.stderr.text(),
                });
            }
        }
        Ok(())
    }
}

fn failed(what: &str, error: &io::Error) -> StartError {
    StartError::Failed {
        what: format!("{what}: {error}"),
        command: String::new(),
        output: String::new(),
    }
}

/// Only a value that is missing this time gets here, such as `{port}` with a unix socket; the rest
/// was checked when the file was read.
fn unfilled(configuration: &str, error: &TemplateError) -> StartError {
    StartError::Unsupported(format!("`{configuration}` can't be given this way: {error}"))
}

/// A server that was started. Dropping it ends it, its children and its files.
#[derive(Debug)]
pub struct Running {
    // Dropped before the directory.
    process: Process,
    address: Address,
    export: Option<String>,
    configuration: String,
    note: Option<String>,
    image: Option<PathBuf>,
    content: Option<Content>,
    size: Option<u64>,
    command: String,
    stop_within: Duration,
    place: Place,
}

/// How a server went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// How its process ended.
    pub ended: Option<Ended>,
    /// It had ended before it was asked to.
    pub early: bool,
    /// It did not end when asked to and was killed.
    pub killed: bool,
    /// The last it wrote.
    pub output: String,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The name of the export under test; `None` if it is for the server to tell.
    #[must_use]
    pub fn export_name(&self) -> Option<&str> {
        self.export.as_deref()
    }

    /// The configuration that was asked for.
    #[must_use]
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// What this peer does otherwise than the configuration's name says, for the report.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The file behind the export, if there is one.
    #[must_use]
    pub fn image(&self) -> Option<&Path> {
        self.image.as_deref()
    }

    /// What the file held at the start, if there is one.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        self.content
    }

    /// The size of the file in bytes; the server may round the export's.
    #[must_use]
    pub fn image_size(&self) -> Option<u64> {
        self.size
    }

    /// The command line, as one would type it.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The id of its process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The directory of its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.dir.path()
    }

    /// Whether its process is there; whether it answers is told by [`greet`](super::greet()).
    #[must_use]
    pub fn alive(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// How its process ended, if it did: `exit status 1`, `killed by SIGSEGV`.
    #[must_use]
    pub fn exit_status(&mut self) -> Option<String> {
        self.process.ended().map(|ended| ended.to_string())
    }

    /// The last it wrote on standard error and standard output, printable.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        let (out, err) = (self.process.stdout.text(), self.process.stderr.text());
        [err, out].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// Why the server is of no use, if it has ended after its first sessions, and whether it has ended
    /// well. One that still has to end gets half a second where `patient`.
    pub async fn ended_early(&mut self, patient: bool) -> Option<(StartError, bool)> {
        let limit = if patient { GONE_LIMIT } else { Duration::ZERO };
        let ended = self.process.wait(limit).await?;
        self.process.stderr.wait_for_end(Duration::from_millis(200));
        let text = if ended.is_success() {
            one_session(ended)
        } else {
            format!("the server ended while it was asked what it offers ({ended})")
        };
        Some((self.failed(text), ended.is_success()))
    }

    /// How its process ended, if it does within `limit`.
    pub async fn ends_within(&mut self, limit: Duration) -> Option<Ended> {
        self.process.wait(limit).await
    }

    /// Asks it to end, and kills it if it does not in time.
    pub async fn stop(mut self) -> Stopped {
        let early = self.process.ended();
        let mut ended = early;
        if ended.is_none() {
            self.process.terminate();
            ended = self.process.wait(self.stop_within).await;
        }
        let killed = ended.is_none();
        self.process.kill();
        self.process.stderr.wait_for_end(Duration::from_millis(200));
        let output = self.stderr_tail();
        Stopped { ended, early: early.is_some(), killed, output }
    }

    async fn wait_until_ready(&mut self, peer: &PeerFile) -> Result<(), StartError> {
        let start = Instant::now();
        let limit = peer.server.start.ready_within;
        let daemon = peer.server.start.daemon;
        let own = peer.command().is_some();
        let mut adopted = false;
        let mut last = None;
        let mut greeted = None;
        loop {
            let launcher = self.process.launcher_ended();
            let gone = match launcher {
                Some(ended) if daemon && ended.is_success() => {
                    // It returns before it listens, and before its pid file is written.
                    if !adopted && let Some(pid) = read_pid(&self.place.pidfile) {
                        adopted = self.process.adopt(pid);
                    }
                    if adopted { self.process.ended() } else { None }
                }
                // Its command may well have put it into the background.
                Some(ended) if own && ended.is_success() => {
                    let left = self.process.adopt_what_is_left(self.port());
                    if left { None } else { Some(ended) }
                }
                ended => ended,
            };
            if let Some(ended) = gone {
                self.process.stderr.wait_for_end(Duration::from_millis(200));
                return Err(self.failed(format!("{} ended at its start: {ended}", peer.subject())));
            }
            let left = limit.saturating_sub(start.elapsed());
            if (adopted || !daemon) && !(left.is_zero() && last.is_some()) {
                match greet(&self.address, left.min(GREET_LIMIT)).await {
                    Ok(_) if self.is_its_own() => return self.see_that_it_stays(peer).await,
                    // Ours will find the port taken and end, unless it listens through another.
                    Ok(_) => {
                        if greeted.get_or_insert_with(Instant::now).elapsed() >= FOREIGN_LIMIT {
                            return self.see_that_it_stays(peer).await;
                        }
                        last = Some(format!("another program greets at {}", self.address));
                    }
                    Err(error) => last = Some(error.to_string()),
                }
            }
            if start.elapsed() >= limit {
                let why = match last {
                    Some(error) => error,
                    None if launcher.is_none() => "it has not become a daemon".to_owned(),
                    None => "it has written no pid file of a process of its own".to_owned(),
                };
                let text = format!("{} is not ready after {limit:?}: {why}", peer.subject());
                return Err(self.failed(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A server that serves one session and ends is of no use here, and better known at once.
    async fn see_that_it_stays(&mut self, peer: &PeerFile) -> Result<(), StartError> {
        if peer.stays.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut ended = self.process.wait(LEAVE_LIMIT).await;
        // One that is there and slow, or takes one session at a time, is for others to judge.
        if ended.is_none() && greet(&self.address, GREET_LIMIT).await.is_err() {
            ended = self.process.wait(GONE_LIMIT).await;
        }
        match ended {
            Some(ended) => {
                self.process.stderr.wait_for_end(Duration::from_millis(200));
                Err(self.failed(one_session(ended)))
            }
            None => {
                peer.stays.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn port(&self) -> Option<u16> {
        match &self.address {
            Address::Tcp { port, .. } => Some(*port),
            Address::Unix(_) => None,
        }
    }

    /// Whether it is this process that greets; that it does where it can't be seen.
    fn is_its_own(&self) -> bool {
        match &self.address {
            Address::Tcp { port, .. } => self.process.listens_on(*port).unwrap_or(true),
            Address::Unix(_) => true,
        }
    }

    fn failed(&self, what: String) -> StartError {
        StartError::Failed { what, command: self.command.clone(), output: self.stderr_tail() }
    }
}

fn one_session(ended: Ended) -> String {
    let hint = if ended.is_success() {
        ": has it an option to stay, like qemu-nbd's `-t`?"
    } else {
        ", in which nothing but its greeting was read and NBD_OPT_ABORT sent"
    };
    format!("the server ended after one session ({ended}){hint}")
}

fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
