//! Reads that contradict writes.

use protocol::message::Message;
use protocol::values::{Command, ErrorCode, OptionType};

use super::dsl::*;
use crate::session::{Config, ProblemKind, Recognize, Session};

const BLOCK: usize = 4096;

/// A session of simple replies that is compared; `structured`: of structured ones.
fn talk(structured: bool) -> Talk {
    sized(structured, SIZE)
}

fn sized(structured: bool, size: u64) -> Talk {
    let mut talk = Talk::new();
    let config = Config { recognize: Recognize::Contradictions, ..Config::default() };
    talk.session = Session::new(config);
    talk.haggle();
    if structured {
        talk.agree(OptionType::STRUCTURED_REPLY);
    }
    talk.enter(size, FLAGS, 1);
    talk
}

/// Sends a message with this for its bulk, in pieces that cut words.
fn with(talk: &mut Talk, side: protocol::message::Side, message: Message, bulk: &[u8]) {
    let mut bytes = message.to_bytes();
    assert_eq!(message.bulk() as usize, bulk.len());
    bytes.extend_from_slice(bulk);
    for piece in bytes.chunks(1021) {
        talk.raw(side, piece);
    }
}

fn write_of(talk: &mut Talk, cookie: u64, offset: u64, content: &[u8]) {
    with(talk, Client, write(cookie, offset, content.len() as u64), content);
}

fn wrote(talk: &mut Talk, cookie: u64, offset: u64, content: &[u8]) {
    write_of(talk, cookie, offset, content);
    talk.s(ok(cookie));
}

/// A simple reply with this content.
fn gets(talk: &mut Talk, cookie: u64, content: &[u8]) {
    talk.s(ok(cookie));
    for piece in content.chunks(1023) {
        talk.raw(Server, piece);
    }
}

fn reads(talk: &mut Talk, cookie: u64, offset: u64, content: &[u8]) {
    talk.c(read(cookie, offset, content.len() as u64));
    gets(talk, cookie, content);
}

fn differs(talk: &Talk) -> Vec<String> {
    assert_eq!(talk.broken(), Vec::<&str>::new());
    let mut all = talk.problems();
    all.retain(|problem| problem.kind == ProblemKind::DataDiffers);
    all.into_iter().map(|problem| problem.text.clone()).collect()
}

fn content(blocks: &[u8]) -> Vec<u8> {
    blocks.iter().flat_map(|block| [*block; BLOCK]).collect()
}

#[test]
fn a_read_of_something_else_is_told_with_the_write() {
    let mut talk = talk(false);
    wrote(&mut talk, 1, 0, &content(&[1, 2, 3]));
    reads(&mut talk, 2, 0, &content(&[1, 3, 9]));
    let [text] = &differs(&talk)[..] else { panic!("one") };
    let told = "message 10, the data that message 9 read, differs from the write at message 7, from \
                block offset=4096 on (write-stored, unless something that was not seen wrote as well)";
    assert_eq!(text, told);
    // Once for each block.
    reads(&mut talk, 3, 0, &content(&[1, 3, 3]));
    assert_eq!(differs(&talk).len(), 1);
}

#[test]
fn the_same_data_is_right_in_whatever_pieces() {
    let mut talk = talk(false);
    let data: Vec<u8> = (0..5 * BLOCK).map(|at| (at * 7 % 251) as u8).collect();
    wrote(&mut talk, 1, 0, &data);
    for (cookie, (offset, length)) in
        [(0, 5 * BLOCK), (1, 9000), (4095, 4098), (8192, 4096), (512, 512)].into_iter().enumerate()
    {
        reads(&mut talk, 10 + cookie as u64, offset as u64, &data[offset..][..length]);
    }
    assert!(differs(&talk).is_empty());
    reads(&mut talk, 99, 1, &data[2..][..3 * BLOCK]);
    assert_eq!(differs(&talk).len(), 1);
}

/// A name, and what happens.
type Case = (&'static str, fn(&mut Talk));

/// What comes between a write of ones and a read of twos, and makes either right.
#[test]
fn whatever_may_have_changed_the_data_is_no_contradiction() {
    let lawful: [Case; 10] = [
        ("written in part", |t| wrote(t, 2, 512, &[7; 512])),
        ("a write in flight", |t| write_of(t, 2, 0, &content(&[2]))),
        ("a write that failed", |t| {
            write_of(t, 2, 0, &content(&[2]));
            t.s(err(2, ErrorCode::EIO));
        }),
        ("two writes at once", |t| {
            write_of(t, 2, 0, &content(&[2]));
            write_of(t, 3, 0, &content(&[3]));
            t.s(ok(2)).s(ok(3));
        }),
        ("trimmed", |t| {
            t.c(cmd(Command::TRIM, 2, 0, 4096)).s(ok(2));
        }),
        ("trimmed around", |t| {
            t.c(cmd(Command::TRIM, 2, 0, SIZE)).s(ok(2));
        }),
        ("zeroes that failed", |t| {
            t.c(cmd(Command::WRITE_ZEROES, 2, 4000, 512)).s(err(2, ErrorCode::EIO));
        }),
        ("written while it is trimmed", |t| {
            t.c(cmd(Command::TRIM, 2, 4000, 512));
            wrote(t, 3, 0, &content(&[3]));
            t.s(ok(2));
        }),
        ("trimmed while it is written", |t| {
            write_of(t, 3, 0, &content(&[3]));
            t.c(cmd(Command::TRIM, 2, 4000, 512)).s(ok(2)).s(ok(3));
        }),
        ("not told as seen", |t| t.session.forget_written()),
    ];
    for (name, between) in lawful {
        let mut talk = talk(false);
        wrote(&mut talk, 1, 0, &content(&[1]));
        between(&mut talk);
        reads(&mut talk, 9, 0, &content(&[2]));
        assert!(differs(&talk).is_empty(), "{name}");
    }
    // And with nothing between.
    let mut talk = talk(false);
    wrote(&mut talk, 1, 0, &content(&[1]));
    talk.c(cmd(Command::FLUSH, 2, 0, 0)).s(ok(2));
    wrote(&mut talk, 3, 4096, &content(&[1]));
    reads(&mut talk, 9, 0, &content(&[2]));
    assert_eq!(differs(&talk).len(), 1);
}

#[test]
fn a_read_that_overlaps_the_write_in_time_may_find_either() {
    let mut talk = talk(false);
    talk.c(read(9, 0, 4096));
    wrote(&mut talk, 1, 0, &content(&[1]));
    gets(&mut talk, 9, &content(&[2]));
    talk.c(read(10, 0, 4096));
    write_of(&mut talk, 2, 0, &content(&[2]));
    gets(&mut talk, 10, &content(&[2]));
    talk.s(ok(2));
    assert!(differs(&talk).is_empty());
    reads(&mut talk, 11, 0, &content(&[1]));
    assert_eq!(differs(&talk).len(), 1);
}

#[test]
fn a_reply_in_pieces_counts_when_it_is_whole_and_has_no_error() {
    let mut talk = talk(true);
    wrote(&mut talk, 1, 0, &content(&[1, 2]));
    talk.c(read(2, 0, 8192));
    with(&mut talk, Server, data(2, 0, 0, 4096), &content(&[9]));
    talk.s(error(2, 1, ErrorCode::EIO, ""));
    assert!(differs(&talk).is_empty());
    wrote(&mut talk, 3, 0, &content(&[1, 2]));
    talk.c(read(4, 0, 8192));
    with(&mut talk, Server, data(4, 0, 4096, 4096), &content(&[9]));
    talk.s(hole(4, 0, 0, 4096));
    assert!(differs(&talk).is_empty());
    talk.s(none(4));
    assert_eq!(differs(&talk).len(), 1);
}

#[test]
fn a_hole_is_zeroes() {
    let mut talk = talk(true);
    wrote(&mut talk, 1, 0, &content(&[0, 5, 0]));
    talk.c(read(2, 0, 4096)).s(hole(2, 1, 0, 4096));
    talk.c(read(3, 4000, 200)).s(hole(3, 1, 4000, 200));
    assert!(differs(&talk).is_empty());
    talk.c(read(4, 0, 12288)).s(hole(4, 1, 0, 12288));
    assert_eq!(differs(&talk).len(), 1);
}

#[test]
fn what_was_not_captured_is_not_compared() {
    let mut talk = talk(false);
    talk.raw(Client, &write(1, 0, 8192).to_bytes()).gap(Client, 4096);
    talk.raw(Client, &content(&[1])).s(ok(1));
    reads(&mut talk, 2, 0, &content(&[3, 3]));
    wrote(&mut talk, 3, 0, &content(&[1]));
    talk.c(read(4, 0, 4096)).s(ok(4)).raw(Server, &[9; 100]).gap(Server, 3996);
    assert!(differs(&talk).is_empty());
}

#[test]
fn of_very_much_a_part_is_remembered() {
    let mut talk = sized(false, 1 << 30);
    let data = vec![1; 1 << 20];
    for piece in 0..256 {
        wrote(&mut talk, piece, piece << 20, &data);
    }
    talk.events.clear();
    for piece in 0..256 {
        reads(&mut talk, piece, piece << 20, &vec![2; 1 << 20]);
    }
    let found = differs(&talk).len();
    assert!((200..=256).contains(&found), "{found}");
}

#[test]
fn nothing_is_compared_unless_it_is_asked_for() {
    let mut talk = Talk::new();
    talk.simple();
    wrote(&mut talk, 1, 0, &content(&[1]));
    reads(&mut talk, 2, 0, &content(&[2]));
    assert!(differs(&talk).is_empty());
}
