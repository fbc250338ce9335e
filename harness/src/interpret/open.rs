//! Opening connections.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::message::Side;
use protocol::notation::ast::Span;
use protocol::requirements::id;

use super::conn::Conn;
use super::interpreter::Interpreter;
use super::labels::Cookies;
use super::matching::Candidate;
use super::setup::Setup;
use super::stop::{Flow, Stop};
use crate::dial::{Dialed, NotDialed};
use crate::finding::{Detail, EventKind};
use crate::link::{End, Link};

/// How soon a place is asked for again.
pub(super) const PLACE_AGAIN: Duration = Duration::from_millis(50);
/// How long a server that serves one client after the other may take to listen again.
const LISTENS_AGAIN: Duration = Duration::from_secs(1);
/// The feature of the scenarios that are about how a session ends.
const DISCONNECTION: &str = "NBD_CMD_DISC";
/// How long a connection of a process that has ended may take to show.
const BACKLOG: Duration = Duration::from_millis(100);

impl Interpreter<'_> {
    /// Opens a connection that does not exist yet.
    pub(super) async fn open(&mut self, name: &str, span: Span) -> Flow {
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
            Ok(dialed) => Ok(dialed),
            Err(error) => self.dial_again(name, limit, error).await,
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
                self.never_meant_to_connect()?;
                let message = format!("the client did not connect: {error}");
                let event = EventKind::Refused;
                let detail = Detail { received: message.clone(), event, ..Detail::default() };
                self.find(id::BASELINE_INFO_GO, &message, span, detail)?;
                return Err(Stop::Failed);
            }
        };
        self.adopt(name, dialed, span);
        if self.setup.few_places {
            self.wait_for_place(name, limit, span).await;
        }
        Ok(())
    }

    /// Connects again for a while to a server with few places: it may listen again only when the last
    /// session is over.
    async fn dial_again(
        &mut self,
        name: &str,
        limit: Duration,
        mut error: NotDialed,
    ) -> Result<Dialed, NotDialed> {
        let deadline = Instant::now() + LISTENS_AGAIN.min(limit);
        while self.setup.few_places && !error.reset && Instant::now() < deadline {
            tokio::time::sleep(PLACE_AGAIN).await;
            match self.setup.dialer.dial(name, limit).await {
                Ok(dialed) => return Ok(dialed),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    /// A connection that is reset before it is greeted, so early that connecting already tells.
    pub(super) fn reset_at_once(&mut self, span: Span) -> Flow {
        let came = Candidate::End(End::Reset);
        self.stumble(id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT, "S: greeting", &came, span)
    }

    /// Connects again while the server closes without a word: the place of a connection that is closed
    /// may not be free at once. Who has no place closes; a reset is a fault all the same.
    pub(super) async fn wait_for_place(&mut self, name: &str, limit: Duration, span: Span) {
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
    pub(super) fn adopt(&mut self, name: &str, (stream, tap): Dialed, span: Span) {
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
