//! Sent lines.

use std::borrow::Cow;

use protocol::build;
use protocol::describe::Value;
use protocol::message::{Cookie, Message, Side};
use protocol::notation::ast::{Expr, MessageLine, Word};
use protocol::payload::Payload;
use protocol::values::{Command, OptionType};
use tokio::sync::Semaphore;

use super::assemble::is_last;
use super::conn::conn_name;
use super::events::plain_reply;
use super::interpreter::Interpreter;
use super::stop::{Flow, Stop};

/// A read of this many bytes or more is not made beside another such: what comes of them is held in
/// memory.
const LARGE: u64 = 4 << 20;
/// Whoever makes large reads, one scenario at a time.
static LARGE_READS: Semaphore = Semaphore::const_new(1);

impl Interpreter<'_> {
    pub(super) async fn send(&mut self, line: &MessageLine) -> Flow {
        self.reach(&line.tags);
        let name = conn_name(line).to_owned();
        self.open(&name, line.span).await?;
        let (head, variant) = self.words(line)?;
        let limit = self.wait();
        let at = self.script.source.line_of(line.span.start);
        let Some(conn) = self.conns.get_mut(&name) else {
            return Err(Stop::Error(format!("no connection `{name}`")));
        };
        conn.link.at_line(at);
        let mut fields = Vec::new();
        for pattern in &line.fields {
            let key = pattern.key.node.clone();
            let value = match &pattern.value.node {
                Expr::Name(label) if key == "cookie" => {
                    Value::Hex(conn.cookies.bind(&self.script.id, &name, label).0)
                }
                _ => self.env.value(&pattern.value)?,
            };
            fields.push((key, value));
        }
        if head == "bytes" {
            conn.link.send_raw(&raw(fields), limit).await;
            self.stirred();
            self.collect();
            return Ok(());
        }
        if head == "reply" {
            fields.push(("variant".to_owned(), Value::Name(variant.unwrap_or_default().into())));
            return self.send_reply(&name, fields, line).await;
        }
        let fresh = head.starts_with("NBD_CMD_")
            || head.starts_with("NBD_REPLY_TYPE_")
            || head == "simple-reply";
        let context = conn.context(fresh, &self.script.id, &name);
        let built = build::build(self.setup.side, &head, variant.as_deref(), &fields, &context)
            .map_err(|error| {
                let at = format!("{}:{at}", self.script.source.path);
                Stop::Error(format!("{at}: {error}"))
            })?;
        if matches!(&built.message, Message::OptionReply(reply) if reply.option == OptionType::EXPORT_NAME)
            && let Some(reason) = self.enters_by_name()
        {
            // There is no such reply: the client would wait for the export's details.
            return Err(Stop::Skip(reason));
        }
        if let Message::Request(request) = &built.message
            && self.setup.side == Side::Client
            && request.command == Command::READ
            && request.length >= LARGE
            && self.large.is_none()
        {
            // The semaphore is never closed.
            self.large = LARGE_READS.acquire().await.ok();
        }
        let Some(conn) = self.conns.get_mut(&name) else {
            return Err(Stop::Error(format!("no connection `{name}`")));
        };
        conn.link.send(&built, limit).await;
        if let Some(cookie) = crate::link::tracker::reply_cookie(&built.message)
            && is_last(&built.message)
        {
            conn.cookies.answered(cookie);
        }
        if let Message::Request(request) = &built.message
            && request.command != Command::DISC
        {
            conn.cookies.sent(request.cookie);
        }
        self.stirred();
        self.collect();
        Ok(())
    }

    /// The first word of a line that is sent, and the second one if there is one.
    fn words(&self, line: &MessageLine) -> Result<(String, Option<String>), Stop> {
        let named = |variable: &str, what: &str| match self.env.get(variable) {
            Some(Value::Name(name)) => Ok(name.to_string()),
            _ => Err(Stop::Error(format!("`${variable}` is not {what}"))),
        };
        let head = match &line.head.node {
            Word::Name(name) => name.clone(),
            Word::Variable(variable) => named(variable, "the name of a message")?,
            Word::Any => return Err(Stop::Error("`_` can't be sent".to_owned())),
        };
        let variant = match line.variant.as_ref().map(|variant| &variant.node) {
            Some(Word::Name(name)) => Some(name.clone()),
            Some(Word::Variable(variable)) => Some(named(variable, "a name")?),
            Some(Word::Any) | None => None,
        };
        Ok((head, variant))
    }

    /// `S: reply ...` sent by the harness as a server: the plainest form that is lawful.
    pub(super) async fn send_reply(
        &mut self,
        name: &str,
        fields: Vec<(String, Value)>,
        line: &MessageLine,
    ) -> Flow {
        let limit = self.wait();
        let Some(conn) = self.conns.get_mut(name) else {
            return Err(Stop::Error(format!("no connection `{name}`")));
        };
        let mut cookie = conn.cookies.only_open();
        let mut data = Payload::default();
        let mut error = Cow::Borrowed("ok");
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("cookie", Value::Hex(n) | Value::Int(n)) => cookie = Some(Cookie(n)),
                ("data", Value::Payload(payload)) => data = payload,
                ("variant", Value::Name(name)) if !name.is_empty() => error = name,
                (key, _) => {
                    return Err(Stop::Error(format!("a sent reply has no field `{key}`")));
                }
            }
        }
        let Some(cookie) = cookie else {
            let at = self.at(line.span);
            return Err(Stop::Error(format!("{at}: several requests are open: say `cookie=`")));
        };
        let request = conn.link.tracker().pending(cookie).first().cloned();
        let read = request.as_ref().filter(|request| request.command == Command::READ);
        let offset = read.map_or(0, |request| request.offset);
        let structured = conn.link.tracker().is_structured();
        let form = conn.link.tracker().request_form();
        let messages =
            plain_reply(cookie, &error, &data, offset, structured && read.is_some(), form)
                .map_err(Stop::Error)?;
        for message in messages {
            conn.link.send(&message, limit).await;
        }
        conn.cookies.answered(cookie);
        self.stirred();
        self.collect();
        Ok(())
    }
}

/// The bytes of a `bytes` line, 64 MiB at most.
fn raw(fields: Vec<(String, Value)>) -> Vec<u8> {
    let payload = fields.into_iter().find_map(|(_, value)| match value {
        Value::Payload(payload) => Some(payload),
        _ => None,
    });
    let payload = payload.unwrap_or_default();
    let length = usize::try_from(payload.length()).unwrap_or(usize::MAX).min(1 << 26);
    let mut bytes = vec![0; length];
    payload.fill(0, 0, &mut bytes);
    bytes
}
