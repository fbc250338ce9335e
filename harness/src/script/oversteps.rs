//! Requests of a script that some lawful server may refuse: they leave its export, are no multiple
//! of its minimum block size, or exceed its maximum payload.
//!
//! A script is not played for that: each line that sends a request is worked out for servers of many
//! shapes, as far as the script's `needs` lets them in.

use std::collections::BTreeSet;

use protocol::describe::Value;
use protocol::message::Side;
use protocol::notation::ast::{Expr, MessageLine, Span, Spanned, Word};

use super::ast::{Items, Need, Script, Statement, StatementKind};
use super::walk;
use crate::interpret::Limits;
use crate::interpret::eval::{Env, number};

/// The words of `beyond`: what the requests of a script are beyond on purpose.
pub(super) const BEYOND: &[&str] = &["end", "minimum", "maximum", "effect"];

/// The commands with an offset and a length.
const COMMANDS: &[&str] = &[
    "NBD_CMD_READ",
    "NBD_CMD_WRITE",
    "NBD_CMD_TRIM",
    "NBD_CMD_CACHE",
    "NBD_CMD_WRITE_ZEROES",
    "NBD_CMD_BLOCK_STATUS",
];
/// Those whose length is that of a payload.
const PAYLOADS: &[&str] = &["NBD_CMD_READ", "NBD_CMD_WRITE"];
/// Those that a server may refuse because their length is above its maximum.
const EFFECTS: &[&str] = &["NBD_CMD_TRIM", "NBD_CMD_CACHE", "NBD_CMD_WRITE_ZEROES"];

/// The block sizes of servers; `None` for one that tells none.
const TOLD: &[Option<(u32, u32, u32)>] = &[
    None,
    Some((1, 512, 4096)),
    Some((1, 4096, 64 << 10)),
    Some((1, 4096, 4 << 20)),
    Some((1, 4096, u32::MAX)),
    Some((512, 4096, 1 << 20)),
    Some((4096, 4096, 32 << 20)),
    Some((64 << 10, 64 << 10, 64 << 10)),
    Some((64 << 10, 64 << 10, 32 << 20)),
];
/// Sizes of exports, besides those that `needs` names.
const SIZES: &[u64] = &[
    0,
    1,
    511,
    512,
    513,
    4096,
    (64 << 10) + 512,
    128 << 10,
    1_000_001,
    1 << 20,
    17 << 20,
    64 << 20,
    (5 << 30) + 1,
    16 << 30,
];
/// The largest number of rounds of a loop that are looked at.
const ROUNDS: u64 = 512;

/// A request that some server may refuse.
pub(super) struct Overstep {
    /// The word of [`BEYOND`].
    pub(super) word: &'static str,
    /// The place of the line.
    pub(super) span: Span,
    /// What is wrong with it, and with which server.
    pub(super) message: String,
}

/// The requests of a script that oversteps what it does not say that it does, each line once a kind.
pub(super) fn oversteps(script: &Script) -> Vec<Overstep> {
    let mut found = Vec::new();
    if script.header.tests != Side::Server {
        return found;
    }
    let stated: Vec<&str> = script.header.beyond.iter().map(|word| word.node.as_str()).collect();
    let mut seen: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (limits, env) in servers(&script.header.needs) {
        let mut env = env;
        let mut requests = Requests { limits, found: Vec::new() };
        requests.block(&script.body, &mut env);
        for overstep in requests.found {
            if !stated.contains(&overstep.word) && seen.insert((overstep.span.start, overstep.word))
            {
                found.push(overstep);
            }
        }
    }
    found
}

/// The servers that a script is played against.
fn servers(needs: &[Need]) -> Vec<(Limits, Env)> {
    let mut servers = Vec::new();
    let told_only = needs.iter().any(|need| need.name.node == "block-size");
    for told in TOLD.iter().filter(|told| told.is_some() || !told_only) {
        let mut sizes: BTreeSet<u64> = SIZES.iter().copied().collect();
        // The smallest that are large enough; what they are depends on the other limits.
        let large = environment(Limits::new(16 << 30, *told));
        for need in needs.iter().filter(|need| need.name.node == "size") {
            let named = need.condition.as_ref().and_then(|(_, value)| large.int(value).ok());
            let around = named.into_iter().flat_map(|size| {
                [size.saturating_sub(1), size, size.saturating_add(1), size.saturating_add(512)]
            });
            sizes.extend(around);
        }
        for size in sizes {
            let limits = Limits::new(size, *told);
            let env = environment(limits);
            if needs.iter().all(|need| is_met(need, limits, &env)) {
                servers.push((limits, env));
            }
        }
    }
    servers
}

fn environment(limits: Limits) -> Env {
    let mut env = Env::default();
    for (name, value) in limits.variables() {
        env.set(name, value);
    }
    env
}

/// Whether a server of these limits has what is needed; what is about other things, any has.
fn is_met(need: &Need, limits: Limits, env: &Env) -> bool {
    let Some((op, wanted)) = &need.condition else { return true };
    let has = match need.name.node.as_str() {
        "size" => limits.size,
        "minimum" => limits.minimum,
        "preferred" => limits.preferred,
        "maximum" => limits.maximum,
        _ => return true,
    };
    let Ok(wanted) = env.int(wanted) else { return false };
    op.holds(has, wanted)
}

/// The requests of a script, worked out for one server.
struct Requests {
    limits: Limits,
    found: Vec<Overstep>,
}

impl Requests {
    fn block(&mut self, body: &[Statement], env: &mut Env) {
        for statement in body {
            if let Some(line) = walk::line(statement) {
                self.line(line, env);
            }
            if let StatementKind::For { variable, items, body } = &statement.kind {
                for value in rounds(items, env) {
                    env.set(&variable.node, value);
                    self.block(body, env);
                    env.unset(&variable.node);
                }
                continue;
            }
            for block in walk::blocks(statement) {
                self.block(block, env);
            }
        }
    }

    fn line(&mut self, line: &MessageLine, env: &Env) {
        let command = match &line.head.node {
            Word::Name(name) => name.clone(),
            Word::Variable(name) => match env.get(name) {
                Some(Value::Name(name)) => name.to_string(),
                _ => return,
            },
            Word::Any => return,
        };
        if line.side != Side::Client || !COMMANDS.contains(&command.as_str()) {
            return;
        }
        let field = |key: &str| line.fields.iter().find(|field| field.key.node == key);
        let int = |key: &str| field(key).map(|field| env.int(&field.value));
        let length = int("length").or_else(|| {
            let payload = env.value(&field("data")?.value);
            Some(payload.map(|value| match value {
                Value::Payload(payload) => payload.length(),
                _ => 0,
            }))
        });
        // What the script captured is not known here.
        let (Ok(offset), Ok(length)) = (int("offset").unwrap_or(Ok(0)), length.unwrap_or(Ok(0)))
        else {
            return;
        };
        let Limits { size, minimum, maximum, .. } = self.limits;
        let command = command.as_str();
        if offset % minimum != 0 || length % minimum != 0 {
            let what =
                format!("offset {offset} and length {length} are not multiples of the minimum");
            self.overstep("minimum", line, what);
        }
        if PAYLOADS.contains(&command) && length > maximum {
            self.overstep("maximum", line, format!("length {length} is above the maximum"));
        }
        if EFFECTS.contains(&command) && length > maximum {
            let what = format!("a server may refuse length {length}: it is above the maximum");
            self.overstep("effect", line, what);
        }
        if offset.checked_add(length).is_none_or(|end| end > size) {
            let what = format!("offset {offset} and length {length} leave the export");
            self.overstep("end", line, what);
        }
    }

    fn overstep(&mut self, word: &'static str, line: &MessageLine, what: String) {
        let Limits { size, minimum, maximum, .. } = self.limits;
        let message = format!("{what} (size={size} minimum={minimum} maximum={maximum})");
        self.found.push(Overstep { word, span: line.span, message });
    }
}

/// The values that a loop goes through, as far as they are known.
fn rounds(items: &Items, env: &Env) -> Vec<Value> {
    match items {
        Items::List(items) => items.iter().filter_map(|item| env.value(item).ok()).collect(),
        Items::Range(from, to) => {
            let bound = |expr: &Spanned<Expr>| env.value(expr).ok().as_ref().and_then(number);
            match (bound(from), bound(to)) {
                (Some(from), Some(to)) => {
                    let last = to.min(from.saturating_add(ROUNDS));
                    // The last round is the one that goes farthest.
                    let rounds = (from..=last).chain((last < to).then_some(to));
                    rounds.map(Value::Int).collect()
                }
                _ => Vec::new(),
            }
        }
    }
}
