//! Sessions inside TLS.

use protocol::message::{OptionBody, ReplyBody, Side};
use protocol::values::{OptionType, ReplyType};

use super::tests::{CLIENT, Owned, SERVER, START, lines, option, option_reply, packets, session};
use super::tests::{address, dissected, text, text_with};
use super::*;
use crate::capture::{CaptureWriter, Conversation};
use crate::render::{JsonRenderer, Renderer as _, TextRenderer};
use crate::tls::Growth;
use crate::tls::tests::{Choice, Talk, say, say_early};

const SUITE: Choice = Choice::new("TLS_AES_128_GCM_SHA256");

/// NBD_OPT_STARTTLS and its acknowledgment.
fn starttls() -> [(Side, Vec<u8>); 2] {
    let kind = OptionType::STARTTLS;
    [option(kind, OptionBody::Empty), option_reply(kind, ReplyType::ACK, ReplyBody::Empty)]
}

/// The session of the other tests inside TLS, and its secrets.
fn secured() -> (Talk, Options) {
    let (sealed, log) = say(SUITE, &session()[2..]);
    let mut options = Options::default();
    options.keys.add(&log);
    ([&session()[..2], &starttls(), &sealed].concat(), options)
}

fn sent(talk: &[(Side, Vec<u8>)]) -> Vec<Owned> {
    packets(CLIENT, SERVER, START, talk)
}

/// The lines that are no messages.
fn remarks(text: &str) -> Vec<&str> {
    let is_remark = |line: &&str| line.starts_with("-- ") || line.starts_with("# !");
    text.lines().filter(is_remark).map(|line| line.split("  # +").next().unwrap()).collect()
}

/// Whether it says that a connection was not opened. (How many records there are depends on the
/// version of OpenSSL.)
fn is_sealed(remark: &str) -> bool {
    remark.starts_with("-- encrypted: tls 1.3 TLS_AES_128_GCM_SHA256, no keys: ")
        && remark.ends_with(" records not opened")
}

#[test]
fn a_session_reads_the_same_inside_tls() {
    let (talk, options) = secured();
    let all = text_with(&sent(&talk), options);
    let mut wanted = lines(&text(&sent(&session())));
    let close = wanted.len() - 2..;
    let close: Vec<_> = wanted.drain(close).collect();
    assert_eq!(close, ["C: close", "S: close"]);
    wanted.splice(
        2..2,
        [
            "C: NBD_OPT_STARTTLS".to_owned(),
            "S: NBD_REP_ACK option=NBD_OPT_STARTTLS".to_owned(),
            "-- tls 1.3 opened".to_owned(),
        ],
    );
    wanted.extend(close);
    assert_eq!(lines(&all), wanted);
    assert!(all.contains(" TLS_AES_128_GCM_SHA256\n"), "{all}");
    assert_eq!(remarks(&all), ["-- tls 1.3 opened"]);
}

#[test]
fn what_was_missed_before_tls_accuses_nobody() {
    let (talk, options) = secured();
    let whole = sent(&talk);
    // Greeting, flags, STARTTLS and its acknowledgment: what is inside is decoded all the same.
    let missed = [&whole[..3], &whole[7..]].concat();
    let all = text_with(&missed, options.clone());
    let wanted = lines(&text(&sent(&session())));
    let found: Vec<_> = lines(&all).into_iter().filter(|line| !line.starts_with("--")).collect();
    assert_eq!(found, wanted[2..]);
    assert!(!all.contains("# ! "), "{all}");
    // ... or some of that, or the beginning of TLS with it.
    for first in 3..7 {
        for last in first..whole.len() {
            let missed = [&whole[..first], &whole[last..]].concat();
            let all = text_with(&missed, options.clone());
            assert!(!all.contains("# ! "), "without {first}..{last}: {all}");
        }
    }
}

#[test]
fn json_says_what_was_inside() {
    let (talk, options) = secured();
    let mut dissector = Dissector::new(options);
    let mut renderer = JsonRenderer::new(Vec::new());
    for (time_ns, link, data) in &sent(&talk) {
        let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
        let packet = crate::capture::Packet { time_ns, link, data, original_length };
        dissector.packet(&packet, &mut renderer);
    }
    dissector.finish(&mut renderer);
    renderer.finish().unwrap();
    let out = String::from_utf8(renderer.into_inner()).unwrap();
    let all: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let opened = all.iter().position(|line| line["type"] == "tls").unwrap();
    assert_eq!(all[opened]["version"], "1.3");
    assert_eq!(all[opened]["suite"], "TLS_AES_128_GCM_SHA256");
    for (at, line) in all.iter().enumerate().filter(|(_, line)| line["type"] == "message") {
        assert_eq!(line["tls"], at > opened);
    }
    assert_eq!(all[opened + 1]["offset"], 0);
}

#[test]
fn without_secrets_records_are_counted_and_named() {
    let all = text(&sent(&secured().0));
    assert_eq!(remarks(&all).len(), 1, "{all}");
    assert!(is_sealed(remarks(&all)[0]), "{all}");
}

#[test]
fn secrets_inside_the_file_are_used() {
    let (sealed, log) = say(SUITE, &session()[2..]);
    let talk = [&session()[..2], &starttls(), &sealed].concat();
    let mut file = CaptureWriter::new(Vec::new()).unwrap();
    file.tls_key_log(std::str::from_utf8(&log).unwrap()).unwrap();
    let mut conversation = Conversation::new(address(CLIENT), address(SERVER));
    conversation.opened(&mut file, START).unwrap();
    for (from, bytes) in &talk {
        conversation.data(&mut file, *from, START, bytes).unwrap();
    }
    let mut renderer = TextRenderer::new(Vec::new());
    dissect(&file.into_inner()[..], Options::default(), &mut renderer).unwrap();
    let all = String::from_utf8(renderer.into_inner()).unwrap();
    assert_eq!(remarks(&all), ["-- tls 1.3 opened"]);
    assert!(all.contains("C: NBD_CMD_DISC"), "{all}");
}

#[test]
fn a_damaged_record_ends_its_direction_and_accuses_nobody() {
    let (talk, options) = secured();
    for at in 4..talk.len() {
        let mut talk = talk.clone();
        let last = talk[at].1.len() - 1;
        talk[at].1[last] ^= 1;
        let all = text_with(&sent(&talk), options.clone());
        assert!(!all.contains("# !"), "record {at}: {all}");
        let told = all.contains("-- lost: a TLS record is damaged")
            || all.contains("ended within the handshake");
        // A hello or an alert may be changed where it does not matter here.
        assert!(told || at < 7 || at == talk.len() - 1, "record {at}: {all}");
    }
}

/// How many bytes could not be judged.
fn unjudged<'a>(packets: impl IntoIterator<Item = &'a Owned>, options: Options) -> u64 {
    struct Unjudged(u64);
    impl Sink for Unjudged {
        fn record(&mut self, record: Record<'_>) {
            if let Record::Closed(_, totals) = record {
                self.0 += totals.unjudged;
            }
        }
    }
    let mut unjudged = Unjudged(0);
    dissected(packets, options, &mut unjudged);
    unjudged.0
}

#[test]
fn what_is_not_opened_could_not_be_judged() {
    let (talk, options) = secured();
    let whole = sent(&talk);
    assert_eq!(unjudged(&whole, options.clone()), 0);
    let plain: usize = session()[2..].iter().map(|(_, bytes)| bytes.len()).sum();
    let sealed = unjudged(&whole, Options::default());
    assert!((plain as u64..2 * plain as u64).contains(&sealed), "{sealed} of {plain}");
    // A damaged record, and what its sender says after it; a hole.
    let mut damaged = talk.clone();
    let large = (0..talk.len()).max_by_key(|at| talk[*at].1.len()).unwrap();
    damaged[large].1[5] ^= 1;
    let length = talk[large].1.len() as u64;
    let lost = unjudged(&sent(&damaged), options.clone());
    assert!((length - 5..sealed).contains(&lost), "{lost} of {length}");
    let rest = whole.iter().take(whole.len() / 2).chain(&whole[whole.len() / 2 + 1..]);
    assert!(unjudged(rest, options) > 0);
}

#[test]
fn a_hole_inside_tls_is_told_and_accuses_nobody() {
    let (talk, options) = secured();
    let whole = sent(&talk);
    for lost in 3..whole.len() {
        let rest = whole.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, p)| p);
        let all = text_with(rest, options.clone());
        assert!(!all.contains("# !"), "without packet {lost}:\n{all}");
    }
}

#[test]
fn plaintext_where_tls_belongs_is_a_violation() {
    let list = || option(OptionType::LIST, OptionBody::Empty);
    // After the acknowledgment.
    let talk = [&session()[..2], &starttls(), &[list()]].concat();
    insta::assert_snapshot!(remarks(&text(&sent(&talk))).join("\n"), @r"
    # ! MUST client [tls-client-upgrades-on-ack] bytes of the client after NBD_REP_ACK to NBD_OPT_STARTTLS are not TLS (message 3)
    -- lost: what the client sends beside TLS can't be followed
    ");
    // Behind NBD_OPT_STARTTLS, before the acknowledgment; and one that is not complete.
    let [ask, ack] = starttls();
    let pipelined = |length: usize| {
        let mut list = list();
        list.1.truncate(length);
        text(&sent(&[&session()[..2], &[ask.clone(), list, ack.clone()]].concat()))
    };
    insta::assert_snapshot!(remarks(&pipelined(16)).join("\n"), @"# ! MUST NOT client [option-one-outstanding] NBD_OPT_LIST before the final reply to NBD_OPT_STARTTLS");
    insta::assert_snapshot!(remarks(&pipelined(10)).join("\n"), @"-- cut-off: 10 bytes of a message before TLS are not followed");
}

#[test]
fn tls_from_the_first_byte_is_told() {
    let (sealed, log) = say(SUITE, &session());
    let mut options = Options::default();
    options.keys.add(&log);
    let all = text_with(&sent(&sealed), options);
    insta::assert_snapshot!(remarks(&all).join("\n"), @r"
    -- tls: the connection is TLS from its first byte, without NBD_OPT_STARTTLS
    -- tls 1.3 opened
    ");
    assert!(all.contains("S: greeting") && all.contains("C: NBD_CMD_DISC"), "{all}");
    let all = text(&sent(&sealed));
    assert!(matches!(remarks(&all)[..], [_, sealed] if is_sealed(sealed)), "{all}");
    // The server speaks NBD.
    let talk = [&sealed[..1], &session()[..1]].concat();
    insta::assert_snapshot!(text(&sent(&talk)), @r"
    # session 1: 127.0.0.1:51234 -> 127.0.0.1:10809, 2023-11-14 22:13:20.000000 UTC
    # ! MUST client [tls-via-starttls-upgrade] a TLS handshake before the greeting  # +0.002000 @0 frame 5
    -- lost: the client's TLS can't be followed  # +0.002000
    S: greeting fixed-newstyle flags={NO_ZEROES}  # +0.002000 @0
    C: close  # +0.003000
    S: close  # +0.003000
    # session 1 ends: 1 message, 1 violation, 0 warnings, 1 problem
    ");
    // Nothing comes back.
    insta::assert_snapshot!(remarks(&text(&sent(&sealed[..1]))).join("\n"), @r"
    # ! MUST client [tls-via-starttls-upgrade] a TLS handshake before the greeting
    -- lost: the client's TLS can't be followed
    ");
}

/// Takes packets, those from this one on after the secrets came. Gives the text, and the secrets
/// that were used.
fn late(sent: &[Owned], log: &[u8], at: usize, growth: Growth) -> (String, String) {
    let mut options = Options::default();
    options.keys.set_growth(growth);
    let mut dissector = Dissector::new(options);
    let mut renderer = TextRenderer::new(Vec::new());
    for (number, (time_ns, link, data)) in sent.iter().enumerate() {
        if number == at {
            dissector.secrets(log);
        }
        if growth == Growth::AnyTime {
            dissector.resume(*time_ns, &mut renderer);
            assert!(!dissector.awaits_secrets() || number < at);
        }
        let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
        let packet = crate::capture::Packet { time_ns, link, data, original_length };
        dissector.packet(&packet, &mut renderer);
    }
    if at >= sent.len() {
        dissector.secrets(log);
    }
    let used = dissector.keys().take_used();
    dissector.finish(&mut renderer);
    renderer.finish().unwrap();
    let used = used + &dissector.keys().take_used();
    (String::from_utf8(renderer.into_inner()).unwrap(), used)
}

#[test]
fn secrets_that_come_late_serve_all_the_same() {
    for suite in [SUITE, Choice::new("ECDHE-RSA-AES128-GCM-SHA256")] {
        let (sealed, log) = say(suite, &session()[2..]);
        let sent = sent(&[&session()[..2], &starttls(), &sealed].concat());
        let (wanted, _) = late(&sent, &log, 0, Growth::Never);
        assert!(wanted.contains("C: NBD_CMD_DISC") && wanted.contains("S: close"), "{wanted}");
        let any_time = (1..=sent.len()).map(|at| (at, Growth::AnyTime));
        // The last packets only acknowledge.
        let among_packets = (1..sent.len() - 3).map(|at| (at, Growth::AmongPackets));
        for (at, growth) in any_time.chain(among_packets) {
            let (text, used) = late(&sent, &log, at, growth);
            assert_eq!(text, wanted, "secrets before packet {at}");
            let mut keys = crate::tls::KeyLog::default();
            assert!(matches!(keys.add(used.as_bytes()), 1 | 4), "{used}");
            assert!(used.lines().all(|line| {
                log.split(|b| *b == b'\n').any(|other| other.eq_ignore_ascii_case(line.as_bytes()))
            }));
        }
    }
}

#[test]
fn the_wait_for_secrets_is_over_after_a_second_or_a_mebibyte() {
    let (sealed, log) = say(SUITE, &session()[2..]);
    let all = sent(&[&session()[..2], &starttls(), &sealed].concat());
    // The last packets come a second later, with other traffic before.
    let mut slow = all.clone();
    let last = slow.len() - 4;
    slow[last..].iter_mut().for_each(|packet| packet.0 += 1_000_000_000);
    let mut other = packets("127.0.0.1:51235", SERVER, slow[last].0, &session()[..1]);
    other.truncate(1);
    slow.splice(last..last, other);
    let (text, used) = late(&slow, &log, last + 1, Growth::AnyTime);
    assert_eq!(remarks(&text).len(), 1, "{text}");
    assert!(is_sealed(remarks(&text)[0]) && used.is_empty(), "{text}");
    // Nothing that comes after so much is worth waiting for.
    let write = |_| session()[10].clone();
    let said = [&session()[2..8], &(0..11).map(write).collect::<Vec<_>>()].concat();
    let (sealed, log) = say(SUITE, &said);
    let much = sent(&[&session()[..2], &starttls(), &sealed].concat());
    let (text, _) = late(&much, &log, much.len(), Growth::AnyTime);
    assert!(is_sealed(remarks(&text)[0]), "{text}");
    // Among packets none come after the last one.
    let (text, _) = late(&all, &log, all.len(), Growth::AmongPackets);
    assert!(is_sealed(remarks(&text)[0]), "{text}");
}

#[test]
fn tls_that_is_met_midway_is_counted_and_accuses_nobody() {
    let (talk, _) = secured();
    let all = sent(&talk);
    // From the reply to the read on.
    let writes = all.iter().position(|(.., data)| data.len() > 16_000).unwrap();
    insta::assert_snapshot!(text(&all[writes - 2..]));
    // The greeting is the fourth packet; the last ones have no bytes.
    for begin in 4..all.len() - 4 {
        let text = text(&all[begin..]);
        assert!(!text.contains("# ! "), "from packet {begin}: {text}");
        assert!(text.contains("-- mid-session: "), "from packet {begin}: {text}");
    }
}

#[test]
fn early_data_is_told_and_accuses_nobody() {
    let said = session();
    let client = |at: usize| said[at].1.clone();
    // Two messages at once, where the client does not wait for the reply to the first.
    let both = [&said[3..4], &said[5..]].concat();
    for (name, accepted, early, rest) in [
        ("early_data_taken", true, vec![client(2)], &said[3..]),
        ("early_data_refused", false, vec![client(2)], &said[3..]),
        ("more_early_data_taken", true, vec![client(2), client(4)], &both[..]),
    ] {
        let (sealed, log) = say_early(accepted, &early, rest);
        let mut options = Options::default();
        options.keys.add(&log);
        let talk = [&said[..2], &starttls(), &sealed].concat();
        let all = text_with(&sent(&talk), options);
        assert!(!all.contains("# ! "), "{all}");
        insta::assert_snapshot!(name, lines(&all).join("\n"));
    }
}

#[test]
fn lanes_agree_on_secrets_that_come_late() {
    use std::fs::{self, File};

    use super::file::read;
    use crate::capture::{CaptureReader, Input};

    let path = std::env::temp_dir().join(format!("nbdcheck-late-{}.pcapng", std::process::id()));
    let mut file = CaptureWriter::new(File::create(&path).unwrap()).unwrap();
    let mut logs = Vec::new();
    let connections = (0..6).map(|number: u16| {
        let (sealed, log) = say(SUITE, &session()[2..]);
        // Of some none are logged.
        logs.push(if number.is_multiple_of(3) {
            String::new()
        } else {
            String::from_utf8(log).unwrap()
        });
        let talk = [&session()[..2], &starttls(), &sealed].concat();
        packets(&format!("127.0.0.1:{}", 40_000 + number), SERVER, START + u64::from(number), &talk)
    });
    let connections: Vec<_> = connections.collect();
    for round in 0..connections[0].len() {
        for (connection, log) in connections.iter().zip(&logs) {
            if let Some((time_ns, link, data)) = connection.get(round) {
                let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
                let packet = crate::capture::Packet { time_ns, link, data, original_length };
                file.captured(&packet).unwrap();
            }
            if round == 15 {
                file.tls_key_log(log).unwrap();
            }
        }
    }
    file.flush().unwrap();
    let decode = |lanes| {
        let file = Input::map_from(File::open(&path).unwrap(), 0).unwrap();
        let mut renderer = JsonRenderer::new(Vec::new());
        let mut capture = CaptureReader::new(file).unwrap();
        read(&mut capture, Options::default(), lanes, &mut renderer).unwrap();
        renderer.finish().unwrap();
        String::from_utf8(renderer.into_inner()).unwrap()
    };
    let alone = decode(0);
    assert_eq!(alone.matches("\"type\":\"tls\"").count(), 4, "{alone}");
    assert_eq!(alone.matches("\"kind\":\"encrypted\"").count(), 2, "{alone}");
    for lanes in [1, 2, 3] {
        assert_eq!(decode(lanes), alone, "{lanes} lanes");
    }
    fs::remove_file(path).unwrap();
}
