//! Holes and garbage: what can't be followed is not judged.

use protocol::values::{OptionType, ReplyType};

use super::dsl::*;
use crate::session::Problem;

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
    assert_eq!(talk.problems().len(), 4, "{}", talk.lines());
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

#[test]
fn after_a_hole_in_the_server_replies_are_found_again() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 512)).c(read(2, 512, 512)).gap(Server, 16 + 100);
    // The rest of the first reply, with what looks like others: to nobody, and with no such error.
    let other = [ok(7).to_bytes(), vec![0x67, 0x44, 0x66, 0x98, 0xff, 0, 0, 0]].concat();
    talk.raw(Server, &other).raw(Server, &vec![0x67; 412 - other.len()]);
    talk.raw(Server, &ok(2).to_bytes()).raw(Server, &[0; 512]);
    talk.c(write(3, SIZE, 512)).s(ok(3)).c(disc(4)).close(Client).close(Server).finish();
    insta::assert_snapshot!(talk.lines_after(6), @r#"
    7 C: NBD_CMD_READ cookie=0x1 offset=0 length=512
    8 C: NBD_CMD_READ cookie=0x2 offset=512 length=512
      ? server gap: 116 bytes of the server are missing
      ? server lost: after the hole the server can't be followed
      ? server resumed: the server is followed again after 528 bytes
    9 S: simple-reply ok cookie=0x2 data=zero*512 # answers 8
    10 C: NBD_CMD_WRITE cookie=0x3 offset=1048576 length=512 data=zero*512
      ! 10 client request-within-export: offset=1048576 and length=512 reach beyond size=1048576
    11 S: simple-reply ok cookie=0x3 # answers 10
    12 C: NBD_CMD_DISC cookie=0x4 offset=0 length=0
    "#);
}

#[test]
fn after_a_hole_in_the_client_requests_are_found_again() {
    let mut talk = Talk::new();
    talk.simple().c(write(1, 0, 512)).s(ok(1)).gap(Client, 28 + 100);
    // Neither command nor range are possible.
    let mut bad = read(8, 0, 512).to_bytes();
    bad[7] = 0x77;
    talk.raw(Client, &bad).raw(Client, &read(9, SIZE, 512).to_bytes());
    talk.raw(Client, &[0x25; 412 - 56]).s(ok(2)).c(write(3, 0, 512)).s(ok(3)).s(ok(4)).c(disc(4));
    talk.close(Client).close(Server).finish();
    insta::assert_snapshot!(talk.lines_after(6), @r#"
    7 C: NBD_CMD_WRITE cookie=0x1 offset=0 length=512 data=zero*512
    8 S: simple-reply ok cookie=0x1 # answers 7
      ? client gap: 128 bytes of the client are missing
      ? client lost: after the hole the client can't be followed
    9 S: simple-reply ok cookie=0x2
      ? client resumed: the client is followed again after 540 bytes
    10 C: NBD_CMD_WRITE cookie=0x3 offset=0 length=512 data=zero*512
    11 S: simple-reply ok cookie=0x3 # answers 10
    12 S: simple-reply ok cookie=0x4
    13 C: NBD_CMD_DISC cookie=0x4 offset=0 length=0
    "#);
}

#[test]
fn chunks_are_found_again_and_what_is_missing_accuses_nobody() {
    let mut talk = Talk::new();
    talk.structured().c(read(1, 0, 1024)).gap(Server, 20 + 8 + 512).s(data(1, DONE, 512, 512));
    talk.c(read(2, 0, 512)).s(data(2, DONE, 0, 512)).finish();
    insta::assert_snapshot!(talk.lines_after(8), @r#"
    9 C: NBD_CMD_READ cookie=0x1 offset=0 length=1024
      ? server gap: 540 bytes of the server are missing
      ? server lost: after the hole the server can't be followed
      ? server resumed: the server is followed again after 540 bytes
    10 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} offset=512 data=zero*512 # answers 9
    11 C: NBD_CMD_READ cookie=0x2 offset=0 length=512
    12 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x2 flags={DONE} offset=0 data=zero*512 # answers 11
    "#);
}

#[test]
fn options_are_found_again() {
    let mut talk = Talk::new();
    talk.haggle().gap(Client, 20).c(opt(OptionType::STRUCTURED_REPLY)).gap(Server, 20);
    talk.s(ack(OptionType::STRUCTURED_REPLY)).c(go()).s(export(OptionType::GO, SIZE, FLAGS | DF));
    talk.s(ack(OptionType::GO)).c(read(1, 0, 512)).s(data(1, DONE, 0, 512)).c(disc(2)).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
      ? client gap: 20 bytes of the client are missing
      ? client lost: after the hole the client can't be followed
      ? client resumed: the client is followed again after 20 bytes
    3 C: NBD_OPT_STRUCTURED_REPLY
      ? server gap: 20 bytes of the server are missing
      ? server lost: after the hole the server can't be followed
      ? server resumed: the server is followed again after 20 bytes
    4 S: NBD_REP_ACK option=NBD_OPT_STRUCTURED_REPLY
    5 C: NBD_OPT_GO name="disk" info={NBD_INFO_BLOCK_SIZE}
    6 S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS SEND_FLUSH SEND_FUA SEND_TRIM SEND_WRITE_ZEROES SEND_DF CAN_MULTI_CONN SEND_CACHE SEND_FAST_ZERO}
    7 S: NBD_REP_ACK option=NBD_OPT_GO
    8 C: NBD_CMD_READ cookie=0x1 offset=0 length=512
    9 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} offset=0 data=zero*512 # answers 8
    10 C: NBD_CMD_DISC cookie=0x2 offset=0 length=0
    "#);
}

#[test]
fn a_head_is_found_in_any_pieces() {
    let bytes = [vec![0x25, 0x60, 0x95], read(1, 0, 512).to_bytes(), write(2, 0, 9).to_bytes()];
    let bytes = [bytes.concat(), vec![0x25; 9], disc(3).to_bytes()].concat();
    for size in 1..bytes.len() {
        let mut talk = Talk::new();
        talk.simple().gap(Client, 28);
        for piece in bytes.chunks(size) {
            talk.raw(Client, piece);
        }
        talk.finish();
        let found: Vec<_> =
            talk.messages().skip(6).map(|seen| (seen.offset, seen.length)).collect();
        let first = found[0].0;
        assert_eq!(found, [(first, 28), (first + 28, 37), (first + 65, 28)], "{size}");
        assert_eq!(talk.problems().len(), 4, "{}", talk.lines());
    }
}

#[test]
fn a_session_can_be_joined_midway() {
    let mut talk = Talk::new();
    let start = crate::session::Start::Midway;
    talk.session =
        crate::session::Session::new(crate::session::Config { start, ..Default::default() });
    // In the middle of a write's payload, and of a reply.
    talk.raw(Client, &[0x5a; 100]).raw(Server, &[0, 0, 0, 0, 0, 9]);
    talk.c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes()).raw(Server, &[0; 512]);
    talk.c(read(2, 0, 512)).s(data(2, DONE, 0, 512)).s(ok(77)).c(write(3, 0, 512)).s(ok(3));
    talk.c(disc(4)).close(Client).close(Server).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
      ? client resumed: the client is followed again after 100 bytes
    1 C: NBD_CMD_READ cookie=0x1 offset=0 length=512
      ? server resumed: the server is followed again after 6 bytes
    2 S: simple-reply ok cookie=0x1 data=zero*512 # answers 1
    3 C: NBD_CMD_READ cookie=0x2 offset=0 length=512
    4 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x2 flags={DONE} offset=0 data=zero*512 # answers 3
    5 S: simple-reply ok cookie=0x4d
    6 C: NBD_CMD_WRITE cookie=0x3 offset=0 length=512 data=zero*512
    7 S: simple-reply ok cookie=0x3 # answers 6
    8 C: NBD_CMD_DISC cookie=0x4 offset=0 length=0
    "#);
}

#[test]
fn many_lost_replies_do_not_fill_the_table() {
    let mut talk = Talk::new();
    let config = crate::session::Config { in_flight: 4, ..Default::default() };
    talk.session = crate::session::Session::new(config);
    talk.simple().gap(Server, 16);
    for cookie in 1..100 {
        talk.c(write(cookie, 0, 1));
    }
    talk.s(ok(99)).finish();
    assert_eq!(talk.messages().last().map(|seen| seen.answers.is_some()), Some(true));
    assert_eq!(talk.problems().len(), 3, "{}", talk.lines());
}

#[test]
fn a_hole_in_the_clients_flags_does_not_make_flags_of_an_option() {
    let mut talk = Talk::new();
    talk.s(newstyle(3)).gap(Client, 4).c(opt(OptionType::STRUCTURED_REPLY)).gap(Server, 20);
    talk.c(go()).s(export(OptionType::GO, SIZE, FLAGS)).s(ack(OptionType::GO)).c(disc(1)).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new(), "{}", talk.lines());
    assert_eq!(talk.messages().count(), 6, "{}", talk.lines());
}

#[test]
fn tls_begins_in_the_piece_in_which_its_acknowledgment_is_found() {
    let mut talk = Talk::new();
    talk.haggle().c(opt(OptionType::STARTTLS)).gap(Server, 100);
    let piece = [vec![7; 30], ack(OptionType::STARTTLS).to_bytes(), vec![22, 3, 3]].concat();
    talk.raw(Server, &piece[..10]);
    assert_eq!(talk.session.received(Server, 0, &piece[10..]), 3);
    assert!(talk.session.expects_tls());
}

#[test]
fn a_magic_of_another_phase_is_not_found_over_and_over() {
    // Requests during haggling, replies of a server whose options are asked for: none of these can
    // be read as they stand there.
    let all = [
        read(1, 0, 512).to_bytes(),
        x(read(1, 0, 512)).to_bytes(),
        opt(OptionType::LIST).to_bytes(),
        ok(1).to_bytes(),
        data(1, DONE, 0, 512).to_bytes(),
        ack(OptionType::LIST).to_bytes(),
    ];
    let begin: [fn(&mut Talk); 4] = [
        |talk| _ = talk.s(newstyle(3)),
        |talk| _ = talk.haggle().c(opt(OptionType::LIST)),
        |talk| _ = talk.simple().c(read(1, 0, 512)),
        |talk| _ = talk.extended().c(x(read(1, 0, 512))),
    ];
    for begin in begin {
        for side in [Client, Server] {
            for message in &all {
                let mut talk = Talk::new();
                begin(&mut talk);
                talk.gap(side, 7).raw(side, message).gap(side, 7).raw(side, message);
                talk.raw(side, &[0; 40]).close(side).finish();
                assert_eq!(talk.broken(), Vec::<&str>::new(), "{}", talk.lines());
                assert!(talk.problems().len() < 20, "{}", talk.lines());
            }
        }
    }
}

#[test]
fn a_client_whose_servers_greeting_was_missed_may_be_an_oldstyle_one() {
    let mut talk = Talk::new();
    talk.gap(Server, 152).c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes());
    talk.raw(Server, &[0; 512]).c(disc(2)).close(Client).close(Server).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new(), "{}", talk.lines());
    let answered = talk.messages().filter(|seen| seen.answers.is_some()).count();
    assert_eq!((talk.messages().count(), answered), (3, 1), "{}", talk.lines());
}

#[test]
fn what_is_not_followed_to_the_end_is_told() {
    let mut talk = Talk::new();
    talk.simple().gap(Client, 28).raw(Server, &ok(1).to_bytes()).raw(Server, &[0x5a; 512]);
    talk.close(Server).finish();
    let lines = talk.lines();
    assert!(
        lines.contains("server lost: the last 512 bytes of the server can't be followed"),
        "{lines}"
    );
}

#[test]
fn payload_that_was_not_captured_is_stepped_over_without_a_word() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 4096)).raw(Server, &ok(1).to_bytes()).cut(Server, 4000);
    talk.cut(Server, 96).c(read(2, 4096, 512)).s(ok(2)).raw(Server, &[0; 512]).c(disc(3));
    assert_eq!(talk.problems(), Vec::<&Problem>::new(), "{}", talk.lines());
    assert!(talk.lines().contains("cookie=0x1 data=any*4096"), "{}", talk.lines());
    // Nothing is missing that could explain a fault.
    talk.s(ok(3));
    assert_eq!(talk.broken(), ["disc-no-reply"]);
}

#[test]
fn a_header_that_was_captured_in_part_is_told_as_far_as_it_goes() {
    let mut talk = Talk::new();
    talk.structured();
    let number = talk.messages().count() as u64;
    let head = read(1, 4096, 512).to_bytes();
    talk.raw(Client, &head[..25]).cut(Client, 3);
    talk.raw(Server, &data(1, 1, 4096, 512).to_bytes()[..22]).cut(Server, 6 + 512);
    talk.raw(Client, &read(2, 0, 512).to_bytes()[..24]).cut(Client, 4);
    talk.raw(Server, &data(2, 1, 0, 512).to_bytes()[..18]).cut(Server, 10 + 512);
    // What can't be known: how much comes after a write, and any less of a header.
    talk.raw(Client, &write(3, 0, 512).to_bytes()[..24]).cut(Client, 4 + 512);
    talk.raw(Client, &read(4, 0, 512).to_bytes()[..20]).cut(Client, 8);
    talk.c(disc(5));
    assert_eq!(talk.problems(), Vec::<&Problem>::new(), "{}", talk.lines());
    assert_eq!(talk.broken(), Vec::<&str>::new());
    let told: Vec<_> = talk.messages().filter(|seen| seen.number > number).collect();
    let lines: Vec<_> = told.iter().map(|seen| seen.describe().to_string()).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    NBD_CMD_READ cookie=0x1 offset=4096
    NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} data=any*512
    NBD_CMD_READ cookie=0x2 offset=0
    NBD_REPLY_TYPE_OFFSET_DATA cookie=0x2 flags={DONE}
    NBD_CMD_WRITE cookie=0x3 offset=0
    NBD_CMD_DISC cookie=0x5 offset=0 length=0
    ");
    let answers: Vec<_> = told.iter().filter_map(|seen| seen.answers).collect();
    assert_eq!(answers, [told[0].number, told[2].number]);
}
