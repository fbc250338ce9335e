//! What the harness says must be stated in full, and what it waits for is waited for.

use protocol::notation::ast::{Expr, FieldPattern, MessageLine, Op, Pattern, Span, Word};
use protocol::notation::vocabulary::{Head, VariantKind};

use super::super::walk;
use super::Checker;

/// The fields of a whole reply that the harness, as server, can be told.
const SENT_REPLY: &[&str] = &["cookie", "data"];

impl Checker<'_> {
    pub(super) fn sent(&mut self) {
        let mut lines = Vec::new();
        walk::statements(&self.script.body, &mut |statement| lines.extend(walk::line(statement)));
        for line in lines {
            if self.is_sent(line) {
                self.sent_line(line);
            } else {
                self.received_line(line);
            }
        }
    }

    fn fail(&mut self, span: Span, message: impl Into<String>, label: &str, help: Option<&str>) {
        let error = self.error(span, message, label).maybe_help(help.map(str::to_owned));
        self.errors.push(error);
    }

    fn sent_line(&mut self, line: &MessageLine) {
        if line.should {
            let help = Some("`should` weakens what is expected of the peer");
            self.fail(line.span, "`should` before a line that the harness sends", "sent", help);
        }
        let span = line.head.span;
        let head = match &line.head.node {
            Word::Any => {
                self.fail(span, "`_` can't be sent", "expected a message's name", None);
                return;
            }
            Word::Name(name) => Head::find(name),
            Word::Variable(_) => None,
        };
        match head {
            Some(Head::End) => {
                let help = "write `-- close`, `-- reset` or `-- shut`";
                self.fail(
                    span,
                    "the harness does not say this",
                    "only the peer's end is waited for",
                    Some(help),
                );
            }
            Some(Head::AnyError) => {
                self.fail(
                    span,
                    "which error?",
                    "expected a name such as `NBD_REP_ERR_UNSUP`",
                    None,
                );
            }
            Some(Head::Reply) => self.sent_reply(line),
            _ => {}
        }
        self.sent_variant(line, head);
        for field in &line.fields {
            self.sent_field(field);
        }
    }

    /// The second word of a line that is sent, or its lack.
    fn sent_variant(&mut self, line: &MessageLine, head: Option<Head>) {
        let span = line.head.span;
        match line.variant.as_ref().map(|word| (&word.node, word.span)) {
            Some((Word::Any, span)) => {
                self.fail(span, "`_` can't be sent", "expected a word", None);
            }
            Some((Word::Name(name), span)) if name == "error" && head == Some(Head::Reply) => {
                self.fail(span, "which error?", "expected a name such as `NBD_EINVAL`", None);
            }
            None => {
                let kind = head.map_or(VariantKind::None, Head::variant);
                let raw = line.fields.iter().any(|field| field.key.node == "data");
                let needed = match kind {
                    VariantKind::Style | VariantKind::Error => true,
                    VariantKind::Info => !raw,
                    VariantKind::None | VariantKind::Outcome => false,
                };
                if needed {
                    let message = format!("`{}` needs {} after it", line.head.node, kind.wanted());
                    self.fail(span, message, "a word is missing", None);
                }
            }
            _ => {}
        }
    }

    /// A field of a line that is sent: it needs one value.
    fn sent_field(&mut self, field: &FieldPattern) {
        if field.op != Op::Eq {
            let message =
                format!("`{}` is compared in a line that the harness sends", field.key.node);
            self.fail(field.key.span, message, "expected `=`", None);
        }
        let mut open = Vec::new();
        walk::expr(&field.value, &mut |part| {
            let what = match &part.node {
                Expr::Any => "`_`",
                Expr::Capture(_) => "a capture",
                Expr::Payload(parts) => {
                    match parts.iter().find_map(|part| match part.pattern {
                        Pattern::Any => Some("`any`"),
                        Pattern::Digest(_) => Some("`digest`"),
                        _ => None,
                    }) {
                        Some(what) => what,
                        None => return,
                    }
                }
                _ => return,
            };
            open.push((what, part.span));
        });
        for (what, span) in open {
            let help = (what == "`digest`")
                .then_some("a digest identifies data but cannot be sent: use `place(1)` instead");
            self.fail(span, format!("{what} can't be sent"), "expected a value", help);
        }
    }

    fn sent_reply(&mut self, line: &MessageLine) {
        for field in &line.fields {
            let key = field.key.node.as_str();
            let known = Head::Reply.fields(None).iter().any(|spec| spec.key == key);
            if known && !SENT_REPLY.contains(&key) {
                let help =
                    "send its chunks: `S: NBD_REPLY_TYPE_ERROR error=NBD_EIO message=\"...\"`";
                self.fail(
                    field.key.span,
                    format!("a sent `reply` has no `{key}`"),
                    "only `cookie` and `data`",
                    Some(help),
                );
            }
        }
    }

    fn received_line(&mut self, line: &MessageLine) {
        let Word::Name(name) = &line.head.node else { return };
        let Some(head) = Head::find(name) else { return };
        if head == Head::Bytes {
            let help = "bytes that are not a message end the conversation: write `end`";
            self.fail(line.head.span, "`bytes` can't be expected", "only sent", Some(help));
        }
        if head == Head::End && line.should && line.fields.is_empty() {
            self.fail(
                line.span,
                "an end has nothing to be lenient about",
                "no fields",
                Some("grade the outcomes with `either { } or warn ID { }`"),
            );
        }
        let is_request = matches!(head, Head::Request(_));
        for field in &line.fields {
            let key = field.key.node.as_str();
            let known = head.fields(None).iter().any(|spec| spec.key == key);
            if known && (key == "magic" || key == "length" && !is_request) {
                let message = format!("`{key}` can't be expected");
                self.fail(
                    field.key.span,
                    message,
                    "only for wrong values that the harness sends on purpose",
                    None,
                );
            }
        }
    }
}
