//! What a scenario relies on that the device behind an export may not do: then it tells nothing
//! about the protocol, and is not played. The survey has the evidence.

use protocol::message::Side;
use protocol::notation::ast::{Expr, MessageLine, PartExpr, Pattern, Word};

use super::kept::Kept;
use super::{Capabilities, Fact};
use crate::script::ast::{Event, Script, Statement, StatementKind};
use crate::script::walk;

/// Why the device is no place for a scenario, if it is not.
#[must_use]
pub fn device_prevents(script: &Script, found: &Capabilities) -> Option<String> {
    let body = &script.body;
    let needs = |name: &str| script.header.has_need(name);
    if found.route.is_some() && lacks_room(body, found) {
        return Some(format!(
            "the export has no room for a request: {} bytes, minimum block size {}",
            found.size,
            found.minimum()
        ));
    }
    if let Fact::Refused(line) = &found.reads
        && sends(body, "NBD_CMD_READ")
    {
        return Some(format!("reads fail on this device: {line}"));
    }
    if let Fact::Refused(line) = &found.writes
        && (needs("write") || needs("content"))
    {
        return Some(format!("writes fail on this device: {line}"));
    }
    let reads_back = needs("content") || expects(body, &["data"]);
    let looks_at = reads_back || expects(body, &["extents"]);
    let writes = needs("write") || needs("content");
    match &found.kept {
        Kept::Changes(why) if reads_back => Some(format!("the export's content changes: {why}")),
        Kept::Nothing(why) if writes && looks_at => {
            Some(format!("the export keeps nothing that is written: {why}"))
        }
        Kept::Private(why) if looks_at && (needs("content") || (writes && several(body))) => {
            Some(format!("each connection has content of its own: {why}"))
        }
        Kept::Apart(why) if looks_at && writes && several(body) => {
            Some(format!("connections do not see each other's writes: {why}"))
        }
        _ => None,
    }
}

/// Whether there is more than one connection, at once or one after the other.
fn several(body: &[Statement]) -> bool {
    let mut ends = false;
    walk::statements(body, &mut |statement| {
        ends |= matches!(&statement.kind, StatementKind::Event(line)
            if matches!(line.event, Event::Close | Event::Reset));
    });
    ends || walk::connections(body).len() > 1
}

fn is(line: &MessageLine, name: &str) -> bool {
    matches!(&line.head.node, Word::Name(head) if head == name)
}

fn sends(body: &[Statement], command: &str) -> bool {
    walk::any_line(body, &mut |line| line.side == Side::Client && is(line, command))
}

/// Whether a line of the server's has one of these fields with a value that is not just any.
fn expects(body: &[Statement], fields: &[&str]) -> bool {
    walk::any_line(body, &mut |line| {
        line.side == Side::Server
            && !is(line, "NBD_REP_ACK")
            && line.fields.iter().any(|field| {
                fields.contains(&field.key.node.as_str()) && is_particular(&field.value.node)
            })
    })
}

fn is_particular(value: &Expr) -> bool {
    match value {
        Expr::Any | Expr::Capture(_) => false,
        Expr::Payload(parts) => {
            parts.iter().any(|PartExpr { pattern, .. }| *pattern != Pattern::Any)
        }
        _ => true,
    }
}

/// Whether a script sends requests of the sizes that every export has room for but this one.
fn lacks_room(body: &[Statement], found: &Capabilities) -> bool {
    let limits = found.limits();
    if limits.end() >= limits.minimum {
        return false;
    }
    let mut lacks = false;
    let none = |name: &String| ["block", "page"].contains(&name.as_str());
    walk::statements(body, &mut |statement| {
        for whole in walk::exprs(statement) {
            walk::expr(whole, &mut |part| {
                lacks |= matches!(&part.node, Expr::Variable(name) if none(name));
            });
        }
    });
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prevented(found: &Capabilities) -> Vec<String> {
        let all = crate::scenarios::all().unwrap();
        all.iter()
            .filter(|script| script.header.tests == Side::Server)
            .filter(|script| device_prevents(script, found).is_some())
            .map(|script| script.id.clone())
            .collect()
    }

    fn found(kept: Kept) -> Capabilities {
        let size = 16 << 20;
        Capabilities { kept, size, route: Some(super::super::Route::Go), ..Capabilities::default() }
    }

    #[test]
    fn an_ordinary_device_prevents_nothing() {
        for kept in [Kept::Yes, Kept::default(), Kept::Wrong(String::new())] {
            assert_eq!(prevented(&found(kept)), Vec::<String>::new());
        }
    }

    #[test]
    fn an_odd_device_prevents_what_relies_on_it_and_no_more() {
        let all = crate::scenarios::all().unwrap().len();
        let mut before = all;
        // The more a device lacks, the more it prevents.
        for kept in [Kept::Nothing, Kept::Private, Kept::Apart] {
            let prevented = prevented(&found(kept(String::new())));
            assert!(prevented.len() < before && !prevented.is_empty(), "{prevented:?}");
            assert!(prevented.iter().all(|id| id != "2.6-base/sanity"));
            before = prevented.len();
        }
        let reads = Fact::Refused("NBD_EIO".to_owned());
        let failing = prevented(&Capabilities { reads, ..found(Kept::default()) });
        assert!(failing.iter().any(|id| id == "2.6-base/sanity") && failing.len() < all);
    }

    #[test]
    fn nothing_is_asked_of_an_export_without_a_lawful_request() {
        let empty = prevented(&Capabilities { size: 0, ..found(Kept::default()) });
        assert!(empty.iter().any(|id| id == "2.6-base/sanity"));
        assert!(empty.iter().all(|id| id != "2.10-go/size-0"));
    }
}
