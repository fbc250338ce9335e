//! What networks and captures do to packets must accuse nobody.

use protocol::message::{Cookie, Message, OptionBody, ReplyBody, Side, SimpleReply};
use protocol::values::{Command, ErrorCode, OptionType, ReplyType};

use super::tests::{
    CLIENT, Owned, SERVER, START, address, checked, lines, option, option_reply, packets,
    packets_of, request, session, text,
};
use crate::capture::{CaptureWriter, Conversation};

/// A raw IPv4 packet without its payload, with other numbers.
fn bare((time, link, bytes): &Owned, flags: u8, by: i32) -> Owned {
    let mut bytes = bytes[..40].to_vec();
    bytes[2..4].copy_from_slice(&40u16.to_be_bytes());
    bytes[32] = 0x50;
    bytes[33] = flags;
    let number = u32::from_be_bytes(bytes[24..28].try_into().unwrap());
    bytes[24..28].copy_from_slice(&number.wrapping_add_signed(by).to_be_bytes());
    checked((*time, *link, bytes))
}

const RST: u8 = 4;
const ACK: u8 = 16;

/// How many bytes a packet carries.
fn length((.., bytes): &Owned) -> i32 {
    bytes.len() as i32 - 20 - i32::from(bytes[32] >> 4) * 4
}

#[test]
fn a_handshake_may_be_recorded_in_any_order() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let wanted = lines(&text(&whole));
    // The client's acknowledgment of the greeting, alone.
    let early = bare(&whole[4], ACK, 0);
    let pick = |order: &[usize]| -> Vec<Owned> {
        let chosen = order.iter().map(|at| whole[*at].clone());
        chosen.chain(whole[5..].iter().cloned()).collect()
    };
    for order in
        [[0, 4, 1, 2, 3], [0, 2, 1, 3, 4], [0, 2, 3, 1, 4], [0, 3, 2, 4, 1], [1, 3, 0, 2, 4]]
    {
        let mut shuffled = pick(&order);
        assert_eq!(lines(&text(&shuffled)), wanted, "{order:?}");
        shuffled.insert(1, early.clone());
        let all = text(&shuffled);
        assert_eq!(lines(&all), wanted, "{order:?}");
        assert!(all.contains("0 violations, 0 warnings, 0 problems"), "{order:?}: {all}");
    }
}

#[test]
fn of_a_server_that_was_not_seen_the_client_alone_is_decoded() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let client = whole.iter().filter(|(.., bytes)| bytes[20..22] == 51234u16.to_be_bytes());
    let all = text(client);
    assert!(all.contains("C: NBD_OPT_GO name=\"disk\""), "{all}");
    assert!(all.contains("-- gap: "), "{all}");
    assert!(!all.contains("mid-session") && !all.contains("# ! "), "{all}");
}

/// A client that asks for what is there, and aborts; the last packets are those that end it.
fn aborted() -> Vec<Owned> {
    let mut messages: Vec<_> = session().into_iter().take(2).collect();
    messages.push(option(OptionType::LIST, OptionBody::Empty));
    messages.push(option_reply(OptionType::LIST, ReplyType::ACK, ReplyBody::Empty));
    messages.push(option(OptionType::ABORT, OptionBody::Empty));
    let mut file = CaptureWriter::new(Vec::new()).unwrap();
    let mut conversation = Conversation::new(address(CLIENT), address(SERVER));
    conversation.opened(&mut file, START).unwrap();
    for (from, bytes) in messages {
        conversation.data(&mut file, from, START, &bytes).unwrap();
    }
    conversation.closed(&mut file, Side::Client, START, true).unwrap();
    packets_of(file)
}

#[test]
fn a_reset_shows_what_was_lost_before_it() {
    let whole = aborted();
    let (reset, abort) = (whole.last().unwrap(), &whole[whole.len() - 2]);
    assert!(!text(&whole).contains("session-client-quits-softly"));
    let mut lost = whole[..whole.len() - 2].to_vec();
    // A reset where nothing was lost is a hard disconnect,
    lost.push(bare(abort, RST | ACK, 0));
    assert!(text(&lost).contains("session-client-quits-softly"), "{}", text(&lost));
    // ... but not behind an option that is not there, with or without a FIN that is not.
    for by in [0, 1] {
        for flags in [RST, RST | ACK] {
            lost.pop();
            lost.push(bare(reset, flags, by));
            let all = text(&lost);
            assert!(all.contains("-- gap: ") && !all.contains("quits-softly"), "{all}");
        }
    }
}

#[test]
fn a_reset_from_far_away_ends_nothing() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let wanted = lines(&text(&whole));
    for by in [0x3000_0000, -0x3000_0000, 5_000_000, i32::MIN] {
        let mut odd = whole.clone();
        odd.insert(9, bare(&whole[10], RST, by));
        let all = text(&odd);
        let messages = all.replace("-- stray", "# stray");
        assert_eq!(lines(&messages), wanted);
        assert!(all.contains("-- stray-reset: "), "{all}");
    }
}

#[test]
fn bytes_after_a_reset_of_their_sender_are_told_once() {
    let mut odd = packets(CLIENT, SERVER, START, &session());
    let request = odd.iter().rposition(|packet| length(packet) > 1000).unwrap();
    let reset = bare(&odd[request], RST, 0);
    odd.insert(request, reset);
    let all = text(&odd);
    assert_eq!(all.matches("after-reset").count(), 1, "{all}");
    assert!(!all.contains("# ! "), "{all}");
    // What the other side had on its way is no contradiction.
    odd.retain(|(.., bytes)| bytes[33] & RST != 0 || bytes[20..22] != 51234u16.to_be_bytes());
    assert!(!text(&odd).contains("after-reset"));
}

/// A copy of a packet with a bit of its payload wrong, which its checksum shows.
fn damaged((time, link, bytes): &Owned, at: usize) -> Owned {
    let mut bytes = bytes.clone();
    let payload = 20 + usize::from(bytes[32] >> 4) * 4;
    bytes[payload + at] ^= 0x40;
    (*time, *link, bytes)
}

#[test]
fn what_was_damaged_on_its_way_and_sent_again_does_not_count() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let wanted = lines(&text(&whole));
    for place in 3..whole.len() {
        let short = length(&whole[place]).min(9000) as usize;
        let long = length(&whole[place]) > 9000;
        for at in (0..short.min(40)).chain(short.checked_sub(1)).filter(|_| !long) {
            let mut odd = whole.clone();
            odd.insert(place, damaged(&whole[place], at));
            let all = text(&odd);
            let told = all.lines().filter(|line| line.starts_with("-- bad-checksum")).count();
            let found = all.replace("-- bad-checksum", "# bad-checksum");
            assert_eq!(lines(&found), wanted, "{place} {at}");
            assert_eq!(told, 1, "{all}");
        }
    }
}

#[test]
fn a_wrong_checksum_of_what_was_accepted_means_nothing() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let wanted = text(&whole);
    let checksum = |packet: &Owned, value: [u8; 2]| {
        let mut packet = packet.clone();
        packet.2[36..38].copy_from_slice(&value);
        packet
    };
    // Of some packets of the server, as where a card puts segments together, and of all.
    for places in [vec![7], vec![9, 11], (0..whole.len()).collect()] {
        for value in [[0, 0], [0x12, 0x34]] {
            let mut odd = whole.clone();
            places.iter().for_each(|at| odd[*at] = checksum(&odd[*at], value));
            assert_eq!(text(&odd), wanted, "{places:?}");
        }
    }
}

/// Other sequence numbers, as another system would take.
fn renumbered((time, link, bytes): &Owned) -> Owned {
    let mut bytes = bytes.clone();
    let from_client = bytes[20..22] == 51234u16.to_be_bytes();
    for (at, add) in [(24, from_client), (28, !from_client)] {
        let number = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let number = number.wrapping_add(if add { 77_777 } else { 5_555_555 });
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    checked((*time, *link, bytes))
}

#[test]
fn connections_at_once_between_the_same_addresses_are_not_mixed_up() {
    let one = packets(CLIENT, SERVER, START, &session());
    let mixed: Vec<_> =
        one.iter().flat_map(|packet| [packet.clone(), renumbered(packet)]).collect();
    let all = text(&mixed);
    let told = all.matches("-- same-addresses: two connections at once").count();
    assert_eq!(told, 1, "{all}");
    assert!(!all.contains("# ! "), "{all}");
    let messages: Vec<_> = lines(&all).into_iter().filter(|line| !line.starts_with("--")).collect();
    assert_eq!(messages, lines(&text(&one)), "{all}");
    // The first one may be far when the second one begins.
    let (early, late) = one.split_at(9);
    let second: Vec<_> = one.iter().map(renumbered).collect();
    let rest = late.iter().zip(&second).flat_map(|(a, b)| [b, a]);
    let all = text(early.iter().chain(rest).chain(&second[late.len()..]));
    assert_eq!(all.matches("-- same-addresses").count(), 1, "{all}");
    assert!(!all.contains("# ! ") && all.contains("C: NBD_CMD_DISC"), "{all}");
}

#[test]
fn a_damaged_jumbo_frame_does_not_count_either() {
    let mut talk = session();
    let read = |cookie| request(Command::READ, cookie, 0, 4096);
    let data = |cookie| {
        let reply = SimpleReply { error: ErrorCode::OK, cookie: Cookie(cookie) };
        [Message::SimpleReply(reply).to_bytes(), vec![0; 4096]].concat()
    };
    // Without structured replies.
    talk.drain(2..4);
    talk.truncate(6);
    for cookie in 1..20 {
        talk.extend([(Side::Client, read(cookie)), (Side::Server, data(cookie))]);
    }
    let whole = packets(CLIENT, SERVER, START, &talk);
    let wanted = lines(&text(&whole));
    let place = whole.iter().rposition(|packet| length(packet) > 4096).unwrap();
    for at in [0, 5, 15] {
        let mut odd = whole.clone();
        odd.insert(place, damaged(&whole[place], at));
        let all = text(&odd);
        assert!(all.contains("-- bad-checksum"), "{all}");
        assert_eq!(lines(&all.replace("-- bad", "# bad")), wanted);
    }
}
