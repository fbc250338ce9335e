//! The body of a script: lines, events, checks and blocks.

use std::sync::Arc;

use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, FieldPattern, Op, Span, Spanned};
use protocol::notation::error::NotationError;
use protocol::notation::lexer::Token;
use protocol::notation::parser::{Parsed, Parser};
use protocol::text::WireString;

use super::ast::{
    Branch, Event, EventLine, Items, Replies, Segmentation, Serve, Source, Statement,
    StatementKind, Tls, TlsKind, TlsOutcome, TlsTwist,
};
use super::error::ScriptError;

/// The words that begin a statement, besides `C:`, `S:` and `--`.
const STATEMENTS: &[&str] =
    &["should", "check", "any-order", "either", "maybe", "repeat", "until", "for", "given"];
/// The words that follow `--`.
const EVENTS: &[&str] =
    &["connect", "to", "tls", "close", "shut", "reset", "pause", "send", "fence", "serve", "judge"];
/// How deep blocks may nest.
const DEPTH_LIMIT: usize = 32;

/// A body and where its blocks begin and end.
pub(super) struct Body {
    pub(super) statements: Vec<Statement>,
    /// The places of `{` and `}` of each block, for the formatter.
    pub(super) blocks: Vec<(usize, usize)>,
}

/// Reads the text from `start` on. Mistakes are added to `errors`, at most one a line.
pub(super) fn read(source: &Arc<Source>, start: usize, errors: &mut Vec<ScriptError>) -> Body {
    // The header becomes blanks, so that places stay those of the whole text.
    let text = format!("{}{}", " ".repeat(start), &source.text[start..]);
    let (parser, bad_tokens) = Parser::new(&text);
    let mut reader = Reader { parser, errors: bad_tokens, blocks: Vec::new(), depth: 0 };
    let statements = reader.statements(None);
    let Reader { errors: mut found, blocks, .. } = reader;
    found.sort_by_key(|error| error.span.start);
    found.dedup_by_key(|error| source.line_of(error.span.start));
    errors.extend(found.into_iter().map(|error| ScriptError::notation(source, error)));
    Body { statements, blocks }
}

struct Reader<'a> {
    parser: Parser<'a>,
    errors: Vec<NotationError>,
    blocks: Vec<(usize, usize)>,
    depth: usize,
}

impl Reader<'_> {
    /// Statements up to the end of the block that `open` began, or of the text.
    fn statements(&mut self, open: Option<Span>) -> Vec<Statement> {
        let mut statements = Vec::new();
        loop {
            match self.parser.peek() {
                Token::Newline => {
                    self.parser.bump();
                }
                Token::End => {
                    if let Some(open) = open {
                        let error =
                            NotationError::new(open, "this block is not closed", "`}` is missing");
                        self.errors.push(error);
                    }
                    return statements;
                }
                Token::Symbol("}") => {
                    let close = self.parser.bump().span;
                    if let Some(open) = open {
                        self.blocks.push((open.start, close.start));
                        return statements;
                    }
                    self.errors.push(NotationError::new(
                        close,
                        "unexpected `}`",
                        "no block is open",
                    ));
                }
                _ => match self.statement() {
                    Ok(statement) => {
                        statements.push(statement);
                        if !self.parser.at_line_end() {
                            let error = self.after_statement();
                            self.fail(error);
                        }
                    }
                    Err(error) => self.fail(error),
                },
            }
        }
    }

    fn after_statement(&self) -> NotationError {
        let error = self.parser.unexpected("expected the end of the line");
        match self.parser.peek() {
            Token::Tag(_) => error.help("a tag belongs at the end of its line, not after a block"),
            _ => error.help("every statement has a line of its own"),
        }
    }

    /// Notes a mistake and goes on at the next line. A block whose head was wrong is still read.
    fn fail(&mut self, error: NotationError) {
        self.errors.push(error);
        let mut depth = 0usize;
        loop {
            match self.parser.peek() {
                Token::Newline | Token::End => return,
                Token::Symbol("}") if depth == 0 => return,
                Token::Symbol("}") => depth -= 1,
                Token::Symbol("{")
                    if *self.parser.peek_at(1) == Token::Newline && self.depth < DEPTH_LIMIT =>
                {
                    let open = self.parser.bump().span;
                    self.depth += 1;
                    self.statements(Some(open));
                    self.depth -= 1;
                    continue;
                }
                Token::Symbol("{") => depth += 1,
                _ => {}
            }
            self.parser.bump();
        }
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        if self.depth == DEPTH_LIMIT {
            return Err(NotationError::new(self.parser.span(), "blocks nest too deep", "too deep"));
        }
        let open = self.parser.expect_symbol("{")?;
        self.depth += 1;
        let statements = self.statements(Some(open));
        self.depth -= 1;
        Ok(statements)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let start = self.parser.span().start;
        let (kind, span) = if self.parser.at_message_line() {
            let line = self.parser.message_line()?;
            let span = line.span;
            (StatementKind::Message(line), span)
        } else if self.parser.at_symbol("--") {
            let line = self.event()?;
            let span = line.span;
            (StatementKind::Event(line), span)
        } else {
            let Token::Word(word) = self.parser.peek() else {
                return Err(self.parser.unexpected("expected `C:`, `S:`, `--` or a block"));
            };
            let word = word.clone();
            self.parser.bump();
            self.block_statement(&word, start)?
        };
        Ok(Statement { kind, span })
    }

    /// What begins with a word, which has been taken. The place is that of the first line.
    fn block_statement(&mut self, word: &str, start: usize) -> Parsed<(StatementKind, Span)> {
        let word_span = self.parser.span_from(start);
        let kind = match word {
            "should" if self.parser.eat_word("check") => return self.check(true, start),
            "check" => return self.check(false, start),
            "any-order" => StatementKind::AnyOrder(self.block()?),
            "either" => StatementKind::Either(self.branches()?),
            "maybe" => StatementKind::Maybe(self.block()?),
            "repeat" => {
                let least = self.parser.value()?;
                self.parser.expect_symbol("..")?;
                let most =
                    if self.parser.at_symbol("{") { None } else { Some(self.parser.value()?) };
                let span = self.parser.span_from(start);
                return Ok((StatementKind::Repeat { least, most, body: self.block()? }, span));
            }
            "until" => {
                if !self.parser.at_message_line() {
                    return Err(self.parser.unexpected("expected a line such as `S: NBD_REP_ACK`"));
                }
                let line = self.parser.message_line()?;
                let span = self.parser.span_from(start);
                return Ok((StatementKind::Until { line, body: self.block()? }, span));
            }
            "for" => {
                let variable = self.variable()?;
                if !self.parser.eat_word("in") {
                    return Err(self.parser.unexpected("expected `in`"));
                }
                let items = self.items()?;
                let span = self.parser.span_from(start);
                return Ok((StatementKind::For { variable, items, body: self.block()? }, span));
            }
            "given" => {
                let variable = self.variable()?;
                let span = self.parser.span_from(start);
                return Ok((StatementKind::Given { variable, body: self.block()? }, span));
            }
            _ => return Err(self.unknown_statement(word, word_span)),
        };
        Ok((kind, word_span))
    }

    fn unknown_statement(&self, word: &str, span: Span) -> NotationError {
        let error = NotationError::new(
            span,
            format!("unexpected `{word}`"),
            "expected `C:`, `S:`, `--`, `check` or a block",
        );
        match word {
            "should" => error.help("`should` is only allowed before `check` or a received line"),
            "or" => error.help("`or` follows the `}` of `either`"),
            "c" | "s" | "client" | "server" if self.parser.at_symbol(":") => {
                error.help("the client's lines begin with `C:`, the server's with `S:`")
            }
            "C" | "S" => error.help(format!("write `{word}:`")),
            word if word.starts_with("NBD_") => {
                error.help("who says it? write `C:` or `S:` before it")
            }
            word => error.maybe_help(did_you_mean(word, STATEMENTS.iter().copied())),
        }
    }

    /// `$x` or `x`.
    fn variable(&mut self) -> Parsed<Spanned<String>> {
        let (Token::Variable(name) | Token::Word(name)) = self.parser.peek() else {
            return Err(self.parser.unexpected("expected a variable"));
        };
        let name = name.clone();
        Ok(Spanned::new(name, self.parser.bump().span))
    }

    fn check(&mut self, should: bool, start: usize) -> Parsed<(StatementKind, Span)> {
        let expr = self.parser.expr()?;
        let tags = self.parser.tags();
        Ok((StatementKind::Check { should, expr, tags }, self.parser.span_from(start)))
    }

    fn branches(&mut self) -> Parsed<Vec<Branch>> {
        let mut branches = vec![Branch { warn: self.warn()?, body: self.block()? }];
        while self.at_or() {
            while *self.parser.peek() == Token::Newline {
                self.parser.bump();
            }
            self.parser.bump();
            branches.push(Branch { warn: self.warn()?, body: self.block()? });
        }
        Ok(branches)
    }

    /// Whether `or` comes next, on this line or after line ends.
    fn at_or(&self) -> bool {
        let mut ahead = 0;
        while *self.parser.peek_at(ahead) == Token::Newline {
            ahead += 1;
        }
        matches!(self.parser.peek_at(ahead), Token::Word(word) if word == "or")
    }

    fn warn(&mut self) -> Parsed<Option<Spanned<String>>> {
        if !self.parser.eat_word("warn") {
            return Ok(None);
        }
        self.parser.expect_any_word("the id of the requirement that is bent").map(Some)
    }

    fn items(&mut self) -> Parsed<Items> {
        let first = self.parser.value()?;
        if self.parser.eat_symbol("..") {
            return Ok(Items::Range(first, self.parser.value()?));
        }
        let mut items = vec![first];
        while self.parser.eat_symbol(",") {
            items.push(self.parser.value()?);
        }
        if let Some(item) =
            items.iter().find(|item| matches!(item.node, Expr::Any | Expr::Capture(_)))
        {
            return Err(NotationError::new(item.span, "a loop goes through values", "not a value"));
        }
        Ok(Items::List(items))
    }

    fn event(&mut self) -> Parsed<EventLine> {
        let start = self.parser.bump().span.start;
        let word = self.parser.expect_any_word("what happens to the connection")?;
        let event = match word.node.as_str() {
            "connect" => Event::Connect,
            "to" => self.destination()?,
            "serve" => Event::Serve(self.serve()?),
            "judge" => Event::Judge(self.served("judge", &["size"])?),
            "tls" => Event::Tls(self.tls()?),
            "close" => Event::Close,
            "shut" => Event::Shut,
            "reset" => Event::Reset,
            "fence" => Event::Fence,
            "pause" => match self.parser.peek() {
                Token::Duration(pause) => {
                    let pause = *pause;
                    self.parser.bump();
                    Event::Pause(pause)
                }
                _ => return Err(self.parser.unexpected("expected a duration such as `100ms`")),
            },
            "send" => Event::Send(match self.choice(&["whole", "bytewise", "coalesced"])? {
                "whole" => Segmentation::Whole,
                "bytewise" => Segmentation::Bytewise,
                _ => Segmentation::Coalesced,
            }),
            other => {
                let help = did_you_mean(other, EVENTS.iter().copied());
                let help = help.unwrap_or_else(|| format!("the events are {}", EVENTS.join(", ")));
                let message = format!("unknown event `{other}`");
                return Err(NotationError::new(
                    word.span,
                    message,
                    "nothing that happens to a connection",
                )
                .help(help));
            }
        };
        let conn = self.parser.conn();
        let span = self.parser.span_from(start);
        let tagged = matches!(event, Event::Tls(_) | Event::Serve(_) | Event::Judge(_));
        let tags = if tagged { self.parser.tags() } else { Vec::new() };
        Ok(EventLine { event, conn, tags, span })
    }

    fn tls(&mut self) -> Parsed<Tls> {
        let outcome = if self.parser.eat_word("fail") {
            TlsOutcome::Fails
        } else if self.parser.eat_word("may-fail") {
            TlsOutcome::Either
        } else {
            TlsOutcome::Succeeds
        };
        let kind = if self.parser.eat_word("x509") {
            Some(TlsKind::X509)
        } else if self.parser.eat_word("psk") {
            Some(TlsKind::Psk)
        } else {
            None
        };
        let mut twists = Vec::new();
        while matches!(self.parser.peek(), Token::Word(_)) {
            let word = self.choice(&TlsTwist::ALL.map(TlsTwist::name))?;
            twists.extend(TlsTwist::ALL.into_iter().filter(|twist| twist.name() == word));
        }
        Ok(Tls { outcome, kind, twists })
    }

    fn destination(&mut self) -> Parsed<Event> {
        if self.choice(&["haggling", "transmission"])? == "haggling" {
            return Ok(Event::ToHaggling);
        }
        let mut replies = Replies::Default;
        let mut contexts = Vec::new();
        if let Token::Word(_) = self.parser.peek() {
            replies = match self.choice(&["structured", "extended", "with"])? {
                "structured" => Replies::Structured,
                "extended" => Replies::Extended,
                _ => {
                    contexts = self.contexts()?;
                    Replies::Default
                }
            };
            if contexts.is_empty() && self.parser.eat_word("with") {
                contexts = self.contexts()?;
            }
        }
        Ok(Event::ToTransmission(replies, contexts))
    }

    fn serve(&mut self) -> Parsed<Serve> {
        let may_leave = self.parser.eat_word("may-leave");
        let may_structured = self.parser.eat_word("may-structured");
        let replies = if self.parser.eat_word("structured") {
            Replies::Structured
        } else if self.parser.eat_word("extended") {
            Replies::Extended
        } else {
            Replies::Default
        };
        let contexts = if !self.parser.eat_word("with") {
            None
        } else if self.parser.eat_word("nothing") {
            Some(Vec::new())
        } else {
            Some(self.contexts()?)
        };
        let fields = self.served("serve", &Serve::FIELDS)?;
        Ok(Serve { may_leave, replies, may_structured, contexts, fields })
    }

    /// What the export of an event is like.
    fn served(&mut self, event: &str, known: &[&str]) -> Parsed<Vec<FieldPattern>> {
        let fields = self.parser.fields()?;
        for FieldPattern { key, op, .. } in &fields {
            if !known.contains(&key.node.as_str()) {
                let message = format!("`{event}` has no field `{}`", key.node);
                let all = known.join(", ");
                let help = match known {
                    [_] => format!("its field is {all}"),
                    _ => format!("its fields are {all}"),
                };
                return Err(NotationError::new(key.span, message, "unknown field").help(help));
            }
            if *op != Op::Eq {
                return Err(NotationError::new(key.span, "what is served is said by `=`", "here"));
            }
        }
        Ok(fields)
    }

    /// The names of one metadata context or more.
    fn contexts(&mut self) -> Parsed<Vec<WireString>> {
        let mut contexts = Vec::new();
        while let Token::Text(name) = self.parser.peek() {
            contexts.push(name.clone());
            self.parser.bump();
        }
        if contexts.is_empty() {
            return Err(self.parser.unexpected("expected a context such as `\"base:allocation\"`"));
        }
        Ok(contexts)
    }

    /// One of a few words.
    fn choice(&mut self, words: &[&'static str]) -> Parsed<&'static str> {
        let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let label = format!("expected {}", quoted.join(" or "));
        let Token::Word(found) = self.parser.peek() else {
            return Err(self.parser.unexpected(&label));
        };
        match words.iter().find(|word| *word == found) {
            Some(word) => {
                self.parser.bump();
                Ok(word)
            }
            None => Err(self
                .parser
                .unexpected(&label)
                .maybe_help(did_you_mean(found, words.iter().copied()))),
        }
    }
}
