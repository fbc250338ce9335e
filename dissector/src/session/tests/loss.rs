//! Holes and garbage: what can't be followed is not judged.

use protocol::values::{OptionType, ReplyType};

use super::dsl::*;

#[test]
fn a_hole_inside_of_bulk_does_no_harm() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 4096)).raw(Server, &ok(1).to_bytes()).raw(Server, &[0; 1000]);
    talk.gap(Server, 1448).raw(Server, &[0; 1648]).c(write(2, 0, 512)).s(ok(2)).finish();
    insta::assert_snapshot!(talk.lines_after(6), @r#"
    7 C: NBD_CMD_READ cookie=0x1 offset=0 length=4096
      ? server gap: 1448 bytes of the server are missing
    8 S: simple-reply ok cookie=0x1 data=any*4096 # answers 7
    9 C: NBD_CMD_WRITE cookie=0x2 offset=0 length=512 data=zero*512
    10 S: simple-reply ok cookie=0x2 # answers 9
    "#);
}

#[test]
fn after_a_hole_the_server_is_not_judged_and_the_client_only_for_itself() {
    let mut talk = Talk::new();
    talk.simple().c(write(1, 0, 512)).gap(Server, 16).c(write(1, 0, 512)).c(read(3, SIZE, 1));
    talk.s(ok(77)).c(disc(4)).close(Client).close(Server).finish();
    insta::assert_snapshot!(talk.lines_after(6), @r#"
    7 C: NBD_CMD_WRITE cookie=0x1 offset=0 length=512 data=zero*512
      ? server gap: 16 bytes of the server are missing
      ? server lost: after the hole the server can't be followed
    8 C: NBD_CMD_WRITE cookie=0x1 offset=0 length=512 data=zero*512
    9 C: NBD_CMD_READ cookie=0x3 offset=1048576 length=1
      ! 9 client request-within-export: offset=1048576 and length=1 reach beyond size=1048576
    10 C: NBD_CMD_DISC cookie=0x4 offset=0 length=0
    "#);
}

#[test]
fn after_a_hole_in_the_client_unknown_cookies_are_nobodys_fault() {
    let mut talk = Talk::new();
    talk.structured().c(write(1, 0, 512)).gap(Client, 28).s(ok(1)).s(ok(9)).s(data(10, DONE, 0, 9));
    talk.s(ok(11)).close(Client).close(Server).finish();
    insta::assert_snapshot!(talk.lines_after(8), @r#"
    9 C: NBD_CMD_WRITE cookie=0x1 offset=0 length=512 data=zero*512
      ? client gap: 28 bytes of the client are missing
      ? client lost: after the hole the client can't be followed
    10 S: simple-reply ok cookie=0x1 # answers 9
    11 S: simple-reply ok cookie=0x9
    12 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0xa flags={DONE} offset=0 data=zero*9
    13 S: simple-reply ok cookie=0xb
    "#);
}

#[test]
fn simple_replies_to_lost_reads_can_not_be_followed() {
    let mut talk = Talk::new();
    talk.simple().gap(Client, 28).raw(Server, &ok(1).to_bytes()).raw(Server, &[0x5a; 512]);
    talk.s(ok(2)).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.problems().len(), 3, "{}", talk.lines());
}

#[test]
fn haggling_is_followed_after_a_hole_in_the_client() {
    let mut talk = Talk::new();
    talk.haggle().gap(Client, 16).s(ack(OptionType::STRUCTURED_REPLY));
    talk.s(export(OptionType::GO, SIZE, FLAGS | DF)).s(ack(OptionType::GO));
    talk.s(data(1, DONE, 0, 512)).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.messages().count(), 6);
}

#[test]
fn haggling_is_followed_after_a_hole_in_the_server() {
    let mut talk = Talk::new();
    talk.haggle().c(opt(OptionType::LIST)).gap(Server, 20).c(opt(OptionType::STRUCTURED_REPLY));
    talk.c(go()).c(read(1, 100, 512)).c(write(1, 0, 512)).c(disc(3)).close(Client).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.messages().count(), 8);
}

#[test]
fn tls_after_a_hole_in_the_server_is_no_violation() {
    let mut talk = Talk::new();
    talk.haggle()
        .c(opt(OptionType::STARTTLS))
        .gap(Server, 20)
        .raw(Client, &[0x16, 3, 1, 0, 0, 0, 0, 0]);
    assert_eq!(talk.broken(), Vec::<&str>::new());
}

#[test]
fn after_garbage_the_other_side_is_free() {
    let mut talk = Talk::new();
    talk.haggle().raw(Client, &[7; 100]).s(refuse(OptionType(0x0707_0707), ReplyType::ERR_UNSUP));
    talk.close(Server).close(Client).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
      ! 2 client option-request-layout: expected IHAVEOPT, found magic 0x0707070707070707 at byte 4 of the client
      ? client lost: the rest of the client's bytes can't be followed
    3 S: NBD_REP_ERR_UNSUP option=NBD_OPT_0x7070707
    "#);
}

#[test]
fn a_missing_greeting_is_not_held_against_the_client() {
    let mut talk = Talk::new();
    talk.gap(Server, 18).c(client_flags(3)).c(opt(OptionType::LIST)).c(go()).c(read(1, 0, 512));
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.messages().count(), 4);
}

#[test]
fn too_many_requests_in_flight_are_not_correlated() {
    let mut talk = Talk::new();
    let config = crate::session::Config { in_flight: 2, ..Default::default() };
    talk.session = crate::session::Session::new(config);
    talk.structured();
    for cookie in 1..=4 {
        talk.c(write(cookie, 0, 1));
    }
    for cookie in 1..=4 {
        talk.s(ok(cookie));
    }
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.problems().len(), 1);
}
