//! A relay between a client and a server that sees what the two agree on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dissector::session::{Close, Config, Event, Seen, Session};
use protocol::message::{Greeting, Message, OptionReply, ReplyBody, Side};
use protocol::values::{OptionType, ReplyType};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::dial::connect;
use crate::peer::Address;
use crate::socket::Socket;

/// How much is passed on at a time, in bytes.
const PIECE: usize = 64 << 10;
/// How many violations are kept; more say nothing new.
const KEPT: usize = 16;

/// What was agreed on the connections of a relay, and how it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreed {
    /// How many connections went as far as to enter an export.
    pub entered: usize,
    /// Whether one of them was oldstyle.
    pub oldstyle: bool,
    /// Whether `NBD_OPT_GO` opened the export; else `NBD_OPT_EXPORT_NAME` did.
    pub go: bool,
    /// Whether structured replies were agreed.
    pub structured: bool,
    /// Whether extended headers were agreed.
    pub extended: bool,
    /// The contexts that were selected.
    pub contexts: BTreeSet<String>,
    /// Broken rules that bind, with who broke them.
    pub violations: Vec<(Side, String)>,
}

/// A relay that listens. Dropping it ends its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    agreed: Arc<Mutex<Agreed>>,
    _listening: JoinSet<()>,
}

impl Relay {
    /// Listens for clients of the server at an address.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start(server: Address, limit: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let agreed = Arc::new(Mutex::new(Agreed::default()));
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, server, limit, agreed.clone()));
        Ok(Self { address, agreed, _listening: listening })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address.into()
    }

    /// What has been agreed so far.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        lock(&self.agreed).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    server: Address,
    limit: Duration,
    agreed: Arc<Mutex<Agreed>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, agreed) = (server.clone(), agreed.clone());
        connections.spawn(async move {
            // A server that can't be reached closes the client's connection, as it should be.
            if let Ok(server) = connect(&server, limit).await {
                relay(client, server, &agreed).await;
            }
        });
    }
}

/// One connection, and the judge that listens to it.
struct Watched<'a> {
    session: Mutex<Session>,
    began: Instant,
    agreed: &'a Mutex<Agreed>,
}

async fn relay(client: TcpStream, server: Socket, agreed: &Mutex<Agreed>) {
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = tokio::io::split(server);
    let session = Mutex::new(Session::new(Config::default()));
    let watched = Watched { session, began: Instant::now(), agreed };
    tokio::join!(
        pass(Side::Client, from_client, to_server, &watched),
        pass(Side::Server, from_server, to_client, &watched),
    );
    lock(&watched.session).finish();
    watched.listen();
}

async fn pass(
    from: Side,
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    watched: &Watched<'_>,
) {
    let mut buffer = vec![0; PIECE];
    loop {
        let how = match source.read(&mut buffer).await {
            Ok(0) => Close::End,
            Err(_) => Close::Reset,
            Ok(count) => {
                // The judge hears first: an answer must not come before its question.
                watched.hear(from, &buffer[..count]);
                if sink.write_all(&buffer[..count]).await.is_ok() {
                    continue;
                }
                Close::Reset
            }
        };
        lock(&watched.session).closed(from, watched.now(), how);
        let _ = sink.shutdown().await;
        return;
    }
}

impl Watched<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn hear(&self, from: Side, bytes: &[u8]) {
        lock(&self.session).received(from, self.now(), bytes);
        self.listen();
    }

    /// Takes note of what the session has to tell.
    fn listen(&self) {
        loop {
            let Some(event) = lock(&self.session).next_event() else { return };
            let mut agreed = lock(self.agreed);
            match event {
                Event::Message(seen) => agreed.note(&seen),
                Event::Violation(violation)
                    if violation.requirement.level.is_binding()
                        && agreed.violations.len() < KEPT =>
                {
                    let text = format!("{}: {}", violation.requirement.id, violation.text);
                    let broken = (violation.party, text);
                    if !agreed.violations.contains(&broken) {
                        agreed.violations.push(broken);
                    }
                }
                Event::Violation(_) | Event::Problem(_) => {}
            }
        }
    }
}

impl Agreed {
    fn note(&mut self, seen: &Seen) {
        match &seen.message {
            Message::Greeting(Greeting::Oldstyle { .. }) => {
                self.oldstyle = true;
                self.entered += 1;
            }
            Message::ExportInfo(_) => self.entered += 1,
            Message::OptionReply(OptionReply { option, reply: ReplyType::ACK, .. }) => {
                match *option {
                    OptionType::GO => {
                        self.go = true;
                        self.entered += 1;
                    }
                    OptionType::STRUCTURED_REPLY => self.structured = true,
                    OptionType::EXTENDED_HEADERS => self.extended = true,
                    _ => {}
                }
            }
            Message::OptionReply(OptionReply {
                option: OptionType::SET_META_CONTEXT,
                body: ReplyBody::MetaContext { name, .. },
                ..
            }) => {
                self.contexts.insert(String::from_utf8_lossy(name.as_bytes()).into_owned());
            }
            _ => {}
        }
    }

    /// In a few words: `extended, context`.
    #[must_use]
    pub fn summary(&self) -> String {
        let form = match (self.extended, self.structured) {
            (true, _) => "extended",
            (_, true) => "structured",
            _ if self.oldstyle => "oldstyle",
            _ => "simple",
        };
        let context = if self.contexts.is_empty() { "" } else { "+c" };
        format!("{form}{context}")
    }
}
