//! Broken scripts and what is said about them; whole scripts that are read.

use super::ast::{Items, StatementKind};
use super::{parse, render};

const HEADER: &str = "nbd: 1\ntitle: t\nsince: 2.10\nfeature: f\ntests: server\n\n";

/// What is said about the grammar of a body.
fn mistakes(body: &str) -> String {
    match parse("x/y", "y.nbd", &format!("{HEADER}{body}")) {
        Ok(_) => "no mistake".to_owned(),
        Err(errors) => render(&errors, false),
    }
}

#[test]
fn reads_every_kind_of_statement() {
    let script = parse(
        "x/y",
        "y.nbd",
        &format!(
            "{HEADER}\
            -- to transmission structured @a\n\
            for opt in NBD_OPT_LIST, 0x4e424421 {{ C@a: $opt }} # a comment\n\
            for n in 1..$size/512 {{\n  C: NBD_CMD_READ offset=$n*512\n}}\n\
            either {{ S: reply ok }}\n\
            or warn some-id {{\n S: reply error\n}} or {{ S: end }}\n\
            repeat 0.. {{ S: _ }}\n\
            until should S: NBD_REP_ACK {{ maybe {{ S: NBD_REP_INFO _ }} }}\n\
            given $min {{ should check pow2($min) [a] [b] }}\n\
            -- pause 100ms\n"
        ),
    );
    let script = script.unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    assert_eq!(script.body.len(), 8);
    let StatementKind::For { items: Items::Range(..), .. } = &script.body[2].kind else {
        panic!("{:?}", script.body[2]);
    };
    let StatementKind::Either(branches) = &script.body[3].kind else { panic!() };
    assert_eq!(branches.len(), 3);
    assert_eq!(branches[1].warn.as_ref().map(|id| id.node.as_str()), Some("some-id"));
}

#[test]
fn says_what_is_wrong_with_a_header() {
    let text = "nbd: 2\ntitel: t\nsince: new\nfeature: f\nfeature: g\nneeds: write size>=x%\n\
                timeout: soon\nC: NBD_OPT_GO\n";
    let errors = parse("x/y", "y.nbd", text).unwrap_err();
    insta::assert_snapshot!(render(&errors, false));
}

#[test]
fn says_what_is_wrong_with_a_body() {
    let body = "C: NBD_OPT_GO name=$export info={NBD_INFO_BLOCK_SIZE\n\
                S NBD_REP_ACK\n\
                -- too haggling\n\
                -- to transmision\n\
                mabye {\n  S: reply ok ok\n}\n\
                check $x = 1\n\
                NBD_OPT_LIST\n\
                C: NBD_CMD_READ offset=$size - 512\n\
                either { S: end } or warn { S: close }\n\
                maybe { S: reply ok } [some-id]\n";
    insta::assert_snapshot!(mistakes(body));
}

#[test]
fn says_which_block_is_not_closed() {
    insta::assert_snapshot!(mistakes("for x in 1..2 {\n  any-order {\n    S: _\n  }\n"));
    insta::assert_snapshot!(mistakes("S: _\n}\n"));
}

#[test]
fn refuses_blocks_without_end() {
    let body = format!("{}S: _{}", "maybe {\n".repeat(5000), "}\n".repeat(5000));
    let errors = parse("x/y", "y.nbd", &format!("{HEADER}{body}")).unwrap_err();
    assert_eq!(errors[0].message, "blocks nest too deep");
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "\\PC*|(nbd: 1|C: x|[-CS:@=(){}$?_\\[\\]# a-z0-9\"\n]|\n\n|maybe \\{){0,40}") {
        if let Err(errors) = parse("x", "x", &text) {
            let _ = render(&errors, false);
        }
    }
}
