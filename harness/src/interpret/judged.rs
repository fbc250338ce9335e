//! `-- judge`: plain sessions with the reference server, of which the judge hears all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dissector::session::Recognize;
use protocol::describe::Value;
use protocol::notation::ast::FieldPattern;
use protocol::payload::recognize;
use protocol::requirements::id;
use reference_server::store::{MemoryStore, Store as _};
use reference_server::{Ear, Export, Server};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::collected::{Collected, Heard};
use super::eval::number;
use super::interpreter::Interpreter;
use super::setup::Setup;
use super::stop::{Flow, Stop};
use crate::finding::{Detail, EventKind};
use crate::judge::{Court, Listener};
use crate::run::secured::Wanted;
use crate::script::ast::EventLine;

/// The size of the export in bytes, if nothing is said: no multiple of 4096.
const SIZE: u64 = 1_000_448;
/// How much of what a client has stored is looked at, in bytes.
const LOOKED_AT: u64 = 1 << 20;
/// How long a connection may outlive the client's process.
const AFTERLIFE: Duration = Duration::from_secs(1);

impl Interpreter<'_> {
    pub(super) async fn judge(&mut self, line: &EventLine, fields: &[FieldPattern]) -> Flow {
        self.reach(&line.tags);
        let number = self.script.source.line_of(line.span.start);
        let collected = Arc::new(Collected { heard: Mutex::default(), line: number });
        let size = match fields.iter().find(|field| field.key.node == "size") {
            Some(field) => self.env.int(&field.value)?,
            None => SIZE,
        };
        self.env.set("size", Value::Int(size));
        let store = Arc::new(MemoryStore::pattern(size, 1));
        let export = Export::shared(self.setup.export.as_str(), store.clone());
        let server = self.reference_server(export, &collected)?;
        let overdue = Instant::now() + self.wait().saturating_mul(3);
        let mut sessions = JoinSet::new();
        let ended = loop {
            let Setup { dialer, client, .. } = &mut self.setup;
            let Some(client) = client else {
                return Err(Stop::Error("no client is under test".to_owned()));
            };
            tokio::select! {
                biased;
                accepted = dialer.accept() => if let Ok(stream) = accepted {
                    collected.heard().connections += 1;
                    let server = server.clone();
                    sessions.spawn(async move { server.serve_stream(stream).await });
                },
                () = client.ended() => break true,
                () = tokio::time::sleep_until(overdue) => break false,
            }
        };
        self.stop_listening();
        if ended {
            let all = async { while sessions.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(AFTERLIFE, all).await;
        }
        // That the harness cuts off what lasts too long is not the client's doing.
        collected.over();
        drop(sessions);
        self.take_over(&collected, line, ended)?;
        self.look_at(store.as_ref())
    }

    /// `$stored`: what the export holds where the client was to write.
    fn look_at(&mut self, store: &MemoryStore) -> Flow {
        let int = |name: &str| self.env.get(name).and_then(number).unwrap_or(0);
        let (offset, length) = (int("offset"), int("length").min(LOOKED_AT));
        let end = offset.saturating_add(length).min(store.size());
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        let read = store.read(offset, &mut bytes, &mut Vec::new());
        read.map_err(|error| Stop::Error(error.to_string()))?;
        self.env.set("stored", Value::Payload(recognize(offset, &bytes)));
        Ok(())
    }

    /// Serves an export, inside TLS where the client is to demand that; the court hears all.
    pub(super) fn reference_server(
        &self,
        export: Export,
        court: &Arc<Collected>,
    ) -> Result<Server, Stop> {
        let court = court.clone();
        let mut builder = Server::builder().export(export).ears(move |connection, peer| {
            let court: Arc<dyn Court> = court.clone();
            let listener = Listener::new(connection, peer, Recognize::Form, court);
            Some(Box::new(listener) as Box<dyn Ear>)
        });
        if let Some(security) = &self.setup.security {
            let tls = Wanted::forced(security.kind()).of_reference(security);
            builder = builder.tls(tls.map_err(Stop::Error)?);
        }
        builder.build().map_err(|error| Stop::Error(error.to_string()))
    }

    fn take_over(&mut self, collected: &Collected, line: &EventLine, ended: bool) -> Flow {
        let Heard { told, said, connections, .. } = std::mem::take(&mut *collected.heard());
        self.transcript.extend(said);
        let at = self.at(line.span);
        self.findings.extend(told.iter().map(|told| told.finding(at.clone())));
        if connections == 0 {
            self.never_meant_to_connect()?;
            let message = "the client did not connect".to_owned();
            let event = EventKind::Refused;
            let detail = Detail { received: message.clone(), event, ..Detail::default() };
            self.find(id::BASELINE_INFO_GO, &message, line.span, detail)?;
            return Err(Stop::Failed);
        }
        if !ended {
            // It goes on for longer than anybody waits: what it did so far is judged.
            return Err(Stop::Failed);
        }
        Ok(())
    }
}
