//! Heads, variants, fields, names and functions: every word must be known where it stands.

use std::collections::HashMap;

use protocol::message::Side;
use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, FieldPattern, MessageLine, Op, Span, Spanned, Word};
use protocol::notation::vocabulary::{FieldKind, FieldSpec, Head, VariantKind};

use super::super::ast::{Event, EventLine, Items, Serve, Statement, StatementKind};
use super::super::walk;
use super::Checker;

/// The functions of expressions, and how many arguments each takes.
pub const FUNCTIONS: &[(&str, usize)] = &[
    ("pow2", 1),
    ("min", 2),
    ("max", 2),
    ("down", 2),
    ("up", 2),
    ("length", 1),
    ("sum", 1),
    ("first", 1),
    ("status", 1),
];

/// The kinds of field whose values have names.
const NAMED: &[FieldKind] = &[
    FieldKind::Option,
    FieldKind::Error,
    FieldKind::Infos,
    FieldKind::Form,
    FieldKind::HandshakeFlags,
    FieldKind::ClientFlags,
    FieldKind::TransmissionFlags,
    FieldKind::CommandFlags,
    FieldKind::ReplyFlags,
];

/// The names that a loop's variable goes through, where it is used for a word.
type Loops<'s> = HashMap<&'s str, &'s [Spanned<Expr>]>;

impl<'s> Checker<'s> {
    pub(super) fn words(&mut self) {
        self.words_in(&self.script.body, &Loops::new());
    }

    fn words_in(&mut self, body: &'s [Statement], loops: &Loops<'s>) {
        for statement in body {
            if let Some(line) = walk::line(statement) {
                self.line(line, loops);
            }
            if let StatementKind::Event(EventLine { event: Event::Serve(serve), span, .. }) =
                &statement.kind
            {
                self.serve(serve, *span);
            }
            if let StatementKind::Event(EventLine { event: Event::Judge(fields), span, .. }) =
                &statement.kind
            {
                self.for_clients("judge", *span);
                fields.iter().for_each(|field| self.field(field, FieldKind::Int(u64::MAX)));
            }
            for expr in walk::exprs(statement) {
                walk::expr(expr, &mut |part| self.call(part));
            }
            if let StatementKind::Check { expr, .. } = &statement.kind {
                walk::expr(expr, &mut |part| self.name(part));
            }
            let mut inner = loops.clone();
            if let StatementKind::For { variable, items: Items::List(items), .. } = &statement.kind
            {
                inner.insert(&variable.node, items);
            }
            for block in walk::blocks(statement) {
                self.words_in(block, &inner);
            }
        }
    }

    fn for_clients(&mut self, event: &str, span: Span) {
        if self.script.header.tests == Side::Server {
            let message = format!("`-- {event}` is for scenarios that test a client");
            let error =
                self.error(span, message, "serves nobody").help("write `-- to transmission`");
            self.errors.push(error);
        }
    }

    fn serve(&mut self, serve: &Serve, span: Span) {
        self.for_clients("serve", span);
        for field in &serve.fields {
            let kind = match field.key.node.as_str() {
                "size" => FieldKind::Int(u64::MAX),
                "flags" => FieldKind::TransmissionFlags,
                _ => FieldKind::Int(u64::from(u32::MAX)),
            };
            self.field(field, kind);
        }
    }

    fn call(&mut self, part: &Spanned<Expr>) {
        let Expr::Call(name, arguments) = &part.node else { return };
        let error = match FUNCTIONS.iter().find(|(known, _)| known == name) {
            None => {
                let known = FUNCTIONS.iter().map(|(known, _)| *known);
                let all: Vec<&str> = known.clone().collect();
                let help = did_you_mean(name, known)
                    .unwrap_or_else(|| format!("the functions are {}", all.join(", ")));
                self.error(part.span, format!("unknown function `{name}`"), "no such function")
                    .help(help)
            }
            Some((_, wanted)) if *wanted != arguments.len() => self.error(
                part.span,
                format!("`{name}` takes {wanted} argument{}", if *wanted == 1 { "" } else { "s" }),
                format!("{} given", arguments.len()),
            ),
            Some(_) => return,
        };
        self.errors.push(error);
    }

    /// A name in `check`, where it may be of any kind.
    fn name(&mut self, part: &Spanned<Expr>) {
        let Expr::Name(name) = &part.node else { return };
        if NAMED.iter().any(|kind| kind.accepts_name(name)) || Head::find(name).is_some() {
            return;
        }
        let known = NAMED.iter().flat_map(|kind| kind.names());
        let error = self
            .error(part.span, format!("unknown name `{name}`"), "not a word of the protocol")
            .maybe_help(did_you_mean(name, known))
            .maybe_help(self.as_variable(name));
        self.errors.push(error);
    }

    fn as_variable(&self, name: &str) -> Option<String> {
        let text = &self.script.source.text;
        text.contains(&format!("?{name}"))
            .then(|| format!("what was captured is written `${name}`"))
    }

    fn line(&mut self, line: &'s MessageLine, loops: &Loops<'s>) {
        let variant = match line.variant.as_ref().map(|word| &word.node) {
            Some(Word::Name(variant)) => Some(variant.as_str()),
            _ => None,
        };
        match &line.head.node {
            Word::Any => {}
            Word::Name(name) => {
                if let Some(head) = self.head(name, line.head.span, line.side) {
                    self.message(line, name, head, variant);
                }
            }
            Word::Variable(name) => {
                for item in loops.get(name.as_str()).copied().unwrap_or_default() {
                    let Expr::Name(name) = &item.node else {
                        let error = self
                            .error(
                                item.span,
                                "this is not a message's name",
                                "used as a name below",
                            )
                            .related(line.head.span, "here")
                            .help("write an unknown value as a name: `NBD_OPT_0x4e424421`");
                        self.errors.push(error);
                        continue;
                    };
                    if let Some(head) = self.head(name, item.span, line.side) {
                        self.message(line, name, head, variant);
                    }
                }
            }
        }
    }

    fn head(&mut self, name: &str, span: Span, side: Side) -> Option<Head> {
        let Some(head) = Head::find(name) else {
            let error = self
                .error(span, format!("unknown message `{name}`"), "no message has this name")
                .maybe_help(Head::did_you_mean(name));
            self.errors.push(error);
            return None;
        };
        if let Some(speaker) = head.side()
            && speaker != side
        {
            let error = self
                .error(
                    span,
                    format!("`{name}` is said by the {}", speaker.name()),
                    "from the wrong side",
                )
                .help(format!("write `{}:`", speaker.letter()));
            self.errors.push(error);
            return None;
        }
        Some(head)
    }

    fn message(&mut self, line: &MessageLine, name: &str, head: Head, variant: Option<&str>) {
        let kind = head.variant();
        let specs = head.fields(variant);
        if let (Some(word), Some(variant)) = (&line.variant, variant)
            && !kind.accepts(variant)
        {
            let error = self.bad_variant(name, kind, variant, word.span, &specs);
            self.errors.push(error);
            return;
        }
        if line.variant.as_ref().is_some_and(|word| word.node == Word::Any)
            && kind == VariantKind::None
            && let Some(word) = &line.variant
        {
            let error = self.error(
                word.span,
                format!("`{name}` has no second word"),
                "nothing is written here",
            );
            self.errors.push(error);
        }
        for (index, field) in line.fields.iter().enumerate() {
            let key = &field.key;
            let Some(spec) = specs.iter().find(|spec| spec.key == key.node) else {
                let error = self.unknown_field(name, key, &specs);
                self.errors.push(error);
                continue;
            };
            let twice = |earlier: &&FieldPattern| {
                earlier.key == *key && earlier.op == Op::Eq && field.op == Op::Eq
            };
            if let Some(earlier) = line.fields[..index].iter().find(twice) {
                let error = self
                    .error(key.span, format!("`{}` appears twice", key.node), "again here")
                    .related(earlier.key.span, "first here");
                self.errors.push(error);
            }
            self.field(field, spec.kind);
        }
    }

    fn bad_variant(
        &self,
        head: &str,
        kind: VariantKind,
        variant: &str,
        span: Span,
        specs: &[FieldSpec],
    ) -> super::ScriptError {
        let is_field = specs.iter().any(|spec| spec.key == variant);
        if is_field {
            return self
                .error(span, format!("the field `{variant}` has no value"), "expected a value")
                .help(format!("write `{variant}=value`"));
        }
        let message = match kind {
            VariantKind::None => format!("`{head}` has no second word"),
            _ => format!("`{variant}` is not {}", kind.wanted()),
        };
        self.error(span, message, "unknown here").maybe_help(did_you_mean(variant, kind.words()))
    }

    fn unknown_field(
        &self,
        head: &str,
        key: &Spanned<String>,
        specs: &[FieldSpec],
    ) -> super::ScriptError {
        let keys: Vec<&str> = specs.iter().map(|spec| spec.key).collect();
        let help = did_you_mean(&key.node, keys.iter().copied())
            .or_else(|| (!keys.is_empty()).then(|| format!("its fields are {}", keys.join(", "))));
        self.error(key.span, format!("`{head}` has no field `{}`", key.node), "unknown field")
            .maybe_help(help)
    }

    fn field(&mut self, FieldPattern { key, op, value }: &FieldPattern, kind: FieldKind) {
        let is_number = matches!(kind, FieldKind::Int(_));
        let error = match op {
            Op::Has | Op::Lacks if !kind.is_set() => Some("only a set has items"),
            Op::Lt | Op::Le | Op::Gt | Op::Ge if !is_number => Some("only numbers have an order"),
            _ => None,
        };
        if let Some(label) = error {
            let error = self.error(key.span, format!("`{}` is {}", key.node, kind.wanted()), label);
            self.errors.push(error);
            return;
        }
        self.value(&key.node, value, kind);
    }

    /// A value whose type shows: literals and names.
    fn value(&mut self, key: &str, value: &Spanned<Expr>, kind: FieldKind) {
        let fits = match &value.node {
            Expr::Int(n) => match kind.limit() {
                Some(limit) if *n > limit && !kind.is_set() => {
                    let message = format!("{n} is too large for `{key}`");
                    let error = self.error(value.span, message, format!("at most {limit}"));
                    self.errors.push(error);
                    true
                }
                Some(_) => !kind.is_set(),
                None => false,
            },
            Expr::Text(_) => kind == FieldKind::Text,
            Expr::Payload(_) => kind == FieldKind::Payload,
            Expr::Name(name) if !kind.is_set() => {
                if matches!(kind, FieldKind::Option | FieldKind::Error | FieldKind::Form)
                    && !kind.accepts_name(name)
                {
                    self.unknown_item(name, value.span, kind);
                    return;
                }
                kind.accepts_name(name)
            }
            Expr::Set(items) => {
                if kind.is_set() {
                    items.iter().for_each(|item| self.item(key, item, kind));
                }
                kind.is_set()
            }
            Expr::Name(_) | Expr::Pair(..) | Expr::Not(_) => false,
            _ => true,
        };
        if !fits {
            let label = format!("expected {}", kind.wanted());
            let message = format!("`{key}` is {}", kind.wanted());
            let help = match &value.node {
                Expr::Name(name) if kind.is_set() => Some(format!("write `{key}={{{name}}}`")),
                Expr::Name(name) => self.as_variable(name),
                _ => None,
            };
            let error = self.error(value.span, message, label).maybe_help(help);
            self.errors.push(error);
        }
    }

    fn item(&mut self, key: &str, item: &Spanned<Expr>, kind: FieldKind) {
        let fits = match &item.node {
            Expr::Int(n) => kind.limit().is_some_and(|limit| *n <= limit),
            Expr::Text(_) => kind == FieldKind::Texts,
            Expr::Pair(..) => kind == FieldKind::Extents,
            Expr::Name(name) => {
                if !kind.accepts_name(name) {
                    self.unknown_item(name, item.span, kind);
                }
                true
            }
            Expr::Payload(_) | Expr::Set(_) | Expr::Not(_) | Expr::Any | Expr::Capture(_) => false,
            _ => true,
        };
        if !fits {
            let message = format!("this is not allowed in `{key}`");
            let error = self.error(item.span, message, format!("expected {}", kind.wanted_item()));
            self.errors.push(error);
        }
    }

    fn unknown_item(&mut self, name: &str, span: Span, kind: FieldKind) {
        let error = self
            .error(span, format!("`{name}` is not {}", kind.wanted_item()), "unknown here")
            .maybe_help(did_you_mean(name, kind.names()))
            .maybe_help(self.as_variable(name));
        self.errors.push(error);
    }
}
