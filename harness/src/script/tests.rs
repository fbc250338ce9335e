//! Broken scripts and what is said about them; whole scripts that are read.

use super::ast::{Event, EventLine, Items, Replies, StatementKind};
use super::{check, format, lint, load, parse, render};

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
fn reads_the_contexts_to_select_on_the_way() {
    let event = |line: &str| {
        let script = parse("x/y", "y.nbd", &format!("{HEADER}{line}\n")).ok()?;
        let StatementKind::Event(EventLine { event, conn, .. }) = &script.body[0].kind else {
            return None;
        };
        let Event::ToTransmission(replies, contexts) = event else { return None };
        let names = contexts.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        Some((*replies, names, conn.is_some()))
    };
    let two = vec![b"base:allocation".to_vec(), b"qemu:allocation-depth".to_vec()];
    let line = "-- to transmission with \"base:allocation\" \"qemu:allocation-depth\" @b";
    assert_eq!(event(line), Some((Replies::Default, two.clone(), true)));
    let line = "-- to transmission extended with \"base:allocation\"";
    assert_eq!(event(line), Some((Replies::Extended, two[..1].to_vec(), false)));
    for line in ["-- to transmission with", "-- to haggling with \"base:allocation\""] {
        assert_eq!(event(line), None, "{line}");
    }
}

#[test]
fn a_context_to_need_has_a_namespace() {
    let needs = |words: &str| {
        let header = HEADER.replace("tests: server\n", &format!("tests: server\nneeds: {words}\n"));
        let Ok(script) = parse("x/y", "y.nbd", &header) else { return 1 };
        check(&script).len()
    };
    assert_eq!(needs("context=base:allocation context=qemu:dirty-bitmap:bm0"), 0);
    for wrong in ["context=base", "context=", "context", "context>=1"] {
        assert_eq!(needs(wrong), 1, "{wrong}");
    }
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

/// What is said about the sense of a body, whose header needs nothing.
fn nonsense(body: &str) -> String {
    let text = format!("{HEADER}{body}");
    let script =
        parse("x/y", "y.nbd", &text).unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    render(&check(&script), false)
}

#[test]
fn knows_every_word() {
    insta::assert_snapshot!(nonsense(
        "-- to haggling\n\
         C: NBD_OPT_GOO name=$export\n\
         S: NBD_OPT_LIST\n\
         C: NBD_OPT_GO nam=$export info={NBD_INFO_BLOCKSIZE NBD_INFO_0x7777}\n\
         C: NBD_OPT_GO name\n\
         S: NBD_REP_INFO NBD_INFO_EXPORTS\n\
         S: NBD_REP_INFO NBD_INFO_EXPORT flags has {SEND_FLUSHH} size<\"a\" size has {DF}\n\
         C: NBD_CMD_READ offset=0 length=$block flags=DF\n\
         S: reply NBD_EINVALL\n\
         check pow3($size) or max(1) == 2 or $flags has {READ_ONLYY}\n\
         S: NBD_REP_ACK option=NBD_OPT_GO [opt-go-no-paddding]\n"
    ));
}

#[test]
fn a_loop_over_heads_goes_through_names() {
    insta::assert_snapshot!(nonsense(
        "for opt in NBD_OPT_LIST, NBD_OPT_LISST, 0x4e424421 {\n  C: $opt\n}\n"
    ));
}

#[test]
fn what_is_sent_is_stated() {
    insta::assert_snapshot!(nonsense(
        "should C: NBD_OPT_LIST\n\
         C: _\n\
         C: NBD_OPT_GO name=_ info!={}\n\
         C: close\n\
         C: NBD_CMD_WRITE cookie=?c data=any*512\n\
         C: NBD_CMD_WRITE cookie=w data=digest(00ff)*512\n\
         S: bytes hex\"00\"\n\
         S: NBD_REP_ACK length=3\n"
    ));
}

#[test]
fn nothing_is_used_before_it_is_captured_or_captured_twice() {
    insta::assert_snapshot!(nonsense(
        "S: NBD_REP_INFO NBD_INFO_EXPORT size=?bytes\n\
         check $byte > 0\n\
         maybe { S: NBD_REP_INFO NBD_INFO_BLOCK_SIZE minimum=?min preferred=?pref }\n\
         check $min > 0\n\
         given $min { check $pref >= $min }\n\
         S: NBD_REP_INFO NBD_INFO_EXPORT size=?bytes flags=?flags\n\
         repeat 0.. { S: NBD_REP_SERVER name=?name }\n\
         check length($name) > 0\n\
         given $nothing { check $nothing > 0 }\n\
         any-order {\n  S: NBD_REP_SERVER name=?one\n  S: NBD_REP_SERVER name=$one\n}\n"
    ));
}

#[test]
fn what_every_branch_captures_is_known_after_them() {
    let body = "either { S: NBD_REP_SERVER name=?x description=?d }\n\
                or { S: NBD_REP_INFO NBD_INFO_NAME name=?x }\n\
                check length($x) > 0\n\
                given $d { check length($d) + length($x) > 0 }\n";
    assert_eq!(nonsense(body), "");
}

#[test]
fn a_reply_says_which_request_it_answers() {
    insta::assert_snapshot!(nonsense(
        "-- to transmission\n\
         C: NBD_CMD_READ cookie=first length=512\n\
         C: NBD_CMD_READ cookie=second length=512\n\
         S: reply ok\n\
         S: reply ok cookie=frist\n\
         S: reply ok cookie=first\n\
         S: reply ok\n\
         S: reply ok\n\
         for n in 1..3 {\n  C: NBD_CMD_READ length=$n\n}\n\
         S: reply ok\n"
    ));
    let chunks = "C: NBD_CMD_READ length=512\n\
                  S: NBD_REPLY_TYPE_OFFSET_DATA flags={}\n\
                  S: NBD_REPLY_TYPE_NONE\n\
                  C@b: NBD_CMD_READ length=512\n\
                  C: NBD_CMD_READ length=512\n\
                  S: reply ok\n\
                  S@b: reply ok\n";
    assert_eq!(nonsense(chunks), "");
    let whichever = "C: NBD_CMD_READ cookie=a length=512\n\
                     C: NBD_CMD_READ cookie=b length=512\n\
                     S: reply ok cookie=_\n\
                     S: reply ok cookie=?last\n\
                     check $last > 0\n";
    assert_eq!(nonsense(whichever), "");
}

#[test]
fn branches_begin_with_what_is_received_and_can_be_told_apart() {
    insta::assert_snapshot!(nonsense(
        "either { C: NBD_OPT_LIST } or { S: NBD_REP_ACK }\n\
         maybe { }\n\
         repeat 0.. { check 1 == 1 }\n\
         either { S: reply error } or { S: reply NBD_EIO }\n\
         either { S: reply ok } or { S: simple-reply ok }\n\
         either { S: NBD_REP_ACK } or { S@b: NBD_REP_SERVER }\n\
         either { S: end } or { S: close }\n\
         until S: NBD_REP_INFO NBD_INFO_NAME { S: NBD_REP_INFO NBD_INFO_NAME name=\"a\" }\n\
         any-order { C: NBD_OPT_LIST }\n\
         either { S: _ }\n\
         either { S: reply ok data=zero*4 } or { S: reply ok data=fill(0)*4 }\n"
    ));
}

#[test]
fn branches_that_differ_are_accepted() {
    for branches in [
        "either { S: reply ok } or { S: reply error }",
        "either { S: reply NBD_EINVAL } or { S: reply error }",
        "either { S: reply NBD_EINVAL } or { S: reply error error!=NBD_EINVAL }",
        "either { S: NBD_REP_INFO NBD_INFO_NAME } or { S: NBD_REP_INFO _ } or { S: NBD_REP_ACK }",
        "either { S: NBD_REP_ERR_UNSUP } or { S: error }",
        "either { S: NBD_REPLY_TYPE_ERROR flags={DONE} } or { S: NBD_REPLY_TYPE_ERROR flags={} }",
        "either { S: NBD_REPLY_TYPE_ERROR flags has {DONE} } or { S: NBD_REPLY_TYPE_ERROR flags lacks {DONE} }",
        "either { S: NBD_REP_INFO NBD_INFO_EXPORT size<512 } or { S: NBD_REP_INFO NBD_INFO_EXPORT size>=512 }",
        "either { S: close } or { S: reset } or { S: timeout }",
        "until S: NBD_REP_ACK { S: NBD_REP_INFO _ }",
    ] {
        assert_eq!(nonsense(branches), "", "{branches}");
    }
}

#[test]
fn knows_the_needs() {
    let text = HEADER.replace(
        "tests: server\n",
        "tests: server\nneeds: write SEND_TRIMM no-SEND_DF size write>=3 sice>=1 tls=forced tls=on NBD_OPT_GO\n\
         checks: baseline-reed\n",
    );
    let script = parse("x/y", "y.nbd", &text).unwrap();
    insta::assert_snapshot!(render(&check(&script), false));
}

#[test]
fn gives_advice() {
    let text = "nbd: 1\ntitle: t\nsince: 2.6\nfeature: f\ntests: server\nneeds: SEND_DF\naction: info\n\
                checks: baseline-read baseline-write\n\n\
                -- to transmission structured\n\
                C: NBD_CMD_WRITE offset=0 data=zero*512\n\
                S: reply ok cookie=_ offset=?where [baseline-write] [write-stored]\n\
                C: NBD_CMD_BLOCK_STATUS length=512\n\
                any-order {\n  repeat 0.. { S: NBD_REP_INFO _ }\n  S: NBD_REP_INFO NBD_INFO_NAME\n}\n";
    let script = parse("x/y", "y.nbd", text).unwrap();
    assert_eq!(render(&check(&script), false), "");
    insta::assert_snapshot!(render(&lint(&script), false));
    let greeting = format!("{HEADER}S: greeting fixed-newstyle flags={{FIXED_NEWSTYLE}}\n");
    let greeting = parse("x/y", "y.nbd", &greeting).unwrap();
    insta::assert_snapshot!(render(&lint(&greeting), false));
    let client = parse("x/y", "y.nbd", &HEADER.replace("tests: server", "tests: client")).unwrap();
    insta::assert_snapshot!(render(&lint(&client), false));
}

/// The guide for authors names everything that a script can say.
#[test]
fn the_guide_is_complete_and_its_example_is_a_scenario() {
    let guide = include_str!("../../../scenarios/README.md");
    let words = super::header::KEYS
        .iter()
        .chain(check::PLAIN_NEEDS)
        .chain(check::COMPARED_NEEDS)
        .chain(check::FUNCTIONS.iter().map(|(name, _)| name))
        .copied();
    let missing: Vec<&str> = words.filter(|word| !guide.contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let example = guide.split("```\n").nth(1).unwrap();
    let script = load("x/y", "README.md", example)
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    assert_eq!(render(&lint(&script), false), "");
    assert_eq!(format("README.md", example).unwrap(), example);
}

#[test]
fn advises_against_requests_that_a_lawful_server_may_refuse() {
    let advice = |header: &str, body: &str| {
        let header = HEADER.replace("tests: server\n", &format!("tests: server\n{header}"));
        let script = load("x/y", "y.nbd", &format!("{header}-- to transmission\n{body}"));
        render(&lint(&script.unwrap_or_else(|errors| panic!("{}", render(&errors, false)))), false)
    };
    let read = "C: NBD_CMD_READ offset=0 length=$block\nS: reply ok\n";
    assert_eq!(advice("needs: size>=$block\n", read), "");
    let large = "C: NBD_CMD_READ offset=64KiB length=128KiB\nS: reply ok\n";
    assert_eq!(advice("needs: size>=192KiB maximum>=128KiB\n", large), "");
    let past = "C: NBD_CMD_READ offset=$end length=$block\nS: reply error\n";
    assert_eq!(advice("needs: size>=$block\nbeyond: end\n", past), "");
    let loops =
        "for n in 0..3 {\n  C: NBD_CMD_TRIM offset=$n*$page length=$page\n  S: reply _\n}\n";
    assert_eq!(advice("needs: write size>=4*$page\n", loops), "");
    // What it captures itself is not known beforehand.
    let captured = "C: NBD_CMD_READ offset=0 length=$block\nS: reply ok offset=?x\n\
                    C: NBD_CMD_READ offset=$x length=$block\nS: reply ok\n";
    assert_eq!(advice("needs: size>=$block\n", captured), "");
    insta::assert_snapshot!(advice("", read));
    insta::assert_snapshot!(advice("needs: size>=1MiB\n", large));
    let odd = "C: NBD_CMD_READ offset=512 length=4KiB\nS: reply ok\n";
    insta::assert_snapshot!(advice("needs: size>=1MiB maximum>=4KiB\n", odd));
    insta::assert_snapshot!(advice("needs: write size>=3*$page\n", loops));
    let effect = "C: NBD_CMD_WRITE_ZEROES offset=0 length=$end\nS: reply ok\n";
    insta::assert_snapshot!(advice("needs: write size>=$block\n", effect));
    let literal = "-- close\n-- to haggling\nC: NBD_OPT_EXPORT_NAME name=$export\n\
                   S: export-info size=16MiB\n";
    insta::assert_snapshot!(advice("", literal));
}

#[test]
fn advises_against_wishes_that_are_none_and_checks_that_name_no_rule() {
    let advice = |checks: &str, body: &str| {
        let checks = if checks.is_empty() { String::new() } else { format!("checks: {checks}\n") };
        let checks = format!("tests: server\nneeds: size>=$block\n{checks}");
        let header = HEADER.replace("tests: server\n", &checks);
        let script = load("x/y", "y.nbd", &format!("{header}-- to transmission\n{body}"));
        render(&lint(&script.unwrap_or_else(|errors| panic!("{}", render(&errors, false)))), false)
    };
    let read = "C: NBD_CMD_READ offset=0 length=$block\n";
    let wish = |tag: &str| format!("{read}should S: reply ok {tag}\n");
    assert_eq!(advice("size-default-min-1", &wish("[size-default-min-1]")), "");
    insta::assert_snapshot!(advice("baseline-read", &wish("[baseline-read]")));
    insta::assert_snapshot!(advice("", &wish("")));
    let branch = format!("{read}either {{ S: reply ok }}\nor warn baseline-read {{ S: end }}\n");
    insta::assert_snapshot!(advice("baseline-read", &branch));
    let check = format!("{read}S: reply ok\ncheck $size > 0\n");
    insta::assert_snapshot!(advice("", &check));
}

#[test]
fn knows_the_words_of_limits() {
    let header = HEADER.replace("tests: server\n", "tests: server\nbeyond: end maximun\n");
    let script = parse("x/y", "y.nbd", &header).unwrap();
    insta::assert_snapshot!(render(&check(&script), false));
}
