//! Expected lines and checks.

use std::time::Duration;

use protocol::describe::Value;
use protocol::message::{ChunkBody, Message, Side};
use protocol::notation::ast::{Expr, MessageLine, Span, Spanned, Word};
use protocol::payload::Payload;
use protocol::requirements::{self, id};
use protocol::values::{Command, ErrorCode, OptionType, ReplyType};

use super::assemble::is_last;
use super::conn::{Choice, conn_name};
use super::eval::number;
use super::interpreter::Interpreter;
use super::labels::Cookies;
use super::matching;
use super::matching::{Candidate, Difference, Outcome, resolved};
use super::rules;
use super::stop::{Flow, Stop};
use crate::dial::ClientProcess;
use crate::excuse;
use crate::finding::{Detail, EventKind, Sent, Severity};
use crate::link::{Entry, Said};

impl Interpreter<'_> {
    pub(super) fn resolve_all<'l>(
        &self,
        lines: impl IntoIterator<Item = &'l MessageLine>,
    ) -> Result<Vec<String>, Stop> {
        let none = Cookies::default();
        lines
            .into_iter()
            .map(|line| {
                let cookies = self.conns.get(conn_name(line)).map_or(&none, |conn| &conn.cookies);
                Ok(resolved(line, &self.env, cookies)?)
            })
            .collect()
    }

    pub(super) async fn received_text(&mut self, line: &MessageLine) -> Result<String, Stop> {
        let choice = self.choose(line).await?;
        Ok(match &choice.candidate {
            Candidate::Message(received) => {
                let description = matching::describe(received);
                format!("{}: {description}", received.message.side().letter())
            }
            Candidate::Reply(reply) => format!("{}: reply {}", self.tested().letter(), reply.error),
            Candidate::End(end) => end.to_string(),
        })
    }

    /// A client that enters by `NBD_OPT_EXPORT_NAME` and has not tried GO is older than a script
    /// that waits for GO; the line that shows it.
    pub(super) fn enters_by_name(&mut self) -> Option<String> {
        if self.setup.side == Side::Client {
            return None;
        }
        self.collect();
        let option = |entry: &Entry| match &entry.said {
            Said::Message(seen) => match &seen.message {
                Message::Option(option) => Some(option.option),
                _ => None,
            },
            _ => None,
        };
        let sent = |wanted| move |entry: &&Entry| option(entry) == Some(wanted);
        if self.transcript.iter().any(|entry| sent(OptionType::GO)(&entry)) {
            return None;
        }
        let entry = self.transcript.iter().find(sent(OptionType::EXPORT_NAME))?;
        Some(format!("the client does not ask for NBD_OPT_GO: {}", entry.text(false)))
    }

    /// Whether nothing but GO would have done, and the client does not know it.
    fn waits_in_vain(&mut self, lines: &[&MessageLine], candidate: &Candidate) -> Flow {
        let is = |line: &MessageLine, name: &str| matches!(&line.head.node, Word::Name(head) if head == name);
        let go = lines.iter().any(|line| is(line, "NBD_OPT_GO"));
        let by_name = matches!(candidate, Candidate::Message(received)
            if matches!(&received.message, Message::Option(it) if it.option == OptionType::EXPORT_NAME));
        match self.enters_by_name() {
            Some(reason) if go && by_name => Err(Stop::Skip(reason)),
            _ => Ok(()),
        }
    }

    /// A client that was let in, asks for nothing, takes leave and says that it failed has refused
    /// the export for a reason of its own, such as its size: no rule forbids that.
    async fn turns_away(&mut self, lines: &[&MessageLine], candidate: &Candidate) -> Flow {
        let Some(line) = lines.first() else { return Ok(()) };
        let leaves = match candidate {
            Candidate::Message(received) => matches!(&received.message,
                Message::Request(request) if request.command == Command::DISC),
            _ => false,
        };
        let waits = lines.iter().any(
            |line| matches!(&line.head.node, Word::Name(head) if head.starts_with("NBD_CMD_")),
        );
        let conn = self.conns.get(conn_name(line));
        let fresh = conn.is_some_and(|conn| conn.host.is_some() && !conn.requested);
        if self.setup.side == Side::Client || !leaves || !waits || !fresh {
            return Ok(());
        }
        let limit = self.wait();
        if let Some(conn) = self.conns.get_mut(conn_name(line)) {
            conn.link.close(false, limit).await;
        }
        self.client_status().await?;
        if self.env.get("status").and_then(number) == Some(0) {
            return Ok(());
        }
        if let Some((line, rule)) = lines.iter().find_map(|line| Some((line, wish(&line.tags)?))) {
            // It is what the scenario offers that the client should have taken.
            let message = "the client enters, asks for nothing and says that it failed";
            let detail = Detail { received: message.to_owned(), ..Detail::default() };
            let (span, rule) = (line.span, rule.to_owned());
            self.find(&rule, message, span, detail)?;
            return Err(Stop::Failed);
        }
        let words = self.client_words();
        Err(Stop::Skip(format!("the client does not want this export: {words}")))
    }

    /// Of a client that did not connect: ends the scenario without a verdict if it was not started, or
    /// says that it failed. What it was asked to do it may not be able to, and nothing was said about NBD.
    pub(super) fn never_meant_to_connect(&self) -> Flow {
        let Some(client) = &self.setup.client else { return Ok(()) };
        if let Some(reason) = client.not_started() {
            return Err(Stop::Error(reason));
        }
        if client.failed() {
            let words = self.client_words();
            return Err(Stop::Skip(format!("the client does not connect: {words}")));
        }
        Ok(())
    }

    /// How the client ended and what it said, in one line.
    pub(super) fn client_words(&self) -> String {
        let words = self.setup.client.as_ref().map(ClientProcess::last_words).unwrap_or_default();
        let words: Vec<&str> =
            words.iter().map(|line| line.trim_start_matches("-- ").trim()).collect();
        words.join("; ")
    }

    /// A device may fail a request that its server should serve. If the answer is such an error, the
    /// scenario shows nothing about the protocol. A device that fails to read or write at all is not
    /// tested; one that works fails no single read or write by NBD_EIO.
    fn device_fails(&self, lines: &[&MessageLine], candidate: &Candidate) -> Flow {
        let error = match candidate {
            Candidate::Reply(reply) => reply.error,
            Candidate::Message(received) => match &received.message {
                Message::SimpleReply(reply) => reply.error,
                Message::Chunk(chunk) => match &chunk.body {
                    ChunkBody::Error { error, .. } => *error,
                    _ => return Ok(()),
                },
                Message::OptionReply(reply) if reply.reply == ReplyType::ERR_SHUTDOWN => {
                    return self.shuts_down(lines, reply.option);
                }
                _ => return Ok(()),
            },
            Candidate::End(_) => return Ok(()),
        };
        let Some(excuse) = excuse::of(error) else { return Ok(()) };
        if self.tested() == Side::Client || !lines.iter().any(|line| wants_success(line)) {
            return Ok(());
        }
        let asked = lines.first().and_then(|line| self.conns.get(conn_name(line)));
        let asked = match asked.map(|conn| conn.link.sent()) {
            Some(Sent::Request(Command::READ | Command::WRITE)) if error == ErrorCode::EIO => {
                return Ok(());
            }
            Some(Sent::Request(command)) => command.to_string(),
            _ => "a request".to_owned(),
        };
        Err(Stop::Unfit(format!("the server fails {asked} by {error}, {excuse}")))
    }

    /// A server may refuse any option because it shuts down.
    fn shuts_down(&self, lines: &[&MessageLine], option: OptionType) -> Flow {
        let is_error = |line: &&MessageLine| {
            matches!(&line.head.node, Word::Name(head)
            if head == "error" || head.starts_with("NBD_REP_ERR_"))
        };
        if self.tested() == Side::Client || lines.iter().any(is_error) {
            return Ok(());
        }
        Err(Stop::Unfit(format!("the server refuses {option} by NBD_REP_ERR_SHUTDOWN")))
    }

    /// Whether all that is wrong with what came is its data.
    fn is_content(&self, lines: &[&MessageLine], candidate: &Candidate) -> bool {
        lines.iter().any(|line| {
            matches!(self.compare(line, candidate), Ok(Outcome::Differs(how)) if how.content)
        })
    }

    /// Nothing that would have been right came.
    pub(super) async fn refuse(&mut self, lines: &[&MessageLine], span: Span) -> Flow {
        let Some(line) = lines.first() else {
            return Err(Stop::Error("a block with nothing to expect".to_owned()));
        };
        let choice = self.choose(line).await?;
        self.waits_in_vain(lines, &choice.candidate)?;
        self.turns_away(lines, &choice.candidate).await?;
        self.device_fails(lines, &choice.candidate)?;
        self.refused_and_left(line, &choice.candidate)?;
        let expected = self.resolve_all(lines.iter().copied())?;
        let received = self.received_text(line).await?;
        let tag = rules::blamed(line).next();
        let tag = tag.map(|tag| self.shown(line, tag, &choice.candidate).to_owned());
        let requirement = match (self.rule_of_end(lines, &choice.candidate), &tag) {
            (Some(rule), _) => rule.to_owned(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => self.default_rule(line, &choice.candidate).to_owned(),
        };
        let event = match self.is_content(lines, &choice.candidate) {
            true => EventKind::Content,
            false => choice.candidate.event(),
        };
        let reply = choice.candidate.option_reply();
        let answer = self.answer_to(line, &choice.candidate);
        let detail = Detail { expected, received, event, reply, answer, ..Detail::default() };
        let message = self.headline(&choice.candidate, &requirement);
        let message = while_checking(message, tag.filter(|tag| *tag != requirement).into_iter());
        self.find(&requirement, &message, span, detail.clone())?;
        self.must_not_succeed(line, &choice.candidate, &requirement, detail)?;
        self.note_silence();
        Err(Stop::Failed)
    }

    pub(super) async fn expect(&mut self, line: &MessageLine) -> Flow {
        let choice = self.choose(line).await?;
        for tag in &line.tags {
            let id = self.meant(line, &tag.node);
            self.exercised.extend(requirements::find(id).map(|rule| rule.id));
        }
        match self.compare(line, &choice.candidate)? {
            Outcome::Match(captures) => {
                self.accept(line, choice);
                for (name, value) in captures {
                    self.env.set(&name, value);
                }
                Ok(())
            }
            Outcome::Differs(difference) => {
                self.waits_in_vain(&[line], &choice.candidate)?;
                self.turns_away(&[line], &choice.candidate).await?;
                self.device_fails(&[line], &choice.candidate)?;
                self.refused_and_left(line, &choice.candidate)?;
                let warn = line.should && difference.soft;
                self.report(line, &choice.candidate, *difference, warn)?;
                if !warn {
                    return Err(Stop::Failed);
                }
                self.accept(line, choice);
                Ok(())
            }
        }
    }

    pub(super) fn report(
        &mut self,
        line: &MessageLine,
        candidate: &Candidate,
        difference: Difference,
        warn: bool,
    ) -> Flow {
        let tags = rules::blamed(line);
        let mut tags: Vec<String> =
            tags.map(|tag| self.shown(line, tag, candidate).to_owned()).collect();
        tags.dedup();
        let (ids, checked) = match self.rule_of_end(&[line], candidate) {
            Some(rule) => (vec![rule.to_owned()], tags),
            None if tags.is_empty() => {
                (vec![self.default_rule(line, candidate).to_owned()], Vec::new())
            }
            None => (tags, Vec::new()),
        };
        for id in &ids {
            let detail = Detail {
                expected: vec![difference.expected.clone()],
                received: difference.received.clone(),
                reply: candidate.option_reply(),
                answer: self.answer_to(line, candidate),
                event: match difference.content {
                    true => EventKind::Content,
                    false => candidate.event(),
                },
                mark: difference.mark.clone(),
                bytes: difference.bytes.clone(),
                ..Detail::default()
            };
            let message = match (&difference.mark, candidate) {
                (Some((_, _, note)), _) if !note.is_empty() => note.clone(),
                (_, candidate) => self.headline(candidate, id),
            };
            let checked = checked.iter().filter(|tag| *tag != id).cloned();
            let message = while_checking(message, checked);
            self.find(id, &message, line.span, detail.clone())?;
            self.must_not_succeed(line, candidate, id, detail)?;
        }
        if !warn {
            self.note_silence();
        }
        Ok(())
    }

    /// Which error a request beyond the end gets is a SHOULD; that it gets one is not.
    fn must_not_succeed(
        &mut self,
        line: &MessageLine,
        candidate: &Candidate,
        id: &str,
        detail: Detail,
    ) -> Flow {
        let Candidate::Reply(reply) = candidate else { return Ok(()) };
        let command = rules::reply_command(self, line, reply.cookie);
        match rules::beyond_end(id, command) {
            Some(rule) if reply.error == ErrorCode::OK => {
                let message = "a request beyond the end of the export succeeds";
                self.find(rule, message, line.span, detail)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn headline(&self, candidate: &Candidate, requirement: &str) -> String {
        match candidate {
            Candidate::End(end) => end.to_string(),
            Candidate::Message(_) | Candidate::Reply(_) => requirements::find(requirement)
                .map_or_else(|| "not what was expected".to_owned(), |rule| rule.summary.to_owned()),
        }
    }

    /// What was answered, and how, if this is an error or the last reply to an option.
    fn answer_to(&self, line: &MessageLine, candidate: &Candidate) -> Option<String> {
        match candidate {
            Candidate::Reply(reply) if reply.error != ErrorCode::OK => {
                let command = rules::reply_command(self, line, reply.cookie)?;
                Some(format!("{command} with {}", reply.error))
            }
            Candidate::Message(received) => match &received.message {
                Message::OptionReply(reply) if reply.reply.is_final() => {
                    Some(format!("{} with {}", reply.option, reply.reply))
                }
                _ => None,
            },
            Candidate::Reply(_) | Candidate::End(_) => None,
        }
    }

    /// Takes what a line accepted off the queue.
    pub(super) fn accept(&mut self, line: &MessageLine, choice: Choice) {
        let Some(conn) = self.conns.get_mut(conn_name(line)) else { return };
        match &choice.candidate {
            Candidate::End(_) => {
                conn.end_expected = true;
                (conn.quiet, conn.unanswered) = (None, None);
            }
            Candidate::Reply(reply) => conn.cookies.answered(reply.cookie),
            Candidate::Message(received) => {
                if let Some(cookie) = crate::link::tracker::reply_cookie(&received.message) {
                    // Whether more comes of this reply, nobody else waits for it.
                    conn.cookies.answered(cookie);
                    match is_last(&received.message) {
                        true => conn.begun.remove(&cookie),
                        false => conn.begun.insert(cookie),
                    };
                }
                if let Message::Request(request) = &received.message
                    && request.command != Command::DISC
                {
                    conn.cookies.sent(request.cookie);
                    conn.requested = true;
                }
            }
        }
        for index in choice.taken.iter().rev() {
            conn.queue.remove(*index);
        }
    }

    /// Waits for what a line looks at.
    pub(super) async fn choose(&mut self, line: &MessageLine) -> Result<Choice, Stop> {
        let name = conn_name(line).to_owned();
        self.open(&name, line.span).await?;
        let full = self.wait();
        let at = self.script.source.line_of(line.span.start);
        let Some(conn) = self.conns.get_mut(&name) else {
            return Err(Stop::Error(format!("no connection `{name}`")));
        };
        conn.link.at_line(at);
        let selector = conn.selector(line, &self.env)?;
        let asks_for_none = match &line.head.node {
            Word::Name(name) => name == "NBD_REPLY_TYPE_NONE",
            Word::Variable(_) | Word::Any => true,
        };
        loop {
            let Some(conn) = self.conns.get_mut(&name) else {
                return Err(Stop::Error(format!("no connection `{name}`")));
            };
            let patience = &self.setup.patience;
            let choice = conn.listen(selector, asks_for_none, full, patience).await;
            self.collect();
            if !self.answered_besides(&name, &choice).await {
                return Ok(choice);
            }
        }
    }

    /// The scenario ends here: what it waited for in vain is worth less of a wait from now on.
    pub(super) fn note_silence(&mut self) {
        for conn in self.conns.values_mut() {
            if let Some(cause) = conn.unanswered.take() {
                self.setup.patience.silent(cause);
            }
        }
    }

    /// Something was done that a peer may answer: silence until now says nothing about what comes.
    pub(super) fn stirred(&mut self) {
        for conn in self.conns.values_mut() {
            conn.quiet = None;
        }
    }

    pub(super) fn wait(&self) -> Duration {
        self.script.header.timeout.unwrap_or(self.setup.timeout)
    }

    pub(super) async fn check(
        &mut self,
        expr: &Spanned<Expr>,
        tags: &[Spanned<String>],
        span: Span,
    ) -> Flow {
        self.reach(tags);
        let asks = uses(expr, "status") || uses(expr, "output");
        if asks && self.env.get("status").is_none() {
            self.client_status().await?;
        }
        if self.env.truth(expr)? {
            return Ok(());
        }
        let source = &self.script.source.text;
        let text = source.get(expr.span.start..expr.span.end).unwrap_or_default();
        let values: Vec<String> = variables(expr)
            .into_iter()
            .filter_map(|name| Some(format!("${name} = {}", self.env.get(name)?)))
            .collect();
        let message = (text == "$status != 0" && self.closed_first())
            .then_some("the server closed, and the client says status 0");
        if tags.is_empty() {
            let at = self.at(span);
            return Err(Stop::Error(format!("{at}: `{text}` is not true, and names no rule")));
        }
        for id in tags.iter().map(|tag| tag.node.as_str()) {
            let detail = Detail {
                expected: vec![text.to_owned()],
                received: values.join(", "),
                event: EventKind::Check,
                ..Detail::default()
            };
            let summary = requirements::find(id).map_or("", |rule| rule.summary);
            self.find(id, message.unwrap_or(summary), span, detail)?;
        }
        Ok(())
    }

    /// Whether the harness, as a server, has ended the last connection before the client took leave.
    fn closed_first(&self) -> bool {
        let end = self.transcript.iter().rev().find_map(|entry| match &entry.said {
            Said::Ended(by, _) => Some(*by == self.setup.side),
            Said::Message(seen) if seen.message.is_farewell() => Some(false),
            _ => None,
        });
        let said_goodbye = self.messages().any(|(_, said)| said.is_farewell());
        end == Some(true) && !said_goodbye && self.setup.side == Side::Server
    }

    pub(super) async fn client_status(&mut self) -> Flow {
        let limit = self.wait();
        // A client that connects again when it was closed on would wait for a greeting.
        self.stop_listening();
        let Some(client) = &mut self.setup.client else {
            return Err(Stop::Error(
                "`$status` is the client's, and none is under test".to_owned(),
            ));
        };
        match client.wait(limit).await {
            Some(status) => {
                self.env.set("status", Value::Int(status));
                // A client that was to write no file has none.
                let output = client.output().unwrap_or_default();
                let output = Payload(vec![protocol::payload::Part::Hex(output)]);
                self.env.set("output", Value::Payload(output));
                Ok(())
            }
            None => {
                let message = format!("the client was still running after {limit:?}");
                self.find(
                    id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
                    &message,
                    Span::default(),
                    Detail {
                        received: message.clone(),
                        event: EventKind::Timeout,
                        ..Detail::default()
                    },
                )?;
                Err(Stop::Failed)
            }
        }
    }
}

/// Whether a line waits for a request to be served.
fn wants_success(line: &MessageLine) -> bool {
    let Word::Name(head) = &line.head.node else { return false };
    let is = |name: &str| matches!(&line.variant, Some(Spanned { node: Word::Name(it), .. }) if it == name);
    match head.as_str() {
        "reply" | "simple-reply" => is("ok"),
        "NBD_REPLY_TYPE_ERROR" | "NBD_REPLY_TYPE_ERROR_OFFSET" => false,
        head => head.starts_with("NBD_REPLY_TYPE_"),
    }
}

/// A headline, with the rules that the scenario was about.
fn while_checking(message: String, rules: impl Iterator<Item = String>) -> String {
    let rules: Vec<String> = rules.collect();
    if rules.is_empty() {
        message
    } else {
        format!("{message}, while checking {}", rules.join(", "))
    }
}

/// The variables that an expression uses.
pub(super) fn variables(expr: &Spanned<Expr>) -> Vec<&str> {
    match &expr.node {
        Expr::Variable(name) => vec![name],
        Expr::Set(items) | Expr::Call(_, items) => items.iter().flat_map(variables).collect(),
        Expr::Pair(a, b) | Expr::Binary(_, a, b) => {
            let mut names = variables(a);
            names.extend(variables(b));
            names.dedup();
            names
        }
        Expr::Not(inner) => variables(inner),
        _ => Vec::new(),
    }
}

pub(super) fn uses(expr: &Spanned<Expr>, name: &str) -> bool {
    variables(expr).contains(&name)
}

/// The recommendation among the tags of a line.
pub(super) fn wish(tags: &[Spanned<String>]) -> Option<&str> {
    let is_wish = |id: &str| {
        requirements::find(id).is_some_and(|it| Severity::of(it.level) == Severity::Warning)
    };
    tags.iter().map(|tag| tag.node.as_str()).find(|id| is_wish(id))
}
