//! The words of `needs`.

use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, Spanned};
use protocol::values::{OptionType, TransmissionFlags};

use super::super::ast::Need;
use super::super::oversteps::BEYOND;
use super::Checker;
use crate::interpret::Limits;
use crate::interpret::eval::Env;

/// The needs that are one word, besides options, transmission flags and `no-` flags.
pub const PLAIN_NEEDS: &[&str] = &[
    "write",
    "read-only",
    "owned",
    "content",
    "listed",
    "other",
    "names",
    "fixed",
    "newstyle",
    "oldstyle",
    "structured",
    "extended",
    "block-size",
    "list",
];

/// The needs that are compared with a number, `tls` with a mode, `context` with a name.
pub const COMPARED_NEEDS: &[&str] =
    &["size", "exports", "minimum", "preferred", "maximum", "tls", "context"];

/// The modes of TLS (section "TLS versions and modes").
const TLS_MODES: &[&str] = &["off", "selective", "forced", "x509", "psk"];

/// Whether a value can be worked out from what a server tells of an export.
fn is_number(value: &Spanned<Expr>) -> bool {
    let mut env = Env::default();
    // Large enough for differences to be numbers.
    for (name, value) in Limits::new(1 << 40, None).variables() {
        env.set(name, value);
    }
    env.int(value).is_ok()
}

impl Checker<'_> {
    pub(super) fn header(&mut self) {
        for need in &self.script.header.needs {
            match need.condition {
                None => self.plain_need(need),
                Some(_) => self.compared_need(need),
            }
        }
        for word in &self.script.header.beyond {
            if !BEYOND.contains(&word.node.as_str()) {
                let message = format!("no limit is called `{}`", word.node);
                let error = self
                    .error(word.span, message, "expected end, minimum, maximum or effect")
                    .maybe_help(did_you_mean(&word.node, BEYOND.iter().copied()));
                self.errors.push(error);
            }
        }
    }

    fn plain_need(&mut self, Need { name, .. }: &Need) {
        let word = name.node.as_str();
        let flag = word.strip_prefix("no-").unwrap_or(word);
        let is_flag = TransmissionFlags::ALL.iter().any(|(_, name)| *name == flag);
        if PLAIN_NEEDS.contains(&word) || is_flag || word.parse::<OptionType>().is_ok() {
            return;
        }
        let error = self.error(name.span, format!("unknown need `{word}`"), "nothing to need");
        let error = if COMPARED_NEEDS.contains(&word) {
            error.help(format!("compare it: `{word}>=...`"))
        } else {
            let known = PLAIN_NEEDS
                .iter()
                .chain(COMPARED_NEEDS)
                .copied()
                .chain(TransmissionFlags::ALL.iter().map(|(_, name)| *name))
                .chain(OptionType::ALL.iter().filter_map(|option| option.name()));
            error.maybe_help(did_you_mean(word, known))
        };
        self.errors.push(error);
    }

    fn compared_need(&mut self, Need { name, condition }: &Need) {
        let word = name.node.as_str();
        if !COMPARED_NEEDS.contains(&word) {
            let error = self
                .error(name.span, format!("`{word}` can't be compared"), "not a number of the peer")
                .maybe_help(did_you_mean(word, COMPARED_NEEDS.iter().copied()));
            self.errors.push(error);
            return;
        }
        let Some((_, value)) = condition else { return };
        let fits = match &value.node {
            Expr::Text(context) => word == "context" && context.as_bytes().contains(&b':'),
            Expr::Name(mode) => word == "tls" && TLS_MODES.contains(&mode.as_str()),
            _ => word != "tls" && word != "context" && is_number(value),
        };
        if !fits {
            let wanted = match word {
                "tls" => "off, selective, forced, x509 or psk",
                "context" => "a name such as `base:allocation`",
                _ => "a number, such as `192KiB` or `4*$block`",
            };
            let error = self.error(
                value.span,
                format!("`{word}` is not compared with this"),
                format!("expected {wanted}"),
            );
            self.errors.push(error);
        }
    }
}
