//! Whole sessions: pieces do not matter, and nothing makes the judge panic.

use proptest::prelude::*;
use protocol::message::{Message, Side};
use protocol::payload::place;
use protocol::values::{Command, CommandFlags, ErrorCode, InfoType, OptionType, ReplyType};

use super::dsl::*;
use crate::session::{Close, Config, Event, HEAD, Recognize, Session, Tls};

/// A lawful session with a bit of everything.
fn lawful() -> Talk {
    let mut talk = Talk::new();
    let (list, go) = (OptionType::LIST, OptionType::GO);
    talk.haggle().c(opt(OptionType(0x4e42_4421)));
    talk.s(refuse(OptionType(0x4e42_4421), ReplyType::ERR_UNSUP)).c(opt(list));
    talk.s(listed("", "the default")).s(listed("disk", "")).s(ack(list));
    talk.agree(OptionType::STRUCTURED_REPLY).select("disk", &["base:allocation", "x-a:b"]);
    talk.c(info(go, "disk", &[InfoType::BLOCK_SIZE, InfoType::NAME]));
    talk.s(block_size(go, 1, 4096, 1 << 25)).s(export(go, SIZE, FLAGS | DF)).s(ack(go));
    let mut written = write(1, 1024, 2000).to_bytes();
    written.resize(28 + 2000, 0);
    place(7, 1024, &mut written[28..]);
    talk.raw(Client, &written).c(read(2, 0, 4096)).c(cmd(Command::FLUSH, 3, 0, 0));
    talk.s(data(2, MORE, 0, 2048)).s(ok(1)).s(hole(2, MORE, 2048, 2048)).s(none(2)).s(ok(3));
    talk.c(cmd(Command::BLOCK_STATUS, 4, 0, 4096)).s(status(4, MORE, 2, &[(4096, 9)]));
    talk.s(status(4, DONE, 1, &[(512, 0), (1 << 18, 3)]));
    talk.c(cmd_with(Command::WRITE_ZEROES, CommandFlags::FAST_ZERO, 5, 0, 4096));
    talk.s(error(5, DONE, ErrorCode::ENOTSUP, "not fast")).c(disc(6)).close(Server);
    talk
}

fn play(pieces: &[(Side, Vec<u8>)]) -> Vec<Event> {
    let mut session = Session::new(Config::default());
    for (side, bytes) in pieces {
        session.received(*side, 0, bytes);
    }
    std::iter::from_fn(move || session.next_event()).collect()
}

#[test]
fn a_lawful_session_breaks_no_rule() {
    let talk = lawful();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert!(talk.problems().is_empty());
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
    3 C: NBD_OPT_0x4e424421
    4 S: NBD_REP_ERR_UNSUP option=NBD_OPT_0x4e424421 # answers 3
    5 C: NBD_OPT_LIST
    6 S: NBD_REP_SERVER option=NBD_OPT_LIST name="" description="the default" # answers 5
    7 S: NBD_REP_SERVER option=NBD_OPT_LIST name="disk" # answers 5
    8 S: NBD_REP_ACK option=NBD_OPT_LIST # answers 5
    9 C: NBD_OPT_STRUCTURED_REPLY
    10 S: NBD_REP_ACK option=NBD_OPT_STRUCTURED_REPLY # answers 9
    11 C: NBD_OPT_SET_META_CONTEXT name="disk" queries={"base:allocation" "x-a:b"}
    12 S: NBD_REP_META_CONTEXT option=NBD_OPT_SET_META_CONTEXT id=1 name="base:allocation" # answers 11
    13 S: NBD_REP_META_CONTEXT option=NBD_OPT_SET_META_CONTEXT id=2 name="x-a:b" # answers 11
    14 S: NBD_REP_ACK option=NBD_OPT_SET_META_CONTEXT # answers 11
    15 C: NBD_OPT_GO name="disk" info={NBD_INFO_BLOCK_SIZE NBD_INFO_NAME}
    16 S: NBD_REP_INFO NBD_INFO_BLOCK_SIZE option=NBD_OPT_GO minimum=1 preferred=4096 maximum=33554432 # answers 15
    17 S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS SEND_FLUSH SEND_FUA SEND_TRIM SEND_WRITE_ZEROES SEND_DF CAN_MULTI_CONN SEND_CACHE SEND_FAST_ZERO} # answers 15
    18 S: NBD_REP_ACK option=NBD_OPT_GO # answers 15
    19 C: NBD_CMD_WRITE cookie=0x1 offset=1024 length=2000 data=place(7)*2000
    20 C: NBD_CMD_READ cookie=0x2 offset=0 length=4096
    21 C: NBD_CMD_FLUSH cookie=0x3 offset=0 length=0
    22 S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x2 flags={} offset=0 data=zero*2048 # answers 20
    23 S: simple-reply ok cookie=0x1 # answers 19
    24 S: NBD_REPLY_TYPE_OFFSET_HOLE cookie=0x2 flags={} offset=2048 size=2048 # answers 20
    25 S: NBD_REPLY_TYPE_NONE cookie=0x2 flags={DONE} # answers 20
    26 S: simple-reply ok cookie=0x3 # answers 21
    27 C: NBD_CMD_BLOCK_STATUS cookie=0x4 offset=0 length=4096
    28 S: NBD_REPLY_TYPE_BLOCK_STATUS cookie=0x4 flags={} id=2 extents={4096:9} # answers 27
    29 S: NBD_REPLY_TYPE_BLOCK_STATUS cookie=0x4 flags={DONE} id=1 extents={512:0 262144:3} # answers 27
    30 C: NBD_CMD_WRITE_ZEROES cookie=0x5 flags={FAST_ZERO} offset=0 length=4096
    31 S: NBD_REPLY_TYPE_ERROR cookie=0x5 flags={DONE} error=NBD_ENOTSUP message="not fast" # answers 30
    32 C: NBD_CMD_DISC cookie=0x6 offset=0 length=0
    "#);
}

#[test]
fn bytes_one_by_one_tell_the_same() {
    let talk = lawful();
    let single = |(side, bytes): &(Side, Vec<u8>)| -> Vec<(Side, Vec<u8>)> {
        bytes.iter().map(|byte| (*side, vec![*byte])).collect()
    };
    let pieces: Vec<_> = talk.sent.iter().flat_map(single).collect();
    assert_eq!(play(&pieces), play(&talk.sent));
}

#[test]
fn a_cut_anywhere_tells_the_same() {
    let talk = lawful();
    let whole = play(&talk.sent);
    for (index, (side, bytes)) in talk.sent.iter().enumerate() {
        for cut in 1..bytes.len() {
            let mut pieces = talk.sent.clone();
            pieces[index].1.truncate(cut);
            pieces.insert(index + 1, (*side, bytes[cut..].to_vec()));
            assert_eq!(play(&pieces), whole, "message {index} cut at {cut}");
        }
    }
}

#[test]
fn offsets_and_lengths_cover_each_direction() {
    let talk = lawful();
    for side in [Client, Server] {
        let mut at = 0;
        for seen in talk.messages().filter(|seen| seen.from == side) {
            assert_eq!(seen.offset, at, "{seen:?}");
            at += seen.length;
        }
        let sent: usize = talk.sent.iter().filter(|(s, _)| *s == side).map(|(_, b)| b.len()).sum();
        assert_eq!(at, sent as u64);
    }
}

/// Something that may happen to a session.
#[derive(Debug, Clone)]
enum Happening {
    Bytes(Side, Vec<u8>),
    Replay(usize),
    Gap(Side, u64),
    Close(Side, bool),
    Tls,
}

#[test]
fn what_only_a_digest_describes_is_told_with_its_first_bytes() {
    let mixed: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37) ^ 5).collect();
    for (recognize, bulk, head) in [
        (Recognize::FormAndHead, &mixed[..], Some(&mixed[..HEAD])),
        (Recognize::FormAndHead, &[7; 100], None),
        (Recognize::FormAndHead, &mixed[..20], None),
        (Recognize::Form, &mixed, None),
        (Recognize::Nothing, &mixed, None),
    ] {
        let mut session = Session::new(Config { recognize, ..Config::default() });
        for (side, bytes) in &Talk::new().simple().sent {
            session.received(*side, 0, bytes);
        }
        let bytes = [write(1, 0, bulk.len() as u64).to_bytes(), bulk.to_vec()].concat();
        for piece in bytes.chunks(7) {
            session.received(Client, 0, piece);
        }
        let mut last = None;
        while let Some(Event::Message(seen)) = session.next_event() {
            last = Some(seen);
        }
        let seen = last.unwrap();
        assert!(matches!(seen.message, Message::Request(_)));
        assert_eq!(seen.head.as_deref(), head, "{recognize:?}");
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Client), Just(Server)]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (side(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(side, bytes)| Happening::Bytes(side, bytes)),
        20 => (0usize..60).prop_map(Happening::Replay),
        1 => (side(), 0u64..5000).prop_map(|(side, missing)| Happening::Gap(side, missing)),
        1 => (side(), any::<bool>()).prop_map(|(side, reset)| Happening::Close(side, reset)),
        1 => Just(Happening::Tls),
    ]
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(prefix in 0usize..60, happenings in proptest::collection::vec(happening(), 0..60)) {
        let sent = lawful().sent;
        let mut session = Session::new(Config { in_flight: 4, ..Config::default() });
        let mut number = 0;
        let mut check = |session: &mut Session| while let Some(event) = session.next_event() {
            if let Event::Message(seen) = event {
                number += 1;
                assert_eq!(seen.number, number);
                assert!(seen.answers.is_none_or(|answered| answered < number));
                let _ = seen.message.describe(seen.payload.as_ref()).to_string();
            }
        };
        for (side, bytes) in sent.iter().take(prefix) {
            session.received(*side, 0, bytes);
            check(&mut session);
        }
        for happening in happenings {
            match happening {
                Happening::Bytes(side, bytes) => {
                    session.received(side, 0, &bytes);
                }
                Happening::Replay(index) => {
                    let (side, bytes) = &sent[index % sent.len()];
                    session.received(*side, 0, bytes);
                }
                Happening::Gap(side, missing) => session.gap(side, 0, missing),
                Happening::Close(side, true) => session.closed(side, 0, Close::Reset),
                Happening::Close(side, false) => session.closed(side, 0, Close::End),
                Happening::Tls => session.tls(0, Tls::Opened),
            }
            check(&mut session);
        }
        session.finish();
        check(&mut session);
    }

    #[test]
    fn flipped_bits_do_not_make_it_panic_and_pieces_do_not_matter(
        flips in proptest::collection::vec((0usize..60, any::<prop::sample::Index>(), 0u8..8), 1..6),
        piece in 1usize..50,
    ) {
        let mut sent = lawful().sent;
        for (index, at, bit) in flips {
            let count = sent.len();
            let bytes = &mut sent[index % count].1;
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let whole = play(&sent);
        let cut: Vec<_> = sent.iter()
            .flat_map(|(side, bytes)| bytes.chunks(piece).map(|b| (*side, b.to_vec())))
            .collect();
        prop_assert_eq!(play(&cut), whole);
    }
}

#[test]
fn large_bulk_is_not_kept() {
    let mut session = Session::new(Config::default());
    let mut talk = Talk::new();
    talk.simple();
    for (side, bytes) in &talk.sent {
        session.received(*side, 0, bytes);
    }
    let request: Message = write(1, 0, 1 << 20);
    session.received(Client, 0, &request.to_bytes());
    let piece = vec![0x5a; 1 << 16];
    for _ in 0..16 {
        session.received(Client, 0, &piece);
    }
    let last = std::iter::from_fn(|| session.next_event()).last();
    let Some(Event::Message(seen)) = last else { panic!("{last:?}") };
    assert_eq!(seen.length, 28 + (1 << 20));
    assert_eq!(
        seen.payload.map(|payload| payload.to_string()).as_deref(),
        Some("fill(0x5a)*1048576")
    );
}
