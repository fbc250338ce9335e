//! The `--` lines: what happens to a connection, and the steps that several messages make up.

use std::time::Duration;

use protocol::build::Built;
use protocol::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, Message, OptionBody, OptionReply, OptionRequest, Request,
    RequestForm, Side, SimpleReply,
};
use protocol::notation::ast::Span;
use protocol::payload::Payload;
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{ChunkType, Command, ErrorCode, OptionType, ReplyFlags};

use super::conn::{Choice, Selector};
use super::interpreter::Interpreter;
use super::matching::Candidate;
use super::stop::{Flow, Stop};
use crate::finding::{Detail, Sent};
use crate::link::tracker::Phase;
use crate::link::{End, plain};
use crate::script::ast::{Event, EventLine};

impl Interpreter<'_> {
    pub(super) async fn event(&mut self, line: &EventLine) -> Flow {
        let name = line.conn.as_ref().map_or("", |conn| conn.node.as_str()).to_owned();
        let limit = self.wait();
        if let Event::Pause(duration) = line.event {
            // A pause is the peer's time to act on what was said.
            for conn in self.conns.values_mut() {
                conn.link.flush(limit).await;
            }
            self.collect();
            tokio::time::sleep(duration).await;
            self.stirred();
            return Ok(());
        }
        if let Event::Judge(fields) = &line.event {
            return self.judge(line, fields).await;
        }
        self.open(&name, line.span).await?;
        let at = self.script.source.line_of(line.span.start);
        if let Some(conn) = self.conns.get_mut(&name) {
            conn.link.at_line(at);
        }
        match &line.event {
            Event::Connect | Event::Pause(_) | Event::Judge(_) => Ok(()),
            Event::ToHaggling => self.reach_haggling(&name, line.span).await,
            Event::ToTransmission(replies, contexts) => {
                self.reach_transmission(&name, *replies, contexts, line.span).await
            }
            Event::Serve(serve) => self.serve(&name, line, serve).await,
            Event::Tls(tls) => self.tls(&name, line, tls).await,
            Event::Close | Event::Reset => {
                let reset = line.event == Event::Reset;
                // A client with several connections loses all of them.
                self.stop_others();
                if let Some(conn) = self.conns.get_mut(&name) {
                    if reset {
                        conn.link.close(true, limit).await;
                    } else {
                        conn.take_leave(limit, &self.setup.patience).await;
                    }
                    conn.end_expected = true;
                }
                self.collect();
                // A later line on this connection opens a new one.
                self.conns.remove(&name);
                Ok(())
            }
            Event::Shut => {
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.link.shut(limit).await;
                    conn.end_expected = true;
                }
                self.stirred();
                self.collect();
                Ok(())
            }
            Event::Send(segmentation) => {
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.link.segment(*segmentation);
                }
                Ok(())
            }
            Event::Fence => self.fence(&name, line.span).await,
        }
    }

    pub(super) async fn say(&mut self, name: &str, message: Message) {
        let limit = self.wait();
        if let Some(conn) = self.conns.get_mut(name) {
            if let Message::Request(request) = &message
                && request.command != Command::DISC
            {
                conn.cookies.sent(request.cookie);
            }
            conn.link.send(&plain(message), limit).await;
        }
        self.stirred();
        self.collect();
    }

    /// The next message, taken off the queue.
    pub(super) async fn hear(&mut self, name: &str) -> Candidate {
        let full = self.wait();
        let Some(conn) = self.conns.get_mut(name) else { return Candidate::End(End::Close) };
        let Choice { candidate, taken } =
            conn.listen(Selector::Next, false, full, &self.setup.patience).await;
        for index in taken {
            conn.queue.remove(index);
        }
        self.collect();
        candidate
    }

    /// A step on the way to where the scenario begins did not go as it must.
    pub(super) fn stumble(
        &mut self,
        rule: &str,
        expected: &str,
        came: &Candidate,
        span: Span,
    ) -> Flow {
        let received = match came {
            Candidate::Message(received) => {
                let description = super::matching::describe(received);
                format!("{}: {description}", received.message.side().letter())
            }
            Candidate::Reply(reply) => format!("reply {}", reply.error),
            Candidate::End(end) => end.to_string(),
        };
        let (event, reply) = (came.event(), came.option_reply());
        let expected = vec![expected.to_owned()];
        let detail = Detail { expected, received, event, reply, ..Detail::default() };
        let message = self.headline(came, rule);
        self.find(rule, &message, span, detail)?;
        self.note_silence();
        Err(Stop::Failed)
    }

    /// Sends an option and collects the replies up to the final one.
    pub(super) async fn option(
        &mut self,
        name: &str,
        option: OptionType,
        body: OptionBody,
        span: Span,
    ) -> Result<(Vec<OptionReply>, OptionReply), Stop> {
        self.say(name, Message::Option(OptionRequest { option, body })).await;
        let mut replies = Vec::new();
        let hearing = self.hearing(name);
        // More replies than that to one of our options can only be a flood.
        while !self.is_too_much(&hearing, replies.len() as u64) {
            match self.hear(name).await {
                Candidate::Message(received) => match received.message {
                    Message::OptionReply(reply) if reply.reply.is_final() => {
                        return Ok((replies, reply));
                    }
                    Message::OptionReply(reply) => replies.push(reply),
                    _ => {
                        let came = Candidate::Message(received);
                        self.stumble(
                            id::OPTION_REPLY_LAYOUT,
                            "S: a reply to the option",
                            &came,
                            span,
                        )?;
                    }
                },
                came => {
                    self.left_over_wrongs(name, &came)?;
                    let rule = match &came {
                        Candidate::End(
                            End::Close | End::Notified | End::Reset | End::CutOff(_),
                        ) => id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
                        Candidate::End(End::Timeout(_)) => id::OPTION_REPLY_ONE_FINAL,
                        _ => id::OPTION_REPLY_LAYOUT,
                    };
                    let expected = format!("S: a reply to {option}");
                    self.stumble(rule, &expected, &came, span)?;
                }
            }
        }
        self.no_last_reply(option, replies.len() as u64, span)?;
        Err(Stop::Failed)
    }

    /// The replies to an option have no end.
    fn no_last_reply(&mut self, option: OptionType, replies: u64, span: Span) -> Flow {
        self.setup.patience.endless(Sent::Option(option));
        let came = Candidate::End(End::Endless(replies));
        let expected = format!("S: the last reply to {option}");
        self.stumble(id::OPTION_REPLY_ONE_FINAL, &expected, &came, span)
    }

    /// Proves that nothing more comes: the next thing must be the answer to a harmless question.
    async fn fence(&mut self, name: &str, span: Span) -> Flow {
        let phase = self.conns.get(name).map(|conn| conn.link.tracker().phase());
        if phase == Some(Phase::Transmission) {
            self.disconnect(name).await;
            let came = self.hear(name).await;
            if matches!(came, Candidate::End(End::Close | End::Notified | End::Reset)) {
                if let Some(conn) = self.conns.get_mut(name) {
                    conn.end_expected = true;
                }
                return Ok(());
            }
            let rule = match came {
                Candidate::End(_) => id::DISC_SERVER_CLOSES,
                _ => id::REPLY_ONE_PER_REQUEST,
            };
            return self.stumble(rule, "S: end", &came, span);
        }
        let option = OptionType::LIST;
        self.say(name, Message::Option(OptionRequest { option, body: OptionBody::Empty })).await;
        let hearing = self.hearing(name);
        let mut messages = 0;
        loop {
            messages += 1;
            if self.is_too_much(&hearing, messages) {
                return self.no_last_reply(option, messages, span);
            }
            match self.hear(name).await {
                Candidate::Message(received) => match &received.message {
                    Message::OptionReply(reply) if reply.option == option => {
                        if reply.reply.is_final() {
                            return Ok(());
                        }
                    }
                    _ => {
                        let came = Candidate::Message(received);
                        let expected = "S: a reply to NBD_OPT_LIST";
                        return self.stumble(id::OPTION_REPLY_ONE_FINAL, expected, &came, span);
                    }
                },
                came => {
                    self.left_over_wrongs(name, &came)?;
                    let expected = "S: a reply to NBD_OPT_LIST";
                    let rule = match came {
                        Candidate::End(End::Garbage(_) | End::Stalled(..)) => {
                            id::OPTION_REPLY_LAYOUT
                        }
                        Candidate::End(End::Timeout(_)) => id::OPTION_REPLY_ONE_FINAL,
                        _ => id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
                    };
                    return self.stumble(rule, expected, &came, span);
                }
            }
        }
    }

    async fn disconnect(&mut self, name: &str) {
        let form = self
            .conns
            .get(name)
            .map_or(RequestForm::Compact, |conn| conn.link.tracker().request_form());
        let cookie = match self.conns.get_mut(name) {
            Some(conn) => conn.cookies.fresh(&self.script.id, name),
            None => Cookie(0),
        };
        let request = Request::bare(form, Command::DISC, cookie);
        self.say(name, Message::Request(request)).await;
    }

    /// At the end: a server that hung up unasked is reported, the rest is taken leave of, and what
    /// it still says is heard, so that late and double replies show up.
    pub(super) async fn say_goodbye(&mut self) -> Flow {
        if self.setup.side == Side::Server {
            return Ok(());
        }
        let names: Vec<String> = self.conns.keys().cloned().collect();
        for name in names {
            let Some(conn) = self.conns.get(&name) else { continue };
            let garbled = matches!(conn.end, Some(End::Garbage(_) | End::TooLarge(_)));
            // Nothing can be said between STARTTLS and TLS.
            let between = conn.link.tracker().awaits_tls();
            if conn.end_expected || conn.link.is_closed() || garbled || between {
                continue;
            }
            let phase = conn.link.tracker().phase();
            // Who has taken leave says no more, and the server may wait for the close.
            let has_aborted = conn.link.sent() == Sent::Option(OptionType::ABORT);
            if !can_say_goodbye(phase) || conn.link.tracker().is_disconnecting() || has_aborted {
                continue;
            }
            if phase == Phase::Transmission {
                self.disconnect(&name).await;
            } else {
                let option = OptionType::ABORT;
                let body = OptionBody::Empty;
                self.say(&name, Message::Option(OptionRequest { option, body })).await;
            }
            // A server that waits for the rest of something takes no leave; that is no finding.
            let closes = phase == Phase::Transmission && !self.setup.stays_open;
            let patience = if closes { 2000 } else { 300 };
            let limit = self.wait().min(Duration::from_millis(patience));
            let Some(conn) = self.conns.get_mut(&name) else { continue };
            if phase == Phase::Transmission && self.setup.stays_open {
                // It closes when the client does.
                conn.link.shut(limit).await;
            }
            let limit = self.setup.patience.farewell(limit);
            if conn.hear_out(limit).await && phase == Phase::Transmission {
                self.setup.patience.stayed_open();
            }
            self.collect();
        }
        Ok(())
    }
}

/// The messages of the plainest lawful reply to a request.
///
/// # Errors
/// The error's name is unknown.
pub(super) fn plain_reply(
    cookie: Cookie,
    error: &str,
    data: &Payload,
    offset: u64,
    structured_read: bool,
    form: RequestForm,
) -> Result<Vec<Built>, String> {
    let error: ErrorCode = error.parse().map_err(|error| format!("{error}"))?;
    if form == RequestForm::Compact && !structured_read {
        let reply = Message::SimpleReply(SimpleReply { error, cookie });
        let payload = Some(data.clone());
        return Ok(vec![Built { payload, ..plain(reply) }]);
    }
    let form = match form {
        RequestForm::Compact => ChunkForm::Structured,
        RequestForm::Extended => ChunkForm::Extended { offset },
    };
    let length = data.length();
    let (chunk, body, payload) = if error != ErrorCode::OK {
        let body = ChunkBody::Error {
            error,
            message: WireString::default(),
            offset: None,
            rest: Vec::new(),
        };
        (ChunkType::ERROR, body, Payload::default())
    } else if length > 0 {
        (ChunkType::OFFSET_DATA, ChunkBody::Data { offset, length }, data.clone())
    } else {
        (ChunkType::NONE, ChunkBody::Empty, Payload::default())
    };
    let chunk = Chunk { form, flags: ReplyFlags::DONE, chunk, cookie, body };
    Ok(vec![Built { payload: Some(payload), ..plain(Message::Chunk(chunk)) }])
}

/// Whether a phase allows the harness to say goodbye in the protocol's way.
fn can_say_goodbye(phase: Phase) -> bool {
    matches!(phase, Phase::Haggling | Phase::Transmission)
}
