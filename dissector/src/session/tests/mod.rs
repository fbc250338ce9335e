//! For every rule a talk that breaks it, and a lawful one that comes close.

mod chunks;
mod dsl;
mod extended;
mod final_replies;
mod handshake;
mod loss;
mod options;
mod requests;
mod simple;
mod status;
mod teardown;
mod tls;
mod whole;
mod written;

use super::Rule;

#[test]
fn every_rule_has_a_talk_that_breaks_it() {
    let tested: Vec<Rule> = [
        chunks::RULES,
        extended::RULES,
        final_replies::RULES,
        handshake::RULES,
        options::RULES,
        requests::RULES,
        simple::RULES,
        status::RULES,
        teardown::RULES,
        tls::RULES,
    ]
    .concat();
    let untested: Vec<_> = Rule::ALL.iter().filter(|rule| !tested.contains(rule)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
