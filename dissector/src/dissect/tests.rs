use std::net::SocketAddr;

use proptest::prelude::*;
use protocol::codec;
use protocol::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, Greeting, Info, Message, OptionBody, OptionReply,
    OptionRequest, ReplyBody, Request, RequestForm, Side, SimpleReply,
};
use protocol::values::{
    ChunkType, ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType,
    ReplyFlags, ReplyType, TransmissionFlags,
};

use super::*;
use crate::capture::{CaptureReader, CaptureWriter, Conversation, Item, LinkType, Packet};
use crate::render::{JsonRenderer, Renderer, SummaryRenderer, TextRenderer};

pub(super) const CLIENT: &str = "127.0.0.1:51234";
pub(super) const SERVER: &str = "127.0.0.1:10809";
pub(super) const START: u64 = 1_700_000_000_000_000_000;

/// A packet, owned: time, link type, bytes.
pub(super) type Owned = (u64, LinkType, Vec<u8>);

pub(super) fn option(option: OptionType, body: OptionBody) -> (Side, Vec<u8>) {
    (Side::Client, Message::Option(OptionRequest { option, body }).to_bytes())
}

pub(super) fn option_reply(
    option: OptionType,
    reply: ReplyType,
    body: ReplyBody,
) -> (Side, Vec<u8>) {
    (Side::Server, Message::OptionReply(OptionReply { option, reply, body }).to_bytes())
}

pub(super) fn request(command: Command, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
    let request = Request {
        form: RequestForm::Compact,
        flags: CommandFlags::EMPTY,
        command,
        cookie: Cookie(cookie),
        offset,
        length,
        status: None,
    };
    Message::Request(request).to_bytes()
}

/// A lawful session: who sends what.
pub(super) fn session() -> Vec<(Side, Vec<u8>)> {
    let greeting = Greeting::Newstyle {
        flags: HandshakeFlags::FIXED_NEWSTYLE.with(HandshakeFlags::NO_ZEROES),
    };
    let flags = TransmissionFlags::HAS_FLAGS.with(TransmissionFlags::SEND_DF);
    let go = OptionType::GO;
    let reply = |error| SimpleReply { error, cookie: Cookie(0x1_0000_0002) };
    let data = Chunk {
        form: ChunkForm::Structured,
        flags: ReplyFlags::DONE,
        chunk: ChunkType::OFFSET_DATA,
        cookie: Cookie(0x1_0000_0001),
        body: ChunkBody::Data { offset: 4096, length: 512 },
    };
    vec![
        (Side::Server, Message::Greeting(greeting).to_bytes()),
        (Side::Client, Message::ClientFlags(ClientFlags(3)).to_bytes()),
        option(OptionType::STRUCTURED_REPLY, OptionBody::Empty),
        option_reply(OptionType::STRUCTURED_REPLY, ReplyType::ACK, ReplyBody::Empty),
        option(go, OptionBody::Info { name: "disk".into(), requests: vec![InfoType::BLOCK_SIZE] }),
        option_reply(go, ReplyType::INFO, ReplyBody::Info(Info::Export { size: 1 << 20, flags })),
        option_reply(
            go,
            ReplyType::INFO,
            ReplyBody::Info(Info::BlockSize { minimum: 1, preferred: 4096, maximum: 1 << 25 }),
        ),
        option_reply(go, ReplyType::ACK, ReplyBody::Empty),
        (Side::Client, request(Command::READ, 0x1_0000_0001, 4096, 512)),
        (Side::Server, [Message::Chunk(data).to_bytes(), vec![0x5a; 512]].concat()),
        (
            Side::Client,
            [request(Command::WRITE, 0x1_0000_0002, 0, 100_000), vec![0; 100_000]].concat(),
        ),
        (Side::Server, Message::SimpleReply(reply(ErrorCode::OK)).to_bytes()),
        (Side::Client, request(Command::DISC, 0x1_0000_0003, 0, 0)),
    ]
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The packets of a conversation, a millisecond between messages.
pub(super) fn packets(
    client: &str,
    server: &str,
    start: u64,
    messages: &[(Side, Vec<u8>)],
) -> Vec<Owned> {
    let mut file = CaptureWriter::new(Vec::new()).unwrap();
    let mut conversation = Conversation::new(address(client), address(server));
    let mut time = start;
    conversation.opened(&mut file, time).unwrap();
    for (from, bytes) in messages {
        time += 1_000_000;
        conversation.data(&mut file, *from, time, bytes).unwrap();
    }
    time += 1_000_000;
    conversation.closed(&mut file, Side::Client, time, false).unwrap();
    conversation.closed(&mut file, Side::Server, time, false).unwrap();
    packets_of(file)
}

/// The packets that were written.
pub(super) fn packets_of(file: CaptureWriter<Vec<u8>>) -> Vec<Owned> {
    let file = file.into_inner();
    let mut reader = CaptureReader::new(&file[..]).unwrap();
    let mut packets = Vec::new();
    while let Some(Item::Packet(packet)) = reader.next_item().unwrap() {
        packets.push((packet.time_ns, packet.link, packet.data.to_vec()));
    }
    packets
}

/// What a renderer makes of packets.
fn render<'a>(
    packets: impl IntoIterator<Item = &'a Owned>,
    options: Options,
    renderer: &mut impl Renderer,
) {
    dissected(packets, options, renderer);
    renderer.finish().unwrap();
}

pub(super) fn dissected<'a>(
    packets: impl IntoIterator<Item = &'a Owned>,
    options: Options,
    sink: &mut impl Sink,
) {
    let mut dissector = Dissector::new(options);
    for (time_ns, link, data) in packets {
        let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
        dissector.packet(&Packet { time_ns, link, data, original_length }, sink);
    }
    dissector.finish(sink);
}

pub(super) fn text<'a>(packets: impl IntoIterator<Item = &'a Owned>) -> String {
    text_with(packets, Options::default())
}

pub(super) fn text_with<'a>(
    packets: impl IntoIterator<Item = &'a Owned>,
    options: Options,
) -> String {
    let mut out = Vec::new();
    render(packets, options, &mut TextRenderer::new(&mut out));
    String::from_utf8(out).unwrap()
}

/// The messages alone: no times, no comments.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split("  # ").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_session_becomes_a_script() {
    insta::assert_snapshot!(text(&packets(CLIENT, SERVER, START, &session())), @r#"
    # session 1: 127.0.0.1:51234 -> 127.0.0.1:10809, 2023-11-14 22:13:20.000000 UTC
    S: greeting fixed-newstyle flags={NO_ZEROES}  # +0.001000 @0
    C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}  # +0.002000 @0
    C: NBD_OPT_STRUCTURED_REPLY  # +0.003000 @4
    S: NBD_REP_ACK option=NBD_OPT_STRUCTURED_REPLY  # +0.004000 @18
    C: NBD_OPT_GO name="disk" info={NBD_INFO_BLOCK_SIZE}  # +0.005000 @20
    S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS SEND_DF}  # +0.006000 @38
    S: NBD_REP_INFO NBD_INFO_BLOCK_SIZE option=NBD_OPT_GO minimum=1 preferred=4096 maximum=33554432  # +0.007000 @70
    S: NBD_REP_ACK option=NBD_OPT_GO  # +0.008000 @104
    C: NBD_CMD_READ cookie=0x100000001 offset=4096 length=512  # +0.009000 @48
    S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x100000001 flags={DONE} offset=4096 data=fill(0x5a)*512  # +0.010000 @124
    C: NBD_CMD_WRITE cookie=0x100000002 offset=0 length=100000 data=zero*100000  # +0.011000 @76
    S: simple-reply ok cookie=0x100000002  # +0.012000 @664
    C: NBD_CMD_DISC cookie=0x100000003 offset=0 length=0  # +0.013000 @100104
    C: close  # +0.014000
    S: close  # +0.014000
    # session 1 ends: 13 messages, 0 violations, 0 warnings, 0 problems
    "#);
}

#[test]
fn a_session_becomes_json() {
    let mut out = Vec::new();
    render(
        &packets(CLIENT, SERVER, START, &session()),
        Options::default(),
        &mut JsonRenderer::new(&mut out),
    );
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn a_session_becomes_a_summary() {
    let mut out = Vec::new();
    let mut both = packets(CLIENT, SERVER, START, &session());
    both.extend(packets("127.0.0.1:51235", SERVER, START + 1_000_000_000, &session()));
    render(&both, Options::default(), &mut SummaryRenderer::new(&mut out));
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn the_link_type_and_family_do_not_matter() {
    let plain = packets(CLIENT, SERVER, START, &session());
    let wanted = text(&plain);
    for (link, header) in [
        (LinkType::NULL, &[2, 0, 0, 0][..]),
        (LinkType::ETHERNET, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
        (LinkType::ETHERNET, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 7, 8, 0]),
        (LinkType::LINUX_SLL, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
    ] {
        let wrapped: Vec<Owned> =
            plain.iter().map(|(time, _, bytes)| (*time, link, [header, bytes].concat())).collect();
        assert_eq!(text(&wrapped), wanted, "{link}");
    }
    let six = text(&packets("[::1]:51234", "[::1]:10809", START, &session()));
    assert_eq!(lines(&six), lines(&wanted));
    assert!(six.starts_with("# session 1: [::1]:51234 -> [::1]:10809"), "{six}");
}

#[test]
fn a_server_on_any_port_is_found_by_its_greeting() {
    let wanted = lines(&text(&packets(CLIENT, SERVER, START, &session())));
    let elsewhere = packets(CLIENT, "127.0.0.1:4711", START, &session());
    assert_eq!(lines(&text(&elsewhere)), wanted);
    // ... although it comes byte by byte,
    let mut messages = session();
    let greeting = messages.remove(0).1;
    let bytes = greeting.into_iter().map(|byte| (Side::Server, vec![byte]));
    let bytewise: Vec<_> = bytes.chain(messages).collect();
    assert_eq!(lines(&text(&packets(CLIENT, "127.0.0.1:4711", START, &bytewise))), wanted);
    // ... and although the handshake was not captured.
    assert_eq!(lines(&text(&elsewhere[3..])), wanted);
}

#[test]
fn other_traffic_is_left_alone() {
    let http = [(Side::Client, b"GET / HTTP/1.1\r\n\r\n".to_vec()), (Side::Server, b"no".to_vec())];
    assert_eq!(text(&packets(CLIENT, "127.0.0.1:80", START, &http)), "");
    let smtp = [(Side::Server, b"NBDMAGIX".to_vec()), (Side::Client, b"HELO".to_vec())];
    assert_eq!(text(&packets(CLIENT, "127.0.0.1:25", START, &smtp)), "");
}

#[test]
fn a_session_that_began_before_the_capture_is_noted_and_accuses_nobody() {
    let late = packets(CLIENT, SERVER, START, &session());
    insta::assert_snapshot!(text(&late[10..]), @r#"
    # session 1: 127.0.0.1:51234 -> 127.0.0.1:10809, 2023-11-14 22:13:20.008000 UTC
    -- mid-session: the session began before the capture; requests and the replies to them are decoded, and not judged  # +0.000000
    C: NBD_CMD_READ cookie=0x100000001 offset=4096 length=512  # +0.001000 @0
    -- resumed: the server is followed again after 20 bytes  # +0.002000
    S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x100000001 flags={DONE} offset=4096 data=fill(0x5a)*512  # +0.002000 @20
    C: NBD_CMD_WRITE cookie=0x100000002 offset=0 length=100000 data=zero*100000  # +0.003000 @28
    S: simple-reply ok cookie=0x100000002  # +0.004000 @560
    C: NBD_CMD_DISC cookie=0x100000003 offset=0 length=0  # +0.005000 @100056
    C: close  # +0.006000
    S: close  # +0.006000
    # session 1 ends: 5 messages, 0 violations, 0 warnings, 2 problems
    "#);
    let late = packets(CLIENT, "127.0.0.1:4711", START, &session());
    assert_eq!(text(&late[10..]), "");
    let options = Options { ports: vec![4711], ..Options::default() };
    assert!(text_with(&late[10..], options).contains("mid-session"));
}

#[test]
fn interleaved_sessions_are_told_apart() {
    let one = packets(CLIENT, SERVER, START, &session());
    let two = packets("127.0.0.1:51235", SERVER, START + 10, &session());
    let mixed: Vec<_> = one.iter().zip(&two).flat_map(|(a, b)| [a, b]).collect();
    let all = text(mixed);
    let sides = |number: u32| {
        let mut current = 0;
        let mut lines = Vec::new();
        for line in all.lines() {
            if let Some(rest) = line.strip_prefix("# session ") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                current = digits.parse().unwrap();
            } else if current == number {
                lines.push(line);
            }
        }
        super::tests::lines(&lines.join("\n"))
    };
    assert_eq!(sides(1), lines(&text(&one)));
    assert_eq!(sides(2), lines(&text(&one)));
}

#[test]
fn a_port_that_is_used_again_begins_another_session() {
    let one = packets(CLIENT, SERVER, START, &session());
    let open: Vec<_> = one[..one.len() - 4].to_vec(); // the end was not captured
    let again: Vec<Owned> = packets(CLIENT, SERVER, START + 5_000_000_000, &session())
        .into_iter()
        .map(|(time, link, mut bytes)| {
            // Other sequence numbers, as a real system would take.
            let from_client = bytes[20..22] == 51234u16.to_be_bytes();
            for (at, add) in [(24, from_client), (28, !from_client)] {
                let number = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
                let number = number.wrapping_add(if add { 77_777 } else { 5_555_555 });
                bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            (time, link, bytes)
        })
        .collect();
    for first in [&one, &open] {
        let all = text(first.iter().chain(&again));
        assert!(all.contains("# session 2: 127.0.0.1:51234 -> 127.0.0.1:10809"), "{all}");
        assert!(!all.contains("# !"), "{all}");
    }
}

#[test]
fn a_stray_syn_does_not_end_a_session_that_goes_on() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let clean = text(&whole);
    for at in 8..whole.len() - 3 {
        let mut with = whole.clone();
        let stray = moved(&whole[0], 1_000_000);
        with.insert(at, (whole[at].0, stray.1, stray.2));
        assert_eq!(text(&with), clean, "{at}");
    }
}

#[test]
fn packets_of_undescribed_interfaces_are_left_out_and_counted() {
    let mut with = packets(CLIENT, SERVER, START, &session());
    let clean = text(&with);
    with.insert(5, (with[5].0, LinkType::UNDESCRIBED, Vec::new()));
    let told = text(&with);
    let more: Vec<_> = told.lines().filter(|line| !clean.contains(line)).collect();
    assert_eq!(more.len(), 1, "{more:?}");
    assert!(more[0].contains("1 packet was left out: its interface was not described"), "{more:?}");
}

#[test]
fn a_silent_server_is_a_session_and_a_refused_connection_is_none() {
    let silent = packets(CLIENT, SERVER, START, &[]);
    assert!(text(&silent[..3]).starts_with("# session 1"));
    let mut file = CaptureWriter::new(Vec::new()).unwrap();
    let mut conversation = Conversation::new(address(CLIENT), address(SERVER));
    conversation.opened(&mut file, START).unwrap();
    conversation.closed(&mut file, Side::Server, START, true).unwrap();
    let mut refused = packets(CLIENT, SERVER, START, &[]);
    refused.truncate(1);
    assert_eq!(text(&refused), "");
}

#[test]
fn a_lost_packet_is_a_gap_and_accuses_nobody() {
    let whole = packets(CLIENT, SERVER, START, &session());
    for lost in 3..whole.len() {
        let rest: Vec<_> =
            whole.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, p)| p).collect();
        let all = text(rest);
        assert!(!all.contains("# !"), "without packet {lost}:\n{all}");
    }
}

#[test]
fn a_lost_beginning_of_the_server_is_no_missing_greeting() {
    let whole = packets(CLIENT, SERVER, START, &session());
    // Without its SYN, nothing tells that bytes came before the first ones that are there.
    for lost in [1..2, 1..3, 1..4, 0..4] {
        let rest = whole.iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, p)| p);
        let all = text(rest);
        assert!(!all.contains("# !"), "without {lost:?}:\n{all}");
        assert!(all.contains("C: NBD_CMD_DISC"), "without {lost:?}:\n{all}");
    }
}

/// The sequence number of a raw IPv4 packet is moved.
fn moved((time, link, bytes): &Owned, by: i32) -> Owned {
    let mut bytes = bytes.clone();
    let number = u32::from_be_bytes(bytes[24..28].try_into().unwrap());
    bytes[24..28].copy_from_slice(&number.wrapping_add_signed(by).to_be_bytes());
    checked((*time, *link, bytes))
}

/// A raw IPv4 packet with the checksum that it should have.
pub(super) fn checked((time, link, mut bytes): Owned) -> Owned {
    let ends = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
    let tcp = etherparse::TcpSlice::from_slice(&bytes[20..]).unwrap();
    let sum = tcp.calc_checksum_ipv4(ends(12), ends(16)).unwrap();
    bytes[36..38].copy_from_slice(&sum.to_be_bytes());
    (time, link, bytes)
}

#[test]
fn retransmissions_are_counted() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let again = |other_id: u8| -> Vec<Owned> {
        let twice = |packet: &Owned| {
            let mut other = (packet.0 + 2_000, packet.1, packet.2.clone());
            // Who sends again, sends another packet of IP.
            other.2[4] ^= other_id;
            [packet.clone(), other]
        };
        whole.iter().flat_map(twice).collect()
    };
    let packets = whole.iter().filter(|(.., bytes)| bytes.len() > 40 && bytes[33] & 7 == 0).count();
    for (other_id, what) in [(1, "retransmitted"), (0, "captured twice")] {
        let mut out = Vec::new();
        render(&again(other_id), Options::default(), &mut SummaryRenderer::new(&mut out));
        let summary = String::from_utf8(out).unwrap();
        assert!(summary.contains(&format!("  packets   {packets} {what}\n")), "{summary}");
    }
}

#[test]
fn a_segment_that_comes_again_with_other_bytes_is_told() {
    let mut whole = packets(CLIENT, SERVER, START, &session());
    let wanted = text(&whole);
    let at = whole.iter().position(|(.., bytes)| bytes.ends_with(&[0x5a; 512])).unwrap();
    let mut other = whole[at].clone();
    other.2[40 + 16] ^= 1; // the offset of the chunk
    whole.insert(at + 1, checked(other));
    let all = text(&whole);
    let note = all.lines().find(|line| line.starts_with("--")).unwrap();
    insta::assert_snapshot!(note, @"-- overlap: 540 bytes of the server came again and differ; the first ones count  # +0.010000");
    assert_eq!(
        lines(&all).iter().filter(|line| !line.starts_with("--")).collect::<Vec<_>>(),
        lines(&wanted).iter().collect::<Vec<_>>()
    );
}

#[test]
fn packets_cut_short_are_holes_and_accuse_nobody() {
    let whole = packets(CLIENT, SERVER, START, &session());
    for length in [60, 80, 100, 200, 1000] {
        let mut out = Vec::new();
        let mut renderer = TextRenderer::new(&mut out);
        let mut dissector = Dissector::new(Options::default());
        for (time_ns, link, data) in &whole {
            let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
            let data = &data[..data.len().min(length)];
            dissector.packet(&Packet { time_ns, link, data, original_length }, &mut renderer);
        }
        dissector.finish(&mut renderer);
        renderer.finish().unwrap();
        let all = String::from_utf8(out).unwrap();
        assert!(!all.contains("# !"), "{length}:\n{all}");
        assert!(all.contains("-- cut-packets: "), "{length}:\n{all}");
        assert!(!all.contains("-- gap"), "{length}:\n{all}");
        // Small messages are there whatever happened to large ones.
        assert!(length < 100 || all.contains("C: NBD_CMD_DISC"), "{length}:\n{all}");
    }
}

#[test]
fn a_probe_that_keeps_alive_changes_nothing() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let mut probed = Vec::new();
    for packet in &whole {
        probed.push(packet.clone());
        let no_more = packet.2[33] & 7 != 0; // SYN, FIN or RST
        if packet.2.len() > 40 && !no_more {
            let mut probe = moved(packet, packet.2.len() as i32 - 41);
            probe.2.truncate(40);
            probe.2[2..4].copy_from_slice(&40u16.to_be_bytes());
            probed.push(checked(probe.clone()));
            probe.2.push(0);
            probe.2[2..4].copy_from_slice(&41u16.to_be_bytes());
            probed.push(checked(probe));
        }
    }
    assert!(probed.len() > whole.len() + 10);
    assert_eq!(text(&probed), text(&whole));
}

#[test]
fn a_reset_ends_a_session_in_its_place() {
    let mut file = CaptureWriter::new(Vec::new()).unwrap();
    let mut conversation = Conversation::new(address(CLIENT), address(SERVER));
    conversation.opened(&mut file, START).unwrap();
    for (from, bytes) in session().into_iter().take(6) {
        conversation.data(&mut file, from, START, &bytes).unwrap();
    }
    conversation.closed(&mut file, Side::Server, START, true).unwrap();
    let mut out = Vec::new();
    let mut renderer = TextRenderer::new(&mut out);
    dissect(&file.into_inner()[..], Options::default(), &mut renderer).unwrap();
    renderer.finish().unwrap();
    let all = String::from_utf8(out).unwrap();
    assert!(all.contains("S: reset"), "{all}");
    assert!(!all.contains("# !"), "{all}");
}

#[test]
fn sessions_share_one_limit_on_what_is_remembered() {
    // Each of 8 sessions has 2000 requests in flight, which is more than there is room for together.
    let mut all = Vec::new();
    for number in 0..8 {
        let mut messages: Vec<_> = session().into_iter().take(8).collect();
        messages
            .extend((0..2000).map(|cookie| (Side::Client, request(Command::READ, cookie, 0, 512))));
        let client = format!("127.0.0.1:{}", 50_000 + number);
        all.extend(packets(&client, SERVER, START + number, &messages));
    }
    all.sort_by_key(|(time_ns, ..)| *time_ns);
    let all = text(&all);
    let limited = "together; replies are no longer correlated in this one";
    let count = all.lines().filter(|line| line.contains(limited)).count();
    assert!((1..=8).contains(&count), "{count}");
    assert!(!all.contains("MUST server"), "{all}");
}

#[test]
fn strings_of_peers_can_not_act_on_a_terminal() {
    let mut messages = session();
    messages[4] = option(
        OptionType::GO,
        OptionBody::Info { name: "\x1b[2J\u{202e}\n# !".into(), requests: vec![] },
    );
    let all = text(&packets(CLIENT, SERVER, START, &messages));
    assert!(all.contains(r#"name="\u{1b}[2J\u{202e}\n# !""#), "{all}");
}

#[test]
fn file_problems_are_told() {
    let fragment: Vec<Owned> = packets(CLIENT, SERVER, START, &session())
        .into_iter()
        .map(|(time, link, mut bytes)| {
            bytes[6] = 0x20;
            (time, link, bytes)
        })
        .collect();
    insta::assert_snapshot!(text(&fragment), @"-- ip-fragments: 21 IP fragments were left out: others of their packets are missing");
}

/// Cuts a raw IPv4 packet into fragments.
fn fragments((time, link, bytes): &Owned, id: u16) -> Vec<Owned> {
    let (header, payload) = bytes.split_at(20);
    let count = payload.len().div_ceil(1480);
    let pieces = payload.chunks(1480).enumerate().map(|(index, piece)| {
        let mut out = [header, piece].concat();
        out[2..4].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        out[4..6].copy_from_slice(&id.to_be_bytes());
        let more = if index + 1 < count { 0x2000 } else { 0 };
        out[6..8].copy_from_slice(&((index * 185) as u16 | more).to_be_bytes());
        (*time, *link, out)
    });
    pieces.collect()
}

#[test]
fn fragmented_packets_decode_as_whole_ones() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let pieces: Vec<_> =
        whole.iter().zip(1..).flat_map(|(packet, id)| fragments(packet, id)).collect();
    assert!(pieces.len() > whole.len() + 50);
    assert_eq!(text(&pieces), text(&whole));
    // Backwards within a packet.
    let backwards = whole.iter().zip(1..).flat_map(|(packet, id)| {
        let mut pieces = fragments(packet, id);
        pieces.reverse();
        pieces
    });
    let pieces: Vec<_> = backwards.collect();
    assert_eq!(text(&pieces), text(&whole));
}

#[test]
fn fragments_that_differ_are_told() {
    let whole = packets(CLIENT, SERVER, START, &session());
    let mut pieces: Vec<_> =
        whole.iter().zip(1..).flat_map(|(packet, id)| fragments(packet, id)).collect();
    let at = pieces.iter().position(|(.., bytes)| bytes[6] == 0x20).unwrap();
    let mut other = pieces[at + 1].clone();
    *other.2.last_mut().unwrap() ^= 1;
    pieces.insert(at + 2, other);
    let all = text(&pieces);
    let (session, note) = all.split_at(all.find("-- ip").unwrap());
    assert_eq!(session, text(&whole));
    insta::assert_snapshot!(note, @"-- ip-fragments-differ: 1 IP packet has fragments that overlap and differ; the bytes that came first count");
}

/// Cuts the bytes of every run of messages of one side at other places.
fn cut(messages: &[(Side, Vec<u8>)], mut at: impl FnMut() -> usize) -> Vec<(Side, Vec<u8>)> {
    let mut pieces = Vec::new();
    for (side, bytes) in messages {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at().clamp(1, rest.len()));
            pieces.push((*side, now.to_vec()));
            rest = later;
        }
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn segmentation_and_order_do_not_matter(
        cuts in prop::collection::vec(1usize..4000, 1..40),
        jumps in prop::collection::vec(0usize..8, 1..40),
        ports in any::<(u16, u16)>(),
    ) {
        let wanted = lines(&text(&packets(CLIENT, SERVER, START, &session())));
        let mut cuts = cuts.into_iter().cycle();
        let pieces = cut(&session(), || cuts.next().unwrap_or(1));
        // Sequence numbers come from the ports, so that they also wrap.
        let client = format!("127.0.0.1:{}", ports.0.max(1));
        let server = format!("127.0.0.2:{}", ports.1.max(1));
        let sent = packets(&client, &server, START, &pieces);
        let jumps = jumps.iter().cycle();
        let (opening, rest) = sent.split_at(3);
        let mut shuffled: Vec<_> =
            rest.iter().zip(jumps).enumerate().map(|(at, (p, jump))| (at + jump, p)).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let got = text(opening.iter().chain(shuffled.into_iter().map(|(_, p)| p)));
        prop_assert_eq!(lines(&got), wanted);
    }

    #[test]
    fn damaged_captures_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut packets = packets(CLIENT, SERVER, START, &session());
        for (packet, at, byte) in damage {
            let bytes = &mut packet.get_mut(&mut packets).2;
            // Mostly headers; the payload is what sessions are tested with.
            let length = bytes.len().min(80);
            *at.get_mut(&mut bytes[..length]) = byte;
        }
        let _ = text(&packets);
        let mut out = Vec::new();
        render(&packets, Options::default(), &mut JsonRenderer::new(&mut out));
        for line in String::from_utf8(out).unwrap().lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn counts_agree_with_the_lines(limit in 1usize..13) {
        let packets = packets(CLIENT, SERVER, START, &session()[..limit]);
        let mut out = Vec::new();
        render(&packets, Options::default(), &mut JsonRenderer::new(&mut out));
        let out = String::from_utf8(out).unwrap();
        let mut messages = 0;
        for line in out.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["type"] == "message" {
                messages += 1;
            }
            if line["type"] == "summary" {
                let counts = line["counts"].as_object().unwrap();
                let sum: u64 = counts.values().filter_map(serde_json::Value::as_u64).sum();
                prop_assert_eq!(line["messages"].as_u64(), Some(messages));
                prop_assert_eq!(sum, messages);
            }
        }
    }
}

/// The codec is not tested here, but what tests build must be what it reads.
#[test]
fn the_session_of_these_tests_is_lawful() {
    let bytes = &session()[0].1;
    assert!(matches!(codec::greeting(bytes), Ok(codec::Step::Ready(_, 18))));
    assert!(!text(&packets(CLIENT, SERVER, START, &session())).contains("# !"));
}
