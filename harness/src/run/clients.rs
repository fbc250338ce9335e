//! Clients under test: the harness serves, the client is told what to do, and what it sends is what
//! counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use protocol::describe::Value;
use protocol::message::{Message, Side};
use protocol::notation::ast::{Expr, Op};
use protocol::payload::place;
use protocol::values::OptionType;
use reference_server::client::Options as Own;
use reference_server::tls::has_psk;
use reference_server::{ClientFault, ClientQuirk, Profile};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use super::plain::{NOT_STARTED, Plain};
use super::result::{Event, TargetRun};
use super::runner::halt::Halt;
use super::runner::{Options, conclude};
use super::{Outcome, SkipKind};
use crate::capture::Capture;
use crate::dial::{ClientProcess, Dialer, Source};
use crate::finding::{Severity, Verdict};
use crate::interpret::{Ending, Played, Setup, Upgrade, play};
use crate::link::{Entry, Said, Touched};
use crate::peer::{
    Address, ClientFile, ClientRun, Parameters, StartError, client_command, run_command,
    shipped_clients,
};
use crate::run::selfclient;
use crate::script::ast::{Script, TlsKind};
use crate::script::walk::mentions;
use crate::tls::Security;

/// The name of the export that the harness serves to a client under test.
const EXPORT: &str = "disk";

/// The seed of what clients are given to write.
const INPUT: u16 = 2;

/// A client under test.
#[derive(Debug, Clone)]
pub enum ClientTarget {
    /// The reference client, in this process.
    Reference,
    /// The reference client as a release of qemu, in this process.
    Profile(&'static Profile),
    /// The reference client with a deliberate fault, in this process.
    Faulty(ClientFault),
    /// The reference client with quirks, in this process.
    Quirky(Vec<ClientQuirk>),
    /// A program that a peer file describes.
    Peer(Box<ClientFile>),
    /// A command of the user's own, with `{uri}` in it.
    Command(String),
}

impl ClientTarget {
    /// What `--client` names.
    ///
    /// # Errors
    /// There is no such client.
    pub fn find(name: &str) -> Result<Vec<Self>, String> {
        if name == "self" {
            return Ok(vec![Self::Reference]);
        }
        if let Some(version) = name.strip_prefix("self@") {
            if version == "all" {
                return Ok(Profile::ALL.iter().map(Self::Profile).collect());
            }
            let profile = Profile::find(version).map_err(|error| error.to_string())?;
            return Ok(vec![Self::Profile(profile)]);
        }
        if name == "all" {
            let mut all = vec![Self::Reference];
            for name in shipped_clients() {
                let file = ClientFile::builtin(&name).map_err(|error| error.to_string())?;
                all.push(Self::Peer(Box::new(file)));
            }
            return Ok(all);
        }
        if name.contains("{uri}") {
            client_command(name).map_err(|error| error.to_string())?;
            return Ok(vec![Self::Command(name.to_owned())]);
        }
        ClientFile::find(name)
            .map(|file| vec![Self::Peer(Box::new(file))])
            .map_err(|error| error.to_string())
    }

    /// The name of its record of known deviations.
    #[must_use]
    pub fn record(&self) -> &str {
        match self {
            Self::Peer(file) => file.record(),
            Self::Reference
            | Self::Profile(_)
            | Self::Faulty(_)
            | Self::Quirky(_)
            | Self::Command(_) => self.name(),
        }
    }

    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Reference | Self::Faulty(_) | Self::Quirky(_) => "self (client)",
            Self::Profile(profile) => profile.peer(),
            Self::Peer(file) => file.name(),
            Self::Command(command) => command,
        }
    }

    /// What `--client` takes to name it.
    #[must_use]
    pub fn origin(&self) -> &str {
        match self {
            Self::Reference | Self::Faulty(_) | Self::Quirky(_) => "self",
            Self::Profile(profile) => profile.peer(),
            Self::Peer(file) => file.origin(),
            Self::Command(command) => command,
        }
    }

    /// The version that it tells, if it does.
    pub async fn version(&self) -> Option<String> {
        match self {
            Self::Reference | Self::Profile(_) | Self::Faulty(_) | Self::Quirky(_) => {
                Some(env!("CARGO_PKG_VERSION").to_owned())
            }
            Self::Peer(file) => file.version().await.ok(),
            Self::Command(_) => None,
        }
    }

    /// Whether it can do an action.
    ///
    /// # Errors
    /// The reason why not.
    pub fn supports(&self, action: &str) -> Result<(), String> {
        match self {
            Self::Reference | Self::Profile(_) | Self::Faulty(_) | Self::Quirky(_) => {
                let who = match self {
                    Self::Profile(profile) => format!("qemu {}", profile.version()),
                    _ => "the reference client".to_owned(),
                };
                selfclient::supports(&self.own().habits, &who, action)
            }
            Self::Peer(file) => file.supports(action),
            Self::Command(_) if action == "info" => Ok(()),
            Self::Command(command) if command.contains("{action}") => Ok(()),
            Self::Command(_) => Err(format!(
                "the command has no `{{action}}`, so nbdcheck cannot ask it to `{action}`"
            )),
        }
    }

    pub(crate) fn supports_tls(&self, action: &str, kind: TlsKind) -> Result<(), String> {
        match self {
            Self::Peer(file) => file.supports_tls(action, kind),
            Self::Profile(profile) if kind == TlsKind::Psk && !profile.has_psk() => {
                Err(format!("{profile} has no TLS with pre-shared keys"))
            }
            // The URI has it all.
            Self::Reference
            | Self::Profile(_)
            | Self::Faulty(_)
            | Self::Quirky(_)
            | Self::Command(_) => Ok(()),
        }
    }

    /// What the reference client is to do as this one.
    fn own(&self) -> Own {
        match self {
            Self::Profile(profile) => Own::of_release(profile),
            Self::Faulty(fault) => Own::of_habits(fault.habits()),
            Self::Quirky(quirks) => Own::of_habits(ClientQuirk::habits(quirks.iter().copied())),
            Self::Reference | Self::Peer(_) | Self::Command(_) => Own::default(),
        }
    }

    pub(crate) async fn act(
        self,
        action: String,
        with: Parameters,
    ) -> Result<ClientRun, StartError> {
        match self {
            Self::Peer(file) => file.run(&action, &with).await,
            Self::Command(command) => {
                let line = client_command(&command)
                    .map_err(|error| StartError::Unsupported(error.to_string()))?;
                run_command(&line, &action, &with).await
            }
            own => Ok(selfclient::act(own.own(), &action, &with.uri(), &with).await),
        }
    }
}

/// What a script's `action:` says.
struct Action {
    name: String,
    offset: u64,
    length: u64,
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("the action is empty")?.to_owned();
        let mut number = || match words.next() {
            Some(word) => word.parse::<u64>().map_err(|_| format!("`{word}` is not a number")),
            None => Ok(0),
        };
        Ok(Self { name, offset: number()?, length: number()? })
    }
}

/// Runs scenarios that test clients, plain sessions first.
pub async fn run_client(
    client: &ClientTarget,
    scripts: &[Arc<Script>],
    options: &Options,
    events: mpsc::UnboundedSender<Event>,
) -> TargetRun {
    let began = Instant::now();
    let halt = Arc::new(Halt::new(options.limits.clone()));
    let mut run = TargetRun { version: client.version().await, ..TargetRun::new(client.name()) };
    let (plain, others): (Vec<_>, Vec<_>) =
        scripts.iter().cloned().partition(|script| Plain::is_one(script));
    let mut shown = Plain::default();
    for scripts in [plain, others] {
        let (first, rest) = match scripts.split_first() {
            // Whether the client starts at all shows in one scenario.
            Some((first, rest)) if run.outcomes.is_empty() => (vec![first.clone()], rest),
            _ => (Vec::new(), &scripts[..]),
        };
        for scripts in [first, rest.to_vec()] {
            play_all(client, &scripts, options, &shown, &halt, &events, &mut run).await;
            let outcomes = run.outcomes.iter();
            let dead = |outcome: &&Outcome| {
                let reason = outcome.reason.as_deref().unwrap_or_default();
                outcome.verdict == Verdict::Error && reason.starts_with(NOT_STARTED)
            };
            if let Some(outcome) = outcomes.clone().find(dead)
                && outcomes.clone().all(|it| matches!(it.verdict, Verdict::Error | Verdict::Skip))
            {
                run.problem.clone_from(&outcome.reason);
                run.outcomes.clear();
                run.duration = began.elapsed();
                return run;
            }
        }
        for script in scripts.iter().filter(|script| Plain::is_one(script)) {
            if let Some(outcome) = run.outcomes.iter().find(|outcome| outcome.id == script.id) {
                shown.learn(script, outcome);
            }
        }
    }
    if run.outcomes.iter().any(|outcome| outcome.skipped == Some(SkipKind::NotRun)) {
        run.problem = run.problem.or(halt.reason());
    }
    run.outcomes.sort_by(|a, b| a.id.cmp(&b.id));
    run.duration = began.elapsed();
    run
}

/// Plays scenarios, several at once.
async fn play_all(
    client: &ClientTarget,
    scripts: &[Arc<Script>],
    options: &Options,
    shown: &Plain,
    halt: &Arc<Halt>,
    events: &mpsc::UnboundedSender<Event>,
    run: &mut TargetRun,
) {
    let places = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut tasks = tokio::task::JoinSet::new();
    for script in scripts {
        let (client, script, version) = (client.clone(), script.clone(), run.version.clone());
        let (options, events, places) = (options.clone(), events.clone(), places.clone());
        let (shown, halt) = (shown.clone(), halt.clone());
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let _ = events.send(Event::Started { id: script.id.clone() });
            let outcome = tokio::select! {
                biased;
                reason = halt.stopped() => {
                    let mut outcome = Outcome::new(client.name(), &script, &options.again);
                    outcome.skip(SkipKind::NotRun, format!("not run: {reason}"));
                    outcome
                }
                mut outcome = one(&client, version.as_deref(), &script, &shown, &options) => {
                    shown.subtract(&script, &mut outcome);
                    halt.note(&outcome, false);
                    outcome
                }
            };
            let _ = events.send(Event::Done(Box::new(outcome.clone())));
            outcome
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(outcome) => run.outcomes.push(outcome),
            Err(error) => run.problem = Some(format!("a scenario came to no end: {error}")),
        }
    }
}

async fn one(
    client: &ClientTarget,
    version: Option<&str>,
    script: &Arc<Script>,
    shown: &Plain,
    options: &Options,
) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(client.name(), script, &options.again);
    if let (Some((kind, reason)), true) = (&shown.no_tls, wanted_tls(script).is_some()) {
        outcome.skip(*kind, reason.clone());
        return outcome;
    }
    match prepare(client, version, script) {
        Ok(action) => {
            if let Err(reason) = perform(client, script, options, action, &mut outcome).await {
                outcome.fail_to_run(reason);
            }
        }
        Err(reason) => outcome.skip(SkipKind::NotPossible, reason),
    }
    outcome.duration = began.elapsed();
    outcome
}

fn prepare(
    client: &ClientTarget,
    version: Option<&str>,
    script: &Script,
) -> Result<Action, String> {
    let text = script.header.action.as_ref().map_or("info", |action| action.node.as_str());
    let action = Action::parse(text)?;
    client.supports(&action.name)?;
    if let (ClientTarget::Peer(file), Some(version)) = (client, version) {
        file.supports_since(&action.name, version)?;
        if mentions(script, &|part| matches!(part, Expr::Variable(name) if name == "status")) {
            file.supports_since("status", version)?;
        }
    }
    if let Some(kind) = wanted_tls(script) {
        client.supports_tls(&action.name, kind)?;
        if kind == TlsKind::Psk && !has_psk() {
            return Err("this program was built without pre-shared keys".to_owned());
        }
    }
    Ok(action)
}

async fn perform(
    client: &ClientTarget,
    script: &Arc<Script>,
    options: &Options,
    action: Action,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("file");
    if action.name == "write" || action.name == "copy-in" {
        make_input(&file, &action).map_err(|error| error.to_string())?;
    }
    let limit = script.header.timeout.unwrap_or(options.timeout);
    let mut with = Parameters::new(Address::from(address), EXPORT);
    with.offset = action.offset;
    with.length = action.length;
    with.file = Some(file.clone());
    with.limit = limit.saturating_mul(4);
    with.tls = wanted_tls(script).map(Security::made).transpose()?;
    let security = with.tls.clone();
    let captures = options.capture.as_ref();
    let capture = captures.and_then(|all| all.create(client.name(), &script.id));
    let running = tokio::spawn(client.clone().act(action.name.clone(), with));
    let setup = Setup {
        side: Side::Server,
        export: EXPORT.to_owned(),
        variables: vec![
            ("offset".to_owned(), Value::Int(action.offset)),
            ("length".to_owned(), Value::Int(action.length)),
        ],
        most: None,
        there: None,
        touched: Touched::default(),
        timeout: limit,
        few_places: false,
        enters_by_name: false,
        leaves_at_unknown: false,
        deadline: limit.saturating_mul(12),
        patience: Arc::default(),
        replies: options.replies,
        segmentation: options.segmentation,
        security,
        upgrade: Upgrade::Never,
        stays_open: false,
        dialer: Dialer::new(
            Source::AcceptTcp(Arc::new(listener)),
            capture.as_ref().map(Capture::tap_maker),
        ),
        client: Some(ClientProcess::new(running, Some(file))),
    };
    let played = play(script, setup).await;
    outcome.capture = capture.and_then(Capture::finish);
    let plain_tls = Plain::is_one(script) && wanted_tls(script).is_some();
    let reason = match client {
        ClientTarget::Command(_) if plain_tls => without_tls(&played),
        _ => None,
    };
    match reason.or_else(|| not_asked_for(script, &played)).or_else(|| unable(&played)) {
        // Who says nothing at all has shown nothing.
        Some(reason) if played.transcript.iter().all(|entry| option_of(entry).is_none()) => {
            outcome.skip(SkipKind::NotPossible, reason);
        }
        Some(reason) => outcome.skip(SkipKind::NotOffered, reason),
        None => conclude(outcome, played),
    }
    Ok(())
}

/// The TLS that the client is told to demand: `needs: tls=x509`.
fn wanted_tls(script: &Script) -> Option<TlsKind> {
    script.header.needs.iter().find_map(|need| match &need.condition {
        Some((Op::Eq, wanted)) if need.name.node == "tls" => match &wanted.node {
            Expr::Name(name) if name == "psk" => Some(TlsKind::Psk),
            _ => Some(TlsKind::X509),
        },
        _ => None,
    })
}

/// The option that is sent here.
fn option_of(entry: &Entry) -> Option<OptionType> {
    match &entry.said {
        Said::Message(seen) => match &seen.message {
            Message::Option(option) => Some(option.option),
            _ => None,
        },
        _ => None,
    }
}

/// A user's own command that was given an `nbds` URI and never asked for TLS is not one that has TLS.
fn without_tls(played: &Played) -> Option<String> {
    if played.transcript.iter().any(|entry| option_of(entry) == Some(OptionType::STARTTLS)) {
        return None;
    }
    let last = played.transcript.iter().rev().find(|entry| option_of(entry).is_some());
    let shown = last.map_or("it sends no option".to_owned(), |entry| entry.text(false));
    Some(format!("with an `nbds` URI the client does not ask for NBD_OPT_STARTTLS: {shown}"))
}

/// A client that never asks for an option that the scenario is about shows nothing of it.
fn not_asked_for(script: &Script, played: &Played) -> Option<String> {
    let options: Vec<(&Entry, OptionType)> = played
        .transcript
        .iter()
        .filter_map(|entry| match &entry.said {
            Said::Message(seen) => match &seen.message {
                Message::Option(option) => Some((entry, option.option)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let needed = script.header.needs.iter().filter_map(|need| match need.name.node.as_str() {
        "structured" => Some(OptionType::STRUCTURED_REPLY),
        "extended" => Some(OptionType::EXTENDED_HEADERS),
        name => name.parse().ok(),
    });
    // A client that said nothing at all is not one that did without.
    let (last, _) = options.last()?;
    let missing = |wanted: &OptionType| options.iter().all(|(_, option)| option != wanted);
    let wanted = needed.into_iter().find(missing)?;
    Some(format!("the client does not ask for {wanted}: {}", last.text(false)))
}

/// Where a client showed that it can't do what the script waits for; a recommendation that it did
/// not keep on the way says no more than that.
fn unable(played: &Played) -> Option<String> {
    match &played.end {
        Ending::Skipped(reason)
            if played.findings.iter().all(|it| it.severity() < Severity::Failure) =>
        {
            Some(reason.clone())
        }
        _ => None,
    }
}

/// What a client is given to write: each word tells where it belongs. The export holds something
/// else.
fn make_input(path: &Path, action: &Action) -> std::io::Result<PathBuf> {
    const LIMIT: u64 = 64 << 20;
    let mut bytes = vec![0; action.length.clamp(512, LIMIT) as usize];
    place(INPUT, action.offset, &mut bytes);
    std::fs::write(path, bytes)?;
    Ok(path.to_owned())
}
