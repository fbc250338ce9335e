//! The interpreter: plays one side of a scenario against a peer and collects what it finds.

pub mod assemble;
mod besides;
mod conn;
mod control;
mod enter;
pub mod eval;
mod events;
mod expect;
mod findings;
mod judged;
pub mod labels;
mod limits;
pub mod matching;
mod others;
pub mod patience;
mod rules;
mod send;
mod serve;
mod tls;

pub(crate) use findings::seen_bytes;
pub(crate) use findings::sent_last;
pub use limits::Limits;
pub use tls::Upgrade;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::build;
use protocol::describe::Value;
use protocol::message::{Cookie, Message, RequestForm, Side};
use protocol::notation::ast::{Expr, MessageLine, Span, Spanned, Word};
use protocol::payload::Payload;
use protocol::requirements;
use protocol::values::{Command, OptionType};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::dial::{ClientProcess, Dialed, Dialer};
use crate::finding::{Detail, EventKind, Finding, Sent};
use crate::link::tracker::Phase;
use crate::link::{End, Entry, Incoming, Link, Received, Said, Touched};
use crate::script::ast::{Branch, Items, Replies, Script, Segmentation, Statement, StatementKind};
use crate::tls::Security;
use assemble::{Reply, assemble, is_last};
use conn::{Choice, Conn, Selector, conn_name};
use eval::{Env, EvalError, number};
use labels::Cookies;
use matching::{Candidate, Difference, Outcome, compare, resolved};
use patience::{Cause, Patience};

/// How many lines of the conversation a finding shows.
const AFTER: usize = 12;
/// How soon a place is asked for again.
const PLACE_AGAIN: Duration = Duration::from_millis(50);
/// How often a scenario may enter again because there seems to be no place.
const PLACES_SOUGHT: u32 = 10;
/// How many rounds a loop may take.
const ROUNDS: u64 = 100_000;
/// A read of this many bytes or more is not made beside another such: what comes of them is held in
/// memory.
const LARGE: u64 = 4 << 20;
/// Whoever makes large reads, one scenario at a time.
static LARGE_READS: Semaphore = Semaphore::const_new(1);

/// The feature of the scenarios that are about how a session ends.
const DISCONNECTION: &str = "NBD_CMD_DISC";

/// How long a connection of a process that has ended may take to show.
const BACKLOG: Duration = Duration::from_millis(100);

/// What a scenario is played with.
pub struct Setup {
    /// The side that the harness plays.
    pub side: Side,
    /// Name of the export under test.
    pub export: String,
    /// Variables that are known from the start: `size`, `flags`, `minimum`...
    pub variables: Vec<(String, Value)>,
    /// What the export holds from its start on, in place of the content that scenarios know: what is
    /// read is compared with it. For scripts that write nothing.
    pub there: Option<Arc<[u8]>>,
    /// Takes note of what requests may change.
    pub touched: Touched,
    /// How long one wait may take.
    pub timeout: Duration,
    /// How long the whole scenario may take.
    pub deadline: Duration,
    /// The server has few places, and may turn away who comes before the last one's is free again.
    pub few_places: bool,
    /// What is known about waiting for this peer.
    pub patience: Arc<Patience>,
    /// The form of reply that `-- to transmission` negotiates when the script leaves it open.
    pub replies: Replies,
    /// How messages are cut when the script leaves it open.
    pub segmentation: Segmentation,
    /// What there is for TLS with the peer.
    pub security: Option<Security>,
    /// When the harness begins TLS of its own accord.
    pub upgrade: Upgrade,
    /// The server keeps connections after `NBD_CMD_DISC`; scenarios about that say so, the others
    /// end them themselves.
    pub stays_open: bool,
    /// Where connections come from.
    pub dialer: Dialer,
    /// The client under test, when there is one.
    pub client: Option<ClientProcess>,
}

/// How a scenario was played.
#[derive(Debug)]
pub struct Played {
    /// How it ended.
    pub end: Ending,
    /// What was found against the party under test.
    pub findings: Vec<Finding>,
    /// The requirements whose lines were reached.
    pub exercised: BTreeSet<&'static str>,
    /// What was said, of all connections, in order.
    pub transcript: Vec<Entry>,
}

/// How the playing of a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// At the last line, or at a finding that made going on pointless.
    Done,
    /// The peer does not offer what the scenario needs; the reason quotes the evidence.
    Skipped(String),
    /// What the peer does shows nothing of what the scenario is about; the reason says what it is.
    Unfit(String),
    /// There is no verdict.
    Error(String),
}

/// Why playing stops before the last line.
#[derive(Debug)]
enum Stop {
    /// A finding was made.
    Failed,
    /// See [`Ending::Skipped`].
    Skip(String),
    /// See [`Ending::Unfit`].
    Unfit(String),
    /// See [`Ending::Error`].
    Error(String),
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Self {
        Self::Error(error.message)
    }
}

type Flow = Result<(), Stop>;

/// Plays a script.
pub struct Interpreter<'s> {
    script: &'s Script,
    setup: Setup,
    env: Env,
    conns: BTreeMap<String, Conn>,
    findings: Vec<Finding>,
    exercised: BTreeSet<&'static str>,
    transcript: Vec<Entry>,
    large: Option<SemaphorePermit<'static>>,
    /// How often it was entered again for want of a place.
    places_sought: u32,
    /// The other connections of a client under test.
    others: Option<others::Others>,
}

/// Plays a script to its end, within the set-up's limits.
pub async fn play(script: &Script, setup: Setup) -> Played {
    let deadline = setup.deadline;
    let mut env = Env::default();
    env.set_there(setup.there.clone());
    env.set("export", Value::Text(setup.export.as_str().into()));
    for (name, value) in &setup.variables {
        env.set(name, value.clone());
    }
    let mut interpreter = Interpreter {
        script,
        setup,
        env,
        conns: BTreeMap::new(),
        findings: Vec::new(),
        exercised: BTreeSet::new(),
        places_sought: 0,
        transcript: Vec::new(),
        large: None,
        others: None,
    };
    let outcome = match tokio::time::timeout(deadline, interpreter.run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Stop::Error(format!("the scenario took more than {deadline:?}"))),
    };
    interpreter.end(outcome).await
}

impl Interpreter<'_> {
    async fn run(&mut self) -> Flow {
        self.block(&self.script.body).await?;
        self.say_goodbye().await
    }

    async fn end(mut self, outcome: Flow) -> Played {
        // A moment is enough to close; a peer that does not listen is dropped all the same.
        let limit = self.setup.timeout.min(Duration::from_secs(1));
        for conn in self.conns.values_mut() {
            conn.link.close(false, limit).await;
        }
        self.collect();
        self.stop_others();
        self.last_words().await;
        let end = match outcome {
            Ok(()) | Err(Stop::Failed) => Ending::Done,
            Err(Stop::Skip(reason)) => Ending::Skipped(reason),
            Err(Stop::Unfit(reason)) => Ending::Unfit(reason),
            Err(Stop::Error(reason)) => Ending::Error(reason),
        };
        let end = self.judge_others(end);
        let end = self.cut_off(end);
        Played {
            end,
            findings: self.findings,
            exercised: self.exercised,
            transcript: self.transcript,
        }
    }

    /// A client that was at work all the time until it was stopped has not left of its own accord.
    fn cut_off(&mut self, end: Ending) -> Ending {
        let ends = |finding: &Finding| {
            finding.detail.judged
                || matches!(finding.detail.event, EventKind::Close | EventKind::Reset)
        };
        let Some(client) = &self.setup.client else { return end };
        let waited = |finding: &Finding| finding.detail.event == EventKind::Timeout;
        if !client.was_cut_off()
            || !self.findings.iter().any(ends)
            || self.findings.iter().any(waited)
        {
            return end;
        }
        self.findings.clear();
        Ending::Error(
            "the client was still at work when its time was over, and was stopped".to_owned(),
        )
    }

    /// Shows with each failure how the client under test ended and what it says about it.
    async fn last_words(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        self.stop_listening();
        let limit = self.setup.timeout.min(Duration::from_secs(2));
        let Some(client) = &mut self.setup.client else { return };
        client.wait(limit).await;
        let words = client.last_words();
        for finding in &mut self.findings {
            finding.detail.after.extend(words.iter().cloned());
        }
    }

    fn tested(&self) -> Side {
        self.setup.side.other()
    }

    fn at(&self, span: Span) -> String {
        format!("{}:{}", self.script.source.path, self.script.source.line_of(span.start))
    }

    async fn block(&mut self, statements: &[Statement]) -> Flow {
        for statement in statements {
            Box::pin(self.statement(statement)).await?;
        }
        Ok(())
    }

    async fn statement(&mut self, statement: &Statement) -> Flow {
        match &statement.kind {
            StatementKind::Message(line) if line.side == self.setup.side => {
                Box::pin(self.send(line)).await
            }
            StatementKind::Message(line) => Box::pin(self.expect(line)).await,
            StatementKind::Event(line) => Box::pin(self.event(line)).await,
            StatementKind::Check { expr, tags, .. } => self.check(expr, tags, statement.span).await,
            StatementKind::AnyOrder(body) => Box::pin(self.any_order(body, statement.span)).await,
            StatementKind::Either(branches) => {
                Box::pin(self.either(branches, statement.span)).await
            }
            StatementKind::Maybe(body) => {
                if Box::pin(self.starts(body)).await? {
                    Box::pin(self.block(body)).await?;
                }
                Ok(())
            }
            StatementKind::Repeat { least, most, body } => {
                let (least, most) = self.bounds(least, most.as_ref())?;
                Box::pin(self.repeat(least, most, body)).await
            }
            StatementKind::Until { line, body } => Box::pin(self.until(line, body)).await,
            StatementKind::For { variable, items, body } => {
                for value in self.items(items)? {
                    let outer = self.env.clone();
                    self.env.set(&variable.node, value);
                    Box::pin(self.block(body)).await?;
                    self.env = outer;
                }
                Ok(())
            }
            StatementKind::Given { variable, body } => {
                if self.env.get(&variable.node).is_some() {
                    Box::pin(self.block(body)).await?;
                }
                Ok(())
            }
        }
    }

    fn reach(&mut self, tags: &[Spanned<String>]) {
        for tag in tags {
            if let Some(rule) = requirements::find(&tag.node) {
                self.exercised.insert(rule.id);
            }
        }
    }

    /// Opens a connection that does not exist yet.
    async fn open(&mut self, name: &str, span: Span) -> Flow {
        if self.conns.contains_key(name) {
            return Ok(());
        }
        let limit = match self.setup.side {
            Side::Client => self.wait(),
            // Its program has to start first, on a machine that may be busy.
            Side::Server => self.wait().saturating_mul(4),
        };
        let Setup { dialer, client, .. } = &mut self.setup;
        let gone = async {
            match client {
                Some(client) => client.ended().await,
                None => std::future::pending().await,
            }
            // What it has begun before it ended is still there to be accepted.
            tokio::time::sleep(BACKLOG).await;
        };
        let dialed = tokio::select! {
            biased;
            dialed = dialer.dial(name, limit) => dialed,
            () = gone => Err("it has ended".to_owned().into()),
        };
        let dialed = match dialed {
            Ok(dialed) => dialed,
            Err(error) => {
                if self.setup.side == Side::Client {
                    return match error.reset {
                        true => self.reset_at_once(span),
                        false => Err(Stop::Error(error.why)),
                    };
                }
                let error = error.why;
                if let Some(reason) =
                    self.setup.client.as_ref().and_then(ClientProcess::not_started)
                {
                    return Err(Stop::Error(reason));
                }
                let message = format!("the client did not connect: {error}");
                let event = EventKind::Refused;
                let detail = Detail { received: message.clone(), event, ..Detail::default() };
                self.find("baseline-info-go", &message, span, detail)?;
                return Err(Stop::Failed);
            }
        };
        self.adopt(name, dialed, span);
        if self.setup.few_places {
            self.wait_for_place(name, limit, span).await;
        }
        Ok(())
    }

    /// A connection that is reset before it is greeted, so early that connecting already tells.
    fn reset_at_once(&mut self, span: Span) -> Flow {
        let came = Candidate::End(End::Reset);
        self.stumble("session-no-unjustified-hard-disconnect", "S: greeting", &came, span)
    }

    /// Connects again while the server closes without a word: the place of a connection that is closed
    /// may not be free at once. Who has no place closes; a reset is a fault all the same.
    async fn wait_for_place(&mut self, name: &str, limit: Duration, span: Span) {
        let deadline = Instant::now() + limit;
        while let Some(conn) = self.conns.get_mut(name) {
            let turned_away = conn.link.stir(limit).await;
            if !turned_away {
                return;
            }
            self.setup.patience.turned_away();
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(PLACE_AGAIN).await;
            let Ok(dialed) = self.setup.dialer.dial(name, limit).await else { return };
            self.conns.remove(name);
            self.adopt(name, dialed, span);
        }
    }

    /// Takes over a connection that has come about.
    fn adopt(&mut self, name: &str, (stream, tap): Dialed, span: Span) {
        let mut link = Link::new(name, self.setup.side, stream, tap);
        link.touches(self.setup.touched.clone());
        link.segment(self.setup.segmentation);
        link.at_line(self.script.source.line_of(span.start));
        let conn = Conn {
            link,
            queue: VecDeque::new(),
            end: None,
            end_expected: false,
            begun: BTreeSet::new(),
            cookies: Cookies::default(),
            host: None,
            requested: false,
            quiet: None,
            unanswered: None,
            may_stay: self.setup.stays_open && self.script.header.feature.node != DISCONNECTION,
        };
        self.stirred();
        self.setup.patience.connected();
        self.conns.insert(name.to_owned(), conn);
    }
}

/// Whether a phase allows the harness to say goodbye in the protocol's way.
fn can_say_goodbye(phase: Phase) -> bool {
    matches!(phase, Phase::Haggling | Phase::Transmission)
}
