//! Further connections of a client, while a script follows one of them: the reference server answers
//! there, and the judge listens.

use std::sync::Arc;

use protocol::message::{ExportInfo, Greeting, Info, Message, ReplyBody, Side};
use protocol::values::TransmissionFlags;
use reference_server::Export;
use reference_server::store::MemoryStore;
use tokio::task::JoinSet;

use super::collected::{Collected, Others};
use super::conn::Conn;
use super::interpreter::Interpreter;
use super::stop::Ending;
use crate::finding::{Finding, Severity, is_about_leaving};
use crate::link::tracker::Phase;

/// How many connections are served besides.
const CONNECTIONS: usize = 64;

impl Interpreter<'_> {
    /// Serves whoever else connects, from when the client under test has entered the export.
    pub(super) fn serve_others(&mut self) {
        let in_transmission =
            |conn: &Conn| conn.link.tracker().phase() == Phase::Transmission && conn.end.is_none();
        if self.setup.side != Side::Server
            || self.setup.client.is_none()
            || self.others.is_some()
            || !self.conns.values().any(in_transmission)
        {
            return;
        }
        let Some(listener) = self.setup.dialer.shared() else { return };
        let Some((size, flags)) = self.told() else { return };
        let store = Arc::new(MemoryStore::pattern(size, 1));
        let read_only = flags.has(TransmissionFlags::READ_ONLY);
        let export = Export::shared(self.setup.export.as_str(), store).with_read_only(read_only);
        let collected = Arc::new(Collected::default());
        // What can't be served so is not.
        let Ok(server) = self.reference_server(export, &collected) else { return };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut sessions = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let Ok((stream, _)) = listener.accept().await else { break };
                let _ = stream.set_nodelay(true);
                let server = server.clone();
                sessions.spawn(async move { server.serve_stream(stream).await });
            }
            drop(listener);
            while sessions.join_next().await.is_some() {}
        });
        self.others = Some(Others { collected, serving: Some(serving) });
    }

    /// What the client was told of the export.
    fn told(&self) -> Option<(u64, TransmissionFlags)> {
        self.messages().rev().find_map(|(_, said)| match said {
            Message::ExportInfo(ExportInfo { size, flags, .. })
            | Message::Greeting(Greeting::Oldstyle { size, flags, .. }) => Some((*size, *flags)),
            Message::OptionReply(reply) => match &reply.body {
                ReplyBody::Info(Info::Export { size, flags }) => Some((*size, *flags)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Nobody else is served any more, and nobody can connect.
    pub(super) fn stop_listening(&mut self) {
        self.setup.dialer.stop_listening();
        self.stop_others();
    }

    pub(super) fn stop_others(&mut self) {
        if let Some(others) = &mut self.others {
            others.stop();
        }
    }

    /// What was found on the other connections. A script that follows one connection of several can
    /// tell nothing by itself.
    pub(super) fn judge_others(&mut self, end: Ending) -> Ending {
        self.stop_others();
        let Some(others) = self.others.take() else { return end };
        let (told, connections) = others.collected.take();
        if connections == 0 {
            return end;
        }
        let own =
            |finding: &Finding| !finding.detail.judged && finding.severity() == Severity::Failure;
        let lost = self.findings.iter().any(own) || end != Ending::Done;
        self.findings.retain(|finding| finding.detail.judged);
        let at = format!("{}, on another connection", self.script.source.path);
        // What the script does on its connection may be a reason to leave all of them.
        let told = told.iter().filter(|told| !is_about_leaving(told.violation.requirement));
        self.findings.extend(told.map(|told| told.finding(at.clone())));
        match end {
            Ending::Done if lost && self.findings.is_empty() => Ending::Skipped(format!(
                "the client works on {} connections at once, and this scenario follows one",
                connections + 1
            )),
            Ending::Error(_) if !self.findings.is_empty() => Ending::Done,
            end => end,
        }
    }
}
